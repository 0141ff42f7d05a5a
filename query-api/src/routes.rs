//! The router: which path leads where, and what every request passes on its way.
//!
//! In the flow: `server` → **`routes`** → `search_request`, `passthrough`.
//! Not here: `/healthz`, `/readyz`, `/metrics` themselves (`service::operations`).

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, FromRequest as _, MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{any, get, post};
use futures_util::stream;
use log_event::timestamp::Timestamp;
use serde::Serialize;
use service::access::Access;
use tower_http::catch_panic::CatchPanicLayer;

use crate::config::{Config, Indices};
use crate::error::{Code, Problem};
use crate::export::ExportRequest;
use crate::exporter::Exporter;
use crate::kafka::KafkaSettings;
use crate::letters;
use crate::metrics::Metrics;
use crate::openapi;
use crate::page;
use crate::parameters::RangeBound;
use crate::passthrough;
use crate::pipeline::Pipeline;
use crate::redrive::RedriveRequest;
use crate::redriver::Redriver;
use crate::search_request;
use crate::search_response::Partial;
use crate::searcher::Searcher;
use crate::sinks::Sinks;
use crate::tail::{self, TailRequest};
use crate::tail_reader::Tails;

pub(crate) mod access;
mod analysis;
mod elasticsearch;
mod route;

use access::View;
pub use route::Route;

/// Says on a `GET /logs` reply that events may be missing, and why.
const PARTIAL: HeaderName = HeaderName::from_static("logflow-partial");
/// How long a request's body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

struct App {
    access: Access,
    is_https: bool,
    indices: Indices,
    searcher: Searcher,
    exporter: Exporter,
    tails: Tails,
    kafka: Arc<KafkaSettings>,
    sinks: Sinks,
    looking: tokio::sync::Mutex<()>,
    redriver: Redriver,
    metrics: Metrics,
    search_timeout: Duration,
    time_range_max: Option<Duration>,
    openapi: Bytes,
}

/// The whole service.
pub fn router(
    config: &Config,
    searcher: Searcher,
    tails: Tails,
    sinks: Sinks,
    redriver: Redriver,
    metrics: Metrics,
) -> Router {
    let readiness = {
        let searcher = searcher.clone();
        move || searcher.not_ready()
    };
    let operations = service::operations::router(metrics.registry(), readiness, &config.access);
    config.access.watch(metrics.namespace());
    config.login.watch(metrics.namespace());
    config.sink_login.watch(metrics.namespace());
    if let Some(tls) = &config.tls {
        tls.watch(metrics.namespace());
    }
    let exporter = Exporter::new(config.concurrent_exports_max, config.export_events_max);
    let app = Arc::new(App {
        access: config.access.clone(),
        is_https: config.tls.is_some(),
        indices: config.indices.clone(),
        searcher,
        exporter,
        tails,
        kafka: Arc::new(config.kafka.clone()),
        sinks,
        looking: tokio::sync::Mutex::default(),
        redriver,
        metrics,
        search_timeout: config.search_timeout,
        time_range_max: config.time_range_max,
        openapi: openapi::document().into(),
    });
    let page = page::assets().fold(Router::new(), |router, (route, asset)| {
        let asset = Arc::new(asset);
        let answer = move |headers: HeaderMap| async move { asset.answer(&headers) };
        router.route(route.label(), get(answer))
    });
    Router::new()
        .route(Route::Logs.label(), get(logs))
        .route(Route::Search.label(), post(search))
        .route(Route::Histogram.label(), get(analysis::histogram))
        .route(Route::Fields.label(), get(analysis::fields))
        .route(Route::Facets.label(), get(analysis::facets))
        .route(Route::Event.label(), get(analysis::event))
        .route(Route::Context.label(), get(analysis::context))
        .route(Route::Trace.label(), get(analysis::trace))
        .route(Route::Export.label(), get(export))
        .route(Route::Tail.label(), get(tail))
        .route(Route::Pipeline.label(), get(pipeline))
        .route(Route::Redrive.label(), post(redrive))
        .route(
            Route::Session.label(),
            get(access::session)
                .post(access::sign_in)
                .delete(access::sign_out),
        )
        .route(Route::OpenApi.label(), get(openapi_document))
        // One handler for all of it: which paths are passed on is decided in one place (`passthrough::endpoint`),
        // and every other is refused in Elasticsearch's shape.
        .route(passthrough::endpoint::PREFIX, any(elasticsearch::pass_on))
        .route("/elasticsearch/", any(elasticsearch::pass_on))
        .route("/elasticsearch/{*path}", any(elasticsearch::pass_on))
        .with_state(Arc::clone(&app))
        .merge(operations)
        .merge(page)
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(DefaultBodyLimit::max(config.body_bytes_max))
        .layer(middleware::from_fn_with_state(
            Arc::clone(&app),
            access::admit,
        ))
        // Inside the counting, so that a panic is an answer that is counted.
        .layer(CatchPanicLayer::custom(panicked))
        .layer(middleware::from_fn_with_state(app, count))
}

async fn logs(State(app): State<Arc<App>>, view: View, uri: Uri) -> Result<Response, Problem> {
    let request = search_request::from_query_string(query_of(&uri), app.range_bound())?;
    let logs = view.searcher.logs(&request).await?;
    let mut response = json(logs.array);
    if !logs.partial.is_empty() {
        response
            .headers_mut()
            .insert(PARTIAL, partial_header(&logs.partial));
    }
    Ok(response)
}

async fn search(
    State(app): State<Arc<App>>,
    view: View,
    request: Request,
) -> Result<Response, Problem> {
    let body = read_body(request).await?;
    let (request, cursor) = search_request::from_json(&body, app.range_bound())?;
    let page = view.searcher.page(&request, cursor.as_deref()).await?;
    Ok(json(page))
}

async fn export(State(app): State<Arc<App>>, view: View, uri: Uri) -> Result<Response, Problem> {
    let bound = app.range_bound();
    let request = ExportRequest::read(query_of(&uri), bound)?;
    let (media_type, extension) = (request.format.media_type(), request.format.extension());
    let file = app.exporter.export(view.searcher, request).await?;
    let now = bound.now.to_rfc3339().replace(':', "-");
    let name = format!("attachment; filename=\"logflow-{now}.{extension}\"");
    let headers = [
        (header::CONTENT_TYPE, media_type.to_owned()),
        (header::CONTENT_DISPOSITION, name),
        (header::CACHE_CONTROL, "no-store".to_owned()),
    ];
    Ok((headers, Body::from_stream(file)).into_response())
}

async fn tail(
    State(app): State<Arc<App>>,
    view: View,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    if !app.tails.are_possible() {
        let detail = "there is no live tail here: query-api was started without `--kafka-brokers`";
        return Err(Problem::new(Code::NotConfigured, detail));
    }
    let last = headers
        .get(tail::LAST_EVENT_ID)
        .and_then(|id| id.to_str().ok());
    let request = TailRequest::read(
        query_of(&uri),
        last,
        view.caller.tenant(),
        app.range_bound(),
    )?;
    let dynamic = view.searcher.dynamic_fields().await?;
    let tail = app.tails.begin(request, dynamic).await?;
    let batches = stream::unfold(tail, |mut tail| async move {
        let batch = tail.next().await?;
        Some((Ok::<_, Infallible>(batch), tail))
    });
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store"),
        // nginx would hold events back.
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    Ok((headers, Body::from_stream(batches)).into_response())
}

async fn pipeline(State(app): State<Arc<App>>, view: View) -> Response {
    // One look at a time: each page that is open asks every few seconds.
    let _one = app.looking.lock().await;
    let kafka = Arc::clone(&app.kafka);
    let tenant = view.caller.tenant().cloned();
    let topics = tokio::task::spawn_blocking(move || {
        if kafka.brokers.is_empty() {
            (None, None)
        } else {
            letters::survey(&kafka, tenant.as_ref())
        }
    });
    let (sinks, topics) = tokio::join!(app.sinks.ask(), topics);
    let (topic, dead_letters) = topics.unwrap_or_default();
    reply_of(&Pipeline {
        sinks,
        topic,
        dead_letters,
    })
}

async fn redrive(
    State(app): State<Arc<App>>,
    view: View,
    request: Request,
) -> Result<Response, Problem> {
    let body = read_body(request).await?;
    let filter = RedriveRequest::read(&body, view.caller.tenant())?;
    Ok(reply_of(&app.redriver.redrive(filter).await?))
}

async fn openapi_document(State(app): State<Arc<App>>) -> Response {
    (
        [(header::CONTENT_TYPE, "application/json")],
        app.openapi.clone(),
    )
        .into_response()
}

impl App {
    fn range_bound(&self) -> RangeBound {
        RangeBound {
            max: self.time_range_max,
            now: now(),
        }
    }
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let nanos = since.map_or(0, |since| {
        i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
    });
    Timestamp::from_nanos(nanos).expect("a time since the epoch is not negative")
}

fn query_of(uri: &Uri) -> &str {
    uri.query().unwrap_or_default()
}

fn reply_of(reply: &impl Serialize) -> Response {
    let mut text = serde_json::to_vec(reply).expect("texts, numbers and raw JSON are JSON");
    text.push(b'\n');
    json(text.into())
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
    let path = request.extensions().get::<MatchedPath>();
    let known = path.and_then(|path| Route::at(path.as_str()));
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
mod tests;
