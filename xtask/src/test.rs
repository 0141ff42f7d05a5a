//! `cargo xtask test`: everything that CI checks, stage by stage, with a summary.
//!
//! A failed stage does not keep the others from running: one run tells all that is wrong.
//! Not here: the rules of the repository (`tidy`), the live scenarios (`xtask/tests/live`).

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};

use crate::command;
use crate::interrupt::{Interrupt, Interrupted};
use crate::prerequisites::{self, BUILD, CHECKS, ENGINES, Prerequisite};
use crate::progress::Progress;
use crate::tidy;
use crate::workspace::Workspace;

/// What `cargo xtask test` can be told.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// The stages to run; all of them when none is named.
    #[arg(value_enum)]
    pub stages: Vec<Choice>,
}

/// A part of the checks, or all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Choice {
    /// Everything.
    All,
    /// The formatting.
    Fmt,
    /// Clippy, warnings denied.
    Lint,
    /// The repository's own rules.
    Tidy,
    /// Unit, property, service and documentation tests of all packages.
    Unit,
    /// The property tests and simulations of the sink's pure machine alone.
    Sim,
    /// The scenarios on real Kafka and real Elasticsearch.
    Live,
}

/// The stages of `all`, in the order in which they fail fastest. `sim` is a part of `unit`.
const ALL: [Choice; 5] = [
    Choice::Fmt,
    Choice::Tidy,
    Choice::Lint,
    Choice::Unit,
    Choice::Live,
];

/// Runs the chosen stages.
///
/// # Errors
/// When one fails; all have run by then.
pub fn test(options: &Options) -> Result<()> {
    let interrupt = Interrupt::on_signals()?;
    let progress = Progress::new();
    let workspace = Workspace::locate()?;
    let stages = chosen(&options.stages);
    let needed: Vec<&[Prerequisite]> = if stages.contains(&Choice::Live) {
        vec![BUILD, ENGINES, CHECKS]
    } else if stages
        .iter()
        .any(|stage| matches!(stage, Choice::Lint | Choice::Unit))
    {
        vec![BUILD]
    } else {
        Vec::new()
    };
    prerequisites::ensure(&needed, &progress, &interrupt)?;

    let mut results: Vec<(Choice, Result<()>, Duration)> = Vec::new();
    for stage in stages {
        progress.say(&format!("\n=== {} ===", name(stage)));
        let began = Instant::now();
        let result = run(stage, &workspace, &progress, &interrupt);
        if let Err(error) = &result {
            if error.is::<Interrupted>() {
                bail!("interrupted in stage `{}`", name(stage));
            }
            progress.say(&format!("{}: {error:#}", name(stage)));
        }
        results.push((stage, result, began.elapsed()));
    }

    progress.say("\n=== summary ===");
    for (stage, result, took) in &results {
        let verdict = if result.is_ok() { "passed" } else { "FAILED" };
        progress.say(&format!(
            "{:<5} {verdict} {:>7.1} s",
            name(*stage),
            took.as_secs_f64()
        ));
    }
    let failed = results
        .iter()
        .filter(|(_, result, _)| result.is_err())
        .count();
    progress.say(&format!(
        "{} passed, {failed} failed",
        results.len() - failed
    ));
    if failed > 0 {
        bail!("{failed} of {} stages failed", results.len());
    }
    Ok(())
}

/// Each stage once, in the order given.
fn chosen(named: &[Choice]) -> Vec<Choice> {
    let named = if named.is_empty() {
        &[Choice::All]
    } else {
        named
    };
    let mut stages = Vec::new();
    for choice in named {
        let several = if *choice == Choice::All {
            ALL.to_vec()
        } else {
            vec![*choice]
        };
        for stage in several {
            if !stages.contains(&stage) {
                stages.push(stage);
            }
        }
    }
    stages
}

fn name(stage: Choice) -> String {
    stage
        .to_possible_value()
        .map(|value| value.get_name().to_owned())
        .unwrap_or_default()
}

fn run(
    stage: Choice,
    workspace: &Workspace,
    progress: &Progress,
    interrupt: &Interrupt,
) -> Result<()> {
    for arguments in cargo_commands(stage) {
        let mut cargo = Command::new("cargo");
        cargo
            .current_dir(&workspace.root)
            .args(*arguments)
            .env("CARGO_TARGET_DIR", &workspace.target);
        progress.say(&format!("cargo {}", arguments.join(" ")));
        let status = command::run_visibly(cargo, interrupt)?;
        if !status.success() {
            bail!("`cargo {}` ended with {status}", arguments.join(" "));
        }
    }
    if stage == Choice::Tidy {
        let faults = tidy::faults(&workspace.root)?;
        if !faults.is_empty() {
            bail!("{} faults\n{}", faults.len(), faults.join("\n"));
        }
    }
    Ok(())
}

/// What a stage runs. Everything in the one profile, so that nothing is compiled twice.
fn cargo_commands(stage: Choice) -> &'static [&'static [&'static str]] {
    match stage {
        Choice::Fmt => &[&["fmt", "--all", "--check"]],
        Choice::Lint => &[
            &[
                "clippy",
                "--release",
                "--workspace",
                "--all-targets",
                "--",
                "-D",
                "warnings",
            ],
            // Left out of the workspace's test targets, so it is named.
            &[
                "clippy",
                "--release",
                "--package",
                "xtask",
                "--test",
                "live",
                "--",
                "-D",
                "warnings",
            ],
        ],
        Choice::Unit => &[&["test", "--release", "--workspace", "--no-fail-fast"]],
        Choice::Sim => &[&["test", "--release", "--package", "es-sink-core"]],
        Choice::Live => &[&["test", "--release", "--package", "xtask", "--test", "live"]],
        Choice::Tidy | Choice::All => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_choice_everything_runs_once() {
        assert_eq!(chosen(&[]), ALL);
        assert_eq!(
            chosen(&[Choice::Tidy, Choice::All, Choice::Tidy])[0],
            Choice::Tidy
        );
        assert_eq!(chosen(&[Choice::Tidy, Choice::All]).len(), ALL.len());
    }

    #[test]
    fn every_stage_runs_something() {
        for stage in ALL.iter().chain(&[Choice::Sim]) {
            assert!(
                *stage == Choice::Tidy || !cargo_commands(*stage).is_empty(),
                "{stage:?}"
            );
        }
    }
}
