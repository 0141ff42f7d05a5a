//! The shorter of the time that a client asks for and the time that it may have.
//!
//! In the flow: beside `parameters` and `search_body`. Upholds QA-1.

use std::time::Duration;

/// Elasticsearch's units of time in nanoseconds, those that end like another one first.
const UNITS: [(&str, u128); 7] = [
    ("nanos", 1),
    ("micros", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
    ("d", 86_400_000_000_000),
];

/// The time in Elasticsearch's spelling. `-1`, which means for ever there, is as long as it may be.
///
/// # Errors
/// If what was asked for is no time.
pub fn shorter(asked: Option<&str>, limit: Duration) -> Result<String, String> {
    let limit = limit.as_millis();
    let millis = match asked {
        None | Some("-1") => limit,
        Some(text) => {
            let nanos = nanos(text).ok_or_else(|| {
                let text: String = text.chars().take(64).collect();
                format!("`{text}` is no time; send a whole number with its unit, such as `500ms` or `10s`")
            })?;
            // Rounded up, because 0 would mean no limit at all.
            limit.min(nanos.div_ceil(1_000_000).max(1))
        }
    };
    Ok(format!("{millis}ms"))
}

fn nanos(text: &str) -> Option<u128> {
    if text == "0" {
        return Some(0);
    }
    let (number, unit) = UNITS
        .iter()
        .find_map(|(name, nanos)| Some((text.strip_suffix(name)?, nanos)))?;
    let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    digits
        .then(|| number.parse().ok())?
        .map(|n: u128| n.saturating_mul(*unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shorter_time_counts_and_no_time_is_no_answer() {
        let limit = Duration::from_secs(10);
        for (asked, expected) in [
            (None, "10000ms"),
            (Some("-1"), "10000ms"),
            (Some("1d"), "10000ms"),
            (Some("11s"), "10000ms"),
            (Some("2s"), "2000ms"),
            (Some("1m"), "10000ms"),
            (Some("20ms"), "20ms"),
            (Some("1micros"), "1ms"),
            (Some("3000000nanos"), "3ms"),
            (Some("0"), "1ms"),
            (Some("0s"), "1ms"),
            (Some("99999999999999999999999999999d"), "10000ms"),
        ] {
            assert_eq!(shorter(asked, limit).as_deref(), Ok(expected), "{asked:?}");
        }
        for asked in ["", "s", "soon", "-2s", "1.5s", "10", "1 s", "+1s", "1S"] {
            assert!(shorter(Some(asked), limit).is_err(), "{asked}");
        }
    }
}
