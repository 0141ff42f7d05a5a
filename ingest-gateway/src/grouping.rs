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

/// Which requests went together. One that is as large as a group belongs to none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Group(u64);

const NO_GROUP: Group = Group(0);

/// The last group on its way, and the requests whose records wait for it.
///
/// Only the last one is waited for: a group that hangs, because one partition does, holds up others for
/// [`HOLD_MAX`] once, and a stream of large requests holds up nobody.
#[derive(Debug)]
pub struct Grouping<T> {
    last: u64,
    /// Its requests that have a record which is not reported yet.
    on_way: usize,
    waiting: Vec<T>,
    waiting_bytes: usize,
    /// When the oldest of them came.
    held_since: Duration,
}

impl<T> Default for Grouping<T> {
    fn default() -> Self {
        Self {
            last: 0,
            on_way: 0,
            waiting: Vec::new(),
            waiting_bytes: 0,
            held_since: Duration::ZERO,
        }
    }
}

impl<T> Grouping<T> {
    /// As what a request of so many bytes goes at once, if it does; else it is to be given to [`Grouping::hold`].
    #[must_use]
    pub fn goes_at_once(&mut self, bytes: usize) -> Option<Group> {
        if bytes >= GROUP_BYTES {
            return Some(NO_GROUP);
        }
        (self.on_way == 0).then(|| self.next_group(1))
    }

    /// Keeps a request until [`Grouping::take_due`].
    pub fn hold(&mut self, now: Duration, request: T, bytes: usize) {
        if self.waiting.is_empty() {
            self.held_since = now;
        }
        self.waiting.push(request);
        self.waiting_bytes += bytes;
    }

    /// One more request of a group is not on its way any longer: all of its records are reported.
    pub fn reported(&mut self, group: Group) {
        if group == Group(self.last) {
            self.on_way = self.on_way.saturating_sub(1);
        }
    }

    /// Whether somebody waits for what is on its way.
    #[must_use]
    pub fn is_anyone_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The requests that go now, in the order of receipt, and as what.
    #[must_use]
    pub fn take_due(&mut self, now: Duration) -> Option<(Group, Vec<T>)> {
        let due = self.on_way == 0
            || self.waiting_bytes >= GROUP_BYTES
            || now >= self.held_since + HOLD_MAX;
        (due && !self.waiting.is_empty()).then(|| self.take_all())
    }

    /// All requests that wait, and as what they go.
    #[must_use]
    pub fn take_all(&mut self) -> (Group, Vec<T>) {
        let requests = std::mem::take(&mut self.waiting);
        self.waiting_bytes = 0;
        (self.next_group(requests.len()), requests)
    }

    fn next_group(&mut self, requests: usize) -> Group {
        self.last += 1;
        self.on_way = requests;
        Group(self.last)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn due<T>(grouping: &mut Grouping<T>, now: Duration) -> Vec<T> {
        grouping
            .take_due(now)
            .map_or_else(Vec::new, |(_, requests)| requests)
    }

    #[test]
    fn a_lone_request_goes_at_once_and_what_comes_meanwhile_goes_together() {
        let mut grouping = Grouping::default();
        let first = grouping.goes_at_once(500).unwrap();
        for name in ["b", "c"] {
            assert_eq!(grouping.goes_at_once(250), None);
            grouping.hold(MS, name, 250);
        }
        assert_eq!(grouping.take_due(2 * MS), None);
        grouping.reported(first);
        let (second, requests) = grouping.take_due(3 * MS).unwrap();
        assert_eq!(requests, ["b", "c"]);
        for _ in requests {
            assert_eq!(grouping.goes_at_once(250), None);
            grouping.reported(second);
        }
        assert!(grouping.goes_at_once(250).is_some());
    }

    #[test]
    fn nothing_waits_for_longer_than_it_may_and_no_full_group_waits() {
        let mut grouping = Grouping::default();
        assert!(grouping.goes_at_once(250).is_some());
        grouping.hold(MS, "slow", 250);
        assert_eq!(grouping.take_due(HOLD_MAX), None);
        assert_eq!(due(&mut grouping, HOLD_MAX + MS), ["slow"]);
        grouping.hold(MS, "first", 250);
        grouping.hold(MS, "last", GROUP_BYTES - 250);
        assert_eq!(due(&mut grouping, MS), ["first", "last"]);
        assert!(grouping.goes_at_once(GROUP_BYTES).is_some());
    }

    #[test]
    fn a_group_that_hangs_holds_others_up_only_once() {
        let mut grouping = Grouping::default();
        let hangs = grouping.goes_at_once(250).unwrap();
        grouping.hold(MS, "once", 250);
        let (healthy, _) = grouping.take_due(HOLD_MAX + MS).unwrap();
        grouping.reported(hangs);
        assert_eq!(grouping.goes_at_once(250), None);
        grouping.reported(healthy);
        assert!(grouping.goes_at_once(250).is_some());
    }

    #[test]
    fn large_requests_hold_nobody_up() {
        let mut grouping = Grouping::<()>::default();
        for _ in 0..3 {
            assert!(grouping.goes_at_once(GROUP_BYTES).is_some());
        }
        assert!(grouping.goes_at_once(250).is_some());
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        /// Of so many bytes.
        Request(usize),
        /// Of the request at this place among those on their way.
        Report(usize),
        Wait(u32),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            (1..2 * GROUP_BYTES).prop_map(Step::Request),
            (0..9_usize).prop_map(Step::Report),
            (0..60_u32).prop_map(Step::Wait)
        ];
        prop::collection::vec(step, 0..60)
    }

    proptest! {
        /// Against the plain lists of what was given, what has gone, and what is on its way.
        #[test]
        fn every_request_goes_once_in_order_and_none_waits_while_the_last_group_is_reported(
            steps in steps()
        ) {
            let mut grouping = Grouping::default();
            let (mut now, mut next) = (Duration::ZERO, 0);
            let (mut held, mut gone) = (Vec::new(), Vec::new());
            let mut on_way: Vec<Group> = Vec::new();
            let mut newest = NO_GROUP;
            for step in steps {
                match step {
                    Step::Request(bytes) => {
                        if let Some(group) = grouping.goes_at_once(bytes) {
                            on_way.push(group);
                            newest = if group == NO_GROUP { newest } else { group };
                        } else {
                            grouping.hold(now, next, bytes);
                            held.push(next);
                        }
                        next += 1;
                    }
                    Step::Report(at) if !on_way.is_empty() => {
                        let group = on_way.remove(at % on_way.len());
                        grouping.reported(group);
                    }
                    Step::Report(_) => {}
                    Step::Wait(ms) => now += MS * ms,
                }
                if let Some((group, due)) = grouping.take_due(now) {
                    newest = group;
                    on_way.extend(due.iter().map(|_| group));
                    gone.extend(due);
                }
                prop_assert!(held.starts_with(&gone));
                let is_newest_on_way = on_way.contains(&newest);
                prop_assert!(is_newest_on_way || gone.len() == held.len());
            }
            gone.extend(grouping.take_all().1);
            prop_assert_eq!(gone, held);
        }
    }
}
