//! The id and the index under which Elasticsearch keeps a record.
//!
//! In the flow: `offset` → **`document`**. Upholds EO-3: both are functions of
//! the record alone, never of a clock, so that a record read twice is written
//! to the same place.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use crate::event_id::of_foreign_record;
use crate::offset::Offset;
use crate::record::RecordHeaders;

const MILLIS_PER_DAY: i64 = 86_400_000;
/// How far before the record's Kafka timestamp an event may lie and still go to its own day.
pub const EVENT_AGE_DAYS_MAX: i64 = 30;
/// How far after it.
pub const EVENT_LEAD_DAYS_MAX: i64 = 1;

/// Where a record stands in Kafka.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Coordinates<'a> {
    /// Its topic.
    pub topic: &'a str,
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: Offset,
    /// Its Kafka timestamp in milliseconds since the epoch; brokers before 0.10 wrote none.
    pub timestamp_ms: Option<i64>,
}

/// The `_id` of a record's document.
#[must_use]
pub fn document_id<'a>(
    at: &Coordinates<'_>,
    headers: &RecordHeaders<'a>,
    value: &[u8],
) -> Cow<'a, str> {
    match headers.event_id {
        Some(id) => Cow::Borrowed(id),
        None => {
            let made =
                of_foreign_record(at.topic, at.partition, at.offset.0, at.timestamp_ms, value);
            Cow::Owned(String::from_utf8_lossy(&made).into_owned())
        }
    }
}

/// The day whose index a record goes to: the day of the event, unless that lies
/// further than [`EVENT_AGE_DAYS_MAX`] before or [`EVENT_LEAD_DAYS_MAX`] after
/// the record's Kafka timestamp, then the day of the latter. So a client with a
/// wild clock cannot create an index for each day of a century.
#[must_use]
pub fn index_day(at: &Coordinates<'_>, headers: &RecordHeaders<'_>) -> UtcDay {
    let chosen_ms = match (headers.event_time_ms, at.timestamp_ms) {
        (Some(event), Some(record)) => {
            let earliest = record.saturating_sub(EVENT_AGE_DAYS_MAX * MILLIS_PER_DAY);
            let latest = record.saturating_add(EVENT_LEAD_DAYS_MAX * MILLIS_PER_DAY);
            if (earliest..=latest).contains(&event) {
                event
            } else {
                record
            }
        }
        (None, Some(record)) => record,
        (Some(event), None) => event,
        (None, None) => 0,
    };
    UtcDay::of_millis(chosen_ms)
}

/// A day in UTC, as `YYYY.MM.DD` in an index name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UtcDay {
    days: i32,
}

impl UtcDay {
    /// The day of a moment in milliseconds since the epoch, held within the
    /// years 1970 to 9999.
    #[must_use]
    pub fn of_millis(millis: i64) -> Self {
        const LAST_DAY: i64 = 2_932_896;
        let days = millis.div_euclid(MILLIS_PER_DAY).clamp(0, LAST_DAY);
        Self {
            days: i32::try_from(days).expect("clamped to the days of 1970 to 9999"),
        }
    }
}

impl fmt::Display for UtcDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNIX_EPOCH_JULIAN_DAY: i32 = 2_440_588;
        let date = time::Date::from_julian_day(UNIX_EPOCH_JULIAN_DAY + self.days)
            .expect("every day of 1970 to 9999 is a date");
        write!(
            f,
            "{:04}.{:02}.{:02}",
            date.year(),
            u8::from(date.month()),
            date.day()
        )
    }
}

/// How indices are named: a prefix, `{date}`, a suffix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexPattern {
    prefix: String,
    suffix: String,
}

/// Why an index pattern cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IndexPatternError {
    /// Without the day there would be one index for ever.
    #[error("`{0}` must contain `{{date}}` once, for example `logflow-{{date}}`")]
    DateMissing(String),
    /// Elasticsearch would refuse the name (create index API documentation).
    #[error(
        "`{0}` is no index name: a prefix of lower-case letters, digits, `-`, `_`, `.` or `+` is needed, and it starts with a letter or a digit"
    )]
    IllegalName(String),
}

impl IndexPattern {
    /// The name of a day's index.
    #[must_use]
    pub fn index_name(&self, day: UtcDay) -> String {
        format!("{}{day}{}", self.prefix, self.suffix)
    }

    /// The pattern that matches every index of ours, for templates and searches.
    #[must_use]
    pub fn wildcard(&self) -> String {
        format!("{}*{}", self.prefix, self.suffix)
    }
}

impl FromStr for IndexPattern {
    type Err = IndexPatternError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let date_missing = || IndexPatternError::DateMissing(text.to_owned());
        let (prefix, suffix) = text.split_once("{date}").ok_or_else(date_missing)?;
        if suffix.contains("{date}") {
            return Err(date_missing());
        }
        let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.+".contains(c);
        let starts_well = prefix.starts_with(|c: char| c.is_ascii_alphanumeric());
        if !starts_well || !text.replace("{date}", "").chars().all(legal) || text.len() > 200 {
            return Err(IndexPatternError::IllegalName(text.to_owned()));
        }
        Ok(Self {
            prefix: prefix.to_owned(),
            suffix: suffix.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DAY: i64 = MILLIS_PER_DAY;
    const NOON: i64 = 1_694_779_200_000; // 2023-09-15T12:00:00Z

    fn at(timestamp_ms: Option<i64>) -> Coordinates<'static> {
        Coordinates {
            topic: "logs",
            partition: 0,
            offset: Offset(1),
            timestamp_ms,
        }
    }

    #[track_caller]
    fn check_day(event: Option<i64>, record: Option<i64>, expected: &str) {
        let headers = RecordHeaders {
            event_id: None,
            event_time_ms: event,
        };
        assert_eq!(index_day(&at(record), &headers).to_string(), expected);
    }

    #[test]
    fn the_day_is_the_events_unless_it_lies_too_far_from_the_records() {
        check_day(Some(NOON), Some(NOON), "2023.09.15");
        check_day(Some(NOON - 30 * DAY), Some(NOON), "2023.08.16");
        check_day(Some(NOON - 30 * DAY - 1), Some(NOON), "2023.09.15");
        check_day(Some(NOON + DAY), Some(NOON), "2023.09.16");
        check_day(Some(NOON + DAY + 1), Some(NOON), "2023.09.15");
        check_day(None, Some(NOON), "2023.09.15");
        check_day(Some(NOON), None, "2023.09.15");
        check_day(None, None, "1970.01.01");
        check_day(Some(i64::MAX), None, "9999.12.31");
        check_day(None, Some(-5), "1970.01.01");
    }

    #[test]
    fn a_records_id_is_its_header_or_is_made_from_its_coordinates() {
        let with = RecordHeaders {
            event_id: Some("order-17"),
            event_time_ms: None,
        };
        assert_eq!(document_id(&at(Some(NOON)), &with, b"{}"), "order-17");
        let without = RecordHeaders::default();
        let made = document_id(&at(Some(NOON)), &without, b"{}");
        assert_eq!(made.len(), 24);
        assert_eq!(made, document_id(&at(Some(NOON)), &without, b"{}"));
        assert_ne!(made, document_id(&at(Some(NOON)), &without, b"[]"));
    }

    #[test]
    fn a_pattern_names_indices_and_matches_them() {
        let pattern: IndexPattern = "logflow-{date}".parse().unwrap();
        assert_eq!(
            pattern.index_name(UtcDay::of_millis(NOON)),
            "logflow-2023.09.15"
        );
        assert_eq!(pattern.wildcard(), "logflow-*");
        let pattern: IndexPattern = "team-{date}-v2".parse().unwrap();
        assert_eq!(
            pattern.index_name(UtcDay::of_millis(0)),
            "team-1970.01.01-v2"
        );
        assert_eq!(pattern.wildcard(), "team-*-v2");
    }

    #[test]
    fn a_pattern_that_elasticsearch_would_refuse_is_refused_at_once() {
        for (text, missing) in [
            ("logflow", true),
            ("a-{date}-{date}", true),
            ("{date}", false),
            ("Logflow-{date}", false),
            ("-logflow-{date}", false),
            ("log*flow-{date}", false),
            (".hidden-{date}", false),
        ] {
            let error = text.parse::<IndexPattern>().unwrap_err();
            assert_eq!(
                matches!(error, IndexPatternError::DateMissing(_)),
                missing,
                "{text}: {error}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_timestamps_give_some_day(event: Option<i64>, record: Option<i64>) {
            let headers = RecordHeaders { event_id: None, event_time_ms: event };
            prop_assert_eq!(index_day(&at(record), &headers).to_string().len(), 10);
        }
    }
}
