//! Replies to Splunk's HTTP Event Collector clients: a text and a number (Splunk, "Troubleshoot HEC", status codes).
//!
//! In the flow: `reply` → **`reply::hec`** → the client.
//! An event that is refused makes it a 400 that names it; no client sends that again, and the others are kept.

use serde_json::json;

use super::{Reply, Settled};
use crate::decode::hec::{EVENT_BLANK, EVENT_REQUIRED};
use crate::error::{Code, Problem};

/// What a health check is answered.
#[must_use]
pub fn healthy() -> Reply {
    told(200, 17, "HEC is healthy")
}

/// Why an acknowledgement cannot be asked for: a reply comes only after Kafka holds the events.
#[must_use]
pub fn no_acknowledgements() -> Reply {
    told(400, 14, "ACK is disabled")
}

/// Everything was kept, or told why not.
#[must_use]
pub fn of_settled(settled: &Settled) -> Reply {
    let Some((position, code)) = settled.refusals.places.iter().min() else {
        return told(200, 0, "Success");
    };
    let (number, text) = match *code {
        EVENT_REQUIRED => (12, "Event field is required"),
        EVENT_BLANK => (13, "Event field cannot be blank"),
        _ => (6, "Invalid data format"),
    };
    let reason = settled.refusals.listed.first();
    let body = json!({
        "text": text,
        "code": number,
        "invalid-event-number": position,
        "reason": reason.map(|refusal| refusal.reason.as_str()),
        "accepted": settled.accepted,
        "refused": settled.refusals.count(),
    });
    Reply {
        body: body.to_string().into_bytes(),
        ..told(400, number, text)
    }
}

/// Nothing was kept.
#[must_use]
pub fn of_problem(problem: &Problem) -> Reply {
    let (status, number, text) = match problem.code {
        Code::KeyMissing => (401, 2, "Token is required"),
        Code::KeyUnreadable => (401, 3, "Invalid authorization"),
        Code::KeyUnknown => (403, 4, "Invalid token"),
        Code::KeyExpired | Code::ScopeMissing | Code::DialectNotAllowed => {
            (403, 1, "Token disabled")
        }
        Code::EmptyBody => (400, 5, "No data"),
        Code::RateLimited
        | Code::TooManyDenials
        | Code::Overloaded
        | Code::KafkaUnavailable
        | Code::NotAcknowledged
        | Code::Draining => (503, 9, "Server is busy"),
        Code::Internal => (500, 8, "Internal server error"),
        code => (code.status().0, 6, "Invalid data format"),
    };
    let body = json!({"text": text, "code": number, "reason": problem.to_string()});
    Reply {
        retry_after_seconds: problem.retry_after_seconds,
        body: body.to_string().into_bytes(),
        ..told(status, number, text)
    }
}

fn told(status: u16, number: u8, text: &str) -> Reply {
    Reply {
        status,
        content_type: "application/json",
        retry_after_seconds: None,
        body: json!({"text": text, "code": number})
            .to_string()
            .into_bytes(),
    }
}
