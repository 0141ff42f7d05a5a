//! Takes a query's text apart: operators, names of fields, values, ranges.
//!
//! In the flow: **`query::parser::scanner`** → `query::parser`.

use crate::query::parser::QueryError;
use crate::query::pattern::{Pattern, Place, literally};

/// How many characters of a value an error shows.
const SHOWN_CHARS_MAX: usize = 64;

/// A query's characters, and how far they are read.
pub(super) struct Scanner {
    chars: Vec<char>,
    at: usize,
}

/// A word or a quoted text.
#[derive(Clone, Debug)]
pub(super) struct Value {
    /// A quoted text has no wildcards.
    pub(super) pattern: Pattern,
    /// As it was written, shortened.
    pub(super) shown: String,
    column: usize,
}

/// The name of a field.
#[derive(Clone, Debug)]
pub(super) struct Name {
    pub(super) text: String,
    pub(super) column: usize,
}

/// `>`, `>=`, `<` or `<=`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Comparison {
    pub(super) greater: bool,
    pub(super) or_equal: bool,
}

/// `[a TO b]`; `{` and `}` leave out their end. An end that is `*` is open.
#[derive(Clone, Debug)]
pub(super) struct Range {
    pub(super) low: (Value, bool),
    pub(super) high: (Value, bool),
}

impl Value {
    pub(super) fn error(&self, reason: impl Into<String>) -> QueryError {
        QueryError {
            column: self.column,
            reason: reason.into(),
        }
    }
}

impl Scanner {
    pub(super) fn new(text: &str) -> Self {
        let mut scanner = Self {
            chars: text.chars().collect(),
            at: 0,
        };
        scanner.skip_spaces();
        scanner
    }

    pub(super) fn at_end(&self) -> bool {
        self.at == self.chars.len()
    }

    /// The next character that is no space.
    pub(super) fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    /// An error at the next character.
    pub(super) fn error(&self, reason: impl Into<String>) -> QueryError {
        QueryError {
            column: self.at + 1,
            reason: reason.into(),
        }
    }

    /// Goes past one character and the spaces after it.
    pub(super) fn skip(&mut self) {
        self.at += 1;
        self.skip_spaces();
    }

    fn skip_spaces(&mut self) {
        while self.peek().is_some_and(char::is_whitespace) {
            self.at += 1;
        }
    }

    /// Whether `word` stands next, alone.
    pub(super) fn sees_operator(&self, word: &str) -> bool {
        let end = self.at + word.len();
        let stands = self.chars.get(self.at..end);
        let ends = |c: &char| c.is_whitespace() || matches!(c, '(' | ')' | '"');
        stands.is_some_and(|stands| stands.iter().copied().eq(word.chars()))
            && self.chars.get(end).is_none_or(ends)
    }

    pub(super) fn take_operator(&mut self, word: &str) -> bool {
        let seen = self.sees_operator(word);
        if seen {
            self.at += word.len();
            self.skip_spaces();
        }
        seen
    }

    /// A `-` before what it denies.
    pub(super) fn take_minus(&mut self) -> bool {
        let after = self.chars.get(self.at + 1);
        let denies = self.peek() == Some('-') && after.is_some_and(|c| !c.is_whitespace());
        if denies {
            self.at += 1;
        }
        denies
    }

    /// A name with `:` or a comparison after it. A name begins with a letter, `_`
    /// or `@`, so that times (`10:32`) are words; so is what has `//` after its colon.
    pub(super) fn take_field(&mut self) -> Result<Option<(Name, Option<Comparison>)>, QueryError> {
        let start = self.at;
        let mut name = String::new();
        let mut at = start;
        while let Some(&c) = self.chars.get(at) {
            if c == '\\' {
                let Some(&escaped) = self.chars.get(at + 1) else {
                    return Ok(None);
                };
                name.push(escaped);
                at += 2;
            } else if c.is_alphanumeric() || matches!(c, '_' | '.' | '-' | '@' | '/') {
                name.push(c);
                at += 1;
            } else {
                break;
            }
        }
        let begins = self
            .chars
            .get(start)
            .is_some_and(|&c| c.is_alphabetic() || "_@\\".contains(c));
        let ends = name.ends_with(|c: char| c.is_alphanumeric() || c == '_')
            || self.chars.get(at.wrapping_sub(2)) == Some(&'\\');
        if !begins || !ends {
            return Ok(None);
        }
        let colon = self.chars.get(at) == Some(&':');
        if colon && self.chars[at + 1..].starts_with(&['/', '/']) {
            return Ok(None);
        }
        at += usize::from(colon);
        let comparison = match self.chars.get(at) {
            Some(&c @ ('>' | '<')) => {
                let or_equal = self.chars.get(at + 1) == Some(&'=');
                at += 1 + usize::from(or_equal);
                Some(Comparison {
                    greater: c == '>',
                    or_equal,
                })
            }
            _ if colon => None,
            _ => return Ok(None),
        };
        self.at = at;
        self.skip_spaces();
        let name = Name {
            text: name,
            column: start + 1,
        };
        Ok(Some((name, comparison)))
    }

    /// A word or a quoted text, and the spaces after it; `field` is the one it belongs to, if any.
    pub(super) fn value(&mut self, field: &str) -> Result<Value, QueryError> {
        let ends = |c: char| c.is_whitespace() || matches!(c, '(' | ')' | '"');
        self.value_until(ends, field)
    }

    fn value_until(
        &mut self,
        ends: impl Fn(char) -> bool,
        field: &str,
    ) -> Result<Value, QueryError> {
        let start = self.at;
        let pattern = match self.peek() {
            Some('"') => literally(&self.quoted()?),
            _ => self.word(ends)?,
        };
        if self.at == start {
            let after = match field {
                "" => "here".to_owned(),
                field => format!("for `{field}`"),
            };
            return Err(self.error(format!(
                "a value is missing {after}; write a word or a text in quotes"
            )));
        }
        let shown = self.chars[start..self.at]
            .iter()
            .take(SHOWN_CHARS_MAX)
            .collect();
        self.skip_spaces();
        Ok(Value {
            pattern,
            shown,
            column: start + 1,
        })
    }

    fn quoted(&mut self) -> Result<String, QueryError> {
        let opened =
            self.error("this quote is never closed; write `\\\"` for a quote that is meant");
        let mut text = String::new();
        self.at += 1;
        loop {
            match self.peek() {
                None => return Err(opened),
                Some('"') => {
                    self.at += 1;
                    return Ok(text);
                }
                Some('\\') if matches!(self.chars.get(self.at + 1), Some('"' | '\\')) => {
                    text.push(self.chars[self.at + 1]);
                    self.at += 2;
                }
                Some(c) => {
                    text.push(c);
                    self.at += 1;
                }
            }
        }
    }

    fn word(&mut self, ends: impl Fn(char) -> bool) -> Result<Pattern, QueryError> {
        let mut places = Vec::new();
        while let Some(c) = self.peek().filter(|&c| !ends(c)) {
            places.push(match c {
                '*' => Place::Many,
                '?' => Place::One,
                '\\' => {
                    let Some(&escaped) = self.chars.get(self.at + 1) else {
                        return Err(self.error(
                            "there is nothing after this `\\`; write `\\\\` for one that is meant",
                        ));
                    };
                    self.at += 1;
                    Place::Literal(escaped)
                }
                c => Place::Literal(c),
            });
            self.at += 1;
        }
        Ok(Pattern::new(places))
    }

    /// `[a TO b]`, `{a TO b}` or one bracket of each.
    pub(super) fn range(&mut self, field: &str) -> Result<Range, QueryError> {
        let opened = self
            .error("this range is not closed; write `[1 TO 5]`, or `{1 TO 5}` without its ends");
        let ends = |c: char| c.is_whitespace() || matches!(c, '"' | ']' | '}');
        let low_inclusive = self.peek() == Some('[');
        self.skip();
        let low = self.value_until(ends, field)?;
        if !self.take_operator("TO") {
            return Err(self.error("`TO` is missing; write `[1 TO 5]`"));
        }
        let high = self.value_until(ends, field)?;
        let high_inclusive = match self.peek() {
            Some(']') => true,
            Some('}') => false,
            _ => return Err(opened),
        };
        self.skip();
        Ok(Range {
            low: (low, low_inclusive),
            high: (high, high_inclusive),
        })
    }
}
