//! What a scenario may do to the world: run the services with any flags, stop, kill, stall and restart them and the
//! engines, send requests, and wait for conditions.
//!
//! In the flow: `world` → **`stage`** → `scenarios`.
//!
//! ```text
//! let gateway = stage.gateway(&["--rate-limit-requests", "10"])?;   // started and ready, on a free port
//! let mut sink = stage.sink(&[])?;
//! gateway.post("/logs", &[], br#"{"message":"a"}"#)?;
//! sink.kill();                                                      // SIGKILL
//! sink.start()?;                                                    // the same flags, the same port
//! stage.elasticsearch().stop()?;                                    // SIGTERM; .kill(), .pause(), .start()
//! stage.wait_for("one document", SOON, || stage.has_documents(1))?;
//! ```
//!
//! Each scenario has topics, a consumer group and indices of its own, named after it. What it starts is killed when it
//! goes out of scope, and what it did to the engines is mended before the next scenario.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use serde_json::Value;
use xtask::engines::elasticsearch;
use xtask::engines::free_port;
use xtask::engines::kafka::Broker;
use xtask::engines::metadata::{delete_topic, ensure_topic};
use xtask::engines::postgres;
use xtask::http::{self, Reply};
use xtask::interrupt::Interrupt;
use xtask::nemesis::Run;
use xtask::nemesis::timeline::Outcome;
use xtask::node::Node;
use xtask::page::Page;
use xtask::process::{self, Probe, Process, Spec, Stopped};
use xtask::progress::Progress;
use xtask::services::Wiring;

use crate::world::World;

/// How long something that takes a moment may take on a slow, busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// How long one request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// A claim and the function that proves it.
#[derive(Debug)]
pub(crate) struct Scenario {
    /// The claim, in words joined by underscores.
    pub(crate) name: &'static str,
    /// The proof: `Err` or a panic when the claim does not hold.
    pub(crate) run: fn(&mut Stage<'_>) -> Result<()>,
}

/// Lists functions as [`Scenario`]s named like them.
#[macro_export]
macro_rules! scenarios {
    ($($function:ident),+ $(,)?) => {
        &[$($crate::stage::Scenario { name: stringify!($function), run: $function }),+]
    };
}

/// The world as one scenario sees it.
#[derive(Debug)]
pub(crate) struct Stage<'world> {
    world: &'world mut World,
    /// Topics, group and indices of this scenario; its fields may be changed before services are started.
    pub(crate) wiring: Wiring,
    /// A directory of its own, for files and logs.
    pub(crate) directory: PathBuf,
    logs: Vec<PathBuf>,
}

impl<'world> Stage<'world> {
    /// A stage for the scenario `name` of `theme`, with its topics created.
    pub(crate) fn new(world: &'world mut World, theme: &str, name: &str) -> Result<Self> {
        let directory = world.directory.join(theme).join(name);
        fs::create_dir_all(&directory)?;
        let label = format!("{theme}-{name}").replace('_', "-");
        let wiring = Wiring {
            kafka: world.broker.address(),
            elasticsearch: world.node.url(),
            topic: label.clone(),
            group: label.clone(),
            index_pattern: format!("logflow-{label}-{{date}}"),
            dead_letter_topic: format!("{label}.dead-letter"),
        };
        let stage = Self {
            world,
            wiring,
            directory,
            logs: Vec::new(),
        };
        for topic in [&stage.wiring.topic, &stage.wiring.dead_letter_topic] {
            stage.create_topic(topic)?;
        }
        Ok(stage)
    }

    fn create_topic(&self, topic: &str) -> Result<()> {
        let broker = self.world.broker.socket();
        ensure_topic(broker, topic, SOON, &self.world.interrupt)
    }

    /// Deletes the topic between gateway and sink, and creates one of the same name, with nothing in it.
    pub(crate) fn replace_topic(&self) -> Result<()> {
        delete_topic(self.world.broker.socket(), &self.wiring.topic)?;
        self.create_topic(&self.wiring.topic)
    }

    /// An ingest-gateway with these flags beside those of the wiring, started and ready.
    pub(crate) fn gateway(&mut self, flags: &[&str]) -> Result<Part> {
        let wired = self.wiring.gateway_flags();
        self.start("ingest-gateway", wired, flags)
    }

    /// An es-sink with these flags beside those of the wiring, started and ready. Several share the partitions.
    pub(crate) fn sink(&mut self, flags: &[&str]) -> Result<Part> {
        let wired = self.wiring.sink_flags();
        self.start("es-sink", wired, flags)
    }

    /// An archive-sink with these flags beside those of the wiring, started and ready. Several share the partitions.
    pub(crate) fn archive_sink(
        &mut self,
        postgres: &postgres::Server,
        flags: &[&str],
    ) -> Result<Part> {
        let wired = self.wiring.archive_flags(&postgres.url());
        self.start("archive-sink", wired, flags)
    }

    /// A PostgreSQL server of the scenario's own, started and ready.
    pub(crate) fn postgres(&mut self) -> Result<(postgres::Server, Part)> {
        let server = postgres::Server {
            name: "postgresql".to_owned(),
            port: free_port()?,
            directory: self.directory.join("postgresql"),
        };
        let world = &self.world;
        let spec = server.prepare(&world.interrupt)?;
        self.logs.push(spec.log.clone());
        let mut part = Part::new(spec, server.port, &world.interrupt);
        part.start()?;
        Ok((server, part))
    }

    /// A query-api with these flags beside those of the wiring, started and ready.
    pub(crate) fn query_api(&mut self, flags: &[&str]) -> Result<Part> {
        let wired = self.wiring.query_flags();
        self.start("query-api", wired, flags)
    }

    /// A fault proxy with one route, `elasticsearch`, started and ready; and the address past it.
    pub(crate) fn proxy_to_elasticsearch(&mut self) -> Result<(Part, String)> {
        let (control, door) = (free_port()?, free_port()?);
        let target = self.wiring.elasticsearch.trim_start_matches("http://");
        let route = format!("elasticsearch=127.0.0.1:{door}={target}");
        let log = self.directory.join("fault-proxy.log");
        self.logs.push(log.clone());
        let world = &self.world;
        let spec = world.binaries.fault_proxy(control, 1, &[route], &log);
        let mut proxy = Part::new(spec, control, &world.interrupt);
        proxy.start()?;
        Ok((proxy, format!("http://127.0.0.1:{door}")))
    }

    fn start(&mut self, name: &str, wired: Vec<String>, flags: &[&str]) -> Result<Part> {
        let mut part = self.service(name, wired, flags)?;
        part.start()?;
        Ok(part)
    }

    /// A service on a free port, not started: for one that starts while its engines are down ([`Part::launch`]).
    pub(crate) fn service(
        &mut self,
        name: &str,
        mut wired: Vec<String>,
        flags: &[&str],
    ) -> Result<Part> {
        let port = free_port()?;
        let log = self
            .directory
            .join(format!("{name}-{}.log", self.logs.len() + 1));
        // A flag given twice would be refused, so one of the scenario's replaces the wiring's.
        for flag in flags.iter().filter(|flag| flag.starts_with("--")) {
            if let Some(at) = wired.iter().position(|wired| wired == flag) {
                wired.drain(at..(at + 2).min(wired.len()));
            }
        }
        wired.extend(flags.iter().map(|flag| (*flag).to_owned()));
        self.logs.push(log.clone());
        Ok(Part::new(
            self.world.binaries.service(name, port, &wired, &log),
            port,
            &self.world.interrupt,
        ))
    }

    /// A broker of the scenario's own, started and ready; its topics are made as records come.
    pub(crate) fn broker(&mut self, broker: &Broker) -> Result<Part> {
        let world = &self.world;
        self.logs.push(broker.server_log());
        let spec = broker.prepare(&world.distribution, &world.interrupt)?;
        let mut part = Part::new(spec, broker.port, &world.interrupt);
        part.start()?;
        Ok(part)
    }

    /// An Elasticsearch node of the scenario's own, started, and ready when `ready` says so, if it is given.
    pub(crate) fn elasticsearch_node(
        &mut self,
        node: &elasticsearch::Node,
        ready: Option<Probe>,
    ) -> Result<Part> {
        let world = &self.world;
        self.logs.push(node.server_log());
        let mut spec = node.prepare(&world.distribution)?;
        if let Some(ready) = ready {
            spec.ready = ready;
        }
        let mut part = Part::new(spec, node.http_port, &world.interrupt);
        part.start()?;
        Ok(part)
    }

    /// The broker.
    pub(crate) fn kafka(&mut self) -> &mut Part {
        &mut self.world.kafka
    }

    /// The Elasticsearch node.
    pub(crate) fn elasticsearch(&mut self) -> &mut Part {
        &mut self.world.elasticsearch
    }

    /// From here on OpenSearch stands where Elasticsearch stood: for the services, and for what the stage itself asks.
    pub(crate) fn use_opensearch(&mut self) -> Result<()> {
        let (node, _) = self.world.opensearch()?;
        self.wiring.elasticsearch = node.url();
        Ok(())
    }

    /// The OpenSearch node.
    pub(crate) fn opensearch(&mut self) -> Result<&mut Part> {
        self.world.opensearch().map(|(_, part)| part)
    }

    /// Runs a nemesis on a cluster of its own, beside the engines of the stage.
    pub(crate) fn nemesis(&self, run: Run) -> Result<Outcome> {
        let world = &self.world;
        run.carry_out(
            &world.distribution,
            &world.binaries,
            &self.directory,
            &Progress::new(),
            &world.interrupt,
        )
    }

    /// Runs the tests of the explorer page in a browser.
    pub(crate) fn drive_the_page(
        &self,
        page: &str,
        gateway: &str,
        keys: &[(&str, String)],
    ) -> Result<()> {
        let world = &self.world;
        Page::new(&world.workspace, &Progress::new(), &world.interrupt)?.drive(
            page,
            gateway,
            keys,
            &world.interrupt,
        )
    }

    /// The path of a release binary, `loadtest` among them.
    pub(crate) fn binary(&self, name: &str) -> PathBuf {
        self.world.binaries.path(name)
    }

    /// The root of the repository.
    pub(crate) fn root(&self) -> PathBuf {
        self.world.workspace.root.clone()
    }

    /// Cargo's build directory, for tools that are installed once.
    pub(crate) fn target(&self) -> PathBuf {
        self.world.workspace.target.clone()
    }

    /// A Node.js that is new enough for what is run on it.
    pub(crate) fn node(&self) -> Result<Node> {
        Node::provide(
            &self.world.workspace,
            &Progress::new(),
            &self.world.interrupt,
        )
    }

    /// Whether the user asked for an end, for tools that are run.
    pub(crate) fn interrupt(&self) -> Interrupt {
        self.world.interrupt.clone()
    }

    /// Polls `condition` until it gives `Ok`. After `within`, the error says `what` was waited for and the last reason.
    pub(crate) fn wait_for<T>(
        &self,
        what: &str,
        within: Duration,
        condition: impl FnMut() -> Result<T, String>,
    ) -> Result<T> {
        self.world.interrupt.wait_for(what, within, condition)
    }

    /// Sends a JSON request (or none, when `body` is null) to Elasticsearch and gives its JSON; any status but 2xx is an error.
    pub(crate) fn ask_elasticsearch(
        &self,
        method: &str,
        path: &str,
        body: &Value,
    ) -> Result<Value> {
        let body = if body.is_null() {
            Vec::new()
        } else {
            body.to_string().into_bytes()
        };
        let url = format!("{}{path}", self.wiring.elasticsearch);
        let reply = http::request(
            method,
            &url,
            &[("Content-Type", "application/json")],
            &body,
            REQUEST_TIMEOUT,
        )?;
        ensure!(
            (200..300).contains(&reply.status),
            "{method} {path}: {} {}",
            reply.status,
            reply.text()
        );
        reply.json()
    }

    /// How many documents this scenario's indices hold, after a refresh; none while no index exists.
    pub(crate) fn documents(&self) -> Result<u64> {
        let index = self.wiring.index().replace("{tenant}", "*");
        self.ask_elasticsearch("POST", &format!("/{index}/_refresh"), &Value::Null)?;
        let count = self.ask_elasticsearch("GET", &format!("/{index}/_count"), &Value::Null)?;
        count["count"]
            .as_u64()
            .ok_or_else(|| anyhow::anyhow!("no count in {count}"))
    }

    /// A condition for [`Stage::wait_for`]: the indices hold exactly `expected` documents.
    pub(crate) fn has_documents(&self, expected: u64) -> Result<(), String> {
        match self.documents() {
            Ok(count) if count == expected => Ok(()),
            Ok(count) => Err(format!("there are {count} documents, not {expected}")),
            Err(error) => Err(format!("{error:#}")),
        }
    }

    /// A condition for [`Stage::wait_for`]: the indices hold `expected` documents or more, so the events flow.
    pub(crate) fn has_at_least(&self, expected: u64) -> Result<(), String> {
        match self.documents() {
            Ok(count) if count >= expected => Ok(()),
            Ok(count) => Err(format!("{count} documents of {expected}")),
            Err(error) => Err(format!("{error:#}")),
        }
    }

    /// The ends of the logs of everything this scenario started, for the error.
    pub(crate) fn log_tails(&self) -> String {
        self.logs.iter().map(|log| process::tail(log)).collect()
    }
}

/// A service or an engine. Dropped, it is killed.
#[derive(Debug)]
pub(crate) struct Part {
    process: Process,
    port: u16,
    interrupt: Interrupt,
}

impl Part {
    /// A part that does not run yet.
    pub(crate) fn new(spec: Spec, port: u16, interrupt: &Interrupt) -> Self {
        Self {
            process: Process::new(spec),
            port,
            interrupt: interrupt.clone(),
        }
    }

    /// What messages call it.
    pub(crate) fn name(&self) -> &str {
        &self.process.spec().name
    }

    /// Where it listens.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Where it answers HTTP, without a slash at the end.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Starts it and waits until it is ready. Data, flags and port are those of before.
    pub(crate) fn start(&mut self) -> Result<()> {
        self.process.start(&self.interrupt)
    }

    /// Starts it and does not wait: [`Part::wait_until_ready`] does.
    pub(crate) fn launch(&mut self) -> Result<()> {
        self.process.launch()
    }

    /// Waits until it is ready, for at most as long as its start may take.
    pub(crate) fn wait_until_ready(&mut self) -> Result<()> {
        self.process.wait_until_ready(&self.interrupt)
    }

    /// Whether it runs.
    pub(crate) fn is_running(&mut self) -> bool {
        self.process.is_running()
    }

    /// Stops it by SIGTERM and gives the time that took. It must end by itself, and a service with status 0.
    pub(crate) fn stop(&mut self) -> Result<Duration> {
        match self.stop_anyhow()? {
            // A JVM reports the signal itself: 128 + 15.
            Stopped::Ended(status, took) if status.success() || status.code() == Some(143) => {
                Ok(took)
            }
            other => bail!(
                "{} did not stop cleanly: {other:?}{}",
                self.name(),
                self.process.tail()
            ),
        }
    }

    /// Stops it by SIGTERM, in whatever way it ends.
    pub(crate) fn stop_anyhow(&mut self) -> Result<Stopped> {
        self.process.stop()
    }

    /// Kills it by SIGKILL, and everything it started.
    pub(crate) fn kill(&mut self) {
        self.process.kill();
    }

    /// Kills it in the way that `kill` knows, for one that SIGKILL alone leaves parts of.
    pub(crate) fn kill_by(&mut self, kill: fn(&mut Process)) {
        kill(&mut self.process);
    }

    /// Stalls it, as a long pause of a virtual machine would, until [`Part::resume`].
    pub(crate) fn pause(&self) {
        self.process.pause();
    }

    /// Ends a [`Part::pause`].
    pub(crate) fn resume(&self) {
        self.process.resume();
    }

    /// The most memory it ever held resident since its start, in bytes.
    pub(crate) fn memory_peak_bytes(&self) -> Result<u64> {
        self.process
            .memory_peak_bytes()
            .ok_or_else(|| anyhow::anyhow!("{} does not run", self.name()))
    }

    /// A GET of `path`, which begins with a slash. Any status is an answer.
    pub(crate) fn get(&self, path: &str) -> Result<Reply> {
        http::get(&format!("{}{path}", self.url()), REQUEST_TIMEOUT)
    }

    /// The same with headers.
    pub(crate) fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Result<Reply> {
        let url = format!("{}{path}", self.url());
        http::request("GET", &url, headers, &[], REQUEST_TIMEOUT)
    }

    /// A POST to `path`. Any status is an answer.
    pub(crate) fn post(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Reply> {
        http::post(
            &format!("{}{path}", self.url()),
            headers,
            body,
            REQUEST_TIMEOUT,
        )
    }

    /// Its `/metrics`.
    pub(crate) fn metrics(&self) -> Result<String> {
        let reply = self.get("/metrics")?;
        ensure!(
            reply.status == 200,
            "{} answers {} to /metrics",
            self.name(),
            reply.status
        );
        Ok(reply.text())
    }

    /// The sum of the samples of metric `name` whose labels contain `labels` (as text, e.g. `reason="rate"`); 0 when there are none.
    pub(crate) fn metric(&self, name: &str, labels: &str) -> Result<f64> {
        let metrics = self.metrics()?;
        let samples = metrics.lines().filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            let (found, value) = rest.rsplit_once(' ')?;
            (found.is_empty() || found.starts_with('{')).then_some((found, value))
        });
        Ok(samples
            .filter(|(found, _)| found.contains(labels))
            .filter_map(|(_, value)| value.parse::<f64>().ok())
            .fold(0.0, |sum, value| sum + value))
    }
}
