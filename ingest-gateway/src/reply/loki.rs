//! Replies to Loki's clients: 204 without a body, or a line of text (Loki HTTP API).
//!
//! In the flow: `reply` → **`reply::loki`** → the client.
//! An entry that is refused makes it a 400, as Loki does it: no client sends that again, and the others are kept.

use super::{Reply, Settled, first_reasons};
use crate::error::Problem;

const TEXT: &str = "text/plain; charset=utf-8";

/// Everything was kept, or told why not.
#[must_use]
pub fn of_settled(settled: &Settled) -> Reply {
    match settled.refusals.count() {
        0 => line(204, String::new()),
        refused => line(
            400,
            format!(
                "{} entries were kept, {refused} were refused: {}\n",
                settled.accepted,
                first_reasons(&settled.refusals)
            ),
        ),
    }
}

/// Nothing was kept.
#[must_use]
pub fn of_problem(problem: &Problem) -> Reply {
    Reply {
        retry_after_seconds: problem.retry_after_seconds,
        ..line(problem.code.status().0, format!("{problem}\n"))
    }
}

fn line(status: u16, text: String) -> Reply {
    Reply {
        status,
        content_type: TEXT,
        retry_after_seconds: None,
        body: text.into_bytes(),
    }
}
