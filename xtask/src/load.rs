//! A load whose every event is looked for afterwards: `loadtest generate` with a ledger, `loadtest verify`.
//!
//! In the flow: `services` → **`load`** → `nemesis`, `failover`. Not here: which events, and where to (the callers').

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use serde_json::Value;

use crate::interrupt::Interrupt;
use crate::process::{signal_group, spawn};
use crate::services::Wiring;

/// `verify` gives up when nothing has arrived for so long.
const VERIFY_WAIT: &str = "60s";

/// A running `loadtest generate`. Dropped, it is killed.
#[derive(Debug)]
pub struct Load {
    child: Child,
    sent: Sent,
}

/// A load whose events all have been sent.
#[derive(Debug, Clone)]
pub struct Sent {
    /// What the report calls it; also the name of its files.
    pub name: String,
    loadtest: PathBuf,
    directory: PathBuf,
}

impl Load {
    /// Starts the load `name`, whose files go to `loads/<name>` of `directory`; `flags` say what is sent, and where to.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(
        directory: &Path,
        loadtest: &Path,
        name: &str,
        seed: u64,
        flags: &[String],
    ) -> Result<Self> {
        let directory = directory.join("loads").join(name);
        fs::create_dir_all(&directory)
            .with_context(|| format!("cannot create `{}`", directory.display()))?;
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "--"])
            .arg(loadtest)
            .args(["generate", "--json", "--seed", &seed.to_string()])
            .args(["--run", &name.replace('-', ""), "--ledger"])
            .arg(directory.join("ledger"))
            .args(flags)
            .stdin(Stdio::null())
            .stdout(File::create(directory.join("generate.json"))?)
            .stderr(File::create(directory.join("generate.log"))?);
        let child = spawn(command).with_context(|| format!("cannot start the load `{name}`"))?;
        let sent = Sent {
            name: name.to_owned(),
            loadtest: loadtest.to_owned(),
            directory,
        };
        Ok(Self { child, sent })
    }

    /// Waits until everything is sent and answered.
    ///
    /// # Errors
    /// When it fails, takes longer than `within`, or an end was asked for.
    pub fn finish(mut self, interrupt: &Interrupt, within: Duration) -> Result<Sent> {
        let what = format!("the load `{}` to end", self.sent.name);
        let status = interrupt.wait_for(&what, within, || match self.child.try_wait() {
            Ok(Some(status)) => Ok(status),
            Ok(None) => Err("it is still sending".to_owned()),
            Err(error) => Err(error.to_string()),
        })?;
        ensure!(
            status.success(),
            "the load `{}` ended with {status}{}",
            self.sent.name,
            crate::process::tail(&self.sent.directory.join("generate.log"))
        );
        Ok(self.sent.clone())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            signal_group(self.child.id(), Signal::KILL);
            self.child.wait().ok();
        }
    }
}

impl Sent {
    /// Compares the ledger with documents and dead letters; the indices are asked for at the nodes of `elasticsearch`,
    /// with commas between them. `offset_resets` is how often what is refused was judged anew.
    ///
    /// # Errors
    /// When it cannot be compared. That something is missing is no error: the outcome tells.
    pub fn verify(
        &self,
        wiring: &Wiring,
        elasticsearch: &str,
        offset_resets: usize,
    ) -> Result<Value> {
        self.verify_with(wiring, elasticsearch, offset_resets, &[])
    }

    /// The same, and what further `flags` of `loadtest verify` ask for.
    ///
    /// # Errors
    /// As [`Sent::verify`].
    pub fn verify_with(
        &self,
        wiring: &Wiring,
        elasticsearch: &str,
        offset_resets: usize,
        flags: &[&str],
    ) -> Result<Value> {
        let output = Command::new(&self.loadtest)
            .args(["verify", "--json", "--wait", VERIFY_WAIT, "--ledger"])
            .arg(self.directory.join("ledger"))
            .args(["--elasticsearch-url", elasticsearch])
            .args(["--index", &wiring.index()])
            .args(["--dead-letter-brokers", &wiring.kafka])
            .args(["--dead-letter-topic", &wiring.dead_letter_topic])
            .args(["--offset-resets", &offset_resets.to_string()])
            .args(flags)
            .stdin(Stdio::null())
            .output()
            .context("cannot start loadtest verify")?;
        let saved = self.directory.join("verify.json");
        fs::write(&saved, &output.stdout)
            .with_context(|| format!("cannot write `{}`", saved.display()))?;
        serde_json::from_slice(&output.stdout).with_context(|| {
            let stderr = String::from_utf8_lossy(&output.stderr);
            format!("loadtest verify of `{}`: {stderr}", self.name)
        })
    }
}

/// Whether an outcome of `verify` has every event where it must be, exactly once. One without counts has not.
#[must_use]
pub fn is_whole(verified: &Value) -> bool {
    ["missing", "duplicated", "unexpected"]
        .iter()
        .all(|name| verified[name]["count"] == 0)
}

/// The flags for so many events a second over such a time.
#[must_use]
pub fn steady(rate: u32, length: Duration) -> [String; 4] {
    [
        "--rate".to_owned(),
        rate.to_string(),
        "--duration".to_owned(),
        format!("{}s", length.as_secs()),
    ]
}
