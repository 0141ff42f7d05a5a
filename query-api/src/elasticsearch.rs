//! Sends searches to Elasticsearch and judges the replies' status.
//!
//! In the flow: `es_query` → **`elasticsearch`** → `search_response`.
//! Judges by HTTP status and error type, never by the text of a reason.
//! Not here: which node is asked (`service::elasticsearch`), what hits mean (`search_response`).

use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::Deserialize;
use service::elasticsearch::{Method, NoReply, Nodes, Reply, Request};
use service::search_engine::SearchEngine;

use crate::config::IndexExpression;
use crate::es_query;
use crate::metrics::{Metrics, Operation};
use crate::passthrough::endpoint::Endpoint;
use crate::passthrough::{Passage, identity};
use crate::search_response::Found;

/// How long closing a point in time may take: it is not waited for.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the probe for readiness may take.
const PROBE_TIMEOUT: Duration = Duration::from_secs(3);
/// The pause between two probes.
pub const PROBE_INTERVAL: Duration = Duration::from_secs(2);

/// Why a search has no result.
#[derive(Debug, thiserror::Error)]
pub enum SearchError {
    /// No node can be reached.
    #[error(transparent)]
    Unreachable(NoReply),
    /// No node answered in time.
    #[error(transparent)]
    TimedOut(NoReply),
    /// A refusal that may end: 429 or 503.
    #[error("elasticsearch answered {status}: {reason}")]
    Overloaded {
        /// The HTTP status.
        status: u16,
        /// Elasticsearch's error type and reason.
        reason: String,
    },
    /// The point in time is closed.
    #[error("the point in time of the cursor is closed")]
    CursorExpired,
    /// Any other refusal: an operator must act.
    #[error("elasticsearch answered {status}: {reason}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// Elasticsearch's error type and reason.
        reason: String,
    },
    /// Not the reply to a search.
    #[error("elasticsearch's reply cannot be read: {0}")]
    Unreadable(serde_json::Error),
}

/// What came of opening a point in time.
#[derive(Debug)]
pub enum Opened {
    /// Its id.
    PointInTime(String),
    /// No index matches; this is the reply to a search in them.
    Nothing(Bytes),
}

/// The cluster that is searched.
#[derive(Debug)]
pub struct Elasticsearch {
    nodes: Nodes,
    /// Once a node has told.
    engine: OnceLock<SearchEngine>,
    metrics: Metrics,
    /// What the last probe found; `None` after a good one.
    not_ready: Mutex<Option<String>>,
}

impl Elasticsearch {
    /// Connects at the first request.
    #[must_use]
    pub fn new(nodes: Nodes, metrics: Metrics) -> Self {
        Self {
            nodes,
            engine: OnceLock::new(),
            metrics,
            not_ready: Mutex::new(Some("Elasticsearch was not asked yet".to_owned())),
        }
    }

    /// Which search engine it is, at the deadline at the latest. While no node tells, it is taken for
    /// Elasticsearch: what then is asked of it gets no answer either.
    pub async fn engine(&self, deadline: Instant) -> SearchEngine {
        if let Some(engine) = self.engine.get() {
            return *engine;
        }
        match SearchEngine::ask(&self.nodes, until(deadline)).await {
            Ok(engine) => *self.engine.get_or_init(|| engine),
            Err(_) => SearchEngine::Elasticsearch,
        }
    }

    /// Searches indices.
    ///
    /// # Errors
    /// [`SearchError`], at the deadline at the latest.
    pub async fn search(
        &self,
        index: &IndexExpression,
        body: Bytes,
        deadline: Instant,
    ) -> Result<Bytes, SearchError> {
        let path = es_query::search_path(index);
        let request = Request::json(Method::Post, &path, body, until(deadline));
        self.exchange(Operation::Search, request, deadline).await
    }

    /// Searches in a point in time.
    ///
    /// # Errors
    /// As [`Elasticsearch::search`], and [`SearchError::CursorExpired`].
    pub async fn search_point_in_time(
        &self,
        body: Bytes,
        deadline: Instant,
    ) -> Result<Bytes, SearchError> {
        let path = es_query::SEARCH_POINT_IN_TIME_PATH;
        let request = Request::json(Method::Post, path, body, until(deadline));
        self.exchange(Operation::Search, request, deadline).await
    }

    /// Asks how the indices keep their fields.
    ///
    /// # Errors
    /// As [`Elasticsearch::search`].
    pub async fn field_capabilities(
        &self,
        index: &IndexExpression,
        deadline: Instant,
    ) -> Result<Bytes, SearchError> {
        let path = es_query::field_capabilities_path(index);
        let request = Request::bare(Method::Get, &path, until(deadline));
        self.exchange(Operation::Fields, request, deadline).await
    }

    /// Opens a point in time and returns its id.
    ///
    /// # Errors
    /// As [`Elasticsearch::search`].
    pub async fn open_point_in_time(
        &self,
        engine: SearchEngine,
        index: &IndexExpression,
        body: Option<Bytes>,
        keep_alive: Duration,
        deadline: Instant,
    ) -> Result<Opened, SearchError> {
        #[derive(Deserialize)]
        struct Reply {
            #[serde(alias = "pit_id")]
            id: String,
        }
        let path = es_query::open_point_in_time_path(engine, index, keep_alive);
        let request = Request {
            body,
            ..Request::bare(Method::Post, &path, until(deadline))
        };
        let reply = self
            .exchange(Operation::OpenCursor, request, deadline)
            .await;
        // OpenSearch opens none over no index at all, and says so like any other refusal.
        if engine == SearchEngine::OpenSearch
            && let Err(SearchError::Refused { status: 400, .. }) = &reply
        {
            let nothing = self
                .search(index, es_query::probe(until(deadline)), deadline)
                .await?;
            if Found::read(&nothing)?.is_of_no_index() {
                return Ok(Opened::Nothing(nothing));
            }
        }
        let reply: Reply = serde_json::from_slice(&reply?).map_err(SearchError::Unreadable)?;
        Ok(Opened::PointInTime(reply.id))
    }

    /// Closes a point in time. A failure costs nothing: it closes by itself.
    pub async fn close_point_in_time(&self, point_in_time: &str) {
        let deadline = Instant::now() + CLOSE_TIMEOUT;
        let engine = self.engine(deadline).await;
        let body = es_query::close_point_in_time(engine, point_in_time);
        let path = es_query::close_point_in_time_path(engine);
        let request = Request::json(Method::Delete, path, body, until(deadline));
        match self
            .exchange(Operation::CloseCursor, request, deadline)
            .await
        {
            // 404: it is closed already.
            Ok(_) | Err(SearchError::CursorExpired | SearchError::Refused { status: 404, .. }) => {}
            Err(error) => {
                self.metrics
                    .count_elasticsearch_error(Operation::CloseCursor, &error);
                tracing::debug!(%error, "a cursor is left to expire");
            }
        }
    }

    /// Sends what `passthrough` has written, and gives the reply as it came, whatever its status is.
    ///
    /// # Errors
    /// [`SearchError::Unreachable`] and [`SearchError::TimedOut`], at the deadline at the latest.
    pub async fn pass_on(
        &self,
        passage: &Passage,
        deadline: Instant,
    ) -> Result<Reply, SearchError> {
        let request = Request {
            content_type: passage.content_type,
            body: passage.body.clone(),
            ..Request::bare(passage.method, &passage.path, until(deadline))
        };
        let mut reply = self.reply(Operation::PassOn, request, deadline).await?;
        if passage.endpoint == Endpoint::Root && reply.status == 405 {
            let request = Request::bare(Method::Get, identity::NODE_PATH, until(deadline));
            reply = self.reply(Operation::PassOn, request, deadline).await?;
            if let Some(root) = identity::from_node(&reply.body) {
                reply.body = root;
            }
        }
        // The client's own faults are not Elasticsearch's.
        if matches!(reply.status, 401 | 403 | 429 | 500..) {
            let error = refusal(reply.status, &reply.body);
            self.metrics
                .count_elasticsearch_error(Operation::PassOn, &error);
            tracing::warn!(%error, "a request was passed on, and refused");
        }
        Ok(reply)
    }

    /// Asks whether searches can work, and remembers the answer for [`Elasticsearch::not_ready`].
    pub async fn probe(&self, index: &IndexExpression) {
        let deadline = Instant::now() + PROBE_TIMEOUT;
        self.engine(deadline).await;
        let body = es_query::probe(PROBE_TIMEOUT);
        let path = es_query::search_path(index);
        let request = Request::json(Method::Post, &path, body, until(deadline));
        let found = self.exchange(Operation::Probe, request, deadline).await;
        if let Err(error) = &found {
            self.metrics
                .count_elasticsearch_error(Operation::Probe, error);
        }
        let reason = found.err().map(|error| error.to_string());
        let mut not_ready = self
            .not_ready
            .lock()
            .unwrap_or_else(|broken| broken.into_inner());
        match (&*not_ready, &reason) {
            (None, Some(reason)) => tracing::warn!(reason, "searches cannot work"),
            (Some(_), None) => tracing::info!("searches work"),
            (None, None) | (Some(_), Some(_)) => {}
        }
        *not_ready = reason;
    }

    /// Why searches cannot work, as far as the last probe tells.
    #[must_use]
    pub fn not_ready(&self) -> Option<String> {
        let not_ready = self
            .not_ready
            .lock()
            .unwrap_or_else(|broken| broken.into_inner());
        not_ready.clone()
    }

    async fn exchange(
        &self,
        operation: Operation,
        request: Request<'_>,
        deadline: Instant,
    ) -> Result<Bytes, SearchError> {
        let reply = self.reply(operation, request, deadline).await?;
        match reply.status {
            200..=299 => Ok(reply.body),
            status => Err(refusal(status, &reply.body)),
        }
    }

    async fn reply(
        &self,
        operation: Operation,
        request: Request<'_>,
        deadline: Instant,
    ) -> Result<Reply, NoReply> {
        let timer = self.metrics.elasticsearch_timer(operation);
        let again = request.clone();
        let mut reply = self.nodes.send(request).await;
        // The connection may have been closed while it was idle, or the node may be
        // gone and another one there. A search changes nothing, so it may be sent twice.
        if matches!(reply, Err(NoReply::Unreachable { .. })) {
            let again = Request {
                timeout: until(deadline),
                ..again
            };
            reply = self.nodes.send(again).await;
        }
        timer.observe_duration();
        reply
    }
}

impl From<NoReply> for SearchError {
    fn from(no_reply: NoReply) -> Self {
        match no_reply {
            NoReply::TimedOut { .. } => Self::TimedOut(no_reply),
            NoReply::Unreachable { .. } => Self::Unreachable(no_reply),
        }
    }
}

fn until(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}

/// What a reply with another status than 2xx means.
fn refusal(status: u16, body: &[u8]) -> SearchError {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Reply {
        error: Cause,
    }
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Cause {
        r#type: String,
        reason: Option<String>,
        root_cause: Vec<Cause>,
    }
    let error = serde_json::from_slice::<Reply>(body)
        .unwrap_or_default()
        .error;
    let closed = |cause: &Cause| cause.r#type == "search_context_missing_exception";
    if closed(&error) || error.root_cause.iter().any(closed) {
        return SearchError::CursorExpired;
    }
    let kind = match error.r#type.as_str() {
        "" => "no reason given",
        kind => kind,
    };
    let reason = match error
        .reason
        .or_else(|| error.root_cause.into_iter().find_map(|c| c.reason))
    {
        Some(reason) if !reason.is_empty() => format!("{kind}: {reason}"),
        _ => kind.to_owned(),
    };
    match status {
        429 | 503 => SearchError::Overloaded { status, reason },
        _ => SearchError::Refused { status, reason },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(status: u16, body: &str, expected: &str) {
        assert_eq!(format!("{:?}", refusal(status, body.as_bytes())), expected);
    }

    #[test]
    fn a_refusal_is_judged_by_status_and_type() {
        let closed = r#"{"error":{"root_cause":[{"type":"search_context_missing_exception","reason":"No search context found for id [1]"}],"type":"search_phase_execution_exception","reason":"all shards failed","phase":"query","grouped":true,"failed_shards":[]},"status":404}"#;
        check(404, closed, "CursorExpired");
        check(
            503,
            r#"{"error":{"root_cause":[],"type":"search_phase_execution_exception","reason":""},"status":503}"#,
            r#"Overloaded { status: 503, reason: "search_phase_execution_exception" }"#,
        );
        check(
            403,
            r#"{"error":{"type":"security_exception","reason":"no"},"status":403}"#,
            r#"Refused { status: 403, reason: "security_exception: no" }"#,
        );
        check(
            429,
            "busy",
            r#"Overloaded { status: 429, reason: "no reason given" }"#,
        );
        check(
            502,
            r#"{"error":"proxy"}"#,
            r#"Refused { status: 502, reason: "no reason given" }"#,
        );
    }
}
