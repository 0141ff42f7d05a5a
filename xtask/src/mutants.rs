//! `cargo xtask test mutants`: makes each known fatal mistake once, to show that the simulation notices it.
//!
//! In the flow: `test` → **`mutants`** → `es-sink/core/tests/simulation`, with the mistakes of
//! `es-sink/core/src/mutant.rs` compiled in, in a target directory of their own.

use std::process::Command;
use std::time::Instant;

use anyhow::{Result, bail};

use crate::command;
use crate::interrupt::{Interrupt, Interrupted};
use crate::progress::Progress;
use crate::workspace::Workspace;

/// The mistakes by their names in `mutant.rs`, with what they do.
const MUTANTS: [(&str, &str); 8] = [
    (
        "commit-position",
        "commits where reading goes on, not the lowest unresolved offset",
    ),
    (
        "conflict-acknowledged",
        "creates documents, and takes a 409 for an acknowledgement",
    ),
    (
        "id-from-offset",
        "makes ids of topic, partition and offset alone",
    ),
    (
        "epoch-ignored",
        "lets late replies resolve records of a later assignment",
    ),
    (
        "registered-at-flush",
        "takes note of an offset when it is sent, not when it is received",
    ),
    ("forbidden-dead-lettered", "dead-letters what a 403 refuses"),
    ("dropped-after-retries", "drops what has failed five times"),
    ("index-by-clock", "takes the day of an index from the clock"),
];

/// So many seeds a mutant has to survive to be called a survivor.
const SEEDS: &str = "20000";
/// So many seeds the build without a mistake has to hold.
const SEEDS_WITHOUT: &str = "3000";

/// How one mutant ended.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// By which guarantee, at which seed, after how many and how long.
    Killed {
        by: String,
        how: String,
    },
    /// Something else than a guarantee ended it: its last words.
    Unclear(String),
    Survived,
}

/// Builds once, runs the simulation against each mutant, prints the table.
///
/// # Errors
/// If a mutant survives, or if the simulation fails without one.
pub fn kill_all(workspace: &Workspace, progress: &Progress, interrupt: &Interrupt) -> Result<()> {
    progress.say("building the simulation with the mistakes compiled in");
    let mut build = simulation(workspace);
    build.arg("--no-run");
    if !command::run_visibly(build, interrupt)?.success() {
        bail!("the simulation does not compile with `--cfg logflow_mutants`");
    }
    let without = run(workspace, None, SEEDS_WITHOUT, interrupt)?;
    if without != Verdict::Survived {
        bail!("the simulation fails without a mutant, so that it shows nothing: {without:?}");
    }
    progress.say(&format!(
        "without a mutant {SEEDS_WITHOUT} seeds hold\n\n{:<24} {:<9} {:<34} what it does",
        "mutant", "killed by", "how"
    ));
    let mut alive = Vec::new();
    for (name, what) in MUTANTS {
        let (by, how) = match run(workspace, Some(name), SEEDS, interrupt)? {
            Verdict::Killed { by, how } => (by, how),
            Verdict::Unclear(words) => {
                alive.push(name);
                ("unclear".to_owned(), words)
            }
            Verdict::Survived => {
                alive.push(name);
                ("SURVIVES".to_owned(), format!("{SEEDS} seeds hold"))
            }
        };
        progress.say(&format!("{name:<24} {by:<9} {how:<34} {what}"));
    }
    if !alive.is_empty() {
        bail!("not killed by a guarantee: {}", alive.join(", "));
    }
    progress.say("every mutant is killed");
    Ok(())
}

fn simulation(workspace: &Workspace) -> Command {
    let mut flags = std::env::var("RUSTFLAGS").unwrap_or_default();
    flags.push_str(" --cfg logflow_mutants");
    let mut cargo = Command::new("cargo");
    cargo
        .current_dir(&workspace.root)
        .args(["test", "--release", "--package", "es-sink-core"])
        .args(["--test", "simulation"])
        .env("CARGO_TARGET_DIR", workspace.target.join("mutants"))
        .env("RUSTFLAGS", flags);
    cargo
}

fn run(
    workspace: &Workspace,
    mutant: Option<&str>,
    seeds: &str,
    interrupt: &Interrupt,
) -> Result<Verdict> {
    let mut cargo = simulation(workspace);
    cargo.env("LOGFLOW_SIM_SEEDS", seeds);
    if let Some(mutant) = mutant {
        cargo.env("LOGFLOW_MUTANT", mutant);
    }
    let began = Instant::now();
    let mut lines = Vec::new();
    let result = command::run(cargo, interrupt, |line| lines.push(line.to_owned()));
    match result {
        Ok(()) => Ok(Verdict::Survived),
        Err(error) if error.is::<Interrupted>() => Err(error),
        Err(_) => Ok(verdict(&lines, began.elapsed().as_secs_f64())),
    }
}

/// Reads how a failed simulation ended.
fn verdict(lines: &[String], seconds: f64) -> Verdict {
    let fails = lines.iter().find_map(|line| {
        let (seed, why) = line.strip_prefix("seed ")?.split_once(" fails: ")?;
        Some((seed, why))
    });
    let n_tried = lines.iter().find_map(|line| {
        let (_, tried) = line.strip_prefix("seed ")?.split_once(" fails, ")?;
        tried.split(' ').next()
    });
    match (fails, n_tried) {
        (Some((seed, why)), Some(n_tried)) if why.starts_with("EO-") => {
            let by = why.split(':').next().unwrap_or_default().to_owned();
            let how = format!("seed {seed}, {n_tried} tried, {seconds:.1} s");
            Verdict::Killed { by, how }
        }
        (Some((_, why)), _) => Verdict::Unclear(why.to_owned()),
        (None, _) => Verdict::Unclear(lines.last().cloned().unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_guarantee_kills() {
        let read = |text: &str| {
            let lines: Vec<String> = text.lines().map(str::to_owned).collect();
            verdict(&lines, 0.25)
        };
        let killed = read(
            "seed 6 fails, 7 of 20000 seeds and 0.0 s after the beginning\nseed 6 fails: EO-1: sink 0 commits",
        );
        let (by, how) = ("EO-1".to_owned(), "seed 6, 7 tried, 0.2 s".to_owned());
        assert_eq!(killed, Verdict::Killed { by, how });
        for other in [
            "seed 0 fails, 1 of 2 seeds\nseed 0 fails: LOGFLOW_MUTANT=x is no mutant",
            "error: could not compile",
            "",
        ] {
            assert!(matches!(read(other), Verdict::Unclear(_)), "{other}");
        }
    }

    #[test]
    fn every_mistake_that_is_compiled_in_is_tried() {
        let source = include_str!("../../es-sink/core/src/mutant.rs");
        let (_, after) = source.split_once("const ALL").unwrap();
        let (table, _) = after.split_once("];\n").unwrap();
        let names: Vec<&str> = table.split('"').skip(1).step_by(2).collect();
        let tried: Vec<&str> = MUTANTS.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, tried);
    }
}
