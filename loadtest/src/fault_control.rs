//! The control port of the fault proxy: what each route does, and what it is told.
//!
//! In the flow: `fault_proxy` → **`fault_control`**. `GET /routes` shows all,
//! `PUT /routes/{name}/fault` replaces the faults of one, `DELETE` heals it.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, put};
use axum::{Json, Router};
use serde_json::json;
use tokio::net::TcpListener;

use crate::fault::Faults;
use crate::fault_proxy::{FaultProxy, Route, RouteState};

const BODY_BYTES_MAX: usize = 64 << 10;

/// A running control port; it ends when this is dropped.
#[derive(Debug)]
pub struct FaultControl {
    address: SocketAddr,
    task: tokio::task::JoinHandle<()>,
}

impl FaultControl {
    /// Starts on a port; port 0 takes any.
    ///
    /// # Errors
    /// If the port cannot be listened on.
    pub async fn start(listen: SocketAddr, proxy: Arc<FaultProxy>) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(listen)
            .await
            .with_context(|| format!("`{listen}` cannot be listened on"))?;
        let address = listener.local_addr()?;
        let task = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router(proxy)).await {
                tracing::error!(%error, "the control port ended");
            }
        });
        Ok(Self { address, task })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for FaultControl {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn router(proxy: Arc<FaultProxy>) -> Router {
    Router::new()
        .route("/readyz", get(|| async { "ready\n" }))
        .route("/routes", get(routes))
        .route("/routes/{name}", get(route))
        .route("/routes/{name}/fault", put(set_fault).delete(heal))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(proxy)
}

async fn routes(State(proxy): State<Arc<FaultProxy>>) -> Response {
    let states: Vec<RouteState> = proxy.routes().iter().map(|route| route.state()).collect();
    Json(json!({ "routes": states })).into_response()
}

async fn route(State(proxy): State<Arc<FaultProxy>>, Path(name): Path<String>) -> Response {
    match find(&proxy, &name) {
        Ok(route) => Json(route.state()).into_response(),
        Err(refusal) => refusal,
    }
}

async fn set_fault(
    State(proxy): State<Arc<FaultProxy>>,
    Path(name): Path<String>,
    body: Bytes,
) -> Response {
    let route = match find(&proxy, &name) {
        Ok(route) => route,
        Err(refusal) => return refusal,
    };
    let faults: Faults = match serde_json::from_slice(&body) {
        Ok(faults) => faults,
        Err(error) => return refuse(StatusCode::BAD_REQUEST, error.to_string()),
    };
    if let Err(error) = faults.check() {
        return refuse(StatusCode::BAD_REQUEST, error.to_string());
    }
    tracing::info!(route = name, fault = %String::from_utf8_lossy(&body), "a fault is set");
    route.set(faults);
    Json(route.state()).into_response()
}

async fn heal(State(proxy): State<Arc<FaultProxy>>, Path(name): Path<String>) -> Response {
    match find(&proxy, &name) {
        Ok(route) => {
            tracing::info!(route = name, "healed");
            route.set(Faults::default());
            Json(route.state()).into_response()
        }
        Err(refusal) => refusal,
    }
}

#[expect(clippy::result_large_err, reason = "a refusal is made once a request")]
fn find<'a>(proxy: &'a FaultProxy, name: &str) -> Result<&'a Route, Response> {
    let routes = proxy.routes();
    if let Some(route) = routes.iter().find(|route| route.name() == name) {
        return Ok(route);
    }
    let names: Vec<&str> = routes.iter().map(|route| route.name()).collect();
    let reason = format!("there is no route `{name}`; there are {}", names.join(", "));
    Err(refuse(StatusCode::NOT_FOUND, reason))
}

fn refuse(status: StatusCode, reason: String) -> Response {
    (status, Json(json!({ "error": reason }))).into_response()
}
