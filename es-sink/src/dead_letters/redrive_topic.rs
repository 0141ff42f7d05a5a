//! Writes records of dead letters to their topics once more, with the marks that say so, as one
//! Kafka transaction: both are there, or neither is.
//!
//! In the flow: `redriven_record` → **`redrive_topic`** → Kafka. Upholds that a letter is redriven once:
//! all who redrive from one topic have one `transactional.id`, so whoever starts last ends what
//! those before left open and fences them off (docs/decisions/0009-redrive.md).

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use es_sink_core::bulk_request::RecordParts;
use es_sink_core::dead_letter::OwnedHeaders as HeaderList;
use rdkafka::client::ClientContext;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer};
use service::kafka::client_config;
use service::shutdown::Shutdown;

use super::command::DeadLettersConfig;
use super::letter::Place;
use crate::dead_letter_topic::{FIXED_PRODUCER_PROPERTIES, connection_properties, until_over};

/// One wait for a coordinator.
const STEP_MAX: Duration = Duration::from_secs(10);
/// A transaction that a killed process left open holds up its source partitions for so long.
const TRANSACTION_TIMEOUT_MS: &str = "15000";

/// One letter's record and mark.
#[derive(Debug)]
pub(super) struct Return {
    pub(super) place: Place,
    pub(super) topic: String,
    /// Where the original stood, if there still is such a partition.
    pub(super) partition: Option<i32>,
    pub(super) record: RecordParts,
    pub(super) mark: HeaderList,
}

/// Why a transaction is not committed.
#[derive(Debug, thiserror::Error)]
pub(super) enum RedriveError {
    /// The brokers refuse one of its records, and would again.
    #[error("the record of the letter at {place} is refused: {error}")]
    Refused { place: Place, error: KafkaError },
    /// Somebody else began to redrive.
    #[error(
        "another `es-sink dead-letters redrive` of this topic was started; it goes on with what this one has left"
    )]
    Fenced,
    /// Kafka cannot be written to at the moment.
    #[error("{0}; run it again to go on: what is marked is not redriven again")]
    NotNow(KafkaError),
}

/// The way back.
pub(super) struct RedriveTopic<'a> {
    producer: ThreadedProducer<Deliveries>,
    dead_letter_topic: &'a str,
    shutdown: &'a Shutdown,
}

#[derive(Default)]
struct Deliveries {
    /// The first record that could not be written, and why.
    refusal: Mutex<Option<(Place, KafkaError)>>,
}

impl ClientContext for Deliveries {
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::warn!(%error, reason, "redriving");
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Box<Place>;

    fn delivery(&self, result: &DeliveryResult<'_>, place: Box<Place>) {
        if let Err((error, _)) = result {
            self.refuse(*place, error.clone());
        }
    }
}

impl Deliveries {
    fn refuse(&self, place: Place, error: KafkaError) {
        let mut refusal = self.refusal.lock().unwrap_or_else(PoisonError::into_inner);
        // What follows the first is purged with the transaction.
        refusal.get_or_insert((place, error));
    }

    fn take(&self) -> Option<(Place, KafkaError)> {
        let mut refusal = self.refusal.lock().unwrap_or_else(PoisonError::into_inner);
        refusal.take()
    }
}

impl<'a> RedriveTopic<'a> {
    /// Connects, ends what an earlier process left open, and fences it off. What it wrote is
    /// either committed or aborted from here on.
    pub(super) fn open(
        config: &'a DeadLettersConfig,
        shutdown: &'a Shutdown,
    ) -> anyhow::Result<Self> {
        let transactional_id = format!("es-sink-redrive-{}", config.topic);
        let needed = [
            ("client.id", "es-sink-redrive"),
            ("transactional.id", &transactional_id),
            ("transaction.timeout.ms", TRANSACTION_TIMEOUT_MS),
            ("message.timeout.ms", "10000"),
            ("compression.type", "lz4"),
            // As the sink's own producer: what could be dead-lettered can be redriven.
            ("message.max.bytes", "16777216"),
            ("queue.buffering.max.kbytes", "65536"),
        ];
        let producer: ThreadedProducer<Deliveries> = client_config(
            &config.brokers,
            &needed,
            &connection_properties(&config.kafka_properties),
            &FIXED_PRODUCER_PROPERTIES,
        )
        .create_with_context(Deliveries::default())
        .context("librdkafka refuses the configuration")?;
        until_over_or_stopped(shutdown, || producer.init_transactions(STEP_MAX)).with_context(|| {
            format!(
                "Kafka does not let us write in the name of transactional id `{transactional_id}`"
            )
        })?;
        Ok(Self {
            producer,
            dead_letter_topic: &config.topic,
            shutdown,
        })
    }

    /// Writes all of these, or none.
    pub(super) fn send(&self, returns: &[Return]) -> Result<(), RedriveError> {
        let error = match self.attempt(returns) {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        if self.is_fenced(&error) {
            return Err(RedriveError::Fenced);
        }
        let refusal = self.producer.context().take();
        if let Err(abort) =
            until_over_or_stopped(self.shutdown, || self.producer.abort_transaction(STEP_MAX))
        {
            return Err(match self.is_fenced(&abort) {
                true => RedriveError::Fenced,
                false => RedriveError::NotNow(error),
            });
        }
        // The purge of the abort may have been noted in between.
        drop(self.producer.context().take());
        Err(match refusal {
            Some((place, error)) if concerns_the_record(&error) => {
                RedriveError::Refused { place, error }
            }
            Some((_, error)) => RedriveError::NotNow(error),
            None => RedriveError::NotNow(error),
        })
    }

    fn attempt(&self, returns: &[Return]) -> KafkaResult<()> {
        self.producer.begin_transaction()?;
        for returned in returns {
            self.enqueue(returned, record(returned))?;
            self.enqueue(returned, self.mark(returned))?;
        }
        self.producer.flush(STEP_MAX)?;
        until_over_or_stopped(self.shutdown, || self.producer.commit_transaction(STEP_MAX))
    }

    fn enqueue(
        &self,
        returned: &Return,
        record: BaseRecord<'_, [u8], [u8], Box<Place>>,
    ) -> KafkaResult<()> {
        self.producer.send(record).map_err(|(error, _)| {
            let deliveries = self.producer.context();
            deliveries.refuse(returned.place, error.clone());
            error
        })
    }

    /// In the partition of its letter, so that it stands behind it and outlives it.
    fn mark<'r>(&'r self, returned: &'r Return) -> BaseRecord<'r, [u8], [u8], Box<Place>> {
        BaseRecord::with_opaque_to(self.dead_letter_topic, Box::new(returned.place))
            .partition(returned.place.partition)
            .headers(owned(&returned.mark))
    }

    fn is_fenced(&self, error: &KafkaError) -> bool {
        let code = match error {
            KafkaError::Transaction(cause) => Some(cause.code()),
            other => other.rdkafka_error_code(),
        };
        let fatal = self.producer.client().fatal_error().map(|(code, _)| code);
        [code, fatal].into_iter().flatten().any(|code| {
            // An invalid epoch may also mean a transaction that took too long; aborting it tells.
            matches!(
                code,
                RDKafkaErrorCode::Fenced | RDKafkaErrorCode::ProducerFenced
            )
        })
    }
}

/// The user may have enough of it: the next redrive ends what is then left open.
fn until_over_or_stopped(
    shutdown: &Shutdown,
    step: impl Fn() -> KafkaResult<()>,
) -> KafkaResult<()> {
    until_over(|| !shutdown.is_requested(), step)
}

fn record(returned: &Return) -> BaseRecord<'_, [u8], [u8], Box<Place>> {
    let parts = &returned.record;
    let mut record = BaseRecord::with_opaque_to(&returned.topic, Box::new(returned.place))
        .headers(owned(&parts.headers));
    record.partition = returned.partition;
    record.key = parts.key.as_deref();
    record.payload = parts.value.as_deref();
    record.timestamp = parts.timestamp_ms;
    record
}

fn owned(headers: &HeaderList) -> OwnedHeaders {
    let empty = OwnedHeaders::new_with_capacity(headers.len());
    headers.iter().fold(empty, |all, (name, value)| {
        all.insert(Header {
            key: name,
            value: value.as_deref(),
        })
    })
}

/// Whether the brokers refuse this very record: others, and later ones, they may take.
fn concerns_the_record(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::MessageSizeTooLarge
                | RDKafkaErrorCode::InvalidMessage
                | RDKafkaErrorCode::InvalidRecord
                | RDKafkaErrorCode::InvalidTimestamp
                | RDKafkaErrorCode::PolicyViolation
                | RDKafkaErrorCode::UnknownTopic
                | RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::UnknownPartition
                | RDKafkaErrorCode::TopicAuthorizationFailed
        )
    )
}
