//! Decides which events a body holds, and makes records of them: each bad
//! event is refused alone, with its position.
//!
//! In the flow: `body` → **`decode`** → `produce`. Upholds GW-3.
//! One file for each dialect says where an event begins and ends and what its
//! JSON is: [`json`], [`text`], [`otlp`], [`elasticsearch`], [`loki`], [`hec`].
//! What an event must look like, whoever sent it, is `log_event::event`'s.

use std::borrow::Cow;

use log_event::event::{EventError, LogEvent};
use log_event::event_id::{EventId, EventIdMinter};
use log_event::tenant::Tenant;
use log_event::timestamp::Timestamp;
use service::traces::TraceHeaders;

pub mod json;
pub mod text;
pub mod otlp;
pub mod elasticsearch;
pub mod loki;
pub mod hec;
mod event_text;
mod wire;
mod json_parts;
#[cfg(test)]
mod test_support;
mod labels;
mod object_fields;

pub use event_text::Limits;

/// How many refusals a reply lists.
pub const ERRORS_LISTED_MAX: usize = 100;

/// The events of a body, as JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Events<'a> {
    /// In the order of the request.
    pub found: Items<'a>,
    /// How they were told apart.
    pub form: Form,
    /// Stands in for an `Idempotency-Key` where the request has none: a hash of the body, of a dialect whose clients
    /// send the same body again after a lost reply, and whose events bear their own times to the nanosecond.
    pub body_key: Option<String>,
}

/// What stands in a body, event by event.
pub type Items<'a> = Vec<Result<Found<'a>, Fault>>;

/// One event of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found<'a> {
    /// What the event is to be.
    pub json: Cow<'a, [u8]>,
    /// The id that its client gave beside it.
    pub id: Option<String>,
    /// Whether the client says when it happened.
    pub is_timed: bool,
}

/// Why one event of a body is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The stable code (docs/formats.md).
    pub code: &'static str,
    /// For people.
    pub reason: String,
}

impl<'a> Events<'a> {
    /// Events that stand in the body as they are to be kept.
    #[must_use]
    pub fn as_sent(slices: Vec<&'a [u8]>, form: Form) -> Self {
        let found = slices.into_iter().map(|slice| {
            Ok(Found {
                json: Cow::Borrowed(slice),
                id: None,
                is_timed: true,
            })
        });
        Self {
            found: found.collect(),
            form,
            body_key: None,
        }
    }

    /// The bytes of all of them.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let found = self.found.iter().flatten();
        found.map(|found| found.json.len()).sum()
    }
}

/// The form of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One event.
    Single,
    /// An array of events.
    Array,
    /// One event a line.
    Lines,
    /// A message of another protocol.
    Message,
}

/// What is the same for all events of a request.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// When the gateway received it.
    pub received: Timestamp,
    /// Its `Idempotency-Key`.
    pub idempotency_key: Option<&'a str>,
    /// Whose events they are.
    pub tenant: Option<&'a Tenant>,
    /// The longest event, in bytes as sent.
    pub event_bytes_max: usize,
}

/// What the records of a request have in common.
#[derive(Clone, Copy, Debug)]
pub struct Beside<'a> {
    /// How the client spoke.
    pub dialect: &'static str,
    /// Whose events they are.
    pub tenant: Option<&'a Tenant>,
    /// When the gateway received them.
    pub received: Timestamp,
    /// The span that they are produced in, if it is recorded.
    pub span: Option<&'a TraceHeaders>,
}

/// An event that may go to Kafka.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its position in the request, from 0.
    pub position: usize,
    /// The value.
    pub json: Cow<'a, [u8]>,
    /// Who it is.
    pub id: EventId,
    /// When it happened.
    pub event_time: Timestamp,
}

impl Record<'_> {
    /// The same, with bytes of its own.
    #[must_use]
    pub fn into_owned(self) -> Record<'static> {
        Record {
            position: self.position,
            json: Cow::Owned(self.json.into_owned()),
            id: self.id,
            event_time: self.event_time,
        }
    }
}

/// An event that may not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Its position in the request, from 0.
    pub position: usize,
    /// The stable code (docs/formats.md).
    pub code: &'static str,
    /// For people.
    pub reason: String,
}

/// The refused events of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refusals {
    /// The first ones, at most [`ERRORS_LISTED_MAX`].
    pub listed: Vec<Refusal>,
    /// How many there are, by code; as many entries as there are codes.
    pub by_code: Vec<(&'static str, usize)>,
    /// The position and the code of each.
    pub places: Vec<(usize, &'static str)>,
}

impl Refusals {
    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.by_code.iter().map(|(_, count)| count).sum()
    }

    /// One more. The reason is only made where it is listed.
    pub fn add(&mut self, position: usize, code: &'static str, reason: impl FnOnce() -> String) {
        match self.by_code.iter_mut().find(|(known, _)| *known == code) {
            Some((_, count)) => *count += 1,
            None => self.by_code.push((code, 1)),
        }
        self.places.push((position, code));
        if self.listed.len() < ERRORS_LISTED_MAX {
            self.listed.push(Refusal {
                position,
                code,
                reason: reason(),
            });
        }
    }
}

/// The code of an event that is too large, for the gateway or for the brokers.
pub const EVENT_TOO_LARGE: &str = "event_too_large";
/// The code of an operation on something other than a new event.
pub const NOT_SUPPORTED: &str = "not_supported";
const INVALID_EVENT_ID: &str = "invalid_event_id";

/// Makes records of a request's events.
#[must_use]
pub fn decode<'e>(
    events: &'e Events<'_>,
    request: Request<'_>,
    minter: &EventIdMinter,
) -> (Vec<Record<'e>>, Refusals) {
    let tenant = request.tenant.map(Tenant::as_str);
    let key = request.idempotency_key;
    let mut records = Vec::with_capacity(events.found.len());
    let mut refusals = Refusals::default();
    for (position, found) in events.found.iter().enumerate() {
        let found = match found {
            Ok(found) => found,
            Err(fault) => {
                refusals.add(position, fault.code, || fault.reason.clone());
                continue;
            }
        };
        let bytes = &*found.json;
        if bytes.len() > request.event_bytes_max {
            refusals.add(position, EVENT_TOO_LARGE, || {
                format!(
                    "an event may have {} bytes, this has {}",
                    request.event_bytes_max,
                    bytes.len()
                )
            });
            continue;
        }
        let nanos_later = i64::try_from(position).unwrap_or(i64::MAX);
        let event = match LogEvent::decode(bytes, request.received.plus_nanos(nanos_later)) {
            Ok(event) => event,
            Err(error) => {
                refusals.add(position, error.code(), || reason(&error, events.form));
                continue;
            }
        };
        let own = found.id.as_ref().or(event.client_id.as_ref());
        let key = key.or(events.body_key.as_deref().filter(|_| found.is_timed));
        let id = match (own, key) {
            (Some(id), _) => EventId::from_client(tenant, id),
            (None, Some(key)) => Ok(EventId::from_idempotency_key(tenant, key, position, bytes)),
            (None, None) => Ok(minter.mint(request.received)),
        };
        match id {
            Ok(id) => records.push(Record {
                position,
                json: event.json,
                id,
                event_time: event.event_time,
            }),
            Err(error) => {
                refusals.add(position, INVALID_EVENT_ID, || format!("`eventId`: {error}"))
            }
        }
    }
    (records, refusals)
}

fn reason(error: &EventError, form: Form) -> String {
    match (error, form) {
        // Half of an object on a line of its own: what a raw line break leaves.
        (EventError::InvalidJson(what), Form::Lines) if what.starts_with("EOF") => {
            format!(
                "{error}; one event stands on one line, a line break inside a string is written \\n"
            )
        }
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests;
