//! Everything that requests share.
//!
//! In the flow: `server` → **`gateway`** → `routes`, `intake`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use log_event::event_id::EventIdMinter;
use rdkafka::error::KafkaResult;

use crate::admission::{Admission, Budget, RateLimits};
use crate::config::{Config, PROGRAM};
use crate::metrics::Metrics;
use crate::pacing::HeldBack;
use crate::produce::Producer;
use crate::quotas::Quotas;
use service::traces::Traces;

/// Everything that requests share.
#[derive(Debug)]
pub struct Gateway {
    pub(crate) config: Config,
    pub(crate) admission: Admission,
    pub(crate) denials: Admission,
    pub(crate) quotas: Quotas,
    pub(crate) held_back: HeldBack,
    pub(crate) budget: Arc<Budget>,
    pub(crate) producer: Arc<Producer>,
    pub(crate) minter: EventIdMinter,
    pub(crate) metrics: Arc<Metrics>,
    /// `None`: nothing is traced.
    pub(crate) traces: Option<Traces>,
    pub(crate) draining: AtomicBool,
}

impl Gateway {
    /// Ready for requests; Kafka is connected to in the background. `process`
    /// is random: it tells the ids minted here from those of other processes.
    ///
    /// # Panics
    /// Outside of a Tokio runtime, if requests are traced.
    ///
    /// # Errors
    /// If librdkafka refuses the configuration.
    pub fn new(config: Config, process: [u8; 8]) -> KafkaResult<Arc<Self>> {
        let metrics = Arc::new(Metrics::new());
        let producer = Producer::new(config.kafka.clone(), Arc::clone(&metrics))?;
        let traces = config.traces.clone();
        let traces = traces.map(|traces| Traces::start(traces, PROGRAM.name, metrics.namespace()));
        let gateway = Arc::new(Self {
            admission: Admission::new(config.rate_limits),
            denials: Admission::new(RateLimits::of_denials(config.rate_limits.clients_max)),
            quotas: Quotas::new(config.replicas, config.rate_limits.rates.pacing),
            held_back: HeldBack::new(config.kafka.in_flight_bytes_max),
            budget: Budget::new(config.kafka.in_flight_bytes_max),
            producer: Arc::new(producer),
            minter: EventIdMinter::new(process),
            metrics,
            traces,
            draining: AtomicBool::new(false),
            config,
        });
        gateway.watch();
        let namespace = gateway.metrics.namespace();
        gateway.config.access.watch(namespace);
        if let Some(tls) = &gateway.config.tls {
            tls.watch(namespace);
        }
        Ok(gateway)
    }

    /// The way to Kafka.
    #[must_use]
    pub fn producer(&self) -> &Arc<Producer> {
        &self.producer
    }

    /// What operators see.
    #[must_use]
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Who tells of requests, if they are traced.
    #[must_use]
    pub fn traces(&self) -> Option<&Traces> {
        self.traces.as_ref()
    }

    /// What it was told.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// From now on new requests are refused; those inside go on.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    fn watch(self: &Arc<Self>) {
        let limit = self.config.kafka.in_flight_bytes_max;
        let connections_max = self.config.connections_max;
        let budget = Arc::clone(&self.budget);
        let producer = Arc::clone(&self.producer);
        let gateway = Arc::downgrade(self);
        let metrics = &self.metrics;
        metrics.watch(
            "in_flight_bytes",
            "Bytes that requests hold: bodies, and records until Kafka reported them.",
            move || budget.bytes() as f64,
        );
        metrics.watch(
            "in_flight_limit_bytes",
            "What in_flight_bytes may reach before requests are refused.",
            move || limit as f64,
        );
        metrics.watch(
            "kafka_reachable",
            "1 if Kafka answers and acknowledges, else 0.",
            move || f64::from(u8::from(producer.reasons().is_empty())),
        );
        metrics.watch(
            "open_connections_limit",
            "What open_connections may reach; further clients wait to be accepted.",
            move || connections_max as f64,
        );
        let held_back = self.held_back.budget();
        metrics.watch(
            "paced_bytes",
            "Bytes that requests hold which are held back until their rate has room for them.",
            move || held_back.bytes() as f64,
        );
        metrics.watch(
            "tracked_clients",
            "Clients with rate limits of their own.",
            move || {
                gateway
                    .upgrade()
                    .map_or(0.0, |gateway| gateway.admission.tracked_clients() as f64)
            },
        );
    }
}
