//! What all scenarios share: the release binaries, one Kafka and one Elasticsearch.
//!
//! In the flow: `main` → **`world`** → `stage`. Not here: what a scenario does with them.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use xtask::engines::elasticsearch::Node;
use xtask::engines::free_port;
use xtask::engines::kafka::Broker;
use xtask::engines::provision::provision;
use xtask::interrupt::Interrupt;
use xtask::prerequisites::{self, BUILD, CHECKS, ENGINES};
use xtask::process::Stopped;
use xtask::progress::Progress;
use xtask::services::Binaries;
use xtask::workspace::{Lock, Workspace};

use crate::stage::Part;

/// The engines and what runs against them.
#[derive(Debug)]
pub(crate) struct World {
    /// The repository.
    pub(crate) workspace: Workspace,
    /// The release binaries.
    pub(crate) binaries: Binaries,
    /// The one broker.
    pub(crate) broker: Broker,
    /// Its process.
    pub(crate) kafka: Part,
    /// The one node.
    pub(crate) node: Node,
    /// Its process.
    pub(crate) elasticsearch: Part,
    /// The directory of the suite.
    pub(crate) directory: PathBuf,
    /// Whether the user asked for an end.
    pub(crate) interrupt: Interrupt,
    _lock: Lock,
}

impl World {
    /// Builds what is missing and starts the engines with no data.
    pub(crate) fn start(interrupt: &Interrupt) -> Result<Self> {
        let workspace = Workspace::locate()?;
        let progress = Progress::new();
        let directory = workspace.target.join("live");
        let lock =
            Lock::take(&workspace.target.join("live.lock")).context("a second live suite")?;
        if directory.exists() {
            fs::remove_dir_all(&directory)
                .with_context(|| format!("cannot wipe `{}`", directory.display()))?;
        }
        prerequisites::ensure(&[BUILD, ENGINES, CHECKS], &progress, interrupt)?;
        let distribution = provision(&workspace, &progress, interrupt)?;
        let packages = ["ingest-gateway", "es-sink", "query-api", "loadtest"];
        let binaries = Binaries::build(&workspace, &packages, interrupt)?;

        let broker = Broker::alone("kafka", free_port()?, free_port()?, directory.join("kafka"));
        let node = Node::alone(
            "elasticsearch",
            free_port()?,
            free_port()?,
            directory.join("elasticsearch"),
        );
        let mut kafka = Part::new(
            broker.prepare(&distribution, interrupt)?,
            broker.port,
            interrupt,
        );
        let mut elasticsearch = Part::new(node.prepare(&distribution)?, node.http_port, interrupt);
        elasticsearch.launch()?;
        kafka.start()?;
        elasticsearch.wait_until_ready()?;
        Ok(Self {
            workspace,
            binaries,
            broker,
            kafka,
            node,
            elasticsearch,
            directory,
            interrupt: interrupt.clone(),
            _lock: lock,
        })
    }

    /// Starts again what the scenario before left stopped, and waits until both engines work.
    pub(crate) fn mend(&mut self) -> Result<()> {
        for engine in [&mut self.kafka, &mut self.elasticsearch] {
            engine.resume();
            if !engine.is_running() {
                engine.launch()?;
            }
        }
        self.kafka.wait_until_ready()?;
        self.elasticsearch.wait_until_ready()
    }

    /// Stops both engines, as an operator would.
    pub(crate) fn stop(mut self) -> Result<()> {
        for engine in [&mut self.elasticsearch, &mut self.kafka] {
            ensure!(
                engine.stop_anyhow()? != Stopped::Killed,
                "{} had to be killed",
                engine.name()
            );
        }
        Ok(())
    }
}
