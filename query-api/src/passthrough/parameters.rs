//! Which parameters of the query string are passed on, and with which values.
//!
//! In the flow: `indices` → **`parameters`** → `multi_search`, `search_body`. Upholds QA-1: what
//! would lift a bound, keep a context open or carry a body is not among them.

use std::time::Duration;

use url::form_urlencoded;

use super::endpoint::Endpoint;
use super::time_limit;
use crate::error::{Code, Problem};

/// So many shards of one search at most may work at once on a node, if the client says how many.
const SHARD_REQUESTS_MAX: u64 = 256;
/// The longest value, in bytes.
const VALUE_BYTES_MAX: usize = 4_096;

/// What a value may be.
#[derive(Clone, Copy, Debug)]
enum Value {
    /// `true`, `false` or nothing.
    Flag,
    /// A whole number up to this.
    Whole(u64),
    /// One of these.
    OneOf(&'static [&'static str]),
    /// A text that chooses nothing but what is shown.
    Text,
    /// A text that sends the same client to the same copies. One with `_` in front chooses nodes.
    Session,
}

use Endpoint::{Count, FieldCaps, Health, Mapping, MultiSearch, Root, Search};

/// Everything that has indices.
const ON_INDICES: &[Endpoint] = &[MultiSearch, Search, Count, Mapping, FieldCaps];
const SEARCHES: &[Endpoint] = &[MultiSearch, Search];
const ANY: &[Endpoint] = &[Root, Health, MultiSearch, Search, Count, Mapping, FieldCaps];

const PARAMETERS: &[(&str, &[Endpoint], Value)] = &[
    ("pretty", ANY, Value::Flag),
    ("human", ANY, Value::Flag),
    ("filter_path", ANY, Value::Text),
    ("ignore_unavailable", ON_INDICES, Value::Flag),
    ("allow_no_indices", ON_INDICES, Value::Flag),
    ("expand_wildcards", ON_INDICES, Value::OneOf(&["open"])),
    (
        "ignore_throttled",
        &[MultiSearch, Search, Count],
        Value::Flag,
    ),
    (
        "max_concurrent_shard_requests",
        SEARCHES,
        Value::Whole(SHARD_REQUESTS_MAX),
    ),
    (
        "max_concurrent_searches",
        &[MultiSearch],
        Value::Whole(u64::MAX),
    ),
    ("search_type", SEARCHES, Value::OneOf(SEARCH_TYPES)),
    ("typed_keys", SEARCHES, Value::Flag),
    ("rest_total_hits_as_int", SEARCHES, Value::Flag),
    ("ccs_minimize_roundtrips", SEARCHES, Value::Flag),
    ("track_total_hits", &[Search], Value::Text),
    ("request_cache", &[Search], Value::Flag),
    ("allow_partial_search_results", &[Search], Value::Flag),
    ("preference", &[Search, Count], Value::Session),
    (
        "wait_for_status",
        &[Health],
        Value::OneOf(&["green", "yellow", "red"]),
    ),
    ("timeout", &[Health], Value::Text),
    ("fields", &[FieldCaps], Value::Text),
    ("types", &[FieldCaps], Value::Text),
    ("filters", &[FieldCaps], Value::Text),
    ("include_unmapped", &[FieldCaps], Value::Flag),
    ("include_empty_fields", &[FieldCaps], Value::Flag),
];

/// How a search may run in its phases.
pub(super) const SEARCH_TYPES: &[&str] = &["query_then_fetch", "dfs_query_then_fetch"];

/// The parameters to send, in the client's order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Reads a query string.
    ///
    /// # Errors
    /// [`Code::NotAllowed`] for a parameter or a value that is not passed on, [`Code::InvalidParameter`] and
    /// [`Code::DuplicateParameter`] for what cannot be meant.
    pub fn read(endpoint: Endpoint, query: &str) -> Result<Self, Problem> {
        let mut read: Vec<(String, String)> = Vec::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let known = PARAMETERS.iter().find(|(known, endpoints, _)| {
                *known == name.as_ref() && endpoints.contains(&endpoint)
            });
            let Some((known, _, kind)) = known else {
                return Err(unknown(endpoint, &name));
            };
            if read.iter().any(|(other, _)| other == known) {
                let detail = format!("`{known}` is given twice; give it once");
                return Err(problem(Code::DuplicateParameter, known, detail));
            }
            judge(known, *kind, &value)?;
            read.push(((*known).to_owned(), value.into_owned()));
        }
        Ok(Self(read))
    }

    /// Sets how long the cluster may make a client wait for its health: as long as the client says, and
    /// not longer than a search.
    ///
    /// # Errors
    /// [`Code::InvalidParameter`] if the client's own value is no time.
    pub fn limit_health(&mut self, limit: Duration) -> Result<(), Problem> {
        let asked = self.take("timeout");
        let limit = time_limit::shorter(asked.as_deref(), limit)
            .map_err(|detail| problem(Code::InvalidParameter, "timeout", detail))?;
        self.0.push(("timeout".to_owned(), limit));
        Ok(())
    }

    /// Sets how many searches of one request run at once: as many as the client says, and not more than this.
    pub fn limit_concurrency(&mut self, limit: u32) {
        let asked = self.take("max_concurrent_searches");
        let asked = asked.and_then(|value| value.parse::<u64>().ok());
        let searches = asked.unwrap_or(u64::MAX).clamp(1, u64::from(limit));
        self.0
            .push(("max_concurrent_searches".to_owned(), searches.to_string()));
    }

    /// As it stands in a path: with the question mark, or empty.
    #[must_use]
    pub fn write(&self) -> String {
        if self.0.is_empty() {
            return String::new();
        }
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(&self.0);
        format!("?{}", query.finish())
    }

    fn take(&mut self, name: &str) -> Option<String> {
        let at = self.0.iter().position(|(other, _)| other == name)?;
        Some(self.0.remove(at).1)
    }
}

fn judge(name: &str, kind: Value, value: &str) -> Result<(), Problem> {
    let refused = |why: String| {
        let value: String = value.chars().take(64).collect();
        let detail = format!("`{name}` cannot be `{value}` here; {why}");
        Err(problem(Code::NotAllowed, name, detail))
    };
    if value.len() > VALUE_BYTES_MAX {
        return refused(format!("it may be {VALUE_BYTES_MAX} bytes long"));
    }
    match kind {
        Value::Flag if !matches!(value, "" | "true" | "false") => {
            refused("it is `true` or `false`".to_owned())
        }
        Value::Whole(max) if value.parse::<u64>().map_or(true, |number| number > max) => {
            refused(format!("it is a whole number up to {max}"))
        }
        Value::OneOf(values) if !values.contains(&value) => {
            refused(format!("it can be {}", values.join(", ")))
        }
        Value::Session if value.starts_with('_') => {
            refused("choose a text of your own, without `_` in front".to_owned())
        }
        Value::Flag | Value::Whole(_) | Value::OneOf(_) | Value::Text | Value::Session => Ok(()),
    }
}

fn unknown(endpoint: Endpoint, name: &str) -> Problem {
    let known: Vec<&str> = PARAMETERS
        .iter()
        .filter(|(_, endpoints, _)| endpoints.contains(&endpoint))
        .map(|(known, _, _)| *known)
        .collect();
    let name: String = name.chars().take(64).collect();
    let detail = format!(
        "the parameter `{name}` is not passed on; `{}` takes {}",
        endpoint.name(),
        known.join(", ")
    );
    problem(Code::NotAllowed, &name, detail)
}

fn problem(code: Code, parameter: &str, detail: String) -> Problem {
    Problem {
        code,
        detail,
        parameter: Some(parameter.to_owned()),
        column: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(endpoint: Endpoint, query: &str) -> Result<String, Problem> {
        Parameters::read(endpoint, query).map(|parameters| parameters.write())
    }

    #[test]
    fn what_clients_send_is_passed_on() {
        for (endpoint, query) in [
            (MultiSearch, "max_concurrent_shard_requests=5"),
            (
                MultiSearch,
                "max_concurrent_shard_requests=256&ignore_throttled=false",
            ),
            (Health, "wait_for_status=yellow"),
            (FieldCaps, "fields=*&ignore_unavailable=true"),
            (
                Search,
                "track_total_hits=true&rest_total_hits_as_int=true&pretty=",
            ),
            (
                Search,
                "expand_wildcards=open&preference=a1&filter_path=hits.total%2Ctook",
            ),
        ] {
            assert_eq!(sent(endpoint, query), Ok(format!("?{query}")));
        }
        assert_eq!(sent(Root, ""), Ok(String::new()));
        assert_eq!(sent(Search, "pretty"), Ok("?pretty=".to_owned()));
    }

    #[test]
    fn everything_else_is_refused_by_its_name() {
        for (endpoint, query, name) in [
            (Search, "scroll=1m", "scroll"),
            (
                Search,
                "source=%7B%7D&source_content_type=application/json",
                "source",
            ),
            (Search, "q=a", "q"),
            (Search, "size=100000", "size"),
            (Search, "timeout=1h", "timeout"),
            (Search, "error_trace=true", "error_trace"),
            (Search, "index=secrets", "index"),
            (Search, "expand_wildcards=all", "expand_wildcards"),
            (Search, "expand_wildcards=open,hidden", "expand_wildcards"),
            (Search, "preference=_only_nodes:x", "preference"),
            (Search, "search_type=scan", "search_type"),
            (Search, "pretty=1", "pretty"),
            (
                MultiSearch,
                "max_concurrent_shard_requests=257",
                "max_concurrent_shard_requests",
            ),
            (
                MultiSearch,
                "max_concurrent_shard_requests=-1",
                "max_concurrent_shard_requests",
            ),
            (Mapping, "fields=*", "fields"),
            (Health, "level=indices", "level"),
            (Root, "a=b", "a"),
        ] {
            let problem = sent(endpoint, query).unwrap_err();
            assert_eq!(problem.code, Code::NotAllowed, "{query}");
            assert_eq!(problem.parameter.as_deref(), Some(name), "{query}");
            assert!(
                problem.detail.contains(&format!("`{name}`")),
                "{}",
                problem.detail
            );
        }
        let twice = sent(Search, "pretty&pretty").unwrap_err();
        assert_eq!(twice.code, Code::DuplicateParameter);
        let long = format!("filter_path={}", "a".repeat(VALUE_BYTES_MAX + 1));
        assert!(sent(Search, &long).is_err());
    }

    // QA-1.
    #[test]
    fn a_client_may_lower_a_bound_and_not_raise_it() {
        for (query, expected) in [
            ("", "?timeout=10000ms"),
            ("timeout=1h", "?timeout=10000ms"),
            ("timeout=50ms", "?timeout=50ms"),
        ] {
            let mut parameters = Parameters::read(Health, query).unwrap();
            parameters.limit_health(Duration::from_secs(10)).unwrap();
            assert_eq!(parameters.write(), expected);
        }
        for (query, expected) in [
            ("", "?max_concurrent_searches=3"),
            ("max_concurrent_searches=100", "?max_concurrent_searches=3"),
            ("max_concurrent_searches=2", "?max_concurrent_searches=2"),
            ("max_concurrent_searches=0", "?max_concurrent_searches=1"),
        ] {
            let mut parameters = Parameters::read(MultiSearch, query).unwrap();
            parameters.limit_concurrency(3);
            assert_eq!(parameters.write(), expected);
        }
        let mut parameters = Parameters::read(Health, "timeout=soon").unwrap();
        let problem = parameters
            .limit_health(Duration::from_secs(10))
            .unwrap_err();
        assert_eq!(problem.code, Code::InvalidParameter);
    }
}
