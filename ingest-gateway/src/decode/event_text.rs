//! Writes the JSON of an event that arrived as something else.
//!
//! In the flow: the decoders of `otlp`, `loki`, `hec`, `elasticsearch`, `text` → **`event_text`** → `decode`.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use log_event::timestamp::Timestamp;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::{EVENT_TOO_LARGE, Fault, Found, Items};
use crate::admission::{Reservation, Spent};
use crate::error::{Code, Problem};

/// What may be built at once, in so many times the bytes that all events of a request may have.
const BUILT_PART: usize = 2;

/// How large a part of a body is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Size {
    /// At least so many bytes are kept of it.
    pub(super) kept: usize,
    /// At most so many are on the heap while it is read.
    pub(super) built: usize,
}

impl Size {
    /// Of a protobuf message: text is kept as it is, and two bytes can be an empty attribute of 72, in a list that has
    /// room for twice as many.
    pub(super) fn of_protobuf(bytes: usize) -> Self {
        Self {
            kept: bytes,
            built: bytes.saturating_mul(72),
        }
    }

    /// Of JSON: six bytes can be a letter of two, and an object of one field is a tree with a leaf for eleven.
    pub(super) fn of_json(text: &[u8]) -> Self {
        const OBJECT: usize = 704;
        const ELEMENT: usize = 112;
        let (objects, elements) =
            text.iter()
                .fold((0, 0), |(objects, elements), byte| match byte {
                    b'{' => (objects + 1, elements),
                    b',' | b'[' => (objects, elements + 1),
                    _ => (objects, elements),
                });
        Self {
            kept: text.len() / 3,
            built: 2 * text.len() + OBJECT * objects + ELEMENT * elements,
        }
    }

    /// Of a line that becomes a text in JSON: a control character has six letters there.
    pub(super) fn of_line(line: &[u8]) -> Self {
        Self {
            kept: line.len(),
            built: 8 * line.len(),
        }
    }

    /// Of both together.
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            kept: self.kept + other.kept,
            built: self.built + other.built,
        }
    }

    /// As a part of something whose other parts are built already.
    pub(super) fn beside(self, built: Self) -> Self {
        Self {
            kept: self.kept + built.kept,
            ..self
        }
    }
}

/// The fields that a dialect knows of, of an event that its client wrote freely or not at all.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    pub(super) timestamp: Option<Timestamp>,
    pub(super) level: Option<String>,
    pub(super) message: Option<String>,
    pub(super) resource_id: Option<String>,
    pub(super) trace_id: Option<String>,
    pub(super) span_id: Option<String>,
    pub(super) commit: Option<String>,
    pub(super) metadata: Map<String, Value>,
}

impl Known {
    /// The event of these fields alone.
    pub(super) fn into_found(self, id: Option<String>) -> Found<'static> {
        let is_timed = self.timestamp.is_some();
        Found {
            json: self.fields(&[]).finish("{}").into(),
            id,
            is_timed,
        }
    }

    /// The client's own object with these fields before it, as far as it has none of the same name.
    /// `object` is the text of a JSON object.
    pub(super) fn beside<'a>(
        self,
        object: &str,
        names: &[&str],
        more: &[(&str, &str)],
        id: Option<String>,
    ) -> Found<'a> {
        let is_timed = self.timestamp.is_some() || names.contains(&"timestamp");
        let mut fields = self.fields(names);
        for (name, value) in more {
            if !names.contains(name) {
                fields.text(name, value);
            }
        }
        Found {
            json: fields.finish(object).into(),
            id,
            is_timed,
        }
    }

    fn fields(self, taken: &[&str]) -> Fields {
        let mut fields = Fields(Vec::with_capacity(256));
        let texts = [
            ("timestamp", self.timestamp.map(Timestamp::to_rfc3339)),
            ("level", self.level),
            ("message", self.message),
            ("resourceId", self.resource_id),
            ("traceId", self.trace_id),
            ("spanId", self.span_id),
            ("commit", self.commit),
        ];
        for (name, text) in texts {
            if let Some(text) = text
                && !taken.contains(&name)
            {
                fields.text(name, &text);
            }
        }
        if !self.metadata.is_empty() && !taken.contains(&"metadata") {
            fields.value("metadata", &Value::Object(self.metadata));
        }
        fields
    }
}

/// The beginning of an object.
struct Fields(Vec<u8>);

impl Fields {
    fn name(&mut self, name: &str) {
        self.0.push(if self.0.is_empty() { b'{' } else { b',' });
        self.0.push(b'"');
        self.0.extend(name.as_bytes());
        self.0.extend(b"\":");
    }

    fn text(&mut self, name: &str, text: &str) {
        self.name(name);
        serde_json::to_writer(&mut self.0, text).expect("text is JSON, and memory takes it");
    }

    fn value(&mut self, name: &str, value: &Value) {
        self.name(name);
        serde_json::to_writer(&mut self.0, value).expect("a value is JSON, and memory takes it");
    }

    /// With the fields of `object` behind these.
    fn finish(mut self, object: &str) -> Vec<u8> {
        let inside = object.trim().trim_start_matches('{').trim_start();
        if self.0.is_empty() {
            self.0.push(b'{');
        } else if !inside.starts_with('}') {
            self.0.push(b',');
        }
        self.0.extend(inside.as_bytes());
        self.0
    }
}

/// Gathers events, and sees to it that a small body does not become a large heap of them.
pub(super) struct Gathered<'a, 'r> {
    items: Items<'a>,
    bytes: usize,
    limits: Limits<'r>,
}

/// How much one body may become.
#[derive(Debug)]
pub struct Limits<'r> {
    /// The most events.
    pub events_max: usize,
    /// The most bytes of all of them together.
    pub bytes_max: usize,
    /// The most bytes of one, as it is sent.
    pub event_bytes_max: usize,
    /// What their bytes are taken from.
    pub share: &'r mut Reservation,
}

impl<'a, 'r> Gathered<'a, 'r> {
    pub(super) fn new(limits: Limits<'r>) -> Self {
        Self {
            items: Vec::new(),
            bytes: 0,
            limits,
        }
    }

    /// Adds what `read` makes of a part of the body, unless it is larger than an event may be.
    pub(super) fn read(
        &mut self,
        size: Size,
        read: impl FnOnce() -> Result<Result<Found<'a>, Fault>, Problem>,
    ) -> Result<(), Problem> {
        let item = match self.fits(size) {
            Ok(()) => self.built(size, |_| read())?,
            Err(fault) => Err(fault),
        };
        self.add(item)
    }

    /// Whether an event may be so large.
    pub(super) fn fits(&self, size: Size) -> Result<(), Fault> {
        let most = self.limits.event_bytes_max;
        match size.kept <= most {
            true => Ok(()),
            false => Err(Fault {
                code: EVENT_TOO_LARGE,
                reason: format!(
                    "an event may have {most} bytes, this has {} or more",
                    size.kept
                ),
            }),
        }
    }

    /// Does something for which a part of the body is built as objects, and for so long takes their bytes from the budget.
    pub(super) fn built<T>(
        &mut self,
        size: Size,
        build: impl FnOnce(&mut Self) -> Result<T, Problem>,
    ) -> Result<T, Problem> {
        // An operator may allow events that could never be built beside anything else.
        let heap = size
            .built
            .min(self.limits.bytes_max.saturating_mul(BUILT_PART));
        self.hold(heap)?;
        let built = build(self);
        let share = &mut *self.limits.share;
        share.shrink_to(share.bytes() - heap);
        built
    }

    /// How many events there may be.
    pub(super) fn events_max(&self) -> usize {
        self.limits.events_max
    }

    /// Takes bytes from the budget until the request is decoded.
    pub(super) fn hold(&mut self, bytes: usize) -> Result<(), Problem> {
        let share = &mut *self.limits.share;
        share.grow(bytes).map_err(|Spent| Problem::overloaded())
    }

    pub(super) fn add(&mut self, item: Result<Found<'a>, Fault>) -> Result<(), Problem> {
        if self.items.len() == self.limits.events_max {
            return Err(Problem::too_many_events(self.limits.events_max));
        }
        let bytes = item.as_ref().map_or(0, |found| found.json.len());
        self.bytes += bytes;
        if self.bytes > self.limits.bytes_max {
            return Err(Problem::permanent(
                Code::BodyTooLarge,
                format!(
                    "written out, the events of this request have more than {} bytes; send several smaller ones",
                    self.limits.bytes_max
                ),
            ));
        }
        let share = &mut *self.limits.share;
        share.grow(bytes).map_err(|Spent| Problem::overloaded())?;
        self.items.push(item);
        Ok(())
    }

    pub(super) fn finish(self) -> Items<'a> {
        self.items
    }
}

/// The lines of a text that are not blank, without their ends.
pub(super) fn lines(body: &[u8]) -> impl Iterator<Item = &[u8]> {
    body.split(|byte| *byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
        .filter(|line| !line.iter().all(u8::is_ascii_whitespace))
}

/// Stands in for an `Idempotency-Key`: see [`super::Events::body_key`].
pub(super) fn body_key(body: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(body))
}

/// The level that a number of OpenTelemetry's stands for (logs data model, `SeverityNumber`).
pub(super) fn level_of_severity(number: i32) -> Option<&'static str> {
    match number {
        1..=4 => Some("trace"),
        5..=8 => Some("debug"),
        9..=12 => Some("info"),
        13..=16 => Some("warn"),
        17..=20 => Some("error"),
        21..=24 => Some("fatal"),
        _ => None,
    }
}

/// The first of these fields that is a text.
pub(super) fn first_text(map: &Map<String, Value>, names: &[&str]) -> Option<String> {
    let mut texts = names
        .iter()
        .filter_map(|name| map.get(*name).and_then(Value::as_str));
    texts.next().map(str::to_owned)
}
