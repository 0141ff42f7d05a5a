//! A consumer that reads topics without a group: it moves no offset and takes no partition from anybody.
//!
//! In the flow: `config` → **`kafka`** → `tail_reader`, `letters`.

use rdkafka::ClientContext;
use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};
use service::kafka::{KafkaProperty, client_config};

/// Where Kafka is, and what is read there.
#[derive(Clone, Debug)]
pub struct KafkaSettings {
    /// The brokers; none, if there is neither a live tail nor a look at the topics.
    pub brokers: Vec<String>,
    /// The topic that es-sink indexes.
    pub topic: String,
    /// The topic of what can never be indexed.
    pub dead_letter_topic: String,
    /// For librdkafka.
    pub properties: Vec<KafkaProperty>,
}

/// Keeps librdkafka's errors out of the log: whoever reads gets them, too.
#[derive(Clone, Copy, Debug)]
pub struct Quiet;

impl ClientContext for Quiet {
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "trouble with Kafka");
    }
}

impl ConsumerContext for Quiet {}

/// A consumer that has nothing assigned yet; whether it tells where partitions end, as an error of its own.
///
/// # Errors
/// If librdkafka refuses the configuration.
pub fn consumer<C: ConsumerContext>(
    settings: &KafkaSettings,
    tells_ends: bool,
    context: C,
) -> KafkaResult<BaseConsumer<C>> {
    client_config(
        &settings.brokers,
        &[
            ("client.id", "query-api"),
            // Never joined, and nothing is committed in its name.
            ("group.id", "query-api"),
            ("queued.max.messages.kbytes", "2048"),
            ("fetch.message.max.bytes", "1048576"),
            ("fetch.wait.max.ms", "100"),
        ],
        &settings.properties,
        &[
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            (
                "enable.partition.eof",
                if tells_ends { "true" } else { "false" },
            ),
            ("auto.offset.reset", "latest"),
            ("allow.auto.create.topics", "false"),
        ],
    )
    .create_with_context(context)
}
