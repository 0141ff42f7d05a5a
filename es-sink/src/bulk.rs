//! Carries a bulk request to Elasticsearch and its reply back; judges nothing.
//!
//! In the flow: `consumer` → **`bulk`** → `consumer`.

use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use bytes::Bytes;
use es_sink_core::bulk_response::FILTER_PATH;
use es_sink_core::sink::BulkId;
use service::elasticsearch::{Method, Nodes, Request};
use tokio::runtime::Handle;

use crate::metrics::Metrics;
use crate::reply::Reply;
use crate::traces::BulkSpan;

/// The way to Elasticsearch.
#[derive(Clone, Debug)]
pub struct BulkSender {
    nodes: Arc<Nodes>,
    runtime: Handle,
    timeout: Duration,
    path: Arc<str>,
    replies: Sender<Reply>,
    metrics: Arc<Metrics>,
}

impl BulkSender {
    /// Replies go to `replies`, one for each request, whatever happens.
    #[must_use]
    pub fn new(
        nodes: Arc<Nodes>,
        runtime: Handle,
        timeout: Duration,
        replies: Sender<Reply>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let path = format!("/_bulk?filter_path={FILTER_PATH}").into();
        Self {
            nodes,
            runtime,
            timeout,
            path,
            replies,
            metrics,
        }
    }

    /// Sends without waiting. `span` ends with the reply.
    pub fn send(&self, bulk: BulkId, body: Bytes, span: Option<BulkSpan>) {
        let sender = self.clone();
        self.runtime.spawn(async move {
            let started = Instant::now();
            let request = Request {
                method: Method::Post,
                path: &sender.path,
                content_type: "application/x-ndjson",
                body: Some(body),
                timeout: sender.timeout,
                traceparent: span.as_ref().map(|span| span.headers().as_header()),
            };
            let reply = sender.nodes.send(request).await;
            sender
                .metrics
                .bulk_seconds
                .observe(started.elapsed().as_secs_f64());
            let reply = reply
                .map(|reply| (reply.status, reply.body))
                .map_err(|error| error.to_string());
            if let Some(span) = span {
                span.end(
                    reply
                        .as_ref()
                        .map(|(status, _)| *status)
                        .map_err(|why| &**why),
                );
            }
            // The consumer thread is gone only when the process ends.
            drop(sender.replies.send(Reply::Bulk { bulk, reply }));
        });
    }
}
