//! Commits offsets and brings the coordinator's word back; decides nothing.
//!
//! In the flow: `consumer` → **`committer`** → `consumer`. A thread of its own,
//! because librdkafka tells the result of a commit only to who waits for it,
//! and a coordinator that is away lets it wait for most of a minute.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender};

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext};
use rdkafka::topic_partition_list::TopicPartitionList;

use crate::reply::Reply;

/// One commit.
#[derive(Debug)]
pub struct CommitOrder {
    /// For the reply.
    pub number: u64,
    /// At least one partition, all of them ours when the order was given.
    pub offsets: TopicPartitionList,
    /// When it was given.
    pub given: Departures,
}

/// How often partitions have left this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Departures(u64);

/// Counts how often partitions leave, so that no order outlives its assignment.
#[derive(Clone, Debug, Default)]
pub struct DepartureCount(Arc<AtomicU64>);

impl DepartureCount {
    /// Partitions leave now: what was ordered before is carried out no more.
    pub fn add(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    /// How often so far.
    #[must_use]
    pub fn so_far(&self) -> Departures {
        Departures(self.0.load(Ordering::SeqCst))
    }
}

/// Carries out orders until nobody can give any more.
///
/// # Errors
/// If the thread cannot be started.
pub fn start<C: ConsumerContext + 'static>(
    consumer: Arc<BaseConsumer<C>>,
    orders: Receiver<CommitOrder>,
    departures: DepartureCount,
    replies: Sender<Reply>,
) -> std::io::Result<std::thread::JoinHandle<()>> {
    std::thread::Builder::new()
        .name("kafka-committer".to_owned())
        .spawn(move || {
            for order in orders {
                let number = order.number;
                let result = commit(&consumer, &departures, &order);
                // The consumer thread is gone only when the process ends.
                drop(replies.send(Reply::Commit { number, result }));
            }
        })
}

fn commit<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    departures: &DepartureCount,
    order: &CommitOrder,
) -> Result<(), String> {
    // EO-2: an order may have waited here while its partitions went to somebody
    // else, and perhaps came back with more committed than it says. A coordinator
    // asks only for the generation, and librdkafka gives the present one.
    if departures.so_far() != order.given {
        return Err("partitions have left since it was ordered".to_owned());
    }
    let committed = consumer.commit(&order.offsets, CommitMode::Sync);
    committed.map_err(|error| error.to_string())
}
