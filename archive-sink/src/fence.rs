//! Judges whether the rows of a partition may be written, by what PostgreSQL holds of it.
//!
//! In the flow: `writer` → **`fence`**. Pure. Upholds AR-1 and AR-2: the row of a partition is locked while this is
//! asked and until the transaction ends, so whatever it says stays true.

use log_event::offset::NextOffset;

use crate::batch::Part;

/// The row of a partition in `logflow.offsets`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The topic that the offset counts in.
    pub topic_id: Option<String>,
    /// Where reading goes on.
    pub next: NextOffset,
    /// Rises with each claim.
    pub epoch: i64,
}

/// A partition while it is ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// What the reading side calls it.
    pub generation: u64,
    /// What PostgreSQL calls it.
    pub epoch: i64,
    /// What PostgreSQL held when it answered last.
    pub next: NextOffset,
}

/// What becomes of the rows of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// They are written.
    Write,
    /// They are there already: the answer to the transaction that wrote them got lost.
    Written,
    /// They are not ours to write. Somebody else has claimed the partition, or set its offset.
    Deposed,
}

/// Judges a part by our claim on its partition and what is stored.
#[must_use]
pub fn judge(part: &Part, claim: Option<&Claim>, stored: Option<&Stored>) -> Judgement {
    let (Some(claim), Some(stored)) = (claim, stored) else {
        return Judgement::Deposed;
    };
    if claim.generation != part.generation || claim.epoch != stored.epoch {
        Judgement::Deposed
    } else if stored.next == claim.next {
        Judgement::Write
    } else if stored.next == part.next && stored.topic_id == part.topic_id {
        Judgement::Written
    } else {
        Judgement::Deposed
    }
}

/// Where reading begins, by what is stored and the topic that there is now. `None` is its beginning.
/// Without an id on either side there is nothing to compare.
#[must_use]
pub fn begin(stored: &Stored, topic_id: Option<&str>) -> Option<NextOffset> {
    match (stored.topic_id.as_deref(), topic_id) {
        (Some(then), Some(now)) if then != now => None,
        _ => Some(stored.next),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use log_event::offset::TopicPartition;
    use proptest::prelude::*;

    fn part(generation: u64, next: i64) -> Part {
        Part {
            at: TopicPartition {
                topic: "logs".to_owned(),
                partition: 0,
            },
            generation,
            topic_id: Some("A".to_owned()),
            next: NextOffset(next),
            rows: Vec::new(),
        }
    }

    fn stored(epoch: i64, next: i64) -> Stored {
        Stored {
            topic_id: Some("A".to_owned()),
            next: NextOffset(next),
            epoch,
        }
    }

    #[test]
    fn only_who_claimed_last_writes_and_only_where_the_archive_ends() {
        let claim = Claim {
            generation: 2,
            epoch: 7,
            next: NextOffset(10),
        };
        for (part, stored, expected) in [
            (part(2, 15), Some(stored(7, 10)), Judgement::Write),
            (part(2, 15), Some(stored(7, 15)), Judgement::Written),
            (part(2, 15), Some(stored(8, 10)), Judgement::Deposed),
            (part(2, 15), Some(stored(8, 15)), Judgement::Deposed),
            (part(1, 15), Some(stored(7, 10)), Judgement::Deposed),
            (part(2, 15), Some(stored(7, 12)), Judgement::Deposed),
            (part(2, 15), None, Judgement::Deposed),
        ] {
            assert_eq!(
                judge(&part, Some(&claim), stored.as_ref()),
                expected,
                "{stored:?}"
            );
        }
        assert_eq!(
            judge(&part(2, 15), None, Some(&stored(7, 10))),
            Judgement::Deposed
        );
    }

    #[test]
    fn an_offset_of_a_deleted_topic_is_not_where_reading_begins() {
        let of = |topic_id: Option<&str>| Stored {
            topic_id: topic_id.map(str::to_owned),
            ..stored(1, 5)
        };
        assert_eq!(begin(&of(Some("A")), Some("A")), Some(NextOffset(5)));
        assert_eq!(begin(&of(Some("A")), Some("B")), None);
        assert_eq!(begin(&of(Some("A")), None), Some(NextOffset(5)));
        assert_eq!(begin(&of(None), Some("B")), Some(NextOffset(5)));
    }

    /// What happens between two sinks, a log of one partition, and PostgreSQL.
    #[derive(Clone, Copy, Debug)]
    enum Step {
        /// The sink takes the partition and begins where the archive ends.
        Claim(usize),
        /// It reads some records and orders them to be written.
        Read(usize, i64),
        /// It writes the oldest that is ordered; the answer arrives or gets lost.
        Write(usize, bool),
    }

    #[derive(Debug, Default)]
    struct Sink {
        claim: Option<Claim>,
        position: i64,
        ordered: Vec<(i64, Part)>,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..2usize).prop_map(Step::Claim),
            (0..2usize, 1..5i64).prop_map(|(sink, n)| Step::Read(sink, n)),
            (0..2usize, any::<bool>()).prop_map(|(sink, answered)| Step::Write(sink, answered)),
        ]
    }

    proptest! {
        /// AR-1, AR-2: whatever is claimed, delayed, repeated and lost, the archive is the log up to
        /// its offset, each record once.
        #[test]
        fn the_archive_is_always_a_whole_prefix_of_the_log(steps in prop::collection::vec(step(), 0..80)) {
            let mut row = stored(0, 0);
            let mut archive: Vec<i64> = Vec::new();
            let mut sinks = [Sink::default(), Sink::default()];
            let mut generations = 0;
            for step in steps {
                match step {
                    Step::Claim(sink) => {
                        row.epoch += 1;
                        generations += 1;
                        sinks[sink].claim = Some(Claim {
                            generation: generations,
                            epoch: row.epoch,
                            next: row.next,
                        });
                        sinks[sink].position = row.next.0;
                    }
                    Step::Read(sink, n) => {
                        let sink = &mut sinks[sink];
                        if let Some(claim) = sink.claim {
                            let from = sink.position;
                            sink.position += n;
                            sink.ordered.push((from, part(claim.generation, sink.position)));
                        }
                    }
                    Step::Write(sink, answered) => {
                        let sink = &mut sinks[sink];
                        let Some((from, part)) = sink.ordered.first().cloned() else { continue };
                        let judgement = judge(&part, sink.claim.as_ref(), Some(&row));
                        if judgement == Judgement::Write {
                            archive.extend(from..part.next.0);
                            row.next = part.next;
                        }
                        if answered || judgement == Judgement::Deposed {
                            sink.ordered.remove(0);
                            let claim = sink.claim.as_mut();
                            match claim.filter(|claim| claim.generation == part.generation) {
                                Some(claim) if judgement != Judgement::Deposed => claim.next = part.next,
                                // Claimed anew before anything more is read, as the engine does.
                                Some(_) => sink.claim = None,
                                None => {}
                            }
                        }
                    }
                }
                prop_assert_eq!(&archive, &(0..row.next.0).collect::<Vec<_>>());
            }
        }
    }
}
