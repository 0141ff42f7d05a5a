//! Asks Elasticsearch whether a service could work with it; judges nothing.
//!
//! In the flow: settings → **`elasticsearch`** → `elasticsearch_verdict`.

use bytes::Bytes;
use serde_json::Value;
use tokio::runtime::Handle;

use super::elasticsearch_verdict::{self as verdict, Privileges};
use super::{ASK_TIMEOUT, Check};
use crate::elasticsearch::{Method, NodeUrl, Nodes, Request};
use crate::login::Login;

/// What a service needs of Elasticsearch.
#[derive(Clone, Debug)]
pub struct ElasticsearchNeeds {
    /// As `--elasticsearch-url` has them.
    pub nodes: Vec<NodeUrl>,
    /// Who the service is.
    pub login: Login,
    /// What it must be allowed.
    pub privileges: Privileges,
    /// The indices that it writes, as a pattern.
    pub writes: Option<String>,
    /// The indices that it searches, as Elasticsearch's multi-target syntax takes them.
    pub searches: Option<String>,
}

/// One check for each node, and one for each question to the cluster. They are asked within the runtime of `handle`.
#[must_use]
pub fn checks(needs: &ElasticsearchNeeds, handle: &Handle) -> Vec<Check> {
    let mut checks = Vec::new();
    for url in &needs.nodes {
        let shown = url.to_string();
        let (url, login, handle) = (url.clone(), needs.login.clone(), handle.clone());
        checks.push(Check::new(
            format!("Elasticsearch node `{shown}`"),
            move || {
                let answer = ask(&[url], &login, &handle, Method::Get, "/", None);
                vec![verdict::node(&shown, &answer)]
            },
        ));
    }
    let question = |method: Method, path: String, body: Option<Value>| {
        let (nodes, login, handle) = (needs.nodes.clone(), needs.login.clone(), handle.clone());
        move || ask(&nodes, &login, &handle, method, &path, body)
    };
    let health = question(Method::Get, "/_cluster/health".to_owned(), None);
    checks.push(Check::new("Elasticsearch cluster", move || {
        vec![verdict::health(&health())]
    }));
    if let Some(names) = needs.writes.clone() {
        let path = format!(
            "/{names}/_settings/index.blocks.*?flat_settings=true&allow_no_indices=true&ignore_unavailable=true"
        );
        let blocks = question(Method::Get, path, None);
        let about = format!("Elasticsearch indices `{names}`, blocks");
        checks.push(Check::new(about, move || {
            vec![verdict::blocks(&names, &blocks())]
        }));
    }
    if let Some(names) = needs.searches.clone() {
        let path = format!("/{names}/_count");
        let count = question(Method::Get, path, None);
        let about = format!("Elasticsearch indices `{names}`");
        checks.push(Check::new(about, move || {
            vec![verdict::searchable(&names, &count())]
        }));
    }
    let body = verdict::privileges_question(&needs.privileges);
    let path = "/_security/user/_has_privileges".to_owned();
    let privileges = question(Method::Post, path, Some(body));
    let needed = needs.privileges.clone();
    checks.push(Check::new("Elasticsearch privileges", move || {
        verdict::privileges(&needed, &privileges())
    }));
    checks
}

/// The status and what is JSON of the body; or why there is no answer from any node.
fn ask(
    nodes: &[NodeUrl],
    login: &Login,
    handle: &Handle,
    method: Method,
    path: &str,
    body: Option<Value>,
) -> Result<(u16, Value), String> {
    // One that is away is another check's to tell; who answers is asked.
    let mut reason = String::new();
    for node in nodes {
        let one = Nodes::new(std::slice::from_ref(node), login)?;
        let request = Request {
            body: body.as_ref().map(|body| Bytes::from(body.to_string())),
            ..Request::bare(method, path, ASK_TIMEOUT)
        };
        match handle.block_on(one.send(request)) {
            Ok(reply) => {
                let body = serde_json::from_slice(&reply.body).unwrap_or_default();
                return Ok((reply.status, body));
            }
            Err(error) => reason = error.to_string(),
        }
    }
    Err(reason)
}
