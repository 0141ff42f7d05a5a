//! Runs the whole machine against a tiny, naive world in virtual time: a log of
//! a few partitions, an Elasticsearch and a dead-letter topic that fail in every
//! way they know, a consumer group that gives and takes, crashes and shutdowns.
//! One number is a whole run; EO-1 to EO-6 are checked at every step, and each
//! run must come to rest once the faults have ended.
//!
//! `MACHINE_SEED=17 cargo test --release -p es-sink-core --test machine` runs one again.

#![expect(clippy::unwrap_used, reason = "a test stops at what must not be")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use es_sink_core::assignment::TopicPartition;
use es_sink_core::batcher::BulkLimits;
use es_sink_core::bulk_request::Record;
use es_sink_core::dead_letter::DeadLetter;
use es_sink_core::retry::Backoff;
use es_sink_core::sink::{BulkId, Command, DeadLetterId, Input, Sink, SinkConfig};
use log_event::offset::{NextOffset, Offset};

const RUNS: u64 = 3_000;
const TOPIC: &str = "logs";
const NOON: i64 = 1_694_779_200_000;
/// From the end of the faults to rest, at the longest.
const REST_WITHIN: Duration = Duration::from_secs(300);
/// A dead letter in the making is larger than the item that it was.
const LETTER_BYTES_MAX: usize = 1_000;

/// What the runs must meet, all in all.
const EVERYTHING: [&str; 26] = [
    "commit failed",
    "crash",
    "dead letter retried",
    "document_parsing_exception",
    "end",
    "forbidden",
    "index_blocked",
    "index_closed",
    "index_missing",
    "indexed",
    "late record ignored",
    "no_reply",
    "no_value",
    "not_an_object",
    "overloaded",
    "release, drained",
    "release, not drained",
    "request_entity_too_large",
    "resume",
    "split",
    "unauthorized",
    "unavailable",
    "unexplained",
    "unreadable_reply",
    "updated",
    "x_content_parse_exception",
];

/// Partition and offset.
type Key = (i32, i64);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Nature {
    Good,
    /// Refused as an item.
    Poison,
    /// Any request that holds it is refused as a whole.
    Spoiler,
    /// The same, as too large.
    TooLarge,
    Tombstone,
    NoObject,
}

#[derive(Debug)]
struct LogRecord {
    key: Key,
    nature: Nature,
    value: Option<Vec<u8>>,
    headers: Vec<(&'static str, Option<Vec<u8>>)>,
}

#[derive(Debug, Default)]
struct Partition {
    log: Vec<LogRecord>,
    committed: Option<i64>,
    owned: bool,
    paused: bool,
    /// The next record to deliver.
    next: usize,
    /// The highest commit of this assignment.
    highest: i64,
    /// Counts its assignments.
    epoch: u32,
}

/// What is on its way back to the machine.
#[derive(Debug)]
enum Reply {
    Bulk {
        bulk: BulkId,
        applied: Vec<Key>,
        reply: Result<(u16, String), String>,
    },
    Letter {
        id: DeadLetterId,
        key: Key,
        epoch: u32,
        result: Result<(), String>,
    },
    Commit(Result<(), String>),
}

struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % end
    }

    fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }

    fn millis(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.below(to - from))
    }
}

struct World {
    dice: Dice,
    now: Duration,
    heal_at: Duration,
    /// How often partitions move, in percent of the steps.
    turmoil: u64,
    /// Until then most items are refused.
    outage_until: Duration,
    config: SinkConfig,
    sink: Sink,
    partitions: Vec<Partition>,
    replies: Vec<(Duration, Reply)>,
    identities: BTreeMap<Key, (String, Vec<u8>)>,
    indexed: BTreeSet<Key>,
    dead: BTreeSet<Key>,
    /// Acknowledged dead letters by assignment.
    dead_by_epoch: BTreeSet<(Key, u32)>,
    paused: bool,
    assigned_since_pause: bool,
    /// Partitions that the machine is to give back.
    releasing: Vec<i32>,
    shutting_down: bool,
    exited: bool,
    commit_in_flight: bool,
    /// What this run went through: a test that meets no trouble proves nothing.
    seen: BTreeSet<&'static str>,
}

fn at(partition: i32) -> TopicPartition {
    TopicPartition {
        topic: TOPIC.to_owned(),
        partition,
    }
}

fn random_config(dice: &mut Dice) -> SinkConfig {
    SinkConfig {
        group: "group".to_owned(),
        index_pattern: "logflow-{date}".parse().unwrap(),
        bulk: BulkLimits {
            bytes_max: 65_536,
            items_max: 1 + dice.below(8) as usize,
            linger: dice.millis(0, 200),
        },
        bulk_concurrency: 1 + dice.below(3) as usize,
        bytes_held_max: 600 + dice.below(20_000) as usize,
        dead_letters_in_flight_max: 1 + dice.below(4) as usize,
        commit_interval: dice.millis(50, 1_000),
        drain_max: dice.millis(1, 5_000),
        backoff: Backoff {
            first: dice.millis(1, 200),
            longest: dice.millis(200, 3_000),
        },
        seed: dice.below(u64::MAX),
    }
}

fn random_record(dice: &mut Dice, key: Key) -> LogRecord {
    let nature = match dice.below(40) {
        0 | 1 => Nature::Poison,
        2 => Nature::Spoiler,
        3 => Nature::TooLarge,
        4 => Nature::Tombstone,
        5 => Nature::NoObject,
        _ => Nature::Good,
    };
    let (partition, offset) = key;
    let filler = "x".repeat(dice.below(60) as usize);
    let breaks = if dice.percent(10) { "\n" } else { "" };
    let value = match nature {
        Nature::Tombstone => None,
        Nature::NoObject => Some("[1]".to_owned()),
        _ => Some(format!(
            r#"{{"p":{partition},{breaks}"o":{offset},"x":"{filler}"}}"#
        )),
    };
    let mut headers = Vec::new();
    if dice.percent(60) {
        let id = format!("id \"{partition}\"/{offset}");
        let time = NOON + 86_400_000 * dice.below(2) as i64;
        headers.push(("event-id", Some(id.into_bytes())));
        headers.push(("event-time", Some(time.to_string().into_bytes())));
        headers.push(("dialect", None));
    }
    LogRecord {
        key,
        nature,
        value: value.map(String::into_bytes),
        headers,
    }
}

fn random_partition(dice: &mut Dice, partition: i32) -> Partition {
    let mut offset = dice.below(3) as i64;
    let mut log = Vec::new();
    for _ in 0..dice.below(60) {
        log.push(random_record(dice, (partition, offset)));
        let gap = if dice.percent(10) { dice.below(5) } else { 0 };
        offset += 1 + gap as i64;
    }
    Partition {
        log,
        ..Partition::default()
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let mut dice = Dice(seed);
        let config = random_config(&mut dice);
        let n_partitions = 1 + dice.below(4) as i32;
        Self {
            now: Duration::from_secs(1),
            heal_at: dice.millis(1, 30_000),
            turmoil: dice.below(5),
            outage_until: Duration::ZERO,
            sink: Sink::new(config.clone()),
            config,
            partitions: (0..n_partitions)
                .map(|partition| random_partition(&mut dice, partition))
                .collect(),
            replies: Vec::new(),
            identities: BTreeMap::new(),
            indexed: BTreeSet::new(),
            dead: BTreeSet::new(),
            dead_by_epoch: BTreeSet::new(),
            paused: false,
            assigned_since_pause: false,
            releasing: Vec::new(),
            shutting_down: false,
            exited: false,
            commit_in_flight: false,
            seen: BTreeSet::new(),
            dice,
        }
    }

    fn run(&mut self) {
        let mut n_steps = 0;
        while !self.is_at_rest() {
            self.step();
            n_steps += 1;
            assert!(
                self.now < self.heal_at + REST_WITHIN && n_steps < 200_000,
                "no rest: {:?}",
                self.sink.status()
            );
        }
        for partition in &self.partitions {
            for record in &partition.log {
                let is_document = self.indexed.contains(&record.key);
                let is_dead = self.dead.contains(&record.key);
                assert!(is_document != is_dead, "EO-4: {record:?}");
            }
        }
        self.note_counters();
        let status = self.sink.status();
        assert_eq!(status.bytes_held, 0, "EO-6: bytes are leaked");
        assert_eq!(status.held, [], "nothing is held any more");
    }

    fn note_counters(&mut self) {
        let counters = self.sink.counters();
        for (what, count) in [
            ("indexed", counters.indexed),
            ("updated", counters.updated),
            ("split", counters.bulks_split),
            ("dead letter retried", counters.dead_letter_retries),
            ("commit failed", counters.commits_failed),
            ("late record ignored", counters.records_ignored),
        ] {
            if count > 0 {
                self.seen.insert(what);
            }
        }
        self.seen
            .extend(counters.retries.keys().map(|cause| cause.label()));
        self.seen
            .extend(counters.holds.keys().map(|cause| cause.label()));
        self.seen.extend(counters.dead_letters.keys());
    }

    fn is_healed(&self) -> bool {
        self.now >= self.heal_at
    }

    fn is_at_rest(&self) -> bool {
        let is_committed = |partition: &Partition| {
            let end = partition.log.last().map(|last| last.key.1 + 1);
            partition.owned && partition.committed == end
        };
        let status = self.sink.status();
        self.is_healed()
            && self.replies.is_empty()
            && self.partitions.iter().all(is_committed)
            && status.partitions.iter().all(|own| own.in_flight == 0)
            && status.bulks_waiting == 0
            && !self.paused
    }

    fn step(&mut self) {
        if self.exited || (!self.is_healed() && self.dice.below(5_000) < 10 * self.turmoil) {
            self.restart();
        }
        if self.dice.percent(1) {
            self.outage_until = self.now + self.dice.millis(1, 20_000);
        }
        if !self.is_healed() && self.dice.percent(self.turmoil) {
            self.rebalance();
        } else if (self.is_healed() || self.dice.percent(2))
            && self.releasing.is_empty()
            && !self.shutting_down
        {
            let all: Vec<i32> = (0..self.partitions.len() as i32).collect();
            self.assign(&all);
        }
        if self.dice.percent(60) {
            self.deliver_records();
        }
        if self.dice.percent(60) {
            let deadline = self.sink.next_deadline(self.now);
            assert!(deadline > self.now, "a busy loop at {:?}", self.now);
            let reply_at = self.replies.iter().map(|(due, _)| *due).min();
            self.now = reply_at
                .map_or(deadline, |due| due.min(deadline))
                .max(self.now);
        }
        self.deliver_reply();
        self.pump();
    }

    /// A crash, or a new process after the end of the old one.
    fn restart(&mut self) {
        for (_, reply) in std::mem::take(&mut self.replies) {
            // What was on its way may or may not have arrived.
            if let Reply::Bulk { applied, .. } = reply
                && self.dice.percent(50)
            {
                self.indexed.extend(applied);
            }
        }
        for partition in &mut self.partitions {
            partition.owned = false;
        }
        self.note_counters();
        self.seen.insert(if self.exited { "end" } else { "crash" });
        self.sink = Sink::new(self.config.clone());
        self.paused = false;
        self.releasing.clear();
        self.shutting_down = false;
        self.exited = false;
        self.commit_in_flight = false;
    }

    fn rebalance(&mut self) {
        if !self.releasing.is_empty() || self.shutting_down {
            return;
        }
        let chosen: Vec<i32> = (0..self.partitions.len() as i32)
            .filter(|_| self.dice.percent(50))
            .collect();
        let owned = |world: &Self| -> Vec<i32> {
            let ours = |p: &&i32| world.partitions[**p as usize].owned;
            chosen.iter().filter(ours).copied().collect()
        };
        match self.dice.below(10) {
            0 | 1 => {
                let leaving = owned(self);
                let input = Input::Revoked(leaving.iter().copied().map(at).collect());
                self.sink.handle(self.now, input);
                self.releasing = leaving;
            }
            2 => {
                let lost = owned(self);
                for p in &lost {
                    self.partitions[*p as usize].owned = false;
                }
                let input = Input::Lost(lost.iter().copied().map(at).collect());
                self.sink.handle(self.now, input);
                // A record that was fetched before is delivered late.
                for p in lost {
                    self.deliver_one(p);
                }
            }
            3 if self.dice.percent(20) => {
                self.sink.handle(self.now, Input::Shutdown);
                self.releasing = (0..self.partitions.len() as i32).collect();
                self.shutting_down = true;
            }
            _ => self.assign(&chosen),
        }
        self.pump();
    }

    fn assign(&mut self, chosen: &[i32]) {
        let mut new = Vec::new();
        for p in chosen {
            let partition = &mut self.partitions[*p as usize];
            if partition.owned {
                continue;
            }
            let from = partition.committed.unwrap_or(0);
            partition.owned = true;
            partition.paused = false;
            partition.epoch += 1;
            partition.highest = from;
            partition.next = partition.log.partition_point(|r| r.key.1 < from);
            new.push((at(*p), partition.committed.map(NextOffset)));
        }
        if !new.is_empty() {
            self.assigned_since_pause = true;
            self.sink.handle(self.now, Input::Assigned(new));
            self.pump();
        }
    }

    fn deliver_records(&mut self) {
        for _ in 0..self.dice.below(12) {
            let p = self.dice.below(self.partitions.len() as u64) as i32;
            let partition = &self.partitions[p as usize];
            let reads = self.sink.is_paused() || self.sink.accepts_records();
            if reads && partition.owned && !partition.paused && self.releasing.is_empty() {
                self.deliver_one(p);
                self.check_memory();
            }
            if self.dice.percent(50) {
                self.pump();
            }
        }
    }

    fn deliver_one(&mut self, p: i32) {
        let partition = &mut self.partitions[p as usize];
        let Some(record) = partition.log.get(partition.next) else {
            return;
        };
        partition.next += 1;
        let headers = record.headers.iter();
        self.sink.record(
            self.now,
            &Record {
                topic: TOPIC,
                partition: p,
                offset: Offset(record.key.1),
                timestamp_ms: Some(NOON + record.key.1 / 3),
                key: None,
                value: record.value.as_deref(),
                headers: headers.map(|(name, value)| (*name, value.as_deref())),
            },
        );
    }

    fn deliver_reply(&mut self) {
        let Some(due) = self.replies.iter().position(|(due, _)| *due <= self.now) else {
            return;
        };
        let (_, reply) = self.replies.swap_remove(due);
        match reply {
            Reply::Bulk {
                bulk,
                applied,
                reply,
            } => {
                self.indexed.extend(applied);
                let reply = match &reply {
                    Ok((status, body)) => Ok((*status, body.as_bytes())),
                    Err(why) => Err(why.clone()),
                };
                self.sink.handle(self.now, Input::BulkReply { bulk, reply });
            }
            Reply::Letter {
                id,
                key,
                epoch,
                result,
            } => {
                if result.is_ok() {
                    self.dead.insert(key);
                    let first = self.dead_by_epoch.insert((key, epoch));
                    assert!(
                        first,
                        "EO-4: {key:?} is dead-lettered twice in one assignment"
                    );
                }
                self.sink
                    .handle(self.now, Input::DeadLetterReply { id, result });
            }
            Reply::Commit(result) => {
                self.commit_in_flight = false;
                self.sink.handle(self.now, Input::CommitReply(result));
            }
        }
    }

    fn pump(&mut self) {
        for n_commands in 0.. {
            assert!(n_commands < 10_000, "commands without end");
            let Some(command) = self.sink.poll_command(self.now) else {
                break;
            };
            match command {
                Command::SendBulk { bulk, body } => self.bulk(bulk, &body),
                Command::SendDeadLetter { id, letter } => self.dead_letter(id, &letter),
                Command::Commit(offsets) => self.commit(&offsets),
                Command::Pause => {
                    let again = self.paused && self.assigned_since_pause;
                    assert!(!self.paused || again, "paused twice");
                    self.paused = true;
                    self.assigned_since_pause = false;
                    self.partitions.iter_mut().for_each(|p| p.paused = p.owned);
                }
                Command::Resume => {
                    assert!(self.paused, "resumed without a pause");
                    self.paused = false;
                    self.seen.insert("resume");
                    self.partitions.iter_mut().for_each(|p| p.paused = false);
                }
                Command::Release(offsets) => self.release(&offsets),
                Command::Exit => {
                    assert!(self.shutting_down, "nobody asked it to end");
                    self.exited = true;
                }
            }
        }
        self.check_memory();
    }

    fn check_memory(&self) {
        let status = self.sink.status();
        let letters = status.dead_letters_waiting * LETTER_BYTES_MAX;
        let one_record = 500;
        let bound = self.config.bytes_held_max + one_record + letters;
        assert!(status.bytes_held <= bound, "EO-6: {status:?}");
        assert!(status.bulks_in_flight <= self.config.bulk_concurrency);
    }

    fn record_of(&self, key: Key) -> &LogRecord {
        let log = &self.partitions[key.0 as usize].log;
        let index = log.binary_search_by_key(&key.1, |record| record.key.1);
        &log[index.expect("only what is in the log is sent")]
    }

    fn bulk(&mut self, bulk: BulkId, body: &[u8]) {
        let keys = self.read_body(body);
        let natures: Vec<Nature> = keys.iter().map(|key| self.record_of(*key).nature).collect();
        let faults = !self.is_healed();
        let mut applied = Vec::new();
        let mut reply = if natures.contains(&Nature::TooLarge) {
            Ok((413, String::new()))
        } else if natures.contains(&Nature::Spoiler) {
            Ok((400, error("x_content_parse_exception")))
        } else if faults && self.dice.percent(20) {
            self.refuse_whole(keys.len())
        } else {
            let mut items = Vec::new();
            for (key, nature) in keys.iter().zip(natures) {
                let item = self.item_reply(*key, nature, faults);
                if item.starts_with(r#"{"index":{"result""#) {
                    applied.push(*key);
                }
                items.push(item);
            }
            if faults && self.dice.percent(5) {
                items.pop();
            }
            let whole = format!(r#"{{"errors":true,"items":[{}]}}"#, items.join(","));
            let cut = if faults && self.dice.percent(5) { 3 } else { 0 };
            Ok((200, whole[..whole.len() - cut].to_owned()))
        };
        if faults && self.dice.percent(8) {
            // Carried out, and the reply lost; or not even that.
            reply = Err("connection reset".to_owned());
            if self.dice.percent(50) {
                applied.clear();
            }
        }
        let latency = if faults {
            self.dice.millis(1, 1_000)
        } else {
            self.dice.millis(1, 300)
        };
        let due = self.now + latency;
        self.replies.push((
            due,
            Reply::Bulk {
                bulk,
                applied,
                reply,
            },
        ));
    }

    fn refuse_whole(&mut self, n_items: usize) -> Result<(u16, String), String> {
        let refusals = [
            (400, "illegal_argument_exception"),
            (400, "never_heard_of_exception"),
            (401, "security_exception"),
            (403, "security_exception"),
            (404, "index_not_found_exception"),
            (429, "es_rejected_execution_exception"),
            (503, "unavailable_shards_exception"),
            (413, "too_large"),
        ];
        let (status, kind) = refusals[self.dice.below(refusals.len() as u64) as usize];
        if status == 413 && n_items == 1 {
            return Ok((502, "<html>".to_owned()));
        }
        Ok((status, error(kind)))
    }

    fn item_reply(&mut self, key: Key, nature: Nature, faults: bool) -> String {
        let refusals = [
            (429, "es_rejected_execution_exception"),
            (429, "cluster_block_exception"),
            (403, "cluster_block_exception"),
            (403, "security_exception"),
            (503, "unavailable_shards_exception"),
            (404, "index_not_found_exception"),
            (400, "index_closed_exception"),
            (400, "illegal_argument_exception"),
            (400, "never_heard_of_exception"),
            (500, "null_pointer_exception"),
        ];
        let chance = if self.now < self.outage_until { 85 } else { 15 };
        let (status, kind) = if faults && self.dice.percent(chance) {
            refusals[self.dice.below(refusals.len() as u64) as usize]
        } else if nature == Nature::Poison {
            (400, "document_parsing_exception")
        } else if self.indexed.contains(&key) {
            return r#"{"index":{"result":"updated","status":200}}"#.to_owned();
        } else {
            return r#"{"index":{"result":"created","status":201}}"#.to_owned();
        };
        let mut item = String::new();
        write!(
            item,
            r#"{{"index":{{"status":{status},"error":{{"type":"{kind}","reason":"r"}}}}}}"#
        )
        .unwrap();
        item
    }

    /// Which records a body holds; each is what it was the first time (EO-3).
    fn read_body(&mut self, body: &[u8]) -> Vec<Key> {
        let body = body.strip_suffix(b"\n").expect("the last line ends, too");
        let lines: Vec<&[u8]> = body.split(|byte| *byte == b'\n').collect();
        assert!(lines.len().is_multiple_of(2) && lines.len() / 2 <= self.config.bulk.items_max);
        let mut keys = Vec::new();
        for pair in lines.chunks(2) {
            let source: serde_json::Value = serde_json::from_slice(pair[1]).unwrap();
            let number = |name: &str| source[name].as_i64().unwrap();
            let key = (number("p") as i32, number("o"));
            let action = String::from_utf8(pair[0].to_vec()).unwrap();
            let read: serde_json::Value = serde_json::from_str(&action).unwrap();
            assert!(read["index"]["_id"].is_string(), "{action}");
            let before = self
                .identities
                .entry(key)
                .or_insert_with(|| (action.clone(), pair[1].to_vec()));
            assert_eq!(*before, (action, pair[1].to_vec()), "EO-3: {key:?}");
            keys.push(key);
        }
        keys
    }

    fn dead_letter(&mut self, id: DeadLetterId, letter: &DeadLetter) {
        let header = |name: &str| {
            let name = format!("__connect.errors.{name}");
            let found = letter.headers.iter().find(|(other, _)| *other == name);
            let value = found.and_then(|(_, value)| value.clone()).unwrap();
            String::from_utf8(value).unwrap()
        };
        let key = (
            header("partition").parse().unwrap(),
            header("offset").parse().unwrap(),
        );
        let record = self.record_of(key);
        assert_ne!(record.nature, Nature::Good, "EO-5: {record:?} {letter:?}");
        assert_eq!(letter.value, record.value, "the original value");
        for (kept, (name, value)) in letter.headers.iter().zip(&record.headers) {
            assert_eq!((kept.0.as_str(), &kept.1), (*name, value));
        }
        let epoch = self.partitions[key.0 as usize].epoch;
        let fails = !self.is_healed() && self.dice.percent(30);
        let result = if fails {
            Err("queue full".to_owned())
        } else {
            Ok(())
        };
        let due = self.now + self.dice.millis(1, 400);
        self.replies.push((
            due,
            Reply::Letter {
                id,
                key,
                epoch,
                result,
            },
        ));
    }

    fn check_offsets(&mut self, offsets: &[(TopicPartition, NextOffset)]) {
        for (at, next) in offsets {
            let partition = &mut self.partitions[at.partition as usize];
            assert!(partition.owned, "EO-2: {at} is not ours");
            assert!(
                partition.highest <= next.0,
                "EO-2: {at} goes back to {next}"
            );
            partition.highest = next.0;
            let open = partition.log.iter().find(|record| {
                !self.indexed.contains(&record.key) && !self.dead.contains(&record.key)
            });
            assert!(
                open.is_none_or(|record| next.0 <= record.key.1),
                "EO-1: {at} would commit {next} past {open:?}"
            );
        }
    }

    fn commit(&mut self, offsets: &[(TopicPartition, NextOffset)]) {
        assert!(!self.commit_in_flight, "one commit at a time");
        assert!(!offsets.is_empty());
        self.check_offsets(offsets);
        self.commit_in_flight = true;
        let fails = !self.is_healed() && self.dice.percent(20);
        self.keep_offsets(offsets, fails);
        let result = if fails {
            Err("rebalance in progress".to_owned())
        } else {
            Ok(())
        };
        let due = self.now + self.dice.millis(1, 800);
        self.replies.push((due, Reply::Commit(result)));
    }

    /// A commit that fails may have come through all the same.
    fn keep_offsets(&mut self, offsets: &[(TopicPartition, NextOffset)], fails: bool) {
        if !fails || self.dice.percent(50) {
            for (at, next) in offsets {
                self.partitions[at.partition as usize].committed = Some(next.0);
            }
        }
    }

    fn release(&mut self, offsets: &[(TopicPartition, NextOffset)]) {
        self.check_offsets(offsets);
        let fails = !self.is_healed() && self.dice.percent(20);
        self.keep_offsets(offsets, fails);
        let status = self.sink.status();
        let n_unsettled = status.bulks_in_flight + status.bulks_waiting;
        self.seen.insert(match n_unsettled {
            0 => "release, drained",
            _ => "release, not drained",
        });
        for p in std::mem::take(&mut self.releasing) {
            self.partitions[p as usize].owned = false;
        }
    }
}

fn error(kind: &str) -> String {
    format!(r#"{{"error":{{"type":"{kind}","reason":"r"}},"status":0}}"#)
}

struct SaysSeed(u64);

impl Drop for SaysSeed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the run with MACHINE_SEED={} failed", self.0);
        }
    }
}

#[test]
fn every_guarantee_holds_whatever_fails() {
    let seeds = match std::env::var("MACHINE_SEED") {
        Ok(seed) => {
            let seed: u64 = seed.parse().unwrap();
            seed..seed + 1
        }
        Err(_) => 0..RUNS,
    };
    let is_whole = seeds.end - seeds.start == RUNS;
    let mut seen = BTreeSet::new();
    for seed in seeds {
        let _says_seed = SaysSeed(seed);
        let mut world = World::new(seed);
        world.run();
        seen.extend(world.seen);
    }
    let met: Vec<&str> = seen.into_iter().collect();
    if is_whole {
        assert_eq!(met, EVERYTHING);
    }
}
