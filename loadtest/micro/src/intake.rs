//! From the bytes of a request to records for Kafka.
//!
//! In the flow: `events` → **`intake`** → `sink`. What `ingest_gateway::intake` does between the body and the producer,
//! with its own functions.

use std::hint::black_box;

use ingest_gateway::admission::Budget;
use ingest_gateway::decode::{self, Limits, Request, loki, otlp};
use ingest_gateway::dialect::Message;
use log_event::event::LogEvent;
use log_event::event_id::EventIdMinter;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message as _;

use crate::Run;
use crate::events::{array, event, large_event, line, mix, time_of};

/// 100 events of 250 bytes, checked one by one.
#[must_use]
pub fn event_250() -> Run {
    checked((0..100).map(|n| event(n, 250)).collect())
}

/// 10 events of 10,000 bytes, checked one by one.
#[must_use]
pub fn event_10k() -> Run {
    checked((0..10).map(|n| large_event(n, 10_000)).collect())
}

/// An array of 1,000 events.
#[must_use]
pub fn json() -> Run {
    request(Message::Json, array(1_000), 1_000)
}

/// A protobuf message of OpenTelemetry with 100 log records.
#[must_use]
pub fn otlp() -> Run {
    let resource = vec![
        attribute("service.name", "checkout"),
        attribute("host.name", "server-1234"),
    ];
    let records = (0..100).map(|n| LogRecord {
        time_unix_nano: time_of(n).nanos().unsigned_abs(),
        severity_number: 9,
        severity_text: "INFO".to_owned(),
        body: Some(text(&line(n))),
        attributes: vec![
            attribute("http.route", "/api/v1/orders"),
            attribute("customer", &mix(n).to_string()),
        ],
        trace_id: [mix(n / 5), mix(n)].map(u64::to_be_bytes).concat(),
        span_id: mix(n).to_be_bytes().to_vec(),
        ..LogRecord::default()
    });
    let scope = InstrumentationScope {
        name: "shop".to_owned(),
        ..InstrumentationScope::default()
    };
    let message = ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs {
            resource: Some(Resource {
                attributes: resource,
                ..Resource::default()
            }),
            scope_logs: vec![ScopeLogs {
                scope: Some(scope),
                log_records: records.collect(),
                ..ScopeLogs::default()
            }],
            ..ResourceLogs::default()
        }],
    };
    let body = message.encode_to_vec();
    request(Message::Otlp(otlp::Encoding::Protobuf), body, 100)
}

/// A push of 100 lines to Loki as its own agents write it: protobuf in snappy's block format.
///
/// # Panics
/// Never: snappy packs anything that is so small.
#[must_use]
pub fn loki() -> Run {
    let entries = (0..100).map(|n| Entry {
        timestamp: Some(Moment {
            seconds: time_of(n).millis() / 1_000,
            nanos: i32::try_from(n).unwrap_or(0),
        }),
        line: line(n),
    });
    let push = PushRequest {
        streams: vec![Stream {
            labels: r#"{app="checkout", host="server-1234", level="info"}"#.to_owned(),
            entries: entries.collect(),
        }],
    };
    let packed = snap::raw::Encoder::new().compress_vec(&push.encode_to_vec());
    let body = packed.expect("a small message can be packed");
    request(Message::Loki(loki::Encoding::Protobuf), body, 100)
}

/// `logproto.PushRequest` of Loki, as far as agents fill it.
#[derive(Clone, PartialEq, prost::Message)]
struct PushRequest {
    #[prost(message, repeated, tag = "1")]
    streams: Vec<Stream>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Stream {
    #[prost(string, tag = "1")]
    labels: String,
    #[prost(message, repeated, tag = "2")]
    entries: Vec<Entry>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Entry {
    #[prost(message, optional, tag = "1")]
    timestamp: Option<Moment>,
    #[prost(string, tag = "2")]
    line: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Moment {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

fn attribute(key: &str, value: &str) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(text(value)),
        ..KeyValue::default()
    }
}

fn text(value: &str) -> AnyValue {
    AnyValue {
        value: Some(any_value::Value::StringValue(value.to_owned())),
    }
}

fn checked(events: Vec<Vec<u8>>) -> Run {
    let received = time_of(0);
    Box::new(move || {
        for event in &events {
            let event = LogEvent::decode(black_box(event), received);
            assert!(black_box(event).is_ok(), "an event is refused");
        }
    })
}

/// The walk of a body: events told apart, checked, named.
fn request(message: Message, body: Vec<u8>, n_events: usize) -> Run {
    const EVENT_BYTES_MAX: usize = 1_000_000;
    const BODY_BYTES_MAX: usize = 20 << 20;
    let budget = Budget::new(1 << 30);
    let minter = EventIdMinter::new([7; 8]);
    let request = Request {
        received: time_of(0),
        idempotency_key: None,
        tenant: None,
        event_bytes_max: EVENT_BYTES_MAX,
    };
    Box::new(move || {
        let mut share = budget.share();
        let limits = Limits {
            events_max: 10_000,
            bytes_max: 256 << 20,
            event_bytes_max: EVENT_BYTES_MAX,
            share: &mut share,
        };
        let read = message.read(black_box(&body), BODY_BYTES_MAX, limits);
        let read = read.expect("the body is as its dialect has it");
        let (records, refusals) = decode::decode(&read.events, request, &minter);
        assert_eq!((records.len(), refusals.count()), (n_events, 0));
        black_box(records);
    })
}
