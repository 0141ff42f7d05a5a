//! What a query means: the tree that the parser makes, and that both the
//! Elasticsearch filter and the matcher read.
//!
//! In the flow: `query::parser` → **`query::tree`** → `query::filter`, `query::matcher`.

use crate::query::field::Field;
use crate::query::pattern::Pattern;
use crate::selection::TimeRange;

/// What an event must be like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Query {
    /// Anything.
    #[default]
    All,
    /// All of these; there is at least one.
    And(Vec<Query>),
    /// At least one of these; there is at least one.
    Or(Vec<Query>),
    /// Not this.
    Not(Box<Query>),
    /// It has a value in this field, or in a field below it, that can be found.
    Exists(Field),
    /// The field has exactly this value, a level in any case.
    Equals(Field, String),
    /// The field has a value that fits the pattern, a level in any case.
    Like(Field, Pattern),
    /// The message has these words, in this order, side by side. A text without a word is never found.
    Words(String),
    /// The message has a word that fits; the pattern is in lower case.
    WordLike(Pattern),
    /// The message as a whole fits; the pattern is in lower case.
    MessageLike(Pattern),
    /// The message has this part in it, across words, in any case.
    MessageContains(String),
    /// It has this id.
    Id(String),
    /// It happened then.
    During(TimeRange),
    /// The field has a number in this range. Where the field is kept as text, the texts are compared.
    Between(Field, NumberRange),
}

impl Query {
    /// What is all of these.
    #[must_use]
    pub fn all_of(parts: Vec<Self>) -> Self {
        joined(parts, Self::And)
    }

    /// What is at least one of these; anything, if there is none.
    #[must_use]
    pub fn any_of(parts: Vec<Self>) -> Self {
        joined(parts, Self::Or)
    }
}

fn joined(mut parts: Vec<Query>, join: fn(Vec<Query>) -> Query) -> Query {
    match parts.pop() {
        None => Query::All,
        Some(only) if parts.is_empty() => only,
        Some(last) => {
            parts.push(last);
            join(parts)
        }
    }
}

/// Numbers from one to another, as they were written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NumberRange {
    /// The lower bound; `None` is open.
    pub low: Option<Bound>,
    /// The upper bound; `None` is open.
    pub high: Option<Bound>,
}

/// One end of a range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bound {
    /// The number as it was written; [`parse_double`] reads it.
    pub number: String,
    /// Whether it belongs to the range.
    pub inclusive: bool,
}

/// Reads a double as Java's `Double.parseDouble` does, which Elasticsearch uses for
/// numbers in texts; its hexadecimal form is not known here. `None` for what is not finite.
#[must_use]
pub fn parse_double(text: &str) -> Option<f64> {
    let text = text.trim_matches(|c| c <= ' ');
    let text = text.strip_suffix(['d', 'D', 'f', 'F']).unwrap_or(text);
    let is_decimal = text
        .bytes()
        .all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b));
    let number: f64 = text.parse().ok().filter(|_| is_decimal)?;
    number.is_finite().then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_double_is_read_as_elasticsearch_reads_it() {
        for (text, number) in [
            ("500", Some(500.0)),
            (" 5. ", Some(5.0)),
            ("+.5e1", Some(5.0)),
            ("5d", Some(5.0)),
            ("5F", Some(5.0)),
            ("-0", Some(-0.0)),
            ("", None),
            ("d", None),
            ("inf", None),
            ("NaN", None),
            ("1e999", None),
            ("1_000", None),
            ("0x10", None),
        ] {
            let read = parse_double(text);
            assert_eq!(read.map(f64::to_bits), number.map(f64::to_bits), "{text}");
        }
    }
}
