//! Carries spans to the collector: few at a time, and none twice.
//!
//! In the flow: `traces` → **`traces::export`** → OTLP/HTTP (OTLP specification 1.x, "OTLP/HTTP"). Memory is bounded by
//! [`QUEUE_SPANS`]; what does not fit, and what a collector does not take, is counted and given up.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use opentelemetry::Context;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_proto::transform::trace::tonic::group_spans_by_resource_and_scope;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span, SpanData, SpanProcessor};
use prometheus::{IntCounter, IntCounterVec};
use prost::Message as _;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::elasticsearch::NodeUrl;
use crate::login::Login;
use crate::metrics::Namespace;
use crate::trouble::innermost;

/// The spans that wait for the collector, some 2 MB. The same as the SDK's own default (`OTEL_BSP_MAX_QUEUE_SIZE`).
const QUEUE_SPANS: usize = 2_048;
/// The spans of one request to it, as `OTEL_BSP_MAX_EXPORT_BATCH_SIZE`.
const BATCH_SPANS: usize = 512;
/// Between two requests, unless more than one is full.
const PAUSE: Duration = Duration::from_secs(1);
/// How long it may take to answer, as `OTEL_EXPORTER_OTLP_TIMEOUT`.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How often the log is told that it still takes none.
const TELL_AGAIN: Duration = Duration::from_secs(60);
/// Of what it says when it refuses.
const REASON_BYTES_MAX: usize = 300;
/// Of longer answers the rest is not read.
const REPLY_BYTES_MAX: usize = 64 << 10;

/// Where a collector listens.
#[derive(Clone)]
pub(super) struct Collector {
    url: String,
    client: reqwest::Client,
}

impl Collector {
    /// Connects to none yet.
    ///
    /// # Errors
    /// If TLS cannot be set up.
    pub(super) fn new(endpoint: &NodeUrl, login: &Login) -> Result<Self, String> {
        let mut client = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none());
        for authority in login.authorities()?.into_iter().flatten() {
            client = client.add_root_certificate(authority);
        }
        Ok(Self {
            url: format!("{endpoint}/v1/traces"),
            client: client.build().map_err(|error| innermost(&error))?,
        })
    }
}

impl fmt::Debug for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Collector({})", self.url)
    }
}

/// Takes the spans that ended. Clones share one queue.
#[derive(Clone, Debug)]
pub(super) struct Export {
    queue: mpsc::Sender<SpanData>,
    ending: Arc<watch::Sender<bool>>,
    task: Arc<Mutex<Option<JoinHandle<()>>>>,
    lost: IntCounterVec,
}

/// Why a span never reached the collector, as the metric says it.
const QUEUE_FULL: &str = "queue_full";
const REFUSED: &str = "refused";
const UNREACHABLE: &str = "unreachable";

impl Export {
    pub(super) fn start(
        collector: Collector,
        login: Login,
        resource: &Resource,
        metrics: &Namespace,
    ) -> Self {
        let exported = metrics.counter(
            "spans_exported_total",
            "Spans that the collector of traces has taken.",
        );
        let lost = metrics.counter_by(
            "spans_dropped_total",
            "Spans that the collector of traces has not taken, by cause.",
            &["cause"],
        );
        // A counter that first shows at its first span hides that span from `rate`.
        for cause in [QUEUE_FULL, REFUSED, UNREACHABLE] {
            lost.with_label_values(&[cause]);
        }
        let (queue, waiting) = mpsc::channel(QUEUE_SPANS);
        let (ending, ends) = watch::channel(false);
        let carrier = Carrier {
            collector,
            login,
            resource: resource.into(),
            exported,
            lost: lost.clone(),
            told_at: None,
        };
        Self {
            queue,
            ending: Arc::new(ending),
            task: Arc::new(Mutex::new(Some(tokio::spawn(carrier.run(waiting, ends))))),
            lost,
        }
    }

    /// Waits until all that ended before is sent, or lost.
    pub(super) async fn close(&self) {
        self.ending.send_replace(true);
        let task = self
            .task
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(Err(error)) = match task {
            Some(task) => Some(task.await),
            None => None,
        } {
            tracing::error!(%error, "the task that sends spans failed");
        }
    }
}

impl SpanProcessor for Export {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        if self.queue.try_send(span).is_err() {
            self.lost.with_label_values(&[QUEUE_FULL]).inc();
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// The task that sends.
struct Carrier {
    collector: Collector,
    login: Login,
    resource: ResourceAttributesWithSchema,
    exported: IntCounter,
    lost: IntCounterVec,
    /// When the log was told last that spans are lost, if they still are.
    told_at: Option<Instant>,
}

impl Carrier {
    async fn run(mut self, mut waiting: mpsc::Receiver<SpanData>, mut ends: watch::Receiver<bool>) {
        loop {
            let mut batch = Vec::new();
            tokio::select! {
                biased;
                count = waiting.recv_many(&mut batch, BATCH_SPANS) => if count == 0 {
                    return;
                },
                // What is in the queue by now still comes out of it.
                _ = ends.wait_for(|ends| *ends) => {
                    waiting.close();
                    continue;
                }
            }
            let is_full = batch.len() == BATCH_SPANS;
            self.send(batch).await;
            if !is_full {
                // Sooner only at the end.
                drop(tokio::time::timeout(PAUSE, ends.wait_for(|ends| *ends)).await);
            }
        }
    }

    async fn send(&mut self, batch: Vec<SpanData>) {
        let spans = batch.len() as u64;
        let request = ExportTraceServiceRequest {
            resource_spans: group_spans_by_resource_and_scope(batch, &self.resource),
        };
        match self.exchange(request.encode_to_vec()).await {
            Ok(refused) => {
                let refused = refused.min(spans);
                self.exported.inc_by(spans - refused);
                self.lost.with_label_values(&[REFUSED]).inc_by(refused);
                if refused == 0 && self.told_at.take().is_some() {
                    tracing::info!("the collector takes spans again");
                }
            }
            Err((cause, reason)) => {
                self.lost.with_label_values(&[cause]).inc_by(spans);
                self.tell(&reason);
            }
        }
    }

    /// How many of the spans the collector did not want, or why it has none of them.
    async fn exchange(&mut self, body: Vec<u8>) -> Result<u64, (&'static str, String)> {
        let mut request = self
            .collector
            .client
            .post(&self.collector.url)
            .header(CONTENT_TYPE, "application/x-protobuf")
            .body(body);
        if let Some(authorization) = self.login.authorization() {
            request = request.header(AUTHORIZATION, authorization);
        }
        let unreachable = |error: reqwest::Error| (UNREACHABLE, innermost(&error));
        let mut reply = request.send().await.map_err(unreachable)?;
        let status = reply.status();
        let mut text = Vec::new();
        while let Some(part) = reply.chunk().await.map_err(unreachable)? {
            if text.len() + part.len() > REPLY_BYTES_MAX {
                break;
            }
            text.extend_from_slice(&part);
        }
        if !status.is_success() {
            let said = String::from_utf8_lossy(&text[..text.len().min(REASON_BYTES_MAX)]);
            return Err((REFUSED, format!("HTTP status {status}: {said}")));
        }
        // What cannot be read says nothing against the spans.
        let reply = ExportTraceServiceResponse::decode(&text[..]).unwrap_or_default();
        let Some(partial) = reply.partial_success else {
            return Ok(0);
        };
        let refused = u64::try_from(partial.rejected_spans).unwrap_or_default();
        if refused > 0 {
            self.tell(&partial.error_message);
        }
        Ok(refused)
    }

    fn tell(&mut self, reason: &str) {
        if self.told_at.is_none_or(|told| told.elapsed() >= TELL_AGAIN) {
            self.told_at = Some(Instant::now());
            let collector = &self.collector.url;
            tracing::warn!(
                collector,
                reason,
                "spans are lost; events are not concerned"
            );
        }
    }
}
