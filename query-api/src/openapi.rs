//! The service described for programs: OpenAPI 3.1, served at `/openapi.json`.
//!
//! In the flow: beside `routes` and `search_request`, which decide; a test
//! holds each path and parameter here against them.

// The items here exist to be described, not to be called.
#![allow(dead_code, unused_qualifications)]

use serde::Deserialize;
use utoipa::{IntoParams, OpenApi, ToSchema};

use crate::error::Body;
use crate::search_response::Page;

/// The document as JSON.
///
/// # Panics
/// Never: a test writes it.
#[must_use]
pub fn document() -> String {
    Document::openapi()
        .to_json()
        .expect("the document is made of texts and numbers")
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "logflow query-api",
        description = "Searches log events. Every refusal is `application/problem+json` with a stable `code`; below `/elasticsearch` it is Elasticsearch's own shape, with the code as the `type`, after `logflow_`."
    ),
    paths(
        logs,
        search,
        pass_root,
        pass_health,
        pass_multi_search,
        pass_search_all_get,
        pass_search_all,
        pass_search_get,
        pass_search,
        pass_count_all_get,
        pass_count_all,
        pass_count_get,
        pass_count,
        pass_mapping_all,
        pass_mapping,
        pass_field_caps_all_get,
        pass_field_caps_all,
        pass_field_caps_get,
        pass_field_caps,
        openapi_json,
        healthz,
        readyz,
        metrics
    )
)]
struct Document;

/// The parameters of `GET /logs`. An empty value counts as none.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
struct LogsParameters {
    /// The severity, without regard to case.
    #[param(example = "error", required = false, max_length = 1024)]
    level: Option<String>,
    /// What emitted the event, exactly.
    #[param(
        rename = "resourceId",
        example = "server-1234",
        required = false,
        max_length = 1024
    )]
    resource_id: Option<String>,
    /// A part of the message, without regard to case, anywhere in it and across words.
    /// In a message longer than 8,191 characters, a part that is more than one run of
    /// letters and digits is found where it begins with a whole word.
    #[param(example = "connect to DB", required = false, max_length = 1024)]
    message: Option<String>,
    /// The first moment: RFC 3339 with an offset, epoch seconds, milliseconds or
    /// nanoseconds, or a day in UTC (`2023-09-15`), which begins at midnight.
    #[param(
        rename = "startDate",
        example = "2023-09-15T00:00:00Z",
        required = false
    )]
    start_date: Option<String>,
    /// The last moment, itself included, written as `startDate`; a day counts until its end.
    #[param(rename = "endDate", example = "2023-09-15", required = false)]
    end_date: Option<String>,
    /// The trace, exactly.
    #[param(
        rename = "traceId",
        example = "abc-xyz-123",
        required = false,
        max_length = 1024
    )]
    trace_id: Option<String>,
    /// The span, exactly.
    #[param(
        rename = "spanId",
        example = "span-456",
        required = false,
        max_length = 1024
    )]
    span_id: Option<String>,
    /// The version of the emitting code, exactly.
    #[param(example = "5e5342f", required = false, max_length = 1024)]
    commit: Option<String>,
    /// The parent of what emitted the event, exactly.
    #[param(
        rename = "metadata.parentResourceId",
        example = "server-0987",
        required = false,
        max_length = 1024
    )]
    metadata_parent_resource_id: Option<String>,
    /// Another name of `metadata.parentResourceId`; give one of the two.
    #[param(rename = "parentResourceId", required = false, max_length = 1024)]
    parent_resource_id: Option<String>,
    /// How many events to return at most.
    #[param(minimum = 1, maximum = 10_000, default = 100, required = false)]
    limit: Option<u32>,
}

/// What to search. All members are optional and combined with AND; `null` and
/// an empty text count as none.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct SearchBody {
    /// The severity, without regard to case.
    #[schema(example = "error", max_length = 1024)]
    level: Option<String>,
    /// What emitted the event, exactly.
    #[schema(max_length = 1024)]
    resource_id: Option<String>,
    /// A part of the message, as the parameter of `GET /logs`.
    #[schema(example = "connect to DB", max_length = 1024)]
    message: Option<String>,
    /// The first moment, as `startDate` of `GET /logs`; numbers too.
    #[schema(example = "2023-09-15")]
    from: Option<String>,
    /// The last moment, itself included, as `endDate` of `GET /logs`; numbers too.
    #[schema(example = "2023-09-15")]
    to: Option<String>,
    /// The trace, exactly.
    #[schema(max_length = 1024)]
    trace_id: Option<String>,
    /// The span, exactly.
    #[schema(max_length = 1024)]
    span_id: Option<String>,
    /// The version of the emitting code, exactly.
    #[schema(max_length = 1024)]
    commit: Option<String>,
    /// The parent of what emitted the event, exactly.
    #[serde(rename = "metadata.parentResourceId")]
    #[schema(max_length = 1024)]
    metadata_parent_resource_id: Option<String>,
    /// Another name of `metadata.parentResourceId`; give one of the two.
    #[schema(max_length = 1024)]
    parent_resource_id: Option<String>,
    /// What comes first: `newest` or `oldest`.
    #[schema(default = "newest")]
    sort: Option<SortName>,
    /// How many hits a page has at most.
    #[schema(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<u32>,
    /// `next_cursor` of the page before this one. The filters, the time range and
    /// the sort must be those of that page, `limit` may change. All pages show the
    /// indices as they were at the first page.
    cursor: Option<String>,
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum SortName {
    Newest,
    Oldest,
}

/// Events that match all parameters, newest first.
#[utoipa::path(
    get,
    path = "/logs",
    params(LogsParameters),
    responses(
        (status = 200, description = "The events as they were stored.", body = Vec<Object>, content_type = "application/json",
            headers(("logflow-partial" = String, description = "Sent only if events may be missing: `true; reasons=\"…\"` with `timed_out`, `shards_failed` or both."))),
        (status = 400, description = "A parameter is unknown, given twice or cannot be used.", body = Body, content_type = "application/problem+json"),
        (status = 502, description = "Elasticsearch refused the search.", body = Body, content_type = "application/problem+json"),
        (status = 503, description = "Too many searches, or Elasticsearch is not there; `retry-after` says when to try again.", body = Body, content_type = "application/problem+json"),
    )
)]
fn logs() {}

/// One page of hits.
#[utoipa::path(
    post,
    path = "/api/v1/search",
    request_body = SearchBody,
    responses(
        (status = 200, description = "The page.", body = Page, content_type = "application/json"),
        (status = 400, description = "The body is no JSON object, or a member is unknown, given twice or cannot be used.", body = Body, content_type = "application/problem+json"),
        (status = 408, description = "The body did not arrive in time.", body = Body, content_type = "application/problem+json"),
        (status = 410, description = "The cursor is expired: start again without it.", body = Body, content_type = "application/problem+json"),
        (status = 413, description = "The body is too large.", body = Body, content_type = "application/problem+json"),
        (status = 502, description = "Elasticsearch refused the search.", body = Body, content_type = "application/problem+json"),
        (status = 503, description = "Too many searches, or Elasticsearch is not there; `retry-after` says when to try again.", body = Body, content_type = "application/problem+json"),
    )
)]
fn search() {}

/// What the search engine is: name and version.
#[utoipa::path(
    get,
    path = "/elasticsearch/",
    responses(
        (status = "default", description = "Elasticsearch's reply as it came, or a refusal in its shape.", body = Object, content_type = "application/json"),
    )
)]
fn pass_root() {}

/// Whether the cluster is well.
#[utoipa::path(
    get,
    path = "/elasticsearch/_cluster/health",
    responses(
        (status = "default", description = "Elasticsearch's reply as it came, or a refusal in its shape.", body = Object, content_type = "application/json"),
    )
)]
fn pass_health() {}

/// Elasticsearch's `_msearch`, read-only and bounded, as Grafana sends it; docs/grafana.md lists what is passed on.
#[utoipa::path(
    post,
    path = "/elasticsearch/_msearch",
    request_body(content = Object, content_type = "application/x-ndjson"),
    responses(
        (status = "default", description = "Elasticsearch's reply as it came, or a refusal in its shape.", body = Object, content_type = "application/json"),
    )
)]
fn pass_multi_search() {}

/// Elasticsearch's `_search` in all indices that are open.
#[utoipa::path(
    get,
    path = "/elasticsearch/_search",
    responses(
        (status = "default", description = "Elasticsearch's reply as it came, or a refusal in its shape.", body = Object, content_type = "application/json"),
    )
)]
fn pass_search_all_get() {}

/// Elasticsearch's `_search` in all indices that are open.
#[utoipa::path(
    post,
    path = "/elasticsearch/_search",
    request_body(content = Object, content_type = "application/json"),
    responses(
        (status = "default", description = "Elasticsearch's reply as it came, or a refusal in its shape.", body = Object, content_type = "application/json"),
    )
)]
fn pass_search_all() {}

/// Elasticsearch's `_search` in some of them.
#[utoipa::path(
    get,
    path = "/elasticsearch/{index}/_search",
    params(("index" = String, Path, description = "Indices within `--index`.")),
    responses(
        (status = "default", description = "Elasticsearch's reply as it came, or a refusal in its shape.", body = Object, content_type = "application/json"),
    )
)]
fn pass_search_get() {}

/// Elasticsearch's `_search` in some of them.
#[utoipa::path(
    post,
    path = "/elasticsearch/{index}/_search",
    params(("index" = String, Path, description = "Indices within `--index`.")),
    request_body(content = Object, content_type = "application/json"),
    responses(
        (status = "default", description = "Elasticsearch's reply as it came, or a refusal in its shape.", body = Object, content_type = "application/json"),
    )
)]
fn pass_search() {}

/// Elasticsearch's `_count` in all indices that are open.
#[utoipa::path(
    get,
    path = "/elasticsearch/_count",
    responses(
        (status = "default", description = "Elasticsearch's reply as it came, or a refusal in its shape.", body = Object, content_type = "application/json"),
    )
)]
fn pass_count_all_get() {}

/// Elasticsearch's `_count` in all indices that are open.
#[utoipa::path(
    post,
    path = "/elasticsearch/_count",
    request_body(content = Object, content_type = "application/json"),
    responses(
        (status = "default", description = "Elasticsearch's reply as it came, or a refusal in its shape.", body = Object, content_type = "application/json"),
    )
)]
fn pass_count_all() {}

/// Elasticsearch's `_count` in some of them.
#[utoipa::path(
    get,
    path = "/elasticsearch/{index}/_count",
    params(("index" = String, Path, description = "Indices within `--index`.")),
    responses(
        (status = "default", description = "Elasticsearch's reply as it came, or a refusal in its shape.", body = Object, content_type = "application/json"),
    )
)]
fn pass_count_get() {}

/// Elasticsearch's `_count` in some of them.
#[utoipa::path(
    post,
    path = "/elasticsearch/{index}/_count",
    params(("index" = String, Path, description = "Indices within `--index`.")),
    request_body(content = Object, content_type = "application/json"),
    responses(
        (status = "default", description = "Elasticsearch's reply as it came, or a refusal in its shape.", body = Object, content_type = "application/json"),
    )
)]
fn pass_count() {}

/// The mapping of all indices that are open.
#[utoipa::path(
    get,
    path = "/elasticsearch/_mapping",
    responses(
        (status = "default", description = "Elasticsearch's reply as it came, or a refusal in its shape.", body = Object, content_type = "application/json"),
    )
)]
fn pass_mapping_all() {}

/// The mapping of some of them.
#[utoipa::path(
    get,
    path = "/elasticsearch/{index}/_mapping",
    params(("index" = String, Path, description = "Indices within `--index`.")),
    responses(
        (status = "default", description = "Elasticsearch's reply as it came, or a refusal in its shape.", body = Object, content_type = "application/json"),
    )
)]
fn pass_mapping() {}

/// Elasticsearch's `_field_caps` in all indices that are open.
#[utoipa::path(
    get,
    path = "/elasticsearch/_field_caps",
    responses(
        (status = "default", description = "Elasticsearch's reply as it came, or a refusal in its shape.", body = Object, content_type = "application/json"),
    )
)]
fn pass_field_caps_all_get() {}

/// Elasticsearch's `_field_caps` in all indices that are open.
#[utoipa::path(
    post,
    path = "/elasticsearch/_field_caps",
    request_body(content = Object, content_type = "application/json"),
    responses(
        (status = "default", description = "Elasticsearch's reply as it came, or a refusal in its shape.", body = Object, content_type = "application/json"),
    )
)]
fn pass_field_caps_all() {}

/// Elasticsearch's `_field_caps` in some of them.
#[utoipa::path(
    get,
    path = "/elasticsearch/{index}/_field_caps",
    params(("index" = String, Path, description = "Indices within `--index`.")),
    responses(
        (status = "default", description = "Elasticsearch's reply as it came, or a refusal in its shape.", body = Object, content_type = "application/json"),
    )
)]
fn pass_field_caps_get() {}

/// Elasticsearch's `_field_caps` in some of them.
#[utoipa::path(
    post,
    path = "/elasticsearch/{index}/_field_caps",
    params(("index" = String, Path, description = "Indices within `--index`.")),
    request_body(content = Object, content_type = "application/json"),
    responses(
        (status = "default", description = "Elasticsearch's reply as it came, or a refusal in its shape.", body = Object, content_type = "application/json"),
    )
)]
fn pass_field_caps() {}

/// This document.
#[utoipa::path(get, path = "/openapi.json", responses((status = 200, description = "OpenAPI.", body = Object, content_type = "application/json")))]
fn openapi_json() {}

/// Whether the process lives.
#[utoipa::path(get, path = "/healthz", responses((status = 200, description = "It lives.", body = String, content_type = "text/plain")))]
fn healthz() {}

/// Whether searches can work.
#[utoipa::path(
    get,
    path = "/readyz",
    responses(
        (status = 200, description = "They can.", body = Object, content_type = "application/json"),
        (status = 503, description = "They cannot; `reasons` says why.", body = Object, content_type = "application/json"),
    )
)]
fn readyz() {}

/// Metrics for Prometheus.
#[utoipa::path(get, path = "/metrics", responses((status = 200, description = "The text format.", body = String, content_type = "text/plain")))]
fn metrics() {}
