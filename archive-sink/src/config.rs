//! What the operator wants, checked.
//!
//! In the flow: **`config`** → `target`, `consumer`.

use std::net::SocketAddr;
use std::time::Duration;

use kafka_source::subscription::FIXED_CONSUMER_PROPERTIES;
use service::access::{self, Access};
use service::kafka::{KafkaProperty, contradictions};
use service::settings::{Arity, Checked, Program, Setting, Settings, SettingsError};
use service::tls::{self, Tls};
use service::units::{ByteSize, Span};

use crate::batch::BatchLimits;
use crate::target::{self, Target};

/// archive-sink and its settings.
pub const PROGRAM: Program = Program {
    name: "archive-sink",
    about: "Archives each record of Kafka topics exactly once in PostgreSQL",
    settings: &[
        Setting::new(
            "listen",
            "ADDRESS:PORT",
            "127.0.0.1:9104",
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
            "archive-sink",
            "The consumer group; all sinks of one archive are in one group",
        ),
        Setting::optional("kafka-property", "KEY=VALUE", "A property for librdkafka")
            .many(Arity::Lines),
        target::POSTGRES_URL,
        target::POSTGRES_PASSWORD_FILE,
        target::POSTGRES_CA,
        target::POSTGRES_PLAINTEXT,
        Setting::new(
            "postgres-timeout",
            "DURATION",
            "60s",
            "A transaction without an answer is tried again after this",
        ),
        Setting::switch(
            "no-schema",
            "Leave the tables, those of the days among them, to somebody else",
        ),
        Setting::new(
            "batch-bytes",
            "SIZE",
            "4MiB",
            "A transaction begins before its events grow beyond this; the process holds up to three of them",
        ),
        Setting::new(
            "batch-linger",
            "DURATION",
            "500ms",
            "A transaction begins when its first event has waited this long",
        ),
        Setting::new(
            "drain-timeout",
            "DURATION",
            "10s",
            "How long what was read is waited for when partitions move or the sink ends",
        ),
    ],
};

/// What librdkafka may fetch ahead.
pub const FETCH_AHEAD_KIB: u64 = 4 << 10;
/// So that a transaction with small events stays short, too.
const ROWS_MAX: usize = 20_000;
/// For each a table may have to be made, under a lock that other sinks wait for.
const DAYS_MAX: usize = 32;
const BATCH_BYTES_MIN: u64 = 64 << 10;
const BATCH_BYTES_MAX: u64 = 64 << 20;
/// Far below `max.poll.interval.ms`, after which the group gives a member up.
const DRAIN_MAX: Duration = Duration::from_secs(60);

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
    /// The consumer group.
    pub group: String,
    /// Properties for librdkafka.
    pub kafka_properties: Vec<KafkaProperty>,
    /// Where PostgreSQL is.
    pub target: Target,
    /// How long a try to write may take.
    pub postgres_timeout: Duration,
    /// Whether the sink makes tables.
    pub manages_schema: bool,
    /// What one transaction writes.
    pub batch: BatchLimits,
    /// How long a drain may take.
    pub drain_max: Duration,
}

impl Config {
    /// Reads the settings; `password` is PostgreSQL's, from the environment.
    ///
    /// # Errors
    /// All faults together.
    pub fn read(
        mut settings: Settings,
        password: Option<String>,
    ) -> Result<(Self, Checked), SettingsError> {
        let kafka_properties: Vec<KafkaProperty> = settings.list("kafka-property");
        let faults = contradictions(&kafka_properties, &FIXED_CONSUMER_PROPERTIES);
        for text in faults.collect::<Vec<_>>() {
            settings.reject("kafka-property", text);
        }
        let topics: Vec<String> = settings.list("topic");
        if topics.is_empty() {
            settings.reject("topic", "at least one topic is needed");
        }
        let brokers: Vec<String> = settings.list("kafka-brokers");
        if brokers.is_empty() {
            settings.reject("kafka-brokers", "at least one broker is needed");
        }
        let batch_bytes: ByteSize = settings.value("batch-bytes");
        if !(BATCH_BYTES_MIN..=BATCH_BYTES_MAX).contains(&batch_bytes.0) {
            settings.reject("batch-bytes", "must lie between 64KiB and 64MiB");
        }
        let drain_max = settings.value::<Span>("drain-timeout").0;
        if drain_max > DRAIN_MAX {
            settings.reject("drain-timeout", "must be at most 60s");
        }
        let postgres_timeout = settings.value::<Span>("postgres-timeout").0;
        if postgres_timeout < Duration::from_secs(1) {
            settings.reject("postgres-timeout", "must be at least 1s");
        }
        let target = Target::from_settings(&mut settings, password);
        let listen = settings.value("listen");
        let access = Access::of_observers(&mut settings);
        let tls = Tls::from_settings(&mut settings);
        let group = settings.value("group-id");
        let manages_schema = !settings.switch("no-schema");
        let linger = settings.value::<Span>("batch-linger").0;
        let checked = settings.finish()?;
        let config = Self {
            listen,
            access,
            tls,
            brokers,
            topics,
            group,
            kafka_properties,
            target: target.expect("an address that is none was rejected"),
            postgres_timeout,
            manages_schema,
            batch: BatchLimits {
                bytes_max: batch_bytes.bytes(),
                rows_max: ROWS_MAX,
                days_max: DAYS_MAX,
                linger,
            },
            drain_max,
        };
        Ok((config, checked))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsString;

    fn read(args: &[&str]) -> Result<(Config, Checked), SettingsError> {
        let args = std::iter::once("archive-sink")
            .chain(args.iter().copied())
            .map(OsString::from);
        Config::read(Settings::load(PROGRAM, args, |_| None)?, None)
    }

    #[test]
    fn the_defaults_are_a_configuration() {
        let (config, _) = read(&[]).unwrap();
        assert_eq!(config.topics, ["logs"]);
        assert!(config.manages_schema);
    }

    #[test]
    fn tls_is_left_out_only_on_this_machine_or_on_purpose() {
        for (args, tls) in [
            (&[][..], false),
            (&["--postgres-url", "postgres://u@[::1]/d"], false),
            (&["--postgres-url", "postgres://u@%2Frun%2Fpg/d"], false),
            (&["--postgres-url", "postgres://u@db.example.org/d"], true),
            (&["--postgres-url", "postgres://u@localhost,db/d"], true),
            (
                &[
                    "--postgres-url",
                    "postgres://u@db/d",
                    "--postgres-plaintext",
                ],
                false,
            ),
        ] {
            let (config, _) = read(args).unwrap();
            let shown = format!("{:?}", config.target);
            assert_eq!(shown.contains("tls: true"), tls, "{shown}");
        }
    }

    #[test]
    fn every_fault_is_named_at_once_and_no_password_is_shown() {
        let error = read(&[
            "--postgres-url",
            "postgres://:hunter2@db",
            "--postgres-password-file",
            "/nowhere",
            "--batch-bytes",
            "1KiB",
            "--drain-timeout",
            "2m",
            "--postgres-timeout",
            "1ms",
            "--kafka-property",
            "enable.auto.commit=true",
        ])
        .unwrap_err()
        .to_string();
        for name in [
            "has a password in it",
            "names no database",
            "`postgres-password-file`",
            "`batch-bytes`",
            "`drain-timeout`",
            "`postgres-timeout`",
            "`kafka-property`",
        ] {
            assert!(error.contains(name), "{name} is missing in: {error}");
        }
        assert!(!error.contains("hunter2"), "{error}");
        let error = read(&["--postgres-url", "jdbc:postgresql://db"]).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("postgres://USER@HOST:PORT/DATABASE"),
            "{error}"
        );
    }
}
