//! Keeps what can never be indexed, in Kafka; judges nothing.
//!
//! In the flow: `consumer` → **`dead_letter_topic`** → `consumer`. A dead letter
//! counts only once all in-sync replicas hold it.

use std::sync::mpsc::Sender;

use es_sink_core::dead_letter::DeadLetter;
use es_sink_core::sink::DeadLetterId;
use rdkafka::client::ClientContext;
use rdkafka::error::KafkaError;
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, ProducerContext, ThreadedProducer};
use service::kafka::{KafkaProperty, client_config};

use crate::reply::Reply;

/// What the guarantees rest on.
const FIXED_PRODUCER_PROPERTIES: [(&str, &str); 2] =
    [("enable.idempotence", "true"), ("acks", "all")];

/// The dead-letter topic.
pub struct DeadLetterTopic {
    producer: ThreadedProducer<Deliveries>,
    topic: String,
    replies: Sender<Reply>,
}

impl std::fmt::Debug for DeadLetterTopic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DeadLetterTopic({})", self.topic)
    }
}

struct Deliveries {
    replies: Sender<Reply>,
}

impl ClientContext for Deliveries {
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::warn!(%error, reason, "dead-letter producer");
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Box<DeadLetterId>;

    fn delivery(&self, result: &DeliveryResult<'_>, id: Box<DeadLetterId>) {
        let result = result
            .as_ref()
            .map(|_| ())
            .map_err(|(error, _)| error.to_string());
        // The consumer thread is gone only when the process ends.
        drop(self.replies.send(Reply::DeadLetter { id: *id, result }));
    }
}

impl DeadLetterTopic {
    /// Connects in the background.
    ///
    /// # Errors
    /// If librdkafka refuses a property.
    pub fn new(
        brokers: &[String],
        topic: &str,
        properties: &[KafkaProperty],
        replies: Sender<Reply>,
    ) -> Result<Self, KafkaError> {
        let needed = [
            ("client.id", "es-sink"),
            ("message.timeout.ms", "30000"),
            ("compression.type", "lz4"),
            // A dead letter is its record and at most a few KiB of headers.
            ("message.max.bytes", "16777216"),
            ("queue.buffering.max.kbytes", "32768"),
        ];
        // Properties of consumers are no properties of a producer.
        let properties: Vec<KafkaProperty> = properties
            .iter()
            .filter(|property| concerns_connections(&property.key))
            .cloned()
            .collect();
        let config = client_config(brokers, &needed, &properties, &FIXED_PRODUCER_PROPERTIES);
        let producer = config.create_with_context(Deliveries {
            replies: replies.clone(),
        })?;
        Ok(Self {
            producer,
            topic: topic.to_owned(),
            replies,
        })
    }

    /// Sends without waiting; the reply comes later, whatever happens.
    pub fn send(&self, id: DeadLetterId, letter: &DeadLetter) {
        let mut headers = OwnedHeaders::new_with_capacity(letter.headers.len());
        for (name, value) in &letter.headers {
            headers = headers.insert(Header {
                key: name,
                value: value.as_deref(),
            });
        }
        let mut record: BaseRecord<'_, [u8], [u8], Box<DeadLetterId>> =
            BaseRecord::with_opaque_to(&self.topic, Box::new(id)).headers(headers);
        record.key = letter.key.as_deref();
        record.payload = letter.value.as_deref();
        record.timestamp = letter.timestamp_ms;
        if let Err((error, record)) = self.producer.send(record) {
            let reply = Reply::DeadLetter {
                id: *record.delivery_opaque,
                result: Err(error.to_string()),
            };
            drop(self.replies.send(reply));
        }
    }
}

/// Whether a property is about reaching the brokers, which both clients do alike.
fn concerns_connections(key: &str) -> bool {
    [
        "security.",
        "sasl.",
        "ssl.",
        "socket.",
        "broker.",
        "reconnect.",
        "metadata.",
        "client.",
    ]
    .iter()
    .any(|prefix| key.starts_with(prefix))
}
