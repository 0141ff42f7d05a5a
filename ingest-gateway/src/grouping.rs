//! Decides when the records of a request go to librdkafka: at once while nothing is on its way to Kafka, else with
//! all others that come until that is acknowledged.
//!
//! In the flow: `produce` ⇄ **`grouping`**. So a lone request waits for nothing, and a flood makes batches as large as
//! an acknowledgement is long, without a linger to choose. librdkafka alone, at `linger.ms=0`, cuts batches of one or
//! two records, and its broker thread spins while more than five of a partition await their acknowledgement.

use std::time::Duration;

/// Waiting longer would only make replies slow: a broker so far away, or so busy, gets large batches anyway.
pub const HOLD_MAX: Duration = Duration::from_millis(50);
/// With so many bytes a group is as good as it gets.
const GROUP_BYTES: usize = 256 << 10;

/// The records on their way, and the requests whose records wait for them.
#[derive(Debug)]
pub struct Grouping<T> {
    on_way: usize,
    waiting: Vec<T>,
    waiting_records: usize,
    waiting_bytes: usize,
    /// When the oldest of them came.
    held_since: Duration,
}

impl<T> Default for Grouping<T> {
    fn default() -> Self {
        Self {
            on_way: 0,
            waiting: Vec::new(),
            waiting_records: 0,
            waiting_bytes: 0,
            held_since: Duration::ZERO,
        }
    }
}

impl<T> Grouping<T> {
    /// Whether a request of so many records and bytes goes at once. It is on its way from then on; else it is to be
    /// given to [`Grouping::hold`].
    #[must_use]
    pub fn goes_at_once(&mut self, records: usize, bytes: usize) -> bool {
        let goes = self.on_way == 0 || bytes >= GROUP_BYTES;
        if goes {
            self.on_way += records;
        }
        goes
    }

    /// Keeps a request until [`Grouping::take_due`].
    pub fn hold(&mut self, now: Duration, request: T, records: usize, bytes: usize) {
        if self.waiting.is_empty() {
            self.held_since = now;
        }
        self.waiting.push(request);
        self.waiting_records += records;
        self.waiting_bytes += bytes;
    }

    /// So many records are no longer on their way.
    pub fn reported(&mut self, records: usize) {
        self.on_way = self.on_way.saturating_sub(records);
    }

    /// Whether somebody waits for what is on its way.
    #[must_use]
    pub fn is_anyone_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The requests that go now, in the order of receipt; they are on their way from then on.
    #[must_use]
    pub fn take_due(&mut self, now: Duration) -> Vec<T> {
        let due = self.on_way == 0
            || self.waiting_bytes >= GROUP_BYTES
            || now >= self.held_since + HOLD_MAX;
        if !due || self.waiting.is_empty() {
            return Vec::new();
        }
        self.take_all()
    }

    /// All requests that wait.
    #[must_use]
    pub fn take_all(&mut self) -> Vec<T> {
        self.on_way += std::mem::take(&mut self.waiting_records);
        self.waiting_bytes = 0;
        std::mem::take(&mut self.waiting)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_lone_request_goes_at_once_and_what_comes_meanwhile_goes_together() {
        let mut grouping = Grouping::default();
        assert!(grouping.goes_at_once(2, 500));
        for name in ["b", "c"] {
            assert!(!grouping.goes_at_once(1, 250));
            grouping.hold(MS, name, 1, 250);
        }
        grouping.reported(1);
        assert!(grouping.take_due(2 * MS).is_empty());
        grouping.reported(1);
        assert_eq!(grouping.take_due(3 * MS), ["b", "c"]);
        assert!(!grouping.goes_at_once(1, 250));
        grouping.reported(2);
        assert!(grouping.goes_at_once(1, 250));
    }

    #[test]
    fn nothing_waits_for_longer_than_it_may_and_no_full_group_waits() {
        let mut grouping = Grouping::default();
        assert!(grouping.goes_at_once(1, 250));
        grouping.hold(MS, "slow", 1, 250);
        assert!(grouping.take_due(HOLD_MAX).is_empty());
        assert_eq!(grouping.take_due(HOLD_MAX + MS), ["slow"]);
        grouping.hold(MS, "first", 1, 250);
        grouping.hold(MS, "last", 1000, GROUP_BYTES - 250);
        assert_eq!(grouping.take_due(MS), ["first", "last"]);
        assert!(grouping.goes_at_once(1000, GROUP_BYTES));
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Request { records: usize, bytes: usize },
        Report,
        Wait(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let request = (1..4_usize, 1..2 * GROUP_BYTES)
            .prop_map(|(records, bytes)| Step::Request { records, bytes });
        let step = prop_oneof![
            request,
            Just(Step::Report),
            (0..60_u64).prop_map(Step::Wait)
        ];
        prop::collection::vec(step, 0..60)
    }

    proptest! {
        /// Against the plain list of what was given and what has gone.
        #[test]
        fn every_request_goes_once_in_order_and_none_waits_while_nothing_is_on_its_way(
            steps in steps()
        ) {
            let mut grouping = Grouping::default();
            let (mut now, mut on_way, mut next) = (Duration::ZERO, 0, 0);
            let (mut held, mut gone) = (Vec::new(), Vec::new());
            for step in steps {
                match step {
                    Step::Request { records, bytes } => {
                        if grouping.goes_at_once(records, bytes) {
                            on_way += records;
                        } else {
                            prop_assert!(on_way > 0);
                            grouping.hold(now, (next, records), records, bytes);
                            held.push((next, records));
                        }
                        next += 1;
                    }
                    Step::Report if on_way > 0 => {
                        grouping.reported(1);
                        on_way -= 1;
                    }
                    Step::Report => {}
                    Step::Wait(ms) => now += MS * u32::try_from(ms).unwrap(),
                }
                let due = grouping.take_due(now);
                on_way += due.iter().map(|(_, records)| records).sum::<usize>();
                gone.extend(due);
                prop_assert!(held.starts_with(&gone));
                prop_assert!(on_way > 0 || gone.len() == held.len());
            }
            gone.extend(grouping.take_all());
            prop_assert_eq!(gone, held);
        }
    }
}
