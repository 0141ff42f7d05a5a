//! Reads JSON level by level, each part as the text that it is, so that what is large is refused before it is built.
//!
//! In the flow: part of `decode::otlp` and `decode::loki`.

use std::fmt;

use serde::Deserializer as _;
use serde::de::{Deserialize, Error as _, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::event_text::Gathered;
use crate::error::Problem;

/// Reads an object. serde would take its fields from an array, too.
pub(super) fn object<'a, T: Deserialize<'a>>(text: &'a str) -> serde_json::Result<T> {
    match text.trim_start().starts_with('{') {
        true => serde_json::from_str(text),
        false => Err(serde_json::Error::custom("an object is expected")),
    }
}

/// The elements of an array, none of `null` or of what is absent.
///
/// # Errors
/// What `unreadable` makes of one that is no array, or a [`Problem`] if there are more than events may be.
pub(super) fn elements<'a>(
    array: Option<&'a RawValue>,
    gathered: &Gathered<'_, '_>,
    unreadable: impl Fn(serde_json::Error) -> Problem,
) -> Result<Vec<&'a RawValue>, Problem> {
    let max = gathered.events_max();
    let Some(array) = array else {
        return Ok(Vec::new());
    };
    let mut json = serde_json::Deserializer::from_str(array.get());
    let elements = json.deserialize_seq(Elements { max }).map_err(unreadable)?;
    match elements.len() > max {
        true => Err(Problem::too_many_events(max)),
        false => Ok(elements),
    }
}

/// Keeps one more than the most, to tell that there are more.
struct Elements {
    max: usize,
}

impl<'de> Visitor<'de> for Elements {
    type Value = Vec<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Self::Value, A::Error> {
        let mut found = Vec::new();
        while let Some(element) = array.next_element()? {
            if found.len() <= self.max {
                found.push(element);
            }
        }
        Ok(found)
    }
}
