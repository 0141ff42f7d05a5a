//! Why a whole request is refused: the closed list of codes.
//!
//! In the flow: every file may end a request with a [`Problem`]; `reply` turns
//! it into bytes. Not here: why one event is refused (`decode`).

use service::access::Denial;

/// The stable code of a refusal (docs/formats.md).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// Nothing but white space.
    EmptyBody,
    /// An array whose elements cannot be told apart.
    InvalidJson,
    /// Not a message of the dialect that its path stands for.
    InvalidMessage,
    /// Events there were, but each of them was refused.
    NoEventAccepted,
    /// The body is not in the encoding that its header names.
    InvalidEncoding,
    /// An `Idempotency-Key` that cannot be used.
    InvalidIdempotencyKey,
    /// The body broke off or was framed wrongly.
    UnreadableBody,
    /// No such path.
    NotFound,
    /// The path knows other methods.
    MethodNotAllowed,
    /// The body did not arrive in time.
    RequestTimeout,
    /// More bytes than one body may have.
    BodyTooLarge,
    /// More events than one request may hold.
    TooManyEvents,
    /// More bytes than the client's rate limit lets through at once, ever.
    OverByteBurst,
    /// A `Content-Encoding` other than gzip.
    UnsupportedEncoding,
    /// The client's rate limit.
    RateLimited,
    /// The gateway holds as many bytes as it may.
    Overloaded,
    /// Kafka does not answer, known before anything was sent.
    KafkaUnavailable,
    /// Kafka did not acknowledge.
    NotAcknowledged,
    /// The gateway is about to end.
    Draining,
    /// A fault of ours.
    Internal,
    /// There are keys, and the request carries none.
    KeyMissing,
    /// What it carries is no key.
    KeyUnreadable,
    /// There is no such key.
    KeyUnknown,
    /// The key has expired.
    KeyExpired,
    /// The key may do other things.
    ScopeMissing,
    /// The key may send events in other dialects.
    DialectNotAllowed,
    /// Requests without a valid key, more than one address may send.
    TooManyDenials,
}

impl Code {
    /// All codes, for the metrics.
    pub const ALL: [Self; 27] = [
        Self::EmptyBody,
        Self::InvalidJson,
        Self::InvalidMessage,
        Self::NoEventAccepted,
        Self::InvalidEncoding,
        Self::InvalidIdempotencyKey,
        Self::UnreadableBody,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::RequestTimeout,
        Self::BodyTooLarge,
        Self::TooManyEvents,
        Self::OverByteBurst,
        Self::UnsupportedEncoding,
        Self::RateLimited,
        Self::Overloaded,
        Self::KafkaUnavailable,
        Self::NotAcknowledged,
        Self::Draining,
        Self::Internal,
        Self::KeyMissing,
        Self::KeyUnreadable,
        Self::KeyUnknown,
        Self::KeyExpired,
        Self::ScopeMissing,
        Self::DialectNotAllowed,
        Self::TooManyDenials,
    ];

    /// As clients read it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::EmptyBody => "empty_body",
            Self::InvalidJson => "invalid_json",
            Self::InvalidMessage => "invalid_message",
            Self::NoEventAccepted => "no_event_accepted",
            Self::InvalidEncoding => "invalid_encoding",
            Self::InvalidIdempotencyKey => "invalid_idempotency_key",
            Self::UnreadableBody => "unreadable_body",
            Self::NotFound => "not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::RequestTimeout => "request_timeout",
            Self::BodyTooLarge => "body_too_large",
            Self::TooManyEvents => "too_many_events",
            Self::OverByteBurst => "over_byte_burst",
            Self::UnsupportedEncoding => "unsupported_encoding",
            Self::RateLimited => "rate_limited",
            Self::Overloaded => "overloaded",
            Self::KafkaUnavailable => "kafka_unavailable",
            Self::NotAcknowledged => "not_acknowledged",
            Self::Draining => "draining",
            Self::Internal => "internal",
            Self::KeyMissing => "key_missing",
            Self::KeyUnreadable => "key_unreadable",
            Self::KeyUnknown => "key_unknown",
            Self::KeyExpired => "key_expired",
            Self::ScopeMissing => "scope_missing",
            Self::DialectNotAllowed => "dialect_not_allowed",
            Self::TooManyDenials => "too_many_denials",
        }
    }

    /// The HTTP status and its phrase.
    #[must_use]
    pub fn status(self) -> (u16, &'static str) {
        match self {
            Self::EmptyBody
            | Self::InvalidJson
            | Self::InvalidMessage
            | Self::NoEventAccepted
            | Self::InvalidEncoding
            | Self::InvalidIdempotencyKey
            | Self::UnreadableBody => (400, "Bad Request"),
            Self::KeyMissing | Self::KeyUnreadable | Self::KeyUnknown | Self::KeyExpired => {
                (401, "Unauthorized")
            }
            Self::ScopeMissing | Self::DialectNotAllowed => (403, "Forbidden"),
            Self::NotFound => (404, "Not Found"),
            Self::MethodNotAllowed => (405, "Method Not Allowed"),
            Self::RequestTimeout => (408, "Request Timeout"),
            Self::BodyTooLarge | Self::TooManyEvents | Self::OverByteBurst => {
                (413, "Content Too Large")
            }
            Self::UnsupportedEncoding => (415, "Unsupported Media Type"),
            Self::RateLimited | Self::TooManyDenials => (429, "Too Many Requests"),
            Self::Internal => (500, "Internal Server Error"),
            Self::Overloaded | Self::KafkaUnavailable | Self::NotAcknowledged | Self::Draining => {
                (503, "Service Unavailable")
            }
        }
    }
}

/// What a refused request left in Kafka.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing.
    None,
    /// Some of its events may be there.
    Unknown,
}

impl Outcome {
    /// As clients read it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Unknown => "unknown",
        }
    }
}

/// A whole request refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {detail}", code.as_str())]
pub struct Problem {
    /// Which refusal.
    pub code: Code,
    /// For people: what is wrong and the way out.
    pub detail: String,
    /// `Retry-After` in whole seconds, at least 1; set where trying again helps.
    pub retry_after_seconds: Option<u64>,
    /// What is in Kafka; only said where it is not plain from the status.
    pub outcome: Option<Outcome>,
}

impl Problem {
    /// One that stays as it is however often it is sent.
    #[must_use]
    pub fn permanent(code: Code, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
            retry_after_seconds: None,
            outcome: None,
        }
    }

    /// One without a key that lets it in.
    #[must_use]
    pub fn denied(denial: Denial) -> Self {
        let code = match denial {
            Denial::Missing => Code::KeyMissing,
            Denial::Unreadable => Code::KeyUnreadable,
            Denial::Unknown | Denial::Uncertified => Code::KeyUnknown,
            Denial::Expired => Code::KeyExpired,
            Denial::Scope(_) => Code::ScopeMissing,
            Denial::Dialect(_) => Code::DialectNotAllowed,
        };
        Self::permanent(code, denial.detail())
    }

    /// One more without a valid key, from an address that sent too many of them. A valid key is still let in.
    #[must_use]
    pub fn too_many_denials(retry_after_seconds: u64) -> Self {
        Self {
            code: Code::TooManyDenials,
            detail: "too many requests without a valid API key come from this address; the gateway's metrics count them as `too_many_denials`".to_owned(),
            retry_after_seconds: Some(retry_after_seconds),
            outcome: None,
        }
    }

    /// A 503 with what is known of the events.
    #[must_use]
    pub fn unavailable(
        code: Code,
        detail: impl Into<String>,
        retry_after_seconds: u64,
        outcome: Outcome,
    ) -> Self {
        Self {
            code,
            detail: detail.into(),
            retry_after_seconds: Some(retry_after_seconds.max(1)),
            outcome: Some(outcome),
        }
    }

    /// More events than one request may hold.
    #[must_use]
    pub fn too_many_events(events_max: usize) -> Self {
        Self::permanent(
            Code::TooManyEvents,
            format!("a request may hold {events_max} events; send several smaller ones"),
        )
    }

    /// The budget of bytes in flight is spent: GW-2.
    #[must_use]
    pub fn overloaded() -> Self {
        Self::unavailable(
            Code::Overloaded,
            "the gateway holds as many bytes as it may; nothing of this request was kept",
            1,
            Outcome::None,
        )
    }
}
