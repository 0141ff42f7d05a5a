//! What goes back to the source topic for a dead letter, and the mark that says so.
//!
//! In the flow: `letter` → **`redriven_record`** → `redrive_topic`. Pure. Upholds EO-3 and EO-4: the
//! record gives the same document as the original would have, under the same id in the same index.

use es_sink_core::bulk_request::RecordParts;
use es_sink_core::dead_letter::{OwnedHeaders, keep_identity};
use log_event::dead_letter::{REASON_PREFIX, REDRIVEN};
use log_event::record::EVENT_ID;

use super::letter::Letter;

/// The original again: its key, value, headers and timestamp. Where its id or time followed
/// from where it stood, which is elsewhere now, they stand in its headers.
#[must_use]
pub fn again(letter: &Letter) -> RecordParts {
    let mut headers = letter.record.headers.clone();
    // The reason begins with the last of these: an original may have had headers of the same
    // names, as a dead letter of Kafka Connect in a topic of its own has.
    let begins = |(name, _): &(String, _)| name.strip_prefix(REASON_PREFIX) == Some("topic");
    if let Some(at) = headers.iter().rposition(begins) {
        let reason = headers.split_off(at);
        let others = reason.into_iter();
        headers.extend(others.filter(|(name, _)| !name.starts_with(REASON_PREFIX)));
    }
    keep_identity(&mut headers, &letter.event_id, letter.record.timestamp_ms);
    RecordParts {
        headers,
        ..letter.record.clone()
    }
}

/// The headers of the mark, which has neither key nor value and stands in the letter's partition.
#[must_use]
pub fn mark(letter: &Letter) -> OwnedHeaders {
    let header = |name: &str, value: String| (name.to_owned(), Some(value.into_bytes()));
    vec![
        header(REDRIVEN, letter.place.to_string()),
        header(EVENT_ID, letter.event_id.clone()),
    ]
}

#[cfg(test)]
mod tests {
    use es_sink_core::assignment::TopicPartition;
    use log_event::document::{Coordinates, document_id, index_day};
    use log_event::offset::Offset;
    use log_event::record::{EVENT_TIME, RecordHeaders};

    use super::super::letter::Entry;
    use super::super::letter::tests::{headers, written};
    use super::*;

    fn known(headers: &OwnedHeaders) -> RecordHeaders<'_> {
        let headers = headers.iter();
        RecordHeaders::read(headers.map(|(name, value)| (name.as_str(), value.as_deref())))
    }

    #[test]
    fn an_original_with_id_and_time_goes_back_as_it_was() {
        let own = [(EVENT_ID, "own"), (EVENT_TIME, "7"), ("tenant", "t")];
        let letter = written(headers(&own), "r");
        let record = again(&letter);
        assert_eq!(record.headers, headers(&own));
        assert_eq!(record.key, letter.record.key);
        assert_eq!(record.value, letter.record.value);
        assert_eq!(record.timestamp_ms, letter.record.timestamp_ms);
    }

    #[test]
    fn wherever_it_stands_it_is_the_same_document_in_the_same_index() {
        let all: [&[(&str, &str)]; 5] = [
            &[],
            &[(EVENT_ID, "own")],
            &[(EVENT_TIME, "1694678400000")],
            &[(EVENT_ID, "own"), (EVENT_TIME, "1")],
            &[(EVENT_ID, ""), (EVENT_TIME, "soon")],
        ];
        for own in all {
            let letter = written(headers(own), "r");
            let record = again(&letter);
            let original = Coordinates {
                topic: "logs",
                partition: 3,
                offset: Offset(42),
                timestamp_ms: record.timestamp_ms,
            };
            let elsewhere = Coordinates {
                offset: Offset(4_711),
                ..original
            };
            let own = headers(own);
            let value = record.value.as_deref().unwrap();
            assert_eq!(
                document_id(&elsewhere, &known(&record.headers), value),
                letter.event_id
            );
            let day = index_day(&original, &known(&own));
            assert_eq!(
                index_day(&elsewhere, &known(&record.headers)),
                day,
                "{own:?}"
            );
        }
    }

    #[test]
    fn headers_of_an_original_that_was_a_dead_letter_itself_stay() {
        let own = [
            (EVENT_ID, "own"),
            (EVENT_TIME, "7"),
            ("__connect.errors.topic", "older"),
            ("__connect.errors.exception.stacktrace", "at …"),
        ];
        let letter = written(headers(&own), "r");
        assert_eq!(letter.source.topic, "logs");
        assert_eq!(again(&letter).headers, headers(&own));
    }

    #[test]
    fn redriven_and_rejected_again_it_does_not_grow() {
        let first = written(headers(&[("tenant", "t")]), "r");
        let second = written(again(&first).headers, "r");
        assert_eq!(again(&second), again(&first));
    }

    #[test]
    fn a_mark_is_read_back_as_the_letters() {
        let letter = written(Vec::new(), "r");
        let record = RecordParts {
            key: None,
            value: None,
            headers: mark(&letter),
            timestamp_ms: None,
        };
        let elsewhere = "1:77".parse().unwrap();
        assert_eq!(Entry::read(elsewhere, record), Entry::Mark(letter.place));
        assert_eq!(
            letter.source,
            TopicPartition {
                topic: "logs".to_owned(),
                partition: 3
            }
        );
    }
}
