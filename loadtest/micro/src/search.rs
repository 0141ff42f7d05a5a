//! From what somebody writes into the search bar to what Elasticsearch is asked, and to what the live tail shows.
//!
//! In the flow: `sink` → **`search`**.

use std::hint::black_box;

use query_api::query::field::DynamicFields;
use query_api::query::filter::filter;
use query_api::query::matcher::Candidate;
use query_api::query::parser::parse;
use service::search_engine::SearchEngine;

use crate::Run;
use crate::events::{event, time_of};

const QUERY: &str = r#"level:(error OR fatal) resourceId:server-1* "order failed" -debug metadata.parentResourceId:server-9001 status>=500 timestamp>now-15m"#;
/// Looks into every message and each kind of field, and finds some events.
const TAIL: &str = r#"failed level>=debug resourceId:server-* -traceId:*"#;

/// A query read, and written as the body that Elasticsearch gets.
///
/// # Panics
/// If it is none.
#[must_use]
pub fn query() -> Run {
    let now = time_of(0);
    Box::new(move || {
        let tree = parse(black_box(QUERY), now).expect("a query");
        let body = filter(SearchEngine::Elasticsearch, &tree);
        black_box(body.to_string());
    })
}

/// 100 events of 250 bytes held against a query.
///
/// # Panics
/// If it finds none or all.
#[must_use]
pub fn tail() -> Run {
    let events: Vec<Vec<u8>> = (0..100).map(|n| event(n, 250)).collect();
    let tree = parse(TAIL, time_of(0)).expect("a query");
    let dynamic = DynamicFields::new();
    Box::new(move || {
        let found = events.iter().filter(|event| {
            let candidate = Candidate::new("id", black_box(event), &dynamic);
            candidate.matches(&tree)
        });
        let n_found = found.count();
        assert!((1..events.len()).contains(&n_found), "{n_found} are found");
    })
}
