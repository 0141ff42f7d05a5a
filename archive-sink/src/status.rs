//! The status as people and probes see it: `/status`, `/readyz`.
//!
//! In the flow: beside it. The threads publish what they see; HTTP reads the last of it and never waits for them.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use kafka_source::callbacks::{LogEnd, Observer};
use log_event::offset::TopicPartition;
use serde_json::{Value, json};

/// The last that was published.
#[derive(Debug)]
pub struct StatusBoard {
    started: Instant,
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
    kafka_error: Option<(Duration, String)>,
    /// Privileges that the brokers refuse, while they are there.
    kafka_refusal: Option<(Duration, String)>,
    postgres_error: Option<(Duration, String)>,
    moment: Moment,
    log_ends: BTreeMap<TopicPartition, LogEnd>,
    asked_ends: BTreeMap<TopicPartition, i64>,
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
            state: Mutex::new(state),
        }
    }

    /// PostgreSQL takes what it is given, or why not.
    pub fn postgres(&self, error: Option<String>) {
        let now = self.started.elapsed();
        let mut state = self.state();
        state.starting &= error.is_some();
        state.postgres_error = error.map(|text| {
            let since = state
                .postgres_error
                .as_ref()
                .map_or(now, |(since, _)| *since);
            (since, text)
        });
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
        lags.filter_map(|one| Some((one.at.clone(), state.lag(one)?)))
            .collect()
    }

    /// Why the sink is not ready, if it is not.
    #[must_use]
    pub fn reasons(&self) -> Vec<String> {
        let state = self.state();
        let mut reasons = Vec::new();
        if state.starting && state.postgres_error.is_none() {
            reasons.push("waiting for the start".to_owned());
        }
        reasons.extend(state.draining.then(|| "draining".to_owned()));
        let postgres = state.postgres_error.as_ref();
        reasons.extend(postgres.map(|(_, text)| format!("PostgreSQL takes nothing: {text}")));
        let kafka = state.kafka_trouble();
        reasons.extend(kafka.map(|(_, text)| format!("kafka: {text}")));
        reasons
    }

    /// `/status`; `newest_archived` is when the newest event was received that is archived, in seconds since the epoch.
    #[must_use]
    pub fn json(&self, newest_archived: Option<i64>) -> Value {
        let now = self.started.elapsed();
        let state = self.state();
        let error = |error: Option<&(Duration, String)>| {
            error.map(|(since, text)| {
                json!({ "since_seconds": now.saturating_sub(*since).as_secs(), "text": text })
            })
        };
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
                    "lag": state.lag(one),
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
            "postgres_error": error(state.postgres_error.as_ref()),
            "kafka_error": error(state.kafka_trouble()),
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

    fn lag(&self, one: &Partition) -> Option<i64> {
        let told = self.log_ends.get(&one.at).map(|log| log.end);
        let end = told.max(self.asked_ends.get(&one.at).copied())?;
        Some((end - one.archived?).max(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// AR-4: what keeps an order from being carried out is shown, and only as long as it does.
    #[test]
    fn an_outage_is_a_reason_until_it_is_over() {
        let board = StatusBoard::new(Instant::now());
        assert_eq!(board.reasons(), ["waiting for the start"]);
        board.postgres(Some("connection refused".to_owned()));
        let outage = "PostgreSQL takes nothing: connection refused";
        assert_eq!(board.reasons(), [outage]);
        board.kafka_error("no broker can be reached".to_owned());
        board.drain();
        assert_eq!(
            board.reasons(),
            ["draining", outage, "kafka: no broker can be reached"]
        );
        board.postgres(None);
        board.kafka_answers();
        assert_eq!(board.reasons(), ["draining"]);
        board.kafka_refuses(Some("the user lacks it".to_owned()));
        assert_eq!(board.reasons(), ["draining", "kafka: the user lacks it"]);
        assert!(board.kafka_is_there());
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
        board.publish_log_ends(BTreeMap::from([(
            at.clone(),
            LogEnd {
                end: 100,
                committed: None,
            },
        )]));
        assert_eq!(board.lags(), [(at.clone(), 60)]);
        board.publish_asked_ends(BTreeMap::from([(at.clone(), 150)]));
        assert_eq!(board.lags(), [(at, 110)]);
    }
}
