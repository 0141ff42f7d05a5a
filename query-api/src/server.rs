//! Connections, bounded in number and in patience; SIGTERM drains them.
//!
//! In the flow: `config` → **`server`** → `routes`.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use service::elasticsearch::Nodes;
use service::shutdown::Shutdown;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::config::Config;
use crate::elasticsearch::{Elasticsearch, PROBE_INTERVAL};
use crate::metrics::Metrics;
use crate::redriver::Redriver;
use crate::routes;
use crate::searcher::Searcher;
use crate::sinks::Sinks;
use crate::tail_reader::Tails;

/// More wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 4_096;
/// How long a client may take to send a request's head, and stay idle between two requests.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// How much longer than a search the drain may take.
const DRAIN_GRACE: Duration = Duration::from_secs(3);
/// The pause after a connection could not be accepted, such as for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until SIGTERM, then finishes what runs.
///
/// # Errors
/// If the address cannot be listened on, or TLS cannot be set up.
pub async fn run(config: Config) -> io::Result<()> {
    let shutdown = Shutdown::on_signals()?;
    let metrics = Metrics::new();
    let nodes = Nodes::new(&config.elasticsearch).map_err(io::Error::other)?;
    let elasticsearch = Elasticsearch::new(nodes, metrics.clone());
    let searcher = Searcher::new(&config, elasticsearch, metrics.clone());
    let listener = TcpListener::bind(config.listen).await.map_err(|error| {
        let reason = format!("cannot listen on `{}`: {error}", config.listen);
        io::Error::new(error.kind(), reason)
    })?;
    tracing::info!(address = %listener.local_addr()?, index = config.indices.as_str(), "listening");
    let sinks = Sinks::new(config.sinks.clone()).map_err(io::Error::other)?;
    let tails = Tails::new(
        config.kafka.clone(),
        config.concurrent_tails_max,
        shutdown.clone(),
    );
    let redriver = Redriver::new(config.kafka.clone(), shutdown.clone());
    let router = routes::router(&config, searcher.clone(), tails, sinks, redriver, metrics);
    let probes = tokio::spawn(async move {
        loop {
            searcher.probe().await;
            tokio::time::sleep(PROBE_INTERVAL).await;
        }
    });
    serve(
        listener,
        router,
        shutdown,
        config.search_timeout + DRAIN_GRACE,
    )
    .await;
    probes.abort();
    Ok(())
}

async fn serve(listener: TcpListener, router: Router, shutdown: Shutdown, drain: Duration) {
    let connections = GracefulShutdown::new();
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut protocol = auto::Builder::new(TokioExecutor::new());
    protocol
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT);
    protocol.http2().timer(TokioTimer::new());
    let draining = shutdown.requested();
    tokio::pin!(draining);
    loop {
        let accepted = async {
            let permit = Arc::clone(&room).acquire_owned().await;
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            () = &mut draining => break,
            accepted = accepted => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection was not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection keeps its delay");
        }
        let service = TowerToHyperService::new(router.clone());
        let connection = protocol.serve_connection(TokioIo::new(stream), service);
        let connection = connections.watch(connection.into_owned());
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(error = %error, "a connection broke");
            }
            drop(permit);
        });
    }
    drop(listener);
    if tokio::time::timeout(drain, connections.shutdown())
        .await
        .is_err()
    {
        tracing::warn!("some requests were cut off by the end of the drain");
    }
}
