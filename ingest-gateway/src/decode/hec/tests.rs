use proptest::prelude::*;

use super::super::test_support::{code, limits, plenty, texts};
use super::*;

fn read(body: &str) -> Result<Vec<String>, Code> {
    let mut share = plenty();
    let events = split_events(body.as_bytes(), limits(&mut share)).map_err(code)?;
    Ok(texts(&events))
}

#[test]
fn objects_that_follow_each_other_are_events() {
    let body = concat!(
        r#"{"time":1700000000.123,"host":"h","source":"s","sourcetype":"st","index":"i","event":"first","fields":{"level":"error","a":1}}"#,
        r#"{"time":"1700000001","event":{"msg":"second","severity":"warn","deep":{"a":[1]}}}"#,
        "\n",
        r#"{"host":"other","event":7}"#,
    );
    assert_eq!(
        read(body).unwrap(),
        [
            r#"{"timestamp":"2023-11-14T22:13:20.123Z","level":"error","message":"first","resourceId":"h","metadata":{"fields":{"a":1,"level":"error"},"index":"i","source":"s","sourcetype":"st"}}"#,
            r#"{"timestamp":"2023-11-14T22:13:21Z","level":"warn","message":"second","resourceId":"h","metadata":{"index":"i","source":"s","sourcetype":"st"},"msg":"second","severity":"warn","deep":{"a":[1]}}"#,
            r#"{"message":"7","resourceId":"other","metadata":{"index":"i","source":"s","sourcetype":"st"}}"#,
        ]
    );
}

#[test]
fn an_event_that_says_nothing_is_refused_alone() {
    assert_eq!(
        read(r#"{"time":1}{"event":""}{"event":null}{"event":"x","time":"soon"}{"event":"x"}"#)
            .unwrap(),
        [
            "! event_field_required",
            "! event_field_blank",
            "! event_field_required",
            "! invalid_timestamp",
            r#"{"message":"x"}"#,
        ]
    );
    for (body, expected) in [
        ("", Code::EmptyBody),
        (" \n", Code::EmptyBody),
        ("[]", Code::InvalidMessage),
        ("{\"event\":1", Code::InvalidMessage),
        ("x", Code::InvalidMessage),
    ] {
        assert_eq!(read(body), Err(expected), "{body}");
    }
}

#[test]
fn raw_lines_are_messages() {
    let about = About {
        host: Some("h".to_owned()),
        ..About::default()
    };
    let mut share = plenty();
    let events = split_raw(b"one\r\n\ntwo \xff", &about, limits(&mut share)).unwrap();
    assert_eq!(
        texts(&events),
        [
            r#"{"message":"one","resourceId":"h"}"#,
            "{\"message\":\"two \u{fffd}\",\"resourceId\":\"h\"}",
        ]
    );
    let mut share = plenty();
    let nothing = split_raw(b"\n", &about, limits(&mut share));
    assert_eq!(nothing.unwrap_err().code, Code::EmptyBody);
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        let mut share = plenty();
        drop(split_events(&bytes, limits(&mut share)));
        let mut share = plenty();
        drop(split_raw(&bytes, &About::default(), limits(&mut share)));
    }
}
