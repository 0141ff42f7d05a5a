//! Two clients of the pipeline, each with one request after the other: one sends events, one searches. What they see of a
//! fault is what anybody sees.
//!
//! In the flow: `failover` and `rescale` start them → **`clients`** → their reports.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::http;

/// Between two requests, and before one that failed is repeated.
const PAUSE: Duration = Duration::from_millis(20);
/// Longer than the gateway waits for Kafka, and the query API for Elasticsearch.
const TIMEOUT: Duration = Duration::from_secs(15);
/// Every so many searches it is looked which events are not found; the others ask for one event.
const LOOK_EVERY: u64 = 10;
/// Among so many of the newest: what is sent in twenty seconds.
const LOOKED_AT: usize = 1_000;
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
    /// When each search was answered.
    pub(crate) searched: Vec<Duration>,
    /// When it was looked which events are not found, and for how long the oldest of them had then been acknowledged.
    pub(crate) unfound: Vec<(Duration, Duration)>,
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
        let looks = self.unfound.iter();
        let unfound = looks.filter(|(at, _)| (from..=until).contains(at));
        Worst {
            ingest: longest_gap(self.acknowledged.iter().copied(), from, until),
            search: longest_gap(self.searched.iter().copied(), from, until),
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

    /// Searches for the newest events of [`Shared::send`].
    fn search(&self, search: &str) {
        let mut n_searches = 0_u64;
        while self.goes_on() {
            let looks = n_searches.is_multiple_of(LOOK_EVERY);
            n_searches += 1;
            let limit = if looks { LOOKED_AT } else { 1 };
            let url = format!("{search}/logs?resourceId={RESOURCE_ID}&limit={limit}");
            let acknowledged = self.seen().acknowledged.len();
            let reply = http::get(&url, TIMEOUT)
                .ok()
                .filter(|reply| reply.status == 200)
                .and_then(|reply| reply.json().ok());
            let Some(Value::Array(events)) = reply else {
                self.failures.fetch_add(1, Ordering::Relaxed);
                continue;
            };
            let now = self.began.elapsed();
            let mut seen = self.seen();
            seen.searched.push(now);
            if looks {
                let numbers = events.iter().filter_map(|event| event["message"].as_str());
                let found: HashSet<usize> = numbers.filter_map(|n| n.parse().ok()).collect();
                let oldest = oldest_unfound(&found, acknowledged);
                let since = oldest.and_then(|n| seen.acknowledged.get(n).copied());
                let unfound_for = since.map_or(Duration::ZERO, |since| now.saturating_sub(since));
                seen.unfound.push((now, unfound_for));
            }
        }
    }
}

/// The first event that was acknowledged before a search and is not among the newest, which it found. What is older than
/// all that were asked for is not looked at.
fn oldest_unfound(found: &HashSet<usize>, acknowledged: usize) -> Option<usize> {
    let first = acknowledged.saturating_sub(LOOKED_AT / 2);
    (first..acknowledged).find(|n| !found.contains(n))
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
    fn the_oldest_event_that_is_not_found_counts() {
        let found = HashSet::from([0, 1, 3, 5]);
        assert_eq!(oldest_unfound(&found, 6), Some(2));
        assert_eq!(oldest_unfound(&found, 2), None);
        assert_eq!(oldest_unfound(&found, 7), Some(2));
        assert_eq!(oldest_unfound(&HashSet::new(), 2_000), Some(1_500));
        assert_eq!(oldest_unfound(&HashSet::new(), 0), None);
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
