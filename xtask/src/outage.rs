//! `cargo xtask outage`: Elasticsearch away for minutes while events keep coming, and what that costs the sink.
//!
//! In the flow: `pipeline` → **`outage`** → a report in Markdown. It fails when the sink does not come through
//! as promised: group membership kept, memory within its limit, nothing dead-lettered, every event there exactly once
//! (EO-4, EO-5, EO-6).
//! Not here: what is measured at one moment and how that is judged (`outage::report`).

mod report;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use serde_json::Value;

use self::report::{Moment, Outcome, Phase};
use crate::engines::provision::provision;
use crate::http;
use crate::interrupt::Interrupt;
use crate::pipeline::{Pipeline, Service};
use crate::prerequisites::{self, BUILD, ENGINES};
use crate::progress::{Progress, Step};
use crate::services::{BINARIES, Binaries};
use crate::workspace::{Lock, Workspace};

/// How long events flow before the outage, and after it at least.
const CALM: Duration = Duration::from_secs(20);
/// Between two looks at the sink.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// While reading is paused, the sink does not hear how far the log has grown, so one good look is no proof.
const CALM_LOOKS: u32 = 5;
/// An outage is drained within its own length, or within this where it is short.
const DRAIN_MIN: Duration = Duration::from_secs(120);
/// How long the sink may take to tell about itself.
const STATUS_TIMEOUT: Duration = Duration::from_secs(10);

/// What `cargo xtask outage` can be told.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// For how long Elasticsearch is away.
    #[arg(long, default_value_t = 10.0, value_name = "MINUTES")]
    pub minutes: f64,
    /// Events per second, before, during and after.
    #[arg(long, default_value_t = 2_000, value_name = "N")]
    pub rate: u32,
}

/// Runs the outage and prints the report.
///
/// # Errors
/// When something cannot be started, or the sink does not come through as promised; the report has said by then in what.
pub fn outage(options: &Options) -> Result<()> {
    ensure!(
        options.minutes.is_finite() && (0.1..=600.0).contains(&options.minutes),
        "--minutes must lie between 0.1 and 600"
    );
    ensure!(options.rate > 0, "--rate must be at least 1");
    let interrupt = Interrupt::on_signals()?;
    let progress = Progress::new();
    let workspace = Workspace::locate()?;
    let directory = workspace.target.join("outage");
    let _lock = Lock::take(&workspace.target.join("outage.lock")).context("a second `outage`")?;
    if directory.exists() {
        fs::remove_dir_all(&directory)
            .with_context(|| format!("cannot wipe `{}`", directory.display()))?;
    }
    prerequisites::ensure(&[BUILD, ENGINES], &progress, &interrupt)?;
    let mut stack = Stack::start(&workspace, directory, &progress, &interrupt)?;
    let outcome = stack.run(options, &progress)?;
    stack.stop()?;
    progress.say(&outcome.to_markdown());
    let faults = outcome.faults();
    if !faults.is_empty() {
        bail!("{}", faults.join("\n"));
    }
    Ok(())
}

/// The pipeline, and what watches it.
struct Stack {
    directory: PathBuf,
    interrupt: Interrupt,
    loadtest: PathBuf,
    began: Instant,
    // In the order in which they are to be dropped when something fails.
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
        step.done("Kafka, Elasticsearch, gateway and sink are ready");
        Ok(Self {
            directory,
            interrupt: interrupt.clone(),
            loadtest,
            began: Instant::now(),
            gateway,
            sink,
            pipeline,
        })
    }

    fn run(&mut self, options: &Options, progress: &Progress) -> Result<Outcome> {
        let away = Duration::from_secs_f64(options.minutes * 60.0);
        let mut moments = Vec::new();
        let own = Duration::from_secs(60);
        self.interrupt
            .wait_for("the sink to own partitions", own, || {
                let moment = self
                    .look(Phase::Before)
                    .map_err(|error| format!("{error:#}"))?;
                match moment.partitions {
                    0 => Err("it owns none".to_owned()),
                    _ => Ok(()),
                }
            })?;
        let mut load = self.load(options.rate, CALM + away + CALM)?;
        let mut step = progress.step("outage", "events flow");
        self.began = Instant::now();
        self.watch(Phase::Before, CALM, &mut moments, &mut step)?;

        self.pipeline.elasticsearch.stop()?;
        self.watch(Phase::During, away, &mut moments, &mut step)?;

        self.pipeline.elasticsearch.launch()?;
        let returned = self.watch_until(
            "Elasticsearch to be back",
            Duration::from_secs(240),
            &mut moments,
            &mut step,
            |stack, _| stack.pipeline.elasticsearch.is_running() && stack.elasticsearch_answers(),
        )?;
        let mut calm_looks = 0;
        let drained = self.watch_until(
            "the sink to catch up",
            away.max(DRAIN_MIN),
            &mut moments,
            &mut step,
            |_, moment| {
                let caught_up = !moment.paused && moment.lag <= u64::from(options.rate) * 3;
                calm_looks = if caught_up { calm_looks + 1 } else { 0 };
                calm_looks >= CALM_LOOKS
            },
        )?;
        let summary = self.finish(&mut load, &mut moments, &mut step)?;
        step.done("the load has ended");
        let step = progress.step(
            "verify",
            "comparing what was acknowledged with what is there",
        );
        let verified = self.verify()?;
        step.done("compared");
        Ok(Outcome {
            away,
            rate: options.rate,
            returned,
            drained,
            acknowledged: summary["events"]["acknowledged"].as_u64().unwrap_or(0),
            verified,
            moments,
        })
    }

    /// Looks at the sink once a second for so long.
    fn watch(
        &self,
        phase: Phase,
        length: Duration,
        moments: &mut Vec<Moment>,
        step: &mut Step,
    ) -> Result<()> {
        let until = Instant::now() + length;
        while Instant::now() < until {
            self.interrupt.check()?;
            moments.push(self.look(phase)?);
            let moment = &moments[moments.len() - 1];
            step.note(&moment.to_string());
            let pause = until.saturating_duration_since(Instant::now());
            std::thread::sleep(LOOK_EVERY.min(pause));
        }
        Ok(())
    }

    /// Looks at the sink once a second until `condition` holds, and gives how long that took.
    fn watch_until(
        &mut self,
        what: &str,
        within: Duration,
        moments: &mut Vec<Moment>,
        step: &mut Step,
        mut condition: impl FnMut(&mut Self, &Moment) -> bool,
    ) -> Result<Duration> {
        let began = Instant::now();
        loop {
            self.interrupt.check()?;
            let moment = self.look(Phase::After)?;
            step.note(&moment.to_string());
            let met = condition(self, &moment);
            moments.push(moment);
            if met {
                return Ok(began.elapsed());
            }
            ensure!(
                began.elapsed() < within,
                "waited {} s for {what}{}",
                within.as_secs(),
                self.sink.process.tail()
            );
            std::thread::sleep(LOOK_EVERY);
        }
    }

    fn look(&self, phase: Phase) -> Result<Moment> {
        let status = http::get(&format!("{}/status", self.sink.url), STATUS_TIMEOUT)?.json()?;
        let metrics = http::get(&format!("{}/metrics", self.sink.url), STATUS_TIMEOUT)?.text();
        let resident = self
            .sink
            .process
            .memory_bytes()
            .with_context(|| format!("the sink does not run{}", self.sink.process.tail()))?;
        Ok(Moment::read(
            phase,
            self.began.elapsed(),
            resident,
            &status,
            &metrics,
        ))
    }

    fn elasticsearch_answers(&self) -> bool {
        let health = format!("{}/_cluster/health", self.pipeline.wiring.elasticsearch);
        http::get(&health, Duration::from_secs(3)).is_ok_and(|reply| reply.status == 200)
    }

    fn load(&self, rate: u32, length: Duration) -> Result<Load> {
        let output = self.directory.join("generate.json");
        let child = Command::new(&self.loadtest)
            .args(["generate", "--json", "--idempotency-keys", "--seed", "10"])
            .args(["--mode", "mixed", "--connections", "8"])
            .args(["--target", &self.gateway.url])
            .args(["--rate", &rate.to_string()])
            .args(["--duration", &format!("{}s", length.as_secs())])
            .arg("--ledger")
            .arg(self.directory.join("ledger"))
            .stdin(Stdio::null())
            .stdout(File::create(&output)?)
            .stderr(File::create(self.directory.join("generate.log"))?)
            .spawn()
            .context("starting loadtest generate")?;
        Ok(Load { child, output })
    }

    fn finish(
        &mut self,
        load: &mut Load,
        moments: &mut Vec<Moment>,
        step: &mut Step,
    ) -> Result<Value> {
        let within = Duration::from_secs(600);
        let mut status = None;
        self.watch_until("the load to end", within, moments, step, |_, _| {
            status = load.child.try_wait().ok().flatten();
            status.is_some()
        })?;
        let ended = status.context("the load has no status")?;
        ensure!(ended.success(), "loadtest generate ended with {ended}");
        read_json(&load.output)
    }

    fn verify(&self) -> Result<Value> {
        let output = Command::new(&self.loadtest)
            .args(["verify", "--json", "--wait", "60s", "--ledger"])
            .arg(self.directory.join("ledger"))
            .args(["--elasticsearch-url", &self.pipeline.wiring.elasticsearch])
            .args(["--index", &self.pipeline.wiring.index()])
            .args(["--dead-letter-brokers", &self.pipeline.wiring.kafka])
            .args([
                "--dead-letter-topic",
                &self.pipeline.wiring.dead_letter_topic,
            ])
            .stdin(Stdio::null())
            .output()
            .context("starting loadtest verify")?;
        serde_json::from_slice(&output.stdout).with_context(|| {
            format!(
                "loadtest verify: {}",
                String::from_utf8_lossy(&output.stderr)
            )
        })
    }

    fn stop(&mut self) -> Result<()> {
        self.pipeline.stop([&mut self.gateway, &mut self.sink])
    }
}

/// A running `loadtest generate`. Dropped, it is killed.
struct Load {
    child: std::process::Child,
    output: PathBuf,
}

impl Drop for Load {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            self.child.kill().ok();
            self.child.wait().ok();
        }
    }
}

fn read_json(path: &Path) -> Result<Value> {
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read `{}`", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("`{}` is no JSON", path.display()))
}
