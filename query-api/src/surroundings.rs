//! One event, what its resource logged around it, and its whole trace.
//!
//! In the flow: `routes` → **`surroundings`** → `searcher` → **`surroundings`** → `routes`.

use bytes::Bytes;
use log_event::record::EVENT_ID_BYTES_MAX;
use log_event::timestamp::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use service::search_engine::SearchEngine;
use utoipa::ToSchema;

use crate::es_query::Bounded;
use crate::parameters::{FILTER_CHARS_MAX, Given, Parameter, RequestError, Vocabulary, invalid};
use crate::query::field::Field;
use crate::query::tree::Query;
use crate::search_request::{PAGE_LIMIT_MAX, Sort};
use crate::search_response::{Found, Hit, Partial, Total};
use crate::selection::{Selection, TimeRange};

/// The most events before and after, and how many if a request does not say.
pub const NEIGHBOURS_MAX: u32 = 100;
const NEIGHBOURS_DEFAULT: u32 = 20;

/// What to find around an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContextRequest {
    /// The event's id.
    pub id: String,
    /// So many events before it, at most [`NEIGHBOURS_MAX`].
    pub before: u32,
    /// So many after it.
    pub after: u32,
}

pub(crate) const CONTEXT_PARAMETERS: &Vocabulary = &[
    ("id", Parameter::Id),
    ("before", Parameter::Before),
    ("after", Parameter::After),
];

pub(crate) const TRACE_PARAMETERS: &Vocabulary = &[("limit", Parameter::Limit)];

impl ContextRequest {
    /// Reads the query string.
    ///
    /// # Errors
    /// [`RequestError`] names the offender.
    pub fn read(query: &str) -> Result<Self, RequestError> {
        let mut given = Given::in_query_string(CONTEXT_PARAMETERS, query)?;
        let id = given.text(Parameter::Id)?.map(|(_, id)| id);
        let id = id.ok_or_else(|| invalid("id", "is missing; send the `id` of a hit"))?;
        check_id(&id)?;
        let mut neighbours =
            |parameter| given.whole_number(parameter, NEIGHBOURS_DEFAULT, 0..=NEIGHBOURS_MAX);
        Ok(Self {
            id,
            before: neighbours(Parameter::Before)?,
            after: neighbours(Parameter::After)?,
        })
    }
}

/// Refuses an id that no event can have.
///
/// # Errors
/// [`RequestError`] names the bound.
pub fn check_id(id: &str) -> Result<(), RequestError> {
    if (1..=EVENT_ID_BYTES_MAX).contains(&id.len()) {
        Ok(())
    } else {
        Err(invalid(
            "id",
            format!("has 1 to {EVENT_ID_BYTES_MAX} bytes"),
        ))
    }
}

/// Reads the trace's id and the query string.
///
/// # Errors
/// [`RequestError`] names the offender.
pub fn read_trace(trace_id: &str, query: &str) -> Result<(Selection, u32), RequestError> {
    let mut given = Given::in_query_string(TRACE_PARAMETERS, query)?;
    if trace_id.chars().nth(FILTER_CHARS_MAX).is_some() {
        let reason = format!("is longer than {FILTER_CHARS_MAX} characters");
        return Err(invalid("traceId", reason));
    }
    let selection = Selection {
        query: Query::Equals(Field::new("traceId"), trace_id.to_owned()),
        range: TimeRange::default(),
    };
    let limit = given.whole_number(Parameter::Limit, PAGE_LIMIT_MAX, 1..=PAGE_LIMIT_MAX)?;
    Ok((selection, limit))
}

/// The search for one event.
#[must_use]
pub fn find(id: &str, engine: SearchEngine, bounded: Bounded) -> Bytes {
    let selection = Selection {
        query: Query::Id(id.to_owned()),
        range: TimeRange::default(),
    };
    bounded.hits(engine, &selection, Sort::Newest, 1)
}

/// Where an event stands among those of its resource.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// What emitted it.
    pub resource: Option<String>,
    timestamp: Option<Timestamp>,
}

impl Place {
    /// Reads it from an event. An event without a timestamp has no neighbours.
    #[must_use]
    pub fn of(event: &RawValue) -> Self {
        #[derive(Default, Deserialize)]
        #[serde(default, rename_all = "camelCase")]
        struct Event {
            resource_id: serde_json::Value,
            timestamp: serde_json::Value,
        }
        let event: Event = serde_json::from_str(event.get()).unwrap_or_default();
        let text = |value: serde_json::Value| value.as_str().map(str::to_owned);
        let timestamp = text(event.timestamp);
        Self {
            resource: text(event.resource_id),
            timestamp: timestamp.and_then(|at| Timestamp::parse(&at).ok()),
        }
    }

    /// The searches for what came strictly before and for what came with it or
    /// after; each other event of the resource is in exactly one of them.
    #[must_use]
    pub fn searches(
        &self,
        request: &ContextRequest,
        engine: SearchEngine,
        bounded: Bounded,
    ) -> Option<[Bytes; 2]> {
        let at = self.timestamp?;
        let mut parts = vec![Query::Not(Box::new(Query::Id(request.id.clone())))];
        let resource = self.resource.clone();
        parts.extend(resource.map(|id| Query::Equals(Field::new("resourceId"), id)));
        let search = |start, end, sort, size| {
            let selection = Selection {
                query: Query::all_of(parts.clone()),
                range: TimeRange { start, end },
            };
            bounded.hits(engine, &selection, sort, size)
        };
        let just_before = Timestamp::from_nanos(at.nanos() - 1);
        // Before the first moment there is nothing: an empty range says so.
        let start = just_before.is_none().then(|| at.plus_nanos(1));
        Some([
            search(
                start,
                just_before.or(Some(at)),
                Sort::Newest,
                request.before,
            ),
            search(Some(at), None, Sort::Oldest, request.after),
        ])
    }
}

/// One event.
#[derive(Debug, Serialize, ToSchema)]
pub struct EventReply<'a> {
    /// The event and where Elasticsearch keeps it.
    pub hit: Hit<'a>,
}

/// An event and what its resource logged around it.
#[derive(Debug, Serialize, ToSchema)]
pub struct Context<'a> {
    /// What came before it, the oldest first.
    before: Vec<Hit<'a>>,
    /// The event.
    hit: Hit<'a>,
    /// What came in the same moment or after it, the oldest first.
    after: Vec<Hit<'a>>,
    /// The resource; `null` if the event names none, then all events are its neighbours.
    resource: Option<String>,
    /// Whether events may be missing.
    partial: bool,
    /// Why; empty unless `partial`.
    partial_reasons: Vec<Partial>,
}

impl<'a> Context<'a> {
    /// The reply.
    #[must_use]
    pub fn new(
        hit: Hit<'a>,
        resource: Option<String>,
        neighbours: Option<[&'a Found<'a>; 2]>,
        partial: Vec<Partial>,
    ) -> Self {
        let [before, after] = match neighbours {
            Some([before, after]) => [before.hits().rev().collect(), after.hits().collect()],
            None => [Vec::new(), Vec::new()],
        };
        Self {
            before,
            hit,
            after,
            resource,
            partial: !partial.is_empty(),
            partial_reasons: partial,
        }
    }
}

/// The events of a trace.
#[derive(Debug, Serialize, ToSchema)]
pub struct Trace<'a> {
    /// The oldest first.
    hits: Vec<Hit<'a>>,
    /// How many there are.
    total: Total,
    /// Whether events may be missing.
    partial: bool,
    /// Why; empty unless `partial`.
    partial_reasons: Vec<Partial>,
}

impl<'a> Trace<'a> {
    /// The reply.
    #[must_use]
    pub fn new(found: &'a Found<'a>, partial: Vec<Partial>) -> Self {
        Self {
            hits: found.hits().collect(),
            total: found.total(),
            partial: !partial.is_empty(),
            partial_reasons: partial,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(event: &str) -> Place {
        Place::of(serde_json::from_str(event).unwrap())
    }

    #[test]
    fn an_event_s_neighbours_are_those_of_its_resource() {
        let at = place(r#"{"timestamp":"2023-09-15T08:00:00Z","resourceId":"a"}"#);
        let request = ContextRequest::read("id=x&before=3&after=0").unwrap();
        let bounded = Bounded {
            timeout: std::time::Duration::from_secs(1),
        };
        let searches = at
            .searches(&request, SearchEngine::Elasticsearch, bounded)
            .unwrap();
        let texts = searches.map(|body| String::from_utf8(body.to_vec()).unwrap());
        expect_test::expect![[r#"
            {"query":{"bool":{"filter":[{"bool":{"must_not":[{"ids":{"values":["x"]}}]}},{"term":{"resourceId":"a"}},{"range":{"timestamp":{"lte":"2023-09-15T07:59:59.999999999Z"}}}]}},"size":3,"sort":[{"timestamp":{"missing":"_last","numeric_type":"date_nanos","order":"desc","unmapped_type":"date_nanos"}}],"timeout":"1000ms","track_total_hits":10000}
            {"query":{"bool":{"filter":[{"bool":{"must_not":[{"ids":{"values":["x"]}}]}},{"term":{"resourceId":"a"}},{"range":{"timestamp":{"gte":"2023-09-15T08:00:00Z"}}}]}},"size":0,"sort":[{"timestamp":{"missing":"_last","numeric_type":"date_nanos","order":"asc","unmapped_type":"date_nanos"}}],"timeout":"1000ms","track_total_hits":10000}"#]].assert_eq(&texts.join("\n"));
    }

    #[test]
    fn an_odd_event_has_the_place_that_it_can_have() {
        assert_eq!(place(r#"{"resourceId":5,"timestamp":5}"#), Place::default());
        assert_eq!(place("{}"), Place::default());
        let request = ContextRequest::read("id=x").unwrap();
        let bounded = Bounded {
            timeout: std::time::Duration::from_secs(1),
        };
        assert!(
            place("{}")
                .searches(&request, SearchEngine::Elasticsearch, bounded)
                .is_none()
        );
    }

    #[test]
    fn what_names_no_event_is_refused() {
        let long = format!("id={}", "x".repeat(513));
        for query in ["", "id=", "id=x&before=101", "id=x&size=1", &long] {
            assert!(ContextRequest::read(query).is_err(), "{query}");
        }
        assert!(read_trace(&"x".repeat(1_025), "").is_err());
    }
}
