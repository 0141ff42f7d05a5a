//! What operators see: a closed list of metrics with bounded labels.
//!
//! In the flow: beside all of it. Not here: how they are served (`service::operations`).

use std::sync::Arc;

use prometheus::{HistogramTimer, HistogramVec, IntCounter, IntCounterVec, IntGauge, Registry};
use service::metrics::Namespace;

use crate::elasticsearch::SearchError;
use crate::error::Code;
use crate::routes::Route;
use crate::search_response::{Partial, PartialCode};

/// From half a millisecond, the aim for a search's own cost, to the longest search.
const SECONDS_BUCKETS: [f64; 15] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];
const STATUS_CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// What Elasticsearch is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A page of hits.
    Search,
    /// Open a point in time.
    OpenCursor,
    /// Close one.
    CloseCursor,
    /// How fields are kept.
    Fields,
    /// The probe for readiness.
    Probe,
    /// A request below `/elasticsearch`.
    PassOn,
}

impl Operation {
    const ALL: [Self; 6] = [
        Self::Search,
        Self::OpenCursor,
        Self::CloseCursor,
        Self::Fields,
        Self::Probe,
        Self::PassOn,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Search => "search",
            Self::OpenCursor => "open_cursor",
            Self::CloseCursor => "close_cursor",
            Self::Fields => "fields",
            Self::Probe => "probe",
            Self::PassOn => "pass_on",
        }
    }
}

const ERROR_KINDS: [&str; 6] = [
    "unreachable",
    "timed_out",
    "overloaded",
    "cursor_expired",
    "refused",
    "unreadable",
];

fn error_kind(error: &SearchError) -> &'static str {
    match error {
        SearchError::Unreachable(_) => "unreachable",
        SearchError::TimedOut(_) => "timed_out",
        SearchError::Overloaded { .. } => "overloaded",
        SearchError::CursorExpired => "cursor_expired",
        SearchError::Refused { .. } => "refused",
        SearchError::Unreadable(_) => "unreadable",
    }
}

/// All metrics of the service. Clones count together.
#[derive(Clone, Debug)]
pub struct Metrics {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    namespace: Namespace,
    http_requests: IntCounterVec,
    http_seconds: HistogramVec,
    http_in_flight: IntGauge,
    connections: IntGauge,
    refused: IntCounterVec,
    partial: IntCounterVec,
    elasticsearch_seconds: HistogramVec,
    elasticsearch_errors: IntCounterVec,
    cursors_open: IntGauge,
    cursors_evicted: IntCounter,
}

impl Metrics {
    /// Registers all of them, at zero.
    #[must_use]
    pub fn new() -> Self {
        let namespace = Namespace::new("query_api");
        let inner = Inner {
            http_requests: namespace.counter_by(
                "http_requests_total",
                "HTTP requests answered, by route and class of status.",
                &["route", "status"],
            ),
            http_seconds: namespace.histogram_by(
                "http_request_duration_seconds",
                "Time from a request's head to its reply, by route.",
                &["route"],
                &SECONDS_BUCKETS,
            ),
            http_in_flight: namespace
                .gauge("http_requests_in_flight", "HTTP requests being answered."),
            connections: namespace.gauge("open_connections", "Open client connections."),
            refused: namespace.counter_by(
                "requests_refused_total",
                "Requests answered with a problem, by its code.",
                &["code"],
            ),
            partial: namespace.counter_by(
                "results_partial_total",
                "Results that may lack hits, by reason.",
                &["reason"],
            ),
            elasticsearch_seconds: namespace.histogram_by(
                "elasticsearch_request_duration_seconds",
                "Time that Elasticsearch took to answer, by operation.",
                &["operation"],
                &SECONDS_BUCKETS,
            ),
            elasticsearch_errors: namespace.counter_by(
                "elasticsearch_errors_total",
                "Requests to Elasticsearch without a usable answer, by operation and kind.",
                &["operation", "kind"],
            ),
            cursors_open: namespace.gauge(
                "cursors_open",
                "Cursors that this process holds open in Elasticsearch.",
            ),
            cursors_evicted: namespace.counter(
                "cursors_evicted_total",
                "Cursors closed before their time to make room for newer ones.",
            ),
            namespace,
        };
        inner.start_at_zero();
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Where further metrics of this service are registered.
    #[must_use]
    pub fn namespace(&self) -> &Namespace {
        &self.inner.namespace
    }

    /// How many connections are open, for the server.
    #[must_use]
    pub fn connections(&self) -> &IntGauge {
        &self.inner.connections
    }

    /// For `/metrics`.
    #[must_use]
    pub fn registry(&self) -> Registry {
        self.inner.namespace.registry()
    }

    /// Counts a request in flight until the guard is dropped, also by a client that left.
    #[must_use]
    pub fn enter(&self) -> InFlight {
        self.inner.http_in_flight.inc();
        InFlight(self.inner.http_in_flight.clone())
    }

    /// Counts an answered request.
    pub fn answered(&self, route: Route, status: u16, seconds: f64, refusal: Option<Code>) {
        let class = usize::from(status / 100).clamp(1, 5) - 1;
        let labels = [route.label(), STATUS_CLASSES[class]];
        self.inner.http_requests.with_label_values(&labels).inc();
        self.inner
            .http_seconds
            .with_label_values(&[route.label()])
            .observe(seconds);
        if let Some(code) = refusal {
            self.inner.refused.with_label_values(&[code.as_str()]).inc();
        }
    }

    /// Counts the reasons for which a result is partial.
    pub fn count_partial(&self, reasons: &[Partial]) {
        for reason in reasons {
            self.inner
                .partial
                .with_label_values(&[reason.code.as_str()])
                .inc();
        }
    }

    /// Measures a request to Elasticsearch, also one that is given up.
    pub fn elasticsearch_timer(&self, operation: Operation) -> HistogramTimer {
        let seconds = &self.inner.elasticsearch_seconds;
        seconds
            .with_label_values(&[operation.as_str()])
            .start_timer()
    }

    /// Counts a request to Elasticsearch that failed.
    pub fn count_elasticsearch_error(&self, operation: Operation, error: &SearchError) {
        let labels = [operation.as_str(), error_kind(error)];
        self.inner
            .elasticsearch_errors
            .with_label_values(&labels)
            .inc();
    }

    /// Sets how many cursors are open.
    pub fn set_cursors_open(&self, n: usize) {
        self.inner
            .cursors_open
            .set(i64::try_from(n).unwrap_or(i64::MAX));
    }

    /// Counts cursors that gave way.
    pub fn count_evicted(&self, n: usize) {
        self.inner.cursors_evicted.inc_by(n as u64);
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Inner {
    /// A series that is not there cannot be told from one that never grew.
    fn start_at_zero(&self) {
        // A counter that first shows at its first event hides that event from `rate`.
        for route in Route::ALL {
            for status in ["2xx", "5xx"] {
                let labels = [route.label(), status];
                self.http_requests.with_label_values(&labels);
            }
            self.http_seconds.with_label_values(&[route.label()]);
        }
        for code in Code::ALL {
            self.refused.with_label_values(&[code.as_str()]);
        }
        for reason in PartialCode::ALL {
            self.partial.with_label_values(&[reason.as_str()]);
        }
        for operation in Operation::ALL {
            self.elasticsearch_seconds
                .with_label_values(&[operation.as_str()]);
            for kind in ERROR_KINDS {
                self.elasticsearch_errors
                    .with_label_values(&[operation.as_str(), kind]);
            }
        }
    }
}

/// A request in flight.
#[derive(Debug)]
pub struct InFlight(IntGauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}
