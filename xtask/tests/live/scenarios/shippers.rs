//! The shippers and SDKs that people already run, pointed at the gateway as they are: every event is found once (EO-4).

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use service::access::Scope;
use service::access::api_keys::NewKey;
use xtask::command;
use xtask::node::Node;

use crate::foreign;
use crate::scenarios;
use crate::stage::{SOON, Scenario, Stage};

pub(crate) const SCENARIOS: &[Scenario] =
    scenarios![every_event_of_every_client_is_there_once_and_its_level_is_known];

/// Of each client.
const EVENTS: usize = 250;

/// A client, what it is installed in, and what it runs.
struct Shipper {
    name: &'static str,
    /// Whether it says that all of its events are errors.
    tells_level: bool,
    program: String,
    script: PathBuf,
}

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
    let shippers = shippers(stage, &node)?;
    let encoded = STANDARD.encode(format!("{}:{}", key.credential.id, key.credential.secret));
    for shipper in &shippers {
        let mut run = node.command(&shipper.program);
        run.arg(&shipper.script)
            .env("GATEWAY", gateway.url())
            .env("NAME", shipper.name)
            .env("COUNT", EVENTS.to_string())
            .env("TOKEN", key.credential.to_token())
            .env("ENCODED", &encoded)
            .env("PYTHONDONTWRITEBYTECODE", "1");
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
        .map(|shipper| (shipper.name, shipper.tells_level))
        .chain([("plain-text", false)]);
    let clients: Vec<(&str, bool)> = clients.collect();
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
    for (name, tells_level) in clients {
        let expected = [tells_level.then_some("error")];
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

fn shippers(stage: &Stage<'_>, node: &Node) -> Result<Vec<Shipper>> {
    let scripts = stage.root().join("xtask/tests/live/scenarios/shippers");
    let python = |list: &str| -> Result<String> {
        let name = format!("shippers-{list}");
        let requirements = scripts.join(format!("requirements-{list}.txt"));
        let program = foreign::python(stage, &name, &requirements)?.join("python");
        Ok(program.to_string_lossy().into_owned())
    };
    let (a, b) = (python("a")?, python("b")?);
    let scripts_in_node = foreign::node(stage, node, "shippers", &scripts)?;
    let in_python = [
        ("opentelemetry-python-1.44", &a, "otlp.py"),
        ("opentelemetry-python-1.45", &b, "otlp.py"),
        ("elasticsearch-py-9", &a, "bulk.py"),
        ("elasticsearch-py-8", &b, "bulk.py"),
        ("python-logging-loki", &a, "loki.py"),
        ("splunk_handler", &b, "hec.py"),
    ];
    let in_node = [
        ("opentelemetry-js", "otlp.mjs"),
        ("elasticsearch-js-9", "bulk.mjs"),
    ];
    let in_python = in_python.map(|(name, program, script)| Shipper {
        name,
        tells_level: script != "hec.py",
        program: program.clone(),
        script: scripts.join(script),
    });
    let in_node = in_node.map(|(name, script)| Shipper {
        name,
        tells_level: true,
        program: "node".to_owned(),
        script: scripts_in_node.join(script),
    });
    Ok(in_python.into_iter().chain(in_node).collect())
}
