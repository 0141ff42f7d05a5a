//! Replies to Elasticsearch's clients. Some of them look for these very bytes: `"errors":false,"items":[` in this order
//! and without blanks.
//!
//! In the flow: `reply` → **`reply::elasticsearch`** → the client.
//! An item is refused alone only for good; what may pass later refuses the whole request with 429, which every client
//! of Elasticsearch's tries again after.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::json;

use super::{Reply, Settled};
use crate::decode::elasticsearch::Operation;
use crate::decode::{EVENT_TOO_LARGE, NOT_SUPPORTED};
use crate::error::{Code, Problem};

const JSON: &str = "application/json";

#[derive(Serialize)]
struct Item<'a> {
    _index: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    _id: Option<&'a str>,
    #[serde(flatten)]
    fate: Fate<'a>,
    status: u16,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Fate<'a> {
    Written(Written),
    Refused { error: Reason<'a> },
}

#[derive(Serialize)]
struct Written {
    _version: u8,
    result: &'static str,
    _shards: Shards,
    _seq_no: u8,
    _primary_term: u8,
}

#[derive(Serialize)]
struct Shards {
    total: u8,
    successful: u8,
    failed: u8,
}

#[derive(Serialize)]
struct Reason<'a> {
    r#type: &'static str,
    reason: &'a str,
}

const WRITTEN: Written = Written {
    _version: 1,
    result: "created",
    _shards: Shards {
        total: 1,
        successful: 1,
        failed: 0,
    },
    _seq_no: 0,
    _primary_term: 1,
};

/// One item for each operation, in their order.
#[must_use]
pub fn of_bulk(settled: &Settled) -> Reply {
    let has_errors = settled.refusals.count() > 0;
    let mut body = format!("{{\"took\":0,\"errors\":{has_errors},\"items\":[").into_bytes();
    for (n, (operation, item)) in items(settled).enumerate() {
        if n > 0 {
            body.push(b',');
        }
        body.extend(format!("{{\"{}\":", operation.action.as_str()).as_bytes());
        serde_json::to_writer(&mut body, &item).expect("texts and numbers are JSON");
        body.push(b'}');
    }
    body.extend(b"]}");
    Reply {
        status: 200,
        content_type: JSON,
        retry_after_seconds: None,
        body,
    }
}

/// The one document's own.
#[must_use]
pub fn of_document(settled: &Settled) -> Reply {
    let Some((_, item)) = items(settled).next() else {
        return of_problem(&Problem::permanent(
            Code::EmptyBody,
            "request body is required",
        ));
    };
    let body = match &item.fate {
        Fate::Written(_) => serde_json::to_vec(&item),
        Fate::Refused { error } => serde_json::to_vec(&failure(error, item.status)),
    };
    Reply {
        status: item.status,
        content_type: JSON,
        retry_after_seconds: None,
        body: body.expect("texts and numbers are JSON"),
    }
}

fn items(settled: &Settled) -> impl Iterator<Item = (&Operation, Item<'_>)> {
    let codes: BTreeMap<usize, &'static str> = settled.refusals.places.iter().copied().collect();
    let reasons = settled.refusals.listed.iter();
    let reasons: BTreeMap<usize, &str> = reasons
        .map(|refusal| (refusal.position, refusal.reason.as_str()))
        .collect();
    let ids: BTreeMap<usize, &str> = settled
        .ids
        .iter()
        .map(|(position, id)| (*position, id.as_str()))
        .collect();
    let operations = settled.operations.iter().enumerate();
    operations.map(move |(position, operation)| {
        let own = operation.id.as_deref();
        let (fate, status) = match codes.get(&position) {
            None => (Fate::Written(WRITTEN), 201),
            Some(code) => {
                let (kind, status) = kind(code);
                // Only the first hundred reasons are kept.
                let reason = reasons.get(&position).copied().unwrap_or(code);
                let error = Reason {
                    r#type: kind,
                    reason,
                };
                (Fate::Refused { error }, status)
            }
        };
        let item = Item {
            _index: &operation.index,
            _id: own.or_else(|| ids.get(&position).copied()),
            fate,
            status,
        };
        (operation, item)
    })
}

/// Elasticsearch's own name for a reason, and the status that goes with it.
fn kind(code: &str) -> (&'static str, u16) {
    match code {
        EVENT_TOO_LARGE => ("illegal_argument_exception", 413),
        NOT_SUPPORTED => ("illegal_argument_exception", 400),
        _ => ("document_parsing_exception", 400),
    }
}

/// Nothing was kept.
#[must_use]
pub fn of_problem(problem: &Problem) -> Reply {
    let (kind, status) = match problem.code {
        Code::RateLimited
        | Code::TooManyDenials
        | Code::Overloaded
        | Code::KafkaUnavailable
        | Code::NotAcknowledged
        | Code::Draining => ("es_rejected_execution_exception", 429),
        Code::KeyMissing
        | Code::KeyUnreadable
        | Code::KeyUnknown
        | Code::KeyExpired
        | Code::ScopeMissing
        | Code::DialectNotAllowed => ("security_exception", problem.code.status().0),
        Code::InvalidJson | Code::InvalidEncoding | Code::UnreadableBody => {
            ("parse_exception", problem.code.status().0)
        }
        code => ("illegal_argument_exception", code.status().0),
    };
    let reason = problem.to_string();
    let error = Reason {
        r#type: kind,
        reason: &reason,
    };
    Reply {
        status,
        content_type: JSON,
        retry_after_seconds: problem.retry_after_seconds,
        body: failure(&error, status).to_string().into_bytes(),
    }
}

fn failure(error: &Reason<'_>, status: u16) -> serde_json::Value {
    json!({
        "error": {
            "root_cause": [{"type": error.r#type, "reason": error.reason}],
            "type": error.r#type,
            "reason": error.reason,
        },
        "status": status,
    })
}
