//! `cargo xtask soak`: all three services at half of what this machine can take, for half an hour, and their memory
//! meanwhile.
//!
//! In the flow: `pipeline`, `machine` → **`soak`** → a plot and its figures in `loadtest/results/`. It fails when a
//! service's memory grows, or an acknowledged event is missing.
//! Not here: what "grows" means, and the plot (`soak::plot`).

mod plot;

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use serde_json::{Value, json};

use self::plot::{Line, growth_percent, svg};
use crate::engines::provision::provision;
use crate::http;
use crate::interrupt::Interrupt;
use crate::machine::{Machine, commit};
use crate::pipeline::{Pipeline, Service};
use crate::prerequisites::{self, BUILD, ENGINES};
use crate::progress::{Progress, Step};
use crate::services::{BINARIES, Binaries};
use crate::workspace::{Lock, Workspace};

/// Between two looks at the services.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// For so long everything is sent that is taken, to find out how much that is.
const FULL_FOR: Duration = Duration::from_secs(40);
/// Searches beside the flow.
const SEARCH_EVERY: Duration = Duration::from_millis(200);
/// A service that holds so much more in its last quarter than in its second is said to grow.
const GROWTH_MAX_PERCENT: f64 = 10.0;
const TIMEOUT: Duration = Duration::from_secs(30);
const CAUGHT_UP_WITHIN: Duration = Duration::from_secs(900);
/// Longer than a sink waits before it tries again.
const STILL_FOR: Duration = Duration::from_secs(12);

/// What `cargo xtask soak` can be told.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// For how long.
    #[arg(long, default_value_t = 30.0, value_name = "MINUTES")]
    pub minutes: f64,
    /// Events per second [default: half of what this machine indexes, found out first].
    #[arg(long, value_name = "N")]
    pub rate: Option<u32>,
}

/// Runs the soak, prints its outcome and writes the plot.
///
/// # Errors
/// When something cannot be started, a service's memory grows, or events are not there once each.
pub fn soak(options: &Options) -> Result<()> {
    ensure!(
        options.minutes.is_finite() && (1.0..=600.0).contains(&options.minutes),
        "--minutes must lie between 1 and 600"
    );
    let interrupt = Interrupt::on_signals()?;
    let progress = Progress::new();
    let workspace = Workspace::locate()?;
    let directory = workspace.target.join("soak");
    let _lock = Lock::take(&workspace.target.join("soak.lock")).context("a second `soak`")?;
    if directory.exists() {
        fs::remove_dir_all(&directory)
            .with_context(|| format!("cannot wipe `{}`", directory.display()))?;
    }
    prerequisites::ensure(&[BUILD, ENGINES], &progress, &interrupt)?;
    let mut stack = Stack::start(&workspace, directory, &progress, &interrupt)?;
    let machine = Machine::read(Duration::from_secs(5))?;
    let commit = commit(&workspace)?;
    let rate = match options.rate {
        Some(rate) => rate,
        None => stack.half_of_the_most(&progress)?,
    };
    let length = Duration::from_secs_f64(options.minutes * 60.0);
    let lines = stack.run(rate, length, &progress)?;
    let (acknowledged, found) = stack.settle(&progress)?;
    stack.stop()?;

    let report = json!({
        "command": format!("cargo xtask soak --minutes {} --rate {rate}", options.minutes),
        "commit": commit,
        "machine": machine.to_json(),
        "events_per_second": rate,
        "acknowledged": acknowledged,
        "found": found,
        "services": lines.iter().map(Line::to_json).collect::<Vec<_>>(),
    });
    let results = workspace.root.join("loadtest/results");
    write(
        &results.join("soak.json"),
        &(serde_json::to_string_pretty(&report)? + "\n"),
    )?;
    let title = format!(
        "Resident memory at {rate} events/s for {} minutes, {} cores, commit {commit}",
        options.minutes, machine.cores
    );
    write(&results.join("soak.svg"), &svg(&title, &lines))?;
    for line in &lines {
        progress.say(&line.to_string());
    }
    progress.say(&format!(
        "{acknowledged} events acknowledged, {found} found; plot in {}",
        results.join("soak.svg").display()
    ));
    // What was indexed although its reply got lost may be there beyond.
    ensure!(
        found >= acknowledged,
        "{acknowledged} events were acknowledged, {found} are there"
    );
    for line in &lines {
        let percent = growth_percent(&line.points);
        ensure!(
            percent <= GROWTH_MAX_PERCENT,
            "the memory of {} grew by {percent:.0} % from the second quarter to the last",
            line.name
        );
    }
    Ok(())
}

fn write(path: &std::path::Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write `{}`", path.display()))
}

struct Stack {
    directory: PathBuf,
    interrupt: Interrupt,
    loadtest: PathBuf,
    loads: u32,
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
        let query_api = pipeline.service("query-api", &pipeline.wiring.query_flags())?;
        step.done("Kafka, Elasticsearch and the three services are ready");
        Ok(Self {
            directory,
            interrupt: interrupt.clone(),
            loadtest,
            loads: 0,
            query_api,
            gateway,
            sink,
            pipeline,
        })
    }

    /// Finds out what can be indexed beside everything else that runs here.
    /// What is acknowledged in some time, by the time until all of it is indexed: while as much as possible is sent,
    /// the sink has the less of the processors.
    fn half_of_the_most(&mut self, progress: &Progress) -> Result<u32> {
        let mut step = progress.step("rate", "sending as much as is taken");
        let began = Instant::now();
        let mut load = self.load(None, FULL_FOR)?;
        self.wait(began + FULL_FOR, &mut step)?;
        load.finish(TIMEOUT)?;
        step.done("as much is sent as is taken");
        self.caught_up(progress)?;
        let most = self.indexed()? / (began.elapsed() - STILL_FOR).as_secs_f64();
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let half = (most / 2.0) as u32;
        ensure!(half > 0, "nothing was indexed");
        progress.say(&format!(
            "{most:.0} events/s are acknowledged and indexed; the soak takes {half}"
        ));
        Ok(half)
    }

    fn run(&mut self, rate: u32, length: Duration, progress: &Progress) -> Result<Vec<Line>> {
        let mut step = progress.step("soak", "events flow");
        let mut load = self.load(Some(rate), length)?;
        let mut lines: Vec<Line> = [
            ("ingest-gateway", "#2563eb"),
            ("es-sink", "#dc2626"),
            ("query-api", "#16a34a"),
        ]
        .map(|(name, color)| Line::new(name, color))
        .into();
        let began = Instant::now();
        let mut looked = began;
        // Those told to come again, and those answered.
        let mut searches = [0_u32; 2];
        while began.elapsed() < length {
            self.interrupt.check()?;
            ensure!(load.runs()?, "the load ended early");
            searches[usize::from(self.search()?)] += 1;
            if looked.elapsed() >= LOOK_EVERY {
                looked = Instant::now();
                let minutes = began.elapsed().as_secs_f64() / 60.0;
                let services = [&self.gateway, &self.sink, &self.query_api];
                for (line, service) in lines.iter_mut().zip(services) {
                    let bytes = service.process.memory_bytes();
                    let bytes = bytes.with_context(|| {
                        format!("{} does not run{}", line.name, service.process.tail())
                    })?;
                    #[allow(clippy::cast_precision_loss)]
                    line.points
                        .push((minutes, bytes as f64 / f64::from(1 << 20)));
                }
                let now: Vec<String> = lines.iter().map(Line::now).collect();
                step.note(&format!("{minutes:.1} min: {}", now.join(", ")));
            }
            std::thread::sleep(SEARCH_EVERY);
        }
        load.finish(Duration::from_secs(300))?;
        let [again, answered] = searches;
        ensure!(
            again <= answered / 100,
            "{again} searches were told to come again, {answered} were answered"
        );
        step.done(&format!(
            "{answered} searches answered meanwhile, {again} told to come again"
        ));
        Ok(lines)
    }

    /// Waits until all that was acknowledged is found, and gives both numbers.
    fn settle(&mut self, progress: &Progress) -> Result<(u64, u64)> {
        let mut acknowledged = 0;
        for load in 1..=self.loads {
            let path = self.summary(load);
            let text = fs::read_to_string(&path)
                .with_context(|| format!("cannot read `{}`", path.display()))?;
            let summary: Value = serde_json::from_str(&text)?;
            acknowledged += summary["events"]["acknowledged"].as_u64().unwrap_or(0);
        }
        let step = progress.step("sink", "catching up");
        #[allow(clippy::cast_precision_loss)]
        let all = acknowledged as f64;
        self.interrupt
            .wait_for("all events to be indexed", CAUGHT_UP_WITHIN, || {
                let indexed = self.indexed().map_err(|error| format!("{error:#}"))?;
                match indexed >= all {
                    true => Ok(()),
                    false => Err(format!("{indexed:.0} of {all:.0} are indexed")),
                }
            })?;
        step.done("all events are indexed");
        let index = self.pipeline.wiring.index();
        let elasticsearch = &self.pipeline.wiring.elasticsearch;
        http::request(
            "POST",
            &format!("{elasticsearch}/{index}/_refresh"),
            &[],
            b"",
            TIMEOUT,
        )?;
        let count = http::get(&format!("{elasticsearch}/{index}/_count"), TIMEOUT)?.json()?;
        Ok((acknowledged, count["count"].as_u64().context("no count")?))
    }

    /// Waits until nothing is indexed any more.
    fn caught_up(&self, progress: &Progress) -> Result<()> {
        let step = progress.step("sink", "catching up");
        let mut last = (-1.0, Instant::now());
        self.interrupt
            .wait_for("the sink to catch up", CAUGHT_UP_WITHIN, || {
                let indexed = self.indexed().map_err(|error| format!("{error:#}"))?;
                if indexed > last.0 {
                    last = (indexed, Instant::now());
                }
                match last.1.elapsed() > STILL_FOR {
                    true => Ok(()),
                    false => Err(format!("{indexed:.0} are indexed")),
                }
            })?;
        step.done("it has nothing more to do");
        Ok(())
    }

    fn wait(&self, until: Instant, step: &mut Step) -> Result<()> {
        while Instant::now() < until {
            self.interrupt.check()?;
            step.note(&format!("{:.0} indexed", self.indexed()?));
            std::thread::sleep(Duration::from_secs(1));
        }
        Ok(())
    }

    fn indexed(&self) -> Result<f64> {
        self.sink.metric("es_sink_documents_indexed_total")
    }

    /// Whether a search is answered; while an index is being made, Elasticsearch may have it try again (503).
    fn search(&self) -> Result<bool> {
        let url = format!("{}/logs?q=level%3Aerror&limit=20", self.query_api.url);
        let reply = http::get(&url, TIMEOUT)?;
        ensure!(
            matches!(reply.status, 200 | 503),
            "a search is answered {}: {}",
            reply.status,
            reply.text()
        );
        Ok(reply.status == 200)
    }

    fn summary(&self, load: u32) -> PathBuf {
        self.directory.join(format!("load-{load}.json"))
    }

    fn load(&mut self, rate: Option<u32>, length: Duration) -> Result<Load> {
        self.loads += 1;
        let mut command = Command::new(&self.loadtest);
        command
            .args(["generate", "--json", "--idempotency-keys"])
            .args(["--seed", &self.loads.to_string()])
            .args(["--connections", "16", "--target", &self.gateway.url])
            .args(["--duration", &format!("{}s", length.as_secs())])
            .args(["--ledger", "/dev/null"])
            .stdin(Stdio::null())
            .stdout(File::create(self.summary(self.loads))?)
            .stderr(File::create(self.directory.join("load.log"))?);
        if let Some(rate) = rate {
            command.args(["--rate", &rate.to_string()]);
        }
        let child = command.spawn().context("starting loadtest generate")?;
        Ok(Load(child))
    }

    fn stop(&mut self) -> Result<()> {
        let services = [&mut self.query_api, &mut self.gateway, &mut self.sink];
        self.pipeline.stop(services)
    }
}

/// A running `loadtest generate`. Dropped, it is killed.
struct Load(Child);

impl Load {
    fn runs(&mut self) -> Result<bool> {
        match self.0.try_wait()? {
            Some(status) => Ok(status.success()),
            None => Ok(true),
        }
    }

    fn finish(&mut self, within: Duration) -> Result<()> {
        let began = Instant::now();
        while began.elapsed() < within {
            if let Some(status) = self.0.try_wait()? {
                ensure!(status.success(), "loadtest generate ended with {status}");
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        bail!("loadtest generate does not end");
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        if let Ok(None) = self.0.try_wait() {
            self.0.kill().ok();
            self.0.wait().ok();
        }
    }
}
