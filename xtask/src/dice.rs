//! Numbers from a seed: the same seed, the same schedule.
//!
//! In the flow: **`dice`** → `nemesis::schedule`, `failover::plan`. Pure.

use std::time::Duration;

/// SplitMix64.
#[derive(Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Less than `n`, which is at least 1.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        let n = u64::try_from(n.max(1)).unwrap_or(u64::MAX);
        usize::try_from(self.roll() % n).unwrap_or(0)
    }

    /// In whole milliseconds, so that a schedule reads well.
    pub(crate) fn between(&mut self, from: Duration, to: Duration) -> Duration {
        let span = u64::try_from(to.saturating_sub(from).as_millis()).unwrap_or(u64::MAX);
        let more = self.roll() % span.max(1);
        Duration::from_millis(u64::try_from(from.as_millis()).unwrap_or(u64::MAX) + more)
    }

    pub(crate) fn seconds(&mut self, from: f64, to: f64) -> Duration {
        self.between(Duration::from_secs_f64(from), Duration::from_secs_f64(to))
    }

    pub(crate) fn shuffle<T>(&mut self, deck: &mut [T]) {
        for n in (1..deck.len()).rev() {
            deck.swap(n, self.below(n + 1));
        }
    }
}
