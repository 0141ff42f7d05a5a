//! What operators see of the gateway: the closed list of its metrics.
//!
//! Written by `routes` (requests, events), `body` sizes and `produce`
//! (deliveries); read at `/metrics`. Labels are closed lists.

use std::time::Duration;

use prometheus::{Histogram, IntCounter, IntCounterVec, IntGauge, Registry};
use service::metrics::Namespace;

/// Upper bounds of the latency histograms: from a hit in the same rack to the
/// longest delivery timeout that makes sense.
const LATENCY_SECONDS: [f64; 15] = [
    0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
    10.0,
];

/// All metrics of the gateway.
#[derive(Debug)]
pub struct Metrics {
    namespace: Namespace,
    /// Requests answered, by status.
    pub requests: IntCounterVec,
    /// `POST /logs` refused as a whole, by code.
    pub requests_refused: IntCounterVec,
    /// Requests held back for their rate, then let in.
    pub requests_paced: IntCounter,
    /// Events acknowledged by Kafka.
    pub events_accepted: IntCounter,
    /// Events refused alone, by code.
    pub events_refused: IntCounterVec,
    /// Bytes of bodies as they came in.
    pub received_bytes: IntCounter,
    /// Bytes of record values handed to the producer.
    pub produced_bytes: IntCounter,
    /// From the head of `POST /logs` to its reply.
    pub request_duration: Histogram,
    /// From handing over a request's records to the last acknowledgement.
    pub kafka_ack_duration: Histogram,
    /// Records that Kafka did not acknowledge, by cause.
    pub delivery_failures: IntCounterVec,
    /// Times the producer was replaced after a fatal error.
    pub producer_restarts: IntCounter,
    /// Records between hand-over and report, as librdkafka counts them.
    pub producer_queue: IntGauge,
    /// Open connections.
    pub connections: IntGauge,
}

impl Metrics {
    /// Registers all of them.
    ///
    /// # Panics
    /// Never: the names are fixed, valid and different.
    #[must_use]
    pub fn new() -> Self {
        let namespace = Namespace::new("ingest_gateway");
        Self {
            requests: namespace.counter_by(
                "requests_total",
                "HTTP requests answered, by status.",
                &["status"],
            ),
            requests_refused: namespace.counter_by(
                "requests_refused_total",
                "POST /logs refused as a whole, by code.",
                &["code"],
            ),
            requests_paced: namespace.counter(
                "requests_paced_total",
                "Requests that were beyond a rate, held back and then let in.",
            ),
            events_accepted: namespace
                .counter("events_accepted_total", "Events that Kafka acknowledged."),
            events_refused: namespace.counter_by(
                "events_refused_total",
                "Events refused alone, by code.",
                &["code"],
            ),
            received_bytes: namespace.counter(
                "received_bytes_total",
                "Bytes of request bodies as received, before decompression.",
            ),
            produced_bytes: namespace.counter(
                "produced_bytes_total",
                "Bytes of record values handed to the Kafka producer.",
            ),
            request_duration: namespace.histogram(
                "request_duration_seconds",
                "From the head of POST /logs to its reply.",
                &LATENCY_SECONDS,
            ),
            kafka_ack_duration: namespace.histogram(
                "kafka_ack_duration_seconds",
                "From handing over the records of a request to their last acknowledgement.",
                &LATENCY_SECONDS,
            ),
            delivery_failures: namespace.counter_by(
                "kafka_delivery_failures_total",
                "Records that Kafka did not acknowledge, by cause.",
                &["cause"],
            ),
            producer_restarts: namespace.counter(
                "kafka_producer_restarts_total",
                "Kafka producers replaced after a fatal error.",
            ),
            producer_queue: namespace.gauge(
                "kafka_producer_queue_records",
                "Records handed to the Kafka producer and not reported yet, sampled every second.",
            ),
            connections: namespace.gauge("open_connections", "Open client connections."),
            namespace,
        }
    }

    /// A gauge whose value is asked for when it is read.
    ///
    /// # Panics
    /// If the name is taken.
    pub fn watch(&self, name: &str, help: &str, value: impl Fn() -> f64 + Send + Sync + 'static) {
        self.namespace.watch(name, help, value);
    }

    /// Where further metrics of this service are registered.
    #[must_use]
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// For `/metrics`.
    #[must_use]
    pub fn registry(&self) -> Registry {
        self.namespace.registry()
    }

    /// Seconds of a duration into a histogram.
    pub fn observe(histogram: &Histogram, duration: Duration) {
        histogram.observe(duration.as_secs_f64());
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}
