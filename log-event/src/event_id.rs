//! Who an event is: the same one twice is one document.
//!
//! In the flow: `event` → **`event_id`** → `record`. Upholds EO-3.
//! Why each form looks as it does: docs/decisions/0001-document-identity.md.

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use crate::record::EVENT_ID_BYTES_MAX;
use crate::timestamp::Timestamp;

/// Bytes of an id that logflow makes: a multiple of three, so that Elasticsearch
/// stores its base64 text as just these bytes.
const MADE_BYTES: usize = 18;
/// Characters of an id that logflow makes.
pub const MADE_CHARS: usize = 24;

/// The id of an event: the `_id` of its document.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId(String);

/// Why a client's id cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EventIdError {
    /// An empty id names nothing.
    #[error("the event id is empty")]
    Empty,
    /// Longer than Elasticsearch takes.
    #[error("the event id has {0} bytes, at most {EVENT_ID_BYTES_MAX} are possible")]
    TooLong(usize),
}

impl EventId {
    /// The id that the client gave for the event. Without a tenant it stays as
    /// it is; with one it is hashed with it, so that tenants cannot overwrite
    /// each other's events.
    ///
    /// # Errors
    /// [`EventIdError`] if it is empty or too long for Elasticsearch.
    pub fn from_client(tenant: Option<&str>, id: &str) -> Result<Self, EventIdError> {
        match (id.len(), tenant) {
            (0, _) => Err(EventIdError::Empty),
            (EVENT_ID_BYTES_MAX.., _) if id.len() > EVENT_ID_BYTES_MAX => {
                Err(EventIdError::TooLong(id.len()))
            }
            (_, None) => Ok(Self(id.to_owned())),
            (_, Some(tenant)) => Ok(Self::hashed(
                b"client-id",
                &[tenant.as_bytes(), id.as_bytes()],
            )),
        }
    }

    /// The id of the event at `position` of a request that carried an
    /// `Idempotency-Key`. `bytes` are the event's as sent: a key that is reused
    /// by mistake for other events gives other ids and so swallows nothing.
    #[must_use]
    pub fn from_idempotency_key(
        tenant: Option<&str>,
        key: &str,
        position: usize,
        bytes: &[u8],
    ) -> Self {
        let position = (position as u64).to_be_bytes();
        Self::hashed(
            b"idempotency-key",
            &[
                tenant.unwrap_or("").as_bytes(),
                key.as_bytes(),
                &position,
                bytes,
            ],
        )
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn hashed(purpose: &[u8], parts: &[&[u8]]) -> Self {
        let mut made = [0; MADE_BYTES];
        made.copy_from_slice(&digest(purpose, parts)[..MADE_BYTES]);
        Self(URL_SAFE_NO_PAD.encode(made))
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Makes ids for events that come without one: the time first, because Lucene
/// looks up ids of a narrow, growing range fastest; then what tells processes
/// apart; then a counter.
#[derive(Debug)]
pub struct EventIdMinter {
    process: [u8; 8],
    counter: AtomicU32,
}

impl EventIdMinter {
    /// `process` is random, drawn once per process.
    #[must_use]
    pub fn new(process: [u8; 8]) -> Self {
        Self {
            process,
            counter: AtomicU32::new(0),
        }
    }

    /// An id that no other event has, as long as fewer than 2³² events arrive
    /// in one millisecond.
    pub fn mint(&self, received: Timestamp) -> EventId {
        let count = self.counter.fetch_add(1, Ordering::Relaxed);
        let mut made = [0; MADE_BYTES];
        made[..6].copy_from_slice(&received.millis().to_be_bytes()[2..]);
        made[6..14].copy_from_slice(&self.process);
        made[14..].copy_from_slice(&count.to_be_bytes());
        EventId(URL_SAFE_NO_PAD.encode(made))
    }
}

/// The id of a record that another producer wrote: its timestamp, then a hash
/// of where it stands and what it says. A topic that is deleted and created
/// again repeats offsets, but not these ids.
#[must_use]
pub fn of_foreign_record(
    topic: &str,
    partition: i32,
    offset: i64,
    timestamp_ms: Option<i64>,
    value: &[u8],
) -> [u8; MADE_CHARS] {
    let timestamp = timestamp_ms.unwrap_or(0).max(0).to_be_bytes();
    let hash = digest(
        b"foreign-record",
        &[
            topic.as_bytes(),
            &partition.to_be_bytes(),
            &offset.to_be_bytes(),
            &timestamp,
            value,
        ],
    );
    let mut made = [0; MADE_BYTES];
    made[..6].copy_from_slice(&timestamp[2..]);
    made[6..].copy_from_slice(&hash[..MADE_BYTES - 6]);
    let mut text = [0; MADE_CHARS];
    URL_SAFE_NO_PAD
        .encode_slice(made, &mut text)
        .expect("18 bytes are 24 characters of base64");
    text
}

/// SHA-256 over the purpose and the parts, each with its length before it, so
/// that no two lists of parts give the same input.
fn digest(purpose: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for part in std::iter::once(&purpose).chain(parts) {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    hasher.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn received() -> Timestamp {
        Timestamp::from_millis(1_694_764_800_000).unwrap()
    }

    #[test]
    fn a_client_id_stays_as_it_is_unless_a_tenant_owns_it() {
        let alone = EventId::from_client(None, "order-17").unwrap();
        assert_eq!(alone.as_str(), "order-17");
        let a = EventId::from_client(Some("a"), "order-17").unwrap();
        let b = EventId::from_client(Some("b"), "order-17").unwrap();
        assert_eq!(a.as_str().len(), MADE_CHARS);
        assert_ne!(a, b);
        assert_eq!(EventId::from_client(None, ""), Err(EventIdError::Empty));
        let long = "x".repeat(513);
        assert_eq!(
            EventId::from_client(None, &long),
            Err(EventIdError::TooLong(513))
        );
        assert!(EventId::from_client(None, &long[..512]).is_ok());
    }

    #[test]
    fn a_repeated_request_gives_the_same_ids_and_a_reused_key_gives_others() {
        let id = |key, position, bytes: &str| {
            EventId::from_idempotency_key(None, key, position, bytes.as_bytes())
        };
        assert_eq!(id("k", 0, "{}"), id("k", 0, "{}"));
        assert_ne!(id("k", 0, "{}"), id("k", 1, "{}"));
        assert_ne!(id("k", 0, "{}"), id("l", 0, "{}"));
        assert_ne!(id("k", 0, "{}"), id("k", 0, "{ }"));
    }

    #[test]
    fn the_ids_are_stable_across_versions() {
        let keyed = EventId::from_idempotency_key(Some("t"), "k", 3, b"{}");
        let foreign = of_foreign_record("logs", 2, 17, Some(1_694_764_800_000), b"{}");
        let minted = EventIdMinter::new(*b"12345678").mint(received());
        assert_eq!(
            (
                keyed.as_str(),
                std::str::from_utf8(&foreign).unwrap(),
                minted.as_str()
            ),
            (
                "iExANSmtJ4RaG2codBkOLIei",
                "AYqX2pgA5dtZTB_QGRjIDyfc",
                "AYqX2pgAMTIzNDU2NzgAAAAA"
            )
        );
    }

    #[test]
    fn minted_ids_differ_and_sort_by_time() {
        let minter = EventIdMinter::new(*b"12345678");
        let ids: Vec<_> = (0..1_000).map(|_| minter.mint(received())).collect();
        assert_eq!(ids.iter().collect::<HashSet<_>>().len(), 1_000);
        let bytes = |id: &EventId| URL_SAFE_NO_PAD.decode(id.as_str()).unwrap();
        let later = minter.mint(received().plus_nanos(1_000_000));
        assert!(ids.iter().all(|id| bytes(id) < bytes(&later)));
    }

    #[test]
    fn a_foreign_record_is_told_apart_by_each_coordinate_and_its_value() {
        let base = of_foreign_record("logs", 0, 1, Some(5), b"{}");
        assert_eq!(base, of_foreign_record("logs", 0, 1, Some(5), b"{}"));
        for other in [
            of_foreign_record("logz", 0, 1, Some(5), b"{}"),
            of_foreign_record("logs", 1, 1, Some(5), b"{}"),
            of_foreign_record("logs", 0, 2, Some(5), b"{}"),
            of_foreign_record("logs", 0, 1, Some(6), b"{}"),
            of_foreign_record("logs", 0, 1, Some(5), b"{ }"),
        ] {
            assert_ne!(base, other);
        }
    }
}
