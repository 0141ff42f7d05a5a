//! What `query-api doctor` examines: Elasticsearch, Kafka and the sinks where they are given, keys and certificate.
//!
//! Beside the flow: `config` → **`doctor`** → `service::doctor`, which asks and judges.

use service::doctor::elasticsearch::{self, ElasticsearchNeeds};
use service::doctor::elasticsearch_verdict::Privileges;
use service::doctor::kafka::{self, KafkaNeeds};
use service::doctor::kafka_verdict::TopicNeed;
use service::doctor::{Check, Finding, files, in_time};
use service::kafka::client_config;
use tokio::runtime::Handle;

use crate::config::Config;
use crate::pipeline::Sink;
use crate::sinks::Sinks;

/// The checks for a query API with these settings.
#[must_use]
pub fn checks(config: &Config, handle: &Handle) -> Vec<Check> {
    let mut checks = elasticsearch::checks(&elasticsearch_needs(config), handle);
    if !config.kafka.brokers.is_empty() {
        checks.extend(kafka::checks(kafka_needs(config)));
    }
    if !config.sinks.is_empty() {
        checks.push(sinks(config, handle));
    }
    checks.extend(files::checks(&config.access, config.tls.as_ref()));
    checks
}

fn elasticsearch_needs(config: &Config) -> ElasticsearchNeeds {
    let indices = config.indices.all();
    // Of what is excluded nothing is read.
    let names = indices.as_str().split(',');
    let names = names.filter(|name| !name.starts_with('-'));
    ElasticsearchNeeds {
        nodes: config.elasticsearch.clone(),
        login: config.login.clone(),
        privileges: Privileges {
            cluster: Vec::new(),
            index: vec!["read"],
            names: names.map(str::to_owned).collect(),
        },
        writes: None,
        searches: Some(indices.as_str().to_owned()),
    }
}

fn kafka_needs(config: &Config) -> KafkaNeeds {
    let kafka = &config.kafka;
    let read = |name: &String| TopicNeed {
        name: name.clone(),
        reads: true,
        ..TopicNeed::default()
    };
    let needed = [("client.id", "query-api")];
    KafkaNeeds {
        brokers: kafka.brokers.clone(),
        client: client_config(&kafka.brokers, &needed, &kafka.properties, &[]),
        topics: [&kafka.topic, &kafka.dead_letter_topic].map(read).into(),
        group: None,
        transactions: None,
    }
}

fn sinks(config: &Config, handle: &Handle) -> Check {
    let (addresses, login, handle) = (
        config.sinks.clone(),
        config.sink_login.clone(),
        handle.clone(),
    );
    Check::new("es-sink", move || {
        let asked = in_time(&handle, async {
            let sinks = Sinks::new(addresses, login)?;
            Ok(sinks.ask().await)
        });
        match asked {
            Ok(sinks) => sinks.iter().map(of_sink).collect(),
            Err(reason) => vec![Finding::fail("es-sink", reason)],
        }
    })
}

fn of_sink(sink: &Sink) -> Finding {
    let about = format!("es-sink `{}`", sink.address);
    let reasons = sink.reasons.join("; ");
    match (sink.reachable, sink.ready) {
        (false, _) => Finding::fail(about, reasons),
        (true, false) => Finding::warn(about, format!("is not ready: {reasons}")),
        (true, true) => Finding::ok(about, "tells its state, and is ready"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sink_that_does_not_tell_fails_and_one_that_is_not_ready_is_no_fault_of_ours() {
        let told = |reachable, ready| {
            let sink = Sink {
                address: "http://a".to_owned(),
                reachable,
                ready,
                reasons: vec!["why".to_owned()],
                ..Sink::default()
            };
            of_sink(&sink).to_string()
        };
        assert_eq!(told(false, false), "FAIL  es-sink `http://a`: why");
        assert_eq!(
            told(true, false),
            "warn  es-sink `http://a`: is not ready: why"
        );
        assert!(told(true, true).starts_with("ok"));
    }
}
