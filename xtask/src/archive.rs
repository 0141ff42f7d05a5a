//! `cargo xtask archive`: archive-sinks and their PostgreSQL are killed under load, then counted; and how much they take.
//!
//! In the flow: `pipeline`, `engines::postgres`, `load` → **`archive`** → `target/archive/report.md`. It fails when an
//! event that was acknowledged is not in the archive once, or Elasticsearch and the archive differ.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::Value;

use crate::command;
use crate::engines::free_port;
use crate::engines::postgres::{self, Server};
use crate::engines::provision::provision;
use crate::interrupt::Interrupt;
use crate::load::{Load, is_whole, steady};
use crate::pipeline::Pipeline;
use crate::prerequisites::{self, ARCHIVE, BUILD, ENGINES};
use crate::process::Process;
use crate::progress::Progress;
use crate::services::{BINARIES, Binaries};
use crate::workspace::{Lock, Workspace};

/// How long everything is left alone between two kills.
const CALM_FOR: Duration = Duration::from_secs(8);
const LOAD_ENDS_WITHIN: Duration = Duration::from_secs(600);
const CAUGHT_UP_WITHIN: Duration = Duration::from_secs(600);

/// What `cargo xtask archive` can be told.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Decides the events.
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub seed: u64,
    /// Events per second while processes are killed.
    #[arg(long, default_value_t = 3_000, value_name = "N", value_parser = clap::value_parser!(u32).range(10..=100_000))]
    pub rate: u32,
    /// How often the sink is killed, and how often PostgreSQL.
    #[arg(long, default_value_t = 10, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    pub kills: u32,
    /// Events of the measurement of throughput.
    #[arg(long, default_value_t = 1_000_000, value_name = "N", value_parser = clap::value_parser!(u32).range(1_000..=100_000_000))]
    pub events: u32,
}

/// How much one sink takes, of a topic that is full.
struct Throughput {
    events_per_second: f64,
    cpu_seconds_per_million: f64,
    memory_peak_mib: u64,
    bytes_per_event: f64,
}

/// Kills, counts, measures, and writes the report.
///
/// # Errors
/// When something cannot be started, or an event is not where it must be.
pub fn archive(options: &Options) -> Result<()> {
    let interrupt = Interrupt::on_signals()?;
    let progress = Progress::new();
    let workspace = Workspace::locate()?;
    let directory = workspace.target.join("archive");
    let _lock = Lock::take(&workspace.target.join("archive.lock")).context("a second `archive`")?;
    if directory.exists() {
        fs::remove_dir_all(&directory)
            .with_context(|| format!("cannot wipe `{}`", directory.display()))?;
    }
    prerequisites::ensure(&[BUILD, ENGINES, ARCHIVE], &progress, &interrupt)?;
    let distribution = provision(&workspace, &progress, &interrupt)?;
    let binaries = Binaries::build(&workspace, &BINARIES, &interrupt)?;
    let loadtest = binaries.path("loadtest");
    let mut pipeline = Pipeline::start(&distribution, binaries, directory.join("run"), &interrupt)?;
    let server = Server {
        name: "postgresql".to_owned(),
        port: free_port()?,
        directory: directory.join("postgresql"),
    };
    let mut database = Process::new(server.prepare(&interrupt)?);
    database.start(&interrupt)?;
    let flags = pipeline.wiring.archive_flags(&server.url());

    let gateway = pipeline.service("ingest-gateway", &pipeline.wiring.gateway_flags())?;
    let sink = pipeline.service("es-sink", &pipeline.wiring.sink_flags())?;
    let mut killed = pipeline.service("archive-sink", &flags)?;
    let other = pipeline.service("archive-sink", &flags)?;
    let length = (CALM_FOR + Duration::from_secs(3)) * 2 * options.kills;
    let mut load_flags = ["--target", &gateway.url, "--idempotency-keys"]
        .map(str::to_owned)
        .to_vec();
    load_flags.extend(["--connections", "8"].map(str::to_owned));
    load_flags.extend(steady(options.rate, length));
    let load = Load::start(&directory, &loadtest, "archive", options.seed, &load_flags)?;
    for n in 1..=options.kills {
        let step = progress.step("archive", &format!("kill {n} of {}", options.kills));
        interrupt.rest(CALM_FOR)?;
        killed.process.kill();
        killed.process.start(&interrupt)?;
        interrupt.rest(CALM_FOR)?;
        let began = Instant::now();
        postgres::kill(&mut database);
        database.start(&interrupt)?;
        step.done(&format!(
            "kill {n} of {}: sink and PostgreSQL, which was back after {:.1} s",
            options.kills,
            began.elapsed().as_secs_f64()
        ));
    }
    let sent = load.finish(&interrupt, LOAD_ENDS_WITHIN)?;
    let step = progress.step("archive", "looking for each event");
    let wiring = &pipeline.wiring;
    let verified = sent.verify_with(
        wiring,
        &wiring.elasticsearch,
        0,
        &["--postgres-url", &server.url()],
    )?;
    step.done("each event was looked for");
    let deposed = other.metric("archive_sink_deposed_total")?;
    let mut services = [gateway, sink, killed, other];
    for service in &mut services {
        service.process.stop()?;
    }

    let step = progress.step("archive", "a topic that is full");
    let throughput = measure(options, &mut pipeline, &server, &loadtest, &interrupt)?;
    step.done(&format!("{:.0} events/s", throughput.events_per_second));
    pipeline.stop([])?;
    database.stop()?;

    let page = report(options, &verified, deposed, &throughput);
    let file = directory.join("report.md");
    fs::write(&file, &page).with_context(|| format!("cannot write `{}`", file.display()))?;
    progress.say(&page);
    progress.say(&format!("written to {}", file.display()));
    let archived = &verified["archive"];
    if !(is_whole(&verified) && is_whole(archived) && archived["differs"]["count"] == 0) {
        bail!("AR-1, AR-2: {verified}");
    }
    Ok(())
}

/// Fills a topic while no sink runs, starts one, and takes the time until all is in the archive.
fn measure(
    options: &Options,
    pipeline: &mut Pipeline,
    server: &Server,
    loadtest: &Path,
    interrupt: &Interrupt,
) -> Result<Throughput> {
    "full".clone_into(&mut pipeline.wiring.topic);
    "full".clone_into(&mut pipeline.wiring.group);
    let wiring = pipeline.wiring.clone();
    let mut fill = Command::new(loadtest);
    fill.args(["bench", "fill", "--kafka-brokers", &wiring.kafka])
        .args(["--topic", &wiring.topic, "--partitions", "6"])
        .args(["--events", &options.events.to_string()]);
    command::run(fill, interrupt, |_| {}).context("cannot fill the topic")?;
    let before = bytes(server)?;
    let began = Instant::now();
    let mut sink = pipeline.service("archive-sink", &wiring.archive_flags(&server.url()))?;
    interrupt.wait_for("all to be archived", CAUGHT_UP_WITHIN, || {
        match sink.metric("archive_sink_events_archived_total") {
            Ok(count) if count >= f64::from(options.events) => Ok(()),
            Ok(count) => Err(format!("{count} of {}", options.events)),
            Err(error) => Err(format!("{error:#}")),
        }
    })?;
    // From the start of the process on, which joins the group first.
    let seconds = began.elapsed().as_secs_f64();
    let cpu = sink.process.cpu_seconds().context("the sink is gone")?;
    let memory = sink
        .process
        .memory_peak_bytes()
        .context("the sink is gone")?;
    let events = f64::from(options.events);
    sink.process.stop()?;
    Ok(Throughput {
        events_per_second: events / seconds,
        cpu_seconds_per_million: cpu / events * 1e6,
        memory_peak_mib: memory >> 20,
        bytes_per_event: (bytes(server)? - before) / events,
    })
}

/// What the database takes on disk.
fn bytes(server: &Server) -> Result<f64> {
    let size = server.ask("SELECT pg_database_size(current_database())")?;
    size.parse().with_context(|| format!("`{size}` is no size"))
}

fn report(options: &Options, verified: &Value, deposed: f64, throughput: &Throughput) -> String {
    let archive = &verified["archive"];
    let mut text = format!(
        "# An archive whose sink and whose PostgreSQL are killed\n\n`cargo xtask archive --seed {} --rate {} --kills {} --events {}`\n\n\
         One of two archive-sinks and the one PostgreSQL were killed {} times each (SIGKILL, PostgreSQL with all of its \
         sessions) under {} events a second.\n\n\
         | | Elasticsearch | archive |\n|---|---:|---:|\n| acknowledged | {} | {} |\n",
        options.seed,
        options.rate,
        options.kills,
        options.events,
        options.kills,
        options.rate,
        verified["acknowledged"],
        archive["acknowledged"],
    );
    for (name, key) in [
        ("missing", "missing"),
        ("there twice", "duplicated"),
        ("there and should not be", "unexpected"),
    ] {
        let count = |verdict: &Value| verdict[key]["count"].to_string();
        writeln!(
            text,
            "| {name} | {} | {} |",
            count(verified),
            count(archive)
        )
        .ok();
    }
    writeln!(
        text,
        "| in one of the two alone | | {} |\n\n\
         The sink that was left alone found {deposed:.0} times that another one had claimed a partition of its own.\n\n\
         One sink on a topic of {} events: {:.0} events/s from its start to the last commit, {:.2} s of CPU for a million \
         events, {} MiB at most; {:.0} bytes on disk for each event, its index included.",
        archive["differs"]["count"],
        options.events,
        throughput.events_per_second,
        throughput.cpu_seconds_per_million,
        throughput.memory_peak_mib,
        throughput.bytes_per_event,
    )
    .ok();
    text
}
