//! Connections in, and the drain at the end.
//!
//! In the flow: **`server`** → `routes`. Upholds GW-2: connections, heads and
//! the time that either may take are bounded.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::extract::ConnectInfo;
use axum::{Extension, Router};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use rdkafka::error::KafkaError;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower::Layer as _;

use crate::config::Config;
use crate::gateway::Gateway;
use crate::probe::Probe;
use crate::routes;

/// How long a connection may take for the head of a request, or stay idle
/// before it; longer than the keep-alive of common proxies, so that they close first.
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);
const HEADERS_MAX: usize = 100;
/// Of a connection's read buffer, and with it of a request's head.
const BUFFER_BYTES_MAX: usize = 64 << 10;
/// How long to wait before accepting again when the system has no room for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why the gateway does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address is taken or not ours.
    #[error("cannot listen on `{address}`: {error}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        error: std::io::Error,
    },
    /// A Kafka property that librdkafka does not take.
    #[error("the Kafka producer cannot be set up: {0}")]
    Kafka(#[from] KafkaError),
    /// No thread for the probe.
    #[error("no thread for the Kafka probe: {0}")]
    Thread(std::io::Error),
}

/// A gateway that listens.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    gateway: Arc<Gateway>,
    probe: Probe,
}

impl Server {
    /// Listens, and starts to look for Kafka. `process` is random.
    ///
    /// # Errors
    /// See [`StartError`]. Kafka being away is none.
    pub async fn bind(config: Config, process: [u8; 8]) -> Result<Self, StartError> {
        let address = config.listen;
        let gateway = Gateway::new(config, process)?;
        let listener = TcpListener::bind(address)
            .await
            .map_err(|error| StartError::Listen { address, error })?;
        let probe = Probe::start(Arc::clone(gateway.producer())).map_err(StartError::Thread)?;
        Ok(Self {
            listener,
            gateway,
            probe,
        })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// If the system does not know.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `stop` completes, then drains: within the drain delay, the
    /// drain timeout and the Kafka timeout it returns.
    pub async fn serve(self, stop: impl Future<Output = ()>) {
        let Self {
            listener,
            gateway,
            probe,
        } = self;
        let config = gateway.config().clone();
        let draining = Arc::new(AtomicBool::new(false));
        let router = {
            let draining = Arc::clone(&draining);
            routes::router(&gateway, move || draining.load(Ordering::Relaxed))
        };
        let graceful = GracefulShutdown::new();
        let slots = Arc::new(Semaphore::new(
            config.connections_max.min(Semaphore::MAX_PERMITS),
        ));
        let mut stop = pin!(async {
            stop.await;
            draining.store(true, Ordering::Relaxed);
            tokio::time::sleep(config.drain_delay).await;
        });
        loop {
            let next = async {
                let slot = Arc::clone(&slots).acquire_owned().await;
                (slot, listener.accept().await)
            };
            tokio::select! {
                () = &mut stop => break,
                (slot, accepted) = next => match (slot, accepted) {
                    (Ok(slot), Ok((stream, peer))) => {
                        connect(&gateway, &router, &graceful, (stream, peer, slot));
                    }
                    (Ok(_), Err(error)) => {
                        tracing::warn!(%error, "cannot accept a connection");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                    // The semaphore is never closed.
                    (Err(_), _) => break,
                },
            }
        }
        drop(listener);
        gateway.drain();
        if tokio::time::timeout(config.drain_timeout, graceful.shutdown())
            .await
            .is_err()
        {
            tracing::warn!("requests were cut off: they took longer than the drain timeout");
        }
        let end = tokio::task::spawn_blocking(move || {
            if let Err(error) = gateway.producer().flush(config.kafka.timeout) {
                tracing::warn!(%error, "records were still waiting for Kafka; no client was told that they are in");
            }
            probe.stop();
        });
        if end.await.is_err() {
            tracing::error!("the flush panicked");
        }
    }
}

fn connect(
    gateway: &Arc<Gateway>,
    router: &Router,
    graceful: &GracefulShutdown,
    (stream, peer, slot): (TcpStream, SocketAddr, OwnedSemaphorePermit),
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, %peer, "no TCP_NODELAY");
    }
    let service = Extension(ConnectInfo(peer)).layer(router.clone());
    // HTTP/1 only: telling the versions apart would wait without end for a
    // client that sends half of the preface.
    let mut builder = Builder::new(TokioExecutor::new()).http1_only();
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_headers(HEADERS_MAX)
        .max_buf_size(BUFFER_BYTES_MAX);
    let connection = builder
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service))
        .into_owned();
    let connection = graceful.watch(connection);
    let open = gateway.metrics().connections.clone();
    tokio::spawn(async move {
        open.inc();
        if let Err(error) = connection.await {
            tracing::debug!(%error, %peer, "a connection ended early");
        }
        open.dec();
        drop(slot);
    });
}
