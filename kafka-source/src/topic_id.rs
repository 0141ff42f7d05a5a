//! Which incarnation of a topic Kafka holds, and whether it may be read.
//!
//! In the flow: `service::kafka::described` → **`topic_id`** → `positions`, `privileges`, the sinks. A topic that is
//! deleted and created again has the same name and another id (KIP-516).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rdkafka::client::{Client, ClientContext};
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::RDKafkaErrorCode;
use service::kafka::described::{ByName, Operation, Topic, topics};

const ASK_TIMEOUT: Duration = Duration::from_secs(3);

/// The id of a topic, in the form in which Kafka's tools show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicId(pub String);

/// What the brokers say of topics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// The ids of those that exist, if the brokers know ids (Kafka 2.8 and later).
    pub ids: BTreeMap<String, TopicId>,
    /// Those that the user may not read, if the brokers tell privileges (Kafka 2.3 and later).
    pub unreadable: BTreeSet<String>,
}

/// What the brokers say of the topics that are assigned; `None` if there are none.
///
/// # Errors
/// If no broker answers in time, in words.
pub fn of_assigned<C: ConsumerContext>(consumer: &BaseConsumer<C>) -> Result<Option<Told>, String> {
    let assignment = consumer.assignment().map_err(|error| error.to_string())?;
    let elements = assignment.elements();
    let names: BTreeSet<&str> = elements.iter().map(|element| element.topic()).collect();
    if names.is_empty() {
        return Ok(None);
    }
    ask(consumer.client(), &names, ASK_TIMEOUT).map(Some)
}

/// The ids of the topics that exist, if the brokers know ids.
///
/// # Errors
/// If no broker answers in time, in words.
pub fn topic_ids<C: ClientContext>(
    client: &Client<C>,
    names: &BTreeSet<&str>,
    timeout: Duration,
) -> Result<BTreeMap<String, TopicId>, String> {
    if names.is_empty() {
        return Ok(BTreeMap::new());
    }
    ask(client, names, timeout).map(|told| told.ids)
}

fn ask<C: ClientContext>(
    client: &Client<C>,
    names: &BTreeSet<&str>,
    timeout: Duration,
) -> Result<Told, String> {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    topics(client, &names, timeout).map(understand)
}

fn understand(described: ByName<Topic>) -> Told {
    let mut told = Told::default();
    for (name, topic) in described {
        let may_be_read = match &topic {
            Ok(topic) => topic
                .operations
                .as_ref()
                .is_none_or(|operations| operations.contains(&Operation::Read)),
            // One that is gone is no matter of privileges.
            Err(code) => *code != RDKafkaErrorCode::TopicAuthorizationFailed,
        };
        if !may_be_read {
            told.unreadable.insert(name.clone());
        }
        if let Ok(Topic { id: Some(id), .. }) = topic {
            told.ids.insert(name, TopicId(id));
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_has_its_id_and_is_unreadable_where_the_brokers_say_so() {
        let topic = |id: Option<&str>, operations: Option<&[Operation]>| {
            Ok(Topic {
                id: id.map(str::to_owned),
                partitions: Vec::new(),
                operations: operations.map(<[Operation]>::to_vec),
            })
        };
        let described = [
            ("readable", topic(Some("A"), Some(&[Operation::Read]))),
            ("refused", topic(Some("B"), Some(&[Operation::Other]))),
            ("hidden", Err(RDKafkaErrorCode::TopicAuthorizationFailed)),
            ("gone", Err(RDKafkaErrorCode::UnknownTopicOrPartition)),
            ("of an old Kafka", topic(None, None)),
        ];
        let described = described.map(|(name, topic)| (name.to_owned(), topic));
        let told = understand(described.into());
        let ids: Vec<_> = told
            .ids
            .iter()
            .map(|(name, id)| (&**name, &*id.0))
            .collect();
        assert_eq!(ids, [("readable", "A"), ("refused", "B")]);
        assert_eq!(
            told.unreadable.iter().collect::<Vec<_>>(),
            ["hidden", "refused"]
        );
    }
}
