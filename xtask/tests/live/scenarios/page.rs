//! The explorer page in a real browser: its own tests (`query-api/ui/tests`) against real services.

use anyhow::Result;

use crate::scenarios;
use crate::stage::{Scenario, Stage};

pub(crate) const SCENARIOS: &[Scenario] =
    scenarios![an_engineer_finds_the_cause_of_an_outage_in_the_page];

fn an_engineer_finds_the_cause_of_an_outage_in_the_page(stage: &mut Stage<'_>) -> Result<()> {
    let gateway = stage.gateway(&[])?;
    let sink = stage.sink(&[])?;
    let api = stage.query_api(&["--sink-url", &sink.url()])?;
    stage.drive_the_page(&api.url(), &gateway.url())
}
