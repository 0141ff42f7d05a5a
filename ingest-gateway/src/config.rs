//! What an operator may set, checked as a whole.
//!
//! Flags, variables and the file are read by `service::settings`; here they
//! become one [`Config`], and what does not fit together is refused.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use log_event::dialect::Dialect;
use service::access::{self, Access};
use service::kafka::{KafkaProperty, contradictions};
use service::settings::{Arity, Program, Setting, Settings, SettingsError};
use service::tls::{self, Tls};
use service::traces::{self, TracesConfig};
use service::units::{ByteSize, Ratio, Span};

use crate::admission::{RateLimits, Rates};
use crate::body::BodyLimits;
use crate::client::Network;
use crate::kafka_settings::{KafkaSettings, RECORD_OVERHEAD_BYTES};
use crate::pacing;

/// The settings, in the order of the help.
pub const PROGRAM: Program = Program {
    name: "ingest-gateway",
    about: "Takes log events over HTTP and acknowledges those that Kafka holds",
    settings: &[
        Setting::new(
            "listen",
            "ADDRESS",
            "127.0.0.1:3000",
            "Where to listen for HTTP",
        ),
        access::API_KEYS,
        access::OPEN,
        access::GUARD_OPERATIONS,
        tls::TLS_CERT,
        tls::TLS_KEY,
        tls::TLS_CLIENT_CA,
        Setting::new(
            "kafka-brokers",
            "HOST:PORT",
            "localhost:9092",
            "The brokers to start from",
        )
        .many(Arity::List),
        Setting::new("topic", "NAME", "logs", "The topic that all events go to"),
        Setting::optional("kafka-property", "KEY=VALUE", "A property for librdkafka")
            .many(Arity::Lines),
        Setting::new(
            "kafka-timeout",
            "DURATION",
            "10s",
            "How long an event may wait for its acknowledgement",
        ),
        Setting::new(
            "dialect",
            "NAME",
            "native,otlp,elasticsearch,loki,hec",
            "The protocols to take events in (docs/intake.md)",
        )
        .many(Arity::List),
        Setting::new(
            "rate-limit-requests",
            "N",
            "0",
            "Requests a second from one client; 0 is no limit",
        ),
        Setting::new(
            "rate-limit-bytes",
            "SIZE",
            "0",
            "Decompressed bytes a second from one client; 0 is no limit",
        ),
        Setting::new(
            "rate-limit-burst",
            "DURATION",
            "5s",
            "What a client that was silent may send at once, as so much time at its rate",
        ),
        Setting::new(
            "rate-limit-pacing",
            "DURATION",
            "1s",
            "How long a request beyond a rate is held back before it is refused, once for its number and once for its bytes",
        ),
        Setting::switch(
            "rate-limit-headers",
            "Tell clients what they may still send, in the RateLimit fields of the IETF draft",
        ),
        Setting::new(
            "replicas",
            "N",
            "1",
            "How many gateways share the keys' quotas; each gives its share",
        ),
        Setting::new(
            "max-tracked-clients",
            "N",
            "10000",
            "Clients with rate limits of their own; all others share one",
        ),
        Setting::optional(
            "trusted-proxy",
            "NETWORK",
            "A proxy whose X-Forwarded-For is believed, as an address or ADDRESS/BITS",
        )
        .many(Arity::List),
        Setting::new(
            "max-body-bytes",
            "SIZE",
            "20MiB",
            "The largest body, before and after decompression",
        ),
        Setting::new(
            "max-event-bytes",
            "SIZE",
            "1MB",
            "The largest event; brokers take 1 MiB by default",
        ),
        Setting::new(
            "max-events-per-request",
            "N",
            "50000",
            "The most events in one request",
        ),
        Setting::new(
            "max-bytes-in-flight",
            "SIZE",
            "256MiB",
            "What all requests together may hold, bodies and records",
        ),
        Setting::new(
            "max-connections",
            "N",
            "10000",
            "The most connections at once",
        ),
        Setting::new(
            "request-timeout",
            "DURATION",
            "30s",
            "How long a body may take to arrive",
        ),
        Setting::new(
            "drain-delay",
            "DURATION",
            "0s",
            "How long to go on accepting after SIGTERM, not ready any more",
        ),
        Setting::new(
            "drain-timeout",
            "DURATION",
            "30s",
            "How long requests in flight may take to finish after that",
        ),
        traces::OTLP_ENDPOINT,
        traces::OTLP_CREDENTIALS,
        traces::OTLP_CA,
        Setting::new(
            "trace-sample-ratio",
            "RATIO",
            "0.01",
            "Of the requests that bring no trace, how many begin one, from 0 to 1; what brings one is traced if it says so",
        ),
    ],
};

/// Everything the gateway is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Who may send.
    pub access: Access,
    /// `None`: HTTP in the clear.
    pub tls: Option<Tls>,
    /// The protocols that are spoken, at least one.
    pub dialects: Vec<Dialect>,
    /// Where the events go.
    pub kafka: KafkaSettings,
    /// The limits of each client.
    pub rate_limits: RateLimits,
    /// Whether clients are told what they may still send.
    pub rate_limit_headers: bool,
    /// How many gateways share the keys' quotas.
    pub replicas: NonZeroU32,
    /// Whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<Network>,
    /// What one body may cost.
    pub body: BodyLimits,
    /// The most events in one request.
    pub events_per_request_max: usize,
    /// The most connections at once.
    pub connections_max: usize,
    /// How long to go on accepting after SIGTERM.
    pub drain_delay: Duration,
    /// How long requests in flight may take then.
    pub drain_timeout: Duration,
    /// Where spans go; `None`: nothing is traced.
    pub traces: Option<TracesConfig>,
}

impl Config {
    /// Reads and checks; `None` if that is all that was asked for.
    ///
    /// # Errors
    /// All faults together.
    pub fn load(
        args: impl IntoIterator<Item = OsString>,
        env: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<Self>, SettingsError> {
        Self::check_all(Settings::load(PROGRAM, args, env)?)
    }

    /// The same from settings that were read already.
    ///
    /// # Errors
    /// All faults together.
    pub fn check_all(mut settings: Settings) -> Result<Option<Self>, SettingsError> {
        let config = Self::read(&mut settings);
        config.check(&mut settings);
        let checked = settings.finish()?;
        Ok((!checked.stop_here).then_some(config))
    }

    fn read(settings: &mut Settings) -> Self {
        let body = BodyLimits {
            bytes_max: settings.value::<ByteSize>("max-body-bytes").bytes(),
            timeout: settings.value::<Span>("request-timeout").0,
        };
        let properties: Vec<KafkaProperty> = settings.list("kafka-property");
        let kafka = KafkaSettings {
            brokers: settings.list("kafka-brokers"),
            topic: settings.value("topic"),
            properties: properties
                .into_iter()
                .map(KafkaSettings::canonical)
                .collect(),
            timeout: settings.value::<Span>("kafka-timeout").0,
            event_bytes_max: settings.value::<ByteSize>("max-event-bytes").bytes(),
            in_flight_bytes_max: settings.value::<ByteSize>("max-bytes-in-flight").bytes(),
        };
        let bytes_per_second = settings.value::<ByteSize>("rate-limit-bytes").0;
        let kib_per_second = u32::try_from(bytes_per_second / 1024).unwrap_or(u32::MAX);
        if bytes_per_second != 0 && !(1..=RATE_MAX).contains(&kib_per_second) {
            settings.reject(
                "rate-limit-bytes",
                format!("must be 0, or 1KiB to {RATE_MAX}KiB"),
            );
        }
        let rates = Rates {
            requests_per_second: NonZeroU32::new(settings.value("rate-limit-requests")),
            kib_per_second: NonZeroU32::new(kib_per_second),
            burst: settings.value::<Span>("rate-limit-burst").0,
            pacing: pacing::share(
                settings.value::<Span>("rate-limit-pacing").0,
                kafka.in_flight_bytes_max,
            ),
        };
        let rate_limits = RateLimits {
            rates,
            clients_max: settings.value("max-tracked-clients"),
        };
        let listen = settings.value("listen");
        let sample_ratio: Ratio = settings.value("trace-sample-ratio");
        Self {
            listen,
            access: Access::from_settings(settings, listen),
            tls: Tls::from_settings(settings),
            dialects: unique(settings.list("dialect")),
            kafka,
            rate_limits,
            rate_limit_headers: settings.switch("rate-limit-headers"),
            replicas: settings.value("replicas"),
            trusted_proxies: settings.list("trusted-proxy"),
            body,
            events_per_request_max: settings.value("max-events-per-request"),
            connections_max: settings.value("max-connections"),
            drain_delay: settings.value::<Span>("drain-delay").0,
            drain_timeout: settings.value::<Span>("drain-timeout").0,
            traces: TracesConfig::from_settings(settings, sample_ratio),
        }
    }

    fn check(&self, settings: &mut Settings) {
        self.check_kafka(settings);
        if self.dialects.is_empty() {
            settings.reject("dialect", "names none");
        }
        let rates = &self.rate_limits.rates;
        if rates
            .requests_per_second
            .is_some_and(|rate| rate.get() > RATE_MAX)
        {
            settings.reject("rate-limit-requests", format!("must be 0 to {RATE_MAX}"));
        }
        if !(Duration::from_millis(1)..=BURST_MAX).contains(&rates.burst) {
            settings.reject(
                "rate-limit-burst",
                format!("must be 1ms to {}s", BURST_MAX.as_secs()),
            );
        }
        if rates.pacing.span > PACING_MAX {
            settings.reject(
                "rate-limit-pacing",
                format!("must be 0s to {}s", PACING_MAX.as_secs()),
            );
        }
        for (name, number) in [
            ("max-tracked-clients", self.rate_limits.clients_max),
            ("max-body-bytes", self.body.bytes_max),
            ("max-event-bytes", self.kafka.event_bytes_max),
            ("max-events-per-request", self.events_per_request_max),
            ("max-connections", self.connections_max),
        ] {
            if number == 0 {
                settings.reject(name, "must be at least 1");
            }
        }
        if self.kafka.event_bytes_max > self.body.bytes_max {
            settings.reject("max-event-bytes", "must not exceed `max-body-bytes`");
        }
        if self.kafka.event_bytes_max > EVENT_BYTES_BOUND {
            settings.reject(
                "max-event-bytes",
                format!("must not exceed {EVENT_BYTES_BOUND}"),
            );
        }
        let needed = self.largest_request_bytes();
        if self.kafka.in_flight_bytes_max < needed {
            settings.reject(
                "max-bytes-in-flight",
                format!(
                    "must be at least {needed}, so that the largest request that `max-body-bytes` \
                     and `max-events-per-request` allow can pass"
                ),
            );
        }
        if self.body.timeout.is_zero() {
            settings.reject("request-timeout", "must be at least 1ms");
        }
    }

    fn check_kafka(&self, settings: &mut Settings) {
        let kafka = &self.kafka;
        if kafka.brokers.is_empty() {
            settings.reject("kafka-brokers", "must name at least one broker");
        }
        // As Kafka's own `Topic.validate`.
        let legal = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let length = kafka.topic.len();
        if !(1..=249).contains(&length)
            || !kafka.topic.chars().all(legal)
            || kafka.topic.trim_matches('.').is_empty()
        {
            settings.reject(
                "topic",
                "must have 1 to 249 letters, digits, `.`, `_` or `-`",
            );
        }
        if !KAFKA_TIMEOUTS.contains(&kafka.timeout) {
            settings.reject("kafka-timeout", "must be 100ms to 15m");
        }
        let fixed = kafka.fixed();
        let fixed: Vec<(&str, &str)> = fixed
            .iter()
            .map(|(key, value)| (*key, value.as_str()))
            .collect();
        for reason in contradictions(&kafka.properties, &fixed) {
            settings.reject("kafka-property", reason);
        }
    }

    /// What one request may hold at the worst moment: its body compressed and
    /// inflated, or inflated and as records.
    fn largest_request_bytes(&self) -> usize {
        let records = self
            .events_per_request_max
            .saturating_mul(RECORD_OVERHEAD_BYTES);
        self.body
            .bytes_max
            .saturating_mul(2)
            .saturating_add(records)
            .saturating_add(1)
    }
}

/// Beyond this, governor's whole nanoseconds a cell would distort the rate.
const RATE_MAX: u32 = 1_000_000;
const BURST_MAX: Duration = Duration::from_secs(3_600);
/// Many clients give up after 10 s; a request may be held back twice, and then waits for Kafka.
const PACING_MAX: Duration = Duration::from_secs(4);
/// librdkafka's bound of `message.max.bytes`, less what a record needs beside its value.
const EVENT_BYTES_BOUND: usize = 999_990_000;
const KAFKA_TIMEOUTS: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(900);

/// Each once: a path can be served once.
fn unique(dialects: Vec<Dialect>) -> Vec<Dialect> {
    Dialect::ALL
        .into_iter()
        .filter(|dialect| dialects.contains(dialect))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(args: &[&str]) -> Result<Option<Config>, String> {
        let args = std::iter::once("ingest-gateway").chain(args.iter().copied());
        Config::load(args.map(OsString::from), |_| None).map_err(|error| error.to_string())
    }

    #[test]
    fn the_defaults_fit_together() {
        let config = load(&[]).unwrap().unwrap();
        assert_eq!(config.listen.port(), 3000);
        assert_eq!(config.kafka.topic, "logs");
        assert_eq!(config.rate_limits.rates.requests_per_second, None);
        assert!(matches!(load(&["--check-config"]), Ok(None)));
    }

    #[test]
    fn values_arrive_where_they_belong() {
        let config = load(&[
            "--kafka-brokers",
            "a:1,b:2",
            "--kafka-property",
            "queue.buffering.max.ms=3",
            "--rate-limit-requests",
            "7",
            "--rate-limit-bytes",
            "2MiB",
            "--trusted-proxy",
            "10.0.0.0/8,::1",
            "--max-body-bytes",
            "5MiB",
        ]);
        let config = config.unwrap().unwrap();
        assert_eq!(config.kafka.brokers, ["a:1", "b:2"]);
        assert_eq!(config.kafka.properties[0].key, "linger.ms");
        let rates = config.rate_limits.rates;
        assert_eq!(rates.requests_per_second, NonZeroU32::new(7));
        assert_eq!(rates.kib_per_second, NonZeroU32::new(2048));
        assert_eq!(config.trusted_proxies.len(), 2);
        assert_eq!(config.body.bytes_max, 5 << 20);
    }

    #[test]
    fn all_faults_are_told_together() {
        let faults = load(&[
            "--topic",
            "a b",
            "--kafka-property",
            "request.required.acks=1",
            "--kafka-property",
            "enable.idempotence=false",
            "--rate-limit-bytes",
            "100",
            "--max-event-bytes",
            "30MiB",
            "--max-bytes-in-flight",
            "1MiB",
            "--max-connections",
            "0",
            "--trusted-proxy",
            "proxy",
            "--kafka-timeout",
            "10",
        ]);
        expect_test::expect![[r#"
            the configuration has faults:
              `kafka-timeout` (flag) `10`: a duration is a whole number with ms, s, m, h or d
              `rate-limit-bytes` (flag) must be 0, or 1KiB to 1000000KiB
              `trusted-proxy` (flag) `proxy`: a network is an address or ADDRESS/BITS, for example 10.0.0.0/8 or fd00::/8
              `topic` (flag) must have 1 to 249 letters, digits, `.`, `_` or `-`
              `kafka-property` (flag) `acks=1` would break a guarantee; it is always `all`
              `kafka-property` (flag) `enable.idempotence=false` would break a guarantee; it is always `true`
              `max-connections` (flag) must be at least 1
              `max-event-bytes` (flag) must not exceed `max-body-bytes`
              `max-bytes-in-flight` (flag) must be at least 93143041, so that the largest request that `max-body-bytes` and `max-events-per-request` allow can pass"#]]
        .assert_eq(&faults.unwrap_err());
    }

    #[test]
    fn a_gateway_is_open_beyond_loopback_only_on_purpose() {
        let refused = load(&["--listen=0.0.0.0:3000"]).unwrap_err();
        assert!(refused.contains("`listen` (flag) is reached from other machines"));
        assert!(load(&["--listen=0.0.0.0:3000", "--open"]).is_ok());
        assert!(load(&["--listen=[::1]:3000"]).is_ok());
        let refused = load(&["--open", "--api-keys=/nowhere"]).unwrap_err();
        assert!(refused.contains("`open` (flag) contradicts"), "{refused}");
        assert!(refused.contains("`/nowhere` cannot be read"), "{refused}");
    }
}
