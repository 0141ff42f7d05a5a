//! What `es-sink topics` is asked to do, checked.
//!
//! In the flow: `service::settings` → **`command`** → `topics`. Pure.

use service::command_line::{CommandGroup, Shared, Subcommand};
use service::kafka::KafkaProperty;
use service::settings::{Setting, Settings, SettingsError};
use service::units::Span;

use super::plan::{COMPRESSION, MIN_INSYNC, RETENTION, Wanted};

const SHARED: Shared = Shared::These(&[
    "kafka-brokers",
    "kafka-property",
    "topic",
    "dead-letter-topic",
]);
const FLAGS: &[Setting] = &[
    Setting::optional("partitions", "N", "Partitions of each topic that is read"),
    Setting::optional("replication-factor", "N", "Replicas of each partition"),
    Setting::optional(
        "min-insync-replicas",
        "N",
        "Replicas that must have a record before it is acknowledged",
    ),
    Setting::optional("retention", "DURATION", "How long records are kept, as 7d"),
    Setting::optional(
        "dead-letter-retention",
        "DURATION",
        "How long dead letters are kept, as 30d",
    ),
];

/// The commands.
pub const GROUP: CommandGroup = CommandGroup {
    name: "topics",
    about: "Compares the topics and the dead-letter topic with what is wanted, and makes them so",
    commands: &[
        Subcommand {
            name: "check",
            about: "Shows what differs, a line each; the exit status is 1 if something does",
            shares: SHARED,
            flags: FLAGS,
            operand: None,
        },
        Subcommand {
            name: "apply",
            about: "Makes what is missing, grows and sets what may be; says what a person must do",
            shares: SHARED,
            flags: FLAGS,
            operand: None,
        },
    ],
};

/// What to do, and where.
#[derive(Clone, Debug)]
pub struct TopicsConfig {
    /// Brokers to start from.
    pub brokers: Vec<String>,
    /// Properties for librdkafka.
    pub kafka_properties: Vec<KafkaProperty>,
    /// The topics that are read, then that of the dead letters.
    pub wanted: Vec<Wanted>,
    /// Whether to change anything.
    pub is_applied: bool,
}

impl TopicsConfig {
    /// Reads the settings of a command of [`GROUP`].
    ///
    /// # Errors
    /// All faults together.
    pub fn read(mut settings: Settings, command: &Subcommand) -> Result<Self, SettingsError> {
        let partitions = number(&mut settings, "partitions");
        let replication_factor = number(&mut settings, "replication-factor");
        let min_insync = number(&mut settings, "min-insync-replicas");
        if min_insync.is_some_and(|min| replication_factor.is_some_and(|all| min > all)) {
            settings.reject(
                "min-insync-replicas",
                "is more than `replication-factor`: nothing could be written",
            );
        }
        let retention = span(&mut settings, "retention");
        let dead_letter_retention = span(&mut settings, "dead-letter-retention");
        let topic = |name: String, partitions, retention: Option<Span>| {
            let retention = retention.map(|Span(span)| (RETENTION, span.as_millis().to_string()));
            let min_insync = min_insync.map(|min| (MIN_INSYNC, min.to_string()));
            let compression = Some((COMPRESSION, "producer".to_owned()));
            let own = [compression, min_insync, retention];
            Wanted {
                name,
                partitions,
                replication_factor,
                settings: own.into_iter().flatten().collect(),
            }
        };
        let topics: Vec<String> = settings.list("topic");
        if topics.is_empty() {
            settings.reject("topic", "at least one topic is needed");
        }
        let mut wanted: Vec<Wanted> = topics
            .into_iter()
            .map(|name| topic(name, partitions, retention))
            .collect();
        // Dead letters are few: how many partitions they have is nobody's concern.
        wanted.push(topic(
            settings.value("dead-letter-topic"),
            None,
            dead_letter_retention,
        ));
        let config = Self {
            brokers: settings.list("kafka-brokers"),
            kafka_properties: settings.list("kafka-property"),
            wanted,
            is_applied: command.name == "apply",
        };
        if config.brokers.is_empty() {
            settings.reject("kafka-brokers", "at least one broker is needed");
        }
        settings.finish().map(|_checked| config)
    }
}

fn number(settings: &mut Settings, name: &str) -> Option<u32> {
    let number: Option<u32> = settings.optional(name);
    if number.is_some_and(|n| !(1..=10_000).contains(&n)) {
        settings.reject(name, "must lie between 1 and 10000");
    }
    number
}

fn span(settings: &mut Settings, name: &str) -> Option<Span> {
    let span: Option<Span> = settings.optional(name);
    if span.is_some_and(|Span(span)| span.is_zero()) {
        settings.reject(name, "would keep nothing");
    }
    span
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use service::command_line::Entry;

    use super::*;
    use crate::config::PROGRAM;

    fn read(args: &[&str]) -> Result<TopicsConfig, SettingsError> {
        let given = ["es-sink", "topics", "check"].into_iter();
        let args = given.chain(args.iter().copied()).map(OsString::from);
        let entries = &[Entry::Group(GROUP)];
        let (settings, chosen) = Settings::load_with(PROGRAM, entries, args, |_| None)?;
        TopicsConfig::read(settings, chosen.unwrap().command)
    }

    #[test]
    fn dead_letters_have_a_retention_of_their_own() {
        let config = read(&[
            "--topic",
            "a,b",
            "--partitions",
            "6",
            "--retention",
            "7d",
            "--dead-letter-retention",
            "30d",
        ]);
        let wanted = config.unwrap().wanted;
        let read: Vec<_> = wanted
            .iter()
            .map(|topic| {
                (
                    topic.name.as_str(),
                    topic.partitions,
                    topic.settings[RETENTION].as_str(),
                )
            })
            .collect();
        let expected = [
            ("a", Some(6), "604800000"),
            ("b", Some(6), "604800000"),
            ("logs.dead-letter", None, "2592000000"),
        ];
        assert_eq!(read, expected);
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for (args, named) in [
            (&["--partitions", "0"][..], "`partitions`"),
            (&["--retention", "0s"], "`retention`"),
            (
                &["--dead-letter-retention", "long"],
                "`dead-letter-retention`",
            ),
            (
                &["--replication-factor", "1", "--min-insync-replicas", "2"],
                "`min-insync-replicas`",
            ),
        ] {
            let error = read(args).unwrap_err().to_string();
            assert!(error.contains(named), "{args:?}: {error}");
        }
    }
}
