//! A load of many events and the reckoning afterwards: `loadtest generate` and `loadtest verify` as processes.
//!
//! In the flow: `stage` → **`load`** → `scenarios`.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::stage::{Part, Stage};

/// No load of this suite takes longer.
const LOAD_MAX: Duration = Duration::from_secs(600);

/// A running `loadtest generate`. Dropped, it is killed.
#[derive(Debug)]
pub(crate) struct Load {
    child: Child,
    ledger: PathBuf,
    output: PathBuf,
}

/// What became of a load.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// What was sent and what the other side said of it.
    pub(crate) ledger: PathBuf,
    /// The generator's summary.
    pub(crate) summary: Value,
}

impl Load {
    /// Starts a load through a gateway; every request can be repeated safely.
    pub(crate) fn through(stage: &Stage<'_>, gateway: &Part, flags: &[&str]) -> Result<Self> {
        let url = gateway.url();
        Self::start(
            stage,
            "load",
            &["--target", &url, "--idempotency-keys"],
            flags,
        )
    }

    /// The same under a name of its own, for one of several.
    pub(crate) fn named(
        stage: &Stage<'_>,
        name: &str,
        gateway: &Part,
        flags: &[&str],
    ) -> Result<Self> {
        let url = gateway.url();
        let to = ["--target", &url, "--idempotency-keys", "--run", name];
        Self::start(stage, name, &to, flags)
    }

    /// Starts a load past the gateway, as another producer sends it.
    pub(crate) fn past_the_gateway(stage: &Stage<'_>, flags: &[&str]) -> Result<Self> {
        let (brokers, topic) = (&stage.wiring.kafka, &stage.wiring.topic);
        Self::start(
            stage,
            "load",
            &["--kafka", brokers, "--topic", topic],
            flags,
        )
    }

    fn start(stage: &Stage<'_>, name: &str, to: &[&str], flags: &[&str]) -> Result<Self> {
        let file = |kind: &str| stage.directory.join(format!("{name}.{kind}"));
        let (ledger, output) = (file("ledger"), file("json"));
        let child = Command::new(stage.binary("loadtest"))
            .args(["generate", "--json", "--ledger"])
            .arg(&ledger)
            .args(to)
            .args(flags)
            .stdin(Stdio::null())
            .stdout(File::create(&output)?)
            .stderr(File::create(file("log"))?)
            .spawn()
            .context("starting loadtest generate")?;
        Ok(Self {
            child,
            ledger,
            output,
        })
    }

    /// Waits until everything is sent and answered.
    pub(crate) fn finish(mut self, stage: &Stage<'_>) -> Result<Loaded> {
        let status = stage.wait_for("the load to end", LOAD_MAX, || {
            match self.child.try_wait() {
                Ok(Some(status)) => Ok(status),
                Ok(None) => Err("it is still sending".to_owned()),
                Err(error) => Err(error.to_string()),
            }
        })?;
        ensure!(status.success(), "loadtest generate ended with {status}");
        let summary = std::fs::read_to_string(&self.output)?;
        let summary = serde_json::from_str(&summary).context("the summary of loadtest generate")?;
        Ok(Loaded {
            ledger: std::mem::take(&mut self.ledger),
            summary,
        })
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // It has ended already, unless its scenario failed.
        if let Ok(None) = self.child.try_wait() {
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}

impl Loaded {
    /// Compares the ledger with documents and dead letters: nothing may be missing, duplicated or unexpected.
    pub(crate) fn verify(&self, stage: &Stage<'_>) -> Result<Value> {
        self.verify_with(stage, &[])
    }

    /// The same, and what these flags of `loadtest verify` ask for.
    pub(crate) fn verify_with(&self, stage: &Stage<'_>, flags: &[&str]) -> Result<Value> {
        let wiring = &stage.wiring;
        let started = Instant::now();
        let output = Command::new(stage.binary("loadtest"))
            .args(["verify", "--json", "--wait", "60s", "--ledger"])
            .arg(&self.ledger)
            .args(["--elasticsearch-url", &wiring.elasticsearch])
            .args(["--index", &wiring.index()])
            .args(["--dead-letter-brokers", &wiring.kafka])
            .args(["--dead-letter-topic", &wiring.dead_letter_topic])
            .args(flags)
            .stdin(Stdio::null())
            .output()
            .context("starting loadtest verify")?;
        let text = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() {
            bail!("{text}{}", String::from_utf8_lossy(&output.stderr));
        }
        let outcome: Value =
            serde_json::from_str(&text).context("the outcome of loadtest verify")?;
        eprintln!(
            "    verified in {:.1} s: {} acknowledged, {} indexed, {} dead-lettered, {} missing, {} duplicated",
            started.elapsed().as_secs_f64(),
            outcome["acknowledged"],
            outcome["indexed"],
            outcome["dead_lettered"],
            outcome["missing"]["count"],
            outcome["duplicated"]["count"],
        );
        Ok(outcome)
    }
}
