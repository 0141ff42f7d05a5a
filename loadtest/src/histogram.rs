//! How long things took: counts by logarithmic buckets, 1/32 apart.
//!
//! In the flow: `ledger` → **`histogram`** → `report`. Bounded: 8 KB whatever is recorded.

use std::time::Duration;

/// Buckets per power of two: a quantile is at most 1/32 too high.
const STEPS: u64 = 32;
const STEP_BITS: u32 = STEPS.trailing_zeros();
/// Up to 2³⁷ µs, a day and a half; what is longer counts as that.
const N_BUCKETS: usize = 33 * STEPS as usize;

/// Durations to the microsecond.
#[derive(Clone, Debug)]
pub struct Histogram {
    counts: Box<[u64]>,
    n: u64,
    max_us: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            counts: vec![0; N_BUCKETS].into_boxed_slice(),
            n: 0,
            max_us: 0,
        }
    }
}

impl Histogram {
    /// Counts one duration.
    pub fn record(&mut self, duration: Duration) {
        let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.counts[bucket(us)] += 1;
        self.n += 1;
        self.max_us = self.max_us.max(us);
    }

    /// Adds what another one counted.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
        self.n += other.n;
        self.max_us = self.max_us.max(other.max_us);
    }

    /// How many durations were counted.
    #[must_use]
    pub fn n(&self) -> u64 {
        self.n
    }

    /// The duration that a share `q` (0 to 1) of all did not exceed, at most
    /// 1/32 above the true one; zero if nothing was counted.
    #[must_use]
    pub fn quantile(&self, q: f64) -> Duration {
        let rank = ((self.n as f64 * q).ceil() as u64).clamp(1, self.n.max(1));
        let mut below = 0;
        for (index, count) in self.counts.iter().enumerate() {
            below += count;
            if below >= rank {
                return Duration::from_micros(upper_bound(index).min(self.max_us));
            }
        }
        self.max()
    }

    /// The longest.
    #[must_use]
    pub fn max(&self) -> Duration {
        Duration::from_micros(self.max_us)
    }
}

fn bucket(us: u64) -> usize {
    let index = if us < STEPS {
        us
    } else {
        let magnitude = us.ilog2() - STEP_BITS;
        u64::from(magnitude + 1) * STEPS + (us >> magnitude) - STEPS
    };
    usize::try_from(index)
        .unwrap_or(usize::MAX)
        .min(N_BUCKETS - 1)
}

/// The longest duration in a bucket.
fn upper_bound(index: usize) -> u64 {
    let index = index as u64;
    if index < STEPS {
        return index;
    }
    let magnitude = index / STEPS - 1;
    ((STEPS + index % STEPS + 1) << magnitude) - 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nothing_recorded_is_zero() {
        let histogram = Histogram::default();
        assert_eq!(histogram.quantile(0.99), Duration::ZERO);
        assert_eq!(histogram.max(), Duration::ZERO);
    }

    #[test]
    fn endless_durations_count_as_the_longest_bucket() {
        let mut histogram = Histogram::default();
        histogram.record(Duration::MAX);
        assert_eq!(histogram.n(), 1);
        assert!(histogram.quantile(0.5) > Duration::from_secs(86_400));
    }

    proptest! {
        #[test]
        fn a_quantile_is_at_most_a_thirtysecond_too_high(
            mut all in prop::collection::vec(0u64..1 << 36, 1..200),
            q in 0.0..=1.0f64,
        ) {
            let mut halves = [Histogram::default(), Histogram::default()];
            for (i, us) in all.iter().enumerate() {
                halves[i % 2].record(Duration::from_micros(*us));
            }
            let [mut histogram, other] = halves;
            histogram.add(&other);
            all.sort_unstable();
            let rank = ((all.len() as f64 * q).ceil() as usize).max(1);
            let exact = all[rank - 1];
            let found = u64::try_from(histogram.quantile(q).as_micros()).unwrap();
            prop_assert!(found >= exact && found <= exact + exact / 32 + 1, "{} for {}", found, exact);
            prop_assert_eq!(histogram.max(), Duration::from_micros(*all.last().unwrap()));
        }
    }
}
