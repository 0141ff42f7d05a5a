//! Where the machine's commands go: Elasticsearch, the dead-letter topic and the
//! group's offsets, each of which fails until the faults have ended. EO-1, EO-2,
//! EO-3 and EO-5 are checked here, as the command arrives.

use es_sink_core::assignment::TopicPartition;
use es_sink_core::dead_letter::DeadLetter;
use es_sink_core::sink::BulkId;
use log_event::offset::NextOffset;

use crate::log::{Key, Nature};
use crate::{Reply, World};

impl World {
    pub(crate) fn bulk(&mut self, bulk: BulkId, body: &[u8]) {
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
        format!(r#"{{"index":{{"status":{status},"error":{{"type":"{kind}","reason":"r"}}}}}}"#)
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

    pub(crate) fn transact(
        &mut self,
        letters: &[DeadLetter],
        offsets: Vec<(TopicPartition, NextOffset)>,
    ) {
        assert!(!self.commit_in_flight, "one commit at a time");
        assert!(!letters.is_empty());
        let keys: Vec<Key> = letters.iter().map(|letter| self.key_of(letter)).collect();
        self.check_offsets(&offsets, &keys);
        for key in &keys {
            let passed =
                |(at, next): &(TopicPartition, NextOffset)| at.partition == key.0 && next.0 > key.1;
            assert!(offsets.iter().any(passed), "EO-4: {key:?} is not passed");
        }
        self.commit_in_flight = true;
        let epoch =
            |(at, _): &(TopicPartition, NextOffset)| self.partitions[at.partition as usize].epoch;
        let epochs = offsets.iter().map(epoch).collect();
        let fails = !self.is_healed() && self.dice.percent(30);
        let result = if fails {
            Err("coordinator not available".to_owned())
        } else {
            Ok(())
        };
        let due = self.now + self.dice.millis(1, 400);
        let transaction = Reply::Transaction {
            keys,
            offsets,
            epochs,
            result,
        };
        self.replies.push((due, transaction));
    }

    /// The coordinator commits it, unless a partition is no longer that member's.
    pub(crate) fn transaction_ends(
        &mut self,
        keys: Vec<Key>,
        offsets: &[(TopicPartition, NextOffset)],
        epochs: &[u32],
    ) -> Result<(), String> {
        let fenced = offsets.iter().zip(epochs).any(|((at, _), epoch)| {
            let partition = &self.partitions[at.partition as usize];
            !partition.owned || partition.epoch != *epoch
        });
        if fenced {
            return Err("illegal generation".to_owned());
        }
        for key in keys {
            assert!(
                self.dead.insert(key),
                "EO-4: {key:?} is dead-lettered twice"
            );
        }
        self.keep_offsets(offsets, false);
        for (at, next) in offsets {
            self.partitions[at.partition as usize].highest = next.0;
        }
        Ok(())
    }

    fn key_of(&self, letter: &DeadLetter) -> Key {
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
        key
    }

    /// `letters` go out together with the offsets.
    fn check_offsets(&mut self, offsets: &[(TopicPartition, NextOffset)], letters: &[Key]) {
        for (at, next) in offsets {
            let partition = &mut self.partitions[at.partition as usize];
            assert!(partition.owned, "EO-2: {at} is not ours");
            assert!(
                partition.highest <= next.0,
                "EO-2: {at} goes back to {next}"
            );
            // A transaction that fails has passed nothing: what it would have passed is
            // still to be settled, and a commit below it is right.
            if letters.is_empty() {
                partition.highest = next.0;
            }
            let open = partition.log.iter().find(|record| {
                !self.indexed.contains(&record.key)
                    && !self.dead.contains(&record.key)
                    && !letters.contains(&record.key)
            });
            assert!(
                open.is_none_or(|record| next.0 <= record.key.1),
                "EO-1: {at} would commit {next} past {open:?}"
            );
        }
    }

    pub(crate) fn commit(&mut self, offsets: &[(TopicPartition, NextOffset)]) {
        assert!(!self.commit_in_flight, "one commit at a time");
        assert!(!offsets.is_empty());
        self.check_offsets(offsets, &[]);
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

    pub(crate) fn release(&mut self, offsets: &[(TopicPartition, NextOffset)]) {
        self.check_offsets(offsets, &[]);
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
