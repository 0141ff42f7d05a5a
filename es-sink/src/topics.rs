//! `es-sink topics`: compares the topics with what is wanted, and makes them so where nothing can be lost by it.
//!
//! Beside the flow: Kafka's own description → **`topics`** → Kafka. Topics are never deleted, partitions never taken
//! away, retention never shortened.
//!
//! 1. [`command`]: what is wanted.
//! 2. [`plan`]: what differs, and what may be done about it.
//! 3. This file asks Kafka, does it, and tells.

pub mod command;
pub mod plan;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, ConfigSource, NewPartitions, NewTopic,
    OwnedResourceSpecifier, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::types::RDKafkaErrorCode;
use service::kafka::client_config;

use crate::dead_letter_topic::connection_properties;
use command::TopicsConfig;
use plan::{Held, Step, Wanted, settings_after, steps};

/// Of one request.
const TIMEOUT: Duration = Duration::from_secs(30);
/// As Kafka's own protocol has it: the brokers' default.
const DEFAULT: i32 = -1;

type Admin = AdminClient<DefaultClientContext>;

/// Does what was asked for. The exit code is 0 if nothing differs (any more).
///
/// # Errors
/// If Kafka does not answer, or refuses.
pub async fn run(config: &TopicsConfig) -> anyhow::Result<ExitCode> {
    let needed = [("client.id", "es-sink-topics")];
    let properties = connection_properties(&config.kafka_properties);
    let admin: Admin = client_config(&config.brokers, &needed, &properties, &[])
        .create()
        .context("librdkafka refuses the configuration")?;
    let held = look(&admin, &config.wanted).await?;
    let mut out = std::io::stdout();
    let mut n_left = 0;
    for wanted in &config.wanted {
        let name = &wanted.name;
        let held = held.get(name);
        let steps = steps(wanted, held);
        if config.is_applied {
            apply(&admin, wanted, held, &steps).await?;
        }
        for step in &steps {
            let is_done = config.is_applied && !matches!(step, Step::ByHand { .. });
            n_left += u32::from(!is_done);
            let told = if is_done { " (done)" } else { "" };
            writeln!(out, "topic `{name}` {step}{told}")?;
        }
        if steps.is_empty() {
            writeln!(out, "topic `{name}` is as wanted")?;
        }
    }
    Ok(match n_left {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

/// Those of the topics that there are.
async fn look(admin: &Admin, wanted: &[Wanted]) -> anyhow::Result<BTreeMap<String, Held>> {
    // All topics are asked for: a question for one by name would make it.
    let metadata = admin
        .inner()
        .fetch_metadata(None, TIMEOUT)
        .context("Kafka does not tell which topics there are")?;
    let mut held: BTreeMap<String, Held> = metadata
        .topics()
        .iter()
        .filter(|topic| wanted.iter().any(|wanted| wanted.name == topic.name()))
        .map(|topic| {
            let replicas = topic.partitions().iter().map(|one| one.replicas().len());
            let topic_held = Held {
                partitions: u32::try_from(topic.partitions().len()).unwrap_or(u32::MAX),
                replication_factor: replicas.min().map_or(0, |n| u32::try_from(n).unwrap_or(0)),
                ..Held::default()
            };
            (topic.name().to_owned(), topic_held)
        })
        .collect();
    let names: Vec<String> = held.keys().cloned().collect();
    if names.is_empty() {
        return Ok(held);
    }
    let asked: Vec<_> = names
        .iter()
        .map(|name| ResourceSpecifier::Topic(name))
        .collect();
    let answers = admin
        .describe_configs(&asked, &options())
        .await
        .context("Kafka does not tell how topics are set")?;
    for answer in answers {
        let resource =
            answer.map_err(|code| anyhow!("Kafka does not tell how a topic is set: {code}"))?;
        let OwnedResourceSpecifier::Topic(name) = &resource.specifier else {
            continue;
        };
        let Some(held) = held.get_mut(name) else {
            continue;
        };
        for entry in resource.entries {
            let Some(value) = entry.value else {
                continue;
            };
            if entry.source == ConfigSource::DynamicTopic {
                held.own.insert(entry.name.clone(), value.clone());
            }
            held.settings.insert(entry.name, value);
        }
    }
    Ok(held)
}

async fn apply(
    admin: &Admin,
    wanted: &Wanted,
    held: Option<&Held>,
    steps: &[Step],
) -> anyhow::Result<()> {
    let name = wanted.name.as_str();
    for step in steps {
        if let Step::Grow { to, .. } = step {
            let grown = NewPartitions::new(name, usize::try_from(*to)?);
            let done = admin.create_partitions([&grown], &options()).await;
            refused(name, "more partitions", done)?;
        }
    }
    let Some(held) = held else {
        let number = |n: Option<u32>| n.map_or(Ok(DEFAULT), i32::try_from);
        let replication = TopicReplication::Fixed(number(wanted.replication_factor)?);
        let new = NewTopic::new(name, number(wanted.partitions)?, replication);
        let settings = wanted.settings.iter();
        let new = settings.fold(new, |new, (key, value)| new.set(key, value));
        let done = admin.create_topics([&new], &options()).await;
        return refused(name, "to be made", done);
    };
    if !steps.iter().any(|step| matches!(step, Step::Set { .. })) {
        return Ok(());
    }
    // What is not sent along would fall back to the brokers' default.
    let all = settings_after(held, steps);
    let change = AlterConfig::new(ResourceSpecifier::Topic(name));
    let change = all
        .iter()
        .fold(change, |change, (key, value)| change.set(key, value));
    let done = admin.alter_configs([&change], &options()).await;
    let done = done.map(|all| {
        let all = all.into_iter();
        all.map(|one| {
            one.map(|_| name.to_owned())
                .map_err(|(_, code)| (name.to_owned(), code))
        })
        .collect()
    });
    refused(name, "other settings", done)
}

fn options() -> AdminOptions {
    AdminOptions::new()
        .request_timeout(Some(TIMEOUT))
        .operation_timeout(Some(TIMEOUT))
}

type Done = rdkafka::error::KafkaResult<Vec<Result<String, (String, RDKafkaErrorCode)>>>;

fn refused(name: &str, what: &str, done: Done) -> anyhow::Result<()> {
    let why = || format!("topic `{name}`, {what}: run it again to go on");
    for one in done.with_context(why)? {
        one.map_err(|(_, code)| anyhow!("Kafka refuses: {code}"))
            .with_context(why)?;
    }
    Ok(())
}
