//! The tree as Elasticsearch's JSON.
//!
//! In the flow: `query::tree` → **`query::filter`** → `es_query`. Upholds QA-2 with its twin, `query::matcher`.
//!
//! A part of a message is found by `message.raw`, a lower-cased keyword that is
//! kept in columns and not indexed: exact, but read event by event (1.4 s for a
//! million of them on two cores). So wherever the part holds a run of ASCII letters and digits,
//! the words of `message` are asked first: the tokenizer never splits such a
//! run, so some word of the message must contain it (0.1 s for the distinct
//! words of a million messages). Where the part is nothing but such a run, the
//! words alone decide.
//!
//! A field that the template does not name may be kept differently in every
//! index, so what is asked of it must not fail where it does not fit: such
//! questions are put with `lenient`, which then finds nothing.

use serde_json::{Map, Value, json};
use service::search_engine::SearchEngine;

use crate::query::field::{Field, Kind};
use crate::query::pattern::{Pattern, literally};
use crate::query::tree::{Bound, NumberRange, Query};
use crate::selection::TimeRange;

/// The tree as a query that gives no score.
#[must_use]
pub fn filter(engine: SearchEngine, query: &Query) -> Value {
    match query {
        Query::All => json!({ "match_all": {} }),
        Query::And(parts) => json!({ "bool": { "filter": filters(engine, parts) } }),
        Query::Or(parts) => json!({ "bool": { "should": filters(engine, parts) } }),
        Query::Not(part) => json!({ "bool": { "must_not": [filter(engine, part)] } }),
        Query::Exists(field) => json!({ "exists": { "field": field.path } }),
        Query::Equals(field, value) => equals(field, value),
        Query::Like(field, pattern) => like(field, pattern),
        Query::Words(text) => json!({ "match_phrase": { "message": text } }),
        Query::WordLike(pattern) => wildcard("message", pattern),
        Query::MessageLike(pattern) => message_like(pattern),
        Query::MessageContains(part) => message_contains(engine, part),
        Query::Id(id) => json!({ "ids": { "values": [id] } }),
        Query::During(range) => during(*range).unwrap_or_else(|| json!({ "match_all": {} })),
        Query::Between(field, range) => lenient(field, &numbers(range)),
    }
}

fn filters(engine: SearchEngine, parts: &[Query]) -> Vec<Value> {
    parts.iter().map(|part| filter(engine, part)).collect()
}

/// The events of a span of time; none if it has no end at all.
#[must_use]
pub fn during(range: TimeRange) -> Option<Value> {
    let mut bounds = Map::new();
    if let Some(start) = range.start {
        bounds.insert("gte".to_owned(), start.to_rfc3339().into());
    }
    if let Some(end) = range.end {
        bounds.insert("lte".to_owned(), end.to_rfc3339().into());
    }
    (!bounds.is_empty()).then(|| json!({ "range": { "timestamp": bounds } }))
}

fn equals(field: &Field, value: &str) -> Value {
    match field.kind {
        Kind::Dynamic => json!({ "match": { &field.path: { "lenient": true, "query": value } } }),
        _ => json!({ "term": { &field.path: value } }),
    }
}

fn like(field: &Field, pattern: &Pattern) -> Value {
    match field.kind {
        Kind::Dynamic => lenient(field, &escaped(&pattern.to_wildcard())),
        // In something flattened Elasticsearch knows no other pattern, and the parser lets none through.
        Kind::Metadata => {
            json!({ "prefix": { &field.path: pattern.as_prefix().unwrap_or_default() } })
        }
        _ => wildcard(&field.path, pattern),
    }
}

fn wildcard(field: &str, pattern: &Pattern) -> Value {
    json!({ "wildcard": { field: { "value": pattern.to_wildcard() } } })
}

fn message_like(pattern: &Pattern) -> Value {
    let exactly = wildcard("message.raw", pattern);
    match a_word_of(&pattern.to_wildcard()) {
        Some(word) => json!({ "bool": { "filter": [word, exactly] } }),
        None => exactly,
    }
}

fn message_contains(engine: SearchEngine, part: &str) -> Value {
    let word = a_word_of(part);
    if let Some(word) = &word
        && part.bytes().all(|byte| byte.is_ascii_alphanumeric())
    {
        return word.clone();
    }
    let exactly = wildcard("message.raw", &literally(part).to_lower_case().anywhere());
    // A message that is too long for `message.raw` is known by its words alone.
    let not_in_raw = match engine {
        SearchEngine::Elasticsearch => json!({ "term": { "_ignored": "message.raw" } }),
        SearchEngine::OpenSearch => {
            json!({ "bool": { "must_not": [{ "exists": { "field": "message.raw" } }] } })
        }
    };
    let too_long = json!({ "bool": { "filter": [
        not_in_raw,
        { "match_phrase_prefix": { "message": part } },
    ]}});
    let either = json!({ "bool": { "should": [exactly, too_long] } });
    match word {
        Some(word) => json!({ "bool": { "filter": [word, either] } }),
        None => either,
    }
}

/// A word that every message has that contains this text or pattern; `None` if it has no letter or digit.
fn a_word_of(text: &str) -> Option<Value> {
    let run = longest_run(text);
    let word = literally(run).to_lower_case().anywhere();
    (!run.is_empty()).then(|| wildcard("message", &word))
}

/// The longest run of ASCII letters and digits, the first of equals.
fn longest_run(text: &str) -> &str {
    let runs = text.split(|c: char| !c.is_ascii_alphanumeric());
    runs.rev().max_by_key(|run| run.len()).unwrap_or_default()
}

/// A question in the syntax of `query_string`, which alone is lenient about ranges and patterns.
fn lenient(field: &Field, question: &str) -> Value {
    json!({ "query_string": {
        "allow_leading_wildcard": true,
        "default_field": field.path,
        "lenient": true,
        "query": question,
    }})
}

fn numbers(range: &NumberRange) -> String {
    let end = |end: &Option<Bound>| match end {
        Some(bound) => format!("\"{}\"", bound.number),
        None => "*".to_owned(),
    };
    let inclusive = |end: &Option<Bound>| end.as_ref().is_none_or(|bound| bound.inclusive);
    format!(
        "{}{} TO {}{}",
        if inclusive(&range.low) { '[' } else { '{' },
        end(&range.low),
        end(&range.high),
        if inclusive(&range.high) { ']' } else { '}' },
    )
}

/// A pattern as a word of `query_string`: there, more characters mean something.
fn escaped(wildcard: &str) -> String {
    let mut text = String::with_capacity(wildcard.len() + 8);
    let mut chars = wildcard.chars();
    while let Some(c) = chars.next() {
        match c {
            '*' | '?' => text.push(c),
            '\\' => {
                text.push('\\');
                text.extend(chars.next());
            }
            c if c.is_alphanumeric() => text.push(c),
            c => text.extend(['\\', c]),
        }
    }
    text
}

#[cfg(test)]
mod tests;
