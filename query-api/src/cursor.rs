//! Where the next page starts, as an opaque text.
//!
//! In the flow: `search_request` → **`cursor`** → `searcher`, and back to the client.
//! A cursor names a point in time and the last hit seen, and is bound to the
//! query and the indices that it was made for: with others it would skip hits
//! silently, or show them to another tenant. The checks find damage and
//! mix-ups; they are no secret. That nobody reads on in another's search rests
//! on the point in time's id, which Elasticsearch makes and nobody can guess.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use crate::config::IndexExpression;
use crate::search_request::{SearchRequest, Sort};
use crate::selection::Selection;

/// The first byte of every cursor: its layout.
const VERSION: u8 = 4;
const HASH_BYTES: usize = 16;
/// With a page of 1,000 still within the 10,000 hits that a search may ask for.
const SKIP_MAX: u32 = 8_000;
/// Whether there is a position, its two parts, and the hits to skip.
const RESUME_BYTES: usize = 1 + 8 + 8 + 4;
/// Version, query, check, and where to go on.
const HEAD_BYTES: usize = 1 + 2 * HASH_BYTES + RESUME_BYTES;

/// Where a page ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The point in time that all pages are read from.
    pub point_in_time: String,
    /// Where in it.
    pub resume: Resume,
}

/// Where a page begins in the order of a point in time. Elasticsearch knows each hit's
/// place. In OpenSearch hits of several shards may share one; then a page
/// goes on after the last place that no hit shares with one still to come, and skips what was seen since.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resume {
    /// The place to go on after; at the beginning without.
    pub after: Option<Position>,
    /// How many hits from there on were seen already; fewer than there are shards.
    pub skip: u32,
}

/// A hit's place in the order of a point in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Nanoseconds since the epoch, or Elasticsearch's stand-in for a missing timestamp.
    pub timestamp: i64,
    /// Elasticsearch's `_shard_doc`, unique within a point in time; OpenSearch's `_seq_no`, unique within a shard.
    pub tie_break: i64,
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
        "the cursor belongs to another query; send the same query, filters, time range and sort, or start again without it; a relative date (`now-15m`) moves, so send `from` and `to` of the first page's reply"
    )]
    OtherQuery,
}

impl Cursor {
    /// As the client gets it: base64url.
    #[must_use]
    pub fn encode(&self, request: &SearchRequest, index: &IndexExpression) -> String {
        let mut bytes = Vec::with_capacity(HEAD_BYTES + self.point_in_time.len());
        bytes.push(VERSION);
        bytes.extend(query_hash(request, index));
        bytes.extend([0; HASH_BYTES]);
        let after = self.resume.after;
        let (timestamp, tie_break) = after.map_or((0, 0), |at| (at.timestamp, at.tie_break));
        bytes.push(u8::from(after.is_some()));
        bytes.extend(timestamp.to_be_bytes());
        bytes.extend(tie_break.to_be_bytes());
        bytes.extend(self.resume.skip.to_be_bytes());
        bytes.extend(self.point_in_time.as_bytes());
        let check = check_hash(&bytes);
        bytes[1 + HASH_BYTES..1 + 2 * HASH_BYTES].copy_from_slice(&check);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Reads a cursor that came with this request.
    ///
    /// # Errors
    /// [`CursorError`] says why it is none for it.
    pub fn decode(
        text: &str,
        request: &SearchRequest,
        index: &IndexExpression,
    ) -> Result<Self, CursorError> {
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
        let (check, resume) = rest.split_at(HASH_BYTES);
        if check != check_hash(&bytes) {
            return Err(CursorError::Damaged);
        }
        if query != query_hash(request, index) {
            return Err(CursorError::OtherQuery);
        }
        let point_in_time = std::str::from_utf8(point_in_time).map_err(|_| CursorError::Damaged)?;
        Ok(Self {
            point_in_time: point_in_time.to_owned(),
            resume: read_resume(resume).ok_or(CursorError::Damaged)?,
        })
    }
}

fn read_resume(bytes: &[u8]) -> Option<Resume> {
    let (has_position, rest) = bytes.split_first()?;
    let (timestamp, rest) = rest.split_first_chunk()?;
    let (tie_break, rest) = rest.split_first_chunk()?;
    let position = Position {
        timestamp: i64::from_be_bytes(*timestamp),
        tie_break: i64::from_be_bytes(*tie_break),
    };
    let skip = u32::from_be_bytes(rest.try_into().ok()?);
    (skip <= SKIP_MAX).then_some(Resume {
        after: (*has_position == 1).then_some(position),
        skip,
    })
}

/// Everything that decides which hits there are and in which order; the limit does not.
fn query_hash(request: &SearchRequest, index: &IndexExpression) -> [u8; HASH_BYTES] {
    let SearchRequest {
        selection: Selection { query, range },
        sort,
        limit: _,
    } = request;
    let mut hash = Sha256::new();
    // A tree and its text for debugging tell the same trees apart.
    hash.update(format!("{query:?}"));
    hash.update(index.as_str());
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
    use crate::query::field::Field;
    use crate::query::tree::Query;
    use crate::selection::TimeRange;
    use log_event::timestamp::Timestamp;
    use proptest::prelude::*;

    fn requests() -> impl Strategy<Value = SearchRequest> {
        let field = prop::sample::select(vec!["level", "commit", "metadata.a"]);
        let equals = (field, "[a-c,)]{1,3}")
            .prop_map(|(path, value)| Query::Equals(Field::new(path), value));
        let words = "[a-c]{1,3}".prop_map(Query::Words);
        let query = prop::collection::vec(prop_oneof![equals, words], 0..3).prop_map(Query::all_of);
        let moment = || proptest::option::of((0..9i64).prop_map(Timestamp::from_nanos));
        (query, moment(), moment(), any::<bool>(), 1..9u32).prop_map(
            |(query, start, end, newest, limit)| SearchRequest {
                selection: Selection {
                    query,
                    range: TimeRange {
                        start: start.flatten(),
                        end: end.flatten(),
                    },
                },
                sort: if newest { Sort::Newest } else { Sort::Oldest },
                limit,
            },
        )
    }

    fn cursors() -> impl Strategy<Value = Cursor> {
        let position = (any::<i64>(), any::<i64>()).prop_map(|(timestamp, tie_break)| Position {
            timestamp,
            tie_break,
        });
        let resume = (proptest::option::of(position), 0..=SKIP_MAX);
        ("[A-Za-z0-9=_-]{0,60}", resume).prop_map(|(point_in_time, (after, skip))| Cursor {
            point_in_time,
            resume: Resume { after, skip },
        })
    }

    fn index() -> IndexExpression {
        "logflow-a-*".parse().unwrap()
    }

    proptest! {
        #[test]
        fn it_serves_no_other_tenant(cursor in cursors(), request in requests()) {
            let other: IndexExpression = "logflow-b-*".parse().unwrap();
            let text = cursor.encode(&request, &index());
            prop_assert_eq!(Cursor::decode(&text, &request, &other), Err(CursorError::OtherQuery));
        }

        #[test]
        fn what_it_writes_it_reads_back(cursor in cursors(), request in requests(), limit: u32) {
            let text = cursor.encode(&request, &index());
            let other_limit = SearchRequest { limit, ..request };
            prop_assert_eq!(Cursor::decode(&text, &other_limit, &index()), Ok(cursor));
        }

        #[test]
        fn it_serves_no_other_query(cursor in cursors(), request in requests(), other in requests()) {
            let same = SearchRequest { limit: request.limit, ..other.clone() } == request;
            let expected = if same { Ok(cursor.clone()) } else { Err(CursorError::OtherQuery) };
            prop_assert_eq!(Cursor::decode(&cursor.encode(&request, &index()), &other, &index()), expected);
        }

        #[test]
        fn any_altered_bit_is_found(cursor in cursors(), request in requests(), at: prop::sample::Index, bit in 0..8u8) {
            let mut bytes = URL_SAFE_NO_PAD.decode(cursor.encode(&request, &index())).unwrap();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            let expected = if at == 0 { CursorError::OtherVersion } else { CursorError::Damaged };
            let text = URL_SAFE_NO_PAD.encode(bytes);
            prop_assert_eq!(Cursor::decode(&text, &request, &index()), Err(expected));
        }

        #[test]
        fn any_cut_is_found(cursor in cursors(), request in requests(), at: prop::sample::Index) {
            let text = cursor.encode(&request, &index());
            let cut = &text[..at.index(text.len())];
            prop_assert_eq!(Cursor::decode(cut, &request, &index()), Err(CursorError::Damaged));
        }

        #[test]
        fn any_text_is_read_without_panic(text in "\\PC{0,80}", request in requests()) {
            prop_assert!(Cursor::decode(&text, &request, &index()).is_err());
        }
    }
}
