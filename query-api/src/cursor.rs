//! Where the next page starts, as an opaque text.
//!
//! In the flow: `search_request` → **`cursor`** → `searcher`, and back to the client.
//! A cursor names a point in time and the last hit seen, and is bound to the
//! query that it was made for: with another one it would skip hits silently.
//! The checks find damage and mix-ups; they are no secret, because whoever may
//! search at all may see all that a cursor can reach.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use crate::search_request::{SearchRequest, Sort};

/// The first byte of every cursor: its layout.
const VERSION: u8 = 1;
const HASH_BYTES: usize = 16;
/// Version, query, check, and the two parts of a position.
const HEAD_BYTES: usize = 1 + 2 * HASH_BYTES + 16;

/// Where a page ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The point in time that all pages are read from.
    pub point_in_time: String,
    /// The last hit seen.
    pub after: Position,
}

/// A hit's place in the order of a point in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Nanoseconds since the epoch, or Elasticsearch's stand-in for a missing timestamp.
    pub timestamp: i64,
    /// Elasticsearch's `_shard_doc`: unique within a point in time.
    pub shard_doc: i64,
}

/// Why a text is no cursor for this search.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CursorError {
    /// Cut, altered, or never a cursor.
    #[error("this is no cursor, or only a part of one; send `next_cursor` as it was received")]
    Damaged,
    /// Made by another version of this service.
    #[error("the cursor is of another version of this service; start again without it")]
    OtherVersion,
    /// Made for another query.
    #[error(
        "the cursor belongs to another query; send the same filters, time range and sort, or start again without it"
    )]
    OtherQuery,
}

impl Cursor {
    /// As the client gets it: base64url.
    #[must_use]
    pub fn encode(&self, request: &SearchRequest) -> String {
        let mut bytes = Vec::with_capacity(HEAD_BYTES + self.point_in_time.len());
        bytes.push(VERSION);
        bytes.extend(query_hash(request));
        bytes.extend([0; HASH_BYTES]);
        bytes.extend(self.after.timestamp.to_be_bytes());
        bytes.extend(self.after.shard_doc.to_be_bytes());
        bytes.extend(self.point_in_time.as_bytes());
        let check = check_hash(&bytes);
        bytes[1 + HASH_BYTES..1 + 2 * HASH_BYTES].copy_from_slice(&check);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Reads a cursor that came with this request.
    ///
    /// # Errors
    /// [`CursorError`] says why it is none for it.
    pub fn decode(text: &str, request: &SearchRequest) -> Result<Self, CursorError> {
        let bytes = URL_SAFE_NO_PAD
            .decode(text)
            .map_err(|_| CursorError::Damaged)?;
        match bytes.first() {
            Some(&VERSION) => {}
            Some(_) => return Err(CursorError::OtherVersion),
            None => return Err(CursorError::Damaged),
        }
        let (head, point_in_time) = bytes
            .split_at_checked(HEAD_BYTES)
            .ok_or(CursorError::Damaged)?;
        let (query, rest) = head[1..].split_at(HASH_BYTES);
        let (check, position) = rest.split_at(HASH_BYTES);
        if check != check_hash(&bytes) {
            return Err(CursorError::Damaged);
        }
        if query != query_hash(request) {
            return Err(CursorError::OtherQuery);
        }
        let point_in_time = std::str::from_utf8(point_in_time).map_err(|_| CursorError::Damaged)?;
        let (timestamp, shard_doc) = position.split_at(8);
        let number = |bytes: &[u8]| bytes.try_into().map(i64::from_be_bytes);
        Ok(Self {
            point_in_time: point_in_time.to_owned(),
            after: Position {
                timestamp: number(timestamp).map_err(|_| CursorError::Damaged)?,
                shard_doc: number(shard_doc).map_err(|_| CursorError::Damaged)?,
            },
        })
    }
}

/// Everything that decides which hits there are and in which order; the limit does not.
fn query_hash(request: &SearchRequest) -> [u8; HASH_BYTES] {
    let SearchRequest {
        filters,
        range,
        sort,
        limit: _,
    } = request;
    let mut hash = Sha256::new();
    for filter in [
        &filters.level,
        &filters.resource_id,
        &filters.message,
        &filters.trace_id,
        &filters.span_id,
        &filters.commit,
        &filters.parent_resource_id,
    ] {
        let text = filter.as_deref();
        hash.update([u8::from(text.is_some())]);
        let text = text.unwrap_or_default();
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text);
    }
    for end in [range.start, range.end] {
        hash.update(end.map_or(-1, |moment| moment.nanos()).to_be_bytes());
    }
    hash.update([match sort {
        Sort::Newest => 0,
        Sort::Oldest => 1,
    }]);
    cut(hash)
}

/// Over all of a cursor but the check itself.
fn check_hash(bytes: &[u8]) -> [u8; HASH_BYTES] {
    let mut hash = Sha256::new();
    hash.update(&bytes[..1 + HASH_BYTES]);
    hash.update(&bytes[1 + 2 * HASH_BYTES..]);
    cut(hash)
}

fn cut(hash: Sha256) -> [u8; HASH_BYTES] {
    let mut cut = [0; HASH_BYTES];
    cut.copy_from_slice(&hash.finalize()[..HASH_BYTES]);
    cut
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search_request::{Filters, TimeRange};
    use log_event::timestamp::Timestamp;
    use proptest::prelude::*;

    fn requests() -> impl Strategy<Value = SearchRequest> {
        let text = || proptest::option::of("[a-z]{1,3}");
        let filters = (text(), text(), text(), text(), text(), text(), text());
        let moment = || proptest::option::of((0..9i64).prop_map(Timestamp::from_nanos));
        (filters, moment(), moment(), any::<bool>(), 1..9u32).prop_map(
            |(filters, start, end, newest, limit)| SearchRequest {
                filters: Filters {
                    level: filters.0,
                    resource_id: filters.1,
                    message: filters.2,
                    trace_id: filters.3,
                    span_id: filters.4,
                    commit: filters.5,
                    parent_resource_id: filters.6,
                },
                range: TimeRange {
                    start: start.flatten(),
                    end: end.flatten(),
                },
                sort: if newest { Sort::Newest } else { Sort::Oldest },
                limit,
            },
        )
    }

    fn cursors() -> impl Strategy<Value = Cursor> {
        ("[A-Za-z0-9=_-]{0,60}", any::<i64>(), any::<i64>()).prop_map(
            |(point_in_time, timestamp, shard_doc)| Cursor {
                point_in_time,
                after: Position {
                    timestamp,
                    shard_doc,
                },
            },
        )
    }

    proptest! {
        #[test]
        fn what_it_writes_it_reads_back(cursor in cursors(), request in requests(), limit: u32) {
            let text = cursor.encode(&request);
            let other_limit = SearchRequest { limit, ..request };
            prop_assert_eq!(Cursor::decode(&text, &other_limit), Ok(cursor));
        }

        #[test]
        fn it_serves_no_other_query(cursor in cursors(), request in requests(), other in requests()) {
            let same = SearchRequest { limit: request.limit, ..other.clone() } == request;
            let expected = if same { Ok(cursor.clone()) } else { Err(CursorError::OtherQuery) };
            prop_assert_eq!(Cursor::decode(&cursor.encode(&request), &other), expected);
        }

        #[test]
        fn any_altered_bit_is_found(cursor in cursors(), request in requests(), at: prop::sample::Index, bit in 0..8u8) {
            let mut bytes = URL_SAFE_NO_PAD.decode(cursor.encode(&request)).unwrap();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            let expected = if at == 0 { CursorError::OtherVersion } else { CursorError::Damaged };
            let text = URL_SAFE_NO_PAD.encode(bytes);
            prop_assert_eq!(Cursor::decode(&text, &request), Err(expected));
        }

        #[test]
        fn any_cut_is_found(cursor in cursors(), request in requests(), at: prop::sample::Index) {
            let text = cursor.encode(&request);
            let cut = &text[..at.index(text.len())];
            prop_assert_eq!(Cursor::decode(cut, &request), Err(CursorError::Damaged));
        }

        #[test]
        fn any_text_is_read_without_panic(text in "\\PC{0,80}", request in requests()) {
            prop_assert!(Cursor::decode(&text, &request).is_err());
        }
    }
}
