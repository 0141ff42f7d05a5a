//! From records out of Kafka to a bulk request, and from its reply to what may be committed.
//!
//! In the flow: `intake` → **`sink`** → `search`. The parts of `es-sink-core` one by one, and then all of them as
//! `es_sink::engine` drives them.

use std::hint::black_box;
use std::time::Duration;

use es_sink_core::assignment::{Assignments, TopicPartition};
use es_sink_core::batcher::BulkLimits;
use es_sink_core::bulk_request::{BulkRequest, Record, framed};
use es_sink_core::bulk_response::{ItemVerdict, RequestVerdict, judge};
use es_sink_core::offset_tracker::{InFlight, OffsetTracker};
use es_sink_core::retry::Backoff;
use es_sink_core::sink::{Command, Input, Sink, SinkConfig};
use log_event::event_id::EventIdMinter;
use log_event::offset::{NextOffset, Offset};
use log_event::record::{DIALECT, EVENT_ID, EVENT_TIME};

use crate::Run;
use crate::events::{event, time_of};

const TOPIC: &str = "logs";
const ITEMS: usize = 2_000;
/// One of so many items is refused.
const REFUSED_EVERY: usize = 100;
const TRACKED: i64 = 10_000;
/// Has no factor in common with [`TRACKED`], so that its multiples meet each record once.
const STRIDE: i64 = 7_919;
const BULK_BYTES: usize = 4 << 20;
const COMMIT_INTERVAL: Duration = Duration::from_secs(1);
const CREATED: &str = r#"{"index":{"result":"created","status":201}}"#;
const REFUSED: &str = r#"{"index":{"status":400,"error":{"type":"document_parsing_exception","reason":"[1:120] failed to parse field [metadata] of type [flattened]","caused_by":{"type":"parsing_exception","reason":"Failed to parse object: expecting token of type [START_OBJECT] but found [VALUE_NUMBER]"}}}}"#;

/// 10,000 records received, and resolved in an order that has nothing to do with theirs.
///
/// # Panics
/// If the tracker loses one.
#[must_use]
pub fn offset_tracker() -> Run {
    let order: Vec<usize> = (0..TRACKED)
        .filter_map(|n| usize::try_from(n * STRIDE % TRACKED).ok())
        .collect();
    let mut records: Vec<Option<InFlight>> = Vec::with_capacity(order.len());
    Box::new(move || {
        let mut tracker = OffsetTracker::new();
        records.clear();
        records.extend((0..TRACKED).map(|offset| Some(tracker.track(Offset(offset)))));
        for place in black_box(&order) {
            if let Some(record) = records[*place].take() {
                tracker.resolve(record);
            }
            black_box(tracker.safe_next_offset());
        }
        assert_eq!(tracker.safe_next_offset(), Some(NextOffset(TRACKED)));
    })
}

/// The body of a bulk request of 2,000 records with three headers.
///
/// # Panics
/// If a record cannot be an item.
#[must_use]
pub fn bulk_request() -> Run {
    let records = Records::new();
    Box::new(move || {
        let mut assignments = Assignments::default();
        assignments.add(partition(), None);
        let mut request = BulkRequest::with_capacity(BULK_BYTES);
        for (n, offset) in (0..ITEMS).zip(0..) {
            let record = records.record(n, offset);
            let ticket = assignments.track(record.topic, record.partition, record.offset);
            let ticket = ticket.expect("the partition is ours");
            let value = framed(record.value).expect("an event is an object");
            let id = &records.0[n].id;
            request.push(ticket, "logflow-2025.11.24", id, value, &record);
        }
        assert_eq!(request.n_items(), ITEMS);
        black_box(request.seal());
    })
}

/// A reply that has every item indexed.
#[must_use]
pub fn reply_created() -> Run {
    judged(reply(ITEMS + 1), 0)
}

/// A reply that refuses one item in a hundred.
#[must_use]
pub fn reply_refused() -> Run {
    judged(reply(REFUSED_EVERY), ITEMS / REFUSED_EVERY)
}

/// The whole machine in the middle of its work: 2,000 records in, a bulk request out, its reply in, a commit out.
///
/// # Panics
/// If the machine does anything else.
#[must_use]
pub fn sink() -> Run {
    let records = Records::new();
    let reply = reply(ITEMS + 1);
    let mut sink = Sink::new(config());
    let mut now = Duration::ZERO;
    let mut offset = 0;
    sink.handle(now, Input::Assigned(vec![(partition(), None)]));
    Box::new(move || {
        now += COMMIT_INTERVAL;
        for n in 0..ITEMS {
            sink.record(now, &records.record(n, offset));
            offset += 1;
        }
        let Some(Command::SendBulk { bulk, body }) = sink.poll_command(now) else {
            panic!("a full bulk request goes at once");
        };
        black_box(body);
        let reply = Ok((200, black_box(&*reply)));
        sink.handle(now, Input::BulkReply { bulk, reply });
        let Some(Command::Commit(offsets)) = sink.poll_command(now) else {
            panic!("what is indexed is committed when it is time");
        };
        assert_eq!(offsets, [(partition(), NextOffset(offset))]);
        sink.handle(now, Input::CommitReply(Ok(())));
        black_box(sink.take_indexed_timestamps());
        assert!(sink.poll_command(now).is_none());
    })
}

fn config() -> SinkConfig {
    SinkConfig {
        group: "es-sink".to_owned(),
        index_pattern: "logflow-{date}".parse().expect("a pattern"),
        bulk: BulkLimits {
            bytes_max: BULK_BYTES,
            items_max: ITEMS,
            linger: Duration::from_millis(500),
        },
        bulk_concurrency: 4,
        bytes_held_max: 64 << 20,
        letters_per_transaction_max: 500,
        commit_interval: COMMIT_INTERVAL,
        drain_max: Duration::from_secs(20),
        backoff: Backoff {
            first: Duration::from_millis(200),
            longest: Duration::from_secs(5),
        },
        seed: 1,
    }
}

fn partition() -> TopicPartition {
    TopicPartition {
        topic: TOPIC.to_owned(),
        partition: 0,
    }
}

/// The records of one bulk request.
struct Records(Vec<Kept>);

struct Kept {
    value: Vec<u8>,
    id: String,
    millis: i64,
    event_time: String,
}

impl Records {
    fn new() -> Self {
        let minter = EventIdMinter::new([7; 8]);
        let kept = (0..ITEMS as u64).map(|n| Kept {
            value: event(n, 250),
            id: minter.mint(time_of(n)).to_string(),
            millis: time_of(n).millis(),
            event_time: time_of(n).millis().to_string(),
        });
        Self(kept.collect())
    }

    /// The record of that number as Kafka would deliver it.
    fn record(
        &self,
        n: usize,
        offset: i64,
    ) -> Record<'_, impl Iterator<Item = (&str, Option<&[u8]>)> + Clone> {
        let kept = black_box(&self.0[n]);
        let headers = [
            (EVENT_ID, Some(kept.id.as_bytes())),
            (EVENT_TIME, Some(kept.event_time.as_bytes())),
            (DIALECT, Some(&b"json"[..])),
        ];
        Record {
            topic: TOPIC,
            partition: 0,
            offset: Offset(offset),
            timestamp_ms: Some(kept.millis),
            key: None,
            value: Some(&kept.value),
            headers: headers.into_iter(),
            mark: None,
        }
    }
}

/// A reply in which the last of every so many items is refused.
fn reply(refused_every: usize) -> Vec<u8> {
    let items: Vec<&str> = (1..=ITEMS)
        .map(|n| match n.is_multiple_of(refused_every) {
            true => REFUSED,
            false => CREATED,
        })
        .collect();
    let errors = items.contains(&REFUSED);
    format!(r#"{{"errors":{errors},"items":[{}]}}"#, items.join(",")).into_bytes()
}

fn judged(reply: Vec<u8>, refused: usize) -> Run {
    Box::new(move || {
        let RequestVerdict::Items(verdicts) = judge(200, black_box(&reply), ITEMS) else {
            panic!("the reply has a verdict on each item");
        };
        let indexed = |verdict: &&ItemVerdict| matches!(verdict, ItemVerdict::Indexed { .. });
        let indexed = verdicts.iter().filter(indexed).count();
        assert_eq!((verdicts.len(), indexed), (ITEMS, ITEMS - refused));
        black_box(verdicts);
    })
}
