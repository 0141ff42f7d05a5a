//! How fast librdkafka alone reads a topic: the ceiling of a sink.
//!
//! In the flow: `bench_http` → **`bench_read`** → `bench_sink`. One consumer, polled as es-sink polls it and set up with
//! the same properties, that counts records and, where asked to, reads their headers.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rdkafka::Message as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use serde::Serialize;
use service::kafka::{KafkaProperty, client_config};
use service::record_headers::headers_of;

use crate::process_usage::Usage;

/// As es-sink sets them with its default memory limit; see `es-sink/src/consumer.rs` for the reasons.
const AS_ES_SINK: [(&str, &str); 6] = [
    ("queued.min.messages", "100000"),
    ("queued.max.messages.kbytes", "1088"),
    ("fetch.message.max.bytes", "131072"),
    ("fetch.max.bytes", "1048576"),
    ("fetch.queue.backoff.ms", "2"),
    ("fetch.wait.max.ms", "100"),
];
const POLL: Duration = Duration::from_millis(100);

/// What is asked for.
#[derive(Clone, Debug)]
pub struct BenchReadSettings {
    /// `HOST:PORT` of brokers.
    pub brokers: Vec<String>,
    /// The topic, which holds the events.
    pub topic: String,
    /// How many are read.
    pub n_events: u64,
    /// Whether headers are read, too.
    pub headers: bool,
    /// Beside or instead of es-sink's own.
    pub properties: Vec<KafkaProperty>,
    /// How long it may take.
    pub limit: Duration,
}

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct ReadFigures {
    /// Events read.
    pub events: u64,
    /// Bytes of values, and of headers where they are read.
    pub bytes: u64,
    /// Seconds from the first record to the last.
    pub seconds: f64,
    /// Events per second in that time.
    pub events_per_second: f64,
    /// CPU and memory of this process.
    pub usage: Usage,
    /// CPU seconds per million events.
    pub cpu_seconds_per_million: f64,
}

/// Reads; blocks its thread.
///
/// # Errors
/// If the topic has fewer events, or not within the limit.
pub fn run(settings: &BenchReadSettings) -> anyhow::Result<ReadFigures> {
    let group = format!("loadtest-read-{}", std::process::id());
    let mut needed = vec![
        ("group.id", group.as_str()),
        ("auto.offset.reset", "earliest"),
        ("enable.auto.commit", "false"),
    ];
    needed.extend(AS_ES_SINK);
    let consumer: BaseConsumer =
        client_config(&settings.brokers, &needed, &settings.properties, &[])
            .create()
            .context("the consumer cannot be set up")?;
    consumer.subscribe(&[&settings.topic])?;
    let began = Instant::now();
    let mut first = None;
    let (mut events, mut bytes) = (0, 0);
    while events < settings.n_events {
        match consumer.poll(POLL) {
            Some(Ok(record)) => {
                first.get_or_insert_with(Instant::now);
                events += 1;
                bytes += record.payload().map_or(0, <[u8]>::len) as u64;
                if settings.headers {
                    let headers = headers_of(&record);
                    let lengths = headers
                        .iter()
                        .map(|(_, value)| value.map_or(0, <[u8]>::len));
                    bytes += lengths.sum::<usize>() as u64;
                }
            }
            Some(Err(error)) => bail!("reading `{}`: {error}", settings.topic),
            None if began.elapsed() > settings.limit => {
                bail!("`{}` gave {events} events in time", settings.topic)
            }
            None => {}
        }
    }
    let seconds = first.map_or(0.0, |first| first.elapsed().as_secs_f64());
    let usage = Usage::of(std::process::id())?;
    Ok(ReadFigures {
        events,
        bytes,
        seconds,
        events_per_second: (events as f64 / seconds.max(1e-6)).round(),
        cpu_seconds_per_million: usage.cpu_seconds * 1e6 / events.max(1) as f64,
        usage,
    })
}

impl fmt::Display for ReadFigures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} events in {:.3} s ({:.0} events/s), {:.2} CPU seconds per million, {:.1} MiB",
            self.events,
            self.seconds,
            self.events_per_second,
            self.cpu_seconds_per_million,
            self.usage.peak_memory_mib
        )
    }
}
