//! A whole cluster loses nothing and repeats nothing while several things fail at once (EO-4, EO-5, EO-6).
//!
//! A short run of `cargo xtask nemesis`, with a fixed seed.

use std::time::Duration;

use anyhow::{Result, bail};
use xtask::nemesis::Run;

use crate::scenarios;
use crate::stage::{Scenario, Stage};

pub(crate) const SCENARIOS: &[Scenario] =
    scenarios![a_cluster_under_one_fault_after_another_keeps_every_event_exactly_once];

/// Its schedule has a stalled broker, connections reset on every way, lost replies, 403s, poison, and a reset of the
/// offsets.
const SEED: u64 = 203;
const LENGTH: Duration = Duration::from_secs(54);

fn a_cluster_under_one_fault_after_another_keeps_every_event_exactly_once(
    stage: &mut Stage<'_>,
) -> Result<()> {
    let outcome = stage.nemesis(Run {
        seed: SEED,
        length: LENGTH,
        rate: 1_000,
    })?;
    let violations = outcome.violations();
    if !violations.is_empty() {
        bail!("{}\n\n{}", violations.join("\n"), outcome.to_markdown());
    }
    Ok(())
}
