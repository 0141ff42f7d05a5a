//! One JSON object from a client: checked once, valid from then on.
//!
//! In the flow: `timestamp` → **`event`** → `event_id`.
//! Refuses what Elasticsearch would refuse for every mapping (duplicate names,
//! reserved names, endless nesting), so that the client hears of it at once and
//! not the operator from a dead letter. Not here: which part of a body is an
//! event (the gateway's decoders).

use std::borrow::Cow;
use std::fmt;

use memchr::memchr2;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::timestamp::{Timestamp, TimestampError};

mod names;

use names::Names;

/// How deep objects and arrays may nest, the event itself included:
/// Elasticsearch's default `index.mapping.depth.limit`.
pub const EVENT_DEPTH_MAX: usize = 20;

/// The fields that must be strings.
const STRING_FIELDS: [&str; 7] = [
    "level",
    "message",
    "resourceId",
    "traceId",
    "spanId",
    "commit",
    "eventId",
];

/// Names that Elasticsearch keeps for itself at the top of a document.
pub const RESERVED_FIELDS: [&str; 12] = [
    "_id",
    "_index",
    "_source",
    "_routing",
    "_type",
    "_field_names",
    "_ignored",
    "_nested_path",
    "_seq_no",
    "_primary_term",
    "_version",
    "_tier",
];

/// A log event that Kafka may keep: one JSON object on one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEvent<'a> {
    /// The event's JSON, with a normalised `timestamp` and without line breaks.
    pub json: Cow<'a, [u8]>,
    /// When it happened.
    pub event_time: Timestamp,
    /// The `eventId` that the client gave, if any.
    pub client_id: Option<String>,
}

/// Why an event is refused. [`EventError::code`] is stable, the text is for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    /// Not UTF-8 (RFC 8259 §8.1).
    #[error("not UTF-8: invalid byte at {0}")]
    InvalidUtf8(usize),
    /// Not JSON.
    #[error("not JSON: {0}")]
    InvalidJson(String),
    /// JSON, but not an object.
    #[error("an event is a JSON object, this is {0}")]
    NotAnObject(&'static str),
    /// A name stands twice in one object.
    #[error("the name `{0}` stands twice in one object")]
    DuplicateName(String),
    /// Deeper than [`EVENT_DEPTH_MAX`].
    #[error("nested deeper than {EVENT_DEPTH_MAX} levels")]
    TooDeep,
    /// A name with a NUL character, which Elasticsearch uses itself.
    #[error("the name `{0}` contains a NUL character")]
    NulInName(String),
    /// A name that Elasticsearch keeps for itself.
    #[error("the name `{0}` is reserved by Elasticsearch")]
    ReservedName(String),
    /// A known field of the wrong type.
    #[error("`{field}` must be {expected}, this is {found}")]
    WrongType {
        /// The field.
        field: String,
        /// What it must be.
        expected: &'static str,
        /// What it is.
        found: &'static str,
    },
    /// A timestamp that cannot be read.
    #[error("`timestamp`: {0}")]
    InvalidTimestamp(TimestampError),
}

impl EventError {
    /// The stable code of the refusal (docs/formats.md).
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::InvalidUtf8(_) => "invalid_utf8",
            Self::InvalidJson(_) => "invalid_json",
            Self::NotAnObject(_) => "not_an_object",
            Self::DuplicateName(_) => "duplicate_name",
            Self::TooDeep => "too_deep",
            Self::NulInName(_) => "nul_in_name",
            Self::ReservedName(_) => "reserved_name",
            Self::WrongType { .. } => "wrong_type",
            Self::InvalidTimestamp(_) => "invalid_timestamp",
        }
    }
}

impl<'a> LogEvent<'a> {
    /// Checks the bytes of one event. An event without a timestamp happened
    /// when it was `received`.
    ///
    /// # Errors
    /// [`EventError`] says what is wrong; the bytes are untouched.
    pub fn decode(bytes: &'a [u8], received: Timestamp) -> Result<Self, EventError> {
        let text = std::str::from_utf8(bytes)
            .map_err(|error| EventError::InvalidUtf8(error.valid_up_to()))?;
        let fields = KnownFields::read(text)?;
        let (event_time, json) = match fields.timestamp {
            None => (received, fill_timestamp(text, received, fields.is_empty)),
            Some(raw) if raw.get() == "null" => {
                (received, replace(text, raw.get(), &received.to_rfc3339()))
            }
            Some(raw) => {
                let (event_time, normal) = read_timestamp(raw)?;
                let json = match normal {
                    None => Cow::Borrowed(bytes),
                    Some(normal) => replace(text, raw.get(), &normal),
                };
                (event_time, json)
            }
        };
        Ok(Self {
            json: on_one_line(json),
            event_time,
            client_id: fields.event_id,
        })
    }
}

/// What the check picks out of an event on its one walk over it.
#[derive(Default)]
struct KnownFields<'a> {
    timestamp: Option<&'a RawValue>,
    event_id: Option<String>,
    is_empty: bool,
}

impl<'a> KnownFields<'a> {
    fn read(text: &'a str) -> Result<Self, EventError> {
        let first = text.trim_start().as_bytes().first().copied();
        let mut faults = Faults(None);
        let mut parser = serde_json::Deserializer::from_str(text);
        let read = match first {
            Some(b'{') => parser
                .deserialize_map(EventVisitor(&mut faults))
                .and_then(|fields| parser.end().map(|()| fields)),
            _ => Walk {
                faults: &mut faults,
                depth: 1,
            }
            .deserialize(&mut parser)
            .and_then(|kind| parser.end().map(|()| kind))
            .and_then(|kind| faults.stop(EventError::NotAnObject(kind))),
        };
        // A fault of ours travels beside serde's error, which can only carry text.
        read.map_err(|error| {
            faults.0.unwrap_or_else(|| {
                let error = error.to_string();
                if error.starts_with("recursion limit exceeded") {
                    EventError::TooDeep
                } else {
                    EventError::InvalidJson(error)
                }
            })
        })
    }
}

/// The first fault found; stops the walk.
struct Faults(Option<EventError>);

impl Faults {
    fn stop<T, E: serde::de::Error>(&mut self, fault: EventError) -> Result<T, E> {
        let error = E::custom(&fault);
        self.0.get_or_insert(fault);
        Err(error)
    }
}

/// Reads the top level of an event.
struct EventVisitor<'f>(&'f mut Faults);

impl<'de> Visitor<'de> for EventVisitor<'_> {
    type Value = KnownFields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an event")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let faults = self.0;
        let mut fields = KnownFields {
            is_empty: true,
            ..KnownFields::default()
        };
        let mut names = Names::default();
        while let Some(name) = map.next_key_seed(Name)? {
            fields.is_empty = false;
            names.check(&name, faults)?;
            if name.starts_with('_') && RESERVED_FIELDS.contains(&&*name) {
                return faults.stop(EventError::ReservedName(name.into_owned()));
            }
            if name == "timestamp" {
                fields.timestamp = Some(map.next_value()?);
            } else if name == "eventId" {
                fields.event_id = map.next_value_seed(StringField {
                    name: &name,
                    faults,
                })?;
            } else {
                let kind = map.next_value_seed(Walk { faults, depth: 2 })?;
                check_type(&name, kind, faults)?;
            }
            names.add(name);
        }
        Ok(fields)
    }
}

fn check_type<E: serde::de::Error>(
    name: &str,
    kind: &'static str,
    faults: &mut Faults,
) -> Result<(), E> {
    // Most fields are strings, and one alone must not be.
    if kind == STRING && name != "metadata" {
        return Ok(());
    }
    let expected = if STRING_FIELDS.contains(&name) {
        STRING
    } else if name == "metadata" {
        OBJECT
    } else {
        return Ok(());
    };
    if kind == expected || kind == NULL {
        return Ok(());
    }
    faults.stop(EventError::WrongType {
        field: name.to_owned(),
        expected,
        found: kind,
    })
}

const NULL: &str = "null";
const BOOLEAN: &str = "a boolean";
const NUMBER: &str = "a number";
const STRING: &str = "a string";
const ARRAY: &str = "an array";
const OBJECT: &str = "an object";

/// Walks over any value, checks what is inside, and says what it is.
struct Walk<'f> {
    faults: &'f mut Faults,
    /// The depth of this value; the event itself is at 1.
    depth: usize,
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = &'static str;

    fn deserialize<D: Deserializer<'de>>(self, parser: D) -> Result<Self::Value, D::Error> {
        parser.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = &'static str;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(NULL)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(BOOLEAN)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(NUMBER)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(NUMBER)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(NUMBER)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(STRING)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let Walk { faults, depth } = self;
        if depth > EVENT_DEPTH_MAX {
            return faults.stop(EventError::TooDeep);
        }
        while items
            .next_element_seed(Walk {
                faults,
                depth: depth + 1,
            })?
            .is_some()
        {}
        Ok(ARRAY)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let Walk { faults, depth } = self;
        if depth > EVENT_DEPTH_MAX {
            return faults.stop(EventError::TooDeep);
        }
        let mut names = Names::default();
        while let Some(name) = map.next_key_seed(Name)? {
            names.check(&name, faults)?;
            map.next_value_seed(Walk {
                faults,
                depth: depth + 1,
            })?;
            names.add(name);
        }
        Ok(OBJECT)
    }
}

/// The string behind a known name, or `None` for null.
struct StringField<'f> {
    name: &'f str,
    faults: &'f mut Faults,
}

impl<'de> DeserializeSeed<'de> for StringField<'_> {
    type Value = Option<String>;

    fn deserialize<D: Deserializer<'de>>(self, parser: D) -> Result<Self::Value, D::Error> {
        let raw: &RawValue = serde::Deserialize::deserialize(parser)?;
        match raw.get().as_bytes().first() {
            Some(b'"' | b'n') => serde_json::from_str(raw.get()).map_err(serde::de::Error::custom),
            _ => {
                let kind = serde_json::Deserializer::from_str(raw.get())
                    .deserialize_any(Walk {
                        faults: &mut *self.faults,
                        depth: 2,
                    })
                    .map_err(serde::de::Error::custom)?;
                self.faults.stop(EventError::WrongType {
                    field: self.name.to_owned(),
                    expected: STRING,
                    found: kind,
                })
            }
        }
    }
}

/// A name in an object, borrowed from the text unless it has escapes.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, parser: D) -> Result<Self::Value, D::Error> {
        parser.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(name))
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(name.to_owned()))
    }
}

/// The moment, and the text to write where the client's own is not normal.
fn read_timestamp(raw: &RawValue) -> Result<(Timestamp, Option<String>), EventError> {
    let text = raw.get();
    let wrong_type = |found| EventError::WrongType {
        field: "timestamp".to_owned(),
        expected: "a string or a number",
        found,
    };
    match text.as_bytes().first() {
        Some(b'"') => {
            let inner = &text[1..text.len() - 1];
            let text: Cow<'_, str> = if inner.contains('\\') {
                serde_json::from_str(text)
                    .map_err(|error| EventError::InvalidJson(error.to_string()))?
            } else {
                Cow::Borrowed(inner)
            };
            let moment = Timestamp::parse(&text).map_err(EventError::InvalidTimestamp)?;
            let normal = (!is_normal(&text)).then(|| moment.to_rfc3339());
            Ok((moment, normal))
        }
        Some(b'{') => Err(wrong_type(OBJECT)),
        Some(b'[') => Err(wrong_type(ARRAY)),
        Some(b't' | b'f') => Err(wrong_type(BOOLEAN)),
        _ => {
            let moment = Timestamp::parse_number(text).map_err(EventError::InvalidTimestamp)?;
            Ok((moment, Some(moment.to_rfc3339())))
        }
    }
}

/// Whether a readable timestamp is RFC 3339 in UTC as it stands, so that it can stay.
fn is_normal(text: &str) -> bool {
    let bytes = text.as_bytes();
    let fraction = bytes.len().saturating_sub("2023-09-15T08:00:00Z".len());
    bytes.get(10) == Some(&b'T') && bytes.last() == Some(&b'Z') && fraction <= ".123456789".len()
}

fn fill_timestamp(text: &str, received: Timestamp, is_empty: bool) -> Cow<'_, [u8]> {
    let open = text.find('{').expect("an event starts with `{`") + 1;
    let comma = if is_empty { "" } else { "," };
    let filled = format!(
        "{}\"timestamp\":\"{}\"{comma}{}",
        &text[..open],
        received.to_rfc3339(),
        &text[open..]
    );
    Cow::Owned(filled.into_bytes())
}

/// `part` lies within `text`.
fn replace<'a>(text: &'a str, part: &str, normal: &str) -> Cow<'a, [u8]> {
    let start = part.as_ptr() as usize - text.as_ptr() as usize;
    let end = start + part.len();
    Cow::Owned(format!("{}\"{normal}\"{}", &text[..start], &text[end..]).into_bytes())
}

/// In JSON a raw line break is only ever white space between tokens.
fn on_one_line(json: Cow<'_, [u8]>) -> Cow<'_, [u8]> {
    if memchr2(b'\n', b'\r', &json).is_none() {
        return json;
    }
    let mut json = json.into_owned();
    for byte in &mut json {
        if matches!(byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
    Cow::Owned(json)
}

#[cfg(test)]
mod tests;
