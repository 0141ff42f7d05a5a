//! From the first connection to the last record: starts what runs beside the requests, and drains at the end.
//!
//! In the flow: `service::server` → **`server`** → `routes`. Upholds GW-2: connections, heads and the time that either
//! may take are bounded there.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rdkafka::error::KafkaError;
use tokio::net::TcpListener;

use crate::config::Config;
use crate::gateway::Gateway;
use crate::probe::Probe;
use crate::routes;

/// How long a connection may take for the head of a request, or stay idle
/// before it; longer than the keep-alive of common proxies, so that they close first.
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);

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
        let server = service::server::Server {
            listener,
            tls: config.tls.clone(),
            connections_max: config.connections_max,
            head_timeout: HEAD_TIMEOUT,
            open: gateway.metrics().connections.clone(),
        };
        let stop = async {
            stop.await;
            draining.store(true, Ordering::Relaxed);
            tokio::time::sleep(config.drain_delay).await;
            gateway.drain();
        };
        if !server.serve(router, stop, config.drain_timeout).await {
            tracing::warn!("requests were cut off: they took longer than the drain timeout");
        }
        let traces = gateway.traces().cloned();
        let end = tokio::task::spawn_blocking(move || {
            if let Err(error) = gateway.producer().flush(config.kafka.timeout) {
                tracing::warn!(%error, "records were still waiting for Kafka; no client was told that they are in");
            }
            probe.stop();
        });
        let last_spans = async {
            if let Some(traces) = traces {
                traces.close().await;
            }
        };
        if tokio::join!(end, last_spans).0.is_err() {
            tracing::error!("the flush panicked");
        }
    }
}
