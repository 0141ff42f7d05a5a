//! `cargo xtask page-speed`: how long people wait for the explorer page, with a million events behind it.
//!
//! In the flow: `pipeline`, `page` → **`page_speed`** → a table, and `loadtest/results/page-speed.json`.
//! The events go the whole way, from `loadtest generate` through gateway, Kafka and sink. Then a browser loads the page
//! and searches, and tells when something was painted (`query-api/ui/tests/speed.ts`). It fails when an aim is missed.
//! Not here: what is searched for and how the times are judged (`page_speed::report`). No part of `test`: a slow
//! machine is no fault of the code.

mod report;

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use serde_json::{Value, json};

use self::report::{Outcome, searches};
use crate::command;
use crate::engines::provision::provision;
use crate::http;
use crate::interrupt::Interrupt;
use crate::machine::{Machine, commit};
use crate::page::Page;
use crate::pipeline::{Pipeline, Service};
use crate::prerequisites::{self, BUILD, ENGINES, PAGE};
use crate::progress::Progress;
use crate::services::{BINARIES, Binaries};
use crate::workspace::{Lock, Workspace};

/// The events lie in so many daily indices.
const DAYS: u32 = 7;
/// All of them, as a person would choose the range.
const RANGE: [&str; 2] = ["now-8d", "now"];
/// Fewer would make the 95th percentile the slowest of them.
const TIMES_MIN: u32 = 20;
const TIMES_MAX: u32 = 300;
/// How long a thousand events may take from the generator to a search.
const THOUSAND_WITHIN: Duration = Duration::from_millis(1_000);
/// Until Elasticsearch has merged what it has just written, a search would be measured beside that.
const MERGED_WITHIN: Duration = Duration::from_secs(300);
/// For how long it is looked at what the machine does beside the stack, which has nothing to do then.
const OTHERS_FOR: Duration = Duration::from_secs(5);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// What `cargo xtask page-speed` can be told.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// How many events there are.
    #[arg(long, default_value_t = 1_000_000, value_name = "N")]
    pub events: u32,
    /// How often the page is loaded, and how often something is searched for.
    #[arg(long, default_value_t = 40, value_name = "N")]
    pub times: u32,
}

/// Measures, prints the table and writes the samples.
///
/// # Errors
/// When something cannot be started, or an aim is missed; the table has said by then by how much.
pub fn page_speed(options: &Options) -> Result<()> {
    ensure!(options.events >= 1_000, "--events must be at least 1000");
    ensure!(
        (TIMES_MIN..=TIMES_MAX).contains(&options.times),
        "--times must lie between {TIMES_MIN} and {TIMES_MAX}"
    );
    let interrupt = Interrupt::on_signals()?;
    let progress = Progress::new();
    let workspace = Workspace::locate()?;
    let directory = workspace.target.join("page-speed");
    let lock = workspace.target.join("page-speed.lock");
    let _lock = Lock::take(&lock).context("a second `page-speed`")?;
    if directory.exists() {
        fs::remove_dir_all(&directory)
            .with_context(|| format!("cannot wipe `{}`", directory.display()))?;
    }
    prerequisites::ensure(&[BUILD, ENGINES, PAGE], &progress, &interrupt)?;
    let page = Page::new(&workspace, &progress, &interrupt)?;
    page.install(&progress, &interrupt)?;
    let mut stack = Stack::start(&workspace, directory, &progress, &interrupt)?;
    stack.fill(options.events, &progress)?;
    let machine = Machine::read(OTHERS_FOR)?;
    let measured = stack.measure(&page, options.times, &progress)?;
    let outcome = Outcome {
        command: format!(
            "cargo xtask page-speed --events {} --times {}",
            options.events, options.times
        ),
        commit: commit(&workspace)?,
        machine,
        elasticsearch_heap_mib: stack.pipeline.heap_mib,
        n_events: options.events,
        n_indices: DAYS,
        range: RANGE,
        measured: report::read(&measured)?,
    };
    stack.stop()?;
    let file = workspace.root.join("loadtest/results/page-speed.json");
    let text = serde_json::to_string_pretty(&outcome.to_json())? + "\n";
    fs::write(&file, text).with_context(|| format!("cannot write `{}`", file.display()))?;
    progress.say(&outcome.to_markdown());
    progress.say(&format!("written to {}", file.display()));
    let missed = outcome.missed();
    if !missed.is_empty() {
        bail!("{}", missed.join("\n"));
    }
    Ok(())
}

/// What is measured.
struct Stack {
    directory: PathBuf,
    interrupt: Interrupt,
    loadtest: PathBuf,
    // In the order in which they are to be dropped when something fails.
    query_api: Service,
    gateway: Service,
    sink: Service,
    pipeline: Pipeline,
}

impl Stack {
    fn start(
        workspace: &Workspace,
        directory: PathBuf,
        progress: &Progress,
        interrupt: &Interrupt,
    ) -> Result<Self> {
        let distribution = provision(workspace, progress, interrupt)?;
        let binaries = Binaries::build(workspace, &BINARIES, interrupt)?;
        let loadtest = binaries.path("loadtest");
        let step = progress.step("pipeline", "starting");
        let pipeline = Pipeline::start(&distribution, binaries, directory.clone(), interrupt)?;
        let gateway = pipeline.service("ingest-gateway", &pipeline.wiring.gateway_flags())?;
        let sink = pipeline.service("es-sink", &pipeline.wiring.sink_flags())?;
        let mut flags = pipeline.wiring.query_flags();
        flags.push(format!("--sink-url={}", sink.url));
        let query_api = pipeline.service("query-api", &flags)?;
        step.done("Kafka, Elasticsearch and the three services are ready");
        Ok(Self {
            directory,
            interrupt: interrupt.clone(),
            loadtest,
            query_api,
            gateway,
            sink,
            pipeline,
        })
    }

    /// Sends so many events and waits until a search finds all of them.
    fn fill(&self, n_events: u32, progress: &Progress) -> Result<()> {
        let mut step = progress.step("events", &format!("0 of {n_events} can be found"));
        let mut generate = Command::new(&self.loadtest);
        generate
            .args(["generate", "--seed", "1", "--idempotency-keys"])
            .args(["--target", &self.gateway.url])
            .args(["--events", &n_events.to_string()])
            .args(["--days", &DAYS.to_string()])
            .arg("--ledger")
            .arg(self.directory.join("ledger"));
        std::thread::scope(|scope| {
            let sending = scope.spawn(|| command::run(generate, &self.interrupt, |_| {}));
            let within = THOUSAND_WITHIN * n_events.div_ceil(1_000);
            let found = self
                .interrupt
                .wait_for("all events to be found", within, || {
                    let found = self.count().map_err(|error| format!("{error:#}"))?;
                    step.note(&format!("{found} of {n_events} can be found"));
                    let failed = sending.is_finished() && found < u64::from(n_events);
                    match found.cmp(&n_events.into()) {
                        std::cmp::Ordering::Equal => Ok(()),
                        _ => Err(format!(
                            "{found} can be found, the generator {}",
                            if failed { "has ended" } else { "runs" }
                        )),
                    }
                });
            let sent = sending.join();
            sent.map_err(|_| anyhow::anyhow!("the thread of the generator panicked"))??;
            found
        })?;
        step.note("all can be found; Elasticsearch merges");
        self.interrupt
            .wait_for("Elasticsearch to have merged", MERGED_WITHIN, || {
                let stats = self
                    .ask("/_stats/merge")
                    .map_err(|error| format!("{error:#}"))?;
                match stats["_all"]["total"]["merges"]["current"].as_u64() {
                    Some(0) => Ok(()),
                    running => Err(format!("{running:?} merges are running")),
                }
            })?;
        step.done(&format!("{n_events} can be found"));
        Ok(())
    }

    fn count(&self) -> Result<u64> {
        let reply = self.ask(&format!("/{}/_count", self.pipeline.wiring.index()))?;
        reply["count"]
            .as_u64()
            .with_context(|| format!("no count in {reply}"))
    }

    fn ask(&self, path: &str) -> Result<Value> {
        let url = format!("{}{path}", self.pipeline.wiring.elasticsearch);
        http::get(&url, REQUEST_TIMEOUT)?.json()
    }

    /// Has a browser load the page and search, and gives what it has written down.
    fn measure(&self, page: &Page, times: u32, progress: &Progress) -> Result<String> {
        let mut step = progress.step("browser", "starting");
        let samples = self.directory.join("samples.json");
        let plan = json!({
            "from": RANGE[0],
            "to": RANGE[1],
            "loads": times,
            "searches": searches(times),
            "samples": samples,
        });
        let mut npm = page.command(&["test"]);
        npm.env("LOGFLOW_UI_URL", &self.query_api.url)
            .env("LOGFLOW_UI_SPEED", plan.to_string());
        command::run(npm, &self.interrupt, |line| step.note(line))
            .context("the browser's part, `query-api/ui/tests/speed.ts`")?;
        step.done("loaded and searched");
        fs::read_to_string(&samples).with_context(|| format!("cannot read `{}`", samples.display()))
    }

    fn stop(&mut self) -> Result<()> {
        let services = [&mut self.query_api, &mut self.gateway, &mut self.sink];
        self.pipeline.stop(services)
    }
}
