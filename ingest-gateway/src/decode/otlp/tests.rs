use opentelemetry_proto::tonic::logs::v1::{ResourceLogs, ScopeLogs};
use proptest::prelude::*;

use super::super::test_support::{code, limits, plenty, texts};
use super::*;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;

fn json(body: &str) -> Result<Vec<String>, Code> {
    let mut share = plenty();
    let events = split(body.as_bytes(), Encoding::Json, limits(&mut share)).map_err(code)?;
    Ok(texts(&events))
}

/// A request with this record alone.
fn request(record: &str) -> String {
    format!(
        r#"{{"resourceLogs":[{{"resource":{{"attributes":[{{"key":"service.name","value":{{"stringValue":"shop"}}}}]}},"scopeLogs":[{{"scope":{{"name":"lib","version":"1"}},"logRecords":[{record}]}}]}}]}}"#
    )
}

#[test]
fn a_record_becomes_an_event() {
    let record = r#"{"timeUnixNano":"1700000000123456789","severityNumber":17,"severityText":"ERR","body":{"stringValue":"it\nfails"},"attributes":[{"key":"http.status","value":{"intValue":"503"}},{"key":"log.record.uid","value":{"stringValue":"uid-1"}}],"traceId":"5B8EFFF798038103D269B633813FC60C","spanId":"EEE19B7EC3C1B174","flags":1,"eventName":"e"}"#;
    let body = request(record);
    let mut share = plenty();
    let events = split(body.as_bytes(), Encoding::Json, limits(&mut share)).unwrap();
    assert_eq!(
        texts(&events),
        [
            r#"{"timestamp":"2023-11-14T22:13:20.123456789Z","level":"error","message":"it\nfails","resourceId":"shop","traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174","metadata":{"attributes":{"http.status":503,"log.record.uid":"uid-1"},"eventName":"e","resource":{"service.name":"shop"},"scope":{"name":"lib","version":"1"},"severityNumber":17,"severityText":"ERR"}}"#
        ]
    );
    let found = events.found[0].as_ref().unwrap();
    assert_eq!((found.id.as_deref(), found.is_timed), (Some("uid-1"), true));
    assert_eq!(share.bytes(), found.json.len());
}

#[test]
fn odd_records_are_read_as_the_specification_has_it() {
    assert_eq!(json("{}"), Ok(Vec::new()));
    assert_eq!(
        json(&request("{}")).unwrap(),
        [
            r#"{"resourceId":"shop","metadata":{"resource":{"service.name":"shop"},"scope":{"name":"lib","version":"1"}}}"#
        ]
    );
    let checks = [
        (
            r#"{"observedTimeUnixNano":1,"body":{}}"#,
            r#""timestamp":"1970-01-01T00:00:00.000000001Z""#,
        ),
        (r#"{"body":{"intValue":7}}"#, r#""message":"7""#),
        (r#"{"body":{"intValue":"-7"}}"#, r#""message":"-7""#),
        (r#"{"body":{"doubleValue":1.5}}"#, r#""message":"1.5""#),
        (
            r#"{"body":{"kvlistValue":{"values":[{"key":"b","value":{"boolValue":true}},{"key":"a","value":{"arrayValue":{"values":[{"bytesValue":"aGk="}]}}}]}}}"#,
            r#""message":"{\"a\":[\"aGk=\"],\"b\":true}""#,
        ),
        (r#"{"severityText":"Notice"}"#, r#""level":"Notice""#),
        (
            r#"{"traceId":"00000000000000000000000000000000"}"#,
            r#"{"resourceId""#,
        ),
        (
            r#"{"attributes":[{"key":"a","value":{"intValue":1}},{"key":"a","value":{"intValue":2}}]}"#,
            r#""attributes":{"a":2}"#,
        ),
        (
            r#"{"timeUnixNano":"9999999999999999999"}"#,
            "! invalid_timestamp",
        ),
        (r#"{"somethingNew":[1]}"#, r#""resourceId":"shop""#),
    ];
    for (record, part) in checks {
        let found = json(&request(record)).unwrap().join("");
        assert!(found.contains(part), "{record}: {found}");
    }
    for body in ["", "[]", "x", r#"{"resourceLogs":7}"#] {
        assert_eq!(json(body), Err(Code::InvalidMessage), "{body}");
    }
    let mut share = plenty();
    let problem = split(
        b"\x0a\xff\xff\xff\xff\x0f",
        Encoding::Protobuf,
        limits(&mut share),
    );
    assert_eq!(problem.unwrap_err().code, Code::InvalidMessage);
}

#[test]
fn a_small_request_does_not_become_a_large_heap() {
    let text = "x".repeat(10_000);
    let attribute = KeyValue {
        key: "a".to_owned(),
        value: Some(AnyValue {
            value: Some(any_value::Value::StringValue(text)),
        }),
        ..KeyValue::default()
    };
    let logs = ResourceLogs {
        resource: Some(Resource {
            attributes: vec![attribute],
            ..Default::default()
        }),
        scope_logs: vec![ScopeLogs {
            log_records: vec![LogRecord::default(); 900],
            ..ScopeLogs::default()
        }],
        ..ResourceLogs::default()
    };
    let body = ExportLogsServiceRequest {
        resource_logs: vec![logs],
    }
    .encode_to_vec();
    assert!(body.len() < 20_000);
    let mut share = plenty();
    let problem = split(&body, Encoding::Protobuf, limits(&mut share)).unwrap_err();
    assert_eq!(problem.code, Code::BodyTooLarge);
    // Room to read any one of them, and not to keep all of them.
    let budget = crate::admission::Budget::new(2_000_000);
    let mut share = budget.share();
    let mut limits = limits(&mut share);
    limits.bytes_max = usize::MAX / 2;
    let problem = split(&body, Encoding::Protobuf, limits).unwrap_err();
    assert_eq!(problem.code, Code::Overloaded);
}

fn values() -> impl Strategy<Value = any_value::Value> {
    let leaf = prop_oneof![
        "\\PC{0,6}".prop_map(any_value::Value::StringValue),
        any::<bool>().prop_map(any_value::Value::BoolValue),
        any::<i64>().prop_map(any_value::Value::IntValue),
        // The JSON parser may err in the last digit of others.
        (-1_000..1_000).prop_map(|n| any_value::Value::DoubleValue(f64::from(n) / 8.0)),
        prop::collection::vec(any::<u8>(), 0..4).prop_map(any_value::Value::BytesValue),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        let pair = ("\\PC{0,3}", inner).prop_map(|(key, value)| KeyValue {
            key,
            value: Some(AnyValue { value: Some(value) }),
            ..KeyValue::default()
        });
        prop::collection::vec(pair, 0..3).prop_map(|values| {
            any_value::Value::KvlistValue(opentelemetry_proto::tonic::common::v1::KeyValueList {
                values,
            })
        })
    })
}

proptest! {
    #[test]
    fn both_encodings_say_the_same_and_every_record_is_json(
        body in proptest::option::of(values()), time in any::<u32>(), severity in -1..30i32, id in prop::collection::vec(any::<u8>(), 16),
    ) {
        let record = LogRecord {
            time_unix_nano: u64::from(time) * 1_000_000_000,
            severity_number: severity,
            body: body.map(|value| AnyValue { value: Some(value) }),
            trace_id: id,
            ..LogRecord::default()
        };
        let request = ExportLogsServiceRequest {
            resource_logs: vec![ResourceLogs {
                scope_logs: vec![ScopeLogs { log_records: vec![record], ..ScopeLogs::default() }],
                ..ResourceLogs::default()
            }],
        };
        let mut share = plenty();
        let binary = split(&request.encode_to_vec(), Encoding::Protobuf, limits(&mut share)).unwrap();
        let mut other = plenty();
        let text = serde_json::to_vec(&request).unwrap();
        let as_json = split(&text, Encoding::Json, limits(&mut other)).unwrap();
        prop_assert_eq!(texts(&binary), texts(&as_json));
        for text in texts(&binary) {
            prop_assert!(serde_json::from_str::<Value>(&text).is_ok(), "{}", text);
        }
    }

    #[test]
    fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        for encoding in [Encoding::Protobuf, Encoding::Json] {
            let mut share = plenty();
            drop(split(&bytes, encoding, limits(&mut share)));
        }
    }
}

/// A field of a protobuf message that holds these bytes, in front of the rest.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut field = vec![number << 3 | 2];
    prost::encoding::encode_varint(content.len() as u64, &mut field);
    field.extend_from_slice(content);
    field
}

#[test]
fn records_that_are_nothing_on_the_wire_are_counted_before_they_are_built() {
    let refused = |body: &[u8], encoding| {
        let mut share = plenty();
        let problem = split(body, encoding, limits(&mut share)).unwrap_err();
        assert!(share.bytes() < 10_000, "the first thousand events are held");
        problem.code
    };
    let records = field(2, &[]).repeat(1_000_000);
    let body = field(1, &field(2, &records));
    assert_eq!(refused(&body, Encoding::Protobuf), Code::TooManyEvents);
    let records = "{},".repeat(1_000_000);
    let body =
        format!(r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{records}{{}}]}}]}}]}}"#);
    assert_eq!(
        refused(body.as_bytes(), Encoding::Json),
        Code::TooManyEvents
    );
}

#[test]
fn what_is_large_in_an_event_or_beside_it_costs_that_event_alone() {
    let attributes = field(6, &[]).repeat(100_000);
    let resource = field(1, &[]).repeat(100_000);
    let small = field(2, &[]);
    for (body, expected) in [
        (
            field(
                1,
                &field(2, &[field(2, &attributes), small.clone()].concat()),
            ),
            ["! event_too_large", "{}"],
        ),
        (
            [
                field(1, &[field(1, &resource), field(2, &small)].concat()),
                field(1, &field(2, &small)),
            ]
            .concat(),
            ["! event_too_large", "{}"],
        ),
    ] {
        let mut share = plenty();
        let events = split(&body, Encoding::Protobuf, limits(&mut share)).unwrap();
        assert_eq!(texts(&events), expected);
    }
}

#[test]
fn a_resource_behind_its_records_and_in_two_parts_is_read_as_one() {
    let attribute = |key: &str, text: &str| {
        let value = field(2, &field(1, text.as_bytes()));
        field(1, &[field(1, key.as_bytes()), value].concat())
    };
    let body = field(
        1,
        &[
            field(2, &field(2, &[])),
            field(1, &attribute("service.name", "shop")),
            field(1, &attribute("host.name", "h")),
        ]
        .concat(),
    );
    let mut share = plenty();
    let events = split(&body, Encoding::Protobuf, limits(&mut share)).unwrap();
    let expected =
        r#"{"resourceId":"shop","metadata":{"resource":{"host.name":"h","service.name":"shop"}}}"#;
    assert_eq!(texts(&events), [expected]);
}

#[test]
fn what_a_record_is_while_it_is_read_is_taken_from_the_budget_and_given_back() {
    let attributes = field(6, &[]).repeat(1_000);
    let body = field(1, &field(2, &field(2, &attributes)));
    for (bytes, fits) in [(100_000, false), (200_000, true)] {
        let budget = crate::admission::Budget::new(bytes);
        let mut share = budget.share();
        let found = split(&body, Encoding::Protobuf, limits(&mut share));
        assert_eq!(found.is_ok(), fits, "{bytes}");
        assert!(share.bytes() < 1_000, "{bytes}: {} are held", share.bytes());
    }
}
