//! Connections in, bounded in number, in patience and in what each may hold; the drain at the end.
//!
//! In the flow: the network → **`server`** → `tls` → a service's routes.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::middleware::{Next, from_fn};
use axum::{Extension, Router};
use http_body_util::BodyExt as _;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use prometheus::IntGauge;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::tls::{ClientCertificate, Tls};

const HEADERS_MAX: usize = 100;
/// Of a connection's read buffer, and with it of a request's head.
const BUFFER_BYTES_MAX: usize = 64 << 10;
/// Requests at once in one HTTP/2 connection.
const STREAMS_MAX: u32 = 128;
/// What an HTTP/2 client may send before we read it, over all of its requests.
const WINDOW_BYTES: u32 = 256 << 10;
/// How long to wait before accepting again when the system has no room for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Takes connections.
#[derive(Debug)]
pub struct Server {
    /// Where it listens.
    pub listener: TcpListener,
    /// `None`: in the clear.
    pub tls: Option<Tls>,
    /// At once; more wait in the system's queue.
    pub connections_max: usize,
    /// How long a client may take for the head of a request, or stay idle before it.
    pub head_timeout: Duration,
    /// How many there are.
    pub open: IntGauge,
}

impl Server {
    /// Serves until `stop` completes, then lets requests finish for as long as `drain`; says whether all of them did.
    ///
    /// Each request has the extensions [`ConnectInfo`] and, where the client proved who it is, [`ClientCertificate`].
    pub async fn serve(
        self,
        router: Router,
        stop: impl Future<Output = ()>,
        drain: Duration,
    ) -> bool {
        let connections = GracefulShutdown::new();
        let slots = self.connections_max.min(Semaphore::MAX_PERMITS);
        let slots = Arc::new(Semaphore::new(slots));
        let mut stop = pin!(stop);
        loop {
            let next = async {
                let slot = Arc::clone(&slots).acquire_owned().await;
                (slot, self.listener.accept().await)
            };
            let (slot, (stream, peer)) = tokio::select! {
                () = &mut stop => break,
                (slot, accepted) = next => match accepted {
                    Ok(accepted) => (slot, accepted),
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept a connection");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                        continue;
                    }
                },
            };
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, %peer, "no TCP_NODELAY");
            }
            let connection = Connection {
                router: router.clone().layer(Extension(ConnectInfo(peer))),
                head_timeout: self.head_timeout,
                watcher: connections.watcher(),
                peer,
            };
            let (tls, open) = (self.tls.clone(), self.open.clone());
            tokio::spawn(async move {
                open.inc();
                connection.run(stream, tls).await;
                open.dec();
                drop(slot);
            });
        }
        drop(self.listener);
        let drained = tokio::time::timeout(drain, connections.shutdown()).await;
        drained.is_ok()
    }
}

/// One connection, from its acceptance to its end.
struct Connection {
    router: Router,
    head_timeout: Duration,
    watcher: Watcher,
    peer: SocketAddr,
}

impl Connection {
    async fn run(self, stream: TcpStream, tls: Option<Tls>) {
        let Some(tls) = tls else {
            // Telling the versions apart would wait without end for a client that sends half of HTTP/2's preface, so
            // that is spoken only where TLS has agreed on it.
            return self.speak(stream, false, None).await;
        };
        match tls.accept(stream).await {
            Ok(secured) => {
                self.speak(secured.stream, secured.is_http2, secured.certificate)
                    .await;
            }
            Err(error) => tracing::debug!(%error, peer = %self.peer, "no TLS connection"),
        }
    }

    async fn speak(
        self,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        is_http2: bool,
        certificate: Option<ClientCertificate>,
    ) {
        let router = match certificate {
            Some(certificate) => self.router.layer(Extension(certificate)),
            None => self.router,
        };
        let idle = Idle::default();
        let (builder, router) = match is_http2 {
            false => (http1(self.head_timeout), router),
            true => (http2(self.head_timeout), idle.counted(router)),
        };
        let service = TowerToHyperService::new(router);
        let connection = builder.serve_connection(TokioIo::new(stream), service);
        let connection = self.watcher.watch(connection.into_owned());
        let ended = tokio::select! {
            ended = connection => ended,
            // HTTP/1 has a timeout of its own for that.
            () = idle.lasts(self.head_timeout), if is_http2 => Ok(()),
        };
        if let Err(error) = ended {
            tracing::debug!(%error, peer = %self.peer, "a connection ended early");
        }
    }
}

fn http1(head_timeout: Duration) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new()).http1_only();
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(head_timeout)
        .max_headers(HEADERS_MAX)
        .max_buf_size(BUFFER_BYTES_MAX);
    builder
}

fn http2(patience: Duration) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new()).http2_only();
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .initial_connection_window_size(WINDOW_BYTES)
        .initial_stream_window_size(WINDOW_BYTES)
        .max_header_list_size(u32::try_from(BUFFER_BYTES_MAX).unwrap_or(u32::MAX))
        // A client that is gone without a word is noticed while it has requests, too.
        .keep_alive_interval(patience)
        .keep_alive_timeout(patience);
    builder
}

/// Tells when an HTTP/2 connection has had no request for a while.
#[derive(Clone, Default)]
struct Idle {
    requests: Arc<AtomicUsize>,
    begun: Arc<AtomicUsize>,
}

impl Idle {
    /// Counts the requests of a connection, until their replies are under way.
    fn counted(&self, router: Router) -> Router {
        let idle = self.clone();
        router.layer(from_fn(move |request: Request, next: Next| {
            let idle = idle.clone();
            async move {
                idle.begun.fetch_add(1, Ordering::Relaxed);
                let running = Running::of(&idle.requests);
                let response = next.run(request).await;
                response.map(|body| {
                    Body::new(body.map_err(move |error| {
                        let _ = &running;
                        error
                    }))
                })
            }
        }))
    }

    /// Completes when there was no request for that long.
    async fn lasts(&self, patience: Duration) {
        loop {
            let begun = self.begun.load(Ordering::Relaxed);
            tokio::time::sleep(patience).await;
            let is_idle = self.requests.load(Ordering::Relaxed) == 0;
            if is_idle && begun == self.begun.load(Ordering::Relaxed) {
                return;
            }
        }
    }
}

/// A request whose reply has not ended.
struct Running(Arc<AtomicUsize>);

impl Running {
    fn of(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
