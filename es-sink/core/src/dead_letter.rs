//! The record that keeps what can never be indexed: the original, and why.
//!
//! In the flow: `bulk_response` → **`dead_letter`** → the dead-letter topic.
//! The header names are Kafka Connect's (`DeadLetterQueueReporter`), so that
//! what reads its dead letters reads ours.

use log_event::dead_letter::REASON_PREFIX;
use log_event::offset::Offset;
use log_event::record::{EVENT_ID, EVENT_TIME, RecordHeaders};

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

/// A record that can never be indexed, kept until a commit passes it.
#[derive(Debug)]
pub struct RejectedRecord {
    /// The original.
    pub parts: RecordParts,
    /// Why.
    pub rejection: Rejection,
}

impl RejectedRecord {
    /// About how many bytes it holds.
    #[must_use]
    pub fn n_bytes(&self) -> usize {
        self.parts.n_bytes() + self.rejection.kind.len() + self.rejection.reason.len()
    }
}

/// Headers of a record, in order; a name may occur more than once.
pub type OwnedHeaders = Vec<(String, Option<Vec<u8>>)>;

/// Adds the id and the time that the record's document would have had from where the record
/// stood, so that it has them wherever it stands (EO-3). What its headers already say stays.
pub fn keep_identity(headers: &mut OwnedHeaders, event_id: &str, timestamp_ms: Option<i64>) {
    let borrowed = headers.iter();
    let known =
        RecordHeaders::read(borrowed.map(|(name, value)| (name.as_str(), value.as_deref())));
    let (has_id, has_time) = (known.event_id.is_some(), known.event_time_ms.is_some());
    if !has_id {
        headers.push((EVENT_ID.to_owned(), Some(event_id.as_bytes().to_vec())));
    }
    if let (false, Some(millis @ 0..)) = (has_time, timestamp_ms) {
        headers.push((EVENT_TIME.to_owned(), Some(millis.to_string().into_bytes())));
    }
}

/// A record for the dead-letter topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// The original's key.
    pub key: Option<Vec<u8>>,
    /// The original's value.
    pub value: Option<Vec<u8>>,
    /// The original's headers, then those that say why.
    pub headers: OwnedHeaders,
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
        keep_identity(&mut headers, event_id, timestamp_ms);
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
            headers.push((format!("{REASON_PREFIX}{name}"), Some(value.into_bytes())));
        }
        Self {
            key,
            value,
            headers,
            timestamp_ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn letter(headers: Vec<(String, Option<Vec<u8>>)>, reason: &str) -> DeadLetter {
        let record = RecordParts {
            key: None,
            value: Some(b"[1]".to_vec()),
            headers,
            timestamp_ms: Some(5),
        };
        let at = TopicPartition {
            topic: "logs".to_owned(),
            partition: 3,
        };
        let rejection = Rejection {
            kind: "not_an_object".to_owned(),
            reason: reason.to_owned(),
        };
        DeadLetter::new(record, &at, Offset(42), "group", "the-id", &rejection)
    }

    #[test]
    fn the_original_comes_first_and_then_the_reason() {
        let letter = letter(vec![("tenant".to_owned(), None)], "no object");
        assert_eq!((letter.key, letter.timestamp_ms), (None, Some(5)));
        assert_eq!(letter.value.as_deref(), Some(&b"[1]"[..]));
        let headers = letter.headers.into_iter().map(|(name, value)| {
            let value = value.map(|value| String::from_utf8(value).unwrap());
            format!("{name}: {}\n", value.unwrap_or_default())
        });
        expect![[r#"
            tenant: 
            event-id: the-id
            event-time: 5
            __connect.errors.topic: logs
            __connect.errors.partition: 3
            __connect.errors.offset: 42
            __connect.errors.connector.name: group
            __connect.errors.task.id: 0
            __connect.errors.stage: TASK_PUT
            __connect.errors.class.name: es-sink
            __connect.errors.exception.class.name: not_an_object
            __connect.errors.exception.message: no object
        "#]]
        .assert_eq(&headers.collect::<String>());
    }

    #[test]
    fn id_and_time_are_added_only_where_the_record_has_none_that_can_be_used() {
        let header = |name: &str, value: &str| (name.to_owned(), Some(value.as_bytes().to_vec()));
        for (own, expected) in [
            (
                vec![header(EVENT_ID, "own"), header(EVENT_TIME, "7")],
                vec![header(EVENT_ID, "own"), header(EVENT_TIME, "7")],
            ),
            // The sink goes by the last of two equal names.
            (
                vec![header(EVENT_ID, ""), header(EVENT_TIME, "soon")],
                vec![
                    header(EVENT_ID, ""),
                    header(EVENT_TIME, "soon"),
                    header(EVENT_ID, "the-id"),
                    header(EVENT_TIME, "5"),
                ],
            ),
        ] {
            let letter = letter(own, "r");
            let before_the_reason = letter.headers.into_iter();
            let before_the_reason =
                before_the_reason.take_while(|(name, _)| !name.starts_with(REASON_PREFIX));
            assert_eq!(before_the_reason.collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn a_long_reason_is_cut() {
        let letter = letter(Vec::new(), &"ä".repeat(1_000_000));
        let (_, reason) = letter.headers.last().unwrap();
        assert_eq!(reason.as_ref().unwrap().len(), 2 * REASON_CHARS_MAX);
    }
}
