//! How many events happened when, by level.
//!
//! In the flow: `selection` → **`histogram`** → `searcher` → **`histogram`** → `routes`.
//! The intervals are those that people read at a glance, aligned to UTC; every
//! one of the range is told, also where nothing happened.

use std::collections::BTreeMap;

use bytes::Bytes;
use log_event::timestamp::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;
use service::search_engine::SearchEngine;
use utoipa::ToSchema;

use crate::elasticsearch::SearchError;
use crate::es_query::Bounded;
use crate::parameters::{Given, Parameter, RangeBound, RequestError, Vocabulary};
use crate::search_response::{Found, Partial};
use crate::selection::{Selection, TimeRange};

/// The most buckets there are, and how many if a request does not say.
pub const BUCKETS_MAX: u32 = 120;
const BUCKETS_DEFAULT: u32 = 60;
/// How many levels a bucket tells apart; events of rarer ones are in its count alone.
pub const LEVELS_MAX: usize = 20;
/// The range if there is no event to tell it.
const RANGE_DEFAULT_MS: i64 = 900_000;

const SECOND: i64 = 1_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
/// From the shortest; a range of two centuries has 71 of the longest.
const INTERVALS: [i64; 33] = [
    1,
    2,
    5,
    10,
    20,
    50,
    100,
    200,
    500,
    SECOND,
    2 * SECOND,
    5 * SECOND,
    10 * SECOND,
    15 * SECOND,
    30 * SECOND,
    MINUTE,
    2 * MINUTE,
    5 * MINUTE,
    10 * MINUTE,
    15 * MINUTE,
    30 * MINUTE,
    HOUR,
    2 * HOUR,
    3 * HOUR,
    6 * HOUR,
    12 * HOUR,
    DAY,
    2 * DAY,
    7 * DAY,
    14 * DAY,
    30 * DAY,
    182 * DAY,
    1_500 * DAY,
];

/// What to count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistogramRequest {
    /// Which events.
    pub selection: Selection,
    /// At most so many buckets, 1 to [`BUCKETS_MAX`].
    pub buckets: u32,
}

pub(crate) const PARAMETERS: &Vocabulary = &[
    ("q", Parameter::Query),
    ("from", Parameter::Start),
    ("to", Parameter::End),
    ("buckets", Parameter::Buckets),
];

impl HistogramRequest {
    /// Reads the query string.
    ///
    /// # Errors
    /// [`RequestError`] names the offender.
    pub fn read(query: &str, bound: RangeBound) -> Result<Self, RequestError> {
        let mut given = Given::in_query_string(PARAMETERS, query)?;
        Ok(Self {
            selection: Selection::read(&mut given, bound)?,
            buckets: given.whole_number(Parameter::Buckets, BUCKETS_DEFAULT, 1..=BUCKETS_MAX)?,
        })
    }
}

/// A search for the first and the last moment of the selected events.
#[must_use]
pub fn ends(engine: SearchEngine, selection: &Selection, bounded: Bounded) -> Bytes {
    bounded.aggregations(
        engine,
        selection,
        &json!({
            "first": { "min": { "field": "timestamp" } },
            "last": { "max": { "field": "timestamp" } },
        }),
    )
}

/// Closes a range by the events there are; around `now`, if there are none.
///
/// # Errors
/// [`SearchError::Unreadable`].
pub fn close(
    range: TimeRange,
    found: &Found<'_>,
    now: Timestamp,
) -> Result<TimeRange, SearchError> {
    #[derive(Deserialize)]
    struct Ends {
        first: End,
        last: End,
    }
    #[derive(Deserialize)]
    struct End {
        value: Option<f64>,
    }
    let ends: Option<Ends> = found.read_aggregations()?;
    let (first, last) = ends.map_or((None, None), |ends| (ends.first.value, ends.last.value));
    // Elasticsearch tells milliseconds, cut off from nanoseconds.
    #[allow(clippy::cast_possible_truncation)]
    let moment = |end: Option<f64>, more: i64| {
        let millis = end.map(|millis| millis as i64 + more);
        millis.and_then(Timestamp::from_millis)
    };
    let end = range.end.or(moment(last, 1)).unwrap_or(now);
    let default = (end.millis() - RANGE_DEFAULT_MS).max(0);
    let start = range.start.or(moment(first, 0));
    let start = start.or(Timestamp::from_millis(default)).unwrap_or(end);
    Ok(TimeRange {
        start: Some(start.min(end)),
        end: Some(end),
    })
}

/// The buckets that a range is cut into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buckets {
    first_ms: i64,
    count: i64,
    interval_ms: i64,
}

impl Buckets {
    /// Buckets of the shortest interval that makes at most so many of the range; both of its ends are known.
    #[must_use]
    pub fn of(range: TimeRange, at_most: u32) -> Self {
        let start = range.start.map_or(0, Timestamp::millis);
        let end = range.end.map_or(start, Timestamp::millis).max(start);
        let count = |interval: i64| end.div_euclid(interval) - start.div_euclid(interval) + 1;
        let fitting = INTERVALS
            .into_iter()
            .find(|interval| count(*interval) <= i64::from(at_most));
        // Where even the longest makes too many, or the borders fall so that one is left over: one for all.
        let interval_ms = fitting.unwrap_or(end + 1);
        Self {
            first_ms: start.div_euclid(interval_ms) * interval_ms,
            count: count(interval_ms),
            interval_ms,
        }
    }

    /// A search for the events in each of them.
    #[must_use]
    pub fn search(&self, engine: SearchEngine, selection: &Selection, bounded: Bounded) -> Bytes {
        bounded.aggregations(
            engine,
            selection,
            &json!({ "over_time": {
                "date_histogram": {
                    "field": "timestamp",
                    "fixed_interval": format!("{}ms", self.interval_ms),
                    "min_doc_count": 1,
                },
                "aggs": { "levels": { "terms": {
                    "field": "level",
                    "missing": "",
                    "size": LEVELS_MAX,
                }}},
            }}),
        )
    }
}

/// Events over time.
#[derive(Debug, Serialize, ToSchema)]
pub struct Histogram {
    /// The first moment that was searched.
    #[schema(example = "2023-09-15T08:00:00Z")]
    from: String,
    /// The last moment that was searched, itself included.
    #[schema(example = "2023-09-15T09:00:00Z")]
    to: String,
    /// How long each bucket is, in milliseconds.
    #[schema(example = 60_000)]
    interval_ms: i64,
    /// In the order of time, without a gap. The first and the last may reach beyond the range.
    buckets: Vec<Bucket>,
    /// How many events match.
    total: u64,
    /// Whether events may be missing.
    partial: bool,
    /// Why; empty unless `partial`.
    partial_reasons: Vec<Partial>,
}

/// The events of one interval.
#[derive(Debug, Serialize, ToSchema)]
pub struct Bucket {
    /// Its first moment.
    #[schema(example = "2023-09-15T08:00:00Z")]
    from: String,
    /// How many events.
    count: u64,
    /// How many of each level, in lower case; without a level under the empty text.
    levels: BTreeMap<String, u64>,
}

/// The reply.
///
/// # Errors
/// [`SearchError::Unreadable`].
pub fn reply(
    range: TimeRange,
    buckets: Buckets,
    found: &Found<'_>,
    partial: Vec<Partial>,
) -> Result<Histogram, SearchError> {
    #[derive(Deserialize)]
    struct Aggregations {
        over_time: OverTime,
    }
    #[derive(Deserialize)]
    struct OverTime {
        buckets: Vec<FoundBucket>,
    }
    #[derive(Deserialize)]
    struct FoundBucket {
        key: i64,
        doc_count: u64,
        levels: Levels,
    }
    #[derive(Deserialize)]
    struct Levels {
        buckets: Vec<Level>,
    }
    #[derive(Deserialize)]
    struct Level {
        key: String,
        doc_count: u64,
    }
    let aggregations: Option<Aggregations> = found.read_aggregations()?;
    let found_buckets = aggregations.map_or_else(Vec::new, |found| found.over_time.buckets);
    let mut by_start: BTreeMap<i64, FoundBucket> = found_buckets
        .into_iter()
        .map(|bucket| (bucket.key, bucket))
        .collect();
    let moment = |millis: i64| {
        Timestamp::from_millis(millis).map_or_else(String::new, Timestamp::to_rfc3339)
    };
    let mut total = 0;
    let buckets_told = (0..buckets.count).map(|n| {
        let start = buckets.first_ms + n * buckets.interval_ms;
        let found = by_start.remove(&start);
        let count = found.as_ref().map_or(0, |found| found.doc_count);
        total += count;
        let levels = found.into_iter().flat_map(|found| found.levels.buckets);
        Bucket {
            from: moment(start),
            count,
            levels: levels.map(|level| (level.key, level.doc_count)).collect(),
        }
    });
    let buckets_told = buckets_told.collect();
    Ok(Histogram {
        from: range.start.map_or_else(String::new, Timestamp::to_rfc3339),
        to: range.end.map_or_else(String::new, Timestamp::to_rfc3339),
        interval_ms: buckets.interval_ms,
        buckets: buckets_told,
        total,
        partial: !partial.is_empty(),
        partial_reasons: partial,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn range(start_ms: i64, end_ms: i64) -> TimeRange {
        TimeRange {
            start: Timestamp::from_millis(start_ms),
            end: Timestamp::from_millis(end_ms),
        }
    }

    #[test]
    fn a_range_is_cut_where_people_would_cut_it() {
        for (start, end, at_most, interval, first, count) in [
            (0, 0, 60, 1, 0, 1),
            (0, 15 * MINUTE - 1, 60, 15 * SECOND, 0, 60),
            (0, 15 * MINUTE, 60, 30 * SECOND, 0, 31),
            (7, HOUR - 1, 120, 30 * SECOND, 0, 120),
            (DAY + 1, 2 * DAY, 24, 2 * HOUR, DAY, 13),
            (0, 365 * DAY, 60, 7 * DAY, 0, 53),
            (5, 6, 1, 5, 5, 1),
        ] {
            let buckets = Buckets::of(range(start, end), at_most);
            let expected = Buckets {
                first_ms: first,
                count,
                interval_ms: interval,
            };
            assert_eq!(buckets, expected, "{start} {end}");
        }
    }

    proptest! {
        #[test]
        fn the_buckets_cover_the_range_and_are_not_too_many(
            start in 0..9_000_000_000_000i64,
            length in prop_oneof![0..10_000i64, 0..100_000_000_000i64, 0..9_000_000_000_000i64],
            at_most in 1..=BUCKETS_MAX,
        ) {
            let end = (start + length).min(9_223_372_036_854);
            let start = start.min(end);
            let Buckets { first_ms, count, interval_ms } = Buckets::of(range(start, end), at_most);
            prop_assert!(first_ms <= start);
            prop_assert!(start < first_ms + interval_ms);
            prop_assert!(end < first_ms + count * interval_ms);
            prop_assert!(first_ms + (count - 1) * interval_ms <= end);
            prop_assert!((1..=i64::from(at_most)).contains(&count));
        }
    }

    #[test]
    fn every_bucket_is_told_and_every_level_in_it() {
        let found = br#"{"took":1,"timed_out":false,"_shards":{"total":2,"failed":0},"hits":{"hits":[]},"aggregations":{"over_time":{"buckets":[
            {"key":2,"doc_count":3,"levels":{"buckets":[{"key":"error","doc_count":2},{"key":"","doc_count":1}]}}]}}}"#;
        let found = Found::read(found).unwrap();
        let range = range(1, 3);
        let histogram = reply(range, Buckets::of(range, 60), &found, Vec::new()).unwrap();
        expect_test::expect![[r#"{"from":"1970-01-01T00:00:00.001Z","to":"1970-01-01T00:00:00.003Z","interval_ms":1,"buckets":[{"from":"1970-01-01T00:00:00.001Z","count":0,"levels":{}},{"from":"1970-01-01T00:00:00.002Z","count":3,"levels":{"":1,"error":2}},{"from":"1970-01-01T00:00:00.003Z","count":0,"levels":{}}],"total":3,"partial":false,"partial_reasons":[]}"#]]
            .assert_eq(&serde_json::to_string(&histogram).unwrap());
        let nothing =
            br#"{"took":1,"timed_out":false,"_shards":{"total":0,"failed":0},"hits":{"hits":[]}}"#;
        let histogram = reply(
            range,
            Buckets::of(range, 60),
            &Found::read(nothing).unwrap(),
            Vec::new(),
        );
        assert_eq!(histogram.unwrap().total, 0);
    }

    #[test]
    fn an_open_range_is_closed_by_the_events_there_are() {
        let open = TimeRange::default();
        let now = Timestamp::from_millis(DAY).unwrap();
        let found = |first: &str, last: &str| {
            format!(
                r#"{{"took":1,"timed_out":false,"_shards":{{"total":2,"failed":0}},"hits":{{"hits":[]}},"aggregations":{{"first":{{"value":{first}}},"last":{{"value":{last}}}}}}}"#
            )
        };
        let some = found("1.0E3", "2000.0");
        let none = found("null", "null");
        let close = |range, found: &str| {
            let range = close(range, &Found::read(found.as_bytes()).unwrap(), now).unwrap();
            (range.start.unwrap().millis(), range.end.unwrap().millis())
        };
        assert_eq!(close(open, &some), (1_000, 2_001));
        assert_eq!(close(open, &none), (DAY - RANGE_DEFAULT_MS, DAY));
        let from = TimeRange {
            start: Timestamp::from_millis(1_500),
            end: None,
        };
        assert_eq!(close(from, &some), (1_500, 2_001));
        assert_eq!(close(from, &none), (1_500, DAY));
    }

    #[test]
    fn the_search_is_spelled_so() {
        let buckets = Buckets::of(range(0, HOUR), 60);
        let bounded = Bounded {
            timeout: std::time::Duration::from_secs(10),
        };
        let body = buckets.search(SearchEngine::Elasticsearch, &Selection::default(), bounded);
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["size"], 0);
        assert_eq!(body["timeout"], "10000ms");
        assert_eq!(
            body["aggs"]["over_time"]["date_histogram"]["fixed_interval"],
            "120000ms"
        );
    }
}
