//! The whole machine's face: inputs in, commands out.
//!
//! In the flow: the consumer thread → **`sink`** → every file below, and back.
//! The one who drives it gives each input with the time, then polls commands
//! until there are none, and comes back at the next deadline at the latest.
//! Not here: threads, sockets, clocks.

mod bulks;
mod dead_letters;
mod commits;
mod intake;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use log_event::document::{Coordinates, IndexPattern, document_id, index_day};
use log_event::offset::{NextOffset, Offset};
use log_event::record::RecordHeaders;

use crate::assignment::{Assignments, TopicPartition};
use crate::batcher::{Batcher, BulkLimits};
use crate::bulk_request::{Record, RecordParts, SealedRequest, Unframeable, earlier, framed};
use crate::cause::HoldCause;
use crate::dead_letter::{DeadLetter, Rejection};
use crate::index_names::IndexNames;
use crate::mark::SettledMarks;
use crate::report::{Counters, Held, LastError, PartitionStatus, Status};
use crate::retry::{Backoff, Jitter, Pace};
use intake::{Intake, PAUSE_AFTER};

/// Limits and names; all of them come from the operator's settings.
#[derive(Clone, Debug)]
pub struct SinkConfig {
    /// The consumer group, for dead letters.
    pub group: String,
    /// How indices are named.
    pub index_pattern: IndexPattern,
    /// Limits of one bulk request.
    pub bulk: BulkLimits,
    /// Bulk requests on their way at once.
    pub bulk_concurrency: usize,
    /// Beyond this many bytes held no more records are taken.
    pub bytes_held_max: usize,
    /// Dead letters of one transaction.
    pub letters_per_transaction_max: usize,
    /// The pace of commits.
    pub commit_interval: Duration,
    /// How long a partition that is to be given back may wait for its records in flight.
    pub drain_max: Duration,
    /// The pace of retries.
    pub backoff: Backoff,
    /// Spreads the retries of several sinks.
    pub seed: u64,
}

/// A bulk request on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BulkId(pub u64);

/// What happened outside. Records have a method of their own.
#[derive(Clone, Debug)]
pub enum Input<'a> {
    /// Partitions are ours, with what Kafka holds as committed.
    Assigned(Vec<(TopicPartition, Option<NextOffset>)>),
    /// Partitions are to be given back after a drain.
    Revoked(Vec<TopicPartition>),
    /// Partitions are gone: somebody else may own them already.
    Lost(Vec<TopicPartition>),
    /// The topic was created again: reading goes on at the beginning of its new
    /// log. What was read of the old one stays to be settled.
    LogRestarted(Vec<TopicPartition>),
    /// A bulk request was answered, or will not be.
    BulkReply {
        /// Which one.
        bulk: BulkId,
        /// The status and the body, or why there are none.
        reply: Result<(u16, &'a [u8]), String>,
    },
    /// The transaction was committed as a whole, or not at all.
    TransactionReply(Result<(), String>),
    /// The commit was confirmed, or not.
    CommitReply(Result<(), String>),
    /// Finish what is in flight and end.
    Shutdown,
}

/// What is to be done outside.
#[derive(Clone, Debug)]
pub enum Command {
    /// POST the body to `/_bulk`.
    SendBulk {
        /// For the reply.
        bulk: BulkId,
        /// The body.
        body: Bytes,
    },
    /// In one Kafka transaction: produce to the dead-letter topic, and commit
    /// the offsets that pass the originals.
    Transact {
        /// The dead letters.
        letters: Vec<DeadLetter>,
        /// The offsets.
        offsets: Vec<(TopicPartition, NextOffset)>,
    },
    /// Commit, without waiting.
    Commit(Vec<(TopicPartition, NextOffset)>),
    /// Pause reading of all partitions.
    Pause,
    /// Go on reading.
    Resume,
    /// The drain is over: commit these and wait for it, then give the
    /// partitions back.
    Release(Vec<(TopicPartition, NextOffset)>),
    /// Everything is drained: end.
    Exit,
}

/// The machine.
#[derive(Debug)]
pub struct Sink {
    config: SinkConfig,
    assignments: Assignments,
    batcher: Batcher,
    /// Sealed requests, in the order in which they go.
    waiting: VecDeque<Pending>,
    in_flight: BTreeMap<BulkId, Pending>,
    /// The pace of requests after one that failed as a whole.
    pace: Pace,
    /// The pace of transactions after one that failed.
    letter_pace: Pace,
    commit: CommitState,
    /// Until when partitions that are to be given back may drain.
    drain_until: Option<Duration>,
    shutdown: Shutdown,
    intake: Intake,
    last_number: u64,
    /// Bytes of requests, without the request being built.
    bytes_held: usize,
    index_names: IndexNames,
    indexed_timestamps: Vec<(i64, u32)>,
    pub(crate) settled_marks: SettledMarks,
    jitter: Jitter,
    counters: Counters,
    last_error: Option<LastError>,
}

#[derive(Debug)]
struct Pending {
    request: SealedRequest,
    n_bytes: usize,
    failures: u32,
    /// How often each of its items was refused for a mapping that may be new.
    suspicions: u32,
    not_before: Duration,
    held: Option<Held>,
}

#[derive(Debug, Default)]
struct CommitState {
    /// One at a time: two could arrive in the other order (EO-2).
    in_flight: Option<InFlightCommit>,
    next_at: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum InFlightCommit {
    Plain,
    Transaction,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shutdown {
    No,
    Draining,
    Done,
}

impl Sink {
    /// A machine that owns nothing yet.
    #[must_use]
    pub fn new(config: SinkConfig) -> Self {
        Self {
            assignments: Assignments::default(),
            batcher: Batcher::new(config.bulk),
            waiting: VecDeque::new(),
            in_flight: BTreeMap::new(),
            pace: Pace::default(),
            letter_pace: Pace::default(),
            commit: CommitState::default(),
            drain_until: None,
            shutdown: Shutdown::No,
            intake: Intake::Open,
            last_number: 0,
            bytes_held: 0,
            index_names: IndexNames::new(config.index_pattern.clone()),
            indexed_timestamps: Vec::new(),
            settled_marks: SettledMarks::default(),
            jitter: Jitter::new(config.seed),
            counters: Counters::default(),
            last_error: None,
            config,
        }
    }

    /// Takes a record. Without effect if its partition is not ours or is to be
    /// given back: the next owner reads it again.
    pub fn record<'a, H>(&mut self, now: Duration, record: &Record<'a, H>)
    where
        H: Iterator<Item = (&'a str, Option<&'a [u8]>)> + Clone,
    {
        let Some(ticket) = self
            .assignments
            .track(record.topic, record.partition, record.offset)
        else {
            self.counters.records_ignored += 1;
            return;
        };
        self.counters.records += 1;
        self.counters.record_bytes += record.value.map_or(0, <[u8]>::len) as u64;
        let value = match framed(record.value) {
            Ok(value) => value,
            Err(fault) => {
                let parts = RecordParts::of(record);
                self.reject(ticket, record.mark, parts, unframeable(fault));
                return;
            }
        };
        let headers = RecordHeaders::read(record.headers.clone());
        let at = coordinates(
            record.topic,
            record.partition,
            record.offset,
            record.timestamp_ms,
        );
        let id = document_id(&at, &headers, record.value.unwrap_or_default());
        #[cfg(logflow_mutants)]
        let id = crate::mutant::id(id, record.topic, record.partition, record.offset);
        let day = index_day(&at, &headers);
        #[cfg(logflow_mutants)]
        let day = crate::mutant::day(day, now);
        let index = self.index_names.name(day, headers.tenant);
        let (building, sealed) = self.batcher.room_for(now, value.len());
        building.push(ticket, index, &id, value, record);
        self.enqueue(sealed, now);
    }

    /// Takes anything else that happened.
    pub fn handle(&mut self, now: Duration, input: Input<'_>) {
        match input {
            Input::Assigned(partitions) => {
                self.counters.rebalances += 1;
                for (at, committed) in partitions {
                    self.assignments.add(at, committed);
                }
                if self.shutdown != Shutdown::No {
                    self.assignments
                        .iter_mut()
                        .for_each(|assignment| assignment.draining = true);
                }
                if let Intake::Paused { newcomers } = &mut self.intake {
                    *newcomers = true;
                }
            }
            Input::Revoked(partitions) => {
                self.counters.rebalances += 1;
                for at in &partitions {
                    if let Some(assignment) = self.assignments.get_mut(at) {
                        assignment.draining = true;
                    }
                }
                self.drain(now);
            }
            Input::Lost(partitions) => {
                self.counters.rebalances += 1;
                for at in &partitions {
                    self.assignments.remove(at);
                }
            }
            Input::LogRestarted(partitions) => {
                for at in &partitions {
                    if let Some(assignment) = self.assignments.get_mut(at) {
                        assignment.restart();
                    }
                }
            }
            Input::BulkReply { bulk, reply } => self.bulk_reply(now, bulk, reply),
            Input::TransactionReply(result) => self.transaction_reply(now, result),
            Input::CommitReply(result) => self.commit_reply(now, &result),
            Input::Shutdown => {
                if self.shutdown == Shutdown::No {
                    self.shutdown = Shutdown::Draining;
                    self.assignments
                        .iter_mut()
                        .for_each(|assignment| assignment.draining = true);
                    self.drain(now);
                }
            }
        }
    }

    /// The next thing to do, if there is any. Poll until `None` after every input.
    #[must_use]
    pub fn poll_command(&mut self, now: Duration) -> Option<Command> {
        self.poll_bulk(now)
            .or_else(|| self.poll_release(now))
            .or_else(|| self.poll_transaction(now))
            .or_else(|| self.poll_commit(now))
            .or_else(|| self.poll_intake(now))
    }

    /// When to poll again at the latest, if nothing happens before.
    #[must_use]
    pub fn next_deadline(&self, now: Duration) -> Duration {
        let waiting = self
            .waiting
            .iter()
            .map(|pending| pending.not_before.max(self.pace.resume_at));
        let due_at = self.batcher.due_at();
        let due_at = due_at.map(|due_at| due_at.max(self.pace.resume_at));
        let pause_at = match self.intake {
            Intake::Full { since } => Some(since + PAUSE_AFTER),
            Intake::Open | Intake::Paused { .. } => None,
        };
        let letters = (self.assignments.n_rejected() > 0).then_some(self.letter_pace.resume_at);
        waiting
            .chain(letters)
            .chain(due_at)
            .chain(pause_at)
            .chain(self.drain_until)
            .chain([self.commit.next_at])
            .filter(|deadline| *deadline > now)
            .chain([now + self.config.commit_interval])
            .min()
            .unwrap_or(now)
    }

    /// Whether there is room for another record (EO-6). While there is none, the
    /// next record is left where it is: in Kafka.
    #[must_use]
    pub fn accepts_records(&self) -> bool {
        self.n_bytes() < self.config.bytes_held_max
    }

    /// Whether a reply is on its way that something waits for.
    #[must_use]
    pub fn awaits_replies(&self) -> bool {
        !self.in_flight.is_empty() || self.commit.in_flight.is_some()
    }

    /// Whether reading was paused by a command.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        matches!(self.intake, Intake::Paused { .. })
    }

    /// The counters as they stand.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Kafka timestamps (milliseconds) of the documents acknowledged since the
    /// last call, each with the number of documents that follow each other with it.
    pub fn take_indexed_timestamps(&mut self) -> Vec<(i64, u32)> {
        std::mem::take(&mut self.indexed_timestamps)
    }

    /// A moment of the machine.
    #[must_use]
    pub fn status(&self) -> Status {
        let partitions = self.assignments.iter().map(|assignment| PartitionStatus {
            at: assignment.at.clone(),
            position: assignment.tracker.position(),
            committed: assignment.committed,
            in_flight: assignment.tracker.n_in_flight(),
        });
        Status {
            partitions: partitions.collect(),
            bulks_in_flight: self.in_flight.len(),
            bulk_bytes_in_flight: self.in_flight.values().map(|pending| pending.n_bytes).sum(),
            bulks_waiting: self.waiting.len(),
            dead_letters_waiting: self.assignments.n_rejected(),
            oldest_in_flight_ms: self.oldest_in_flight_ms(),
            bytes_held: self.n_bytes(),
            paused: matches!(self.intake, Intake::Paused { .. }),
            held: self.held(),
            failing: self.pace.failing.clone(),
            last_error: self.last_error.clone(),
        }
    }

    fn n_bytes(&self) -> usize {
        self.bytes_held + self.batcher.n_bytes() + self.assignments.n_bytes()
    }

    fn oldest_in_flight_ms(&self) -> Option<i64> {
        let sealed = self.waiting.iter().chain(self.in_flight.values());
        let sealed = sealed.map(|pending| pending.request.oldest_ms());
        sealed
            .chain([
                self.batcher.oldest_ms(),
                self.assignments.oldest_rejected_ms(),
            ])
            .fold(None, earlier)
    }

    fn drain(&mut self, now: Duration) {
        let until = now + self.config.drain_max;
        self.drain_until = Some(self.drain_until.map_or(until, |earlier| earlier.min(until)));
        let building = self.batcher.seal();
        self.enqueue(building, now);
    }

    fn held(&self) -> Vec<Held> {
        let mut by_cause: BTreeMap<HoldCause, Held> = BTreeMap::new();
        let pending = self.waiting.iter().chain(self.in_flight.values());
        let suspects = self.assignments.iter().any(|own| own.suspect);
        let marks = pending
            .filter_map(|pending| pending.held.as_ref())
            .chain(self.letter_pace.held.as_ref().filter(|_| suspects));
        for mark in marks {
            by_cause
                .entry(mark.cause)
                .and_modify(|held| {
                    held.items += mark.items;
                    held.since = held.since.min(mark.since);
                })
                .or_insert_with(|| mark.clone());
        }
        by_cause.into_values().collect()
    }

    fn number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }
}

fn held(
    now: Duration,
    before: Option<&Held>,
    cause: HoldCause,
    items: usize,
    reason: &str,
) -> Held {
    let since = before
        .filter(|before| before.cause == cause)
        .map_or(now, |before| before.since);
    Held {
        cause,
        items,
        since,
        reason: reason.to_owned(),
    }
}

fn coordinates(
    topic: &str,
    partition: i32,
    offset: Offset,
    timestamp_ms: Option<i64>,
) -> Coordinates<'_> {
    Coordinates {
        topic,
        partition,
        offset,
        timestamp_ms,
    }
}

fn unframeable(fault: Unframeable) -> Rejection {
    let (kind, reason) = match fault {
        Unframeable::NoValue => ("no_value", "the record has no value"),
        Unframeable::NotAnObject => ("not_an_object", "the record's value is no JSON object"),
    };
    Rejection {
        kind: kind.to_owned(),
        reason: reason.to_owned(),
    }
}

#[cfg(test)]
mod tests;
