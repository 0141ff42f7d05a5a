//! What logflow needs of an object whose fields another product named: Elastic's common schema, and what loggers write.
//!
//! In the flow: part of `decode::elasticsearch` and `decode::hec`.

use std::borrow::Cow;
use std::collections::BTreeMap;

use log_event::timestamp::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::event_text::Known;

/// The fields at the top of an object, as they are written.
pub(super) struct Object<'a> {
    text: &'a str,
    fields: BTreeMap<Cow<'a, str>, &'a RawValue>,
}

#[derive(Deserialize)]
#[serde(transparent)]
struct Fields<'a>(#[serde(borrow)] BTreeMap<Cow<'a, str>, &'a RawValue>);

impl<'a> Object<'a> {
    /// `None` if the text is no JSON object; `decode` then says why.
    pub(super) fn read(text: &'a str) -> Option<Self> {
        let Fields(fields) = serde_json::from_str(text).ok()?;
        Some(Self { text, fields })
    }

    /// The object as it is to be kept: as it is written, but with the name of a level that pino or bunyan wrote as
    /// a number (pino documentation, `level`).
    pub(super) fn kept(&self) -> Cow<'a, str> {
        let Some(number) = self.fields.get("level").map(|raw| raw.get()) else {
            return Cow::Borrowed(self.text);
        };
        let name = match number {
            "10" => "trace",
            "20" => "debug",
            "30" => "info",
            "40" => "warn",
            "50" => "error",
            "60" => "fatal",
            _ => return Cow::Borrowed(self.text),
        };
        // The number is a part of the text, read from it without a copy.
        let at = number.as_ptr() as usize - self.text.as_ptr() as usize;
        let (before, after) = (&self.text[..at], &self.text[at + number.len()..]);
        Cow::Owned(format!("{before}\"{name}\"{after}"))
    }

    pub(super) fn names(&self) -> Vec<&str> {
        self.fields.keys().map(AsRef::as_ref).collect()
    }

    /// The text at a path such as `log.level`: a field of that name, or a field of a field.
    pub(super) fn text_at(&self, path: &str) -> Option<String> {
        if let Some(raw) = self.fields.get(path) {
            return serde_json::from_str(raw.get()).ok();
        }
        let (outer, inner) = path.split_once('.')?;
        Object::read(self.fields.get(outer)?.get())?.text_at(inner)
    }

    fn first(&self, paths: &[&str]) -> Option<String> {
        paths.iter().find_map(|path| self.text_at(path))
    }

    /// What it says of the known fields that it does not name as logflow does.
    pub(super) fn known(&self) -> Known {
        Known {
            timestamp: self.timestamp(),
            level: self.first(&["log.level", "severity", "lvl", "loglevel"]),
            message: self.first(&["msg", "log", "event.original"]),
            resource_id: self.first(&[
                "service.name",
                "host.name",
                "hostname",
                "kubernetes.pod.name",
            ]),
            trace_id: self.first(&["trace.id", "trace_id", "traceID"]),
            span_id: self.first(&["span.id", "span_id", "spanID"]),
            ..Known::default()
        }
    }

    fn timestamp(&self) -> Option<Timestamp> {
        let raw = ["@timestamp", "time", "ts"]
            .iter()
            .find_map(|name| self.fields.get(*name))?;
        match serde_json::from_str::<String>(raw.get()) {
            Ok(text) => Timestamp::parse(&text).ok(),
            Err(_) => Timestamp::parse_number(raw.get()).ok(),
        }
    }
}
