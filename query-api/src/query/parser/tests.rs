use super::parse as parse_at;
use super::*;
use crate::query::tree::{Bound, NumberRange};
use proptest::prelude::*;

fn parse(text: &str) -> Result<Query, QueryError> {
    parse_at(text, Timestamp::parse("2023-09-15T12:00:00Z").unwrap())
}

/// A tree on one line. What a text without a field becomes is written `text(…)`.
fn shape(query: &Query) -> String {
    let list = |parts: &[Query]| parts.iter().map(shape).collect::<Vec<_>>().join(" ");
    match query {
        Query::All => "all".to_owned(),
        Query::And(parts) => format!("and({})", list(parts)),
        Query::Or(parts) => match parts.as_slice() {
            [Query::Words(text), Query::Equals(field, value), ..]
                if field.path == "level" && value == text =>
            {
                format!("text({text})")
            }
            parts => format!("or({})", list(parts)),
        },
        Query::Not(part) => format!("not({})", shape(part)),
        Query::Exists(field) => format!("{}:*", field.path),
        Query::Equals(field, value) => format!("{}={value}", field.path),
        Query::Like(field, pattern) => format!("{}~{}", field.path, pattern.to_wildcard()),
        Query::Words(text) => format!("words({text})"),
        Query::WordLike(pattern) => format!("word~{}", pattern.to_wildcard()),
        Query::MessageLike(pattern) => format!("message~{}", pattern.to_wildcard()),
        Query::MessageContains(part) => format!("contains({part})"),
        Query::Id(id) => format!("id({id})"),
        Query::During(range) => {
            let moment = |at: Option<Timestamp>| at.map_or("*".to_owned(), |at| at.to_rfc3339());
            format!("during({} {})", moment(range.start), moment(range.end))
        }
        Query::Between(field, NumberRange { low, high }) => {
            let end = |end: &Option<Bound>| match end {
                None => "*".to_owned(),
                Some(bound) if bound.inclusive => format!("={}", bound.number),
                Some(bound) => bound.number.clone(),
            };
            format!("{}({} {})", field.path, end(low), end(high))
        }
    }
}

#[track_caller]
fn check(text: &str, expected: &str) {
    match parse(text) {
        Ok(query) => assert_eq!(shape(&query), expected, "{text}"),
        Err(error) => panic!("{text}: {error}"),
    }
}

#[test]
fn a_text_without_a_field_is_words_of_the_message_or_the_name_of_something() {
    let Ok(Query::Or(alternatives)) = parse("timeout") else {
        panic!("not an alternative");
    };
    let shapes: Vec<String> = alternatives.iter().map(shape).collect();
    assert_eq!(
        shapes.join(" "),
        "words(timeout) level=timeout resourceId=timeout traceId=timeout spanId=timeout commit=timeout"
    );
    check("", "all");
    check(" \t ", "all");
    check("*", "all");
    check("\"connection refused\"", "text(connection refused)");
    check("status=500", "text(status=500)");
    check("10:32:01", "text(10:32:01)");
    check("http://host/path?x", "message~*http://host/path?x*");
    check("https://host/path", "text(https://host/path)");
    check("a->b", "text(a->b)");
    check("and", "text(and)");
    check("\"AND\"", "text(AND)");
    check("ANDROID", "text(ANDROID)");
    check(r"\-a\ b\*", "text(-a b*)");
    check("- a", "and(text(-) text(a))");
}

#[test]
fn words_side_by_side_are_all_asked_for_and_and_binds_before_or() {
    check("a b", "and(text(a) text(b))");
    check(
        "a AND b OR c d",
        "or(and(text(a) text(b)) and(text(c) text(d)))",
    );
    check("a (b OR c)", "and(text(a) or(text(b) text(c)))");
    check("NOT a b", "and(not(text(a)) text(b))");
    check("-a -(b c)", "and(not(text(a)) not(and(text(b) text(c))))");
    check("a AND NOT b", "and(text(a) not(text(b)))");
    check("a OR -level:debug", "or(text(a) not(level=debug))");
    check("((a))", "text(a)");
    check("a\"b c\"", "and(text(a) text(b c))");
}

#[test]
fn a_field_is_asked_for_what_it_can_tell() {
    check("level:error", "level=error");
    check("level: error", "level=error");
    check("level:(error OR warn)", "or(level=error level=warn)");
    check("level:(NOT debug)", "not(level=debug)");
    check("-level:debug", "not(level=debug)");
    check("resourceId:server-1*", "resourceId~server-1*");
    check("level:ERR*", "level~err*");
    check("message:\"a b\"", "words(a b)");
    check("message:Time*", "word~time*");
    check("message:/api/*/x", "message~*/api/*/x*");
    check("metadata.k8s.io/app:x", "metadata.k8s.io/app=x");
    check("metadata.a:b*", "metadata.a~b*");
    check("traceId:*", "traceId:*");
    check("user.name:\"x \\\"y\\\" \\\\\"", "user.name=x \"y\" \\");
    check(r"odd\ name\::1", "odd name:=1");
    check("url:http://x/y", "url=http://x/y");
    check("_extra:1", "_extra=1");
}

#[test]
fn numbers_moments_and_severities_are_compared() {
    check("status>499", "status(499 *)");
    check("status:>=500", "status(=500 *)");
    check("status<=-1.5e3", "status(* =-1.5e3)");
    check("status:[500 TO 599]", "status(=500 =599)");
    check("status:{500 TO \"599\"]", "status(500 =599)");
    check("status:[500 TO *]", "status(=500 *)");
    check("status:[* TO *]", "status:*");
    let day = "during(2023-09-15T00:00:00Z 2023-09-15T23:59:59.999999999Z)";
    check("timestamp:2023-09-15", day);
    check("timestamp:[2023-09-15 TO 2023-09-15]", day);
    check("timestamp>2023-09-15", "during(2023-09-16T00:00:00Z *)");
    check(
        "timestamp<2023-09-15",
        "during(* 2023-09-14T23:59:59.999999999Z)",
    );
    check(
        "timestamp>=2023-09-15T08:00:00Z",
        "during(2023-09-15T08:00:00Z *)",
    );
    check(
        "timestamp>now-30m",
        "during(2023-09-15T11:30:00.000000001Z *)",
    );
    check(
        "level>=critical",
        "or(level=critical level=crit level=fatal level=alert level=emergency level=emerg level=panic)",
    );
    check("level<debug", "or(level=trace)");
    check("level>emerg", "not(all)");
    check(
        "level:[info TO info]",
        "or(level=info level=information level=informational)",
    );
}

#[track_caller]
fn refused(text: &str, column: usize, reason: &str) {
    match parse(text) {
        Ok(query) => panic!("{text}: {}", shape(&query)),
        Err(error) => {
            assert_eq!(error.column, column, "{text}: {error}");
            assert!(error.reason.contains(reason), "{text}: {error}");
        }
    }
}

#[test]
fn an_error_names_the_column_and_the_way_out() {
    refused("(a", 1, "is never closed");
    refused("a b)", 4, "closes nothing");
    refused("a ()", 4, "nothing between");
    refused("ä \"b", 3, "never closed");
    refused("a AND", 6, "a value is missing here");
    refused("OR a", 1, "nothing before this `OR`");
    refused("a AND OR b", 7, "nothing before this `OR`");
    refused("level:", 7, "missing for `level`");
    refused("level:)", 7, "missing for `level`");
    refused("status>abc", 8, "`abc` is no number");
    refused("status>5*", 8, "no wildcards");
    refused("level>loud", 7, "`loud` has no place");
    refused("commit>a", 8, "has no order");
    refused("metadata.ms>5", 13, "in a field of its own");
    refused("timestamp:soon", 11, "`soon` is no date");
    refused("timestamp:2023*", 11, "dates have no wildcards");
    refused("status:[1 5]", 11, "`TO` is missing");
    refused("status:[1 TO 5", 8, "not closed");
    refused("metadata.a:*bcd", 12, "the only wildcard");
    refused("a *b", 3, "at least 3 other characters");
    refused("message:.a*", 9, "anywhere in the message");
    refused("_id:x", 1, "no such field");
    refused("message.raw:x", 1, "has no fields in it");
    refused("a\\", 2, "nothing after this");
    refused(&"a ".repeat(101), 201, "at most 100 values");
    refused(&"(".repeat(30), 21, "deeper than 20");
    refused(&"-".repeat(30), 21, "deeper than 20");
    refused(&"a".repeat(5_000), 4_097, "at most 4096 characters");
}

/// Texts that come close to queries.
fn nearly_a_query() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => "[a-cä*?]{1,4}",
        1 => Just("\"".to_owned()),
        1 => "[\\\\(){}\\[\\]<>=:\\-]",
        2 => prop::sample::select(vec![
            " AND ", " OR ", " NOT ", " TO ", " ", "level:", "timestamp:", "metadata.x:", "n>", "n:[1 TO ", "2023-09-15",
            "\"a b\"",
        ])
        .prop_map(str::to_owned),
    ];
    prop::collection::vec(piece, 0..20).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_096))]

    #[test]
    fn any_text_is_a_query_or_has_an_error_at_one_of_its_columns(
        text in prop_oneof![nearly_a_query(), any::<String>()],
    ) {
        if let Err(error) = parse(&text) {
            prop_assert!((1..=text.chars().count() + 1).contains(&error.column), "{error}");
        }
    }

    #[test]
    fn a_quoted_text_is_found_as_it_is(text in any::<String>().prop_filter("short", |text| text.chars().count() < 1_000)) {
        let quoted = text.replace('\\', "\\\\").replace('"', "\\\"");
        let query = parse(&format!("resourceId:\"{quoted}\"")).unwrap();
        prop_assert_eq!(query, Query::Equals(Field::new("resourceId"), text));
    }

    #[test]
    fn an_escaped_text_is_found_as_it_is(text in any::<String>().prop_filter("short", |text| {
        (1..1_000).contains(&text.chars().count())
    })) {
        let escaped: String = text.chars().flat_map(|c| ['\\', c]).collect();
        let query = parse(&format!("resourceId:{escaped}")).unwrap();
        prop_assert_eq!(query, Query::Equals(Field::new("resourceId"), text));
    }
}
