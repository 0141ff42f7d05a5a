//! Sizes, durations and ratios as people write them in a configuration.

use std::str::FromStr;
use std::time::Duration;

/// A number of bytes: `5242880`, `5MiB`, `64 KiB`, `5MB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

/// A span of time: `200ms`, `5s`, `2m`, `1h`, `30d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

/// A part of a whole: `0.01`, `1`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ratio(pub f64);

/// Why a text is no size or duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// Not a size.
    #[error("a size is a whole number of bytes, or one with KB, MB, GB, KiB, MiB or GiB")]
    NoSize,
    /// Not a duration.
    #[error("a duration is a whole number with ms, s, m, h or d")]
    NoDuration,
    /// Not a ratio.
    #[error("a ratio is a number from 0 to 1")]
    NoRatio,
}

impl ByteSize {
    /// As a length in memory.
    #[must_use]
    pub fn bytes(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl FromStr for ByteSize {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (number, unit) = number_and_unit(text).ok_or(UnitError::NoSize)?;
        let factor: u64 = match unit.to_ascii_lowercase().as_str() {
            "" | "b" => 1,
            "kb" => 1_000,
            "mb" => 1_000_000,
            "gb" => 1_000_000_000,
            "kib" => 1 << 10,
            "mib" => 1 << 20,
            "gib" => 1 << 30,
            _ => return Err(UnitError::NoSize),
        };
        number
            .checked_mul(factor)
            .map(Self)
            .ok_or(UnitError::NoSize)
    }
}

impl FromStr for Span {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (number, unit) = number_and_unit(text).ok_or(UnitError::NoDuration)?;
        let millis: u64 = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(UnitError::NoDuration),
        };
        let millis = number.checked_mul(millis).ok_or(UnitError::NoDuration)?;
        Ok(Self(Duration::from_millis(millis)))
    }
}

fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let number = text[..digits].parse().ok()?;
    Some((number, text[digits..].trim_start()))
}

impl FromStr for Ratio {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let ratio = text.trim().parse().map_err(|_| UnitError::NoRatio)?;
        let is_part = (0.0..=1.0).contains(&ratio);
        is_part.then_some(Self(ratio)).ok_or(UnitError::NoRatio)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_sizes() {
        for (text, bytes) in [
            ("0", 0),
            ("17", 17),
            ("5MiB", 5 << 20),
            ("5 mb", 5_000_000),
            ("1GiB", 1 << 30),
        ] {
            assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text}");
        }
        for text in ["", "MiB", "-1", "1.5MiB", "5TB", "99999999999GiB"] {
            assert_eq!(text.parse::<ByteSize>(), Err(UnitError::NoSize), "{text}");
        }
    }

    #[test]
    fn reads_durations() {
        for (text, millis) in [
            ("0s", 0),
            ("200ms", 200),
            ("5s", 5_000),
            ("2m", 120_000),
            ("1 h", 3_600_000),
            ("30d", 2_592_000_000),
        ] {
            assert_eq!(
                text.parse(),
                Ok(Span(Duration::from_millis(millis))),
                "{text}"
            );
        }
        for text in ["", "5", "s", "1w", "-1s"] {
            assert_eq!(text.parse::<Span>(), Err(UnitError::NoDuration), "{text}");
        }
    }

    #[test]
    fn reads_ratios() {
        for (text, ratio) in [("0", 0.0), ("0.01", 0.01), ("1", 1.0), ("1e-3", 0.001)] {
            assert_eq!(text.parse(), Ok(Ratio(ratio)), "{text}");
        }
        for text in ["", "1%", "-0.1", "1.1", "NaN", "inf"] {
            assert_eq!(text.parse::<Ratio>(), Err(UnitError::NoRatio), "{text}");
        }
    }
}
