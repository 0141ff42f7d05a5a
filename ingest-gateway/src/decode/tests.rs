use super::json::split;
use super::*;
use crate::error::Code;
use proptest::prelude::*;

fn texts(body: &[u8]) -> Result<(Vec<String>, Form), (Code, String)> {
    match split(body, 1_000) {
        Ok(events) => Ok((
            events
                .found
                .iter()
                .flatten()
                .map(|found| String::from_utf8_lossy(&found.json).into_owned())
                .collect(),
            events.form,
        )),
        Err(problem) => Err((problem.code, problem.detail)),
    }
}

#[track_caller]
fn check(body: &str, form: Form, expected: &[&str]) {
    let expected: Vec<String> = expected.iter().map(|&text| text.to_owned()).collect();
    assert_eq!(
        texts(body.as_bytes()),
        Ok((expected, form)),
        "body `{body}`"
    );
}

#[track_caller]
fn check_fault(body: &str, code: Code, detail: &str) {
    assert_eq!(
        texts(body.as_bytes()),
        Err((code, detail.to_owned())),
        "body `{body}`"
    );
}

#[test]
fn the_first_bytes_tell_the_form() {
    check("{\"a\":1}", Form::Single, &["{\"a\":1}"]);
    check("\u{feff} {\"a\":1}\r\n", Form::Single, &["{\"a\":1}"]);
    check("{\n \"a\": 1\n}", Form::Single, &["{\n \"a\": 1\n}"]);
    check(
        "{\"a\":1}\n{\"b\":2}",
        Form::Lines,
        &["{\"a\":1}", "{\"b\":2}"],
    );
    check(
        "\n {\"a\":1}\r\n\n \t\n{\"b\":2}\n\n",
        Form::Lines,
        &["{\"a\":1}", "{\"b\":2}"],
    );
    check("[]", Form::Array, &[]);
    check(" [ \n ] ", Form::Array, &[]);
    check(
        "[{\"a\":1} , {\"b\":[2,{}]}]",
        Form::Array,
        &["{\"a\":1}", "{\"b\":[2,{}]}"],
    );
    check("hello", Form::Single, &["hello"]);
    check("hello\nworld", Form::Lines, &["hello", "world"]);
}

#[test]
fn a_bad_line_or_element_costs_no_other() {
    check(
        "{\"a\": \"x\ny\"}\n{\"b\":2}",
        Form::Lines,
        &["{\"a\": \"x", "y\"}", "{\"b\":2}"],
    );
    check("{\"a\":\n{\"b\":2}", Form::Lines, &["{\"a\":", "{\"b\":2}"]);
    check(
        "[tru, {\"a\":1}, \"],[\\\"\", 5]",
        Form::Array,
        &["tru", "{\"a\":1}", "\"],[\\\"\"", "5"],
    );
    check(
        "[{\"a\" 1}, {\"b\":2}]",
        Form::Array,
        &["{\"a\" 1}", "{\"b\":2}"],
    );
    let invalid = b"[{\"a\":\"\xff\"},{\"b\":2}]";
    assert_eq!(texts(invalid).unwrap().0[1], "{\"b\":2}");
}

#[test]
fn a_broken_array_is_refused_whole_with_the_place() {
    let broken = |body, what: &str| {
        check_fault(
            body,
            Code::InvalidJson,
            &format!("the array is not JSON: {what}"),
        );
    };
    broken("[", "the body ends inside the array at byte 1");
    broken("  [{\"a\":1}", "the body ends inside the array at byte 10");
    broken("[{\"a\":1},]", "an element is missing at byte 9");
    broken("[,{\"a\":1}]", "an element is missing at byte 1");
    broken("[1,,2]", "an element is missing at byte 3");
    broken(
        "[{\"a\":1]]",
        "a bracket that closes another kind at byte 7",
    );
    broken("[1}]", "a `}` without its `{` at byte 2");
    broken("[{\"a\":\"x}]", "a string without an end starts at byte 6");
    broken("[{\"a\":\"x\\", "a string without an end starts at byte 6");
    broken("[1] x", "something follows the array at byte 3");
    broken("[1]\n[2]", "something follows the array at byte 3");
}

#[test]
fn nothing_and_too_much_are_refused() {
    let empty = "the body is empty; send a JSON object, an array of objects, or one object a line";
    check_fault("", Code::EmptyBody, empty);
    check_fault(" \r\n\t ", Code::EmptyBody, empty);
    let many = "a request may hold 1000 events; send several smaller ones";
    check_fault(&"{}\n".repeat(1_001), Code::TooManyEvents, many);
    check_fault(
        &format!("[{}{{}}]", "{},".repeat(1_000)),
        Code::TooManyEvents,
        many,
    );
    assert_eq!(
        texts("{}\n".repeat(1_000).as_bytes()).unwrap().0.len(),
        1_000
    );
}

const RECEIVED_NANOS: i64 = 1_700_000_000_000_000_000;

fn request(key: Option<&str>) -> Request<'_> {
    Request {
        received: Timestamp::from_nanos(RECEIVED_NANOS).unwrap(),
        idempotency_key: key,
        tenant: None,
        event_bytes_max: 100,
    }
}

type PositionJsonId = (usize, String, String);
type PositionCodeReason = (usize, &'static str, String);

fn decoded(body: &str, key: Option<&str>) -> (Vec<PositionJsonId>, Vec<PositionCodeReason>) {
    let events = split(body.as_bytes(), 1_000).unwrap();
    let (records, refusals) = decode(&events, request(key), &EventIdMinter::new([7; 8]));
    let records = records.into_iter().map(|record| {
        let json = String::from_utf8(record.json.into_owned()).unwrap();
        (record.position, json, record.id.to_string())
    });
    let refusals = refusals
        .listed
        .into_iter()
        .map(|refusal| (refusal.position, refusal.code, refusal.reason));
    (records.collect(), refusals.collect())
}

#[test]
fn an_event_id_is_the_clients_own_else_from_the_key_else_minted() {
    let body = "[{\"eventId\":\"mine\",\"timestamp\":\"2023-09-15T08:00:00Z\"},{\"a\":1}]";
    let (with_key, _) = decoded(body, Some("k"));
    assert_eq!(with_key[0].2, "mine");
    assert_eq!(
        with_key[1].2,
        EventId::from_idempotency_key(None, "k", 1, b"{\"a\":1}").as_str()
    );
    assert_eq!(
        decoded(body, Some("k")).0[1].2,
        with_key[1].2,
        "the same again"
    );
    assert_ne!(
        decoded(body, Some("l")).0[1].2,
        with_key[1].2,
        "another key"
    );
    let (minted, _) = decoded("[{},{}]", None);
    assert_ne!(minted[0].2, minted[1].2);
}

#[test]
fn missing_timestamps_keep_the_order_of_the_request() {
    let (records, _) = decoded("{\"a\":1}\n{\"a\":2}", None);
    assert_eq!(
        records[0].1,
        "{\"timestamp\":\"2023-11-14T22:13:20Z\",\"a\":1}"
    );
    assert_eq!(
        records[1].1,
        "{\"timestamp\":\"2023-11-14T22:13:20.000000001Z\",\"a\":2}"
    );
}

#[test]
fn a_refusal_names_the_position_the_code_and_the_way_out() {
    let long = "x".repeat(100);
    let body = format!(
        "{{\"level\":1}}\n{{}}\n{{\"message\":\"a\nb\"}}\n{{\"message\":\"{long}\"}}\n{{\"eventId\":\"\"}}"
    );
    let (records, refusals) = decoded(&body, None);
    assert_eq!(records.len(), 1);
    assert_eq!(records[0].0, 1);
    assert_eq!(
        refusals,
        [
            (0, "wrong_type", "`level` must be a string, this is a number".to_owned()),
            (2, "invalid_json", "not JSON: EOF while parsing a string at line 1 column 13; one event stands on one line, a line break inside a string is written \\n".to_owned()),
            (3, "invalid_json", "not JSON: expected value at line 1 column 1".to_owned()),
            (4, "event_too_large", "an event may have 100 bytes, this has 114".to_owned()),
            (5, "invalid_event_id", "`eventId`: the event id is empty".to_owned()),
        ]
    );
}

#[test]
fn all_refusals_count_but_only_the_first_are_listed() {
    let events = split(b"[1,2,3]", 10).unwrap();
    let many = Events {
        found: vec![events.found.clone(); 50].concat(),
        ..events
    };
    let (records, refusals) = decode(&many, request(None), &EventIdMinter::new([0; 8]));
    assert!(records.is_empty());
    assert_eq!(refusals.count(), 150);
    assert_eq!(refusals.listed.len(), ERRORS_LISTED_MAX);
    assert_eq!(refusals.by_code, [("not_an_object", 150)]);
}

/// Any JSON value without line breaks in its text.
fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i32>().prop_map(Into::into),
        "[ -~\\n\"\\\\\u{e4}\\]\\[{},]{0,12}".prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
            prop::collection::vec(("[a-z\"\\\\]{0,4}", inner), 0..4)
                .prop_map(|fields| serde_json::Value::Object(fields.into_iter().collect())),
        ]
    })
}

fn values(events: &Events<'_>) -> Vec<serde_json::Value> {
    let read = |found: &Found<'_>| serde_json::from_slice(&found.json).unwrap();
    events.found.iter().flatten().map(read).collect()
}

proptest! {
    #[test]
    fn an_array_splits_as_serde_json_reads_it(items in prop::collection::vec(json(), 0..8), pretty: bool) {
        let body = if pretty { serde_json::to_vec_pretty(&items) } else { serde_json::to_vec(&items) }.unwrap();
        let events = split(&body, 100).unwrap();
        prop_assert_eq!(events.form, Form::Array);
        prop_assert_eq!(values(&events), items);
    }

    #[test]
    fn lines_split_as_serde_json_reads_them(
        items in prop::collection::vec((json(), "(\n|\r\n|\n \n)"), 2..8),
    ) {
        prop_assume!(!items[0].0.is_array());
        let body: String = items.iter().map(|(item, end)| format!("{item}{end}")).collect();
        let events = split(body.as_bytes(), 100).unwrap();
        prop_assert_eq!(events.form, Form::Lines);
        let expected: Vec<_> = items.into_iter().map(|(item, _)| item).collect();
        prop_assert_eq!(values(&events), expected);
    }

    #[test]
    fn one_object_is_one_event_however_it_is_laid_out(item in json(), pretty: bool) {
        prop_assume!(!item.is_array());
        let body = if pretty { serde_json::to_vec_pretty(&item) } else { serde_json::to_vec(&item) }.unwrap();
        let events = split(&body, 1).unwrap();
        prop_assert_eq!(events.form, Form::Single);
        prop_assert_eq!(values(&events), [item]);
    }

    #[test]
    fn an_array_that_serde_json_reads_is_never_refused_and_one_cut_short_always(
        items in prop::collection::vec(json(), 1..6), cut in 1_usize..200,
    ) {
        let body = serde_json::to_vec(&items).unwrap();
        let cut = cut.min(body.len() - 1);
        prop_assert_eq!(split(&body[..body.len() - cut], 100).map_err(|problem| problem.code).err(),
            Some(if cut == body.len() { Code::EmptyBody } else { Code::InvalidJson }));
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(prop_oneof![any::<u8>(), prop::sample::select(&b"[]{}\",:\\\n\r 1"[..])], 0..60)) {
        if let Ok(events) = split(&bytes, 20) {
            let (records, refusals) = decode(&events, request(Some("k")), &EventIdMinter::new([0; 8]));
            prop_assert_eq!(records.len() + refusals.count(), events.found.len());
        }
    }
}
