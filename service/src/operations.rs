//! What operators and orchestrators ask of every service: `/healthz`,
//! `/readyz`, `/metrics`. The first is everybody's, the others can be for keys alone.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use log_event::timestamp::Timestamp;
use prometheus::{Encoder as _, Registry, TextEncoder};
use serde_json::Value;
use tokio::net::TcpListener;

use crate::access::{Access, CHALLENGE, Scope, credential};
use crate::metrics::Namespace;
use crate::server::Server;
use crate::tls::{ClientCertificate, Tls};

/// Of those who ask how a sink is doing; more wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 64;
/// How long they may take to send a request's head, and stay idle between two requests.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// Why a service is not ready: one line a reason; none means ready.
pub type Reasons = Vec<String>;

/// The three routes. `readiness` must answer at once, from what is known.
pub fn router(
    registry: Registry,
    readiness: impl Fn() -> Reasons + Send + Sync + 'static,
    access: &Access,
) -> Router {
    let readiness = Arc::new(readiness);
    let mut told = Router::new()
        .route(
            "/readyz",
            get(move || std::future::ready(ready(&readiness()))),
        )
        .route(
            "/metrics",
            get(move || std::future::ready(metrics(&registry))),
        );
    if access.guards_operations() {
        told = guarded(told, access);
    }
    told.route("/healthz", get(|| async { "ok\n" }))
}

/// Serves them and `/status` for a sink, which answers nobody else, until the process ends.
///
/// # Errors
/// If nothing can listen on the address.
pub async fn serve_sink(
    listen: SocketAddr,
    tls: Option<&Tls>,
    access: &Access,
    namespace: &Namespace,
    readiness: impl Fn() -> Reasons + Send + Sync + 'static,
    status: impl Fn() -> Value + Clone + Send + Sync + 'static,
) -> Result<(), String> {
    access.watch(namespace);
    if let Some(tls) = tls {
        tls.watch(namespace);
    }
    let listener = TcpListener::bind(listen).await.map_err(|error| {
        format!("listening on `{listen}`; choose another with --listen: {error}")
    })?;
    tracing::info!(address = %listen, "status, metrics and probes");
    let server = Server {
        listener,
        tls: tls.cloned(),
        connections_max: CONNECTIONS_MAX,
        head_timeout: HEAD_TIMEOUT,
        open: namespace.gauge("open_connections", "Open client connections."),
    };
    let status = Router::new().route("/status", get(move || std::future::ready(Json(status()))));
    let router = router(namespace.registry(), readiness, access).merge(guarded(status, access));
    // Who asks how the sink is doing is answered to its end.
    tokio::spawn(server.serve(router, std::future::pending(), Duration::ZERO));
    Ok(())
}

/// Routes that only keys with the scope `observe` may take; everybody, where there are no keys.
pub fn guarded(router: Router, access: &Access) -> Router {
    router.route_layer(from_fn_with_state(access.clone(), admit))
}

async fn admit(State(access): State<Access>, request: Request, next: Next) -> Response {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
    let nanos = since_epoch.map_or(0, |since| {
        i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
    });
    let now = Timestamp::from_nanos(nanos).expect("a time since the epoch is not before it");
    let certificate = request.extensions().get::<ClientCertificate>();
    let certificate = credential::certificate(certificate, request.headers());
    let credential = credential::read(request.headers());
    let caller = access.caller(credential, certificate, now);
    match caller.and_then(|caller| caller.if_allowed(Scope::Observe)) {
        Ok(_) => next.run(request).await,
        Err(denial) => {
            let text = format!("{}\n", denial.detail());
            match denial.is_known() {
                true => (StatusCode::FORBIDDEN, text).into_response(),
                false => {
                    let challenge = [(header::WWW_AUTHENTICATE, CHALLENGE)];
                    (StatusCode::UNAUTHORIZED, challenge, text).into_response()
                }
            }
        }
    }
}

fn ready(reasons: &Reasons) -> Response {
    let status = if reasons.is_empty() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let body = serde_json::json!({ "ready": reasons.is_empty(), "reasons": reasons });
    (
        status,
        [(header::CONTENT_TYPE, "application/json")],
        format!("{body}\n"),
    )
        .into_response()
}

fn metrics(registry: &Registry) -> Response {
    let encoder = TextEncoder::new();
    let mut text = Vec::new();
    match encoder.encode(&registry.gather(), &mut text) {
        Ok(()) => (
            [(header::CONTENT_TYPE, encoder.format_type().to_owned())],
            text,
        )
            .into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::ApiKeys;
    use crate::access::api_keys::NewKey;
    use axum::body::Body;
    use tower::ServiceExt as _;

    #[tokio::test]
    async fn what_is_guarded_needs_a_key_that_may_observe_and_health_needs_none() {
        let observer = NewKey::make("observer", &[Scope::Observe], None, None, [1; 32]).unwrap();
        let sender = NewKey::make("sender", &[Scope::Ingest], None, None, [2; 32]).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.toml");
        std::fs::write(&path, format!("{}{}", observer.entry, sender.entry)).unwrap();
        let keyed = Access::by(Arc::new(ApiKeys::load(path).unwrap()));
        let guarded = keyed.clone().guarding_operations();
        let [observer, sender] = [observer, sender].map(|key| key.credential.to_token());
        let status = async |access: &Access, path: &str, token: &str| {
            let told = Router::new().route("/status", get(|| async { "fine" }));
            let router = router_of(access).merge(super::guarded(told, access));
            let mut request = Request::get(path);
            if !token.is_empty() {
                request = request.header("authorization", format!("Bearer {token}"));
            }
            let reply = router.oneshot(request.body(Body::empty()).unwrap()).await;
            reply.unwrap().status().as_u16()
        };
        for path in ["/readyz", "/metrics"] {
            assert_eq!(status(&keyed, path, "").await, 200);
            assert_eq!(status(&guarded, path, "").await, 401);
            assert_eq!(status(&guarded, path, "observer.wrong").await, 401);
            assert_eq!(status(&guarded, path, &sender).await, 403);
            assert_eq!(status(&guarded, path, &observer).await, 200);
        }
        assert_eq!(status(&Access::open(), "/status", "").await, 200);
        assert_eq!(status(&keyed, "/status", "").await, 401);
        assert_eq!(status(&keyed, "/status", &observer).await, 200);
        assert_eq!(status(&guarded, "/healthz", "").await, 200);
        assert_eq!(status(&guarded, "/nowhere", "").await, 404);
    }

    fn router_of(access: &Access) -> Router {
        router(Registry::new(), Reasons::new, access)
    }
}
