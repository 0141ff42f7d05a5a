//! What a reply of the gateway says about the events of its request.
//!
//! In the flow: `http_client` → **`gateway_reply`** → `generate_http`.
//! Follows docs/formats.md and believes nothing beyond it: whatever is not
//! clearly kept or clearly not kept is of unknown outcome (GW-3).

use serde::Deserialize;

use crate::ledger::State;

/// What is known of a request after one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// Each event is settled: state, first and last position, both included.
    Settled(Vec<(State, u64, u64)>),
    /// None of the events is kept and all may be sent again.
    NoneKept,
    /// Any of the events may be kept.
    Unknown,
}

#[derive(Deserialize)]
struct Accepted {
    accepted: u64,
    refused: u64,
    #[serde(default)]
    errors: Vec<RefusedEvent>,
}

#[derive(Deserialize)]
struct RefusedEvent {
    position: u64,
}

#[derive(Deserialize)]
struct Problem {
    outcome: Option<String>,
}

/// Judges a reply to a request of `n_events` events, at least 1.
#[must_use]
pub fn judge(status: u16, body: &[u8], n_events: u64) -> Judgement {
    match status {
        200 => match serde_json::from_slice::<Accepted>(body) {
            Ok(reply) if reply.accepted + reply.refused == n_events => settle(&reply, n_events),
            _ => Judgement::Unknown,
        },
        429 => Judgement::NoneKept,
        503 => match serde_json::from_slice::<Problem>(body) {
            Ok(problem) if problem.outcome.as_deref() == Some("none") => Judgement::NoneKept,
            _ => Judgement::Unknown,
        },
        408 => Judgement::Unknown,
        400..500 => Judgement::Settled(vec![(State::Refused, 0, n_events - 1)]),
        _ => Judgement::Unknown,
    }
}

fn settle(reply: &Accepted, n_events: u64) -> Judgement {
    if reply.refused == 0 {
        return Judgement::Settled(vec![(State::Acknowledged, 0, n_events - 1)]);
    }
    let mut positions: Vec<u64> = reply.errors.iter().map(|error| error.position).collect();
    positions.sort_unstable();
    positions.dedup();
    positions.retain(|position| *position < n_events);
    // The list of refusals is cut at 100: beyond it nobody knows which were kept.
    let others = match positions.len() as u64 == reply.refused {
        true => State::Acknowledged,
        false => State::Uncertain,
    };
    let mut settled = Vec::new();
    let mut next = 0;
    for position in positions {
        if next < position {
            settled.push((others, next, position - 1));
        }
        settled.push((State::Refused, position, position));
        next = position + 1;
    }
    if next < n_events {
        settled.push((others, next, n_events - 1));
    }
    Judgement::Settled(settled)
}

#[cfg(test)]
mod tests {
    use super::*;
    use State::{Acknowledged, Refused, Uncertain};

    #[track_caller]
    fn check(status: u16, body: &str, expected: Judgement) {
        assert_eq!(
            judge(status, body.as_bytes(), 5),
            expected,
            "{status} {body}"
        );
    }

    #[test]
    fn every_reply_of_the_contract_is_judged() {
        let settled = Judgement::Settled;
        check(
            200,
            r#"{"accepted":5,"refused":0}"#,
            settled(vec![(Acknowledged, 0, 4)]),
        );
        check(
            200,
            r#"{"accepted":3,"refused":2,"errors":[{"position":4,"code":"x","reason":"y"},{"position":1}]}"#,
            settled(vec![
                (Acknowledged, 0, 0),
                (Refused, 1, 1),
                (Acknowledged, 2, 3),
                (Refused, 4, 4),
            ]),
        );
        check(
            200,
            r#"{"accepted":3,"refused":2,"errors":[{"position":0}]}"#,
            settled(vec![(Refused, 0, 0), (Uncertain, 1, 4)]),
        );
        check(400, "", settled(vec![(Refused, 0, 4)]));
        check(413, "", settled(vec![(Refused, 0, 4)]));
        check(429, "", Judgement::NoneKept);
        check(503, r#"{"outcome":"none"}"#, Judgement::NoneKept);
        check(503, r#"{"outcome":"unknown"}"#, Judgement::Unknown);
    }

    #[test]
    fn what_is_not_in_the_contract_promises_nothing() {
        check(200, r#"{"accepted":4,"refused":0}"#, Judgement::Unknown);
        check(200, "OK", Judgement::Unknown);
        check(503, "<html>", Judgement::Unknown);
        for status in [202, 302, 408, 500, 502, 504] {
            check(status, "", Judgement::Unknown);
        }
    }
}
