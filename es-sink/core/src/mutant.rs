//! The known fatal mistakes, each as one switch: `cargo xtask test mutants` makes
//! them one after the other, to show that the simulation notices.
//!
//! Compiled only with `--cfg logflow_mutants`, which nothing but that command
//! sets. `LOGFLOW_MUTANT` names the mistake; without it there is none.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;

use log_event::document::UtcDay;
use log_event::offset::{NextOffset, Offset};

use crate::assignment::{Assignment, Assignments, TopicPartition};
use crate::batcher::Batcher;
use crate::bulk_response::ItemVerdict;

/// A mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutant {
    /// Commits where reading goes on, and not the lowest unresolved offset.
    CommitPosition,
    /// Creates documents, and takes a 409 for an acknowledgement.
    ConflictAcknowledged,
    /// Makes the id of a document of its topic, partition and offset alone.
    IdFromOffset,
    /// Lets a late reply resolve a record of a later assignment.
    EpochIgnored,
    /// Takes note of an offset when its document is sent, and not when it is received.
    RegisteredAtFlush,
    /// Dead-letters what a missing privilege or a read-only index refuses.
    ForbiddenDeadLettered,
    /// Drops what has failed often.
    DroppedAfterRetries,
    /// Takes the day of an index from the clock.
    IndexByClock,
}

const ALL: [(&str, Mutant); 8] = [
    ("commit-position", Mutant::CommitPosition),
    ("conflict-acknowledged", Mutant::ConflictAcknowledged),
    ("id-from-offset", Mutant::IdFromOffset),
    ("epoch-ignored", Mutant::EpochIgnored),
    ("registered-at-flush", Mutant::RegisteredAtFlush),
    ("forbidden-dead-lettered", Mutant::ForbiddenDeadLettered),
    ("dropped-after-retries", Mutant::DroppedAfterRetries),
    ("index-by-clock", Mutant::IndexByClock),
];

static CHOSEN: LazyLock<Option<Mutant>> = LazyLock::new(|| {
    let name = std::env::var("LOGFLOW_MUTANT").ok()?;
    let chosen = ALL.into_iter().find(|(known, _)| *known == name);
    let (_, mutant) = chosen.unwrap_or_else(|| panic!("LOGFLOW_MUTANT={name} is no mutant"));
    Some(mutant)
});

impl Mutant {
    pub(crate) fn is_on(self) -> bool {
        *CHOSEN == Some(self)
    }
}

const TRIES_MAX: u32 = 5;

pub(crate) fn committed(right: NextOffset, position: Option<NextOffset>) -> NextOffset {
    match position {
        Some(position) if Mutant::CommitPosition.is_on() => position,
        _ => right,
    }
}

/// Makes the action line that begins at `start` a `create`.
pub(crate) fn action(body: &mut Vec<u8>, start: u32) {
    if Mutant::ConflictAcknowledged.is_on() {
        let action = start as usize + 2..start as usize + 7;
        body.splice(action, *b"create");
    }
}

pub(crate) fn id<'a>(
    right: Cow<'a, str>,
    topic: &str,
    partition: i32,
    offset: Offset,
) -> Cow<'a, str> {
    match Mutant::IdFromOffset.is_on() {
        true => Cow::Owned(format!("{topic}-{partition}-{offset}")),
        false => right,
    }
}

pub(crate) fn day(right: UtcDay, now: Duration) -> UtcDay {
    match Mutant::IndexByClock.is_on() {
        true => UtcDay::of_millis(i64::try_from(now.as_millis()).unwrap_or(i64::MAX)),
        false => right,
    }
}

pub(crate) fn verdicts(mut right: Vec<ItemVerdict>, failures: u32) -> Vec<ItemVerdict> {
    if failures >= TRIES_MAX && Mutant::DroppedAfterRetries.is_on() {
        for verdict in &mut right {
            if matches!(verdict, ItemVerdict::Retry(..) | ItemVerdict::Hold(..)) {
                *verdict = ItemVerdict::Indexed { updated: false };
            }
        }
    }
    right
}

/// How many records of each partition wait to be sent.
pub(crate) fn unsent(
    batcher: &Batcher,
    assignments: &Assignments,
) -> BTreeMap<TopicPartition, usize> {
    let mut unsent = BTreeMap::new();
    for item in batcher.building().items() {
        if let Some(own) = assignments.of(&item.ticket) {
            *unsent.entry(own.at.clone()).or_default() += 1;
        }
    }
    unsent
}

/// What would be committed if nothing were known of the records that wait to be
/// sent: while nothing else is in flight, all that was read counts as settled.
pub(crate) fn forget_unsent(own: &mut Assignment, unsent: &BTreeMap<TopicPartition, usize>) {
    let nothing_else = unsent.get(&own.at) == Some(&own.tracker.n_in_flight());
    if nothing_else && Mutant::RegisteredAtFlush.is_on() {
        own.committing = own.tracker.position();
    }
}
