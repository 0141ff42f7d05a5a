//! How a client speaks: which path means which dialect, who reads its bodies, and who writes its replies.
//!
//! In the flow: `routes` → **`dialect`** → `decode::…`, and back through `reply::…`.
//! Throttling is always for the whole request, with the status that the dialect's clients try again after.

use axum::http::{HeaderMap, header};
use log_event::dialect::Dialect;

use crate::decode::elasticsearch::{Action, Operation};
use crate::decode::{self, Events, Limits, hec, loki, otlp};
use crate::error::Problem;
use crate::reply::{self, Reply, Settled};

/// What one request is, by its path and headers.
#[derive(Clone, Debug)]
pub enum Message {
    /// JSON, told by its first bytes.
    Json,
    /// Lines of text.
    Text,
    /// OTLP's logs.
    Otlp(otlp::Encoding),
    /// Operations on documents of an index, if the path names one.
    Bulk(Option<String>),
    /// One document.
    Document(Operation),
    /// Loki's streams.
    Loki(loki::Encoding),
    /// HEC's objects.
    HecEvents,
    /// HEC's raw lines.
    HecRaw(hec::About),
}

/// The events of a body, and the operations that they came with, where the dialect knows any.
#[derive(Debug)]
pub struct Read<'a> {
    /// The events.
    pub events: Events<'a>,
    /// One for each event, of the Elasticsearch dialect.
    pub operations: Vec<Operation>,
}

impl Message {
    /// What `POST /logs` carries.
    #[must_use]
    pub fn native(headers: &HeaderMap) -> Self {
        match media_type(headers) {
            Some("text/plain") => Self::Text,
            _ => Self::Json,
        }
    }

    /// What `POST /v1/logs` carries; protobuf unless it says JSON.
    #[must_use]
    pub fn otlp(headers: &HeaderMap) -> Self {
        Self::Otlp(match media_type(headers) {
            Some("application/json") => otlp::Encoding::Json,
            _ => otlp::Encoding::Protobuf,
        })
    }

    /// What `POST /loki/api/v1/push` carries; everything but JSON is protobuf (Loki HTTP API).
    #[must_use]
    pub fn loki(headers: &HeaderMap) -> Self {
        Self::Loki(match media_type(headers) {
            Some("application/json") => loki::Encoding::Json,
            _ => loki::Encoding::Protobuf,
        })
    }

    /// A document for an index, with the id of the path.
    #[must_use]
    pub fn document(action: Action, index: String, id: Option<String>) -> Self {
        Self::Document(Operation { action, index, id })
    }

    /// The dialect that it belongs to.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        match self {
            Self::Json | Self::Text => Dialect::Native,
            Self::Otlp(_) => Dialect::OpenTelemetry,
            Self::Bulk(_) | Self::Document(_) => Dialect::Elasticsearch,
            Self::Loki(_) => Dialect::Loki,
            Self::HecEvents | Self::HecRaw(_) => Dialect::Splunk,
        }
    }

    /// As the record's header `dialect` says it (docs/formats.md).
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Text => "text",
            other => other.dialect().as_str(),
        }
    }

    /// Whether the body's `Content-Encoding` names what is part of the message itself.
    #[must_use]
    pub fn is_snappy(&self) -> bool {
        matches!(self, Self::Loki(loki::Encoding::Protobuf))
    }

    /// Reads a body; `body_bytes_max` bounds what a compression inside of it may inflate to.
    ///
    /// # Errors
    /// A [`Problem`] if it is not what it should be, or too much.
    pub fn read<'a>(
        &self,
        body: &'a [u8],
        body_bytes_max: usize,
        limits: Limits<'_>,
    ) -> Result<Read<'a>, Problem> {
        let events = match self {
            Self::Json => decode::json::split(body, limits.events_max)?,
            Self::Text => decode::text::split(body, limits)?,
            Self::Otlp(encoding) => otlp::split(body, *encoding, limits)?,
            Self::Loki(encoding) => loki::split(body, *encoding, body_bytes_max, limits)?,
            Self::HecEvents => hec::split_events(body, limits)?,
            Self::HecRaw(about) => hec::split_raw(body, about, limits)?,
            Self::Bulk(index) => {
                let (events, operations) =
                    decode::elasticsearch::split_bulk(body, index.as_deref(), limits)?;
                return Ok(Read { events, operations });
            }
            Self::Document(operation) => {
                let operation = operation.clone();
                let (events, operations) =
                    decode::elasticsearch::split_document(body, operation, limits)?;
                return Ok(Read { events, operations });
            }
        };
        Ok(Read {
            events,
            operations: Vec::new(),
        })
    }

    /// The reply to a request whose events are settled.
    #[must_use]
    pub fn settled(&self, settled: &Settled) -> Reply {
        match self {
            Self::Json | Self::Text => reply::of_settled(settled),
            Self::Otlp(encoding) => reply::otlp::of_settled(*encoding, settled),
            Self::Bulk(_) => reply::elasticsearch::of_bulk(settled),
            Self::Document(_) => reply::elasticsearch::of_document(settled),
            Self::Loki(_) => reply::loki::of_settled(settled),
            Self::HecEvents | Self::HecRaw(_) => reply::hec::of_settled(settled),
        }
    }

    /// The reply to a request refused as a whole.
    #[must_use]
    pub fn refused(&self, problem: &Problem) -> Reply {
        match self {
            Self::Json | Self::Text => reply::of_problem(problem),
            Self::Otlp(encoding) => reply::otlp::of_problem(*encoding, problem),
            Self::Bulk(_) | Self::Document(_) => reply::elasticsearch::of_problem(problem),
            Self::Loki(_) => reply::loki::of_problem(problem),
            Self::HecEvents | Self::HecRaw(_) => reply::hec::of_problem(problem),
        }
    }
}

/// The media type of a body, without its parameters.
fn media_type(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    value.split(';').next().map(str::trim)
}
