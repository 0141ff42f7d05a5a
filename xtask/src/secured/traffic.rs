//! A client that sends for as long as a secured pipeline is changed under it, and knows which events must be there at the
//! end.
//!
//! In the flow: `secured` starts it → **`traffic`** → counts. It sends a batch until it is acknowledged, each time with the
//! same key, then the next; a batch's number is its events' `resourceId`, so that one search counts all of them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::http::Client;

/// Events of a batch.
pub(super) const BATCH: u64 = 100;
/// Between two batches, and before one that failed is repeated.
const PAUSE: Duration = Duration::from_millis(50);
/// Longer than the gateway waits for Kafka.
const TIMEOUT: Duration = Duration::from_secs(15);
/// Batches that one search can count.
const BATCHES_MAX: usize = 60_000;

/// A client at work.
#[derive(Debug)]
pub(super) struct Traffic {
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    over: AtomicBool,
    seen: Mutex<Seen>,
}

/// What it saw.
#[derive(Debug)]
struct Seen {
    acknowledged: usize,
    last: Instant,
    longest_gap: Duration,
    last_refusal: String,
}

impl Traffic {
    /// Sends to the gateway at `url` as `client`.
    pub(super) fn start(url: &str, client: Client) -> Self {
        let shared = Arc::new(Shared {
            over: AtomicBool::new(false),
            seen: Mutex::new(Seen {
                acknowledged: 0,
                last: Instant::now(),
                longest_gap: Duration::ZERO,
                last_refusal: String::new(),
            }),
        });
        let (ours, url) = (Arc::clone(&shared), format!("{url}/logs"));
        Self {
            shared,
            thread: std::thread::spawn(move || ours.send(&url, &client)),
        }
    }

    /// Batches acknowledged so far.
    pub(super) fn acknowledged(&self) -> usize {
        self.shared.seen().acknowledged
    }

    /// The longest time without an acknowledgement since this was last asked.
    pub(super) fn take_longest_gap(&self) -> Duration {
        let mut seen = self.shared.seen();
        let gap = seen.longest_gap.max(seen.last.elapsed());
        seen.longest_gap = Duration::ZERO;
        gap
    }

    /// What the last request that was not acknowledged was told.
    pub(super) fn last_refusal(&self) -> String {
        self.shared.seen().last_refusal.clone()
    }

    /// Ends, and gives the number of batches that were acknowledged: no other was sent.
    pub(super) fn finish(self) -> usize {
        self.shared.over.store(true, Ordering::Relaxed);
        self.thread.join().ok();
        self.shared.seen().acknowledged
    }
}

impl Shared {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, url: &str, client: &Client) {
        let mut n = 0;
        let mut is_acknowledged = true;
        // One that was sent is sent until it is acknowledged, so that each is known to be there.
        while !(is_acknowledged && self.over.load(Ordering::Relaxed)) && n < BATCHES_MAX {
            let name = name(n);
            let headers = [
                ("Content-Type", "application/x-ndjson"),
                ("Idempotency-Key", name.as_str()),
            ];
            let events: String = (0..BATCH)
                .map(|event| {
                    format!("{{\"resourceId\":\"{name}\",\"message\":\"event {event}\"}}\n")
                })
                .collect();
            let reply = client.post(url, &headers, events.as_bytes(), TIMEOUT);
            is_acknowledged = reply.as_ref().is_ok_and(|reply| reply.status == 200);
            let mut seen = self.seen();
            if is_acknowledged {
                seen.longest_gap = seen.longest_gap.max(seen.last.elapsed());
                seen.last = Instant::now();
                seen.acknowledged += 1;
                n += 1;
            } else {
                seen.last_refusal = match reply {
                    Ok(reply) => format!("{} {}", reply.status, reply.text()),
                    Err(error) => format!("{error:#}"),
                };
            }
            drop(seen);
            std::thread::sleep(PAUSE);
        }
    }
}

fn name(batch: usize) -> String {
    format!("secured-{batch}")
}

/// What is wrong with the documents of these batches: nothing, if each has all of its events once.
///
/// # Errors
/// When Elasticsearch does not answer.
pub(super) fn faults(
    client: &Client,
    url: &str,
    index: &str,
    batches: usize,
) -> Result<Vec<String>> {
    let refresh = client.post(&format!("{url}/{index}/_refresh"), &[], b"", TIMEOUT)?;
    ensure!(refresh.status == 200, "refresh: {}", refresh.text());
    let body = serde_json::json!({
        "size": 0,
        "query": { "prefix": { "resourceId": "secured-" } },
        "aggs": { "batches": { "terms": { "field": "resourceId", "size": BATCHES_MAX } } },
    });
    let headers = [("Content-Type", "application/json")];
    let search = format!("{url}/{index}/_search");
    let reply = client.post(&search, &headers, body.to_string().as_bytes(), TIMEOUT)?;
    ensure!(reply.status == 200, "search: {}", reply.text());
    let counts = counts(&reply.json()?)?;
    Ok(judge(&counts, batches))
}

fn counts(reply: &Value) -> Result<BTreeMap<String, u64>> {
    let buckets = reply["aggregations"]["batches"]["buckets"].as_array();
    buckets
        .context("a search without buckets")?
        .iter()
        .map(|bucket| {
            let name = bucket["key"].as_str().context("a bucket without a key")?;
            let count = bucket["doc_count"]
                .as_u64()
                .context("a bucket without a count")?;
            Ok((name.to_owned(), count))
        })
        .collect()
}

fn judge(counts: &BTreeMap<String, u64>, batches: usize) -> Vec<String> {
    let expected: BTreeMap<String, u64> = (0..batches).map(|n| (name(n), BATCH)).collect();
    let wrong = expected.iter().filter_map(|(name, count)| {
        let found = counts.get(name).copied().unwrap_or(0);
        (found != *count).then(|| format!("`{name}` has {found} of {count} events"))
    });
    let strange = counts
        .keys()
        .filter(|name| !expected.contains_key(*name))
        .map(|name| format!("`{name}` was never acknowledged"));
    wrong.chain(strange).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_that_lacks_events_has_too_many_or_was_never_sent_is_a_fault() {
        let found = |counts: &[(usize, u64)]| {
            let counts = counts.iter().map(|(n, count)| (name(*n), *count));
            judge(&counts.collect(), 3)
        };
        assert!(found(&[(0, BATCH), (1, BATCH), (2, BATCH)]).is_empty());
        assert_eq!(found(&[(0, BATCH), (2, BATCH)]).len(), 1);
        assert_eq!(
            found(&[(0, BATCH + 1), (1, BATCH), (2, BATCH - 1)]).len(),
            2
        );
        assert_eq!(
            found(&[(0, BATCH), (1, BATCH), (2, BATCH), (3, 1)]).len(),
            1
        );
    }
}
