//! Where reading of a partition starts, and starts again: asks Kafka and tells librdkafka.
//!
//! In the flow: `callbacks` → the sink → **`starting_point`** ⇄ Kafka. What the answers
//! mean is `positions`' to say.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use log_event::offset::{NextOffset, TopicPartition};
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::positions::{Incarnations, Start, named, named_one, start};
use crate::topic_id::{TopicId, topic_ids};

/// One wait for the coordinator.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// After this, reading starts where librdkafka would start it. The group waits meanwhile.
const ALL_ANSWERS_MAX: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(500);
const SEEK_MAX: Duration = Duration::from_secs(2);

/// Makes the list of partitions that are about to be assigned say where reading starts.
/// Returns what is committed for each.
pub fn choose<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    assigned: &TopicPartitionList,
    incarnations: &mut Incarnations,
) -> Vec<(TopicPartition, Option<NextOffset>)> {
    let until = Instant::now() + ALL_ANSWERS_MAX;
    let starts = loop {
        match ask(consumer, assigned, incarnations) {
            Ok(starts) => break starts,
            Err(error) if Instant::now() < until => {
                tracing::warn!(error, "asking where reading starts; trying again");
                std::thread::sleep(PAUSE);
            }
            Err(error) => {
                tracing::warn!(
                    error,
                    "not known where reading starts; leaving it to librdkafka"
                );
                break BTreeMap::new();
            }
        }
    };
    let mut committed = Vec::new();
    for mut element in assigned.elements() {
        let at = named_one(&element);
        let (from, next) = match starts.get(&at) {
            Some(Start::Committed(next)) => (Offset::Offset(next.0), Some(*next)),
            Some(Start::OtherTopic) => {
                tracing::warn!(partition = %at, "the topic was created again: from its beginning");
                (Offset::Beginning, None)
            }
            // `auto.offset.reset` decides.
            Some(Start::Uncommitted) | None => (Offset::Invalid, None),
        };
        if let Err(error) = element.set_offset(from) {
            tracing::warn!(%error, "choosing where reading starts");
        }
        committed.push((at, next));
    }
    committed
}

fn ask<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    assigned: &TopicPartitionList,
    incarnations: &mut Incarnations,
) -> Result<BTreeMap<TopicPartition, Start>, String> {
    let elements = assigned.elements();
    let topics = elements.iter().map(|element| element.topic()).collect();
    let ids = topic_ids(consumer.client(), &topics, ANSWER_MAX)?;
    let committed = consumer
        .committed_offsets(assigned.clone(), ANSWER_MAX)
        .map_err(|error| error.to_string())?;
    let mut starts = BTreeMap::new();
    for element in committed.elements() {
        element.error().map_err(|error| error.to_string())?;
        let at = named_one(&element);
        let id = ids.get(&at.topic);
        starts.insert(at.clone(), start(element.offset(), element.metadata(), id));
        incarnations.set(at, id.cloned());
    }
    Ok(starts)
}

/// Goes to the beginning of topics that were created again while they are read, and
/// returns the partitions that are there. One that cannot go yet stays as it was, and
/// is tried with the next word on its topic.
pub fn follow<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    ids: &BTreeMap<String, TopicId>,
    incarnations: &mut Incarnations,
) -> Vec<TopicPartition> {
    let ours = consumer.assignment().map(|list| named(&list));
    let mut restarted = Vec::new();
    for at in ours.unwrap_or_default() {
        let (Some(known), Some(id)) = (incarnations.get(&at), ids.get(&at.topic)) else {
            continue;
        };
        if known == id {
            continue;
        }
        tracing::warn!(partition = %at, "the topic was created again: going to its beginning");
        match consumer.seek(&at.topic, at.partition, Offset::Beginning, SEEK_MAX) {
            Ok(()) => {
                incarnations.set(at.clone(), Some(id.clone()));
                restarted.push(at);
            }
            Err(error) => tracing::warn!(%error, "going to the beginning failed"),
        }
    }
    restarted
}
