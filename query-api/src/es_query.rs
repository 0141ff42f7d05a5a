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

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::config::IndexExpression;
use crate::cursor::Position;
use crate::search_request::{Filters, SearchRequest, Sort, TimeRange};

/// Hits are counted exactly up to here; beyond it only "at least" is known.
pub const TOTAL_HITS_COUNTED_MAX: u32 = 10_000;

/// Where a search in a point in time is sent: the point in time knows its indices.
pub const SEARCH_POINT_IN_TIME_PATH: &str = "/_search";
/// Where a point in time is closed.
pub const CLOSE_POINT_IN_TIME_PATH: &str = "/_pit";

/// An index that does not exist is no error: nothing was logged yet.
const ABSENT_IS_EMPTY: &str = "ignore_unavailable=true&allow_no_indices=true";

/// Where a search without a point in time is sent.
#[must_use]
pub fn search_path(index: &IndexExpression) -> String {
    format!("/{}/_search?{ABSENT_IS_EMPTY}", index.as_str())
}

/// Where a point in time is opened.
#[must_use]
pub fn open_point_in_time_path(index: &IndexExpression, keep_alive: Duration) -> String {
    let keep_alive = millis(keep_alive);
    format!(
        "/{}/_pit?{ABSENT_IS_EMPTY}&keep_alive={keep_alive}",
        index.as_str()
    )
}

/// A search for one page, the hits not counted.
#[must_use]
pub fn search(request: &SearchRequest, timeout: Duration) -> Bytes {
    body(&json!({
        "query": query(request),
        "size": request.limit,
        "sort": sort(request.sort),
        "timeout": millis(timeout),
        "track_total_hits": false,
    }))
}

/// A search for one page of a point in time, with one hit more than the page
/// holds: it tells whether there is a next page.
#[must_use]
pub fn search_point_in_time(
    request: &SearchRequest,
    point_in_time: &str,
    after: Option<Position>,
    keep_alive: Duration,
    timeout: Duration,
) -> Bytes {
    let mut search = json!({
        "pit": { "id": point_in_time, "keep_alive": millis(keep_alive) },
        "query": query(request),
        "size": request.limit + 1,
        "sort": sort(request.sort),
        "timeout": millis(timeout),
        "track_total_hits": TOTAL_HITS_COUNTED_MAX,
    });
    if let Some(after) = after {
        search["search_after"] = json!([after.timestamp, after.shard_doc]);
    }
    body(&search)
}

/// The body that opens a point in time: it leaves out the indices that cannot
/// hold a hit, because each shard costs memory there and length in the cursor.
#[must_use]
pub fn open_point_in_time(request: &SearchRequest) -> Option<Bytes> {
    let range = range(request.range)?;
    Some(body(&json!({ "index_filter": range })))
}

/// The body that closes a point in time.
#[must_use]
pub fn close_point_in_time(point_in_time: &str) -> Bytes {
    body(&json!({ "id": point_in_time }))
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

/// By time; in a point in time Elasticsearch adds `_shard_doc` as the tie-break.
fn sort(sort: Sort) -> Value {
    let order = match sort {
        Sort::Newest => "desc",
        Sort::Oldest => "asc",
    };
    json!([{ "timestamp": {
        "missing": "_last",
        "numeric_type": "date_nanos",
        "order": order,
        "unmapped_type": "date_nanos",
    }}])
}

fn query(request: &SearchRequest) -> Value {
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
        filters.extend(message_contains(part));
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

fn message_contains(part: &str) -> Vec<Value> {
    let run = longest_run(part);
    let mut filters = Vec::new();
    if !run.is_empty() {
        filters.push(contains("message", run));
    }
    if run.len() < part.len() {
        // A message that is too long for `message.raw` is known by its words alone.
        let too_long = json!({ "bool": { "filter": [
            { "term": { "_ignored": "message.raw" } },
            { "match_phrase_prefix": { "message": part } },
        ]}});
        filters.push(json!({ "bool": { "should": [contains("message.raw", part), too_long] } }));
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
