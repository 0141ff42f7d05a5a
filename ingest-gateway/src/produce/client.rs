//! One librdkafka producer with the thread that hears its reports.
//!
//! In the flow: `produce` → **`produce::client`** → librdkafka → `produce::reports`. The thread that hears that a group
//! is acknowledged hands the next one over: one wake-up less than telling somebody else.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use log_event::record::{DIALECT, EVENT_ID, EVENT_TIME, TENANT, TRACEPARENT, TRACESTATE};
use log_event::tenant::Tenant;
use log_event::timestamp::Timestamp;
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, Producer as _};
use service::traces::TraceHeaders;

use super::reports::{Reports, cause};
use super::topic_producer::TopicProducer;
use super::{RequestState, Shared};
use crate::decode::{Beside, Record};
use crate::delivery::{Fate, fate};
use crate::grouping::{Group, Grouping, HOLD_MAX};

/// A producer of librdkafka. Dropped, it reports what it still holds as failed.
pub(super) struct KafkaClient {
    line: Arc<Line>,
    thread: Option<JoinHandle<()>>,
}

/// What the requests and the thread share.
pub(super) struct Line {
    producer: TopicProducer<Reports>,
    grouping: Mutex<Grouping<Waiting>>,
    stop: AtomicBool,
    batch_bytes_max: usize,
    shared: Arc<Shared>,
}

/// A request whose records wait for those on their way.
pub(super) struct Waiting {
    records: Vec<Record<'static>>,
    dialect: &'static str,
    tenant: Option<Tenant>,
    received: Timestamp,
    span: Option<TraceHeaders>,
    state: Arc<RequestState>,
}

impl KafkaClient {
    /// Starts librdkafka's threads and ours; connects in the background.
    ///
    /// # Errors
    /// If librdkafka refuses the configuration.
    pub(super) fn start(
        config: &ClientConfig,
        topic: &str,
        batch_bytes_max: usize,
        shared: &Arc<Shared>,
    ) -> KafkaResult<Self> {
        let producer: BaseProducer<Reports> = config.create_with_context(Reports {
            batch_bytes_max,
            shared: Arc::clone(shared),
            line: OnceLock::new(),
        })?;
        let line = Arc::new(Line {
            producer: TopicProducer::new(producer, topic)?,
            grouping: Mutex::default(),
            stop: AtomicBool::new(false),
            batch_bytes_max,
            shared: Arc::clone(shared),
        });
        let reports = line.producer.producer().context();
        reports.line.get_or_init(|| Arc::downgrade(&line));
        let thread = {
            let line = Arc::clone(&line);
            std::thread::Builder::new()
                .name("kafka-reports".to_owned())
                .spawn(move || line.hear())
                .expect("the system has room for a thread when a producer starts")
        };
        Ok(Self {
            line,
            thread: Some(thread),
        })
    }

    /// librdkafka's own view.
    pub(super) fn producer(&self) -> &BaseProducer<Reports> {
        self.line.producer.producer()
    }

    /// All records of a request are reported, which went as part of this.
    pub(super) fn reported(&self, group: Group) {
        self.line.reported(group);
    }

    /// Hands over the records of one request, now or with the next group.
    pub(super) fn send(
        &self,
        records: Vec<Record<'_>>,
        beside: Beside<'_>,
        state: &Arc<RequestState>,
    ) {
        let bytes = records.iter().map(|record| record.json.len()).sum();
        let goes = self.line.grouping().goes_at_once(bytes);
        if let Some(group) = goes {
            self.line.send_all(group, &records, beside, state);
            self.line.go_on();
            return;
        }
        let waiting = Waiting {
            records: records.into_iter().map(Record::into_owned).collect(),
            dialect: beside.dialect,
            tenant: beside.tenant.cloned(),
            received: beside.received,
            span: beside.span.cloned(),
            state: Arc::clone(state),
        };
        let now = self.line.now();
        self.line.grouping().hold(now, waiting, bytes);
        self.line.go_on();
    }

    /// Waits until all that was handed over is reported, or the time is up.
    pub(super) fn flush(&self, timeout: Duration) -> KafkaResult<()> {
        let waiting = self.line.grouping().take_all();
        self.line.send_waiting(waiting);
        self.producer().flush(timeout)
    }

    /// Hands over through this producer what still waits for another one, which failed.
    pub(super) fn take_over(&self, failed: &Self) {
        let (_, waiting) = failed.line.grouping().take_all();
        let now = self.line.now();
        for request in waiting {
            let bytes = request.records.iter().map(|record| record.json.len()).sum();
            self.line.grouping().hold(now, request, bytes);
        }
        self.line.go_on();
    }
}

impl Drop for KafkaClient {
    fn drop(&mut self) {
        self.line.stop.store(true, Ordering::Relaxed);
        if let Some(Err(_)) = self.thread.take().map(JoinHandle::join) {
            tracing::error!("the thread that hears Kafka's reports panicked");
        }
    }
}

impl Drop for Line {
    /// What came too late to be taken over.
    fn drop(&mut self) {
        for request in self.grouping().take_all().1 {
            let n = request.records.len();
            let why = || "the Kafka producer was replaced".to_owned();
            request.state.failed(Fate::NotKept, n, why);
            request.state.settle(n);
        }
    }
}

impl Line {
    fn grouping(&self) -> MutexGuard<'_, Grouping<Waiting>> {
        self.grouping.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Duration {
        self.shared.started.elapsed()
    }

    /// Hears reports, and hands over what waited for them, until the end.
    fn hear(&self) {
        while !self.stop.load(Ordering::Relaxed) {
            self.producer.producer().poll(HOLD_MAX);
            self.go_on();
        }
    }

    /// One request of a group is no longer on its way.
    pub(super) fn reported(&self, group: Group) {
        self.grouping().reported(group);
        self.go_on();
    }

    /// Hands over what need not wait any longer.
    fn go_on(&self) {
        loop {
            let due = {
                let mut grouping = self.grouping();
                if !grouping.is_anyone_waiting() {
                    return;
                }
                grouping.take_due(self.now())
            };
            let Some(due) = due else {
                return;
            };
            self.send_waiting(due);
        }
    }

    fn send_waiting(&self, (group, waiting): (Group, Vec<Waiting>)) {
        for request in &waiting {
            let beside = Beside {
                dialect: request.dialect,
                tenant: request.tenant.as_ref(),
                received: request.received,
                span: request.span.as_ref(),
            };
            self.send_all(group, &request.records, beside, &request.state);
        }
    }

    fn send_all(
        &self,
        group: Group,
        records: &[Record<'_>],
        beside: Beside<'_>,
        state: &Arc<RequestState>,
    ) {
        state.goes_as(group);
        let mut is_last = false;
        for (n, record) in records.iter().enumerate() {
            match self.send(record, beside, state) {
                Ok(()) => {}
                Err(code) if self.fate(code, record) == Fate::TooLarge => {
                    state.is_too_large(record.position);
                    is_last = state.settle(1);
                }
                Err(code) => {
                    // None of the rest is sent: it would only be answered the same.
                    let rest = records.len() - n;
                    state.failed(Fate::NotKept, rest, || code.to_string());
                    self.count_failures(code, rest);
                    is_last = state.settle(rest);
                    break;
                }
            }
        }
        if is_last {
            // Nobody will hear of it.
            self.grouping().reported(group);
        }
    }

    fn send(
        &self,
        record: &Record<'_>,
        beside: Beside<'_>,
        state: &Arc<RequestState>,
    ) -> Result<(), RDKafkaErrorCode> {
        let time = record.event_time.millis().to_string();
        let mut headers = OwnedHeaders::new_with_capacity(4)
            .insert(Header {
                key: EVENT_ID,
                value: Some(record.id.as_str()),
            })
            .insert(Header {
                key: EVENT_TIME,
                value: Some(&time),
            })
            .insert(Header {
                key: DIALECT,
                value: Some(beside.dialect),
            });
        if let Some(tenant) = beside.tenant {
            headers = headers.insert(Header {
                key: TENANT,
                value: Some(tenant.as_str()),
            });
        }
        if let Some(span) = beside.span {
            headers = headers.insert(Header {
                key: TRACEPARENT,
                value: Some(&span.traceparent),
            });
            if let Some(state) = &span.tracestate {
                headers = headers.insert(Header {
                    key: TRACESTATE,
                    value: Some(state),
                });
            }
        }
        let received = beside.received.millis();
        self.producer
            .send(&record.json, received, headers, Arc::clone(state))?;
        let bytes = record.json.len() as u64;
        self.shared.metrics.produced_bytes.inc_by(bytes);
        Ok(())
    }

    fn fate(&self, code: RDKafkaErrorCode, record: &Record<'_>) -> Fate {
        fate(code, record.json.len(), self.batch_bytes_max)
    }

    fn count_failures(&self, code: RDKafkaErrorCode, records: usize) {
        let failures = &self.shared.metrics.delivery_failures;
        failures
            .with_label_values(&[cause(code)])
            .inc_by(records as u64);
    }
}
