//! The status as people and probes see it: `/status`, `/readyz`.
//!
//! In the flow: beside it. The threads publish what they see; HTTP reads the last of it and never waits for them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use kafka_source::view::KafkaView;
use log_event::offset::TopicPartition;
use serde_json::{Value, json};
use service::trouble::Trouble;

/// The last that was published.
#[derive(Debug)]
pub struct StatusBoard {
    started: Instant,
    /// What is known of Kafka; who reads it publishes there by itself.
    pub kafka: Arc<KafkaView>,
    state: Mutex<State>,
}

/// A moment of the thread that reads.
#[derive(Clone, Debug, Default)]
pub struct Moment {
    /// Partitions of ours.
    pub partitions: Vec<Partition>,
    /// Batches that are not settled.
    pub batches_in_flight: usize,
    /// Bytes that are read and not settled.
    pub bytes_held: usize,
    /// Reading is paused.
    pub paused: bool,
}

/// A partition of ours.
#[derive(Clone, Debug)]
pub struct Partition {
    /// Which.
    pub at: TopicPartition,
    /// Where PostgreSQL is, as far as it has told.
    pub archived: Option<i64>,
    /// Whether its records are taken.
    pub reading: bool,
}

#[derive(Debug, Default)]
struct State {
    starting: bool,
    draining: bool,
    postgres_error: Trouble,
    moment: Moment,
}

impl StatusBoard {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(started: Instant) -> Self {
        let state = State {
            starting: true,
            ..State::default()
        };
        Self {
            started,
            kafka: Arc::new(KafkaView::new(started)),
            state: Mutex::new(state),
        }
    }

    /// PostgreSQL takes what it is given, or why not.
    pub fn postgres(&self, error: Option<String>) {
        let now = self.started.elapsed();
        let mut state = self.state();
        state.starting &= error.is_some();
        state.postgres_error.set(now, error);
    }

    /// The drain has begun.
    pub fn drain(&self) {
        self.state().draining = true;
    }

    /// Whether as much is held as may be.
    #[must_use]
    pub fn reading_is_paused(&self) -> bool {
        let state = self.state();
        state.moment.paused || state.moment.partitions.iter().any(|one| !one.reading)
    }

    /// A moment of the thread that reads.
    pub fn publish(&self, moment: Moment) {
        self.state().moment = moment;
    }

    /// Lag by partition: records that are in the log and not in the archive.
    #[must_use]
    pub fn lags(&self) -> Vec<(TopicPartition, i64)> {
        let state = self.state();
        let lags = state.moment.partitions.iter();
        lags.filter_map(|one| Some((one.at.clone(), self.lag(one)?)))
            .collect()
    }

    /// Why the sink is not ready, if it is not.
    #[must_use]
    pub fn reasons(&self) -> Vec<String> {
        let state = self.state();
        let mut reasons = Vec::new();
        let postgres = state.postgres_error.reason();
        if state.starting && postgres.is_none() {
            reasons.push("waiting for the start".to_owned());
        }
        reasons.extend(state.draining.then(|| "draining".to_owned()));
        reasons.extend(postgres.map(|text| format!("PostgreSQL takes nothing: {text}")));
        let kafka = self.kafka.trouble();
        reasons.extend(kafka.reason().map(|text| format!("kafka: {text}")));
        reasons
    }

    /// `/status`; `newest_archived` is when the newest event was received that is archived, in seconds since the epoch.
    #[must_use]
    pub fn json(&self, newest_archived: Option<i64>) -> Value {
        let now = self.started.elapsed();
        let state = self.state();
        let partitions: Vec<Value> = state
            .moment
            .partitions
            .iter()
            .map(|one| {
                json!({
                    "topic": one.at.topic,
                    "partition": one.at.partition,
                    "archived": one.archived,
                    "reading": one.reading,
                    "lag": self.lag(one),
                })
            })
            .collect();
        json!({
            "draining": state.draining,
            "newest_archived": newest_archived,
            "partitions": partitions,
            "batches_in_flight": state.moment.batches_in_flight,
            "bytes_held": state.moment.bytes_held,
            "paused": state.moment.paused,
            "postgres_error": state.postgres_error.json(now),
            "kafka_error": self.kafka.trouble().json(now),
        })
    }

    fn lag(&self, one: &Partition) -> Option<i64> {
        Some((self.kafka.end(&one.at)? - one.archived?).max(0))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Plain data: whoever panicked while writing it left it usable.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use kafka_source::view::LogEnd;

    use super::*;

    /// AR-4: what keeps an order from being carried out is shown, and only as long as it does.
    #[test]
    fn an_outage_is_a_reason_until_it_is_over() {
        let board = StatusBoard::new(Instant::now());
        assert_eq!(board.reasons(), ["waiting for the start"]);
        board.postgres(Some("connection refused".to_owned()));
        let outage = "PostgreSQL takes nothing: connection refused";
        assert_eq!(board.reasons(), [outage]);
        let away = "no broker can be reached".to_owned();
        board.kafka.is_away(Some(away));
        board.drain();
        assert_eq!(
            board.reasons(),
            ["draining", outage, "kafka: no broker can be reached"]
        );
        board.postgres(None);
        board.kafka.is_away(None);
        assert_eq!(board.reasons(), ["draining"]);
        let refusal = "the user lacks it".to_owned();
        board.kafka.refuses(Some(refusal));
        assert_eq!(board.reasons(), ["draining", "kafka: the user lacks it"]);
        assert!(board.kafka.is_there());
    }

    #[test]
    fn lag_is_what_the_archive_has_not() {
        let at = TopicPartition {
            topic: "logs".to_owned(),
            partition: 1,
        };
        let board = StatusBoard::new(Instant::now());
        board.publish(Moment {
            partitions: vec![Partition {
                at: at.clone(),
                archived: Some(40),
                reading: true,
            }],
            ..Moment::default()
        });
        assert!(board.lags().is_empty());
        board.kafka.publish_log_ends(BTreeMap::from([(
            at.clone(),
            LogEnd {
                end: 100,
                committed: None,
            },
        )]));
        assert_eq!(board.lags(), [(at.clone(), 60)]);
        let asked = BTreeMap::from([(at.clone(), 150)]);
        board.kafka.publish_asked_ends(asked);
        assert_eq!(board.lags(), [(at, 110)]);
    }
}
