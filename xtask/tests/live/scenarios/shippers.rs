//! The shippers and SDKs that people already run, pointed at the gateway as they are: every event is found once (EO-4).

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use service::access::Scope;
use service::access::api_keys::NewKey;
use xtask::command;

use crate::scenarios;
use crate::shipper::{Shipper, Task};
use crate::stage::{SOON, Scenario, Stage};

pub(crate) const SCENARIOS: &[Scenario] =
    scenarios![every_event_of_every_client_is_there_once_and_its_level_is_known];

/// Of each client.
const EVENTS: usize = 250;

fn every_event_of_every_client_is_there_once_and_its_level_is_known(
    stage: &mut Stage<'_>,
) -> Result<()> {
    let key = NewKey::make("shipper", &[Scope::Ingest], None, None, [7; 32]);
    let key = key.map_err(anyhow::Error::msg)?;
    let file = stage.directory.join("keys.toml");
    std::fs::write(&file, &key.entry)?;
    let gateway = stage.gateway(&["--api-keys", &file.display().to_string()])?;
    let _sink = stage.sink(&[])?;
    let node = stage.node()?;
    let shippers = Shipper::all(stage, &node)?;
    let task = Task {
        gateway: &gateway.url(),
        key: &key,
        events: EVENTS,
        pace: Duration::ZERO,
        patience: Duration::from_secs(4),
    };
    for shipper in &shippers {
        let run = shipper.command(&node, task);
        command::run(run, &stage.interrupt(), |_| {}).with_context(|| shipper.name.to_owned())?;
    }
    let lines: String = (0..EVENTS).map(|n| format!("plain-text {n}\n")).collect();
    let authorization = format!("Bearer {}", key.credential.to_token());
    let headers = [
        ("content-type", "text/plain"),
        ("authorization", authorization.as_str()),
    ];
    let reply = gateway.post("/logs", &headers, lines.as_bytes())?;
    ensure!(reply.status == 200, "{}", reply.text());

    let clients = shippers
        .iter()
        .map(|shipper| (shipper.name, shipper.level))
        .chain([("plain-text", None)]);
    let clients: Vec<(&str, Option<&str>)> = clients.collect();
    stage.wait_for("all events", SOON, || {
        stage.has_documents((clients.len() * EVENTS) as u64)
    })?;
    let search = json!({"size": 10_000, "_source": ["message", "level"]});
    let path = format!("/{}/_search", stage.wiring.index());
    let found = stage.ask_elasticsearch("POST", &path, &search)?;
    let mut levels: BTreeMap<&str, Vec<Option<&str>>> = BTreeMap::new();
    for hit in found["hits"]["hits"].as_array().context("hits")? {
        let event = &hit["_source"];
        let message = event["message"].as_str().context("a message")?;
        let level = event["level"].as_str();
        levels.entry(message).or_default().push(level);
    }
    for (name, level) in clients {
        let expected = [level];
        for n in 0..EVENTS {
            let message = format!("{name} {n}");
            let found = levels.remove(message.as_str()).unwrap_or_default();
            ensure!(
                found == expected,
                "`{message}` is there with the levels {found:?}"
            );
        }
    }
    ensure!(levels.is_empty(), "nobody sent {levels:?}");
    Ok(())
}
