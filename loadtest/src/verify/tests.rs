//! The comparison against a naive model of sets.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::ledger::Range;

const N: u64 = 40;

#[derive(Clone, Copy, Debug)]
enum Sighting {
    Document(u64),
    DeadLetter(u64),
    /// With how often it was redriven.
    Redriven(u64, u64),
}

fn ledger(states: &BTreeMap<u64, State>, complete: bool) -> Ledger {
    let range = |(n, state): (&u64, &State)| Range {
        state: *state,
        first: *n,
        last: *n,
    };
    Ledger {
        run: "r1".parse().unwrap(),
        ranges: states.iter().map(range).collect(),
        complete,
    }
}

fn verdict(ledger: &Ledger, sightings: &[Sighting], dead_letters_read: bool) -> Verdict {
    let mut comparison = Comparison::new(ledger);
    for sighting in sightings {
        match sighting {
            Sighting::Document(n) => comparison.document(*n),
            Sighting::DeadLetter(n) => comparison.dead_letter(*n, 0),
            Sighting::Redriven(n, times) => comparison.dead_letter(*n, *times),
        }
    }
    comparison.verdict(dead_letters_read)
}

#[test]
fn what_is_in_one_place_alone_differs_but_not_what_elasticsearch_was_to_refuse() {
    let states = [
        (0, State::Acknowledged),
        (1, State::Acknowledged),
        (2, State::Uncertain),
        (3, State::Poison),
        (4, State::Acknowledged),
    ];
    let ledger = ledger(&states.into(), true);
    let (mut archive, mut elasticsearch) = (Comparison::new(&ledger), Comparison::new(&ledger));
    for n in [0, 1, 3, 9] {
        archive.document(n);
    }
    elasticsearch.document(0);
    elasticsearch.dead_letter(1, 0);
    elasticsearch.document(2);
    let differs = archive.differences(&elasticsearch);
    assert_eq!((differs.count, &differs.first[..]), (2, &[2, 9][..]));
    assert_eq!(elasticsearch.differences(&archive), differs);
}

/// Each kind of finding as a filter over all numbers, straight from its definition.
fn model(
    states: &BTreeMap<u64, State>,
    complete: bool,
    sightings: &[Sighting],
    dead_letters_read: bool,
) -> BTreeMap<&'static str, Vec<u64>> {
    let documents = |n: u64| {
        sightings
            .iter()
            .filter(|s| matches!(s, Sighting::Document(m) if *m == n))
            .count()
    };
    let dead = |n: u64| {
        sightings
            .iter()
            .filter(|s| matches!(s, Sighting::DeadLetter(m) if *m == n))
            .count()
    };
    let redriven = |n: u64, least: u64| {
        sightings
            .iter()
            .any(|s| matches!(s, Sighting::Redriven(m, times) if *m == n && *times >= least))
    };
    let highest = states.keys().chain(sightings.iter().map(|s| match s {
        Sighting::Document(n) | Sighting::DeadLetter(n) | Sighting::Redriven(n, _) => n,
    }));
    let end = highest.max().map_or(0, |n| n + 1);
    let state = |n: u64| {
        let listed = states.get(&n).copied();
        listed.or((!complete).then_some(State::Uncertain))
    };
    let all = |predicate: &dyn Fn(u64) -> bool| (0..end).filter(|n| predicate(*n)).collect();
    let there = |n: u64| documents(n) + dead(n) > 0;
    let promised = |n: u64| {
        state(n) == Some(State::Acknowledged)
            || (state(n) == Some(State::Poison) && dead_letters_read)
    };
    let unexpected = |n: u64| {
        let stranger = matches!(state(n), None | Some(State::Refused)) && there(n);
        stranger || (dead(n) > 0 && state(n) != Some(State::Poison))
    };
    BTreeMap::from([
        ("missing", all(&|n| promised(n) && !there(n))),
        (
            "duplicated",
            all(&|n| documents(n) + dead(n) > 1 || redriven(n, 2)),
        ),
        ("redriven", all(&|n| redriven(n, 1))),
        ("unexpected", all(&unexpected)),
        ("indexed", all(&|n| documents(n) > 0)),
        ("dead-lettered", all(&|n| dead(n) > 0)),
        (
            "uncertain arrived",
            all(&|n| state(n) == Some(State::Uncertain) && there(n)),
        ),
        (
            "uncertain absent",
            all(&|n| state(n) == Some(State::Uncertain) && !there(n)),
        ),
        (
            "poison indexed",
            all(&|n| state(n) == Some(State::Poison) && documents(n) > 0),
        ),
    ])
}

#[track_caller]
fn check_finding(finding: &Finding, expected: &[u64]) {
    assert_eq!(finding.count, expected.len() as u64);
    assert_eq!(finding.first, expected[..expected.len().min(NAMED_MAX)]);
}

fn states() -> impl Strategy<Value = BTreeMap<u64, State>> {
    let state = prop_oneof![
        4 => Just(State::Acknowledged),
        1 => Just(State::Uncertain),
        1 => Just(State::Refused),
        1 => Just(State::Poison),
    ];
    prop::collection::btree_map(0..N, state, 0..N as usize)
}

fn sightings() -> impl Strategy<Value = Vec<Sighting>> {
    let sighting = prop_oneof![
        4 => (0..N + 5).prop_map(Sighting::Document),
        1 => (0..N + 5).prop_map(Sighting::DeadLetter),
        1 => (0..N + 5, 1..3u64).prop_map(|(n, times)| Sighting::Redriven(n, times)),
    ];
    prop::collection::vec(sighting, 0..80)
}

proptest! {
    #[test]
    fn agrees_with_sets(
        states in states(),
        sightings in sightings(),
        complete: bool,
        dead_letters_read: bool,
    ) {
        let found = verdict(&ledger(&states, complete), &sightings, dead_letters_read);
        let expected = model(&states, complete, &sightings, dead_letters_read);
        check_finding(&found.missing, &expected["missing"]);
        check_finding(&found.duplicated, &expected["duplicated"]);
        check_finding(&found.unexpected, &expected["unexpected"]);
        check_finding(&found.uncertain_absent, &expected["uncertain absent"]);
        check_finding(&found.poison_indexed, &expected["poison indexed"]);
        prop_assert_eq!(found.indexed, expected["indexed"].len() as u64);
        prop_assert_eq!(found.dead_lettered, expected["dead-lettered"].len() as u64);
        prop_assert_eq!(found.redriven, expected["redriven"].len() as u64);
        prop_assert_eq!(found.uncertain_arrived, expected["uncertain arrived"].len() as u64);
        let holds = ["missing", "duplicated", "unexpected"].iter().all(|kind| expected[kind].is_empty());
        prop_assert_eq!(found.holds(), holds);
    }
}

#[test]
fn a_run_where_all_is_well_holds_and_says_so() {
    let states = (0..100).map(|n| {
        (
            n,
            if n == 7 {
                State::Poison
            } else {
                State::Acknowledged
            },
        )
    });
    let ledger = ledger(&states.collect(), true);
    let seen: Vec<Sighting> = (0..100)
        .map(|n| {
            if n == 7 {
                Sighting::DeadLetter(n)
            } else {
                Sighting::Document(n)
            }
        })
        .collect();
    let whole = verdict(&ledger, &seen, true);
    assert!(whole.holds(), "{whole}");
    assert_eq!((whole.indexed, whole.dead_lettered), (99, 1));
    let lossy = verdict(&ledger, &seen[..50], true);
    assert!(!lossy.holds());
    assert!(
        lossy
            .to_string()
            .contains("missing           50 (events 50, 51, "),
        "{lossy}"
    );
}

#[test]
fn a_number_beyond_all_bounds_is_unexpected_and_costs_no_memory() {
    let ledger = ledger(&BTreeMap::new(), true);
    let found = verdict(&ledger, &[Sighting::Document(u64::MAX)], true);
    assert_eq!(found.unexpected.count, 1);
    assert_eq!(found.documents, 1);
}

#[test]
fn many_sightings_of_one_event_are_counted_without_overflow() {
    let states = BTreeMap::from([(0, State::Acknowledged)]);
    let seen: Vec<Sighting> = (0..1_000)
        .map(|i| {
            if i % 2 == 0 {
                Sighting::Document(0)
            } else {
                Sighting::DeadLetter(0)
            }
        })
        .collect();
    let found = verdict(&ledger(&states, true), &seen, true);
    assert_eq!((found.documents, found.dead_letters), (500, 500));
    assert_eq!(
        (found.duplicated.count, found.indexed, found.acknowledged),
        (1, 1, 1)
    );
}

/// The life of one event, and whether it is where it must be, exactly once.
#[track_caller]
fn check_life(state: State, sightings: &[Sighting], findings: &[&str]) {
    let found = verdict(
        &ledger(&BTreeMap::from([(0, state)]), true),
        sightings,
        true,
    );
    let actual: Vec<&str> = [
        ("missing", &found.missing),
        ("duplicated", &found.duplicated),
        ("unexpected", &found.unexpected),
    ]
    .into_iter()
    .filter(|(_, finding)| finding.count > 0)
    .map(|(name, _)| name)
    .collect();
    assert_eq!(actual, findings, "{state:?} {sightings:?}");
}

#[test]
fn a_redriven_event_is_where_it_came_to_afterwards() {
    use Sighting::{DeadLetter, Document, Redriven};
    use State::{Acknowledged, Poison};
    let table: [(State, &[Sighting], &[&str]); 13] = [
        // Redriven, and indexed at last: whatever the ledger thinks of it.
        (Poison, &[Redriven(0, 1), Document(0)], &[]),
        (Acknowledged, &[Redriven(0, 1), Document(0)], &[]),
        // Redriven, and dead-lettered again, once or several times.
        (Poison, &[Redriven(0, 1), DeadLetter(0)], &[]),
        (
            Poison,
            &[Redriven(0, 1), Redriven(0, 1), DeadLetter(0)],
            &[],
        ),
        (Poison, &[Redriven(0, 1), Redriven(0, 1), Document(0)], &[]),
        // Redriven, and lost.
        (Poison, &[Redriven(0, 1)], &["missing"]),
        (Acknowledged, &[Redriven(0, 1)], &["missing"]),
        // Dead-lettered twice, though the earlier letter was not redriven.
        (Poison, &[DeadLetter(0), DeadLetter(0)], &["duplicated"]),
        (
            Poison,
            &[Redriven(0, 1), DeadLetter(0), DeadLetter(0)],
            &["duplicated"],
        ),
        // Indexed, and still open.
        (Poison, &[DeadLetter(0), Document(0)], &["duplicated"]),
        (
            Poison,
            &[Redriven(0, 1), DeadLetter(0), Document(0)],
            &["duplicated"],
        ),
        // One letter redriven twice, even if the outcome is one document.
        (Poison, &[Redriven(0, 2), Document(0)], &["duplicated"]),
        // Nothing was wrong with it, and it was not redriven.
        (Acknowledged, &[DeadLetter(0)], &["unexpected"]),
    ];
    for (state, sightings, findings) in table {
        check_life(state, sightings, findings);
    }
}

#[test]
fn the_summary_counts_redriven_letters_apart() {
    let states = BTreeMap::from([(0, State::Poison), (1, State::Poison)]);
    let seen = [
        Sighting::Redriven(0, 1),
        Sighting::Document(0),
        Sighting::DeadLetter(1),
    ];
    let found = verdict(&ledger(&states, true), &seen, true);
    assert_eq!(
        (found.dead_letters, found.dead_letters_redriven),
        (2, 1),
        "{found}"
    );
    assert_eq!((found.dead_lettered, found.redriven), (1, 1), "{found}");
    let text = found.to_string();
    assert!(
        text.contains("dead-lettered     1 in 1 dead letters"),
        "{text}"
    );
    assert!(
        text.contains("redriven          1 in 1 dead letters"),
        "{text}"
    );
}
