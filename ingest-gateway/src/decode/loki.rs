//! Loki's push API, as JSON or as protobuf in snappy's block format (Loki HTTP API, `POST /loki/api/v1/push`).
//!
//! In the flow: `body` → **`decode::loki`** → `decode`. What becomes of each field: docs/intake.md.

use log_event::timestamp::Timestamp;
use prost::Message;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::event_text::{Gathered, Known, Limits, body_key, first_text};
use super::labels;
use super::{Events, Fault, Form, Found};
use crate::error::{Code, Problem};

/// How a request is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Protobuf in snappy's block format: what everything but JSON is taken for.
    Protobuf,
    /// `application/json`.
    Json,
}

/// Labels that may tell the level, the likeliest first.
const LEVEL: [&str; 3] = ["level", "detected_level", "severity"];
/// Labels that may tell where the line was written.
const RESOURCE: [&str; 7] = [
    "service_name",
    "service",
    "app",
    "container",
    "job",
    "host",
    "instance",
];
const TRACE: [&str; 3] = ["trace_id", "traceID", "traceId"];
const SPAN: [&str; 3] = ["span_id", "spanID", "spanId"];

#[derive(Clone, PartialEq, Message)]
struct PushRequest {
    #[prost(message, repeated, tag = "1")]
    streams: Vec<Stream>,
}

#[derive(Clone, PartialEq, Message)]
struct Stream {
    #[prost(string, tag = "1")]
    labels: String,
    #[prost(message, repeated, tag = "2")]
    entries: Vec<Entry>,
}

#[derive(Clone, PartialEq, Message)]
struct Entry {
    #[prost(message, optional, tag = "1")]
    timestamp: Option<Moment>,
    #[prost(string, tag = "2")]
    line: String,
    #[prost(message, repeated, tag = "3")]
    structured_metadata: Vec<Label>,
}

#[derive(Clone, PartialEq, Message)]
struct Moment {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

#[derive(Clone, PartialEq, Message)]
struct Label {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Deserialize)]
struct JsonRequest {
    streams: Vec<JsonStream>,
}

#[derive(Deserialize)]
struct JsonStream {
    #[serde(default)]
    stream: Map<String, Value>,
    #[serde(default)]
    values: Vec<JsonEntry>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum JsonEntry {
    Bare(String, String),
    Full(String, String, Map<String, Value>),
}

/// Reads the lines of a request. `body_bytes_max` bounds what snappy may inflate to.
///
/// # Errors
/// A [`Problem`] if it is no such request, or too much.
pub fn split(
    body: &[u8],
    encoding: Encoding,
    body_bytes_max: usize,
    limits: Limits<'_>,
) -> Result<Events<'static>, Problem> {
    let mut gathered = Gathered::new(limits);
    match encoding {
        Encoding::Json => {
            let request: JsonRequest = serde_json::from_slice(body).map_err(unreadable)?;
            for stream in request.streams {
                for entry in stream.values {
                    let (time, line, metadata) = match entry {
                        JsonEntry::Bare(time, line) => (time, line, Map::new()),
                        JsonEntry::Full(time, line, metadata) => (time, line, metadata),
                    };
                    let time = time.parse().ok();
                    gathered.add(event(time, line, &stream.stream, metadata))?;
                }
            }
        }
        Encoding::Protobuf => {
            let message = unsnapped(body, body_bytes_max)?;
            let request = PushRequest::decode(message.as_slice()).map_err(unreadable)?;
            for stream in request.streams {
                let found = labels::read(&stream.labels);
                for entry in stream.entries {
                    let metadata = entry.structured_metadata.into_iter();
                    let metadata = metadata.map(|label| (label.name, label.value.into()));
                    let time = entry.timestamp.and_then(|time| {
                        let nanos = time.seconds.checked_mul(1_000_000_000)?;
                        nanos.checked_add(time.nanos.into())
                    });
                    gathered.add(match &found {
                        Ok(found) => event(time, entry.line, found, metadata.collect()),
                        Err(error) => Err(Fault {
                            code: "invalid_labels",
                            reason: error.to_string(),
                        }),
                    })?;
                }
            }
        }
    }
    Ok(Events {
        found: gathered.finish(),
        form: Form::Message,
        body_key: Some(body_key(body)),
    })
}

fn unreadable(error: impl std::fmt::Display) -> Problem {
    Problem::permanent(
        Code::InvalidMessage,
        format!("the body is no push request of Loki's: {error}"),
    )
}

/// The length stands before the data, so a bomb is told by it.
fn unsnapped(body: &[u8], bytes_max: usize) -> Result<Vec<u8>, Problem> {
    let bytes = snap::raw::decompress_len(body).map_err(unreadable)?;
    if bytes > bytes_max {
        return Err(Problem::permanent(
            Code::BodyTooLarge,
            format!("the body inflates to {bytes} bytes, {bytes_max} are the most"),
        ));
    }
    snap::raw::Decoder::new()
        .decompress_vec(body)
        .map_err(unreadable)
}

fn event(
    nanos: Option<i64>,
    line: String,
    labels: &Map<String, Value>,
    structured: Map<String, Value>,
) -> Result<Found<'static>, Fault> {
    let timestamp = nanos.and_then(Timestamp::from_nanos).ok_or_else(|| Fault {
        code: "invalid_timestamp",
        reason: "the time of an entry is a text of nanoseconds since 1970, such as \"1700000000000000000\"".to_owned(),
    })?;
    let either =
        |names: &[&str]| first_text(&structured, names).or_else(|| first_text(labels, names));
    let mut known = Known {
        timestamp: Some(timestamp),
        level: either(&LEVEL),
        message: Some(line),
        resource_id: either(&RESOURCE),
        trace_id: either(&TRACE),
        span_id: either(&SPAN),
        ..Known::default()
    };
    for (name, part) in [
        ("labels", labels.clone()),
        ("structuredMetadata", structured),
    ] {
        if !part.is_empty() {
            known.metadata.insert(name.to_owned(), part.into());
        }
    }
    Ok(known.into_found(None))
}

#[cfg(test)]
mod tests;
