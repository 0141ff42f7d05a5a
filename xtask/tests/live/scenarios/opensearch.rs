//! The promise holds with OpenSearch in the place of Elasticsearch (EO-1, EO-4, EO-5).

use anyhow::{Result, ensure};

use crate::load::Load;
use crate::scenarios;
use crate::stage::{SOON, Scenario, Stage};

pub(crate) const SCENARIOS: &[Scenario] = scenarios![
    a_killed_sink_an_opensearch_that_restarts_and_events_that_never_fit_lose_and_double_nothing,
];

fn a_killed_sink_an_opensearch_that_restarts_and_events_that_never_fit_lose_and_double_nothing(
    stage: &mut Stage<'_>,
) -> Result<()> {
    stage.use_opensearch()?;
    let mut killed = stage.sink(&[])?;
    let staying = stage.sink(&[])?;
    let load = Load::past_the_gateway(
        stage,
        &[
            "--events",
            "200000",
            "--rate",
            "4000",
            "--days",
            "2",
            "--poison-per-million",
            "1000",
            "--seed",
            "15",
        ],
    )?;
    stage.wait_for("the flow", SOON, || stage.has_at_least(20_000))?;
    killed.kill();
    killed.start()?;
    stage.wait_for("the flow", SOON * 2, || stage.has_at_least(60_000))?;
    let opensearch = stage.opensearch()?;
    opensearch.stop()?;
    opensearch.start()?;
    stage.wait_for("the flow", SOON * 2, || stage.has_at_least(120_000))?;
    stage.opensearch()?.kill();
    stage.opensearch()?.start()?;
    let outcome = load.finish(stage)?.verify(stage)?;
    let dead_lettered = outcome["dead_lettered"].as_u64().unwrap_or_default();
    ensure!(
        (100..400).contains(&dead_lettered),
        "{dead_lettered} of 200,000 events are dead letters, with 200 that never fit"
    );
    drop(staying);
    Ok(())
}
