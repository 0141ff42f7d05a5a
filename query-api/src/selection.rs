//! Which events a request is about: the query, the filters and the time range, as one.
//!
//! In the flow: `parameters` → **`selection`** → `search_request` and its neighbours.
//! A filter is a query that is written in another way, so that there is one
//! tree, and one reader of it in Elasticsearch's JSON and in memory.

use log_event::timestamp::Timestamp;

use crate::parameters::{Given, Parameter, RangeBound, RequestError, invalid};
use crate::query::field::Field;
use crate::query::parser;
use crate::query::pattern::repeats_too_often;
use crate::query::tree::Query;

/// Which events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// What an event must be like.
    pub query: Query,
    /// When it must have happened.
    pub range: TimeRange,
}

/// A span of time; both ends belong to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimeRange {
    /// The first moment.
    pub start: Option<Timestamp>,
    /// The last moment.
    pub end: Option<Timestamp>,
}

/// The filters that are one field with one value.
const EQUAL: [(Parameter, &str); 6] = [
    (Parameter::Level, "level"),
    (Parameter::ResourceId, "resourceId"),
    (Parameter::TraceId, "traceId"),
    (Parameter::SpanId, "spanId"),
    (Parameter::Commit, "commit"),
    (Parameter::ParentResourceId, "metadata.parentResourceId"),
];

impl Selection {
    /// Takes its parameters from what was given.
    pub(crate) fn read(given: &mut Given, bound: RangeBound) -> Result<Self, RequestError> {
        let mut parts = Vec::new();
        for (parameter, path) in EQUAL {
            if let Some(value) = given.filter(parameter)? {
                parts.push(Query::Equals(Field::new(path), value));
            }
        }
        if let Some(part) = given.filter(Parameter::Message)? {
            if repeats_too_often(&part.to_lowercase()) {
                let reason = "repeats itself too often to be looked for; give a shorter part";
                return Err(invalid("message", reason));
            }
            parts.push(Query::MessageContains(part));
        }
        if let Some((parameter, text)) = given.text(Parameter::Query)? {
            let query = parser::parse(&text, bound.now)
                .map_err(|error| RequestError::Query { parameter, error })?;
            parts.extend((query != Query::All).then_some(query));
        }
        Ok(Self {
            query: Query::all_of(parts),
            range: given.range(bound)?,
        })
    }
}
