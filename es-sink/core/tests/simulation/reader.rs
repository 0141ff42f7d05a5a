//! What a process reads: one position a partition, some records fetched ahead,
//! and a look now and then at whether the topic is still the same one.

use std::collections::VecDeque;

use es_sink_core::bulk_request::Record;
use es_sink_core::sink::Input;
use log_event::offset::Offset;

use crate::process::named;
use crate::say;
use crate::truth::{At, TOPICS};
use crate::world::World;

/// One partition as the consumer reads it.
#[derive(Debug)]
pub(crate) struct Reader {
    /// Whose log it believes that it reads.
    pub(crate) topic_id: u32,
    pub(crate) position: i64,
    /// Fetched ahead.
    pub(crate) fetched: VecDeque<usize>,
    pub(crate) paused: bool,
    /// The last record given to the core.
    pub(crate) last_offset: i64,
    /// The highest commit of this assignment.
    pub(crate) highest: i64,
    /// What the transaction in flight would commit.
    pub(crate) transacting_to: Option<i64>,
}

impl World {
    /// Gives the core a record of one of its partitions, if there is any.
    pub(crate) fn deliver_any(&mut self, p: usize) -> bool {
        let readers = &self.processes[p].readers;
        let reading: Vec<At> = readers
            .iter()
            .filter(|(_, reader)| !reader.paused)
            .map(|(at, _)| *at)
            .collect();
        if reading.is_empty() {
            return false;
        }
        let first = self.dice.index(reading.len());
        (0..reading.len()).any(|n| self.deliver(p, reading[(first + n) % reading.len()]))
    }

    pub(crate) fn deliver(&mut self, p: usize, at: At) -> bool {
        if self.processes[p].readers[&at].fetched.is_empty() {
            self.fetch_ahead(p, at);
        }
        let reader = self.processes[p].readers.get_mut(&at).expect("it is read");
        let Some(number) = reader.fetched.pop_front() else {
            return false;
        };
        let record = &mut self.truth.records[number];
        if record.topic_id != reader.topic_id {
            // It will come again once the sink sees that this is another topic.
            record.letters_max += 1;
            self.seen
                .insert("read of a new topic, taken for the old one");
        }
        if record.offset <= reader.last_offset {
            reader.highest = 0;
            reader.transacting_to = None;
            self.seen.insert("reading went back");
        }
        reader.last_offset = record.offset;
        self.give(p, number);
        true
    }

    pub(crate) fn give(&mut self, p: usize, number: usize) {
        say!(self, "sink {p} reads {}", self.describe(number));
        let now = self.now_of(p);
        let record = &self.truth.records[number];
        let headers = record.headers.iter();
        let record = Record {
            topic: TOPICS[record.at.topic],
            partition: record.at.partition,
            offset: Offset(record.offset),
            timestamp_ms: record.timestamp_ms,
            key: None,
            value: record.value.as_deref(),
            headers: headers.map(|(name, value)| (*name, value.as_deref())),
            mark: None,
        };
        self.processes[p].sink.record(now, &record);
    }

    pub(crate) fn fetch_ahead(&mut self, p: usize, at: At) {
        let log_end = self.kafka.logs[&at].end;
        let topic_id = self.kafka.topic_ids[at.topic];
        let reader = self.processes[p].readers.get_mut(&at).expect("it is read");
        if reader.position > log_end {
            // Out of range: `auto.offset.reset` is `earliest`.
            reader.position = 0;
            reader.highest = 0;
            reader.transacting_to = None;
            if reader.topic_id == topic_id {
                self.seen.insert("reading set back after a lost tail");
                self.read_anew(at);
            }
        }
        let n_max = 1 + self.dice.index(8);
        let from = self.processes[p].readers[&at].position;
        let numbers: Vec<usize> = self.fetch(at, from, n_max).to_vec();
        let position = match numbers.last() {
            Some(last) => self.truth.records[*last].offset + 1,
            None => log_end,
        };
        let log = self.kafka.logs.get_mut(&at).expect("it exists");
        log.read_to = log.read_to.max(position);
        let reader = self.processes[p].readers.get_mut(&at).expect("it is read");
        reader.position = position;
        reader.fetched.extend(numbers);
    }

    /// A look at the ids of the topics.
    pub(crate) fn watch(&mut self, p: usize) {
        if self.processes[p].stalls {
            return;
        }
        let ids = &self.kafka.topic_ids;
        let readers = &mut self.processes[p].readers;
        let mut restarted = Vec::new();
        for (at, reader) in readers
            .iter_mut()
            .filter(|(at, reader)| reader.topic_id != ids[at.topic])
        {
            *reader = Reader {
                topic_id: ids[at.topic],
                position: 0,
                fetched: VecDeque::new(),
                paused: reader.paused,
                last_offset: -1,
                highest: 0,
                transacting_to: None,
            };
            restarted.push(named(*at));
        }
        if !restarted.is_empty() {
            say!(self, "sink {p} sees new topics: {restarted:?}");
            self.seen.insert("new topic noticed");
            self.handle(p, Input::LogRestarted(restarted));
            self.pump(p);
            self.schedule(p);
        }
    }
}
