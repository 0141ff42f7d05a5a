//! `cargo xtask instructions`: how many instructions the pure core takes for each workload of `micro`, held against what
//! it took when that was last accepted (`loadtest/micro/instructions.json`).
//!
//! In the flow: `test` → **`instructions`** → `micro-instructions` under valgrind. A count is the same however busy the
//! machine is, which a time is not; what a processor makes of the instructions it does not tell (`cargo bench -p micro`).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use serde_json::{Value, json};

use crate::command::{self, output};
use crate::interrupt::Interrupt;
use crate::prerequisites::{self, BUILD, VALGRIND};
use crate::progress::Progress;
use crate::services::{BINARIES, Binaries};
use crate::workspace::Workspace;

/// So much more than the baseline is taken for a change of the compiler's mind, in percent.
const MARGIN_PERCENT: u64 = 10;
/// Each workload runs so often; the start of the program is subtracted.
const RUNS: u64 = 10;
/// In the repository.
const BASELINE: &str = "loadtest/micro/instructions.json";

/// What `cargo xtask instructions` can be told.
#[derive(Debug, Clone, Copy, Args)]
pub struct Options {
    /// Accept what is counted now as the baseline; the commit says why.
    #[arg(long)]
    pub write: bool,
}

/// Counts, and writes or checks the baseline.
///
/// # Errors
/// When it cannot be counted, or [`check`] fails.
pub fn instructions(options: &Options) -> Result<()> {
    let interrupt = Interrupt::on_signals()?;
    let progress = Progress::new();
    let workspace = Workspace::locate()?;
    prerequisites::ensure(&[BUILD, VALGRIND], &progress, &interrupt)?;
    if !options.write {
        return check(&workspace, &progress, &interrupt);
    }
    let now = Counts::take(&workspace, &progress, &interrupt)?;
    let path = workspace.root.join(BASELINE);
    if let Ok(before) = Counts::read(&path) {
        table(&before, &now, &progress);
    }
    fs::write(&path, now.to_text()).with_context(|| format!("cannot write `{BASELINE}`"))?;
    progress.say(&format!(
        "{BASELINE} is written; commit it with the reason, and this table"
    ));
    Ok(())
}

/// Counts, and holds each workload against the baseline.
///
/// # Errors
/// When one takes more than the margin allows, or has no baseline.
pub fn check(workspace: &Workspace, progress: &Progress, interrupt: &Interrupt) -> Result<()> {
    let before = Counts::read(&workspace.root.join(BASELINE))?;
    let now = Counts::take(workspace, progress, interrupt)?;
    table(&before, &now, progress);
    if let Some(why) = before.incomparable(&now) {
        progress.say(&format!("nothing is judged: {why}"));
        return Ok(());
    }
    for name in gains(&before, &now) {
        progress.say(&format!(
            "`{name}` takes far less than its baseline; `cargo xtask instructions --write` keeps the gain"
        ));
    }
    let faults = faults(&before, &now);
    if !faults.is_empty() {
        bail!(
            "{}\nwhat is meant to be so is accepted by `cargo xtask instructions --write`, committed with the reason",
            faults.join("\n")
        );
    }
    Ok(())
}

/// Instructions of one run of each workload, and what else they depend on.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Counts {
    rustc: String,
    target: String,
    /// Whether libraries that choose their code at run time find AVX2.
    avx2: bool,
    of: BTreeMap<String, u64>,
}

impl Counts {
    fn take(workspace: &Workspace, progress: &Progress, interrupt: &Interrupt) -> Result<Self> {
        let (rustc, target) = compiler()?;
        let program = build(workspace, progress, interrupt)?;
        let mut step = progress.step("instructions", "counting");
        let mut names = Vec::new();
        command::run(Command::new(&program), interrupt, |line| {
            names.push(line.to_owned());
        })?;
        ensure!(!names.is_empty(), "`{}` lists nothing", program.display());
        let mut of = BTreeMap::new();
        for name in names {
            step.note(&name);
            let without = collected(&program, &name, 0, interrupt)?;
            let with = collected(&program, &name, RUNS, interrupt)?;
            of.insert(name, with.saturating_sub(without) / RUNS);
        }
        step.done(&format!("{} workloads counted", of.len()));
        Ok(Self {
            rustc,
            target,
            avx2: has_avx2(),
            of,
        })
    }

    fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read `{BASELINE}`"))?;
        Self::of_text(&text).with_context(|| {
            format!("`{BASELINE}` is no baseline; `cargo xtask instructions --write` makes one")
        })
    }

    fn of_text(text: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(text).ok()?;
        let counts = value["instructions"].as_object()?.iter();
        let counts = counts.map(|(name, count)| Some((name.clone(), count.as_u64()?)));
        Some(Self {
            rustc: value["rustc"].as_str()?.to_owned(),
            target: value["target"].as_str()?.to_owned(),
            avx2: value["avx2"].as_bool()?,
            of: counts.collect::<Option<_>>()?,
        })
    }

    fn to_text(&self) -> String {
        let value = json!({
            "rustc": self.rustc,
            "target": self.target,
            "avx2": self.avx2,
            "instructions": self.of,
        });
        format!("{value:#}\n")
    }

    /// Why these counts say nothing about those.
    fn incomparable(&self, other: &Self) -> Option<String> {
        let differ = |what: &str, before: &str, now: &str| {
            format!("the baseline is of {what} `{before}`, this is `{now}`")
        };
        if self.rustc != other.rustc {
            Some(differ("compiler", &self.rustc, &other.rustc))
        } else if self.target != other.target {
            Some(differ("target", &self.target, &other.target))
        } else if self.avx2 != other.avx2 {
            let text = |avx2| if avx2 { "with AVX2" } else { "without AVX2" };
            Some(differ("a processor", text(self.avx2), text(other.avx2)))
        } else {
            None
        }
    }
}

/// The version of the compiler and what it compiles for.
fn compiler() -> Result<(String, String)> {
    let text = output("rustc", &["-vV"]).context("`rustc -vV` fails")?;
    let version = text.lines().next().unwrap_or_default();
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    let host = host.context("`rustc -vV` names no host")?;
    Ok((version.to_owned(), host.to_owned()))
}

/// valgrind shows a program AVX2 where the processor has it, and nothing newer (valgrind, `guest_amd64_helpers.c`).
fn has_avx2() -> bool {
    #[cfg(target_arch = "x86_64")]
    let has = std::is_x86_feature_detected!("avx2");
    #[cfg(not(target_arch = "x86_64"))]
    let has = false;
    has
}

fn build(workspace: &Workspace, progress: &Progress, interrupt: &Interrupt) -> Result<PathBuf> {
    progress.say("cargo build --release of `micro`, and of the programs, so that both share what they depend on");
    let packages = [BINARIES.as_slice(), &["micro"]].concat();
    let binaries = Binaries::build(workspace, &packages, interrupt)?;
    Ok(binaries.path("micro-instructions"))
}

/// The instructions of a whole process.
fn collected(program: &Path, name: &str, runs: u64, interrupt: &Interrupt) -> Result<u64> {
    let mut valgrind = Command::new("valgrind");
    valgrind
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(program)
        .arg(name)
        .arg(runs.to_string())
        // Else mimalloc gives memory back by the clock.
        .env("MIMALLOC_PURGE_DELAY", "-1")
        // Else glibc copies with one instruction that counts once a byte, and the processor's model decides what is
        // copied so.
        .env(
            "GLIBC_TUNABLES",
            "glibc.cpu.x86_rep_movsb_threshold=1000000000:glibc.cpu.x86_rep_stosb_threshold=1000000000",
        );
    let mut count = None;
    command::run(valgrind, interrupt, |line| {
        if let Some((_, number)) = line.split_once(" Collected : ") {
            count = number.trim().parse().ok();
        }
    })
    .with_context(|| format!("`{name}` does not run"))?;
    count.with_context(|| format!("valgrind counts nothing for `{name}`"))
}

fn table(before: &Counts, now: &Counts, progress: &Progress) {
    progress.say(&format!(
        "{:<28} {:>12} {:>12} {:>8}",
        "instructions of one run", "baseline", "now", "change"
    ));
    for (name, count) in &now.of {
        let (baseline, change) = match before.of.get(name) {
            None => ("-".to_owned(), "new".to_owned()),
            Some(before) => (
                before.to_string(),
                format!("{:+.1} %", change_percent(*before, *count)),
            ),
        };
        progress.say(&format!(
            "{name:<28} {baseline:>12} {count:>12} {change:>8}"
        ));
    }
}

fn change_percent(before: u64, now: u64) -> f64 {
    (now as f64 / before.max(1) as f64 - 1.0) * 100.0
}

/// What is not as it was accepted, a line each.
fn faults(before: &Counts, now: &Counts) -> Vec<String> {
    let grown = now
        .of
        .iter()
        .filter_map(|(name, count)| match before.of.get(name) {
            None => Some(format!("`{name}` has no baseline")),
            Some(before) => {
                (count * 100 > before * (100 + MARGIN_PERCENT)).then(|| {
                    let change = change_percent(*before, *count);
                    format!(
                        "`{name}` takes {count} instructions, {change:.1} % more than its baseline; {MARGIN_PERCENT} % are allowed"
                    )
                })
            }
        });
    let gone = before.of.keys().filter(|name| !now.of.contains_key(*name));
    let gone = gone.map(|name| format!("`{name}` has a baseline and is no workload"));
    grown.chain(gone).collect()
}

/// The workloads whose baseline would let a later loss of the gain pass.
fn gains<'a>(before: &'a Counts, now: &Counts) -> Vec<&'a str> {
    let gained = before.of.iter().filter(|(name, before)| {
        let now = now.of.get(*name);
        now.is_some_and(|now| now * 100 < **before * (100 - MARGIN_PERCENT))
    });
    gained.map(|(name, _)| name.as_str()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(of: &[(&str, u64)]) -> Counts {
        Counts {
            rustc: "rustc 1".to_owned(),
            target: "a-b".to_owned(),
            avx2: true,
            of: of
                .iter()
                .map(|(name, count)| ((*name).to_owned(), *count))
                .collect(),
        }
    }

    #[test]
    fn what_grows_beyond_the_margin_is_named() {
        let before = counts(&[("a", 1_000), ("b", 1_000), ("c", 1_000)]);
        let now = counts(&[("a", 1_101), ("b", 1_100), ("c", 899)]);
        let faults = faults(&before, &now);
        assert_eq!(
            faults,
            ["`a` takes 1101 instructions, 10.1 % more than its baseline; 10 % are allowed"]
        );
        assert_eq!(gains(&before, &now), ["c"]);
    }

    #[test]
    fn a_workload_and_its_baseline_belong_together() {
        let faults = faults(&counts(&[("old", 1)]), &counts(&[("new", 1)]));
        assert_eq!(
            faults,
            [
                "`new` has no baseline",
                "`old` has a baseline and is no workload"
            ]
        );
    }

    #[test]
    fn counts_of_another_compiler_or_processor_are_not_judged() {
        let before = counts(&[("a", 1)]);
        assert_eq!(before.incomparable(&counts(&[("a", 9)])), None);
        let mut others = [before.clone(), before.clone(), before.clone()];
        others[0].rustc = "rustc 2".to_owned();
        others[1].target = "c-d".to_owned();
        others[2].avx2 = false;
        for other in others {
            assert!(before.incomparable(&other).is_some(), "{other:?}");
        }
    }

    #[test]
    fn a_baseline_is_read_as_it_was_written() {
        let written = counts(&[("a/b", 17), ("c/d", 4)]);
        assert_eq!(Counts::of_text(&written.to_text()), Some(written));
        assert_eq!(Counts::of_text(r#"{"instructions":{"a":1}}"#), None);
    }
}
