//! The way of dead letters through the machine: kept until a commit passes
//! their records, then published together with that commit, or not at all.
//!
//! In the flow: `bulk_response` → **`sink::dead_letters`** → `dead_letter`.
//! Upholds EO-1 and EO-4: a record that is rejected again after a crash was not
//! committed, and so its dead letter was not published (KIP-98, KIP-447).

use std::time::Duration;

use log_event::document::document_id;
use log_event::offset::{NextOffset, Offset};
use log_event::record::RecordHeaders;

use super::{Command, InFlightCommit, Sink, coordinates, held};
use crate::assignment::{Assignment, Ticket, TopicPartition};
use crate::bulk_request::RecordParts;
use crate::cause::HoldCause;
use crate::dead_letter::{DeadLetter, RejectedRecord, Rejection};
use crate::mark::{Mark, Outcome};
use crate::report::{LastError, dead_letter_label};
use crate::retry::Pace;

/// Rejected records of one transaction, in bytes: they are copied as they are written out.
const LETTER_BYTES_MAX: usize = 1 << 20;

impl Sink {
    pub(super) fn reject(
        &mut self,
        ticket: Ticket,
        mark: Option<Mark>,
        parts: RecordParts,
        rejection: Rejection,
    ) {
        self.settled_marks.note(mark, Outcome::Rejected);
        self.assignments
            .reject(ticket, RejectedRecord { parts, rejection });
    }

    /// A transaction, if there are dead letters that a commit may pass now.
    pub(super) fn poll_transaction(&mut self, now: Duration) -> Option<Command> {
        if self.commit.in_flight.is_some() || self.assignments.n_rejected() == 0 {
            return None;
        }
        if now >= self.letter_pace.resume_at && self.choose_suspect() {
            return self.transact();
        }
        let full = self.assignments.n_rejected() >= self.config.letters_per_transaction_max
            || !self.accepts_records();
        let commit_is_due = now >= self.commit.next_at;
        let mut letters_left = self.config.letters_per_transaction_max;
        let mut bytes_left = LETTER_BYTES_MAX;
        for assignment in self.assignments.iter_mut().filter(|own| !own.suspect) {
            let due = full || commit_is_due || assignment.draining;
            if due && letters_left > 0 && bytes_left > 0 {
                assignment.passing = assignment.passage(letters_left, bytes_left);
                let (n_letters, n_bytes) = size(assignment);
                letters_left = letters_left.saturating_sub(n_letters);
                bytes_left = bytes_left.saturating_sub(n_bytes);
            }
        }
        let Some(Command::Transact {
            letters,
            mut offsets,
        }) = self.transact()
        else {
            return None;
        };
        if commit_is_due {
            // Transactions that follow each other must not keep other partitions from their commits.
            offsets.extend(self.commits_due(now));
        }
        Some(Command::Transact { letters, offsets })
    }

    /// One dead letter of one partition whose transaction failed before; the partitions in turn.
    fn choose_suspect(&mut self) -> bool {
        let suspects = self.assignments.iter_mut().filter(|own| own.suspect);
        let ready = suspects.filter_map(|own| Some((own.passage(1, 1)?, own)));
        let Some((passage, chosen)) = ready.min_by_key(|(_, own)| own.last_try) else {
            return false;
        };
        chosen.passing = Some(passage);
        true
    }

    /// The transaction that passes what is marked.
    fn transact(&mut self) -> Option<Command> {
        let mut letters = Vec::new();
        let mut offsets = Vec::new();
        let try_number = self.number();
        for assignment in self.assignments.iter_mut() {
            let Some(passage) = assignment.passing else {
                continue;
            };
            assignment.last_try = try_number;
            let passed = assignment.passed(passage);
            letters.extend(passed.map(|(offset, rejected)| {
                written_out(&self.config.group, &assignment.at, offset, rejected)
            }));
            // Of a log that is gone there is nothing to commit. But a transaction without an
            // offset is not fenced: a sink that has lost the partition and does not know it
            // would publish what its next owner publishes, too. The beginning is always true.
            let next = passage.next.unwrap_or(NextOffset(0));
            assignment.committing = Some(next);
            offsets.push((assignment.at.clone(), next));
        }
        if letters.is_empty() {
            return None;
        }
        self.commit.in_flight = Some(InFlightCommit::Transaction);
        Some(Command::Transact { letters, offsets })
    }

    pub(super) fn transaction_reply(&mut self, now: Duration, result: Result<(), String>) {
        if self.commit.in_flight != Some(InFlightCommit::Transaction) {
            return;
        }
        self.commit_reply(now, &result);
        match result {
            Ok(()) => {
                self.letter_pace = Pace::default();
                let counts = &mut self.counters.dead_letters;
                self.assignments.passed(|rejected| {
                    let label = dead_letter_label(&rejected.rejection.kind);
                    *counts.entry(label).or_default() += 1;
                });
            }
            Err(why) => {
                self.letter_pace
                    .fail(now, &why, &self.config.backoff, &mut self.jitter);
                let mut n_letters = 0;
                for assignment in self.assignments.iter_mut() {
                    if let Some(passage) = assignment.passing.take() {
                        self.counters.dead_letter_retries +=
                            assignment.passed(passage).count() as u64;
                        assignment.suspect = true;
                    }
                    if assignment.suspect {
                        n_letters += assignment.n_rejected();
                    }
                }
                let before = self.letter_pace.held.take();
                let cause = HoldCause::DeadLetterTopic;
                self.letter_pace.held = Some(held(now, before.as_ref(), cause, n_letters, &why));
                self.last_error = Some(LastError {
                    at: now,
                    text: format!("dead-letter topic: {why}"),
                });
            }
        }
    }
}

fn size(assignment: &Assignment) -> (usize, usize) {
    let Some(passage) = assignment.passing else {
        return (0, 0);
    };
    let passed = assignment.passed(passage);
    passed.fold((0, 0), |(n, bytes), (_, rejected)| {
        (n + 1, bytes + rejected.n_bytes())
    })
}

/// What goes to the dead-letter topic.
fn written_out(
    group: &str,
    at: &TopicPartition,
    offset: Offset,
    rejected: &RejectedRecord,
) -> DeadLetter {
    let RejectedRecord { parts, rejection } = rejected;
    let headers = parts
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_deref()));
    let headers = RecordHeaders::read(headers);
    let coordinates = coordinates(&at.topic, at.partition, offset, parts.timestamp_ms);
    let value = parts.value.as_deref().unwrap_or_default();
    let id = document_id(&coordinates, &headers, value);
    DeadLetter::new(parts.clone(), at, offset, group, &id, rejection)
}
