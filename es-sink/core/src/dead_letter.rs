//! The record that keeps what can never be indexed: the original, and why.
//!
//! In the flow: `bulk_response` → **`dead_letter`** → the dead-letter topic.
//! The header names are Kafka Connect's (`DeadLetterQueueReporter`), so that
//! what reads its dead letters reads ours.

use log_event::offset::Offset;
use log_event::record::EVENT_ID;

use crate::assignment::TopicPartition;
use crate::bulk_request::RecordParts;

/// Why a record can never be indexed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// Elasticsearch's error type, or logflow's code.
    pub kind: String,
    /// The reason for people.
    pub reason: String,
}

/// A record for the dead-letter topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// The original's key.
    pub key: Option<Vec<u8>>,
    /// The original's value.
    pub value: Option<Vec<u8>>,
    /// The original's headers, then those that say why.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    /// The original's Kafka timestamp.
    pub timestamp_ms: Option<i64>,
}

/// The longest reason kept: Elasticsearch quotes the value that it refuses.
const REASON_CHARS_MAX: usize = 2_000;

impl DeadLetter {
    /// From a record, where it stood, and why it was rejected. `event_id` is
    /// the id that its document would have had.
    #[must_use]
    pub fn new(
        record: RecordParts,
        at: &TopicPartition,
        offset: Offset,
        group: &str,
        event_id: &str,
        rejection: &Rejection,
    ) -> Self {
        let RecordParts {
            key,
            value,
            mut headers,
            timestamp_ms,
        } = record;
        if !headers.iter().any(|(name, _)| name == EVENT_ID) {
            headers.push((EVENT_ID.to_owned(), Some(event_id.as_bytes().to_vec())));
        }
        let reason: String = rejection.reason.chars().take(REASON_CHARS_MAX).collect();
        for (name, value) in [
            ("topic", at.topic.clone()),
            ("partition", at.partition.to_string()),
            ("offset", offset.to_string()),
            ("connector.name", group.to_owned()),
            ("task.id", "0".to_owned()),
            ("stage", "TASK_PUT".to_owned()),
            ("class.name", "es-sink".to_owned()),
            ("exception.class.name", rejection.kind.clone()),
            ("exception.message", reason),
        ] {
            headers.push((format!("__connect.errors.{name}"), Some(value.into_bytes())));
        }
        Self {
            key,
            value,
            headers,
            timestamp_ms,
        }
    }

    /// About how many bytes it holds.
    #[must_use]
    pub fn n_bytes(&self) -> usize {
        let length = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(0, Vec::len);
        let headers = self
            .headers
            .iter()
            .map(|(name, value)| 48 + name.len() + length(value));
        128 + length(&self.key) + length(&self.value) + headers.sum::<usize>()
    }
}
