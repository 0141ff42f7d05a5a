//! The router: which path means which dialect, and the layers around all of them.
//!
//! In the flow: `server` → **`routes`** → `intake`.

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use log_event::dialect::Dialect;
use service::{access, operations};
use tower_http::catch_panic::CatchPanicLayer;

use crate::dialect::Message;
use crate::error::{Code, Problem};
use crate::gateway::Gateway;
use crate::intake;
use crate::metrics::Metrics;
use crate::rate_limit_headers;
use crate::reply::{self, Reply};
use crate::traces::RequestSpan;

mod elasticsearch;
mod splunk;

type Shared = State<Arc<Gateway>>;

/// All routes. `draining` says whether the process is about to end.
pub fn router(
    gateway: &Arc<Gateway>,
    draining: impl Fn() -> bool + Send + Sync + 'static,
) -> Router {
    let producer = Arc::clone(&gateway.producer);
    let readiness = move || {
        let mut reasons = producer.reasons();
        if draining() {
            reasons.push("draining".to_owned());
        }
        reasons
    };
    let dialects = gateway.config.dialects.iter();
    let ingest = dialects.fold(Router::new(), |router, dialect| {
        router.merge(match dialect {
            Dialect::Native => Router::new().route("/logs", post(native)),
            Dialect::OpenTelemetry => Router::new()
                .route("/v1/logs", post(otlp))
                // Where Loki's users send OTLP.
                .route("/otlp/v1/logs", post(otlp)),
            Dialect::Elasticsearch => elasticsearch::router(gateway),
            Dialect::Loki => Router::new()
                .route("/loki/api/v1/push", post(loki))
                .route("/ready", get(|| async { "ready\n" })),
            Dialect::Splunk => splunk::router(gateway),
        })
    });
    let ingest = match gateway.config.dialects.contains(&Dialect::Elasticsearch) {
        true => ingest,
        false => {
            let told = Router::new().route("/", get(greet));
            ingest.merge(for_known(gateway, told, reply::of_problem))
        }
    };
    ingest
        .with_state(Arc::clone(gateway))
        .merge(operations::router(
            gateway.metrics.registry(),
            readiness,
            &gateway.config.access,
        ))
        .fallback(|| async {
            refused(
                Code::NotFound,
                "there is no such path; events go to POST /logs, and to the paths of the other dialects in docs/intake.md",
            )
        })
        .method_not_allowed_fallback(|| async {
            refused(
                Code::MethodNotAllowed,
                "this path does not know the method; `Allow` lists those it knows",
            )
        })
        // Inside the counting, so that a fault of ours is counted as the 500 that it is.
        .layer(CatchPanicLayer::custom(
            |_: Box<dyn std::any::Any + Send>| {
                refused(Code::Internal, "the gateway has a fault; its log says more")
            },
        ))
        .layer(from_fn_with_state(Arc::clone(&gateway.metrics), count))
}

/// Of what clients ask beside sending: a stranger is refused in the way of the dialect. A dialect's name for `/healthz`
/// is none of it: balancers have no key.
fn for_known(
    gateway: &Arc<Gateway>,
    told: Router<Arc<Gateway>>,
    refuse: fn(&Problem) -> Reply,
) -> Router<Arc<Gateway>> {
    let gateway = Arc::clone(gateway);
    told.route_layer(from_fn(move |request: Request, next: Next| {
        let recognised = intake::recognise(&gateway, &request);
        let refusal = recognised.map_err(|problem| {
            gateway.metrics.refused(problem.code, None);
            response(refuse(&problem))
        });
        async move {
            match refusal {
                Ok(()) => next.run(request).await,
                Err(refusal) => refusal,
            }
        }
    }))
}

async fn count(State(metrics): State<Arc<Metrics>>, request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    metrics
        .requests
        .with_label_values(&[response.status().as_str()])
        .inc();
    response
}

async fn greet() -> Response {
    let text = serde_json::json!({
        "name": env!("CARGO_PKG_NAME"),
        "version": env!("CARGO_PKG_VERSION"),
        "description": "POST /logs takes a JSON object, an array of objects, or one object a line; gzip is understood",
        "docs": "docs/formats.md",
    });
    (
        [(header::CONTENT_TYPE, "application/json")],
        format!("{text}\n"),
    )
        .into_response()
}

async fn native(gateway: Shared, request: Request) -> Response {
    let message = Message::native(request.headers());
    answer(gateway, message, request).await
}

async fn otlp(gateway: Shared, request: Request) -> Response {
    let message = Message::otlp(request.headers());
    answer(gateway, message, request).await
}

async fn loki(gateway: Shared, request: Request) -> Response {
    let message = Message::loki(request.headers());
    answer(gateway, message, request).await
}

async fn answer(State(gateway): Shared, message: Message, request: Request) -> Response {
    let started = Instant::now();
    let mut sender = None;
    let span = RequestSpan::begin(&gateway, &request, &message);
    let taken = intake::take(&gateway, &message, request, span.context(), &mut sender).await;
    let tenant = sender.as_ref().and_then(|sender| sender.caller.tenant());
    let reply = taken.unwrap_or_else(|problem| {
        gateway.metrics.refused(problem.code, tenant);
        message.refused(&problem)
    });
    Metrics::observe(&gateway.metrics.request_duration, started.elapsed());
    span.end(reply.status, tenant);
    let mut response = response(reply);
    if let Some(sender) = sender.filter(|_| gateway.config.rate_limit_headers) {
        let of_key = gateway.quotas.left(sender.caller.key());
        let left = gateway.admission.left(sender.client).and(of_key);
        rate_limit_headers::add(left, response.headers_mut());
    }
    response
}

fn refused(code: Code, detail: &str) -> Response {
    response(reply::of_problem(&Problem::permanent(code, detail)))
}

fn response(reply: Reply) -> Response {
    let status = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = Response::new(Body::from(reply.body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static(reply.content_type),
    );
    if reply.status == 401 {
        headers.insert(header::WWW_AUTHENTICATE, access::CHALLENGE);
    }
    if let Some(seconds) = reply.retry_after_seconds {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}
