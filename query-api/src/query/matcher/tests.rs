use super::*;
use crate::query::parser;
use crate::query::tree::Query;

fn parse(text: &str) -> Result<Query, parser::QueryError> {
    parser::parse(text, Timestamp::from_nanos(0).unwrap())
}

const EVENT: &str = r#"{
    "timestamp": "2023-09-15T08:00:00.5Z",
    "level": "ERROR",
    "message": "Failed to connect to DB-7 at 10.0.0.1/api/users: ReadTimeout",
    "resourceId": "server-1234",
    "metadata": {"parentResourceId": "server-0987", "ms": 12.50, "a": {"b": ["x", null, true]}},
    "status": 500,
    "ok": true,
    "user": {"name": "Ann", "tags": ["x", "y"]},
    "n": null
}"#;

#[track_caller]
fn check(query: &str, expected: bool) {
    let dynamic = DynamicFields::new();
    let candidate = Candidate::new("id", EVENT.as_bytes(), &dynamic);
    let query_tree = parse(query).unwrap();
    assert_eq!(candidate.matches(&query_tree), expected, "{query}");
}

#[test]
fn an_event_is_found_by_what_it_says() {
    for query in [
        "",
        "failed",
        "\"CONNECT to db\"",
        "server-1234",
        "error",
        "Read*",
        "*imeou*",
        "/api/*s:",
        "level:Error",
        "level:err*",
        "level>=warn",
        "resourceId:server-*",
        "metadata.parentResourceId:server-0987",
        "metadata.ms:12.50",
        "metadata.a.b:true",
        "metadata:server-0987",
        "metadata:*",
        "metadata.a.b:*",
        "status:500",
        "status:5e2",
        "status>499",
        "status:{499 TO 501}",
        "ok:true",
        "user.name:Ann",
        "user:*",
        "user.tags:y",
        "timestamp:2023-09-15",
        "timestamp>=2023-09-15T08:00:00.5Z",
        "-traceId:*",
        "NOT (failed debug)",
        "debug OR failed",
    ] {
        check(query, true);
    }
}

#[test]
fn an_event_is_not_found_by_what_it_does_not_say() {
    for query in [
        "fail",
        "\"to connect\" to connect DB connect -failed",
        "\"connect DB\"",
        "server-123",
        "Timeout",
        "level:err",
        "resourceId:SERVER-1234",
        "resourceId:server",
        "metadata.ms:12.5",
        "metadata.a:*",
        "metadata.c:x",
        "status:501",
        "status:abc",
        "status>500",
        "ok:false",
        "ok>0",
        "user:Ann",
        "n:*",
        "unknown:*",
        "timestamp:2023-09-16",
        "timestamp>2023-09-15T08:00:00.5Z",
        "level<error",
        "\"...\"",
        "-failed",
    ] {
        check(query, false);
    }
}

#[test]
fn a_field_is_kept_as_the_index_keeps_it() {
    let event = br#"{"a": "5", "b": 7, "c": "yes", "d": "x"}"#;
    let kept = |path: &str, dynamic| (path.to_owned(), dynamic);
    let dynamic = DynamicFields::from([
        kept("a", Dynamic::Number),
        kept("b", Dynamic::Text),
        kept("c", Dynamic::Boolean),
        kept("d", Dynamic::Number),
    ]);
    let candidate = Candidate::new("id", event, &dynamic);
    for (query, expected) in [
        ("a:5.0", true),
        ("a<10", true),
        ("b:7", true),
        ("b:7.0", false),
        ("b>10", true),
        ("c:*", false),
        ("d:*", false),
        ("d:x", false),
    ] {
        assert_eq!(
            candidate.matches(&parse(query).unwrap()),
            expected,
            "{query}"
        );
    }
}

#[test]
fn what_is_too_long_for_the_index_is_not_found() {
    let long = "ä".repeat(1_025);
    let event = format!(
        r#"{{"resourceId": "{long}", "x": "{long}", "level": "{}"}}"#,
        "a".repeat(257)
    );
    let dynamic = DynamicFields::new();
    let candidate = Candidate::new("id", event.as_bytes(), &dynamic);
    for query in ["resourceId:*", "x:*", "level:*", "x:ä*"] {
        assert!(!candidate.matches(&parse(query).unwrap()), "{query}");
    }
}
