//! Fetches the engines with Maven, once: Kafka's jars and Elasticsearch's distribution, as `deploy/local/pom.xml` pins them.
//!
//! In the flow: `prerequisites` → **`provision`** → `kafka`, `elasticsearch`.
//! Maven keeps what it downloaded in the user's own repository; here lies what is run, under `target/engines/`.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::command;
use crate::interrupt::Interrupt;
use crate::prerequisites;
use crate::progress::Progress;
use crate::workspace::{Lock, Workspace};

/// Where the engines lie.
#[derive(Debug, Clone)]
pub struct Distribution {
    /// The home of the JDK they run in.
    pub java: PathBuf,
    /// Kafka's jars.
    pub kafka_libs: PathBuf,
    /// Elasticsearch's home, not written to.
    pub elasticsearch: PathBuf,
    /// The templates of their configuration, `deploy/local`.
    pub templates: PathBuf,
}

/// Sees to it that the engines lie under `target/engines/` as the pom has them.
///
/// # Errors
/// When Maven fails, or brings something else than expected.
pub fn provision(
    workspace: &Workspace,
    progress: &Progress,
    interrupt: &Interrupt,
) -> Result<Distribution> {
    let templates = workspace.root.join("deploy/local");
    let pom_file = templates.join("pom.xml");
    let pom = fs::read_to_string(&pom_file)
        .with_context(|| format!("cannot read `{}`", pom_file.display()))?;
    let directory = workspace.target.join("engines");
    let _lock = wait_for_lock(&directory, interrupt)?;
    let stamp = directory.join("provisioned-from.xml");
    if fs::read_to_string(&stamp).is_ok_and(|provisioned| provisioned == pom) {
        return distribution(directory, templates);
    }

    let mut step = progress.step(
        "engines",
        "Maven fetches Kafka and Elasticsearch (about 150 MB, the first time only)",
    );
    for part in ["provisioned-from.xml", "kafka", "elasticsearch", "markers"] {
        let path = directory.join(part);
        let removed = if path.is_dir() {
            fs::remove_dir_all(&path)
        } else {
            fs::remove_file(&path)
        };
        if path.exists() {
            removed.with_context(|| format!("cannot remove `{}`", path.display()))?;
        }
    }
    let mut maven = Command::new("mvn");
    maven
        .args(["-B", "-f"])
        .arg(&pom_file)
        .arg("prepare-package")
        .arg(format!("-Dengines.directory={}", directory.display()));
    command::run(maven, interrupt, |line| {
        if let Some(what) = line.split("Downloaded from ").nth(1) {
            step.note(what);
        }
    })
    .context("Maven could not fetch the engines; it needs its repository, or a mirror in its settings.xml")?;
    let distribution = distribution(directory, templates)?;
    fs::write(&stamp, pom).with_context(|| format!("cannot write `{}`", stamp.display()))?;
    step.done("Kafka and Elasticsearch are in place");
    Ok(distribution)
}

/// Two commands at once must not unpack into the same place; the second waits for the first.
fn wait_for_lock(directory: &std::path::Path, interrupt: &Interrupt) -> Result<Lock> {
    interrupt.wait_for(
        "another xtask that fetches the engines",
        std::time::Duration::from_secs(1800),
        || Lock::take(&directory.join("lock")).map_err(|error| format!("{error:#}")),
    )
}

fn distribution(directory: PathBuf, templates: PathBuf) -> Result<Distribution> {
    let java = prerequisites::java()?;
    let kafka_libs = directory.join("kafka/libs");
    if !kafka_libs.is_dir() {
        bail!(
            "Maven brought no Kafka jars into `{}`",
            kafka_libs.display()
        );
    }
    let parent = directory.join("elasticsearch");
    let elasticsearch = fs::read_dir(&parent)
        .with_context(|| format!("cannot read `{}`", parent.display()))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.join("bin/elasticsearch").is_file())
        .with_context(|| format!("Maven brought no Elasticsearch into `{}`", parent.display()))?;
    Ok(Distribution {
        java,
        kafka_libs,
        elasticsearch,
        templates,
    })
}
