use super::*;
use proptest::prelude::*;

fn received() -> Timestamp {
    Timestamp::parse("2026-01-02T03:04:05.006Z").unwrap()
}

fn decode(text: &str) -> Result<LogEvent<'_>, EventError> {
    LogEvent::decode(text.as_bytes(), received())
}

#[track_caller]
fn check(input: &str, expected: &str) {
    let event = decode(input).unwrap();
    assert_eq!(std::str::from_utf8(&event.json).unwrap(), expected);
}

#[track_caller]
fn check_refused(input: &[u8], code: &str, reason: &str) {
    let error = LogEvent::decode(input, received()).unwrap_err();
    assert_eq!((error.code(), error.to_string().as_str()), (code, reason));
}

#[test]
fn keeps_a_normal_event_as_sent() {
    let sent = r#"{"level":"error","message":"Failed to connect to DB","resourceId":"server-1234","timestamp":"2023-09-15T08:00:00Z","traceId":"abc-xyz-123","spanId":"span-456","commit":"5e5342f","metadata":{"parentResourceId":"server-0987"}}"#;
    let event = decode(sent).unwrap();
    assert!(matches!(event.json, Cow::Borrowed(_)));
    check(sent, sent);
    assert_eq!(event.event_time.to_rfc3339(), "2023-09-15T08:00:00Z");
    assert_eq!(event.client_id, None);
}

#[test]
fn normalises_the_timestamp_and_nothing_else() {
    check(
        r#"{ "a" : 1.10, "timestamp" : 1694764800 , "b":"x" }"#,
        r#"{ "a" : 1.10, "timestamp" : "2023-09-15T08:00:00Z" , "b":"x" }"#,
    );
    check(
        r#"{"timestamp":"2023-09-15T10:00:00+02:00"}"#,
        r#"{"timestamp":"2023-09-15T08:00:00Z"}"#,
    );
    check(
        r#"{"timestamp":"2023\u002d09-15T08:00:00.25Z"}"#,
        r#"{"timestamp":"2023\u002d09-15T08:00:00.25Z"}"#,
    );
}

#[test]
fn fills_a_missing_timestamp_with_the_time_of_receipt() {
    check("{}", r#"{"timestamp":"2026-01-02T03:04:05.006Z"}"#);
    check(
        r#"{"a":1}"#,
        r#"{"timestamp":"2026-01-02T03:04:05.006Z","a":1}"#,
    );
}

#[test]
fn a_null_timestamp_counts_as_missing_and_is_replaced() {
    check(
        r#"{"timestamp":null,"a":1}"#,
        r#"{"timestamp":"2026-01-02T03:04:05.006Z","a":1}"#,
    );
}

#[test]
fn puts_an_event_on_one_line() {
    check(
        "{\n  \"timestamp\": \"2023-09-15T08:00:00Z\",\r\n  \"a\": \"x\\ny\"\n}",
        "{   \"timestamp\": \"2023-09-15T08:00:00Z\",    \"a\": \"x\\ny\" }",
    );
}

#[test]
fn finds_the_id_that_the_client_gave() {
    let id = |text| decode(text).unwrap().client_id;
    assert_eq!(id(r#"{"eventId":"order-17"}"#).as_deref(), Some("order-17"));
    assert_eq!(id(r#"{"eventId":"\u0061"}"#).as_deref(), Some("a"));
    assert_eq!(id(r#"{"eventId":null}"#), None);
}

#[test]
fn refuses_what_is_no_event_and_says_why() {
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
    let rows: &[(&[u8], &str, &str)] = &[
        (
            b"",
            "invalid_json",
            "not JSON: EOF while parsing a value at line 1 column 0",
        ),
        (
            b"{",
            "invalid_json",
            "not JSON: EOF while parsing an object at line 1 column 1",
        ),
        (
            b"{} {}",
            "invalid_json",
            "not JSON: trailing characters at line 1 column 4",
        ),
        (
            b"{\"a\":\"\x00\"}",
            "invalid_json",
            "not JSON: control character (\\u0000-\\u001F) found while parsing a string at line 1 column 7",
        ),
        (
            b"{\"a\":\"\xff\"}",
            "invalid_utf8",
            "not UTF-8: invalid byte at 6",
        ),
        (
            b"[]",
            "not_an_object",
            "an event is a JSON object, this is an array",
        ),
        (
            b"7",
            "not_an_object",
            "an event is a JSON object, this is a number",
        ),
        (
            b"\"x\"",
            "not_an_object",
            "an event is a JSON object, this is a string",
        ),
        (
            b"null",
            "not_an_object",
            "an event is a JSON object, this is null",
        ),
        (
            b"{\"a\":1,\"a\":2}",
            "duplicate_name",
            "the name `a` stands twice in one object",
        ),
        (
            b"{\"m\":{\"a\":1,\"\\u0061\":2}}",
            "duplicate_name",
            "the name `a` stands twice in one object",
        ),
        (
            b"{\"a\\u0000b\":1}",
            "nul_in_name",
            "the name `a\\u0000b` contains a NUL character",
        ),
        (
            b"{\"_id\":1}",
            "reserved_name",
            "the name `_id` is reserved by Elasticsearch",
        ),
        (
            b"{\"level\":5}",
            "wrong_type",
            "`level` must be a string, this is a number",
        ),
        (
            b"{\"message\":{}}",
            "wrong_type",
            "`message` must be a string, this is an object",
        ),
        (
            b"{\"metadata\":\"x\"}",
            "wrong_type",
            "`metadata` must be an object, this is a string",
        ),
        (
            b"{\"eventId\":17}",
            "wrong_type",
            "`eventId` must be a string, this is a number",
        ),
        (
            b"{\"timestamp\":{}}",
            "wrong_type",
            "`timestamp` must be a string or a number, this is an object",
        ),
        (
            b"{\"timestamp\":true}",
            "wrong_type",
            "`timestamp` must be a string or a number, this is a boolean",
        ),
        (
            b"{\"timestamp\":\"soon\"}",
            "invalid_timestamp",
            "`timestamp`: `soon` is no timestamp; send RFC 3339 with an offset (`2023-09-15T08:00:00Z`) or epoch seconds, milliseconds or nanoseconds",
        ),
        (
            b"{\"timestamp\":-5}",
            "invalid_timestamp",
            "`timestamp`: `-5` lies outside 1970-01-01 to 2262-04-11",
        ),
        (deep.as_bytes(), "too_deep", "nested deeper than 20 levels"),
    ];
    for (input, code, reason) in rows {
        check_refused(input, code, reason);
    }
}

#[test]
fn takes_as_many_levels_as_elasticsearch_and_not_one_more() {
    let nested = |levels: usize| format!("{}1{}", "{\"a\":".repeat(levels), "}".repeat(levels));
    assert!(decode(&nested(EVENT_DEPTH_MAX)).is_ok());
    assert_eq!(
        decode(&nested(EVENT_DEPTH_MAX + 1)),
        Err(EventError::TooDeep)
    );
    assert_eq!(decode(&nested(100_000)), Err(EventError::TooDeep));
}

#[test]
fn a_known_field_may_be_null() {
    assert!(decode(r#"{"level":null,"message":null,"metadata":null}"#).is_ok());
}

#[test]
fn finds_a_duplicate_among_thousands_of_names() {
    let mut text = String::from("{");
    for n in 0..5_000 {
        text.push_str(&format!("\"n{n}\":1,"));
    }
    let unique = format!("{text}\"last\":1}}");
    let twice = format!("{text}\"n4000\":1}}");
    assert!(decode(&unique).is_ok());
    assert_eq!(
        decode(&twice),
        Err(EventError::DuplicateName("n4000".to_owned()))
    );
}

fn json_value() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        "\\PC{0,12}".prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
            prop::collection::hash_map("[a-z]{1,6}", inner, 0..4)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn keeps_every_field_of_any_event(
        fields in prop::collection::hash_map("x[a-z]{0,5}", json_value(), 0..6),
        pretty: bool,
    ) {
        let sent = serde_json::Value::Object(fields.into_iter().collect());
        let text = if pretty { serde_json::to_string_pretty(&sent) } else { serde_json::to_string(&sent) }.unwrap();
        let event = decode(&text).unwrap();
        let mut kept: serde_json::Value = serde_json::from_slice(&event.json).unwrap();
        let filled = kept.as_object_mut().unwrap().remove("timestamp");
        prop_assert_eq!(filled, Some(received().to_rfc3339().into()));
        prop_assert_eq!(kept, sent);
        prop_assert!(!event.json.contains(&b'\n'));
    }

    #[test]
    fn never_panics_and_never_lets_through_what_is_no_object(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        if let Ok(event) = LogEvent::decode(&bytes, received()) {
            prop_assert!(serde_json::from_slice::<serde_json::Map<_, _>>(&event.json).is_ok());
        }
    }
}
