//! `cargo xtask nemesis`: the whole pipeline in several copies, under load, while everything fails that can.
//!
//! In the flow: `engines`, `services` → **`nemesis`** → a timeline in Markdown, in `target/nemesis/timeline-<seed>.md`.
//! One seed decides which faults come when (`schedule`). Then all is healed and comes to rest, and each event must be
//! there exactly once (EO-4), refused ones alone dead-lettered (EO-5), and the sinks within their memory (EO-6).
//! Not here: Elasticsearch away for long (`outage`), and every order of events at all (the simulation of es-sink).

pub mod fault;
pub mod schedule;
mod guarded;
mod layout;
mod claims;
pub mod false_clock;
pub mod cluster;
pub mod story;
pub mod counts;
pub mod watch;
pub mod load;
pub mod inflict;
pub mod timeline;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use self::cluster::{Cluster, TOPOLOGY};
use self::false_clock::FalseClock;
use self::inflict::Nemesis;
use self::story::Story;
use self::timeline::Outcome;
use self::watch::Watch;
use crate::engines::provision::{Distribution, provision};
use crate::interrupt::Interrupt;
use crate::load::{Load, Sent};
use crate::prerequisites::{self, BUILD, ENGINES, FAKETIME};
use crate::process::Stopped;
use crate::progress::Progress;
use crate::services::{BINARIES, Binaries};
use crate::workspace::{Lock, Workspace};

/// Of the events, so many in a hundred go past the gateways.
const PAST_THE_GATEWAYS_PERCENT: u32 = 30;
/// After the last healing, for the generators to get rid of what they hold.
const LOAD_ENDS_WITHIN: Duration = Duration::from_secs(330);
/// After the last healing, for the services to say that they are ready, and for the sinks to catch up.
const READY_WITHIN: Duration = Duration::from_secs(120);
const DRAINED_WITHIN: Duration = Duration::from_secs(300);

/// What `cargo xtask nemesis` can be told.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Decides which faults come when: the same seed, the same schedule.
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub seed: u64,
    /// For how long faults come.
    #[arg(long, default_value_t = 3.0, value_name = "MINUTES")]
    pub minutes: f64,
    /// Events per second.
    #[arg(long, default_value_t = 1_500, value_name = "N")]
    pub rate: u32,
    /// Print the schedule and end.
    #[arg(long)]
    pub plan: bool,
}

/// One run.
#[derive(Debug, Clone, Copy)]
pub struct Run {
    /// Decides the schedule and the events.
    pub seed: u64,
    /// For how long faults come.
    pub length: Duration,
    /// Events per second.
    pub rate: u32,
}

/// Runs the faults and writes the timeline.
///
/// # Errors
/// When something cannot be started or healed, or a promise is broken; the timeline has said by then in what.
pub fn nemesis(options: &Options) -> Result<()> {
    ensure!(
        options.minutes.is_finite() && (0.5..=600.0).contains(&options.minutes),
        "--minutes must lie between 0.5 and 600"
    );
    ensure!(options.rate >= 10, "--rate must be at least 10");
    let interrupt = Interrupt::on_signals()?;
    let progress = Progress::new();
    let run = Run {
        seed: options.seed,
        length: Duration::from_secs_f64(options.minutes * 60.0),
        rate: options.rate,
    };
    if options.plan {
        for planned in schedule::schedule(run.seed, run.length, TOPOLOGY) {
            progress.say(&format!(
                "{:6.1} s  for {:4.1} s  {}",
                planned.at.as_secs_f64(),
                planned.lasts.as_secs_f64(),
                planned.fault
            ));
        }
        return Ok(());
    }
    let workspace = Workspace::locate()?;
    let directory = workspace.target.join("nemesis");
    let _lock = Lock::take(&workspace.target.join("nemesis.lock")).context("a second `nemesis`")?;
    prerequisites::ensure(&[BUILD, ENGINES, FAKETIME], &progress, &interrupt)?;
    let distribution = provision(&workspace, &progress, &interrupt)?;
    let binaries = Binaries::build(&workspace, &BINARIES, &interrupt)?;
    let outcome = run.carry_out(&distribution, &binaries, &directory, &progress, &interrupt)?;
    let page = outcome.to_markdown();
    let file = directory.join(format!("timeline-{}.md", run.seed));
    fs::write(&file, &page).with_context(|| format!("cannot write `{}`", file.display()))?;
    progress.say(&page);
    progress.say(&format!("written to {}", file.display()));
    let violations = outcome.violations();
    if !violations.is_empty() {
        bail!("{}", violations.join("\n"));
    }
    Ok(())
}

impl Run {
    /// Starts a cluster with no data in `directory`, carries the schedule out, and looks for every event.
    /// The files of the run stay in `directory/run`, those of the one before are removed.
    ///
    /// # Errors
    /// When something cannot be started or healed, or does not come to rest. A broken promise is no error: the outcome
    /// tells.
    pub fn carry_out(
        self,
        distribution: &Distribution,
        binaries: &Binaries,
        directory: &Path,
        progress: &Progress,
        interrupt: &Interrupt,
    ) -> Result<Outcome> {
        let files = directory.join("run");
        if files.exists() {
            fs::remove_dir_all(&files)
                .with_context(|| format!("cannot wipe `{}`", files.display()))?;
        }
        let false_clock = FalseClock::build(&files.join("false-clock"), interrupt)?;
        let step = progress.step(
            "cluster",
            "starting 3 brokers, 2 Elasticsearch nodes, 2 gateways, 3 sinks",
        );
        let cluster = Cluster::start(distribution, binaries, &files, self.seed, interrupt)?;
        step.done("all of it is ready");
        let schedule = schedule::schedule(self.seed, self.length, TOPOLOGY);
        let past = self.rate * PAST_THE_GATEWAYS_PERCENT / 100;
        let loads = [
            load::through_the_gateways(&cluster, self.seed, self.rate - past, self.length)?,
            load::past_the_gateways(&cluster, self.seed, past, self.length)?,
        ];
        let story = Story::begin(progress);
        let nemesis = Nemesis::new(&cluster, &story, false_clock, self.seed);
        let watch = Watch::default();
        let rested = std::thread::scope(|scope| {
            scope.spawn(|| watch.run(&cluster));
            let rested = nemesis
                .carry_out(&schedule)
                .and_then(|()| rest(&cluster, &story, loads));
            watch.end();
            rested
        })?;
        watch.look(&cluster);
        let resets = schedule.iter().filter(|one| one.fault.resets_offsets());
        let resets = resets.count();
        let urls: Vec<&str> = cluster.nodes.iter().map(|node| node.url.as_str()).collect();
        let elasticsearch = urls.join(",");
        let mut verified = Vec::new();
        for sent in rested.sent.into_iter().chain(nemesis.bursts()) {
            let found = sent.verify(&cluster.wiring, &elasticsearch, resets)?;
            story.tell(format!(
                "`{}`: {} missing, {} duplicated, {} unexpected",
                sent.name,
                found["missing"]["count"],
                found["duplicated"]["count"],
                found["unexpected"]["count"]
            ));
            verified.push((sent.name, found));
        }
        end(&cluster, &story)?;
        Ok(Outcome {
            seed: self.seed,
            length: self.length,
            rate: self.rate,
            n_faults: schedule.len(),
            entries: story.entries(),
            complaints: story.faults(),
            ready_after: rested.ready_after,
            drained_after: rested.drained_after,
            counts: watch.counts(),
            verified,
        })
    }
}

/// How the pipeline came to rest.
struct Rested {
    sent: Vec<Sent>,
    ready_after: Duration,
    drained_after: Duration,
}

fn rest(cluster: &Cluster, story: &Story<'_>, loads: [Load; 2]) -> Result<Rested> {
    story.tell("all is healed");
    let healed = Instant::now();
    watch::until_ready(cluster, READY_WITHIN)?;
    let ready_after = healed.elapsed();
    story.tell("all services are ready");
    let mut sent = Vec::new();
    for load in loads {
        sent.push(load.finish(&cluster.interrupt, LOAD_ENDS_WITHIN)?);
    }
    story.tell("all events are sent");
    let drained_after = watch::until_drained(cluster, DRAINED_WITHIN)?;
    story.tell("no record is left");
    Ok(Rested {
        sent,
        ready_after,
        drained_after,
    })
}

/// Ends the services as an operator would. What does not run any more, or does not end, is told. The engines are not
/// what is tested, and of three brokers the last would wait for the others: they end with the cluster.
fn end(cluster: &Cluster, story: &Story<'_>) -> Result<()> {
    for part in cluster.gateways.iter().chain(cluster.staying_sinks()) {
        let stopped = part.hold().stop()?;
        match stopped {
            Stopped::Ended(status, _) if status.success() => {}
            Stopped::WasNotRunning => story.complain(format!("{} did not run any more", part.name)),
            other => story.complain(format!("{} did not end cleanly: {other:?}", part.name)),
        }
    }
    for engine in cluster.nodes.iter().chain(&cluster.brokers) {
        if !engine.hold().is_running() {
            story.complain(format!("{} did not run any more", engine.name));
        }
    }
    Ok(())
}
