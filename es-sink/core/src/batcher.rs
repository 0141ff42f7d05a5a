//! Decides when a bulk request is full or old enough to go.
//!
//! In the flow: `bulk_request` → **`batcher`** → `sink`.
//! Not here: how many requests go at once (`sink`).

use std::time::Duration;

use crate::bulk_request::{BulkRequest, SealedRequest};

/// Limits of one bulk request.
#[derive(Clone, Copy, Debug)]
pub struct BulkLimits {
    /// The body is sealed before it would grow beyond this; a single larger
    /// document goes alone.
    pub bytes_max: usize,
    /// At most this many documents.
    pub items_max: usize,
    /// No document waits longer for company.
    pub linger: Duration,
}

/// Room for the action line of a document: an id of 512 bytes, each of which
/// may need six in JSON, an index name of 255, and the frame.
const ACTION_BYTES_MAX: usize = 512 * 6 + 255 + 64;

/// The request that is being built.
#[derive(Debug)]
pub struct Batcher {
    limits: BulkLimits,
    building: BulkRequest,
    started: Duration,
}

impl Batcher {
    /// Nothing is allocated before the first record.
    #[must_use]
    pub fn new(limits: BulkLimits) -> Self {
        Self {
            limits,
            building: BulkRequest::default(),
            started: Duration::ZERO,
        }
    }

    /// The request to add a document of `value_bytes` to, and the one that had
    /// to be sealed to make room.
    pub fn room_for(
        &mut self,
        now: Duration,
        value_bytes: usize,
    ) -> (&mut BulkRequest, Option<SealedRequest>) {
        let full = self.building.body_bytes() + value_bytes + ACTION_BYTES_MAX
            > self.limits.bytes_max
            || self.building.n_items() >= self.limits.items_max;
        let sealed = if full { self.seal() } else { None };
        if self.building.n_items() == 0 {
            self.started = now;
            self.building = BulkRequest::with_capacity(self.limits.bytes_max);
        }
        (&mut self.building, sealed)
    }

    /// The request, if it has waited long enough.
    pub fn take_due(&mut self, now: Duration) -> Option<SealedRequest> {
        if now < self.due_at()? {
            None
        } else {
            self.seal()
        }
    }

    /// When the request will have waited long enough.
    #[must_use]
    pub fn due_at(&self) -> Option<Duration> {
        (self.building.n_items() > 0).then(|| self.started + self.limits.linger)
    }

    /// The request, however small.
    pub fn seal(&mut self) -> Option<SealedRequest> {
        let building = std::mem::take(&mut self.building);
        (building.n_items() > 0).then(|| building.seal())
    }

    /// What it holds in memory, about.
    #[must_use]
    pub fn n_bytes(&self) -> usize {
        self.building.n_bytes()
    }
}
