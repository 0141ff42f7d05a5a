//! The status as people and probes see it: `/status`, `/readyz`.
//!
//! In the flow: beside it. The consumer thread publishes a moment of the
//! machine; HTTP reads the last one and never waits for the machine.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use es_sink_core::assignment::TopicPartition;
use es_sink_core::report::{PartitionStatus, Status};
use kafka_source::view::KafkaView;
use serde_json::{Value, json};

/// A single refusal under load is no outage.
const FAILING_MIN: Duration = Duration::from_secs(5);

/// The last moment published.
#[derive(Debug)]
pub struct StatusBoard {
    started: Instant,
    /// What is known of Kafka; who reads it publishes there by itself.
    pub kafka: Arc<KafkaView>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// What the start still waits for.
    waiting_for: Option<String>,
    draining: bool,
    status: Status,
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
            kafka: Arc::new(KafkaView::new(started)),
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
            .filter_map(|partition| Some((partition.at.clone(), self.lag(partition)?)))
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
        let kafka = self.kafka.trouble();
        reasons.extend(kafka.reason().map(|text| format!("kafka: {text}")));
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
                    "committed": self.committed(partition),
                    "in_flight": partition.in_flight,
                    "lag": self.lag(partition),
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
            "kafka_error": self.kafka.trouble().json(now),
        })
    }

    /// The committed offset: ours, or the one that the coordinator held when the partition came.
    fn committed(&self, partition: &PartitionStatus) -> Option<i64> {
        let ours = partition.committed.map(|next| next.0);
        ours.or_else(|| self.kafka.committed(&partition.at))
    }

    fn lag(&self, partition: &PartitionStatus) -> Option<i64> {
        let end = self.kafka.end(&partition.at)?;
        let settled = self.committed(partition);
        let settled = settled.or(partition.position.map(|next| next.0));
        Some((end - settled.unwrap_or(0)).max(0))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Plain data: whoever panicked while writing it left it usable.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
