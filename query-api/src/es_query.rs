//! A search request as Elasticsearch's JSON: the only file that spells requests to it.
//!
//! In the flow: `open_cursors` → **`es_query`** → `elasticsearch`. Upholds QA-1:
//! every search has a size, a `timeout` and a bound for counting hits.
//!
//! OpenSearch 2.19 differs in four things, each decided where it is spelled: a
//! point in time is opened and closed elsewhere and has no `_shard_doc`, so the
//! tie-break is `_seq_no`, which is unique in a shard only (`cursor` skips what
//! it leaves equal); what is too long for `message.raw` is known by its absence; and the oldest
//! events come first only if an event without a timestamp is placed by a number.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use service::search_engine::SearchEngine;

use crate::config::IndexExpression;
use crate::cursor::Resume;
use crate::query::filter::{during, filter};
use crate::query::tree::Query;
use crate::search_request::{SearchRequest, Sort};
use crate::selection::Selection;

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

/// Where it is asked how the indices keep their fields.
#[must_use]
pub fn field_capabilities_path(index: &IndexExpression) -> String {
    format!("/{}/_field_caps?fields=*&{ABSENT_IS_EMPTY}", index.as_str())
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
        "query": query(engine, &request.selection),
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
        "query": query(engine, &request.selection),
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

/// What bounds a search that is not for a page.
#[derive(Clone, Copy, Debug)]
pub struct Bounded {
    /// How long Elasticsearch may search.
    pub timeout: Duration,
}

impl Bounded {
    /// A search for no hits but for what is told of all that are selected.
    #[must_use]
    pub fn aggregations(
        self,
        engine: SearchEngine,
        selection: &Selection,
        aggregations: &Value,
    ) -> Bytes {
        body(&json!({
            "aggs": aggregations,
            "query": query(engine, selection),
            "size": 0,
            "timeout": millis(self.timeout),
            "track_total_hits": true,
        }))
    }

    /// A search for the first hits in an order by time, the total counted as in a page.
    #[must_use]
    pub fn hits(self, engine: SearchEngine, selection: &Selection, sort: Sort, size: u32) -> Bytes {
        body(&json!({
            "query": query(engine, selection),
            "size": size,
            "sort": [by_time(engine, sort)],
            "timeout": millis(self.timeout),
            "track_total_hits": TOTAL_HITS_COUNTED_MAX,
        }))
    }
}

/// The body that opens a point in time: it leaves out the indices that cannot
/// hold a hit, because each shard costs memory there and length in the cursor.
/// OpenSearch has no such filter.
#[must_use]
pub fn open_point_in_time(engine: SearchEngine, request: &SearchRequest) -> Option<Bytes> {
    match engine {
        SearchEngine::Elasticsearch => {
            let range = during(request.selection.range)?;
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

/// The selection as a query without scores.
fn query(engine: SearchEngine, selection: &Selection) -> Value {
    let mut filters: Vec<Value> = match &selection.query {
        Query::All => Vec::new(),
        Query::And(parts) => parts.iter().map(|part| filter(engine, part)).collect(),
        part => vec![filter(engine, part)],
    };
    filters.extend(during(selection.range));
    if filters.is_empty() {
        json!({ "match_all": {} })
    } else {
        json!({ "bool": { "filter": filters } })
    }
}

#[cfg(test)]
mod tests;
