//! What the tests of the decoders have in common.

use std::sync::Arc;

use super::{Events, Limits};
use crate::admission::{Budget, Reservation};
use crate::error::{Code, Problem};

/// Room for anything.
pub(super) fn plenty() -> Reservation {
    let budget: Arc<Budget> = Budget::new(1 << 30);
    budget.share()
}

pub(super) fn limits(share: &mut Reservation) -> Limits<'_> {
    Limits {
        events_max: 1_000,
        bytes_max: 1 << 20,
        event_bytes_max: 100_000,
        share,
    }
}

/// Each event as text; of one that is none, its code.
pub(super) fn texts(events: &Events<'_>) -> Vec<String> {
    let found = events.found.iter();
    found
        .map(|item| match item {
            Ok(found) => String::from_utf8_lossy(&found.json).into_owned(),
            Err(fault) => format!("! {}", fault.code),
        })
        .collect()
}

pub(super) fn code(problem: Problem) -> Code {
    problem.code
}
