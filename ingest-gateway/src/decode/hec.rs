//! Splunk's HTTP Event Collector: JSON objects one after the other, or raw lines (Splunk, "Format events for HEC").
//!
//! In the flow: `body` → **`decode::hec`** → `decode`. What becomes of each field: docs/intake.md.

use log_event::timestamp::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::event_text::{Gathered, Known, Limits, Size, first_text, lines};
use super::object_fields::Object;
use super::{Events, Fault, Form, Found};
use crate::error::{Code, Problem};

/// The code of an event without its field `event`; HEC has a number of its own for it.
pub const EVENT_REQUIRED: &str = "event_field_required";
/// The code of an event whose field `event` says nothing.
pub const EVENT_BLANK: &str = "event_field_blank";

#[derive(Deserialize)]
struct Written<'a> {
    #[serde(borrow)]
    event: Option<&'a RawValue>,
    #[serde(borrow)]
    time: Option<&'a RawValue>,
    host: Option<String>,
    source: Option<String>,
    sourcetype: Option<String>,
    index: Option<String>,
    #[serde(borrow)]
    fields: Option<&'a RawValue>,
}

/// What is said of all that follows: an object that says nothing of it means the same as the one before.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct About {
    host: Option<String>,
    source: Option<String>,
    sourcetype: Option<String>,
    index: Option<String>,
}

impl About {
    /// Each event has a copy of its own.
    fn size(&self) -> Size {
        let texts = [&self.host, &self.source, &self.sourcetype, &self.index];
        let texts = texts.into_iter().flatten();
        texts.fold(Size::default(), |size, text| {
            size.and(Size::of_line(text.as_bytes()))
        })
    }
}

/// Reads objects.
///
/// # Errors
/// A [`Problem`] if the body is none, or too much.
pub fn split_events<'a>(body: &'a [u8], limits: Limits<'_>) -> Result<Events<'a>, Problem> {
    let mut gathered = Gathered::new(limits);
    let mut about = About::default();
    let mut number = 0;
    for written in serde_json::Deserializer::from_slice(body).into_iter::<Written<'_>>() {
        let malformed = |error| {
            let detail = format!("event {number} is no JSON object of HEC's: {error}");
            Problem::permanent(Code::InvalidMessage, detail)
        };
        let written = written.map_err(malformed)?;
        about.host = written.host.clone().or(about.host);
        about.source = written.source.clone().or(about.source);
        about.sourcetype = written.sourcetype.clone().or(about.sourcetype);
        about.index = written.index.clone().or(about.index);
        let json = |raw: Option<&RawValue>| {
            raw.map_or(Size::default(), |raw| Size::of_json(raw.get().as_bytes()))
        };
        let size = about
            .size()
            .and(json(written.event))
            .and(json(written.fields));
        gathered.read(size, || {
            let fields = written.fields.map(|raw| serde_json::from_str(raw.get()));
            let fields = fields.transpose().map_err(malformed)?;
            Ok(event(&written, fields, &about))
        })?;
        number += 1;
    }
    finished(gathered, number)
}

/// Reads lines, each the message of an event.
///
/// # Errors
/// A [`Problem`] if there is none, or too much.
pub fn split_raw<'a>(
    body: &'a [u8],
    about: &About,
    limits: Limits<'_>,
) -> Result<Events<'a>, Problem> {
    let mut gathered = Gathered::new(limits);
    let mut number = 0;
    for line in lines(body) {
        number += 1;
        gathered.read(about.size().and(Size::of_line(line)), || {
            let mut known = described(about, None);
            known.message = Some(String::from_utf8_lossy(line).into_owned());
            Ok(Ok(known.into_found(None)))
        })?;
    }
    finished(gathered, number)
}

fn finished<'a>(gathered: Gathered<'a, '_>, number: usize) -> Result<Events<'a>, Problem> {
    if number == 0 {
        return Err(Problem::permanent(Code::EmptyBody, "No data"));
    }
    Ok(Events {
        found: gathered.finish(),
        form: Form::Message,
        body_key: None,
    })
}

fn event<'a>(
    written: &Written<'a>,
    fields: Option<Map<String, Value>>,
    about: &About,
) -> Result<Found<'a>, Fault> {
    let event = written.event.ok_or_else(|| Fault {
        code: EVENT_REQUIRED,
        reason: "Event field is required".to_owned(),
    })?;
    let timestamp = written.time.map(moment).transpose()?;
    let mut known = described(about, fields);
    if let Some(object) = Object::read(event.get()) {
        let own = object.known();
        known = Known {
            timestamp: timestamp.or(own.timestamp),
            level: own.level.or(known.level),
            message: own.message,
            resource_id: own.resource_id.or(known.resource_id),
            trace_id: own.trace_id,
            span_id: own.span_id,
            ..known
        };
        return Ok(known.beside(&object.kept(), &object.names(), &[], None));
    }
    known.timestamp = timestamp;
    known.message = match serde_json::from_str(event.get()) {
        Ok(Value::Null) => None,
        Ok(Value::String(text)) => Some(text).filter(|text| !text.is_empty()),
        Ok(other) => Some(other.to_string()),
        Err(_) => None,
    };
    match known.message {
        None => Err(Fault {
            code: EVENT_BLANK,
            reason: "Event field cannot be blank".to_owned(),
        }),
        Some(_) => Ok(known.into_found(None)),
    }
}

fn described(about: &About, fields: Option<Map<String, Value>>) -> Known {
    let mut known = Known {
        resource_id: about.host.clone(),
        ..Known::default()
    };
    for (name, text) in [
        ("source", &about.source),
        ("sourcetype", &about.sourcetype),
        ("index", &about.index),
    ] {
        if let Some(text) = text {
            known.metadata.insert(name.to_owned(), text.as_str().into());
        }
    }
    if let Some(fields) = fields.filter(|fields| !fields.is_empty()) {
        known.level = first_text(&fields, &["level", "severity"]);
        known.trace_id = first_text(&fields, &["trace_id", "traceId"]);
        known.span_id = first_text(&fields, &["span_id", "spanId"]);
        known.metadata.insert("fields".to_owned(), fields.into());
    }
    known
}

/// Seconds since the epoch with up to nine decimals, as a number or a text.
fn moment(raw: &RawValue) -> Result<Timestamp, Fault> {
    let text: String = serde_json::from_str(raw.get()).unwrap_or_else(|_| raw.get().to_owned());
    Timestamp::parse_number(&text)
        .or_else(|_| Timestamp::parse(&text))
        .map_err(|error| Fault {
            code: "invalid_timestamp",
            reason: format!("`time`: {error}"),
        })
}

#[cfg(test)]
mod tests;
