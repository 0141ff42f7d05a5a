//! How many events a run sends, and when.
//!
//! In the flow: `workload` → **`pace`** → `generate_http`, `generate_kafka`.
//! Pure: the time since the start is an argument.

use std::time::Duration;

/// When a run ends and how fast it goes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    /// Ends after so many events.
    pub events: Option<u64>,
    /// Ends after so long.
    pub duration: Option<Duration>,
    /// Events per second; as fast as possible without.
    pub rate: Option<f64>,
}

/// Hands out the events of a run in order.
#[derive(Debug)]
pub struct Pacer {
    pace: Pace,
    next: u64,
}

/// Events `first` to `first + n - 1`, to be sent when `due` has passed since the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The first event.
    pub first: u64,
    /// How many, at least 1.
    pub n: u64,
    /// When, since the start.
    pub due: Duration,
}

impl Pacer {
    /// Nothing is handed out yet.
    #[must_use]
    pub fn new(pace: Pace) -> Self {
        Self { pace, next: 0 }
    }

    /// The next events, at most `wanted` of them; `None` at the end of the run.
    pub fn claim(&mut self, wanted: u64, elapsed: Duration) -> Option<Claim> {
        let limit = self.pace.events.unwrap_or(crate::ledger::EVENTS_MAX);
        let n = wanted.max(1).min(limit.saturating_sub(self.next));
        let due = match self.pace.rate {
            Some(rate) if rate > 0.0 => Duration::from_secs_f64(self.next as f64 / rate),
            _ => Duration::ZERO,
        };
        let over = |end: Duration| elapsed >= end || due >= end;
        if n == 0 || self.pace.duration.is_some_and(over) {
            return None;
        }
        let first = self.next;
        self.next += n;
        Some(Claim { first, n, due })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_last_claim_is_cut_at_the_number_of_events() {
        let mut pacer = Pacer::new(Pace {
            events: Some(25),
            ..Pace::default()
        });
        let claims: Vec<(u64, u64)> = std::iter::from_fn(|| pacer.claim(10, SECOND))
            .map(|claim| (claim.first, claim.n))
            .collect();
        assert_eq!(claims, [(0, 10), (10, 10), (20, 5)]);
    }

    #[test]
    fn a_rate_spaces_claims_and_a_duration_ends_them() {
        let mut pacer = Pacer::new(Pace {
            duration: Some(SECOND),
            rate: Some(100.0),
            ..Pace::default()
        });
        let due: Vec<u128> = std::iter::from_fn(|| pacer.claim(25, Duration::ZERO))
            .map(|claim| claim.due.as_millis())
            .collect();
        assert_eq!(due, [0, 250, 500, 750]);
        let mut pacer = Pacer::new(Pace {
            duration: Some(SECOND),
            ..Pace::default()
        });
        assert!(pacer.claim(1, Duration::ZERO).is_some());
        assert!(pacer.claim(1, SECOND).is_none());
    }
}
