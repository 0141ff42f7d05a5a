//! `cargo xtask up`: the whole pipeline on this machine, until Ctrl-C.
//!
//! In the flow: `prerequisites` → `engines` → `services` → `ship_logs`, then supervision: what dies is started again.
//! Whatever ends it (a signal, a failure halfway) stops everything in reverse order.
//! Not here: how one process is started and stopped (`process`).

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::engines::elasticsearch::Node;
use crate::engines::kafka::Broker;
use crate::engines::metadata::ensure_topic;
use crate::engines::provision::provision;
use crate::http;
use crate::interrupt::{Interrupt, Interrupted, POLL};
use crate::prerequisites::{self, BUILD, ENGINES};
use crate::process::{Process, Spec, Stopped};
use crate::progress::Progress;
use crate::services::{Binaries, SERVICES, Wiring};
use crate::ship_logs::{Format, Shipper, Source};
use crate::workspace::{Lock, Workspace};

/// How often what is new in the engines' logs is shipped.
const SHIP_EVERY: Duration = Duration::from_secs(5);

/// How long the first shipped logs may take until a search finds them.
const FOUND_WITHIN: Duration = Duration::from_secs(90);

/// What died is started again at once, and later each time it dies within a minute, up to this.
const RESTART_AFTER_MAX: Duration = Duration::from_secs(30);

/// What `cargo xtask up` can be told.
#[derive(Debug, Clone, Args)]
pub struct Options {
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
    /// Kafka's heap in MiB.
    #[arg(long, default_value_t = 512, value_name = "MIB")]
    pub kafka_heap: u32,
    /// Elasticsearch's heap in MiB.
    #[arg(long, default_value_t = 1024, value_name = "MIB")]
    pub elasticsearch_heap: u32,
    /// Where the state lies: data and logs [default: target/local].
    #[arg(long, value_name = "DIRECTORY")]
    pub state: Option<PathBuf>,
}

impl Options {
    fn ports(&self) -> [(u16, &'static str, &'static str); 7] {
        [
            (self.gateway_port, "ingest-gateway", "--gateway-port"),
            (self.query_port, "query-api", "--query-port"),
            (self.sink_port, "es-sink", "--sink-port"),
            (self.kafka_port, "Kafka", "--kafka-port"),
            (
                self.kafka_controller_port,
                "Kafka's controller",
                "--kafka-controller-port",
            ),
            (
                self.elasticsearch_port,
                "Elasticsearch",
                "--elasticsearch-port",
            ),
            (
                self.elasticsearch_transport_port,
                "Elasticsearch's transport",
                "--elasticsearch-transport-port",
            ),
        ]
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
    check_ports(options)?;
    if options.fresh {
        wipe(&state)?;
    }

    let mut stack = Stack { parts: Vec::new() };
    let result = bring_up(
        options, &workspace, &state, &mut stack, &progress, &interrupt,
    )
    .and_then(|shipper| stack.supervise(&shipper, &progress, &interrupt));
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
    options: &Options,
    workspace: &Workspace,
    state: &Path,
    stack: &mut Stack,
    progress: &Progress,
    interrupt: &Interrupt,
) -> Result<Shipper> {
    prerequisites::ensure(&[BUILD, ENGINES], progress, interrupt)?;
    let distribution = provision(workspace, progress, interrupt)?;
    progress.say("services: cargo build --release (the first time takes some minutes)");
    let binaries = Binaries::build(workspace, &SERVICES, interrupt)?;

    let broker = Broker {
        heap_mib: options.kafka_heap,
        ..Broker::alone(
            "kafka",
            options.kafka_port,
            options.kafka_controller_port,
            state.join("kafka"),
        )
    };
    let node = Node {
        heap_mib: options.elasticsearch_heap,
        ..Node::alone(
            "elasticsearch",
            options.elasticsearch_port,
            options.elasticsearch_transport_port,
            state.join("elasticsearch"),
        )
    };
    let elasticsearch = node.prepare(&distribution)?;
    let kafka = broker.prepare(&distribution, interrupt)?;
    stack.start(vec![kafka, elasticsearch], progress, interrupt)?;

    let wiring = Wiring::standard(broker.address(), node.url());
    for topic in [&wiring.topic, &wiring.dead_letter_topic] {
        ensure_topic(broker.socket(), topic, Duration::from_secs(30), interrupt)?;
    }
    let mut query_flags = wiring.query_flags();
    query_flags.push(format!("--sink-url=http://127.0.0.1:{}", options.sink_port));
    let flags = [wiring.gateway_flags(), wiring.sink_flags(), query_flags];
    let ports = [options.gateway_port, options.sink_port, options.query_port];
    let services = SERVICES
        .iter()
        .zip(ports)
        .zip(&flags)
        .map(|((name, port), flags)| {
            binaries.service(name, port, flags, &state.join(format!("logs/{name}.log")))
        });
    stack.start(services.collect(), progress, interrupt)?;

    let sources = vec![
        Source {
            resource_id: "kafka".into(),
            path: broker.server_log(),
            format: Format::Log4j,
        },
        Source {
            resource_id: "elasticsearch".into(),
            path: node.server_log(),
            format: Format::Ecs,
        },
    ];
    let gateway = format!("http://127.0.0.1:{}", options.gateway_port);
    let shipper = Shipper::new(gateway, state.join("shipped"), sources);
    let step = progress.step("logs", "shipping the engines' own logs");
    let accepted = shipper.ship_new()?;
    let query = format!(
        "http://127.0.0.1:{}/logs?resourceId=elasticsearch&limit=3",
        options.query_port
    );
    interrupt.wait_for("the shipped logs to be found", FOUND_WITHIN, || {
        found(&query)
    })?;
    step.done(&format!(
        "{accepted} events of the engines' own logs are searchable"
    ));
    progress.say(&addresses(options, &wiring, state, &query));
    Ok(shipper)
}

/// Whether a search finds something.
fn found(query: &str) -> Result<(), String> {
    let reply = http::get(query, Duration::from_secs(5)).map_err(|error| format!("{error:#}"))?;
    let events = reply.json().map_err(|error| format!("{error:#}"))?;
    match events.as_array() {
        Some(events) if !events.is_empty() => Ok(()),
        _ => Err(format!("{query} answers {} {}", reply.status, reply.text())),
    }
}

fn addresses(options: &Options, wiring: &Wiring, state: &Path, query: &str) -> String {
    format!(
        "\nlogflow is up.\n\
         \n  send        http://127.0.0.1:{}/logs\
         \n  explore     http://127.0.0.1:{}/ (the API: /openapi.json)\
         \n  sink        http://127.0.0.1:{}/status\
         \n  Kafka       {} (topic `{}`)\
         \n  Elastic     {} (indices `{}`)\
         \n  logs, data  {}\n\
         \nFind what Elasticsearch itself logged:\n\
         \n  curl '{query}'\n\
         \nCtrl-C stops everything and keeps the data.",
        options.gateway_port,
        options.query_port,
        options.sink_port,
        wiring.kafka,
        wiring.topic,
        wiring.elasticsearch,
        wiring.index(),
        state.display(),
    )
}

/// A port that is taken is named before anything is built.
fn check_ports(options: &Options) -> Result<()> {
    let ports = options.ports();
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

/// Removes what earlier runs left, and nothing else that may lie in the same directory.
fn wipe(state: &Path) -> Result<()> {
    for part in ["kafka", "elasticsearch", "logs", "shipped"] {
        let path = state.join(part);
        if path.exists() {
            fs::remove_dir_all(&path)
                .with_context(|| format!("cannot wipe `{}`", path.display()))?;
        }
    }
    Ok(())
}

/// What runs, in the order in which it was started.
#[derive(Debug)]
struct Stack {
    parts: Vec<Part>,
}

#[derive(Debug)]
struct Part {
    process: Process,
    started: Instant,
    restart_after: Duration,
    /// It died and is to be started again then.
    restart_at: Option<Instant>,
}

impl Stack {
    /// Starts all of `specs` at once and waits for each.
    fn start(
        &mut self,
        specs: Vec<Spec>,
        progress: &Progress,
        interrupt: &Interrupt,
    ) -> Result<()> {
        let first = self.parts.len();
        let mut steps = Vec::new();
        for spec in specs {
            interrupt.check()?;
            steps.push(progress.step(&spec.name, "starting"));
            let mut process = Process::new(spec);
            process.launch()?;
            let now = Instant::now();
            self.parts.push(Part {
                process,
                started: now,
                restart_after: Duration::ZERO,
                restart_at: None,
            });
        }
        for (part, step) in self.parts[first..].iter_mut().zip(steps) {
            part.process.wait_until_ready(interrupt)?;
            step.done("ready");
        }
        Ok(())
    }

    /// Starts again what dies and ships what is new in the logs, until an end is asked for: then `Err(Interrupted)`.
    fn supervise(
        &mut self,
        shipper: &Shipper,
        progress: &Progress,
        interrupt: &Interrupt,
    ) -> Result<()> {
        let mut shipped = Instant::now();
        let mut shipping_failed = false;
        loop {
            interrupt.check()?;
            for part in &mut self.parts {
                part.look_after(progress)?;
            }
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

    /// Stops everything, the last started first.
    fn stop(&mut self, progress: &Progress) {
        for part in self.parts.iter_mut().rev() {
            let name = part.process.spec().name.clone();
            let step = progress.step(&name, "stopping");
            match part.process.stop() {
                Ok(Stopped::Ended(_, _)) => step.done("stopped"),
                Ok(Stopped::WasNotRunning) => step.done("had stopped by itself"),
                Ok(Stopped::Killed) => step.done("did not stop in time and was killed"),
                Err(error) => progress.say(&format!("{name}: {error:#}")),
            }
        }
        self.parts.clear();
    }
}

impl Part {
    fn look_after(&mut self, progress: &Progress) -> Result<()> {
        let name = self.process.spec().name.clone();
        if let Some(at) = self.restart_at {
            if Instant::now() >= at {
                self.restart_at = None;
                self.started = Instant::now();
                self.process.launch()?;
            }
        } else if let Some(status) = self.process.exit_status()? {
            if self.started.elapsed() > Duration::from_secs(60) {
                self.restart_after = Duration::ZERO;
            }
            let when = match self.restart_after.as_secs() {
                0 => "now".to_owned(),
                seconds => format!("in {seconds} s"),
            };
            let log = self.process.spec().log.display();
            progress.say(&format!(
                "{name} ended by itself ({status}); starting it again {when}; its log: {log}"
            ));
            self.restart_at = Some(Instant::now() + self.restart_after);
            self.restart_after =
                (self.restart_after * 2).clamp(Duration::from_secs(1), RESTART_AFTER_MAX);
        }
        Ok(())
    }
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
        let error = check_ports(&options).unwrap_err().to_string();
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
        let error = check_ports(&options).unwrap_err().to_string();
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
        wipe(state.path()).unwrap();
        let left: Vec<_> = fs::read_dir(state.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(left, ["notes"]);
    }
}
