//! Starts what answers requests and what runs beside them; SIGTERM drains.
//!
//! In the flow: `config` → **`server`** → `service::server` → `routes`.

use std::io;
use std::time::Duration;

use service::elasticsearch::Nodes;
use service::server::Server;
use service::shutdown::Shutdown;
use tokio::net::TcpListener;

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

/// Serves until SIGTERM, then finishes what runs.
///
/// # Errors
/// If the address cannot be listened on, or TLS cannot be set up.
pub async fn run(config: Config) -> io::Result<()> {
    let shutdown = Shutdown::on_signals()?;
    let metrics = Metrics::new();
    let nodes = Nodes::new(&config.elasticsearch, &config.login).map_err(io::Error::other)?;
    let elasticsearch = Elasticsearch::new(nodes, metrics.clone());
    let searcher = Searcher::new(&config, elasticsearch, metrics.clone());
    let listener = TcpListener::bind(config.listen).await.map_err(|error| {
        let reason = format!("cannot listen on `{}`: {error}", config.listen);
        io::Error::new(error.kind(), reason)
    })?;
    tracing::info!(address = %listener.local_addr()?, index = config.indices.as_str(), "listening");
    let sinks =
        Sinks::new(config.sinks.clone(), config.sink_login.clone()).map_err(io::Error::other)?;
    let tails = Tails::new(
        config.kafka.clone(),
        config.concurrent_tails_max,
        shutdown.clone(),
    );
    let open = metrics.connections().clone();
    metrics.namespace().watch(
        "open_connections_limit",
        "What open_connections may reach; further clients wait to be accepted.",
        || CONNECTIONS_MAX as f64,
    );
    let redriver = Redriver::new(config.kafka.clone(), shutdown.clone());
    let router = routes::router(&config, searcher.clone(), tails, sinks, redriver, metrics);
    let probes = tokio::spawn(async move {
        loop {
            searcher.probe().await;
            tokio::time::sleep(PROBE_INTERVAL).await;
        }
    });
    let server = Server {
        listener,
        tls: config.tls.clone(),
        connections_max: CONNECTIONS_MAX,
        head_timeout: HEAD_TIMEOUT,
        open,
    };
    let drain = config.search_timeout + DRAIN_GRACE;
    if !server.serve(router, shutdown.requested(), drain).await {
        tracing::warn!("some requests were cut off by the end of the drain");
    }
    probes.abort();
    Ok(())
}
