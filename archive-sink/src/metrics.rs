//! The numbers that alerts and dashboards read.
//!
//! In the flow: beside it.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use log_event::offset::TopicPartition;
use prometheus::{Histogram, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};
use service::metrics::Namespace;

use crate::status::{Moment, StatusBoard};

/// Seconds from a small transaction to the longest that is waited for.
const TRANSACTION_BUCKETS: [f64; 12] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0,
];

/// The metrics of archive-sink.
#[derive(Debug)]
pub struct Metrics {
    /// Where they are registered.
    pub namespace: Namespace,
    /// Records taken from Kafka.
    pub records: IntCounter,
    /// Bytes of their values.
    pub record_bytes: IntCounter,
    /// Rows that are new in the archive.
    pub events_archived: IntCounter,
    /// Rows that were there before.
    pub duplicates_suppressed: IntCounter,
    /// By result.
    pub transactions: IntCounterVec,
    /// Of those that succeeded.
    pub transaction_seconds: Histogram,
    /// Tables made.
    pub days_made: IntCounter,
    /// Partitions that another has claimed while they were ours.
    pub deposed: IntCounter,
    /// Partitions assigned, given back or lost.
    pub rebalances: IntCounter,
    /// 1 while PostgreSQL takes nothing.
    pub postgres_failing: IntGauge,
    newest_archived: IntGauge,
    kafka_reachable: IntGauge,
    batches_in_flight: IntGauge,
    bytes_held: IntGauge,
    paused: IntGauge,
    partitions: IntGauge,
    lag: IntGaugeVec,
    /// The partitions that `lag` shows.
    lag_shown: Mutex<BTreeSet<TopicPartition>>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Registers everything.
    ///
    /// # Panics
    /// If two metrics have one name, which the first start shows.
    #[must_use]
    pub fn new() -> Self {
        let metrics = Namespace::new("archive_sink");
        let all = Self {
            records: metrics.counter("records_total", "Records taken from Kafka"),
            record_bytes: metrics.counter(
                "record_bytes_total",
                "Bytes of the values of records taken from Kafka",
            ),
            events_archived: metrics.counter(
                "events_archived_total",
                "Events that are in PostgreSQL since this sink wrote them",
            ),
            duplicates_suppressed: metrics.counter(
                "duplicates_suppressed_total",
                "Records whose event was in PostgreSQL before",
            ),
            transactions: metrics.counter_by(
                "transactions_total",
                "Transactions with events, by result: a failed one is tried again",
                &["result"],
            ),
            transaction_seconds: metrics.histogram(
                "transaction_duration_seconds",
                "Time from the begin of a transaction to its end",
                &TRANSACTION_BUCKETS,
            ),
            days_made: metrics.counter("days_made_total", "Tables made for days"),
            deposed: metrics.counter(
                "deposed_total",
                "Times that another had claimed a partition of this sink, or changed its offset",
            ),
            rebalances: metrics.counter(
                "rebalances_total",
                "Times that partitions were assigned, revoked or lost",
            ),
            postgres_failing: metrics.gauge(
                "postgres_failing",
                "1 while PostgreSQL takes nothing at all",
            ),
            newest_archived: metrics.gauge(
                "newest_archived_timestamp_seconds",
                "Receipt of the newest event that is archived, since the Unix epoch",
            ),
            kafka_reachable: metrics.gauge(
                "kafka_reachable",
                "1 if a broker could be reached when that was last tried, else 0",
            ),
            batches_in_flight: metrics.gauge("batches_in_flight", "Batches on their way"),
            bytes_held: metrics.gauge(
                "held_bytes",
                "Bytes of records that are read and not archived",
            ),
            paused: metrics.gauge(
                "paused",
                "1 while reading is paused because too much is held",
            ),
            partitions: metrics.gauge("assigned_partitions", "Partitions assigned to this sink"),
            lag: metrics.gauge_by(
                "consumer_lag_records",
                "Records in the log that are not archived",
                &["topic", "partition"],
            ),
            lag_shown: Mutex::default(),
            namespace: metrics.clone(),
        };
        // Nobody has looked yet, and no alert is to say otherwise.
        all.kafka_reachable.set(1);
        for result in ["committed", "failed"] {
            all.transactions.with_label_values(&[result]);
        }
        all
    }

    /// A batch is archived whose newest record was received then, in milliseconds since the epoch.
    pub fn archived_up_to(&self, newest_ms: Option<i64>) {
        let seconds = newest_ms.map_or(0, |millis| millis.div_euclid(1_000));
        self.newest_archived
            .set(seconds.max(self.newest_archived.get()));
    }

    /// Receipt of the newest event that is archived.
    #[must_use]
    pub fn newest_archived_seconds(&self) -> Option<i64> {
        Some(self.newest_archived.get()).filter(|seconds| *seconds > 0)
    }

    /// Shows a moment of the thread that reads.
    pub fn update(&self, moment: &Moment, board: &StatusBoard) {
        let gauge = |value: usize| i64::try_from(value).unwrap_or(i64::MAX);
        self.kafka_reachable.set(i64::from(board.kafka.is_there()));
        self.batches_in_flight.set(gauge(moment.batches_in_flight));
        self.bytes_held.set(gauge(moment.bytes_held));
        self.paused.set(i64::from(moment.paused));
        self.partitions.set(gauge(moment.partitions.len()));
        let mut shown = self
            .lag_shown
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let mut gone = std::mem::take(&mut *shown);
        for (at, lag) in board.lags() {
            let partition = at.partition.to_string();
            self.lag
                .with_label_values(&[at.topic.as_str(), &partition])
                .set(lag);
            gone.remove(&at);
            shown.insert(at);
        }
        for at in gone {
            let partition = at.partition.to_string();
            // It is there: it was shown.
            drop(
                self.lag
                    .remove_label_values(&[at.topic.as_str(), &partition]),
            );
        }
    }
}
