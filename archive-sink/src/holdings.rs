//! Which partitions are ours, and how far each is on its way to be read.
//!
//! In the flow: Kafka's rebalances → **`holdings`** → `engine`. Pure. A partition is assigned, then claimed in
//! PostgreSQL, which says where reading begins, then sought, then read. What goes wrong on the way is tried again; a
//! partition that another has claimed meanwhile is claimed again, if Kafka still says that it is ours.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use log_event::offset::{NextOffset, TopicPartition};

/// Before a partition is claimed again that another had claimed: two groups on one archive must not fight at full speed.
const CLAIM_PAUSE: Duration = Duration::from_secs(1);
/// Before a seek is tried again.
const SEEK_PAUSE: Duration = Duration::from_millis(200);

/// The claims that still count, for who carries them out later.
#[derive(Clone, Debug, Default)]
pub struct Current(Arc<Mutex<BTreeSet<u64>>>);

impl Current {
    /// Whether the partition is ours under this claim.
    #[must_use]
    pub fn has(&self, generation: u64) -> bool {
        self.set(|current| current.contains(&generation))
    }

    fn set<T>(&self, change: impl FnOnce(&mut BTreeSet<u64>) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// How far a partition is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The topic's id is not known.
    Unknown,
    /// To be claimed, not before this time.
    Unclaimed(Duration),
    /// PostgreSQL has not answered.
    Claiming,
    /// To be sought, not before this time. `None` is the beginning.
    Claimed(Option<NextOffset>, Duration),
    /// Read.
    Reading,
}

/// One partition of ours.
#[derive(Debug)]
pub struct Holding {
    /// Which.
    pub at: TopicPartition,
    /// Of its latest claim; each has its own number.
    pub generation: u64,
    /// Where PostgreSQL is, as far as it has told.
    pub archived: Option<NextOffset>,
    phase: Phase,
}

impl Holding {
    /// Whether its records are taken.
    #[must_use]
    pub fn is_reading(&self) -> bool {
        self.phase == Phase::Reading
    }
}

/// The partitions that are ours.
#[derive(Debug, Default)]
pub struct Holdings {
    all: Vec<Holding>,
    generations: u64,
    current: Current,
}

impl Holdings {
    /// For who carries out claims.
    #[must_use]
    pub fn current(&self) -> Current {
        self.current.clone()
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> &[Holding] {
        &self.all
    }

    /// These are ours now. `known` tells whether the id of their topic is, as far as there is one.
    pub fn assign(&mut self, partitions: Vec<TopicPartition>, now: Duration, known: bool) {
        self.lose(&partitions);
        for at in partitions {
            let phase = match known {
                true => Phase::Unclaimed(now),
                false => Phase::Unknown,
            };
            self.all.push(Holding {
                at,
                generation: 0,
                archived: None,
                phase,
            });
        }
    }

    /// These are ours no more.
    pub fn lose(&mut self, partitions: &[TopicPartition]) {
        for gone in self.all.iter().filter(|one| partitions.contains(&one.at)) {
            self.current.set(|current| current.remove(&gone.generation));
        }
        self.all.retain(|one| !partitions.contains(&one.at));
    }

    /// The brokers have told the ids of the topics. Returns the partitions that waited for that.
    pub fn topics_are_known(&mut self, now: Duration) -> Vec<TopicPartition> {
        let waiting = self
            .all
            .iter_mut()
            .filter(|one| one.phase == Phase::Unknown);
        waiting
            .map(|one| {
                one.phase = Phase::Unclaimed(now);
                one.at.clone()
            })
            .collect()
    }

    /// The partitions that are to be claimed now, each with the number of its claim.
    pub fn claims(&mut self, now: Duration) -> Vec<(TopicPartition, u64)> {
        let mut claims = Vec::new();
        for one in &mut self.all {
            if matches!(one.phase, Phase::Unclaimed(after) if now >= after) {
                self.generations += 1;
                let (old, new) = (one.generation, self.generations);
                self.current.set(|current| {
                    current.remove(&old);
                    current.insert(new);
                });
                one.generation = new;
                one.phase = Phase::Claiming;
                claims.push((one.at.clone(), new));
            }
        }
        claims
    }

    /// PostgreSQL has said where reading begins; `None` is the beginning.
    pub fn claimed(
        &mut self,
        at: &TopicPartition,
        generation: u64,
        stored: NextOffset,
        begin: Option<NextOffset>,
    ) {
        if let Some(one) = self.of(at, generation) {
            one.archived = Some(stored);
            one.phase = Phase::Claimed(begin, Duration::ZERO);
        }
    }

    /// The partitions that are to be sought now, and where.
    #[must_use]
    pub fn seeks(&self, now: Duration) -> Vec<(TopicPartition, Option<NextOffset>)> {
        let due = self.all.iter().filter_map(|one| match one.phase {
            Phase::Claimed(begin, after) if now >= after => Some((one.at.clone(), begin)),
            _ => None,
        });
        due.collect()
    }

    /// What came of a seek.
    pub fn sought(&mut self, at: &TopicPartition, now: Duration, done: bool) {
        if let Some(one) = self.all.iter_mut().find(|one| one.at == *at)
            && let Phase::Claimed(begin, _) = one.phase
        {
            one.phase = match done {
                true => Phase::Reading,
                false => Phase::Claimed(begin, now + SEEK_PAUSE),
            };
        }
    }

    /// The claim that a record is read under, if its partition is read.
    #[must_use]
    pub fn reading(&self, topic: &str, partition: i32) -> Option<&Holding> {
        let mut of_number = self.all.iter().filter(|one| one.at.partition == partition);
        of_number.find(|one| one.at.topic == topic && one.is_reading())
    }

    /// What was read is written.
    pub fn written(&mut self, at: &TopicPartition, generation: u64, next: NextOffset) {
        if let Some(one) = self.of(at, generation) {
            one.archived = Some(next);
        }
    }

    /// Another has claimed the partition, or changed its offset. Tells whether that is news.
    pub fn deposed(&mut self, at: &TopicPartition, generation: u64, now: Duration) -> bool {
        match self.of(at, generation) {
            Some(one) if !matches!(one.phase, Phase::Unclaimed(_)) => {
                one.phase = Phase::Unclaimed(now + CLAIM_PAUSE);
                true
            }
            _ => false,
        }
    }

    fn of(&mut self, at: &TopicPartition, generation: u64) -> Option<&mut Holding> {
        let mut all = self.all.iter_mut();
        all.find(|one| one.at == *at && one.generation == generation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(5);

    fn at(partition: i32) -> TopicPartition {
        TopicPartition {
            topic: "logs".to_owned(),
            partition,
        }
    }

    #[test]
    fn a_partition_is_claimed_then_sought_then_read() {
        let mut holdings = Holdings::default();
        let current = holdings.current();
        holdings.assign(vec![at(3)], NOW, true);
        assert!(holdings.reading("logs", 3).is_none());
        assert_eq!(holdings.claims(NOW), [(at(3), 1)]);
        assert!(holdings.claims(NOW).is_empty() && current.has(1));
        holdings.claimed(&at(3), 1, NextOffset(7), Some(NextOffset(7)));
        assert_eq!(holdings.seeks(NOW), [(at(3), Some(NextOffset(7)))]);
        holdings.sought(&at(3), NOW, false);
        assert!(holdings.seeks(NOW).is_empty());
        assert_eq!(holdings.seeks(NOW + SEEK_PAUSE).len(), 1);
        holdings.sought(&at(3), NOW, true);
        assert!(holdings.reading("logs", 3).is_some());
        assert!(holdings.reading("other", 3).is_none());
        holdings.lose(&[at(3)]);
        assert!(holdings.reading("logs", 3).is_none() && !current.has(1));
    }

    #[test]
    fn a_partition_that_another_claimed_is_claimed_again_after_a_pause() {
        let mut holdings = Holdings::default();
        holdings.assign(vec![at(0)], NOW, false);
        assert!(holdings.claims(NOW).is_empty());
        assert_eq!(holdings.topics_are_known(NOW), [at(0)]);
        assert_eq!(holdings.claims(NOW), [(at(0), 1)]);
        assert!(holdings.deposed(&at(0), 1, NOW));
        assert!(!holdings.deposed(&at(0), 1, NOW), "that is known");
        assert!(holdings.claims(NOW).is_empty());
        assert_eq!(holdings.claims(NOW + CLAIM_PAUSE), [(at(0), 2)]);
        assert!(!holdings.current().has(1));
        // What an earlier claim came to says nothing any more.
        holdings.claimed(&at(0), 1, NextOffset(1), None);
        assert!(holdings.seeks(NOW).is_empty());
        assert!(!holdings.deposed(&at(0), 1, NOW));
    }
}
