//! The way of dead letters through the machine: written, sent, acknowledged.
//!
//! In the flow: `bulk_response` → **`sink::dead_letters`** → `dead_letter`.
//! Upholds EO-1: a record is resolved when Kafka holds its dead letter, not before.

use std::time::Duration;

use log_event::document::document_id;
use log_event::record::RecordHeaders;

use super::{Command, DeadLetterId, Letter, Sink, coordinates, held};
use crate::assignment::Ticket;
use crate::bulk_request::RecordParts;
use crate::bulk_response::HoldCause;
use crate::dead_letter::{DeadLetter, Rejection};
use crate::report::{LastError, dead_letter_label};
use crate::retry::Pace;

impl Sink {
    pub(super) fn dead_letter(&mut self, ticket: Ticket, parts: RecordParts, rejection: Rejection) {
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

    pub(super) fn poll_dead_letter(&mut self, now: Duration) -> Option<Command> {
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

    pub(super) fn dead_letter_reply(
        &mut self,
        now: Duration,
        id: DeadLetterId,
        result: Result<(), String>,
    ) {
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
}
