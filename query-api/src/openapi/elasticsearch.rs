//! What is passed on to Elasticsearch, for the documentation.
//!
//! In the flow: part of `openapi`.

/// What the search engine is: name and version.
#[utoipa::path(
    get,
    path = "/elasticsearch/",
    responses(
        (status = "default", description = "Elasticsearch's reply as it came, or a refusal in its shape.", body = Object, content_type = "application/json"),
    )
)]
pub(super) fn pass_root() {}

/// Whether the cluster is well.
#[utoipa::path(
    get,
    path = "/elasticsearch/_cluster/health",
    responses(
        (status = "default", description = "Elasticsearch's reply as it came, or a refusal in its shape.", body = Object, content_type = "application/json"),
    )
)]
pub(super) fn pass_health() {}

/// Elasticsearch's `_msearch`, read-only and bounded, as Grafana sends it; docs/grafana.md lists what is passed on.
#[utoipa::path(
    post,
    path = "/elasticsearch/_msearch",
    request_body(content = Object, content_type = "application/x-ndjson"),
    responses(
        (status = "default", description = "Elasticsearch's reply as it came, or a refusal in its shape.", body = Object, content_type = "application/json"),
    )
)]
pub(super) fn pass_multi_search() {}

/// Elasticsearch's `_search` in all indices that are open.
#[utoipa::path(
    get,
    path = "/elasticsearch/_search",
    responses(
        (status = "default", description = "Elasticsearch's reply as it came, or a refusal in its shape.", body = Object, content_type = "application/json"),
    )
)]
pub(super) fn pass_search_all_get() {}

/// Elasticsearch's `_search` in all indices that are open.
#[utoipa::path(
    post,
    path = "/elasticsearch/_search",
    request_body(content = Object, content_type = "application/json"),
    responses(
        (status = "default", description = "Elasticsearch's reply as it came, or a refusal in its shape.", body = Object, content_type = "application/json"),
    )
)]
pub(super) fn pass_search_all() {}

/// Elasticsearch's `_search` in some of them.
#[utoipa::path(
    get,
    path = "/elasticsearch/{index}/_search",
    params(("index" = String, Path, description = "Indices within `--index`.")),
    responses(
        (status = "default", description = "Elasticsearch's reply as it came, or a refusal in its shape.", body = Object, content_type = "application/json"),
    )
)]
pub(super) fn pass_search_get() {}

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
pub(super) fn pass_search() {}

/// Elasticsearch's `_count` in all indices that are open.
#[utoipa::path(
    get,
    path = "/elasticsearch/_count",
    responses(
        (status = "default", description = "Elasticsearch's reply as it came, or a refusal in its shape.", body = Object, content_type = "application/json"),
    )
)]
pub(super) fn pass_count_all_get() {}

/// Elasticsearch's `_count` in all indices that are open.
#[utoipa::path(
    post,
    path = "/elasticsearch/_count",
    request_body(content = Object, content_type = "application/json"),
    responses(
        (status = "default", description = "Elasticsearch's reply as it came, or a refusal in its shape.", body = Object, content_type = "application/json"),
    )
)]
pub(super) fn pass_count_all() {}

/// Elasticsearch's `_count` in some of them.
#[utoipa::path(
    get,
    path = "/elasticsearch/{index}/_count",
    params(("index" = String, Path, description = "Indices within `--index`.")),
    responses(
        (status = "default", description = "Elasticsearch's reply as it came, or a refusal in its shape.", body = Object, content_type = "application/json"),
    )
)]
pub(super) fn pass_count_get() {}

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
pub(super) fn pass_count() {}

/// The mapping of all indices that are open.
#[utoipa::path(
    get,
    path = "/elasticsearch/_mapping",
    responses(
        (status = "default", description = "Elasticsearch's reply as it came, or a refusal in its shape.", body = Object, content_type = "application/json"),
    )
)]
pub(super) fn pass_mapping_all() {}

/// The mapping of some of them.
#[utoipa::path(
    get,
    path = "/elasticsearch/{index}/_mapping",
    params(("index" = String, Path, description = "Indices within `--index`.")),
    responses(
        (status = "default", description = "Elasticsearch's reply as it came, or a refusal in its shape.", body = Object, content_type = "application/json"),
    )
)]
pub(super) fn pass_mapping() {}

/// Elasticsearch's `_field_caps` in all indices that are open.
#[utoipa::path(
    get,
    path = "/elasticsearch/_field_caps",
    params(("fields" = String, Query, description = "Which fields, separated by commas; `*` for all.")),
    responses(
        (status = "default", description = "Elasticsearch's reply as it came, or a refusal in its shape.", body = Object, content_type = "application/json"),
    )
)]
pub(super) fn pass_field_caps_all_get() {}

/// Elasticsearch's `_field_caps` in all indices that are open.
#[utoipa::path(
    post,
    path = "/elasticsearch/_field_caps",
    params(("fields" = String, Query, description = "Which fields, separated by commas; `*` for all.")),
    request_body(content = Object, content_type = "application/json"),
    responses(
        (status = "default", description = "Elasticsearch's reply as it came, or a refusal in its shape.", body = Object, content_type = "application/json"),
    )
)]
pub(super) fn pass_field_caps_all() {}

/// Elasticsearch's `_field_caps` in some of them.
#[utoipa::path(
    get,
    path = "/elasticsearch/{index}/_field_caps",
    params(("index" = String, Path, description = "Indices within `--index`."), ("fields" = String, Query, description = "Which fields, separated by commas; `*` for all.")),
    responses(
        (status = "default", description = "Elasticsearch's reply as it came, or a refusal in its shape.", body = Object, content_type = "application/json"),
    )
)]
pub(super) fn pass_field_caps_get() {}

/// Elasticsearch's `_field_caps` in some of them.
#[utoipa::path(
    post,
    path = "/elasticsearch/{index}/_field_caps",
    params(("index" = String, Path, description = "Indices within `--index`."), ("fields" = String, Query, description = "Which fields, separated by commas; `*` for all.")),
    request_body(content = Object, content_type = "application/json"),
    responses(
        (status = "default", description = "Elasticsearch's reply as it came, or a refusal in its shape.", body = Object, content_type = "application/json"),
    )
)]
pub(super) fn pass_field_caps() {}
