//! The service described for programs: OpenAPI 3.1, served at `/openapi.json`.
//!
//! In the flow: beside `routes` and `search_request`, which decide; a test
//! holds each path and parameter here against them.

// The items here exist to be described, not to be called.
#![allow(dead_code, unused_qualifications)]

use serde::Deserialize;
use utoipa::{IntoParams, OpenApi, ToSchema};

use crate::error::Body;
use crate::facets::Facets;
use crate::fields::Fields;
use crate::histogram::Histogram;
use crate::search_response::Page;
use crate::surroundings::{Context, EventReply, Trace};

mod access;
mod details;
mod elasticsearch;
mod pipeline;
mod refusals;

use access::Security;
use refusals::{BadBody, BadParameters, NoAnswer};

/// The document as JSON.
///
/// # Panics
/// Never: a test writes it.
#[must_use]
pub fn document() -> String {
    let document = serde_json::to_value(Document::openapi());
    let mut document = document.expect("the document is made of texts and numbers");
    details::add(&mut document);
    document.to_string()
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
        histogram,
        fields,
        facets,
        event,
        context,
        trace,
        export,
        tail,
        pipeline::pipeline,
        elasticsearch::pass_root,
        elasticsearch::pass_health,
        elasticsearch::pass_multi_search,
        elasticsearch::pass_search_all_get,
        elasticsearch::pass_search_all,
        elasticsearch::pass_search_get,
        elasticsearch::pass_search,
        elasticsearch::pass_count_all_get,
        elasticsearch::pass_count_all,
        elasticsearch::pass_count_get,
        elasticsearch::pass_count,
        elasticsearch::pass_mapping_all,
        elasticsearch::pass_mapping,
        elasticsearch::pass_field_caps_all_get,
        elasticsearch::pass_field_caps_all,
        elasticsearch::pass_field_caps_get,
        elasticsearch::pass_field_caps,
        pipeline::redrive,
        access::session,
        access::sign_in,
        access::sign_out,
        openapi_json,
        healthz,
        readyz,
        metrics
    ),
    modifiers(&Security),
    // What only a parameter names is not collected by itself.
    components(schemas(FormatName))
)]
struct Document;

/// The parameters of `GET /logs`. An empty value counts as none.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
struct LogsParameters {
    /// What the event must be like, in the query language: `level>=warn "connection refused" -resourceId:test-*`.
    #[param(example = "level>=warn timeout", required = false, max_length = 4096)]
    q: Option<String>,
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
    /// A part that repeats itself hundreds of times is refused.
    #[param(example = "connect to DB", required = false, max_length = 1024)]
    message: Option<String>,
    /// The first moment: RFC 3339 with an offset, epoch seconds, milliseconds or
    /// nanoseconds, a day in UTC (`2023-09-15`), which begins at midnight, or a time
    /// before now (`now-15m`, with s, m, h, d or w).
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

/// Which events an answer is about. Without any of them, all.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
struct SelectionParameters {
    /// What the event must be like, in the query language.
    #[param(example = "level>=warn timeout", required = false, max_length = 4096)]
    q: Option<String>,
    /// The first moment, as `startDate` of `GET /logs`.
    #[param(example = "2023-09-15T08:00:00Z", required = false)]
    from: Option<String>,
    /// The last moment, itself included, as `endDate` of `GET /logs`.
    #[param(example = "2023-09-15", required = false)]
    to: Option<String>,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
struct HistogramParameters {
    /// At most so many buckets.
    #[param(minimum = 1, maximum = 120, default = 60, required = false)]
    buckets: Option<u32>,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
struct FacetsParameters {
    /// The field: any but `message`, `timestamp` and `metadata` itself.
    #[param(example = "level", max_length = 1024)]
    field: String,
    /// Only values that begin so; of a level in any case.
    #[param(example = "err", required = false, max_length = 1024)]
    prefix: Option<String>,
    /// At most so many values.
    #[param(minimum = 1, maximum = 100, default = 10, required = false)]
    size: Option<u32>,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
struct ContextParameters {
    /// The event's `id`, as a hit tells it.
    #[param(example = "AYqXJpAAAAAAAAAAAAAAAAAA", min_length = 1, max_length = 512)]
    id: String,
    /// So many events before it at most.
    #[param(minimum = 0, maximum = 100, default = 20, required = false)]
    before: Option<u32>,
    /// So many events after it at most.
    #[param(minimum = 0, maximum = 100, default = 20, required = false)]
    after: Option<u32>,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
struct TraceParameters {
    /// At most so many events, the oldest.
    #[param(minimum = 1, maximum = 1000, default = 1000, required = false)]
    limit: Option<u32>,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
struct ExportParameters {
    /// What comes first.
    #[param(default = "newest", required = false)]
    sort: Option<SortName>,
    /// One event a line as it was stored, or a table for spreadsheets, in which a text
    /// that looks like a formula has a `'` before it.
    #[param(default = "ndjson", required = false)]
    format: Option<FormatName>,
    /// The columns of a table, separated by commas; at most 100.
    #[param(example = "timestamp,level,message", required = false)]
    fields: Option<String>,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
struct TailParameters {
    /// What the event must be like, in the query language.
    #[param(example = "level>=warn timeout", required = false, max_length = 4096)]
    q: Option<String>,
    /// Goes on after what was received: the last `id`, as the header `Last-Event-ID` does.
    #[param(example = "0:15,1:20", required = false)]
    after: Option<String>,
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum FormatName {
    Ndjson,
    Csv,
}

/// What to search. All members are optional and combined with AND; `null` and
/// an empty text count as none.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct SearchBody {
    /// What the event must be like, in the query language: `level>=warn "connection refused" -resourceId:test-*`.
    #[schema(example = "level>=warn timeout", max_length = 4096)]
    q: Option<String>,
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
    /// the sort must be those of that page, dates as its reply tells them; `limit` may change. All pages show the
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
        BadParameters,
        NoAnswer,
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
        (status = 410, description = "The cursor is expired: start again without it.", body = Body, content_type = "application/problem+json"),
        BadBody,
        NoAnswer,
    )
)]
fn search() {}

/// How many events happened when, by level.
#[utoipa::path(
    get,
    path = "/api/v1/histogram",
    params(SelectionParameters, HistogramParameters),
    responses(
        (status = 200, description = "The answer.", body = Histogram, content_type = "application/json"),
        BadParameters,
        NoAnswer,
    )
)]
fn histogram() {}

/// Which fields the newest of the events have.
#[utoipa::path(
    get,
    path = "/api/v1/fields",
    params(SelectionParameters),
    responses(
        (status = 200, description = "The answer.", body = Fields, content_type = "application/json"),
        BadParameters,
        NoAnswer,
    )
)]
fn fields() {}

/// Which values a field has, and how often.
#[utoipa::path(
    get,
    path = "/api/v1/facets",
    params(FacetsParameters, SelectionParameters),
    responses(
        (status = 200, description = "The answer.", body = Facets, content_type = "application/json"),
        BadParameters,
        NoAnswer,
    )
)]
fn facets() {}

/// One event.
#[utoipa::path(
    get,
    path = "/api/v1/events/{id}",
    params(("id" = String, Path, description = "The event's `id`, as a hit tells it.", min_length = 1, max_length = 512)),
    responses(
        (status = 200, description = "The answer.", body = EventReply, content_type = "application/json"),
        BadParameters,
        (status = 404, description = "There is no such event.", body = Body, content_type = "application/problem+json"),
        NoAnswer,
    )
)]
fn event() {}

/// What the same resource logged around an event.
#[utoipa::path(
    get,
    path = "/api/v1/context",
    params(ContextParameters),
    responses(
        (status = 200, description = "The answer.", body = Context, content_type = "application/json"),
        BadParameters,
        (status = 404, description = "There is no such event.", body = Body, content_type = "application/problem+json"),
        NoAnswer,
    )
)]
fn context() {}

/// The events of a trace, the oldest first.
#[utoipa::path(
    get,
    path = "/api/v1/traces/{traceId}",
    params(("traceId" = String, Path, description = "The trace.", max_length = 1024), TraceParameters),
    responses(
        (status = 200, description = "The answer.", body = Trace, content_type = "application/json"),
        BadParameters,
        NoAnswer,
    )
)]
fn trace() {}

/// All events that match as a file. It is whole if it has its last line: of NDJSON
/// `{"_end":true,"events":12,"partial":false,"partial_reasons":[]}`, of CSV `# end: 12 events`.
#[utoipa::path(
    get,
    path = "/api/v1/export",
    params(SelectionParameters, ExportParameters),
    responses(
        (status = 200, description = "The file.", content(
            (String = "application/x-ndjson"),
            (String = "text/csv"),
        )),
        BadParameters,
        (status = 502, description = "Elasticsearch refused the search.", body = Body, content_type = "application/problem+json"),
        (status = 503, description = "Too many exports, or Elasticsearch is not there; `retry-after` says when to try again.", body = Body, content_type = "application/problem+json"),
    )
)]
fn export() {}

/// Follows what arrives, as server-sent events, straight from Kafka: before it is indexed.
/// `log` has `{"id":"…","event":{…}}`; `dropped` says how many events the client was too
/// slow for, `{"count":12}`; `status` comes at least once a second, with how many records were
/// read, matched and dropped, and with the `id` that goes on from there.
#[utoipa::path(
    get,
    path = "/api/v1/tail",
    params(TailParameters),
    responses(
        (status = 200, description = "Events, until the client leaves.", body = String, content_type = "text/event-stream"),
        BadParameters,
        (status = 501, description = "This service was started without `--kafka-brokers`.", body = Body, content_type = "application/problem+json"),
        (status = 502, description = "Elasticsearch refused to tell how fields are kept.", body = Body, content_type = "application/problem+json"),
        (status = 503, description = "Too many tails, or Kafka or Elasticsearch is not there; `retry-after` says when to try again.", body = Body, content_type = "application/problem+json"),
    )
)]
fn tail() {}

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
