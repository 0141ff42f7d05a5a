//! Two clients of the pipeline, each with one request after the other: one sends events, one searches. What they see of a
//! fault is what anybody sees.
//!
//! In the flow: `failover` and `rescale` start them → **`clients`** → their reports.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::http;

/// Between two requests, and before one that failed is repeated.
const PAUSE: Duration = Duration::from_millis(20);
/// Longer than the gateway waits for Kafka, and the query API for Elasticsearch.
const TIMEOUT: Duration = Duration::from_secs(15);
/// What the events of the first client have as `resourceId`.
pub(crate) const RESOURCE_ID: &str = "failover-client";

/// Both clients at work.
#[derive(Debug)]
pub(crate) struct Clients {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    began: Instant,
    over: AtomicBool,
    seen: Mutex<Seen>,
    failures: AtomicU64,
}

/// What they saw, each moment counted from their start.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    /// When each event was acknowledged, in the order in which they were sent.
    pub(crate) acknowledged: Vec<Duration>,
    /// When each search was answered, and for how long an event had then been acknowledged and was not found.
    pub(crate) searched: Vec<(Duration, Duration)>,
}

/// The worst that was seen in some time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Worst {
    /// For how long no event was acknowledged.
    pub(crate) ingest: Duration,
    /// For how long no search was answered.
    pub(crate) search: Duration,
    /// For how long an event was acknowledged and not found.
    pub(crate) unfound: Duration,
}

impl Seen {
    /// Of what happened, in whole or in part, between `from` and `until`.
    pub(crate) fn worst(&self, from: Duration, until: Duration) -> Worst {
        let searched = self.searched.iter();
        let unfound = searched
            .clone()
            .filter(|(at, _)| (from..=until).contains(at));
        Worst {
            ingest: longest_gap(self.acknowledged.iter().copied(), from, until),
            search: longest_gap(searched.map(|(at, _)| *at), from, until),
            unfound: unfound.map(|(_, time)| *time).max().unwrap_or_default(),
        }
    }
}

/// The longest time between two answers, of which a part lies between `from` and `until`.
fn longest_gap(
    answers: impl Iterator<Item = Duration>,
    from: Duration,
    until: Duration,
) -> Duration {
    let mut before = Duration::ZERO;
    let mut longest = Duration::ZERO;
    for answer in answers {
        if answer > from && before < until {
            longest = longest.max(answer.saturating_sub(before));
        }
        before = answer;
    }
    if before < until {
        longest = longest.max(until.saturating_sub(before));
    }
    longest
}

impl Clients {
    /// Both, in threads of their own. `ingest` and `search` are addresses without a path.
    pub(crate) fn start(ingest: String, search: String) -> Self {
        let shared = Arc::new(Shared {
            began: Instant::now(),
            over: AtomicBool::new(false),
            seen: Mutex::default(),
            failures: AtomicU64::new(0),
        });
        let (sends, searches) = (Arc::clone(&shared), Arc::clone(&shared));
        let threads = vec![
            std::thread::spawn(move || sends.send(&ingest)),
            std::thread::spawn(move || searches.search(&search)),
        ];
        Self { shared, threads }
    }

    /// The time since their start.
    pub(crate) fn now(&self) -> Duration {
        self.shared.began.elapsed()
    }

    /// Ends both, and gives what they saw, and how many requests were not answered well.
    pub(crate) fn finish(self) -> (Seen, u64) {
        self.shared.over.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().ok();
        }
        let failures = self.shared.failures.load(Ordering::Relaxed);
        (self.shared.seen().clone(), failures)
    }
}

impl Shared {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn goes_on(&self) -> bool {
        std::thread::sleep(PAUSE);
        !self.over.load(Ordering::Relaxed)
    }

    /// Sends an event until it is acknowledged, each time with its key, then the next.
    fn send(&self, ingest: &str) {
        let url = format!("{ingest}/logs");
        let mut n = 0_u64;
        while self.goes_on() {
            let key = format!("{RESOURCE_ID}-{n}");
            let headers = [
                ("Content-Type", "application/json"),
                ("Idempotency-Key", key.as_str()),
            ];
            let body = format!("{{\"resourceId\":\"{RESOURCE_ID}\",\"message\":\"{n}\"}}");
            match http::post(&url, &headers, body.as_bytes(), TIMEOUT) {
                Ok(reply) if reply.status == 200 => {
                    self.seen().acknowledged.push(self.began.elapsed());
                    n += 1;
                }
                _ => {
                    self.failures.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }

    /// Searches for the newest event of [`Shared::send`].
    fn search(&self, search: &str) {
        let url = format!("{search}/logs?resourceId={RESOURCE_ID}&limit=1");
        while self.goes_on() {
            let reply = http::get(&url, TIMEOUT);
            let found = reply
                .ok()
                .filter(|reply| reply.status == 200)
                .and_then(|reply| reply.json().ok());
            let now = self.began.elapsed();
            let Some(found) = found else {
                self.failures.fetch_add(1, Ordering::Relaxed);
                continue;
            };
            let newest = found[0]["message"].as_str();
            let newest: Option<usize> = newest.and_then(|n| n.parse().ok());
            let mut seen = self.seen();
            let unfound = seen.acknowledged.get(newest.map_or(0, |n| n + 1));
            let unfound_for = unfound.map_or(Duration::ZERO, |since| now.saturating_sub(*since));
            seen.searched.push((now, unfound_for));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gap(answers: &[u64], from: u64, until: u64) -> u64 {
        let answers = answers.iter().map(|n| Duration::from_secs(*n));
        let [from, until] = [from, until].map(Duration::from_secs);
        longest_gap(answers, from, until).as_secs()
    }

    #[test]
    fn the_longest_gap_is_one_that_the_time_touches() {
        // A pause of 50 s that ends before is no part of it, one that begins in it is, to its end.
        let answers = [1, 51, 52, 53, 60, 61, 90];
        assert_eq!(gap(&answers, 52, 61), 7);
        assert_eq!(gap(&answers, 52, 70), 29);
        assert_eq!(gap(&answers, 90, 100), 10);
        assert_eq!(gap(&[], 3, 9), 9);
    }
}
