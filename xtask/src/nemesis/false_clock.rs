//! Makes one process believe that it is another day: libfaketime, and what it leaves out.
//!
//! In the flow: **`false_clock`** → `inflict`. Not here: which process, and for how long.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::command;
use crate::interrupt::Interrupt;
use crate::prerequisites;

const SOURCE: &str = include_str!("false_clock.c");
const SECONDS_PER_DAY: i64 = 86_400;

/// The two libraries that are loaded before all others.
#[derive(Debug, Clone)]
pub struct FalseClock {
    faketime: PathBuf,
    waits: PathBuf,
}

impl FalseClock {
    /// Compiles the second library into `directory`.
    ///
    /// # Errors
    /// When libfaketime is not installed, or there is no C compiler.
    pub fn build(directory: &Path, interrupt: &Interrupt) -> Result<Self> {
        let faketime = prerequisites::faketime()
            .context("libfaketime is not installed; on Debian and Ubuntu `apt-get install libfaketime` brings it")?;
        fs::create_dir_all(directory)
            .with_context(|| format!("cannot create `{}`", directory.display()))?;
        let source = directory.join("false_clock.c");
        fs::write(&source, SOURCE)
            .with_context(|| format!("cannot write `{}`", source.display()))?;
        let waits = directory.join("false_clock.so");
        let mut cc = Command::new("cc");
        cc.args(["-shared", "-fPIC", "-O1", "-o"])
            .args([&waits, &source])
            .arg("-ldl");
        command::run(cc, interrupt, |_| {})?;
        Ok(Self { faketime, waits })
    }

    /// The environment of a process whose clock is off by so many days.
    #[must_use]
    pub fn environment(&self, days: i8) -> Vec<(OsString, OsString)> {
        let mut libraries = self.waits.clone().into_os_string();
        libraries.push(":");
        libraries.push(&self.faketime);
        let seconds = i64::from(days) * SECONDS_PER_DAY;
        vec![
            ("LD_PRELOAD".into(), libraries),
            ("FAKETIME".into(), format!("{days:+}d").into()),
            ("FALSE_CLOCK_SECONDS".into(), seconds.to_string().into()),
            // Timeouts are not of the clock on the wall.
            ("FAKETIME_DONT_FAKE_MONOTONIC".into(), "1".into()),
        ]
    }
}
