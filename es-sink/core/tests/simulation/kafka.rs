//! A Kafka: logs with gaps, tails that get lost, topics that are created again;
//! offsets and transactions as the coordinator keeps them.
//!
//! What of it matters for the sink and is easily forgotten:
//! a commit is taken from whoever has the group's generation, whatever it names;
//! one that was given up by the client may come through later;
//! of two commits the one that was appended later counts, and one of a
//! transaction is appended when it is sent, not when the transaction ends;
//! offsets of an open transaction keep the next owner waiting.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::group::{Group, MemberId};
use crate::truth::{At, NOON_MS};
use crate::world::{Event, World};
use crate::{process::Arrival, say};

/// One partition's log.
#[derive(Debug, Default)]
pub(crate) struct Log {
    /// The numbers of its records, in the order of their offsets.
    pub(crate) records: Vec<usize>,
    pub(crate) end: i64,
    /// So many records at the front are known to be settled.
    pub(crate) n_settled: usize,
    /// The highest commit; a late one may have set it back since.
    pub(crate) committed_to: i64,
    /// Somebody has read so far.
    pub(crate) read_to: i64,
    /// It once ended here, and lost what had been read: positions and offsets go back.
    pub(crate) once_read_to: i64,
}

/// A committed offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Committed {
    pub(crate) offset: i64,
    /// The commit's metadata.
    pub(crate) topic_id: u32,
    appended: u64,
}

/// An offset on its way to the coordinator.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct ToCommit {
    pub(crate) at: At,
    pub(crate) offset: i64,
    pub(crate) topic_id: u32,
}

impl std::fmt::Debug for ToCommit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            at,
            offset,
            topic_id,
        } = self;
        write!(f, "{at} to {offset} (id {topic_id})")
    }
}

#[derive(Debug)]
pub(crate) struct CommitRequest {
    pub(crate) process: usize,
    pub(crate) life: u32,
    /// The client's number of the commit.
    pub(crate) number: u64,
    pub(crate) member: Option<MemberId>,
    pub(crate) generation: u32,
    pub(crate) offsets: Vec<ToCommit>,
    /// The client has given up, and may have committed something else since.
    pub(crate) is_late: bool,
    /// The client will not hear the answer.
    pub(crate) reply_lost: bool,
}

#[derive(Debug)]
pub(crate) struct TransactionRequest {
    pub(crate) process: usize,
    pub(crate) life: u32,
    pub(crate) member: Option<MemberId>,
    pub(crate) generation: u32,
    /// The numbers of the records that become dead letters.
    pub(crate) letters: Vec<usize>,
    pub(crate) offsets: Vec<ToCommit>,
}

#[derive(Debug)]
pub(crate) struct Transaction {
    letters: Vec<usize>,
    offsets: Vec<ToCommit>,
    appended: u64,
    abort_at: Duration,
}

#[derive(Debug)]
pub(crate) struct Kafka {
    pub(crate) logs: BTreeMap<At, Log>,
    pub(crate) topic_ids: Vec<u32>,
    pub(crate) committed: BTreeMap<At, Committed>,
    pub(crate) transactions: BTreeMap<u64, Transaction>,
    n_appended: u64,
    pub(crate) group: Group,
    /// Until then the dead-letter topic takes nothing.
    pub(crate) letters_refused_until: Duration,
}

impl Kafka {
    pub(crate) fn new(partitions: &[At], group: Group) -> Self {
        let n_topics = partitions.iter().map(|at| at.topic + 1).max();
        Self {
            logs: partitions.iter().map(|at| (*at, Log::default())).collect(),
            topic_ids: vec![1; n_topics.unwrap_or(0)],
            committed: BTreeMap::new(),
            transactions: BTreeMap::new(),
            n_appended: 0,
            group,
            letters_refused_until: Duration::ZERO,
        }
    }

    /// Whether an open transaction may yet move the partition's offset.
    pub(crate) fn is_unstable(&self, at: At) -> bool {
        let moves = |open: &Transaction| open.offsets.iter().any(|offset| offset.at == at);
        self.transactions.values().any(moves)
    }

    fn append(&mut self) -> u64 {
        self.n_appended += 1;
        self.n_appended
    }

    /// Keeps what was appended last, and says which offsets lie lower now than
    /// somebody has committed.
    fn keep(&mut self, offsets: &[ToCommit], appended: u64) -> Vec<(At, i64, i64)> {
        let mut set_back = Vec::new();
        for new in offsets {
            let is_current = self.topic_ids[new.at.topic] == new.topic_id;
            if let Some(log) = self.logs.get_mut(&new.at).filter(|_| is_current) {
                log.committed_to = log.committed_to.max(new.offset);
            }
            // To who reads the topic as it is, a commit of another one says nothing.
            let topic_id = self.topic_ids[new.at.topic];
            let said = |id: u32, offset: i64| if id == topic_id { offset } else { 0 };
            let now = said(new.topic_id, new.offset);
            if let Some(before) = self.committed.get(&new.at) {
                let was = said(before.topic_id, before.offset);
                let is_overtaken = before.appended > appended;
                let (from, to) = if is_overtaken { (now, was) } else { (was, now) };
                if to < from {
                    set_back.push((new.at, from, to));
                }
                if is_overtaken {
                    continue;
                }
            }
            self.committed.insert(
                new.at,
                Committed {
                    offset: new.offset,
                    topic_id: new.topic_id,
                    appended,
                },
            );
        }
        set_back
    }
}

impl World {
    pub(crate) fn produce(&mut self, at: At) {
        let topic_id = self.kafka.topic_ids[at.topic];
        let log = self.kafka.logs.get_mut(&at).expect("it exists");
        if self.dice.percent(6) {
            // What a compaction or the marker of a transaction leaves.
            log.end += 1 + self.dice.below(4) as i64;
        }
        let timestamp = NOON_MS + self.now.as_millis() as i64;
        let poison = self.weather.poison;
        let number = self
            .truth
            .produce(&mut self.dice, poison, at, topic_id, log.end, timestamp);
        self.truth.records[number].optional = log.end < log.once_read_to;
        log.records.push(number);
        log.end += 1;
    }

    /// The first records at or behind an offset.
    pub(crate) fn fetch(&self, at: At, from: i64, n_max: usize) -> &[usize] {
        let records = &self.kafka.logs[&at].records;
        let first = records.partition_point(|number| self.truth.records[*number].offset < from);
        &records[first..records.len().min(first + n_max)]
    }

    /// Some records are superseded by later ones with their key, or too old.
    pub(crate) fn compact(&mut self, at: At) {
        let log = self.kafka.logs.get_mut(&at).expect("it exists");
        let prefix = self.dice.percent(50);
        let n_removable = log.records.len().saturating_sub(1) as u64;
        let n_removed = self.dice.below(n_removable.min(6) + 1);
        for _ in 0..n_removed {
            let which = if prefix {
                0
            } else {
                self.dice.index(log.records.len() - 1)
            };
            let number = log.records.remove(which);
            log.n_settled = log.n_settled.min(which);
            self.truth.records[number].optional = true;
        }
        if n_removed > 0 {
            self.seen.insert("records removed");
        }
    }

    /// The leader loses what it had not copied to the others, and goes on from
    /// there. Without unclean elections nobody can have read that; with them, all
    /// that stands again where somebody may have been before can be passed over.
    pub(crate) fn truncate(&mut self, at: At) {
        let is_clean = self.dice.percent(50);
        let log = self.kafka.logs.get_mut(&at).expect("it exists");
        let offset = |number: &usize| self.truth.records[*number].offset;
        let unread = log
            .records
            .partition_point(|number| offset(number) < log.read_to);
        let n_losable = log.records.len() - if is_clean { unread } else { 0 };
        let n_lost = self.dice.index(6.min(n_losable) + 1);
        let lost = log.records.split_off(log.records.len() - n_lost);
        let Some(first) = lost.first() else { return };
        if !is_clean {
            log.once_read_to = log.once_read_to.max(log.end);
        }
        log.end = offset(first);
        log.read_to = log.read_to.min(log.end);
        log.n_settled = log.n_settled.min(log.records.len());
        for number in lost {
            self.truth.records[number].optional = true;
        }
        // Who has read further notices by the leader's epoch, though the log may grow again (KIP-320).
        let end = log.end;
        let readers = self
            .processes
            .iter_mut()
            .map(|process| &mut process.readers);
        for reader in readers.filter_map(|readers| readers.get_mut(&at)) {
            if reader.position > end {
                reader.position = i64::MAX;
            }
        }
        self.seen.insert(match is_clean {
            true => "unacknowledged tail lost",
            false => "tail lost in an unclean election",
        });
        for _ in 0..self.dice.below(2 * n_lost as u64 + 1) {
            self.produce(at);
        }
    }

    /// A position that the log does not have: reading begins anew, and with it
    /// what was settled before.
    pub(crate) fn read_anew(&mut self, at: At) {
        self.read_again(at, 0, i64::MAX);
    }

    /// Whoever takes over may read these once more, and reject them once more:
    /// what keeps a dead letter single is the offset that was committed with it.
    fn read_again(&mut self, at: At, from: i64, to: i64) {
        for number in &self.kafka.logs[&at].records {
            let record = &mut self.truth.records[*number];
            if (from..to).contains(&record.offset) {
                record.letters_max += 1;
            }
        }
    }

    /// The topic is deleted, and created with the same name.
    pub(crate) fn create_again(&mut self, topic: usize) {
        self.kafka.topic_ids[topic] += 1;
        let partitions: Vec<At> = self.kafka.logs.keys().copied().collect();
        for at in partitions.into_iter().filter(|at| at.topic == topic) {
            let old = self.kafka.logs.insert(at, Log::default());
            for number in old.into_iter().flat_map(|old| old.records) {
                self.truth.records[number].optional = true;
            }
            if self.dice.percent(50) {
                self.kafka.committed.remove(&at);
            }
            // Sometimes further than the old one had come.
            for _ in 0..self.dice.below(30) {
                self.produce(at);
            }
        }
        self.seen.insert("topic created again");
    }

    pub(crate) fn commit_arrives(&mut self, request: CommitRequest) {
        let CommitRequest {
            process,
            life,
            number,
            member,
            generation,
            offsets,
            is_late,
            reply_lost,
        } = request;
        let current = self.kafka.group.takes(member, generation);
        let busy = self.dice.percent(self.weather.commit_refused);
        let result = if !current {
            self.seen.insert("commit of a stale generation refused");
            Err("illegal generation".to_owned())
        } else if busy {
            Err("rebalance in progress".to_owned())
        } else {
            let appended = self.kafka.append();
            for (at, from, to) in self.kafka.keep(&offsets, appended) {
                assert!(
                    is_late || self.kafka.logs[&at].once_read_to > 0,
                    "EO-2: sink {process} sets {at} back from {from} to {to}"
                );
                self.seen.insert("a late commit set an offset back");
                self.read_again(at, to, from);
            }
            Ok(())
        };
        say!(
            self,
            "Kafka: commit {number} of sink {process}: {offsets:?} {result:?}"
        );
        if reply_lost {
            self.seen.insert("reply to a commit lost");
            return;
        }
        let latency = self.latency();
        self.arrive(
            process,
            life,
            latency,
            Arrival::Committed { number, result },
        );
    }

    /// Dead letters and offsets are appended; nobody can read them yet.
    pub(crate) fn transaction_arrives(&mut self, request: TransactionRequest) {
        let TransactionRequest {
            process,
            life,
            member,
            generation,
            letters,
            offsets,
        } = request;
        let latency = self.latency();
        let unwritable = self.now < self.kafka.letters_refused_until && !letters.is_empty();
        // Kafka fences by the group's generation only what names offsets.
        let is_stale = !self.kafka.group.takes(member, generation);
        let gone = |letter: &usize| {
            let record = &self.truth.records[*letter];
            record.topic_id != self.kafka.topic_ids[record.at.topic]
        };
        if letters.iter().any(gone) {
            self.seen.insert("dead letters of a log that is gone");
            if is_stale {
                self.seen.insert("the same, sent by a zombie");
            }
        }
        let is_fenced = is_stale && !offsets.is_empty();
        let refusal = if is_fenced {
            self.seen.insert("transaction of a stale generation fenced");
            Some("illegal generation")
        } else if unwritable || self.dice.percent(self.weather.transaction_refused) {
            Some("not enough replicas")
        } else {
            None
        };
        say!(
            self,
            "Kafka: transaction of sink {process}: letters {letters:?} {offsets:?} {refusal:?}"
        );
        if let Some(why) = refusal {
            let result = Err(why.to_owned());
            self.arrive(process, life, latency, Arrival::TransactionEnded { result });
            return;
        }
        let appended = self.kafka.append();
        let abort_at = self.now + self.transaction_timeout;
        self.kafka.transactions.insert(
            appended,
            Transaction {
                letters,
                offsets,
                appended,
                abort_at,
            },
        );
        let taken = Arrival::TransactionTaken {
            transaction: appended,
        };
        self.arrive(process, life, latency, taken);
    }

    pub(crate) fn end_transaction_arrives(&mut self, process: usize, life: u32, transaction: u64) {
        let result = match self.kafka.transactions.remove(&transaction) {
            Some(open) if self.dice.percent(self.weather.transaction_aborted) => {
                drop(open);
                self.seen.insert("transaction aborted");
                Err("aborted".to_owned())
            }
            Some(open) => {
                for letter in &open.letters {
                    self.letter_is_readable(*letter);
                }
                for (at, from, to) in self.kafka.keep(&open.offsets, open.appended) {
                    self.seen.insert("a late commit overtook a transaction");
                    self.read_again(at, to, from);
                }
                Ok(())
            }
            None => {
                self.seen.insert("transaction ended by the coordinator");
                Err("invalid producer epoch".to_owned())
            }
        };
        say!(
            self,
            "Kafka: transaction {transaction} of sink {process} ends: {result:?}"
        );
        if result.is_ok() && self.dice.percent(self.weather.transaction_reply_lost) {
            // Who cannot know how it ended ends, and finds it out by what is committed.
            self.seen.insert("reply to a transaction lost");
            let later = self.dice.millis(500, 5_000);
            self.arrive(process, life, later, Arrival::Fatal);
            return;
        }
        let latency = self.latency();
        self.arrive(process, life, latency, Arrival::TransactionEnded { result });
    }

    /// The coordinator ends what its producer has left open.
    pub(crate) fn abort_old_transactions(&mut self) {
        let now = self.now;
        let before = self.kafka.transactions.len();
        self.kafka
            .transactions
            .retain(|_, open| open.abort_at > now);
        if self.kafka.transactions.len() < before {
            say!(self, "Kafka: an open transaction is aborted");
            self.seen.insert("open transaction aborted");
        }
    }

    pub(crate) fn latency(&mut self) -> Duration {
        if self.weather.is_calm {
            self.dice.millis(1, 20)
        } else {
            self.dice.skewed_millis(1, 1_000)
        }
    }

    /// Something reaches a process, unless that has ended by then.
    pub(crate) fn arrive(&mut self, process: usize, life: u32, after: Duration, arrival: Arrival) {
        self.after(
            after,
            Event::Arrival {
                process,
                life,
                arrival,
            },
        );
    }
}
