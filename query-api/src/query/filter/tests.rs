use super::*;
use crate::query::parser::parse;
use expect_test::{Expect, expect};
use log_event::timestamp::Timestamp;
use proptest::prelude::*;

#[track_caller]
fn check(query: &str, expected: Expect) {
    let query = parse(query, Timestamp::from_nanos(0).unwrap()).unwrap();
    expected.assert_eq(&filter(SearchEngine::Elasticsearch, &query).to_string());
}

#[test]
fn each_question_is_put_in_its_way() {
    check(
        "timeout",
        expect![[
            r#"{"bool":{"should":[{"match_phrase":{"message":"timeout"}},{"term":{"level":"timeout"}},{"term":{"resourceId":"timeout"}},{"term":{"traceId":"timeout"}},{"term":{"spanId":"timeout"}},{"term":{"commit":"timeout"}}]}}"#
        ]],
    );
    check(
        "level>=emerg -traceId:* message:a",
        expect![[
            r#"{"bool":{"filter":[{"bool":{"should":[{"term":{"level":"emergency"}},{"term":{"level":"emerg"}},{"term":{"level":"panic"}}]}},{"bool":{"must_not":[{"exists":{"field":"traceId"}}]}},{"match_phrase":{"message":"a"}}]}}"#
        ]],
    );
    check(
        "commit:a* OR resourceId:b?c",
        expect![[
            r#"{"bool":{"should":[{"wildcard":{"commit":{"value":"a*"}}},{"wildcard":{"resourceId":{"value":"b?c"}}}]}}"#
        ]],
    );
    check(
        "metadata.a:b metadata.c:d*",
        expect![[
            r#"{"bool":{"filter":[{"term":{"metadata.a":"b"}},{"prefix":{"metadata.c":"d"}}]}}"#
        ]],
    );
    check(
        "time*t",
        expect![[r#"{"wildcard":{"message":{"value":"time*t"}}}"#]],
    );
    check(
        "/api/*/orders",
        expect![[
            r#"{"bool":{"filter":[{"wildcard":{"message":{"value":"*orders*"}}},{"wildcard":{"message.raw":{"value":"*/api/*/orders*"}}}]}}"#
        ]],
    );
    check(
        "user:ann",
        expect![[r#"{"match":{"user":{"lenient":true,"query":"ann"}}}"#]],
    );
    check(
        r"user.name:an\ \*n*",
        expect![[
            r#"{"query_string":{"allow_leading_wildcard":true,"default_field":"user.name","lenient":true,"query":"an\\ \\*n*"}}"#
        ]],
    );
    check(
        "status>=500 n:{-1 TO 2.5]",
        expect![[
            r#"{"bool":{"filter":[{"query_string":{"allow_leading_wildcard":true,"default_field":"status","lenient":true,"query":"[\"500\" TO *]"}},{"query_string":{"allow_leading_wildcard":true,"default_field":"n","lenient":true,"query":"{\"-1\" TO \"2.5\"]"}}]}}"#
        ]],
    );
    check(
        "timestamp:2023-09-15",
        expect![[
            r#"{"range":{"timestamp":{"gte":"2023-09-15T00:00:00Z","lte":"2023-09-15T23:59:59.999999999Z"}}}"#
        ]],
    );
}

/// Lucene's wildcard syntax, read in the plainest way.
fn matches(pattern: &[char], text: &[char]) -> bool {
    match pattern {
        [] => text.is_empty(),
        ['*', rest @ ..] => (0..=text.len()).any(|n| matches(rest, &text[n..])),
        ['?', rest @ ..] => !text.is_empty() && matches(rest, &text[1..]),
        ['\\', c, rest @ ..] | [c, rest @ ..] => {
            text.first() == Some(c) && matches(rest, &text[1..])
        }
    }
}

proptest! {
    #[test]
    fn a_pattern_matches_what_contains_the_part_and_nothing_else(
        part in "[ab*?\\\\]{1,4}",
        text in "[ab*?\\\\]{0,12}",
    ) {
        let clause = wildcard("message", &literally(&part).anywhere());
        let pattern = clause["wildcard"]["message"]["value"].as_str().unwrap();
        let pattern: Vec<char> = pattern.chars().collect();
        let chars: Vec<char> = text.chars().collect();
        prop_assert_eq!(matches(&pattern, &chars), text.contains(&part));
    }

    #[test]
    fn the_words_asked_first_stand_in_every_message_that_contains_the_part(part in "\\PC{1,20}") {
        let run = longest_run(&part);
        prop_assert!(part.contains(run));
        prop_assert!(run.chars().all(|c| c.is_ascii_alphanumeric()));
        prop_assert_eq!(run.is_empty(), !part.contains(|c: char| c.is_ascii_alphanumeric()));
    }
}
