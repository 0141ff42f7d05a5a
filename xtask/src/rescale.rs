//! `cargo xtask rescale`: sinks join and leave a group under load: how long the others take to share the work anew, what a
//! client sees of it, and where each event is.
//!
//! In the flow: `pipeline`, `load`, `clients` → **`rescale`** → `target/rescale/report.md`.
//! Not here: how much several sinks take at most (`bench`), and sinks that die (`failover`, `nemesis`).

use std::fmt::Write as _;
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::Value;

use crate::clients::{Clients, Seen};
use crate::command;
use crate::engines::provision::provision;
use crate::interrupt::Interrupt;
use crate::load::{Load, is_whole, steady};
use crate::pipeline::{Pipeline, Service};
use crate::prerequisites::{self, BUILD, ENGINES};
use crate::progress::Progress;
use crate::services::{BINARIES, Binaries};
use crate::workspace::{Lock, Workspace};

/// How many sinks there are, one after the other.
const STEPS: [usize; 4] = [1, 3, 6, 1];
/// The topic's; each number of [`STEPS`] divides it.
const PARTITIONS: usize = 12;
/// How long the sinks go on as they are after each step.
const CALM_FOR: Duration = Duration::from_secs(20);
const SHARED_WITHIN: Duration = Duration::from_secs(60);
const LOAD_ENDS_WITHIN: Duration = Duration::from_secs(300);

/// What `cargo xtask rescale` can be told.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Decides the events.
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub seed: u64,
    /// Events per second.
    #[arg(long, default_value_t = 5_000, value_name = "N", value_parser = clap::value_parser!(u32).range(10..=100_000))]
    pub rate: u32,
}

/// One step.
struct Row {
    before: usize,
    sinks: usize,
    /// When it began, and when each sink had its share, since the start of the clients.
    from: Duration,
    until: Duration,
    /// Events per second that all sinks together indexed after that.
    rate: f64,
}

/// The sinks of the group.
struct Group<'a> {
    pipeline: &'a Pipeline,
    flags: Vec<String>,
    sinks: Vec<Service>,
    interrupt: &'a Interrupt,
}

/// Lets sinks come and go, and writes the report.
///
/// # Errors
/// When something cannot be started, the partitions are not shared in time, or an event is not where it must be.
pub fn rescale(options: &Options) -> Result<()> {
    let interrupt = Interrupt::on_signals()?;
    let progress = Progress::new();
    let workspace = Workspace::locate()?;
    let directory = workspace.target.join("rescale");
    let _lock = Lock::take(&workspace.target.join("rescale.lock")).context("a second `rescale`")?;
    if directory.exists() {
        fs::remove_dir_all(&directory)
            .with_context(|| format!("cannot wipe `{}`", directory.display()))?;
    }
    prerequisites::ensure(&[BUILD, ENGINES], &progress, &interrupt)?;
    let distribution = provision(&workspace, &progress, &interrupt)?;
    let binaries = Binaries::build(&workspace, &BINARIES, &interrupt)?;
    let loadtest = binaries.path("loadtest");
    let mut pipeline = Pipeline::start(&distribution, binaries, directory.join("run"), &interrupt)?;
    "rescaled".clone_into(&mut pipeline.wiring.topic);
    let wiring = pipeline.wiring.clone();
    let mut make_topic = Command::new(&loadtest);
    let partitions = PARTITIONS.to_string();
    make_topic
        .args(["bench", "fill", "--kafka-brokers", &wiring.kafka])
        .args(["--topic", &wiring.topic, "--partitions", &partitions])
        .args(["--events", "1000"]);
    command::run(make_topic, &interrupt, |_| {}).context("cannot make the topic")?;

    let gateway = pipeline.service("ingest-gateway", &wiring.gateway_flags())?;
    let query_api = pipeline.service("query-api", &wiring.query_flags())?;
    let mut group = Group {
        pipeline: &pipeline,
        flags: wiring.sink_flags(),
        sinks: Vec::new(),
        interrupt: &interrupt,
    };
    group.resize(STEPS[0])?;
    let length = (CALM_FOR + Duration::from_secs(15)) * 4;
    let mut flags = ["--target", &gateway.url, "--idempotency-keys"]
        .map(str::to_owned)
        .to_vec();
    flags.extend(["--connections", "8"].map(str::to_owned));
    flags.extend(steady(options.rate, length));
    let load = Load::start(&directory, &loadtest, "rescale", options.seed, &flags)?;
    let clients = Clients::start(gateway.url.clone(), query_api.url.clone());
    let mut rows = Vec::new();
    let mut before = STEPS[0];
    for sinks in STEPS {
        let step = progress.step("rescale", &format!("{before} → {sinks} sinks"));
        let from = clients.now();
        group.resize(sinks)?;
        let until = clients.now();
        let rate = group.rate_over(CALM_FOR)?;
        step.done(&format!(
            "{before} → {sinks} sinks, shared after {:.1} s, {rate:.0} events/s",
            until.saturating_sub(from).as_secs_f64()
        ));
        rows.push(Row {
            before,
            sinks,
            from,
            until,
            rate,
        });
        before = sinks;
    }
    let (seen, failures) = clients.finish();
    let sent = load.finish(&interrupt, LOAD_ENDS_WITHIN)?;
    let verified = sent.verify(&wiring, &wiring.elasticsearch, 0)?;
    let mut sinks = group.sinks;
    pipeline.stop(sinks.iter_mut())?;
    let page = report(options, &rows, &seen, failures, &verified);
    let file = directory.join("report.md");
    fs::write(&file, &page).with_context(|| format!("cannot write `{}`", file.display()))?;
    progress.say(&page);
    progress.say(&format!("written to {}", file.display()));
    if !is_whole(&verified) {
        bail!("EO-4: {verified}");
    }
    Ok(())
}

impl Group<'_> {
    /// Starts or stops sinks, and waits until each has the same share of the partitions.
    fn resize(&mut self, n: usize) -> Result<()> {
        while self.sinks.len() < n {
            let sink = self.pipeline.launch("es-sink", &self.flags)?;
            self.sinks.push(sink);
        }
        let mut leaving = self.sinks.split_off(n);
        std::thread::scope(|scope| {
            let stops: Vec<_> = leaving
                .iter_mut()
                .map(|sink| scope.spawn(|| sink.process.stop()))
                .collect();
            for stop in stops {
                stop.join()
                    .unwrap_or_else(|_| bail!("the thread that stops a sink panicked"))?;
            }
            anyhow::Ok(())
        })?;
        #[allow(clippy::cast_precision_loss)]
        let share = (PARTITIONS / n) as f64;
        self.interrupt
            .wait_for("the partitions to be shared", SHARED_WITHIN, || {
                let owned: Vec<f64> = self
                    .sinks
                    .iter()
                    .map(|sink| sink.metric("es_sink_assigned_partitions").unwrap_or(0.0))
                    .collect();
                match owned.iter().all(|owned| (owned - share).abs() < 0.5) {
                    true => Ok(()),
                    false => Err(format!("they own {owned:?} of {PARTITIONS}")),
                }
            })
    }

    /// Events per second that all of them together index over some time.
    fn rate_over(&self, time: Duration) -> Result<f64> {
        let sum = || -> Result<f64> {
            let counts = self
                .sinks
                .iter()
                .map(|sink| sink.metric("es_sink_documents_indexed_total"));
            counts.sum()
        };
        let (before, began) = (sum()?, Instant::now());
        self.interrupt.rest(time)?;
        Ok((sum()? - before) / began.elapsed().as_secs_f64())
    }
}

fn report(options: &Options, rows: &[Row], seen: &Seen, failures: u64, verified: &Value) -> String {
    let mut text = format!(
        "# Sinks that come and go\n\n`cargo xtask rescale --seed {} --rate {}`: {PARTITIONS} partitions, {} events a second \
         through one gateway, into one Elasticsearch node.\n\n\
         | sinks | each has its share after, s | no event acknowledged for, s | no search answered for, s | not found for, s | events/s indexed after that |\n\
         |---|---:|---:|---:|---:|---:|\n",
        options.seed, options.rate, options.rate,
    );
    // The first step changes nothing: it shows what the figures are without one.
    for row in rows {
        let worst = seen.worst(row.from, row.until + Duration::from_secs(5));
        writeln!(
            text,
            "| {} → {} | {:.1} | {:.2} | {:.2} | {:.1} | {:.0} |",
            row.before,
            row.sinks,
            row.until.saturating_sub(row.from).as_secs_f64(),
            worst.ingest.as_secs_f64(),
            worst.search.as_secs_f64(),
            worst.unfound.as_secs_f64(),
            row.rate,
        )
        .ok();
    }
    let count = |name: &str| verified[name]["count"].to_string();
    writeln!(
        text,
        "\nOf {} events acknowledged {} are missing, {} are there twice, {} are there and should not be. {failures} requests \
         of the two clients were not answered well.",
        verified["acknowledged"],
        count("missing"),
        count("duplicated"),
        count("unexpected"),
    )
    .ok();
    text
}
