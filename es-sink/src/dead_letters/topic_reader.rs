//! Reads a dead-letter topic up to the end that it had when the reading began.
//!
//! In the flow: Kafka → **`topic_reader`** → `letter`. Only what is committed; partition by
//! partition, so that the order is the same each time; without joining the group or committing.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use es_sink_core::bulk_request::RecordParts;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::{Offset, TopicPartitionList};
use service::kafka::{QuietEnds, client_config};
use service::record_headers::headers_of;
use service::shutdown::Shutdown;

use super::command::DeadLettersConfig;
use super::letter::{Entry, Letter, Place};
use super::marks::Marks;
use crate::dead_letter_topic::connection_properties;

/// One wait for the brokers.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Between two looks at whether the user wants an end.
const POLL: Duration = Duration::from_millis(200);
/// Longer than a transaction of ours or of a sink can stay open (15 s).
const TRANSACTIONS_MAX: Duration = Duration::from_secs(60);

/// The user asked for an end.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("interrupted")]
pub(super) struct Interrupted;

/// How far a partition is read.
#[derive(Clone, Copy, Debug)]
struct Extent {
    first: i64,
    /// Exclusive.
    end: i64,
}

/// A dead-letter topic, as far as it was written when this was opened.
pub(super) struct TopicReader<'a> {
    consumer: BaseConsumer<QuietEnds>,
    topic: &'a str,
    partitions: BTreeMap<i32, Extent>,
    shutdown: &'a Shutdown,
}

/// What the marks and letters of a topic add up to.
#[derive(Debug, Default)]
pub(super) struct Survey {
    /// Which letters were redriven.
    pub(super) marks: Marks,
    /// Letters that are there.
    pub(super) n_letters: u64,
    /// Marks of letters that are there.
    pub(super) n_redriven: u64,
}

/// Whether open transactions may hide something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Completeness {
    /// What is committed at the moment.
    AsItIs,
    /// Everything that was written: open transactions are waited for.
    Everything,
}

impl<'a> TopicReader<'a> {
    pub(super) fn open(
        config: &'a DeadLettersConfig,
        completeness: Completeness,
        shutdown: &'a Shutdown,
    ) -> anyhow::Result<Self> {
        let consumer = consumer(config, "read_committed")?;
        let n_partitions = n_partitions(&consumer, &config.topic)?;
        ensure!(
            n_partitions > 0,
            "topic `{}` does not exist; name the dead-letter topic with --dead-letter-topic",
            config.topic
        );
        let mut reader = Self {
            consumer,
            topic: &config.topic,
            partitions: BTreeMap::new(),
            shutdown,
        };
        let all = match completeness {
            Completeness::AsItIs => None,
            Completeness::Everything => Some(consumer_of_all(config)?),
        };
        for partition in 0..n_partitions {
            let written = match &all {
                Some(all) => extent(all, &config.topic, partition)?.end,
                None => 0,
            };
            let extent = reader.committed_up_to(partition, written)?;
            reader.partitions.insert(partition, extent);
        }
        Ok(reader)
    }

    /// Waits until what is committed reaches `written`: what stands behind an open transaction
    /// cannot be read, and there may be marks among it.
    fn committed_up_to(&self, partition: i32, written: i64) -> anyhow::Result<Extent> {
        let started = Instant::now();
        loop {
            let extent = extent(&self.consumer, self.topic, partition)?;
            if extent.end >= written {
                return Ok(extent);
            }
            ensure!(
                started.elapsed() < TRANSACTIONS_MAX,
                "partition {partition} of `{}` has had an open transaction for {TRANSACTIONS_MAX:?}; end it with kafka-transactions.sh",
                self.topic
            );
            self.check_interrupt()?;
            std::thread::sleep(POLL);
        }
    }

    /// Finds out which letters were redriven.
    pub(super) fn survey(&self) -> anyhow::Result<Survey> {
        let mut survey = Survey::default();
        for partition in self.partitions.keys() {
            let _never_broken_off = self.read(*partition, 0, |entry| {
                match entry {
                    Entry::Letter(_) => survey.n_letters += 1,
                    Entry::Mark(place) => {
                        survey.marks.insert(place)?;
                        // Retention removes letters before their marks.
                        let first = self.partitions.get(&place.partition);
                        let is_there = first.is_some_and(|extent| place.offset >= extent.first);
                        survey.n_redriven += u64::from(is_there);
                    }
                    Entry::Foreign => {}
                }
                Ok(ControlFlow::Continue(()))
            })?;
        }
        Ok(survey)
    }

    /// Every letter in the order of places, until `take` breaks.
    pub(super) fn letters(
        &self,
        mut take: impl FnMut(Letter) -> anyhow::Result<ControlFlow<()>>,
    ) -> anyhow::Result<()> {
        for partition in self.partitions.keys() {
            let flow = self.read(*partition, 0, |entry| match entry {
                Entry::Letter(letter) => take(*letter),
                Entry::Mark(_) | Entry::Foreign => Ok(ControlFlow::Continue(())),
            })?;
            if flow.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// The letter at a place, and its mark. A mark stands behind its letter in the same partition.
    pub(super) fn letter_and_mark(
        &self,
        wanted: Place,
    ) -> anyhow::Result<Option<(Letter, Option<Place>)>> {
        let mut found: Option<(Letter, Option<Place>)> = None;
        let _broken_off = self.read_places(wanted.partition, wanted.offset, |at, entry| {
            match (entry, &mut found) {
                (Entry::Letter(letter), None) if at == wanted => found = Some((*letter, None)),
                (_, None) => return Ok(ControlFlow::Break(())),
                (Entry::Mark(marked), Some((_, mark))) if marked == wanted => {
                    *mark = Some(at);
                    return Ok(ControlFlow::Break(()));
                }
                _ => {}
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(found)
    }

    fn read(
        &self,
        partition: i32,
        from: i64,
        mut take: impl FnMut(Entry) -> anyhow::Result<ControlFlow<()>>,
    ) -> anyhow::Result<ControlFlow<()>> {
        self.read_places(partition, from, |_, entry| take(entry))
    }

    fn read_places(
        &self,
        partition: i32,
        from: i64,
        mut take: impl FnMut(Place, Entry) -> anyhow::Result<ControlFlow<()>>,
    ) -> anyhow::Result<ControlFlow<()>> {
        let Some(extent) = self.partitions.get(&partition) else {
            bail!("topic `{}` has no partition {partition}", self.topic);
        };
        let first = from.max(extent.first);
        if first >= extent.end {
            return Ok(ControlFlow::Continue(()));
        }
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(self.topic, partition, Offset::Offset(first))?;
        self.consumer.assign(&list)?;
        let mut last_news = Instant::now();
        loop {
            self.check_interrupt()?;
            match self.consumer.poll(POLL) {
                None if last_news.elapsed() > TIMEOUT => bail!(
                    "partition {partition} of `{}` was silent for {TIMEOUT:?} before its end",
                    self.topic
                ),
                None => continue,
                Some(Ok(record)) if record.offset() >= extent.end => break,
                Some(Ok(record)) => {
                    let place = Place {
                        partition,
                        offset: record.offset(),
                    };
                    if take(place, Entry::read(place, record_parts(&record)))?.is_break() {
                        return Ok(ControlFlow::Break(()));
                    }
                    if record.offset() + 1 >= extent.end {
                        break;
                    }
                }
                // The last records may be marks of transactions, which only Kafka sees.
                Some(Err(KafkaError::PartitionEOF(ended))) if ended == partition => break,
                // librdkafka tries again by itself, until the partition is silent for too long.
                Some(Err(error)) => {
                    tracing::warn!(%error, topic = %self.topic, "reading dead letters");
                    continue;
                }
            }
            last_news = Instant::now();
        }
        Ok(ControlFlow::Continue(()))
    }

    /// How many partitions a topic has; none if it does not exist.
    pub(super) fn n_partitions(&self, topic: &str) -> anyhow::Result<i32> {
        n_partitions(&self.consumer, topic)
    }

    fn check_interrupt(&self) -> Result<(), Interrupted> {
        match self.shutdown.is_requested() {
            true => Err(Interrupted),
            false => Ok(()),
        }
    }
}

/// A client that knows of open transactions.
fn consumer_of_all(config: &DeadLettersConfig) -> anyhow::Result<BaseConsumer<QuietEnds>> {
    consumer(config, "read_uncommitted")
}

fn consumer(
    config: &DeadLettersConfig,
    isolation: &str,
) -> anyhow::Result<BaseConsumer<QuietEnds>> {
    let client: ClientConfig = client_config(
        &config.brokers,
        &[
            ("client.id", "es-sink-dead-letters"),
            // Never joined, and nothing is committed in its name.
            ("group.id", &config.group),
            ("queued.max.messages.kbytes", "16384"),
            ("fetch.wait.max.ms", "100"),
        ],
        &connection_properties(&config.kafka_properties),
        &[
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            ("enable.partition.eof", "true"),
            ("isolation.level", isolation),
            ("auto.offset.reset", "earliest"),
            ("allow.auto.create.topics", "false"),
        ],
    );
    client
        .create_with_context(QuietEnds("reading dead letters"))
        .context("librdkafka refuses the configuration")
}

fn n_partitions(consumer: &BaseConsumer<QuietEnds>, topic: &str) -> anyhow::Result<i32> {
    let metadata = consumer
        .fetch_metadata(Some(topic), TIMEOUT)
        .with_context(|| format!("topic `{topic}` cannot be looked up"))?;
    let found = metadata.topics().iter().find(|found| found.name() == topic);
    let n = found.map_or(0, |found| found.partitions().len());
    i32::try_from(n).context("a topic has fewer partitions")
}

fn extent(
    consumer: &BaseConsumer<QuietEnds>,
    topic: &str,
    partition: i32,
) -> anyhow::Result<Extent> {
    let (first, end) = consumer
        .fetch_watermarks(topic, partition, TIMEOUT)
        .with_context(|| format!("the end of partition {partition} of `{topic}`"))?;
    Ok(Extent { first, end })
}

/// A record as it was read, for [`Entry::read`].
#[must_use]
pub fn record_parts(record: &BorrowedMessage<'_>) -> RecordParts {
    RecordParts {
        key: record.key().map(<[u8]>::to_vec),
        value: record.payload().map(<[u8]>::to_vec),
        headers: headers_of(record)
            .into_iter()
            .map(|(name, value)| (name.into_owned(), value.map(<[u8]>::to_vec)))
            .collect(),
        timestamp_ms: record.timestamp().to_millis(),
    }
}
