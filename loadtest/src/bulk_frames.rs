//! Checks the frame of a bulk body: an action line, then the document on one line.
//!
//! In the flow: **`bulk_frames`** → `null_elasticsearch`. As strict as
//! Elasticsearch about the frame and stricter about the actions, because what
//! is measured here must be what would be indexed; the documents themselves are
//! only looked at from both ends.

use memchr::memchr;
use serde::Deserialize;

/// The longest id that Elasticsearch takes, in bytes.
const ID_BYTES_MAX: usize = 512;

/// One item of a bulk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item<'a> {
    /// What is to be done with the document.
    pub action: Action,
    /// The index; `None` if the path of the request names it.
    pub index: Option<&'a str>,
    /// The document's id.
    pub id: &'a str,
    /// The document.
    pub document: &'a [u8],
}

/// The two actions that carry a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Writes, over a document that is there.
    Index,
    /// Writes unless there is a document.
    Create,
}

impl Action {
    /// The name in requests and replies.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Index => "index",
            Self::Create => "create",
        }
    }
}

/// Where a body stops being a bulk, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {fault}")]
pub struct FrameError {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong.
    pub fault: Fault,
}

/// What can be wrong with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The request has no item.
    #[error("the body is empty")]
    Empty,
    /// The last line is cut off or its line break forgotten.
    #[error("the line does not end with a line break")]
    Unterminated,
    /// Neither `{"index":{…}}` nor `{"create":{…}}`.
    #[error("no action with `_index` and `_id` as strings")]
    NoAction,
    /// No index in the action and none in the path.
    #[error("the action has no legal `_index`")]
    NoIndex,
    /// Missing, empty, too long, or with control characters.
    #[error("the action has no `_id` of 1 to 512 printable bytes")]
    NoId,
    /// The document's line is missing, or no object from its first byte to its last.
    #[error("a document in braces on one line belongs here")]
    NoDocument,
}

#[derive(Deserialize)]
struct ActionLine<'a> {
    #[serde(borrow)]
    index: Option<Target<'a>>,
    #[serde(borrow)]
    create: Option<Target<'a>>,
}

#[derive(Deserialize)]
struct Target<'a> {
    #[serde(borrow, rename = "_index")]
    index: Option<&'a str>,
    #[serde(borrow, rename = "_id")]
    id: Option<&'a str>,
}

/// Walks over the items of a body. `index_in_path` tells whether the path
/// names an index, so that actions need not.
///
/// # Errors
/// [`FrameError`] with the first line that is wrong; the items before it were told.
pub fn check<'a>(
    body: &'a [u8],
    index_in_path: bool,
    mut found: impl FnMut(Item<'a>),
) -> Result<(), FrameError> {
    let mut rest = body;
    let mut line = 1;
    if body.is_empty() {
        return Err(FrameError {
            line,
            fault: Fault::Empty,
        });
    }
    while !rest.is_empty() {
        let fail = |line, fault| FrameError { line, fault };
        let action_line = take_line(&mut rest).ok_or_else(|| fail(line, Fault::Unterminated))?;
        let (action, target) = read_action(action_line).ok_or(fail(line, Fault::NoAction))?;
        let legal = |index: &str| index.starts_with(|c: char| c.is_ascii_lowercase() || c == '.');
        if !target.index.map_or(index_in_path, legal) {
            return Err(fail(line, Fault::NoIndex));
        }
        let sane = |id: &&str| {
            (1..=ID_BYTES_MAX).contains(&id.len()) && !id.bytes().any(|b| b.is_ascii_control())
        };
        let id = target.id.filter(sane).ok_or(fail(line, Fault::NoId))?;
        line += 1;
        if rest.is_empty() {
            return Err(fail(line, Fault::NoDocument));
        }
        let document = take_line(&mut rest).ok_or_else(|| fail(line, Fault::Unterminated))?;
        if document.first() != Some(&b'{') || document.last() != Some(&b'}') {
            return Err(fail(line, Fault::NoDocument));
        }
        line += 1;
        found(Item {
            action,
            index: target.index,
            id,
            document,
        });
    }
    Ok(())
}

/// The next line without its line break.
fn take_line<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let end = memchr(b'\n', rest)?;
    let (line, after) = rest.split_at(end);
    *rest = &after[1..];
    Some(line)
}

fn read_action(line: &[u8]) -> Option<(Action, Target<'_>)> {
    if let Some(read) = read_plain_action(line) {
        return Some(read);
    }
    let read: ActionLine<'_> = serde_json::from_slice(line).ok()?;
    match (read.index, read.create) {
        (Some(target), None) => Some((Action::Index, target)),
        (None, Some(target)) => Some((Action::Create, target)),
        _ => None,
    }
}

/// The spelling without spaces and escapes that machines write:
/// `{"index":{"_index":"a","_id":"b"}}`, the two names in either order. Parsing
/// every action as JSON would cost more than all the rest of this file.
fn read_plain_action(line: &[u8]) -> Option<(Action, Target<'_>)> {
    let (action, mut rest) = match line.strip_prefix(b"{\"index\":{") {
        Some(rest) => (Action::Index, rest),
        None => (Action::Create, line.strip_prefix(b"{\"create\":{")?),
    };
    let mut target = Target {
        index: None,
        id: None,
    };
    loop {
        if let Some(after) = rest.strip_prefix(b"\"_id\":\"")
            && target.id.is_none()
        {
            (target.id, rest) = plain_string(after)?;
        } else if let Some(after) = rest.strip_prefix(b"\"_index\":\"")
            && target.index.is_none()
        {
            (target.index, rest) = plain_string(after)?;
        } else {
            return None;
        }
        match rest {
            b"}}" => return Some((action, target)),
            [b',', after @ ..] => rest = after,
            _ => return None,
        }
    }
}

/// A string up to its closing quote, and what follows it.
fn plain_string(bytes: &[u8]) -> Option<(Option<&str>, &[u8])> {
    let end = memchr(b'"', bytes)?;
    let text = std::str::from_utf8(&bytes[..end]).ok()?;
    (!text.contains('\\')).then_some((Some(text), &bytes[end + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ids(body: &str, index_in_path: bool) -> Result<Vec<String>, FrameError> {
        let mut ids = Vec::new();
        check(body.as_bytes(), index_in_path, |item| {
            ids.push(format!("{}:{}", item.action.name(), item.id));
        })?;
        Ok(ids)
    }

    #[track_caller]
    fn check_fault(body: &str, line: usize, fault: Fault) {
        assert_eq!(
            ids(body, false),
            Err(FrameError { line, fault }),
            "{body:?}"
        );
    }

    #[test]
    fn a_bulk_is_read_in_every_spelling_of_its_actions() {
        let body = concat!(
            "{\"index\":{\"_index\":\"a-1\",\"_id\":\"1\"}}\n{}\n",
            "{\"create\":{\"_id\":\"2\",\"_index\":\"a-1\"}}\n{\"x\":\"y\"}\n",
            "{ \"index\": { \"_index\": \"a-1\", \"_id\": \"3\", \"routing\": \"z\" } }\n{}\n",
        );
        assert_eq!(
            ids(body, false).unwrap(),
            ["index:1", "create:2", "index:3"]
        );
        let body = "{\"index\":{\"_id\":\"1\"}}\n{}\n";
        assert_eq!(ids(body, true).unwrap(), ["index:1"]);
    }

    #[test]
    fn each_fault_is_told_with_its_line() {
        let action = "{\"index\":{\"_index\":\"a\",\"_id\":\"1\"}}\n";
        check_fault("", 1, Fault::Empty);
        check_fault("{\"index\"", 1, Fault::Unterminated);
        check_fault("\n", 1, Fault::NoAction);
        check_fault("{\"update\":{\"_id\":\"1\"}}\n{}\n", 1, Fault::NoAction);
        check_fault("{\"index\":{\"_id\":\"1\"}}\n{}\n", 1, Fault::NoIndex);
        check_fault(
            "{\"index\":{\"_index\":\"A\",\"_id\":\"1\"}}\n{}\n",
            1,
            Fault::NoIndex,
        );
        check_fault("{\"index\":{\"_index\":\"a\"}}\n{}\n", 1, Fault::NoId);
        check_fault(
            "{\"index\":{\"_index\":\"a\",\"_id\":\"\"}}\n{}\n",
            1,
            Fault::NoId,
        );
        check_fault(
            "{\"index\":{\"_index\":\"a\",\"_id\":1}}\n{}\n",
            1,
            Fault::NoAction,
        );
        check_fault(action, 2, Fault::NoDocument);
        check_fault(&format!("{action}[]\n"), 2, Fault::NoDocument);
        check_fault(&format!("{action}{{\n}}\n"), 2, Fault::NoDocument);
        check_fault(&format!("{action}{{}}"), 2, Fault::Unterminated);
        check_fault(&format!("{action}{{}}\n\n"), 3, Fault::NoAction);
        check_fault(&format!("{action}{action}{{}}\n"), 3, Fault::NoAction);
        let long = "x".repeat(ID_BYTES_MAX + 1);
        check_fault(&action.replace('1', &long), 1, Fault::NoId);
    }

    proptest! {
        #[test]
        fn the_quick_reading_agrees_with_json(
            line in "\\{\"(index|create)\":\\{(\"_index\":\"[a-z\\\\]{0,3}\",?)?(\"_id\":\"[a-z0-9\\\\]{0,3}\")?\\}\\}?",
        ) {
            if let Some((action, target)) = read_plain_action(line.as_bytes()) {
                let json: ActionLine<'_> = serde_json::from_str(&line).unwrap();
                let expected = match action {
                    Action::Index => json.index.unwrap(),
                    Action::Create => json.create.unwrap(),
                };
                prop_assert_eq!((target.index, target.id), (expected.index, expected.id));
            }
        }

        #[test]
        fn any_bytes_are_checked_without_a_panic(bytes: Vec<u8>) {
            drop(check(&bytes, true, |_| {}));
        }
    }
}
