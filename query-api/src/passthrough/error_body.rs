//! A problem in the shape in which Elasticsearch answers, so that Grafana shows its reason.
//!
//! In the flow: any file here → **`error_body`** → the client.

use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;

use crate::error::Problem;

#[derive(Serialize)]
struct Body<'a> {
    #[serde(flatten)]
    refusal: Refusal<'a>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    responses: Vec<Refusal<'a>>,
}

#[derive(Clone, Copy, Serialize)]
struct Refusal<'a> {
    error: Error<'a>,
    status: u16,
}

#[derive(Clone, Copy, Serialize)]
struct Error<'a> {
    root_cause: [Cause<'a>; 1],
    #[serde(flatten)]
    cause: Cause<'a>,
}

#[derive(Clone, Copy, Serialize)]
struct Cause<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    reason: &'a str,
}

/// The reply to a request that is not passed on, or that Elasticsearch did not answer. `searches` is how many
/// searches a `_msearch` holds, and 0 for everything else: each gets the reason as its own reply, too, because
/// Grafana's backend reads `responses` whatever the status is.
#[must_use]
pub fn respond(problem: &Problem, searches: usize) -> Response {
    let status = problem.code.status();
    let kind = format!("logflow_{}", problem.code.as_str());
    let cause = Cause {
        kind: &kind,
        reason: &problem.detail,
    };
    let refusal = Refusal {
        error: Error {
            root_cause: [cause],
            cause,
        },
        status: status.as_u16(),
    };
    let body = Body {
        refusal,
        responses: vec![refusal; searches],
    };
    let body = serde_json::to_string(&body).expect("texts and numbers are JSON");
    let headers = [
        (header::CONTENT_TYPE, "application/json"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    let mut response = (status, headers, body + "\n").into_response();
    problem.add_headers(response.headers_mut());
    response.extensions_mut().insert(problem.code);
    response
}
