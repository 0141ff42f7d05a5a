//! `cargo xtask bench`: how far each service is from what the machine can do at most, and how it compares with what
//! others run in its place.
//!
//! In the flow: `pipeline`, `machine`, `peers` → **`bench`** → tables, `loadtest/results/bench.md` and `bench.json`.
//! Contenders are measured in turns, in one run, because the same machine is another one an hour later; what is compared
//! are the figures of one round. No part of `test`: a slow machine is no fault of the code.
//! The order: `report` and `stage`, then one file for each part.

mod report;
mod stage;
pub mod peers;
mod gateway;
mod sink;
mod index;
mod scaling;
mod recorder;
mod query;
mod freshness;

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use serde_json::json;

use self::peers::Peers;
use self::report::Section;
use self::stage::Stage;
use crate::engines::provision::provision;
use crate::interrupt::Interrupt;
use crate::machine::{BUSY_MAX_PERCENT, Machine, commit};
use crate::pipeline::Pipeline;
use crate::prerequisites::{self, BUILD, ENGINES};
use crate::progress::Progress;
use crate::services::{BINARIES, Binaries};
use crate::workspace::{Lock, Workspace};

/// For how long it is looked at what the machine does beside the engines, which have nothing to do then.
const OTHERS_FOR: Duration = Duration::from_secs(5);

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// The gateway, beside its router alone and an intake written by hand.
    Gateway,
    /// The sink into a null Elasticsearch, beside librdkafka alone and Kafka Connect.
    Sink,
    /// The sink into Elasticsearch, beside bodies that are ready and rsyslog.
    Index,
    /// Several sinks, taking over, catching up.
    Scaling,
    /// The query API, beside Elasticsearch alone.
    Query,
    /// From the POST of an event until it is seen.
    Freshness,
}

const ALL: [Part; 6] = [
    Part::Gateway,
    Part::Sink,
    Part::Index,
    Part::Scaling,
    Part::Query,
    Part::Freshness,
];

/// What `cargo xtask bench` can be told.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Only these parts.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "PART")]
    pub only: Vec<Part>,
    /// How often each contender is measured.
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=20))]
    pub rounds: u8,
    /// One round with a tenth of the events: to see that it works, not how fast.
    #[arg(long)]
    pub quick: bool,
}

/// Measures, prints the tables and writes them.
///
/// # Errors
/// When something cannot be started or measured.
pub fn bench(options: &Options) -> Result<()> {
    let interrupt = Interrupt::on_signals()?;
    let progress = Progress::new();
    let workspace = Workspace::locate()?;
    let directory = workspace.target.join("bench");
    let _lock = Lock::take(&workspace.target.join("bench.lock")).context("a second `bench`")?;
    if directory.exists() {
        fs::remove_dir_all(&directory)
            .with_context(|| format!("cannot wipe `{}`", directory.display()))?;
    }
    prerequisites::ensure(&[BUILD, ENGINES], &progress, &interrupt)?;
    let peers = Peers::provision(&workspace, &progress, &interrupt)?;
    let distribution = provision(&workspace, &progress, &interrupt)?;
    let binaries = Binaries::build(&workspace, &BINARIES, &interrupt)?;
    let programs = ["loadtest", "es-sink"].map(|name| binaries.path(name));
    let step = progress.step("engines", "starting");
    let pipeline = Pipeline::start(&distribution, binaries, directory.clone(), &interrupt)?;
    step.done("Kafka and Elasticsearch are ready");
    let machine = Machine::read(OTHERS_FOR)?;
    let commit = commit(&workspace)?;
    let mut stage = Stage::new(
        pipeline,
        distribution,
        peers,
        directory,
        programs,
        interrupt,
        (!options.quick).then(|| usize::from(options.rounds)),
    );

    let began = Instant::now();
    let mut sections: Vec<Section> = Vec::new();
    for part in ALL {
        if !options.only.is_empty() && !options.only.contains(&part) {
            continue;
        }
        let measured = match part {
            Part::Gateway => gateway::run(&mut stage, &progress),
            Part::Sink => sink::run(&mut stage, &progress),
            Part::Index => index::run(&mut stage, &progress),
            Part::Scaling => scaling::run(&mut stage, &progress),
            Part::Query => query::run(&mut stage, &progress),
            Part::Freshness => freshness::run(&mut stage, &progress),
        };
        let measured = measured.with_context(|| format!("the part {part:?}"))?;
        for section in &measured {
            progress.say(&section.to_markdown());
        }
        sections.extend(measured);
    }
    stage.pipeline.stop([])?;

    let mut command = format!("cargo xtask bench --rounds {}", stage.rounds);
    if options.quick {
        command.push_str(" --quick");
    }
    let head = format!(
        "`{command}`, {} rounds in turns, medians with the least and the most; {} processors ({}), {} MiB, {:.0} % in use by \
         others before it began; commit {commit}; {:.0} minutes.\n",
        stage.rounds,
        machine.cores,
        machine.processor,
        machine.memory_mib,
        machine.busy_percent,
        began.elapsed().as_secs_f64() / 60.0
    );
    if machine.busy_percent > BUSY_MAX_PERCENT {
        progress.say("other programs use much of the machine: these figures say little");
    }
    // A part alone, or a quick look, is no report.
    if options.only.is_empty() && !options.quick {
        write(
            &workspace,
            &head,
            &sections,
            &json!({
                "command": command,
                "commit": commit,
                "machine": machine.to_json(),
                "rounds": stage.rounds,
                "sections": sections.iter().map(Section::to_json).collect::<Vec<_>>(),
            }),
            &progress,
        )?;
    } else {
        progress.say(&head);
    }
    Ok(())
}

fn write(
    workspace: &Workspace,
    head: &str,
    sections: &[Section],
    json: &serde_json::Value,
    progress: &Progress,
) -> Result<()> {
    let results = workspace.root.join("loadtest/results");
    let tables: Vec<String> = sections.iter().map(Section::to_markdown).collect();
    let page = format!("# Benchmark\n\n{head}\n{}", tables.join("\n"));
    for (name, text) in [
        ("bench.md", page),
        ("bench.json", serde_json::to_string(json)? + "\n"),
    ] {
        let file = results.join(name);
        fs::write(&file, text).with_context(|| format!("cannot write `{}`", file.display()))?;
        progress.say(&format!("written to {}", file.display()));
    }
    Ok(())
}
