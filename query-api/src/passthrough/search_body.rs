//! Decides whether the body of a search is passed on, and writes the one that is sent in its place.
//!
//! In the flow: `multi_search` → **`search_body`** → `grammar`, `time_bound`. Upholds QA-1: whatever is
//! sent has a bound for hits, aggregations and time.

use std::time::Duration;

use super::grammar::{self, At, Checker, Member, Shape};
use super::json::Json;
use super::{time_bound, time_limit};
use crate::error::{Code, Problem};
use crate::parameters::RangeBound;
use crate::search_request::LOGS_LIMIT_MAX;

/// The most hits that all searches of a request may ask for together.
pub const HITS_MAX: u64 = LOGS_LIMIT_MAX as u64;
/// How many hits a search brings if it does not say.
const SIZE_DEFAULT: u64 = 10;

const SEARCH: &[Member] = &[
    ("query", Shape::Query),
    ("post_filter", Shape::Query),
    ("size", Shape::Whole(HITS_MAX)),
    ("from", Shape::Whole(HITS_MAX)),
    ("sort", Shape::Sort),
    ("search_after", Shape::Scalars),
    ("aggs", Shape::Aggregations),
    ("aggregations", Shape::Aggregations),
    ("_source", Shape::Any),
    ("fields", Shape::Any),
    ("docvalue_fields", Shape::Any),
    ("stored_fields", Shape::Any),
    // Grafana sends it, and always empty.
    ("script_fields", Shape::Empty),
    ("highlight", Shape::Members(HIGHLIGHT)),
    ("timeout", Shape::Scalar),
    ("track_total_hits", Shape::Scalar),
    ("track_scores", Shape::Scalar),
    ("min_score", Shape::Scalar),
    ("terminate_after", Shape::Scalar),
    ("version", Shape::Scalar),
    ("seq_no_primary_term", Shape::Scalar),
];

/// Without `highlight_query`, which would be one more query.
const HIGHLIGHT: &[Member] = &[
    ("fields", Shape::Named(HIGHLIGHT_FIELD)),
    ("pre_tags", Shape::Scalars),
    ("post_tags", Shape::Scalars),
    ("fragment_size", Shape::Scalar),
    ("number_of_fragments", Shape::Scalar),
    ("no_match_size", Shape::Scalar),
    ("require_field_match", Shape::Scalar),
    ("order", Shape::Scalar),
    ("type", Shape::Scalar),
    ("encoder", Shape::Scalar),
];

const HIGHLIGHT_FIELD: &[Member] = &[
    ("fragment_size", Shape::Scalar),
    ("number_of_fragments", Shape::Scalar),
    ("no_match_size", Shape::Scalar),
    ("require_field_match", Shape::Scalar),
    ("type", Shape::Scalar),
];

const COUNT: &[Member] = &[("query", Shape::Query)];

const FIELD_CAPS: &[Member] = &[("fields", Shape::Any), ("index_filter", Shape::Query)];

/// A search that may be sent.
#[derive(Clone, Debug, PartialEq)]
pub struct SearchBody {
    /// What is sent.
    pub json: Json,
    /// How many hits it asks for.
    pub hits: u64,
}

/// The body of a `_search` or of one search of a `_msearch`; an empty one searches for everything.
///
/// # Errors
/// [`Code::InvalidJson`], [`Code::NotAllowed`], [`Code::InvalidParameter`], [`Code::TimeRangeTooLong`].
pub fn search(bytes: &[u8], timeout: Duration, range: RangeBound) -> Result<SearchBody, Problem> {
    let mut members = read(bytes)?;
    check(&members, SEARCH, true)?;
    let body = Json::Object(members.clone());
    time_bound::check(body.get("query"), range)?;
    let asked = match body.get("timeout") {
        None => None,
        Some(Json::Text(text)) => Some(text.as_str()),
        Some(_) => return Err(invalid("`timeout` must be a text such as `10s`")),
    };
    let limit = time_limit::shorter(asked, timeout);
    let limit = limit.map_err(|detail| invalid(&format!("`timeout`: {detail}")))?;
    members.retain(|(name, _)| name != "timeout");
    for (name, value) in &mut members {
        if *name == "sort" {
            *value = tie_break_last(std::mem::replace(value, Json::Null));
        }
    }
    members.push(("timeout".to_owned(), Json::Text(limit)));
    let size = body.get("size").and_then(Json::as_whole);
    Ok(SearchBody {
        json: Json::Object(members),
        hits: size.unwrap_or(SIZE_DEFAULT),
    })
}

/// The body of a `_count`.
///
/// # Errors
/// As [`search`].
pub fn count(bytes: &[u8], range: RangeBound) -> Result<Json, Problem> {
    let members = read(bytes)?;
    check(&members, COUNT, false)?;
    let body = Json::Object(members);
    time_bound::check(body.get("query"), range)?;
    Ok(body)
}

/// The body of a `_field_caps`, or none.
///
/// # Errors
/// As [`search`], without the last.
pub fn field_caps(bytes: &[u8]) -> Result<Option<Json>, Problem> {
    let members = read(bytes)?;
    check(&members, FIELD_CAPS, false)?;
    Ok((!members.is_empty()).then_some(Json::Object(members)))
}

fn read(bytes: &[u8]) -> Result<Vec<(String, Json)>, Problem> {
    if bytes.trim_ascii().is_empty() {
        return Ok(Vec::new());
    }
    let read = Json::read(bytes);
    let wrong = |reason: &str| {
        let detail = format!("the body is not a JSON object: {reason}");
        Problem::new(Code::InvalidJson, detail)
    };
    match read.map_err(|reason| wrong(&reason))? {
        Json::Object(members) => Ok(members),
        _ => Err(wrong("it is another value")),
    }
}

fn check(members: &[(String, Json)], table: &[Member], is_search: bool) -> Result<(), Problem> {
    let mut checker = Checker::default();
    for (name, value) in members {
        let at = At::top(name);
        let known = table.iter().find(|(known, _)| known == name);
        let is_empty = is_search && matches!(known, Some((_, Shape::Empty)));
        if !is_empty {
            // Wrapped, so that the name itself is looked at, too.
            let alone = Json::Object(vec![(name.clone(), value.clone())]);
            grammar::without_scripts(&alone, At::top("body"))?;
        }
        let Some((_, shape)) = known else {
            let known: Vec<&str> = table.iter().map(|(name, _)| *name).collect();
            return Err(grammar::not_allowed(&format!(
                "`{at}` is not passed on; there are {}",
                known.join(", ")
            )));
        };
        checker.check(value, *shape, at)?;
    }
    Ok(())
}

/// A serializer that sorts names, such as Go's in Grafana, puts the tie-break `_doc` before `timestamp`, and
/// hits would then come in the order of their storage. After `_doc` no other field counts, so whoever names
/// others wants it last.
fn tie_break_last(sort: Json) -> Json {
    match sort {
        Json::Object(mut members) if members.len() > 1 => {
            members.sort_by_key(|(name, _)| name == "_doc");
            let alone = |member| Json::Object(vec![member]);
            Json::Array(members.into_iter().map(alone).collect())
        }
        other => other,
    }
}

fn invalid(detail: &str) -> Problem {
    Problem::new(Code::InvalidParameter, detail)
}
