//! A search for hits: which events, in which order, how many.
//!
//! In the flow: `selection` → **`search_request`** → `cursor`.
//! Not here: how parameters are read (`parameters`), how the request reads in Elasticsearch's JSON (`es_query`).

use crate::parameters::{Given, Parameter, RangeBound, RequestError, Vocabulary};
use crate::selection::Selection;

/// How many events a search returns if it does not say.
pub const LIMIT_DEFAULT: u32 = 100;
/// The most events that one `GET /logs` returns: Elasticsearch's default `index.max_result_window`.
pub const LOGS_LIMIT_MAX: u32 = 10_000;
/// The most hits on one page of `POST /api/v1/search`.
pub const PAGE_LIMIT_MAX: u32 = 1_000;

/// What to search.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SearchRequest {
    /// Which events.
    pub selection: Selection,
    /// What comes first.
    pub sort: Sort,
    /// How many events to return, at least 1.
    pub limit: u32,
}

/// The order of hits by their timestamp.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sort {
    /// The newest first.
    #[default]
    Newest,
    /// The oldest first.
    Oldest,
}

pub(crate) const LOGS: &Vocabulary = &[
    ("q", Parameter::Query),
    ("level", Parameter::Level),
    ("resourceId", Parameter::ResourceId),
    ("message", Parameter::Message),
    ("startDate", Parameter::Start),
    ("endDate", Parameter::End),
    ("traceId", Parameter::TraceId),
    ("spanId", Parameter::SpanId),
    ("commit", Parameter::Commit),
    ("metadata.parentResourceId", Parameter::ParentResourceId),
    ("parentResourceId", Parameter::ParentResourceId),
    ("limit", Parameter::Limit),
];

pub(crate) const SEARCH: &Vocabulary = &[
    ("q", Parameter::Query),
    ("level", Parameter::Level),
    ("resourceId", Parameter::ResourceId),
    ("message", Parameter::Message),
    ("from", Parameter::Start),
    ("to", Parameter::End),
    ("traceId", Parameter::TraceId),
    ("spanId", Parameter::SpanId),
    ("commit", Parameter::Commit),
    ("metadata.parentResourceId", Parameter::ParentResourceId),
    ("parentResourceId", Parameter::ParentResourceId),
    ("sort", Parameter::Sort),
    ("limit", Parameter::Limit),
    ("cursor", Parameter::Cursor),
];

/// Reads the query string of `GET /logs`, as it stands after the `?`.
///
/// # Errors
/// [`RequestError`] names the offender.
pub fn from_query_string(query: &str, bound: RangeBound) -> Result<SearchRequest, RequestError> {
    let mut given = Given::in_query_string(LOGS, query)?;
    Ok(SearchRequest {
        selection: Selection::read(&mut given, bound)?,
        sort: Sort::Newest,
        limit: given.whole_number(Parameter::Limit, LIMIT_DEFAULT, 1..=LOGS_LIMIT_MAX)?,
    })
}

/// Reads the body of `POST /api/v1/search`; beside the request the cursor, as given.
///
/// # Errors
/// [`RequestError`] names the offender.
pub fn from_json(
    body: &[u8],
    bound: RangeBound,
) -> Result<(SearchRequest, Option<String>), RequestError> {
    let mut given = Given::in_json(SEARCH, body)?;
    let request = SearchRequest {
        selection: Selection::read(&mut given, bound)?,
        sort: given.one_of(
            Parameter::Sort,
            [("newest", Sort::Newest), ("oldest", Sort::Oldest)],
        )?,
        limit: given.whole_number(Parameter::Limit, LIMIT_DEFAULT, 1..=PAGE_LIMIT_MAX)?,
    };
    let cursor = given.text(Parameter::Cursor)?.map(|(_, text)| text);
    Ok((request, cursor))
}

#[cfg(test)]
mod tests;
