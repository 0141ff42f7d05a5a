//! A search request as Elasticsearch's JSON: the only file that spells requests to it.
//!
//! In the flow: `open_cursors` → **`es_query`** → `elasticsearch`. Upholds QA-1:
//! every search has a size, a `timeout` and a bound for counting hits.
//!
//! A part of a message is found by `message.raw`, a lower-cased keyword that is
//! kept in columns and not indexed: exact, but read event by event (1.4 s for a
//! million of them on two cores). So wherever the part holds a run of ASCII letters and digits,
//! the words of `message` are asked first: the tokenizer never splits such a
//! run, so some word of the message must contain it (0.1 s for the distinct
//! words of a million messages). Where the part is nothing but such a run, the
//! words alone decide.
//!
//! OpenSearch 2.19 differs in four things, each decided where it is spelled: a
//! point in time is opened and closed elsewhere and has no `_shard_doc`, so the
//! tie-break is `_seq_no`, which is unique in a shard only (`cursor` skips what
//! it leaves equal); a wildcard on `message.raw` must not ask to ignore case;
//! what is too long for `message.raw` is known by its absence; and the oldest
//! events come first only if an event without a timestamp is placed by a number.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use service::search_engine::SearchEngine;

use crate::config::IndexExpression;
use crate::cursor::Resume;
use crate::search_request::{Filters, SearchRequest, Sort, TimeRange};

/// Hits are counted exactly up to here; beyond it only "at least" is known.
pub const TOTAL_HITS_COUNTED_MAX: u32 = 10_000;

/// Where a search in a point in time is sent: the point in time knows its indices.
pub const SEARCH_POINT_IN_TIME_PATH: &str = "/_search";
/// An index that does not exist is no error: nothing was logged yet.
const ABSENT_IS_EMPTY: &str = "ignore_unavailable=true&allow_no_indices=true";

/// Where a search without a point in time is sent.
#[must_use]
pub fn search_path(index: &IndexExpression) -> String {
    format!("/{}/_search?{ABSENT_IS_EMPTY}", index.as_str())
}

/// Where a point in time is opened. One without all shards would leave out hits silently.
#[must_use]
pub fn open_point_in_time_path(
    engine: SearchEngine,
    index: &IndexExpression,
    keep_alive: Duration,
) -> String {
    let keep_alive = millis(keep_alive);
    let at = match engine {
        SearchEngine::Elasticsearch => "_pit?",
        SearchEngine::OpenSearch => "_search/point_in_time?allow_partial_pit_creation=false&",
    };
    format!(
        "/{}/{at}{ABSENT_IS_EMPTY}&keep_alive={keep_alive}",
        index.as_str()
    )
}

/// Where a point in time is closed.
#[must_use]
pub fn close_point_in_time_path(engine: SearchEngine) -> &'static str {
    match engine {
        SearchEngine::Elasticsearch => "/_pit",
        SearchEngine::OpenSearch => "/_search/point_in_time",
    }
}

/// A search for one page, the hits not counted.
#[must_use]
pub fn search(engine: SearchEngine, request: &SearchRequest, timeout: Duration) -> Bytes {
    body(&json!({
        "query": query(engine, request),
        "size": request.limit,
        "sort": [by_time(engine, request.sort)],
        "timeout": millis(timeout),
        "track_total_hits": false,
    }))
}

/// A search for one page of a point in time, with the hits to be skipped and with
/// one hit more than the page holds: it tells whether there is a next page.
#[must_use]
pub fn search_point_in_time(
    engine: SearchEngine,
    request: &SearchRequest,
    point_in_time: &str,
    resume: Resume,
    keep_alive: Duration,
    timeout: Duration,
) -> Bytes {
    let mut search = json!({
        "pit": { "id": point_in_time, "keep_alive": millis(keep_alive) },
        "query": query(engine, request),
        "size": request.limit + resume.skip + 1,
        "sort": by_time_and_tie_break(engine, request.sort),
        "timeout": millis(timeout),
        "track_total_hits": TOTAL_HITS_COUNTED_MAX,
    });
    if let Some(after) = resume.after {
        search["search_after"] = json!([after.timestamp, after.tie_break]);
    }
    body(&search)
}

/// The body that opens a point in time: it leaves out the indices that cannot
/// hold a hit, because each shard costs memory there and length in the cursor.
/// OpenSearch has no such filter.
#[must_use]
pub fn open_point_in_time(engine: SearchEngine, request: &SearchRequest) -> Option<Bytes> {
    match engine {
        SearchEngine::Elasticsearch => {
            let range = range(request.range)?;
            Some(body(&json!({ "index_filter": range })))
        }
        SearchEngine::OpenSearch => None,
    }
}

/// The body that closes a point in time.
#[must_use]
pub fn close_point_in_time(engine: SearchEngine, point_in_time: &str) -> Bytes {
    match engine {
        SearchEngine::Elasticsearch => body(&json!({ "id": point_in_time })),
        SearchEngine::OpenSearch => body(&json!({ "pit_id": [point_in_time] })),
    }
}

/// A search that finds nothing and costs nothing, but needs all that a search needs.
#[must_use]
pub fn probe(timeout: Duration) -> Bytes {
    body(&json!({
        "query": { "match_none": {} },
        "size": 0,
        "timeout": millis(timeout),
        "track_total_hits": false,
    }))
}

fn body(json: &Value) -> Bytes {
    json.to_string().into()
}

fn millis(duration: Duration) -> String {
    format!("{}ms", duration.as_millis())
}

/// In a point in time Elasticsearch adds `_shard_doc` as the tie-break by itself.
fn by_time_and_tie_break(engine: SearchEngine, sort: Sort) -> Value {
    match engine {
        SearchEngine::Elasticsearch => json!([by_time(engine, sort)]),
        SearchEngine::OpenSearch => {
            json!([by_time(engine, sort), { "_seq_no": { "order": order(sort) } }])
        }
    }
}

fn by_time(engine: SearchEngine, sort: Sort) -> Value {
    let missing = match (engine, sort) {
        // Last, too. With `_last`, OpenSearch leaves out a shard whose oldest event is newer than what it has found
        // already, and rounds that down to the millisecond first: it would lose events that are nanoseconds apart.
        (SearchEngine::OpenSearch, Sort::Oldest) => json!(i64::MAX),
        (SearchEngine::OpenSearch, Sort::Newest) | (SearchEngine::Elasticsearch, _) => {
            json!("_last")
        }
    };
    json!({ "timestamp": {
        "missing": missing,
        "numeric_type": "date_nanos",
        "order": order(sort),
        "unmapped_type": "date_nanos",
    }})
}

fn order(sort: Sort) -> &'static str {
    match sort {
        Sort::Newest => "desc",
        Sort::Oldest => "asc",
    }
}

fn query(engine: SearchEngine, request: &SearchRequest) -> Value {
    let Filters {
        level,
        resource_id,
        message,
        trace_id,
        span_id,
        commit,
        parent_resource_id,
    } = &request.filters;
    let equal = [
        ("level", level),
        ("resourceId", resource_id),
        ("traceId", trace_id),
        ("spanId", span_id),
        ("commit", commit),
        ("metadata.parentResourceId", parent_resource_id),
    ];
    let mut filters: Vec<Value> = equal
        .into_iter()
        .filter_map(|(field, value)| Some(json!({ "term": { field: value.as_deref()? } })))
        .collect();
    filters.extend(range(request.range));
    if let Some(part) = message {
        filters.extend(message_contains(engine, part));
    }
    if filters.is_empty() {
        json!({ "match_all": {} })
    } else {
        json!({ "bool": { "filter": filters } })
    }
}

fn range(range: TimeRange) -> Option<Value> {
    let mut bounds = serde_json::Map::new();
    if let Some(start) = range.start {
        bounds.insert("gte".to_owned(), start.to_rfc3339().into());
    }
    if let Some(end) = range.end {
        bounds.insert("lte".to_owned(), end.to_rfc3339().into());
    }
    (!bounds.is_empty()).then(|| json!({ "range": { "timestamp": bounds } }))
}

fn message_contains(engine: SearchEngine, part: &str) -> Vec<Value> {
    let run = longest_run(part);
    let mut filters = Vec::new();
    if !run.is_empty() {
        filters.push(contains("message", run));
    }
    if run.len() < part.len() {
        // A message that is too long for `message.raw` is known by its words alone.
        let (exactly, not_in_raw) = match engine {
            SearchEngine::Elasticsearch => (
                contains("message.raw", part),
                json!({ "term": { "_ignored": "message.raw" } }),
            ),
            SearchEngine::OpenSearch => (
                contains_lower_cased("message.raw", part),
                json!({ "bool": { "must_not": [{ "exists": { "field": "message.raw" } }] } }),
            ),
        };
        let too_long = json!({ "bool": { "filter": [
            not_in_raw,
            { "match_phrase_prefix": { "message": part } },
        ]}});
        filters.push(json!({ "bool": { "should": [exactly, too_long] } }));
    }
    filters
}

/// The longest run of ASCII letters and digits, the first of equals.
fn longest_run(part: &str) -> &str {
    let runs = part.split(|c: char| !c.is_ascii_alphanumeric());
    runs.rev().max_by_key(|run| run.len()).unwrap_or_default()
}

fn contains(field: &str, part: &str) -> Value {
    let pattern = format!("*{}*", literally(part));
    json!({ "wildcard": { field: { "case_insensitive": true, "value": pattern } } })
}

/// For a field that is lower-cased.
fn contains_lower_cased(field: &str, part: &str) -> Value {
    // Letter by letter, as Lucene does it: no letter depends on its neighbours or becomes two.
    let lower = part.chars().map(|c| c.to_lowercase().next().unwrap_or(c));
    let pattern = format!("*{}*", literally(&lower.collect::<String>()));
    json!({ "wildcard": { field: { "value": pattern } } })
}

/// A text as a pattern that matches nothing but it.
fn literally(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if matches!(c, '*' | '?' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern
}

#[cfg(test)]
#[path = "es_query/tests.rs"]
mod tests;
