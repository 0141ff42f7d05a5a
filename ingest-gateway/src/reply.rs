//! Decides the status and the body that answer a request.
//!
//! In the flow: `delivery` → **`reply`**. Upholds GW-1 and GW-3: an event is
//! counted as accepted only if Kafka acknowledged it, and a 503 says whether
//! anything may have been kept.

use serde::Serialize;

use crate::decode::elasticsearch::Operation;
use crate::decode::{ERRORS_LISTED_MAX, EVENT_TOO_LARGE, Refusals};
use crate::delivery::Deliveries;
use crate::error::{Code, Outcome, Problem};

pub mod otlp;
pub mod elasticsearch;
pub mod loki;
pub mod hec;

/// When to come back after Kafka failed: most faults of a broker are over by
/// then, and a client that must wait long gives up.
pub const KAFKA_RETRY_AFTER_SECONDS: u64 = 2;

/// An HTTP reply but for its encoding as one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// `application/json` or `application/problem+json`.
    pub content_type: &'static str,
    /// `Retry-After`.
    pub retry_after_seconds: Option<u64>,
    /// The body.
    pub body: Vec<u8>,
}

#[derive(Serialize)]
struct AcceptedBody<'a> {
    accepted: usize,
    refused: usize,
    errors: Vec<ErrorBody<'a>>,
}

#[derive(Serialize)]
struct ErrorBody<'a> {
    position: usize,
    code: &'static str,
    reason: &'a str,
}

#[derive(Serialize)]
struct ProblemBody<'a> {
    title: &'static str,
    status: u16,
    code: &'static str,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<&'static str>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    events: Option<AcceptedBody<'a>>,
}

/// What became of the events of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// How many Kafka holds.
    pub accepted: usize,
    /// Which are refused, and why.
    pub refusals: Refusals,
    /// What the client called each of them, of the Elasticsearch dialect.
    pub operations: Vec<Operation>,
    /// Their ids by position, of the same dialect.
    pub ids: Vec<(usize, String)>,
}

/// What became of a request whose events were decoded and delivered.
///
/// # Errors
/// The [`Problem`] if Kafka failed any event: the request as a whole is to be
/// sent again.
pub fn settle(mut refusals: Refusals, deliveries: &Deliveries) -> Result<Settled, Problem> {
    if deliveries.not_kept + deliveries.unknown > 0 {
        return Err(not_acknowledged(deliveries));
    }
    for &position in &deliveries.too_large {
        refusals.add(position, EVENT_TOO_LARGE, || {
            "the event is larger than the brokers take".to_owned()
        });
    }
    refusals.listed.sort_by_key(|refusal| refusal.position);
    refusals.listed.truncate(ERRORS_LISTED_MAX);
    Ok(Settled {
        accepted: deliveries.acknowledged,
        refusals,
        ..Settled::default()
    })
}

/// logflow's own reply.
#[must_use]
pub fn of_settled(settled: &Settled) -> Reply {
    let events = AcceptedBody {
        accepted: settled.accepted,
        refused: settled.refusals.count(),
        errors: errors(&settled.refusals),
    };
    if events.accepted == 0 && events.refused > 0 {
        let problem = Problem::permanent(
            Code::NoEventAccepted,
            "no event of this request was accepted; `errors` says why",
        );
        return problem_reply(&problem, Some(events));
    }
    Reply {
        status: 200,
        content_type: "application/json",
        retry_after_seconds: None,
        body: line(&events),
    }
}

/// The first reasons, for replies that have room for a text alone.
fn first_reasons(refusals: &Refusals) -> String {
    const TOLD_MAX: usize = 3;
    let listed = refusals.listed.iter().take(TOLD_MAX);
    let mut told: Vec<String> = listed
        .map(|refusal| format!("event {}: {}", refusal.position, refusal.reason))
        .collect();
    if refusals.count() > told.len() {
        told.push("…".to_owned());
    }
    told.join("; ")
}

/// The reply to a request refused as a whole.
#[must_use]
pub fn of_problem(problem: &Problem) -> Reply {
    problem_reply(problem, None)
}

fn not_acknowledged(deliveries: &Deliveries) -> Problem {
    let fault = deliveries.fault.as_deref().unwrap_or("no answer in time");
    let (outcome, advice) = if deliveries.acknowledged + deliveries.unknown == 0 {
        (
            Outcome::None,
            "no event of this request was kept; send it again",
        )
    } else {
        (
            Outcome::Unknown,
            "some events of this request may be kept; send it again with the same Idempotency-Key and none is doubled",
        )
    };
    Problem::unavailable(
        Code::NotAcknowledged,
        format!("Kafka did not acknowledge the events: {fault}; {advice}"),
        KAFKA_RETRY_AFTER_SECONDS,
        outcome,
    )
}

fn problem_reply(problem: &Problem, events: Option<AcceptedBody<'_>>) -> Reply {
    let (status, title) = problem.code.status();
    Reply {
        status,
        content_type: "application/problem+json",
        retry_after_seconds: problem.retry_after_seconds,
        body: line(&ProblemBody {
            title,
            status,
            code: problem.code.as_str(),
            detail: &problem.detail,
            outcome: problem.outcome.map(Outcome::as_str),
            events,
        }),
    }
}

fn errors(refusals: &Refusals) -> Vec<ErrorBody<'_>> {
    let listed = refusals.listed.iter().map(|refusal| ErrorBody {
        position: refusal.position,
        code: refusal.code,
        reason: &refusal.reason,
    });
    listed.collect()
}

fn line(body: &impl Serialize) -> Vec<u8> {
    let mut text = serde_json::to_vec(body).expect("text and numbers are always JSON");
    text.push(b'\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusals(positions: &[usize]) -> Refusals {
        let mut refusals = Refusals::default();
        for &position in positions {
            refusals.add(position, "wrong_type", || format!("reason {position}"));
        }
        refusals
    }

    #[track_caller]
    fn check(refused: &[usize], deliveries: &Deliveries, status: u16, body: &str) {
        let reply = settle(refusals(refused), deliveries).map_or_else(
            |problem| of_problem(&problem),
            |settled| of_settled(&settled),
        );
        let text = String::from_utf8(reply.body).unwrap();
        assert_eq!((reply.status, text), (status, format!("{body}\n")));
        assert_eq!(reply.retry_after_seconds.is_some(), status == 503);
    }

    #[test]
    fn what_was_acknowledged_is_accepted_and_nothing_else() {
        let acknowledged = Deliveries {
            acknowledged: 2,
            ..Deliveries::default()
        };
        check(
            &[],
            &acknowledged,
            200,
            r#"{"accepted":2,"refused":0,"errors":[]}"#,
        );
        check(
            &[1],
            &acknowledged,
            200,
            r#"{"accepted":2,"refused":1,"errors":[{"position":1,"code":"wrong_type","reason":"reason 1"}]}"#,
        );
        check(
            &[],
            &Deliveries::default(),
            200,
            r#"{"accepted":0,"refused":0,"errors":[]}"#,
        );
        check(
            &[0],
            &Deliveries::default(),
            400,
            r#"{"title":"Bad Request","status":400,"code":"no_event_accepted","detail":"no event of this request was accepted; `errors` says why","accepted":0,"refused":1,"errors":[{"position":0,"code":"wrong_type","reason":"reason 0"}]}"#,
        );
    }

    #[test]
    fn an_event_too_large_for_the_brokers_is_refused_in_its_place() {
        let deliveries = Deliveries {
            acknowledged: 1,
            too_large: vec![0],
            ..Deliveries::default()
        };
        check(
            &[2],
            &deliveries,
            200,
            r#"{"accepted":1,"refused":2,"errors":[{"position":0,"code":"event_too_large","reason":"the event is larger than the brokers take"},{"position":2,"code":"wrong_type","reason":"reason 2"}]}"#,
        );
    }

    #[test]
    fn nothing_kept_is_said_only_where_it_is_certain() {
        let fault = Some("queue full".to_owned());
        let none = Deliveries {
            not_kept: 2,
            fault: fault.clone(),
            ..Deliveries::default()
        };
        check(
            &[],
            &none,
            503,
            r#"{"title":"Service Unavailable","status":503,"code":"not_acknowledged","detail":"Kafka did not acknowledge the events: queue full; no event of this request was kept; send it again","outcome":"none"}"#,
        );
        for partly in [
            Deliveries {
                acknowledged: 1,
                not_kept: 1,
                fault: fault.clone(),
                ..Deliveries::default()
            },
            Deliveries {
                unknown: 1,
                fault,
                ..Deliveries::default()
            },
        ] {
            let problem = settle(refusals(&[0]), &partly).unwrap_err();
            assert_eq!(problem.outcome, Some(Outcome::Unknown));
            assert!(problem.detail.contains("same Idempotency-Key"), "{problem}");
        }
    }

    #[test]
    fn every_code_has_its_own_name() {
        let mut names: Vec<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Code::ALL.len());
    }
}
