//! Reads the headers of a record as Kafka holds them, whatever bytes their names are.
//!
//! In the flow: Kafka → **`record_headers`** → whoever reads records. The bindings of librdkafka panic on a name
//! that is no UTF-8. The protocol says that names are text, but no broker checks it, so one such record would end
//! every process that reads it, again after each restart.
#![expect(
    unsafe_code,
    reason = "the safe binding panics on names that are no UTF-8"
)]

use std::borrow::Cow;
use std::ffi::{CStr, c_char, c_void};
use std::ptr;

use rdkafka::bindings as c;
use rdkafka::message::{BorrowedHeaders, BorrowedMessage, Message as _};

/// Name and value of each header, in order.
pub type RecordHeaders<'m> = Vec<(Cow<'m, str>, Option<&'m [u8]>)>;

/// The headers of a record. In a name, what is no UTF-8 is replaced by U+FFFD.
#[must_use]
pub fn headers_of<'m>(record: &'m BorrowedMessage<'_>) -> RecordHeaders<'m> {
    record.headers().map_or_else(Vec::new, read)
}

fn read(headers: &BorrowedHeaders) -> RecordHeaders<'_> {
    let native: *const c::rd_kafka_headers_t = ptr::from_ref(headers).cast();
    // SAFETY: a `BorrowedHeaders` is a reference to librdkafka's own structure and nothing else (a test below holds
    // that), which lives as long as the borrow and is not changed within it. What librdkafka lends of it does, too:
    // names end with a zero, values have the length that comes with them.
    unsafe {
        let count = c::rd_kafka_header_cnt(native);
        let mut found = Vec::with_capacity(count);
        for index in 0..count {
            let mut name: *const c_char = ptr::null();
            let mut value: *const c_void = ptr::null();
            let mut length = 0;
            c::rd_kafka_header_get_all(
                native,
                index,
                &raw mut name,
                &raw mut value,
                &raw mut length,
            );
            if name.is_null() {
                continue;
            }
            let name = CStr::from_ptr(name).to_bytes();
            let name = std::str::from_utf8(name)
                .map_or_else(|_| String::from_utf8_lossy(name), Cow::Borrowed);
            let value =
                (!value.is_null()).then(|| std::slice::from_raw_parts(value.cast::<u8>(), length));
            found.push((name, value));
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::message::{Header, OwnedHeaders};

    use super::*;

    #[test]
    fn reads_what_the_bindings_wrote() {
        let written = OwnedHeaders::new()
            .insert(Header {
                key: "event-id",
                value: Some("a"),
            })
            .insert(Header {
                key: "",
                value: Some(&b""[..]),
            })
            .insert(Header::<&[u8]> {
                key: "event-id",
                value: None,
            });
        let expected = [
            (Cow::Borrowed("event-id"), Some(&b"a"[..])),
            (Cow::Borrowed(""), Some(b"")),
            (Cow::Borrowed("event-id"), None),
        ];
        assert_eq!(read(written.as_borrowed()), expected);
        assert_eq!(read(OwnedHeaders::new().as_borrowed()), []);
    }

    #[test]
    fn a_name_that_is_no_utf_8_is_read_with_replacements() {
        let headers = OwnedHeaders::new();
        let native: *const c::rd_kafka_headers_t = ptr::from_ref(headers.as_borrowed()).cast();
        // SAFETY: the structure is owned by `headers`, and nothing else refers to it during the call; both texts
        // live to its end.
        unsafe {
            let (name, value) = (b"\xff\xfee", b"v");
            c::rd_kafka_header_add(
                native.cast_mut(),
                name.as_ptr().cast(),
                name.len().cast_signed(),
                value.as_ptr().cast(),
                value.len().cast_signed(),
            );
        }
        let expected = [(Cow::Borrowed("\u{fffd}\u{fffd}e"), Some(&b"v"[..]))];
        assert_eq!(read(headers.as_borrowed()), expected);
    }
}
