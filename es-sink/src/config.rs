//! What the operator wants, checked.
//!
//! In the flow: **`config`** → `template` → `consumer`.

use std::net::SocketAddr;
use std::time::Duration;

use es_sink_core::batcher::BulkLimits;
use es_sink_core::retry::Backoff;
use es_sink_core::sink::SinkConfig;
use kafka_source::subscription::FIXED_CONSUMER_PROPERTIES;
use log_event::document::IndexPattern;
use service::access::{self, Access};
use service::elasticsearch::NodeUrl;
use service::kafka::{KafkaProperty, contradictions};
use service::login::{self, Login};
use service::settings::{Arity, Checked, Program, Setting, Settings, SettingsError};
use service::tls::{self, Tls};
use service::traces::{self, TracesConfig};
use service::units::{ByteSize, Ratio, Span};

/// es-sink and its settings.
pub const PROGRAM: Program = Program {
    name: "es-sink",
    about: "Indexes each record of Kafka topics exactly once into Elasticsearch",
    settings: &[
        Setting::new(
            "listen",
            "ADDRESS:PORT",
            "127.0.0.1:9102",
            "Where /status, /metrics, /healthz and /readyz are served",
        ),
        access::API_KEYS,
        access::GUARD_OPERATIONS,
        tls::TLS_CERT,
        tls::TLS_KEY,
        tls::TLS_CLIENT_CA,
        Setting::new(
            "kafka-brokers",
            "HOST:PORT",
            "127.0.0.1:9092",
            "Brokers to start from",
        )
        .many(Arity::List),
        Setting::new("topic", "NAME", "logs", "Topics to read").many(Arity::List),
        Setting::new(
            "group-id",
            "NAME",
            "es-sink",
            "The consumer group; all sinks of one group share the work",
        ),
        Setting::optional("kafka-property", "KEY=VALUE", "A property for librdkafka")
            .many(Arity::Lines),
        Setting::new(
            "elasticsearch-url",
            "URL",
            "http://127.0.0.1:9200",
            "Nodes to send to",
        )
        .many(Arity::List),
        login::ELASTICSEARCH_CREDENTIALS,
        login::ELASTICSEARCH_CA,
        Setting::new(
            "index-pattern",
            "PATTERN",
            "logflow-{date}",
            "Names of the daily indices; with `{tenant}` in it, as logflow-{tenant}-{date}, each tenant has its own",
        ),
        Setting::switch("no-template", "Leave the index template to somebody else"),
        Setting::new(
            "dead-letter-topic",
            "NAME",
            "logs.dead-letter",
            "Takes the records that can never be indexed",
        ),
        Setting::new(
            "bulk-bytes",
            "SIZE",
            "3MiB",
            "A bulk request is sent before it grows beyond this",
        ),
        Setting::new(
            "bulk-linger",
            "DURATION",
            "200ms",
            "A bulk request is sent when its first document has waited this long",
        ),
        Setting::new(
            "bulk-concurrency",
            "N",
            "3",
            "Bulk requests on their way at once",
        ),
        Setting::new(
            "bulk-timeout",
            "DURATION",
            "60s",
            "A bulk request without a reply is repeated after this",
        ),
        Setting::new(
            "memory-limit",
            "SIZE",
            "64MiB",
            "What the whole process may hold",
        ),
        Setting::new(
            "commit-interval",
            "DURATION",
            "1s",
            "The pace of offset commits",
        ),
        Setting::new(
            "drain-timeout",
            "DURATION",
            "10s",
            "How long records in flight are waited for when partitions move or the sink ends",
        ),
        traces::OTLP_ENDPOINT,
        traces::OTLP_CREDENTIALS,
        traces::OTLP_CA,
    ],
};

/// What the process needs beside the records it holds: code, threads, clients, and what the allocator keeps of what
/// threads have freed. That is more than a third of it after an outage: reading pauses and goes on again and again, and
/// each time what was freed meanwhile is on another thread's pages (15 MiB, as seen with `MIMALLOC_PURGE_DELAY=0`).
const OVERHEAD_BYTES: u64 = 40 << 20;
/// librdkafka counts the bytes of a record's value and key. With its own
/// structures, and the fetch that is on its way when the count is reached, a
/// queue of records of 250 bytes was measured to take eight times that.
const FETCHED_FACTOR: u64 = 8;
/// What a refused item takes of a reply, at most, as measured: more than many a document. Replies
/// arrive whole, so the items of a request decide what the replies may hold (EO-6).
const REFUSED_ITEM_BYTES: usize = 1_700;
/// Below this a sink could not hold its bulk requests.
const MEMORY_LIMIT_MIN: u64 = 48 << 20;
/// Far below `max.poll.interval.ms`, after which the group gives a member up.
const DRAIN_MAX: Duration = Duration::from_secs(60);
/// What is held heals within 10 s of its cause's end (docs/guarantees.md, EO-5):
/// the longest wait, and as long again for the requests that waited.
const BACKOFF: Backoff = Backoff {
    first: Duration::from_millis(200),
    longest: Duration::from_secs(5),
};
/// A bulk body is at most this, far below Elasticsearch's 100 MiB.
const BULK_BYTES_MAX: u64 = 64 << 20;

/// The checked settings.
#[derive(Clone, Debug)]
pub struct Config {
    /// For status, metrics and probes.
    pub listen: SocketAddr,
    /// Who may ask there.
    pub access: Access,
    /// `None`: HTTP in the clear.
    pub tls: Option<Tls>,
    /// Brokers to start from.
    pub brokers: Vec<String>,
    /// Topics to read.
    pub topics: Vec<String>,
    /// Properties for librdkafka.
    pub kafka_properties: Vec<KafkaProperty>,
    /// Nodes of the cluster.
    pub nodes: Vec<NodeUrl>,
    /// Who we are to them.
    pub login: Login,
    /// Whether the sink installs the index template.
    pub manages_template: bool,
    /// For what can never be indexed.
    pub dead_letter_topic: String,
    /// Of this process alone.
    pub transactional_id: String,
    /// How long a bulk request may take.
    pub bulk_timeout: Duration,
    /// What librdkafka may fetch ahead, in KiB.
    pub fetch_ahead_kib: u64,
    /// Where spans go; `None`: nothing is traced.
    pub traces: Option<TracesConfig>,
    /// The machine's limits and names.
    pub sink: SinkConfig,
}

impl Config {
    /// Reads the settings.
    ///
    /// # Errors
    /// All faults together.
    pub fn read(mut settings: Settings, seed: u64) -> Result<(Self, Checked), SettingsError> {
        let topics: Vec<String> = settings.list("topic");
        let dead_letter_topic: String = settings.value("dead-letter-topic");
        let kafka_properties: Vec<KafkaProperty> = settings.list("kafka-property");
        let bulk_bytes: ByteSize = settings.value("bulk-bytes");
        let bulk_concurrency: usize = settings.value("bulk-concurrency");
        let memory_limit: ByteSize = settings.value("memory-limit");

        for text in
            contradictions(&kafka_properties, &FIXED_CONSUMER_PROPERTIES).collect::<Vec<_>>()
        {
            settings.reject("kafka-property", text);
        }
        if topics.is_empty() {
            settings.reject("topic", "at least one topic is needed");
        }
        if topics.contains(&dead_letter_topic) {
            settings.reject(
                "dead-letter-topic",
                "is among the topics that are read: dead letters would come back for ever",
            );
        }
        if !(64 << 10..=BULK_BYTES_MAX).contains(&bulk_bytes.0) {
            settings.reject("bulk-bytes", "must lie between 64KiB and 64MiB");
        }
        if !(1..=64).contains(&bulk_concurrency) {
            settings.reject("bulk-concurrency", "must lie between 1 and 64");
        }
        if memory_limit.0 < MEMORY_LIMIT_MIN {
            settings.reject("memory-limit", "must be at least 48MiB");
        }
        // Two fifths of what is left are for bulk requests, a quarter for what is fetched
        // ahead, a quarter for replies, the rest for spare buffers and what allocators keep.
        let for_records = memory_limit.0.saturating_sub(OVERHEAD_BYTES);
        let for_bulks = for_records / 5 * 2;
        if bulk_bytes.0.saturating_mul(2) > for_bulks {
            settings.reject("bulk-bytes", "two bulk requests do not fit into two fifths of what `memory-limit` leaves beside 40MiB of overhead");
        }
        let for_a_reply = ByteSize(for_records / 4).bytes() / bulk_concurrency.max(1);
        let millis = |span: Span| span.0.max(Duration::from_millis(1));
        let group: String = settings.value("group-id");
        let (nodes, login) = nodes_and_login(&mut settings);
        let config = Self {
            listen: settings.value("listen"),
            access: Access::of_observers(&mut settings),
            tls: Tls::from_settings(&mut settings),
            brokers: settings.list("kafka-brokers"),
            topics,
            kafka_properties,
            nodes,
            login,
            manages_template: !settings.switch("no-template"),
            dead_letter_topic,
            transactional_id: format!("{group}-{seed:016x}"),
            bulk_timeout: millis(settings.value("bulk-timeout")),
            fetch_ahead_kib: (for_records / 4 / FETCHED_FACTOR) >> 10,
            // Whether it is traced is decided where an event comes in.
            traces: TracesConfig::from_settings(&mut settings, Ratio(1.0)),
            sink: SinkConfig {
                group,
                index_pattern: settings.value::<IndexPattern>("index-pattern"),
                bulk: BulkLimits {
                    bytes_max: bulk_bytes.bytes(),
                    items_max: (for_a_reply / REFUSED_ITEM_BYTES).max(1),
                    linger: settings.value::<Span>("bulk-linger").0,
                },
                bulk_concurrency,
                bytes_held_max: ByteSize(for_bulks).bytes(),
                letters_per_transaction_max: 500,
                commit_interval: millis(settings.value("commit-interval")),
                drain_max: settings.value::<Span>("drain-timeout").0,
                backoff: BACKOFF,
                seed,
            },
        };
        // A rebalance waits for the drain, and the group for the rebalance.
        if config.sink.drain_max > DRAIN_MAX {
            settings.reject("drain-timeout", "must be at most 60s");
        }
        if config.brokers.is_empty() {
            settings.reject("kafka-brokers", "at least one broker is needed");
        }
        settings.finish().map(|checked| (config, checked))
    }
}

/// Where Elasticsearch is and who we are to it, for the service and for commands beside it.
pub(crate) fn nodes_and_login(settings: &mut Settings) -> (Vec<NodeUrl>, Login) {
    let nodes: Vec<NodeUrl> = settings.list("elasticsearch-url");
    if nodes.is_empty() {
        settings.reject("elasticsearch-url", "at least one node is needed");
    }
    let written = nodes.iter().any(NodeUrl::has_credentials);
    let login = Login::from_settings(settings, &login::ELASTICSEARCH, written);
    (nodes, login)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsString;

    fn read(args: &[&str]) -> Result<(Config, Checked), SettingsError> {
        let args = std::iter::once("es-sink")
            .chain(args.iter().copied())
            .map(OsString::from);
        Config::read(Settings::load(PROGRAM, args, |_| None)?, 1)
    }

    #[test]
    fn the_defaults_are_a_configuration() {
        let (config, _) = read(&[]).unwrap();
        assert_eq!(config.topics, ["logs"]);
        // As many as may be on their way at once.
        let full = config.sink.bulk_concurrency * config.sink.bulk.bytes_max;
        assert!(config.sink.bytes_held_max >= full);
    }

    #[test]
    fn replies_that_refuse_every_item_fit_into_a_quarter_of_what_is_left() {
        let table = [
            (&[][..], 24 << 20),
            (&["--bulk-concurrency", "12"], 24 << 20),
            (&["--memory-limit", "1GiB"], 984 << 20),
            (
                &["--memory-limit", "64MiB", "--bulk-concurrency", "64"],
                24 << 20,
            ),
        ];
        for (args, left) in table {
            let (config, _) = read(args).unwrap();
            let of_a_reply = config.sink.bulk.items_max * REFUSED_ITEM_BYTES;
            let replies = config.sink.bulk_concurrency * of_a_reply;
            assert!(replies <= left / 4, "{args:?}");
            assert!(replies >= left / 4 - config.sink.bulk_concurrency * REFUSED_ITEM_BYTES);
        }
    }

    #[test]
    fn every_fault_is_named_at_once() {
        let error = read(&[
            "--topic",
            "a,logs.dead-letter",
            "--index-pattern",
            "Logs",
            "--bulk-bytes",
            "1KiB",
            "--bulk-concurrency",
            "0",
            "--memory-limit",
            "1MiB",
            "--kafka-property",
            "enable.auto.commit=true",
            "--elasticsearch-url",
            "es:9200",
        ])
        .unwrap_err()
        .to_string();
        for name in [
            "`dead-letter-topic`",
            "`index-pattern`",
            "`bulk-bytes`",
            "`bulk-concurrency`",
            "`memory-limit`",
            "`kafka-property`",
            "`elasticsearch-url`",
        ] {
            assert!(error.contains(name), "{name} is missing in: {error}");
        }
    }
}
