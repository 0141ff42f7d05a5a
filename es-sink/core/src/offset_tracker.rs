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
    resolved: bool,
}

/// So much room is always kept.
const KEPT_CAPACITY: usize = 4096;

/// A record that is tracked and not resolved. It can be resolved once only:
/// the token is consumed by [`OffsetTracker::resolve`]. A token that is lost
/// holds commits back; it can never let one pass.
#[derive(Debug, PartialEq, Eq)]
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
            resolved: false,
        });
        self.in_flight += 1;
        InFlight {
            number: self.front + self.entries.len() as u64 - 1,
        }
    }

    /// The record is indexed or dead-lettered: it needs nothing more.
    ///
    /// # Panics
    /// If the token is not of this tracker: then nothing it says can be trusted
    /// any more, and a restart from the committed offset is safe (EO-3).
    pub fn resolve(&mut self, record: InFlight) {
        let entry = self.entry_mut(&record);
        assert!(
            !entry.resolved,
            "EO-1: offset {} is resolved twice",
            entry.offset
        );
        entry.resolved = true;
        self.in_flight -= 1;
        while self.entries.front().is_some_and(|entry| entry.resolved) {
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

    fn entry_mut(&mut self, record: &InFlight) -> &mut Entry {
        let index = self.index(record);
        &mut self.entries[index]
    }
}
