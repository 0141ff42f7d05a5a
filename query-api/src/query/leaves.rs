//! An event's values by their paths, as Elasticsearch indexes them: objects and
//! arrays dissolve, dots in names count as levels, `null` is no value.
//!
//! In the flow: `tail` → **`query::leaves`** → `query::matcher`.

use std::borrow::Cow;
use std::fmt;

use log_event::event::EVENT_DEPTH_MAX;
use serde::de::{Deserializer as _, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// The values of one event.
#[derive(Debug, Default)]
pub struct Leaves<'a> {
    values: Vec<(String, Leaf<'a>)>,
}

/// One value.
#[derive(Clone, Debug, PartialEq)]
pub enum Leaf<'a> {
    /// A string, without its escapes.
    Text(Cow<'a, str>),
    /// A number as it was written: Elasticsearch keeps it so where it keeps it as text.
    Number(&'a str),
    /// True or false.
    Boolean(bool),
}

impl Leaf<'_> {
    /// As Elasticsearch keeps it in a field of texts.
    #[must_use]
    pub fn as_text(&self) -> &str {
        match self {
            Self::Text(text) => text,
            Self::Number(number) => number,
            Self::Boolean(true) => "true",
            Self::Boolean(false) => "false",
        }
    }
}

impl<'a> Leaves<'a> {
    /// Takes an event apart. One that is no JSON object, or nested deeper than
    /// Elasticsearch allows, has no values: it is never indexed.
    #[must_use]
    pub fn of(event: &'a [u8]) -> Self {
        let mut leaves = Self::default();
        let read = serde_json::from_slice::<&RawValue>(event).ok();
        let is_read = read.is_some_and(|value| {
            value.get().starts_with('{') && leaves.add(String::new(), value, 0).is_ok()
        });
        if !is_read {
            leaves.values.clear();
        }
        leaves
    }

    /// Whether there is no value: `{}`, or what is no event.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// All values, with their paths.
    pub fn all(&self) -> impl Iterator<Item = (&str, &Leaf<'a>)> {
        self.values.iter().map(|(path, leaf)| (path.as_str(), leaf))
    }

    /// The values of one field.
    pub fn at(&self, path: &str) -> impl Iterator<Item = &Leaf<'a>> {
        let values = self.values.iter();
        values
            .filter(move |(at, _)| at == path)
            .map(|(_, leaf)| leaf)
    }

    /// The values below a field, with their paths.
    pub fn below(&self, path: &str) -> impl Iterator<Item = (&str, &Leaf<'a>)> {
        self.all().filter(move |(at, _)| {
            at.strip_prefix(path)
                .is_some_and(|rest| rest.starts_with('.'))
        })
    }

    fn add(&mut self, path: String, value: &'a RawValue, depth: usize) -> serde_json::Result<()> {
        let json = value.get();
        let parts = Parts {
            leaves: self,
            path: &path,
            depth: depth + 1,
        };
        let mut parser = serde_json::Deserializer::from_str(json);
        match json.as_bytes().first() {
            _ if depth > EVENT_DEPTH_MAX => return Err(serde::de::Error::custom("too deep")),
            Some(b'{') => return parser.deserialize_map(parts),
            Some(b'[') => return parser.deserialize_seq(parts),
            Some(b'n') => {}
            Some(b'"') => {
                let text = serde_json::from_str::<CowStr<'_>>(json)?.0;
                self.values.push((path, Leaf::Text(text)));
            }
            Some(b't' | b'f') => self.values.push((path, Leaf::Boolean(json == "true"))),
            _ => self.values.push((path, Leaf::Number(json))),
        }
        Ok(())
    }
}

#[derive(serde::Deserialize)]
struct CowStr<'a>(#[serde(borrow)] Cow<'a, str>);

struct Parts<'p, 'a> {
    leaves: &'p mut Leaves<'a>,
    path: &'p str,
    depth: usize,
}

impl<'a> Visitor<'a> for Parts<'_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or an array")
    }

    fn visit_map<M: MapAccess<'a>>(self, mut map: M) -> Result<(), M::Error> {
        while let Some((CowStr(name), value)) = map.next_entry::<CowStr<'_>, &RawValue>()? {
            let path = match self.path {
                "" => name.into_owned(),
                path => format!("{path}.{name}"),
            };
            let added = self.leaves.add(path, value, self.depth);
            added.map_err(serde::de::Error::custom)?;
        }
        Ok(())
    }

    fn visit_seq<S: SeqAccess<'a>>(self, mut items: S) -> Result<(), S::Error> {
        while let Some(value) = items.next_element::<&RawValue>()? {
            let added = self.leaves.add(self.path.to_owned(), value, self.depth);
            added.map_err(serde::de::Error::custom)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(event: &str, expected: &[(&str, &str)]) {
        let leaves = Leaves::of(event.as_bytes());
        let found: Vec<(&str, &str)> = leaves
            .values
            .iter()
            .map(|(path, leaf)| (path.as_str(), leaf.as_text()))
            .collect();
        assert_eq!(found, expected, "{event}");
    }

    #[test]
    fn objects_and_arrays_dissolve_into_paths() {
        check(
            r#"{"a": {"b.c": [1.0e3, [true, null]], "d": {}}, "a.b": "\u00e4", "e": [], "f": [{"g": 1}, {"g": 2}]}"#,
            &[
                ("a.b.c", "1.0e3"),
                ("a.b.c", "true"),
                ("a.b", "ä"),
                ("f.g", "1"),
                ("f.g", "2"),
            ],
        );
    }

    #[test]
    fn what_is_never_indexed_has_no_values() {
        for event in ["", "[{\"a\":1}]", "\"a\"", "{\"a\":1", "{} {}"] {
            check(event, &[]);
        }
        let deep = format!(
            "{{\"x\":1,\"a\":{}1{}}}",
            "[".repeat(100_000),
            "]".repeat(100_000)
        );
        check(&deep, &[]);
    }

    #[test]
    fn what_lies_below_a_field_begins_after_a_dot() {
        let leaves = Leaves::of(br#"{"a": {"b": 1}, "ab": 2, "a.c": {"d": 3}}"#);
        let below: Vec<&str> = leaves.below("a").map(|(path, _)| path).collect();
        assert_eq!(below, ["a.b", "a.c.d"]);
        assert_eq!(leaves.at("ab").count(), 1);
    }
}
