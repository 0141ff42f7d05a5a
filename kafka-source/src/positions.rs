//! Offsets as Kafka keeps them for us: each with the id of the topic that it counts in.
//!
//! In the flow: `starting_point`, the sink ⇄ **`positions`** ⇄ Kafka. An offset of a topic that
//! was deleted says nothing about the topic of the same name that there is now (EO-1).

use std::collections::BTreeMap;

use log_event::offset::{NextOffset, TopicPartition};
use rdkafka::error::KafkaResult;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList, TopicPartitionListElem};

use crate::topic_id::TopicId;

/// Before the id, in the metadata of a committed offset.
const METADATA_PREFIX: &str = "topic-id=";

/// The topic that each of our partitions belongs to, where the brokers tell ids.
#[derive(Debug, Default)]
pub struct Incarnations(BTreeMap<TopicPartition, TopicId>);

impl Incarnations {
    /// The topic of a partition, if it is known.
    #[must_use]
    pub fn get(&self, at: &TopicPartition) -> Option<&TopicId> {
        self.0.get(at)
    }

    /// What the brokers said last; nothing, where they know no ids.
    pub fn set(&mut self, at: TopicPartition, id: Option<TopicId>) {
        match id {
            Some(id) => self.0.insert(at, id),
            None => self.0.remove(&at),
        };
    }

    /// The offsets in the form in which they are committed.
    ///
    /// # Errors
    /// If librdkafka takes one for none.
    pub fn committable(
        &self,
        offsets: &[(TopicPartition, NextOffset)],
    ) -> KafkaResult<TopicPartitionList> {
        let mut list = TopicPartitionList::with_capacity(offsets.len());
        for (at, next) in offsets {
            let mut element = list.add_partition(&at.topic, at.partition);
            element.set_offset(Offset::Offset(next.0))?;
            if let Some(TopicId(id)) = self.get(at) {
                element.set_metadata(format!("{METADATA_PREFIX}{id}"));
            }
        }
        Ok(list)
    }
}

/// The partitions of a list.
#[must_use]
pub fn named(list: &TopicPartitionList) -> Vec<TopicPartition> {
    list.elements().iter().map(named_one).collect()
}

/// The partition of one element.
#[must_use]
pub fn named_one(element: &TopicPartitionListElem<'_>) -> TopicPartition {
    TopicPartition {
        topic: element.topic().to_owned(),
        partition: element.partition(),
    }
}

/// Where reading starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At the committed offset.
    Committed(NextOffset),
    /// Nothing is committed.
    Uncommitted,
    /// What is committed counts in a topic that was deleted.
    OtherTopic,
}

/// Judges a committed offset and its metadata. Without an id on either side there is nothing
/// to compare: an operator who resets offsets with Kafka's tools writes none.
#[must_use]
pub fn start(committed: Offset, metadata: &str, id: Option<&TopicId>) -> Start {
    let Offset::Offset(next) = committed else {
        return Start::Uncommitted;
    };
    match (metadata.strip_prefix(METADATA_PREFIX), id) {
        (Some(committed_for), Some(TopicId(id))) if committed_for != id => Start::OtherTopic,
        _ => Start::Committed(NextOffset(next)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_of_a_deleted_topic_is_not_where_reading_starts() {
        let here = TopicId("AAA".to_owned());
        let at_7 = Start::Committed(NextOffset(7));
        let table = [
            (Offset::Offset(7), "topic-id=AAA", Some(&here), at_7),
            (
                Offset::Offset(7),
                "topic-id=BBB",
                Some(&here),
                Start::OtherTopic,
            ),
            (Offset::Offset(7), "", Some(&here), at_7),
            (Offset::Offset(7), "somebody's note", Some(&here), at_7),
            (Offset::Offset(7), "topic-id=BBB", None, at_7),
            (Offset::Invalid, "", Some(&here), Start::Uncommitted),
        ];
        for (committed, metadata, id, expected) in table {
            assert_eq!(start(committed, metadata, id), expected, "{metadata}");
        }
    }

    #[test]
    fn what_is_committed_says_which_topic_it_counts_in() {
        let at = |partition| TopicPartition {
            topic: "logs".to_owned(),
            partition,
        };
        let mut incarnations = Incarnations::default();
        incarnations.set(at(0), Some(TopicId("AAA".to_owned())));
        let offsets = [(at(0), NextOffset(3)), (at(1), NextOffset(4))];
        let list = incarnations.committable(&offsets).unwrap();
        let of = |partition| list.find_partition("logs", partition).unwrap();
        assert_eq!(
            (of(0).offset(), of(0).metadata()),
            (Offset::Offset(3), "topic-id=AAA")
        );
        assert_eq!((of(1).offset(), of(1).metadata()), (Offset::Offset(4), ""));
    }
}
