//! What `es-sink dead-letters` is asked to do, checked.
//!
//! In the flow: `service::settings` → **`command`** → `dead_letters`. Pure.

use service::command_line::{CommandGroup, Shared, Subcommand};
use service::kafka::KafkaProperty;
use service::settings::{Arity, Setting, Settings, SettingsError};

use super::filter::{Filter, Moment};
use super::letter::Place;

/// The settings of the service that tell where dead letters are.
const SHARED: Shared = Shared::These(&[
    "kafka-brokers",
    "kafka-property",
    "group-id",
    "dead-letter-topic",
]);

const REASON: Setting = Setting::optional(
    "reason",
    "NAME",
    "Only letters with this reason, as `list` shows it",
)
.many(Arity::List);
const SOURCE_TOPIC: Setting =
    Setting::optional("source-topic", "NAME", "Only letters from this topic").many(Arity::List);
const SINCE: Setting = Setting::optional(
    "since",
    "MOMENT",
    "Only letters whose record was written to Kafka at this moment or later: 2026-01-31T08:00:00Z, or 2h for two hours ago",
);
const UNTIL: Setting = Setting::optional("until", "MOMENT", "Only letters from before this moment");
const TENANT: Setting = Setting::optional("tenant", "NAME", "Only letters of this tenant");
const JSON: Setting = Setting::switch("json", "Write JSON, one object a line");

/// The commands.
pub const GROUP: CommandGroup = CommandGroup {
    name: "dead-letters",
    about: "Shows what could never be indexed, and sends it once more when that has changed",
    commands: &[
        Subcommand {
            name: "list",
            about: "Lists dead letters, one a line, and counts them by reason",
            shares: SHARED,
            flags: &[
                REASON,
                SOURCE_TOPIC,
                TENANT,
                SINCE,
                UNTIL,
                Setting::new(
                    "limit",
                    "N",
                    "100",
                    "Lines at most; all letters are counted",
                ),
                JSON,
            ],
            operand: None,
        },
        Subcommand {
            name: "show",
            about: "Shows all of one dead letter: headers, reason, key and value",
            shares: SHARED,
            flags: &[],
            operand: Some(Setting::optional(
                "place",
                "PARTITION:OFFSET",
                "Where the letter stands in the dead-letter topic, as `list` shows it",
            )),
        },
        Subcommand {
            name: "redrive",
            about: "Writes the records of dead letters to their topics once more, each once however often this is run or interrupted",
            shares: SHARED,
            flags: &[
                REASON,
                SOURCE_TOPIC,
                TENANT,
                SINCE,
                UNTIL,
                Setting::optional("limit", "N", "Letters at most"),
                Setting::switch("all", "Every letter that was not redriven yet"),
                Setting::switch(
                    "dry-run",
                    "Count what would be redriven, and change nothing",
                ),
                JSON,
            ],
            operand: Some(
                Setting::optional(
                    "place",
                    "PARTITION:OFFSET",
                    "Only the letters at these places, as `list` shows them",
                )
                .many(Arity::List),
            ),
        },
    ],
};

/// What to do, and where.
#[derive(Clone, Debug)]
pub struct DeadLettersConfig {
    /// Brokers to start from.
    pub brokers: Vec<String>,
    /// Properties for librdkafka.
    pub kafka_properties: Vec<KafkaProperty>,
    /// The sink's group; it is neither joined nor changed, but what the sink may do here may be
    /// done in its name.
    pub group: String,
    /// Where the dead letters are.
    pub topic: String,
    /// What to do.
    pub order: Order,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// List letters.
    List {
        /// Which.
        filter: Filter,
        /// Lines at most.
        limit: u64,
        /// For programs.
        json: bool,
    },
    /// Show one.
    Show(Place),
    /// Redrive letters.
    Redrive(RedriveOrder),
}

/// Which letters to redrive, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedriveOrder {
    /// Which.
    pub filter: Filter,
    /// Letters at most; `None` is no limit.
    pub limit: Option<u64>,
    /// Change nothing.
    pub dry_run: bool,
    /// For programs.
    pub json: bool,
}

impl DeadLettersConfig {
    /// Reads the settings of a command of [`GROUP`]. `now_ms` is the time from which `2h` counts.
    ///
    /// # Errors
    /// All faults together.
    pub fn read(
        mut settings: Settings,
        command: &Subcommand,
        now_ms: i64,
    ) -> Result<Self, SettingsError> {
        let order = match command.name {
            "show" => Order::Show(settings.optional("place").unwrap_or(Place {
                partition: 0,
                offset: 0,
            })),
            "redrive" => Order::Redrive(redrive(&mut settings, now_ms)),
            _ => Order::List {
                filter: filter(&mut settings, now_ms),
                limit: settings.value("limit"),
                json: settings.switch("json"),
            },
        };
        let config = Self {
            brokers: settings.list("kafka-brokers"),
            kafka_properties: settings.list("kafka-property"),
            group: settings.value("group-id"),
            topic: settings.value("dead-letter-topic"),
            order,
        };
        if config.brokers.is_empty() {
            settings.reject("kafka-brokers", "at least one broker is needed");
        }
        settings.finish().map(|_checked| config)
    }
}

fn redrive(settings: &mut Settings, now_ms: i64) -> RedriveOrder {
    let mut filter = filter(settings, now_ms);
    filter.places = settings.list("place");
    let all = settings.switch("all");
    // A slip of the finger is not to send everything.
    if filter.is_empty() && !all {
        settings.reject(
            "all",
            "is needed to redrive every dead letter; else say which: --reason, --source-topic, --tenant, --since, --until or PARTITION:OFFSET",
        );
    }
    if !filter.is_empty() && all {
        settings.reject("all", "contradicts the other filters");
    }
    RedriveOrder {
        filter,
        limit: settings.optional("limit"),
        dry_run: settings.switch("dry-run"),
        json: settings.switch("json"),
    }
}

fn filter(settings: &mut Settings, now_ms: i64) -> Filter {
    let mut moment = |name| {
        let moment: Option<Moment> = settings.optional(name);
        moment.map(|moment| moment.millis(now_ms))
    };
    let (since_ms, until_ms) = (moment("since"), moment("until"));
    Filter {
        reasons: settings.list("reason"),
        source_topics: settings.list("source-topic"),
        since_ms,
        until_ms,
        places: Vec::new(),
        tenant: settings.optional("tenant"),
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use service::command_line::Entry;

    use super::*;
    use crate::config::PROGRAM;

    fn read(args: &[&str]) -> Result<DeadLettersConfig, SettingsError> {
        let given = ["es-sink", "dead-letters"].into_iter();
        let args = given.chain(args.iter().copied()).map(OsString::from);
        let entries = &[Entry::Group(GROUP)];
        let (settings, chosen) = Settings::load_with(PROGRAM, entries, args, |_| None)?;
        DeadLettersConfig::read(settings, chosen.unwrap().command, 10_000)
    }

    fn order(args: &[&str]) -> Order {
        read(args).unwrap().order
    }

    #[test]
    fn every_command_reads_its_own() {
        let config = read(&[
            "list",
            "--kafka-brokers",
            "a:1",
            "--reason",
            "r,s",
            "--since",
            "2s",
        ]);
        let config = config.unwrap();
        assert_eq!(
            (config.brokers.as_slice(), config.topic.as_str()),
            (&["a:1".to_owned()][..], "logs.dead-letter")
        );
        let filter = Filter {
            reasons: vec!["r".to_owned(), "s".to_owned()],
            since_ms: Some(8_000),
            ..Filter::default()
        };
        let expected = Order::List {
            filter,
            limit: 100,
            json: false,
        };
        assert_eq!(config.order, expected);
        assert_eq!(
            order(&["show", "3:17"]),
            Order::Show("3:17".parse().unwrap())
        );
        let redrive = |filter, dry_run| {
            Order::Redrive(RedriveOrder {
                filter,
                limit: None,
                dry_run,
                json: false,
            })
        };
        assert_eq!(
            order(&["redrive", "--all", "--dry-run"]),
            redrive(Filter::default(), true)
        );
        let places = Filter {
            places: vec!["0:1".parse().unwrap(), "0:2".parse().unwrap()],
            ..Filter::default()
        };
        assert_eq!(order(&["redrive", "0:1", "0:2"]), redrive(places, false));
    }

    #[test]
    fn what_is_meant_must_be_said() {
        for (args, named) in [
            (&["redrive"][..], "`all`"),
            (&["redrive", "--limit", "3"], "`all`"),
            (&["redrive", "--all", "--reason", "r"], "`all`"),
            (&["redrive", "17"], "`place`"),
            (&["list", "--since", "yesterday"], "`since`"),
            (&["list", "--limit", "few"], "`limit`"),
            (&["show"], "PARTITION:OFFSET"),
            (&["show", "first"], "`place`"),
        ] {
            let error = read(args).unwrap_err().to_string();
            assert!(error.contains(named), "{args:?}: {error}");
        }
    }
}
