//! Which records of each partition are read once more, and how far that has come.
//!
//! In the flow: Kafka's answers → **`span`** → `replay`. Pure.

use std::collections::BTreeMap;

use es_sink_core::assignment::TopicPartition;
use log_event::offset::{NextOffset, Offset};

/// The records of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Part {
    first: i64,
    end: i64,
    /// Where reading is.
    next: i64,
}

/// What Kafka says of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// The first offset that there is.
    pub low: i64,
    /// The one behind the last.
    pub high: i64,
    /// The first record at or after the beginning of the span; `None`: there is none.
    pub from: Option<i64>,
    /// The first record at or after its end; `None`: there is none.
    pub to: Option<i64>,
}

/// The records that are read once more.
#[derive(Debug, Default)]
pub struct Span(BTreeMap<TopicPartition, Part>);

impl Span {
    /// Adds a partition, unless nothing of it is meant.
    pub fn add(&mut self, at: TopicPartition, extent: Extent) {
        let Extent {
            low,
            high,
            from,
            to,
        } = extent;
        let (first, end) = (from.unwrap_or(high).max(low), to.unwrap_or(high).min(high));
        if first < end {
            let next = first;
            self.0.insert(at, Part { first, end, next });
        }
    }

    /// Where reading begins, of each partition.
    #[must_use]
    pub fn starts(&self) -> Vec<(TopicPartition, NextOffset)> {
        let parts = self.0.iter();
        parts
            .map(|(at, part)| (at.clone(), NextOffset(part.first)))
            .collect()
    }

    /// Takes note of a record. Tells whether it is meant.
    pub fn meets(&mut self, topic: &str, partition: i32, offset: Offset) -> bool {
        let Some(part) = self.part(topic, partition) else {
            return false;
        };
        let is_meant = (part.next..part.end).contains(&offset.0);
        part.next = part.next.max(offset.0 + 1);
        is_meant
    }

    /// There is nothing more in the partition: what is missing at its end were no records.
    pub fn ends(&mut self, topic: &str, partition: i32) {
        if let Some(part) = self.part(topic, partition) {
            part.next = part.next.max(part.end);
        }
    }

    /// Whether all of it was read.
    #[must_use]
    pub fn is_read(&self) -> bool {
        self.0.values().all(|part| part.next >= part.end)
    }

    /// How many offsets it has, and how many of them are behind us.
    #[must_use]
    pub fn progress(&self) -> (i64, i64) {
        let all = self.0.values().map(|part| part.end - part.first).sum();
        let done = self
            .0
            .values()
            .map(|part| part.next.min(part.end) - part.first);
        (all, done.sum())
    }

    fn part(&mut self, topic: &str, partition: i32) -> Option<&mut Part> {
        let mut parts = self.0.iter_mut();
        let found = parts.find(|(at, _)| at.partition == partition && at.topic == topic);
        found.map(|(_, part)| part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(partition: i32) -> TopicPartition {
        TopicPartition {
            topic: "logs".to_owned(),
            partition,
        }
    }

    fn extent(low: i64, high: i64, from: Option<i64>, to: Option<i64>) -> Extent {
        Extent {
            low,
            high,
            from,
            to,
        }
    }

    #[test]
    fn a_partition_without_a_record_of_the_span_is_not_read() {
        let mut span = Span::default();
        span.add(at(0), extent(0, 10, None, None));
        span.add(at(1), extent(5, 5, Some(5), None));
        span.add(at(2), extent(0, 10, Some(4), Some(4)));
        assert!(span.starts().is_empty() && span.is_read());
        assert_eq!(span.progress(), (0, 0));
    }

    #[test]
    fn it_is_read_when_each_partition_is_at_its_end_or_has_nothing_more() {
        let mut span = Span::default();
        span.add(at(0), extent(0, 10, Some(3), Some(6)));
        span.add(at(1), extent(2, 9, Some(0), None));
        assert_eq!(
            span.starts(),
            [(at(0), NextOffset(3)), (at(1), NextOffset(2))]
        );
        assert!(span.meets("logs", 0, Offset(3)) && span.meets("logs", 0, Offset(5)));
        assert!(!span.meets("logs", 0, Offset(6)), "behind the end");
        assert!(!span.meets("other", 1, Offset(4)));
        assert!(!span.is_read());
        assert_eq!(span.progress(), (10, 3));
        span.ends("logs", 1);
        assert!(span.is_read());
        assert_eq!(span.progress(), (10, 10));
    }

    proptest! {
        /// Whatever holes a partition has, exactly the records between both ends are meant, each once.
        #[test]
        fn exactly_the_records_between_both_ends_are_meant(
            mut offsets in proptest::collection::btree_set(0_i64..60, 0..40),
            from in 0_i64..60,
            to in 0_i64..60,
        ) {
            offsets.insert(60);
            let high = 61;
            let mut span = Span::default();
            let reach = |bound: i64| offsets.range(bound..).next().copied();
            span.add(at(0), extent(0, high, reach(from), reach(to)));
            let Some((_, start)) = span.starts().pop() else {
                prop_assert!(from >= to || reach(from) == reach(to));
                return Ok(());
            };
            let read = offsets.range(start.0..).copied();
            let meant: Vec<i64> = read.filter(|offset| span.meets("logs", 0, Offset(*offset))).collect();
            let model: Vec<i64> = offsets.iter().copied().filter(|offset| (from..to).contains(offset)).collect();
            prop_assert_eq!(meant, model);
            prop_assert!(span.is_read());
        }
    }
}
