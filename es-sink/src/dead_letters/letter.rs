//! What stands in a dead-letter topic: letters, and the marks of those that were redriven.
//!
//! In the flow: `topic_reader` → **`letter`** → `filter`, `redriven_record`, `rendering`. Pure.
//! The formats: docs/formats.md. Letters of Kafka Connect have the same headers and are read, too.

use std::fmt;
use std::str::FromStr;

use es_sink_core::assignment::TopicPartition;
use es_sink_core::bulk_request::RecordParts;
use log_event::dead_letter::{REASON_PREFIX, REDRIVEN};
use log_event::document::{Coordinates, document_id};
use log_event::offset::Offset;
use log_event::record::RecordHeaders;

/// Where a letter stands in the dead-letter topic: `PARTITION:OFFSET`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The partition, 0 or more.
    pub partition: i32,
    /// The offset, 0 or more.
    pub offset: i64,
}

/// Why a text is no [`Place`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a dead letter is named PARTITION:OFFSET, as `list` shows it")]
pub struct NoPlace;

impl FromStr for Place {
    type Err = NoPlace;

    fn from_str(text: &str) -> Result<Self, NoPlace> {
        let (partition, offset) = text.split_once(':').ok_or(NoPlace)?;
        let is_number = |text: &str, digits_max| {
            (1..=digits_max).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
        };
        // So many digits fit, and are more than any topic has.
        if !is_number(partition, 9) || !is_number(offset, 18) {
            return Err(NoPlace);
        }
        Ok(Self {
            partition: partition.parse().map_err(|_| NoPlace)?,
            offset: offset.parse().map_err(|_| NoPlace)?,
        })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.partition, self.offset)
    }
}

/// One record of a dead-letter topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A dead letter.
    Letter(Box<Letter>),
    /// The letter at that place was redriven.
    Mark(Place),
    /// Somebody else's record.
    Foreign,
}

/// A dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// Where it stands.
    pub place: Place,
    /// Where the original stood.
    pub source: TopicPartition,
    /// And its offset there.
    pub source_offset: Offset,
    /// Elasticsearch's error type, or logflow's code; empty where the letter has none.
    pub reason: String,
    /// The reason for people; empty where the letter has none.
    pub message: String,
    /// The id that the original's document would have had.
    pub event_id: String,
    /// Whose event it is.
    pub tenant: Option<String>,
    /// The letter as it stands there. Its timestamp is the original's.
    pub record: RecordParts,
}

impl Entry {
    /// Reads a record.
    #[must_use]
    pub fn read(place: Place, record: RecordParts) -> Self {
        if let Some(letter) = Letter::read(place, &record) {
            return Self::Letter(Box::new(Letter { record, ..letter }));
        }
        // An original may have a header of any name, so only what is no letter can be a mark.
        let mark = header(&record, REDRIVEN).and_then(|place| place.parse().ok());
        mark.map_or(Self::Foreign, Self::Mark)
    }
}

impl Letter {
    fn read(place: Place, record: &RecordParts) -> Option<Self> {
        let reason = |name: &str| header(record, &format!("{REASON_PREFIX}{name}"));
        let source = TopicPartition {
            topic: reason("topic")?.to_owned(),
            partition: reason("partition")?.parse().ok()?,
        };
        let source_offset = Offset(reason("offset")?.parse().ok()?);
        let headers = record.headers.iter();
        let known =
            RecordHeaders::read(headers.map(|(name, value)| (name.as_str(), value.as_deref())));
        let at = Coordinates {
            topic: &source.topic,
            partition: source.partition,
            offset: source_offset,
            timestamp_ms: record.timestamp_ms,
        };
        let value = record.value.as_deref().unwrap_or_default();
        let event_id = document_id(&at, &known, value).into_owned();
        Some(Self {
            place,
            source_offset,
            reason: reason("exception.class.name")
                .unwrap_or_default()
                .to_owned(),
            message: reason("exception.message").unwrap_or_default().to_owned(),
            event_id,
            tenant: known.tenant.map(str::to_owned),
            record: RecordParts {
                key: None,
                value: None,
                headers: Vec::new(),
                timestamp_ms: None,
            },
            source,
        })
    }
}

/// The last header of that name, as text.
fn header<'a>(record: &'a RecordParts, wanted: &str) -> Option<&'a str> {
    let found = record.headers.iter().rev().find(|(name, _)| name == wanted);
    std::str::from_utf8(found?.1.as_deref()?).ok()
}

#[cfg(test)]
pub(super) mod tests {
    use es_sink_core::dead_letter::{DeadLetter, OwnedHeaders, Rejection};
    use log_event::record::EVENT_ID;

    use super::*;

    pub(in crate::dead_letters) fn headers(pairs: &[(&str, &str)]) -> OwnedHeaders {
        let pairs = pairs.iter();
        pairs
            .map(|(name, value)| ((*name).to_owned(), Some(value.as_bytes().to_vec())))
            .collect()
    }

    /// A letter at 1:9 as the sink writes it, of the record at logs[3]@42.
    pub(in crate::dead_letters) fn written(own: OwnedHeaders, reason: &str) -> Letter {
        let original = RecordParts {
            key: Some(b"k".to_vec()),
            value: Some(b"{\"level\":[1,{}]}".to_vec()),
            headers: own,
            timestamp_ms: Some(1_694_764_800_000),
        };
        let rejection = Rejection {
            kind: reason.to_owned(),
            reason: "failed to parse".to_owned(),
        };
        let at = TopicPartition {
            topic: "logs".to_owned(),
            partition: 3,
        };
        let letter = DeadLetter::new(original, &at, Offset(42), "group", "the-id", &rejection);
        let record = RecordParts {
            key: letter.key,
            value: letter.value,
            headers: letter.headers,
            timestamp_ms: letter.timestamp_ms,
        };
        match Entry::read("1:9".parse().unwrap(), record) {
            Entry::Letter(letter) => *letter,
            other => panic!("no letter: {other:?}"),
        }
    }

    fn bare(headers: OwnedHeaders) -> RecordParts {
        RecordParts {
            key: None,
            value: None,
            headers,
            timestamp_ms: Some(5),
        }
    }

    #[test]
    fn a_place_is_a_partition_and_an_offset() {
        let place: Place = "3:17".parse().unwrap();
        assert_eq!((place.partition, place.offset), (3, 17));
        assert_eq!(place.to_string(), "3:17");
        for text in ["", "3", "3:", ":1", "-1:2", "1:-2", "1:2:3", "a:b"] {
            assert_eq!(text.parse::<Place>(), Err(NoPlace), "{text}");
        }
    }

    #[test]
    fn what_the_sink_writes_is_read_back() {
        let letter = written(headers(&[(EVENT_ID, "own")]), "document_parsing_exception");
        assert_eq!(letter.source.to_string(), "logs[3]");
        assert_eq!(letter.source_offset, Offset(42));
        assert_eq!(letter.reason, "document_parsing_exception");
        assert_eq!(letter.message, "failed to parse");
        assert_eq!(letter.event_id, "own");
        assert_eq!(written(Vec::new(), "r").event_id, "the-id");
    }

    #[test]
    fn a_letter_without_an_id_has_the_one_of_where_its_original_stood() {
        let connect = headers(&[
            ("__connect.errors.topic", "logs"),
            ("__connect.errors.partition", "3"),
            ("__connect.errors.offset", "42"),
        ]);
        let Entry::Letter(letter) = Entry::read("0:0".parse().unwrap(), bare(connect)) else {
            panic!("no letter");
        };
        let at = Coordinates {
            topic: "logs",
            partition: 3,
            offset: Offset(42),
            timestamp_ms: Some(5),
        };
        assert_eq!(
            letter.event_id,
            document_id(&at, &RecordHeaders::default(), b"")
        );
    }

    #[test]
    fn a_mark_is_what_is_no_letter_and_names_one() {
        let place: Place = "0:0".parse().unwrap();
        let mark = Entry::read(place, bare(headers(&[(REDRIVEN, "1:9")])));
        assert_eq!(mark, Entry::Mark("1:9".parse().unwrap()));
        // An original that had a header of this name is not taken for a mark.
        written(headers(&[(REDRIVEN, "1:8")]), "r");
        for foreign in [
            &[][..],
            &[(REDRIVEN, "soon")],
            &[("__connect.errors.topic", "logs")],
        ] {
            assert_eq!(Entry::read(place, bare(headers(foreign))), Entry::Foreign);
        }
    }
}
