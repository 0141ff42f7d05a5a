//! `cargo xtask failover`: a cluster as `up --cluster` runs it, under load, while one process after the other is killed or
//! restarted; what a client sees of each, and where each event is.
//!
//! In the flow: `up::layout`, `up::stack`, `load` → **`failover`** → `target/failover/report.md`.
//! The order: `plan` decides what dies, `clients` see it, `report` tells. Not here: faults that overlap, links, clocks,
//! indices (`nemesis`).

pub mod plan;
mod report;

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use self::plan::{Fault, How, plan};
use self::report::{Report, Row};
use crate::clients::{Clients, RESOURCE_ID};
use crate::engines::FreePorts;
use crate::engines::metadata::{ensure_topic, replicas_behind};
use crate::engines::provision::{Distribution, provision};
use crate::http;
use crate::interrupt::{Interrupt, POLL};
use crate::load::{Load, Sent, steady};
use crate::prerequisites::{self, BUILD, ENGINES, PROXY};
use crate::process::signal_group;
use crate::progress::{Progress, Step};
use crate::services::{BINARIES, Binaries, ready};
use crate::up::HEAPS_IN_CLUSTER_MIB;
use crate::up::layout::{Heaps, Layout, Ports};
use crate::up::stack::Stack;
use crate::workspace::{Lock, Workspace};

/// How long the load runs before a fault, …
const BEFORE: Duration = Duration::from_secs(5);
/// … and after it.
const AFTER: Duration = Duration::from_secs(25);
/// How long it may take until everything works again.
const WELL_WITHIN: Duration = Duration::from_secs(240);
/// After its last event, for the generator to get rid of what it holds.
const LOAD_ENDS_WITHIN: Duration = Duration::from_secs(120);
/// How long the last events of the client may take to be found.
const FOUND_WITHIN: Duration = Duration::from_secs(60);
/// A request without an answer is sent again after this.
const REPLY_TIMEOUT: &str = "15s";
const LOOK_TIMEOUT: Duration = Duration::from_secs(5);

/// What `cargo xtask failover` can be told.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Decides who dies when: the same seed, the same order.
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub seed: u64,
    /// Events per second.
    #[arg(long, default_value_t = 5_000, value_name = "N")]
    pub rate: u32,
    /// How often one process of each kind is killed and one restarted.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=50))]
    pub rounds: u8,
    /// Print what dies in which order, and end.
    #[arg(long)]
    pub plan: bool,
}

/// A cluster that runs.
struct Run<'a> {
    layout: Layout,
    stack: Stack,
    directory: &'a Path,
    loadtest: &'a Path,
    progress: &'a Progress,
    interrupt: &'a Interrupt,
}

/// Kills and restarts, and writes the report.
///
/// # Errors
/// When something cannot be started, does not come back, or an event is not where it must be; the report has said by then
/// which.
pub fn failover(options: &Options) -> Result<()> {
    ensure!(options.rate >= 10, "--rate must be at least 10");
    let interrupt = Interrupt::on_signals()?;
    let progress = Progress::new();
    let workspace = Workspace::locate()?;
    let directory = workspace.target.join("failover");
    let mut free = FreePorts::new();
    let [kafka, elasticsearch] = HEAPS_IN_CLUSTER_MIB;
    let heaps = Heaps {
        kafka,
        elasticsearch,
    };
    let layout = Layout::new(
        Ports::cluster_from(|| free.next())?,
        heaps,
        &directory.join("run"),
    );
    let faults = plan(options.seed, options.rounds, &layout);
    if options.plan {
        for fault in faults {
            progress.say(&format!("{} {}", fault.process, fault.how));
        }
        return Ok(());
    }
    let _lock =
        Lock::take(&workspace.target.join("failover.lock")).context("a second `failover`")?;
    if directory.exists() {
        fs::remove_dir_all(&directory)
            .with_context(|| format!("cannot wipe `{}`", directory.display()))?;
    }
    prerequisites::ensure(&[BUILD, ENGINES, PROXY], &progress, &interrupt)?;
    let distribution = provision(&workspace, &progress, &interrupt)?;
    let binaries = Binaries::build(&workspace, &BINARIES, &interrupt)?;
    let mut run = Run {
        layout,
        stack: Stack::default(),
        directory: &directory,
        loadtest: &binaries.path("loadtest"),
        progress: &progress,
        interrupt: &interrupt,
    };
    let result = run
        .start(&workspace, &distribution, &binaries)
        .and_then(|()| run.carry_out(&faults, options));
    run.stack.stop(&progress);
    let report = result?;
    let page = report.to_markdown();
    let file = directory.join("report.md");
    fs::write(&file, &page).with_context(|| format!("cannot write `{}`", file.display()))?;
    progress.say(&page);
    progress.say(&format!("written to {}", file.display()));
    let violations = report.violations();
    if !violations.is_empty() {
        bail!("{}", violations.join("\n"));
    }
    Ok(())
}

impl Run<'_> {
    fn start(
        &mut self,
        workspace: &Workspace,
        distribution: &Distribution,
        binaries: &Binaries,
    ) -> Result<()> {
        let (progress, interrupt) = (self.progress, self.interrupt);
        let engines = self.layout.engines(distribution, interrupt)?;
        self.stack.start(engines, progress, interrupt)?;
        let wiring = &self.layout.wiring;
        for topic in [&wiring.topic, &wiring.dead_letter_topic] {
            ensure_topic(self.broker(), topic, Duration::from_secs(60), interrupt)?;
        }
        let services = self.layout.services(binaries, &self.directory.join("logs"));
        self.stack.start(services, progress, interrupt)?;
        if let Some(proxy) = self.layout.proxy(workspace)? {
            self.stack.start(vec![proxy], progress, interrupt)?;
        }
        Ok(())
    }

    fn broker(&self) -> SocketAddr {
        self.layout.brokers[0].socket()
    }

    fn carry_out(&mut self, faults: &[Fault], options: &Options) -> Result<Report> {
        let [ingest, search] = [self.layout.ports.ingest, self.layout.ports.search]
            .map(|port| format!("http://127.0.0.1:{port}"));
        let clients = Clients::start(ingest.clone(), search.clone());
        let mut rows = Vec::new();
        for (n, fault) in (1..).zip(faults) {
            let name = format!("{n} of {}", faults.len());
            let mut step = self.progress.step("failover", &name);
            let row = self
                .one(n, fault, options, &ingest, &clients, &mut step)
                .with_context(|| format!("{} {}", fault.process, fault.how))?;
            let well = row.until.saturating_sub(row.from).as_secs_f64();
            step.done(&format!(
                "{name}: {} {}, all well after {well:.0} s",
                fault.process, fault.how
            ));
            rows.push(row);
        }
        let (seen, failures) = clients.finish();
        let acknowledged = seen.acknowledged.len() as u64;
        let found = self
            .interrupt
            .wait_for("the client's events", FOUND_WITHIN, || match self.count() {
                Ok(found) if found >= acknowledged => Ok(found),
                Ok(found) => Err(format!("{found} of {acknowledged} are found")),
                Err(error) => Err(format!("{error:#}")),
            })?;
        Ok(Report {
            command: format!(
                "cargo xtask failover --seed {} --rate {} --rounds {}",
                options.seed, options.rate, options.rounds
            ),
            rate: options.rate,
            rows,
            seen,
            failures,
            acknowledged,
            found,
        })
    }

    fn one(
        &mut self,
        n: usize,
        fault: &Fault,
        options: &Options,
        ingest: &str,
        clients: &Clients,
        step: &mut Step,
    ) -> Result<Row> {
        let mut flags = ["--target", ingest, "--idempotency-keys"]
            .map(str::to_owned)
            .to_vec();
        flags.extend(["--timeout", REPLY_TIMEOUT, "--connections", "8"].map(str::to_owned));
        flags.extend(steady(options.rate, BEFORE + AFTER));
        let name = format!("fault-{n}");
        let seed = options.seed + n as u64;
        let load = Load::start(self.directory, self.loadtest, &name, seed, &flags)?;
        self.look_after_for(BEFORE)?;
        let from = clients.now();
        step.note(&format!("{} {}", fault.process, fault.how));
        self.inflict(fault)?;
        let until = self.until_well(clients, step)?;
        self.look_after_for((from + AFTER).saturating_sub(clients.now()))?;
        let sent: Sent = load.finish(self.interrupt, LOAD_ENDS_WITHIN)?;
        step.note("looking for each event");
        let wiring = &self.layout.wiring;
        let verified = sent.verify(wiring, &wiring.elasticsearch, 0)?;
        Ok(Row {
            fault: fault.clone(),
            from,
            until,
            verified,
        })
    }

    /// Starts again what has died, for a while.
    fn look_after_for(&mut self, time: Duration) -> Result<()> {
        let until = Instant::now() + time;
        while Instant::now() < until {
            self.interrupt.check()?;
            self.stack.look_after(self.progress)?;
            std::thread::sleep(POLL);
        }
        Ok(())
    }

    fn inflict(&self, fault: &Fault) -> Result<()> {
        let process = self.stack.process(&fault.process);
        let process = process.with_context(|| format!("no process `{}`", fault.process))?;
        let pid = process.pid().context("it does not run")?;
        match fault.how {
            How::Killed => signal_group(pid, Signal::KILL),
            How::Restarted => {
                let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
                kill_process(pid.context("no process id")?, Signal::TERM)?;
            }
        }
        Ok(())
    }

    /// Waits until everything works, and gives when that was.
    fn until_well(&mut self, clients: &Clients, step: &mut Step) -> Result<Duration> {
        let began = Instant::now();
        // What was signalled a moment ago may still answer.
        self.look_after_for(Duration::from_secs(1))?;
        loop {
            self.interrupt.check()?;
            self.stack.look_after(self.progress)?;
            match self.is_well() {
                Ok(()) => return Ok(clients.now()),
                Err(reason) => {
                    ensure!(
                        began.elapsed() < WELL_WITHIN,
                        "not well after {} s: {reason}",
                        WELL_WITHIN.as_secs()
                    );
                    step.note(&reason);
                }
            }
            std::thread::sleep(POLL);
        }
    }

    fn is_well(&self) -> Result<(), String> {
        let told = |error: anyhow::Error| format!("{error:#}");
        for replica in &self.layout.services {
            (ready(&self.layout.monitor, replica.port))()
                .map_err(|reason| format!("{}: {reason}", replica.name))?;
        }
        (ready(&self.layout.monitor, self.layout.ports.ingest))()?;
        (ready(&self.layout.monitor, self.layout.ports.search))()?;
        for node in &self.layout.nodes {
            let health = format!("{}/_cluster/health", node.url());
            let health = http::get(&health, LOOK_TIMEOUT).and_then(|reply| reply.json());
            let health = health.map_err(told)?;
            let nodes = health["number_of_nodes"].as_u64().unwrap_or(0);
            if health["status"] != "green" || nodes < self.layout.nodes.len() as u64 {
                return Err(format!(
                    "{} calls the cluster {} with {nodes} nodes",
                    node.name, health["status"]
                ));
            }
        }
        let wiring = &self.layout.wiring;
        for broker in &self.layout.brokers {
            match replicas_behind(broker.socket(), &wiring.topic).map_err(told)? {
                0 => {}
                behind => return Err(format!("{}: {behind} replicas are behind", broker.name)),
            }
        }
        Ok(())
    }

    /// How many events of the client are documents.
    fn count(&self) -> Result<u64> {
        let url = format!(
            "{}/{}/_count?q=resourceId:{RESOURCE_ID}",
            self.layout.nodes[0].url(),
            self.layout.wiring.index()
        );
        let counted: Value = http::get(&url, LOOK_TIMEOUT)?.json()?;
        let count = counted["count"].as_u64();
        count.with_context(|| format!("no count: {counted}"))
    }
}
