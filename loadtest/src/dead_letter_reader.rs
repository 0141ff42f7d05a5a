//! Reads the dead letters of a run from their topic.
//!
//! In the flow: **`dead_letter_reader`** → `verification` → `verify`.
//! From the beginning to the end as it is when asked, and only what is
//! committed; no consumer group is joined and nothing is committed.

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rdkafka::ClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::{Offset, TopicPartitionList};
use service::kafka::{KafkaProperty, client_config};

use crate::marker::{self, RunId};

const TIMEOUT: Duration = Duration::from_secs(30);
const REASON: &str = "__connect.errors.exception.class.name";
/// Different reasons that are told apart; the rest is `other`.
const REASONS_MAX: usize = 20;

/// Where dead letters are.
#[derive(Clone, Debug)]
pub struct DeadLetters {
    /// `HOST:PORT` of brokers.
    pub brokers: Vec<String>,
    /// Their topic.
    pub topic: String,
    /// Passed on to librdkafka.
    pub properties: Vec<KafkaProperty>,
}

/// Dead letters of a run by reason, the class name in their headers.
pub type Reasons = BTreeMap<String, u64>;

/// Keeps the end of a partition, which is asked for, out of the log of errors.
struct Quiet;

impl ClientContext for Quiet {
    fn error(&self, error: KafkaError, reason: &str) {
        if !matches!(error, KafkaError::Global(RDKafkaErrorCode::PartitionEOF)) {
            tracing::warn!(%error, reason, "kafka");
        }
    }
}

impl ConsumerContext for Quiet {}

impl DeadLetters {
    /// Tells of the event of every dead letter of the run; blocks its thread. A
    /// topic that does not exist holds none.
    ///
    /// # Errors
    /// If the topic cannot be read to its end.
    pub fn read(&self, run: &RunId, mut found: impl FnMut(u64)) -> anyhow::Result<Reasons> {
        let consumer: BaseConsumer<Quiet> = client_config(
            &self.brokers,
            &[("client.id", "loadtest"), ("group.id", "loadtest-verify")],
            &self.properties,
            &[
                ("enable.auto.commit", "false"),
                ("enable.partition.eof", "true"),
                ("isolation.level", "read_committed"),
                ("auto.offset.reset", "earliest"),
                ("allow.auto.create.topics", "false"),
            ],
        )
        .create_with_context(Quiet)
        .context("the consumer cannot be set up")?;
        let mut partitions = self.assign_all(&consumer)?;
        let mut reasons = Reasons::new();
        let mut last_news = Instant::now();
        while !partitions.is_empty() {
            match consumer.poll(Duration::from_millis(200)) {
                None if last_news.elapsed() > TIMEOUT => {
                    bail!(
                        "topic `{}` was silent for {TIMEOUT:?} before its end",
                        self.topic
                    );
                }
                None => continue,
                Some(Ok(record)) => {
                    let value = record.payload().unwrap_or_default();
                    if let Some(n) = marker::find(run, record.key(), value) {
                        found(n);
                        count(&mut reasons, &record);
                    }
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    partitions.remove(&partition);
                }
                // librdkafka tries again by itself until the topic is silent for too long.
                Some(Err(error)) => {
                    tracing::warn!(%error, topic = %self.topic, "reading dead letters");
                    continue;
                }
            }
            last_news = Instant::now();
        }
        Ok(reasons)
    }

    fn assign_all(&self, consumer: &BaseConsumer<Quiet>) -> anyhow::Result<HashSet<i32>> {
        let metadata = consumer
            .fetch_metadata(Some(&self.topic), TIMEOUT)
            .with_context(|| format!("topic `{}` cannot be looked up", self.topic))?;
        let topic = metadata.topics().iter().find(|t| t.name() == self.topic);
        let partitions: HashSet<i32> = topic
            .map(|topic| topic.partitions().iter().map(|p| p.id()).collect())
            .unwrap_or_default();
        let mut list = TopicPartitionList::new();
        for partition in &partitions {
            list.add_partition_offset(&self.topic, *partition, Offset::Beginning)?;
        }
        consumer.assign(&list)?;
        Ok(partitions)
    }
}

fn count(reasons: &mut Reasons, record: &BorrowedMessage<'_>) {
    let headers = record.headers();
    let reason = headers
        .and_then(|headers| headers.iter().filter(|header| header.key == REASON).last())
        .and_then(|header| header.value)
        .map_or("none".into(), String::from_utf8_lossy);
    let known = reasons.contains_key(reason.as_ref()) || reasons.len() < REASONS_MAX;
    let name = if known { reason.as_ref() } else { "other" };
    *reasons.entry(name.to_owned()).or_default() += 1;
}
