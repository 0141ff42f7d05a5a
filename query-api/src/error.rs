//! Every way to say no: a closed list of codes, written as RFC 9457.
//!
//! In the flow: any file after `routes` → **`error`** → the client.
//! Not here: what Elasticsearch said (the log has it).

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use service::access::{self, Denial};
use utoipa::ToSchema;

use crate::elasticsearch::SearchError;
use crate::parameters::RequestError;

/// What went wrong, for programs. The texts are stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// A parameter that does not exist here.
    UnknownParameter,
    /// A parameter given twice.
    DuplicateParameter,
    /// A parameter whose value cannot be used.
    InvalidParameter,
    /// A query that cannot be read; `column` says where.
    InvalidQuery,
    /// The range ends before it starts.
    InvalidTimeRange,
    /// The range is longer than `--max-time-range`.
    TimeRangeTooLong,
    /// The body is no JSON object.
    InvalidJson,
    /// The cursor is damaged, or belongs to another query.
    InvalidCursor,
    /// The cursor's point in time is closed: start again without a cursor.
    CursorExpired,
    /// Not among what is passed on to Elasticsearch below `/elasticsearch`.
    NotAllowed,
    /// No such path.
    NotFound,
    /// The path exists, the method does not.
    MethodNotAllowed,
    /// The body is larger than `--max-body-bytes`.
    BodyTooLarge,
    /// The body did not arrive in time, or broke off.
    BodyIncomplete,
    /// Too many searches at once.
    Overloaded,
    /// No node of Elasticsearch can be reached.
    ElasticsearchUnreachable,
    /// Elasticsearch did not answer in time.
    ElasticsearchTimedOut,
    /// Elasticsearch refuses for now (429, 503).
    ElasticsearchOverloaded,
    /// Elasticsearch refuses for good: an operator must act.
    ElasticsearchRefused,
    /// Elasticsearch's reply cannot be read.
    ElasticsearchReplyUnreadable,
    /// Kafka does not answer.
    KafkaUnavailable,
    /// This service was started without what the request needs.
    NotConfigured,
    /// A fault of this service.
    Internal,
    /// There are keys, and the request carries none.
    KeyMissing,
    /// What the request carries is no key.
    KeyUnreadable,
    /// There is no such key.
    KeyUnknown,
    /// The key has expired.
    KeyExpired,
    /// The key may do other things.
    ScopeMissing,
}

impl Code {
    /// All of them, for the metrics and the documentation.
    pub const ALL: [Self; 28] = [
        Self::UnknownParameter,
        Self::DuplicateParameter,
        Self::InvalidParameter,
        Self::InvalidQuery,
        Self::InvalidTimeRange,
        Self::TimeRangeTooLong,
        Self::InvalidJson,
        Self::InvalidCursor,
        Self::CursorExpired,
        Self::NotAllowed,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::BodyTooLarge,
        Self::BodyIncomplete,
        Self::Overloaded,
        Self::ElasticsearchUnreachable,
        Self::ElasticsearchTimedOut,
        Self::ElasticsearchOverloaded,
        Self::ElasticsearchRefused,
        Self::ElasticsearchReplyUnreadable,
        Self::KafkaUnavailable,
        Self::NotConfigured,
        Self::Internal,
        Self::KeyMissing,
        Self::KeyUnreadable,
        Self::KeyUnknown,
        Self::KeyExpired,
        Self::ScopeMissing,
    ];

    /// As in the body of a problem and in the metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UnknownParameter => "unknown_parameter",
            Self::DuplicateParameter => "duplicate_parameter",
            Self::InvalidParameter => "invalid_parameter",
            Self::InvalidQuery => "invalid_query",
            Self::InvalidTimeRange => "invalid_time_range",
            Self::TimeRangeTooLong => "time_range_too_long",
            Self::InvalidJson => "invalid_json",
            Self::InvalidCursor => "invalid_cursor",
            Self::CursorExpired => "cursor_expired",
            Self::NotAllowed => "not_allowed",
            Self::NotFound => "not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::BodyTooLarge => "body_too_large",
            Self::BodyIncomplete => "body_incomplete",
            Self::Overloaded => "overloaded",
            Self::ElasticsearchUnreachable => "elasticsearch_unreachable",
            Self::ElasticsearchTimedOut => "elasticsearch_timed_out",
            Self::ElasticsearchOverloaded => "elasticsearch_overloaded",
            Self::ElasticsearchRefused => "elasticsearch_refused",
            Self::ElasticsearchReplyUnreadable => "elasticsearch_reply_unreadable",
            Self::KafkaUnavailable => "kafka_unavailable",
            Self::NotConfigured => "not_configured",
            Self::Internal => "internal",
            Self::KeyMissing => "key_missing",
            Self::KeyUnreadable => "key_unreadable",
            Self::KeyUnknown => "key_unknown",
            Self::KeyExpired => "key_expired",
            Self::ScopeMissing => "scope_missing",
        }
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(self) -> StatusCode {
        match self {
            Self::UnknownParameter
            | Self::DuplicateParameter
            | Self::InvalidParameter
            | Self::InvalidQuery
            | Self::InvalidTimeRange
            | Self::TimeRangeTooLong
            | Self::InvalidJson
            | Self::InvalidCursor => StatusCode::BAD_REQUEST,
            Self::CursorExpired => StatusCode::GONE,
            Self::KeyMissing | Self::KeyUnreadable | Self::KeyUnknown | Self::KeyExpired => {
                StatusCode::UNAUTHORIZED
            }
            Self::NotAllowed | Self::ScopeMissing => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BodyIncomplete => StatusCode::REQUEST_TIMEOUT,
            Self::Overloaded
            | Self::ElasticsearchUnreachable
            | Self::ElasticsearchTimedOut
            | Self::ElasticsearchOverloaded
            | Self::KafkaUnavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::NotConfigured => StatusCode::NOT_IMPLEMENTED,
            Self::ElasticsearchRefused | Self::ElasticsearchReplyUnreadable => {
                StatusCode::BAD_GATEWAY
            }
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// Whether the same request may succeed later, by itself.
    #[must_use]
    pub fn may_pass(self) -> bool {
        self.retry_after_seconds().is_some()
    }

    /// Whole seconds after which the same request may succeed.
    fn retry_after_seconds(self) -> Option<u8> {
        match self {
            Self::Overloaded => Some(1),
            Self::ElasticsearchUnreachable
            | Self::ElasticsearchTimedOut
            | Self::ElasticsearchOverloaded
            | Self::KafkaUnavailable => Some(2),
            Self::UnknownParameter
            | Self::DuplicateParameter
            | Self::InvalidParameter
            | Self::InvalidQuery
            | Self::InvalidTimeRange
            | Self::TimeRangeTooLong
            | Self::InvalidJson
            | Self::InvalidCursor
            | Self::CursorExpired
            | Self::NotAllowed
            | Self::NotFound
            | Self::MethodNotAllowed
            | Self::BodyTooLarge
            | Self::BodyIncomplete
            | Self::ElasticsearchRefused
            | Self::ElasticsearchReplyUnreadable
            | Self::NotConfigured
            | Self::Internal
            | Self::KeyMissing
            | Self::KeyUnreadable
            | Self::KeyUnknown
            | Self::KeyExpired
            | Self::ScopeMissing => None,
        }
    }
}

/// Why a request got no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// For programs.
    pub code: Code,
    /// For people: the offender and the way out.
    pub detail: String,
    /// The offending parameter, where it is one.
    pub parameter: Option<String>,
    /// Where in a query the offender stands, in characters from 1.
    pub column: Option<usize>,
}

/// The body of a problem, `application/problem+json` (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct Body<'a> {
    /// The HTTP status as a phrase.
    #[schema(example = "Bad Request")]
    title: &'a str,
    /// The HTTP status.
    #[schema(example = 400)]
    status: u16,
    /// What went wrong, for programs.
    code: Code,
    /// What went wrong and what to do, for people.
    detail: &'a str,
    /// The offending parameter, where it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    parameter: Option<&'a str>,
    /// Where in a query the offender stands, in characters from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    column: Option<usize>,
}

impl Problem {
    /// A problem that no parameter is to blame for.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
            parameter: None,
            column: None,
        }
    }

    /// One that another key would not have.
    #[must_use]
    pub fn denied(denial: Denial) -> Self {
        let code = match denial {
            Denial::Missing => Code::KeyMissing,
            Denial::Unreadable => Code::KeyUnreadable,
            Denial::Unknown | Denial::Uncertified => Code::KeyUnknown,
            Denial::Expired => Code::KeyExpired,
            // Nobody sends events here.
            Denial::Scope(_) | Denial::Dialect(_) => Code::ScopeMissing,
        };
        Self::new(code, denial.detail())
    }

    /// The headers that belong to it, whatever its body looks like.
    pub(crate) fn add_headers(&self, headers: &mut HeaderMap) {
        if let Some(seconds) = self.code.retry_after_seconds() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(u16::from(seconds)));
        }
        if self.code.status() == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, access::CHALLENGE);
        }
    }
}

impl From<RequestError> for Problem {
    fn from(error: RequestError) -> Self {
        Self {
            code: error.code(),
            detail: error.to_string(),
            parameter: error.parameter().map(str::to_owned),
            column: error.column(),
        }
    }
}

impl From<SearchError> for Problem {
    /// Without what Elasticsearch said: that may tell of the inside.
    fn from(error: SearchError) -> Self {
        let (code, detail) = match error {
            SearchError::Unreachable(_) => (
                Code::ElasticsearchUnreachable,
                "Elasticsearch cannot be reached; try again",
            ),
            SearchError::TimedOut(_) => (
                Code::ElasticsearchTimedOut,
                "Elasticsearch did not answer in time; try again, or narrow the search by a time range or another filter",
            ),
            SearchError::Overloaded { .. } => (
                Code::ElasticsearchOverloaded,
                "Elasticsearch is busy or not ready; try again",
            ),
            SearchError::CursorExpired => (
                Code::CursorExpired,
                "the cursor was not used for too long, or gave way to newer ones; start again without `cursor`",
            ),
            SearchError::Refused { .. } => (
                Code::ElasticsearchRefused,
                "Elasticsearch refused the search; the log of this service says why",
            ),
            SearchError::Unreadable(_) => (
                Code::ElasticsearchReplyUnreadable,
                "Elasticsearch's reply cannot be read; the log of this service says why",
            ),
        };
        Self::new(code, detail)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.code.status();
        let body = Body {
            title: status.canonical_reason().unwrap_or_default(),
            status: status.as_u16(),
            code: self.code,
            detail: &self.detail,
            parameter: self.parameter.as_deref(),
            column: self.column,
        };
        let text = serde_json::to_string(&body).expect("texts and numbers are JSON");
        let mut response = (
            status,
            [(header::CONTENT_TYPE, "application/problem+json")],
            text + "\n",
        )
            .into_response();
        self.add_headers(response.headers_mut());
        response.extensions_mut().insert(self.code);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_is_spelled_in_one_way() {
        for code in Code::ALL {
            let written = serde_json::to_string(&code).unwrap();
            assert_eq!(written, format!("\"{}\"", code.as_str()));
        }
    }

    #[test]
    fn whoever_may_try_again_is_told_when() {
        for code in Code::ALL {
            let unavailable = code.status() == StatusCode::SERVICE_UNAVAILABLE;
            assert_eq!(
                code.retry_after_seconds().is_some(),
                unavailable,
                "{code:?}"
            );
            let response = Problem::new(code, "").into_response();
            let told = response.headers().contains_key(header::RETRY_AFTER);
            assert_eq!(told, unavailable, "{code:?}");
        }
    }
}
