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
use crate::tenant::{NO_TENANT, Tenant};

/// Stands for the day in an index pattern.
const DATE: &str = "{date}";
/// Stands for the tenant in an index pattern.
pub const TENANT: &str = "{tenant}";
/// With a tenant's name of any length still an index name.
const PATTERN_BYTES_MAX: usize = 200;
const MILLIS_PER_DAY: i64 = 86_400_000;
/// The last day of 9999, counted from 1970-01-01.
const LAST_DAY: i32 = 2_932_896;
const UNIX_EPOCH_JULIAN_DAY: i32 = 2_440_588;
/// A day in a name: `YYYY.MM.DD`.
const DAY_CHARS: usize = 10;
/// What may surround a tenant's name, and is in none.
const BETWEEN: [char; 3] = ['-', '.', '+'];
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
        let days = millis.div_euclid(MILLIS_PER_DAY);
        let days = days.clamp(0, i64::from(LAST_DAY));
        Self {
            days: i32::try_from(days).expect("clamped to the days of 1970 to 9999"),
        }
    }

    /// The day so many days before this one; none lies before 1970.
    #[must_use]
    pub fn before(self, days: u32) -> Self {
        let days = self.days.saturating_sub_unsigned(days).max(0);
        Self { days }
    }

    /// Reads what its [`Display`](fmt::Display) writes, and nothing else.
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.');
        let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
        let month = time::Month::try_from(month.parse::<u8>().ok()?).ok()?;
        let date = time::Date::from_calendar_date(year.parse().ok()?, month, day.parse().ok()?);
        let days = date.ok()?.to_julian_day() - UNIX_EPOCH_JULIAN_DAY;
        let read = (0..=LAST_DAY).contains(&days).then_some(Self { days })?;
        // `+2026.1.1` is a date, but no name of ours.
        (read.to_string() == text).then_some(read)
    }
}

impl UtcDay {
    /// Days since 1970-01-01.
    #[must_use]
    pub fn since_epoch(self) -> i32 {
        self.days
    }
}

impl fmt::Display for UtcDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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

/// How indices are named: `{date}`, possibly `{tenant}`, and what stands around them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexPattern {
    text: String,
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
    /// Else the indices of one tenant could look like those of another.
    #[error(
        "`{0}` must keep `{{tenant}}` apart by `-`, `.` or `+` on both sides, and have it once at most, for example `logflow-{{tenant}}-{{date}}`"
    )]
    TenantNotApart(String),
}

impl IndexPattern {
    /// The name of a day's index, and of a tenant's where each has one.
    #[must_use]
    pub fn index_name(&self, day: UtcDay, tenant: Option<&str>) -> String {
        self.text
            .replace(DATE, &day.to_string())
            .replace(TENANT, tenant.unwrap_or(NO_TENANT))
    }

    /// The day and the tenant whose index has this name: the way back from [`index_name`](Self::index_name).
    /// `None` for every name that it would not give.
    #[must_use]
    pub fn day_and_tenant<'n>(&self, name: &'n str) -> Option<(UtcDay, Option<&'n str>)> {
        let (mut pattern, mut rest) = (self.text.as_str(), name);
        let (mut day, mut tenant) = (None, None);
        while !pattern.is_empty() {
            if let Some(behind) = pattern.strip_prefix(DATE) {
                let (text, behind_text) = rest.split_at_checked(DAY_CHARS)?;
                day = Some(UtcDay::parse(text)?);
                (pattern, rest) = (behind, behind_text);
            } else if let Some(behind) = pattern.strip_prefix(TENANT) {
                let (text, behind_text) = rest.split_at(rest.find(BETWEEN).unwrap_or(rest.len()));
                if text != NO_TENANT {
                    tenant = Some(text.parse::<Tenant>().is_ok().then_some(text)?);
                }
                (pattern, rest) = (behind, behind_text);
            } else {
                let literal = pattern.find('{').unwrap_or(pattern.len());
                rest = rest.strip_prefix(&pattern[..literal])?;
                pattern = &pattern[literal..];
            }
        }
        let day = day.filter(|_| rest.is_empty())?;
        (self.index_name(day, tenant) == name).then_some((day, tenant))
    }

    /// Whether each tenant has an index of its own.
    #[must_use]
    pub fn is_by_tenant(&self) -> bool {
        self.text.contains(TENANT)
    }

    /// The pattern that matches every index of ours, for templates and searches.
    #[must_use]
    pub fn wildcard(&self) -> String {
        self.text.replace(DATE, "*").replace(TENANT, "*")
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// Whether each [`TENANT`] in a name or a pattern of names stands apart from what surrounds it, by a character that
/// is in no tenant's name.
#[must_use]
pub fn keeps_tenants_apart(text: &str) -> bool {
    text.match_indices(TENANT).all(|(at, _)| {
        let (before, after) = (&text[..at], &text[at + TENANT.len()..]);
        before.ends_with(BETWEEN) && (after.is_empty() || after.starts_with(BETWEEN))
    })
}

impl FromStr for IndexPattern {
    type Err = IndexPatternError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.matches(DATE).count() != 1 {
            return Err(IndexPatternError::DateMissing(text.to_owned()));
        }
        let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.+".contains(c);
        let literal = text.replace(DATE, "").replace(TENANT, "");
        let starts_well = text.starts_with(|c: char| c.is_ascii_alphanumeric());
        if !starts_well || !literal.chars().all(legal) || text.len() > PATTERN_BYTES_MAX {
            return Err(IndexPatternError::IllegalName(text.to_owned()));
        }
        if text.matches(TENANT).count() > 1 || !keeps_tenants_apart(text) {
            return Err(IndexPatternError::TenantNotApart(text.to_owned()));
        }
        Ok(Self {
            text: text.to_owned(),
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
            event_time_ms: event,
            ..RecordHeaders::default()
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
            ..RecordHeaders::default()
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
            pattern.index_name(UtcDay::of_millis(NOON), Some("shop")),
            "logflow-2023.09.15"
        );
        assert_eq!(pattern.wildcard(), "logflow-*");
        let pattern: IndexPattern = "team-{date}-v2".parse().unwrap();
        assert_eq!(
            pattern.index_name(UtcDay::of_millis(0), None),
            "team-1970.01.01-v2"
        );
        assert_eq!(pattern.wildcard(), "team-*-v2");
        let pattern: IndexPattern = "logflow-{tenant}-{date}".parse().unwrap();
        let named = |tenant| pattern.index_name(UtcDay::of_millis(NOON), tenant);
        assert_eq!(named(Some("shop")), "logflow-shop-2023.09.15");
        assert_eq!(named(None), "logflow-_-2023.09.15");
        assert_eq!(pattern.wildcard(), "logflow-*-*");
    }

    #[test]
    fn a_name_that_the_pattern_would_not_give_is_nobodys_day() {
        for (pattern, name) in [
            ("logflow-{date}", "logflow-2026.02.30"),
            ("logflow-{date}", "logflow-2026.2.03"),
            ("logflow-{date}", "logflow-2026-02-03"),
            ("logflow-{date}", "logflow-1969.12.31"),
            ("logflow-{date}", "logflow-+026.01.01"),
            ("logflow-{date}", "logflow-2026.01.01-restored"),
            ("logflow-{date}", "logflow-2026.01.011"),
            ("logflow-{date}", "logflow-2026.01.0é"),
            ("logflow-{date}", "logflow-shop-2026.01.01"),
            ("logflow-{date}", "logflow-"),
            ("logflow-{date}", "logflow-*"),
            ("logflow-{date}", "my-logflow-2026.01.01"),
            ("logflow-{date}", ".ds-logflow-2026.01.01"),
            ("logflow-{date}", "Logflow-2026.01.01"),
            ("team-{date}-v2", "team-2026.01.01-v20"),
            ("team-{date}-v2", "team-2026.01.01"),
            ("logflow-{tenant}-{date}", "logflow-2026.01.01"),
            ("logflow-{tenant}-{date}", "logflow--2026.01.01"),
            ("logflow-{tenant}-{date}", "logflow-__-2026.01.01"),
            ("logflow-{tenant}-{date}", "logflow-a-b-2026.01.01"),
        ] {
            let pattern: IndexPattern = pattern.parse().unwrap();
            assert_eq!(pattern.day_and_tenant(name), None, "{name}");
        }
    }

    #[test]
    fn days_before_the_first_are_the_first() {
        let day = |text| UtcDay::parse(text).unwrap();
        assert_eq!(day("2026.03.01").before(1), day("2026.02.28"));
        assert_eq!(day("2026.03.01").before(0), day("2026.03.01"));
        assert_eq!(day("2026.03.01").before(u32::MAX), day("1970.01.01"));
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

    #[test]
    fn a_pattern_that_could_mix_up_two_tenants_is_refused() {
        for text in [
            "logs{tenant}-{date}",
            "logs_{tenant}-{date}",
            "logs-{tenant}{date}",
            "logs-{tenant}_{date}",
            "logs-{date}{tenant}",
            "logs-{tenant}-{tenant}-{date}",
        ] {
            assert_eq!(
                text.parse::<IndexPattern>(),
                Err(IndexPatternError::TenantNotApart(text.to_owned()))
            );
        }
        assert!("logs.{date}.{tenant}".parse::<IndexPattern>().is_ok());
        assert!("{tenant}-{date}".parse::<IndexPattern>().is_err());
    }

    proptest! {
        #[test]
        fn any_timestamps_give_some_day(event: Option<i64>, record: Option<i64>) {
            let headers = RecordHeaders { event_time_ms: event, ..RecordHeaders::default() };
            prop_assert_eq!(index_day(&at(record), &headers).to_string().len(), 10);
        }

        #[test]
        fn a_name_that_the_pattern_gives_leads_back_to_its_day_and_tenant(
            pattern in r"[a-z0-9][a-z0-9_.+-]{0,8}(-\{tenant\}[-.+])?\{date\}[a-z0-9_.+-]{0,8}|[a-z0-9]\{date\}-\{tenant\}",
            millis in 0_i64..253_402_300_800_000,
            tenant in proptest::option::of("[a-z0-9][a-z0-9_]{0,39}"),
        ) {
            let pattern: IndexPattern = pattern.parse().unwrap();
            let day = UtcDay::of_millis(millis);
            let name = pattern.index_name(day, tenant.as_deref());
            let tenant = tenant.as_deref().filter(|_| pattern.is_by_tenant());
            prop_assert_eq!(pattern.day_and_tenant(&name), Some((day, tenant)));
        }

        #[test]
        fn whatever_is_read_as_a_name_is_one(
            pattern in r"logflow-(\{tenant\}[-.+])?\{date\}(-v2)?",
            name in r"logflow-([a-z0-9_-]{0,4}[-.+])?[0-9+]{3,5}[.-][0-9]{1,2}[.-][0-9]{1,3}(-v2)?|\PC*",
        ) {
            let pattern: IndexPattern = pattern.parse().unwrap();
            if let Some((day, tenant)) = pattern.day_and_tenant(&name) {
                prop_assert_eq!(pattern.index_name(day, tenant), name);
            }
        }
    }
}
