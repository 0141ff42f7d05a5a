//! Which of the two search engines the nodes are: they differ in what an index
//! template and a point in time look like.
//!
//! In the flow: `elasticsearch` → **`search_engine`** → es-sink's template, query-api's requests.
//! Not here: the differences themselves, which stand where the requests are spelled.

use std::time::Duration;

use serde_json::Value;

use crate::elasticsearch::{Method, Nodes, Reply, Request};

/// A search engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SearchEngine {
    /// Elasticsearch 8.
    Elasticsearch,
    /// OpenSearch 2.
    OpenSearch,
}

impl SearchEngine {
    /// Asks a node, which may take `timeout` to answer.
    ///
    /// # Errors
    /// Why there is no answer yet; trying again may help.
    pub async fn ask(nodes: &Nodes, timeout: Duration) -> Result<Self, String> {
        let request = Request::bare(Method::Get, "/", timeout);
        let reply = nodes.send(request).await;
        Self::read(&reply.map_err(|error| error.to_string())?)
    }

    /// Reads the reply to `GET /`. OpenSearch names itself. A refusal comes from
    /// Elasticsearch: it asks for a privilege that neither sink nor query API
    /// needs otherwise, and a server without its optional modules has no such page.
    fn read(reply: &Reply) -> Result<Self, String> {
        match reply.status {
            401 | 408 | 429 | 500.. => {
                Err(format!("asked what it is, a node answers {}", reply.status))
            }
            200 => {
                let root: Value = serde_json::from_slice(&reply.body)
                    .map_err(|error| format!("asked what it is, a node answers: {error}"))?;
                match root["version"]["distribution"].as_str() {
                    Some("opensearch") => Ok(Self::OpenSearch),
                    _ => Ok(Self::Elasticsearch),
                }
            }
            _ => Ok(Self::Elasticsearch),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elasticsearch::HeaderMap;

    #[track_caller]
    fn check(status: u16, body: &'static str, expected: Result<SearchEngine, ()>) {
        let reply = Reply {
            status,
            headers: HeaderMap::new(),
            body: body.into(),
        };
        assert_eq!(SearchEngine::read(&reply).map_err(drop), expected, "{body}");
    }

    #[test]
    fn opensearch_names_itself_and_every_other_answer_is_elasticsearch() {
        let opensearch = r#"{"name":"x","version":{"distribution":"opensearch","number":"2.19.0"},"tagline":"The OpenSearch Project: https://opensearch.org/"}"#;
        check(200, opensearch, Ok(SearchEngine::OpenSearch));
        let elasticsearch = r#"{"name":"x","version":{"number":"8.19.0","build_flavor":"default"},"tagline":"You Know, for Search"}"#;
        check(200, elasticsearch, Ok(SearchEngine::Elasticsearch));
        check(405, "", Ok(SearchEngine::Elasticsearch));
        check(403, "{}", Ok(SearchEngine::Elasticsearch));
    }

    #[test]
    fn what_is_no_answer_decides_nothing() {
        check(503, "", Err(()));
        check(429, "", Err(()));
        check(401, "", Err(()));
        check(200, "<html>", Err(()));
    }
}
