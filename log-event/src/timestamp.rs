//! When an event happened: reads the forms that clients send, writes one form.
//!
//! In the flow: **`timestamp`** → `event` → `event_id`.
//! Not here: which clock fills a missing timestamp (the gateway's).

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

const NANOS_PER_SECOND: i64 = 1_000_000_000;

/// Below this magnitude a number counts seconds (until the year 5138).
const SECONDS_BOUND: i128 = 100_000_000_000;
/// Below this one it counts milliseconds, below the next microseconds, from there nanoseconds.
const MILLIS_BOUND: i128 = SECONDS_BOUND * 1_000;
const MICROS_BOUND: i128 = MILLIS_BOUND * 1_000;

/// A moment between 1970-01-01 and 2262-04-11 (UTC), to the nanosecond: the
/// range of Elasticsearch's `date_nanos`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    nanos: i64,
}

/// Why a client's timestamp cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TimestampError {
    /// Neither RFC 3339 nor a number.
    #[error(
        "`{0}` is no timestamp; send RFC 3339 with an offset (`2023-09-15T08:00:00Z`) or epoch seconds, milliseconds or nanoseconds"
    )]
    Unreadable(String),
    /// Readable, but outside what Elasticsearch's `date_nanos` holds.
    #[error("`{0}` lies outside 1970-01-01 to 2262-04-11")]
    OutOfRange(String),
}

impl Timestamp {
    /// From nanoseconds since the epoch; `None` before 1970.
    #[must_use]
    pub fn from_nanos(nanos: i64) -> Option<Self> {
        (nanos >= 0).then_some(Self { nanos })
    }

    /// From milliseconds since the epoch; `None` outside the range.
    #[must_use]
    pub fn from_millis(millis: i64) -> Option<Self> {
        millis.checked_mul(1_000_000).and_then(Self::from_nanos)
    }

    /// Nanoseconds since the epoch.
    #[must_use]
    pub fn nanos(self) -> i64 {
        self.nanos
    }

    /// Whole milliseconds since the epoch, rounded down.
    #[must_use]
    pub fn millis(self) -> i64 {
        self.nanos / 1_000_000
    }

    /// The moment `nanos` later, or the last one there is.
    #[must_use]
    pub fn plus_nanos(self, nanos: i64) -> Self {
        Self {
            nanos: self.nanos.saturating_add(nanos.max(0)),
        }
    }

    /// Reads a string as clients send it: RFC 3339 (a space may stand for the
    /// `T`, lower case is accepted, digits beyond nanoseconds are cut), or a number.
    ///
    /// # Errors
    /// [`TimestampError`] names the text.
    pub fn parse(text: &str) -> Result<Self, TimestampError> {
        let trimmed = text.trim();
        if trimmed.starts_with(|first: char| first.is_ascii_digit() || first == '-')
            && !trimmed.contains(':')
        {
            return Self::parse_number(trimmed);
        }
        let unreadable = || TimestampError::Unreadable(shorten(text));
        let mut spelled = trimmed.to_ascii_uppercase();
        if spelled.as_bytes().get(10) == Some(&b' ') {
            spelled.replace_range(10..11, "T");
        }
        let moment = OffsetDateTime::parse(&spelled, &Rfc3339).map_err(|_| unreadable())?;
        Self::from_wide_nanos(moment.unix_timestamp_nanos(), text)
    }

    /// Reads a JSON number: its magnitude tells seconds, milliseconds,
    /// microseconds and nanoseconds apart. A fraction is kept to the nanosecond.
    ///
    /// # Errors
    /// [`TimestampError`] names the text.
    pub fn parse_number(text: &str) -> Result<Self, TimestampError> {
        let unreadable = || TimestampError::Unreadable(shorten(text));
        if text.contains(['e', 'E']) {
            let value: f64 = text.parse().map_err(|_| unreadable())?;
            if !value.is_finite() || value.abs() >= 1e19 {
                return Err(TimestampError::OutOfRange(shorten(text)));
            }
            return Self::parse_number(&format!("{value:.9}"));
        }
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let digits = whole.strip_prefix('-').unwrap_or(whole);
        let all_digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if !all_digits(digits) || !all_digits(fraction) {
            return Err(unreadable());
        }
        if digits.len() > 20 {
            return Err(TimestampError::OutOfRange(shorten(text)));
        }
        let value: i128 = whole.parse().map_err(|_| unreadable())?;
        let nanos_per_unit: i128 = match value.abs() {
            v if v < SECONDS_BOUND => i128::from(NANOS_PER_SECOND),
            v if v < MILLIS_BOUND => 1_000_000,
            v if v < MICROS_BOUND => 1_000,
            _ => 1,
        };
        let fraction_nanos: i128 = format!("{:0<9.9}", fraction)
            .parse()
            .map_err(|_| unreadable())?;
        let nanos =
            value * nanos_per_unit + fraction_nanos * nanos_per_unit / i128::from(NANOS_PER_SECOND);
        Self::from_wide_nanos(nanos, text)
    }

    /// RFC 3339 in UTC with none, three, six or nine digits of fraction,
    /// whatever the moment needs.
    #[must_use]
    pub fn to_rfc3339(self) -> String {
        let seconds = self.nanos / NANOS_PER_SECOND;
        let fraction = self.nanos % NANOS_PER_SECOND;
        let moment = OffsetDateTime::from_unix_timestamp(seconds)
            .expect("every second of 1970 to 2262 is a date");
        let (date, time) = (moment.date(), moment.time());
        let mut text = format!(
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}",
            date.year(),
            u8::from(date.month()),
            date.day(),
            time.hour(),
            time.minute(),
            time.second()
        );
        if fraction == 0 {
        } else if fraction % 1_000_000 == 0 {
            text.push_str(&format!(".{:03}", fraction / 1_000_000));
        } else if fraction % 1_000 == 0 {
            text.push_str(&format!(".{:06}", fraction / 1_000));
        } else {
            text.push_str(&format!(".{fraction:09}"));
        }
        text.push('Z');
        text
    }

    fn from_wide_nanos(nanos: i128, text: &str) -> Result<Self, TimestampError> {
        i64::try_from(nanos)
            .ok()
            .and_then(Self::from_nanos)
            .ok_or_else(|| TimestampError::OutOfRange(shorten(text)))
    }
}

/// At most 64 characters of a client's text, so that an error stays readable.
fn shorten(text: &str) -> String {
    match text.char_indices().nth(64) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(input: &str, expected: &str) {
        let read = Timestamp::parse(input).map(Timestamp::to_rfc3339);
        assert_eq!(read.as_deref(), Ok(expected), "input `{input}`");
    }

    #[test]
    fn reads_every_form_that_clients_send() {
        check("2023-09-15T08:00:00Z", "2023-09-15T08:00:00Z");
        check("2023-09-15t08:00:00z", "2023-09-15T08:00:00Z");
        check("2023-09-15 08:00:00Z", "2023-09-15T08:00:00Z");
        check("2023-09-15T10:00:00.5+02:00", "2023-09-15T08:00:00.500Z");
        check(
            "2023-09-15T08:00:00.123456789Z",
            "2023-09-15T08:00:00.123456789Z",
        );
        check("1694764800", "2023-09-15T08:00:00Z");
        check("1694764800.25", "2023-09-15T08:00:00.250Z");
        check("1694764800123", "2023-09-15T08:00:00.123Z");
        check("1694764800123456", "2023-09-15T08:00:00.123456Z");
        check("1694764800123456789", "2023-09-15T08:00:00.123456789Z");
        check("1.6947648e9", "2023-09-15T08:00:00Z");
        check("0", "1970-01-01T00:00:00Z");
    }

    #[test]
    fn refuses_what_it_cannot_read_and_names_it() {
        for text in [
            "",
            "yesterday",
            "2023-09-15",
            "2023-09-15T08:00:00",
            "12:00:00",
            "1.",
            ".5",
            "--1",
        ] {
            assert_eq!(
                Timestamp::parse(text),
                Err(TimestampError::Unreadable(text.to_owned())),
                "input `{text}`"
            );
        }
        for text in [
            "-1",
            "1969-12-31T23:59:59Z",
            "2300-01-01T00:00:00Z",
            "1e30",
            "99999999999999999999999",
        ] {
            assert_eq!(
                Timestamp::parse(text),
                Err(TimestampError::OutOfRange(text.to_owned())),
                "input `{text}`"
            );
        }
    }

    proptest! {
        #[test]
        fn what_it_writes_it_reads_back(nanos in 0..i64::MAX) {
            let moment = Timestamp::from_nanos(nanos).unwrap();
            prop_assert_eq!(Timestamp::parse(&moment.to_rfc3339()), Ok(moment));
        }

        #[test]
        fn never_panics(text in "\\PC{0,40}") {
            drop(Timestamp::parse(&text));
        }
    }
}
