//! The whole machine's face: inputs in, commands out.
//!
//! In the flow: the consumer thread → **`sink`** → every file below, and back.
//! The one who drives it gives each input with the time, then polls commands
//! until there are none, and comes back at the next deadline at the latest.
//! Not here: threads, sockets, clocks.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use log_event::document::{Coordinates, IndexPattern, UtcDay, document_id, index_day};
use log_event::offset::{NextOffset, Offset};
use log_event::record::RecordHeaders;

use crate::assignment::{Assignments, Ticket, TopicPartition};
use crate::batcher::{Batcher, BulkLimits};
use crate::bulk_request::{Item, Record, RecordParts, SealedRequest, Unframeable, framed};
use crate::bulk_response::{HoldCause, ItemVerdict, RequestVerdict, RetryCause, judge};
use crate::dead_letter::{DeadLetter, Rejection};
use crate::report::{Counters, Held, LastError, PartitionStatus, Status, dead_letter_label};
use crate::retry::{Backoff, Jitter};

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
    /// Dead letters on their way at once.
    pub dead_letters_in_flight_max: usize,
    /// The pace of commits.
    pub commit_interval: Duration,
    /// How long a partition that is to be given back may wait for its records in flight.
    pub drain_max: Duration,
    /// The pace of retries.
    pub backoff: Backoff,
    /// Spreads the retries of several sinks.
    pub seed: u64,
}

/// No commit is waited for longer: librdkafka answers or has given up by then.
const COMMIT_REPLY_MAX: Duration = Duration::from_secs(60);
/// Full for longer than this, reading is paused; until then it is only not polled,
/// because a pause throws away what was fetched ahead.
const PAUSE_AFTER: Duration = Duration::from_millis(300);

/// A bulk request on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BulkId(pub u64);

/// A dead letter on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeadLetterId(pub u64);

/// What happened outside. Records have a method of their own.
#[derive(Clone, Debug)]
pub enum Input<'a> {
    /// Partitions are ours, with what Kafka holds as committed.
    Assigned(Vec<(TopicPartition, Option<NextOffset>)>),
    /// Partitions are to be given back after a drain.
    Revoked(Vec<TopicPartition>),
    /// Partitions are gone: somebody else may own them already.
    Lost(Vec<TopicPartition>),
    /// A bulk request was answered, or will not be.
    BulkReply {
        /// Which one.
        bulk: BulkId,
        /// The status and the body, or why there are none.
        reply: Result<(u16, &'a [u8]), String>,
    },
    /// A dead letter was acknowledged, or not.
    DeadLetterReply {
        /// Which one.
        id: DeadLetterId,
        /// Why not.
        result: Result<(), String>,
    },
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
    /// Produce to the dead-letter topic.
    SendDeadLetter {
        /// For the reply.
        id: DeadLetterId,
        /// The record.
        letter: DeadLetter,
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
    letters_waiting: VecDeque<Letter>,
    letters_in_flight: BTreeMap<DeadLetterId, Letter>,
    /// The pace of requests after one that failed as a whole.
    pace: Pace,
    letter_pace: Pace,
    commit: CommitState,
    /// Until when partitions that are to be given back may drain.
    drain_until: Option<Duration>,
    shutdown: Shutdown,
    intake: Intake,
    last_number: u64,
    /// Bytes of requests and dead letters, without the request being built.
    bytes_held: usize,
    index_name: Option<(UtcDay, String)>,
    indexed_timestamps: Vec<(i64, u32)>,
    jitter: Jitter,
    counters: Counters,
    last_error: Option<LastError>,
}

#[derive(Debug)]
struct Pending {
    request: SealedRequest,
    n_bytes: usize,
    failures: u32,
    not_before: Duration,
    held: Option<Held>,
}

/// A dead letter in the making: it is written out as it is sent, because its
/// headers are larger than most records.
#[derive(Debug)]
struct Letter {
    parts: RecordParts,
    rejection: Rejection,
    ticket: Ticket,
    n_bytes: usize,
}

#[derive(Debug, Default)]
struct Pace {
    failures: u32,
    resume_at: Duration,
    held: Option<Held>,
}

#[derive(Debug, Default)]
struct CommitState {
    /// Since when one is on its way.
    in_flight: Option<Duration>,
    next_at: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shutdown {
    No,
    Draining,
    Done,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Intake {
    Open,
    Full {
        since: Duration,
    },
    /// `newcomers` were assigned meanwhile; they come unpaused.
    Paused {
        newcomers: bool,
    },
}

impl Pace {
    fn is_open(&self, now: Duration, n_in_flight: usize) -> bool {
        self.failures == 0 || (now >= self.resume_at && n_in_flight == 0)
    }

    fn fail(&mut self, now: Duration, backoff: &Backoff, jitter: &mut Jitter) {
        if self.failures > 0 && now < self.resume_at {
            // It was on its way already when the first one failed.
            return;
        }
        self.failures = self.failures.saturating_add(1);
        self.resume_at = now + backoff.wait(self.failures, jitter);
    }
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
            letters_waiting: VecDeque::new(),
            letters_in_flight: BTreeMap::new(),
            pace: Pace::default(),
            letter_pace: Pace::default(),
            commit: CommitState::default(),
            drain_until: None,
            shutdown: Shutdown::No,
            intake: Intake::Open,
            last_number: 0,
            bytes_held: 0,
            index_name: None,
            indexed_timestamps: Vec::new(),
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
                self.dead_letter(ticket, RecordParts::of(record), unframeable(fault));
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
        let day = index_day(&at, &headers);
        if self.index_name.as_ref().is_none_or(|(of, _)| *of != day) {
            self.index_name = Some((day, self.config.index_pattern.index_name(day)));
        }
        let index = self.index_name.as_ref().map_or("", |(_, name)| name);
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
            Input::BulkReply { bulk, reply } => self.bulk_reply(now, bulk, reply),
            Input::DeadLetterReply { id, result } => self.dead_letter_reply(now, id, result),
            Input::CommitReply(result) => self.commit_reply(now, result),
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
        self.poll_dead_letter(now)
            .or_else(|| self.poll_bulk(now))
            .or_else(|| self.poll_release(now))
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
        let letters = (!self.letters_waiting.is_empty()).then_some(self.letter_pace.resume_at);
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

    /// Whether there is room for another record. While there is none, the next
    /// record is left where it is: in Kafka.
    #[must_use]
    pub fn accepts_records(&self) -> bool {
        self.n_bytes() < self.config.bytes_held_max
    }

    /// Whether a reply is on its way that something waits for.
    #[must_use]
    pub fn awaits_replies(&self) -> bool {
        !self.in_flight.is_empty() || !self.letters_in_flight.is_empty()
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
            dead_letters_waiting: self.letters_waiting.len() + self.letters_in_flight.len(),
            bytes_held: self.n_bytes(),
            paused: matches!(self.intake, Intake::Paused { .. }),
            held: self.held(),
            last_error: self.last_error.clone(),
        }
    }

    fn n_bytes(&self) -> usize {
        self.bytes_held + self.batcher.n_bytes() + self.assignments.n_bytes()
    }

    fn drain(&mut self, now: Duration) {
        let until = now + self.config.drain_max;
        self.drain_until = Some(self.drain_until.map_or(until, |earlier| earlier.min(until)));
        let building = self.batcher.seal();
        self.enqueue(building, now);
    }

    fn enqueue(&mut self, sealed: Option<SealedRequest>, not_before: Duration) {
        if let Some(request) = sealed {
            self.enqueue_pending(request, 0, not_before, None);
        }
    }

    fn enqueue_pending(
        &mut self,
        request: SealedRequest,
        failures: u32,
        not_before: Duration,
        held: Option<Held>,
    ) {
        let n_bytes = request.n_bytes();
        self.bytes_held += n_bytes;
        self.waiting.push_back(Pending {
            request,
            n_bytes,
            failures,
            not_before,
            held,
        });
    }

    fn poll_bulk(&mut self, now: Duration) -> Option<Command> {
        if self.in_flight.len() >= self.config.bulk_concurrency
            || !self.pace.is_open(now, self.in_flight.len())
        {
            return None;
        }
        loop {
            let due = self
                .waiting
                .iter()
                .position(|pending| pending.not_before <= now);
            let Some(due) = due else {
                // Sealed only now that it can go: until then it may grow.
                let request = self.batcher.take_due(now)?;
                self.enqueue(Some(request), now);
                continue;
            };
            let pending = self.waiting.remove(due)?;
            let still_ours = |item: &Item| self.assignments.of(&item.ticket).is_some();
            if !pending.request.items().iter().any(still_ours) {
                // The next owner of these partitions sends them again.
                self.bytes_held -= pending.n_bytes;
                continue;
            }
            let bulk = BulkId(self.number());
            let body = pending.request.body();
            self.counters.bulks_sent += 1;
            self.counters.bulk_bytes_sent += body.len() as u64;
            self.in_flight.insert(bulk, pending);
            return Some(Command::SendBulk { bulk, body });
        }
    }

    fn bulk_reply(&mut self, now: Duration, bulk: BulkId, reply: Result<(u16, &[u8]), String>) {
        let Some(pending) = self.in_flight.remove(&bulk) else {
            return;
        };
        self.bytes_held -= pending.n_bytes;
        let n_items = pending.request.items().len();
        let verdict = match reply {
            Ok((status, body)) => judge(status, body, n_items),
            Err(why) => RequestVerdict::Retry(RetryCause::NoReply, why),
        };
        match verdict {
            RequestVerdict::Items(verdicts) => self.settle(now, pending, verdicts),
            RequestVerdict::Retry(cause, why) => {
                *self.counters.retries.entry(cause).or_default() += n_items as u64;
                self.send_whole_again(now, pending, None, why);
            }
            RequestVerdict::Hold(cause, why) => {
                *self.counters.holds.entry(cause).or_default() += n_items as u64;
                let held = held(now, pending.held.as_ref(), cause, n_items, &why);
                self.send_whole_again(now, pending, Some(held), why);
            }
            RequestVerdict::Split(alone) if n_items == 1 => self.settle(now, pending, vec![alone]),
            RequestVerdict::Split(_) => {
                self.counters.bulks_split += 1;
                let half = n_items / 2;
                let (halves, _) = pending
                    .request
                    .regroup::<2>(|index, item| Some((usize::from(index >= half), item)));
                // Behind everything that waits they would be parted last.
                for request in halves.into_iter().flatten().rev() {
                    self.enqueue_pending(request, pending.failures, now, None);
                    self.waiting.rotate_right(1);
                }
            }
        }
    }

    fn send_whole_again(
        &mut self,
        now: Duration,
        mut pending: Pending,
        held: Option<Held>,
        why: String,
    ) {
        self.pace.fail(now, &self.config.backoff, &mut self.jitter);
        self.last_error = Some(LastError { at: now, text: why });
        pending.held = held;
        self.bytes_held += pending.n_bytes;
        self.waiting.push_front(pending);
    }

    /// Gives each item what its verdict says.
    fn settle(&mut self, now: Duration, pending: Pending, verdicts: Vec<ItemVerdict>) {
        let Pending {
            request,
            failures,
            held: held_before,
            ..
        } = pending;
        let rejected = verdicts.iter().enumerate();
        let rejected = rejected.filter(|(_, verdict)| matches!(verdict, ItemVerdict::Reject(_)));
        let parts: Vec<RecordParts> = rejected
            .map(|(index, _)| request.record_parts(index))
            .collect();
        let mut parts = parts.into_iter();
        let mut verdicts = verdicts.into_iter();
        let mut again = Again::default();
        let mut n_settled = 0_u64;
        let mut rejected = Vec::new();
        let ([kept], spare) = request.regroup::<1>(|_, item| {
            let verdict = verdicts.next().expect("one verdict an item was counted");
            match verdict {
                ItemVerdict::Indexed { updated } => {
                    n_settled += 1;
                    self.counters.indexed += 1;
                    self.counters.updated += u64::from(updated);
                    note_indexed(&mut self.indexed_timestamps, item.timestamp_ms);
                    self.assignments.resolve(item.ticket);
                    None
                }
                ItemVerdict::Reject(rejection) => {
                    n_settled += 1;
                    rejected.extend(parts.next().map(|parts| (item.ticket, parts, rejection)));
                    None
                }
                ItemVerdict::Retry(cause, why) => {
                    *self.counters.retries.entry(cause).or_default() += 1;
                    again.overloaded |= cause != RetryCause::Conflict;
                    again.why = Some(why);
                    let still_ours = self.assignments.of(&item.ticket).is_some();
                    still_ours.then_some((0, item))
                }
                ItemVerdict::Hold(cause, why) => {
                    *self.counters.holds.entry(cause).or_default() += 1;
                    again.hold(now, held_before.as_ref(), cause, why);
                    let still_ours = self.assignments.of(&item.ticket).is_some();
                    still_ours.then_some((0, item))
                }
            }
        });
        if let Some(spare) = spare {
            self.batcher.reuse(spare);
        }
        for (ticket, parts, rejection) in rejected {
            self.dead_letter(ticket, parts, rejection);
        }
        if n_settled > 0 || !again.overloaded {
            self.pace = Pace::default();
        } else {
            self.pace.fail(now, &self.config.backoff, &mut self.jitter);
        }
        if let Some(request) = kept {
            let failures = failures.saturating_add(1);
            let wait = self.config.backoff.wait(failures, &mut self.jitter);
            if let Some(text) = again.why {
                self.last_error = Some(LastError { at: now, text });
            }
            self.enqueue_again(now, request, failures, now + wait, again.held);
        }
    }

    /// Items left over from several requests are tried again together: one bad
    /// index among many must not turn each request into two.
    fn enqueue_again(
        &mut self,
        now: Duration,
        request: SealedRequest,
        failures: u32,
        not_before: Duration,
        held: Option<Held>,
    ) {
        let cause = |held: &Option<Held>| held.as_ref().map(|held| held.cause);
        let limits = self.config.bulk;
        let company = self.waiting.iter_mut().find(|other| {
            other.not_before > now
                && cause(&other.held) == cause(&held)
                && other.request.items().len() + request.items().len() <= limits.items_max
                && other.request.body().len() + request.body().len() <= limits.bytes_max
        });
        let Some(company) = company else {
            self.enqueue_pending(request, failures, not_before, held);
            return;
        };
        company.failures = company.failures.max(failures);
        company.not_before = company.not_before.min(not_before);
        if let (Some(all), Some(more)) = (&mut company.held, held) {
            all.items += more.items;
            all.since = all.since.min(more.since);
        }
        self.bytes_held -= company.n_bytes;
        company.request.append(request);
        company.n_bytes = company.request.n_bytes();
        self.bytes_held += company.n_bytes;
    }

    fn dead_letter(&mut self, ticket: Ticket, parts: RecordParts, rejection: Rejection) {
        // If the partition has gone, its next owner rejects the record again.
        if self.assignments.of(&ticket).is_none() {
            return;
        }
        let n_bytes = parts.n_bytes() + rejection.kind.len() + rejection.reason.len();
        self.bytes_held += n_bytes;
        self.letters_waiting.push_back(Letter {
            parts,
            rejection,
            ticket,
            n_bytes,
        });
    }

    /// What goes to the dead-letter topic, unless the partition has gone.
    fn write_out(&self, letter: &Letter) -> Option<DeadLetter> {
        let Letter {
            parts, rejection, ..
        } = letter;
        let (at, offset) = self.assignments.place(&letter.ticket)?;
        let headers = parts
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_deref()));
        let headers = RecordHeaders::read(headers);
        let coordinates = coordinates(&at.topic, at.partition, offset, parts.timestamp_ms);
        let value = parts.value.as_deref().unwrap_or_default();
        let id = document_id(&coordinates, &headers, value);
        let group = &self.config.group;
        Some(DeadLetter::new(
            parts.clone(),
            at,
            offset,
            group,
            &id,
            rejection,
        ))
    }

    fn poll_dead_letter(&mut self, now: Duration) -> Option<Command> {
        if self.letters_in_flight.len() >= self.config.dead_letters_in_flight_max
            || !self.letter_pace.is_open(now, self.letters_in_flight.len())
        {
            return None;
        }
        loop {
            let letter = self.letters_waiting.pop_front()?;
            let Some(record) = self.write_out(&letter) else {
                self.bytes_held -= letter.n_bytes;
                continue;
            };
            let id = DeadLetterId(self.number());
            self.letters_in_flight.insert(id, letter);
            return Some(Command::SendDeadLetter { id, letter: record });
        }
    }

    fn dead_letter_reply(&mut self, now: Duration, id: DeadLetterId, result: Result<(), String>) {
        let Some(letter) = self.letters_in_flight.remove(&id) else {
            return;
        };
        match result {
            Ok(()) => {
                self.bytes_held -= letter.n_bytes;
                let label = dead_letter_label(&letter.rejection.kind);
                *self.counters.dead_letters.entry(label).or_default() += 1;
                self.letter_pace = Pace::default();
                self.assignments.resolve(letter.ticket);
            }
            Err(why) => {
                self.counters.dead_letter_retries += 1;
                self.letter_pace
                    .fail(now, &self.config.backoff, &mut self.jitter);
                let n_letters = self.letters_waiting.len() + self.letters_in_flight.len() + 1;
                let before = self.letter_pace.held.take();
                self.letter_pace.held = Some(held(
                    now,
                    before.as_ref(),
                    HoldCause::DeadLetterTopic,
                    n_letters,
                    &why,
                ));
                self.last_error = Some(LastError {
                    at: now,
                    text: format!("dead-letter topic: {why}"),
                });
                // To the end: one that can never be sent must not stop the others.
                self.letters_waiting.push_back(letter);
            }
        }
    }

    fn poll_release(&mut self, now: Duration) -> Option<Command> {
        let Some(until) = self.drain_until else {
            return self.poll_exit();
        };
        let drained = |sink: &Self| {
            sink.assignments
                .iter()
                .filter(|a| a.draining)
                .all(|a| a.tracker.n_in_flight() == 0)
        };
        if now < until && !drained(self) {
            return None;
        }
        self.drain_until = None;
        let leaving: Vec<TopicPartition> = self
            .assignments
            .iter()
            .filter(|a| a.draining)
            .map(|a| a.at.clone())
            .collect();
        let left = leaving.iter().filter_map(|at| self.assignments.remove(at));
        let due =
            left.filter_map(|assignment| Some((assignment.at.clone(), assignment.commit_due()?)));
        Some(Command::Release(due.collect()))
    }

    fn poll_exit(&mut self) -> Option<Command> {
        if self.shutdown != Shutdown::Draining {
            return None;
        }
        self.shutdown = Shutdown::Done;
        Some(Command::Exit)
    }

    fn poll_commit(&mut self, now: Duration) -> Option<Command> {
        if self
            .commit
            .in_flight
            .is_some_and(|since| now < since + COMMIT_REPLY_MAX)
            || now < self.commit.next_at
        {
            return None;
        }
        self.commit.next_at = now + self.config.commit_interval;
        let mut offsets = Vec::new();
        for assignment in self
            .assignments
            .iter_mut()
            .filter(|assignment| !assignment.draining)
        {
            assignment.committing = assignment.commit_due();
            offsets.extend(
                assignment
                    .committing
                    .map(|next| (assignment.at.clone(), next)),
            );
        }
        if offsets.is_empty() {
            return None;
        }
        self.commit.in_flight = Some(now);
        Some(Command::Commit(offsets))
    }

    fn commit_reply(&mut self, now: Duration, result: Result<(), String>) {
        self.commit.in_flight = None;
        let confirmed = result.is_ok();
        for assignment in self.assignments.iter_mut() {
            if let Some(committing) = assignment.committing.take().filter(|_| confirmed) {
                assignment.committed = Some(committing);
            }
        }
        match result {
            Ok(()) => self.counters.commits += 1,
            Err(why) => {
                self.counters.commits_failed += 1;
                self.last_error = Some(LastError {
                    at: now,
                    text: format!("commit: {why}"),
                });
            }
        }
    }

    fn poll_intake(&mut self, now: Duration) -> Option<Command> {
        let (next, command) = match self.intake {
            Intake::Open if !self.accepts_records() => (Intake::Full { since: now }, None),
            Intake::Full { .. } if self.accepts_records() => (Intake::Open, None),
            Intake::Full { since } if now >= since + PAUSE_AFTER => {
                (Intake::Paused { newcomers: false }, Some(Command::Pause))
            }
            Intake::Paused { .. } if self.n_bytes() <= self.config.bytes_held_max / 2 => {
                (Intake::Open, Some(Command::Resume))
            }
            Intake::Paused { newcomers: true } => {
                (Intake::Paused { newcomers: false }, Some(Command::Pause))
            }
            unchanged => (unchanged, None),
        };
        self.intake = next;
        command
    }

    fn held(&self) -> Vec<Held> {
        let mut by_cause: BTreeMap<HoldCause, Held> = BTreeMap::new();
        let pending = self.waiting.iter().chain(self.in_flight.values());
        let marks = pending
            .filter_map(|pending| pending.held.as_ref())
            .chain(self.letter_pace.held.as_ref());
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

/// What is to be tried again of one request.
#[derive(Default)]
struct Again {
    overloaded: bool,
    held: Option<Held>,
    why: Option<String>,
}

impl Again {
    fn hold(&mut self, now: Duration, before: Option<&Held>, cause: HoldCause, why: String) {
        match self.held.as_mut().filter(|held| held.cause == cause) {
            Some(held) => held.items += 1,
            None => self.held = Some(held(now, before, cause, 1, &why)),
        }
        self.why = Some(why);
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

fn note_indexed(timestamps: &mut Vec<(i64, u32)>, timestamp_ms: Option<i64>) {
    let Some(timestamp_ms) = timestamp_ms else {
        return;
    };
    match timestamps.last_mut() {
        Some((last, count)) if *last == timestamp_ms && *count < u32::MAX => *count += 1,
        _ => timestamps.push((timestamp_ms, 1)),
    }
}

#[cfg(test)]
mod tests;
