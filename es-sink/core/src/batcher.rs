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
    /// What a full request comes to, with some room, going by the last one: where documents are
    /// small, it is full of items long before it is full of bytes.
    full_bytes: usize,
    /// Memory of requests that are settled. Without it, allocating and freeing
    /// megabytes in turn leaves an allocator with holes as large as the rest.
    spares: Vec<BulkRequest>,
}

/// One is filled while another comes back.
const SPARES_MAX: usize = 2;

impl Batcher {
    /// Nothing is allocated before the first record.
    #[must_use]
    pub fn new(limits: BulkLimits) -> Self {
        Self {
            limits,
            building: BulkRequest::default(),
            started: Duration::ZERO,
            full_bytes: limits.bytes_max,
            spares: Vec::new(),
        }
    }

    /// Keeps the memory of a settled request for one to come, if it has the
    /// size for it.
    pub fn reuse(&mut self, spare: BulkRequest) {
        let fits = (self.full_bytes..=2 * self.full_bytes).contains(&spare.body_capacity());
        if fits && self.spares.len() < SPARES_MAX {
            self.spares.push(spare);
        }
    }

    /// The request to add a document of `value_bytes` to, and the one that had
    /// to be sealed to make room.
    pub fn room_for(
        &mut self,
        now: Duration,
        value_bytes: usize,
    ) -> (&mut BulkRequest, Option<SealedRequest>) {
        let body_bytes = self.building.body_bytes();
        let full_of_items = self.building.n_items() >= self.limits.items_max;
        let full =
            full_of_items || body_bytes + value_bytes + ACTION_BYTES_MAX > self.limits.bytes_max;
        if full {
            self.full_bytes = self.limits.bytes_max;
            if full_of_items {
                self.full_bytes = self.full_bytes.min(body_bytes + body_bytes / 8);
            }
        }
        let sealed = if full { self.seal() } else { None };
        if self.building.n_items() == 0 {
            self.started = now;
            let spare = self.spares.pop();
            self.building = spare.unwrap_or_else(|| BulkRequest::with_capacity(self.full_bytes));
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

    /// When the request will have waited long enough; a full one waits for nothing.
    #[must_use]
    pub fn due_at(&self) -> Option<Duration> {
        match self.building.n_items() {
            0 => None,
            n_items if n_items >= self.limits.items_max => Some(self.started),
            _ => Some(self.started + self.limits.linger),
        }
    }

    /// The request, however small.
    pub fn seal(&mut self) -> Option<SealedRequest> {
        let building = std::mem::take(&mut self.building);
        (building.n_items() > 0).then(|| building.seal())
    }

    /// The earliest Kafka timestamp of the records in the request that is being built.
    #[must_use]
    pub fn oldest_ms(&self) -> Option<i64> {
        self.building.oldest_ms()
    }

    #[cfg(logflow_mutants)]
    pub(crate) fn building(&self) -> &BulkRequest {
        &self.building
    }

    /// What it holds in memory, about.
    #[must_use]
    pub fn n_bytes(&self) -> usize {
        self.building.n_bytes()
    }
}

#[cfg(test)]
mod tests {
    use log_event::offset::Offset;

    use super::*;
    use crate::assignment::{Assignments, TopicPartition};
    use crate::bulk_request::Record;

    const LIMITS: BulkLimits = BulkLimits {
        bytes_max: 100_000,
        items_max: 10,
        linger: Duration::from_millis(50),
    };

    struct Fixture {
        batcher: Batcher,
        assignments: Assignments,
        next: i64,
    }

    impl Fixture {
        fn new(limits: BulkLimits) -> Self {
            let mut assignments = Assignments::default();
            let at = TopicPartition {
                topic: "logs".to_owned(),
                partition: 0,
            };
            assignments.add(at, None);
            Self {
                batcher: Batcher::new(limits),
                assignments,
                next: 0,
            }
        }

        /// Adds a document of so many bytes; the number of items sealed for it.
        fn add(&mut self, millis: u64, value_bytes: usize) -> Option<usize> {
            let sealed = self.push(millis, value_bytes)?;
            assert!(sealed.items().len() == 1 || sealed.body().len() <= LIMITS.bytes_max);
            Some(sealed.items().len())
        }

        fn push(&mut self, millis: u64, value_bytes: usize) -> Option<SealedRequest> {
            let offset = Offset(self.next);
            self.next += 1;
            let ticket = self.assignments.track("logs", 0, offset).unwrap();
            let value = vec![b' '; value_bytes];
            let record = Record {
                topic: "logs",
                partition: 0,
                offset,
                timestamp_ms: None,
                key: None,
                value: Some(&value),
                headers: std::iter::empty(),
                mark: None,
            };
            let now = Duration::from_millis(millis);
            let (building, sealed) = self.batcher.room_for(now, value_bytes);
            building.push(ticket, "i", &"\u{1}".repeat(512), &value, &record);
            sealed
        }

        fn due(&mut self, millis: u64) -> Option<usize> {
            let due = self.batcher.take_due(Duration::from_millis(millis));
            due.map(|sealed| sealed.items().len())
        }
    }

    #[test]
    fn a_request_is_sealed_before_it_grows_too_large() {
        let mut fixture = Fixture::new(LIMITS);
        let sealed: Vec<_> = (0..9).map(|_| fixture.add(0, 20_000)).collect();
        assert_eq!(sealed[..4], [None, None, None, None]);
        assert_eq!(sealed[4], Some(4));
        assert_eq!(sealed[8], Some(4));
    }

    #[test]
    fn a_request_is_sealed_with_its_last_item() {
        let mut fixture = Fixture::new(LIMITS);
        let sealed: Vec<_> = (0..11).map(|_| fixture.add(0, 10)).collect();
        assert_eq!(sealed[..10], [None; 10]);
        assert_eq!(sealed[10], Some(10));
    }

    #[test]
    fn a_huge_document_goes_alone() {
        let mut fixture = Fixture::new(LIMITS);
        assert_eq!(fixture.add(0, 10), None);
        assert_eq!(fixture.add(0, 500_000), Some(1));
        assert_eq!(fixture.add(0, 10), Some(1));
        assert_eq!(fixture.due(50), Some(1));
    }

    #[test]
    fn the_first_document_waits_no_longer_than_the_linger() {
        let mut fixture = Fixture::new(LIMITS);
        assert_eq!(fixture.batcher.due_at(), None);
        assert_eq!(fixture.due(1_000_000), None);
        fixture.add(100, 10);
        fixture.add(140, 10);
        assert_eq!(fixture.batcher.due_at(), Some(Duration::from_millis(150)));
        assert_eq!(fixture.due(149), None);
        assert_eq!(fixture.due(150), Some(2));
        fixture.add(200, 10);
        assert_eq!(fixture.batcher.due_at(), Some(Duration::from_millis(250)));
    }

    #[test]
    fn a_request_with_as_many_items_as_it_may_have_waits_for_no_more() {
        let mut fixture = Fixture::new(LIMITS);
        (0..9).for_each(|_| assert_eq!(fixture.add(100, 10), None));
        assert_eq!(fixture.due(100), None);
        assert_eq!(fixture.add(100, 10), None);
        assert_eq!(fixture.due(100), Some(10));
    }

    #[test]
    fn a_request_that_is_full_of_small_items_leaves_its_memory_to_the_next() {
        let mut fixture = Fixture::new(LIMITS);
        let mut settle_a_full_one = || {
            let sealed = (0..20).find_map(|_| fixture.push(0, 10)).unwrap();
            assert!(sealed.body().len() < LIMITS.bytes_max / 2);
            let (_, spare) = sealed.regroup::<1>(|_, _| None);
            fixture.batcher.reuse(spare.unwrap());
            fixture.batcher.spares.len()
        };
        // The first was made before it was known what a full one comes to.
        assert_eq!(settle_a_full_one(), 0);
        for _ in 0..5 {
            assert_eq!(settle_a_full_one(), 1);
        }
    }

    #[test]
    fn a_small_request_keeps_no_room_for_a_large_one() {
        let mut fixture = Fixture::new(LIMITS);
        fixture.add(0, 10);
        let sealed = fixture.batcher.seal().unwrap();
        let body = Vec::from(sealed.body());
        drop(sealed);
        assert!(body.capacity() < 10_000, "{}", body.capacity());
        assert!(fixture.batcher.seal().is_none());
        assert_eq!(fixture.batcher.n_bytes(), 0);
    }
}
