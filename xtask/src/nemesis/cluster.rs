//! Starts the whole pipeline in several copies: three brokers, two Elasticsearch nodes, two gateways, three sinks, and
//! the fault proxy between them.
//!
//! In the flow: **`cluster`** → `inflict`. Its processes can be taken hold of one by one, from several threads.
//! Brokers and nodes are hardened as in production (three replicas, two in sync; a replica of each shard), and made
//! small and touchy: a tiny write queue, a small `http.max_content_length`, small heaps.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::fault::{Link, Target, Topology};
use super::guarded;
use super::layout::{self, Brokers, route};
use crate::engines::FreePorts;
use crate::engines::kafka::Broker;
use crate::engines::kafka_tools::KafkaTools;
use crate::engines::metadata::ensure_topic;
use crate::engines::provision::Distribution;
use crate::http;
use crate::interrupt::Interrupt;
use crate::process::{Process, Spec};
use crate::services::{Binaries, Wiring};

/// How many there are of each.
pub const TOPOLOGY: Topology = Topology {
    sinks: 3,
    gateways: 2,
    brokers: 3,
    nodes: 2,
};

/// Engines that live for seconds between two kills are never compiled to the end.
const JVM_STARTS_FAST: &str = "-XX:TieredStopAtLevel=1";
/// Five engines share two cores with everything else.
const ENGINE_READY_WITHIN: Duration = Duration::from_secs(300);
/// A bulk request is given up after this; the default of a minute would make each lost reply last that long.
const BULK_TIMEOUT: &str = "15s";
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// A process that may be signalled, ended and started by one thread at a time.
#[derive(Debug)]
pub struct Part {
    /// What messages call it.
    pub name: String,
    /// Where it answers HTTP, if it does.
    pub url: String,
    process: Mutex<Process>,
}

impl Part {
    fn new(url: String, spec: Spec) -> Self {
        Self {
            name: spec.name.clone(),
            url,
            process: Mutex::new(Process::new(spec)),
        }
    }

    /// Takes hold of it.
    pub fn hold(&self) -> MutexGuard<'_, Process> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes hold of it unless somebody else has.
    pub fn try_hold(&self) -> Option<MutexGuard<'_, Process>> {
        self.process.try_lock().ok()
    }
}

/// The pipeline.
#[derive(Debug)]
pub struct Cluster {
    /// Where all files are.
    pub directory: PathBuf,
    /// What the services meet at; the addresses are those past the fault proxy.
    pub wiring: Wiring,
    /// Kafka's own tools.
    pub kafka_tools: KafkaTools,
    /// The generator and verifier.
    pub loadtest: PathBuf,
    /// Whether an end was asked for.
    pub interrupt: Interrupt,
    /// The sinks, and last the one that comes and goes.
    pub sinks: Vec<Part>,
    /// The gateways.
    pub gateways: Vec<Part>,
    /// The fault proxy; its address is that of its control port.
    pub proxy: Part,
    /// The Elasticsearch nodes.
    pub nodes: Vec<Part>,
    /// The brokers.
    pub brokers: Vec<Part>,
}

impl Cluster {
    /// Starts everything but the extra sink, and waits until all of it works.
    ///
    /// # Errors
    /// When something does not start, or an end was asked for.
    pub fn start(
        distribution: &Distribution,
        binaries: &Binaries,
        directory: &Path,
        seed: u64,
        interrupt: &Interrupt,
    ) -> Result<Self> {
        let mut ports = FreePorts::new();
        let kafka = Brokers::plan(&mut ports, directory)?;
        let nodes = layout::nodes(&mut ports, directory)?;
        let mut routes = kafka.routes();
        let mut to_nodes = Vec::new();
        for (n, node) in nodes.iter().enumerate() {
            let port = ports.next()?;
            let name = Link::SinkElasticsearch.name();
            routes.push(route(name, n, port, node.http_port));
            to_nodes.push(format!("http://{}@127.0.0.1:{port}", guarded::SINK));
        }
        let mut brokers = Vec::new();
        for broker in &kafka.brokers {
            let mut spec = broker.prepare(distribution, interrupt)?;
            spec.ready_within = ENGINE_READY_WITHIN;
            spec.args.insert(0, JVM_STARTS_FAST.into());
            brokers.push(Part::new(String::new(), spec));
        }
        let mut node_parts = Vec::new();
        for node in &nodes {
            guarded::create_user(&node.directory)?;
            let mut spec = node.prepare(distribution)?;
            spec.ready_within = ENGINE_READY_WITHIN;
            spec.environment
                .push(("ES_JAVA_OPTS".into(), JVM_STARTS_FAST.into()));
            node_parts.push(Part::new(node.url(), spec));
        }
        let addresses: Vec<String> = kafka.brokers.iter().map(Broker::address).collect();
        let wiring = Wiring::standard(addresses.join(","), nodes[0].url());
        let control = ports.next()?;
        let log = directory.join("fault-proxy.log");
        let proxy = Part::new(
            format!("http://127.0.0.1:{control}"),
            binaries.fault_proxy(control, seed, &routes, &log),
        );
        let mut gateways = Vec::new();
        for n in 1..=TOPOLOGY.gateways {
            let name = format!("gateway {n}");
            let to = Wiring {
                kafka: kafka.addresses(Link::GatewayKafka),
                ..wiring.clone()
            };
            let spec = binaries.service(
                "ingest-gateway",
                ports.next()?,
                &to.gateway_flags(),
                &directory.join(format!("gateway-{n}.log")),
            );
            gateways.push(service(name, spec)?);
        }
        let mut sinks = Vec::new();
        for n in 1..=TOPOLOGY.sinks + 1 {
            let to = Wiring {
                kafka: kafka.addresses(Link::SinkKafka),
                ..wiring.clone()
            };
            let mut flags = to.sink_flags();
            // Its password belongs into the environment.
            let url = flags.iter().position(|flag| flag == "--elasticsearch-url");
            let url = url.context("the sink's flags name no Elasticsearch")?;
            flags.drain(url..url + 2);
            flags.extend(["--bulk-timeout", BULK_TIMEOUT].map(str::to_owned));
            let log = directory.join(format!("sink-{n}.log"));
            let mut spec = binaries.service("es-sink", ports.next()?, &flags, &log);
            let variable = "ES_SINK_ELASTICSEARCH_URL";
            spec.environment
                .push((variable.into(), to_nodes.join(",").into()));
            sinks.push(service(format!("sink {n}"), spec)?);
        }
        let cluster = Self {
            directory: directory.to_path_buf(),
            kafka_tools: KafkaTools {
                distribution: distribution.clone(),
                brokers: wiring.kafka.clone(),
                logs: directory.join("kafka-tools"),
                properties: None,
            },
            wiring,
            loadtest: binaries.path("loadtest"),
            interrupt: interrupt.clone(),
            sinks,
            gateways,
            proxy,
            nodes: node_parts,
            brokers,
        };
        cluster.launch(&kafka.brokers)?;
        Ok(cluster)
    }

    fn launch(&self, brokers: &[Broker]) -> Result<()> {
        let engines = || self.nodes.iter().chain(&self.brokers);
        for engine in engines() {
            engine.hold().launch()?;
        }
        self.proxy.hold().start(&self.interrupt)?;
        for engine in engines() {
            engine.hold().wait_until_ready(&self.interrupt)?;
        }
        for topic in [&self.wiring.topic, &self.wiring.dead_letter_topic] {
            let within = Duration::from_secs(60);
            ensure_topic(brokers[0].socket(), topic, within, &self.interrupt)?;
        }
        let staying = self.sinks.iter().take(TOPOLOGY.sinks);
        for service in self.gateways.iter().chain(staying) {
            service.hold().start(&self.interrupt)?;
        }
        self.interrupt
            .wait_for("the services to be ready", ENGINE_READY_WITHIN, || {
                self.unready().map_or(Ok(()), Err)
            })
    }

    /// The process of a target.
    #[must_use]
    pub fn part(&self, target: Target) -> &Part {
        match target {
            Target::Sink(n) => &self.sinks[n],
            Target::Gateway(n) => &self.gateways[n],
            Target::Broker(n) => &self.brokers[n],
            Target::Node(n) => &self.nodes[n],
        }
    }

    /// The sink that comes and goes.
    #[must_use]
    pub fn extra_sink(&self) -> &Part {
        &self.sinks[TOPOLOGY.sinks]
    }

    /// The sinks that stay.
    pub fn staying_sinks(&self) -> impl Iterator<Item = &Part> {
        self.sinks.iter().take(TOPOLOGY.sinks)
    }

    /// All processes.
    pub fn parts(&self) -> impl Iterator<Item = &Part> {
        let services = self.gateways.iter().chain(&self.sinks);
        services
            .chain([&self.proxy])
            .chain(self.nodes.iter().rev())
            .chain(&self.brokers)
    }

    /// Why the services that stay are not all ready, if they are not.
    #[must_use]
    pub fn unready(&self) -> Option<String> {
        let mut staying = self.staying_sinks().chain(&self.gateways);
        staying.find_map(|part| {
            let ready = http::get(&format!("{}/readyz", part.url), Duration::from_secs(3));
            match ready {
                Ok(reply) if reply.status == 200 => None,
                Ok(reply) => Some(format!("{}: {}", part.name, reply.text().trim())),
                Err(error) => Some(format!("{}: {error:#}", part.name)),
            }
        })
    }

    /// Sends a request to whichever Elasticsearch node answers it, for at most `within`.
    ///
    /// # Errors
    /// When none takes it in that time.
    pub fn ask_elasticsearch(
        &self,
        method: &str,
        path: &str,
        body: &Value,
        within: Duration,
    ) -> Result<Value> {
        let headers = [("Content-Type", "application/json")];
        let body = match body {
            Value::Null => Vec::new(),
            body => body.to_string().into_bytes(),
        };
        let ask = |node: &Part| -> Result<Value> {
            let url = format!("{}{path}", node.url);
            let reply = http::request(method, &url, &headers, &body, REQUEST_TIMEOUT)?;
            ensure!(reply.status < 300, "{}: {}", reply.status, reply.text());
            reply.json()
        };
        self.interrupt
            .wait_for(&format!("{method} {path}"), within, || {
                let mut reasons = Vec::new();
                for node in &self.nodes {
                    match ask(node) {
                        Ok(answer) => return Ok(answer),
                        Err(error) => reasons.push(format!("{error:#}")),
                    }
                }
                Err(reasons.join("; "))
            })
    }
}

/// A service counts as started when it answers: while others are broken it cannot be ready.
fn service(name: String, mut spec: Spec) -> Result<Part> {
    let address = spec.args.get(1).and_then(|address| address.to_str());
    let url = format!(
        "http://{}",
        address.context("a service without an address")?
    );
    let health = format!("{url}/healthz");
    spec.name = name;
    spec.ready = Arc::new(move || match http::get(&health, Duration::from_secs(3)) {
        Ok(reply) if reply.status == 200 => Ok(()),
        Ok(reply) => Err(format!("/healthz answers {}", reply.status)),
        Err(error) => Err(format!("{error:#}")),
    });
    Ok(Part::new(url, spec))
}
