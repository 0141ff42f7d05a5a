//! What differs between the topics that there are and those that are wanted, and what may be done about it.
//!
//! In the flow: `command` → **`plan`** → `topics`. Pure. What would lose records, or make losing them easier, is
//! never done: it is told with the way to do it by hand.

use std::collections::BTreeMap;
use std::fmt;

/// How long records are kept, in milliseconds; -1 is for ever.
pub const RETENTION: &str = "retention.ms";
/// How many replicas must have a record before it is acknowledged.
pub const MIN_INSYNC: &str = "min.insync.replicas";
/// The broker compresses anew unless this is `producer`.
pub const COMPRESSION: &str = "compression.type";

/// How a topic should be. What is `None` is left to the brokers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Its name.
    pub name: String,
    /// Partitions.
    pub partitions: Option<u32>,
    /// Replicas of each partition, the leader among them.
    pub replication_factor: Option<u32>,
    /// Its own settings.
    pub settings: BTreeMap<&'static str, String>,
}

/// How a topic is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Partitions.
    pub partitions: u32,
    /// The fewest replicas that a partition has.
    pub replication_factor: u32,
    /// All settings that hold for it.
    pub settings: BTreeMap<String, String>,
    /// Those that were set for this topic.
    pub own: BTreeMap<String, String>,
}

/// One thing that is not as wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// There is no such topic.
    Create,
    /// There are fewer partitions.
    Grow {
        /// Partitions that there are.
        from: u32,
        /// Partitions wanted.
        to: u32,
    },
    /// A setting has another value.
    Set {
        /// Its name.
        key: &'static str,
        /// The value that holds.
        from: String,
        /// The value wanted.
        to: String,
    },
    /// Only a person may do it.
    ByHand {
        /// What differs.
        what: String,
        /// Why it is not done.
        why: &'static str,
        /// How it is done.
        how: String,
    },
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create => f.write_str("is not there"),
            Self::Grow { from, to } => write!(f, "partitions: {from}, wanted {to}"),
            Self::Set { key, from, to } => write!(f, "{key}: {from}, wanted {to}"),
            Self::ByHand { what, why, how } => {
                write!(f, "{what}; not done by `apply`, since {why}: {how}")
            }
        }
    }
}

/// What is to be done about a topic.
#[must_use]
pub fn steps(wanted: &Wanted, held: Option<&Held>) -> Vec<Step> {
    let Some(held) = held else {
        return vec![Step::Create];
    };
    let mut steps = Vec::new();
    let name = &wanted.name;
    if let Some(to) = wanted.partitions {
        let from = held.partitions;
        if from < to {
            steps.push(Step::Grow { from, to });
        } else if from > to {
            steps.push(Step::ByHand {
                what: format!("partitions: {from}, wanted {to}"),
                why: "Kafka cannot take partitions away",
                how: "make another topic, let the gateways write there, and the sinks read both until the old one is empty".to_owned(),
            });
        }
    }
    if let Some(to) = wanted
        .replication_factor
        .filter(|to| *to != held.replication_factor)
    {
        steps.push(Step::ByHand {
            what: format!(
                "replication factor: {}, wanted {to}",
                held.replication_factor
            ),
            why: "it moves all of the topic's data between brokers",
            how: format!(
                "kafka-reassign-partitions.sh with {to} replicas for each partition of `{name}`"
            ),
        });
    }
    for (key, to) in &wanted.settings {
        let from = held.settings.get(*key).map_or("", String::as_str);
        if from == to {
            continue;
        }
        steps.push(match lowers(key, from, to) {
            Some(why) => Step::ByHand {
                what: format!("{key}: {from}, wanted {to}"),
                why,
                how: format!(
                    "kafka-configs.sh --alter --entity-type topics --entity-name {name} --add-config {key}={to}"
                ),
            },
            None => Step::Set {
                key,
                from: from.to_owned(),
                to: to.clone(),
            },
        });
    }
    steps
}

/// All of the topic's own settings with those of `steps`: whoever alters some replaces all.
#[must_use]
pub fn settings_after(held: &Held, steps: &[Step]) -> BTreeMap<String, String> {
    let mut all = held.own.clone();
    for step in steps {
        if let Step::Set { key, to, .. } = step {
            all.insert((*key).to_owned(), to.clone());
        }
    }
    all
}

/// Why a change takes safety away, if it does.
fn lowers(key: &str, from: &str, to: &str) -> Option<&'static str> {
    let number = |text: &str| text.parse::<i64>().ok();
    // For ever is the longest.
    let span = |text: &str| number(text).map(|n| if n < 0 { i64::MAX } else { n });
    match key {
        // What cannot be read may be more than what is wanted.
        RETENTION => (span(from).unwrap_or(i64::MAX) > span(to)?)
            .then_some("records would be deleted earlier than now"),
        MIN_INSYNC => (number(from).unwrap_or(i64::MAX) > number(to)?)
            .then_some("records would be acknowledged with fewer replicas than now"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400_000;

    fn wanted() -> Wanted {
        Wanted {
            name: "logs".to_owned(),
            partitions: Some(12),
            replication_factor: Some(3),
            settings: [
                (RETENTION, (7 * DAY).to_string()),
                (MIN_INSYNC, "2".to_owned()),
                (COMPRESSION, "producer".to_owned()),
            ]
            .into(),
        }
    }

    fn held() -> Held {
        let settings = wanted().settings.into_iter();
        Held {
            partitions: 12,
            replication_factor: 3,
            settings: settings
                .map(|(key, value)| (key.to_owned(), value))
                .collect(),
            own: BTreeMap::new(),
        }
    }

    #[track_caller]
    fn check(change: impl FnOnce(&mut Held), expected: &[&str]) {
        let mut held = held();
        change(&mut held);
        let steps = steps(&wanted(), Some(&held));
        let told: Vec<String> = steps.iter().map(Step::to_string).collect();
        assert_eq!(told.len(), expected.len(), "{told:?}");
        for (told, expected) in told.iter().zip(expected) {
            assert!(told.starts_with(expected), "{told}");
        }
    }

    fn set(key: &'static str, value: &str) -> impl FnOnce(&mut Held) {
        move |held| drop(held.settings.insert(key.to_owned(), value.to_owned()))
    }

    #[test]
    fn what_is_as_wanted_or_not_asked_for_differs_in_nothing() {
        check(|_| (), &[]);
        let any = Wanted {
            name: "logs".to_owned(),
            ..Wanted::default()
        };
        assert_eq!(steps(&any, Some(&held())), []);
        assert_eq!(steps(&any, None), [Step::Create]);
    }

    #[test]
    fn what_adds_safety_or_room_is_done() {
        check(|held| held.partitions = 3, &["partitions: 3, wanted 12"]);
        check(set(RETENTION, "1"), &["retention.ms: 1, wanted 604800000"]);
        check(set(MIN_INSYNC, "1"), &["min.insync.replicas: 1, wanted 2"]);
        check(
            set(COMPRESSION, "gzip"),
            &["compression.type: gzip, wanted producer"],
        );
        let mut held = held();
        held.settings.insert(RETENTION.to_owned(), "1".to_owned());
        let steps = steps(&wanted(), Some(&held));
        assert!(matches!(steps[..], [Step::Set { .. }]), "{steps:?}");
    }

    #[test]
    fn what_takes_safety_away_is_left_to_a_person() {
        let by_hand = |change: &dyn Fn(&mut Held)| {
            let mut held = held();
            change(&mut held);
            let steps = steps(&wanted(), Some(&held));
            assert!(matches!(steps[..], [Step::ByHand { .. }]), "{steps:?}");
            assert_eq!(settings_after(&held, &steps), held.own);
        };
        let setting = |key: &'static str, value: &'static str| {
            move |held: &mut Held| drop(held.settings.insert(key.to_owned(), value.to_owned()))
        };
        by_hand(&|held| held.partitions = 24);
        by_hand(&|held| held.replication_factor = 1);
        by_hand(&|held| held.replication_factor = 5);
        by_hand(&setting(RETENTION, "604800001"));
        by_hand(&setting(RETENTION, "-1"));
        by_hand(&setting(RETENTION, "long"));
        by_hand(&setting(MIN_INSYNC, "3"));
    }

    #[test]
    fn a_topics_other_settings_stay() {
        let mut held = held();
        held.settings.insert(RETENTION.to_owned(), "1".to_owned());
        held.own = [("max.message.bytes", "9"), (RETENTION, "1")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into();
        let after = settings_after(&held, &steps(&wanted(), Some(&held)));
        let expected = [("max.message.bytes", "9"), (RETENTION, "604800000")];
        let expected = expected.map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(after, expected.into());
    }
}
