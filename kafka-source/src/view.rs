//! Kafka as a sink sees it: whether it is there, what it refuses, how far its logs reach.
//!
//! In the flow: `callbacks`, `questions`, `privileges` → **`view`** → the sinks' status. What is told stands until the
//! brokers say otherwise.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use log_event::offset::TopicPartition;
use service::trouble::Trouble;

/// How far a partition reaches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogEnd {
    /// The offset of the next record to come.
    pub end: i64,
    /// The committed offset that the group coordinator knows, if any.
    pub committed: Option<i64>,
}

/// The last that was told of Kafka.
#[derive(Debug)]
pub struct KafkaView {
    started: Instant,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    absence: Trouble,
    refusal: Trouble,
    /// Ends of the logs that we read, as the brokers told last.
    log_ends: BTreeMap<TopicPartition, LogEnd>,
    /// The same, asked for while reading is paused.
    asked_ends: BTreeMap<TopicPartition, i64>,
}

impl KafkaView {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(started: Instant) -> Self {
        Self {
            started,
            state: Mutex::default(),
        }
    }

    /// A broker is there (`None`), or why none can be reached.
    pub fn is_away(&self, why: Option<String>) {
        let now = self.started.elapsed();
        self.state().absence.set(now, why);
    }

    /// The privileges that the user lacks; `None` if nothing is refused.
    pub fn refuses(&self, what: Option<String>) {
        let now = self.started.elapsed();
        self.state().refusal.set(now, what);
    }

    /// The brokers' word on the ends of the logs.
    pub fn publish_log_ends(&self, log_ends: BTreeMap<TopicPartition, LogEnd>) {
        self.state().log_ends = log_ends;
    }

    /// The ends of the logs as the brokers tell them when asked; none while they tell unasked.
    pub fn publish_asked_ends(&self, ends: BTreeMap<TopicPartition, i64>) {
        self.state().asked_ends = ends;
    }

    /// Whether a broker could be reached when that was last asked.
    #[must_use]
    pub fn is_there(&self) -> bool {
        self.state().absence.reason().is_none()
    }

    /// What keeps Kafka from giving us records: that it is away says more than what it said before.
    #[must_use]
    pub fn trouble(&self) -> Trouble {
        let state = self.state();
        match state.absence.reason() {
            Some(_) => state.absence.clone(),
            None => state.refusal.clone(),
        }
    }

    /// How far a partition reaches, by the newest word on it.
    #[must_use]
    pub fn end(&self, at: &TopicPartition) -> Option<i64> {
        let state = self.state();
        let told = state.log_ends.get(at).map(|log| log.end);
        told.max(state.asked_ends.get(at).copied())
    }

    /// The offset that the group coordinator holds of a partition, as far as it was told.
    #[must_use]
    pub fn committed(&self, at: &TopicPartition) -> Option<i64> {
        self.state().log_ends.get(at)?.committed
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Plain data: whoever panicked while writing it left it usable.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
