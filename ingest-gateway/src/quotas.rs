//! Decides whether a key may send more: each has rates of its own, so that none at its limit slows another.
//!
//! In the flow: `admission` → **`quotas`** → `body`. Upholds GW-2.
//! Several gateways do not know of each other: each gives a key its share, by `--replicas`.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};

use governor::clock::{Clock, DefaultClock};
use service::access::{ApiKey, Quota};

use crate::admission::{LeftOf, Limiters, Pacing, Rates, Verdict};

/// So many keys are known at once; a key file has no more.
const KEYS_MAX: usize = 10_000;

/// What is left of each key's rates.
#[derive(Debug)]
pub struct Quotas<C: Clock = DefaultClock> {
    replicas: NonZeroU32,
    pacing: Pacing,
    clock: C,
    known: Mutex<HashMap<String, Known<C>>>,
}

#[derive(Debug)]
struct Known<C: Clock> {
    quota: Quota,
    limiters: Limiters<C>,
}

impl Quotas {
    /// With the clock of this machine, for one of so many gateways.
    #[must_use]
    pub fn new(replicas: NonZeroU32, pacing: Pacing) -> Self {
        Self::with_clock(replicas, pacing, DefaultClock::default())
    }
}

impl<C: Clock + Clone> Quotas<C> {
    /// With any clock.
    pub fn with_clock(replicas: NonZeroU32, pacing: Pacing, clock: C) -> Self {
        Self {
            replicas,
            pacing,
            clock,
            known: Mutex::default(),
        }
    }

    /// One request more of a key.
    pub fn request(&self, key: Option<&ApiKey>) -> Verdict {
        self.ask(key, |limiters| limiters.request(&self.clock))
    }

    /// That many decompressed bytes more of a key.
    pub fn bytes(&self, key: Option<&ApiKey>, bytes: usize) -> Verdict {
        self.ask(key, |limiters| limiters.bytes(bytes, &self.clock))
    }

    /// What a key has left.
    pub fn left(&self, key: Option<&ApiKey>) -> LeftOf {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let known = key.and_then(|key| known.get(&key.id));
        known.map_or_else(LeftOf::default, |known| known.limiters.left(&self.clock))
    }

    fn ask(&self, key: Option<&ApiKey>, verdict: impl FnOnce(&Limiters<C>) -> Verdict) -> Verdict {
        let Some(key) = key.filter(|key| is_limited(&key.quota)) else {
            return Verdict::ADMIT;
        };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        match known.get(&key.id) {
            Some(one) if one.quota == key.quota => verdict(&one.limiters),
            // New, or changed in the key file.
            _ => {
                if known.len() >= KEYS_MAX {
                    known.clear();
                }
                let limiters = self.limiters(&key.quota);
                let found = verdict(&limiters);
                let quota = key.quota;
                known.insert(key.id.clone(), Known { quota, limiters });
                found
            }
        }
    }

    fn limiters(&self, quota: &Quota) -> Limiters<C> {
        let share = |rate: NonZeroU32| {
            let share = rate.get().div_ceil(self.replicas.get());
            NonZeroU32::new(share).unwrap_or(NonZeroU32::MIN)
        };
        let rates = Rates {
            requests_per_second: quota.requests_per_second.map(share),
            kib_per_second: quota.kib_per_second.map(share),
            burst: quota.burst,
            pacing: self.pacing,
        };
        Limiters::new(&rates, &self.clock)
    }
}

fn is_limited(quota: &Quota) -> bool {
    quota.requests_per_second.is_some() || quota.kib_per_second.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use governor::clock::FakeRelativeClock;
    use service::access::Scope;
    use service::access::api_keys::{ApiKeys, NewKey};
    use std::sync::Arc;
    use std::time::Duration;

    fn key(id: &str, quota: &str) -> Arc<ApiKey> {
        let new = NewKey::make(id, &[Scope::Ingest], None, None, [1; 32]).unwrap();
        let keys = ApiKeys::read(&format!("{}{quota}", new.entry)).unwrap();
        keys.find(&new.credential).unwrap()
    }

    fn quotas(replicas: u32) -> (Quotas<FakeRelativeClock>, FakeRelativeClock) {
        let clock = FakeRelativeClock::default();
        let replicas = NonZeroU32::new(replicas).unwrap();
        (
            Quotas::with_clock(replicas, Pacing::NONE, clock.clone()),
            clock,
        )
    }

    fn admitted(quotas: &Quotas<FakeRelativeClock>, key: &ApiKey, requests: usize) -> usize {
        let verdicts = (0..requests).map(|_| quotas.request(Some(key)));
        verdicts
            .filter(|verdict| *verdict == Verdict::ADMIT)
            .count()
    }

    #[test]
    fn a_key_at_its_limit_does_not_cost_another() {
        let (quotas, clock) = quotas(1);
        let flood = key("flood", "requests-per-second = 10\nburst = \"1s\"");
        let quiet = key("quiet", "requests-per-second = 10\nburst = \"1s\"");
        assert_eq!(admitted(&quotas, &flood, 500), 10);
        assert_eq!(admitted(&quotas, &quiet, 10), 10);
        clock.advance(Duration::from_secs(1));
        assert_eq!(admitted(&quotas, &flood, 500), 10);
        let free = key("free", "");
        assert_eq!(admitted(&quotas, &free, 500), 500);
        assert_eq!(quotas.request(None), Verdict::ADMIT);
    }

    #[test]
    fn several_gateways_share_a_rate_and_a_changed_one_counts_at_once() {
        let (quotas, _) = quotas(4);
        let ten = key("a", "requests-per-second = 10\nburst = \"1s\"");
        assert_eq!(admitted(&quotas, &ten, 100), 3);
        let hundred = key("a", "requests-per-second = 100\nburst = \"1s\"");
        assert_eq!(admitted(&quotas, &hundred, 100), 25);
    }

    #[test]
    fn more_bytes_than_a_burst_never_pass() {
        let (quotas, _) = quotas(1);
        let small = key("a", "bytes-per-second = \"10KiB\"\nburst = \"2s\"");
        assert_eq!(quotas.bytes(Some(&small), 20 << 10), Verdict::ADMIT);
        assert!(matches!(
            quotas.bytes(Some(&small), 1),
            Verdict::Refuse { .. }
        ));
        let never = Verdict::Never {
            bytes_max: 20 << 10,
        };
        assert_eq!(quotas.bytes(Some(&small), (20 << 10) + 1), never);
    }
}
