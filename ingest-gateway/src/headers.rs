//! Decides what a request's headers say about its body.
//!
//! In the flow: `client` → **`headers`** → `admission`.
//! The body's form is told by its first bytes (`decode`), never by `Content-Type`.

use axum::http::{HeaderMap, HeaderName, header};

use crate::error::{Code, Problem};

/// The header of the IETF draft `draft-ietf-httpapi-idempotency-key-header`.
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const KEY_BYTES_MAX: usize = 255;

/// How the body is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// As it is.
    Identity,
    /// gzip, one or more members.
    Gzip,
}

/// The body's encoding.
///
/// # Errors
/// [`Code::UnsupportedEncoding`] names what was asked for.
pub fn encoding(headers: &HeaderMap) -> Result<Encoding, Problem> {
    let mut values = headers.get_all(header::CONTENT_ENCODING).iter();
    let (first, second) = (values.next(), values.next());
    let Some(value) = first else {
        return Ok(Encoding::Identity);
    };
    let named = value.to_str().unwrap_or("not ASCII").trim();
    match named.to_ascii_lowercase().as_str() {
        "" | "identity" if second.is_none() => Ok(Encoding::Identity),
        "gzip" | "x-gzip" if second.is_none() => Ok(Encoding::Gzip),
        _ => Err(Problem::permanent(
            Code::UnsupportedEncoding,
            format!(
                "the Content-Encoding `{}` is not supported; send gzip or none",
                &named[..named.len().min(64)]
            ),
        )),
    }
}

/// The request's `Idempotency-Key`, bare or quoted (RFC 9651 string).
///
/// # Errors
/// [`Code::InvalidIdempotencyKey`]: silently ignoring a key would break the
/// promise that the client relies on.
pub fn idempotency_key(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let usable = |key: &str| {
        (1..=KEY_BYTES_MAX).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic())
    };
    let key = value.to_str().ok().map(str::trim).map(|text| {
        text.strip_prefix('"')
            .and_then(|inner| inner.strip_suffix('"'))
            .unwrap_or(text)
    });
    match key {
        Some(key) if usable(key) && values.next().is_none() => Ok(Some(key)),
        _ => Err(Problem::permanent(
            Code::InvalidIdempotencyKey,
            format!(
                "the Idempotency-Key must be given once and have 1 to {KEY_BYTES_MAX} visible ASCII characters"
            ),
        )),
    }
}

/// The length that the client announced, if any.
#[must_use]
pub fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers
        .get(header::CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn map(name: &HeaderName, values: &[&[u8]]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name, HeaderValue::from_bytes(value).unwrap());
        }
        headers
    }

    #[test]
    fn an_unknown_encoding_is_refused_not_ignored() {
        let read = |values: &[&[u8]]| encoding(&map(&header::CONTENT_ENCODING, values));
        assert_eq!(read(&[]), Ok(Encoding::Identity));
        assert_eq!(read(&[b"identity"]), Ok(Encoding::Identity));
        assert_eq!(read(&[b"GZIP"]), Ok(Encoding::Gzip));
        assert_eq!(read(&[b"x-gzip"]), Ok(Encoding::Gzip));
        for values in [
            &[&b"br"[..]][..],
            &[b"gzip, gzip"],
            &[b"gzip", b"gzip"],
            &[b"\xff"],
        ] {
            assert_eq!(read(values).unwrap_err().code, Code::UnsupportedEncoding);
        }
    }

    #[test]
    fn a_key_that_cannot_be_honoured_is_refused_not_ignored() {
        let read = |values: &[&[u8]]| {
            idempotency_key(&map(&IDEMPOTENCY_KEY, values)).map(|key| key.map(str::to_owned))
        };
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&[b"abc-1"]), Ok(Some("abc-1".to_owned())));
        assert_eq!(read(&[b"\"abc-1\""]), Ok(Some("abc-1".to_owned())));
        let longest = "k".repeat(255);
        assert_eq!(read(&[longest.as_bytes()]), Ok(Some(longest)));
        let long = "k".repeat(256);
        for values in [
            &[&b""[..]][..],
            &[b"\"\""],
            &[b"a b"],
            &[b"\xc3\xa4"],
            &[long.as_bytes()],
            &[b"a", b"b"],
        ] {
            assert_eq!(read(values).unwrap_err().code, Code::InvalidIdempotencyKey);
        }
    }
}
