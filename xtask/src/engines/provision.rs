//! Fetches the engines with Maven, once: Kafka's jars and Elasticsearch's distribution, as `deploy/local/pom.xml` pins them.
//!
//! In the flow: `prerequisites` → **`provision`** → `kafka`, `elasticsearch`; `opensearch` where a test asks for it, and
//! `bench::peers` fetches another pom's with it.
//! Maven keeps what it downloaded in the user's own repository; here lies what is run, under `target/engines/`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::command;
use crate::interrupt::Interrupt;
use crate::prerequisites;
use crate::progress::{Progress, Step};
use crate::workspace::{Lock, Workspace};

/// What the pom of the engines calls the directory where they go.
const DIRECTORY: &str = "engines.directory";

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

/// OpenSearch's home, not written to.
#[derive(Debug, Clone)]
pub struct OpenSearchHome(pub PathBuf);

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
        remove(&directory.join(part))?;
    }
    fetch(
        "prepare-package",
        &pom_file,
        (DIRECTORY, &directory),
        &mut step,
        interrupt,
    )?;
    let distribution = distribution(directory, templates)?;
    fs::write(&stamp, pom).with_context(|| format!("cannot write `{}`", stamp.display()))?;
    step.done("Kafka and Elasticsearch are in place");
    Ok(distribution)
}

/// Sees to it that OpenSearch lies under `target/engines/` as the pom has it. Only tests need it.
///
/// # Errors
/// When Maven fails, or brings something else than expected.
pub fn provision_opensearch(
    workspace: &Workspace,
    progress: &Progress,
    interrupt: &Interrupt,
) -> Result<OpenSearchHome> {
    let pom_file = workspace.root.join("deploy/local/pom.xml");
    let pom = fs::read_to_string(&pom_file)
        .with_context(|| format!("cannot read `{}`", pom_file.display()))?;
    let directory = workspace.target.join("engines");
    let _lock = wait_for_lock(&directory, interrupt)?;
    let parent = directory.join("opensearch");
    let stamp = parent.join("provisioned-from.xml");
    if !fs::read_to_string(&stamp).is_ok_and(|provisioned| provisioned == pom) {
        let mut step = progress.step(
            "engines",
            "Maven fetches OpenSearch (about 50 MB, the first time only)",
        );
        remove(&parent)?;
        let goal = "dependency:unpack@opensearch";
        fetch(
            goal,
            &pom_file,
            (DIRECTORY, &directory),
            &mut step,
            interrupt,
        )?;
        home(&parent, "bin/opensearch")?;
        fs::write(&stamp, pom).with_context(|| format!("cannot write `{}`", stamp.display()))?;
        step.done("OpenSearch is in place");
    }
    Ok(OpenSearchHome(home(&parent, "bin/opensearch")?))
}

/// Runs a goal of a pom, which puts what it fetches into the directory that its property `property` names.
pub(crate) fn fetch(
    goal: &str,
    pom_file: &Path,
    (property, directory): (&str, &Path),
    step: &mut Step,
    interrupt: &Interrupt,
) -> Result<()> {
    let mut maven = Command::new("mvn");
    maven
        .args(["-B", "-f"])
        .arg(pom_file)
        .arg(goal)
        .arg(format!("-D{property}={}", directory.display()));
    command::run(maven, interrupt, |line| {
        if let Some(what) = line.split("Downloaded from ").nth(1) {
            step.note(what);
        }
    })
    .with_context(|| {
        format!(
            "Maven could not fetch what `{}` lists; it needs its repository, or a mirror in its settings.xml",
            pom_file.display()
        )
    })
}

pub(crate) fn remove(path: &Path) -> Result<()> {
    let removed = if path.is_dir() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    };
    if path.exists() {
        removed.with_context(|| format!("cannot remove `{}`", path.display()))?;
    }
    Ok(())
}

/// The directory below `parent` that holds `program`.
fn home(parent: &Path, program: &str) -> Result<PathBuf> {
    fs::read_dir(parent)
        .with_context(|| format!("cannot read `{}`", parent.display()))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.join(program).is_file())
        .with_context(|| format!("Maven brought no `{program}` into `{}`", parent.display()))
}

/// Two commands at once must not unpack into the same place; the second waits for the first.
pub(crate) fn wait_for_lock(directory: &Path, interrupt: &Interrupt) -> Result<Lock> {
    interrupt.wait_for(
        "another xtask that fetches the same",
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
    let elasticsearch = home(&directory.join("elasticsearch"), "bin/elasticsearch")?;
    Ok(Distribution {
        java,
        kafka_libs,
        elasticsearch,
        templates,
    })
}
