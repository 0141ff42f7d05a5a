//! How long Kafka takes to acknowledge one record, with nothing else on its way: what a lone request waits for.
//!
//! In the flow: `bench_http` → **`bench_acks`** → `bench_sink`. The ceiling of a gateway's latency.

use std::fmt;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rdkafka::ClientContext;
use rdkafka::producer::{
    BaseRecord, DeliveryResult, Producer as _, ProducerContext, ThreadedProducer,
};
use serde::Serialize;
use service::kafka::client_config;

use crate::histogram::Histogram;
use crate::report::Latency;

const TIMEOUT: Duration = Duration::from_secs(30);
/// The first ones wait for connections and for the producer's id.
const WARM_UP: u64 = 50;

/// What is asked for.
#[derive(Clone, Debug)]
pub struct BenchAcksSettings {
    /// `HOST:PORT` of brokers.
    pub brokers: Vec<String>,
    /// Where to.
    pub topic: String,
    /// How many records, one after the other.
    pub n_records: u64,
    /// The size of each.
    pub bytes: usize,
}

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct AcksFigures {
    /// From the call to the report, in milliseconds.
    pub latency_ms: Latency,
}

struct Acknowledged(Sender<bool>);

impl ClientContext for Acknowledged {}

impl ProducerContext for Acknowledged {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        // The other end waits, or the run is over.
        self.0.send(result.is_ok()).ok();
    }
}

/// Sends one record after the other; blocks its thread.
///
/// # Errors
/// If a record is not acknowledged.
pub fn run(settings: &BenchAcksSettings) -> anyhow::Result<AcksFigures> {
    let (reports, heard) = channel();
    let producer: ThreadedProducer<Acknowledged> = client_config(
        &settings.brokers,
        &[("linger.ms", "0"), ("compression.type", "lz4")],
        &[],
        &[("enable.idempotence", "true"), ("acks", "all")],
    )
    .create_with_context(Acknowledged(reports))
    .context("the producer cannot be set up")?;
    let payload = vec![b'x'; settings.bytes];
    let mut latency = Histogram::default();
    for n in 0..settings.n_records + WARM_UP {
        let sent = Instant::now();
        let record = BaseRecord::<(), [u8], ()>::to(&settings.topic).payload(&payload);
        producer.send(record).map_err(|(error, _)| error)?;
        let acknowledged = heard.recv_timeout(TIMEOUT).context("no report came")?;
        anyhow::ensure!(acknowledged, "a record was not acknowledged");
        if n >= WARM_UP {
            latency.record(sent.elapsed());
        }
    }
    producer.flush(TIMEOUT)?;
    Ok(AcksFigures {
        latency_ms: Latency::of(&latency),
    })
}

impl fmt::Display for AcksFigures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Latency { p50, p99, max, .. } = self.latency_ms;
        write!(
            f,
            "acknowledged in {p50:.3} ms at p50, {p99:.3} at p99, {max:.1} at most"
        )
    }
}
