//! Connections in, bounded in number, in patience and in what each may hold; the drain at the end.
//!
//! In the flow: the network → **`server`** → `tls` → a service's routes.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::extract::ConnectInfo;
use axum::http::{Request, Version};
use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use prometheus::IntGauge;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tower::Service;

use crate::tls::{ClientCertificate, Secured, Tls};

const HEADERS_MAX: usize = 100;
/// Of a connection's read buffer, and with it of a request's head.
const BUFFER_BYTES_MAX: usize = 64 << 10;
/// Requests at once in one HTTP/2 connection.
const STREAMS_MAX: u32 = 64;
/// What an HTTP/2 client may send of one request before we read it.
const STREAM_WINDOW_BYTES: u32 = 256 << 10;
/// And of all of them: more, so that one which is held back does not hold back the others.
const CONNECTION_WINDOW_BYTES: u32 = 1 << 20;
/// What is still read of a body over HTTP/2 when its reply is there.
const OVERTAKEN_BYTES_MAX: usize = 32 << 20;
const OVERTAKEN_TIMEOUT: Duration = Duration::from_secs(2);
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
        let slots = self.connections_max.min(Semaphore::MAX_PERMITS);
        let slots = Arc::new(Semaphore::new(slots));
        // Every connection has a receiver until it ends.
        let (drains, draining) = watch::channel(());
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
                router: router.clone(),
                head_timeout: self.head_timeout,
                draining: draining.clone(),
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
        drop((self.listener, draining));
        // Nobody to tell is nobody to wait for.
        drains.send_replace(());
        tokio::time::timeout(drain, drains.closed()).await.is_ok()
    }
}

/// One connection, from its acceptance to its end.
struct Connection {
    router: Router,
    head_timeout: Duration,
    draining: watch::Receiver<()>,
    peer: SocketAddr,
}

impl Connection {
    async fn run(mut self, stream: TcpStream, tls: Option<Tls>) {
        let Some(tls) = tls else {
            // Telling the versions apart would wait without end for a client that sends half of HTTP/2's preface, so
            // that is spoken only where TLS has agreed on it.
            return self.speak(stream, false, None).await;
        };
        let shaken = tokio::select! {
            shaken = tls.accept(stream) => shaken,
            // Who has not shaken hands yet has nothing to finish.
            _ = self.draining.changed() => return,
        };
        match shaken {
            Ok(Secured {
                stream,
                is_http2,
                certificate,
            }) => self.speak(stream, is_http2, certificate).await,
            Err(error) => tracing::debug!(%error, peer = %self.peer, "no TLS connection"),
        }
    }

    async fn speak(
        mut self,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        is_http2: bool,
        certificate: Option<ClientCertificate>,
    ) {
        let requests = Requests {
            router: self.router.clone(),
            peer: self.peer,
            certificate,
            begun: Arc::default(),
        };
        let begun = Arc::clone(&requests.begun);
        let builder = match is_http2 {
            false => http1(self.head_timeout),
            true => http2(self.head_timeout),
        };
        let service = TowerToHyperService::new(requests);
        let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = self.rest(&begun, is_http2) => {
                // Without a request there is nothing to finish, and perhaps nobody who would shake HTTP/2's hands.
                if is_http2 && begun.load(Ordering::Relaxed) == 0 {
                    return;
                }
                // What runs goes on to its end.
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, peer = %self.peer, "a connection ended early");
        }
    }
}

impl Connection {
    /// Completes when the connection is to end: because of the drain, or for want of requests.
    async fn rest(&mut self, begun: &AtomicUsize, is_http2: bool) {
        tokio::select! {
            _ = self.draining.changed() => {}
            // HTTP/1 has a timeout of its own for the head of the next request.
            () = idle(begun, self.head_timeout), if is_http2 => {}
        }
    }
}

/// Completes when no request has begun for that long.
async fn idle(begun: &AtomicUsize, patience: Duration) {
    loop {
        let before = begun.load(Ordering::Relaxed);
        tokio::time::sleep(patience).await;
        if before == begun.load(Ordering::Relaxed) {
            return;
        }
    }
}

/// Tells each request whose it is, and counts it.
#[derive(Clone)]
struct Requests {
    router: Router,
    peer: SocketAddr,
    certificate: Option<ClientCertificate>,
    begun: Arc<AtomicUsize>,
}

type Response = <Router as Service<Request<Body>>>::Response;
type Reply = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

impl Service<Request<Incoming>> for Requests {
    type Response = Response;
    type Error = Infallible;
    type Future = Reply;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Service::<Request<Body>>::poll_ready(&mut self.router, context)
    }

    fn call(&mut self, request: Request<Incoming>) -> Reply {
        self.begun.fetch_add(1, Ordering::Relaxed);
        let is_http2 = request.version() == Version::HTTP_2;
        let (mut parts, incoming) = request.into_parts();
        parts.extensions.insert(ConnectInfo(self.peer));
        if let Some(certificate) = &self.certificate {
            parts.extensions.insert(certificate.clone());
        }
        if !is_http2 {
            let request = Request::from_parts(parts, Body::new(incoming));
            return Box::pin(self.router.call(request));
        }
        let body = Kept(Arc::new(Mutex::new(incoming)));
        let reply = self
            .router
            .call(Request::from_parts(parts, Body::new(body.clone())));
        Box::pin(async move {
            let reply = reply.await;
            body.read_to_its_end().await;
            reply
        })
    }
}

/// The body of a request over HTTP/2, of which something may be left when its reply is there. A reply that overtakes it is
/// followed by a reset of the stream (RFC 9113 §8.1), and clients such as curl 7.88 then throw the reply away: a refusal
/// would be a broken connection to them.
#[derive(Clone)]
struct Kept(Arc<Mutex<Incoming>>);

impl Kept {
    async fn read_to_its_end(mut self) {
        let rest = async {
            let mut bytes = 0;
            while let Some(Ok(frame)) = self.frame().await {
                bytes += frame.data_ref().map_or(0, Bytes::len);
                if bytes > OVERTAKEN_BYTES_MAX {
                    break;
                }
            }
        };
        // A client that sends more, or more slowly, has to bear it.
        drop(tokio::time::timeout(OVERTAKEN_TIMEOUT, rest).await);
    }

    fn incoming(&self) -> MutexGuard<'_, Incoming> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HttpBody for Kept {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        Pin::new(&mut *self.incoming()).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming().is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming().size_hint()
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
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .max_header_list_size(u32::try_from(BUFFER_BYTES_MAX).unwrap_or(u32::MAX))
        // A client that is gone without a word is noticed while it has requests, too.
        .keep_alive_interval(patience)
        .keep_alive_timeout(patience);
    builder
}
