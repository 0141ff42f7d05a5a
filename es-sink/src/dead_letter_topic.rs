//! Keeps what can never be indexed, in Kafka; judges nothing.
//!
//! In the flow: `engine` → **`dead_letter_topic`** → `engine`. Dead letters and the
//! offsets that pass their records are one Kafka transaction, so that neither is ever
//! there without the other (EO-4, docs/decisions/0007-transactional-dead-letters.md). On a
//! thread of its own, because each step waits for the coordinator.

use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use es_sink_core::dead_letter::DeadLetter;
use rdkafka::client::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext, ConsumerGroupMetadata};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use service::kafka::{KafkaProperty, client_config};

use crate::reply::Reply;

/// What the guarantees rest on.
pub(crate) const FIXED_PRODUCER_PROPERTIES: [(&str, &str); 2] =
    [("enable.idempotence", "true"), ("acks", "all")];
/// One wait for a coordinator. Each step is either tried again after it, or given up.
const STEP_MAX: Duration = Duration::from_secs(10);
/// Between two questions how a transaction ended.
const QUESTION_PAUSE: Duration = Duration::from_secs(1);

/// One transaction.
pub(crate) struct Transaction {
    /// What to produce.
    pub(crate) letters: Vec<DeadLetter>,
    /// What to commit; may be empty.
    pub(crate) offsets: TopicPartitionList,
    /// Who commits, and in which generation of the group: the coordinator
    /// refuses a member that owns nothing any more (KIP-447).
    pub(crate) member: ConsumerGroupMetadata,
}

/// The dead-letter topic.
pub(crate) struct DeadLetterTopic {
    config: ClientConfig,
    topic: String,
    /// None until the first transaction, and after an end that only a new client gets over.
    producer: Option<ThreadedProducer<Deliveries>>,
}

#[derive(Default)]
struct Deliveries {
    /// Why the last record that could not be written could not be.
    refusal: Mutex<Option<KafkaError>>,
}

impl ClientContext for Deliveries {
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::warn!(%error, reason, "dead-letter producer");
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.clone());
        }
    }
}

/// Why a transaction is not known to be committed.
enum Failure {
    /// It is not committed, and can be aborted.
    Abort(KafkaError),
    /// This client is of no use any more.
    Client(KafkaError),
    /// It may be committed, and this client cannot find out.
    Unknown(KafkaError),
}

impl DeadLetterTopic {
    /// Connects with the first transaction. No other process may have the same
    /// `transactional_id`.
    ///
    /// # Errors
    /// If librdkafka refuses a property.
    pub(crate) fn new(
        brokers: &[String],
        topic: &str,
        properties: &[KafkaProperty],
        transactional_id: &str,
    ) -> Result<Self, KafkaError> {
        let config = Self::client(brokers, properties, transactional_id);
        // Faults of the configuration show at the start.
        config.create_native_config()?;
        Ok(Self {
            config,
            topic: topic.to_owned(),
            producer: None,
        })
    }

    /// How its producer is set up.
    pub(crate) fn client(
        brokers: &[String],
        properties: &[KafkaProperty],
        transactional_id: &str,
    ) -> ClientConfig {
        let needed = [
            ("client.id", "es-sink"),
            ("transactional.id", transactional_id),
            // A transaction that a killed process left open holds up the next
            // owner's start for so long.
            ("transaction.timeout.ms", "15000"),
            ("message.timeout.ms", "10000"),
            ("compression.type", "lz4"),
            // A dead letter is its record and at most a few KiB of headers.
            ("message.max.bytes", "16777216"),
            ("queue.buffering.max.kbytes", "32768"),
        ];
        let properties = connection_properties(properties);
        client_config(brokers, &needed, &properties, &FIXED_PRODUCER_PROPERTIES)
    }

    /// Carries out transactions until nobody can order any more.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub(crate) fn start<C: ConsumerContext + 'static>(
        mut self,
        consumer: Arc<BaseConsumer<C>>,
        orders: Receiver<Transaction>,
        replies: Sender<Reply>,
    ) -> std::io::Result<std::thread::JoinHandle<()>> {
        std::thread::Builder::new()
            .name("dead-letters".to_owned())
            .spawn(move || {
                for transaction in orders {
                    let result = self.carry_out(&consumer, &transaction);
                    // The consumer thread is gone only when the process ends.
                    drop(replies.send(Reply::Transaction(result)));
                }
            })
    }

    fn carry_out<C: ConsumerContext>(
        &mut self,
        consumer: &BaseConsumer<C>,
        transaction: &Transaction,
    ) -> Result<(), String> {
        let producer = match self.producer.take() {
            Some(producer) => producer,
            None => self.connect().map_err(|error| error.to_string())?,
        };
        match attempt(&producer, &self.topic, transaction) {
            Ok(()) => {
                self.producer = Some(producer);
                Ok(())
            }
            Err(Failure::Abort(error)) => {
                let context = producer.context();
                let refusal = context
                    .refusal
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .take();
                if until_over(|| true, || producer.abort_transaction(STEP_MAX)).is_ok() {
                    self.producer = Some(producer);
                }
                Err(refusal.unwrap_or(error).to_string())
            }
            Err(Failure::Client(error)) => Err(error.to_string()),
            Err(Failure::Unknown(error)) => {
                drop(producer);
                if self.was_committed(consumer, &transaction.offsets) {
                    Ok(())
                } else {
                    Err(error.to_string())
                }
            }
        }
    }

    /// A client that is ready. The coordinator ends what an earlier one left open.
    fn connect(&self) -> KafkaResult<ThreadedProducer<Deliveries>> {
        let producer: ThreadedProducer<Deliveries> =
            self.config.create_with_context(Deliveries::default())?;
        producer.init_transactions(STEP_MAX)?;
        Ok(producer)
    }

    /// Waits until it is known how the last transaction ended: a new client ends it one way
    /// or the other, and then the group's offsets tell. Without offsets nothing tells,
    /// and the dead letters are published again.
    fn was_committed<C: ConsumerContext>(
        &mut self,
        consumer: &BaseConsumer<C>,
        offsets: &TopicPartitionList,
    ) -> bool {
        loop {
            let answer = self.connect().and_then(|producer| {
                self.producer = Some(producer);
                consumer.committed_offsets(offsets.clone(), STEP_MAX)
            });
            match answer {
                Ok(committed) => return offsets.count() > 0 && reaches(&committed, offsets),
                Err(error) => {
                    tracing::warn!(%error, "asking how a transaction ended");
                    std::thread::sleep(QUESTION_PAUSE);
                }
            }
        }
    }
}

fn attempt(
    producer: &ThreadedProducer<Deliveries>,
    topic: &str,
    transaction: &Transaction,
) -> Result<(), Failure> {
    let before_commit = |error: KafkaError| match &error {
        KafkaError::Transaction(cause) if cause.is_fatal() => Failure::Client(error),
        _ => Failure::Abort(error),
    };
    producer.begin_transaction().map_err(Failure::Client)?;
    for letter in &transaction.letters {
        producer
            .send(record(topic, letter))
            .map_err(|(error, _)| Failure::Abort(error))?;
    }
    producer.flush(STEP_MAX).map_err(before_commit)?;
    if transaction.offsets.count() > 0 {
        producer
            .send_offsets_to_transaction(&transaction.offsets, &transaction.member, STEP_MAX)
            .map_err(before_commit)?;
    }
    until_over(|| true, || producer.commit_transaction(STEP_MAX)).map_err(|error| match &error {
        KafkaError::Transaction(cause) if cause.txn_requires_abort() => Failure::Abort(error),
        _ => Failure::Unknown(error),
    })
}

/// A step that timed out goes on where it was when it is called again (librdkafka), which
/// happens for as long as `wanted` says so.
pub(crate) fn until_over(
    wanted: impl Fn() -> bool,
    step: impl Fn() -> KafkaResult<()>,
) -> KafkaResult<()> {
    loop {
        match step() {
            Err(KafkaError::Transaction(cause)) if cause.is_retriable() && wanted() => {
                tracing::warn!(error = %cause, "the transaction of dead letters is not over yet");
            }
            result => return result,
        }
    }
}

fn reaches(committed: &TopicPartitionList, wanted: &TopicPartitionList) -> bool {
    wanted.elements().iter().all(|wanted| {
        let found = committed.find_partition(wanted.topic(), wanted.partition());
        match (found.map(|found| found.offset()), wanted.offset()) {
            (Some(Offset::Offset(found)), Offset::Offset(wanted)) => found >= wanted,
            _ => false,
        }
    })
}

fn record<'a>(topic: &'a str, letter: &'a DeadLetter) -> BaseRecord<'a, [u8], [u8]> {
    let mut headers = OwnedHeaders::new_with_capacity(letter.headers.len());
    for (name, value) in &letter.headers {
        headers = headers.insert(Header {
            key: name,
            value: value.as_deref(),
        });
    }
    let mut record = BaseRecord::to(topic).headers(headers);
    record.key = letter.key.as_deref();
    record.payload = letter.value.as_deref();
    record.timestamp = letter.timestamp_ms;
    record
}

/// The properties that every client needs to reach the brokers: those of the sink's consumer are
/// none of a producer.
pub(crate) fn connection_properties(properties: &[KafkaProperty]) -> Vec<KafkaProperty> {
    let concerned = properties
        .iter()
        .filter(|property| concerns_connections(&property.key));
    concerned.cloned().collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_was_committed_if_every_offset_is_reached() {
        let list = |offsets: &[(i32, Offset)]| {
            let mut list = TopicPartitionList::new();
            for (partition, offset) in offsets {
                list.add_partition_offset("logs", *partition, *offset)
                    .unwrap();
            }
            list
        };
        let wanted = list(&[(0, Offset::Offset(5)), (1, Offset::Offset(7))]);
        let table = [
            (&[(0, Offset::Offset(5)), (1, Offset::Offset(9))][..], true),
            (&[(0, Offset::Offset(4)), (1, Offset::Offset(7))], false),
            (&[(0, Offset::Offset(5)), (1, Offset::Invalid)], false),
            (&[(0, Offset::Offset(5))], false),
        ];
        for (committed, expected) in table {
            assert_eq!(
                reaches(&list(committed), &wanted),
                expected,
                "{committed:?}"
            );
        }
    }
}
