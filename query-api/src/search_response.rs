//! Elasticsearch's hits become the reply: the events byte for byte as they were stored.
//!
//! In the flow: `elasticsearch` → **`search_response`** → `routes`.
//! Not here: judging a refusal (`elasticsearch`), whether a cursor stays open (`searcher`).

use std::borrow::Cow;

use bytes::Bytes;
use log_event::timestamp::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::cursor::{Position, Resume};
use crate::elasticsearch::SearchError;
use crate::selection::TimeRange;

/// What Elasticsearch found, as far as it is of use here.
#[derive(Debug, Deserialize)]
pub struct Found<'a> {
    took: u64,
    timed_out: bool,
    #[serde(rename = "_shards")]
    shards: Shards,
    #[serde(borrow)]
    hits: FoundHits<'a>,
    #[serde(borrow)]
    aggregations: Option<&'a RawValue>,
    /// The id for the next search in the same point in time; it may change.
    #[serde(borrow)]
    pub pit_id: Option<Cow<'a, str>>,
}

#[derive(Debug, Deserialize)]
struct Shards {
    total: u32,
    failed: u32,
    #[serde(default)]
    failures: Vec<ShardFailure>,
}

#[derive(Debug, Deserialize)]
struct ShardFailure {
    #[serde(default)]
    reason: FailureReason,
}

#[derive(Debug, Default, Deserialize)]
struct FailureReason {
    #[serde(default)]
    r#type: String,
}

#[derive(Debug, Deserialize)]
struct FoundHits<'a> {
    total: Option<Total>,
    #[serde(borrow)]
    hits: Vec<FoundHit<'a>>,
}

#[derive(Debug, Deserialize)]
struct FoundHit<'a> {
    #[serde(rename = "_index", borrow)]
    index: Cow<'a, str>,
    #[serde(rename = "_id", borrow)]
    id: Cow<'a, str>,
    #[serde(rename = "_source", borrow)]
    source: Option<&'a RawValue>,
    #[serde(borrow)]
    sort: Option<&'a RawValue>,
}

/// How many events match.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
pub struct Total {
    /// The number, counted up to 10,000.
    #[schema(example = 10_000)]
    pub value: u64,
    /// `eq`: this many; `gte`: at least this many.
    pub relation: Relation,
}

/// What a total says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Relation {
    /// This many.
    #[default]
    Eq,
    /// At least this many.
    Gte,
}

/// Why a result may lack hits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Partial {
    /// For programs.
    pub code: PartialCode,
    /// For people.
    pub detail: String,
}

/// Why a result may lack hits, for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PartialCode {
    /// The search took longer than `--search-timeout`.
    TimedOut,
    /// Parts of the indices could not be searched.
    ShardsFailed,
    /// There are more events than `--max-export-events`.
    EventLimit,
}

impl PartialCode {
    /// All of them, for the metrics.
    pub const ALL: [Self; 3] = [Self::TimedOut, Self::ShardsFailed, Self::EventLimit];

    /// As in the reply, the header and the metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TimedOut => "timed_out",
            Self::ShardsFailed => "shards_failed",
            Self::EventLimit => "event_limit",
        }
    }
}

/// One page of hits, as the client gets it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SearchReply)]
pub struct Page<'a> {
    /// In the order asked for.
    hits: Vec<Hit<'a>>,
    /// How many events match, on all pages together.
    total: Total,
    /// The first moment that was searched, relative dates resolved; `null` without one.
    #[schema(example = "2023-09-15T08:00:00Z")]
    from: Option<String>,
    /// The last moment that was searched, itself included.
    #[schema(example = "2023-09-15T08:15:00Z")]
    to: Option<String>,
    /// How long Elasticsearch searched, in milliseconds.
    took_ms: u64,
    /// Whether hits may be missing from this page. No later page brings them:
    /// send the same request again, with the same `cursor`, for the whole page.
    partial: bool,
    /// Why; empty unless `partial`.
    partial_reasons: &'a [Partial],
    /// Send it with the same filters, time range and sort for the next page; `null` on the last one.
    next_cursor: Option<String>,
}

/// One event and where Elasticsearch keeps it.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct Hit<'a> {
    /// The event's id: the same event has the same id, however often it was sent.
    pub id: &'a str,
    /// The index it is in.
    #[schema(example = "logflow-2023.09.15")]
    index: &'a str,
    /// The event, as it was stored.
    #[schema(value_type = Object)]
    pub event: Option<&'a RawValue>,
}

impl<'a> Found<'a> {
    /// Reads the reply to a search.
    ///
    /// # Errors
    /// [`SearchError::Unreadable`]; [`SearchError::CursorExpired`] if a part of a
    /// point in time is lost, because pages without that part would have gaps.
    pub fn read(reply: &'a [u8]) -> Result<Self, SearchError> {
        let found: Self = serde_json::from_slice(reply).map_err(SearchError::Unreadable)?;
        let mut failures = found.shards.failures.iter();
        if failures.any(|failure| failure.reason.r#type == "search_context_missing_exception") {
            return Err(SearchError::CursorExpired);
        }
        Ok(found)
    }

    /// Whether no index at all was searched.
    #[must_use]
    pub fn is_of_no_index(&self) -> bool {
        self.shards.total == 0
    }

    /// What is told of all that were selected; where no index was searched, nothing is.
    ///
    /// # Errors
    /// [`SearchError::Unreadable`].
    pub fn read_aggregations<T: DeserializeOwned>(&self) -> Result<T, SearchError> {
        let aggregations = self.aggregations.map_or("null", RawValue::get);
        serde_json::from_str(aggregations).map_err(SearchError::Unreadable)
    }

    /// How many events were selected.
    #[must_use]
    pub fn total(&self) -> Total {
        self.hits.total.unwrap_or_default()
    }

    /// The hits in their order.
    pub fn hits(&self) -> impl ExactSizeIterator<Item = Hit<'_>> + DoubleEndedIterator {
        self.hits.hits.iter().map(|hit| Hit {
            id: &hit.id,
            index: &hit.index,
            event: hit.source,
        })
    }

    /// Why hits may be missing; none if nothing is.
    #[must_use]
    pub fn partial(&self) -> Vec<Partial> {
        let mut reasons = Vec::new();
        if self.timed_out {
            reasons.push(Partial {
                code: PartialCode::TimedOut,
                detail: "the search was cut off at its time limit; narrow it by a time range or another filter".to_owned(),
            });
        }
        if self.shards.failed > 0 {
            reasons.push(Partial {
                code: PartialCode::ShardsFailed,
                detail: format!(
                    "{} of {} shards could not be searched",
                    self.shards.failed, self.shards.total
                ),
            });
        }
        reasons
    }

    /// The types of Elasticsearch's errors in failed shards, for the log.
    pub fn failure_types(&self) -> impl Iterator<Item = &str> {
        self.shards
            .failures
            .iter()
            .map(|failure| failure.reason.r#type.as_str())
    }

    /// The events as a JSON array, one a line.
    #[must_use]
    pub fn into_array(self) -> Bytes {
        let events = self
            .hits
            .hits
            .iter()
            .map(|hit| hit.source.map_or("null", RawValue::get));
        let bytes: usize = events.clone().map(|event| event.len() + 2).sum();
        let mut array = Vec::with_capacity(bytes + 4);
        array.push(b'[');
        for (n, event) in events.enumerate() {
            array.extend_from_slice(if n == 0 { b"" } else { b",\n" });
            array.extend_from_slice(event.as_bytes());
        }
        array.extend_from_slice(b"]\n");
        array.into()
    }

    /// Cuts the hits to the page that begins at `from`, and says where the next one begins.
    ///
    /// A page that is not full is the last one. So is one that is not full only
    /// because it is partial and empty: there is no hit to go on from.
    ///
    /// # Errors
    /// [`SearchError::Unreadable`] if a hit has no place in the order.
    pub fn cut(&mut self, from: Resume, limit: u32) -> Result<Option<Resume>, SearchError> {
        let count = |n: u32| usize::try_from(n).unwrap_or(usize::MAX);
        let hits = &mut self.hits.hits;
        let seen = count(from.skip).min(hits.len());
        let end = seen.saturating_add(count(limit)).min(hits.len());
        let more = hits.len() > end || (self.timed_out || self.shards.failed > 0);
        let next = if more && end > seen {
            Some(resume_at(from, &hits[..end], hits.get(end))?)
        } else {
            None
        };
        hits.truncate(end);
        hits.drain(..seen);
        Ok(next)
    }

    /// The page as JSON.
    #[must_use]
    pub fn into_page(
        self,
        range: TimeRange,
        partial: &[Partial],
        next_cursor: Option<String>,
    ) -> Bytes {
        let page = Page {
            hits: self.hits().collect(),
            total: self.total(),
            from: range.start.map(Timestamp::to_rfc3339),
            to: range.end.map(Timestamp::to_rfc3339),
            took_ms: self.took,
            partial: !partial.is_empty(),
            partial_reasons: partial,
            next_cursor,
        };
        let mut json = serde_json::to_vec(&page).expect("texts, numbers and raw JSON are JSON");
        json.push(b'\n');
        json.into()
    }
}

/// Where the page after `hits`, which came after `from`, begins: after the last of them, or, if `following` shares its
/// place, after the hit before all that share it.
fn resume_at(
    from: Resume,
    hits: &[FoundHit<'_>],
    following: Option<&FoundHit<'_>>,
) -> Result<Resume, SearchError> {
    let Some(last) = hits.last() else {
        return Ok(from);
    };
    let last = last.place()?;
    let is_shared = match following {
        Some(following) => following.place()? == last,
        None => false,
    };
    if !is_shared {
        return Ok(Resume {
            after: Some(last),
            skip: 0,
        });
    }
    let mut skip = 0;
    for hit in hits.iter().rev() {
        let place = hit.place()?;
        if place != last {
            return Ok(Resume {
                after: Some(place),
                skip,
            });
        }
        skip += 1;
    }
    Ok(Resume {
        after: from.after,
        skip,
    })
}

impl FoundHit<'_> {
    fn place(&self) -> Result<Position, SearchError> {
        let sort = self.sort.map_or("null", RawValue::get);
        let (timestamp, tie_break) = serde_json::from_str(sort).map_err(SearchError::Unreadable)?;
        Ok(Position {
            timestamp,
            tie_break,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};
    use proptest::prelude::*;

    const TWO: &str = r#"{"took":3,"timed_out":false,"_shards":{"total":2,"successful":2,"skipped":0,"failed":0},"pit_id":"pit","hits":{"total":{"value":2,"relation":"eq"},"max_score":null,"hits":[
        {"_index":"logflow-2023.09.15","_id":"a\"b","_score":null,"_source":{"message": "1.0e3 \u00e4", "n":1.0e3},"sort":[1694764800000000001,7]},
        {"_index":"logflow-2023.09.15","_id":"c","_score":null,"_source":{ },"sort":[1694764800000000000,4294967296]}]}}"#;

    fn two() -> Found<'static> {
        Found::read(TWO.as_bytes()).unwrap()
    }

    fn text(bytes: &Bytes) -> &str {
        std::str::from_utf8(bytes).unwrap()
    }

    #[test]
    fn events_are_passed_on_byte_for_byte() {
        let array = two().into_array();
        assert_eq!(
            text(&array),
            "[{\"message\": \"1.0e3 \\u00e4\", \"n\":1.0e3},\n{ }]\n"
        );
        let empty =
            r#"{"took":0,"timed_out":false,"_shards":{"total":0,"failed":0},"hits":{"hits":[]}}"#;
        let array = Found::read(empty.as_bytes()).unwrap().into_array();
        assert_eq!(text(&array), "[]\n");
    }

    #[track_caller]
    fn check_page(found: Found<'_>, next: Option<&str>, expected: Expect) {
        let partial = found.partial();
        let range = TimeRange {
            start: Timestamp::from_nanos(1_000),
            end: None,
        };
        let page = found.into_page(range, &partial, next.map(str::to_owned));
        expected.assert_eq(text(&page));
    }

    #[test]
    fn a_page_says_all_there_is_to_know() {
        check_page(
            two(),
            Some("next"),
            expect![[r#"
                {"hits":[{"id":"a\"b","index":"logflow-2023.09.15","event":{"message": "1.0e3 \u00e4", "n":1.0e3}},{"id":"c","index":"logflow-2023.09.15","event":{ }}],"total":{"value":2,"relation":"eq"},"from":"1970-01-01T00:00:00.000001Z","to":null,"took_ms":3,"partial":false,"partial_reasons":[],"next_cursor":"next"}
            "#]],
        );
        let partial = r#"{"took":10001,"timed_out":true,"_shards":{"total":4,"failed":1,"failures":[{"shard":0,"reason":{"type":"circuit_breaking_exception","reason":"x"}}]},"hits":{"total":{"value":10000,"relation":"gte"},"hits":[]}}"#;
        check_page(
            Found::read(partial.as_bytes()).unwrap(),
            None,
            expect![[r#"
                {"hits":[],"total":{"value":10000,"relation":"gte"},"from":"1970-01-01T00:00:00.000001Z","to":null,"took_ms":10001,"partial":true,"partial_reasons":[{"code":"timed_out","detail":"the search was cut off at its time limit; narrow it by a time range or another filter"},{"code":"shards_failed","detail":"1 of 4 shards could not be searched"}],"next_cursor":null}
            "#]],
        );
    }

    #[test]
    fn a_page_goes_on_after_its_last_hit_if_there_is_one_more() {
        let mut found = two();
        let start = Resume::default();
        let next = found.cut(start, 1).unwrap();
        let after = |timestamp, tie_break| Resume {
            after: Some(Position {
                timestamp,
                tie_break,
            }),
            skip: 0,
        };
        assert_eq!(next, Some(after(1_694_764_800_000_000_001, 7)));
        assert_eq!(found.hits.hits.len(), 1);
        assert_eq!(two().cut(start, 2).unwrap(), None);
        assert_eq!(two().cut(start, 3).unwrap(), None);
        let mut partial = two();
        partial.timed_out = true;
        let second = after(1_694_764_800_000_000_000, 4_294_967_296);
        assert_eq!(partial.cut(start, 3).unwrap(), Some(second));
    }

    /// What a search of OpenSearch finds of hits at these places, with the n-th hit called n.
    fn found_at(places: &[(usize, i64)]) -> String {
        let hit = |(id, place): &(usize, i64)| {
            format!(r#"{{"_index":"i","_id":"{id}","sort":[{place},0]}}"#)
        };
        let hits: Vec<String> = places.iter().map(hit).collect();
        format!(
            r#"{{"took":1,"timed_out":false,"_shards":{{"total":2,"failed":0}},"hits":{{"hits":[{}]}}}}"#,
            hits.join(",")
        )
    }

    proptest! {
        #[test]
        fn pages_of_any_size_give_each_hit_once_though_several_share_a_place(
            mut places in proptest::collection::vec(0..4i64, 0..20),
            limits in proptest::collection::vec(1..5u32, 1..5),
        ) {
            places.sort_unstable();
            let all: Vec<(usize, i64)> = places.into_iter().enumerate().collect();
            let mut seen = Vec::new();
            let mut next = Some(Resume::default());
            let mut limits = limits.into_iter().cycle();
            while let (Some(from), Some(limit)) = (next, limits.next()) {
                let after = from.after.map_or(-1, |place| place.timestamp);
                let rest: Vec<_> = all.iter().filter(|(_, place)| *place > after).copied().collect();
                let size = rest.len().min((limit + from.skip + 1) as usize);
                let reply = found_at(&rest[..size]);
                let mut found = Found::read(reply.as_bytes()).unwrap();
                next = found.cut(from, limit).unwrap();
                prop_assert!(found.hits.hits.len() <= limit as usize);
                seen.extend(found.hits.hits.iter().map(|hit| hit.id.parse::<usize>().unwrap()));
            }
            prop_assert_eq!(seen, (0..all.len()).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_lost_part_of_a_point_in_time_ends_the_cursor() {
        let lost = r#"{"took":1,"timed_out":false,"_shards":{"total":2,"failed":1,"failures":[{"reason":{"type":"search_context_missing_exception"}}]},"hits":{"hits":[]}}"#;
        assert!(matches!(
            Found::read(lost.as_bytes()),
            Err(SearchError::CursorExpired)
        ));
        assert!(matches!(
            Found::read(b"{}"),
            Err(SearchError::Unreadable(_))
        ));
    }
}
