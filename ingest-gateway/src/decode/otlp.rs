//! OpenTelemetry's logs over HTTP, as protobuf or JSON (OTLP specification 1.x, OTLP/HTTP).
//!
//! In the flow: `body` → **`decode::otlp`** → `decode`. What becomes of each field: docs/intake.md.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use log_event::timestamp::Timestamp;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use prost::Message as _;
use serde_json::{Map, Number, Value};

use super::event_text::{Gathered, Known, Limits, body_key, first_text, level_of_severity};
use super::json::trim;
use super::{Events, Fault, Form, Found};
use crate::error::{Code, Problem};

/// How a request and its reply are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// `application/x-protobuf`.
    Protobuf,
    /// `application/json`.
    Json,
}

/// The attribute by which a record names itself (semantic conventions, `log.record.uid`).
const RECORD_ID: &str = "log.record.uid";

/// Reads the log records of a request.
///
/// # Errors
/// A [`Problem`] if it is no such request, or too much.
pub fn split(
    body: &[u8],
    encoding: Encoding,
    limits: Limits<'_>,
) -> Result<Events<'static>, Problem> {
    let unreadable = |error: String| Problem::permanent(Code::InvalidMessage, error);
    let request = match encoding {
        Encoding::Protobuf => ExportLogsServiceRequest::decode(body).map_err(|error| {
            unreadable(format!("the body is no OTLP request for logs: {error}"))
        })?,
        // serde would take the fields from an array, too.
        Encoding::Json if trim(body).first() != Some(&b'{') => {
            return Err(unreadable("the body is no JSON object".to_owned()));
        }
        Encoding::Json => serde_json::from_slice(body).map_err(|error| {
            unreadable(format!("the body is no OTLP request for logs: {error}"))
        })?,
    };
    let mut gathered = Gathered::new(limits);
    for resource_logs in request.resource_logs {
        let resource = resource_logs.resource.unwrap_or_default();
        let resource = object(resource.attributes);
        for scope_logs in resource_logs.scope_logs {
            let scope = scope_logs.scope.unwrap_or_default();
            let mut about_scope = Map::new();
            for (name, text) in [("name", scope.name), ("version", scope.version)] {
                if !text.is_empty() {
                    about_scope.insert(name.to_owned(), text.into());
                }
            }
            let attributes = object(scope.attributes);
            if !attributes.is_empty() {
                about_scope.insert("attributes".to_owned(), attributes.into());
            }
            for record in scope_logs.log_records {
                gathered.add(event(record, &resource, &about_scope))?;
            }
        }
    }
    Ok(Events {
        found: gathered.finish(),
        form: Form::Message,
        body_key: Some(body_key(body)),
    })
}

fn event(
    record: LogRecord,
    resource: &Map<String, Value>,
    scope: &Map<String, Value>,
) -> Result<Found<'static>, Fault> {
    let nanos = match record.time_unix_nano {
        0 => record.observed_time_unix_nano,
        nanos => nanos,
    };
    let timestamp = match nanos {
        0 => None,
        nanos => Some(moment(nanos)?),
    };
    let attributes = object(record.attributes);
    let id = first_text(&attributes, &[RECORD_ID]);
    let level = level_of_severity(record.severity_number).map(str::to_owned);
    let severity_text = Some(record.severity_text).filter(|text| !text.is_empty());
    let message = record
        .body
        .and_then(|body| body.value)
        .map(|body| match value(body) {
            Value::String(text) => text,
            other => other.to_string(),
        });
    let mut metadata = Map::new();
    for (name, part) in [
        ("resource", resource.clone()),
        ("scope", scope.clone()),
        ("attributes", attributes),
    ] {
        if !part.is_empty() {
            metadata.insert(name.to_owned(), part.into());
        }
    }
    if let Some(text) = severity_text.clone() {
        metadata.insert("severityText".to_owned(), text.into());
    }
    if record.severity_number != 0 {
        metadata.insert("severityNumber".to_owned(), record.severity_number.into());
    }
    if !record.event_name.is_empty() {
        metadata.insert("eventName".to_owned(), record.event_name.into());
    }
    let known = Known {
        timestamp,
        level: level.or(severity_text),
        message,
        resource_id: first_text(resource, &["service.name", "host.name"]),
        trace_id: hex_id(&record.trace_id, 16),
        span_id: hex_id(&record.span_id, 8),
        commit: first_text(resource, &["vcs.ref.head.revision"]),
        metadata,
    };
    Ok(known.into_found(id))
}

fn moment(nanos: u64) -> Result<Timestamp, Fault> {
    let moment = i64::try_from(nanos).ok().and_then(Timestamp::from_nanos);
    moment.ok_or_else(|| Fault {
        code: "invalid_timestamp",
        reason: format!("`timeUnixNano`: {nanos} lies beyond the year 2261"),
    })
}

/// An id of that many bytes as hexadecimal digits. One of another length or of zeros names nothing (OTLP, `LogRecord`).
fn hex_id(bytes: &[u8], length: usize) -> Option<String> {
    let names_something = bytes.len() == length && bytes.iter().any(|byte| *byte != 0);
    names_something.then(|| bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Attributes as an object; of two with one key the last counts.
fn object(attributes: Vec<KeyValue>) -> Map<String, Value> {
    let pairs = attributes.into_iter();
    pairs
        .map(|pair| (pair.key, pair.value.and_then(|any| any.value)))
        .map(|(key, any)| (key, any.map_or(Value::Null, value)))
        .collect()
}

fn value(any: any_value::Value) -> Value {
    let inner = |any: AnyValue| any.value.map_or(Value::Null, value);
    match any {
        any_value::Value::StringValue(text) => text.into(),
        any_value::Value::BoolValue(truth) => truth.into(),
        any_value::Value::IntValue(number) => number.into(),
        // JSON has no infinity, and none that is no number.
        any_value::Value::DoubleValue(number) => {
            Number::from_f64(number).map_or_else(|| number.to_string().into(), Value::Number)
        }
        any_value::Value::ArrayValue(array) => array.values.into_iter().map(inner).collect(),
        any_value::Value::KvlistValue(list) => object(list.values).into(),
        any_value::Value::BytesValue(bytes) => STANDARD.encode(bytes).into(),
        any_value::Value::StringValueStrindex(_) => Value::Null,
    }
}

#[cfg(test)]
mod tests;
