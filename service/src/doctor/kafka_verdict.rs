//! What the brokers' answers mean for a service, and the way out.
//!
//! In the flow: `kafka` → **`kafka_verdict`** → `doctor`. Pure.

use std::collections::BTreeMap;

use rdkafka::error::RDKafkaErrorCode as Code;

use super::Finding;
use crate::kafka::described::{Operation, Operations, Partition, Topic};

/// What a service needs of a topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicNeed {
    /// Its name.
    pub name: String,
    /// Whether records are read from it.
    pub reads: bool,
    /// Whether records are written to it.
    pub writes: bool,
    /// The largest record that is written, and the setting that says so.
    pub largest: Option<(u64, &'static str)>,
}

/// What is known of a topic's settings; `None`: they may not be asked for.
pub type TopicSettings = Option<BTreeMap<String, String>>;

/// Why no broker answered, by what its connections told.
#[must_use]
pub fn no_answer(seen: &[(Code, String)]) -> Finding {
    const ABOUT: &str = "Kafka";
    let told = |code: Code| {
        let told = seen.iter().rev().find(|(seen, _)| *seen == code);
        told.map(|(_, reason)| reason.split(" (after ").next().unwrap_or(reason))
    };
    let refused = told(Code::Authentication)
        .or_else(|| told(Code::SaslAuthenticationFailed))
        .or_else(|| told(Code::UnsupportedSASLMechanism));
    let says = if let Some(reason) = refused {
        format!(
            "the sign-in is not taken: look at `sasl.username`, `sasl.password` and `sasl.mechanism` of --kafka-property ({reason})"
        )
    } else if let Some(reason) = told(Code::SSL) {
        format!(
            "no agreement on TLS: look at `ssl.ca.location` and the broker's certificate, and whether it speaks TLS at this address ({reason})"
        )
    } else if let Some(reason) = told(Code::Resolve) {
        format!("the address is not known: look at --kafka-brokers and the name service ({reason})")
    } else if let Some(reason) = told(Code::BrokerTransportFailure) {
        format!(
            "no connection lasts: look at --kafka-brokers, and at `security.protocol` of --kafka-property ({reason})"
        )
    } else if let Some((code, reason)) = seen.last() {
        format!("no broker answers: {code}: {reason}")
    } else {
        "no broker answers in time: look at --kafka-brokers and what is between".to_owned()
    };
    Finding::fail(ABOUT, says)
}

/// Whether the topic is there, keeps enough copies, may be used, and takes what is written.
#[must_use]
pub fn topic(
    need: &TopicNeed,
    found: Option<&Result<Topic, Code>>,
    settings: &TopicSettings,
) -> Vec<Finding> {
    let about = format!("Kafka topic `{}`", need.name);
    let topic = match found {
        Some(Ok(topic)) => topic,
        Some(Err(Code::UnknownTopicOrPartition)) | None => {
            let says = "there is none: create it, or mend the setting that names it";
            return vec![Finding::fail(about, says)];
        }
        Some(Err(Code::TopicAuthorizationFailed)) => {
            let says = format!(
                "the user may not even describe it: it needs the ACL {} on this topic",
                needed(need)
            );
            return vec![Finding::fail(about, says)];
        }
        Some(Err(error)) => return vec![Finding::fail(about, error.to_string())],
    };
    let mut findings = vec![Finding::ok(
        about.clone(),
        format!("{} partitions", topic.partitions.len()),
    )];
    findings.push(privileges(need, &topic.operations));
    findings.push(copies(&about, topic, settings.as_ref()));
    findings.extend(largest(need, settings.as_ref()));
    findings
}

fn needed(need: &TopicNeed) -> &'static str {
    match (need.reads, need.writes) {
        (true, true) => "Read and Write",
        (false, true) => "Write",
        _ => "Read",
    }
}

fn privileges(need: &TopicNeed, operations: &Operations) -> Finding {
    let about = format!("Kafka topic `{}`, privileges", need.name);
    let Some(operations) = operations else {
        let says = "this Kafka does not tell them (it does from 2.3 on)";
        return Finding::warn(about, says);
    };
    let lacks = |wanted, operation| wanted && !operations.contains(&operation);
    let missing = [
        lacks(need.reads, Operation::Read).then_some("Read"),
        lacks(need.writes, Operation::Write).then_some("Write"),
    ];
    let missing: Vec<&str> = missing.into_iter().flatten().collect();
    match missing.is_empty() {
        true => Finding::ok(about, format!("{} is allowed", needed(need))),
        false => {
            let missing = missing.join(" and ");
            let says = format!("the user lacks the ACL {missing} on this topic");
            Finding::fail(about, says)
        }
    }
}

fn copies(about: &str, topic: &Topic, settings: Option<&BTreeMap<String, String>>) -> Finding {
    let about = format!("{about}, copies");
    let replicas = topic.partitions.iter().map(|partition| partition.replicas);
    let replicas = replicas.min().unwrap_or_default();
    let least: Option<usize> = settings
        .and_then(|settings| settings.get("min.insync.replicas"))
        .and_then(|text| text.parse().ok());
    let count = |is: &dyn Fn(&&Partition) -> bool| topic.partitions.iter().filter(is).count();
    let leaderless = count(&|partition| !partition.has_leader);
    if leaderless > 0 {
        let says = format!("{leaderless} partitions have no leader: look at the brokers");
        return Finding::fail(about, says);
    }
    let short = count(&|partition| least.is_some_and(|least| partition.in_sync < least));
    if short > 0 {
        let says = format!(
            "{short} partitions take no records: fewer replicas are in sync than `min.insync.replicas`; look at the brokers"
        );
        return Finding::fail(about, says);
    }
    let behind = count(&|partition| partition.in_sync < partition.replicas);
    if behind > 0 {
        let says =
            format!("{behind} partitions have replicas that are not in sync: look at the brokers");
        return Finding::warn(about, says);
    }
    match (replicas, least) {
        (0 | 1, _) => Finding::warn(
            about,
            "one: with its broker's disk acknowledged events are lost; use a replication factor of 3 and `min.insync.replicas=2`",
        ),
        (_, None) => Finding::ok(
            about,
            format!(
                "{replicas}; `min.insync.replicas` is not known without the ACL DescribeConfigs"
            ),
        ),
        (_, Some(0 | 1)) => Finding::warn(
            about,
            format!(
                "{replicas}, and one of them may acknowledge alone: if its broker fails, acknowledged events are lost; set `min.insync.replicas=2`"
            ),
        ),
        (_, Some(least)) if least >= replicas => Finding::warn(
            about,
            format!("{replicas}, and all must acknowledge: one broker that stops, stops the flow"),
        ),
        (_, Some(least)) => Finding::ok(about, format!("{replicas}, of which {least} acknowledge")),
    }
}

fn largest(need: &TopicNeed, settings: Option<&BTreeMap<String, String>>) -> Option<Finding> {
    let (needed, setting) = need.largest?;
    let takes: u64 = settings?.get("max.message.bytes")?.parse().ok()?;
    let about = format!("Kafka topic `{}`, record size", need.name);
    Some(match takes >= needed {
        true => Finding::ok(about, format!("takes {takes} bytes, {needed} are needed")),
        false => Finding::fail(
            about,
            format!(
                "takes {takes} bytes, and {setting} allows {needed}: raise `max.message.bytes` of the topic, or lower {setting}"
            ),
        ),
    })
}

/// Whether offsets may be committed in the group.
#[must_use]
pub fn group(name: &str, found: Option<&Result<Operations, Code>>) -> Finding {
    let about = format!("Kafka group `{name}`");
    let lacking = "the user lacks the ACL Read on this group";
    match found {
        Some(Ok(Some(operations))) if operations.contains(&Operation::Read) => {
            Finding::ok(about, "Read is allowed")
        }
        Some(Ok(Some(_)) | Err(Code::GroupAuthorizationFailed)) => Finding::fail(about, lacking),
        Some(Ok(None)) => Finding::warn(about, "this Kafka does not tell what may be done with it"),
        Some(Err(Code::GroupIdNotFound)) | None => Finding::warn(
            about,
            "there is none yet, so Kafka does not tell whether the user has the ACL Read on it",
        ),
        Some(Err(error)) => Finding::fail(about, error.to_string()),
    }
}

/// Whether the producer that must not write twice may begin.
#[must_use]
pub fn transactional_id(
    id: &str,
    prefix: &str,
    began: Result<(), (Option<Code>, String)>,
) -> Finding {
    let about = format!("Kafka transactional ids `{prefix}*`");
    match began {
        Ok(()) => Finding::ok(about, format!("Write is allowed, as tried with `{id}`")),
        Err((Some(Code::TransactionalIdAuthorizationFailed), _)) => Finding::fail(
            about,
            "the user lacks the ACL Write on transactional ids with this prefix",
        ),
        Err((_, reason)) => Finding::fail(
            about,
            format!("a transaction's producer does not start: {reason}"),
        ),
    }
}

/// Whether a broker's address leads somewhere.
#[must_use]
pub fn address(address: &str, is_advertised: bool, reached: Result<(), String>) -> Finding {
    let about = format!("Kafka broker `{address}`");
    match (reached, is_advertised) {
        (Ok(()), _) => Finding::ok(about, "takes connections"),
        (Err(reason), false) => Finding::fail(
            about,
            format!(
                "cannot be reached: {reason}; look at --kafka-brokers, the broker, and what is between"
            ),
        ),
        (Err(reason), true) => Finding::fail(
            about,
            format!(
                "is what the brokers advertise, and cannot be reached from here: {reason}; look at their `advertised.listeners`"
            ),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_that_fails_is_told_by_its_cause() {
        let seen = |codes: &[(Code, &str)]| {
            let seen = codes.iter().map(|(code, why)| (*code, (*why).to_owned()));
            no_answer(&seen.collect::<Vec<_>>()).says
        };
        let transport = (Code::BrokerTransportFailure, "refused (after 1ms)");
        for (codes, expected) in [
            (
                &[transport, (Code::Authentication, "Invalid"), transport][..],
                "`sasl.password`",
            ),
            (
                &[transport, (Code::SSL, "verify failed")],
                "`ssl.ca.location`",
            ),
            (&[(Code::Resolve, "unknown host")], "the name service"),
            (
                &[transport],
                "`security.protocol` of --kafka-property (refused)",
            ),
            (&[], "in time"),
        ] {
            let says = seen(codes);
            assert!(says.contains(expected), "{codes:?}: {says}");
        }
    }

    fn logs() -> TopicNeed {
        TopicNeed {
            name: "logs".to_owned(),
            writes: true,
            largest: Some((1_004_096, "--max-event-bytes")),
            ..TopicNeed::default()
        }
    }

    #[track_caller]
    fn check(replicas: usize, in_sync: usize, settings: &[(&str, &str)], expected: &[&str]) {
        let partition = Partition {
            has_leader: true,
            replicas,
            in_sync,
        };
        let topic = Topic {
            id: None,
            partitions: vec![partition; 2],
            operations: Some(vec![Operation::Write, Operation::Other]),
        };
        let settings = settings
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let settings = (settings.len() > 0).then(|| settings.collect());
        let found = super::topic(&logs(), Some(&Ok(topic)), &settings);
        let lines: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(lines.len(), expected.len(), "{lines:#?}");
        for (line, expected) in lines.iter().zip(expected) {
            assert!(line.starts_with(expected), "{line}\n{expected}");
        }
    }

    #[test]
    fn a_topic_is_judged_by_its_copies_and_what_it_takes() {
        let there = "ok    Kafka topic `logs`: 2 partitions";
        let may = "ok    Kafka topic `logs`, privileges: Write is allowed";
        let copies = |text: &str| text.replace('@', "  Kafka topic `logs`, copies: ");
        let takes = "ok    Kafka topic `logs`, record size: takes 1048588";
        let size = ("max.message.bytes", "1048588");
        let least = |text| ("min.insync.replicas", text);
        for (replicas, in_sync, min, told) in [
            (3, 3, "2", "ok  @3, of which 2 acknowledge"),
            (3, 3, "1", "warn@3, and one of them may"),
            (3, 3, "3", "warn@3, and all must"),
            (3, 2, "2", "warn@2 partitions have replicas"),
            (3, 1, "2", "FAIL@2 partitions take no records"),
            (1, 1, "1", "warn@one: with its"),
        ] {
            let settings = [size, least(min)];
            check(
                replicas,
                in_sync,
                &settings,
                &[there, may, &copies(told), takes],
            );
        }
        check(3, 3, &[], &[there, may, &copies("ok  @3; `min.insync")]);
        let small = [("max.message.bytes", "1000"), least("2")];
        let refused = "FAIL  Kafka topic `logs`, record size: takes 1000 bytes, and --max-event-bytes allows 1004096";
        check(3, 3, &small, &[there, may, &copies("ok  @3, of"), refused]);
    }

    #[test]
    fn what_is_missing_is_named() {
        let only = |found: Option<Result<Topic, Code>>| {
            let found = topic(&logs(), found.as_ref(), &None);
            assert_eq!(found.len(), 1);
            found[0].to_string()
        };
        let none =
            "FAIL  Kafka topic `logs`: there is none: create it, or mend the setting that names it";
        assert_eq!(only(None), none);
        assert_eq!(only(Some(Err(Code::UnknownTopicOrPartition))), none);
        let denied = only(Some(Err(Code::TopicAuthorizationFailed)));
        assert!(denied.contains("the ACL Write on this topic"), "{denied}");
        let lacks = privileges(&logs(), &Some(vec![Operation::Read]));
        assert_eq!(
            lacks.to_string(),
            "FAIL  Kafka topic `logs`, privileges: the user lacks the ACL Write on this topic"
        );
        let told = |found: Option<Result<Operations, Code>>| group("g", found.as_ref()).to_string();
        assert!(told(Some(Ok(Some(vec![Operation::Read])))).starts_with("ok"));
        assert!(told(Some(Ok(Some(Vec::new())))).starts_with("FAIL"));
        assert!(told(Some(Err(Code::GroupAuthorizationFailed))).starts_with("FAIL"));
        assert!(told(Some(Err(Code::GroupIdNotFound))).starts_with("warn"));
        let denied = (
            Some(Code::TransactionalIdAuthorizationFailed),
            String::new(),
        );
        let told = transactional_id("g-doctor", "g-", Err(denied)).to_string();
        assert!(
            told.contains("`g-*`") && told.contains("ACL Write"),
            "{told}"
        );
        assert_eq!(
            transactional_id("g-doctor", "g-", Ok(())).to_string(),
            "ok    Kafka transactional ids `g-*`: Write is allowed, as tried with `g-doctor`"
        );
    }
}
