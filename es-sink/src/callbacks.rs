//! What librdkafka calls while it is polled: rebalances, statistics, errors.
//!
//! In the flow: `consumer` → **`callbacks`** → `engine`. Everything here runs
//! inside `poll`, on the consumer thread, and translates.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use es_sink_core::assignment::TopicPartition;
use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext, Rebalance};
use rdkafka::error::KafkaError;
use rdkafka::statistics::Statistics;

use crate::engine::{Engine, log_error};
use crate::positions::named;
use crate::status::{LogEnd, StatusBoard};

/// librdkafka's callbacks. They run inside `poll`, on the consumer thread, so
/// the lock is never waited for.
pub(crate) struct Link {
    engine: Mutex<Engine>,
    board: Arc<StatusBoard>,
}

impl Link {
    /// Callbacks that reach this machine.
    pub(crate) fn new(engine: Engine, board: Arc<StatusBoard>) -> Self {
        Self {
            engine: Mutex::new(engine),
            board,
        }
    }

    /// The machine; nobody else uses it while the consumer thread does.
    pub(crate) fn engine(&self) -> MutexGuard<'_, Engine> {
        // A panic on the one thread that locks ends the process.
        self.engine.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Link {
    /// `poll` returns the same errors, and there they are logged.
    fn error(&self, _: KafkaError, _: &str) {}

    fn stats(&self, statistics: Statistics) {
        if statistics
            .brokers
            .values()
            .any(|broker| broker.state == "UP")
        {
            self.board.kafka_answers();
        } else {
            self.board
                .kafka_error("no broker can be reached".to_owned());
        }
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
        self.board.publish_log_ends(log_ends);
    }
}

impl ConsumerContext for Link {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let mut engine = self.engine();
        match rebalance {
            Rebalance::Assign(list) => {
                let partitions = named(list);
                tracing::info!(partitions = %names(&partitions), "assigned");
                engine.assign(consumer, list);
            }
            Rebalance::Revoke(list) if consumer.assignment_lost() => {
                let partitions = named(list);
                tracing::warn!(partitions = %names(&partitions), "lost: others own these already");
                engine.lose(partitions);
            }
            Rebalance::Revoke(list) => {
                let partitions = named(list);
                tracing::info!(partitions = %names(&partitions), "giving back");
                engine.give_back(consumer, partitions);
            }
            Rebalance::Error(error) => {
                tracing::warn!(%error, "rebalance failed");
                let all = consumer.assignment().map(|list| named(&list));
                engine.lose(all.unwrap_or_default());
            }
        }
    }

    fn post_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Assign(list) = rebalance {
            // A partition that left while it was paused comes back paused: librdkafka takes back
            // only the pauses of its own. To the machine, newcomers come unpaused.
            log_error("resuming", consumer.resume(list));
        }
    }
}

fn names(partitions: &[TopicPartition]) -> String {
    partitions
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(" ")
}
