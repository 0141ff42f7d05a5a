//! Which dead letters are meant.
//!
//! In the flow: `letter` → **`filter`** → `listing`, `redrive`. Pure.

use std::str::FromStr;
use std::time::Duration;

use log_event::timestamp::Timestamp;
use service::units::Span;

use super::letter::{Letter, Place};

/// A moment as an operator writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// A point in time.
    At(Timestamp),
    /// So long before now.
    Ago(Duration),
}

/// Why a text is no [`Moment`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a moment is written `2026-01-31T08:00:00Z`, or `2h` for two hours ago (`ms`, `s`, `m`, `h`)"
)]
pub struct NoMoment;

impl FromStr for Moment {
    type Err = NoMoment;

    fn from_str(text: &str) -> Result<Self, NoMoment> {
        if let Ok(Span(ago)) = text.parse() {
            return Ok(Self::Ago(ago));
        }
        Timestamp::parse(text).map(Self::At).map_err(|_| NoMoment)
    }
}

impl Moment {
    /// In milliseconds since the epoch.
    #[must_use]
    pub fn millis(self, now_ms: i64) -> i64 {
        match self {
            Self::At(at) => at.millis(),
            Self::Ago(ago) => {
                now_ms.saturating_sub(i64::try_from(ago.as_millis()).unwrap_or(i64::MAX))
            }
        }
    }
}

/// What a letter must be like; whatever is empty or absent asks for nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// One of these reasons.
    pub reasons: Vec<String>,
    /// From one of these topics.
    pub source_topics: Vec<String>,
    /// Written to Kafka at this moment or later, in milliseconds since the epoch.
    pub since_ms: Option<i64>,
    /// Written to Kafka before this moment.
    pub until_ms: Option<i64>,
    /// At one of these places.
    pub places: Vec<Place>,
    /// Of this tenant.
    pub tenant: Option<String>,
}

impl Filter {
    /// Whether it takes every letter.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether it takes this one.
    #[must_use]
    pub fn takes(&self, letter: &Letter) -> bool {
        // A letter without a time is within no time.
        let time_ms = letter.record.timestamp_ms;
        one_of(&self.reasons, &letter.reason)
            && one_of(&self.source_topics, &letter.source.topic)
            && one_of(&self.places, &letter.place)
            && (self.tenant.is_none() || letter.tenant == self.tenant)
            && self
                .since_ms
                .is_none_or(|since| time_ms.is_some_and(|time| time >= since))
            && self
                .until_ms
                .is_none_or(|until| time_ms.is_some_and(|time| time < until))
    }
}

fn one_of<T: PartialEq>(wanted: &[T], found: &T) -> bool {
    wanted.is_empty() || wanted.contains(found)
}

#[cfg(test)]
mod tests {
    use super::super::letter::tests::{headers, written};
    use super::*;
    use log_event::record::TENANT;

    #[test]
    fn a_moment_is_a_time_or_a_while_ago() {
        let now = 1_694_764_800_000;
        let millis = |text: &str| text.parse::<Moment>().map(|moment| moment.millis(now));
        assert_eq!(millis("2023-09-15T08:00:00Z"), Ok(now));
        assert_eq!(millis("2h"), Ok(now - 7_200_000));
        assert_eq!(millis("0s"), Ok(now));
        assert_eq!(millis("yesterday"), Err(NoMoment));
    }

    #[test]
    fn a_letter_must_fit_in_every_respect() {
        const TIME: i64 = 1_694_764_800_000;
        let letter = written(headers(&[(TENANT, "shop")]), "document_parsing_exception");
        let reason = |text: &str| Filter {
            reasons: vec![text.to_owned(), "x".to_owned()],
            ..Filter::default()
        };
        let topic = |text: &str| Filter {
            source_topics: vec![text.to_owned()],
            ..Filter::default()
        };
        let place = |text: &str| Filter {
            places: vec![text.parse().unwrap()],
            ..Filter::default()
        };
        let tenant = |text: &str| Filter {
            tenant: Some(text.to_owned()),
            ..Filter::default()
        };
        let time = |since_ms: Option<i64>, until_ms: Option<i64>| Filter {
            since_ms,
            until_ms,
            ..Filter::default()
        };
        for (filter, expected) in [
            (Filter::default(), true),
            (reason("document_parsing_exception"), true),
            (reason("document_parsing"), false),
            (topic("logs"), true),
            (topic("other"), false),
            (place("1:9"), true),
            (place("1:8"), false),
            (tenant("shop"), true),
            (tenant("bank"), false),
            (time(Some(TIME), Some(TIME + 1)), true),
            (time(Some(TIME + 1), None), false),
            (time(None, Some(TIME)), false),
            (
                Filter {
                    source_topics: vec!["other".to_owned()],
                    ..reason("document_parsing_exception")
                },
                false,
            ),
        ] {
            assert_eq!(filter.takes(&letter), expected, "{filter:?}");
        }
        let mut timeless = letter;
        timeless.record.timestamp_ms = None;
        assert!(!time(Some(0), None).takes(&timeless) && !time(None, Some(0)).takes(&timeless));
    }
}
