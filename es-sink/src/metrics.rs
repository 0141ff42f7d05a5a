//! The numbers that alerts and dashboards read.
//!
//! In the flow: beside it. The machine counts; here its counts become metrics.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use es_sink_core::assignment::TopicPartition;
use es_sink_core::cause::{HoldCause, RetryCause};
use es_sink_core::report::{Counters, DEAD_LETTER_LABELS, Status};
use prometheus::{Histogram, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};
use service::metrics::Namespace;

use crate::status::StatusBoard;

/// Seconds from a fast bulk request to the longest that is waited for.
const BULK_BUCKETS: [f64; 12] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0,
];
/// Seconds from receipt to index: from an idle pipeline to a night's outage.
const FRESHNESS_BUCKETS: [f64; 13] = [
    0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0, 43200.0,
];

/// The metrics of es-sink.
#[derive(Debug)]
pub struct Metrics {
    /// Where they are registered.
    pub namespace: Namespace,
    /// From sending a bulk request to its whole reply.
    pub bulk_seconds: Histogram,
    /// From a record's Kafka timestamp to its document's acknowledgement.
    pub freshness_seconds: Histogram,
    newest_indexed: IntGauge,
    records: IntCounter,
    record_bytes: IntCounter,
    records_ignored: IntCounter,
    bulks: IntCounter,
    bulk_bytes: IntCounter,
    bulks_split: IntCounter,
    documents: IntCounter,
    duplicates: IntCounter,
    retries: IntCounterVec,
    holds: IntCounterVec,
    dead_letters: IntCounterVec,
    dead_letter_retries: IntCounter,
    commits: IntCounterVec,
    rebalances: IntCounter,
    bulks_in_flight: IntGauge,
    bulk_bytes_in_flight: IntGauge,
    bytes_held: IntGauge,
    bytes_held_max: IntGauge,
    paused: IntGauge,
    failing: IntGauge,
    kafka_reachable: IntGauge,
    held: IntGaugeVec,
    dead_letters_waiting: IntGauge,
    oldest_in_flight: IntGauge,
    partitions: IntGauge,
    lag: IntGaugeVec,
    /// The partitions that `lag` shows.
    lag_shown: Mutex<BTreeSet<TopicPartition>>,
}

impl Metrics {
    /// Registers everything.
    ///
    /// # Panics
    /// If two metrics have one name, which the first start shows.
    #[must_use]
    pub fn new() -> Self {
        let metrics = Namespace::new("es_sink");
        let all = Self {
            bulk_seconds: metrics.histogram(
                "bulk_duration_seconds",
                "Time from sending a bulk request to its whole reply",
                &BULK_BUCKETS,
            ),
            freshness_seconds: metrics.histogram(
                "freshness_seconds",
                "Time from the receipt of an event to its acknowledgement by Elasticsearch",
                &FRESHNESS_BUCKETS,
            ),
            newest_indexed: metrics.gauge(
                "newest_indexed_timestamp_seconds",
                "Receipt of the newest event that Elasticsearch has acknowledged, since the Unix epoch",
            ),
            records: metrics.counter("records_total", "Records taken from Kafka"),
            record_bytes: metrics.counter(
                "record_bytes_total",
                "Bytes of the values of records taken from Kafka",
            ),
            records_ignored: metrics.counter(
                "records_ignored_total",
                "Records delivered for partitions that were being given back",
            ),
            bulks: metrics.counter("bulks_total", "Bulk requests sent, repeats included"),
            bulk_bytes: metrics.counter(
                "bulk_bytes_total",
                "Bytes of bulk request bodies sent, repeats included",
            ),
            bulks_split: metrics.counter(
                "bulks_split_total",
                "Bulk requests parted in two after a 413 or a 400",
            ),
            documents: metrics.counter(
                "documents_indexed_total",
                "Documents acknowledged by Elasticsearch",
            ),
            duplicates: metrics.counter(
                "duplicates_suppressed_total",
                "Documents acknowledged that stood there before",
            ),
            retries: metrics.counter_by(
                "item_retries_total",
                "Bulk items that are tried again, by cause",
                &["cause"],
            ),
            holds: metrics.counter_by(
                "item_holds_total",
                "Tries of bulk items that wait for somebody to act, by cause",
                &["cause"],
            ),
            dead_letters: metrics.counter_by(
                "dead_letters_total",
                "Records that went to the dead-letter topic, by cause",
                &["cause"],
            ),
            dead_letter_retries: metrics.counter(
                "dead_letter_retries_total",
                "Dead letters that the topic did not take at once",
            ),
            commits: metrics.counter_by("commits_total", "Offset commits, by result", &["result"]),
            rebalances: metrics.counter(
                "rebalances_total",
                "Times that partitions were assigned, revoked or lost",
            ),
            bulks_in_flight: metrics.gauge("bulks_in_flight", "Bulk requests on their way"),
            bulk_bytes_in_flight: metrics.gauge(
                "bulk_in_flight_bytes",
                "Bytes of bulk requests on their way",
            ),
            bytes_held: metrics.gauge(
                "held_bytes",
                "Bytes of records that are read and not settled",
            ),
            bytes_held_max: metrics.gauge(
                "held_bytes_limit",
                "Beyond this many bytes held, reading pauses",
            ),
            paused: metrics.gauge(
                "paused",
                "1 while reading is paused because too much is held",
            ),
            failing: metrics.gauge(
                "elasticsearch_failing",
                "1 while Elasticsearch takes nothing at all",
            ),
            kafka_reachable: metrics.gauge(
                "kafka_reachable",
                "1 if a broker could be reached when that was last tried, else 0",
            ),
            held: metrics.gauge_by(
                "held_items",
                "Items that wait until somebody changes something, by cause",
                &["cause"],
            ),
            dead_letters_waiting: metrics.gauge(
                "dead_letters_waiting",
                "Dead letters that their topic has not acknowledged",
            ),
            oldest_in_flight: metrics.gauge(
                "oldest_in_flight_age_seconds",
                "Time since the receipt of the oldest event that is read and neither indexed nor a dead letter; 0 while there is none",
            ),
            partitions: metrics.gauge("assigned_partitions", "Partitions assigned to this sink"),
            lag: metrics.gauge_by(
                "consumer_lag_records",
                "Records in the log that are not committed",
                &["topic", "partition"],
            ),
            lag_shown: Mutex::default(),
            namespace: metrics.clone(),
        };
        all.start_at_zero();
        all
    }

    /// A counter that first shows at its first event hides that event from `rate`.
    fn start_at_zero(&self) {
        // Nobody has looked yet, and no alert is to say otherwise.
        self.kafka_reachable.set(1);
        for cause in RetryCause::ALL {
            self.retries.with_label_values(&[cause.label()]);
        }
        for cause in HoldCause::ALL {
            self.holds.with_label_values(&[cause.label()]);
            self.held.with_label_values(&[cause.label()]);
        }
        for label in DEAD_LETTER_LABELS {
            self.dead_letters.with_label_values(&[label]);
        }
        for result in ["ok", "failed"] {
            self.commits.with_label_values(&[result]);
        }
    }

    /// Sets the limit that never changes.
    pub fn set_limits(&self, bytes_held_max: usize) {
        set(&self.bytes_held_max, bytes_held_max);
    }

    /// Notes how old records were when Elasticsearch acknowledged them: of each timestamp, in
    /// milliseconds since the Unix epoch, how many.
    pub fn observe_freshness(&self, indexed: Vec<(i64, u32)>) {
        let now_ms = now_ms();
        let newest_ms = indexed.iter().map(|(timestamp_ms, _)| *timestamp_ms).max();
        let newest = newest_ms.unwrap_or(0) / 1_000;
        if newest > self.newest_indexed.get() {
            self.newest_indexed.set(newest);
        }
        let local = self.freshness_seconds.local();
        for (timestamp_ms, count) in indexed {
            let age = Duration::from_millis(
                u64::try_from(now_ms.saturating_sub(timestamp_ms)).unwrap_or(0),
            );
            for _ in 0..count {
                local.observe(age.as_secs_f64());
            }
        }
    }

    /// Receipt of the newest event that Elasticsearch has acknowledged since the start, in seconds since the epoch.
    #[must_use]
    pub fn newest_indexed_seconds(&self) -> Option<i64> {
        Some(self.newest_indexed.get()).filter(|seconds| *seconds > 0)
    }

    /// Brings the metrics up to a moment of the machine.
    pub fn update(&self, counters: &Counters, status: &Status, board: &StatusBoard) {
        raise(&self.records, counters.records);
        raise(&self.record_bytes, counters.record_bytes);
        raise(&self.records_ignored, counters.records_ignored);
        raise(&self.bulks, counters.bulks_sent);
        raise(&self.bulk_bytes, counters.bulk_bytes_sent);
        raise(&self.bulks_split, counters.bulks_split);
        raise(&self.documents, counters.indexed);
        raise(&self.duplicates, counters.updated);
        for (cause, count) in &counters.retries {
            raise(
                &self.retries.with_label_values(&[RetryCause::label(*cause)]),
                *count,
            );
        }
        for (cause, count) in &counters.holds {
            raise(
                &self.holds.with_label_values(&[HoldCause::label(*cause)]),
                *count,
            );
        }
        for (kind, count) in &counters.dead_letters {
            raise(&self.dead_letters.with_label_values(&[*kind]), *count);
        }
        raise(&self.dead_letter_retries, counters.dead_letter_retries);
        raise(&self.commits.with_label_values(&["ok"]), counters.commits);
        raise(
            &self.commits.with_label_values(&["failed"]),
            counters.commits_failed,
        );
        raise(&self.rebalances, counters.rebalances);
        set(&self.bulks_in_flight, status.bulks_in_flight);
        set(&self.bulk_bytes_in_flight, status.bulk_bytes_in_flight);
        set(&self.bytes_held, status.bytes_held);
        set(&self.paused, usize::from(status.paused));
        set(&self.failing, usize::from(status.failing.is_some()));
        set(&self.partitions, status.partitions.len());
        set(&self.kafka_reachable, usize::from(board.kafka.is_there()));
        for cause in HoldCause::ALL {
            let held = status.held.iter().filter(|held| held.cause == cause);
            let items = held.map(|held| held.items).sum();
            set(&self.held.with_label_values(&[cause.label()]), items);
        }
        set(&self.dead_letters_waiting, status.dead_letters_waiting);
        let received_ms = status.oldest_in_flight_ms;
        let age_ms = received_ms.map_or(0, |received_ms| now_ms().saturating_sub(received_ms));
        self.oldest_in_flight.set(age_ms.max(0) / 1_000);
        self.show_lags(board.lags());
    }

    /// Whoever reads the metrics meanwhile misses no partition: an alert on it would begin anew.
    fn show_lags(&self, lags: Vec<(TopicPartition, i64)>) {
        let labels = |at: &TopicPartition| [at.topic.clone(), at.partition.to_string()];
        let mut shown = self
            .lag_shown
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let now: BTreeSet<_> = lags.iter().map(|(at, _)| at.clone()).collect();
        for gone in shown.difference(&now) {
            let removed = self.lag.remove_label_values(&labels(gone));
            removed.expect("what is shown was set");
        }
        for (at, lag) in lags {
            self.lag.with_label_values(&labels(&at)).set(lag);
        }
        *shown = now;
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

fn now_ms() -> i64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
    since_epoch.map_or(0, |since| {
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    })
}

fn raise(counter: &IntCounter, to: u64) {
    counter.inc_by(to.saturating_sub(counter.get()));
}

fn set(gauge: &IntGauge, to: usize) {
    gauge.set(i64::try_from(to).unwrap_or(i64::MAX));
}

#[cfg(test)]
mod tests {
    use es_sink_core::report::Held;
    use prometheus::TextEncoder;

    use super::*;

    #[test]
    fn a_record_may_bear_any_timestamp() {
        let metrics = Metrics::new();
        metrics.observe_freshness(vec![(i64::MIN, 1), (0, 2), (i64::MAX, 1)]);
        assert_eq!(metrics.freshness_seconds.get_sample_count(), 4);
    }

    fn at(partition: i32) -> TopicPartition {
        TopicPartition {
            topic: "logs".to_owned(),
            partition,
        }
    }

    /// Samples of the text that Prometheus reads, without the name of the service.
    fn samples(metrics: &Metrics) -> Vec<String> {
        let text = TextEncoder::new().encode_to_string(&metrics.namespace.registry().gather());
        let text = text.unwrap();
        let own = text
            .lines()
            .filter_map(|line| line.strip_prefix("es_sink_"));
        own.map(str::to_owned).collect()
    }

    #[test]
    fn what_alerts_read_is_there_from_the_start() {
        let samples = samples(&Metrics::new());
        for sample in [
            r#"held_items{cause="index_blocked"} 0"#,
            r#"item_holds_total{cause="dead_letter_topic"} 0"#,
            r#"item_retries_total{cause="overloaded"} 0"#,
            r#"dead_letters_total{cause="no_value"} 0"#,
            r#"dead_letters_total{cause="other"} 0"#,
            r#"commits_total{result="failed"} 0"#,
            "dead_letters_waiting 0",
            "oldest_in_flight_age_seconds 0",
        ] {
            assert!(samples.iter().any(|found| found == sample), "{sample}");
        }
    }

    #[test]
    fn a_partition_that_is_given_back_shows_no_lag_any_more() {
        let metrics = Metrics::new();
        metrics.show_lags(vec![(at(0), 5), (at(1), 6)]);
        metrics.show_lags(vec![(at(1), 7), (at(2), 0)]);
        let lags: Vec<String> = samples(&metrics)
            .into_iter()
            .filter(|sample| sample.starts_with("consumer_lag_records"))
            .collect();
        assert_eq!(
            lags,
            [
                r#"consumer_lag_records{partition="1",topic="logs"} 7"#,
                r#"consumer_lag_records{partition="2",topic="logs"} 0"#,
            ]
        );
    }

    #[test]
    fn the_age_of_what_is_in_flight_and_what_holds_it_are_told_while_there_is_something() {
        let metrics = Metrics::new();
        let board = StatusBoard::new(std::time::Instant::now());
        let held = Held {
            cause: HoldCause::IndexBlocked,
            items: 3,
            since: Duration::ZERO,
            reason: "read-only".to_owned(),
        };
        let waiting = Status {
            oldest_in_flight_ms: Some(now_ms() - 90_500),
            dead_letters_waiting: 2,
            held: vec![held],
            ..Status::default()
        };
        let shown = |status: &Status| {
            metrics.update(&Counters::default(), status, &board);
            let held = metrics.held.with_label_values(&["index_blocked"]);
            [
                &held,
                &metrics.dead_letters_waiting,
                &metrics.oldest_in_flight,
            ]
            .map(IntGauge::get)
        };
        let [held, letters, age] = shown(&waiting);
        assert_eq!((held, letters), (3, 2));
        assert!((90..100).contains(&age), "{age}");
        assert_eq!(shown(&Status::default()), [0, 0, 0]);
        assert_eq!(metrics.kafka_reachable.get(), 1);
        let away = "all brokers are down".to_owned();
        board.kafka.is_away(Some(away));
        shown(&Status::default());
        assert_eq!(metrics.kafka_reachable.get(), 0);
    }
}
