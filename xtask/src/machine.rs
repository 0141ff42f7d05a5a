//! Which machine and which commit something was measured on.
//!
//! In the flow: **`machine`** → `page_speed`, `bench`: what one must know to compare two reports.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::command::output;
use crate::workspace::Workspace;

/// Where it was measured.
#[derive(Debug, Clone)]
pub struct Machine {
    /// How many processors it has.
    pub cores: usize,
    /// Its memory.
    pub memory_mib: u64,
    /// What its processors call themselves.
    pub processor: String,
    /// How much of it was in use before anything was measured, in percent.
    pub busy_percent: f64,
}

/// More than this is the work of others, and what is measured beside it is too slow.
pub const BUSY_MAX_PERCENT: f64 = 15.0;

impl Machine {
    /// This one, looked at for so long.
    ///
    /// # Errors
    /// When Linux does not tell.
    pub fn read(look: Duration) -> Result<Self> {
        let before = Ticks::read()?;
        std::thread::sleep(look);
        let busy_percent = Ticks::read()?.busy_percent_since(before);
        let value = |file: &str, name: &str| -> Option<String> {
            let text = fs::read_to_string(file).ok()?;
            let line = text.lines().find(|line| line.starts_with(name))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        let memory =
            value("/proc/meminfo", "MemTotal").context("`/proc/meminfo` has no MemTotal")?;
        let kib: u64 = memory.trim_end_matches(" kB").parse()?;
        Ok(Self {
            cores: std::thread::available_parallelism()?.get(),
            memory_mib: kib / 1024,
            processor: value("/proc/cpuinfo", "model name").unwrap_or_default(),
            busy_percent,
        })
    }

    /// For a report.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            "cores": self.cores,
            "memory_mib": self.memory_mib,
            "processor": self.processor,
            "in_use_by_others_percent": self.busy_percent,
        })
    }
}

/// What all processors together have done since the machine was started.
#[derive(Debug, Clone, Copy)]
struct Ticks {
    idle: u64,
    all: u64,
}

impl Ticks {
    fn read() -> Result<Self> {
        let text = fs::read_to_string("/proc/stat").context("cannot read `/proc/stat`")?;
        Self::parse(&text).context("`/proc/stat` has no line for all processors")
    }

    fn parse(stat: &str) -> Option<Self> {
        let line = stat.lines().next()?.strip_prefix("cpu ")?;
        // user, nice, system, idle, waiting for disks, interrupts, soft interrupts, stolen; guests are in the first two.
        let ticks: Vec<u64> = line
            .split_whitespace()
            .take(8)
            .map_while(|one| one.parse().ok())
            .collect();
        Some(Self {
            idle: ticks.get(3)? + ticks.get(4)?,
            all: ticks.iter().sum(),
        })
    }

    fn busy_percent_since(self, before: Self) -> f64 {
        let all = self.all.saturating_sub(before.all).max(1);
        let busy = all.saturating_sub(self.idle.saturating_sub(before.idle));
        #[allow(clippy::cast_precision_loss)]
        let percent = busy as f64 * 100.0 / all as f64;
        percent.round()
    }
}

/// The commit, with a word if what is measured is not just that.
///
/// # Errors
/// When git does not tell.
pub fn commit(workspace: &Workspace) -> Result<String> {
    let root = workspace.root.to_string_lossy();
    let git = |arguments: &[&str]| {
        let arguments = [&["-C", &root], arguments].concat();
        output("git", &arguments).with_context(|| format!("`git {}` failed", arguments.join(" ")))
    };
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
    let changed = git(&["status", "--porcelain", "--untracked-files=no"])?;
    let changed = changed
        .lines()
        .any(|line| !line.contains("loadtest/results/"));
    let changed = if changed { ", changed" } else { "" };
    Ok(format!("{}{changed}", commit.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_work_of_others_is_what_is_not_idle() {
        let [before, after] = [
            "cpu  100 0 50 800 50 0 0 0 9 9\ncpu0 1",
            "cpu  130 0 60 850 60 0 0 0 9 9\n",
        ]
        .map(|stat| Ticks::parse(stat).unwrap());
        assert!((after.busy_percent_since(before) - 40.0).abs() < 0.1);
        assert!(Ticks::parse("intr 1 2").is_none());
    }
}
