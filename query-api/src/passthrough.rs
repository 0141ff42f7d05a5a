//! Elasticsearch's own search API for Grafana and its like, read-only and bounded: decides what is
//! passed on, and writes what is sent.
//!
//! In the flow: `routes` → **`passthrough`** → `searcher`. Upholds QA-1. Its files, in the order in
//! which a request meets them: [`endpoint`], [`indices`], [`parameters`], [`multi_search`],
//! [`search_body`] (with [`json`], `grammar`, `query_kinds`, `aggregation_kinds`, `time_bound`,
//! [`time_limit`]); [`error_body`] says no, [`identity`] answers for a node that has no root page.
//!
//! Everything is an allow-list: what no table names is refused by its name. What is sent is written
//! anew from what was judged, and never the client's own bytes. Replies are not touched.

pub mod endpoint;
pub mod indices;
pub mod parameters;
pub mod multi_search;
pub mod search_body;
pub mod json;
mod grammar;
mod query_kinds;
mod aggregation_kinds;
mod time_bound;
pub mod time_limit;
pub mod error_body;
pub mod identity;

use std::time::Duration;

use bytes::Bytes;
use service::elasticsearch::Method;

use crate::config::IndexExpression;
use crate::error::Problem;
use crate::parameters::RangeBound;
use crate::search_request::{LOGS_LIMIT_MAX, PAGE_LIMIT_MAX};
use endpoint::{Endpoint, Place};
use parameters::Parameters;

/// What is sent to Elasticsearch.
#[derive(Clone, Debug, PartialEq)]
pub struct Passage {
    /// What it asks for.
    pub endpoint: Endpoint,
    /// The method; it reads in any case.
    pub method: Method,
    /// The path with its query.
    pub path: String,
    /// The content type of the body.
    pub content_type: &'static str,
    /// The body, if any.
    pub body: Option<Bytes>,
    /// How many of the searches that may run at once it counts for.
    pub permits: u32,
}

/// What a request is held against.
#[derive(Clone, Copy, Debug)]
pub struct Bounds<'a> {
    /// The indices that are open.
    pub index: &'a IndexExpression,
    /// How long a search may take.
    pub search_timeout: Duration,
    /// The longest time range.
    pub range: RangeBound,
}

/// Decides whether a request is passed on.
///
/// # Errors
/// The reason why not: [`crate::error::Code::NotAllowed`] and those of a request that cannot be meant.
pub fn judge(
    place: &Place,
    query: &str,
    body: &[u8],
    bounds: Bounds<'_>,
) -> Result<Passage, Problem> {
    let endpoint = place.endpoint;
    let mut parameters = Parameters::read(endpoint, query)?;
    let within = || indices::within(place.index.as_deref(), bounds.index);
    let json = |json: json::Json| Some(Bytes::from(json.write()));
    let mut permits = 1;
    let (path, body) = match endpoint {
        Endpoint::Root => ("/".to_owned(), None),
        Endpoint::Health => {
            parameters.limit_health(bounds.search_timeout)?;
            ("/_cluster/health".to_owned(), None)
        }
        Endpoint::MultiSearch => {
            let searches =
                multi_search::read(body, bounds.index, bounds.search_timeout, bounds.range)?;
            permits = permits_for(searches.searches, searches.hits);
            parameters.limit_concurrency(permits);
            ("/_msearch".to_owned(), Some(searches.lines.into()))
        }
        Endpoint::Search => {
            let path = format!("/{}/_search", within()?);
            let search = search_body::search(body, bounds.search_timeout, bounds.range)?;
            permits = permits_for(1, search.hits);
            (path, json(search.json))
        }
        Endpoint::Count => {
            let path = format!("/{}/_count", within()?);
            (path, json(search_body::count(body, bounds.range)?))
        }
        Endpoint::Mapping => (format!("/{}/_mapping", within()?), None),
        Endpoint::FieldCaps => {
            let path = format!("/{}/_field_caps", within()?);
            (path, search_body::field_caps(body)?.and_then(json))
        }
    };
    let content_type = match endpoint {
        Endpoint::MultiSearch => "application/x-ndjson",
        _ => "application/json",
    };
    Ok(Passage {
        endpoint,
        method: match body {
            Some(_) => Method::Post,
            None => Method::Get,
        },
        path: path + &parameters.write(),
        content_type,
        body,
        permits,
    })
}

/// One for each search and for each [`PAGE_LIMIT_MAX`] hits, and never more than the largest search of
/// `GET /logs` takes, so that every request is admitted when no other runs. A `_msearch` runs no more of its
/// searches at once than that.
fn permits_for(searches: usize, hits: u64) -> u32 {
    let max = LOGS_LIMIT_MAX / PAGE_LIMIT_MAX;
    let by_hits = u32::try_from(hits.div_ceil(u64::from(PAGE_LIMIT_MAX))).unwrap_or(max);
    let by_searches = u32::try_from(searches).unwrap_or(max);
    by_hits.max(by_searches).clamp(1, max)
}

#[cfg(test)]
#[path = "passthrough/tests.rs"]
mod tests;
