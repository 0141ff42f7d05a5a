//! Dates as people write them into a search: a moment, or a whole day.
//!
//! In the flow: `search_request` → **`query_date`** → `search_request`.
//! Not here: how a moment alone is spelled (`log_event::timestamp`).

use log_event::timestamp::{Timestamp, TimestampError};
use time::Date;
use time::macros::format_description;

const NANOS_PER_DAY: i64 = 86_400_000_000_000;

/// The moment that a text names, or the first one of the day that it names.
pub(crate) fn first_moment(text: &str) -> Result<Timestamp, DateError> {
    match day_start(text)? {
        Some(start) => Ok(start),
        None => exact_moment(text),
    }
}

/// The moment that a text names, or the last one of the day that it names.
pub(crate) fn last_moment(text: &str) -> Result<Timestamp, DateError> {
    match day_start(text)? {
        Some(start) => Ok(start.plus_nanos(NANOS_PER_DAY - 1)),
        None => exact_moment(text),
    }
}

/// Why a date cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DateError {
    #[error(
        "`{0}` is no date; send a day (`2023-09-15`), RFC 3339 with an offset (`2023-09-15T08:00:00Z`) or epoch seconds, milliseconds or nanoseconds"
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

fn exact_moment(text: &str) -> Result<Timestamp, DateError> {
    Ok(Timestamp::parse(&restore_plus(text))?)
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

    #[track_caller]
    fn check(text: &str, first: &str, last: &str) {
        assert_eq!(first_moment(text).unwrap().to_rfc3339(), first, "{text}");
        assert_eq!(last_moment(text).unwrap().to_rfc3339(), last, "{text}");
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
    fn what_is_no_date_is_named() {
        for text in [
            "yesterday",
            "2023-13-01",
            "2023-09-15T08:00",
            "15.09.2023",
            "ä 02:00",
        ] {
            let error = first_moment(text).unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("`{text}` is no date;")),
                "{error}"
            );
        }
        for text in ["1969-12-31", "2300-01-01", "-1"] {
            let error = last_moment(text).unwrap_err().to_string();
            assert!(
                error.contains("outside 1970-01-01 to 2262-04-11"),
                "{error}"
            );
        }
    }
}
