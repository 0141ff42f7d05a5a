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
            Sighting::DeadLetter(n) => comparison.dead_letter(*n),
        }
    }
    comparison.verdict(dead_letters_read)
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
    let highest = states.keys().chain(sightings.iter().map(|s| match s {
        Sighting::Document(n) | Sighting::DeadLetter(n) => n,
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
        ("duplicated", all(&|n| documents(n) + dead(n) > 1)),
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
