//! Decides which partitions are ours, and tells each time we own one apart.
//!
//! In the flow: `sink` → **`assignment`** → `offset_tracker`. Upholds EO-2.
//! A partition that comes back is a new assignment: replies that belong to the
//! old one find no tracker and so reach no commit.

use std::collections::BTreeMap;

pub use log_event::offset::TopicPartition;
use log_event::offset::{NextOffset, Offset};

use crate::dead_letter::RejectedRecord;
use crate::offset_tracker::{InFlight, OffsetTracker, Passage};

/// A record in flight, with the assignment that it was received under.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub struct Ticket {
    slot: u32,
    epoch: u32,
    record: InFlight,
}

/// One partition while it is ours.
#[derive(Debug)]
pub struct Assignment {
    /// Which one.
    pub at: TopicPartition,
    /// Its records in flight.
    pub tracker: OffsetTracker,
    /// What Kafka has confirmed, or held when we got the partition.
    pub committed: Option<NextOffset>,
    /// What the commit in flight says, if it names this partition.
    pub committing: Option<NextOffset>,
    /// What the transaction in flight passes, if it holds dead letters of this partition.
    pub passing: Option<Passage>,
    /// A transaction with its dead letters failed: they go alone, one at a time,
    /// so that one that can never be sent stops no other partition.
    pub suspect: bool,
    /// Rises with each transaction that holds dead letters of this partition.
    pub last_try: u64,
    /// It is to be given back: no more records are taken.
    pub draining: bool,
    /// Records that wait for a commit to pass them, in the order of receipt.
    rejected: BTreeMap<InFlight, RejectedRecord>,
    epoch: u32,
}

impl Assignment {
    /// What a commit would say now, if it would say anything new.
    #[must_use]
    pub fn commit_due(&self) -> Option<NextOffset> {
        let safe = self.tracker.safe_next_offset()?;
        #[cfg(logflow_mutants)]
        let safe = crate::mutant::committed(safe, self.tracker.position());
        self.says_something_new(safe).then_some(safe)
    }

    /// How far a commit may go that takes the oldest dead letters with it, at
    /// most `letters_max` of them and about `bytes_max` bytes, but always one.
    /// `None` if there are none that it could pass.
    #[must_use]
    pub fn passage(&self, letters_max: usize, bytes_max: usize) -> Option<Passage> {
        let (oldest, _) = self.rejected.first_key_value()?;
        let mut n_bytes = 0;
        let letters = self.rejected.values().take(letters_max);
        let fitting = letters.take_while(|rejected| {
            let fits = n_bytes < bytes_max;
            n_bytes += rejected.n_bytes();
            fits
        });
        let passage = self.tracker.passage(fitting.count())?;
        if let Some(next) = passage.next {
            self.says_something_new(next);
        }
        passage.passes(oldest).then_some(passage)
    }

    /// The rejected records that a commit passes, with their offsets.
    pub fn passed(&self, passage: Passage) -> impl Iterator<Item = (Offset, &RejectedRecord)> {
        let passed = self.rejected.iter();
        let passed = passed.take_while(move |(record, _)| passage.passes(record));
        passed.map(|(record, rejected)| (self.tracker.offset(record), rejected))
    }

    /// How many records wait for a commit to pass them.
    #[must_use]
    pub fn n_rejected(&self) -> usize {
        self.rejected.len()
    }

    fn says_something_new(&self, next: NextOffset) -> bool {
        if let Some(committed) = self.committed {
            assert!(
                committed <= next,
                "EO-2: {} would go back from {committed} to {next}",
                self.at
            );
        }
        self.committed != Some(next)
    }

    /// Whether the ticket's record was received under this assignment.
    fn is_of(&self, ticket: &Ticket) -> bool {
        #[cfg(logflow_mutants)]
        if crate::mutant::Mutant::EpochIgnored.is_on() {
            return true;
        }
        self.epoch == ticket.epoch
    }

    /// Another log begins where the old one stood.
    pub fn restart(&mut self) {
        self.committed = None;
        self.committing = None;
        self.tracker.restart();
    }

    /// Takes note of a record.
    fn track(&mut self, offset: Offset) -> InFlight {
        let passed = |next: Option<NextOffset>| next.is_some_and(|next| next > offset.into());
        if passed(self.committed) || passed(self.committing) {
            // The log went back, so what is committed, or is about to be,
            // belongs to a log that is gone.
            self.committed = None;
            self.committing = None;
        }
        self.tracker.track(offset)
    }
}

/// All partitions that are ours.
#[derive(Debug, Default)]
pub struct Assignments {
    /// A slot is reused; its epoch tells its owners apart.
    slots: Vec<Option<Assignment>>,
    epochs: u32,
    /// Records that the trackers remember.
    n_remembered: usize,
    /// Rejected records, and the bytes that they hold.
    n_rejected: usize,
    rejected_bytes: usize,
    /// The slot of the record before: records come in runs of one partition.
    last: usize,
}

impl Assignments {
    /// The partition is ours from now on. An assignment of the same partition
    /// that was never given back ends here.
    pub fn add(&mut self, at: TopicPartition, committed: Option<NextOffset>) {
        self.remove(&at);
        self.epochs += 1;
        let assignment = Assignment {
            tracker: OffsetTracker::new(),
            committed,
            committing: None,
            passing: None,
            suspect: false,
            last_try: 0,
            draining: false,
            rejected: BTreeMap::new(),
            epoch: self.epochs,
            at,
        };
        match self.slots.iter_mut().find(|slot| slot.is_none()) {
            Some(free) => *free = Some(assignment),
            None => self.slots.push(Some(assignment)),
        }
    }

    /// The partition is ours no more.
    pub fn remove(&mut self, at: &TopicPartition) -> Option<Assignment> {
        let slot = self
            .slots
            .iter_mut()
            .find(|slot| slot.as_ref().is_some_and(|a| a.at == *at));
        let ended = slot.and_then(Option::take)?;
        self.n_remembered -= ended.tracker.n_remembered();
        self.n_rejected -= ended.rejected.len();
        let dropped = ended.rejected.values().map(RejectedRecord::n_bytes);
        self.rejected_bytes -= dropped.sum::<usize>();
        Some(ended)
    }

    /// The partition's assignment.
    pub fn get_mut(&mut self, at: &TopicPartition) -> Option<&mut Assignment> {
        self.iter_mut().find(|assignment| assignment.at == *at)
    }

    /// Every assignment.
    pub fn iter(&self) -> impl Iterator<Item = &Assignment> {
        self.slots.iter().flatten()
    }

    /// Every assignment, to change.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Assignment> {
        self.slots.iter_mut().flatten()
    }

    /// Takes note of a record. `None` if its partition is not ours or is to be
    /// given back.
    pub fn track(&mut self, topic: &str, partition: i32, offset: Offset) -> Option<Ticket> {
        let slot = self.slot_of(topic, partition)?;
        let assignment = self.slots[slot].as_mut()?;
        if assignment.draining {
            return None;
        }
        let record = assignment.track(offset);
        self.n_remembered += 1;
        let slot = u32::try_from(slot).expect("a consumer has fewer than 2³² partitions");
        Some(Ticket {
            slot,
            epoch: assignment.epoch,
            record,
        })
    }

    /// The assignment that a ticket belongs to, unless it has ended.
    #[must_use]
    pub fn of(&self, ticket: &Ticket) -> Option<&Assignment> {
        let assignment = self.slots.get(ticket.slot as usize)?.as_ref()?;
        assignment.is_of(ticket).then_some(assignment)
    }

    #[cfg(test)]
    pub(crate) fn offset_of(&self, ticket: &Ticket) -> Option<Offset> {
        let assignment = self.of(ticket)?;
        Some(assignment.tracker.offset(&ticket.record))
    }

    /// The record is indexed. Without effect if its assignment has ended: then
    /// the next owner settles it again, to the same document (EO-3).
    pub fn resolve(&mut self, ticket: Ticket) {
        if let Some(assignment) = of_mut(&mut self.slots, &ticket) {
            let before = assignment.tracker.n_remembered();
            assignment.tracker.resolve(ticket.record);
            self.n_remembered -= before - assignment.tracker.n_remembered();
        }
    }

    /// The record can never be indexed. Without effect if its assignment has
    /// ended: then the next owner rejects it again.
    pub fn reject(&mut self, ticket: Ticket, rejected: RejectedRecord) {
        if let Some(assignment) = of_mut(&mut self.slots, &ticket) {
            self.n_rejected += 1;
            self.rejected_bytes += rejected.n_bytes();
            assignment.tracker.reject(&ticket.record);
            assignment.rejected.insert(ticket.record, rejected);
        }
    }

    /// The transaction in flight was committed: the records that it passes are
    /// resolved by their dead letters, each of which is told to `each`.
    pub fn passed(&mut self, mut each: impl FnMut(&RejectedRecord)) {
        for assignment in self.slots.iter_mut().flatten() {
            let Some(passage) = assignment.passing.take() else {
                continue;
            };
            assignment.suspect = false;
            let before = assignment.tracker.n_remembered();
            while let Some(oldest) = assignment.rejected.first_entry() {
                if !passage.passes(oldest.key()) {
                    break;
                }
                let (record, rejected) = oldest.remove_entry();
                self.n_rejected -= 1;
                self.rejected_bytes -= rejected.n_bytes();
                assignment.tracker.resolve(record);
                each(&rejected);
            }
            self.n_remembered -= before - assignment.tracker.n_remembered();
        }
    }

    /// How many records wait for a commit to pass them.
    #[must_use]
    pub fn n_rejected(&self) -> usize {
        self.n_rejected
    }

    /// The earliest Kafka timestamp of the records that wait for a commit to pass them.
    #[must_use]
    pub fn oldest_rejected_ms(&self) -> Option<i64> {
        let rejected = self.iter().flat_map(|own| own.rejected.values());
        rejected.filter_map(|one| one.parts.timestamp_ms).min()
    }

    /// What is held in memory, about: rejected records, and behind one record
    /// that is held, the trackers remember all that are resolved after it.
    #[must_use]
    pub fn n_bytes(&self) -> usize {
        self.rejected_bytes + self.n_remembered * OffsetTracker::BYTES_PER_RECORD
    }

    fn slot_of(&mut self, topic: &str, partition: i32) -> Option<usize> {
        let is_it = |slot: &Option<Assignment>| {
            slot.as_ref()
                .is_some_and(|a| a.at.partition == partition && a.at.topic == topic)
        };
        if !self.slots.get(self.last).is_some_and(is_it) {
            self.last = self.slots.iter().position(is_it)?;
        }
        Some(self.last)
    }
}

/// The assignment that a ticket belongs to, unless it has ended.
fn of_mut<'a>(slots: &'a mut [Option<Assignment>], ticket: &Ticket) -> Option<&'a mut Assignment> {
    let assignment = slots.get_mut(ticket.slot as usize)?.as_mut()?;
    assignment.is_of(ticket).then_some(assignment)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bulk_request::RecordParts;
    use crate::dead_letter::Rejection;

    fn at(partition: i32) -> TopicPartition {
        TopicPartition {
            topic: "logs".to_owned(),
            partition,
        }
    }

    fn assigned(partitions: &[(i32, Option<i64>)]) -> Assignments {
        let mut assignments = Assignments::default();
        for (partition, committed) in partitions {
            assignments.add(at(*partition), committed.map(NextOffset));
        }
        assignments
    }

    fn track(assignments: &mut Assignments, partition: i32, offset: i64) -> Ticket {
        let ticket = assignments.track("logs", partition, Offset(offset));
        ticket.expect("the partition is ours")
    }

    fn due(assignments: &mut Assignments, partition: i32) -> Option<i64> {
        let assignment = assignments.get_mut(&at(partition)).unwrap();
        assignment.commit_due().map(|next| next.0)
    }

    #[test]
    fn a_ticket_of_an_ended_assignment_reaches_nothing() {
        let mut assignments = assigned(&[(0, None), (1, None)]);
        let late = track(&mut assignments, 0, 5);
        let other_late = track(&mut assignments, 0, 6);
        assert!(assignments.remove(&at(0)).is_some());
        assignments.add(at(0), Some(NextOffset(5)));
        let again = track(&mut assignments, 0, 5);
        assert!(assignments.of(&late).is_none());
        assignments.resolve(late);
        assignments.resolve(other_late);
        assert_eq!(due(&mut assignments, 0), None, "5 is not resolved");
        assert_eq!(assignments.offset_of(&again), Some(Offset(5)));
        assignments.resolve(again);
        assert_eq!(due(&mut assignments, 0), Some(6));
    }

    #[test]
    fn a_slot_that_another_partition_took_over_is_not_touched_either() {
        let mut assignments = assigned(&[(0, None)]);
        let late = track(&mut assignments, 0, 5);
        assignments.remove(&at(0));
        assignments.add(at(1), None);
        let other = track(&mut assignments, 1, 5);
        assignments.resolve(late);
        assert_eq!(
            assignments
                .iter()
                .map(|a| a.tracker.n_in_flight())
                .sum::<usize>(),
            1
        );
        assignments.resolve(other);
        assert_eq!(due(&mut assignments, 1), Some(6));
    }

    #[test]
    fn an_assignment_that_was_never_given_back_ends_with_the_next() {
        let mut assignments = assigned(&[(0, None)]);
        let late = track(&mut assignments, 0, 5);
        assignments.add(at(0), Some(NextOffset(5)));
        assert!(assignments.of(&late).is_none());
        assert_eq!(assignments.iter().count(), 1);
        assert_eq!(assignments.n_bytes(), 0);
    }

    #[test]
    fn a_record_of_a_partition_that_is_not_ours_or_drains_is_not_tracked() {
        let mut assignments = assigned(&[(0, None), (1, None)]);
        assignments.get_mut(&at(1)).unwrap().draining = true;
        assert!(assignments.track("logs", 1, Offset(1)).is_none());
        assert!(assignments.track("logs", 2, Offset(1)).is_none());
        assert!(assignments.track("other", 0, Offset(1)).is_none());
        assert!(assignments.track("logs", 0, Offset(1)).is_some());
    }

    #[test]
    fn a_commit_is_due_only_if_it_says_something_new() {
        let mut assignments = assigned(&[(0, Some(5))]);
        assert_eq!(due(&mut assignments, 0), None);
        let record = track(&mut assignments, 0, 5);
        assert_eq!(due(&mut assignments, 0), None);
        assignments.resolve(record);
        assert_eq!(due(&mut assignments, 0), Some(6));
        assignments.get_mut(&at(0)).unwrap().committed = Some(NextOffset(6));
        assert_eq!(due(&mut assignments, 0), None);
    }

    #[test]
    fn after_the_log_went_back_the_commit_goes_back_with_it() {
        let mut assignments = assigned(&[(0, Some(100))]);
        let record = track(&mut assignments, 0, 7);
        assert_eq!(due(&mut assignments, 0), Some(7));
        assignments.resolve(record);
        assert_eq!(due(&mut assignments, 0), Some(8));
    }

    /// The reply to a commit that names a place in a log that is gone confirms
    /// nothing, and Kafka must hear the true place even if it was confirmed before.
    #[test]
    fn a_commit_on_its_way_while_the_log_goes_back_confirms_nothing() {
        let mut assignments = assigned(&[(0, Some(90))]);
        let records: Vec<Ticket> = (90..100).map(|o| track(&mut assignments, 0, o)).collect();
        for record in records {
            assignments.resolve(record);
        }
        let assignment = assignments.get_mut(&at(0)).unwrap();
        assignment.committing = assignment.commit_due();
        assert_eq!(assignment.committing, Some(NextOffset(100)));
        let _in_flight = track(&mut assignments, 0, 90);
        assert_eq!(assignments.get_mut(&at(0)).unwrap().committing, None);
        assert_eq!(due(&mut assignments, 0), Some(90));
    }

    fn rejected(value: &[u8]) -> RejectedRecord {
        RejectedRecord {
            parts: RecordParts {
                key: None,
                value: Some(value.to_vec()),
                headers: Vec::new(),
                timestamp_ms: None,
            },
            rejection: Rejection {
                kind: "k".to_owned(),
                reason: "r".to_owned(),
            },
        }
    }

    #[test]
    fn rejected_records_are_counted_until_they_are_passed_or_their_assignment_ends() {
        let mut assignments = assigned(&[(0, None), (1, None)]);
        for partition in [0, 0, 1] {
            let offset = assignments.n_rejected() as i64;
            let ticket = track(&mut assignments, partition, offset);
            assignments.reject(ticket, rejected(b"x"));
        }
        let first = assignments.get_mut(&at(0)).unwrap();
        first.passing = first.passage(1, usize::MAX);
        let mut n_passed = 0;
        assignments.passed(|_| n_passed += 1);
        assert_eq!((n_passed, assignments.n_rejected()), (1, 2));
        assert_eq!(due(&mut assignments, 0), Some(1));
        assignments.remove(&at(0));
        assignments.remove(&at(1));
        assert_eq!((assignments.n_rejected(), assignments.n_bytes()), (0, 0));
    }

    #[test]
    fn a_transaction_is_bounded_in_bytes_and_holds_one_dead_letter_at_least() {
        let mut assignments = assigned(&[(0, None)]);
        for offset in 0..3 {
            let ticket = track(&mut assignments, 0, offset);
            assignments.reject(ticket, rejected(&[b'x'; 1_000]));
        }
        let own = assignments.get_mut(&at(0)).unwrap();
        let next = |bytes_max| own.passage(10, bytes_max).and_then(|passage| passage.next);
        assert_eq!(next(1), Some(NextOffset(1)));
        assert_eq!(next(1_500), Some(NextOffset(2)));
        assert_eq!(next(100_000), Some(NextOffset(3)));
    }

    #[test]
    fn what_is_remembered_is_counted() {
        let mut assignments = assigned(&[(0, None), (1, None)]);
        let held = track(&mut assignments, 0, 1);
        let records: Vec<Ticket> = (2..10).map(|o| track(&mut assignments, 0, o)).collect();
        let _other = track(&mut assignments, 1, 1);
        records.into_iter().for_each(|r| assignments.resolve(r));
        assert_eq!(assignments.n_bytes(), 10 * OffsetTracker::BYTES_PER_RECORD);
        assignments.resolve(held);
        assert_eq!(assignments.n_bytes(), OffsetTracker::BYTES_PER_RECORD);
        assignments.remove(&at(1));
        assert_eq!(assignments.n_bytes(), 0);
    }
}
