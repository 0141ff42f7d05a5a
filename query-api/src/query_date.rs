//! Dates as people write them into a search: a moment, or a whole day.
//!
//! In the flow: `search_request` → **`query_date`** → `search_request`.
//! Not here: how a moment alone is spelled (`log_event::timestamp`).

use log_event::timestamp::{Timestamp, TimestampError};
use time::Date;
use time::macros::format_description;

use crate::parameters::shorten;

const NANOS_PER_DAY: i64 = 86_400_000_000_000;

/// Reads a date as its first or its last moment; `now` is what relative dates are relative to.
pub(crate) type ReadDate = fn(text: &str, now: Timestamp) -> Result<Timestamp, DateError>;

/// The moment that a text names, or the first one of the day that it names.
pub(crate) fn first_moment(text: &str, now: Timestamp) -> Result<Timestamp, DateError> {
    match day_start(text)? {
        Some(start) => Ok(start),
        None => exact_moment(text, now),
    }
}

/// The moment that a text names, or the last one of the day that it names.
pub(crate) fn last_moment(text: &str, now: Timestamp) -> Result<Timestamp, DateError> {
    match day_start(text)? {
        Some(start) => Ok(start.plus_nanos(NANOS_PER_DAY - 1)),
        None => exact_moment(text, now),
    }
}

/// Why a date cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DateError {
    #[error(
        "`{0}` is no date; send a day (`2023-09-15`), RFC 3339 with an offset (`2023-09-15T08:00:00Z`) or epoch seconds, milliseconds or nanoseconds, or a time before now (`now-15m`, with s, m, h, d or w)"
    )]
    Unreadable(String),
    #[error("`{0}` lies outside 1970-01-01 to 2262-04-11")]
    OutOfRange(String),
}

impl From<TimestampError> for DateError {
    fn from(error: TimestampError) -> Self {
        match error {
            TimestampError::Unreadable(text) => Self::Unreadable(text),
            TimestampError::OutOfRange(text) => Self::OutOfRange(text),
        }
    }
}

/// `2023-09-15`: the start of that day in UTC.
fn day_start(text: &str) -> Result<Option<Timestamp>, DateError> {
    let day = Date::parse(text.trim(), format_description!("[year]-[month]-[day]"));
    let Ok(day) = day else {
        return Ok(None);
    };
    let seconds = day.midnight().assume_utc().unix_timestamp();
    let start = seconds.checked_mul(1_000).and_then(Timestamp::from_millis);
    start
        .map(Some)
        .ok_or_else(|| DateError::OutOfRange(text.to_owned()))
}

fn exact_moment(text: &str, now: Timestamp) -> Result<Timestamp, DateError> {
    match text.trim().strip_prefix("now") {
        Some(offset) => relative(offset, now).ok_or_else(|| DateError::Unreadable(shorten(text))),
        None => Ok(Timestamp::parse(&restore_plus(text))?),
    }
}

/// ``, `-15m`, `+1d`: the moment so far from `now`, or the first or last one there is.
fn relative(offset: &str, now: Timestamp) -> Option<Timestamp> {
    let Some(unit) = offset.chars().last() else {
        return Some(now);
    };
    let seconds: i64 = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        'w' => 604_800,
        _ => return None,
    };
    let count = offset.strip_suffix(unit)?;
    // In a query string `+` means a space.
    let (sign, digits) = count.split_at_checked(1)?;
    let sign = match sign {
        "-" => -1,
        "+" | " " => 1,
        _ => return None,
    };
    let is_count = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
    let count: i64 = digits.parse().ok().filter(|_| is_count)?;
    let nanos = count.saturating_mul(seconds).saturating_mul(1_000_000_000);
    let moment = now.nanos().saturating_add(nanos.saturating_mul(sign));
    Timestamp::from_nanos(moment.max(0))
}

/// In a query string `+` means a space, and nobody remembers it: the offset
/// of `2023-09-15T08:00:00+02:00` then arrives as ` 02:00`.
fn restore_plus(text: &str) -> String {
    const SHORTEST: usize = "2023-09-15T08:00:00 02:00".len();
    let sign = text.len().wrapping_sub(" 02:00".len());
    if text.len() >= SHORTEST && text.as_bytes().get(sign) == Some(&b' ') {
        format!("{}+{}", &text[..sign], &text[sign + 1..])
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        Timestamp::parse("2023-09-16T12:00:00Z").unwrap()
    }

    #[track_caller]
    fn check(text: &str, first: &str, last: &str) {
        assert_eq!(
            first_moment(text, now()).unwrap().to_rfc3339(),
            first,
            "{text}"
        );
        assert_eq!(
            last_moment(text, now()).unwrap().to_rfc3339(),
            last,
            "{text}"
        );
    }

    #[test]
    fn a_day_is_all_of_it_and_a_moment_only_itself() {
        check(
            "2023-09-15",
            "2023-09-15T00:00:00Z",
            "2023-09-15T23:59:59.999999999Z",
        );
        for moment in [
            "2023-09-15T08:00:00Z",
            "2023-09-15T10:00:00+02:00",
            "2023-09-15T10:00:00 02:00",
            "2023-09-15 10:00:00.000 02:00",
            "1694764800",
            "1694764800000",
        ] {
            check(moment, "2023-09-15T08:00:00Z", "2023-09-15T08:00:00Z");
        }
    }

    #[test]
    fn a_relative_date_is_so_far_from_now() {
        for (text, moment) in [
            ("now", "2023-09-16T12:00:00Z"),
            ("now-90s", "2023-09-16T11:58:30Z"),
            ("now-15m", "2023-09-16T11:45:00Z"),
            ("now-36h", "2023-09-15T00:00:00Z"),
            ("now-1w", "2023-09-09T12:00:00Z"),
            ("now+1d", "2023-09-17T12:00:00Z"),
            ("now 1d", "2023-09-17T12:00:00Z"),
            ("now-99999999999999w", "1970-01-01T00:00:00Z"),
        ] {
            check(text, moment, moment);
        }
    }

    #[test]
    fn what_is_no_date_is_named() {
        for text in [
            "yesterday",
            "2023-13-01",
            "2023-09-15T08:00",
            "15.09.2023",
            "ä 02:00",
            "now-",
            "now-m",
            "now-15",
            "now15m",
            "now-1y",
            "now--1d",
            "nowä",
        ] {
            let error = first_moment(text, now()).unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("`{text}` is no date;")),
                "{error}"
            );
        }
        for text in ["1969-12-31", "2300-01-01", "-1"] {
            let error = last_moment(text, now()).unwrap_err().to_string();
            assert!(
                error.contains("outside 1970-01-01 to 2262-04-11"),
                "{error}"
            );
        }
    }
}
