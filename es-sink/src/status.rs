//! The status as people and probes see it: `/status`, `/readyz`.
//!
//! In the flow: beside it. The consumer thread publishes a moment of the
//! machine; HTTP reads the last one and never waits for the machine.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use es_sink_core::assignment::TopicPartition;
use es_sink_core::report::Status;
use kafka_source::callbacks::{LogEnd, Observer};
use serde_json::{Value, json};

/// A single refusal under load is no outage.
const FAILING_MIN: Duration = Duration::from_secs(5);

/// The last moment published.
#[derive(Debug)]
pub struct StatusBoard {
    started: Instant,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// What the start still waits for.
    waiting_for: Option<String>,
    draining: bool,
    kafka_error: Option<(Duration, String)>,
    /// Privileges that the brokers refuse, while they are there.
    kafka_refusal: Option<(Duration, String)>,
    status: Status,
    /// Ends of the logs that we read, as the brokers told last.
    log_ends: BTreeMap<TopicPartition, LogEnd>,
    /// The same, asked for while reading is paused.
    asked_ends: BTreeMap<TopicPartition, i64>,
}

impl StatusBoard {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(started: Instant) -> Self {
        let state = State {
            waiting_for: Some("the start".to_owned()),
            ..State::default()
        };
        Self {
            started,
            state: Mutex::new(state),
        }
    }

    /// What the start waits for now; `None` when it is over.
    pub fn wait_for(&self, what: Option<String>) {
        self.state().waiting_for = what;
    }

    /// The drain has begun.
    pub fn drain(&self) {
        self.state().draining = true;
    }

    /// Kafka lets the user do what it has to, or what it lacks.
    pub fn kafka_refuses(&self, what: Option<String>) {
        let now = self.started.elapsed();
        let mut state = self.state();
        state.kafka_refusal = what.map(|text| {
            let since = state
                .kafka_refusal
                .as_ref()
                .map_or(now, |(since, _)| *since);
            (since, text)
        });
    }

    /// Whether a broker could be reached when that was last asked.
    #[must_use]
    pub fn kafka_is_there(&self) -> bool {
        self.state().kafka_error.is_none()
    }

    /// The ends of the logs as the brokers tell them when asked; none while they tell unasked.
    pub fn publish_asked_ends(&self, ends: BTreeMap<TopicPartition, i64>) {
        self.state().asked_ends = ends;
    }

    /// Whether as much is held as may be.
    #[must_use]
    pub fn reading_is_paused(&self) -> bool {
        self.state().status.paused
    }

    /// A moment of the machine.
    pub fn publish(&self, status: Status) {
        self.state().status = status;
    }

    /// Lag by partition: records that are in the log and not committed.
    #[must_use]
    pub fn lags(&self) -> Vec<(TopicPartition, i64)> {
        let state = self.state();
        let partitions = state.status.partitions.iter();
        partitions
            .filter_map(|partition| Some((partition.at.clone(), state.lag(&partition.at)?)))
            .collect()
    }

    /// Why the sink is not ready, if it is not.
    #[must_use]
    pub fn reasons(&self) -> Vec<String> {
        let now = self.started.elapsed();
        let state = self.state();
        let mut reasons = Vec::new();
        reasons.extend(
            state
                .waiting_for
                .as_ref()
                .map(|what| format!("waiting for {what}")),
        );
        reasons.extend(state.draining.then(|| "draining".to_owned()));
        let failing = state.status.failing.as_ref();
        let failing = failing.filter(|failing| now.saturating_sub(failing.at) >= FAILING_MIN);
        reasons.extend(
            failing.map(|failing| format!("Elasticsearch takes nothing: {}", failing.text)),
        );
        reasons.extend(
            state
                .kafka_trouble()
                .map(|(_, text)| format!("kafka: {text}")),
        );
        reasons.extend(
            state
                .status
                .held
                .iter()
                .map(|held| format!("held ({}): {}", held.cause.label(), held.reason)),
        );
        reasons
    }

    /// `/status`; `newest_indexed` is when the newest event was received that is indexed, in seconds since the epoch.
    #[must_use]
    pub fn json(&self, newest_indexed: Option<i64>) -> Value {
        let now = self.started.elapsed();
        let ago = |at: Duration| now.saturating_sub(at).as_secs();
        let state = self.state();
        let status = &state.status;
        let partitions: Vec<Value> = status
            .partitions
            .iter()
            .map(|partition| {
                json!({
                    "topic": partition.at.topic,
                    "partition": partition.at.partition,
                    "position": partition.position.map(|next| next.0),
                    "committed": state.committed(&partition.at),
                    "in_flight": partition.in_flight,
                    "lag": state.lag(&partition.at),
                })
            })
            .collect();
        let held: Vec<Value> = status
            .held
            .iter()
            .map(|held| {
                json!({
                    "cause": held.cause.label(),
                    "items": held.items,
                    "since_seconds": ago(held.since),
                    "reason": held.reason,
                })
            })
            .collect();
        json!({
            "waiting_for": state.waiting_for,
            "newest_indexed": newest_indexed,
            "draining": state.draining,
            "partitions": partitions,
            "bulks": {
                "in_flight": status.bulks_in_flight,
                "in_flight_bytes": status.bulk_bytes_in_flight,
                "waiting": status.bulks_waiting,
            },
            "dead_letters_waiting": status.dead_letters_waiting,
            "bytes_held": status.bytes_held,
            "paused": status.paused,
            "held": held,
            "failing": status.failing.as_ref().map(|failing| json!({
                "since_seconds": ago(failing.at),
                "reason": failing.text,
            })),
            "last_error": status.last_error.as_ref().map(|error| json!({
                "seconds_ago": ago(error.at),
                "text": error.text,
            })),
            "kafka_error": state.kafka_trouble().map(|(at, text)| json!({
                "since_seconds": ago(*at),
                "text": text,
            })),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Plain data: whoever panicked while writing it left it usable.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for StatusBoard {
    fn kafka_answers(&self) {
        self.state().kafka_error = None;
    }

    fn kafka_error(&self, text: String) {
        let now = self.started.elapsed();
        let mut state = self.state();
        let since = state.kafka_error.as_ref().map_or(now, |(since, _)| *since);
        state.kafka_error = Some((since, text));
    }

    fn publish_log_ends(&self, log_ends: BTreeMap<TopicPartition, LogEnd>) {
        self.state().log_ends = log_ends;
    }
}

impl State {
    /// What keeps Kafka from giving us records: that it is away says more than what it said before.
    fn kafka_trouble(&self) -> Option<&(Duration, String)> {
        self.kafka_error.as_ref().or(self.kafka_refusal.as_ref())
    }

    fn committed(&self, at: &TopicPartition) -> Option<i64> {
        let ours = self
            .status
            .partitions
            .iter()
            .find(|partition| partition.at == *at);
        ours.and_then(|partition| partition.committed.map(|next| next.0))
            .or_else(|| self.log_ends.get(at).and_then(|log| log.committed))
    }

    fn lag(&self, at: &TopicPartition) -> Option<i64> {
        let told = self.log_ends.get(at).map(|log| log.end);
        let end = told.max(self.asked_ends.get(at).copied())?;
        let position = self
            .status
            .partitions
            .iter()
            .find(|partition| partition.at == *at)?
            .position;
        let settled = self
            .committed(at)
            .or(position.map(|next| next.0))
            .unwrap_or(0);
        Some((end - settled).max(0))
    }
}
