//! What is sent while faults come: one load through both gateways, one past them with a poison event in a thousand, and
//! bursts of nothing but poison; each with a ledger of its own.
//!
//! In the flow: `load` → **`nemesis::load`** → `nemesis`.

use std::time::Duration;

use anyhow::Result;

use super::cluster::Cluster;
use crate::load::{Load, steady};

/// A request that was not answered goes to the other gateway after this.
const REPLY_TIMEOUT: &str = "8s";
/// Out of a million events past the gateways.
const POISON_PER_MILLION: &str = "1000";
/// Poison events of a burst, and how many of them a second.
const BURST: (u32, u32) = (1_500, 500);

/// Events through both gateways, over two days, so over two indices.
///
/// # Errors
/// When it cannot be started.
pub fn through_the_gateways(
    cluster: &Cluster,
    seed: u64,
    rate: u32,
    length: Duration,
) -> Result<Load> {
    let mut flags: Vec<String> = Vec::new();
    for gateway in &cluster.gateways {
        flags.extend(["--target".to_owned(), gateway.url.clone()]);
    }
    let more = ["--idempotency-keys", "--days", "2", "--gzip", "mixed"];
    flags.extend(more.map(str::to_owned));
    flags.extend(["--timeout", REPLY_TIMEOUT, "--connections", "8"].map(str::to_owned));
    flags.extend(steady(rate, length));
    start(cluster, "gateways", seed, &flags)
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
) -> Result<Load> {
    let mut flags = to_kafka(cluster, POISON_PER_MILLION);
    flags.extend(steady(rate, length));
    start(cluster, "kafka", seed, &flags)
}

/// Nothing but poison; `number` tells bursts apart.
///
/// # Errors
/// When it cannot be started.
pub fn burst(cluster: &Cluster, seed: u64, number: usize) -> Result<Load> {
    let mut flags = to_kafka(cluster, "1000000");
    let (events, rate) = BURST;
    flags.extend(["--events".to_owned(), events.to_string()]);
    flags.extend(["--rate".to_owned(), rate.to_string()]);
    start(cluster, &format!("burst-{number}"), seed, &flags)
}

fn start(cluster: &Cluster, name: &str, seed: u64, flags: &[String]) -> Result<Load> {
    Load::start(&cluster.directory, &cluster.loadtest, name, seed, flags)
}

fn to_kafka(cluster: &Cluster, poison_per_million: &str) -> Vec<String> {
    let wiring = &cluster.wiring;
    ["--kafka", &wiring.kafka, "--topic", &wiring.topic]
        .into_iter()
        .chain(["--poison-per-million", poison_per_million])
        .map(str::to_owned)
        .collect()
}
