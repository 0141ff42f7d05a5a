//! What `ingest-gateway doctor` examines: Kafka, keys and certificate.
//!
//! Beside the flow: `config` → **`doctor`** → `service::doctor`, which asks and judges.

use service::doctor::kafka::{self, KafkaNeeds};
use service::doctor::kafka_verdict::TopicNeed;
use service::doctor::{Check, files};

use crate::config::Config;

/// The checks for a gateway with these settings.
#[must_use]
pub fn checks(config: &Config) -> Vec<Check> {
    let mut checks = kafka::checks(needs(config));
    checks.extend(files::checks(&config.access, config.tls.as_ref()));
    checks
}

fn needs(config: &Config) -> KafkaNeeds {
    let largest = u64::try_from(config.kafka.record_bytes_max()).unwrap_or(u64::MAX);
    let topic = TopicNeed {
        name: config.kafka.topic.clone(),
        writes: true,
        largest: Some((largest, "--max-event-bytes")),
        ..TopicNeed::default()
    };
    KafkaNeeds {
        brokers: config.kafka.brokers.clone(),
        client: config.kafka.client_config(),
        topics: vec![topic],
        group: None,
        transactions: None,
    }
}
