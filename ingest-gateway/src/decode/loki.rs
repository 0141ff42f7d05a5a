//! Loki's push API, as JSON or as protobuf in snappy's block format (Loki HTTP API, `POST /loki/api/v1/push`).
//!
//! In the flow: `body` → **`decode::loki`** → `decode`. What becomes of each field: docs/intake.md.

use log_event::timestamp::Timestamp;
use prost::Message;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::event_text::{Gathered, Known, Limits, Size, body_key, first_text};
use super::json_parts::{self, elements};
use super::labels;
use super::wire::Fields;
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
struct JsonRequest<'a> {
    #[serde(borrow)]
    streams: &'a RawValue,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct JsonStream<'a> {
    #[serde(borrow)]
    stream: Option<&'a RawValue>,
    #[serde(borrow)]
    values: Option<&'a RawValue>,
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
        Encoding::Json => split_json(body, &mut gathered)?,
        Encoding::Protobuf => {
            let message = unsnapped(body, body_bytes_max, &mut gathered)?;
            split_protobuf(&message, &mut gathered)?;
        }
    }
    Ok(Events {
        found: gathered.finish(),
        form: Form::Message,
        body_key: Some(body_key(body)),
    })
}

/// A line at a time, and its stream's labels, so that no more than these are ever built.
fn split_json(body: &[u8], gathered: &mut Gathered<'static, '_>) -> Result<(), Problem> {
    let text = std::str::from_utf8(body).map_err(unreadable)?;
    let request: JsonRequest<'_> = json_parts::object(text).map_err(unreadable)?;
    for stream in elements(Some(request.streams), gathered, unreadable)? {
        let stream: JsonStream<'_> = json_parts::object(stream.get()).map_err(unreadable)?;
        let of_labels = stream.stream.map_or(Size::default(), |labels| {
            Size::of_json(labels.get().as_bytes())
        });
        let labels = stream.stream.filter(|_| gathered.fits(of_labels).is_ok());
        // Each entry has a copy of its own.
        let of_labels = labels.map_or(of_labels, |_| of_labels.and(of_labels));
        let built = if labels.is_some() {
            of_labels
        } else {
            Size::default()
        };
        gathered.built(built, |gathered| {
            let labels = labels.map(|labels| serde_json::from_str(labels.get()));
            let labels: Map<String, Value> =
                labels.transpose().map_err(unreadable)?.unwrap_or_default();
            for entry in elements(stream.values, gathered, unreadable)? {
                let size = Size::of_json(entry.get().as_bytes());
                // serde keeps what it has read until it knows which of the two forms it is.
                let size = Size {
                    built: 2 * size.built,
                    ..size
                };
                gathered.read(size.beside(of_labels), || {
                    let entry = serde_json::from_str(entry.get()).map_err(unreadable)?;
                    let (time, line, metadata) = match entry {
                        JsonEntry::Bare(time, line) => (time, line, Map::new()),
                        JsonEntry::Full(time, line, metadata) => (time, line, metadata),
                    };
                    Ok(event(time.parse().ok(), line, &labels, metadata))
                })?;
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// Fields are known by their numbers in `logproto.proto`.
fn split_protobuf(message: &[u8], gathered: &mut Gathered<'static, '_>) -> Result<(), Problem> {
    for stream in Fields::of(message).numbered(1) {
        let stream = Fields::of(stream.map_err(unreadable)?);
        let mut written = "";
        for labels in stream.numbered(1) {
            written = std::str::from_utf8(labels.map_err(unreadable)?).map_err(unreadable)?;
        }
        let of_labels = Size::of_protobuf(written.len());
        let fits = gathered.fits(of_labels);
        let built = if fits.is_ok() {
            of_labels
        } else {
            Size::default()
        };
        gathered.built(built, |gathered| {
            let found = match fits {
                Ok(()) => labels::read(written).map_err(|error| Fault {
                    code: "invalid_labels",
                    reason: error.to_string(),
                }),
                Err(fault) => Err(fault),
            };
            for entry in stream.numbered(2) {
                let entry = entry.map_err(unreadable)?;
                let size = Size::of_protobuf(entry.len()).beside(of_labels);
                gathered.read(size, || {
                    let entry = Entry::decode(entry).map_err(unreadable)?;
                    let metadata = entry.structured_metadata.into_iter();
                    let metadata = metadata.map(|label| (label.name, label.value.into()));
                    let time = entry.timestamp.and_then(|time| {
                        let nanos = time.seconds.checked_mul(1_000_000_000)?;
                        nanos.checked_add(time.nanos.into())
                    });
                    let of_stream = found.as_ref().map_err(Fault::clone);
                    Ok(of_stream
                        .and_then(|labels| event(time, entry.line, labels, metadata.collect())))
                })?;
            }
            Ok(())
        })?;
    }
    Ok(())
}

fn unreadable(error: impl std::fmt::Display) -> Problem {
    Problem::permanent(
        Code::InvalidMessage,
        format!("the body is no push request of Loki's: {error}"),
    )
}

/// The length stands before the data, so a bomb is told by it.
fn unsnapped(
    body: &[u8],
    bytes_max: usize,
    gathered: &mut Gathered<'_, '_>,
) -> Result<Vec<u8>, Problem> {
    let bytes = snap::raw::decompress_len(body).map_err(unreadable)?;
    if bytes > bytes_max {
        return Err(Problem::permanent(
            Code::BodyTooLarge,
            format!("the body inflates to {bytes} bytes, {bytes_max} are the most"),
        ));
    }
    gathered.hold(bytes)?;
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
