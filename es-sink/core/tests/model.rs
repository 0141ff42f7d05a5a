//! The parts of the machine against models that are too simple to be wrong.

#![expect(clippy::unwrap_used, reason = "a test stops at what must not be")]

use std::time::Duration;

use es_sink_core::assignment::{Assignments, TopicPartition};
use es_sink_core::bulk_request::{BulkRequest, Record, RecordParts, SealedRequest, framed};
use es_sink_core::offset_tracker::{InFlight, OffsetTracker};
use es_sink_core::retry::{Backoff, Jitter};
use log_event::offset::{NextOffset, Offset};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    /// The next record, so far behind the one before.
    Track { gap: i64 },
    /// The log goes back so far.
    GoBack { by: i64 },
    /// The topic is created again.
    Restart,
    /// One of the unresolved records.
    Resolve { which: prop::sample::Index },
    /// The same, and its dead letter waits.
    Reject { which: prop::sample::Index },
}

fn step() -> impl Strategy<Value = Step> {
    let which = || any::<prop::sample::Index>();
    prop_oneof![
        8 => prop_oneof![9 => Just(1_i64), 1 => 1_i64..50].prop_map(|gap| Step::Track { gap }),
        1 => (0_i64..20).prop_map(|by| Step::GoBack { by }),
        1 => Just(Step::Restart),
        8 => which().prop_map(|which| Step::Resolve { which }),
        4 => which().prop_map(|which| Step::Reject { which }),
    ]
}

#[derive(Clone, Copy, PartialEq)]
enum Fate {
    InFlight,
    Rejected,
    Resolved,
}

/// All records ever tracked, and what is safe by its definition.
#[derive(Default)]
struct NaiveTracker {
    records: Vec<(i64, Fate)>,
    /// Where the log went back, or began anew, last.
    went_back_at: usize,
    /// Where reading goes on.
    next: Option<i64>,
}

impl NaiveTracker {
    fn track(&mut self, offset: i64) {
        if self.next.is_some_and(|next| offset < next) {
            self.went_back_at = self.records.len();
        }
        self.records.push((offset, Fate::InFlight));
        self.next = Some(offset + 1);
    }

    fn restart(&mut self) {
        self.went_back_at = self.records.len();
        self.next = None;
    }

    /// What is safe if these records stay behind: the first of them, in the
    /// order of receipt, or the end.
    fn safe(&self, stays: impl Fn(usize) -> bool) -> Option<Option<NextOffset>> {
        match (0..self.records.len()).find(|index| stays(*index)) {
            Some(oldest) if oldest < self.went_back_at => None,
            Some(oldest) => Some(Some(Offset(self.records[oldest].0).into())),
            None => Some(self.next.map(NextOffset)),
        }
    }

    fn safe_next_offset(&self) -> Option<NextOffset> {
        self.safe(|index| self.records[index].1 != Fate::Resolved)?
    }

    fn passage(&self, letters_max: usize) -> Option<Option<NextOffset>> {
        self.safe(|index| match self.records[index].1 {
            Fate::Resolved => false,
            Fate::InFlight => true,
            Fate::Rejected => {
                let before = self.records[..index].iter();
                let letters = before.filter(|(_, fate)| *fate == Fate::Rejected).count();
                index >= self.went_back_at && letters >= letters_max
            }
        })
    }

    fn n_in_flight(&self) -> usize {
        let unresolved = self.records.iter();
        unresolved
            .filter(|(_, fate)| *fate != Fate::Resolved)
            .count()
    }
}

fn compare_trackers(steps: Vec<Step>, letters_max: usize) -> Result<(), TestCaseError> {
    let mut tracker = OffsetTracker::new();
    let mut naive = NaiveTracker::default();
    let mut unresolved: Vec<(usize, InFlight)> = Vec::new();
    let mut offset = 1_000;
    for step in steps {
        match step {
            Step::Track { gap } => offset += gap,
            Step::GoBack { by } => offset -= by,
            Step::Restart => {
                offset = 0;
                tracker.restart();
                naive.restart();
            }
            Step::Resolve { which } if !unresolved.is_empty() => {
                let (index, record) = unresolved.swap_remove(which.index(unresolved.len()));
                prop_assert_eq!(tracker.offset(&record).0, naive.records[index].0);
                tracker.resolve(record);
                naive.records[index].1 = Fate::Resolved;
            }
            Step::Reject { which } if !unresolved.is_empty() => {
                let (index, record) = &unresolved[which.index(unresolved.len())];
                tracker.reject(record);
                naive.records[*index].1 = Fate::Rejected;
            }
            Step::Resolve { .. } | Step::Reject { .. } => {}
        }
        if matches!(step, Step::Track { .. } | Step::GoBack { .. }) {
            unresolved.push((naive.records.len(), tracker.track(Offset(offset))));
            naive.track(offset);
        }
        prop_assert_eq!(tracker.safe_next_offset(), naive.safe_next_offset());
        let passage = tracker.passage(letters_max);
        let next = passage.map(|passage| passage.next);
        prop_assert_eq!(next, naive.passage(letters_max));
        prop_assert_eq!(tracker.n_in_flight(), naive.n_in_flight());
    }
    Ok(())
}

type Headers = Vec<(String, Option<Vec<u8>>)>;

#[derive(Clone, Debug)]
struct Document {
    id: String,
    value: Vec<u8>,
    key: Option<Vec<u8>>,
    headers: Headers,
    /// Where it goes: to one of two groups, or to none.
    group: Option<usize>,
}

fn document() -> impl Strategy<Value = Document> {
    let bytes = || prop::option::of(prop::collection::vec(any::<u8>(), 0..20));
    (
        any::<String>(),
        prop::collection::vec(any::<u8>(), 0..40),
        bytes(),
        prop::collection::vec((any::<String>(), bytes()), 0..4),
        prop::option::of(0_usize..2),
    )
        .prop_map(|(id, inner, key, headers, group)| Document {
            id,
            value: [b" {", &inner[..], b"}\n"].concat(),
            key,
            headers,
            group,
        })
}

fn build<'a>(documents: impl IntoIterator<Item = &'a Document>) -> Option<SealedRequest> {
    let mut assignments = Assignments::default();
    let at = TopicPartition {
        topic: "logs".to_owned(),
        partition: 0,
    };
    assignments.add(at, None);
    let mut request = BulkRequest::default();
    for (offset, document) in (0..).map(Offset).zip(documents) {
        let record = Record {
            topic: "logs",
            partition: 0,
            offset,
            timestamp_ms: None,
            key: document.key.as_deref(),
            value: Some(&document.value),
            headers: document
                .headers
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_deref())),
            mark: None,
        };
        let ticket = assignments.track("logs", 0, offset).unwrap();
        let value = framed(record.value).unwrap();
        request.push(ticket, "i", &document.id, value, &record);
    }
    (request.n_items() > 0).then(|| request.seal())
}

/// All that can be seen of a request.
fn seen(request: Option<&SealedRequest>) -> Option<(Vec<u8>, Vec<RecordParts>)> {
    let request = request?;
    let parts = (0..request.items().len()).map(|index| request.record_parts(index));
    Some((request.body().to_vec(), parts.collect()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn the_tracker_does_what_its_definition_says(
        steps in prop::collection::vec(step(), 0..150),
        letters_max in 1_usize..5,
    ) {
        compare_trackers(steps, letters_max)?;
    }

    #[test]
    fn regrouping_gives_what_building_each_group_alone_gives(
        documents in prop::collection::vec(document(), 1..20),
    ) {
        let whole = build(&documents).unwrap();
        let n_lines = whole.body().iter().filter(|byte| **byte == b'\n').count();
        prop_assert_eq!(n_lines, 2 * documents.len());
        for (index, document) in documents.iter().enumerate() {
            let parts = whole.record_parts(index);
            prop_assert_eq!(&parts.key, &document.key);
            prop_assert_eq!(parts.value.as_ref(), Some(&document.value));
            prop_assert_eq!(&parts.headers, &document.headers);
        }
        let (groups, _) = whole.regroup::<2>(|index, item| {
            documents[index].group.map(|group| (group, item))
        });
        for (number, group) in groups.iter().enumerate() {
            let alone = build(documents.iter().filter(|document| document.group == Some(number)));
            prop_assert_eq!(seen(group.as_ref()), seen(alone.as_ref()));
        }
        let in_order = documents.iter().filter(|d| d.group == Some(0));
        let in_order = in_order.chain(documents.iter().filter(|d| d.group == Some(1)));
        let joined = groups.into_iter().flatten().reduce(|mut all, more| {
            all.append(more);
            all
        });
        prop_assert_eq!(seen(joined.as_ref()), seen(build(in_order).as_ref()));
    }

    #[test]
    fn a_wait_lies_between_half_and_all_of_its_bound(
        first_ms in 0_u64..10_000,
        longest_ms in 0_u64..100_000,
        failures: u32,
        seed: u64,
    ) {
        let backoff = Backoff {
            first: Duration::from_millis(first_ms),
            longest: Duration::from_millis(longest_ms),
        };
        let doubled = u128::from(first_ms) << failures.saturating_sub(1).min(64);
        let bound = doubled.min(u128::from(longest_ms));
        let bound = Duration::from_millis(u64::try_from(bound).unwrap());
        let mut jitter = Jitter::new(seed);
        let mut same_jitter = Jitter::new(seed);
        for _ in 0..5 {
            let wait = backoff.wait(failures, &mut jitter);
            prop_assert!(bound / 2 <= wait && wait <= bound, "{:?} of {:?}", wait, bound);
            prop_assert_eq!(wait, backoff.wait(failures, &mut same_jitter));
        }
    }
}
