//! Finds a reply in the bytes of a connection (RFC 9112).
//!
//! In the flow: **`http_reply`** → `http_client`. Pure: bytes in, a reply or
//! "not yet" out. Knows what a load generator needs: status, `Retry-After`,
//! whether the connection stays open, and the body by length or in chunks.

use memchr::memmem;

/// The longest head of a reply.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// A whole reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpReply {
    /// The status.
    pub status: u16,
    /// Whole seconds of `Retry-After`; the form with a date counts as absent.
    pub retry_after_seconds: Option<u64>,
    /// Whether another request may follow on the connection.
    pub keep_alive: bool,
    /// The body.
    pub body: Vec<u8>,
    /// How many bytes of the connection the reply took.
    pub n_bytes: usize,
}

/// Bytes that are no reply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no HTTP reply: {0}")]
pub struct NoHttpReply(&'static str);

struct Head {
    status: u16,
    retry_after_seconds: Option<u64>,
    keep_alive: bool,
    framing: Framing,
    n_bytes: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Framing {
    Length(usize),
    Chunked,
}

/// Reads the reply at the start of `bytes`; `None` if more bytes are needed.
/// Interim replies (1xx) are passed over.
///
/// # Errors
/// [`NoHttpReply`] if no further bytes can make it one.
pub fn read(bytes: &[u8]) -> Result<Option<HttpReply>, NoHttpReply> {
    let mut skipped = 0;
    let head = loop {
        match read_head(&bytes[skipped..])? {
            None => return Ok(None),
            Some(head) if (100..200).contains(&head.status) => skipped += head.n_bytes,
            Some(head) => break head,
        }
    };
    let start = skipped + head.n_bytes;
    let found = match head.framing {
        Framing::Length(length) => bytes
            .get(start..start.saturating_add(length))
            .map(|body| (body.to_vec(), length)),
        Framing::Chunked => read_chunks(&bytes[start..])?,
    };
    Ok(found.map(|(body, length)| HttpReply {
        status: head.status,
        retry_after_seconds: head.retry_after_seconds,
        keep_alive: head.keep_alive,
        body,
        n_bytes: start + length,
    }))
}

fn read_head(bytes: &[u8]) -> Result<Option<Head>, NoHttpReply> {
    let Some(end) = memmem::find(bytes, b"\r\n\r\n") else {
        return match bytes.len() > HEAD_BYTES_MAX {
            true => Err(NoHttpReply("the head does not end")),
            false => Ok(None),
        };
    };
    let text =
        std::str::from_utf8(&bytes[..end]).map_err(|_| NoHttpReply("the head is not text"))?;
    let mut lines = text.split("\r\n");
    let first = lines.next().unwrap_or_default();
    let status = first
        .strip_prefix("HTTP/1.")
        .and_then(|rest| rest.get(2..5)?.parse().ok())
        .ok_or(NoHttpReply("the first line has no status"))?;
    let bodiless = status < 200 || status == 204 || status == 304;
    let mut head = Head {
        status,
        retry_after_seconds: None,
        keep_alive: first.starts_with("HTTP/1.1"),
        framing: Framing::Length(0),
        n_bytes: end + 4,
    };
    let mut framed = bodiless;
    for line in lines {
        let Some((name, value)) = line.split_once(':') else {
            return Err(NoHttpReply("a header has no colon"));
        };
        let value = value.trim();
        if name.eq_ignore_ascii_case("content-length") && head.framing != Framing::Chunked {
            let length = value
                .parse()
                .map_err(|_| NoHttpReply("Content-Length is no number"))?;
            head.framing = Framing::Length(length);
            framed = true;
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            head.framing = Framing::Chunked;
            framed = true;
        } else if name.eq_ignore_ascii_case("retry-after") {
            head.retry_after_seconds = value.parse().ok();
        } else if name.eq_ignore_ascii_case("connection") {
            head.keep_alive = !value.eq_ignore_ascii_case("close");
        }
    }
    if bodiless {
        head.framing = Framing::Length(0);
    }
    match framed {
        true => Ok(Some(head)),
        false => Err(NoHttpReply("neither Content-Length nor chunks")),
    }
}

/// The body and how many bytes it took; `None` if more are needed.
fn read_chunks(bytes: &[u8]) -> Result<Option<(Vec<u8>, usize)>, NoHttpReply> {
    let mut body = Vec::new();
    let mut at = 0;
    loop {
        let Some(end) = memmem::find(&bytes[at..], b"\r\n") else {
            return Ok(None);
        };
        let size = std::str::from_utf8(&bytes[at..at + end])
            .ok()
            .and_then(|line| line.split(';').next())
            .and_then(|digits| usize::from_str_radix(digits.trim(), 16).ok())
            .filter(|size| *size <= 1 << 32)
            .ok_or(NoHttpReply("a chunk has no size"))?;
        let start = at + end + 2;
        if size == 0 {
            // Trailers are not sent by what is tested here; the empty line follows.
            return Ok(bytes.get(start..start + 2).map(|_| (body, start + 2)));
        }
        let Some(chunk) = bytes.get(start..start + size + 2) else {
            return Ok(None);
        };
        body.extend_from_slice(&chunk[..size]);
        at = start + size + 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &str =
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nContent-Length: 2\r\n\r\n{}";
    const CHUNKED: &str = "HTTP/1.1 503 Busy\r\nretry-after: 7\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n";

    #[test]
    fn a_reply_is_read_as_soon_as_it_is_whole_and_not_before() {
        for (text, status, body) in [(PLAIN, 200, "{}"), (CHUNKED, 503, "abc0123456789")] {
            let bytes = [text.as_bytes(), b"HTTP/1.1 200"].concat();
            for end in 0..text.len() {
                assert_eq!(read(&bytes[..end]), Ok(None), "{end} bytes of {text}");
            }
            let reply = read(&bytes).unwrap().unwrap();
            assert_eq!(reply.status, status);
            assert_eq!(reply.body, body.as_bytes());
            assert_eq!(reply.n_bytes, text.len());
            assert!(reply.keep_alive);
        }
    }

    #[test]
    fn headers_that_steer_the_client_are_read() {
        let reply = read(CHUNKED.as_bytes()).unwrap().unwrap();
        assert_eq!(reply.retry_after_seconds, Some(7));
        let closing = b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n";
        let reply = read(closing).unwrap().unwrap();
        assert!(!reply.keep_alive);
        assert_eq!(reply.body, b"");
        let interim = [b"HTTP/1.1 100 Continue\r\n\r\n", PLAIN.as_bytes()].concat();
        let reply = read(&interim).unwrap().unwrap();
        assert_eq!((reply.status, reply.n_bytes), (200, interim.len()));
    }

    #[test]
    fn what_is_no_reply_is_refused() {
        for text in [
            "SSH-2.0-x\r\n\r\n",
            "HTTP/1.1 abc\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        ] {
            assert!(read(text.as_bytes()).is_err(), "{text}");
        }
    }
}
