//! Reads the events of a run back from Elasticsearch.
//!
//! In the flow: **`elasticsearch_reader`** → `verification` → `verify`.
//! Sliced scrolls over a snapshot, sorted as the shards hold them, because they
//! work on Elasticsearch and OpenSearch alike. A reply that leaves out a shard is
//! an error: it would make events look missing.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;
use service::elasticsearch::{Method, NodeUrl, Nodes, Request};
use service::login::Login;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::marker::{FIELD, RunId};

const TIMEOUT: Duration = Duration::from_secs(120);
/// Elasticsearch's default `index.max_result_window`.
const PAGE_DOCUMENTS: usize = 10_000;
const SLICES_MAX: u64 = 4;
/// Pages read ahead of the comparison.
const PAGES_AHEAD: usize = 4;

/// The indices in which the documents of a run are.
#[derive(Clone, Debug)]
pub struct ElasticsearchReader {
    nodes: Arc<Nodes>,
    index: String,
    run: RunId,
}

#[derive(Deserialize)]
struct Page {
    #[serde(rename = "_scroll_id")]
    scroll_id: Option<String>,
    #[serde(default)]
    timed_out: bool,
    #[serde(rename = "_shards")]
    shards: Option<Shards>,
    #[serde(default)]
    hits: Hits,
}

#[derive(Deserialize)]
struct Shards {
    total: u64,
    failed: u64,
}

#[derive(Default, Deserialize)]
struct Hits {
    #[serde(default)]
    hits: Vec<Hit>,
}

#[derive(Deserialize)]
struct Hit {
    #[serde(rename = "_source")]
    source: Source,
}

#[derive(Deserialize)]
struct Source {
    loadtest: Marker,
}

#[derive(Deserialize)]
struct Marker {
    n: u64,
}

#[derive(Deserialize)]
struct Count {
    count: u64,
    #[serde(rename = "_shards")]
    shards: Shards,
}

impl ElasticsearchReader {
    /// `index` is a name or a pattern such as `logflow-*`.
    ///
    /// # Errors
    /// If TLS cannot be set up.
    pub fn new(urls: &[NodeUrl], index: &str, run: &RunId) -> anyhow::Result<Self> {
        let nodes =
            Nodes::new(urls, &Login::default()).map_err(|reason| anyhow::anyhow!(reason))?;
        Ok(Self {
            nodes: Arc::new(nodes),
            index: index.to_owned(),
            run: run.clone(),
        })
    }

    /// Makes everything that was indexed visible to searches.
    ///
    /// # Errors
    /// If Elasticsearch does not answer or refuses.
    pub async fn refresh(&self) -> anyhow::Result<()> {
        let path = format!("/{}/_refresh", self.index);
        self.send(Method::Post, &path, None).await.map(drop)
    }

    /// How many documents name an event of the run.
    ///
    /// # Errors
    /// If Elasticsearch does not answer, refuses, or leaves out a shard.
    pub async fn count(&self) -> anyhow::Result<u64> {
        Ok(self.count_and_shards().await?.count)
    }

    async fn count_and_shards(&self) -> anyhow::Result<Count> {
        let path = format!("/{}/_count", self.index);
        let body = json!({ "query": self.query() });
        let reply = self.send(Method::Post, &path, Some(body)).await?;
        let count: Count = serde_json::from_slice(&reply).context("an unreadable count")?;
        if count.shards.failed > 0 {
            bail!(
                "{} shards of `{}` did not answer",
                count.shards.failed,
                self.index
            );
        }
        Ok(count)
    }

    /// Tells of the event of every document, in no particular order.
    ///
    /// # Errors
    /// If Elasticsearch does not answer, refuses, or leaves out a shard.
    pub async fn read(&self, mut found: impl FnMut(u64)) -> anyhow::Result<()> {
        let n_shards = self.count_and_shards().await?.shards.total;
        let n_slices = n_shards.clamp(1, SLICES_MAX);
        let (pages, mut received) = mpsc::channel(PAGES_AHEAD);
        let mut slices = JoinSet::new();
        for slice in 0..n_slices {
            let reader = self.clone();
            let pages = pages.clone();
            slices.spawn(async move { reader.read_slice(slice, n_slices, pages).await });
        }
        drop(pages);
        while let Some(page) = received.recv().await {
            page.into_iter().for_each(&mut found);
        }
        while let Some(ended) = slices.join_next().await {
            ended.context("a slice's task ended early")??;
        }
        Ok(())
    }

    async fn read_slice(
        &self,
        slice: u64,
        n_slices: u64,
        pages: mpsc::Sender<Vec<u64>>,
    ) -> anyhow::Result<()> {
        const FILTER: &str =
            "filter_path=_scroll_id,timed_out,_shards.total,_shards.failed,hits.hits._source";
        let mut body = json!({
            "size": PAGE_DOCUMENTS,
            "sort": ["_doc"],
            "query": self.query(),
            "_source": [format!("{FIELD}.n")],
        });
        if n_slices > 1 {
            body["slice"] = json!({ "id": slice, "max": n_slices });
        }
        let first = format!("/{}/_search?scroll=2m&{FILTER}", self.index);
        let mut page = self.page(&first, body).await?;
        while !page.hits.hits.is_empty() {
            let numbers = page.hits.hits.iter().map(|hit| hit.source.loadtest.n);
            if pages.send(numbers.collect()).await.is_err() {
                break;
            }
            let next = json!({ "scroll": "2m", "scroll_id": page.scroll_id });
            page = self
                .page(&format!("/_search/scroll?{FILTER}"), next)
                .await?;
        }
        // The snapshot goes away by itself after two minutes where this fails.
        let done = json!({ "scroll_id": page.scroll_id });
        if let Err(error) = self
            .send(Method::Delete, "/_search/scroll", Some(done))
            .await
        {
            tracing::debug!(%error, "a scroll stays open until it expires");
        }
        Ok(())
    }

    async fn page(&self, path: &str, body: serde_json::Value) -> anyhow::Result<Page> {
        let reply = self.send(Method::Post, path, Some(body)).await?;
        let page: Page = serde_json::from_slice(&reply)
            .with_context(|| format!("a document of run `{}` without its marker", self.run))?;
        let failed = page.shards.as_ref().map_or(0, |shards| shards.failed);
        if page.timed_out || failed > 0 {
            bail!("{failed} shards of `{}` did not answer in time", self.index);
        }
        Ok(page)
    }

    /// Where the documents of some events are: `event N: INDEX/ID`, at most 100 lines.
    ///
    /// # Errors
    /// If Elasticsearch does not answer or refuses.
    pub async fn places(&self, events: &[u64]) -> anyhow::Result<Vec<String>> {
        let path = format!("/{}/_search", self.index);
        let number = format!("{FIELD}.n");
        let body = json!({
            "size": 100,
            "sort": [{ &number: { "order": "asc", "unmapped_type": "long" } }],
            "query": { "bool": { "filter": [self.query(), { "terms": { &number: events } }] } },
            "_source": [&number],
        });
        let reply = self.send(Method::Post, &path, Some(body)).await?;
        let reply: serde_json::Value = serde_json::from_slice(&reply)?;
        let hits = reply["hits"]["hits"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let line = |hit: &serde_json::Value| {
            let text = |value: &serde_json::Value| value.as_str().unwrap_or("?").to_owned();
            let n = &hit["_source"][FIELD]["n"];
            format!("event {n}: {}/{}", text(&hit["_index"]), text(&hit["_id"]))
        };
        Ok(hits.iter().map(line).collect())
    }

    fn query(&self) -> serde_json::Value {
        json!({ "term": { format!("{FIELD}.run"): self.run.as_str() } })
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<serde_json::Value>,
    ) -> anyhow::Result<Bytes> {
        let request = match body {
            Some(body) => Request::json(method, path, body.to_string().into(), TIMEOUT),
            None => Request::bare(method, path, TIMEOUT),
        };
        let reply = self.nodes.send(request).await?;
        if !(200..300).contains(&reply.status) {
            let text = String::from_utf8_lossy(&reply.body);
            let start: String = text.chars().take(300).collect();
            bail!(
                "Elasticsearch refused `{path}` with {}: {start}",
                reply.status
            );
        }
        Ok(reply.body)
    }
}
