use proptest::prelude::*;

use super::super::test_support::{limits, plenty, texts};
use super::*;

type Seen = (Vec<String>, Vec<(&'static str, String, Option<String>)>);

fn read(body: &str, index: Option<&str>) -> Result<Seen, String> {
    let mut share = plenty();
    let (events, operations) = split_bulk(body.as_bytes(), index, limits(&mut share))
        .map_err(|problem| problem.to_string())?;
    let operations = operations
        .into_iter()
        .map(|operation| (operation.action.as_str(), operation.index, operation.id));
    Ok((texts(&events), operations.collect()))
}

#[test]
fn each_operation_is_an_event_or_says_why_not() {
    let body = concat!(
        "{\"create\":{\"_index\":\"app\",\"_id\":\"7\",\"pipeline\":\"p\"}}\n",
        "{\"@timestamp\":\"2023-09-15T08:00:00Z\",\"message\":\"x\",\"log\":{\"level\":\"error\"},\"host\":{\"name\":\"h\"},\"trace.id\":\"t\"}\n",
        "\n",
        "{\"index\":{}}\r\n",
        "{}\r\n",
        "{\"delete\":{\"_id\":\"9\"}}\n",
        "{\"update\":{\"_id\":\"9\"}}\n",
        "{\"doc\":{}}\n",
        "{\"index\":{\"_index\":\"b\"}}\n",
        "not JSON",
    );
    let (events, operations) = read(body, Some("of-path")).unwrap();
    assert_eq!(
        events,
        [
            r#"{"timestamp":"2023-09-15T08:00:00Z","level":"error","resourceId":"h","traceId":"t","sourceIndex":"app","@timestamp":"2023-09-15T08:00:00Z","message":"x","log":{"level":"error"},"host":{"name":"h"},"trace.id":"t"}"#,
            r#"{"sourceIndex":"of-path"}"#,
            "! not_supported",
            "! not_supported",
            "not JSON",
        ]
    );
    let id = |text: &str| Some(text.to_owned());
    assert_eq!(
        operations,
        [
            ("create", "app".to_owned(), id("7")),
            ("index", "of-path".to_owned(), None),
            ("delete", "of-path".to_owned(), id("9")),
            ("update", "of-path".to_owned(), id("9")),
            ("index", "b".to_owned(), None),
        ]
    );
}

#[test]
fn a_name_of_an_index_that_none_can_have_is_refused_before_it_is_repeated() {
    let name = "x".repeat(256);
    let body = format!("{{\"index\":{{\"_index\":\"{name}\"}}}}\n{{}}");
    for (body, index) in [
        (body.as_str(), None),
        ("{\"delete\":{}}", Some(name.as_str())),
    ] {
        let refused = read(body, index).unwrap_err();
        assert!(refused.contains("may have 255 bytes"), "{refused}");
    }
    assert!(read("{\"delete\":{}}", Some(&name[1..])).is_ok());
}

#[test]
fn a_level_that_a_logger_writes_as_a_number_is_kept_by_its_name() {
    let document = |level: &str| {
        format!("{{\"index\":{{}}}}\n {{\"level\":{level} ,\"time\":1764000000000,\"msg\":\"é\"}}")
    };
    for (number, name) in [("10", "trace"), ("30", "info"), ("60", "fatal")] {
        let (events, _) = read(&document(number), None).unwrap();
        let expected = format!(
            r#"{{"timestamp":"2025-11-24T16:00:00Z","message":"é","sourceIndex":"logs","level":"{name}" ,"time":1764000000000,"msg":"é"}}"#
        );
        assert_eq!(events, [expected]);
    }
    let (events, _) = read(&document("35"), None).unwrap();
    assert!(events[0].contains("\"level\":35"), "{events:?}");
}

#[test]
fn what_the_document_says_itself_is_not_said_for_it() {
    let body = "{\"index\":{}}\n{\"timestamp\":\"2023-09-15T08:00:00Z\",\"level\":\"info\",\"severity\":\"x\",\"sourceIndex\":\"mine\",\"msg\":\"m\"}";
    assert_eq!(
        read(body, None).unwrap().0,
        [
            r#"{"message":"m","timestamp":"2023-09-15T08:00:00Z","level":"info","severity":"x","sourceIndex":"mine","msg":"m"}"#
        ]
    );
}

#[test]
fn a_line_that_is_no_operation_fails_the_request_and_is_named() {
    for (body, what) in [
        ("", "request body is required"),
        ("\n\n", "request body is required"),
        (
            "{\"index\":{}}",
            "Malformed action/metadata line [1], the document",
        ),
        ("{}\n{}", "Malformed action/metadata line [1], an action is"),
        (
            "{\"index\":{}}\n{}\n{\"put\":{}}\n{}",
            "line [3], expected field [create]",
        ),
        (
            "{\"index\":{},\"create\":{}}\n{}",
            "an action is an object with one name",
        ),
        ("hello\nworld", "Malformed action/metadata line [1]"),
    ] {
        let error = read(body, None).unwrap_err();
        assert!(error.contains(what), "{body}: {error}");
    }
}

proptest! {
    #[test]
    fn there_is_one_operation_for_each_event(text in "(\\{\"(index|create|delete|x)\":\\{\\}\\}|\\{\"a\":1\\}|x|\n){0,12}") {
        let mut share = plenty();
        if let Ok((events, operations)) = split_bulk(text.as_bytes(), None, limits(&mut share)) {
            prop_assert_eq!(events.found.len(), operations.len());
        }
    }

    #[test]
    fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        let mut share = plenty();
        drop(split_bulk(&bytes, None, limits(&mut share)));
    }
}
