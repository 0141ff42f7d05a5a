//! Query string or JSON body become checked parameters.
//!
//! In the flow: `routes` → **`parameters`** → `selection`, `search_request`.
//! One reader for both spellings and all endpoints, so that they cannot drift apart. Whoever
//! misspells a parameter is told so and never gets unfiltered results.
//! Not here: which parameters an endpoint has (`search_request` and its neighbours).

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use log_event::timestamp::Timestamp;
use serde::Deserialize;
use serde::de::{Deserializer as _, Error as _, MapAccess, Visitor};
use serde_json::Value;
use url::form_urlencoded;

use crate::query::parser::QueryError;
use crate::query_date::{ReadDate, first_moment, last_moment};
use crate::selection::TimeRange;

/// The longest value of a filter, in characters: longer ones are not indexed.
pub const FILTER_CHARS_MAX: usize = 1_024;

/// Why a request cannot be carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// No such parameter.
    #[error("there is no parameter `{parameter}`; there are {}", .known.join(", "))]
    Unknown {
        /// As given, shortened.
        parameter: String,
        /// Those there are.
        known: Vec<&'static str>,
    },
    /// Given twice, also under two names.
    #[error("`{parameter}` is given twice; give it once")]
    Duplicate {
        /// The second one.
        parameter: String,
    },
    /// A value that cannot be used.
    #[error("`{parameter}`: {reason}")]
    Invalid {
        /// The parameter.
        parameter: &'static str,
        /// What is wrong and what would be right.
        reason: String,
    },
    /// A query that cannot be read.
    #[error("`{parameter}`: {error}")]
    Query {
        /// The parameter.
        parameter: &'static str,
        /// What is wrong, and at which column.
        error: QueryError,
    },
    /// The end lies before the start.
    #[error("`{end}` lies before `{start}`")]
    EndsBeforeStart {
        /// The name of the start.
        start: &'static str,
        /// The name of the end.
        end: &'static str,
    },
    /// The range is open at its start or longer than allowed.
    #[error("the time range may be at most {} long; give `{start}`, at most that long before `{end}` or now", Hours(*.max))]
    RangeTooLong {
        /// The name of the start.
        start: &'static str,
        /// The name of the end.
        end: &'static str,
        /// The longest range allowed.
        max: Duration,
    },
    /// The body is no JSON object.
    #[error("the body is not a JSON object: {0}")]
    NoJsonObject(String),
}

impl RequestError {
    /// For programs.
    #[must_use]
    pub fn code(&self) -> crate::error::Code {
        use crate::error::Code;
        match self {
            Self::Unknown { .. } => Code::UnknownParameter,
            Self::Duplicate { .. } => Code::DuplicateParameter,
            Self::Invalid { .. } => Code::InvalidParameter,
            Self::Query { .. } => Code::InvalidQuery,
            Self::EndsBeforeStart { .. } => Code::InvalidTimeRange,
            Self::RangeTooLong { .. } => Code::TimeRangeTooLong,
            Self::NoJsonObject(_) => Code::InvalidJson,
        }
    }

    /// The offender.
    #[must_use]
    pub fn parameter(&self) -> Option<&str> {
        match self {
            Self::Unknown { parameter, .. } | Self::Duplicate { parameter } => Some(parameter),
            Self::Invalid { parameter, .. } | Self::Query { parameter, .. } => Some(parameter),
            Self::EndsBeforeStart { end, .. } => Some(end),
            Self::RangeTooLong { start, .. } => Some(start),
            Self::NoJsonObject(_) => None,
        }
    }

    /// Where in a query the offender stands, in characters from 1.
    #[must_use]
    pub fn column(&self) -> Option<usize> {
        match self {
            Self::Query { error, .. } => Some(error.column),
            Self::Unknown { .. }
            | Self::Duplicate { .. }
            | Self::Invalid { .. }
            | Self::EndsBeforeStart { .. }
            | Self::RangeTooLong { .. }
            | Self::NoJsonObject(_) => None,
        }
    }
}

/// What the time range of a request is held against.
#[derive(Clone, Copy, Debug)]
pub struct RangeBound {
    /// The longest range allowed, if any.
    pub max: Option<Duration>,
    /// Stands for the end of a range without one.
    pub now: Timestamp,
}

/// One parameter, however an endpoint spells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parameter {
    Query,
    Level,
    ResourceId,
    Message,
    TraceId,
    SpanId,
    Commit,
    ParentResourceId,
    Start,
    End,
    Limit,
    Sort,
    Cursor,
    Buckets,
    Field,
    Prefix,
    Id,
    Before,
    After,
    Format,
    Fields,
}

/// The spellings of one endpoint; where a parameter has two, the first is its name.
pub(crate) type Vocabulary = [(&'static str, Parameter)];

/// The names of an endpoint's parameters.
/// Reads a body that is a JSON object; serde would take the members from an array, too.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn object<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, serde_json::Error> {
    match body.trim_ascii_start().first() {
        Some(b'[') => Err(serde_json::Error::custom("not an object, but an array")),
        _ => serde_json::from_slice(body),
    }
}

#[cfg(test)]
pub(crate) fn names(vocabulary: &'static Vocabulary) -> impl Iterator<Item = &'static str> {
    vocabulary.iter().map(|(name, _)| *name)
}
/// What a client gave, each parameter at most once.
pub(crate) struct Given {
    vocabulary: &'static Vocabulary,
    values: Vec<(&'static str, Parameter, Value)>,
}

impl Given {
    /// Reads a query string, as it stands after the `?`.
    pub(crate) fn in_query_string(
        vocabulary: &'static Vocabulary,
        query: &str,
    ) -> Result<Self, RequestError> {
        let mut given = Self {
            vocabulary,
            values: Vec::new(),
        };
        let mut replaced = None;
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            // The decoder replaces what is no UTF-8; a search for the replacement would find nothing.
            if value.contains('\u{fffd}')
                && *replaced.get_or_insert_with(|| !spells_replacement_character(query))
            {
                let (parameter, _) = given.resolve(&name)?;
                return Err(invalid(parameter, "is not UTF-8"));
            }
            given.add(&name, Value::String(value.into_owned()))?;
        }
        Ok(given)
    }

    /// Reads the members of a JSON object; an empty body has none.
    pub(crate) fn in_json(
        vocabulary: &'static Vocabulary,
        body: &[u8],
    ) -> Result<Self, RequestError> {
        let no_json = |error: serde_json::Error| RequestError::NoJsonObject(error.to_string());
        let mut given = Self {
            vocabulary,
            values: Vec::new(),
        };
        if !body.trim_ascii().is_empty() {
            let mut parser = serde_json::Deserializer::from_slice(body);
            let members = parser.deserialize_map(Members).map_err(no_json)?;
            parser.end().map_err(no_json)?;
            for (name, value) in members {
                given.add(&name, value)?;
            }
        }
        Ok(given)
    }

    fn resolve(&self, name: &str) -> Result<(&'static str, Parameter), RequestError> {
        let found = self.vocabulary.iter().find(|(known, _)| *known == name);
        found.copied().ok_or_else(|| RequestError::Unknown {
            parameter: shorten(name),
            known: self.vocabulary.iter().map(|(known, _)| *known).collect(),
        })
    }

    fn add(&mut self, name: &str, value: Value) -> Result<(), RequestError> {
        let (name, parameter) = self.resolve(name)?;
        if self.values.iter().any(|(_, other, _)| *other == parameter) {
            return Err(RequestError::Duplicate {
                parameter: name.to_owned(),
            });
        }
        self.values.push((name, parameter, value));
        Ok(())
    }

    /// A value as text, with the name it was given under. A form sends its
    /// empty fields too, so an empty value counts as none.
    pub(crate) fn text(
        &mut self,
        parameter: Parameter,
    ) -> Result<Option<(&'static str, String)>, RequestError> {
        let at = self
            .values
            .iter()
            .position(|(_, given, _)| *given == parameter);
        let Some((name, _, value)) = at.map(|at| self.values.swap_remove(at)) else {
            return Ok(None);
        };
        let numbers = matches!(
            parameter,
            Parameter::Start | Parameter::End | Parameter::Limit | Parameter::Buckets
        );
        let text = match value {
            Value::Null => return Ok(None),
            Value::String(text) if text.is_empty() => return Ok(None),
            Value::String(text) => text,
            Value::Number(number) if numbers => spelled(&number),
            Value::Number(_) => return Err(invalid(name, "must be a string, this is a number")),
            Value::Bool(_) => return Err(invalid(name, "must be a string, this is a boolean")),
            Value::Array(_) => return Err(invalid(name, "must be a string, this is an array")),
            Value::Object(_) => return Err(invalid(name, "must be a string, this is an object")),
        };
        Ok(Some((name, text)))
    }

    /// A text short enough to be indexed.
    pub(crate) fn filter(&mut self, parameter: Parameter) -> Result<Option<String>, RequestError> {
        let Some((name, text)) = self.text(parameter)? else {
            return Ok(None);
        };
        if text.chars().nth(FILTER_CHARS_MAX).is_some() {
            let reason = format!("is longer than {FILTER_CHARS_MAX} characters");
            return Err(invalid(name, reason));
        }
        Ok(Some(text))
    }

    /// The span of time between two moments, not longer than `bound` allows.
    pub(crate) fn range(&mut self, bound: RangeBound) -> Result<TimeRange, RequestError> {
        let range = TimeRange {
            start: self.moment(Parameter::Start, first_moment, bound.now)?,
            end: self.moment(Parameter::End, last_moment, bound.now)?,
        };
        self.check_range(range, bound)?;
        Ok(range)
    }

    fn moment(
        &mut self,
        parameter: Parameter,
        read: ReadDate,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, RequestError> {
        let Some((name, text)) = self.text(parameter)? else {
            return Ok(None);
        };
        let moment = read(&text, now).map_err(|error| invalid(name, error))?;
        Ok(Some(moment))
    }

    /// One of a few words, the first of them if none is given.
    pub(crate) fn one_of<T: Copy>(
        &mut self,
        parameter: Parameter,
        words: [(&str, T); 2],
    ) -> Result<T, RequestError> {
        let [(first, default), (second, other)] = words;
        match self.text(parameter)? {
            None => Ok(default),
            Some((_, text)) if text == first => Ok(default),
            Some((_, text)) if text == second => Ok(other),
            Some((name, text)) => Err(invalid(
                name,
                format!("`{}` is neither `{first}` nor `{second}`", shorten(&text)),
            )),
        }
    }

    /// A whole number, `default` if none is given.
    pub(crate) fn whole_number(
        &mut self,
        parameter: Parameter,
        default: u32,
        allowed: RangeInclusive<u32>,
    ) -> Result<u32, RequestError> {
        let Some((name, text)) = self.text(parameter)? else {
            return Ok(default);
        };
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text
            .parse()
            .ok()
            .filter(|number| digits && allowed.contains(number));
        number.ok_or_else(|| {
            let (min, max) = allowed.into_inner();
            let reason = format!(
                "`{}` is not a whole number from {min} to {max}",
                shorten(&text)
            );
            invalid(name, reason)
        })
    }

    fn check_range(&self, range: TimeRange, bound: RangeBound) -> Result<(), RequestError> {
        let (start, end) = (self.name(Parameter::Start), self.name(Parameter::End));
        if let (Some(first), Some(last)) = (range.start, range.end)
            && last < first
        {
            return Err(RequestError::EndsBeforeStart { start, end });
        }
        let Some(max) = bound.max else {
            return Ok(());
        };
        let last = range.end.unwrap_or(bound.now).nanos();
        let first = range.start.map_or(i64::MIN, Timestamp::nanos);
        let too_long = i128::from(last) - i128::from(first)
            > i128::try_from(max.as_nanos()).unwrap_or(i128::MAX);
        if too_long {
            return Err(RequestError::RangeTooLong { start, end, max });
        }
        Ok(())
    }

    fn name(&self, parameter: Parameter) -> &'static str {
        let found = self
            .vocabulary
            .iter()
            .find(|(_, known)| *known == parameter);
        found.map_or("", |(name, _)| name)
    }
}

/// As digits; in JSON a whole number may have a fraction of zero.
fn spelled(number: &serde_json::Number) -> String {
    let text = number.to_string();
    text.strip_suffix(".0").unwrap_or(&text).to_owned()
}

pub(crate) fn invalid(parameter: &'static str, reason: impl fmt::Display) -> RequestError {
    RequestError::Invalid {
        parameter,
        reason: reason.to_string(),
    }
}

/// At most 64 characters of a client's text, so that an error stays readable.
pub(crate) fn shorten(text: &str) -> String {
    match text.char_indices().nth(64) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// A duration as an operator would write it.
struct Hours(Duration);

impl fmt::Display for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        match millis {
            _ if millis.is_multiple_of(3_600_000) => write!(f, "{}h", millis / 3_600_000),
            _ if millis.is_multiple_of(60_000) => write!(f, "{}m", millis / 60_000),
            _ if millis.is_multiple_of(1_000) => write!(f, "{}s", millis / 1_000),
            _ => write!(f, "{millis}ms"),
        }
    }
}

fn spells_replacement_character(query: &str) -> bool {
    query.contains('\u{fffd}') || query.to_ascii_uppercase().contains("%EF%BF%BD")
}

/// The members of a JSON object in their order, repeated ones included.
struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Vec<(String, Value)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_number_in_json_may_be_written_with_a_fraction_of_zero() {
        const LIMIT: &Vocabulary = &[("limit", Parameter::Limit)];
        let read = |body: &str| {
            let mut given = Given::in_json(LIMIT, body.as_bytes()).unwrap();
            given.whole_number(Parameter::Limit, 1, 1..=100)
        };
        assert_eq!(read(r#"{"limit":50.0}"#), Ok(50));
        assert_eq!(read(r#"{"limit":50}"#), Ok(50));
        assert!(read(r#"{"limit":50.5}"#).is_err());
    }
}
