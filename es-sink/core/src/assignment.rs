//! Decides which partitions are ours, and tells each time we own one apart.
//!
//! In the flow: `sink` → **`assignment`** → `offset_tracker`. Upholds EO-2.
//! A partition that comes back is a new assignment: replies that belong to the
//! old one find no tracker and so reach no commit.

use std::fmt;

use log_event::offset::{NextOffset, Offset};

use crate::offset_tracker::{InFlight, OffsetTracker};

/// A partition of a topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]", self.topic, self.partition)
    }
}

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
    /// It is to be given back: no more records are taken.
    pub draining: bool,
    epoch: u32,
}

impl Assignment {
    /// What a commit would say now, if it would say anything new.
    #[must_use]
    pub fn commit_due(&self) -> Option<NextOffset> {
        let safe = self.tracker.safe_next_offset()?;
        if let Some(committed) = self.committed {
            assert!(
                committed <= safe,
                "EO-2: {} would go back from {committed} to {safe}",
                self.at
            );
        }
        (self.committed != Some(safe)).then_some(safe)
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
            draining: false,
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
        (assignment.epoch == ticket.epoch).then_some(assignment)
    }

    /// Where the record of a ticket stands, unless its assignment has ended.
    #[must_use]
    pub fn place(&self, ticket: &Ticket) -> Option<(&TopicPartition, Offset)> {
        let assignment = self.of(ticket)?;
        Some((&assignment.at, assignment.tracker.offset(&ticket.record)))
    }

    /// The record is settled. Without effect if its assignment has ended: then
    /// the next owner settles it again, to the same document (EO-3).
    pub fn resolve(&mut self, ticket: Ticket) {
        let assignment = self
            .slots
            .get_mut(ticket.slot as usize)
            .and_then(Option::as_mut);
        if let Some(assignment) = assignment.filter(|assignment| assignment.epoch == ticket.epoch) {
            let before = assignment.tracker.n_remembered();
            assignment.tracker.resolve(ticket.record);
            self.n_remembered -= before - assignment.tracker.n_remembered();
        }
    }

    /// What the trackers hold in memory, about: behind one record that is held,
    /// all that are resolved after it are remembered.
    #[must_use]
    pub fn n_bytes(&self) -> usize {
        self.n_remembered * OffsetTracker::BYTES_PER_RECORD
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

#[cfg(test)]
mod tests {
    use super::*;

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
        assert!(assignments.place(&late).is_none());
        assignments.resolve(late);
        assignments.resolve(other_late);
        assert_eq!(due(&mut assignments, 0), None, "5 is not resolved");
        assert_eq!(assignments.place(&again), Some((&at(0), Offset(5))));
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
