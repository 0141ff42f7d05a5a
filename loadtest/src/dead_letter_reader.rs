//! Reads the dead letters of a run from their topic.
//!
//! In the flow: **`dead_letter_reader`** → `verification` → `verify`.
//! From the beginning to the end as it is when asked, and only what is
//! committed; no consumer group is joined and nothing is committed.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::{Offset, TopicPartitionList};
use service::kafka::{KafkaProperty, QuietEnds, client_config};
use service::record_headers::headers_of;

use crate::marker::{self, RunId};

const TIMEOUT: Duration = Duration::from_secs(30);
const REASON: &str = "__connect.errors.exception.class.name";
/// Every dead letter has it; a mark that one was redriven has not.
const SOURCE: &str = "__connect.errors.topic";
/// The mark's header: `PARTITION:OFFSET` of its letter (docs/formats.md).
const REDRIVEN: &str = "logflow.redriven";
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

/// A dead letter of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoundLetter {
    /// Its event.
    pub n: u64,
    /// How often it was redriven; never more than once, if all is well.
    pub n_redriven: u64,
}

/// The dead letters of a run: few, by the nature of dead letters.
#[derive(Clone, Debug, Default)]
pub struct FoundLetters {
    /// Every one.
    pub letters: Vec<FoundLetter>,
    /// How many of each reason.
    pub reasons: Reasons,
}

/// Where a record stands.
type Place = (i32, i64);

impl DeadLetters {
    /// Finds every dead letter of the run, and whether it was redriven; blocks its thread.
    /// A topic that does not exist holds none.
    ///
    /// # Errors
    /// If the topic cannot be read to its end.
    pub fn read(&self, run: &RunId) -> anyhow::Result<FoundLetters> {
        let consumer: BaseConsumer<QuietEnds> = client_config(
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
        .create_with_context(QuietEnds("kafka"))
        .context("the consumer cannot be set up")?;
        let mut partitions = self.assign_all(&consumer)?;
        let mut letters: HashMap<Place, FoundLetter> = HashMap::new();
        let mut marks: HashMap<Place, u64> = HashMap::new();
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
                    if let Some(place) = mark(&record) {
                        *marks.entry(place).or_default() += 1;
                    } else if let Some(n) = marker::find(run, record.key(), value) {
                        let place = (record.partition(), record.offset());
                        letters.insert(place, FoundLetter { n, n_redriven: 0 });
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
        // Marks of other runs' letters find none here.
        for (place, n_redriven) in marks {
            if let Some(letter) = letters.get_mut(&place) {
                letter.n_redriven = n_redriven;
            }
        }
        Ok(FoundLetters {
            letters: letters.into_values().collect(),
            reasons,
        })
    }

    fn assign_all(&self, consumer: &BaseConsumer<QuietEnds>) -> anyhow::Result<HashSet<i32>> {
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

/// The place of the letter that this record marks, if it is a mark.
fn mark(record: &BorrowedMessage<'_>) -> Option<Place> {
    if header(record, SOURCE).is_some() {
        return None;
    }
    let place = std::str::from_utf8(header(record, REDRIVEN)?).ok()?;
    let (partition, offset) = place.split_once(':')?;
    Some((partition.parse().ok()?, offset.parse().ok()?))
}

fn count(reasons: &mut Reasons, record: &BorrowedMessage<'_>) {
    let reason = header(record, REASON).map_or("none".into(), String::from_utf8_lossy);
    let known = reasons.contains_key(reason.as_ref()) || reasons.len() < REASONS_MAX;
    let name = if known { reason.as_ref() } else { "other" };
    *reasons.entry(name.to_owned()).or_default() += 1;
}

/// The value of the last header of that name.
fn header<'a>(record: &'a BorrowedMessage<'_>, name: &str) -> Option<&'a [u8]> {
    let mut headers = headers_of(record).into_iter().rev();
    headers.find(|(found, _)| found == name)?.1
}
