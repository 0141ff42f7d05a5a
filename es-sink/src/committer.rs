//! Commits offsets and brings the coordinator's word back; decides nothing.
//!
//! In the flow: `consumer` → **`committer`** → `consumer`. A thread of its own,
//! because librdkafka tells the result of a commit only to who waits for it,
//! and a coordinator that is away lets it wait for most of a minute.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext};
use rdkafka::error::KafkaResult;
use rdkafka::topic_partition_list::TopicPartitionList;

use crate::reply::Reply;

/// One commit.
#[derive(Debug)]
pub struct CommitOrder {
    /// For the reply.
    pub number: u64,
    /// At least one partition.
    pub offsets: TopicPartitionList,
}

/// Carries out orders until nobody can give any more.
///
/// # Errors
/// If the thread cannot be started.
pub fn start<C: ConsumerContext + 'static>(
    consumer: Arc<BaseConsumer<C>>,
    orders: Receiver<CommitOrder>,
    replies: Sender<Reply>,
) -> std::io::Result<std::thread::JoinHandle<()>> {
    std::thread::Builder::new()
        .name("kafka-committer".to_owned())
        .spawn(move || {
            for CommitOrder { number, offsets } in orders {
                let result = commit(&consumer, &offsets).map_err(|error| error.to_string());
                // The consumer thread is gone only when the process ends.
                drop(replies.send(Reply::Commit { number, result }));
            }
        })
}

fn commit<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    offsets: &TopicPartitionList,
) -> KafkaResult<()> {
    // EO-2: an order may have waited here while its partitions went to somebody
    // else, and a coordinator does not ask who owns what it commits.
    let ours = consumer.assignment()?;
    let mut list = TopicPartitionList::with_capacity(offsets.count());
    for element in offsets.elements() {
        if ours
            .find_partition(element.topic(), element.partition())
            .is_some()
        {
            let mut kept = list.add_partition(element.topic(), element.partition());
            kept.set_offset(element.offset())?;
            kept.set_metadata(element.metadata());
        }
    }
    if list.count() == 0 {
        return Ok(());
    }
    consumer.commit(&list, CommitMode::Sync)
}
