//! How fast a sink reads a topic and sends it on, and what that costs.
//!
//! In the flow: `bench_gateway` → **`bench_sink`**. Fills a topic, starts the
//! sink's binary with a group of its own on the null Elasticsearch, and measures
//! from the first bulk to the last item.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::RDKafkaErrorCode;
use serde::Serialize;
use service::kafka::client_config;

use crate::generate_http::Watch;
use crate::generate_kafka::{self, KafkaSettings};
use crate::null_elasticsearch::{Counts, NullElasticsearch, NullSettings};
use crate::pace::Pace;
use crate::process_usage::Usage;
use crate::report::Report;
use crate::workload::Workload;

const LOOK_EVERY: Duration = Duration::from_millis(5);
const KAFKA_TIMEOUT: Duration = Duration::from_secs(30);

/// What is asked for.
#[derive(Clone, Debug)]
pub struct BenchSinkSettings {
    /// The sink's binary.
    pub sink: PathBuf,
    /// More arguments for it.
    pub sink_arguments: Vec<String>,
    /// `HOST:PORT` of brokers.
    pub brokers: Vec<String>,
    /// The topic to read.
    pub topic: String,
    /// Whether the topic is filled first; else it must hold `n_events`.
    pub fill: bool,
    /// The partitions of a topic that is created.
    pub partitions: i32,
    /// The events.
    pub workload: Workload,
    /// How many are read.
    pub n_events: u64,
    /// The null Elasticsearch.
    pub null: NullSettings,
    /// How long the sink may take.
    pub limit: Duration,
}

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct SinkFigures {
    /// Events read.
    pub events: u64,
    /// Seconds from the first bulk to the last item.
    pub seconds: f64,
    /// Seconds from the start of the process to the last item.
    pub seconds_from_start: f64,
    /// Events per second, from the first bulk to the last item.
    pub events_per_second: f64,
    /// CPU and memory of the sink.
    pub usage: Usage,
    /// CPU seconds per million events.
    pub cpu_seconds_per_million: f64,
    /// CPU seconds per million events of this process, which is the null Elasticsearch.
    pub null_cpu_seconds_per_million: f64,
    /// What the null Elasticsearch counted.
    pub counts: Counts,
}

/// Measures once.
///
/// # Errors
/// If the topic cannot be filled, or the sink ends, sends wrong frames or is not done in time.
pub async fn run(settings: &BenchSinkSettings, watch: &Watch) -> anyhow::Result<SinkFigures> {
    if settings.fill {
        let filling = FillSettings {
            brokers: settings.brokers.clone(),
            topic: settings.topic.clone(),
            partitions: settings.partitions,
            workload: settings.workload.clone(),
            n_events: settings.n_events,
        };
        fill(&filling, watch).await?;
    }
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let null = NullElasticsearch::start(any, settings.null.clone()).await?;
    let started = Instant::now();
    let own = Usage::of(std::process::id())?;
    let sink = start_sink(settings, null.address())?;
    let mut figures = measure(settings, watch, &null, sink, started).await?;
    let own = Usage::of(std::process::id())?.cpu_seconds - own.cpu_seconds;
    figures.null_cpu_seconds_per_million = rounded(own * 1e6 / figures.events.max(1) as f64);
    Ok(figures)
}

/// What a topic is filled with.
#[derive(Clone, Debug)]
pub struct FillSettings {
    /// `HOST:PORT` of brokers.
    pub brokers: Vec<String>,
    /// The topic, which is made where there is none.
    pub topic: String,
    /// Its partitions.
    pub partitions: i32,
    /// The events.
    pub workload: Workload,
    /// How many.
    pub n_events: u64,
}

/// Makes a topic and fills it as the gateway would.
///
/// # Errors
/// If Kafka does not take all of it.
pub async fn fill(settings: &FillSettings, watch: &Watch) -> anyhow::Result<Report> {
    let admin: AdminClient<DefaultClientContext> =
        client_config(&settings.brokers, &[], &[], &[]).create()?;
    let topic = NewTopic::new(
        &settings.topic,
        settings.partitions,
        TopicReplication::Fixed(1),
    );
    let options = AdminOptions::new().request_timeout(Some(KAFKA_TIMEOUT));
    for created in admin.create_topics(&[topic], &options).await? {
        if let Err((name, code)) = created
            && code != RDKafkaErrorCode::TopicAlreadyExists
        {
            bail!("topic `{name}` cannot be created: {code}");
        }
    }
    let kafka = KafkaSettings {
        brokers: settings.brokers.clone(),
        topic: settings.topic.clone(),
        workload: settings.workload.clone(),
        pace: Pace {
            events: Some(settings.n_events),
            ..Pace::default()
        },
        headers: true,
        properties: Vec::new(),
        give_up: KAFKA_TIMEOUT,
    };
    let watch = watch.clone();
    let filling = tokio::task::spawn_blocking(move || {
        generate_kafka::run(&kafka, Path::new("/dev/null"), watch)
    });
    let report = filling.await.context("filling the topic ended early")??;
    if report.events.acknowledged < settings.n_events {
        bail!("Kafka took only {} events", report.events.acknowledged);
    }
    Ok(report)
}

/// A process that does not outlive its owner.
struct Owned(Child);

impl Drop for Owned {
    fn drop(&mut self) {
        // Nothing is left to do where it has ended by itself.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn start_sink(settings: &BenchSinkSettings, elasticsearch: SocketAddr) -> anyhow::Result<Owned> {
    let group = format!("loadtest-bench-{}", settings.workload.run());
    let child = Command::new(&settings.sink)
        .args(["--listen", "127.0.0.1:0"])
        .args(["--kafka-brokers", &settings.brokers.join(",")])
        .args(["--topic", &settings.topic])
        .args(["--group-id", &group])
        .args(["--elasticsearch-url", &format!("http://{elasticsearch}")])
        .args([
            "--dead-letter-topic",
            &format!("{}.dead-letter", settings.topic),
        ])
        .args(&settings.sink_arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .with_context(|| format!("`{}` cannot be started", settings.sink.display()))?;
    Ok(Owned(child))
}

async fn measure(
    settings: &BenchSinkSettings,
    watch: &Watch,
    null: &NullElasticsearch,
    mut sink: Owned,
    started: Instant,
) -> anyhow::Result<SinkFigures> {
    watch.progress.set_length(settings.n_events);
    let counts = loop {
        let counts = null.counts();
        watch.progress.set_position(counts.items);
        if counts.items >= settings.n_events {
            break counts;
        }
        if let Some(fault) = &counts.first_frame_error {
            bail!("the sink sent a bulk with a wrong frame: {fault}");
        }
        if let Some(status) = sink.0.try_wait()? {
            bail!("the sink ended with {status} after {} events", counts.items);
        }
        if started.elapsed() > settings.limit {
            let limit = settings.limit;
            bail!("the sink has sent {} events within {limit:?}", counts.items);
        }
        if watch.stop.load(std::sync::atomic::Ordering::Relaxed) {
            bail!("stopped after {} events", counts.items);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    };
    let seconds_from_start = started.elapsed().as_secs_f64();
    let usage = Usage::of(sink.0.id())?;
    Ok(SinkFigures {
        events: counts.items,
        seconds: rounded(counts.seconds),
        seconds_from_start: rounded(seconds_from_start),
        events_per_second: (counts.items as f64 / counts.seconds.max(1e-6)).round(),
        cpu_seconds_per_million: rounded(usage.cpu_seconds * 1e6 / counts.items.max(1) as f64),
        usage,
        null_cpu_seconds_per_million: 0.0,
        counts,
    })
}

fn rounded(seconds: f64) -> f64 {
    (seconds * 1e3).round() / 1e3
}

impl fmt::Display for SinkFigures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let per_bulk = self.counts.items / self.counts.bulks.max(1);
        writeln!(f, "events        {}, {} a bulk", self.events, per_bulk)?;
        writeln!(
            f,
            "took          {:.3} s from the first bulk ({:.0} events/s), {:.3} s from the start of the process",
            self.seconds, self.events_per_second, self.seconds_from_start
        )?;
        writeln!(
            f,
            "CPU           {:.2} s, {:.2} s per million events",
            self.usage.cpu_seconds, self.cpu_seconds_per_million
        )?;
        write!(f, "peak memory   {:.1} MiB", self.usage.peak_memory_mib)
    }
}
