//! What a node says of itself, in the shape of `GET /`, made from another of its pages.
//!
//! In the flow: `elasticsearch` → **`identity`**.
//! A server without its optional modules has no page at `/`, and clients look for the version there.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;
use std::collections::BTreeMap;

/// Where the other page is: the node that is asked, and of it only this.
pub const NODE_PATH: &str =
    "/_nodes/_local/http?filter_path=cluster_name,nodes.*.name,nodes.*.version";

/// The reply to `GET /`; `None` if the page does not say what is needed.
#[must_use]
pub fn from_node(page: &[u8]) -> Option<Bytes> {
    #[derive(Deserialize)]
    struct Page {
        cluster_name: String,
        nodes: BTreeMap<String, Node>,
    }
    #[derive(Deserialize)]
    struct Node {
        name: String,
        version: String,
    }
    let page: Page = serde_json::from_slice(page).ok()?;
    let node = page.nodes.into_values().next()?;
    let root = json!({
        "name": node.name,
        "cluster_name": page.cluster_name,
        "version": { "number": node.version },
        "tagline": "You Know, for Search",
    });
    Some((root.to_string() + "\n").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_cluster_and_version_are_those_of_the_node() {
        let page = br#"{"cluster_name":"logs","nodes":{"TYx":{"name":"es-1","version":"8.19.0"}}}"#;
        let root = from_node(page).unwrap();
        let root: serde_json::Value = serde_json::from_slice(&root).unwrap();
        assert_eq!(root["version"]["number"], "8.19.0");
        assert_eq!(root["name"], "es-1");
        assert_eq!(root["cluster_name"], "logs");
        assert!(root["tagline"].is_string());
        for page in ["", "{}", r#"{"cluster_name":"logs","nodes":{}}"#] {
            assert_eq!(from_node(page.as_bytes()), None);
        }
    }
}
