//! The router: which path leads where, and what every request passes on its way.
//!
//! In the flow: `server` → **`routes`** → `search_request`, `passthrough`.
//! Not here: `/healthz`, `/readyz`, `/metrics` themselves (`service::operations`).

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, FromRequest as _, Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{any, get, post};
use log_event::timestamp::Timestamp;
use service::elasticsearch::Reply;
use tower_http::catch_panic::CatchPanicLayer;

use crate::config::{Config, IndexExpression};
use crate::error::{Code, Problem};
use crate::metrics::Metrics;
use crate::openapi;
use crate::passthrough::endpoint::{Endpoint, Place};
use crate::passthrough::{self, Bounds, error_body, multi_search};
use crate::search_request::{self, RangeBound};
use crate::search_response::Partial;
use crate::searcher::Searcher;

/// Says on a `GET /logs` reply that events may be missing, and why.
const PARTIAL: HeaderName = HeaderName::from_static("logflow-partial");
/// What is told of a reply that is passed on: how to read it, whose it is (clients of Elasticsearch's make sure
/// of that), what is deprecated in it, and when to come again.
const PASSED_ON: [HeaderName; 4] = [
    header::CONTENT_TYPE,
    HeaderName::from_static("x-elastic-product"),
    header::WARNING,
    header::RETRY_AFTER,
];
/// How long a request's body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Every path that is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// `GET /logs`.
    Logs,
    /// `POST /api/v1/search`.
    Search,
    /// `GET /elasticsearch/`: what it is.
    PassRoot,
    /// `GET /elasticsearch/_cluster/health`.
    PassHealth,
    /// `POST /elasticsearch/_msearch`.
    PassMultiSearch,
    /// `/elasticsearch/_search`, with and without an index.
    PassSearch,
    /// `/elasticsearch/_count`, with and without an index.
    PassCount,
    /// `/elasticsearch/_mapping`, with and without an index.
    PassMapping,
    /// `/elasticsearch/_field_caps`, with and without an index.
    PassFieldCaps,
    /// `GET /openapi.json`.
    OpenApi,
    /// `GET /healthz`.
    Healthz,
    /// `GET /readyz`.
    Readyz,
    /// `GET /metrics`.
    Metrics,
    /// Any other path.
    Unknown,
}

impl Route {
    /// All of them, for the metrics and the documentation.
    pub const ALL: [Self; 14] = [
        Self::Logs,
        Self::Search,
        Self::PassRoot,
        Self::PassHealth,
        Self::PassMultiSearch,
        Self::PassSearch,
        Self::PassCount,
        Self::PassMapping,
        Self::PassFieldCaps,
        Self::OpenApi,
        Self::Healthz,
        Self::Readyz,
        Self::Metrics,
        Self::Unknown,
    ];

    /// As in the metrics, and as in the router except for the last.
    #[must_use]
    pub fn label(self) -> &'static str {
        self.paths().first().copied().unwrap_or("unknown")
    }

    /// Where it is served, as the documentation spells it.
    #[must_use]
    pub fn paths(self) -> &'static [&'static str] {
        match self {
            Self::Logs => &["/logs"],
            Self::Search => &["/api/v1/search"],
            Self::PassRoot => &["/elasticsearch/"],
            Self::PassHealth => &["/elasticsearch/_cluster/health"],
            Self::PassMultiSearch => &["/elasticsearch/_msearch"],
            Self::PassSearch => &["/elasticsearch/_search", "/elasticsearch/{index}/_search"],
            Self::PassCount => &["/elasticsearch/_count", "/elasticsearch/{index}/_count"],
            Self::PassMapping => &["/elasticsearch/_mapping", "/elasticsearch/{index}/_mapping"],
            Self::PassFieldCaps => &[
                "/elasticsearch/_field_caps",
                "/elasticsearch/{index}/_field_caps",
            ],
            Self::OpenApi => &["/openapi.json"],
            Self::Healthz => &["/healthz"],
            Self::Readyz => &["/readyz"],
            Self::Metrics => &["/metrics"],
            Self::Unknown => &[],
        }
    }
}

struct App {
    searcher: Searcher,
    metrics: Metrics,
    index: IndexExpression,
    search_timeout: Duration,
    time_range_max: Option<Duration>,
    openapi: Bytes,
}

/// The whole service.
pub fn router(config: &Config, searcher: Searcher, metrics: Metrics) -> Router {
    let readiness = {
        let searcher = searcher.clone();
        move || searcher.not_ready()
    };
    let operations = service::operations::router(metrics.registry(), readiness);
    let app = Arc::new(App {
        searcher,
        metrics,
        index: config.index.clone(),
        search_timeout: config.search_timeout,
        time_range_max: config.time_range_max,
        openapi: openapi::document().into(),
    });
    Router::new()
        .route(Route::Logs.label(), get(logs))
        .route(Route::Search.label(), post(search))
        .route(Route::OpenApi.label(), get(openapi_document))
        // One handler for all of it: which paths are passed on is decided in one place (`passthrough::endpoint`),
        // and every other is refused in Elasticsearch's shape.
        .route(passthrough::endpoint::PREFIX, any(elasticsearch))
        .route("/elasticsearch/", any(elasticsearch))
        .route("/elasticsearch/{*path}", any(elasticsearch))
        .with_state(Arc::clone(&app))
        .merge(operations)
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(DefaultBodyLimit::max(config.body_bytes_max))
        // Inside the counting, so that a panic is an answer that is counted.
        .layer(CatchPanicLayer::custom(panicked))
        .layer(middleware::from_fn_with_state(app, count))
}

async fn logs(State(app): State<Arc<App>>, uri: Uri) -> Result<Response, Problem> {
    let query = uri.query().unwrap_or_default();
    let request = search_request::from_query_string(query, app.range_bound())?;
    let logs = app.searcher.logs(&request).await?;
    let mut response = json(logs.array);
    if !logs.partial.is_empty() {
        response
            .headers_mut()
            .insert(PARTIAL, partial_header(&logs.partial));
    }
    Ok(response)
}

async fn search(State(app): State<Arc<App>>, request: Request) -> Result<Response, Problem> {
    let body = read_body(request).await?;
    let (request, cursor) = search_request::from_json(&body, app.range_bound())?;
    let page = app.searcher.page(&request, cursor.as_deref()).await?;
    Ok(json(page))
}

async fn elasticsearch(State(app): State<Arc<App>>, request: Request) -> Response {
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let place = match Place::read(uri.path()) {
        Ok(place) => place,
        Err(problem) => return error_body::respond(&problem, 0),
    };
    let endpoint = place.endpoint;
    let mut response = if endpoint.takes(&method) {
        let query = uri.query().unwrap_or_default();
        app.pass_on(&place, query, request).await
    } else {
        let detail = format!("`{}` takes {}", endpoint.name(), endpoint.allow());
        let problem = Problem::new(Code::MethodNotAllowed, detail);
        let mut response = error_body::respond(&problem, 0);
        let allow = HeaderValue::from_static(endpoint.allow());
        response.headers_mut().insert(header::ALLOW, allow);
        response
    };
    response.extensions_mut().insert(endpoint.route());
    response
}

async fn openapi_document(State(app): State<Arc<App>>) -> Response {
    (
        [(header::CONTENT_TYPE, "application/json")],
        app.openapi.clone(),
    )
        .into_response()
}

impl App {
    async fn pass_on(&self, place: &Place, query: &str, request: Request) -> Response {
        let is_multi_search = place.endpoint == Endpoint::MultiSearch;
        let body = match read_body(request).await {
            Ok(body) => body,
            Err(problem) => return error_body::respond(&problem, is_multi_search.into()),
        };
        let bounds = Bounds {
            index: &self.index,
            search_timeout: self.search_timeout,
            range: self.range_bound(),
        };
        let reply = match passthrough::judge(place, query, &body, bounds) {
            Ok(passage) => self.searcher.pass_on(&passage).await,
            Err(problem) => Err(problem),
        };
        match reply {
            Ok(reply) => passed_on(reply),
            Err(problem) if is_multi_search => {
                error_body::respond(&problem, multi_search::count(&body))
            }
            Err(problem) => error_body::respond(&problem, 0),
        }
    }

    fn range_bound(&self) -> RangeBound {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let nanos = since.map_or(0, |since| {
            i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
        });
        RangeBound {
            max: self.time_range_max,
            now: Timestamp::from_nanos(nanos).expect("a time since the epoch is not negative"),
        }
    }
}

/// Status and body as they came, and of the headers those that belong to them.
fn passed_on(reply: Reply) -> Response {
    let mut response = reply.body.into_response();
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::BAD_GATEWAY);
    let headers = response.headers_mut();
    headers.remove(header::CONTENT_TYPE);
    for name in PASSED_ON {
        if let Some(value) = reply.headers.get(&name) {
            headers.insert(name, value.clone());
        }
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn json(body: Bytes) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "application/json"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (headers, body).into_response()
}

fn partial_header(reasons: &[Partial]) -> HeaderValue {
    let codes: Vec<&str> = reasons.iter().map(|reason| reason.code.as_str()).collect();
    let value = format!("true; reasons=\"{}\"", codes.join(" "));
    HeaderValue::try_from(value).expect("codes are ASCII")
}

async fn read_body(request: Request) -> Result<Bytes, Problem> {
    let incomplete = || {
        Problem::new(
            Code::BodyIncomplete,
            "the body did not arrive in time, or broke off",
        )
    };
    let body = tokio::time::timeout(BODY_TIMEOUT, Bytes::from_request(request, &()));
    match body.await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(rejection)) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            let detail = "the body is larger than this service takes (`--max-body-bytes`)";
            Err(Problem::new(Code::BodyTooLarge, detail))
        }
        Ok(Err(_)) | Err(_) => Err(incomplete()),
    }
}

async fn not_found(uri: Uri) -> Problem {
    let path: String = uri.path().chars().take(64).collect();
    let detail = format!("there is nothing at `{path}`; `/openapi.json` lists what there is");
    Problem::new(Code::NotFound, detail)
}

async fn method_not_allowed() -> Problem {
    let detail = "this path does not take that method; the header `allow` lists those it takes";
    Problem::new(Code::MethodNotAllowed, detail)
}

/// The panic itself is on stderr, by the standard hook.
fn panicked(_: Box<dyn std::any::Any + Send>) -> Response {
    let detail = "this service has a fault; its log has the details";
    Problem::new(Code::Internal, detail).into_response()
}

async fn count(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let _in_flight = app.metrics.enter();
    let path = request.uri().path();
    let known = Route::ALL.into_iter().find(|route| route.label() == path);
    let response = next.run(request).await;
    let told = response.extensions().get::<Route>().copied();
    let route = told.or(known).unwrap_or(Route::Unknown);
    let refusal = response.extensions().get::<Code>().copied();
    let seconds = started.elapsed().as_secs_f64();
    app.metrics
        .answered(route, response.status().as_u16(), seconds, refusal);
    response
}

#[cfg(test)]
#[path = "routes/tests.rs"]
mod tests;
