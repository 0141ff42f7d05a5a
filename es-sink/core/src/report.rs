//! What the machine tells people: counters for metrics, a status for the one
//! who is paged.
//!
//! In the flow: beside it; nothing here decides.

use std::collections::BTreeMap;
use std::time::Duration;

use log_event::offset::NextOffset;

use crate::assignment::TopicPartition;
use crate::cause::{HoldCause, RetryCause};

/// Counts since the start. Items are counted once per try.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Records taken.
    pub records: u64,
    /// Bytes of their values.
    pub record_bytes: u64,
    /// Records that were delivered again or whose partition is not ours.
    pub records_ignored: u64,
    /// Bulk requests sent, tries included.
    pub bulks_sent: u64,
    /// Bytes of their bodies.
    pub bulk_bytes_sent: u64,
    /// Bulk requests parted because they were too large or had a spoiled item.
    pub bulks_split: u64,
    /// Documents acknowledged.
    pub indexed: u64,
    /// Among them those that stood there before: duplicates suppressed.
    pub updated: u64,
    /// Items to be tried again, by cause.
    pub retries: BTreeMap<RetryCause, u64>,
    /// Items that wait for somebody, by cause.
    pub holds: BTreeMap<HoldCause, u64>,
    /// Dead letters acknowledged, by kind (see [`dead_letter_label`]).
    pub dead_letters: BTreeMap<&'static str, u64>,
    /// Dead letters that the topic did not take at the first try.
    pub dead_letter_retries: u64,
    /// Commits confirmed.
    pub commits: u64,
    /// Commits refused; the next one says the same or more.
    pub commits_failed: u64,
    /// Times that partitions were assigned, revoked or lost.
    pub rebalances: u64,
}

/// A moment of the machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// What is ours.
    pub partitions: Vec<PartitionStatus>,
    /// Bulk requests on their way.
    pub bulks_in_flight: usize,
    /// Bytes of bulk requests on their way.
    pub bulk_bytes_in_flight: usize,
    /// Bulk requests that wait for their turn or their next try.
    pub bulks_waiting: usize,
    /// Dead letters that the topic has not acknowledged.
    pub dead_letters_waiting: usize,
    /// The Kafka timestamp of the oldest record that is read and not resolved, in milliseconds since the epoch.
    pub oldest_in_flight_ms: Option<i64>,
    /// Bytes held, all in all.
    pub bytes_held: usize,
    /// Reading is paused because too much is held.
    pub paused: bool,
    /// What waits for somebody.
    pub held: Vec<Held>,
    /// Since when Elasticsearch takes nothing at all, and why.
    pub failing: Option<LastError>,
    /// The last thing that went wrong.
    pub last_error: Option<LastError>,
}

/// One partition of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionStatus {
    /// Which one.
    pub at: TopicPartition,
    /// Where reading goes on.
    pub position: Option<NextOffset>,
    /// What Kafka has confirmed.
    pub committed: Option<NextOffset>,
    /// Records read and not resolved.
    pub in_flight: usize,
}

/// Items that wait until somebody changes something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Why.
    pub cause: HoldCause,
    /// How many.
    pub items: usize,
    /// Since when.
    pub since: Duration,
    /// What Elasticsearch said last.
    pub reason: String,
}

/// Something that went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastError {
    /// When.
    pub at: Duration,
    /// What.
    pub text: String,
}

/// The labels of dead letters' kinds; the last is for error types that are not known yet.
pub const DEAD_LETTER_LABELS: [&str; 10] = [
    "document_parsing_exception",
    "mapper_parsing_exception",
    "strict_dynamic_mapping_exception",
    "illegal_argument_exception",
    "not_x_content_exception",
    "x_content_parse_exception",
    "request_entity_too_large",
    "no_value",
    "not_an_object",
    "other",
];

/// The one of [`DEAD_LETTER_LABELS`] for a dead letter's kind.
#[must_use]
pub fn dead_letter_label(kind: &str) -> &'static str {
    let known = DEAD_LETTER_LABELS.into_iter().find(|known| *known == kind);
    known.unwrap_or("other")
}
