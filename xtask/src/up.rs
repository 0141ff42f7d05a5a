//! `cargo xtask up`: the whole pipeline on this machine, until Ctrl-C.
//!
//! In the flow: `prerequisites` → `secrets`, `security` (with --secure) → `layout` → `engines` → `services` → `haproxy` →
//! `ship_logs`, `scrape`, then supervision (`stack`): what dies is started again. Whatever ends it (a signal, a failure halfway) stops everything in reverse
//! order. Not here: how one process is started and stopped (`process`).

pub mod haproxy;
pub mod layout;
mod scrape;
pub mod secrets;
pub mod security;
pub(crate) mod stack;

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;

use self::layout::{FirstPorts, Heaps, Layout, Ports};
use self::secrets::Secrets;
use self::security::{Security, grants};
use self::stack::Stack;
use crate::engines::kafka_tools::KafkaTools;
use crate::engines::metadata::ensure_topic;
use crate::engines::provision::{Distribution, provision};
use crate::http::Client;
use crate::interrupt::{Interrupt, Interrupted, POLL};
use crate::prerequisites::{self, BUILD, ENGINES, PROXY, SECURITY};
use crate::progress::Progress;
use crate::services::{Binaries, SERVICES};
use crate::ship_logs::Shipper;
use crate::workspace::{Lock, Workspace};

/// How often what is new in the engines' logs is shipped.
const SHIP_EVERY: Duration = Duration::from_secs(5);

/// How long the first shipped logs may take until a search finds them.
const FOUND_WITHIN: Duration = Duration::from_secs(90);

/// The heaps of Kafka and Elasticsearch.
const HEAPS_MIB: [u32; 2] = [512, 1024];
/// The same, where there are three of each.
pub(crate) const HEAPS_IN_CLUSTER_MIB: [u32; 2] = [384, 768];

/// In the directory with the data: what a Prometheus is to scrape.
const SCRAPE: &str = "prometheus.yml";

/// What `cargo xtask up` can be told.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Three brokers, three Elasticsearch nodes, two gateways, three sinks and two query APIs, with HAProxy before them:
    /// any one of them may die. Its data is apart from that of the single ones.
    #[arg(long)]
    pub cluster: bool,
    /// TLS everywhere, a user with no more privileges than it needs for each service, and API keys for clients. Its data
    /// is apart, too; the secrets lie beside it.
    #[arg(long)]
    pub secure: bool,
    /// Begin with no data: wipe what earlier runs left under target/local.
    #[arg(long)]
    pub fresh: bool,
    /// Where ingest-gateway listens.
    #[arg(long, default_value_t = 3000, value_name = "PORT")]
    pub gateway_port: u16,
    /// Where query-api listens.
    #[arg(long, default_value_t = 5000, value_name = "PORT")]
    pub query_port: u16,
    /// Where es-sink listens for health checks and metrics.
    #[arg(long, default_value_t = 9102, value_name = "PORT")]
    pub sink_port: u16,
    /// Where Kafka listens.
    #[arg(long, default_value_t = 9092, value_name = "PORT")]
    pub kafka_port: u16,
    /// Where Kafka's controller listens.
    #[arg(long, default_value_t = 9093, value_name = "PORT")]
    pub kafka_controller_port: u16,
    /// Where Elasticsearch listens.
    #[arg(long, default_value_t = 9200, value_name = "PORT")]
    pub elasticsearch_port: u16,
    /// Where Elasticsearch listens for other nodes.
    #[arg(long, default_value_t = 9300, value_name = "PORT")]
    pub elasticsearch_transport_port: u16,
    /// With --cluster, where HAProxy tells about itself.
    #[arg(long, default_value_t = 8404, value_name = "PORT")]
    pub proxy_port: u16,
    /// Kafka's heap in MiB, of each broker [default: 512; in a cluster 384].
    #[arg(long, value_name = "MIB")]
    pub kafka_heap: Option<u32>,
    /// Elasticsearch's heap in MiB, of each node [default: 1024; in a cluster 768].
    #[arg(long, value_name = "MIB")]
    pub elasticsearch_heap: Option<u32>,
    /// Where the state lies: data and logs [default: target/local].
    #[arg(long, value_name = "DIRECTORY")]
    pub state: Option<PathBuf>,
}

impl Options {
    fn ports(&self) -> Ports {
        let first = FirstPorts {
            ingest: self.gateway_port,
            search: self.query_port,
            proxy: self.proxy_port,
            sink: self.sink_port,
            kafka: self.kafka_port,
            kafka_controller: self.kafka_controller_port,
            elasticsearch: self.elasticsearch_port,
            elasticsearch_transport: self.elasticsearch_transport_port,
        };
        match self.cluster {
            false => Ports::single(&first),
            true => Ports::cluster(&first),
        }
    }

    fn heaps(&self) -> Heaps {
        let [kafka, elasticsearch] = match self.cluster {
            false => HEAPS_MIB,
            true => HEAPS_IN_CLUSTER_MIB,
        };
        Heaps {
            kafka: self.kafka_heap.unwrap_or(kafka),
            elasticsearch: self.elasticsearch_heap.unwrap_or(elasticsearch),
        }
    }

    /// Where below `state` the data of this kind of pipeline lies.
    fn data(&self, state: &Path) -> PathBuf {
        match (self.secure, self.cluster) {
            (false, false) => state.to_path_buf(),
            (false, true) => state.join("cluster"),
            (true, false) => state.join("secure"),
            (true, true) => state.join("secure-cluster"),
        }
    }
}

/// Runs until the user asks for an end.
///
/// # Errors
/// When something cannot be started. By then everything is stopped again.
pub fn up(options: &Options) -> Result<()> {
    let interrupt = Interrupt::on_signals()?;
    let progress = Progress::new();
    let workspace = Workspace::locate()?;
    let state = options
        .state
        .clone()
        .unwrap_or_else(|| workspace.target.join("local"));
    fs::create_dir_all(&state).with_context(|| format!("cannot create `{}`", state.display()))?;
    let state = state
        .canonicalize()
        .with_context(|| format!("cannot find `{}`", state.display()))?;
    let _lock = Lock::take(&state.join("lock")).context("a second `up` on the same state")?;
    let data = options.data(&state);
    let ports = options.ports();
    check_ports(&ports)?;
    if options.fresh {
        wipe(&data, data != state)?;
    }
    let proxy: &[_] = if options.cluster { PROXY } else { &[] };
    let secure: &[_] = if options.secure { SECURITY } else { &[] };
    prerequisites::ensure(&[BUILD, ENGINES, proxy, secure], &progress, &interrupt)?;
    let security = match options.secure {
        true => Some(Security::new(Secrets::open(
            &data.join("secrets"),
            &interrupt,
        )?)?),
        false => None,
    };
    let layout = match &security {
        Some(security) => Layout::secured(ports, options.heaps(), &data, security)?,
        None => Layout::new(ports, options.heaps(), &data),
    };

    let mut stack = Stack::default();
    let result = bring_up(
        &layout,
        security.as_ref(),
        &workspace,
        &data,
        &mut stack,
        &progress,
        &interrupt,
    )
    .and_then(|shipper| supervise(&mut stack, &shipper, &progress, &interrupt));
    if let Err(error) = &result
        && !error.is::<Interrupted>()
    {
        progress.say(&format!("{error:#}"));
    }
    stack.stop(&progress);
    match result {
        Err(error) if error.is::<Interrupted>() => {
            progress.say("stopped; nothing runs any more, the data is kept");
            Ok(())
        }
        Err(_) => bail!("stopped again, because of the failure above"),
        Ok(()) => Ok(()),
    }
}

/// Starts everything, ships the first logs and says where things are.
fn bring_up(
    layout: &Layout,
    security: Option<&Security>,
    workspace: &Workspace,
    data: &Path,
    stack: &mut Stack,
    progress: &Progress,
    interrupt: &Interrupt,
) -> Result<Shipper> {
    let distribution = provision(workspace, progress, interrupt)?;
    progress.say("services: cargo build --release (the first time takes some minutes)");
    let binaries = Binaries::build(workspace, &SERVICES, interrupt)?;
    if let Some(security) = security {
        security.ensure_keys(&binaries.path("ingest-gateway"))?;
    }

    let engines = layout.engines(&distribution, interrupt)?;
    stack.start(engines, progress, interrupt)?;
    let wiring = &layout.wiring;
    match security {
        None => {
            for topic in [&wiring.topic, &wiring.dead_letter_topic] {
                let broker = layout.brokers[0].socket();
                ensure_topic(broker, topic, Duration::from_secs(30), interrupt)?;
            }
        }
        Some(security) => {
            grant_all(layout, security, distribution, data, progress, interrupt)?;
        }
    }
    let services = layout.services(&binaries, &data.join("logs"));
    stack.start(services, progress, interrupt)?;
    if let Some(proxy) = layout.proxy(workspace)? {
        stack.start(vec![proxy], progress, interrupt)?;
    }

    let client = |who| security.map_or_else(Client::default, |one| one.secrets.client(who));
    let shipper = Shipper::new(
        layout.monitor.url(layout.ports.ingest),
        client("shipper"),
        data.join("shipped"),
        layout.logs(),
    );
    let step = progress.step("logs", "shipping the engines' own logs");
    let accepted = shipper.ship_new()?;
    let query = format!(
        "{}/logs?resourceId={}&limit=3",
        layout.monitor.url(layout.ports.search),
        layout.nodes[0].name
    );
    let reader = client("reader");
    interrupt.wait_for("the shipped logs to be found", FOUND_WITHIN, || {
        found(&reader, &query)
    })?;
    step.done(&format!(
        "{accepted} events of the engines' own logs are searchable"
    ));
    let secrets = security.map(|one| &one.secrets);
    let watched = scrape::configuration(layout, secrets, &workspace.root);
    let path = data.join(SCRAPE);
    fs::write(&path, watched).with_context(|| format!("cannot write `{}`", path.display()))?;
    progress.say(&addresses(layout, security, data, &query));
    Ok(shipper)
}

/// Creates the topics, and lets each service do its part with them. Once: it takes a JVM for each step.
pub(crate) fn grant_all(
    layout: &Layout,
    security: &Security,
    distribution: Distribution,
    data: &Path,
    progress: &Progress,
    interrupt: &Interrupt,
) -> Result<KafkaTools> {
    let wiring = &layout.wiring;
    let tools = KafkaTools {
        distribution,
        brokers: wiring.kafka.clone(),
        logs: data.join("kafka-tools"),
        properties: Some(security.kafka_admin()),
    };
    let done = data.join("granted");
    if done.is_file() {
        return Ok(tools);
    }
    let mut step = progress.step("Kafka", "creating the topics");
    for topic in [&wiring.topic, &wiring.dead_letter_topic] {
        tools.create_topic(topic, interrupt)?;
    }
    let grants = grants(wiring);
    for (n, grant) in (1..).zip(&grants) {
        step.note(&format!("privileges, {n} of {}", grants.len()));
        tools.grant(grant, interrupt)?;
    }
    fs::write(&done, "").with_context(|| format!("cannot write `{}`", done.display()))?;
    step.done("topics are there, and each service has its privileges");
    Ok(tools)
}

/// Starts again what dies and ships what is new in the logs, until an end is asked for: then `Err(Interrupted)`.
fn supervise(
    stack: &mut Stack,
    shipper: &Shipper,
    progress: &Progress,
    interrupt: &Interrupt,
) -> Result<()> {
    let mut shipped = Instant::now();
    let mut shipping_failed = false;
    loop {
        interrupt.check()?;
        stack.look_after(progress)?;
        if shipped.elapsed() >= SHIP_EVERY {
            shipped = Instant::now();
            match shipper.ship_new() {
                Ok(_) => shipping_failed = false,
                Err(error) if !shipping_failed => {
                    shipping_failed = true;
                    progress.say(&format!(
                        "the engines' logs are not shipped at the moment: {error:#}"
                    ));
                }
                Err(_) => {}
            }
        }
        std::thread::sleep(POLL);
    }
}

/// Whether a search finds something.
fn found(reader: &Client, query: &str) -> Result<(), String> {
    let reply = reader.get(query, Duration::from_secs(5));
    let reply = reply.map_err(|error| format!("{error:#}"))?;
    let events = reply.json().map_err(|error| format!("{error:#}"))?;
    match events.as_array() {
        Some(events) if !events.is_empty() => Ok(()),
        _ => Err(format!("{query} answers {} {}", reply.status, reply.text())),
    }
}

fn addresses(layout: &Layout, security: Option<&Security>, data: &Path, query: &str) -> String {
    let Layout { ports, wiring, .. } = layout;
    let at = |port: u16| layout.monitor.url(port);
    let sinks = ports.sinks.iter();
    let sinks: Vec<String> = sinks.map(|port| at(*port) + "/status").collect();
    let mut text = format!(
        "\nlogflow is up.\n\
         \n  send        {}/logs\
         \n  explore     {}/ (the API: /openapi.json)\
         \n  sink        {}\
         \n  Kafka       {} (topic `{}`)\
         \n  Elastic     {} (indices `{}`)",
        at(ports.ingest),
        at(ports.search),
        sinks.join(" "),
        wiring.kafka,
        wiring.topic,
        wiring.elasticsearch,
        wiring.index(),
    );
    if let Some(proxy) = ports.proxy {
        let behind = |ports: &[u16]| {
            let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
            ports.join(" and ")
        };
        text.push_str(&format!(
            "\n  HAProxy     {}/ (gateways on {}, query APIs on {})",
            at(proxy),
            behind(&ports.gateways),
            behind(&ports.query_apis),
        ));
    }
    text.push_str(&format!(
        "\n  watch       prometheus --config.file={}\n  logs, data  {}\n",
        data.join(SCRAPE).display(),
        data.display()
    ));
    let mut proof = String::new();
    if let Some(security) = security {
        let secrets = &security.secrets;
        let [keys, reader] = ["*.key", "reader.header"].map(|name| secrets.path(name));
        let authority = secrets.authority();
        text.push_str(&format!(
            "\nEverything asks for a key or a password. {} are API keys:\n\
             \x20 shipper sends, reader searches (sign in with it on the page), operator mends, monitor watches.\n\
             The authority to trust is {}; the other files there say who is who to Kafka and Elasticsearch.\n",
            keys.display(),
            authority.display(),
        ));
        proof = format!(
            "--cacert {} --header @{} ",
            authority.display(),
            reader.display()
        );
    }
    text.push_str(&format!(
        "\nFind what Elasticsearch itself logged:\n\n  curl {proof}'{query}'\n"
    ));
    if ports.proxy.is_some() {
        text.push_str("\nKill any one process: the others go on, and it is started again.");
    }
    text.push_str("\nCtrl-C stops everything and keeps the data.");
    text
}

/// A port that is taken is named before anything is built.
fn check_ports(ports: &Ports) -> Result<()> {
    let ports = ports.all();
    let mut faults = Vec::new();
    for (index, (port, user, flag)) in ports.iter().enumerate() {
        if let Some((_, other, _)) = ports[..index].iter().find(|(taken, _, _)| taken == port) {
            faults.push(format!(
                "port {port} is given to both {other} and {user}; choose another with {flag}"
            ));
        } else if let Err(error) = TcpListener::bind(("127.0.0.1", *port)) {
            faults.push(format!(
                "port {port} is not free for {user} ({error}); stop what listens there (`ss -ltnp 'sport = :{port}'` \
                 tells what), or choose another with {flag}"
            ));
        }
    }
    if !faults.is_empty() {
        bail!("{}", faults.join("\n"));
    }
    Ok(())
}

/// Removes what earlier runs left, and nothing else that may lie in the same directory, unless that is ours alone.
fn wipe(data: &Path, is_ours: bool) -> Result<()> {
    let owned: &[&str] = match is_ours {
        true => &[""],
        false => &["kafka", "elasticsearch", "logs", "shipped"],
    };
    for part in owned {
        let path = data.join(part);
        if path.exists() {
            fs::remove_dir_all(&path)
                .with_context(|| format!("cannot wipe `{}`", path.display()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    #[test]
    fn a_taken_port_is_named_with_the_flag_that_chooses_another() {
        let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        let options = Line::parse_from(["up", "--query-port", &port.to_string()]).options;
        let error = check_ports(&options.ports()).unwrap_err().to_string();
        assert!(
            error.contains(&format!("port {port} is not free for query-api")),
            "{error}"
        );
        assert!(
            error.contains("choose another with --query-port"),
            "{error}"
        );
    }

    #[test]
    fn two_parts_on_one_port_are_refused() {
        let options =
            Line::parse_from(["up", "--query-port", "23001", "--gateway-port", "23001"]).options;
        let error = check_ports(&options.ports()).unwrap_err().to_string();
        assert!(
            error.contains("port 23001 is given to both ingest-gateway and query-api"),
            "{error}"
        );
    }

    #[test]
    fn fresh_wipes_only_what_up_owns() {
        let state = tempfile::tempdir().unwrap();
        for part in ["kafka/data", "elasticsearch/data", "shipped", "notes"] {
            fs::create_dir_all(state.path().join(part)).unwrap();
        }
        wipe(state.path(), false).unwrap();
        let left: Vec<_> = fs::read_dir(state.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(left, ["notes"]);
    }
}
