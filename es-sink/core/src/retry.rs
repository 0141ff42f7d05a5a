//! Decides how long to wait before the next try. There is no last try: what
//! can heal is tried until it does (EO-5).
//!
//! In the flow: `bulk_response` → **`retry`** → `sink`.
//! Not here: what can heal (`bulk_response`), the clock (the caller's).

use std::time::Duration;

use crate::report::{Held, LastError};

/// Waits that double from `first` to `longest`, each shortened by up to half at
/// random, so that many sinks do not knock at the same moment.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    /// The wait after the first failure.
    pub first: Duration,
    /// No wait is longer: what is back is found again within this time.
    pub longest: Duration,
}

impl Backoff {
    /// The wait after the `failures`-th failure in a row (from 1).
    #[must_use]
    pub fn wait(&self, failures: u32, jitter: &mut Jitter) -> Duration {
        let doublings = failures.saturating_sub(1).min(20);
        let full = self.first.saturating_mul(1 << doublings).min(self.longest);
        full / 2 + (full / 2).mul_f64(jitter.next())
    }
}

/// The pace of what goes to one place: after a failure nothing goes for a while,
/// then one alone, to see whether it is back.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    pub(crate) failures: u32,
    pub(crate) resume_at: Duration,
    /// Since when, and why lately.
    pub(crate) failing: Option<LastError>,
    pub(crate) held: Option<Held>,
}

impl Pace {
    pub(crate) fn is_open(&self, now: Duration, n_in_flight: usize) -> bool {
        self.failures == 0 || (now >= self.resume_at && n_in_flight == 0)
    }

    pub(crate) fn fail(
        &mut self,
        now: Duration,
        why: &str,
        backoff: &Backoff,
        jitter: &mut Jitter,
    ) {
        if self.failures > 0 && now < self.resume_at {
            // It was on its way already when the first one failed.
            return;
        }
        self.failures = self.failures.saturating_add(1);
        let since = self.failing.as_ref().map_or(now, |failing| failing.at);
        let text = why.to_owned();
        self.failing = Some(LastError { at: since, text });
        self.resume_at = now + backoff.wait(self.failures, jitter);
    }
}

/// A seeded sequence of numbers in 0..1 (SplitMix64): enough to spread waits,
/// and the same for the same seed.
#[derive(Clone, Debug)]
pub struct Jitter {
    state: u64,
}

impl Jitter {
    /// The sequence of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    fn next(&mut self) -> f64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^= z >> 31;
        #[expect(clippy::cast_precision_loss, reason = "53 bits fit a double exactly")]
        let fraction = (z >> 11) as f64 / (1_u64 << 53) as f64;
        fraction
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_spread() {
        let backoff = Backoff {
            first: Duration::from_millis(200),
            longest: Duration::from_secs(10),
        };
        let mut jitter = Jitter::new(1);
        for failures in 1..100 {
            let full = Duration::from_millis(200 << (failures - 1).min(20)).min(backoff.longest);
            for _ in 0..50 {
                let wait = backoff.wait(failures, &mut jitter);
                assert!(
                    full / 2 <= wait && wait <= full,
                    "{failures}: {wait:?} of {full:?}"
                );
            }
        }
        assert!(backoff.wait(u32::MAX, &mut jitter) <= backoff.longest);
    }
}
