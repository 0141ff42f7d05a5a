//! Flags, environment and file become a checked configuration.
//!
//! In the flow: **`config`** → `server`.
//! Not here: how values are read and reported (`service::settings`).

use std::ffi::OsString;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use log_event::document::{TENANT, keeps_tenants_apart};
use log_event::tenant::Tenant;
use service::access::{self, Access};
use service::elasticsearch::NodeUrl;
use service::login::{self, Login};
use service::settings::{Arity, Checked, Program, Setting, Settings, SettingsError};
use service::tls::{self, Tls};
use service::units::{ByteSize, Span};
use url::Url;

use crate::kafka::KafkaSettings;

/// The longest time that Elasticsearch is asked to hold a cursor for between two pages.
const CURSOR_KEEP_ALIVE_MAX: Duration = Duration::from_secs(3600);

/// query-api and its settings.
pub const PROGRAM: Program = Program {
    name: "query-api",
    about: "Searches the log events in Elasticsearch over HTTP.",
    settings: &[
        Setting::new("listen", "ADDRESS", "127.0.0.1:5000", "Where to listen"),
        access::API_KEYS,
        access::OPEN,
        access::GUARD_OPERATIONS,
        tls::TLS_CERT,
        tls::TLS_KEY,
        tls::TLS_CLIENT_CA,
        Setting::new(
            "elasticsearch-url",
            "URL",
            "http://127.0.0.1:9200",
            "A node of the cluster, http(s)://[USER:PASSWORD@]HOST:PORT; give all of them",
        )
        .many(Arity::List),
        login::ELASTICSEARCH_CREDENTIALS,
        login::ELASTICSEARCH_CA,
        Setting::new(
            "index",
            "PATTERN",
            "logflow-*",
            "The indices to search, as Elasticsearch's multi-target syntax takes them; where each tenant has its own, with `{tenant}` in it, as logflow-{tenant}-*",
        ),
        Setting::new(
            "search-timeout",
            "TIME",
            "10s",
            "How long a search may take; what it found until then is returned and called partial",
        ),
        Setting::optional(
            "max-time-range",
            "TIME",
            "The longest time range that a search may ask for; without it any range may be asked for, also none",
        ),
        Setting::new(
            "max-concurrent-searches",
            "N",
            "64",
            "How many searches may run at once; a search for more than 1,000 events counts once per 1,000",
        ),
        Setting::new(
            "max-open-cursors",
            "N",
            "100",
            "How many cursors may be open; beyond it the one unused for longest is closed",
        ),
        Setting::new(
            "cursor-keep-alive",
            "TIME",
            "1m",
            "How long a cursor stays open after its last use; at most 1h",
        ),
        Setting::new(
            "max-concurrent-exports",
            "N",
            "4",
            "How many exports may run at once",
        ),
        Setting::new(
            "max-export-events",
            "N",
            "1000000",
            "How many events an export may have; one that ends there says so",
        ),
        Setting::optional(
            "kafka-brokers",
            "HOST:PORT",
            "Where Kafka is, for the live tail and the state of the topics; without it there is neither",
        )
        .many(Arity::List),
        Setting::new(
            "topic",
            "TOPIC",
            "logs",
            "The topic that the live tail follows",
        ),
        Setting::new(
            "dead-letter-topic",
            "TOPIC",
            "logs.dead-letter",
            "Where es-sink puts what can never be indexed",
        ),
        Setting::optional(
            "sink-url",
            "URL",
            "Where an es-sink tells its status, http://HOST:9102; give all of them, or a name that stands for all",
        )
        .many(Arity::List),
        login::SINK_CREDENTIALS,
        login::SINK_CA,
        Setting::optional("kafka-property", "KEY=VALUE", "A property for librdkafka")
            .many(Arity::Lines),
        Setting::new(
            "max-tails",
            "N",
            "20",
            "How many live tails may run at once; each reads the topic by itself and holds up to 10 MB",
        ),
        Setting::new(
            "max-body-bytes",
            "SIZE",
            "1MiB",
            "The largest request body; a cursor grows by 0.2 KB for each shard it searches",
        ),
    ],
};

/// What the service needs to know, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen.
    pub listen: SocketAddr,
    /// The cluster, at least one node.
    pub elasticsearch: Vec<NodeUrl>,
    /// Who we are to it.
    pub login: Login,
    /// Who may search.
    pub access: Access,
    /// `None`: HTTP in the clear.
    pub tls: Option<Tls>,
    /// The indices to search.
    pub indices: Indices,
    /// How long Elasticsearch may search.
    pub search_timeout: Duration,
    /// The longest time range of a search.
    pub time_range_max: Option<Duration>,
    /// At least 10, so that a search of any size is admitted when no other runs.
    pub concurrent_searches_max: u32,
    /// At least 1.
    pub open_cursors_max: usize,
    /// How long a cursor lives after its last use.
    pub cursor_keep_alive: Duration,
    /// How many exports may run at once, at least 1.
    pub concurrent_exports_max: u32,
    /// How many events an export may have, at least 1.
    pub export_events_max: u64,
    /// What the live tail and the look at the pipeline read.
    pub kafka: KafkaSettings,
    /// How many live tails may run at once, at least 1.
    pub concurrent_tails_max: u32,
    /// Where the sinks tell their status.
    pub sinks: Vec<Url>,
    /// Who we are to them.
    pub sink_login: Login,
    /// The largest request body.
    pub body_bytes_max: usize,
}

impl Config {
    /// Reads the command line, the environment and the file.
    ///
    /// # Errors
    /// [`SettingsError`] with every fault.
    pub fn load(
        args: impl IntoIterator<Item = OsString>,
        env: impl Fn(&str) -> Option<String>,
    ) -> Result<(Self, Checked), SettingsError> {
        Self::read(Settings::load(PROGRAM, args, env)?)
    }

    /// The same from settings that were read already.
    ///
    /// # Errors
    /// All faults together.
    pub fn read(mut settings: Settings) -> Result<(Self, Checked), SettingsError> {
        let listen = settings.value("listen");
        let elasticsearch: Vec<NodeUrl> = settings.list("elasticsearch-url");
        let written = elasticsearch.iter().any(NodeUrl::has_credentials);
        let login = Login::from_settings(&mut settings, &login::ELASTICSEARCH, written);
        let sinks: Vec<Url> = settings.list("sink-url");
        let written = sinks.iter().any(|sink| !sink.username().is_empty());
        let sink_login = Login::from_settings(&mut settings, &login::SINKS, written);
        let config = Self {
            listen,
            access: Access::from_settings(&mut settings, listen),
            tls: Tls::from_settings(&mut settings),
            elasticsearch,
            login,
            indices: settings.value("index"),
            search_timeout: settings.value::<Span>("search-timeout").0,
            time_range_max: settings
                .optional::<Span>("max-time-range")
                .map(|span| span.0),
            concurrent_searches_max: settings.value("max-concurrent-searches"),
            open_cursors_max: settings.value("max-open-cursors"),
            cursor_keep_alive: settings.value::<Span>("cursor-keep-alive").0,
            concurrent_exports_max: settings.value("max-concurrent-exports"),
            export_events_max: settings.value("max-export-events"),
            kafka: KafkaSettings {
                brokers: settings.list("kafka-brokers"),
                topic: settings.value("topic"),
                dead_letter_topic: settings.value("dead-letter-topic"),
                properties: settings.list("kafka-property"),
            },
            concurrent_tails_max: settings.value("max-tails"),
            sinks,
            sink_login,
            body_bytes_max: settings.value::<ByteSize>("max-body-bytes").bytes(),
        };
        if config.elasticsearch.is_empty() {
            settings.reject("elasticsearch-url", "names no node");
        }
        let keys = config.access.keys();
        let tenants = keys.iter().flat_map(|keys| keys.iter());
        if let Some(key) = tenants
            .filter(|key| key.tenant.is_some())
            .map(|key| &key.id)
            .min()
            && !config.indices.is_by_tenant()
        {
            let fault = format!(
                "has no `{{tenant}}`, and key `{key}` belongs to one: give each tenant its own indices, `--index-pattern 'logflow-{{tenant}}-{{date}}'` of es-sink and `--index 'logflow-{{tenant}}-*'` here"
            );
            settings.reject("index", fault);
        }
        if config.search_timeout.is_zero() {
            settings.reject("search-timeout", "must be longer than 0");
        }
        if config.time_range_max.is_some_and(|max| max.is_zero()) {
            settings.reject("max-time-range", "must be longer than 0");
        }
        if !(10..=100_000).contains(&config.concurrent_searches_max) {
            settings.reject("max-concurrent-searches", "must be 10 to 100000");
        }
        if !(1..=10_000).contains(&config.open_cursors_max) {
            settings.reject("max-open-cursors", "must be 1 to 10000");
        }
        if !(1..=1_000).contains(&config.concurrent_exports_max) {
            settings.reject("max-concurrent-exports", "must be 1 to 1000");
        }
        if !config.sinks.iter().all(is_of_http) {
            settings.reject(
                "sink-url",
                "is written http://HOST:PORT or https://HOST:PORT",
            );
        }
        if !(1..=1_000).contains(&config.concurrent_tails_max) {
            settings.reject("max-tails", "must be 1 to 1000");
        }
        if config.export_events_max == 0 {
            settings.reject("max-export-events", "must be at least 1");
        }
        let keep_alive = Duration::from_secs(1)..=CURSOR_KEEP_ALIVE_MAX;
        if !keep_alive.contains(&config.cursor_keep_alive) {
            settings.reject("cursor-keep-alive", "must be 1s to 1h");
        }
        let checked = settings.finish()?;
        Ok((config, checked))
    }
}

fn is_of_http(url: &Url) -> bool {
    matches!(url.scheme(), "http" | "https") && url.has_host()
}

/// The indices to search, with `{tenant}` for whose they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Indices(String);

/// Why a text names no indices of tenants.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoIndices {
    /// It names none at all.
    #[error(transparent)]
    Expression(#[from] NoIndexExpression),
    /// Else a tenant's search could reach another's events.
    #[error(
        "each name that is searched must have `{{tenant}}`, kept apart by `-`, `.` or `+`, and none may be excluded, for example logflow-{{tenant}}-*"
    )]
    NotApart,
}

impl Indices {
    /// Those of a tenant, or of all for nobody in particular; `None` if tenants are not told apart.
    #[must_use]
    pub fn of(&self, tenant: Option<&Tenant>) -> Option<IndexExpression> {
        match tenant {
            None => Some(self.all()),
            Some(tenant) => self
                .is_by_tenant()
                .then(|| IndexExpression(self.0.replace(TENANT, tenant.as_str()))),
        }
    }

    /// Those of everybody.
    #[must_use]
    pub fn all(&self) -> IndexExpression {
        IndexExpression(self.0.replace(TENANT, "*"))
    }

    /// Whether each tenant has its own.
    #[must_use]
    pub fn is_by_tenant(&self) -> bool {
        self.0.contains(TENANT)
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Indices {
    type Err = NoIndices;

    fn from_str(text: &str) -> Result<Self, NoIndices> {
        let _checked: IndexExpression = text.replace(TENANT, "*").parse()?;
        let is_apart = |name: &str| {
            name.matches(TENANT).count() == 1
                && keeps_tenants_apart(name)
                && !name.starts_with(['-', '{'])
        };
        match text.contains(TENANT) && !text.split(',').all(is_apart) {
            true => Err(NoIndices::NotApart),
            false => Ok(Self(text.to_owned())),
        }
    }
}

/// The indices of one search: names and patterns, separated by commas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexExpression(String);

/// Why a text names no indices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "index names and patterns are written without spaces, `/`, `?`, `#`, `%` or upper-case letters"
)]
pub struct NoIndexExpression;

impl IndexExpression {
    /// As it stands in a request's path.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for IndexExpression {
    type Err = NoIndexExpression;

    fn from_str(text: &str) -> Result<Self, NoIndexExpression> {
        let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.+*,:".contains(c);
        let names = text
            .split(',')
            .all(|name| !name.is_empty() && !name.starts_with('_'));
        if text.chars().all(legal) && names {
            Ok(Self(text.to_owned()))
        } else {
            Err(NoIndexExpression)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(args: &[&str]) -> Result<Config, SettingsError> {
        let args = std::iter::once("query-api").chain(args.iter().copied());
        Config::load(args.map(OsString::from), |_| None).map(|(config, _)| config)
    }

    #[test]
    fn the_defaults_are_sound() {
        let config = load(&[]).unwrap();
        assert_eq!(config.listen.to_string(), "127.0.0.1:5000");
        assert_eq!(config.indices.as_str(), "logflow-*");
        assert_eq!(config.time_range_max, None);
        assert_eq!(config.body_bytes_max, 1 << 20);
    }

    #[test]
    fn every_value_out_of_bounds_is_named_with_the_bounds() {
        let error = load(&[
            "--search-timeout=0s",
            "--max-time-range=0h",
            "--max-concurrent-searches=9",
            "--max-open-cursors=0",
            "--cursor-keep-alive=2h",
            "--elasticsearch-url=,",
        ])
        .unwrap_err()
        .to_string();
        for fault in [
            "`search-timeout` (flag) must be longer than 0",
            "`max-time-range` (flag) must be longer than 0",
            "`max-concurrent-searches` (flag) must be 10 to 100000",
            "`max-open-cursors` (flag) must be 1 to 10000",
            "`cursor-keep-alive` (flag) must be 1s to 1h",
            "`elasticsearch-url` (flag) names no node",
        ] {
            assert!(error.contains(fault), "`{fault}` is missing in {error}");
        }
    }

    #[test]
    fn an_index_expression_cannot_leave_its_place_in_the_path() {
        for text in ["logflow-*", "a,b-*,-c", "remote:logs-2023.09.15"] {
            assert_eq!(text.parse::<IndexExpression>().unwrap().as_str(), text);
        }
        for text in [
            "", ",", "a,", "a/b", "a?b", "a b", "_all", "Logs", "a%2Fb", "a#b",
        ] {
            assert_eq!(
                text.parse::<IndexExpression>(),
                Err(NoIndexExpression),
                "{text}"
            );
        }
    }

    #[test]
    fn a_tenant_s_indices_are_no_other_s() {
        let indices: Indices = "logflow-{tenant}-*,old.{tenant}".parse().unwrap();
        let shop: Tenant = "shop".parse().unwrap();
        let of = |tenant| indices.of(tenant).map(|index| index.as_str().to_owned());
        assert_eq!(of(Some(&shop)).as_deref(), Some("logflow-shop-*,old.shop"));
        assert_eq!(of(None).as_deref(), Some("logflow-*-*,old.*"));
        let shared: Indices = "logflow-*".parse().unwrap();
        assert_eq!(shared.of(Some(&shop)), None);
        for text in [
            "logflow-{tenant}-*,logflow-*",
            "logflow-{tenant}*",
            "logflow-*{tenant}-*",
            "logflow_{tenant}-*",
            "{tenant}-*",
            "logflow-{tenant}-{tenant}-*",
            "logflow-{tenant}-*,-logflow-{tenant}-1",
        ] {
            assert_eq!(text.parse::<Indices>(), Err(NoIndices::NotApart), "{text}");
        }
    }
}
