//! What a process commits, as the real one does in `committer` and with its
//! transactional producer: one commit after the other, each given up after a while.

use std::time::Duration;

use es_sink_core::assignment::TopicPartition;
use es_sink_core::sink::Input;
use log_event::offset::NextOffset;

use crate::kafka::{CommitRequest, ToCommit, TransactionRequest};
use crate::process::{Arrival, SHORTEST_WAIT, unnamed};
use crate::say;
use crate::world::{Event, World};

/// As in `engine`.
pub(crate) const LAST_COMMIT_MAX: Duration = Duration::from_secs(5);
pub(crate) const LAST_COMMIT_PAUSE: Duration = Duration::from_millis(200);

/// As in `committer`.
#[derive(Debug)]
pub(crate) struct CommitOrder {
    number: u64,
    offsets: Vec<ToCommit>,
    n_departures: u64,
}

#[derive(Debug)]
pub(crate) struct LastCommit {
    pub(crate) number: u64,
    pub(crate) offsets: Vec<ToCommit>,
    pub(crate) refused: Option<Duration>,
}

impl World {
    pub(crate) fn only_one_commit(&self, p: usize) {
        let process = &self.processes[p];
        let under_way = process.transacting || process.regular_commit.is_some();
        assert!(
            !under_way,
            "EO-2: sink {p} commits while a commit is under way"
        );
    }

    /// Checks what a commit passes, and adds what the process knows of the topics.
    pub(crate) fn passes(
        &mut self,
        p: usize,
        offsets: &[(TopicPartition, NextOffset)],
        letters: &[usize],
    ) -> Vec<ToCommit> {
        let mut known = Vec::new();
        for (name, next) in offsets {
            let at = unnamed(name);
            let reader = self.processes[p].readers.get_mut(&at);
            let Some(reader) = reader else {
                panic!("EO-2: sink {p} commits {name} to {next}, which is not its own");
            };
            let highest = reader.highest.max(reader.transacting_to.unwrap_or(0));
            assert!(
                highest <= next.0,
                "EO-2: sink {p} sets {name} back from {highest} to {next}",
            );
            if letters.is_empty() {
                reader.highest = next.0;
            } else {
                // If it fails, a commit of less may follow, and it alone.
                reader.transacting_to = Some(next.0);
            }
            let topic_id = reader.topic_id;
            known.push(ToCommit {
                at,
                offset: next.0,
                topic_id,
            });
            self.passes_only_what_is_settled(p, at, topic_id, next.0, letters);
        }
        for letter in letters {
            self.passes_its_letter(*letter, &known);
        }
        known
    }

    pub(crate) fn transact(&mut self, p: usize, letters: Vec<usize>, offsets: Vec<ToCommit>) {
        let process = &self.processes[p];
        let life = process.life;
        let request = TransactionRequest {
            process: p,
            life,
            member: process.member,
            generation: process.generation,
            letters,
            offsets,
        };
        if self.dice.percent(self.weather.transaction_lost) {
            self.seen.insert("transaction lost");
            let later = self.dice.millis(1_000, 5_000);
            let result = Err("timed out, aborted".to_owned());
            self.arrive(p, life, later, Arrival::TransactionEnded { result });
            return;
        }
        let latency = self.latency();
        self.after(latency, Event::TransactionArrives(request));
    }

    pub(crate) fn transaction_ended(&mut self, p: usize, result: Result<(), String>) {
        let process = &mut self.processes[p];
        process.transacting = false;
        for reader in process.readers.values_mut() {
            let passed = reader.transacting_to.take();
            if let Some(passed) = passed.filter(|_| result.is_ok()) {
                reader.highest = passed;
            }
        }
        self.handle(p, Input::TransactionReply(result));
    }

    pub(crate) fn order_commit(&mut self, p: usize, offsets: Vec<ToCommit>) -> u64 {
        let process = &mut self.processes[p];
        process.n_commits += 1;
        let number = process.n_commits;
        process.commit_orders.push_back(CommitOrder {
            number,
            offsets,
            n_departures: process.n_departures,
        });
        self.next_commit(p);
        number
    }

    /// The committer's thread: one order after the other.
    pub(crate) fn next_commit(&mut self, p: usize) {
        let process = &mut self.processes[p];
        if process.committing.is_some() {
            return;
        }
        let Some(order) = process.commit_orders.pop_front() else {
            return;
        };
        let CommitOrder {
            number, offsets, ..
        } = order;
        process.committing = Some(number);
        let (life, member, generation) = (process.life, process.member, process.generation);
        if order.n_departures != process.n_departures {
            self.seen.insert("commit order outlived its assignment");
            let result = Err("partitions have left since".to_owned());
            self.arrive(
                p,
                life,
                Duration::ZERO,
                Arrival::Committed { number, result },
            );
            return;
        }
        let (lost, late) = (self.weather.commit_lost, self.weather.commit_late);
        let is_lost = self.dice.percent(lost);
        let is_late = !is_lost && self.dice.percent(late);
        let reply_lost = is_late || self.dice.percent(lost);
        let gives_up = self.dice.millis(1_000, 6_000);
        if is_lost || reply_lost {
            let result = Err("timed out".to_owned());
            self.arrive(p, life, gives_up, Arrival::Committed { number, result });
        }
        if is_lost {
            self.seen.insert("commit lost");
            return;
        }
        let latency = if is_late {
            self.seen.insert("commit late");
            gives_up + self.dice.millis(1, 10_000)
        } else {
            self.latency().min(Duration::from_millis(900))
        };
        let request = CommitRequest {
            process: p,
            life,
            number,
            member,
            generation,
            offsets,
            is_late,
            reply_lost,
        };
        self.after(latency, Event::CommitArrives(request));
    }

    pub(crate) fn committed(&mut self, p: usize, number: u64, result: Result<(), String>) {
        let now = self.now;
        let process = &mut self.processes[p];
        if process.committing == Some(number) {
            process.committing = None;
        }
        if process.regular_commit == Some(number) {
            process.regular_commit = None;
            self.handle(p, Input::CommitReply(result.clone()));
        }
        let process = &mut self.processes[p];
        if let Some(last) = process
            .last_commit
            .as_mut()
            .filter(|last| last.number == number)
        {
            match &result {
                Ok(()) => process.last_commit = None,
                Err(_) => last.refused = Some(now + LAST_COMMIT_PAUSE),
            }
            if self.processes[p].giving_back.is_some() {
                // During a rebalance there is no second try.
                self.given_back(p);
            }
        }
        self.next_commit(p);
    }

    pub(crate) fn release(&mut self, p: usize, offsets: &[(TopicPartition, NextOffset)]) {
        let now = self.now;
        let status = self.processes[p].sink.status();
        let n_unsettled = status.bulks_in_flight + status.bulks_waiting;
        self.seen.insert(match n_unsettled {
            0 => "release, drained",
            _ => "release, not drained",
        });
        let offsets = self.passes(p, offsets, &[]);
        say!(self, "sink {p} lets go: {offsets:?}");
        let process = &mut self.processes[p];
        if let Some(giving_back) = &mut process.giving_back {
            assert!(
                now <= giving_back.until + SHORTEST_WAIT,
                "EO-6: sink {p} lets go at {now:?}, later than {:?}",
                giving_back.until
            );
            giving_back.released = true;
        }
        process.last_commit = None;
        if !offsets.is_empty() {
            let number = self.order_commit(p, offsets.clone());
            let process = &mut self.processes[p];
            process.last_commit = Some(LastCommit {
                number,
                offsets,
                refused: None,
            });
            let life = process.life;
            let too_late = Arrival::LastCommitTooLate { number };
            self.arrive(p, life, LAST_COMMIT_MAX, too_late);
        } else if self.processes[p].giving_back.is_some() {
            self.given_back(p);
        }
    }

    /// The process ends once its last commit is answered, or is not.
    pub(crate) fn end_if_done(&mut self, p: usize) {
        let now = self.now;
        let process = &mut self.processes[p];
        let Some(until) = process.exit_until else {
            return;
        };
        if process.giving_back.is_some() {
            return;
        }
        match &mut process.last_commit {
            None => {
                let member = process.member;
                self.seen.insert("end, all said");
                self.leave(member);
                self.end(p);
            }
            Some(_) if now >= until => {
                self.seen.insert("end, no answer");
                self.end(p);
            }
            Some(last) if last.refused.is_some_and(|again_at| now >= again_at) => {
                let offsets = std::mem::take(&mut last.offsets);
                self.seen.insert("last commit repeated");
                let number = self.order_commit(p, offsets.clone());
                self.processes[p].last_commit = Some(LastCommit {
                    number,
                    offsets,
                    refused: None,
                });
            }
            Some(_) => {}
        }
    }
}
