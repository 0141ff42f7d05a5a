//! Sends events while faults come, and has each of them looked for afterwards: `loadtest generate`, `loadtest verify`.
//!
//! In the flow: **`load`** → `nemesis`. One load through both gateways, one past them with a poison event in a
//! thousand, and bursts of nothing but poison; each with a ledger of its own.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use serde_json::Value;

use super::cluster::Cluster;
use crate::interrupt::Interrupt;
use crate::process::{signal_group, spawn};

/// A request that was not answered goes to the other gateway after this.
const REPLY_TIMEOUT: &str = "8s";
/// Out of a million events past the gateways.
const POISON_PER_MILLION: &str = "1000";
/// Poison events of a burst, and how many of them a second.
const BURST: (u32, u32) = (1_500, 500);
/// `verify` gives up when nothing has arrived for so long.
const VERIFY_WAIT: &str = "60s";

/// A running `loadtest generate`. Dropped, it is killed.
#[derive(Debug)]
pub struct Load {
    /// What the report calls it; also the name of its files.
    pub name: String,
    child: Child,
    directory: PathBuf,
}

/// A load whose events all have been sent.
#[derive(Debug, Clone)]
pub struct Sent {
    /// What the report calls it.
    pub name: String,
    /// The generator's summary.
    pub summary: Value,
    ledger: PathBuf,
}

impl Load {
    /// Events through both gateways, over two days, so over two indices.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn through_the_gateways(
        cluster: &Cluster,
        seed: u64,
        rate: u32,
        length: Duration,
    ) -> Result<Self> {
        let mut flags: Vec<String> = Vec::new();
        for gateway in &cluster.gateways {
            flags.extend(["--target".to_owned(), gateway.url.clone()]);
        }
        let more = ["--idempotency-keys", "--days", "2", "--gzip", "mixed"];
        flags.extend(more.map(str::to_owned));
        flags.extend(["--timeout", REPLY_TIMEOUT, "--connections", "8"].map(str::to_owned));
        flags.extend(steady(rate, length));
        Self::start(cluster, "gateways", seed, &flags)
    }

    /// Events straight into Kafka, some of them poison.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn past_the_gateways(
        cluster: &Cluster,
        seed: u64,
        rate: u32,
        length: Duration,
    ) -> Result<Self> {
        let mut flags = to_kafka(cluster, POISON_PER_MILLION);
        flags.extend(steady(rate, length));
        Self::start(cluster, "kafka", seed, &flags)
    }

    /// Nothing but poison; `number` tells bursts apart.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn burst(cluster: &Cluster, seed: u64, number: usize) -> Result<Self> {
        let mut flags = to_kafka(cluster, "1000000");
        let (events, rate) = BURST;
        flags.extend(["--events".to_owned(), events.to_string()]);
        flags.extend(["--rate".to_owned(), rate.to_string()]);
        Self::start(cluster, &format!("burst-{number}"), seed, &flags)
    }

    fn start(cluster: &Cluster, name: &str, seed: u64, flags: &[String]) -> Result<Self> {
        let directory = cluster.directory.join("loads").join(name);
        fs::create_dir_all(&directory)
            .with_context(|| format!("cannot create `{}`", directory.display()))?;
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "--"])
            .arg(&cluster.loadtest)
            .args(["generate", "--json", "--seed", &seed.to_string()])
            .args(["--run", &name.replace('-', ""), "--ledger"])
            .arg(directory.join("ledger"))
            .args(flags)
            .stdin(Stdio::null())
            .stdout(File::create(directory.join("generate.json"))?)
            .stderr(File::create(directory.join("generate.log"))?);
        let child = spawn(command).with_context(|| format!("cannot start the load `{name}`"))?;
        Ok(Self {
            name: name.to_owned(),
            child,
            directory,
        })
    }

    /// Waits until everything is sent and answered.
    ///
    /// # Errors
    /// When it fails, takes longer than `within`, or an end was asked for.
    pub fn finish(mut self, interrupt: &Interrupt, within: Duration) -> Result<Sent> {
        let what = format!("the load `{}` to end", self.name);
        let status = interrupt.wait_for(&what, within, || match self.child.try_wait() {
            Ok(Some(status)) => Ok(status),
            Ok(None) => Err("it is still sending".to_owned()),
            Err(error) => Err(error.to_string()),
        })?;
        let log = self.directory.join("generate.log");
        ensure!(
            status.success(),
            "the load `{}` ended with {status}{}",
            self.name,
            crate::process::tail(&log)
        );
        Ok(Sent {
            name: self.name.clone(),
            summary: read_json(&self.directory.join("generate.json"))?,
            ledger: self.directory.join("ledger"),
        })
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
    /// Compares the ledger with documents and dead letters. `offset_resets` is how often what is refused was judged anew.
    ///
    /// # Errors
    /// When it cannot be compared. That something is missing is no error: the outcome tells.
    pub fn verify(&self, cluster: &Cluster, offset_resets: usize) -> Result<Value> {
        let wiring = &cluster.wiring;
        let nodes: Vec<&str> = cluster.nodes.iter().map(|node| node.url.as_str()).collect();
        let output = Command::new(&cluster.loadtest)
            .args(["verify", "--json", "--wait", VERIFY_WAIT, "--ledger"])
            .arg(&self.ledger)
            .args(["--elasticsearch-url", &nodes.join(",")])
            .args(["--index", &wiring.index()])
            .args(["--dead-letter-brokers", &wiring.kafka])
            .args(["--dead-letter-topic", &wiring.dead_letter_topic])
            .args(["--offset-resets", &offset_resets.to_string()])
            .stdin(Stdio::null())
            .output()
            .context("cannot start loadtest verify")?;
        let saved = cluster
            .directory
            .join("loads")
            .join(&self.name)
            .join("verify.json");
        fs::write(&saved, &output.stdout)
            .with_context(|| format!("cannot write `{}`", saved.display()))?;
        serde_json::from_slice(&output.stdout).with_context(|| {
            let stderr = String::from_utf8_lossy(&output.stderr);
            format!("loadtest verify of `{}`: {stderr}", self.name)
        })
    }
}

fn steady(rate: u32, length: Duration) -> [String; 4] {
    [
        "--rate".to_owned(),
        rate.to_string(),
        "--duration".to_owned(),
        format!("{}s", length.as_secs()),
    ]
}

fn to_kafka(cluster: &Cluster, poison_per_million: &str) -> Vec<String> {
    let wiring = &cluster.wiring;
    ["--kafka", &wiring.kafka, "--topic", &wiring.topic]
        .into_iter()
        .chain(["--poison-per-million", poison_per_million])
        .map(str::to_owned)
        .collect()
}

fn read_json(path: &Path) -> Result<Value> {
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read `{}`", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("`{}` is no JSON", path.display()))
}
