//! The command line.
//!
//! In the flow: `main` → **`arguments`** → the library's settings.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use clap::{Args, Parser, Subcommand};
use log_event::timestamp::Timestamp;
use service::elasticsearch::NodeUrl;
use service::kafka::KafkaProperty;
use service::units::Span;

use loadtest::dead_letter_reader::DeadLetters;
use loadtest::generate_http::{Gzip, HttpSettings, Mode};
use loadtest::generate_kafka::KafkaSettings;
use loadtest::http_client::Target;
use loadtest::marker::RunId;
use loadtest::null_elasticsearch::NullSettings;
use loadtest::pace::Pace;
use loadtest::postgres_reader::PostgresReader;
use loadtest::verification::VerificationSettings;
use loadtest::workload::{PoisonKind, Workload, WorkloadSettings};

mod bench;
mod fault_proxy;

pub(crate) use bench::Bench;
pub(crate) use fault_proxy::FaultProxy;

/// The path of the intake on a gateway.
const INTAKE: &str = "/logs";

/// Loads logflow and proves that each event is there exactly once.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Send log events through a gateway or straight to Kafka, and note what became of each
    Generate(Generate),
    /// Read the events of a run back and tell what is missing, duplicated or unexpected; exit 1 if anything is
    Verify(Verify),
    /// Serve an Elasticsearch that checks and counts bulks and keeps nothing
    NullElasticsearch(Null),
    /// Stand between two parts and delay, throttle, drop, reset, freeze or refuse what passes, as told over HTTP
    FaultProxy(FaultProxy),
    /// Measure a service, or the ceiling of one
    Bench {
        #[command(subcommand)]
        bench: Bench,
    },
}

/// What the events look like.
#[derive(Debug, Args)]
pub(crate) struct Events {
    /// Decides the events: the same seed, run and start give the same bytes
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The run's name, in every event [default: made from the time]
    #[arg(long)]
    run: Option<RunId>,
    /// The first event's timestamp, RFC 3339 [default: an hour ago]
    #[arg(long, value_parser = Timestamp::parse)]
    start: Option<Timestamp>,
    /// The average size of an event
    #[arg(long, value_name = "BYTES", default_value_t = 250)]
    event_bytes: usize,
    /// Spread the events over as many days
    #[arg(long, default_value_t = 1)]
    days: u32,
}

impl Events {
    fn settings(&self) -> anyhow::Result<WorkloadSettings> {
        const HOUR_MILLIS: i64 = 3_600_000;
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let now_ms = i64::try_from(now.as_millis())?;
        let run = match &self.run {
            Some(run) => run.clone(),
            None => RunId::of_number(u64::try_from(now.as_millis())?),
        };
        let an_hour_ago = Timestamp::from_millis(now_ms - HOUR_MILLIS);
        let start = self.start.or(an_hour_ago).context("the clock is wrong")?;
        let mut settings = WorkloadSettings::new(self.seed, run, start);
        settings.event_bytes = self.event_bytes;
        settings.days = self.days.max(1);
        Ok(settings)
    }
}

#[derive(Debug, Args)]
pub(crate) struct Generate {
    #[command(flatten)]
    events: Events,
    /// A gateway, http://HOST:PORT; given several times, a request goes to the next one when one fails
    #[arg(
        long,
        value_name = "URL",
        required_unless_present = "kafka",
        conflicts_with = "kafka"
    )]
    target: Vec<String>,
    /// Where to note what became of each event
    #[arg(long, value_name = "FILE", default_value = "loadtest.ledger")]
    pub(crate) ledger: PathBuf,
    /// Print the summary as JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// How many events [default: 100000, or no limit with --duration]
    #[arg(long = "events", value_name = "N")]
    n_events: Option<u64>,
    /// For how long, such as 30s
    #[arg(long)]
    duration: Option<Span>,
    /// Events per second [default: as fast as possible]
    #[arg(long, value_name = "N")]
    rate: Option<f64>,
    /// How requests are written
    #[arg(long, value_enum, default_value = "mixed")]
    mode: Mode,
    /// Which requests are compressed
    #[arg(long, value_enum, default_value = "never")]
    gzip: Gzip,
    /// Events per request, except single ones
    #[arg(long, value_name = "N", default_value_t = 100)]
    batch: u64,
    /// Connections, each with one request at a time
    #[arg(long, value_name = "N", default_value_t = 16)]
    connections: usize,
    /// Give every event an eventId
    #[arg(long)]
    event_ids: bool,
    /// Give every request an Idempotency-Key
    #[arg(long)]
    idempotency_keys: bool,
    /// Another header for every request, `Name: value`
    #[arg(long = "header", value_name = "HEADER")]
    extra_headers: Vec<String>,
    /// How long a reply may take
    #[arg(long, default_value = "30s")]
    timeout: Span,
    /// How long a request or record is tried again
    #[arg(long, default_value = "5m")]
    give_up: Span,
    /// Write straight to Kafka, HOST:PORT,…
    #[arg(long, value_name = "BROKERS", value_delimiter = ',')]
    kafka: Vec<String>,
    /// The topic to write to
    #[arg(long, default_value = "logs")]
    topic: String,
    /// Write the gateway's headers with every record
    #[arg(long, conflicts_with = "target")]
    headers: bool,
    /// A property for librdkafka
    #[arg(long, value_name = "KEY=VALUE")]
    kafka_property: Vec<KafkaProperty>,
    /// How many events in a million Elasticsearch is to refuse
    #[arg(long, value_name = "N", default_value_t = 0, conflicts_with = "target")]
    poison_per_million: u32,
    /// In which way [default: all of metadata-number, metadata-string, timestamp-no-date, not-an-object, invalid-json, empty]
    #[arg(
        long,
        value_name = "KIND",
        value_delimiter = ',',
        conflicts_with = "target"
    )]
    poison: Vec<PoisonKind>,
}

/// Where `generate` sends to.
pub(crate) enum Generator {
    Http(Box<HttpSettings>),
    Kafka(Box<KafkaSettings>),
}

impl Generate {
    pub(crate) fn pace(&self) -> Pace {
        Pace {
            events: self.n_events.or(self.duration.is_none().then_some(100_000)),
            duration: self.duration.map(|span| span.0),
            rate: self.rate,
        }
    }

    pub(crate) fn generator(&self) -> anyhow::Result<Generator> {
        let mut events = self.events.settings()?;
        events.event_ids = self.event_ids;
        events.poison_per_million = self.poison_per_million;
        if !self.poison.is_empty() {
            events.poison_kinds.clone_from(&self.poison);
        }
        let workload = Workload::new(events);
        if self.target.is_empty() {
            return Ok(Generator::Kafka(Box::new(KafkaSettings {
                brokers: self.kafka.clone(),
                topic: self.topic.clone(),
                workload,
                pace: self.pace(),
                headers: self.headers,
                properties: self.kafka_property.clone(),
                give_up: self.give_up.0,
            })));
        }
        if let Some(header) = self
            .extra_headers
            .iter()
            .find(|header| !header.contains(": "))
        {
            bail!("a header is written `Name: value`, this is `{header}`");
        }
        Ok(Generator::Http(Box::new(HttpSettings {
            targets: self
                .target
                .iter()
                .map(|target| Target::parse(target, INTAKE))
                .collect::<anyhow::Result<_>>()?,
            workload,
            pace: self.pace(),
            mode: self.mode,
            gzip: self.gzip,
            batch: self.batch,
            connections: self.connections,
            idempotency_keys: self.idempotency_keys,
            event_ids: self.event_ids,
            headers: self.extra_headers.clone(),
            timeout: self.timeout.0,
            give_up: self.give_up.0,
        })))
    }
}

#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// The ledger of the run
    #[arg(long, value_name = "FILE", default_value = "loadtest.ledger")]
    ledger: PathBuf,
    /// A node of the cluster; may be given several times
    #[arg(
        long,
        value_name = "URL",
        env = "LOADTEST_ELASTICSEARCH_URL",
        hide_env_values = true,
        value_delimiter = ',',
        default_value = "http://127.0.0.1:9200"
    )]
    elasticsearch_url: Vec<NodeUrl>,
    /// Where the documents are, a name or a pattern
    #[arg(long, default_value = "logflow-*")]
    index: String,
    /// The archive of archive-sink, postgres://USER@HOST:PORT/DATABASE; it is compared, too. The variable PGPASSWORD has the password
    #[arg(long, value_name = "URL")]
    postgres_url: Option<String>,
    /// The brokers that hold the dead letters, HOST:PORT,… [default: dead letters are not looked at]
    #[arg(long, value_name = "BROKERS", value_delimiter = ',')]
    dead_letter_brokers: Vec<String>,
    /// The topic of the dead letters
    #[arg(long, default_value = "logs.dead-letter")]
    dead_letter_topic: String,
    /// A property for librdkafka
    #[arg(long, value_name = "KEY=VALUE")]
    kafka_property: Vec<KafkaProperty>,
    /// How often the group's offsets were set back during the run: each time what is refused may be dead-lettered again
    #[arg(long, value_name = "N", default_value_t = 0)]
    offset_resets: usize,
    /// Wait until all is there, or nothing more has arrived for so long
    #[arg(long, default_value = "0s")]
    wait: Span,
    /// Print the outcome as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

impl Verify {
    pub(crate) fn settings(&self) -> anyhow::Result<VerificationSettings> {
        let brokers = &self.dead_letter_brokers;
        let password = std::env::var("PGPASSWORD").ok();
        let archive = self.postgres_url.as_ref();
        let archive = archive.map(|url| PostgresReader::new(url, password.as_deref()));
        Ok(VerificationSettings {
            archive: archive.transpose()?,
            ledger: self.ledger.clone(),
            elasticsearch: self.elasticsearch_url.clone(),
            index: self.index.clone(),
            dead_letters: (!brokers.is_empty()).then(|| DeadLetters {
                brokers: brokers.clone(),
                topic: self.dead_letter_topic.clone(),
                properties: self.kafka_property.clone(),
            }),
            offset_resets: self.offset_resets,
            wait: self.wait.0,
        })
    }
}

/// How the null Elasticsearch behaves.
#[derive(Debug, Args)]
pub(crate) struct Behaviour {
    /// Remember ids, to count documents written twice
    #[arg(long)]
    check_ids: bool,
    /// How long every bulk takes at least
    #[arg(long, value_name = "N", default_value_t = 0)]
    delay_ms: u64,
    /// How many items in a million are answered with 429
    #[arg(long, value_name = "N", default_value_t = 0)]
    item_429_per_million: u32,
    /// How many bulks in a million are answered with 503
    #[arg(long, value_name = "N", default_value_t = 0)]
    bulk_503_per_million: u32,
}

impl Behaviour {
    pub(crate) fn settings(&self) -> NullSettings {
        NullSettings {
            check_ids: self.check_ids,
            delay: std::time::Duration::from_millis(self.delay_ms),
            item_429_per_million: self.item_429_per_million,
            bulk_503_per_million: self.bulk_503_per_million,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Null {
    /// Where to listen
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9201")]
    pub(crate) listen: SocketAddr,
    #[command(flatten)]
    pub(crate) behaviour: Behaviour,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_flags_do_not_contradict_each_other() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_fault_proxy_has_pairs_of_addresses_or_routes() {
        let routes = |flags: &str| {
            let line = format!("loadtest fault-proxy {flags}");
            let arguments = Arguments::try_parse_from(line.trim().split(' '))?;
            let Command::FaultProxy(proxy) = arguments.command else {
                bail!("another command");
            };
            proxy.routes()
        };
        let both = "--listen 127.0.0.1:1 --to a:2 --route kafka=127.0.0.1:3=b:4";
        let both: Vec<String> = (routes(both).unwrap().into_iter())
            .map(|route| format!("{:?} {} {}", route.name, route.listen, route.to))
            .collect();
        assert_eq!(
            both,
            ["None 127.0.0.1:1 a:2", "Some(\"kafka\") 127.0.0.1:3 b:4"]
        );
        for flags in ["", "--listen 127.0.0.1:1", "--listen 127.0.0.1:1 --to a"] {
            assert!(routes(flags).is_err(), "{flags}");
        }
    }

    #[test]
    fn poison_is_only_for_kafka_and_one_target_must_be_given() {
        for line in [
            "loadtest generate",
            "loadtest generate --target http://a --kafka b:1",
            "loadtest generate --target http://a --poison empty",
            "loadtest generate --kafka b:1 --poison arsenic",
        ] {
            assert!(
                Arguments::try_parse_from(line.split(' ')).is_err(),
                "{line}"
            );
        }
        let line =
            "loadtest generate --kafka b:1,c:2 --poison empty,invalid-json --poison-per-million 5";
        assert!(Arguments::try_parse_from(line.split(' ')).is_ok());
    }
}
