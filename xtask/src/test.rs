//! `cargo xtask test`: everything that CI checks, stage by stage, with a summary.
//!
//! A failed stage does not keep the others from running: one run tells all that is wrong.
//! Not here: the rules of the repository (`tidy`), the live scenarios (`xtask/tests/live`).

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};

use crate::command;
use crate::fuzz;
use crate::instructions;
use crate::interrupt::{Interrupt, Interrupted};
use crate::mutants;
use crate::packages;
use crate::page::{self, Page};
use crate::prerequisites::{
    self, BUILD, CHECKS, ENGINES, FAKETIME, PACKAGES, PAGE, Prerequisite, VALGRIND,
};
use crate::progress::Progress;
use crate::tidy;
use crate::workspace::Workspace;

/// What `cargo xtask test` can be told.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// The stages to run; all of them when none is named.
    #[arg(value_enum)]
    pub stages: Vec<Choice>,
    /// What stage `sim` simulates, if not what CI does.
    #[command(flatten)]
    pub seeds: Seeds,
    /// `fuzz`: for how long each target runs.
    #[arg(long, value_name = "N", default_value_t = fuzz::SECONDS)]
    pub seconds: u64,
    /// `live`: the scenarios alone whose names contain this.
    #[arg(long, value_name = "PART")]
    pub only: Option<String>,
}

/// What the simulation is to run.
#[derive(Debug, Clone, Default, Args)]
pub struct Seeds {
    /// `sim`: this one, with the whole story of what happens.
    #[arg(long, value_name = "N", conflicts_with = "seeds")]
    pub seed: Option<u64>,
    /// `sim`: so many, on all cores.
    #[arg(long, value_name = "COUNT")]
    pub seeds: Option<u64>,
    /// `sim`: the first of them.
    #[arg(long, value_name = "N", requires = "seeds", default_value_t = 0)]
    pub from: u64,
}

impl Seeds {
    fn is_chosen(&self) -> bool {
        self.seed.is_some() || self.seeds.is_some()
    }

    /// What the simulation reads.
    fn variables(&self) -> Vec<(&'static str, u64)> {
        let seed = self.seed.map(|seed| ("LOGFLOW_SIM_SEED", seed));
        let seeds = self.seeds.map(|seeds| ("LOGFLOW_SIM_SEEDS", seeds));
        let from = self.seeds.map(|_| ("LOGFLOW_SIM_FROM", self.from));
        [seed, seeds, from].into_iter().flatten().collect()
    }
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
    /// The property tests and the simulation of the sink's pure machine alone.
    Sim,
    /// Whether the simulation notices each known fatal mistake; not a part of `all`.
    Mutants,
    /// Each decoder of the gateway against random bytes.
    Fuzz,
    /// How many instructions the pure core takes, against the baseline.
    Instructions,
    /// What is deployed: the compose file, the Helm chart, the Debian package with its units.
    Packages,
    /// The scenarios on real Kafka and real Elasticsearch.
    Live,
    /// The explorer page: its checks, whether what is committed is what it builds, and all of it in a real browser.
    Ui,
}

/// The stages of `all`, in the order in which they fail fastest. `sim` is a part of `unit`.
const ALL: [Choice; 9] = [
    Choice::Fmt,
    Choice::Tidy,
    Choice::Lint,
    Choice::Unit,
    Choice::Instructions,
    Choice::Fuzz,
    Choice::Packages,
    Choice::Ui,
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
    if options.seeds.is_chosen() && stages != [Choice::Sim] {
        bail!("seeds belong to one stage: `cargo xtask test sim --seed 17`");
    }
    if options.only.is_some() && stages != [Choice::Live] {
        bail!("`--only` belongs to one stage: `cargo xtask test live --only outages`");
    }
    let mut needed: Vec<&[Prerequisite]> = Vec::new();
    for stage in &stages {
        needed.extend_from_slice(match stage {
            Choice::Live => &[BUILD, ENGINES, CHECKS, FAKETIME],
            Choice::Ui => &[BUILD, ENGINES, CHECKS, FAKETIME, PAGE],
            Choice::Lint | Choice::Unit | Choice::Fuzz => &[BUILD],
            Choice::Instructions => &[BUILD, VALGRIND],
            Choice::Packages => &[BUILD, PACKAGES],
            Choice::Fmt | Choice::Tidy | Choice::Sim | Choice::Mutants | Choice::All => &[],
        });
    }
    prerequisites::ensure(&needed, &progress, &interrupt)?;

    let mut results: Vec<(Choice, Result<()>, Duration)> = Vec::new();
    for stage in stages {
        progress.say(&format!("\n=== {} ===", name(stage)));
        let began = Instant::now();
        let result = run(stage, options, &workspace, &progress, &interrupt);
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
            "{:<12} {verdict} {:>7.1} s",
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
    options: &Options,
    workspace: &Workspace,
    progress: &Progress,
    interrupt: &Interrupt,
) -> Result<()> {
    let Options { seeds, only, .. } = options;
    if stage == Choice::Fuzz {
        fuzz::run(options.seconds, workspace, progress, interrupt)?;
    }
    if stage == Choice::Instructions {
        instructions::check(workspace, progress, interrupt)?;
    }
    if stage == Choice::Packages {
        packages::check(workspace, progress, interrupt)?;
    }
    if stage == Choice::Ui {
        Page::new(workspace, progress, interrupt)?.check(workspace, progress, interrupt)?;
    }
    let commands = match stage {
        Choice::Sim if seeds.is_chosen() => SIMULATION_ALONE,
        _ => cargo_commands(stage),
    };
    for arguments in commands {
        let mut arguments = arguments.to_vec();
        if let Some(part) = only {
            arguments.push(part);
        }
        let mut cargo = Command::new("cargo");
        cargo
            .current_dir(&workspace.root)
            .args(&arguments)
            .env("CARGO_TARGET_DIR", &workspace.target);
        for (name, value) in seeds.variables() {
            cargo.env(name, value.to_string());
        }
        progress.say(&format!("cargo {}", arguments.join(" ")));
        let status = command::run_visibly(cargo, interrupt)?;
        if !status.success() {
            bail!("`cargo {}` ended with {status}", arguments.join(" "));
        }
    }
    if stage == Choice::Mutants {
        mutants::kill_all(workspace, progress, interrupt)?;
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
            // Left out of the workspace's test targets, so it is named: with the whole workspace's features, so that
            // no dependency is checked again.
            &[
                "clippy",
                "--release",
                "--workspace",
                "--test",
                "live",
                "--",
                "-D",
                "warnings",
            ],
        ],
        Choice::Unit => &[&["test", "--release", "--workspace", "--no-fail-fast"]],
        Choice::Sim => &[&["test", "--release", "--package", "es-sink-core"]],
        // The whole workspace, so that the features are those of `unit` and nothing is compiled again. Not the nemesis,
        // which is minutes of a whole cluster: `cargo xtask nemesis` is a command of its own.
        Choice::Live => &[&[
            "test",
            "--release",
            "--workspace",
            "--test",
            "live",
            "--",
            "--skip",
            page::THEME,
            "--skip",
            "nemesis::",
        ]],
        Choice::Ui => &[&[
            "test",
            "--release",
            "--workspace",
            "--test",
            "live",
            "--",
            page::THEME,
        ]],
        Choice::Tidy
        | Choice::Mutants
        | Choice::Fuzz
        | Choice::Instructions
        | Choice::Packages
        | Choice::All => &[],
    }
}

const SIMULATION_ALONE: &[&[&str]] = &[&[
    "test",
    "--release",
    "--package",
    "es-sink-core",
    "--test",
    "simulation",
]];

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
                matches!(
                    stage,
                    Choice::Tidy | Choice::Fuzz | Choice::Instructions | Choice::Packages
                ) || !cargo_commands(*stage).is_empty(),
                "{stage:?}"
            );
        }
    }
}
