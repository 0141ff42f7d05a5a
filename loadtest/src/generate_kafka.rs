//! Writes a workload straight to Kafka, as another producer would.
//!
//! In the flow: `pace` → **`generate_kafka`** → `ledger`. This is the only way
//! for events that the gateway refuses to reach the sink. With headers it
//! writes what the gateway writes, to fill a topic for a benchmark.

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use log_event::event_id::EventIdMinter;
use log_event::record::{DIALECT, EVENT_ID, EVENT_TIME};
use rdkafka::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext};
use service::kafka::{KafkaProperty, client_config};

use crate::generate_http::{Watch, create_ledger, poisoned};
use crate::ledger::{LedgerError, LedgerWriter, State};
use crate::marker::record_key;
use crate::pace::{Pace, Pacer};
use crate::report::{Report, Tally};
use crate::workload::{PoisonKind, Workload};

/// Records between two looks at delivery reports and the clock.
const RECORDS_PER_POLL: u64 = 500;

/// What is asked for.
#[derive(Clone, Debug)]
pub struct KafkaSettings {
    /// `HOST:PORT` of brokers.
    pub brokers: Vec<String>,
    /// Where to.
    pub topic: String,
    /// The events.
    pub workload: Workload,
    /// How many and how fast.
    pub pace: Pace,
    /// Whether records carry the gateway's headers.
    pub headers: bool,
    /// Passed on to librdkafka.
    pub properties: Vec<KafkaProperty>,
    /// How long a record is tried before it is uncertain.
    pub give_up: Duration,
}

struct Deliveries {
    workload: Workload,
    watch: Watch,
    ledger: Mutex<LedgerWriter<BufWriter<File>>>,
    /// The first failure of the ledger, told at the end.
    failed: Mutex<Option<LedgerError>>,
}

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, n: usize) {
        let n = n as u64;
        let state = match result {
            Ok(_) if self.workload.poison(n).is_some() => State::Poison,
            Ok(_) => State::Acknowledged,
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::MessageSizeTooLarge), _)) => {
                State::Refused
            }
            Err(_) => State::Uncertain,
        };
        self.note(state, n);
    }
}

impl Deliveries {
    fn note(&self, state: State, n: u64) {
        let Ok(mut ledger) = self.ledger.lock() else {
            return;
        };
        if let Err(error) = ledger.record(state, n, n)
            && let Ok(mut failed) = self.failed.lock()
        {
            failed.get_or_insert(error);
        }
    }
}

/// Writes the workload and the ledger; blocks its thread. Memory is bounded by
/// librdkafka's queue.
///
/// # Errors
/// If a setting is none of librdkafka's or the ledger cannot be written. Records
/// that Kafka does not take are no error: they are uncertain.
pub fn run(settings: &KafkaSettings, ledger: &Path, watch: Watch) -> anyhow::Result<Report> {
    let deliveries = Deliveries {
        workload: settings.workload.clone(),
        ledger: Mutex::new(create_ledger(&settings.workload, ledger)?),
        failed: Mutex::new(None),
        watch,
    };
    let timeout = settings.give_up.as_millis().to_string();
    let producer: BaseProducer<Deliveries> = client_config(
        &settings.brokers,
        &[
            ("client.id", "loadtest"),
            ("compression.type", "lz4"),
            ("linger.ms", "5"),
            ("batch.size", "1000000"),
            ("queue.buffering.max.messages", "200000"),
            ("queue.buffering.max.kbytes", "131072"),
            ("message.timeout.ms", &timeout),
        ],
        &settings.properties,
        &[("enable.idempotence", "true"), ("acks", "all")],
    )
    .create_with_context(deliveries)
    .context("the producer cannot be set up")?;
    let started = Instant::now();
    let body_bytes = produce(settings, &producer, started)?;
    producer
        .flush(settings.give_up + Duration::from_secs(5))
        .context("not every record was settled")?;
    let took = started.elapsed();
    let deliveries = Arc::clone(producer.context());
    drop(producer);
    finish(settings, deliveries, took, body_bytes)
}

fn finish(
    settings: &KafkaSettings,
    deliveries: Arc<Deliveries>,
    took: Duration,
    body_bytes: u64,
) -> anyhow::Result<Report> {
    let deliveries = Arc::into_inner(deliveries).context("the producer is still running")?;
    if let Some(error) = deliveries.failed.into_inner().map_err(|_| poisoned())? {
        return Err(error.into());
    }
    let ledger = deliveries.ledger.into_inner().map_err(|_| poisoned())?;
    let tally = Tally {
        body_bytes,
        ..Tally::default()
    };
    let counts = ledger.finish()?;
    let run = settings.workload.run().as_str();
    Ok(Report::new(run, took, counts, &tally))
}

/// Hands every record to the producer; gives the bytes of their values.
fn produce(
    settings: &KafkaSettings,
    producer: &BaseProducer<Deliveries>,
    started: Instant,
) -> anyhow::Result<u64> {
    let workload = &settings.workload;
    let watch = producer.context().watch.clone();
    let mut process = [0; 8];
    for (to, from) in process.iter_mut().zip(workload.run().as_str().bytes()) {
        *to = from;
    }
    let minter = EventIdMinter::new(process);
    let mut pacer = Pacer::new(settings.pace);
    let mut value = Vec::new();
    let mut body_bytes = 0;
    let per_claim = match settings.pace.rate {
        Some(rate) => ((rate / 100.0) as u64).clamp(1, RECORDS_PER_POLL),
        None => RECORDS_PER_POLL,
    };
    while let Some(claim) = pacer.claim(per_claim, started.elapsed()) {
        if watch.stop.load(Ordering::Relaxed) {
            break;
        }
        while let Some(left) = claim.due.checked_sub(started.elapsed()) {
            producer.poll(left.max(Duration::from_millis(1)));
        }
        for n in claim.first..claim.first + claim.n {
            value.clear();
            workload.write_record_value(n, &mut value);
            body_bytes += value.len() as u64;
            let headers = settings
                .headers
                .then(|| gateway_headers(workload, &minter, n));
            send(settings, producer, n, &value, headers)?;
        }
        producer.poll(Duration::ZERO);
        watch.progress.inc(claim.n);
    }
    Ok(body_bytes)
}

fn gateway_headers(workload: &Workload, minter: &EventIdMinter, n: u64) -> OwnedHeaders {
    let time = workload.event_time(n);
    let id = minter.mint(time);
    let millis = time.millis().to_string();
    OwnedHeaders::new_with_capacity(3)
        .insert(Header {
            key: EVENT_ID,
            value: Some(id.as_str()),
        })
        .insert(Header {
            key: EVENT_TIME,
            value: Some(&millis),
        })
        .insert(Header {
            key: DIALECT,
            value: Some("json"),
        })
}

fn send(
    settings: &KafkaSettings,
    producer: &BaseProducer<Deliveries>,
    n: u64,
    value: &[u8],
    headers: Option<OwnedHeaders>,
) -> anyhow::Result<()> {
    let workload = &settings.workload;
    // A value without the marker is known by its key.
    let key = match workload.poison(n) {
        Some(PoisonKind::NotAnObject | PoisonKind::InvalidJson | PoisonKind::Empty) => {
            Some(record_key(workload.run(), n))
        }
        _ => None,
    };
    let opaque = usize::try_from(n).context("the number of an event")?;
    let mut record =
        BaseRecord::<str, [u8], usize>::with_opaque_to(&settings.topic, opaque).payload(value);
    if let Some(key) = &key {
        record = record.key(key);
    }
    if let Some(headers) = headers {
        record = record.headers(headers);
    }
    loop {
        match producer.send(record) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), again)) => {
                producer.poll(Duration::from_millis(100));
                record = again;
            }
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::MessageSizeTooLarge), _)) => {
                producer.context().note(State::Refused, n);
                return Ok(());
            }
            Err((error, _)) => {
                let topic = &settings.topic;
                return Err(error).with_context(|| format!("topic `{topic}` takes no records"));
            }
        }
    }
}
