//! Looks at all processes once a second: what they count, how much memory they hold, whether they still run.
//!
//! In the flow: `cluster` → **`watch`** → `counts` → `timeline`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::cluster::{Cluster, TOPOLOGY};
use super::counts::{Counts, gauge};
use crate::http;

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A stalled process must not keep the others from being looked at.
const LOOK_TIMEOUT: Duration = Duration::from_millis(700);
/// The lag of a sink that has not yet heard how far the log has grown is no proof.
const CALM_LOOKS: u32 = 4;
/// Partitions of the topic, as the brokers create it.
const PARTITIONS: u64 = 6;

/// What was seen so far.
#[derive(Debug, Default)]
pub struct Watch {
    counts: Mutex<Counts>,
    over: AtomicBool,
}

impl Watch {
    /// Looks until [`Watch::end`].
    pub fn run(&self, cluster: &Cluster) {
        while !self.over.load(Ordering::Relaxed) && !cluster.interrupt.requested() {
            self.look(cluster);
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Ends [`Watch::run`] after its present look.
    pub fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    /// What was seen.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.lock().clone()
    }

    /// One look at everything.
    pub fn look(&self, cluster: &Cluster) {
        for part in cluster.parts() {
            let peak = part.try_hold().and_then(|held| held.memory_peak_bytes());
            if let Some(peak) = peak {
                self.lock().memory(&part.name, peak);
            }
        }
        for sink in &cluster.sinks {
            let url = format!("{}/metrics", sink.url);
            if let Ok(reply) = http::get(&url, LOOK_TIMEOUT) {
                self.lock().metrics(&sink.name, &reply.text());
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits until all services are ready, and gives how long that took.
///
/// # Errors
/// When it takes longer than `within`.
pub fn until_ready(cluster: &Cluster, within: Duration) -> Result<Duration> {
    let began = Instant::now();
    let what = "all services to be ready";
    cluster
        .interrupt
        .wait_for(what, within, || cluster.unready().map_or(Ok(()), Err))?;
    Ok(began.elapsed())
}

/// Waits until nothing in the topic is left to be committed, and gives how long that took.
///
/// # Errors
/// When it takes longer than `within`.
pub fn until_drained(cluster: &Cluster, within: Duration) -> Result<Duration> {
    let began = Instant::now();
    let mut drained = None;
    let mut calm_looks = 0;
    while calm_looks < CALM_LOOKS {
        cluster.interrupt.check()?;
        match behind(cluster) {
            Ok((PARTITIONS, 0)) => {
                calm_looks += 1;
                drained.get_or_insert_with(|| began.elapsed());
            }
            told => {
                calm_looks = 0;
                drained = None;
                if began.elapsed() >= within {
                    let told = told.map(|(owned, lag)| {
                        format!("{owned} of {PARTITIONS} partitions owned, {lag} records behind")
                    });
                    bail!(
                        "waited {} s for the sinks to catch up: {}",
                        within.as_secs(),
                        told.unwrap_or_else(|error| format!("{error:#}"))
                    );
                }
            }
        }
        std::thread::sleep(LOOK_EVERY);
    }
    Ok(drained.unwrap_or_default())
}

/// How many partitions the sinks own, and how many records they have not committed.
fn behind(cluster: &Cluster) -> Result<(u64, u64)> {
    let (mut owned, mut lag) = (0, 0);
    for sink in cluster.sinks.iter().take(TOPOLOGY.sinks) {
        let url = format!("{}/metrics", sink.url);
        let text = http::get(&url, Duration::from_secs(3))?.text();
        owned += gauge(&text, "es_sink_assigned_partitions");
        lag += gauge(&text, "es_sink_consumer_lag_records");
    }
    Ok((owned, lag))
}
