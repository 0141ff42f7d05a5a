//! Keeps faults apart that need the same part, when one takes longer than the schedule thought.
//!
//! In the flow: `schedule` → **`claims`** → `inflict`. Not here: what a fault needs (`fault`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Condvar, Mutex, PoisonError};

use super::fault::Claim;

/// Which parts are taken. A fault takes all it needs at once, so that no two wait for each other, and in the order of
/// asking, so that one that needs much is not kept waiting by many that need little.
#[derive(Debug, Default)]
pub(super) struct Claims {
    state: Mutex<Taken>,
    given_back: Condvar,
}

#[derive(Debug, Default)]
struct Taken {
    taken: BTreeSet<Claim>,
    /// Who waits for what, in the order of asking.
    waiting: BTreeMap<u64, Vec<Claim>>,
    asked: u64,
}

impl Claims {
    /// Waits until all of `wanted` is free, and takes it.
    pub(super) fn take(&self, wanted: Vec<Claim>) -> Claimed<'_> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.asked += 1;
        let ticket = state.asked;
        state.waiting.insert(ticket, wanted.clone());
        let must_wait = |state: &mut Taken| {
            let earlier = state.waiting.range(..ticket).flat_map(|(_, claims)| claims);
            let mut others = earlier.chain(&state.taken);
            others.any(|claim| wanted.contains(claim))
        };
        let mut state = self
            .given_back
            .wait_while(state, must_wait)
            .unwrap_or_else(PoisonError::into_inner);
        state.waiting.remove(&ticket);
        state.taken.extend(&wanted);
        Claimed {
            claims: self,
            parts: wanted,
        }
    }
}

/// Parts that are taken until this is dropped.
#[derive(Debug)]
pub(super) struct Claimed<'a> {
    claims: &'a Claims,
    parts: Vec<Claim>,
}

impl Drop for Claimed<'_> {
    fn drop(&mut self) {
        let state = self.claims.state.lock();
        let mut state = state.unwrap_or_else(PoisonError::into_inner);
        for part in &self.parts {
            state.taken.remove(part);
        }
        drop(state);
        self.claims.given_back.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_needs_much_is_not_overtaken_by_who_needs_little_of_it() {
        let claims = Claims::default();
        let order = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            let first = claims.take(vec![Claim::Sink(0)]);
            let (claims, order) = (&claims, &order);
            let ask = |name: &'static str, wanted: Vec<Claim>| {
                scope.spawn(move || {
                    let _claimed = claims.take(wanted);
                    order.lock().unwrap().push(name);
                })
            };
            ask("much", vec![Claim::Sink(0), Claim::Sink(1)]);
            until(|| claims_asked(claims, 2));
            ask("little", vec![Claim::Sink(1)]);
            until(|| claims_asked(claims, 3));
            ask("other", vec![Claim::Sink(2)]);
            until(|| order.lock().unwrap().len() == 1);
            drop(first);
        });
        assert_eq!(order.into_inner().unwrap(), ["other", "much", "little"]);
    }

    fn claims_asked(claims: &Claims, n: u64) -> bool {
        claims.state.lock().unwrap().asked == n
    }

    fn until(condition: impl Fn() -> bool) {
        while !condition() {
            std::thread::yield_now();
        }
    }
}
