//! `cargo xtask test fuzz`: each decoder of the gateway against random bytes, for a bounded time.
//!
//! In the flow: `test` → **`fuzz`** → the targets of `fuzz/`. Only our own packages are instrumented; what they depend on
//! is the build that everything else uses. What a run adds to a corpus stays below the build directory.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

use crate::command;
use crate::interrupt::Interrupt;
use crate::progress::Progress;
use crate::workspace::Workspace;

/// The targets, by what they are called in `fuzz/corpus`.
const TARGETS: [&str; 6] = ["json", "text", "otlp", "elasticsearch", "loki", "hec"];
/// For how long each runs when nothing else is asked for.
pub const SECONDS: u64 = 5;
/// More than a request's memory could come near to.
const MEMORY_MIB_MAX: &str = "512";

/// Builds the targets and runs each of them.
///
/// # Errors
/// When one finds something: the input lies in a file that the error names, and `cargo xtask test fuzz` tries it first
/// from then on if it is copied into the target's corpus.
pub fn run(
    seconds: u64,
    workspace: &Workspace,
    progress: &Progress,
    interrupt: &Interrupt,
) -> Result<()> {
    let fuzz = workspace.root.join("fuzz");
    let mut cargo = Command::new("cargo");
    cargo
        .current_dir(&workspace.root)
        .args(["build", "--release", "--package", "fuzz", "--bins"])
        .env("CARGO_TARGET_DIR", &workspace.target)
        .env("RUSTC_WORKSPACE_WRAPPER", fuzz.join("instrumented.sh"));
    progress.say("cargo build --release --package fuzz --bins, instrumented");
    let status = command::run_visibly(cargo, interrupt)?;
    if !status.success() {
        bail!("the build of the targets ended with {status}");
    }
    let directory = workspace.target.join("fuzz");
    for target in TARGETS {
        let gathered = directory.join(target);
        fs::create_dir_all(&gathered)?;
        let program = workspace.binaries().join(format!("fuzz-{target}"));
        one(
            &program, target, seconds, &gathered, &fuzz, progress, interrupt,
        )?;
    }
    Ok(())
}

fn one(
    program: &Path,
    target: &str,
    seconds: u64,
    gathered: &Path,
    fuzz: &Path,
    progress: &Progress,
    interrupt: &Interrupt,
) -> Result<()> {
    let mut run = Command::new(program);
    run.arg(format!("-max_total_time={seconds}"))
        .arg(format!(
            "-artifact_prefix={}/found-",
            gathered.parent().unwrap_or(gathered).display()
        ))
        .arg(format!("-rss_limit_mb={MEMORY_MIB_MAX}"))
        .args([
            "-timeout=10",
            "-max_len=65536",
            "-print_final_stats=1",
            "-verbosity=1",
        ])
        // What is found goes to the first; the second is read, too.
        .arg(gathered)
        .arg(fuzz.join("corpus").join(target));
    let mut executions = 0_u64;
    let mut coverage = String::new();
    let mut step = progress.step("fuzz", target);
    let result = command::run(run, interrupt, |line| {
        if let Some(count) = line.strip_prefix("stat::number_of_executed_units:") {
            executions = count.trim().parse().unwrap_or_default();
        }
        if let Some((_, rest)) = line.split_once(" cov: ") {
            coverage = rest.split(' ').next().unwrap_or_default().to_owned();
        }
        step.note(line);
    });
    result.with_context(|| format!("`fuzz-{target}` found something"))?;
    let is_led = coverage.parse().is_ok_and(|edges: u64| edges > 100);
    ensure!(
        executions > 0 && is_led,
        "`fuzz-{target}` ran {executions} inputs over {coverage} edges: it is not instrumented"
    );
    step.done(&format!(
        "{target}: {executions} inputs in {seconds} s, {coverage} edges, nothing found"
    ));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_target_has_a_corpus_and_the_other_way_round() {
        let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
        let names = |part: &str| {
            let entries = fs::read_dir(fuzz.join(part)).unwrap();
            let names = entries.map(|entry| {
                let path = entry.unwrap().path();
                path.file_stem().unwrap().to_string_lossy().into_owned()
            });
            let mut names: Vec<String> = names.collect();
            names.sort_unstable();
            names
        };
        let mut targets = TARGETS.map(str::to_owned);
        targets.sort_unstable();
        assert_eq!(names("corpus"), targets);
        assert_eq!(names("fuzz_targets"), targets);
    }
}
