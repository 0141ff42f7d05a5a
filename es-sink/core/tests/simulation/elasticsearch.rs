//! An Elasticsearch of a few nodes: each holds a part of every index and
//! coordinates requests. A document is applied first and synced to disk later;
//! it is acknowledged when it is synced, and a node that crashes forgets what
//! was not. Replies get lost, cut, late; nodes, indices and privileges come and go.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::time::Duration;

use es_sink_core::sink::BulkId;

use crate::process::Arrival;
use crate::say;
use crate::truth::Nature;
use crate::world::{Event, World};

/// No bulk request is waited for longer.
pub(crate) const BULK_TIMEOUT: Duration = Duration::from_secs(20);

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) down_until: Duration,
    pub(crate) slow_until: Duration,
    n_crashes: u32,
    /// What was applied since the last sync; some of it is synced by now.
    unsynced: Vec<Vec<u8>>,
}

/// An index that takes nothing for a while.
#[derive(Debug)]
pub(crate) struct IndexFault {
    /// The end of its name: the day.
    pub(crate) day: &'static str,
    pub(crate) answer: (u16, &'static str),
    pub(crate) until: Duration,
}

#[derive(Debug)]
pub(crate) struct Elasticsearch {
    pub(crate) nodes: Vec<Node>,
    pub(crate) index_faults: Vec<IndexFault>,
    /// Until then every request is answered so.
    pub(crate) refuses_all: Option<((u16, &'static str), Duration)>,
    /// Until then queues are full.
    pub(crate) overloaded_until: Duration,
    documents: HashMap<Vec<u8>, Document>,
    pub(crate) n_underway: usize,
}

#[derive(Debug)]
struct Document {
    event: usize,
    is_synced: bool,
}

/// One line pair of a body.
#[derive(Debug)]
struct Item {
    event: usize,
    /// Index and id, as the action line says them.
    key: Vec<u8>,
    is_create: bool,
}

#[derive(Debug)]
pub(crate) struct BulkArrival {
    process: usize,
    life: u32,
    bulk: BulkId,
    items: Vec<Item>,
}

/// Items that are applied and not yet synced, with what will be said of each.
#[derive(Debug)]
pub(crate) struct BulkSync {
    process: usize,
    life: u32,
    bulk: BulkId,
    items: Vec<(Item, Answer)>,
    crashes_before: Vec<u32>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Answer {
    Created,
    Updated,
    Refused(u16, &'static str),
}

/// Stands for the words with which a mapping is refused that is new or contradicted.
const NEW_MAPPING: &str = "mapper";

const REFUSALS: [(u16, &str); 12] = [
    (429, "es_rejected_execution_exception"),
    (429, "es_rejected_execution_exception"),
    (429, "cluster_block_exception"),
    (403, "cluster_block_exception"),
    (403, "security_exception"),
    (401, "security_exception"),
    (503, "unavailable_shards_exception"),
    (404, "index_not_found_exception"),
    (400, "index_closed_exception"),
    (400, "illegal_argument_exception"),
    (400, "never_heard_of_exception"),
    (500, "null_pointer_exception"),
];

pub(crate) const INDEX_REFUSALS: [(u16, &str); 6] = [
    (403, "cluster_block_exception"),
    (429, "cluster_block_exception"),
    (403, "security_exception"),
    (404, "index_not_found_exception"),
    (400, "index_closed_exception"),
    (400, "validation_exception"),
];

/// What stands before Elasticsearch answers in its own way.
const BAD_GATEWAY: (u16, &str) = (502, "<html><body>502 Bad Gateway</body></html>");

pub(crate) const WHOLE_REFUSALS: [(u16, &str); 10] = [
    (400, "illegal_argument_exception"),
    (400, "never_heard_of_exception"),
    (401, "security_exception"),
    (403, "security_exception"),
    (404, "index_not_found_exception"),
    (408, "timeout"),
    (429, "es_rejected_execution_exception"),
    BAD_GATEWAY,
    (503, "unavailable_shards_exception"),
    (413, "too_large"),
];

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Created => write!(f, "created"),
            Self::Updated => write!(f, "updated"),
            Self::Refused(status, kind) => write!(f, "{status} {kind}"),
        }
    }
}

impl Elasticsearch {
    pub(crate) fn new(n_nodes: usize) -> Self {
        let node = || Node {
            down_until: Duration::ZERO,
            slow_until: Duration::ZERO,
            n_crashes: 0,
            unsynced: Vec::new(),
        };
        Self {
            nodes: (0..n_nodes).map(|_| node()).collect(),
            index_faults: Vec::new(),
            refuses_all: None,
            overloaded_until: Duration::ZERO,
            documents: HashMap::new(),
            n_underway: 0,
        }
    }

    /// The node that holds a document.
    fn node_of(&self, key: &[u8]) -> usize {
        let sum = key.iter().fold(0_u32, |sum, byte| {
            sum.wrapping_mul(31).wrapping_add(u32::from(*byte))
        });
        sum as usize % self.nodes.len()
    }
}

impl World {
    /// A sink sends a request. It can get lost before anybody has seen it.
    pub(crate) fn send_bulk(&mut self, process: usize, bulk: BulkId, body: &[u8]) {
        let life = self.processes[process].life;
        let items = self.read_body(body);
        let gone = |why: &str| Arrival::Bulk {
            bulk,
            reply: Err(why.to_owned()),
        };
        say!(
            self,
            "sink {process}: bulk {} of {:?}",
            bulk.0,
            items.iter().map(|item| item.event).collect::<Vec<_>>()
        );
        self.arrive(process, life, BULK_TIMEOUT, gone("timed out"));
        let node = self.dice.index(self.elasticsearch.nodes.len());
        let latency = self.bulk_latency(node);
        if self.now < self.elasticsearch.nodes[node].down_until {
            self.seen.insert("node unreachable");
            self.arrive(process, life, latency, gone("connection refused"));
        } else if self.dice.percent(self.weather.bulk_lost) {
            self.seen.insert("bulk lost");
            if self.dice.percent(50) {
                self.arrive(process, life, latency, gone("connection reset"));
            }
        } else {
            self.elasticsearch.n_underway += 1;
            let arrival = BulkArrival {
                process,
                life,
                bulk,
                items,
            };
            self.after(latency, Event::BulkArrives(arrival));
        }
    }

    fn bulk_latency(&mut self, node: usize) -> Duration {
        if self.now < self.elasticsearch.nodes[node].slow_until {
            self.seen.insert("slow node");
            return self.dice.millis(500, 30_000);
        }
        match self.weather.is_calm {
            true => self.dice.millis(1, 100),
            false => self.dice.skewed_millis(1, 4_000),
        }
    }

    /// The items of a body; each is what its event was the first time.
    fn read_body(&mut self, body: &[u8]) -> Vec<Item> {
        let body = body.strip_suffix(b"\n").expect("the last line ends, too");
        let mut lines = body.split(|byte| *byte == b'\n');
        let mut items = Vec::new();
        while let Some(action) = lines.next() {
            let source = lines.next().expect("lines come in pairs");
            let event = number_after(source, b"\"e\":");
            self.same_as_ever(event, action, source);
            let key = action.splitn(2, |byte| *byte == b':').nth(1);
            items.push(Item {
                event,
                key: key.expect("an action has a name").to_vec(),
                is_create: action.starts_with(b"{\"create\""),
            });
        }
        items
    }

    pub(crate) fn bulk_arrives(&mut self, arrival: BulkArrival) {
        let BulkArrival {
            process,
            life,
            bulk,
            items,
        } = arrival;
        if let Some((status, kind)) = self.refusal_of_all(&items) {
            say!(
                self,
                "Elasticsearch: bulk {} of sink {process}: {status} {kind}",
                bulk.0
            );
            self.elasticsearch.n_underway -= 1;
            self.answer(process, life, bulk, status, error(kind));
            return;
        }
        let nodes = &self.elasticsearch.nodes;
        let crashes_before = nodes.iter().map(|node| node.n_crashes).collect();
        let items: Vec<(Item, Answer)> = items
            .into_iter()
            .map(|item| {
                let answer = self.apply(&item);
                (item, answer)
            })
            .collect();
        let sync = BulkSync {
            process,
            life,
            bulk,
            items,
            crashes_before,
        };
        let takes = if self.weather.is_calm {
            self.dice.millis(1, 50)
        } else {
            self.dice.skewed_millis(1, 2_000)
        };
        // To find that something is there needs no sync.
        let any_applied = sync
            .items
            .iter()
            .any(|(_, answer)| !matches!(answer, Answer::Refused(..)));
        let takes = if any_applied { takes } else { Duration::ZERO };
        self.after(takes, Event::BulkSynced(sync));
    }

    fn refusal_of_all(&mut self, items: &[Item]) -> Option<(u16, &'static str)> {
        let holds = |nature| {
            let events = &self.truth.events;
            items.iter().any(|item| events[item.event].nature == nature)
        };
        if holds(Nature::TooLarge) {
            return Some((413, "too_large"));
        }
        if holds(Nature::Spoiler) {
            return Some((400, "x_content_parse_exception"));
        }
        let answer = match self.elasticsearch.refuses_all {
            Some((answer, until)) if self.now < until => {
                self.seen.insert("everything refused");
                answer
            }
            _ if self.dice.percent(self.weather.bulk_refused) => self.dice.pick(&WHOLE_REFUSALS),
            _ => return None,
        };
        // A document that is too large by itself is so for ever.
        let too_small = answer.0 == 413 && items.len() == 1;
        Some(if too_small { BAD_GATEWAY } else { answer })
    }

    fn apply(&mut self, item: &Item) -> Answer {
        let node = self.elasticsearch.node_of(&item.key);
        if self.now < self.elasticsearch.nodes[node].down_until {
            return Answer::Refused(503, "unavailable_shards_exception");
        }
        let now = self.now;
        let faulty =
            |fault: &&IndexFault| now < fault.until && contains(&item.key, fault.day.as_bytes());
        if let Some(fault) = self.elasticsearch.index_faults.iter().find(faulty) {
            return Answer::Refused(fault.answer.0, fault.answer.1);
        }
        let chance = match self.now < self.elasticsearch.overloaded_until {
            true => 85,
            false => self.weather.item_refused,
        };
        if self.dice.percent(chance) {
            let (status, kind) = self.dice.pick(&REFUSALS);
            return Answer::Refused(status, kind);
        }
        match self.truth.events[item.event].nature {
            Nature::Poison => return Answer::Refused(400, "document_parsing_exception"),
            Nature::Contradicting => return Answer::Refused(400, NEW_MAPPING),
            Nature::NewField if self.new_fields.insert(item.event) => {
                self.seen.insert("new field refused once");
                return Answer::Refused(400, NEW_MAPPING);
            }
            _ => {}
        }
        let existing = self.elasticsearch.documents.get(&item.key);
        if let Some(document) = existing {
            let (before, synced) = (document.event, document.is_synced);
            if item.is_create {
                self.seen.insert("create of what is there");
                return Answer::Refused(409, "version_conflict_engine_exception");
            }
            self.is_overwritten(&item.key, before, item.event);
            if !synced {
                self.seen.insert("written again before it was synced");
            }
            return Answer::Updated;
        }
        let document = Document {
            event: item.event,
            is_synced: false,
        };
        self.elasticsearch
            .documents
            .insert(item.key.clone(), document);
        self.elasticsearch.nodes[node]
            .unsynced
            .push(item.key.clone());
        self.document_appears(item.event, &item.key);
        Answer::Created
    }

    pub(crate) fn bulk_synced(&mut self, sync: BulkSync) {
        self.elasticsearch.n_underway -= 1;
        let BulkSync {
            process,
            life,
            bulk,
            items,
            crashes_before,
        } = sync;
        let answers: Vec<Answer> = items.iter().map(|(_, answer)| *answer).collect();
        say!(
            self,
            "Elasticsearch: bulk {} of sink {process}: {answers:?}",
            bulk.0
        );
        let mut body = String::with_capacity(64 * items.len());
        body.push_str(r#"{"errors":true,"items":["#);
        let missing = self.dice.percent(self.weather.reply_short);
        let n_answers = items.len() - usize::from(missing);
        for (number, (item, answer)) in items.into_iter().enumerate() {
            let node = self.elasticsearch.node_of(&item.key);
            let crashed = self.elasticsearch.nodes[node].n_crashes != crashes_before[node];
            let answer = match answer {
                Answer::Created | Answer::Updated if crashed => {
                    self.seen.insert("crashed before it was synced");
                    Answer::Refused(503, "unavailable_shards_exception")
                }
                Answer::Created | Answer::Updated => {
                    let document = self.elasticsearch.documents.get_mut(&item.key);
                    document.expect("it was applied").is_synced = true;
                    self.truth.events[item.event].is_durable = true;
                    answer
                }
                Answer::Refused(..) => answer,
            };
            if number < n_answers {
                push_answer(&mut body, &item, answer, number > 0);
            }
        }
        body.push_str("]}");
        if self.dice.percent(self.weather.reply_cut) {
            self.seen.insert("reply cut");
            body.truncate(body.len() - 3);
        }
        self.answer(process, life, bulk, 200, body);
    }

    fn answer(&mut self, process: usize, life: u32, bulk: BulkId, status: u16, body: String) {
        let latency = self.latency();
        let reply = if self.dice.percent(self.weather.bulk_reply_lost) {
            self.seen.insert("reply to a bulk lost");
            Err("connection reset".to_owned())
        } else {
            Ok((status, body))
        };
        self.arrive(process, life, latency, Arrival::Bulk { bulk, reply });
    }

    /// What was not synced is gone; those who wait for it hear so, or nothing.
    pub(crate) fn crash_node(&mut self, which: usize, down_for: Duration) {
        let node = &mut self.elasticsearch.nodes[which];
        node.n_crashes += 1;
        node.down_until = self.now + down_for;
        for key in std::mem::take(&mut node.unsynced) {
            let documents = &mut self.elasticsearch.documents;
            if documents
                .get(&key)
                .is_some_and(|document| !document.is_synced)
            {
                let document = documents.remove(&key).expect("just found");
                self.seen.insert("unsynced document lost in a crash");
                self.document_disappears(document.event);
            }
        }
    }
}

fn error(kind: &str) -> String {
    if kind.starts_with('<') {
        // Not Elasticsearch answers, but what stands before it.
        return kind.to_owned();
    }
    format!(r#"{{"error":{{"type":"{kind}","reason":"r"}},"status":0}}"#)
}

fn push_answer(body: &mut String, item: &Item, answer: Answer, is_next: bool) {
    let comma = if is_next { "," } else { "" };
    let action = if item.is_create { "create" } else { "index" };
    let answer = match answer {
        Answer::Created => r#""result":"created","status":201"#.to_owned(),
        Answer::Updated => r#""result":"updated","status":200"#.to_owned(),
        Answer::Refused(status, NEW_MAPPING) => format!(
            r#""status":{status},"error":{{"type":"illegal_argument_exception","reason":"mapper [x] cannot be changed from type [long] to [text]"}}"#
        ),
        Answer::Refused(status, kind) => {
            format!(r#""status":{status},"error":{{"type":"{kind}","reason":"r"}}"#)
        }
    };
    let written = write!(body, r#"{comma}{{"{action}":{{{answer}}}}}"#);
    written.expect("a string takes everything");
}

fn number_after(line: &[u8], mark: &[u8]) -> usize {
    let start = position(line, mark).expect("every event says its number") + mark.len();
    let digits = line[start..]
        .iter()
        .take_while(|byte| byte.is_ascii_digit());
    digits.fold(0, |number, digit| number * 10 + usize::from(digit - b'0'))
}

fn position(line: &[u8], mark: &[u8]) -> Option<usize> {
    line.windows(mark.len()).position(|window| window == mark)
}

fn contains(line: &[u8], mark: &[u8]) -> bool {
    position(line, mark).is_some()
}
