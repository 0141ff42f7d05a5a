//! Whether an event is what a query looks for, without an index.
//!
//! In the flow: `tail` → **`query::matcher`** → `tail`. Upholds QA-2.
//! Does what Elasticsearch does with the filter of the same tree: each arm here
//! has its twin in `query::filter`, and a live test asks both the same.

use std::cell::OnceCell;

use log_event::timestamp::Timestamp;

use crate::query::field::{
    Dynamic, DynamicFields, Field, Kind, LEVEL_UNITS_MAX, MESSAGE_UNITS_MAX, TEXT_UNITS_MAX,
    lower_case,
};
use crate::query::leaves::{Leaf, Leaves};
use crate::query::pattern::literally;
use crate::query::tree::{Bound, NumberRange, Query, parse_double};
use crate::query::words;

/// An event to hold queries against, any number of them.
#[derive(Debug)]
pub struct Candidate<'a> {
    leaves: Leaves<'a>,
    dynamic: &'a DynamicFields,
    id: &'a str,
    /// For each message the words in it; made when a query asks.
    words: OnceCell<Vec<Vec<String>>>,
}

impl<'a> Candidate<'a> {
    /// The event with this id, as its record's value has it. `dynamic` tells how fields are kept that
    /// the template does not name; one that is new is kept as this event decides.
    #[must_use]
    pub fn new(id: &'a str, event: &'a [u8], dynamic: &'a DynamicFields) -> Self {
        Self {
            id,
            leaves: Leaves::of(event),
            dynamic,
            words: OnceCell::new(),
        }
    }

    /// Whether it can be an event at all: one that Elasticsearch takes.
    #[must_use]
    pub fn is_event(&self) -> bool {
        !self.leaves.is_empty()
    }

    /// Whether the event is what the query looks for.
    #[must_use]
    pub fn matches(&self, query: &Query) -> bool {
        match query {
            Query::All => true,
            Query::And(parts) => parts.iter().all(|part| self.matches(part)),
            Query::Or(parts) => parts.iter().any(|part| self.matches(part)),
            Query::Not(part) => !self.matches(part),
            Query::Exists(field) => self.exists(field),
            Query::Equals(field, value) => self.equals(field, value),
            Query::Like(field, pattern) => match field.kind {
                Kind::Level => self.texts(field).any(|text| pattern.fits_lower_cased(text)),
                _ => self.texts(field).any(|text| pattern.fits(text)),
            },
            Query::Words(text) => self.has_words(text),
            Query::WordLike(pattern) => {
                let mut words = self.messages_words().iter().flatten();
                words.any(|word| pattern.fits(word))
            }
            Query::MessageLike(pattern) => {
                let mut messages = self.leaves.at("message").map(Leaf::as_text);
                messages
                    .any(|text| is_kept(text, MESSAGE_UNITS_MAX) && pattern.fits_lower_cased(text))
            }
            Query::MessageContains(part) => {
                let part = literally(part).to_lower_case().anywhere();
                let mut messages = self.leaves.at("message").map(Leaf::as_text);
                messages.any(|text| part.fits_lower_cased(text))
            }
            Query::Id(id) => self.id == id,
            Query::During(range) => self.leaves.at("timestamp").filter_map(moment).any(|at| {
                range.start.is_none_or(|start| at >= start) && range.end.is_none_or(|end| at <= end)
            }),
            Query::Between(field, range) => {
                self.leaves
                    .at(&field.path)
                    .any(|leaf| match self.kept(&field.path, leaf) {
                        Dynamic::Number => number(leaf).is_some_and(|found| lies_in(found, range)),
                        Dynamic::Text => {
                            let text = leaf.as_text();
                            is_kept(text, TEXT_UNITS_MAX) && text_lies_in(text, range)
                        }
                        Dynamic::Boolean => false,
                    })
            }
        }
    }

    fn exists(&self, field: &Field) -> bool {
        match field.kind {
            Kind::Moment => self
                .leaves
                .at(&field.path)
                .any(|leaf| moment(leaf).is_some()),
            Kind::Words => self.leaves.at(&field.path).next().is_some(),
            Kind::Level | Kind::Exact | Kind::Metadata => self.texts(field).next().is_some(),
            Kind::Dynamic => {
                let mut here = self.leaves.at(&field.path);
                here.any(|leaf| self.is_found(&field.path, leaf))
                    || self
                        .leaves
                        .below(&field.path)
                        .any(|(path, leaf)| self.is_found(path, leaf))
            }
        }
    }

    fn equals(&self, field: &Field, value: &str) -> bool {
        match field.kind {
            Kind::Level => self.texts(field).any(|text| {
                let asked = value.chars().map(lower_case);
                text.chars().map(lower_case).eq(asked)
            }),
            Kind::Dynamic => self.leaves.at(&field.path).any(|leaf| {
                match self.kept(&field.path, leaf) {
                    Dynamic::Text => {
                        leaf.as_text() == value && is_kept(leaf.as_text(), TEXT_UNITS_MAX)
                    }
                    // As Lucene tells doubles apart: -0 is not 0.
                    Dynamic::Number => match (number(leaf), parse_double(value)) {
                        (Some(found), Some(asked)) => found.total_cmp(&asked).is_eq(),
                        (_, _) => false,
                    },
                    Dynamic::Boolean => match (boolean(leaf), value) {
                        (Some(true), "true") | (Some(false), "false") => true,
                        (_, _) => false,
                    },
                }
            }),
            Kind::Moment | Kind::Words | Kind::Exact | Kind::Metadata => {
                self.texts(field).any(|text| text == value)
            }
        }
    }

    /// The texts of a field that can be found.
    fn texts<'s>(&'s self, field: &'s Field) -> Box<dyn Iterator<Item = &'s str> + 's> {
        let here = self.leaves.at(&field.path);
        match field.kind {
            Kind::Level => Box::new(
                here.map(Leaf::as_text)
                    .filter(|text| is_kept(text, LEVEL_UNITS_MAX)),
            ),
            Kind::Metadata if field.key_in_metadata().is_none() => {
                let below = self
                    .leaves
                    .below(&field.path)
                    .map(|(_, leaf)| leaf.as_text());
                Box::new(below.filter(|text| is_kept(text, TEXT_UNITS_MAX)))
            }
            Kind::Dynamic => Box::new(
                here.filter(|leaf| self.kept(&field.path, leaf) == Dynamic::Text)
                    .map(Leaf::as_text)
                    .filter(|text| is_kept(text, TEXT_UNITS_MAX)),
            ),
            Kind::Moment | Kind::Words | Kind::Exact | Kind::Metadata => Box::new(
                here.map(Leaf::as_text)
                    .filter(|text| is_kept(text, TEXT_UNITS_MAX)),
            ),
        }
    }

    /// How a field that the template does not name is kept.
    fn kept(&self, path: &str, leaf: &Leaf<'_>) -> Dynamic {
        self.dynamic.get(path).copied().unwrap_or(match leaf {
            Leaf::Text(_) => Dynamic::Text,
            Leaf::Number(_) => Dynamic::Number,
            Leaf::Boolean(_) => Dynamic::Boolean,
        })
    }

    /// Whether a value of such a field can be found.
    fn is_found(&self, path: &str, leaf: &Leaf<'_>) -> bool {
        match self.kept(path, leaf) {
            Dynamic::Text => is_kept(leaf.as_text(), TEXT_UNITS_MAX),
            Dynamic::Number => number(leaf).is_some(),
            Dynamic::Boolean => boolean(leaf).is_some(),
        }
    }

    fn messages_words(&self) -> &[Vec<String>] {
        self.words.get_or_init(|| {
            let messages = self.leaves.at("message").map(Leaf::as_text);
            messages.map(all_words).collect()
        })
    }

    fn has_words(&self, text: &str) -> bool {
        let asked = all_words(text);
        let side_by_side =
            |words: &Vec<String>| words.windows(asked.len()).any(|some| some == asked);
        !asked.is_empty() && self.messages_words().iter().any(side_by_side)
    }
}

fn all_words(text: &str) -> Vec<String> {
    words::words(text)
        .map(std::borrow::Cow::into_owned)
        .collect()
}

fn is_kept(text: &str, units_max: usize) -> bool {
    // A character has at most as many UTF-16 units as bytes.
    text.len() <= units_max || text.encode_utf16().count() <= units_max
}

fn moment(leaf: &Leaf<'_>) -> Option<Timestamp> {
    match leaf {
        Leaf::Number(millis) => millis.parse().ok().and_then(Timestamp::from_millis),
        // Digits alone are milliseconds to Elasticsearch, whatever their number.
        Leaf::Text(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => {
            text.parse().ok().and_then(Timestamp::from_millis)
        }
        Leaf::Text(text) => Timestamp::parse(text).ok(),
        Leaf::Boolean(_) => None,
    }
}

fn number(leaf: &Leaf<'_>) -> Option<f64> {
    match leaf {
        Leaf::Text(text) => parse_double(text),
        Leaf::Number(number) => parse_double(number),
        Leaf::Boolean(_) => None,
    }
}

/// An empty text is false to Elasticsearch.
fn boolean(leaf: &Leaf<'_>) -> Option<bool> {
    match leaf {
        Leaf::Boolean(value) => Some(*value),
        Leaf::Text(text) => match text.as_ref() {
            "true" => Some(true),
            "false" | "" => Some(false),
            _ => None,
        },
        Leaf::Number(_) => None,
    }
}

fn lies_in(found: f64, range: &NumberRange) -> bool {
    let order = |bound: &Bound| parse_double(&bound.number).map(|bound| found.total_cmp(&bound));
    let low = range.low.as_ref().is_none_or(|bound| {
        order(bound).is_some_and(|order| order.is_gt() || bound.inclusive && order.is_eq())
    });
    let high = range.high.as_ref().is_none_or(|bound| {
        order(bound).is_some_and(|order| order.is_lt() || bound.inclusive && order.is_eq())
    });
    low && high
}

fn text_lies_in(found: &str, range: &NumberRange) -> bool {
    let low = range.low.as_ref().is_none_or(|bound| {
        found > bound.number.as_str() || bound.inclusive && found == bound.number
    });
    let high = range.high.as_ref().is_none_or(|bound| {
        found < bound.number.as_str() || bound.inclusive && found == bound.number
    });
    low && high
}

#[cfg(test)]
mod tests;
