//! Text → tree. The language is a part of Lucene's and Kibana's; `docs/query-language.md` tells it.
//!
//! In the flow: `search_request` → **`query::parser`** → `query::tree`.
//!
//! ```text
//! any     = all { "OR" all }
//! all     = one { [ "AND" ] one }
//! one     = ( "NOT" | "-" ) one | "(" any ")" | test
//! test    = value | field ":" ( value | "(" any ")" | range ) | field ( ">" | ">=" | "<" | "<=" ) value
//! range   = ( "[" | "{" ) value "TO" value ( "]" | "}" )
//! value   = word | '"' text '"'
//! ```

use log_event::event::RESERVED_FIELDS;
use log_event::timestamp::Timestamp;

use crate::query::field::{Field, Kind, NAMING_FIELDS};
use crate::query::tree::Query;

mod comparison;
mod scanner;

use scanner::{Scanner, Value};

/// The longest query, in characters.
pub const CHARS_MAX: usize = 4_096;
/// The most values in a query: each becomes up to seven clauses of Elasticsearch's, whose
/// `indices.query.bool.max_clause_count` is never below 1,024.
pub const VALUES_MAX: usize = 100;
/// How deep brackets and negations may be nested.
pub const DEPTH_MAX: usize = 20;

/// Why a text is no query, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("column {column}: {reason}")]
pub struct QueryError {
    /// The character that offends, counted from 1.
    pub column: usize,
    /// What is wrong, and what would be right.
    pub reason: String,
}

/// Reads a query; an empty one matches everything. `now` is what relative dates are relative to.
///
/// # Errors
/// [`QueryError`] with the column of what offends.
pub fn parse(text: &str, now: Timestamp) -> Result<Query, QueryError> {
    if text.chars().nth(CHARS_MAX).is_some() {
        return Err(QueryError {
            column: CHARS_MAX + 1,
            reason: format!("a query has at most {CHARS_MAX} characters"),
        });
    }
    let mut parser = Parser {
        scanner: Scanner::new(text),
        now,
        values: 0,
        depth: 0,
    };
    if parser.scanner.at_end() {
        return Ok(Query::All);
    }
    let query = parser.any(None)?;
    match parser.scanner.peek() {
        None => Ok(query),
        Some(_) => Err(parser
            .scanner
            .error("this `)` closes nothing; remove it, or write it in quotes")),
    }
}

struct Parser {
    scanner: Scanner,
    now: Timestamp,
    values: usize,
    depth: usize,
}

impl Parser {
    /// `field`: what a value without a field of its own is held against, inside `field:( … )`.
    fn any(&mut self, field: Option<&Field>) -> Result<Query, QueryError> {
        let mut alternatives = vec![self.all(field)?];
        while self.scanner.take_operator("OR") {
            alternatives.push(self.all(field)?);
        }
        Ok(Query::any_of(alternatives))
    }

    fn all(&mut self, field: Option<&Field>) -> Result<Query, QueryError> {
        let mut parts = vec![self.one(field)?];
        loop {
            if !self.scanner.take_operator("AND")
                && (matches!(self.scanner.peek(), None | Some(')'))
                    || self.scanner.sees_operator("OR"))
            {
                return Ok(Query::all_of(parts));
            }
            parts.push(self.one(field)?);
        }
    }

    fn one(&mut self, field: Option<&Field>) -> Result<Query, QueryError> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            let reason = format!("brackets and negations are nested deeper than {DEPTH_MAX}");
            return Err(self.scanner.error(reason));
        }
        let query = if self.scanner.take_operator("NOT") || self.scanner.take_minus() {
            Query::Not(Box::new(self.one(field)?))
        } else if self.scanner.peek() == Some('(') {
            self.bracketed(field)?
        } else {
            self.test(field)?
        };
        self.depth -= 1;
        Ok(query)
    }

    fn bracketed(&mut self, field: Option<&Field>) -> Result<Query, QueryError> {
        let opened = self.scanner.error("this `(` is never closed");
        self.scanner.skip();
        if self.scanner.peek() == Some(')') {
            return Err(self
                .scanner
                .error("there is nothing between these brackets"));
        }
        let query = self.any(field)?;
        if self.scanner.peek() == Some(')') {
            self.scanner.skip();
            Ok(query)
        } else {
            Err(opened)
        }
    }

    fn test(&mut self, field: Option<&Field>) -> Result<Query, QueryError> {
        for operator in ["AND", "OR"] {
            if self.scanner.sees_operator(operator) {
                let reason = format!(
                    "there is nothing before this `{operator}`; to search for the word, write \"{operator}\""
                );
                return Err(self.scanner.error(reason));
            }
        }
        if let Some(field) = field {
            let value = self.value("")?;
            return equals(field, value, self.now);
        }
        let Some((path, comparison)) = self.scanner.take_field()? else {
            return any_field(self.value("")?);
        };
        let field = field_named(&path)?;
        if let Some(comparison) = comparison {
            let value = self.value(&path.text)?;
            return comparison::compared(&field, comparison, &value, self.now);
        }
        match self.scanner.peek() {
            Some('(') => self.one(Some(&field)),
            Some('[' | '{') => {
                self.count()?;
                let range = self.scanner.range(&path.text)?;
                comparison::range(&field, &range, self.now)
            }
            _ => equals(&field, self.value(&path.text)?, self.now),
        }
    }

    fn value(&mut self, field: &str) -> Result<Value, QueryError> {
        self.count()?;
        self.scanner.value(field)
    }

    fn count(&mut self) -> Result<(), QueryError> {
        self.values += 1;
        if self.values > VALUES_MAX {
            let reason = format!("a query has at most {VALUES_MAX} values");
            return Err(self.scanner.error(reason));
        }
        Ok(())
    }
}

fn field_named(path: &scanner::Name) -> Result<Field, QueryError> {
    let refuse = |reason: &str| {
        Err(QueryError {
            column: path.column,
            reason: format!("`{}`: {reason}", path.text),
        })
    };
    if RESERVED_FIELDS.contains(&path.text.as_str()) {
        return refuse("events have no such field; it is Elasticsearch's own");
    }
    if path.text.starts_with("message.") {
        return refuse("`message` is a text and has no fields in it");
    }
    Ok(Field::new(&path.text))
}

/// A value without a field: words of the message, or exactly what names something.
fn any_field(value: Value) -> Result<Query, QueryError> {
    let Some(text) = value.pattern.as_text() else {
        return if value.pattern.is_anything() {
            Ok(Query::All)
        } else {
            message_like(&value)
        };
    };
    let names = NAMING_FIELDS.map(|path| Query::Equals(Field::new(path), text.clone()));
    let mut alternatives = vec![Query::Words(text)];
    alternatives.extend(names);
    Ok(Query::Or(alternatives))
}

fn equals(field: &Field, value: Value, now: Timestamp) -> Result<Query, QueryError> {
    if value.pattern.is_anything() {
        return Ok(Query::Exists(field.clone()));
    }
    let Some(text) = value.pattern.as_text() else {
        return like(field, value);
    };
    match field.kind {
        Kind::Moment => comparison::at(&value, &text, now),
        Kind::Words => Ok(Query::Words(text)),
        Kind::Level | Kind::Exact | Kind::Metadata | Kind::Dynamic => {
            Ok(Query::Equals(field.clone(), text))
        }
    }
}

fn like(field: &Field, value: Value) -> Result<Query, QueryError> {
    match field.kind {
        Kind::Words => return message_like(&value),
        Kind::Moment => {
            let reason = "dates have no wildcards; write a day (`2023-09-15`) or a range (`[2023-09-15 TO 2023-09-17]`)";
            return Err(value.error(reason));
        }
        Kind::Metadata if value.pattern.as_prefix().is_none() => {
            let reason = "in `metadata` a `*` at the end is the only wildcard";
            return Err(value.error(reason));
        }
        Kind::Level | Kind::Exact | Kind::Metadata | Kind::Dynamic => {}
    }
    affordable(&value)?;
    let pattern = match field.kind {
        Kind::Level => value.pattern.to_lower_case(),
        _ => value.pattern,
    };
    Ok(Query::Like(field.clone(), pattern))
}

/// A pattern of letters and digits is held against each word. Any other could
/// fit no word, because its other characters stand between words: it is looked
/// for anywhere in the message.
fn message_like(value: &Value) -> Result<Query, QueryError> {
    affordable(value)?;
    let pattern = value.pattern.to_lower_case();
    let in_words = |c: char| c.is_alphanumeric() || c == '_';
    if value.pattern.literals().all(in_words) {
        return Ok(Query::WordLike(pattern));
    }
    let anywhere = pattern.anywhere();
    if let Some(reason) = anywhere.too_expensive() {
        let reason = format!(
            "`{}` is looked for anywhere in the message: {reason}",
            value.shown
        );
        return Err(value.error(reason));
    }
    Ok(Query::MessageLike(anywhere))
}

fn affordable(value: &Value) -> Result<(), QueryError> {
    match value.pattern.too_expensive() {
        None => Ok(()),
        Some(reason) => Err(value.error(format!("`{}`: {reason}", value.shown))),
    }
}

#[cfg(test)]
mod tests;
