//! Hands records to Kafka and gathers the delivery reports of each request.
//!
//! In the flow: `decode` → **`produce`** → `delivery`. Upholds GW-1.
//! One shared state per request, and no future per record: a report is an
//! atomic count, the last one wakes the request. Which error means what is
//! `delivery`'s, whether to produce at all `reachability`'s.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::error::KafkaResult;
use rdkafka::producer::Producer as _;
use tokio::sync::oneshot;

use crate::admission::Reservation;
use crate::decode::{Beside, Record};
use crate::delivery::{Deliveries, Fate};
use crate::grouping::Group;
use crate::kafka_settings::KafkaSettings;
use crate::metrics::Metrics;
use crate::reachability::Reachability;

mod client;
mod topic_producer;
mod reports;

use client::KafkaClient;

/// How long the probe waits for Kafka's answer.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
/// How often the log is told that Kafka is still away: the reason may have changed, and with three brokers each has one.
const TELL_AGAIN: Duration = Duration::from_secs(60);
/// Of a producer that is replaced: that of `probe` and that of `replace`.
const OURS: usize = 2;
/// How long a request may take to hand its records over.
const LET_GO_WITHIN: Duration = Duration::from_secs(1);
/// librdkafka looks for timed out records once a second.
const REPORT_GRACE: Duration = Duration::from_secs(2);

/// The way to Kafka.
#[derive(Debug)]
pub struct Producer {
    settings: KafkaSettings,
    config: ClientConfig,
    batch_bytes_max: usize,
    shared: Arc<Shared>,
    /// Replaced when librdkafka calls an error fatal: it then refuses for ever.
    current: RwLock<Arc<KafkaClient>>,
    /// Whether the log was told last that Kafka is reachable, and when.
    told: Mutex<Option<(bool, Instant)>>,
}

#[derive(Debug)]
struct Shared {
    started: Instant,
    reachability: Reachability,
    metrics: Arc<Metrics>,
}

impl std::fmt::Debug for KafkaClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KafkaClient")
    }
}

impl Producer {
    /// Starts librdkafka's threads; connects in the background.
    ///
    /// # Errors
    /// If librdkafka refuses the configuration.
    pub fn new(settings: KafkaSettings, metrics: Arc<Metrics>) -> KafkaResult<Self> {
        let config = settings.client_config();
        let batch_bytes_max = config
            .get("batch.size")
            .and_then(|bytes| bytes.parse().ok())
            .unwrap_or(usize::MAX);
        // A counter that first shows at its first event hides that event from `rate`.
        for cause in reports::CAUSES {
            metrics.delivery_failures.with_label_values(&[cause]);
        }
        let shared = Arc::new(Shared {
            started: Instant::now(),
            reachability: Reachability::default(),
            metrics,
        });
        let first = KafkaClient::start(&config, &settings.topic, batch_bytes_max, &shared)?;
        Ok(Self {
            settings,
            config,
            batch_bytes_max,
            shared,
            current: RwLock::new(Arc::new(first)),
            told: Mutex::default(),
        })
    }

    /// Whether a request may try; see [`Reachability::admits`].
    #[must_use]
    pub fn admits(&self) -> bool {
        self.shared
            .reachability
            .admits(self.shared.started.elapsed())
    }

    /// Why the gateway should get no requests; none means ready.
    #[must_use]
    pub fn reasons(&self) -> Vec<String> {
        self.shared
            .reachability
            .reasons(self.shared.started.elapsed())
    }

    /// Hands over the records of one request, of which there is at least one. `share` must cover them: it is
    /// given back when the last of them is reported, also if the client has
    /// gone away by then.
    pub fn produce(
        &self,
        records: Vec<Record<'_>>,
        beside: Beside<'_>,
        share: Reservation,
    ) -> Delivering {
        let (wake, done) = oneshot::channel();
        let state = Arc::new(RequestState {
            unreported: AtomicUsize::new(records.len() + 1),
            acknowledged: AtomicUsize::new(0),
            not_kept: AtomicUsize::new(0),
            unknown: AtomicUsize::new(0),
            group: OnceLock::new(),
            too_large: Mutex::default(),
            refused_ids: Mutex::default(),
            fault: Mutex::default(),
            wake: Mutex::new(Some(wake)),
            _share: share,
        });
        let large = records
            .iter()
            .filter(|record| record.json.len() > self.batch_bytes_max)
            .map(|record| (record.position, record.id.as_str().to_owned()))
            .collect();
        let current = self.current();
        current.send(records, beside, &state);
        // Taken over by a fresh producer at this very moment, it is told to the wrong one: others then wait once for as
        // long as a group may hold them up.
        if state.settle(1) {
            current.reported(state.group());
        }
        Delivering {
            state,
            done,
            started: Instant::now(),
            timeout: self.settings.timeout + REPORT_GRACE,
            large,
            metrics: Arc::clone(&self.shared.metrics),
        }
    }

    /// Waits until all that was handed over is reported, or the time is up.
    ///
    /// # Errors
    /// If something is left.
    pub fn flush(&self, timeout: Duration) -> KafkaResult<()> {
        self.current().flush(timeout)
    }

    fn current(&self) -> Arc<KafkaClient> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Looks once after Kafka and the producer; waits up to two seconds for the answer.
    pub fn probe(&self) {
        let current = self.current();
        let producer = current.producer();
        let client = producer.client();
        self.shared
            .metrics
            .producer_queue
            .set(producer.in_flight_count().into());
        if let Some((code, reason)) = client.fatal_error() {
            tracing::error!(%code, reason, "the Kafka producer failed for good and is replaced");
            self.replace();
            return;
        }
        let topic = self.settings.topic.as_str();
        match client.fetch_metadata(Some(topic), PROBE_TIMEOUT) {
            Ok(metadata) => {
                let error = metadata.topics().iter().find_map(|topic| topic.error());
                let fault = error
                    .map(|code| format!("topic `{topic}`: {}", reports::told(code.into(), topic)));
                self.shared.reachability.probe_answered(fault);
            }
            Err(error) => {
                let now = self.shared.started.elapsed();
                self.shared
                    .reachability
                    .probe_failed(now, error.to_string());
            }
        }
        let reasons = self.reasons();
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let is_reachable = reasons.is_empty();
        let is_known = told.is_some_and(|(before, when)| {
            before == is_reachable && (is_reachable || when.elapsed() < TELL_AGAIN)
        });
        if is_known {
            return;
        }
        match is_reachable {
            true => tracing::info!(topic, "Kafka is reachable"),
            false => tracing::warn!(
                topic,
                reasons = reasons.join("; "),
                "Kafka is not reachable"
            ),
        }
        *told = Some((is_reachable, Instant::now()));
    }

    fn replace(&self) {
        let topic = &self.settings.topic;
        match KafkaClient::start(&self.config, topic, self.batch_bytes_max, &self.shared) {
            Ok(fresh) => {
                let fresh = Arc::new(fresh);
                let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
                let dead = std::mem::replace(&mut *current, Arc::clone(&fresh));
                drop(current);
                self.shared.metrics.producer_restarts.inc();
                fresh.take_over(&dead);
                // Requests that are just handing over hold it, too; whoever is last waits for its threads, and that
                // should be the probe's.
                let began = Instant::now();
                while Arc::strong_count(&dead) > OURS && began.elapsed() < LET_GO_WITHIN {
                    std::thread::sleep(Duration::from_millis(1));
                }
                // Reports everything that it still held as failed.
                drop(dead);
            }
            Err(error) => tracing::error!(%error, "no new Kafka producer; trying again"),
        }
    }
}

/// What the delivery reports of one request add up to.
#[derive(Debug)]
struct RequestState {
    /// Records without a report, and one for the hand-over itself.
    unreported: AtomicUsize,
    acknowledged: AtomicUsize,
    not_kept: AtomicUsize,
    unknown: AtomicUsize,
    /// As what its records went.
    group: OnceLock<Group>,
    /// The positions of records that librdkafka found too large.
    too_large: Mutex<Vec<usize>>,
    /// The ids of records that the brokers found too large.
    refused_ids: Mutex<Vec<String>>,
    fault: Mutex<Option<String>>,
    wake: Mutex<Option<oneshot::Sender<()>>>,
    /// GW-2: held until the last report, whatever became of the client.
    _share: Reservation,
}

impl RequestState {
    fn failed(&self, fate: Fate, records: usize, fault: impl FnOnce() -> String) {
        let count = match fate {
            Fate::NotKept => &self.not_kept,
            Fate::Unknown | Fate::Acknowledged | Fate::TooLarge => &self.unknown,
        };
        count.fetch_add(records, Ordering::Relaxed);
        let mut text = self.fault.lock().unwrap_or_else(PoisonError::into_inner);
        text.get_or_insert_with(fault);
    }

    /// Before its first record is handed over.
    fn goes_as(&self, group: Group) {
        // Every record of the request is handed over after this, and reported after that.
        self.group.get_or_init(|| group);
    }

    fn group(&self) -> Group {
        *self.group.get_or_init(Group::default)
    }

    fn is_too_large(&self, position: usize) {
        let mut positions = self
            .too_large
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        positions.push(position);
    }

    /// That many more are reported; whether these were the last ones, who see all counts before them.
    fn settle(&self, records: usize) -> bool {
        let is_last = self.unreported.fetch_sub(records, Ordering::AcqRel) == records;
        if is_last {
            let wake = self
                .wake
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take();
            // A client that went away no longer listens.
            wake.map(|wake| wake.send(()));
        }
        is_last
    }
}

/// A request whose records are on their way.
#[derive(Debug)]
pub struct Delivering {
    state: Arc<RequestState>,
    done: oneshot::Receiver<()>,
    started: Instant,
    timeout: Duration,
    large: Vec<(usize, String)>,
    metrics: Arc<Metrics>,
}

impl Delivering {
    /// What became of them; within the delivery timeout and a moment.
    pub async fn finished(self) -> Deliveries {
        let Self {
            state,
            done,
            started,
            timeout,
            large,
            metrics,
        } = self;
        let in_time = tokio::time::timeout(timeout, done).await.is_ok();
        // Before the lists: what is settled after this look counts as unknown, whatever the lists say of it.
        let late = if in_time {
            0
        } else {
            state.unreported.load(Ordering::Acquire)
        };
        let mut too_large = taken(&state.too_large);
        let refused = taken(&state.refused_ids);
        for id in &refused {
            let known = large
                .iter()
                .find(|(position, large)| large == id && !too_large.contains(position));
            too_large.extend(known.map(|(position, _)| *position));
        }
        too_large.sort_unstable();
        let unknown = state.unknown.load(Ordering::Relaxed) + late;
        let deliveries = Deliveries {
            acknowledged: state.acknowledged.load(Ordering::Relaxed),
            too_large,
            not_kept: state.not_kept.load(Ordering::Relaxed),
            unknown,
            fault: state
                .fault
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        };
        if deliveries.not_kept + deliveries.unknown == 0 {
            Metrics::observe(&metrics.kafka_ack_duration, started.elapsed());
        }
        deliveries
    }
}

fn taken<T>(list: &Mutex<Vec<T>>) -> Vec<T> {
    std::mem::take(&mut *list.lock().unwrap_or_else(PoisonError::into_inner))
}
