//! What operators see of the gateway: the closed list of its metrics.
//!
//! Written by `routes` (requests, events), `body` sizes and `produce`
//! (deliveries); read at `/metrics`. Labels are closed lists, but for the tenants, of which the first
//! [`TENANTS_MAX`] have a label of their own.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use log_event::tenant::Tenant;
use prometheus::{Histogram, IntCounter, IntCounterVec, IntGauge, Registry};
use service::metrics::Namespace;

use crate::error::Code;

/// Upper bounds of the latency histograms: from a hit in the same rack to the
/// longest delivery timeout that makes sense.
const LATENCY_SECONDS: [f64; 15] = [
    0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
    10.0,
];

/// So many tenants are counted by name, each with the codes that it met.
pub const TENANTS_MAX: usize = 500;
/// The label that the others share; no tenant's name begins like it.
const OTHER_TENANTS: &str = "_other";

/// All metrics of the gateway.
#[derive(Debug)]
pub struct Metrics {
    namespace: Namespace,
    /// Requests answered, by status.
    pub requests: IntCounterVec,
    requests_refused: IntCounterVec,
    /// Those that `requests_refused` knows by name.
    tenants: Mutex<HashSet<Tenant>>,
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
        let metrics = Self {
            requests: namespace.counter_by(
                "requests_total",
                "HTTP requests answered, by status.",
                &["status"],
            ),
            requests_refused: namespace.counter_by(
                "requests_refused_total",
                "Requests with events refused as a whole, by code and tenant; without a tenant where the key has none or is not known.",
                &["code", "tenant"],
            ),
            tenants: Mutex::default(),
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
        };
        // A counter that first shows at its first event hides that event from `rate`.
        for code in Code::ALL {
            let labels = [code.as_str(), ""];
            metrics.requests_refused.with_label_values(&labels);
        }
        metrics
    }

    /// Counts a request that is refused as a whole; `tenant` is the key's, once that is known.
    pub fn refused(&self, code: Code, tenant: Option<&Tenant>) {
        let named = |tenant: &Tenant| {
            let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
            if tenants.len() < TENANTS_MAX {
                tenants.insert(tenant.clone());
            }
            tenants.contains(tenant)
        };
        let tenant = match tenant {
            Some(tenant) if named(tenant) => tenant.as_str(),
            Some(_) => OTHER_TENANTS,
            None => "",
        };
        let labels = [code.as_str(), tenant];
        self.requests_refused.with_label_values(&labels).inc();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tenants_beyond_the_limit_share_a_label() {
        let metrics = Metrics::new();
        for n in (0..TENANTS_MAX + 2).chain([0]) {
            let tenant: Tenant = format!("shop_{n}").parse().unwrap();
            metrics.refused(Code::RateLimited, Some(&tenant));
        }
        metrics.refused(Code::RateLimited, None);
        let of = |tenant: &str| {
            let labels = [Code::RateLimited.as_str(), tenant];
            metrics.requests_refused.with_label_values(&labels).get()
        };
        let counted = ["shop_0", "shop_499", OTHER_TENANTS, ""].map(of);
        assert_eq!(counted, [2, 1, 2, 1]);
    }
}
