//! Query string or JSON body become a checked search request.
//!
//! In the flow: `routes` → **`search_request`** → `cursor`.
//! One reader for both spellings, so that they cannot drift apart. Whoever
//! misspells a parameter is told so and never gets unfiltered results.
//! Not here: how the request reads in Elasticsearch's JSON (`es_query`).

use std::fmt;
use std::time::Duration;

use log_event::timestamp::Timestamp;
use serde::de::{Deserializer as _, MapAccess, Visitor};
use serde_json::Value;
use url::form_urlencoded;

use crate::query_date::{first_moment, last_moment};

/// How many events a search returns if it does not say.
pub const LIMIT_DEFAULT: u32 = 100;
/// The most events that one `GET /logs` returns: Elasticsearch's default `index.max_result_window`.
pub const LOGS_LIMIT_MAX: u32 = 10_000;
/// The most hits on one page of `POST /api/v1/search`.
pub const PAGE_LIMIT_MAX: u32 = 1_000;
/// The longest value of a filter, in characters: longer ones are not indexed.
pub const FILTER_CHARS_MAX: usize = 1_024;

/// What to search.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SearchRequest {
    /// What an event must match, all of it.
    pub filters: Filters,
    /// When it must have happened.
    pub range: TimeRange,
    /// What comes first.
    pub sort: Sort,
    /// How many events to return, at least 1.
    pub limit: u32,
}

/// What an event must match: `None` matches all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filters {
    /// The severity, without regard to case.
    pub level: Option<String>,
    /// What emitted it.
    pub resource_id: Option<String>,
    /// A part of the message, without regard to case.
    pub message: Option<String>,
    /// Its trace.
    pub trace_id: Option<String>,
    /// Its span.
    pub span_id: Option<String>,
    /// The version of the code that emitted it.
    pub commit: Option<String>,
    /// `metadata.parentResourceId`.
    pub parent_resource_id: Option<String>,
}

/// A span of time; both ends belong to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimeRange {
    /// The first moment.
    pub start: Option<Timestamp>,
    /// The last moment.
    pub end: Option<Timestamp>,
}

/// The order of hits by their timestamp.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sort {
    /// The newest first.
    #[default]
    Newest,
    /// The oldest first.
    Oldest,
}

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
            Self::Invalid { parameter, .. } => Some(parameter),
            Self::EndsBeforeStart { end, .. } => Some(end),
            Self::RangeTooLong { start, .. } => Some(start),
            Self::NoJsonObject(_) => None,
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

/// One parameter, however it is spelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Parameter {
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
}

/// The spellings of one endpoint; where a parameter has two, the first is its name.
type Vocabulary = [(&'static str, Parameter)];

const LOGS: &Vocabulary = &[
    ("level", Parameter::Level),
    ("resourceId", Parameter::ResourceId),
    ("message", Parameter::Message),
    ("startDate", Parameter::Start),
    ("endDate", Parameter::End),
    ("traceId", Parameter::TraceId),
    ("spanId", Parameter::SpanId),
    ("commit", Parameter::Commit),
    ("metadata.parentResourceId", Parameter::ParentResourceId),
    ("parentResourceId", Parameter::ParentResourceId),
    ("limit", Parameter::Limit),
];

const SEARCH: &Vocabulary = &[
    ("level", Parameter::Level),
    ("resourceId", Parameter::ResourceId),
    ("message", Parameter::Message),
    ("from", Parameter::Start),
    ("to", Parameter::End),
    ("traceId", Parameter::TraceId),
    ("spanId", Parameter::SpanId),
    ("commit", Parameter::Commit),
    ("metadata.parentResourceId", Parameter::ParentResourceId),
    ("parentResourceId", Parameter::ParentResourceId),
    ("sort", Parameter::Sort),
    ("limit", Parameter::Limit),
    ("cursor", Parameter::Cursor),
];

/// The names of the parameters of `GET /logs`.
pub fn logs_parameters() -> impl Iterator<Item = &'static str> {
    LOGS.iter().map(|(name, _)| *name)
}

/// The names of the members of the body of `POST /api/v1/search`.
pub fn search_members() -> impl Iterator<Item = &'static str> {
    SEARCH.iter().map(|(name, _)| *name)
}

/// Reads the query string of `GET /logs`, as it stands after the `?`.
///
/// # Errors
/// [`RequestError`] names the offender.
pub fn from_query_string(query: &str, bound: RangeBound) -> Result<SearchRequest, RequestError> {
    let mut given = Given::new(LOGS);
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
    let (request, _) = given.read(LOGS_LIMIT_MAX, bound)?;
    Ok(request)
}

/// Reads the body of `POST /api/v1/search`; beside the request the cursor, as given.
///
/// # Errors
/// [`RequestError`] names the offender.
pub fn from_json(
    body: &[u8],
    bound: RangeBound,
) -> Result<(SearchRequest, Option<String>), RequestError> {
    let no_json = |error: serde_json::Error| RequestError::NoJsonObject(error.to_string());
    let mut given = Given::new(SEARCH);
    if !body.trim_ascii().is_empty() {
        let mut parser = serde_json::Deserializer::from_slice(body);
        let members = parser.deserialize_map(Members).map_err(no_json)?;
        parser.end().map_err(no_json)?;
        for (name, value) in members {
            given.add(&name, value)?;
        }
    }
    given.read(PAGE_LIMIT_MAX, bound)
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

/// What a client gave, each parameter at most once.
struct Given {
    vocabulary: &'static Vocabulary,
    values: Vec<(&'static str, Parameter, Value)>,
}

impl Given {
    fn new(vocabulary: &'static Vocabulary) -> Self {
        Self {
            vocabulary,
            values: Vec::new(),
        }
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

    fn read(
        mut self,
        limit_max: u32,
        bound: RangeBound,
    ) -> Result<(SearchRequest, Option<String>), RequestError> {
        let request = SearchRequest {
            filters: Filters {
                level: self.filter(Parameter::Level)?,
                resource_id: self.filter(Parameter::ResourceId)?,
                message: self.filter(Parameter::Message)?,
                trace_id: self.filter(Parameter::TraceId)?,
                span_id: self.filter(Parameter::SpanId)?,
                commit: self.filter(Parameter::Commit)?,
                parent_resource_id: self.filter(Parameter::ParentResourceId)?,
            },
            range: TimeRange {
                start: self.moment(Parameter::Start)?,
                end: self.moment(Parameter::End)?,
            },
            sort: self.sort()?,
            limit: self.limit(limit_max)?,
        };
        let cursor = self.text(Parameter::Cursor)?.map(|(_, text)| text);
        self.check_range(request.range, bound)?;
        Ok((request, cursor))
    }

    /// A value as text, with the name it was given under. A form sends its
    /// empty fields too, so an empty value counts as none.
    fn text(
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
            Parameter::Start | Parameter::End | Parameter::Limit
        );
        let text = match value {
            Value::Null => return Ok(None),
            Value::String(text) if text.is_empty() => return Ok(None),
            Value::String(text) => text,
            Value::Number(number) if numbers => number.to_string(),
            Value::Number(_) => return Err(invalid(name, "must be a string, this is a number")),
            Value::Bool(_) => return Err(invalid(name, "must be a string, this is a boolean")),
            Value::Array(_) => return Err(invalid(name, "must be a string, this is an array")),
            Value::Object(_) => return Err(invalid(name, "must be a string, this is an object")),
        };
        Ok(Some((name, text)))
    }

    fn filter(&mut self, parameter: Parameter) -> Result<Option<String>, RequestError> {
        let Some((name, text)) = self.text(parameter)? else {
            return Ok(None);
        };
        if text.chars().nth(FILTER_CHARS_MAX).is_some() {
            let reason = format!("is longer than {FILTER_CHARS_MAX} characters");
            return Err(invalid(name, reason));
        }
        Ok(Some(text))
    }

    fn moment(&mut self, parameter: Parameter) -> Result<Option<Timestamp>, RequestError> {
        let Some((name, text)) = self.text(parameter)? else {
            return Ok(None);
        };
        let moment = if parameter == Parameter::End {
            last_moment(&text)
        } else {
            first_moment(&text)
        };
        moment.map(Some).map_err(|error| invalid(name, error))
    }

    fn sort(&mut self) -> Result<Sort, RequestError> {
        match self.text(Parameter::Sort)? {
            None => Ok(Sort::default()),
            Some((_, text)) if text == "newest" => Ok(Sort::Newest),
            Some((_, text)) if text == "oldest" => Ok(Sort::Oldest),
            Some((name, text)) => Err(invalid(
                name,
                format!("`{}` is neither `newest` nor `oldest`", shorten(&text)),
            )),
        }
    }

    fn limit(&mut self, max: u32) -> Result<u32, RequestError> {
        let Some((name, text)) = self.text(Parameter::Limit)? else {
            return Ok(LIMIT_DEFAULT);
        };
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        let limit = text
            .parse()
            .ok()
            .filter(|limit| digits && (1..=max).contains(limit));
        limit.ok_or_else(|| {
            let reason = format!("`{}` is not a whole number from 1 to {max}", shorten(&text));
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

fn invalid(parameter: &'static str, reason: impl fmt::Display) -> RequestError {
    RequestError::Invalid {
        parameter,
        reason: reason.to_string(),
    }
}

/// At most 64 characters of a client's text, so that an error stays readable.
fn shorten(text: &str) -> String {
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

#[cfg(test)]
#[path = "search_request/tests.rs"]
mod tests;
