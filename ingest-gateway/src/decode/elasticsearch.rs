//! Elasticsearch's bulk and document APIs, as Beats, Logstash, rsyslog and the official clients use them.
//!
//! In the flow: `body` → **`decode::elasticsearch`** → `decode`; `reply::elasticsearch` answers item by item.
//! A line of a bulk body that cannot be read at all fails the request, as it does there (Bulk API documentation);
//! a document that cannot be kept fails alone.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;

use super::event_text::{Gathered, Limits, Size};
use super::json::trim;
use super::object_fields::Object;
use super::{Events, Fault, Form, Found, NOT_SUPPORTED};
use crate::error::{Code, Problem};

/// Of the line that says what to do with the next one: Elasticsearch's ids have 512 bytes at most, its names 255.
const ACTION_BYTES_MAX: usize = 16 << 10;
const INDEX_BYTES_MAX: usize = 255;
/// The field that keeps the name of the index that the client meant.
const SOURCE_INDEX: &str = "sourceIndex";

/// What a client asks to be done with a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Write it.
    Index,
    /// Write it if there is none with its id. Whether there is, is not known here; the id makes them one.
    Create,
    /// Change one: an event does not change.
    Update,
    /// Remove one: an event stays.
    Delete,
}

impl Action {
    /// As Elasticsearch spells it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Index => "index",
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }
}

/// One operation of a request, for its reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// What was asked for.
    pub action: Action,
    /// In which index.
    pub index: String,
    /// The id that the client gave.
    pub id: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Target<'a> {
    #[serde(borrow)]
    _index: Option<Cow<'a, str>>,
    #[serde(borrow)]
    _id: Option<Cow<'a, str>>,
}

/// Reads the operations of a bulk body. `index` is the one of the path, for those that name none.
///
/// # Errors
/// A [`Problem`] if a line is no operation, or if there is too much.
pub fn split_bulk<'a>(
    body: &'a [u8],
    index: Option<&str>,
    limits: Limits<'_>,
) -> Result<(Events<'a>, Vec<Operation>), Problem> {
    let mut gathered = Gathered::new(limits);
    let mut operations = Vec::new();
    let mut lines = body
        .split(|byte| *byte == b'\n')
        .map(trim)
        .zip(1_usize..)
        .filter(|(line, _)| !line.is_empty());
    while let Some((line, number)) = lines.next() {
        let operation = operation(line, number, index)?;
        let document =
            match operation.action {
                Action::Delete => None,
                _ => Some(lines.next().ok_or_else(|| {
                    malformed(number, "the document that belongs to it is missing")
                })?),
            };
        match (operation.action, document) {
            (Action::Index | Action::Create, Some((document, _))) => {
                gathered.read(Size::of_json(document), || Ok(event(document, &operation)))?;
            }
            _ => gathered.add(Err(Fault {
                code: NOT_SUPPORTED,
                reason: format!(
                    "`{}` is not supported: events are written and never changed",
                    operation.action.as_str()
                ),
            }))?,
        }
        operations.push(operation);
    }
    if operations.is_empty() {
        let detail = "request body is required";
        return Err(Problem::permanent(Code::EmptyBody, detail));
    }
    Ok((events(gathered), operations))
}

/// Reads a body that is one document.
///
/// # Errors
/// A [`Problem`] if there is none.
pub fn split_document<'a>(
    body: &'a [u8],
    operation: Operation,
    limits: Limits<'_>,
) -> Result<(Events<'a>, Vec<Operation>), Problem> {
    let body = trim(body);
    if body.is_empty() {
        let detail = "request body is required";
        return Err(Problem::permanent(Code::EmptyBody, detail));
    }
    check_index(&operation.index)?;
    let mut gathered = Gathered::new(limits);
    gathered.read(Size::of_json(body), || Ok(event(body, &operation)))?;
    Ok((events(gathered), vec![operation]))
}

fn events<'a>(gathered: Gathered<'a, '_>) -> Events<'a> {
    Events {
        found: gathered.finish(),
        form: Form::Message,
        body_key: None,
    }
}

fn operation(line: &[u8], number: usize, index: Option<&str>) -> Result<Operation, Problem> {
    if line.len() > ACTION_BYTES_MAX {
        let what = format!("an action may have {ACTION_BYTES_MAX} bytes");
        return Err(malformed(number, &what));
    }
    let read: Result<BTreeMap<Cow<'_, str>, Target<'_>>, _> = serde_json::from_slice(line);
    let read = read.map_err(|error| malformed(number, &error.to_string()))?;
    let mut actions = read.into_iter();
    let (Some((name, target)), None) = (actions.next(), actions.next()) else {
        return Err(malformed(number, "an action is an object with one name"));
    };
    let action = match &*name {
        "index" => Action::Index,
        "create" => Action::Create,
        "update" => Action::Update,
        "delete" => Action::Delete,
        other => {
            let shown: String = other.chars().take(32).collect();
            let what = format!(
                "expected field [create], [delete], [index] or [update] but found [{shown}]"
            );
            return Err(malformed(number, &what));
        }
    };
    let named = target._index.as_deref().or(index).unwrap_or("logs");
    check_index(named)?;
    Ok(Operation {
        action,
        index: named.to_owned(),
        id: target._id.map(Cow::into_owned),
    })
}

/// Each event keeps the name, and each item of the reply bears it.
fn check_index(name: &str) -> Result<(), Problem> {
    match name.len() <= INDEX_BYTES_MAX {
        true => Ok(()),
        false => {
            let detail = format!("the name of an index may have {INDEX_BYTES_MAX} bytes");
            Err(Problem::permanent(Code::InvalidMessage, detail))
        }
    }
}

fn malformed(number: usize, what: &str) -> Problem {
    let detail = format!("Malformed action/metadata line [{number}], {what}");
    Problem::permanent(Code::InvalidMessage, detail)
}

fn event<'a>(document: &'a [u8], operation: &Operation) -> Result<Found<'a>, Fault> {
    let as_it_is = Found {
        json: Cow::Borrowed(document),
        id: operation.id.clone(),
        is_timed: true,
    };
    let text = std::str::from_utf8(document).ok();
    let Some(object) = text.and_then(Object::read) else {
        // `decode` says what is wrong with it.
        return Ok(as_it_is);
    };
    let names = object.names();
    let more = [(SOURCE_INDEX, operation.index.as_str())];
    Ok(object
        .known()
        .beside(&object.kept(), &names, &more, operation.id.clone()))
}

#[cfg(test)]
mod tests;
