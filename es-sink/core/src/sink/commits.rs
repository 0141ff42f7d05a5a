//! When the machine commits, and when it gives partitions back.
//!
//! In the flow: `offset_tracker` → **`sink::commits`** → the consumer thread.
//! Upholds EO-1 and EO-2: what a commit says is `assignment`'s to know.

use std::time::Duration;

use log_event::offset::NextOffset;

use super::{Command, InFlightCommit, Shutdown, Sink};
use crate::assignment::TopicPartition;
use crate::report::LastError;

impl Sink {
    pub(super) fn poll_release(&mut self, now: Duration) -> Option<Command> {
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
        // A transaction on its way says more, and must not be followed by less.
        let due = left.filter(|a| a.passing.is_none());
        let due =
            due.filter_map(|assignment| Some((assignment.at.clone(), assignment.commit_due()?)));
        Some(Command::Release(due.collect()))
    }

    fn poll_exit(&mut self) -> Option<Command> {
        if self.shutdown != Shutdown::Draining {
            return None;
        }
        self.shutdown = Shutdown::Done;
        Some(Command::Exit)
    }

    pub(super) fn poll_commit(&mut self, now: Duration) -> Option<Command> {
        if self.commit.in_flight.is_some() || now < self.commit.next_at {
            return None;
        }
        let offsets = self.commits_due(now);
        if offsets.is_empty() {
            return None;
        }
        self.commit.in_flight = Some(InFlightCommit::Plain);
        Some(Command::Commit(offsets))
    }

    /// What is to be committed of all partitions that no transaction concerns;
    /// it is on its way from now on.
    pub(super) fn commits_due(&mut self, now: Duration) -> Vec<(TopicPartition, NextOffset)> {
        self.commit.next_at = now + self.config.commit_interval;
        let mut offsets = Vec::new();
        #[cfg(logflow_mutants)]
        let unsent = crate::mutant::unsent(&self.batcher, &self.assignments);
        for assignment in self
            .assignments
            .iter_mut()
            .filter(|own| !own.draining && own.passing.is_none())
        {
            assignment.committing = assignment.commit_due();
            #[cfg(logflow_mutants)]
            crate::mutant::forget_unsent(assignment, &unsent);
            offsets.extend(
                assignment
                    .committing
                    .map(|next| (assignment.at.clone(), next)),
            );
        }
        offsets
    }

    pub(super) fn commit_reply(&mut self, now: Duration, result: &Result<(), String>) {
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
}
