//! Which of the few requests that are passed on this is, by its method and path.
//!
//! In the flow: `routes` → **`endpoint`** → `indices`.

use axum::http::Method;

use crate::error::{Code, Problem};
use crate::routes::Route;

/// The path below which Elasticsearch's own paths begin.
pub const PREFIX: &str = "/elasticsearch";

/// What Elasticsearch is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// What it is: `/`.
    Root,
    /// `/_cluster/health`.
    Health,
    /// `/_msearch`.
    MultiSearch,
    /// `/_search`, `/{index}/_search`.
    Search,
    /// `/_count`, `/{index}/_count`.
    Count,
    /// `/_mapping`, `/{index}/_mapping`.
    Mapping,
    /// `/_field_caps`, `/{index}/_field_caps`.
    FieldCaps,
}

/// An endpoint and the indices that the path names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// What is asked for.
    pub endpoint: Endpoint,
    /// The index expression of the path, as the client means it.
    pub index: Option<String>,
}

impl Endpoint {
    /// Its last part, as Elasticsearch calls it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Root => "/",
            Self::Health => "_cluster/health",
            Self::MultiSearch => "_msearch",
            Self::Search => "_search",
            Self::Count => "_count",
            Self::Mapping => "_mapping",
            Self::FieldCaps => "_field_caps",
        }
    }

    /// As what it is counted and documented.
    #[must_use]
    pub fn route(self) -> Route {
        match self {
            Self::Root => Route::PassRoot,
            Self::Health => Route::PassHealth,
            Self::MultiSearch => Route::PassMultiSearch,
            Self::Search => Route::PassSearch,
            Self::Count => Route::PassCount,
            Self::Mapping => Route::PassMapping,
            Self::FieldCaps => Route::PassFieldCaps,
        }
    }

    /// The methods that it takes, as the header `allow` lists them.
    #[must_use]
    pub fn allow(self) -> &'static str {
        match self {
            Self::Root | Self::Health | Self::Mapping => "GET,HEAD",
            Self::MultiSearch => "POST",
            Self::Search | Self::Count | Self::FieldCaps => "GET,HEAD,POST",
        }
    }

    /// Whether it takes the method.
    #[must_use]
    pub fn takes(self, method: &Method) -> bool {
        self.allow().split(',').any(|name| name == method.as_str())
    }
}

impl Place {
    /// Reads a path that begins with [`PREFIX`]. Empty parts count as absent: clients join their base
    /// address and their path with one slash more or less.
    ///
    /// # Errors
    /// [`Code::NotAllowed`] for every other path of Elasticsearch's.
    pub fn read(path: &str) -> Result<Self, Problem> {
        let below = path.strip_prefix(PREFIX).unwrap_or(path);
        // Split before decoding, so that an encoded slash cannot make two parts of one.
        let parts: Option<Vec<String>> = below
            .split('/')
            .filter(|part| !part.is_empty())
            .map(decoded)
            .collect();
        let parts = parts.unwrap_or_default();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let (index, name) = match parts.as_slice() {
            [] if decoded(below).is_some() => (None, "/"),
            ["_cluster", "health"] => (None, "_cluster/health"),
            [name] => (None, *name),
            [index, name] if *index == "_all" || !index.starts_with('_') => (Some(*index), *name),
            _ => (None, ""),
        };
        let endpoint = match name {
            "/" if index.is_none() => Some(Endpoint::Root),
            "_cluster/health" if index.is_none() => Some(Endpoint::Health),
            "_msearch" if index.is_none() => Some(Endpoint::MultiSearch),
            "_search" => Some(Endpoint::Search),
            "_count" => Some(Endpoint::Count),
            "_mapping" => Some(Endpoint::Mapping),
            "_field_caps" => Some(Endpoint::FieldCaps),
            _ => None,
        };
        let index = index.map(str::to_owned);
        endpoint
            .map(|endpoint| Self { endpoint, index })
            .ok_or_else(|| {
                let path: String = below.chars().take(64).collect();
                Problem::new(
                    Code::NotAllowed,
                    format!(
                        "`{path}` is not passed on to Elasticsearch; what is: _msearch, _search, _count, _mapping, _field_caps, _cluster/health and /"
                    ),
                )
            })
    }
}

/// A part of a path without its percent-encoding; `None` if it is no UTF-8 or no proper encoding.
fn decoded(part: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let mut digit = || char::from(rest.next()?).to_digit(16);
            let value = digit()? * 16 + digit()?;
            bytes.push(u8::try_from(value).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(path: &str, endpoint: Endpoint, index: Option<&str>) {
        let place = Place {
            endpoint,
            index: index.map(str::to_owned),
        };
        assert_eq!(Place::read(path), Ok(place), "{path}");
    }

    #[test]
    fn what_clients_ask_for_is_recognised_however_they_join_their_paths() {
        // A data source's address without a slash at its end, with one, and both its and the path's.
        for root in ["/elasticsearch", "/elasticsearch/", "/elasticsearch//"] {
            check(root, Endpoint::Root, None);
        }
        check("/elasticsearch/_cluster/health", Endpoint::Health, None);
        check("/elasticsearch//_msearch", Endpoint::MultiSearch, None);
        // Grafana, written in Go, encodes the asterisk.
        check(
            "/elasticsearch/logflow-%2A/_mapping",
            Endpoint::Mapping,
            Some("logflow-*"),
        );
        check(
            "/elasticsearch/a,b-%2a/_field_caps",
            Endpoint::FieldCaps,
            Some("a,b-*"),
        );
        check("/elasticsearch/_all/_count", Endpoint::Count, Some("_all"));
        check("/elasticsearch/_search", Endpoint::Search, None);
        // Judged as an index expression, and refused there.
        check(
            "/elasticsearch/a%2F_bulk/_search",
            Endpoint::Search,
            Some("a/_bulk"),
        );
    }

    #[test]
    fn every_other_path_is_refused_by_its_name() {
        for path in [
            "/_bulk",
            "/a/_bulk",
            "/a/_doc/1",
            "/a",
            "/_query",
            "/_sql",
            "/_search/scroll",
            "/_search/template",
            "/_msearch/template",
            "/a/_msearch",
            "/a/_pit",
            "/_pit",
            "/a/_mapping/field/x",
            "/a/_search/b",
            "/a/_delete_by_query",
            "/_cluster/settings",
            "/_cluster/health/a",
            "/_nodes",
            "/_cat/indices",
            "/_snapshot/_search",
            "/_async_search",
            "/a/../_search",
            "/%5Fbulk",
            "/%",
            "/%zz",
            "/%ff/_search",
        ] {
            let problem = Place::read(&format!("{PREFIX}{path}")).unwrap_err();
            assert_eq!(problem.code, Code::NotAllowed, "{path}");
            assert!(problem.detail.starts_with(&format!("`{path}` is not")));
        }
    }

    #[test]
    fn nothing_takes_a_method_that_writes() {
        for endpoint in [
            Endpoint::Root,
            Endpoint::Health,
            Endpoint::MultiSearch,
            Endpoint::Search,
            Endpoint::Count,
            Endpoint::Mapping,
            Endpoint::FieldCaps,
        ] {
            for method in [Method::PUT, Method::DELETE, Method::PATCH, Method::OPTIONS] {
                assert!(!endpoint.takes(&method), "{endpoint:?} {method}");
            }
        }
        assert!(!Endpoint::Mapping.takes(&Method::POST));
        assert!(Endpoint::Search.takes(&Method::GET) && Endpoint::Search.takes(&Method::POST));
    }
}
