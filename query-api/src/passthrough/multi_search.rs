//! The lines of a `_msearch`, in turn a header and a body, become the lines that are sent.
//!
//! In the flow: `parameters` → **`multi_search`** → `indices`, `search_body`. Upholds QA-1.
//! One search that is refused refuses all: Grafana shows the reason at each of them.

use std::time::Duration;

use super::indices;
use super::json::Json;
use super::parameters::SEARCH_TYPES;
use super::search_body::{self, HITS_MAX};
use crate::config::IndexExpression;
use crate::error::{Code, Problem};
use crate::parameters::RangeBound;

/// The most searches of one request.
pub const SEARCHES_MAX: usize = 50;

/// The flags of a header that are passed on.
const FLAGS: [&str; 6] = [
    "ignore_unavailable",
    "allow_no_indices",
    "ignore_throttled",
    "request_cache",
    "ccs_minimize_roundtrips",
    "allow_partial_search_results",
];

/// Searches that may be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MultiSearch {
    /// Their lines, each with its end.
    pub lines: String,
    /// How many there are.
    pub searches: usize,
    /// How many hits they ask for together.
    pub hits: u64,
}

/// Reads the body of a `_msearch`.
///
/// # Errors
/// As [`search_body::search`] and [`indices::within`], with the position of the search, counted from 1.
pub fn read(
    body: &[u8],
    configured: &IndexExpression,
    timeout: Duration,
    range: RangeBound,
) -> Result<MultiSearch, Problem> {
    let lines = lines(body);
    if lines.is_empty() || lines.len() % 2 == 1 {
        let detail = "a `_msearch` has two lines for each search: a header and a body";
        return Err(Problem::new(Code::InvalidJson, detail));
    }
    let searches = lines.len() / 2;
    if searches > SEARCHES_MAX {
        let detail = format!("a `_msearch` can have {SEARCHES_MAX} searches at most");
        return Err(Problem::new(Code::NotAllowed, detail));
    }
    let mut read = MultiSearch {
        lines: String::with_capacity(body.len() + searches * 64),
        searches,
        hits: 0,
    };
    for (n, pair) in lines.chunks(2).enumerate() {
        let located = |problem: Problem| Problem {
            detail: format!("search {} of {searches}: {}", n + 1, problem.detail),
            ..problem
        };
        let header = header(pair[0], configured).map_err(located)?;
        let body = search_body::search(pair[1], timeout, range).map_err(located)?;
        read.hits += body.hits;
        for json in [header, body.json] {
            read.lines.push_str(&json.write());
            read.lines.push('\n');
        }
    }
    if read.hits > HITS_MAX {
        let detail = format!(
            "the searches of one request can ask for {HITS_MAX} hits at most together, these ask for {}; lower their `size`",
            read.hits
        );
        return Err(Problem::new(Code::NotAllowed, detail));
    }
    Ok(read)
}

/// How many searches a body has, as far as its lines tell; for the reply to one that is refused.
#[must_use]
pub fn count(body: &[u8]) -> usize {
    lines(body).len().div_ceil(2).clamp(1, SEARCHES_MAX)
}

fn lines(body: &[u8]) -> Vec<&[u8]> {
    if body.trim_ascii().is_empty() {
        return Vec::new();
    }
    let body = body.strip_suffix(b"\n").unwrap_or(body);
    body.split(|byte| *byte == b'\n').collect()
}

fn header(line: &[u8], configured: &IndexExpression) -> Result<Json, Problem> {
    let not_an_object = |reason: &str| {
        let detail = format!("the header is not a JSON object: {reason}");
        Problem::new(Code::InvalidJson, detail)
    };
    let members = if line.trim_ascii().is_empty() {
        Vec::new()
    } else {
        match Json::read(line).map_err(|reason| not_an_object(&reason))? {
            Json::Object(members) => members,
            _ => return Err(not_an_object("it is another value")),
        }
    };
    let mut index: Option<String> = None;
    let mut sent = Vec::with_capacity(members.len() + 1);
    for (name, value) in members {
        let is_passed_on = match (name.as_str(), &value) {
            ("index" | "indices", value) if index.is_none() => {
                index = Some(expression(value)?);
                continue;
            }
            ("search_type", Json::Text(text)) => SEARCH_TYPES.contains(&text.as_str()),
            ("expand_wildcards", Json::Text(text)) => text == "open",
            ("preference", Json::Text(text)) => !text.starts_with('_'),
            (flag, Json::Bool(_)) => FLAGS.contains(&flag),
            _ => false,
        };
        if !is_passed_on {
            let name: String = name.chars().take(64).collect();
            let detail = format!(
                "`{name}` with this value is not passed on in a header; there are index, search_type ({}), expand_wildcards (open), preference (without `_` in front) and, true or false, {}",
                SEARCH_TYPES.join(", "),
                FLAGS.join(", ")
            );
            return Err(Problem::new(Code::NotAllowed, detail));
        }
        sent.push((name, value));
    }
    let index = indices::within(index.as_deref(), configured)?;
    sent.push(("index".to_owned(), Json::Text(index)));
    Ok(Json::Object(sent))
}

/// A text, or an array of them.
fn expression(value: &Json) -> Result<String, Problem> {
    let texts = match value {
        Json::Array(items) => items.as_slice(),
        one => std::slice::from_ref(one),
    };
    let names: Option<Vec<&str>> = texts
        .iter()
        .map(|item| match item {
            Json::Text(text) => Some(text.as_str()),
            _ => None,
        })
        .collect();
    names.map(|names| names.join(",")).ok_or_else(|| {
        let detail = "`index` must be a text or an array of texts";
        Problem::new(Code::InvalidParameter, detail)
    })
}
