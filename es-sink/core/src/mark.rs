//! What the caller recognises a record by, to hear which bulk carries it and when it is settled.
//!
//! In the flow: beside it; nothing here decides, and a mark means nothing to the machine. A record that is settled
//! after its partition has left is told of, too, though its next owner settles it again.

use std::num::NonZeroU32;

use crate::sink::{BulkId, Sink};

/// What the caller recognises a record by. Several records may have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark(pub NonZeroU32);

/// How a record was settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// Elasticsearch holds its document.
    Indexed,
    /// It becomes a dead letter.
    Rejected,
}

/// Records that were settled one after the other with the same mark in the same way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled {
    /// Their mark.
    pub mark: Mark,
    /// How.
    pub outcome: Outcome,
    /// How many.
    pub records: u32,
}

/// What is settled and was not yet asked for.
#[derive(Debug, Default)]
pub(crate) struct SettledMarks(Vec<Settled>);

impl SettledMarks {
    pub(crate) fn note(&mut self, mark: Option<Mark>, outcome: Outcome) {
        let Some(mark) = mark else {
            return;
        };
        match self.0.last_mut() {
            Some(last) if (last.mark, last.outcome) == (mark, outcome) => last.records += 1,
            _ => self.0.push(Settled {
                mark,
                outcome,
                records: 1,
            }),
        }
    }
}

impl Sink {
    /// The marked records that were settled since the last call. Whoever marks records has to ask.
    pub fn take_settled_marks(&mut self) -> Vec<Settled> {
        std::mem::take(&mut self.settled_marks.0)
    }

    /// The marks of the records in a bulk request that is on its way, in their order.
    pub fn marks_of(&self, bulk: BulkId) -> impl Iterator<Item = Mark> {
        self.items_of(bulk).iter().filter_map(|item| item.mark)
    }

    /// How many records a bulk request carries that is on its way.
    #[must_use]
    pub fn n_items(&self, bulk: BulkId) -> usize {
        self.items_of(bulk).len()
    }
}
