//! Looks at the ends of the topics: how far the sinks' topic reaches, and the newest dead letters.
//!
//! In the flow: Kafka → **`letters`** → `pipeline`. Reads without a group, the last [`LOOKED_AT_MAX`] records of the
//! dead-letter topic at most, and within [`TIME_MAX`]. What a record of it is, `es_sink` tells, as for `es-sink dead-letters`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use es_sink::dead_letters::letter::{Entry, Letter, Place};
use es_sink::dead_letters::record_parts;
use log_event::tenant::Tenant;
use log_event::timestamp::Timestamp;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::Message as _;
use rdkafka::{Offset, TopicPartitionList};

use crate::kafka::{KafkaSettings, Quiet, consumer};
use crate::pipeline::{DeadLetter, DeadLetters, Topic};

/// So many records of the dead-letter topic are looked at, the last ones of each partition.
const LOOKED_AT_MAX: i64 = 1_000;
/// So many letters are told.
const TOLD_MAX: usize = 20;
const VALUE_CHARS_MAX: usize = 4_096;
/// One answer of the brokers.
const TIMEOUT: Duration = Duration::from_secs(2);
/// All of it.
const TIME_MAX: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(100);

/// Where partitions begin and end.
type Extents = BTreeMap<i32, (i64, i64)>;

/// What is found out, of letters those of a tenant or of everybody; blocks for [`TIME_MAX`] at most, but for the brokers' last answer.
#[must_use]
pub fn survey(
    settings: &KafkaSettings,
    tenant: Option<&Tenant>,
) -> (Option<Topic>, Option<DeadLetters>) {
    let consumer = match consumer(settings, true, Quiet) {
        Ok(consumer) => consumer,
        Err(error) => {
            tracing::warn!(%error, "librdkafka refuses the configuration");
            return (None, None);
        }
    };
    let noted = |error: KafkaError| tracing::debug!(%error, "Kafka tells nothing of a topic");
    let topic = extents(&consumer, &settings.topic)
        .map_err(noted)
        .ok()
        .flatten();
    let topic = topic.map(|extents| Topic {
        name: settings.topic.clone(),
        partitions: extents.len(),
        end_offsets: extents.values().map(|(_, end)| end).sum(),
    });
    let letters = read_letters(&consumer, &settings.dead_letter_topic, tenant).map_err(noted);
    (topic, letters.ok().flatten())
}

fn extents(consumer: &BaseConsumer<Quiet>, topic: &str) -> KafkaResult<Option<Extents>> {
    let metadata = consumer.fetch_metadata(Some(topic), TIMEOUT)?;
    let found = metadata.topics().iter().find(|found| found.name() == topic);
    let mut extents = Extents::new();
    for partition in found.into_iter().flat_map(|topic| topic.partitions()) {
        let extent = consumer.fetch_watermarks(topic, partition.id(), TIMEOUT)?;
        extents.insert(partition.id(), extent);
    }
    Ok((!extents.is_empty()).then_some(extents))
}

fn read_letters(
    consumer: &BaseConsumer<Quiet>,
    topic: &str,
    tenant: Option<&Tenant>,
) -> KafkaResult<Option<DeadLetters>> {
    let Some(extents) = extents(consumer, topic)? else {
        return Ok(None);
    };
    let share = LOOKED_AT_MAX / i64::try_from(extents.len()).unwrap_or(i64::MAX).max(1);
    let mut list = TopicPartitionList::new();
    let mut is_exact = true;
    let mut open: BTreeSet<i32> = BTreeSet::new();
    for (partition, (first, end)) in &extents {
        let start = (*first).max(end - share.max(1));
        is_exact &= start == *first;
        if start < *end {
            open.insert(*partition);
            list.add_partition_offset(topic, *partition, Offset::Offset(start))?;
        }
    }
    consumer.assign(&list)?;
    let mut letters: BTreeMap<Place, DeadLetter> = BTreeMap::new();
    let mut redriven: BTreeSet<Place> = BTreeSet::new();
    let began = Instant::now();
    while !open.is_empty() {
        if began.elapsed() > TIME_MAX {
            is_exact = false;
            break;
        }
        match consumer.poll(POLL) {
            Some(Ok(record)) => {
                let (partition, offset) = (record.partition(), record.offset());
                let place = Place { partition, offset };
                match Entry::read(place, record_parts(&record)) {
                    Entry::Letter(letter) => {
                        let owner = letter.tenant.as_deref();
                        if tenant.is_none_or(|tenant| owner == Some(tenant.as_str())) {
                            letters.insert(place, told(*letter));
                        }
                    }
                    Entry::Mark(marked) => {
                        redriven.insert(marked);
                    }
                    Entry::Foreign => {}
                }
                if extents
                    .get(&partition)
                    .is_none_or(|(_, end)| offset + 1 >= *end)
                {
                    open.remove(&partition);
                }
            }
            // The last records may be marks of transactions, which only Kafka sees.
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                open.remove(&partition);
            }
            Some(Err(error)) => return Err(error),
            None => {}
        }
    }
    letters.retain(|place, _| !redriven.contains(place));
    let count = letters.len();
    let mut newest: Vec<DeadLetter> = letters.into_values().collect();
    newest.sort_by(|a, b| b.time.cmp(&a.time));
    newest.truncate(TOLD_MAX);
    Ok(Some(DeadLetters {
        count,
        count_is_exact: is_exact,
        newest,
    }))
}

fn told(letter: Letter) -> DeadLetter {
    let text = |text: String| Some(text).filter(|text| !text.is_empty());
    let record = letter.record;
    let value = record.value.and_then(|value| String::from_utf8(value).ok());
    let received = record.timestamp_ms.and_then(Timestamp::from_millis);
    DeadLetter {
        partition: letter.place.partition,
        offset: letter.place.offset,
        time: received.map(Timestamp::to_rfc3339),
        topic: Some(letter.source.topic),
        reason_class: text(letter.reason),
        reason: text(letter.message),
        value: value.map(|text| text.chars().take(VALUE_CHARS_MAX).collect()),
    }
}
