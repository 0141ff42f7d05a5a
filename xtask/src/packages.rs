//! `cargo xtask test packages`: what is deployed is what the binaries, Kubernetes, systemd and Debian take.
//!
//! In the order in which it is checked: the tools for it (`tools`), the compose file and the images (`compose`), the
//! Helm chart (`chart`, with `schemas` for what Kubernetes takes), the Debian package with its units (`debian`).
//! `manifest` reads YAML for all of them, `start` hands a deployment's command line to the binary, and `promises` says
//! what holds for a service however it is deployed.
//! Not here: what the services do once they run (`xtask/tests/live`).

pub mod manifest;
pub mod start;
pub mod promises;
pub mod tools;
pub mod compose;
pub mod schemas;
pub mod chart;
pub mod debian;

use anyhow::{Context as _, Result};

use crate::interrupt::Interrupt;
use crate::progress::Progress;
use crate::services::{BINARIES, Binaries};
use crate::workspace::Workspace;

/// Builds the packages and checks them.
///
/// # Errors
/// At the first that is not as it is to be; the error names it.
pub fn check(workspace: &Workspace, progress: &Progress, interrupt: &Interrupt) -> Result<()> {
    let binaries = Binaries::build(workspace, &BINARIES, interrupt)?;
    let directory = workspace.target.join("packages");
    let starts = start::Starts::new(binaries, &directory, interrupt)?;

    let step = progress.step("compose", "checking");
    compose::check(&workspace.root, &starts).context("deploy/compose")?;
    step.done(
        "the images are there, the services start as it says and meet at the right addresses",
    );

    let tools = tools::Tools::provide(workspace, progress, interrupt)?;
    chart::check(workspace, &tools, &starts, progress, interrupt).context("deploy/helm")?;
    debian::check(workspace, &tools, &starts, progress, interrupt).context("deploy/debian")
}
