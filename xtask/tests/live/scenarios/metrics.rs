//! The metrics of all three services can be read by Prometheus, and count what happened.

use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::scenarios;
use crate::stage::{SOON, Scenario, Stage};

pub(crate) const SCENARIOS: &[Scenario] =
    scenarios![promtool_accepts_the_metrics_of_all_three_services];

fn promtool_accepts_the_metrics_of_all_three_services(stage: &mut Stage<'_>) -> Result<()> {
    let gateway = stage.gateway(&[])?;
    let sink = stage.sink(&[])?;
    let query_api = stage.query_api(&[])?;
    // Events, a refusal and a search, so that the labelled metrics have samples.
    gateway.post(
        "/logs",
        &[],
        b"{\"message\":\"one\"}\n{\"message\":\"two\"}\n{\"level\":3}\n",
    )?;
    stage.wait_for("two documents", SOON, || stage.has_documents(2))?;
    query_api.get("/logs")?;
    query_api.get("/logs?startDate=never")?;

    for service in [&gateway, &sink, &query_api] {
        let metrics = service.metrics()?;
        let prefix = format!("{}_", service.name().replace('-', "_"));
        let own = metrics
            .lines()
            .filter(|line| line.starts_with(&prefix))
            .count();
        ensure!(
            own >= 5,
            "{} has {own} samples of its own:\n{metrics}",
            service.name()
        );
        let mut promtool = Command::new("promtool")
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot run promtool")?;
        promtool
            .stdin
            .take()
            .context("promtool has no input")?
            .write_all(metrics.as_bytes())?;
        let output = promtool.wait_with_output()?;
        let complaints = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        ensure!(
            output.status.success() && complaints.trim().is_empty(),
            "{}: {complaints}",
            service.name()
        );
    }
    Ok(())
}
