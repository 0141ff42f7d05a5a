//! Throws random bytes at the decoders of ingest-gateway: one target for each, in `fuzz_targets/`, with a corpus in
//! `corpus/`. `cargo xtask test fuzz` runs all of them for a bounded time; `cargo fuzz run fuzz-otlp` runs one on a
//! nightly toolchain, with a sanitizer.
//!
//! What must hold for every body, whatever is in it: no panic, no more events and bytes than may be, and of what is
//! taken each event is a JSON object in its place. What a large body may cost, live `hostile` shows.

use ingest_gateway::admission::Budget;
use ingest_gateway::decode::{self, Limits, Request};
use ingest_gateway::delivery::Deliveries;
use ingest_gateway::dialect::Message;
use ingest_gateway::reply::{Settled, settle};
use log_event::event_id::EventIdMinter;
use log_event::timestamp::Timestamp;
use serde_json::Value;

/// The first byte of an input chooses among the forms that a dialect's bodies have; the rest is the body.
#[must_use]
pub fn split(input: &[u8], forms: u8) -> (u8, &[u8]) {
    match input.split_first() {
        Some((first, rest)) => (first % forms, rest),
        None => (0, input),
    }
}

/// A second string for what stands in a path or a query: up to the first zero byte.
#[must_use]
pub fn named(input: &[u8]) -> (Option<String>, &[u8]) {
    let end = input.iter().position(|byte| *byte == 0);
    let text = |end: usize| std::str::from_utf8(&input[..end]).ok().map(str::to_owned);
    match end.and_then(|end| Some((text(end)?, end))) {
        Some((name, end)) => (Some(name), &input[end + 1..]),
        None => (None, input),
    }
}

/// Decodes a body as a request of that kind would, to the reply.
///
/// # Panics
/// When the decoder breaks its promise.
pub fn decode(message: &Message, body: &[u8]) {
    const BYTES_MAX: usize = 1 << 20;
    const EVENTS_MAX: usize = 1_000;
    const EVENT_BYTES_MAX: usize = 10_000;
    let budget = Budget::new(4 << 20);
    let mut share = budget.share();
    let limits = Limits {
        events_max: EVENTS_MAX,
        bytes_max: BYTES_MAX,
        event_bytes_max: EVENT_BYTES_MAX,
        share: &mut share,
    };
    let read = match message.read(body, BYTES_MAX, limits) {
        Ok(read) => read,
        Err(problem) => {
            let reply = message.refused(&problem);
            assert!((400..600).contains(&reply.status), "{problem}");
            return;
        }
    };
    let events = &read.events;
    assert!(events.found.len() <= EVENTS_MAX);
    assert!(
        events.bytes() <= BYTES_MAX.max(body.len()),
        "more bytes than may be"
    );
    let request = Request {
        received: Timestamp::from_millis(1_764_000_000_000).expect("a moment"),
        idempotency_key: None,
        tenant: None,
        event_bytes_max: EVENT_BYTES_MAX,
    };
    let minter = EventIdMinter::new([7; 8]);
    let (records, refusals) = decode::decode(events, request, &minter);
    assert_eq!(records.len() + refusals.count(), events.found.len());
    for record in &records {
        let value: Value = serde_json::from_slice(&record.json).expect("an event is JSON");
        assert!(value.is_object(), "an event is an object");
        assert!(record.position < events.found.len());
    }
    let ids = records
        .iter()
        .map(|record| (record.position, record.id.to_string()));
    let ids = match read.operations.is_empty() {
        true => Vec::new(),
        false => ids.collect(),
    };
    let deliveries = Deliveries {
        acknowledged: records.len(),
        ..Deliveries::default()
    };
    let settled = settle(refusals, &deliveries).expect("everything was delivered");
    let reply = message.settled(&Settled {
        operations: read.operations,
        ids,
        ..settled
    });
    assert!(
        reply.status < 500,
        "the decoder's reply is {}",
        reply.status
    );
}
