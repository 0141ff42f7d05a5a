//! What librdkafka calls while it is polled: rebalances, statistics, errors.
//!
//! In the flow: `subscription` → **`callbacks`** → the sink. Everything here runs
//! inside `poll`, on the thread that polls, and translates.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use log_event::offset::TopicPartition;
use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::statistics::Statistics;
use rdkafka::topic_partition_list::TopicPartitionList;

use crate::positions::named;
use crate::view::{KafkaView, LogEnd};

/// Who keeps the records that are read, and so has to hear whose they are.
pub trait Keeper: Send + Sized + 'static {
    /// Within a rebalance: these are about to be ours. The list says where reading starts.
    fn assign(&mut self, consumer: &BaseConsumer<Link<Self>>, assigned: &TopicPartitionList);

    /// Within a rebalance, after [`Keeper::assign`]: these are ours and may be paused or read.
    fn assigned(&mut self, consumer: &BaseConsumer<Link<Self>>, assigned: &TopicPartitionList);

    /// Within a rebalance: others own these once it is over.
    fn give_back(&mut self, consumer: &BaseConsumer<Link<Self>>, partitions: Vec<TopicPartition>);

    /// Within a rebalance: others own these already.
    fn lose(&mut self, partitions: Vec<TopicPartition>);
}

/// librdkafka's callbacks. They run inside `poll`, on the thread that polls, so
/// the lock is never waited for.
pub struct Link<K> {
    keeper: Mutex<K>,
    view: Arc<KafkaView>,
}

impl<K> fmt::Debug for Link<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").finish_non_exhaustive()
    }
}

impl<K> Link<K> {
    /// Callbacks that reach these two.
    pub fn new(keeper: K, view: Arc<KafkaView>) -> Self {
        Self {
            keeper: Mutex::new(keeper),
            view,
        }
    }

    /// Who keeps the records; nobody else uses it while the thread that polls does.
    pub fn engine(&self) -> MutexGuard<'_, K> {
        // A panic on the one thread that locks ends the process.
        self.keeper.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Keeper> ClientContext for Link<K> {
    /// `poll` returns the same errors, and there they are logged.
    fn error(&self, _: KafkaError, _: &str) {}

    fn stats(&self, statistics: Statistics) {
        let mut brokers = statistics.brokers.values();
        let is_there = brokers.any(|broker| broker.state == "UP");
        self.view
            .is_away((!is_there).then(|| "no broker can be reached".to_owned()));
        let mut log_ends = BTreeMap::new();
        for (topic, statistics) in statistics.topics {
            for (partition, statistics) in statistics.partitions {
                if partition >= 0 && statistics.ls_offset >= 0 {
                    let committed =
                        (statistics.committed_offset >= 0).then_some(statistics.committed_offset);
                    let log = LogEnd {
                        end: statistics.ls_offset,
                        committed,
                    };
                    log_ends.insert(
                        TopicPartition {
                            topic: topic.clone(),
                            partition,
                        },
                        log,
                    );
                }
            }
        }
        self.view.publish_log_ends(log_ends);
    }
}

impl<K: Keeper> ConsumerContext for Link<K> {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let mut keeper = self.engine();
        match rebalance {
            Rebalance::Assign(list) => {
                let partitions = named(list);
                tracing::info!(partitions = %names(&partitions), "assigned");
                keeper.assign(consumer, list);
            }
            Rebalance::Revoke(list) if consumer.assignment_lost() => {
                let partitions = named(list);
                tracing::warn!(partitions = %names(&partitions), "lost: others own these already");
                keeper.lose(partitions);
            }
            Rebalance::Revoke(list) => {
                let partitions = named(list);
                tracing::info!(partitions = %names(&partitions), "giving back");
                keeper.give_back(consumer, partitions);
            }
            Rebalance::Error(error) => {
                tracing::warn!(%error, "rebalance failed");
                let all = consumer.assignment().map(|list| named(&list));
                keeper.lose(all.unwrap_or_default());
            }
        }
    }

    fn post_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Assign(list) = rebalance {
            self.engine().assigned(consumer, list);
        }
    }
}

/// Logs why something that librdkafka was told came to nothing.
pub fn log_error<T>(what: &str, result: KafkaResult<T>) {
    if let Err(error) = result {
        tracing::warn!(%error, "{what} failed");
    }
}

fn names(partitions: &[TopicPartition]) -> String {
    partitions
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(" ")
}
