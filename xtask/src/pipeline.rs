//! The pipeline that a measurement runs on: one of each engine, with no data, and the services it asks for.
//!
//! In the flow: `engines`, `services` → **`pipeline`** → `outage`, `page_speed`.
//! All on free ports, so that several may run beside each other. Not here: supervision (`up`), clusters (`nemesis`).

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::engines::elasticsearch::Node;
use crate::engines::free_port;
use crate::engines::kafka::Broker;
use crate::engines::metadata::ensure_topic;
use crate::engines::provision::Distribution;
use crate::http;
use crate::interrupt::Interrupt;
use crate::process::{Process, Spec, Stopped};
use crate::services::{Binaries, Wiring};

/// How long a service may take to tell its metrics.
const METRICS_WITHIN: Duration = Duration::from_secs(30);

/// The engines and what the services are told of them.
#[derive(Debug)]
pub struct Pipeline {
    /// The engines' addresses, and the names that the services have by default.
    pub wiring: Wiring,
    /// The one node.
    pub elasticsearch: Process,
    /// The one broker.
    pub kafka: Process,
    /// Elasticsearch's heap.
    pub heap_mib: u32,
    directory: PathBuf,
    binaries: Binaries,
    interrupt: Interrupt,
}

/// A service and where it answers.
#[derive(Debug)]
pub struct Service {
    /// The process; dropped, it is killed.
    pub process: Process,
    /// Without a slash at its end.
    pub url: String,
}

impl Service {
    /// A metric without labels.
    ///
    /// # Errors
    /// When the service does not answer, or has no such metric.
    pub fn metric(&self, name: &str) -> Result<f64> {
        let metrics = http::get(&format!("{}/metrics", self.url), METRICS_WITHIN)?.text();
        let prefix = format!("{name} ");
        let line = metrics.lines().find_map(|line| line.strip_prefix(&prefix));
        let value = line.with_context(|| format!("no `{name}` at {}", self.url))?;
        value
            .parse()
            .with_context(|| format!("`{name}` is no number at {}", self.url))
    }
}

impl Pipeline {
    /// Starts the engines with their data and logs in `directory`, and creates the topics.
    ///
    /// # Errors
    /// When something does not start.
    pub fn start(
        distribution: &Distribution,
        binaries: Binaries,
        directory: PathBuf,
        interrupt: &Interrupt,
    ) -> Result<Self> {
        Self::start_with(distribution, binaries, directory, &[], interrupt)
    }

    /// The same, with lines of `elasticsearch.yml` beside or instead of the template's.
    ///
    /// # Errors
    /// When something does not start.
    pub fn start_with(
        distribution: &Distribution,
        binaries: Binaries,
        directory: PathBuf,
        elasticsearch: &[(&str, &str)],
        interrupt: &Interrupt,
    ) -> Result<Self> {
        let broker = Broker::alone("kafka", free_port()?, free_port()?, directory.join("kafka"));
        let mut node = Node::alone(
            "elasticsearch",
            free_port()?,
            free_port()?,
            directory.join("elasticsearch"),
        );
        let settings = elasticsearch.iter();
        node.settings = settings
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        let launched = |spec: Spec| -> Result<Process> {
            let mut process = Process::new(spec);
            process.launch()?;
            Ok(process)
        };
        let mut elasticsearch = launched(node.prepare(distribution)?)?;
        let mut kafka = launched(broker.prepare(distribution, interrupt)?)?;
        kafka.wait_until_ready(interrupt)?;
        elasticsearch.wait_until_ready(interrupt)?;
        let wiring = Wiring::standard(broker.address(), node.url());
        for topic in [&wiring.topic, &wiring.dead_letter_topic] {
            ensure_topic(broker.socket(), topic, Duration::from_secs(30), interrupt)?;
        }
        Ok(Self {
            wiring,
            elasticsearch,
            kafka,
            heap_mib: node.heap_mib,
            directory,
            binaries,
            interrupt: interrupt.clone(),
        })
    }

    /// Starts a service and waits until it is ready.
    ///
    /// # Errors
    /// When it does not become ready.
    pub fn service(&self, name: &str, flags: &[String]) -> Result<Service> {
        let mut service = self.launch(name, flags)?;
        service.process.wait_until_ready(&self.interrupt)?;
        Ok(service)
    }

    /// Starts a service.
    ///
    /// # Errors
    /// When it cannot be started at all.
    pub fn launch(&self, name: &str, flags: &[String]) -> Result<Service> {
        let port = free_port()?;
        let log = self.directory.join(format!("{name}.log"));
        let mut process = Process::new(self.binaries.service(name, port, flags, &log));
        process.launch()?;
        let url = format!("http://127.0.0.1:{port}");
        Ok(Service { process, url })
    }

    /// Starts an Elasticsearch that checks and counts bulks and keeps nothing.
    ///
    /// # Errors
    /// When it does not become ready.
    pub fn null_elasticsearch(&self) -> Result<Service> {
        let port = free_port()?;
        let url = format!("http://127.0.0.1:{port}");
        let log = self.directory.join("null-elasticsearch.log");
        let health = format!("{url}/_cluster/health");
        let spec = Spec {
            name: "null Elasticsearch".to_owned(),
            args: [
                "null-elasticsearch",
                "--listen",
                &format!("127.0.0.1:{port}"),
            ]
            .map(Into::into)
            .into(),
            ready: Arc::new(move || {
                http::get(&health, Duration::from_secs(3))
                    .map(drop)
                    .map_err(|error| format!("{error:#}"))
            }),
            ..self.binaries.service("loadtest", port, &[], &log)
        };
        let mut process = Process::new(spec);
        process.start(&self.interrupt)?;
        Ok(Service { process, url })
    }

    /// Stops `services`, then the engines.
    ///
    /// # Errors
    /// When one of them had to be killed.
    pub fn stop<'s>(
        &'s mut self,
        services: impl IntoIterator<Item = &'s mut Service>,
    ) -> Result<()> {
        let services = services.into_iter().map(|service| &mut service.process);
        for process in services.chain([&mut self.elasticsearch, &mut self.kafka]) {
            let stopped = process.stop()?;
            ensure!(
                stopped != Stopped::Killed,
                "{} had to be killed",
                process.spec().name
            );
        }
        Ok(())
    }
}
