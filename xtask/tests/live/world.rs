//! What all scenarios share: the release binaries, one Kafka and one Elasticsearch.
//!
//! In the flow: `main` → **`world`** → `stage`. Not here: what a scenario does with them.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use xtask::engines::elasticsearch::Node;
use xtask::engines::free_port;
use xtask::engines::kafka::Broker;
use xtask::engines::opensearch;
use xtask::engines::provision::{Distribution, provision, provision_opensearch};
use xtask::interrupt::Interrupt;
use xtask::prerequisites::{self, ARCHIVE, BUILD, CHECKS, ENGINES, FAKETIME};
use xtask::process::Stopped;
use xtask::progress::Progress;
use xtask::services::{BINARIES, Binaries};
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
    /// The OpenSearch node and its process, once a scenario has asked for it.
    pub(crate) opensearch: Option<(opensearch::Node, Part)>,
    /// Where the engines lie.
    pub(crate) distribution: Distribution,
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
        prerequisites::ensure(
            &[BUILD, ENGINES, CHECKS, FAKETIME, ARCHIVE],
            &progress,
            interrupt,
        )?;
        let distribution = provision(&workspace, &progress, interrupt)?;
        let binaries = Binaries::build(&workspace, &BINARIES, interrupt)?;

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
            opensearch: None,
            distribution,
            directory,
            interrupt: interrupt.clone(),
            _lock: lock,
        })
    }

    /// Starts again what the scenario before left stopped, and waits until both engines work.
    pub(crate) fn mend(&mut self) -> Result<()> {
        for engine in self.engines() {
            engine.resume();
            if !engine.is_running() {
                engine.launch()?;
            }
        }
        self.engines().try_for_each(Part::wait_until_ready)
    }

    /// The OpenSearch node, which the first scenario that wants it fetches and starts.
    pub(crate) fn opensearch(&mut self) -> Result<&mut (opensearch::Node, Part)> {
        if self.opensearch.is_none() {
            let progress = Progress::new();
            let home = provision_opensearch(&self.workspace, &progress, &self.interrupt)?;
            let node = opensearch::Node {
                name: "opensearch".to_owned(),
                http_port: free_port()?,
                transport_port: free_port()?,
                directory: self.directory.join("opensearch"),
                heap_mib: 1024,
            };
            let spec = node.prepare(&self.distribution, &home)?;
            let mut part = Part::new(spec, node.http_port, &self.interrupt);
            part.start()?;
            self.opensearch = Some((node, part));
        }
        self.opensearch.as_mut().context("it was started above")
    }

    fn engines(&mut self) -> impl Iterator<Item = &mut Part> {
        let opensearch = self.opensearch.as_mut().map(|(_, part)| part);
        [&mut self.kafka, &mut self.elasticsearch]
            .into_iter()
            .chain(opensearch)
    }

    /// Stops all engines, as an operator would.
    pub(crate) fn stop(mut self) -> Result<()> {
        for engine in self.engines().collect::<Vec<_>>().into_iter().rev() {
            ensure!(
                engine.stop_anyhow()? != Stopped::Killed,
                "{} had to be killed",
                engine.name()
            );
        }
        Ok(())
    }
}
