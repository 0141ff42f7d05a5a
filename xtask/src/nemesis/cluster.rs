//! Starts the whole pipeline in several copies: three brokers, two Elasticsearch nodes, two gateways, three sinks, and
//! the fault proxy between them.
//!
//! In the flow: **`cluster`** → `inflict`. Its processes can be taken hold of one by one, from several threads.
//! Brokers and nodes are hardened as in production (three replicas, two in sync; a replica of each shard), and made
//! small and touchy: a tiny write queue, a small `http.max_content_length`, small heaps.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::fault::{Link, Target, Topology};
use super::guarded;
use crate::engines::elasticsearch::Node;
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

const BROKER_HEAP_MIB: u32 = 384;
const NODE_HEAP_MIB: u32 = 768;
/// Five engines share two cores with everything else.
const ENGINE_READY_WITHIN: Duration = Duration::from_secs(300);
/// A bulk request is given up after this; the default of a minute would make each lost reply last that long.
const BULK_TIMEOUT: &str = "15s";
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// The ports of this machine's own outgoing connections begin above.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

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
        let mut ports = Ports::new();
        let kafka = Brokers::plan(&mut ports, directory)?;
        let nodes = plan_nodes(&mut ports, directory)?;
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
            brokers.push(Part::new(String::new(), spec));
        }
        let mut node_parts = Vec::new();
        for node in &nodes {
            guarded::create_user(&node.directory)?;
            let mut spec = node.prepare(distribution)?;
            spec.ready_within = ENGINE_READY_WITHIN;
            node_parts.push(Part::new(node.url(), spec));
        }
        let addresses: Vec<String> = kafka.brokers.iter().map(Broker::address).collect();
        let wiring = Wiring::standard(addresses.join(","), nodes[0].url());
        let control = ports.next()?;
        let proxy = proxy(binaries, directory, control, seed, &routes);
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

/// Three brokers, each with a listener for every kind of client, so that each kind comes through its own routes.
struct Brokers {
    brokers: Vec<Broker>,
    /// Per link and broker: the proxy's port and the broker's.
    listeners: Vec<(Link, Vec<(u16, u16)>)>,
}

impl Brokers {
    fn plan(ports: &mut Ports, directory: &Path) -> Result<Self> {
        let mut listeners = Vec::new();
        for link in [Link::SinkKafka, Link::GatewayKafka] {
            let mut pairs = Vec::new();
            for _ in 0..TOPOLOGY.brokers {
                pairs.push((ports.next()?, ports.next()?));
            }
            listeners.push((link, pairs));
        }
        let mut plain = Vec::new();
        for _ in 0..TOPOLOGY.brokers {
            plain.push((ports.next()?, ports.next()?));
        }
        let numbered = (1_u16..).zip(&plain);
        let voters: Vec<(u16, u16)> = numbered.map(|(n, (_, control))| (n, *control)).collect();
        let broker = |(n, (port, control)): (u16, &(u16, u16))| {
            let mut listen =
                format!("PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{control}");
            let mut advertised = format!("PLAINTEXT://127.0.0.1:{port}");
            let mut protocols = "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT".to_owned();
            for (link, pairs) in &listeners {
                let name = link.name().replace('-', "_").to_uppercase();
                let (proxied, own) = pairs[usize::from(n) - 1];
                listen.push_str(&format!(",{name}://127.0.0.1:{own}"));
                advertised.push_str(&format!(",{name}://127.0.0.1:{proxied}"));
                protocols.push_str(&format!(",{name}:PLAINTEXT"));
            }
            let settings = [
                ("listeners", listen),
                ("advertised.listeners", advertised),
                ("listener.security.protocol.map", protocols),
                // The default of 50 would be 150 logs to open at each start.
                ("transaction.state.log.num.partitions", "6".to_owned()),
            ];
            Broker {
                name: format!("broker {n}"),
                node_id: n,
                port: *port,
                controller_port: *control,
                voters: voters.clone(),
                directory: directory.join(format!("broker-{n}")),
                heap_mib: BROKER_HEAP_MIB,
                settings: settings.map(|(key, value)| (key.to_owned(), value)).into(),
            }
        };
        Ok(Self {
            brokers: (1_u16..).zip(&plain).map(broker).collect(),
            listeners,
        })
    }

    fn routes(&self) -> Vec<String> {
        let links = self.listeners.iter();
        links
            .flat_map(|(link, pairs)| {
                let pairs = pairs.iter().enumerate();
                pairs.map(|(n, (proxied, own))| route(link.name(), n, *proxied, *own))
            })
            .collect()
    }

    /// Where the clients of a link start from.
    fn addresses(&self, link: Link) -> String {
        let of_link = self.listeners.iter().filter(|(one, _)| *one == link);
        let addresses: Vec<String> = of_link
            .flat_map(|(_, pairs)| {
                pairs
                    .iter()
                    .map(|(proxied, _)| format!("127.0.0.1:{proxied}"))
            })
            .collect();
        addresses.join(",")
    }
}

fn plan_nodes(ports: &mut Ports, directory: &Path) -> Result<Vec<Node>> {
    let mut nodes: Vec<Node> = Vec::new();
    let mut seed_host = None;
    for n in 1..=TOPOLOGY.nodes {
        let (http, transport) = (ports.next()?, ports.next()?);
        let seed_host = seed_host.get_or_insert(format!("127.0.0.1:{transport}"));
        // Of two nodes that vote both would have to be there; so one is the master, and its absence is a fault in itself.
        let roles = if n == 1 {
            "[ master, data, ingest ]"
        } else {
            "[ data, ingest ]"
        };
        let mut settings = vec![
            ("discovery.type", "multi-node".to_owned()),
            ("discovery.seed_hosts", format!("\"{seed_host}\"")),
            ("node.roles", roles.to_owned()),
            ("node.processors", "2".to_owned()),
            ("thread_pool.write.queue_size", "4".to_owned()),
            ("http.max_content_length", "2mb".to_owned()),
            // A stalled node is out of the cluster after 8 s, not after 30.
            (
                "cluster.fault_detection.follower_check.timeout",
                "4s".to_owned(),
            ),
            (
                "cluster.fault_detection.follower_check.retry_count",
                "2".to_owned(),
            ),
            (
                "cluster.fault_detection.leader_check.timeout",
                "4s".to_owned(),
            ),
            (
                "cluster.fault_detection.leader_check.retry_count",
                "2".to_owned(),
            ),
        ];
        if n == 1 {
            settings.push((
                "cluster.initial_master_nodes",
                "\"elasticsearch-1\"".to_owned(),
            ));
        }
        let settings = settings
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value));
        nodes.push(Node {
            name: format!("elasticsearch-{n}"),
            cluster: "nemesis".to_owned(),
            http_port: http,
            transport_port: transport,
            directory: directory.join(format!("elasticsearch-{n}")),
            heap_mib: NODE_HEAP_MIB,
            settings: settings.chain(guarded::settings()).collect(),
        });
    }
    Ok(nodes)
}

fn route(link: &str, n: usize, proxied: u16, own: u16) -> String {
    format!("{link}-{}=127.0.0.1:{proxied}=127.0.0.1:{own}", n + 1)
}

fn proxy(binaries: &Binaries, directory: &Path, port: u16, seed: u64, routes: &[String]) -> Part {
    let mut args = vec![
        "fault-proxy".to_owned(),
        "--control".to_owned(),
        format!("127.0.0.1:{port}"),
        "--seed".to_owned(),
        seed.to_string(),
    ];
    for route in routes {
        args.extend(["--route".to_owned(), route.clone()]);
    }
    let url = format!("http://127.0.0.1:{port}");
    let spec = Spec {
        name: "fault proxy".to_owned(),
        program: binaries.path("loadtest"),
        args: args.into_iter().map(Into::into).collect(),
        environment: Vec::new(),
        privileges: Vec::new(),
        log: directory.join("fault-proxy.log"),
        own_logs: Vec::new(),
        ready: crate::services::ready(port),
        ready_within: Duration::from_secs(30),
        stop_within: Duration::from_secs(30),
    };
    Part::new(url, spec)
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

/// Ports that no outgoing connection takes while the process that listens on them is away.
struct Ports(std::ops::Range<u16>);

impl Ports {
    fn new() -> Self {
        // Two runs at once, of different worktrees, begin at different places.
        let start = u16::try_from(std::process::id() % 100).unwrap_or(0) * 100;
        Self(PORTS.start + start..PORTS.end)
    }

    fn next(&mut self) -> Result<u16> {
        for port in self.0.by_ref() {
            if TcpListener::bind(("127.0.0.1", port)).is_ok() {
                return Ok(port);
            }
        }
        bail!("no port below {} is free", PORTS.end)
    }
}
