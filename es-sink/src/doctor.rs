//! What `es-sink doctor` examines: Kafka, Elasticsearch and its template, keys and certificate.
//!
//! Beside the flow: `config` → **`doctor`** → `service::doctor`, which asks and judges.

use service::doctor::elasticsearch::{self, ElasticsearchNeeds};
use service::doctor::elasticsearch_verdict::Privileges;
use service::doctor::kafka::{self, KafkaNeeds, Transactions};
use service::doctor::kafka_verdict::TopicNeed;
use service::doctor::{Check, Finding, files, in_time};
use service::elasticsearch::Nodes;
use service::kafka::client_config;
use tokio::runtime::Handle;

use crate::config::Config;
use crate::dead_letter_topic::DeadLetterTopic;
use crate::template::{Plan, Template};

/// The checks for a sink with these settings.
#[must_use]
pub fn checks(config: &Config, handle: &Handle) -> Vec<Check> {
    let mut checks = kafka::checks(kafka_needs(config));
    checks.extend(elasticsearch::checks(&elasticsearch_needs(config), handle));
    if config.manages_template {
        checks.push(template(config, handle));
    }
    checks.extend(files::checks(&config.access, config.tls.as_ref()));
    checks
}

fn kafka_needs(config: &Config) -> KafkaNeeds {
    let sources = config.topics.iter().map(|topic| TopicNeed {
        name: topic.clone(),
        reads: true,
        ..TopicNeed::default()
    });
    let dead_letters = TopicNeed {
        name: config.dead_letter_topic.clone(),
        writes: true,
        ..TopicNeed::default()
    };
    let properties = &config.kafka_properties;
    let group = config.sink.group.clone();
    let id = format!("{group}-doctor");
    KafkaNeeds {
        client: client_config(
            &config.brokers,
            &[("client.id", "es-sink")],
            properties,
            &[],
        ),
        topics: sources.chain([dead_letters]).collect(),
        transactions: Some(Transactions {
            client: DeadLetterTopic::client(&config.brokers, properties, &id),
            prefix: format!("{group}-"),
            id,
        }),
        group: Some(group),
        brokers: config.brokers.clone(),
    }
}

fn elasticsearch_needs(config: &Config) -> ElasticsearchNeeds {
    let indices = config.sink.index_pattern.wildcard();
    let cluster = match config.manages_template {
        true => vec!["manage_index_templates"],
        false => Vec::new(),
    };
    ElasticsearchNeeds {
        nodes: config.nodes.clone(),
        login: config.login.clone(),
        privileges: Privileges {
            cluster,
            index: vec!["index", "auto_configure"],
            names: vec![indices.clone()],
        },
        writes: Some(indices),
        searches: None,
    }
}

fn template(config: &Config, handle: &Handle) -> Check {
    let template = Template::new(&config.sink.index_pattern);
    let about = format!("Elasticsearch index template `{}`", template.name());
    let (nodes, login, handle) = (config.nodes.clone(), config.login.clone(), handle.clone());
    Check::new(about.clone(), move || {
        let looked = in_time(&handle, async {
            let nodes = Nodes::new(&nodes, &login)?;
            let held = template.look(&nodes).await;
            let held = held.map_err(|error| error.to_string())?;
            Ok(template.plan(held.as_ref()))
        });
        vec![of_template(about, looked)]
    })
}

fn of_template(about: String, looked: Result<Plan, String>) -> Finding {
    match looked {
        Ok(Plan::Keep) => Finding::ok(about, "is there"),
        Ok(Plan::Install) => Finding::ok(about, "es-sink installs it at its start"),
        Ok(Plan::Refuse) => Finding::fail(
            about,
            "is not logflow's: rename it, choose another --index-pattern, or start with --no-template",
        ),
        Err(reason) => Finding::fail(about, reason),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_of_somebody_else_fails_and_one_that_is_missing_does_not() {
        let told = |looked| of_template("t".to_owned(), looked).to_string();
        assert!(told(Ok(Plan::Keep)).starts_with("ok"));
        assert!(told(Ok(Plan::Install)).starts_with("ok"));
        assert!(told(Ok(Plan::Refuse)).starts_with("FAIL  t: is not logflow's"));
        assert_eq!(told(Err("away".to_owned())), "FAIL  t: away");
    }
}
