//! The description of the query API, held against the query API by Schemathesis: whatever it calls valid is taken,
//! whatever it calls invalid is refused, and every reply is one that it describes.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, ensure};
use serde_json::json;
use xtask::command;
use xtask::foreign;

use crate::scenarios;
use crate::stage::{SOON, Scenario, Stage};

pub(crate) const SCENARIOS: &[Scenario] = scenarios![the_api_is_as_its_description_says];

/// How many events there are to find.
const EVENTS: u32 = 300;

fn the_api_is_as_its_description_says(stage: &mut Stage<'_>) -> Result<()> {
    let gateway = stage.gateway(&[])?;
    let sink = stage.sink(&[])?;
    let flags = ["--sink-url", &sink.url(), "--cursor-keep-alive", "30s"];
    let api = stage.query_api(&flags)?;
    let events: Vec<_> = (0..EVENTS).map(event).collect();
    let sent = gateway.post("/logs", &[], json!(events).to_string().as_bytes())?;
    ensure!(sent.status == 200, "{} {}", sent.status, sent.text());
    stage.wait_for("the events", SOON, || stage.has_documents(EVENTS.into()))?;

    let interrupt = stage.interrupt();
    let requirements = directory(stage).join("requirements.txt");
    let environment = stage.target().join("python/schemathesis");
    let programs = foreign::python(&environment, &requirements, &interrupt)?;
    let mut run = Command::new(programs.join("schemathesis"));
    run.current_dir(directory(stage))
        .env("SCHEMATHESIS_HOOKS", "hooks")
        .env("PYTHONPATH", directory(stage))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("LOGFLOW_API", api.url())
        .env("LOGFLOW_INDEX", stage.wiring.index())
        .args([
            "--config-file",
            "schemathesis.toml",
            "run",
            "--checks",
            "all",
        ])
        .arg("--report-dir")
        .arg(&stage.directory)
        .arg(format!("{}/openapi.json", api.url()));
    let status = command::run_visibly(run, &interrupt)?;
    ensure!(status.success(), "schemathesis ended with {status}");
    Ok(())
}

fn event(n: u32) -> serde_json::Value {
    let level = ["debug", "info", "warn", "error"][n as usize % 4];
    json!({
        "level": level,
        "message": format!("request {n} answered in {} ms", n % 70),
        "resourceId": format!("server-{}", n % 7),
        "traceId": format!("trace-{}", n / 5),
        "spanId": format!("span-{n}"),
        "commit": "5e5342f",
        "status": 200 + n % 4 * 100,
        "metadata": { "parentResourceId": "rack-1", "region": "eu-west" },
    })
}

fn directory(stage: &Stage<'_>) -> PathBuf {
    stage.root().join("xtask/tests/live/scenarios/openapi")
}
