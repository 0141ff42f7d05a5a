//! The command lines of the benchmarks.
//!
//! In the flow: `arguments` → **`arguments::bench`** → the library's settings.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use log_event::document::IndexPattern;
use service::kafka::KafkaProperty;
use service::units::{ByteSize, Span};

use loadtest::bench_acks::BenchAcksSettings;
use loadtest::bench_bulk::{BenchBulkSettings, Write};
use loadtest::bench_gateway::BenchGatewaySettings;
use loadtest::bench_http::{self, HttpLoop};
use loadtest::bench_read::BenchReadSettings;
use loadtest::bench_sink::{BenchSinkSettings, FillSettings};
use loadtest::http_client::Target;
use loadtest::workload::Workload;

use super::{Behaviour, Events, INTAKE};

#[derive(Debug, Subcommand)]
pub(crate) enum Bench {
    /// Requests per second of a gateway, at several numbers of connections
    Gateway(BenchGateway),
    /// Requests per second and latency of any HTTP server
    Http(BenchHttp),
    /// Events per second, CPU and memory of a sink on the null Elasticsearch
    Sink(BenchSink),
    /// Events per second of librdkafka alone, the ceiling of a sink
    Read(BenchRead),
    /// How long Kafka takes to acknowledge a lone record
    Acks(BenchAcks),
    /// Fill a topic as the gateway would
    Fill(BenchFill),
    /// Documents per second of Elasticsearch with bulk bodies that are ready, its own ceiling
    Bulk(BenchBulk),
}

/// The cluster that most of them need.
#[derive(Debug, Args)]
struct Kafka {
    /// The brokers, HOST:PORT,…
    #[arg(
        long,
        value_name = "BROKERS",
        value_delimiter = ',',
        default_value = "127.0.0.1:9092"
    )]
    kafka_brokers: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct BenchGateway {
    #[command(flatten)]
    events: Events,
    /// The gateway, http://HOST:PORT
    #[arg(long, value_name = "URL")]
    target: String,
    /// Numbers of connections to try
    #[arg(long, value_delimiter = ',', default_value = "1,10,64,256")]
    connections: Vec<usize>,
    /// Events per request to try
    #[arg(long, value_delimiter = ',', default_value = "1,1000")]
    batch: Vec<u64>,
    /// Requests per second, due whether or not earlier ones are answered [default: as many as are answered]
    #[arg(long, value_name = "N")]
    rate: Option<f64>,
    /// Compress bodies
    #[arg(long)]
    gzip: bool,
    /// Another header for every request, `Name: value`
    #[arg(long = "header", value_name = "HEADER")]
    headers: Vec<String>,
    /// How long each is tried
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// The gateway's process, to tell its CPU and memory
    #[arg(long)]
    pid: Option<u32>,
    /// Print the figures as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

impl BenchGateway {
    pub(crate) fn settings(&self) -> anyhow::Result<BenchGatewaySettings> {
        Ok(BenchGatewaySettings {
            target: Target::parse(&self.target, INTAKE)?,
            workload: Workload::new(self.events.settings()?),
            connections: self.connections.clone(),
            batches: self.batch.clone(),
            rate: self.rate,
            gzip: self.gzip,
            headers: self.headers.clone(),
            duration: Duration::from_secs(self.seconds),
            pid: self.pid,
        })
    }
}

#[derive(Debug, Args)]
pub(crate) struct BenchSink {
    #[command(flatten)]
    events: Events,
    /// The sink's binary
    #[arg(long, value_name = "FILE")]
    sink: PathBuf,
    #[command(flatten)]
    kafka: Kafka,
    /// A topic that holds the events already [default: one of its own is created and filled]
    #[arg(long)]
    topic: Option<String>,
    /// The partitions of a topic of its own
    #[arg(long, value_name = "N", default_value_t = 6)]
    partitions: i32,
    /// How many events are read
    #[arg(long = "events", value_name = "N", default_value_t = 1_000_000)]
    n_events: u64,
    /// How long the sink may take
    #[arg(long, default_value = "2m")]
    limit: Span,
    #[command(flatten)]
    behaviour: Behaviour,
    /// Print the figures as JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// More arguments for the sink
    #[arg(last = true)]
    sink_arguments: Vec<String>,
}

impl BenchSink {
    pub(crate) fn settings(&self) -> anyhow::Result<BenchSinkSettings> {
        let events = self.events.settings()?;
        let own_topic = format!("loadtest-bench-{}", events.run);
        Ok(BenchSinkSettings {
            sink: self.sink.clone(),
            sink_arguments: self.sink_arguments.clone(),
            brokers: self.kafka.kafka_brokers.clone(),
            fill: self.topic.is_none(),
            topic: self.topic.clone().unwrap_or(own_topic),
            partitions: self.partitions,
            workload: Workload::new(events),
            n_events: self.n_events,
            null: self.behaviour.settings(),
            limit: self.limit.0,
        })
    }
}

#[derive(Debug, Args)]
pub(crate) struct BenchHttp {
    /// Where to, http://HOST:PORT/PATH
    #[arg(long, value_name = "URL")]
    target: String,
    /// A file with the body of a POST in each line [default: one GET]
    #[arg(long, value_name = "FILE")]
    bodies: Option<PathBuf>,
    /// Connections, each with one request at a time
    #[arg(long, default_value_t = 1)]
    connections: usize,
    /// Requests per second, due whether or not earlier ones are answered [default: as many as are answered]
    #[arg(long, value_name = "N")]
    rate: Option<f64>,
    /// For how long
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// The server's process, to tell its CPU and memory
    #[arg(long)]
    pid: Option<u32>,
    /// Print the figures as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

impl BenchHttp {
    pub(crate) fn settings(&self) -> anyhow::Result<HttpLoop> {
        let target = Target::parse(&self.target, "/")?;
        let bodies = self.bodies.as_ref().map(|file| {
            std::fs::read_to_string(file).with_context(|| format!("reading `{}`", file.display()))
        });
        Ok(HttpLoop {
            requests: Arc::new(bench_http::requests(
                &target,
                bodies.transpose()?.as_deref(),
            )?),
            address: target.address,
            connections: self.connections,
            rate: self.rate,
            duration: Duration::from_secs(self.seconds),
            pid: self.pid,
        })
    }
}

#[derive(Debug, Args)]
pub(crate) struct BenchRead {
    #[command(flatten)]
    kafka: Kafka,
    /// The topic, which holds the events
    #[arg(long)]
    topic: String,
    /// How many events are read
    #[arg(long = "events", value_name = "N", default_value_t = 1_000_000)]
    n_events: u64,
    /// Read their headers, too
    #[arg(long)]
    headers: bool,
    /// A property for librdkafka, beside or instead of es-sink's own
    #[arg(long, value_name = "KEY=VALUE")]
    kafka_property: Vec<KafkaProperty>,
    /// How long it may take
    #[arg(long, default_value = "2m")]
    limit: Span,
    /// Print the figures as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

impl BenchRead {
    pub(crate) fn settings(&self) -> BenchReadSettings {
        BenchReadSettings {
            brokers: self.kafka.kafka_brokers.clone(),
            topic: self.topic.clone(),
            n_events: self.n_events,
            headers: self.headers,
            properties: self.kafka_property.clone(),
            limit: self.limit.0,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct BenchBulk {
    #[command(flatten)]
    events: Events,
    /// Elasticsearch, http://HOST:PORT
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9200")]
    elasticsearch_url: String,
    /// Names of the daily indices
    #[arg(long, value_name = "PATTERN", default_value = "logflow-bench-{date}")]
    index_pattern: IndexPattern,
    /// How many documents are sent
    #[arg(long = "events", value_name = "N", default_value_t = 100_000)]
    n_events: u64,
    /// The size of a body
    #[arg(long, value_name = "SIZE", default_value = "1MiB")]
    bulk_bytes: ByteSize,
    /// Bodies on their way at once
    #[arg(long, value_name = "N", default_value_t = 3)]
    concurrency: usize,
    /// How documents are written
    #[arg(long, value_enum, default_value = "index")]
    write: Write,
    /// Compress bodies
    #[arg(long)]
    gzip: bool,
    /// Print the figures as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

impl BenchBulk {
    pub(crate) fn settings(&self) -> anyhow::Result<BenchBulkSettings> {
        Ok(BenchBulkSettings {
            target: Target::bulk(&self.elasticsearch_url)?,
            index: self.index_pattern.clone(),
            workload: Workload::new(self.events.settings()?),
            n_events: self.n_events,
            bulk_bytes: self.bulk_bytes.bytes(),
            concurrency: self.concurrency,
            write: self.write,
            gzip: self.gzip,
        })
    }
}

#[derive(Debug, Args)]
pub(crate) struct BenchAcks {
    #[command(flatten)]
    kafka: Kafka,
    /// The topic to write to
    #[arg(long)]
    topic: String,
    /// How many, one after the other
    #[arg(long = "records", value_name = "N", default_value_t = 2_000)]
    n_records: u64,
    /// The size of each
    #[arg(long, value_name = "BYTES", default_value_t = 250)]
    bytes: usize,
    /// Print the figures as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

impl BenchAcks {
    pub(crate) fn settings(&self) -> BenchAcksSettings {
        BenchAcksSettings {
            brokers: self.kafka.kafka_brokers.clone(),
            topic: self.topic.clone(),
            n_records: self.n_records,
            bytes: self.bytes,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct BenchFill {
    #[command(flatten)]
    events: Events,
    #[command(flatten)]
    kafka: Kafka,
    /// The topic, which is made where there is none
    #[arg(long)]
    topic: String,
    /// Its partitions
    #[arg(long, value_name = "N", default_value_t = 6)]
    partitions: i32,
    /// How many events
    #[arg(long = "events", value_name = "N", default_value_t = 1_000_000)]
    pub(crate) n_events: u64,
    /// Print the summary as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

impl BenchFill {
    pub(crate) fn settings(&self) -> anyhow::Result<FillSettings> {
        Ok(FillSettings {
            brokers: self.kafka.kafka_brokers.clone(),
            topic: self.topic.clone(),
            partitions: self.partitions,
            workload: Workload::new(self.events.settings()?),
            n_events: self.n_events,
        })
    }
}
