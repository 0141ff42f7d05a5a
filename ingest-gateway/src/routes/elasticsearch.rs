//! The paths that Elasticsearch's clients ask for: those that carry events, and those that tell them what they talk to.
//!
//! In the flow: part of `routes`.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Request};
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{any, get, post};
use serde_json::{Value, json};

use super::{Shared, answer, for_known};
use crate::decode::elasticsearch::Action;
use crate::dialect::Message;
use crate::gateway::Gateway;
use crate::reply;

/// The version that clients are told: the one whose replies these are.
const VERSION: &str = "8.19.0";
/// Official clients refuse every reply without it.
const PRODUCT: (HeaderName, HeaderValue) = (
    HeaderName::from_static("x-elastic-product"),
    HeaderValue::from_static("Elasticsearch"),
);

pub(super) fn router(gateway: &Arc<Gateway>) -> Router<Arc<Gateway>> {
    let bulk_of = post(bulk_in_index).put(bulk_in_index);
    let told = |body: Value| get(move || async move { json_reply(&body) });
    let acknowledged = || any(|| async { json_reply(&json!({"acknowledged": true})) });
    let beside = Router::new()
        .route("/", told(identity()))
        .route("/_license", told(license()))
        .route(
            "/_xpack",
            told(json!({"license": license()["license"], "features": {}})),
        )
        .route("/_cluster/health", told(health()))
        .route("/_cat/health", get(|| async { "logflow green\n" }))
        .route("/_nodes/http", told(json!({"nodes": {}})))
        .route("/_nodes/_all/http", told(json!({"nodes": {}})))
        // What shippers set up for themselves is es-sink's business: it is heard and left undone.
        .route("/_template/{name}", acknowledged())
        .route("/_index_template/{name}", acknowledged())
        .route("/_component_template/{name}", acknowledged())
        .route("/_ilm/policy/{name}", acknowledged())
        .route("/_data_stream/{name}", acknowledged())
        .route("/_ingest/pipeline/{name}", acknowledged());
    Router::new()
        .route("/_bulk", post(bulk).put(bulk))
        .route("/{index}/_bulk", bulk_of)
        .route("/{index}/_doc", post(document))
        .route(
            "/{index}/_doc/{id}",
            post(document_with_id).put(document_with_id),
        )
        .route("/{index}/_create/{id}", post(created).put(created))
        .merge(for_known(gateway, beside, reply::elasticsearch::of_problem))
        .layer(from_fn(named))
}

async fn named(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let (name, value) = PRODUCT;
    response.headers_mut().insert(name, value);
    response
}

async fn bulk(gateway: Shared, request: Request) -> Response {
    answer(gateway, Message::Bulk(None), request).await
}

async fn bulk_in_index(gateway: Shared, Path(index): Path<String>, request: Request) -> Response {
    answer(gateway, Message::Bulk(Some(index)), request).await
}

async fn document(gateway: Shared, Path(index): Path<String>, request: Request) -> Response {
    let message = Message::document(Action::Index, index, None);
    answer(gateway, message, request).await
}

async fn document_with_id(
    gateway: Shared,
    Path((index, id)): Path<(String, String)>,
    request: Request,
) -> Response {
    let message = Message::document(Action::Index, index, Some(id));
    answer(gateway, message, request).await
}

async fn created(
    gateway: Shared,
    Path((index, id)): Path<(String, String)>,
    request: Request,
) -> Response {
    let message = Message::document(Action::Create, index, Some(id));
    answer(gateway, message, request).await
}

fn json_reply(body: &Value) -> Response {
    let headers = [(header::CONTENT_TYPE, "application/json")];
    (headers, body.to_string()).into_response()
}

fn identity() -> Value {
    json!({
        "name": env!("CARGO_PKG_NAME"),
        "cluster_name": "logflow",
        "cluster_uuid": "logflow-ingest-gateway",
        "version": {
            "number": VERSION,
            "build_flavor": "default",
            "build_type": "tar",
            "build_hash": "unknown",
            "build_date": "2026-01-01T00:00:00Z",
            "build_snapshot": false,
            "lucene_version": "9.12.2",
            "minimum_wire_compatibility_version": "7.17.0",
            "minimum_index_compatibility_version": "7.0.0",
        },
        "tagline": "You Know, for Search",
        "logflow": {
            "version": env!("CARGO_PKG_VERSION"),
            "description": "takes log events, and answers shippers as Elasticsearch would; POST /logs takes JSON",
            "docs": "docs/intake.md",
        },
    })
}

fn license() -> Value {
    json!({"license": {"status": "active", "type": "basic", "mode": "basic", "uid": "logflow"}})
}

fn health() -> Value {
    json!({
        "cluster_name": "logflow", "status": "green", "timed_out": false,
        "number_of_nodes": 1, "number_of_data_nodes": 1,
        "active_primary_shards": 0, "active_shards": 0, "relocating_shards": 0,
        "initializing_shards": 0, "unassigned_shards": 0,
    })
}
