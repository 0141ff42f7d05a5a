//! `cargo xtask secured`: a secured pipeline as `up --secure --cluster` runs it: what answers to a stranger, what happens
//! while each secret is replaced, and, if that is wanted, what when a privilege is missing.
//!
//! In the flow: `up::layout`, `up::security`, `up::stack` → **`secured`** → `target/secured/report.md`.
//! The order: `scan`, `replace`, `privileges`, all under the `traffic` of one client, whose events are counted at the end.

mod privileges;
mod replace;
mod scan;
mod traffic;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use self::privileges::PRIVILEGES;
use self::replace::REPLACEMENTS;
use self::scan::scan;
use self::traffic::{BATCH, Traffic, faults};
use crate::engines::FreePorts;
use crate::engines::kafka_tools::KafkaTools;
use crate::engines::provision::{Distribution, provision};
use crate::interrupt::Interrupt;
use crate::prerequisites::{self, BUILD, ENGINES, PROXY, SECURITY};
use crate::progress::Progress;
use crate::services::{BINARIES, Binaries, ready};
use crate::up::layout::{FirstPorts, Heaps, Layout, Ports};
use crate::up::secrets::Secrets;
use crate::up::security::Security;
use crate::up::stack::Stack;
use crate::up::{HEAPS_IN_CLUSTER_MIB, grant_all};
use crate::workspace::{Lock, Workspace};

/// How long it may take until everything works again.
const WELL_WITHIN: Duration = Duration::from_secs(180);
/// How long what is on its way may take until it is found.
const FOUND_WITHIN: Duration = Duration::from_secs(120);
/// Before the first change.
const WARM_UP_BATCHES: usize = 20;

/// What `cargo xtask secured` can be told.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// One of each instead of a cluster, and no secret is replaced.
    #[arg(long)]
    pub scan: bool,
    /// Also take one privilege after the other away from the services and give it back; fails where a service does not
    /// tell by its name which one it lacks.
    #[arg(long)]
    pub privileges: bool,
}

/// A secured pipeline that runs.
struct Pipeline<'a> {
    layout: Layout,
    security: Security,
    binaries: Binaries,
    distribution: Distribution,
    kafka: KafkaTools,
    stack: Stack,
    /// Where the services' logs are.
    logs: PathBuf,
    interrupt: &'a Interrupt,
}

/// Runs it, and writes the report.
///
/// # Errors
/// When something cannot be started, a stranger gets an answer, a change does not heal, or an event is not there once.
pub fn secured(options: &Options) -> Result<()> {
    let interrupt = Interrupt::on_signals()?;
    let progress = Progress::new();
    let workspace = Workspace::locate()?;
    let directory = workspace.target.join("secured");
    let _lock = Lock::take(&workspace.target.join("secured.lock")).context("a second `secured`")?;
    if directory.exists() {
        fs::remove_dir_all(&directory)
            .with_context(|| format!("cannot wipe `{}`", directory.display()))?;
    }
    prerequisites::ensure(&[BUILD, ENGINES, PROXY, SECURITY], &progress, &interrupt)?;
    let distribution = provision(&workspace, &progress, &interrupt)?;
    let binaries = Binaries::build(&workspace, &BINARIES, &interrupt)?;
    run(
        options,
        &workspace,
        &directory,
        distribution,
        binaries,
        &progress,
        &interrupt,
    )
}

/// The same with what is there already, for the live tests.
///
/// # Errors
/// As [`secured`].
pub fn run(
    options: &Options,
    workspace: &Workspace,
    directory: &Path,
    distribution: Distribution,
    binaries: Binaries,
    progress: &Progress,
    interrupt: &Interrupt,
) -> Result<()> {
    let state = directory.join("run");
    let security = Security::new(Secrets::open(&state.join("secrets"), interrupt)?)?;
    security.ensure_keys(&binaries.path("ingest-gateway"))?;
    let mut free = FreePorts::new();
    let ports = match options.scan {
        true => Ports::single(&FirstPorts::from(|| free.next())?),
        false => Ports::cluster_from(|| free.next())?,
    };
    let [kafka, elasticsearch] = HEAPS_IN_CLUSTER_MIB;
    let heaps = Heaps {
        kafka,
        elasticsearch,
    };
    let layout = Layout::secured(ports, heaps, &state, &security)?;
    let mut stack = Stack::default();
    let started = start(
        &layout,
        &security,
        workspace,
        &distribution,
        &binaries,
        &state,
        &mut stack,
        progress,
        interrupt,
    );
    let mut pipeline = match started {
        Ok(kafka) => Pipeline {
            layout,
            security,
            binaries,
            distribution,
            kafka,
            stack,
            logs: state.join("logs"),
            interrupt,
        },
        Err(error) => {
            stack.stop(progress);
            return Err(error);
        }
    };
    let mut page = String::new();
    let result = pipeline.look(options, &mut page, progress);
    pipeline.stack.stop(progress);
    let file = directory.join("report.md");
    fs::write(&file, &page).with_context(|| format!("cannot write `{}`", file.display()))?;
    progress.say(&page);
    progress.say(&format!("written to {}", file.display()));
    result
}

#[expect(
    clippy::too_many_arguments,
    reason = "everything there is comes together here"
)]
fn start(
    layout: &Layout,
    security: &Security,
    workspace: &Workspace,
    distribution: &Distribution,
    binaries: &Binaries,
    state: &Path,
    stack: &mut Stack,
    progress: &Progress,
    interrupt: &Interrupt,
) -> Result<KafkaTools> {
    stack.start(
        layout.engines(distribution, interrupt)?,
        progress,
        interrupt,
    )?;
    let kafka = grant_all(
        layout,
        security,
        distribution.clone(),
        state,
        progress,
        interrupt,
    )?;
    stack.start(
        layout.services(binaries, &state.join("logs")),
        progress,
        interrupt,
    )?;
    if let Some(proxy) = layout.proxy(workspace)? {
        stack.start(vec![proxy], progress, interrupt)?;
    }
    Ok(kafka)
}

impl Pipeline<'_> {
    /// Where clients send.
    fn ingest(&self) -> String {
        self.layout.monitor.url(self.layout.ports.ingest)
    }

    fn look(&mut self, options: &Options, page: &mut String, progress: &Progress) -> Result<()> {
        let client = self.security.secrets.client("shipper");
        let traffic = Traffic::start(&self.ingest(), client);
        let result = self.change(options, &traffic, page, progress);
        let (refused, batches) = (traffic.last_refusal(), traffic.finish());
        result?;
        ensure!(batches > 0, "nothing was acknowledged: {refused}");
        let step = progress.step("secured", "looking for each event");
        let node = &self.layout.nodes[0];
        let index = self.layout.wiring.index();
        let events = batches as u64 * BATCH;
        let mut wrong = Vec::new();
        let found = self.interrupt.wait_for("the events", FOUND_WITHIN, || {
            wrong = faults(&node.client, &node.url(), &index, batches)
                .map_err(|error| format!("{error:#}"))?;
            match wrong.first() {
                None => Ok(()),
                Some(fault) => Err(format!("{} of {batches} batches: {fault}", wrong.len())),
            }
        });
        writeln!(
            page,
            "\n{events} events acknowledged in {batches} batches; batches that are not there with all of their events, once each: {}",
            wrong.len()
        )?;
        found?;
        step.done(&format!("{events} events are there, once each"));
        Ok(())
    }

    fn change(
        &mut self,
        options: &Options,
        traffic: &Traffic,
        page: &mut String,
        progress: &Progress,
    ) -> Result<()> {
        self.interrupt
            .wait_for("the first batches", WELL_WITHIN, || {
                match traffic.acknowledged() {
                    WARM_UP_BATCHES.. => Ok(()),
                    few => Err(format!("{few} acknowledged; {}", traffic.last_refusal())),
                }
            })?;
        self.scan(page, progress)?;
        if !options.scan {
            self.replace_each(traffic, page, progress)?;
        }
        if options.privileges {
            self.take_each_privilege(page, progress)?;
        }
        Ok(())
    }

    fn replace_each(
        &mut self,
        traffic: &Traffic,
        page: &mut String,
        progress: &Progress,
    ) -> Result<()> {
        traffic.take_longest_gap();
        page.push_str("\n| replaced under load | seconds until the new one counts | longest without an acknowledgement, s |\n|---|---|---|\n");
        for (name, replace) in REPLACEMENTS {
            let step = progress.step("replace", name);
            let began = Instant::now();
            replace(self).with_context(|| format!("replacing the {name}"))?;
            let took = began.elapsed().as_secs_f64();
            let gap = traffic.take_longest_gap().as_secs_f64();
            writeln!(page, "| {name} | {took:.1} | {gap:.1} |")?;
            step.done(&format!(
                "{name}: {took:.1} s, {gap:.1} s without an acknowledgement"
            ));
        }
        Ok(())
    }

    fn take_each_privilege(&mut self, page: &mut String, progress: &Progress) -> Result<()> {
        page.push_str("\n| service | without | told after s | well again after s | in these words |\n|---|---|---|---|---|\n");
        for privilege in PRIVILEGES {
            let name = format!("{} without {}", privilege.service, privilege.name);
            let step = progress.step("privilege", &name);
            let outcome = privilege.try_without(self).with_context(|| name.clone())?;
            let told: String = outcome.told.chars().take(400).collect();
            writeln!(
                page,
                "| {} | {} | {:.1} | {:.1} | `{}` |",
                privilege.service,
                privilege.name,
                outcome.told_after.as_secs_f64(),
                outcome.well_after.as_secs_f64(),
                told.replace('|', "/").replace('`', "'"),
            )?;
            step.done(&name);
        }
        Ok(())
    }

    fn scan(&self, page: &mut String, progress: &Progress) -> Result<()> {
        let step = progress.step("scan", "asking at every port as a stranger");
        let ports = scan(&self.stack.leaders(), &self.security.secrets.nobody())?;
        let listening = self.layout.ports.all().len();
        ensure!(
            ports.len() >= listening,
            "{} ports are listened on, and the layout has {listening}",
            ports.len()
        );
        page.push_str("| listens | port | open to a stranger | public |\n|---|---|---|---|\n");
        let mut open = Vec::new();
        for port in &ports {
            let number = port.address.port();
            writeln!(
                page,
                "| {} | {number} | {} | {} |",
                port.process,
                port.open.join(", "),
                port.public.join(" ")
            )?;
            open.extend(
                port.open
                    .iter()
                    .map(|what| format!("{} on port {number}: {what}", port.process)),
            );
        }
        if !open.is_empty() {
            bail!("open to a stranger: {}", open.join("; "));
        }
        step.done(&format!("{} ports, none open to a stranger", ports.len()));
        Ok(())
    }

    /// Waits until everything works.
    fn until_well(&self) -> Result<()> {
        let services = self.layout.services.iter();
        let mut probes: Vec<_> = services
            .map(|replica| {
                (
                    replica.name.clone(),
                    ready(&self.layout.monitor, replica.port),
                )
            })
            .collect();
        for port in [self.layout.ports.ingest, self.layout.ports.search] {
            probes.push(("the way in".to_owned(), ready(&self.layout.monitor, port)));
        }
        let client = self.security.secrets.client("reader");
        let search = format!("{}/logs?limit=1", client.url(self.layout.ports.search));
        self.interrupt.wait_for("all to be well", WELL_WITHIN, || {
            for (name, probe) in &probes {
                probe().map_err(|reason| format!("{name}: {reason}"))?;
            }
            let reply = client.get(&search, Duration::from_secs(15));
            match reply.map_err(|error| format!("{error:#}"))? {
                reply if reply.status == 200 => Ok(()),
                reply => Err(format!(
                    "a search is answered {} {}",
                    reply.status,
                    reply.text()
                )),
            }
        })
    }

    /// Waits until no partition lacks a replica, so that the next broker may go.
    fn until_in_sync(&self) -> Result<()> {
        self.interrupt.wait_for("the replicas", WELL_WITHIN, || {
            match self.kafka.partitions_behind(self.interrupt) {
                Ok(0) => Ok(()),
                Ok(behind) => Err(format!("{behind} partitions lack a replica")),
                Err(error) => Err(format!("{error:#}")),
            }
        })
    }
}
