//! A topic of the same name is not the same topic (EO-1, EO-4).

use anyhow::{Result, ensure};

use crate::load::{Load, Loaded};
use crate::scenarios;
use crate::stage::{SOON, Scenario, Stage};

pub(crate) const SCENARIOS: &[Scenario] =
    scenarios![a_topic_that_is_created_again_under_a_running_sink_is_read_from_its_beginning];

fn a_topic_that_is_created_again_under_a_running_sink_is_read_from_its_beginning(
    stage: &mut Stage<'_>,
) -> Result<()> {
    let mut sink = stage.sink(&[])?;
    loaded(stage, "40000", "21")?.verify(stage)?;
    // The committed offsets lie beyond the end of what follows.
    stage.replace_topic()?;
    loaded(stage, "10000", "22")?.verify(stage)?;
    stage.wait_for("both loads", SOON, || stage.has_documents(50_000))?;
    sink.stop()?;
    // While no sink looks, too: only the ids in the commits tell the topics apart.
    stage.replace_topic()?;
    let last = loaded(stage, "60000", "23")?;
    sink.start()?;
    last.verify(stage)?;
    stage.wait_for("all loads", SOON, || stage.has_documents(110_000))?;
    let repeated = sink.metric("es_sink_duplicates_suppressed_total", "")?;
    ensure!(repeated == 0.0, "{repeated} records were indexed again");
    Ok(())
}

fn loaded(stage: &Stage<'_>, events: &str, seed: &str) -> Result<Loaded> {
    let flags = ["--events", events, "--rate", "10000", "--seed", seed];
    Load::past_the_gateway(stage, &flags)?.finish(stage)
}
