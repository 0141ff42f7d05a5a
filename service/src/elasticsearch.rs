//! The nodes of an Elasticsearch cluster and the way to one of them.
//!
//! The official client sends the bytes; which node gets them is decided here,
//! because the client neither rests a dead node nor retries. Nothing here
//! judges a reply: any status is a reply, only the lack of one is an error.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use elasticsearch::auth::Credentials;
use elasticsearch::http::headers::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use elasticsearch::http::transport::{SingleNodeConnectionPool, Transport, TransportBuilder};
use log_event::record::TRACEPARENT;
use url::Url;

use crate::login::Login;
use crate::trouble::innermost;

pub use elasticsearch::http::Method;
pub use elasticsearch::http::headers::HeaderMap;

/// The first rest of a node that did not answer; doubles up to [`REST_MAX`].
const REST_MIN: Duration = Duration::from_millis(500);
/// The longest rest: a node that is back is found again within this time.
const REST_MAX: Duration = Duration::from_secs(10);

/// Where one node listens, with the credentials it was given with.
#[derive(Clone, PartialEq, Eq)]
pub struct NodeUrl {
    url: Url,
    credentials: Option<(String, String)>,
}

/// Why a node's address cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a node is written http://HOST:PORT or https://HOST:PORT")]
pub struct NoNodeUrl;

impl FromStr for NodeUrl {
    type Err = NoNodeUrl;

    fn from_str(text: &str) -> Result<Self, NoNodeUrl> {
        let mut url = Url::parse(text).map_err(|_| NoNodeUrl)?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() || url.query().is_some() {
            return Err(NoNodeUrl);
        }
        let credentials = (!url.username().is_empty()).then(|| {
            (
                url.username().to_owned(),
                url.password().unwrap_or_default().to_owned(),
            )
        });
        url.set_username("")
            .and_then(|()| url.set_password(None))
            .map_err(|()| NoNodeUrl)?;
        Ok(Self { url, credentials })
    }
}

impl NodeUrl {
    /// Whether a user and a password stand in it.
    #[must_use]
    pub fn has_credentials(&self) -> bool {
        self.credentials.is_some()
    }
}

impl fmt::Display for NodeUrl {
    /// Without the credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.url.as_str().trim_end_matches('/'))
    }
}

impl fmt::Debug for NodeUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeUrl({self})")
    }
}

/// The nodes, least busy first, resting ones last.
#[derive(Debug)]
pub struct Nodes {
    nodes: Vec<Node>,
    /// Where the search for the least busy node starts, so that equals take turns.
    turn: AtomicUsize,
    started: Instant,
}

#[derive(Debug)]
struct Node {
    url: NodeUrl,
    login: Login,
    transport: Transport,
    requests_in_flight: AtomicUsize,
    failures_in_a_row: AtomicU32,
    /// Milliseconds after `Nodes::started`.
    rests_until_ms: AtomicU64,
}

/// What to send.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// The method.
    pub method: Method,
    /// The path with its query, from `/` on.
    pub path: &'a str,
    /// `application/json` or `application/x-ndjson`; sent when there is a body.
    pub content_type: &'static str,
    /// The body, if any.
    pub body: Option<Bytes>,
    /// For the whole exchange, the reply's body included.
    pub timeout: Duration,
    /// The span that it is sent in. Elasticsearch writes its trace into what it logs of the request.
    pub traceparent: Option<HeaderValue>,
}

impl<'a> Request<'a> {
    /// A request without a body.
    #[must_use]
    pub fn bare(method: Method, path: &'a str, timeout: Duration) -> Self {
        Self {
            method,
            path,
            content_type: "application/json",
            body: None,
            timeout,
            traceparent: None,
        }
    }

    /// A request with a JSON body.
    #[must_use]
    pub fn json(method: Method, path: &'a str, body: Bytes, timeout: Duration) -> Self {
        Self {
            method,
            path,
            content_type: "application/json",
            body: Some(body),
            timeout,
            traceparent: None,
        }
    }
}

/// What a node answered.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The HTTP status, whatever it is.
    pub status: u16,
    /// The headers, for who passes the reply on.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

/// No answer: the request may or may not have been carried out.
#[derive(Clone, Debug, thiserror::Error)]
pub enum NoReply {
    /// The exchange took longer than allowed.
    #[error("`{node}` did not answer within {after:?}")]
    TimedOut {
        /// The node asked.
        node: String,
        /// The time allowed.
        after: Duration,
    },
    /// The connection was refused, cut, or never came about.
    #[error("`{node}` cannot be reached: {reason}")]
    Unreachable {
        /// The node asked.
        node: String,
        /// The innermost cause.
        reason: String,
    },
}

impl Nodes {
    /// Opens no connection yet.
    ///
    /// # Errors
    /// A text for the operator if TLS cannot be set up.
    ///
    /// # Panics
    /// Without any node; the settings give at least the default.
    pub fn new(urls: &[NodeUrl], login: &Login) -> Result<Self, String> {
        assert!(!urls.is_empty(), "a cluster has at least one node");
        let nodes = urls.iter().map(|url| Node::new(url, login));
        let nodes = nodes.collect::<Result<_, _>>()?;
        Ok(Self {
            nodes,
            turn: AtomicUsize::new(0),
            started: Instant::now(),
        })
    }

    /// Sends to the least busy node that does not rest; where all rest, to the
    /// one whose rest ends first.
    ///
    /// # Errors
    /// [`NoReply`] if no whole answer came; the node then rests for a moment.
    pub async fn send(&self, request: Request<'_>) -> Result<Reply, NoReply> {
        let node = self.pick();
        let _in_flight = InFlight::enter(&node.requests_in_flight);
        let result = node.exchange(&request).await;
        let now = self.now_ms();
        match &result {
            Ok(_) => node.answered(),
            Err(_) => node.rest(now),
        }
        result
    }

    /// Whether at least one node answered its last request, or none was asked yet.
    #[must_use]
    pub fn any_answers(&self) -> bool {
        self.nodes
            .iter()
            .any(|node| node.failures_in_a_row.load(Ordering::Relaxed) == 0)
    }

    fn pick(&self) -> &Node {
        let now = self.now_ms();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let in_turn =
            (0..self.nodes.len()).map(|n| &self.nodes[turn.wrapping_add(n) % self.nodes.len()]);
        in_turn
            .min_by_key(|node| {
                let rest = node
                    .rests_until_ms
                    .load(Ordering::Relaxed)
                    .saturating_sub(now);
                (rest, node.requests_in_flight.load(Ordering::Relaxed))
            })
            .expect("a cluster has at least one node")
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Node {
    fn new(url: &NodeUrl, login: &Login) -> Result<Self, String> {
        let mut builder = TransportBuilder::new(SingleNodeConnectionPool::new(url.url.clone()))
            .enable_meta_header(false)
            .cert_validation(login.validation()?)
            .disable_proxy();
        if let Some((user, password)) = &url.credentials {
            builder = builder.auth(Credentials::Basic(user.clone(), password.clone()));
        }
        let transport = builder
            .build()
            .map_err(|error| format!("`{url}`: {error}"))?;
        Ok(Self {
            url: url.clone(),
            login: login.clone(),
            transport,
            requests_in_flight: AtomicUsize::new(0),
            failures_in_a_row: AtomicU32::new(0),
            rests_until_ms: AtomicU64::new(0),
        })
    }

    async fn exchange(&self, request: &Request<'_>) -> Result<Reply, NoReply> {
        // The client's own defaults claim compatibility with 9.x, which 8.x refuses.
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(request.content_type));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        if let Some(authorization) = self.login.authorization() {
            headers.insert(AUTHORIZATION, authorization);
        }
        if let Some(traceparent) = &request.traceparent {
            headers.insert(TRACEPARENT, traceparent.clone());
        }
        let response = self
            .transport
            .send(
                request.method,
                request.path,
                headers,
                None::<&()>,
                request.body.clone(),
                Some(request.timeout),
            )
            .await
            .map_err(|error| self.no_reply(&error, request.timeout))?;
        let status = response.status_code().as_u16();
        let headers = response.headers().clone();
        let body = response
            .bytes()
            .await
            .map_err(|error| self.no_reply(&error, request.timeout))?;
        Ok(Reply {
            status,
            headers,
            body,
        })
    }

    fn no_reply(&self, error: &elasticsearch::Error, timeout: Duration) -> NoReply {
        let node = self.url.to_string();
        if error.is_timeout() {
            return NoReply::TimedOut {
                node,
                after: timeout,
            };
        }
        NoReply::Unreachable {
            node,
            reason: innermost(error),
        }
    }

    fn answered(&self) {
        self.failures_in_a_row.store(0, Ordering::Relaxed);
        self.rests_until_ms.store(0, Ordering::Relaxed);
    }

    fn rest(&self, now_ms: u64) {
        let failures = self
            .failures_in_a_row
            .fetch_add(1, Ordering::Relaxed)
            .min(8);
        let rest = (REST_MIN * (1 << failures)).min(REST_MAX);
        let until = now_ms.saturating_add(u64::try_from(rest.as_millis()).unwrap_or(u64::MAX));
        self.rests_until_ms.store(until, Ordering::Relaxed);
    }
}

/// Counts a request in flight until it is dropped, also by a cancelled caller.
struct InFlight<'a>(&'a AtomicUsize);

impl<'a> InFlight<'a> {
    fn enter(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(n: usize) -> Nodes {
        let urls: Vec<NodeUrl> = (0..n)
            .map(|i| format!("http://127.0.0.1:{}", 9200 + i).parse().unwrap())
            .collect();
        Nodes::new(&urls, &Login::default()).unwrap()
    }

    fn picked(nodes: &Nodes) -> usize {
        let node = nodes.pick();
        nodes
            .nodes
            .iter()
            .position(|other| std::ptr::eq(node, other))
            .unwrap()
    }

    #[test]
    fn credentials_never_show() {
        let url: NodeUrl = "https://user:secret@es.example:9200".parse().unwrap();
        assert_eq!(url.to_string(), "https://es.example:9200");
        assert!(!format!("{url:?}").contains("secret"));
        for text in ["", "es:9200", "ftp://es", "http://", "http://es?x"] {
            assert_eq!(text.parse::<NodeUrl>(), Err(NoNodeUrl), "{text}");
        }
    }

    #[test]
    fn equal_nodes_take_turns_and_the_least_busy_goes_first() {
        let nodes = nodes(3);
        let mut seen: Vec<usize> = (0..3).map(|_| picked(&nodes)).collect();
        seen.sort_unstable();
        assert_eq!(seen, [0, 1, 2]);
        nodes.nodes[0]
            .requests_in_flight
            .store(1, Ordering::Relaxed);
        nodes.nodes[2]
            .requests_in_flight
            .store(1, Ordering::Relaxed);
        assert!((0..3).all(|_| picked(&nodes) == 1));
    }

    #[test]
    fn a_resting_node_is_passed_over_until_all_rest() {
        let nodes = nodes(2);
        nodes.nodes[0].rest(nodes.now_ms());
        assert!((0..4).all(|_| picked(&nodes) == 1));
        nodes.nodes[1].rest(nodes.now_ms() + 60_000);
        assert!((0..4).all(|_| picked(&nodes) == 0));
        nodes.nodes[1].answered();
        assert!((0..4).all(|_| picked(&nodes) == 1));
    }

    #[tokio::test]
    async fn a_refused_connection_is_no_reply_and_names_the_node() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let urls = [format!("http://{address}").parse().unwrap()];
        let nodes = Nodes::new(&urls, &Login::default()).unwrap();
        assert!(nodes.any_answers());
        let request = Request::bare(Method::Get, "/", Duration::from_secs(5));
        let error = nodes.send(request).await.unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("`http://{address}` cannot be reached: ")),
            "{error}"
        );
        assert!(!nodes.any_answers());
    }

    #[tokio::test]
    async fn a_request_names_the_span_that_it_is_sent_in() {
        let named = async |headers: HeaderMap| {
            let value = headers.get(TRACEPARENT).map(HeaderValue::as_bytes);
            value.unwrap_or_default().to_vec()
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let urls = [format!("http://{}", listener.local_addr().unwrap())
            .parse()
            .unwrap()];
        let router = axum::Router::new().route("/_bulk", axum::routing::post(named));
        tokio::spawn(async move { axum::serve(listener, router).await });
        let nodes = Nodes::new(&urls, &Login::default()).unwrap();
        let span = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        for traceparent in [None, Some(HeaderValue::from_static(span))] {
            let request = Request {
                traceparent: traceparent.clone(),
                ..Request::bare(Method::Post, "/_bulk", Duration::from_secs(5))
            };
            let reply = nodes.send(request).await.unwrap();
            let sent = traceparent.map(|value| value.as_bytes().to_vec());
            assert_eq!(reply.body, sent.unwrap_or_default());
        }
    }
}
