//! The headers under which Kafka keeps an event beside its bytes.
//!
//! In the flow: `event_id` → **`record`** → `offset`.
//! The value of a record is the event's JSON, the key is empty by default.
//! The sink reads these headers and never the value (docs/formats.md).

use crate::tenant;

/// The event's id, as text.
pub const EVENT_ID: &str = "event-id";
/// When the event happened: milliseconds since the epoch, in decimal digits.
pub const EVENT_TIME: &str = "event-time";
/// The intake dialect that the client spoke.
pub const DIALECT: &str = "dialect";
/// The tenant that the event belongs to, where there is one.
pub const TENANT: &str = "tenant";
/// The span that the event was produced in, where its request is traced (W3C Trace Context §3.2).
pub const TRACEPARENT: &str = "traceparent";
/// What others keep beside that span, where they do (W3C Trace Context §3.3).
pub const TRACESTATE: &str = "tracestate";

/// The longest `_id` that Elasticsearch takes, in bytes (`_id` field documentation).
pub const EVENT_ID_BYTES_MAX: usize = 512;

/// What the sink needs of a record's headers. A header that is missing or
/// unusable is `None`: the record is then treated as one of another producer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecordHeaders<'a> {
    /// The id, 1 to [`EVENT_ID_BYTES_MAX`] bytes of UTF-8.
    pub event_id: Option<&'a str>,
    /// Milliseconds since the epoch.
    pub event_time_ms: Option<i64>,
    /// The name of the tenant.
    pub tenant: Option<&'a str>,
}

impl<'a> RecordHeaders<'a> {
    /// Picks the known headers. Where a name occurs twice the last one counts,
    /// as `Headers.lastHeader` of Kafka's own client does.
    pub fn read(headers: impl Iterator<Item = (&'a str, Option<&'a [u8]>)>) -> Self {
        let mut found = Self::default();
        for (name, value) in headers {
            match name {
                EVENT_ID => found.event_id = value.and_then(usable_id),
                EVENT_TIME => found.event_time_ms = value.and_then(decimal),
                TENANT => found.tenant = value.and_then(usable_tenant),
                _ => {}
            }
        }
        found
    }
}

fn usable_id(bytes: &[u8]) -> Option<&str> {
    let fits = (1..=EVENT_ID_BYTES_MAX).contains(&bytes.len());
    std::str::from_utf8(bytes).ok().filter(|_| fits)
}

fn usable_tenant(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes)
        .ok()
        .filter(|name| tenant::is_name(name))
}

fn decimal(bytes: &[u8]) -> Option<i64> {
    // 19 digits always fit into 64 bits, so nothing below wraps.
    if !(1..=19).contains(&bytes.len()) {
        return None;
    }
    let mut number: u64 = 0;
    for byte in bytes {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        number = number.wrapping_mul(10).wrapping_add(u64::from(digit));
    }
    i64::try_from(number).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unusable_header_counts_as_none() {
        let long = "x".repeat(EVENT_ID_BYTES_MAX + 1);
        for (id, time) in [
            (&b""[..], &b""[..]),
            (b"\xff", b"-1"),
            (long.as_bytes(), b"12a"),
            (b"\xf0\x28", b"99999999999999999999"),
        ] {
            let headers = [
                (EVENT_ID, Some(id)),
                (EVENT_TIME, Some(time)),
                (TENANT, Some(b"Not-one")),
            ];
            assert_eq!(
                RecordHeaders::read(headers.into_iter()),
                RecordHeaders::default()
            );
        }
        let absent = [(EVENT_ID, None), (EVENT_TIME, None), (TENANT, None)];
        assert_eq!(
            RecordHeaders::read(absent.into_iter()),
            RecordHeaders::default()
        );
    }

    #[test]
    fn the_last_of_two_equal_names_counts() {
        let headers = [
            (EVENT_ID, Some(&b"first"[..])),
            (EVENT_TIME, Some(b"1694764800000")),
            ("other", Some(b"x")),
            (EVENT_ID, Some(b"last")),
            (TENANT, Some(b"shop")),
        ];
        assert_eq!(
            RecordHeaders::read(headers.into_iter()),
            RecordHeaders {
                event_id: Some("last"),
                event_time_ms: Some(1_694_764_800_000),
                tenant: Some("shop"),
            }
        );
    }
}
