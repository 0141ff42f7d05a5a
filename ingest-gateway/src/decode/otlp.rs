//! OpenTelemetry's logs over HTTP, as protobuf or JSON (OTLP specification 1.x, OTLP/HTTP).
//!
//! In the flow: `body` → **`decode::otlp`** → `decode`. What becomes of each field: docs/intake.md.

use std::fmt::Display;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use log_event::timestamp::Timestamp;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Number, Value};

use super::event_text::{Gathered, Known, Limits, Size, body_key, first_text, level_of_severity};
use super::json_parts::{self, elements};
use super::wire::Fields;
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
    let mut gathered = Gathered::new(limits);
    match encoding {
        Encoding::Protobuf => split_protobuf(body, &mut gathered)?,
        Encoding::Json => split_json(body, &mut gathered)?,
    }
    Ok(Events {
        found: gathered.finish(),
        form: Form::Message,
        body_key: Some(body_key(body)),
    })
}

fn unreadable(error: impl Display) -> Problem {
    let detail = format!("the body is no OTLP request for logs: {error}");
    Problem::permanent(Code::InvalidMessage, detail)
}

/// A record at a time, and what it stands in, so that no more than these are ever built.
/// Fields are known by their numbers in `opentelemetry/proto/logs/v1/logs.proto`.
fn split_protobuf(body: &[u8], gathered: &mut Gathered<'static, '_>) -> Result<(), Problem> {
    for resource_logs in Fields::of(body).numbered(1) {
        let resource_logs = Fields::of(resource_logs.map_err(unreadable)?);
        with_common(
            resource_logs,
            gathered,
            |gathered, of_resource, resource: Resource| {
                let resource = object(resource.attributes);
                for scope_logs in resource_logs.numbered(2) {
                    let scope_logs = Fields::of(scope_logs.map_err(unreadable)?);
                    with_common(scope_logs, gathered, |gathered, of_scope, scope| {
                        let scope = about(scope);
                        for record in scope_logs.numbered(2) {
                            let record = record.map_err(unreadable)?;
                            let size = Size::of_protobuf(record.len());
                            gathered.read(size.beside(of_resource).beside(of_scope), || {
                                let record = LogRecord::decode(record).map_err(unreadable)?;
                                Ok(event(record, &resource, &scope))
                            })?;
                        }
                        Ok(())
                    })?;
                }
                Ok(())
            },
        )?;
    }
    Ok(())
}

/// Builds what a group of records has in common, its first field, for as long as the group is read. Said twice it is one
/// message (Protocol Buffers, Encoding, "Last One Wins"). Where no event may be so large it is not built, and neither is
/// any record of the group.
fn with_common<T: Message + Default>(
    group: Fields<'_>,
    gathered: &mut Gathered<'static, '_>,
    read: impl FnOnce(&mut Gathered<'static, '_>, Size, T) -> Result<(), Problem>,
) -> Result<(), Problem> {
    let mut bytes = 0;
    for part in group.numbered(1) {
        bytes += part.map_err(unreadable)?.len();
    }
    let size = Size::of_protobuf(bytes);
    let mut whole = T::default();
    if gathered.fits(size).is_err() {
        return read(gathered, size, whole);
    }
    gathered.built(size, |gathered| {
        for part in group.numbered(1) {
            whole.merge(part.map_err(unreadable)?).map_err(unreadable)?;
        }
        read(gathered, size, whole)
    })
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct JsonRequest<'a> {
    #[serde(borrow)]
    resource_logs: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct JsonResourceLogs<'a> {
    #[serde(borrow)]
    resource: Option<&'a RawValue>,
    #[serde(borrow)]
    scope_logs: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct JsonScopeLogs<'a> {
    #[serde(borrow)]
    scope: Option<&'a RawValue>,
    #[serde(borrow)]
    log_records: Option<&'a RawValue>,
}

fn split_json(body: &[u8], gathered: &mut Gathered<'static, '_>) -> Result<(), Problem> {
    let text = std::str::from_utf8(body).map_err(unreadable)?;
    let request: JsonRequest<'_> = json_parts::object(text).map_err(unreadable)?;
    for resource_logs in elements(request.resource_logs, gathered, unreadable)? {
        let group: JsonResourceLogs<'_> =
            json_parts::object(resource_logs.get()).map_err(unreadable)?;
        with_common_json(
            group.resource,
            gathered,
            |gathered, of_resource, resource: Resource| {
                let resource = object(resource.attributes);
                for scope_logs in elements(group.scope_logs, gathered, unreadable)? {
                    let group: JsonScopeLogs<'_> =
                        json_parts::object(scope_logs.get()).map_err(unreadable)?;
                    with_common_json(group.scope, gathered, |gathered, of_scope, scope| {
                        let scope = about(scope);
                        for record in elements(group.log_records, gathered, unreadable)? {
                            let size = Size::of_json(record.get().as_bytes());
                            gathered.read(size.beside(of_resource).beside(of_scope), || {
                                let record =
                                    json_parts::object(record.get()).map_err(unreadable)?;
                                Ok(event(record, &resource, &scope))
                            })?;
                        }
                        Ok(())
                    })?;
                }
                Ok(())
            },
        )?;
    }
    Ok(())
}

/// As [`with_common`].
fn with_common_json<'a, T: Default + Deserialize<'a>>(
    text: Option<&'a RawValue>,
    gathered: &mut Gathered<'static, '_>,
    read: impl FnOnce(&mut Gathered<'static, '_>, Size, T) -> Result<(), Problem>,
) -> Result<(), Problem> {
    let Some(text) = text else {
        return read(gathered, Size::default(), T::default());
    };
    let size = Size::of_json(text.get().as_bytes());
    if gathered.fits(size).is_err() {
        return read(gathered, size, T::default());
    }
    gathered.built(size, |gathered| {
        let common = json_parts::object(text.get()).map_err(unreadable)?;
        read(gathered, size, common)
    })
}

fn about(scope: InstrumentationScope) -> Map<String, Value> {
    let mut about = Map::new();
    for (name, text) in [("name", scope.name), ("version", scope.version)] {
        if !text.is_empty() {
            about.insert(name.to_owned(), text.into());
        }
    }
    let attributes = object(scope.attributes);
    if !attributes.is_empty() {
        about.insert("attributes".to_owned(), attributes.into());
    }
    about
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
