//! Why what is not indexed yet waits: names for the machine, the metrics and the status.
//!
//! In the flow: `bulk_response` → **`cause`** → `retry`, `report`.

/// Why something is tried again soon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RetryCause {
    /// No whole reply came: it may or may not have been carried out.
    NoReply,
    /// 429: a queue is full or a circuit breaker open.
    Overloaded,
    /// 5xx: shards or nodes are missing.
    Unavailable,
    /// 408 and 409: another try settles it.
    Conflict,
    /// A reply that cannot be read, or with another number of items.
    UnreadableReply,
}

/// Why something waits until somebody changes Elasticsearch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HoldCause {
    /// 401.
    Unauthorized,
    /// 403: a missing privilege.
    Forbidden,
    /// 403 or 429: an index is read-only or a disk is full.
    IndexBlocked,
    /// 404: the index is missing and may not be created.
    IndexMissing,
    /// 400: the index is closed.
    IndexClosed,
    /// 400: no more shards or indices are allowed.
    LimitReached,
    /// Any other refusal: nobody has said that it is the document's fault.
    Unexplained,
    /// The dead-letter topic does not take records.
    DeadLetterTopic,
}

impl RetryCause {
    /// All of them, for the metrics.
    pub const ALL: [Self; 5] = [
        Self::NoReply,
        Self::Overloaded,
        Self::Unavailable,
        Self::Conflict,
        Self::UnreadableReply,
    ];

    /// The label in metrics.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::NoReply => "no_reply",
            Self::Overloaded => "overloaded",
            Self::Unavailable => "unavailable",
            Self::Conflict => "conflict",
            Self::UnreadableReply => "unreadable_reply",
        }
    }
}

impl HoldCause {
    /// All of them, for the metrics.
    pub const ALL: [Self; 8] = [
        Self::Unauthorized,
        Self::Forbidden,
        Self::IndexBlocked,
        Self::IndexMissing,
        Self::IndexClosed,
        Self::LimitReached,
        Self::Unexplained,
        Self::DeadLetterTopic,
    ];

    /// The label in metrics and in the status.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::IndexBlocked => "index_blocked",
            Self::IndexMissing => "index_missing",
            Self::IndexClosed => "index_closed",
            Self::LimitReached => "limit_reached",
            Self::Unexplained => "unexplained",
            Self::DeadLetterTopic => "dead_letter_topic",
        }
    }
}
