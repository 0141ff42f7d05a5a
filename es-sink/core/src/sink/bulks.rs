//! The way of bulk requests through the machine: sent, judged, settled, tried again.
//!
//! In the flow: `batcher` → **`sink::bulks`** → `bulk_response`, `retry`.
//! Upholds EO-1 and EO-5: an item leaves by a verdict. Tries are counted for one case
//! only, a mapping that may be about to be made (docs/decisions/0006).

use std::sync::Arc;
use std::time::Duration;

use super::{BulkId, Command, Pending, Sink, held};
use crate::bulk_request::{Item, RecordParts, SealedRequest};
use crate::bulk_response::{ItemVerdict, RequestVerdict, judge};
use crate::cause::{HoldCause, RetryCause};
use crate::mark::Outcome;
use crate::report::{Held, LastError};
use crate::retry::Pace;

impl Sink {
    pub(super) fn enqueue(&mut self, sealed: Option<SealedRequest>, not_before: Duration) {
        if let Some(request) = sealed {
            self.enqueue_pending(request, 0, 0, not_before);
        }
    }

    fn enqueue_pending(
        &mut self,
        request: SealedRequest,
        failures: u32,
        suspicions: u32,
        not_before: Duration,
    ) {
        let n_bytes = request.n_bytes();
        self.bytes_held += n_bytes;
        self.waiting.push_back(Pending {
            request,
            n_bytes,
            failures,
            not_before,
            suspicions,
            held: None,
        });
    }

    pub(crate) fn items_of(&self, bulk: BulkId) -> &[Item] {
        let pending = self.in_flight.get(&bulk);
        pending.map_or(&[], |pending| pending.request.items())
    }

    pub(super) fn poll_bulk(&mut self, now: Duration) -> Option<Command> {
        let bulk = self.next_bulk(now);
        if self.waiting.is_empty() && self.in_flight.is_empty() {
            // What failed is settled, or has left with its partitions and is another's business.
            self.pace = Pace::default();
        }
        bulk
    }

    fn next_bulk(&mut self, now: Duration) -> Option<Command> {
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

    pub(super) fn bulk_reply(
        &mut self,
        now: Duration,
        bulk: BulkId,
        reply: Result<(u16, &[u8]), String>,
    ) {
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
                    self.enqueue_pending(request, pending.failures, pending.suspicions, now);
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
        let backoff = &self.config.backoff;
        self.pace.fail(now, &why, backoff, &mut self.jitter);
        self.last_error = Some(LastError { at: now, text: why });
        if held.is_some() {
            pending.held = held;
        }
        self.bytes_held += pending.n_bytes;
        self.waiting.push_front(pending);
    }

    /// Gives each item what its verdict says.
    fn settle(&mut self, now: Duration, pending: Pending, verdicts: Vec<ItemVerdict>) {
        let Pending {
            request,
            failures,
            suspicions,
            held: held_before,
            ..
        } = pending;
        let verdicts: Vec<ItemVerdict> = verdicts
            .into_iter()
            .map(|verdict| verdict.after(suspicions))
            .collect();
        #[cfg(logflow_mutants)]
        let verdicts = crate::mutant::verdicts(verdicts, failures);
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
        let ([kept, suspects], spare) = request.regroup::<2>(|_, item| {
            let verdict = verdicts.next().expect("one verdict an item was counted");
            match verdict {
                ItemVerdict::Indexed { updated } => {
                    n_settled += 1;
                    self.counters.indexed += 1;
                    self.counters.updated += u64::from(updated);
                    note_indexed(&mut self.indexed_timestamps, item.timestamp_ms);
                    self.settled_marks.note(item.mark, Outcome::Indexed);
                    self.assignments.resolve(item.ticket);
                    None
                }
                ItemVerdict::Suspect(rejection) => {
                    *self
                        .counters
                        .retries
                        .entry(RetryCause::Conflict)
                        .or_default() += 1;
                    again.why = Some(rejection.reason.into());
                    let still_ours = self.assignments.of(&item.ticket).is_some();
                    still_ours.then_some((1, item))
                }
                ItemVerdict::Reject(rejection) => {
                    n_settled += 1;
                    rejected.extend(parts.next().map(|parts| (item, parts, rejection)));
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
        for (item, parts, rejection) in rejected {
            self.reject(item.ticket, item.mark, parts, rejection);
        }
        match &again.why {
            Some(why) if n_settled == 0 && again.overloaded => {
                let backoff = &self.config.backoff;
                self.pace.fail(now, why, backoff, &mut self.jitter);
            }
            _ => self.pace = Pace::default(),
        }
        if let Some(why) = again.why {
            let text = why.to_string();
            self.last_error = Some(LastError { at: now, text });
        }
        if kept.is_none() && suspects.is_none() {
            return;
        }
        let failures = failures.saturating_add(1);
        let not_before = now + self.config.backoff.wait(failures, &mut self.jitter);
        let groups = [
            (kept, suspicions, again.held),
            (suspects, suspicions + 1, None),
        ];
        for (request, suspicions, held) in groups {
            if let Some(request) = request {
                let n_bytes = request.n_bytes();
                let again = Pending {
                    request,
                    n_bytes,
                    failures,
                    suspicions,
                    not_before,
                    held,
                };
                self.enqueue_again(now, again);
            }
        }
    }

    /// Items left over from several requests are tried again together: one bad
    /// index among many must not turn each request into two.
    fn enqueue_again(&mut self, now: Duration, again: Pending) {
        let cause = |held: &Option<Held>| held.as_ref().map(|held| held.cause);
        let limits = self.config.bulk;
        self.bytes_held += again.n_bytes;
        let company = self.waiting.iter_mut().find(|other| {
            other.not_before > now
                && other.suspicions == again.suspicions
                && cause(&other.held) == cause(&again.held)
                && other.request.items().len() + again.request.items().len() <= limits.items_max
                && other.request.body().len() + again.request.body().len() <= limits.bytes_max
        });
        let Some(company) = company else {
            self.waiting.push_back(again);
            return;
        };
        company.failures = company.failures.max(again.failures);
        company.not_before = company.not_before.min(again.not_before);
        if let (Some(all), Some(more)) = (&mut company.held, again.held) {
            all.items += more.items;
            all.since = all.since.min(more.since);
        }
        self.bytes_held -= company.n_bytes + again.n_bytes;
        company.request.append(again.request);
        company.n_bytes = company.request.n_bytes();
        self.bytes_held += company.n_bytes;
    }
}

/// What is to be tried again of one request.
#[derive(Default)]
struct Again {
    overloaded: bool,
    held: Option<Held>,
    why: Option<Arc<str>>,
}

impl Again {
    fn hold(&mut self, now: Duration, before: Option<&Held>, cause: HoldCause, why: Arc<str>) {
        match self.held.as_mut().filter(|held| held.cause == cause) {
            Some(held) => held.items += 1,
            None => self.held = Some(held(now, before, cause, 1, &why)),
        }
        self.why = Some(why);
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
