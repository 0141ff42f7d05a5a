//! logflow's own form: a JSON object, an array of objects, or one object a line.
//!
//! In the flow: `body` → **`decode::json`** → `decode`.

use memchr::{memchr_iter, memchr2};
use serde::de::IgnoredAny;

use super::{Events, Form};
use crate::error::{Code, Problem};

/// How gzip begins (RFC 1952 §2.3.1), and JSON never does.
const GZIP_MAGIC: &[u8] = b"\x1f\x8b";

/// Tells the events of a body apart, by its first bytes: `[` is an array; a
/// body without line breaks, or one that is a single JSON value, is one event;
/// anything else is one event a line, blank lines aside.
///
/// # Errors
/// A [`Problem`] if there is nothing, if an array cannot be taken apart, or if
/// there are more than `events_max`.
pub fn split(body: &[u8], events_max: usize) -> Result<Events<'_>, Problem> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let text = trim(body);
    let offset = text.as_ptr() as usize - body.as_ptr() as usize;
    let (slices, form) = match text.first() {
        Some(_) if text.starts_with(GZIP_MAGIC) => {
            return Err(Problem::permanent(
                Code::InvalidEncoding,
                "the body is gzip; say so with Content-Encoding: gzip",
            ));
        }
        None => {
            return Err(Problem::permanent(
                Code::EmptyBody,
                "the body is empty; send a JSON object, an array of objects, or one object a line",
            ));
        }
        Some(b'[') => (split_array(text, offset, events_max)?, Form::Array),
        Some(_) if is_one_value(text) => (vec![text], Form::Single),
        Some(_) => (split_lines(text, events_max)?, Form::Lines),
    };
    Ok(Events::as_sent(slices, form))
}

/// Whether the text is one JSON value, or cannot be anything else.
fn is_one_value(text: &[u8]) -> bool {
    if memchr2(b'\n', b'\r', text).is_none() {
        return true;
    }
    let mut values = serde_json::Deserializer::from_slice(text).into_iter::<IgnoredAny>();
    matches!(values.next(), Some(Ok(_))) && values.byte_offset() == text.len()
}

fn split_lines(text: &[u8], events_max: usize) -> Result<Vec<&[u8]>, Problem> {
    let mut lines = Vec::new();
    let mut start = 0;
    for end in memchr_iter(b'\n', text).chain(std::iter::once(text.len())) {
        let line = trim(&text[start..end]);
        start = end + 1;
        if !line.is_empty() {
            add(&mut lines, line, events_max)?;
        }
    }
    Ok(lines)
}

/// Takes an array apart by its brackets, commas and strings alone, so that an
/// element which is no valid JSON, or no valid UTF-8, costs no other. `offset`
/// is where the array starts in the body.
fn split_array(text: &[u8], offset: usize, events_max: usize) -> Result<Vec<&[u8]>, Problem> {
    let fault = |at: usize, what: &str| {
        Problem::permanent(
            Code::InvalidJson,
            format!("the array is not JSON: {what} at byte {}", offset + at),
        )
    };
    let mut elements = Vec::new();
    let mut open = Brackets::default();
    let mut start = 1;
    let mut at = 1;
    loop {
        match text.get(at) {
            None => return Err(fault(at, "the body ends inside the array")),
            Some(b'"') => {
                at = end_of_string(text, at)
                    .ok_or_else(|| fault(at, "a string without an end starts"))?;
            }
            Some(bracket @ (b'{' | b'[')) => open.push(*bracket == b'{'),
            Some(bracket @ (b'}' | b']')) if !open.is_empty() => {
                if !open.pop(*bracket == b'}') {
                    return Err(fault(at, "a bracket that closes another kind"));
                }
            }
            Some(b'}') => return Err(fault(at, "a `}` without its `{`")),
            Some(end @ (b',' | b']')) if open.is_empty() => {
                let element = trim(&text[start..at]);
                let is_last = *end == b']';
                let is_empty_array = is_last && elements.is_empty();
                if !element.is_empty() {
                    add(&mut elements, element, events_max)?;
                } else if !is_empty_array {
                    return Err(fault(at, "an element is missing"));
                }
                start = at + 1;
                if is_last {
                    break;
                }
            }
            Some(_) => {}
        }
        at += 1;
    }
    match trim(&text[start..]).is_empty() {
        true => Ok(elements),
        false => Err(fault(start, "something follows the array")),
    }
}

/// The index of the quote that ends the string which starts at `start`.
fn end_of_string(text: &[u8], start: usize) -> Option<usize> {
    let mut at = start + 1;
    loop {
        at += memchr2(b'"', b'\\', text.get(at..)?)?;
        if text[at] == b'"' {
            return Some(at);
        }
        at += 2;
    }
}

/// The kinds of the brackets that are open, one bit each: a body of nothing
/// but brackets costs an eighth of itself.
#[derive(Default)]
struct Brackets {
    bits: Vec<u64>,
    depth: usize,
}

impl Brackets {
    fn is_empty(&self) -> bool {
        self.depth == 0
    }

    fn push(&mut self, is_object: bool) {
        let (word, bit) = (self.depth / 64, self.depth % 64);
        if word == self.bits.len() {
            self.bits.push(0);
        }
        self.bits[word] = self.bits[word] & !(1 << bit) | u64::from(is_object) << bit;
        self.depth += 1;
    }

    /// Whether the innermost bracket was of this kind; there must be one.
    fn pop(&mut self, is_object: bool) -> bool {
        self.depth -= 1;
        let (word, bit) = (self.depth / 64, self.depth % 64);
        (self.bits[word] >> bit & 1 == 1) == is_object
    }
}

fn add<'a>(events: &mut Vec<&'a [u8]>, event: &'a [u8], max: usize) -> Result<(), Problem> {
    if events.len() == max {
        return Err(Problem::too_many_events(max));
    }
    events.push(event);
    Ok(())
}

pub(super) fn trim(mut bytes: &[u8]) -> &[u8] {
    // JSON's own white space (RFC 8259 §2).
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
    while let Some((_, rest)) = bytes.split_first().filter(|(first, _)| is_space(first)) {
        bytes = rest;
    }
    while let Some((_, rest)) = bytes.split_last().filter(|(last, _)| is_space(last)) {
        bytes = rest;
    }
    bytes
}
