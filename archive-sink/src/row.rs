//! A record as the row that it becomes: a function of the record alone.
//!
//! In the flow: `engine` → **`row`** → `batch`. Upholds AR-3: the id and the day are those of the record's document in
//! Elasticsearch, and nothing of a record is refused. What is text in PostgreSQL is ASCII by its nature (the names of
//! topics and tenants); the rest is bytes, numbers, and times that are held within what PostgreSQL knows.

use log_event::document::{Coordinates, UtcDay, document_id, index_day};
use log_event::record::RecordHeaders;

/// What a row takes beside its value, in memory and on its way, about.
const OVERHEAD_BYTES: usize = 256;

/// One row of `logflow.events`, but for its topic and partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The day whose table it is in.
    pub day: UtcDay,
    /// The id of the event.
    pub event_id: Vec<u8>,
    /// When the event happened, milliseconds since the epoch.
    pub event_time_ms: Option<i64>,
    /// The record's Kafka timestamp.
    pub received_ms: Option<i64>,
    /// Whose it is.
    pub tenant: Option<String>,
    /// Where it stands in its partition.
    pub offset: i64,
    /// As sent; none of a record without a value.
    pub value: Option<Vec<u8>>,
}

impl Row {
    /// Copies what is kept of a record.
    #[must_use]
    pub fn of(at: &Coordinates<'_>, headers: &RecordHeaders<'_>, value: Option<&[u8]>) -> Self {
        let event_id = document_id(at, headers, value.unwrap_or_default());
        Self {
            day: index_day(at, headers),
            event_id: event_id.as_bytes().to_vec(),
            event_time_ms: headers.event_time_ms,
            received_ms: at.timestamp_ms,
            tenant: headers.tenant.map(str::to_owned),
            offset: at.offset.0,
            value: value.map(<[u8]>::to_vec),
        }
    }

    /// About how many bytes it holds.
    #[must_use]
    pub fn n_bytes(&self) -> usize {
        OVERHEAD_BYTES + self.event_id.len() + self.value.as_ref().map_or(0, Vec::len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use log_event::offset::Offset;
    use proptest::prelude::*;

    const NOON: i64 = 1_694_779_200_000; // 2023-09-15T12:00:00Z

    fn at(timestamp_ms: Option<i64>) -> Coordinates<'static> {
        Coordinates {
            topic: "logs",
            partition: 3,
            offset: Offset(7),
            timestamp_ms,
        }
    }

    /// AR-3.
    #[test]
    fn a_row_has_the_identity_of_the_document_and_the_bytes_as_sent() {
        let headers = RecordHeaders {
            event_id: Some("order\u{0}17"),
            event_time_ms: Some(NOON),
            tenant: Some("shop"),
        };
        let value = b"{\"a\":\"\0\xff";
        let row = Row::of(&at(Some(NOON + 1)), &headers, Some(value));
        assert_eq!(row.event_id, b"order\x0017");
        assert_eq!(row.day.to_string(), "2023.09.15");
        assert_eq!(row.value.as_deref(), Some(&value[..]));
        assert_eq!(
            (row.event_time_ms, row.received_ms, row.offset),
            (Some(NOON), Some(NOON + 1), 7)
        );
        assert_eq!(row.tenant.as_deref(), Some("shop"));
    }

    #[test]
    fn a_record_of_another_producer_without_a_value_is_a_row_too() {
        let row = Row::of(&at(Some(NOON)), &RecordHeaders::default(), None);
        assert_eq!((row.event_id.len(), row.value), (24, None));
    }

    proptest! {
        /// AR-3: nothing of a record is refused.
        #[test]
        fn any_record_is_a_row(
            timestamp: Option<i64>,
            event_time_ms: Option<i64>,
            value: Option<Vec<u8>>,
        ) {
            let headers = RecordHeaders { event_time_ms, ..RecordHeaders::default() };
            let row = Row::of(&at(timestamp), &headers, value.as_deref());
            prop_assert!(row.n_bytes() >= value.as_ref().map_or(0, Vec::len));
            prop_assert_eq!(row.value, value);
        }
    }
}
