//! What one transaction writes: rows by partition, and how far they bring each.
//!
//! In the flow: `row` → **`batch`** → `writer`. Pure. Upholds AR-5: bytes, rows and days of a transaction are bounded.

use std::collections::BTreeSet;
use std::time::Duration;

use log_event::document::UtcDay;
use log_event::offset::{NextOffset, Offset, TopicPartition};

use crate::row::Row;

/// When a batch is complete.
#[derive(Clone, Copy, Debug)]
pub struct BatchLimits {
    /// About so many bytes; a single row may have more.
    pub bytes_max: usize,
    /// So many rows.
    pub rows_max: usize,
    /// Rows of so many days: for each a table may have to be made.
    pub days_max: usize,
    /// Its first row has waited so long.
    pub linger: Duration,
}

/// The rows of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Which partition.
    pub at: TopicPartition,
    /// The claim that it was read under.
    pub generation: u64,
    /// The topic that its offsets count in, where the brokers tell ids.
    pub topic_id: Option<String>,
    /// Where reading goes on once the rows are written.
    pub next: NextOffset,
    /// In the order of their offsets.
    pub rows: Vec<Row>,
}

/// What one transaction writes.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// At least one, each partition once.
    pub parts: Vec<Part>,
    /// The days of the rows.
    pub days: BTreeSet<UtcDay>,
    /// How many rows.
    pub n_rows: usize,
    /// About how many bytes.
    pub n_bytes: usize,
}

impl Batch {
    /// Receipt of the newest record, milliseconds since the epoch.
    #[must_use]
    pub fn newest_received_ms(&self) -> Option<i64> {
        let rows = self.parts.iter().flat_map(|part| &part.rows);
        rows.filter_map(|row| row.received_ms).max()
    }
}

/// Collects rows until a batch is complete.
#[derive(Debug)]
pub struct Batcher {
    limits: BatchLimits,
    building: Batch,
    since: Duration,
}

impl Batcher {
    /// With nothing in it.
    #[must_use]
    pub fn new(limits: BatchLimits) -> Self {
        Self {
            limits,
            building: Batch::default(),
            since: Duration::ZERO,
        }
    }

    /// Takes a row. Returns the batch that was complete before it, if it did not fit into that.
    #[must_use]
    pub fn push(
        &mut self,
        now: Duration,
        at: &TopicPartition,
        generation: u64,
        topic_id: Option<&str>,
        row: Row,
    ) -> Option<Batch> {
        let complete = match self.has_room_for(&row) {
            true => None,
            false => self.seal(),
        };
        if self.building.parts.is_empty() {
            self.since = now;
        }
        let batch = &mut self.building;
        batch.days.insert(row.day);
        batch.n_rows += 1;
        batch.n_bytes += row.n_bytes();
        let next = Offset(row.offset).next();
        match batch.parts.iter_mut().find(|part| part.at == *at) {
            Some(part) => {
                part.next = next;
                part.rows.push(row);
            }
            None => batch.parts.push(Part {
                at: at.clone(),
                generation,
                topic_id: topic_id.map(str::to_owned),
                next,
                rows: vec![row],
            }),
        }
        complete
    }

    fn has_room_for(&self, row: &Row) -> bool {
        let (batch, limits) = (&self.building, &self.limits);
        batch.parts.is_empty()
            || (batch.n_rows < limits.rows_max
                && batch.n_bytes + row.n_bytes() <= limits.bytes_max
                && (batch.days.len() < limits.days_max || batch.days.contains(&row.day)))
    }

    /// Whether the batch is to be written now.
    #[must_use]
    pub fn is_due(&self, now: Duration) -> bool {
        let (batch, limits) = (&self.building, &self.limits);
        !batch.parts.is_empty()
            && (batch.n_rows >= limits.rows_max
                || batch.n_bytes >= limits.bytes_max
                || now >= self.since + limits.linger)
    }

    /// The batch as it is, if there is anything in it.
    pub fn seal(&mut self) -> Option<Batch> {
        let batch = std::mem::take(&mut self.building);
        (!batch.parts.is_empty()).then_some(batch)
    }

    /// Forgets the rows of partitions that are no longer ours: somebody else reads them again.
    pub fn forget(&mut self, partitions: &[TopicPartition]) {
        let batch = &mut self.building;
        batch.parts.retain(|part| !partitions.contains(&part.at));
        let rows = || batch.parts.iter().flat_map(|part| &part.rows);
        let (n_rows, n_bytes) = (rows().count(), rows().map(Row::n_bytes).sum());
        let days = rows().map(|row| row.day).collect();
        (batch.n_rows, batch.n_bytes, batch.days) = (n_rows, n_bytes, days);
    }

    /// About how many bytes it holds.
    #[must_use]
    pub fn n_bytes(&self) -> usize {
        self.building.n_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_MS: i64 = 86_400_000;
    const LIMITS: BatchLimits = BatchLimits {
        bytes_max: 4_000,
        rows_max: 10,
        days_max: 2,
        linger: Duration::from_millis(200),
    };

    fn at(partition: i32) -> TopicPartition {
        TopicPartition {
            topic: "logs".to_owned(),
            partition,
        }
    }

    fn row(offset: i64, day: i64, bytes: usize) -> Row {
        Row {
            day: UtcDay::of_millis(day * DAY_MS),
            event_id: vec![b'a'; 24],
            event_time_ms: None,
            received_ms: Some(day * DAY_MS),
            tenant: None,
            offset,
            value: Some(vec![b'x'; bytes]),
        }
    }

    /// Pushes rows of partition 0 and tells how many were in each batch.
    #[track_caller]
    fn check(rows: &[(i64, usize)], expected: &[usize]) {
        let mut batcher = Batcher::new(LIMITS);
        let mut sizes = Vec::new();
        for (offset, (day, bytes)) in (0..).zip(rows) {
            let row = row(offset, *day, *bytes);
            let complete = batcher.push(Duration::ZERO, &at(0), 1, None, row);
            sizes.extend(complete.map(|batch| batch.n_rows));
        }
        sizes.extend(batcher.seal().map(|batch| batch.n_rows));
        assert_eq!(sizes, expected);
    }

    /// AR-5.
    #[test]
    fn a_batch_ends_before_the_row_that_is_too_much() {
        check(&[(1, 10); 25], &[10, 10, 5]);
        check(&[(1, 1_000); 5], &[3, 2]);
        check(&[(1, 9_000), (1, 10), (1, 9_000)], &[1, 1, 1]);
        check(&[(1, 10), (2, 10), (3, 10), (1, 10)], &[2, 2]);
        check(&[], &[]);
    }

    #[test]
    fn a_batch_is_due_when_it_is_full_or_has_waited() {
        let mut batcher = Batcher::new(LIMITS);
        assert!(!batcher.is_due(Duration::from_secs(9)));
        let ms = Duration::from_millis;
        assert!(
            batcher
                .push(ms(50), &at(0), 1, None, row(0, 1, 10))
                .is_none()
        );
        assert!(!batcher.is_due(ms(249)));
        assert!(batcher.is_due(ms(250)));
        assert!(
            batcher
                .push(ms(60), &at(0), 1, None, row(1, 1, 3_300))
                .is_none()
        );
        assert!(!batcher.is_due(ms(60)));
    }

    #[test]
    fn each_partition_goes_on_behind_its_last_row_and_the_lost_ones_are_forgotten() {
        let mut batcher = Batcher::new(LIMITS);
        for (partition, offset, day) in [(0, 5, 1), (1, 9, 2), (0, 8, 1)] {
            let complete = batcher.push(
                Duration::ZERO,
                &at(partition),
                4,
                Some("id"),
                row(offset, day, 1),
            );
            assert!(complete.is_none());
        }
        batcher.forget(&[at(1)]);
        let batch = batcher.seal().unwrap();
        assert_eq!((batch.n_rows, batch.days.len()), (2, 1));
        let [part] = &batch.parts[..] else {
            panic!("{batch:?}")
        };
        assert_eq!((part.next, part.generation), (NextOffset(9), 4));
        assert_eq!(part.topic_id.as_deref(), Some("id"));
        assert!(batcher.seal().is_none());
    }
}
