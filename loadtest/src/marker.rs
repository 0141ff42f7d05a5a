//! The field that tells every generated event apart, whatever id it is given:
//! `"loadtest":{"run":"r1","n":42}`.
//!
//! In the flow: **`marker`** → `workload` → … → `verify`.
//! Where a value cannot hold a field (it is no JSON object), the record's key
//! is the marker: `loadtest:r1:42`.

use std::fmt;
use std::str::FromStr;

use memchr::memmem;

/// The name of the field, at the top of the event.
pub const FIELD: &str = "loadtest";

const OPENING: &[u8] = br#""loadtest":{"run":""#;
const MIDDLE: &[u8] = br#"","n":"#;
const KEY_PREFIX: &str = "loadtest:";

/// The name of one run of the generator: 1 to 32 lower-case letters and digits,
/// so that it is one token and one keyword under any mapping.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RunId(String);

/// Why a text names no run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a run is named by 1 to 32 lower-case letters and digits")]
pub struct NoRunId;

impl RunId {
    /// A name made of a number, such as the time in milliseconds.
    #[must_use]
    pub fn of_number(number: u64) -> Self {
        Self(format!("r{number:x}"))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RunId {
    type Err = NoRunId;

    fn from_str(text: &str) -> Result<Self, NoRunId> {
        let legal = text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        match legal && (1..=32).contains(&text.len()) {
            true => Ok(Self(text.to_owned())),
            false => Err(NoRunId),
        }
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Writes the field, without a comma on either side.
pub fn write_field(run: &RunId, n: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(OPENING);
    out.extend_from_slice(run.0.as_bytes());
    out.extend_from_slice(MIDDLE);
    write_decimal(n, out);
    out.push(b'}');
}

/// The key of a record whose value cannot hold the field.
#[must_use]
pub fn record_key(run: &RunId, n: u64) -> String {
    format!("{KEY_PREFIX}{run}:{n}")
}

/// The number of an event of this run, found in the bytes of a record as the
/// generator wrote them. `None` for events of other runs and of other senders.
#[must_use]
pub fn find(run: &RunId, key: Option<&[u8]>, value: &[u8]) -> Option<u64> {
    key.and_then(|key| in_key(run, key))
        .or_else(|| in_value(run, value))
}

fn in_key(run: &RunId, key: &[u8]) -> Option<u64> {
    let rest = std::str::from_utf8(key).ok()?.strip_prefix(KEY_PREFIX)?;
    let (name, n) = rest.split_once(':')?;
    (name == run.as_str()).then(|| n.parse().ok())?
}

fn in_value(run: &RunId, value: &[u8]) -> Option<u64> {
    let after = &value[memmem::find(value, OPENING)? + OPENING.len()..];
    let digits = after.strip_prefix(run.0.as_bytes())?.strip_prefix(MIDDLE)?;
    let end = digits.iter().position(|b| !b.is_ascii_digit())?;
    std::str::from_utf8(&digits[..end]).ok()?.parse().ok()
}

/// Decimal digits without the formatting machinery: the generator writes three
/// numbers an event.
pub(crate) fn write_decimal(n: u64, out: &mut Vec<u8>) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    let mut rest = n;
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_marker_of_another_run_is_not_ours() {
        let run: RunId = "abc".parse().unwrap();
        let mut value = b"{".to_vec();
        write_field(&"abcd".parse().unwrap(), 7, &mut value);
        value.push(b'}');
        assert_eq!(find(&run, None, &value), None);
        assert_eq!(find(&run, Some(b"loadtest:abcd:7"), b""), None);
        assert_eq!(find(&run, Some(b"loadtest:abc:7"), b""), Some(7));
        assert_eq!(find(&run, Some(b"order-17"), b"{}"), None);
    }

    #[test]
    fn a_run_id_is_a_single_token() {
        for text in ["", "A", "a-b", "ä", "012345678901234567890123456789012"] {
            assert_eq!(text.parse::<RunId>(), Err(NoRunId), "{text}");
        }
        assert_eq!(RunId::of_number(255).as_str(), "rff");
    }

    proptest! {
        #[test]
        fn what_is_written_is_found(name in "[a-z0-9]{1,32}", n: u64, before in "[ -~]{0,20}") {
            let run: RunId = name.parse().unwrap();
            let mut value = before.into_bytes();
            write_field(&run, n, &mut value);
            prop_assert_eq!(find(&run, None, &value), Some(n));
            prop_assert_eq!(find(&run, Some(record_key(&run, n).as_bytes()), b""), Some(n));
        }

        #[test]
        fn any_bytes_are_searched_without_a_panic(bytes: Vec<u8>) {
            let run: RunId = "r".parse().unwrap();
            prop_assert_eq!(find(&run, Some(&bytes), &bytes), None);
        }
    }
}
