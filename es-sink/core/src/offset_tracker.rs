//! Decides which offset of a partition is safe to commit.
//!
//! In the flow: `assignment` → **`offset_tracker`** → `bulk_request`. Upholds EO-1 and EO-2.
//! Not here: when to commit (`sink`), how to commit (the consumer thread).

use std::collections::VecDeque;

use log_event::offset::{NextOffset, Offset};

/// The records of one partition from the oldest unresolved one on, in the order
/// of their offsets. It relies on that order only: compaction and transaction
/// markers leave gaps between offsets.
#[derive(Debug, Default)]
pub struct OffsetTracker {
    entries: VecDeque<Entry>,
    /// The number of the front entry; numbers count the records of this assignment.
    front: u64,
    in_flight: usize,
    /// How many entries at the front stem from before the log went back.
    outdated: usize,
    /// One past the last record tracked.
    next: Option<NextOffset>,
}

#[derive(Debug)]
struct Entry {
    offset: Offset,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    InFlight,
    /// Its dead letter waits for a commit to pass it.
    Rejected,
    Resolved,
}

/// A commit that passes rejected records, and so must publish their dead letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passage {
    /// What is to be committed; `None` if the records passed belong to a log
    /// that is gone, and nothing was read of the new one.
    pub next: Option<NextOffset>,
    /// The first record that is not passed, in the order of receipt.
    before: u64,
}

impl Passage {
    /// Whether the commit passes the record.
    #[must_use]
    pub fn passes(&self, record: &InFlight) -> bool {
        record.number < self.before
    }
}

/// So much room is always kept.
const KEPT_CAPACITY: usize = 4096;

/// A record that is tracked and not resolved. It can be resolved once only:
/// the token is consumed by [`OffsetTracker::resolve`]. A token that is lost
/// holds commits back; it can never let one pass.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
#[must_use]
pub struct InFlight {
    number: u64,
}

impl OffsetTracker {
    /// Nothing is in flight yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes note of a record as it is received.
    ///
    /// Offsets rise, unless the log itself went back: a topic was created
    /// again, or a leader lost its tail. Then everything from here on is new,
    /// and nothing is safe to commit until what came before is resolved.
    pub fn track(&mut self, offset: Offset) -> InFlight {
        if self
            .next
            .is_some_and(|next| NextOffset::from(offset) < next)
        {
            self.outdated = self.entries.len();
        }
        self.next = Some(offset.next());
        self.entries.push_back(Entry {
            offset,
            state: State::InFlight,
        });
        self.in_flight += 1;
        InFlight {
            number: self.front + self.entries.len() as u64 - 1,
        }
    }

    /// The topic was created again: what comes next is the start of another log,
    /// and nothing is safe to commit until what came before is resolved.
    pub fn restart(&mut self) {
        self.outdated = self.entries.len();
        self.next = None;
    }

    /// The record can never be indexed: a commit may pass it together with its
    /// dead letter (see [`OffsetTracker::passage`]), and not alone.
    ///
    /// # Panics
    /// If the token is not of this tracker.
    pub fn reject(&mut self, record: &InFlight) {
        self.entry_mut(record).state = State::Rejected;
    }

    /// The record is indexed or dead-lettered: it needs nothing more.
    ///
    /// # Panics
    /// If the token is not of this tracker: then nothing it says can be trusted
    /// any more, and a restart from the committed offset is safe (EO-3).
    pub fn resolve(&mut self, record: InFlight) {
        let entry = self.entry_mut(&record);
        assert!(
            entry.state != State::Resolved,
            "EO-1: offset {} is resolved twice",
            entry.offset
        );
        entry.state = State::Resolved;
        self.in_flight -= 1;
        while self.is_front_resolved() {
            self.entries.pop_front();
            self.front += 1;
            self.outdated = self.outdated.saturating_sub(1);
        }
        // What piled up behind one record that was held for long is not kept.
        if self.entries.capacity() / 8 > self.entries.len().max(KEPT_CAPACITY) {
            self.entries.shrink_to(self.entries.len() * 2);
        }
    }

    /// The offset of a record in flight.
    ///
    /// # Panics
    /// If the token is not of this tracker.
    #[must_use]
    pub fn offset(&self, record: &InFlight) -> Offset {
        self.entries[self.index(record)].offset
    }

    /// The lowest unresolved offset, or one past the last record. `None` before
    /// the first record, and while records from before the log went back are in flight.
    #[must_use]
    pub fn safe_next_offset(&self) -> Option<NextOffset> {
        match self.entries.front() {
            Some(_) if self.outdated > 0 => None,
            Some(oldest) => Some(oldest.offset.into()),
            None => self.next,
        }
    }

    /// How far a commit may go if it takes dead letters with it: at most
    /// `letters_max` of them, but all that belong to a log that is gone. `None`
    /// while a record of such a log is neither resolved nor rejected.
    #[must_use]
    pub fn passage(&self, letters_max: usize) -> Option<Passage> {
        let mut n_letters = 0;
        let mut passed = 0;
        for entry in &self.entries {
            match entry.state {
                State::Resolved => {}
                State::Rejected if n_letters < letters_max || passed < self.outdated => {
                    n_letters += 1;
                }
                State::Rejected | State::InFlight => break,
            }
            passed += 1;
        }
        let first_left = self.entries.get(passed);
        (passed >= self.outdated).then(|| Passage {
            next: first_left.map_or(self.next, |entry| Some(entry.offset.into())),
            before: self.front + passed as u64,
        })
    }

    /// Where reading goes on: one past the last record tracked.
    #[must_use]
    pub fn position(&self) -> Option<NextOffset> {
        self.next
    }

    /// How many records are in flight.
    #[must_use]
    pub fn n_in_flight(&self) -> usize {
        self.in_flight
    }

    /// How many records are remembered: those in flight, and those resolved
    /// behind the first of them.
    #[must_use]
    pub fn n_remembered(&self) -> usize {
        self.entries.len()
    }

    /// What one remembered record holds in memory, in bytes.
    pub const BYTES_PER_RECORD: usize = size_of::<Entry>();

    fn index(&self, record: &InFlight) -> usize {
        record
            .number
            .checked_sub(self.front)
            .and_then(|index| usize::try_from(index).ok())
            .filter(|index| *index < self.entries.len())
            .expect("EO-1: a record is resolved by the tracker that tracks it")
    }

    fn is_front_resolved(&self) -> bool {
        let front = self.entries.front();
        front.is_some_and(|entry| entry.state == State::Resolved)
    }

    fn entry_mut(&mut self, record: &InFlight) -> &mut Entry {
        let index = self.index(record);
        &mut self.entries[index]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn track_all(tracker: &mut OffsetTracker, offsets: &[i64]) -> Vec<InFlight> {
        let offsets = offsets.iter();
        offsets
            .map(|offset| tracker.track(Offset(*offset)))
            .collect()
    }

    #[test]
    fn nothing_is_safe_before_the_first_record() {
        let tracker = OffsetTracker::new();
        assert_eq!(tracker.safe_next_offset(), None);
        assert_eq!(tracker.position(), None);
    }

    #[test]
    fn commits_nothing_past_an_unresolved_offset() {
        let mut tracker = OffsetTracker::new();
        let mut records = track_all(&mut tracker, &[5, 6, 7]);
        let last = records.pop().unwrap();
        let middle = records.pop().unwrap();
        let first = records.pop().unwrap();
        assert_eq!(tracker.safe_next_offset(), Some(NextOffset(5)));
        tracker.resolve(last);
        tracker.resolve(middle);
        assert_eq!(tracker.safe_next_offset(), Some(NextOffset(5)));
        assert_eq!((tracker.n_in_flight(), tracker.n_remembered()), (1, 3));
        tracker.resolve(first);
        assert_eq!(tracker.safe_next_offset(), Some(NextOffset(8)));
        assert_eq!((tracker.n_in_flight(), tracker.n_remembered()), (0, 0));
    }

    #[test]
    fn a_gap_between_offsets_is_stepped_over_only_to_the_next_record() {
        let mut tracker = OffsetTracker::new();
        let mut records = track_all(&mut tracker, &[10, 20]).into_iter();
        tracker.resolve(records.next().unwrap());
        assert_eq!(tracker.safe_next_offset(), Some(NextOffset(20)));
        tracker.resolve(records.next().unwrap());
        assert_eq!(tracker.safe_next_offset(), Some(NextOffset(21)));
    }

    #[test]
    fn after_the_log_went_back_nothing_is_safe_until_the_old_records_are_resolved() {
        let mut tracker = OffsetTracker::new();
        let mut old = track_all(&mut tracker, &[100, 101]).into_iter();
        tracker.resolve(old.next().unwrap());
        let new = tracker.track(Offset(3));
        assert_eq!(tracker.safe_next_offset(), None);
        assert_eq!(tracker.position(), Some(NextOffset(4)));
        tracker.resolve(old.next().unwrap());
        assert_eq!(tracker.safe_next_offset(), Some(NextOffset(3)));
        tracker.resolve(new);
        assert_eq!(tracker.safe_next_offset(), Some(NextOffset(4)));
    }

    #[test]
    fn a_rejected_record_is_passed_only_with_its_dead_letter() {
        let mut tracker = OffsetTracker::new();
        let records = track_all(&mut tracker, &[5, 6, 7, 8]);
        let [a, b, c, d] = <[InFlight; 4]>::try_from(records).unwrap();
        tracker.reject(&b);
        tracker.reject(&c);
        let passage = tracker.passage(10).unwrap();
        assert_eq!(passage.next, Some(NextOffset(5)));
        assert!(!passage.passes(&b));
        tracker.resolve(a);
        assert_eq!(tracker.safe_next_offset(), Some(NextOffset(6)));
        let one = tracker.passage(1).unwrap();
        assert_eq!(
            (one.next, one.passes(&b), one.passes(&c)),
            (Some(NextOffset(7)), true, false)
        );
        let both = tracker.passage(2).unwrap();
        assert_eq!(
            (both.next, both.passes(&c), both.passes(&d)),
            (Some(NextOffset(8)), true, false)
        );
        tracker.resolve(d);
        assert_eq!(tracker.passage(2).unwrap().next, Some(NextOffset(9)));
        tracker.resolve(b);
        tracker.resolve(c);
        assert_eq!(tracker.safe_next_offset(), Some(NextOffset(9)));
    }

    #[test]
    fn dead_letters_of_a_log_that_is_gone_go_together_and_need_no_offset() {
        let mut tracker = OffsetTracker::new();
        let records = track_all(&mut tracker, &[100, 101, 102]);
        let [a, b, c] = <[InFlight; 3]>::try_from(records).unwrap();
        tracker.restart();
        tracker.reject(&a);
        tracker.reject(&b);
        assert_eq!(tracker.passage(1), None);
        tracker.resolve(c);
        let passage = tracker.passage(1).unwrap();
        assert_eq!((passage.next, passage.passes(&b)), (None, true));
        let new = tracker.track(Offset(0));
        assert_eq!(tracker.passage(1).unwrap().next, Some(NextOffset(0)));
        assert_eq!(tracker.safe_next_offset(), None);
        tracker.resolve(a);
        tracker.resolve(b);
        assert_eq!(tracker.safe_next_offset(), Some(NextOffset(0)));
        tracker.resolve(new);
        assert_eq!(tracker.safe_next_offset(), Some(NextOffset(1)));
    }

    #[test]
    fn the_log_may_go_back_twice_and_the_same_record_may_come_again() {
        let mut tracker = OffsetTracker::new();
        let first = tracker.track(Offset(7));
        let again = tracker.track(Offset(7));
        let third = tracker.track(Offset(2));
        tracker.resolve(third);
        tracker.resolve(first);
        assert_eq!(tracker.safe_next_offset(), None);
        tracker.resolve(again);
        assert_eq!(tracker.safe_next_offset(), Some(NextOffset(3)));
    }

    #[test]
    fn a_record_resolved_twice_stops_the_process() {
        let mut tracker = OffsetTracker::new();
        let records = track_all(&mut tracker, &[1, 2, 3]);
        let copies = [1, 0].map(|number| InFlight { number });
        let panics = |run: &mut dyn FnMut()| {
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_err()
        };
        let [mut copy_of_second, mut copy_of_first] = copies.map(Some);
        let mut records = records.into_iter().map(Some).collect::<Vec<_>>();
        tracker.resolve(records[1].take().unwrap());
        assert!(panics(
            &mut || tracker.resolve(copy_of_second.take().unwrap())
        ));
        tracker.resolve(records[0].take().unwrap());
        assert!(panics(
            &mut || tracker.resolve(copy_of_first.take().unwrap())
        ));
        assert_eq!(tracker.safe_next_offset(), Some(NextOffset(3)));
    }

    #[test]
    fn what_piled_up_is_given_back() {
        let mut tracker = OffsetTracker::new();
        let offsets: Vec<i64> = (0..1_000_000).collect();
        for record in track_all(&mut tracker, &offsets) {
            tracker.resolve(record);
        }
        assert!(tracker.entries.capacity() <= 8 * (KEPT_CAPACITY + 1));
    }
}
