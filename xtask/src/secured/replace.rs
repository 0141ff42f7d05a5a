//! Replaces each secret of a pipeline while it runs, as docs/access.md tells an operator to.
//!
//! In the flow: `secured` → **`replace`**. One function for each kind of secret; each ends when the new one counts.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::Pipeline;
use crate::certificates::served;
use crate::http::Client;
use crate::services::SERVICES;
use crate::up::security::KEYS;

/// How long a change may take until it counts.
const COUNTS_WITHIN: Duration = Duration::from_secs(30);
const TIMEOUT: Duration = Duration::from_secs(5);

/// A kind of secret, and what replaces it.
pub(super) type Replacement = (&'static str, fn(&mut Pipeline<'_>) -> Result<()>);

/// All of them.
pub(super) const REPLACEMENTS: [Replacement; 7] = [
    ("API key of the shipper", api_key),
    ("certificates of the services", service_certificates),
    ("certificate of HAProxy", proxy_certificate),
    ("certificates of Elasticsearch", node_certificates),
    (
        "passwords of the services at Elasticsearch",
        elasticsearch_passwords,
    ),
    ("passwords of the services at Kafka", kafka_passwords),
    ("certificates of Kafka, password of its brokers", brokers),
];

/// The second key is added, the client moved, the first removed: then it is refused.
fn api_key(pipeline: &mut Pipeline<'_>) -> Result<()> {
    let secrets = &pipeline.security.secrets;
    secrets.put("replaced.header", &secrets.read("shipper.header")?)?;
    secrets.renew_key(
        &pipeline.binaries.path("ingest-gateway"),
        "shipper-2",
        "ingest",
    )?;
    let others = KEYS
        .map(|(id, _)| id)
        .into_iter()
        .filter(|id| *id != "shipper");
    let others: Vec<&str> = others.chain(["shipper-2"]).collect();
    let url = format!("{}/logs", pipeline.ingest());
    let until = |client: &Client, expected: fn(u16) -> bool| {
        let read = || {
            // A key is judged before the body, and there is nothing in this one.
            let reply = client.post(&url, &[], b"", TIMEOUT);
            match reply.map_err(|error| format!("{error:#}"))?.status {
                status if expected(status) => Ok(()),
                status => Err(format!("it answers {status}")),
            }
        };
        pipeline
            .interrupt
            .wait_for("the keys to be read", COUNTS_WITHIN, read)
    };
    secrets.write_keys(&[&others[..], &["shipper"]].concat())?;
    until(&secrets.client("shipper-2"), |status| status != 401)?;
    secrets.put("shipper.header", &secrets.read("shipper-2.header")?)?;
    secrets.write_keys(&others)?;
    until(&secrets.client("replaced"), |status| status == 401)
}

fn service_certificates(pipeline: &mut Pipeline<'_>) -> Result<()> {
    for replica in &pipeline.layout.services {
        let before = served(replica.port)?;
        pipeline.security.secrets.certificate(&replica.name)?;
        until_another(pipeline, replica.port, &before)?;
    }
    Ok(())
}

fn proxy_certificate(pipeline: &mut Pipeline<'_>) -> Result<()> {
    let port = pipeline.layout.ports.ingest;
    let before = served(port)?;
    pipeline.security.secrets.keystore("haproxy")?;
    pipeline
        .stack
        .signal("haproxy", rustix::process::Signal::USR2)?;
    until_another(pipeline, port, &before)
}

fn node_certificates(pipeline: &mut Pipeline<'_>) -> Result<()> {
    for node in &pipeline.layout.nodes {
        let before = served(node.http_port)?;
        for (name, contents) in pipeline.security.node_certificate(&node.name)? {
            node.put(&name, &contents)?;
        }
        until_another(pipeline, node.http_port, &before)?;
    }
    Ok(())
}

/// The file realm knows one password of a user: between its change and the service's new file the service is refused,
/// and waits.
fn elasticsearch_passwords(pipeline: &mut Pipeline<'_>) -> Result<()> {
    for user in ["es-sink", "query-api"] {
        let secrets = &pipeline.security.secrets;
        let name = format!("elasticsearch-{user}");
        secrets.put("replaced.header", &secrets.read(&format!("{name}.header"))?)?;
        secrets.renew_password(&name)?;
        let users = pipeline.security.elasticsearch_users()?;
        for node in &pipeline.layout.nodes {
            node.put("users", &users)?;
        }
        pipeline.security.write_credentials(user)?;
        let clients = [
            (secrets.client(&name), 200),
            (secrets.client("replaced"), 401),
        ];
        for node in &pipeline.layout.nodes {
            let url = format!("{}/_security/_authenticate", node.url());
            for (client, expected) in &clients {
                pipeline
                    .interrupt
                    .wait_for("the new password", COUNTS_WITHIN, || {
                        let reply = client.get(&url, TIMEOUT);
                        match reply.map_err(|error| format!("{error:#}"))?.status {
                            status if status == *expected => Ok(()),
                            status => Err(format!("{} answers {status}", node.name)),
                        }
                    })?;
            }
        }
    }
    pipeline.until_well()
}

/// Kafka asks for a password when a connection begins: one service after the other begins anew.
fn kafka_passwords(pipeline: &mut Pipeline<'_>) -> Result<()> {
    let services: Vec<(&str, String)> = pipeline
        .layout
        .services
        .iter()
        .map(|replica| (replica.service, replica.name.clone()))
        .collect();
    for user in SERVICES {
        let password = pipeline
            .security
            .secrets
            .renew_password(&format!("kafka-{user}"))?;
        pipeline
            .kafka
            .set_password(user, &password, pipeline.interrupt)?;
        for (_, name) in services.iter().filter(|(service, _)| *service == user) {
            pipeline.security.lock_service(user, name)?;
            pipeline.stack.restart(name, pipeline.interrupt)?;
        }
    }
    pipeline.until_well()
}

/// The brokers sign in to each other as another user from their next start on.
fn brokers(pipeline: &mut Pipeline<'_>) -> Result<()> {
    let password = pipeline.security.secrets.renew_password("kafka-broker-2")?;
    pipeline
        .kafka
        .set_password("broker-2", &password, pipeline.interrupt)?;
    let names: Vec<String> = pipeline
        .layout
        .brokers
        .iter()
        .map(|broker| broker.name.clone())
        .collect();
    for n in 0..names.len() {
        let broker = pipeline.layout.brokers.get_mut(n).context("a broker")?;
        let before = served(broker.port)?;
        pipeline
            .security
            .lock_broker_as("broker-2", broker, &names)?;
        broker.prepare(&pipeline.distribution, pipeline.interrupt)?;
        let port = broker.port;
        pipeline.stack.restart(&names[n], pipeline.interrupt)?;
        ensure!(
            served(port)? != before,
            "{} shows its old certificate",
            names[n]
        );
        pipeline.until_in_sync()?;
    }
    pipeline.kafka.remove_user("broker", pipeline.interrupt)?;
    pipeline.until_well()
}

fn until_another(pipeline: &Pipeline<'_>, port: u16, before: &str) -> Result<()> {
    pipeline
        .interrupt
        .wait_for("the new certificate", COUNTS_WITHIN, || {
            match served(port) {
                Ok(now) if now != before => Ok(()),
                Ok(_) => Err(format!("port {port} shows the old one")),
                Err(error) => Err(format!("{error:#}")),
            }
        })
}
