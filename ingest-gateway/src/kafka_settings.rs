//! Decides how librdkafka is set up: what the guarantees rest on, what the
//! gateway prefers, and what the operator may change.
//!
//! In the flow: `config` → **`kafka_settings`** → `produce`. Upholds GW-1 and GW-2.

use std::time::Duration;

use rdkafka::config::ClientConfig;
use service::kafka::{KafkaProperty, client_config};

/// What a record costs beside its value: librdkafka's bookkeeping and the
/// headers of each event, with the longest event id. Counted into the budget.
pub const RECORD_OVERHEAD_BYTES: usize = 1024;
/// What it costs more where the request is traced: two headers, the second as long as it may be.
pub const TRACED_OVERHEAD_BYTES: usize = 768;
/// What a record may need on the wire beside its value.
const RECORD_FRAMING_BYTES: usize = 4096;
/// Records that share a batch make at most this; the default of librdkafka is
/// twice that. See [`crate::delivery::fate`] for why this must be well below what topics take.
const BATCH_BYTES_MAX: &str = "524288";

/// Where to, and how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KafkaSettings {
    /// `HOST:PORT` each.
    pub brokers: Vec<String>,
    /// All events go here.
    pub topic: String,
    /// The operator's own, checked against [`KafkaSettings::fixed`].
    pub properties: Vec<KafkaProperty>,
    /// From hand-over to acknowledgement.
    pub timeout: Duration,
    /// The longest event as sent.
    pub event_bytes_max: usize,
    /// The budget that bounds what is handed over.
    pub in_flight_bytes_max: usize,
}

impl KafkaSettings {
    /// What the guarantees rest on; no operator may change these.
    #[must_use]
    pub fn fixed(&self) -> Vec<(&'static str, String)> {
        // GW-2: the budget is what refuses requests, whole ones. librdkafka's
        // own bound, which could cut a request in two, lies twice as high,
        // because it counts a record until its batch of reports is freed.
        let records = (self.in_flight_bytes_max / RECORD_OVERHEAD_BYTES).max(1) * 2;
        let kib = (self.in_flight_bytes_max / 1024).max(1) * 2;
        let at_most = |n: usize| n.min(i32::MAX as usize).to_string();
        vec![
            // GW-1.
            ("enable.idempotence", "true".to_owned()),
            ("acks", "all".to_owned()),
            ("queue.buffering.max.messages", at_most(records)),
            ("queue.buffering.max.kbytes", at_most(kib)),
            ("message.timeout.ms", self.timeout.as_millis().to_string()),
        ]
    }

    /// A property under librdkafka's first name for it, so that an alias can
    /// neither slip past a check nor compete with our own value.
    #[must_use]
    pub fn canonical(property: KafkaProperty) -> KafkaProperty {
        let key = match property.key.as_str() {
            "request.required.acks" => "acks",
            "delivery.timeout.ms" => "message.timeout.ms",
            "queue.buffering.max.ms" => "linger.ms",
            "compression.codec" => "compression.type",
            key => key,
        };
        KafkaProperty {
            key: key.to_owned(),
            value: property.value,
        }
    }

    /// The largest record that an event can become.
    #[must_use]
    pub fn record_bytes_max(&self) -> usize {
        self.event_bytes_max + RECORD_FRAMING_BYTES
    }

    /// All properties of the producer.
    #[must_use]
    pub fn client_config(&self) -> ClientConfig {
        let record_bytes = self.record_bytes_max().max(1_000_000);
        let record_bytes = record_bytes.to_string();
        let fixed = self.fixed();
        let fixed: Vec<(&str, &str)> = fixed
            .iter()
            .map(|(key, value)| (*key, value.as_str()))
            .collect();
        let needed = [
            ("client.id", "ingest-gateway"),
            ("compression.type", "lz4"),
            // What goes together is decided by `grouping`. With five in flight nothing
            // is faster: of one partition librdkafka sends one batch at a time.
            ("linger.ms", "0"),
            ("max.in.flight", "1"),
            ("sticky.partitioning.linger.ms", "10"),
            ("batch.size", BATCH_BYTES_MAX),
            ("message.max.bytes", record_bytes.as_str()),
            // Back within a second or so after an outage, not after ten.
            ("reconnect.backoff.max.ms", "1000"),
            ("socket.keepalive.enable", "true"),
            ("log.connection.close", "false"),
        ];
        client_config(&self.brokers, &needed, &self.properties, &fixed)
    }
}
