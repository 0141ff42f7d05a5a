//! One keep-alive connection to an HTTP server.
//!
//! In the flow: `http_reply` → **`http_client`** → `generate_http`, `bench_gateway`.
//! Written by hand because it shares the machine with what it measures: one
//! write and mostly one read a request, no allocation but the reply's body.
//! Plain TCP only; a TLS terminator is no part of what is measured.

use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use url::Url;

use crate::http_reply::{self, HttpReply};

/// The largest reply that is read.
const REPLY_BYTES_MAX: usize = 64 << 20;

/// Where requests go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// `HOST:PORT` to connect to.
    pub address: String,
    /// The path with its query, from `/` on.
    pub path: String,
}

impl Target {
    /// Reads `http://HOST:PORT[/PATH]`; without a path it is `default_path`.
    ///
    /// # Errors
    /// Names the text if it is no plain HTTP address.
    pub fn parse(text: &str, default_path: &str) -> anyhow::Result<Self> {
        let url = Url::parse(text).with_context(|| format!("`{text}` is no URL"))?;
        let host = url.host_str().filter(|_| url.scheme() == "http");
        let Some(host) = host else {
            bail!("`{text}` is not http://HOST:PORT");
        };
        let path = match (url.path(), url.query()) {
            ("/" | "", None) => default_path.to_owned(),
            (path, None) => path.to_owned(),
            (path, Some(query)) => format!("{path}?{query}"),
        };
        let port = url.port_or_known_default().unwrap_or(80);
        Ok(Self {
            address: format!("{host}:{port}"),
            path,
        })
    }

    /// Writes the head of a POST and then its body.
    pub fn write_post(&self, headers: &str, body: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(b"POST ");
        out.extend_from_slice(self.path.as_bytes());
        out.extend_from_slice(b" HTTP/1.1\r\nhost: ");
        out.extend_from_slice(self.address.as_bytes());
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(headers.as_bytes());
        out.extend_from_slice(b"content-length: ");
        crate::marker::write_decimal(body.len() as u64, out);
        out.extend_from_slice(b"\r\n\r\n");
        out.extend_from_slice(body);
    }
}

/// Why there is no reply.
#[derive(Debug, thiserror::Error)]
pub enum NoReply {
    /// No connection came about: the server has nothing of the request.
    #[error("`{0}` cannot be reached: {1}")]
    NotSent(String, std::io::Error),
    /// The connection ended within the exchange: the outcome is unknown.
    #[error("`{0}` cut the connection: {1}")]
    Cut(String, String),
    /// No reply in time: the outcome is unknown.
    #[error("`{0}` did not answer within {1:?}")]
    TimedOut(String, Duration),
}

/// A connection that is opened when it is needed and kept while it lasts.
#[derive(Debug)]
pub struct HttpClient {
    address: String,
    timeout: Duration,
    stream: Option<TcpStream>,
    received: Vec<u8>,
}

impl HttpClient {
    /// Opens nothing yet. `timeout` is for one exchange.
    #[must_use]
    pub fn new(address: &str, timeout: Duration) -> Self {
        Self {
            address: address.to_owned(),
            timeout,
            stream: None,
            received: Vec::new(),
        }
    }

    /// Sends the bytes of one request and reads its reply.
    ///
    /// # Errors
    /// [`NoReply`]; the connection is then closed, and the next call opens another.
    pub async fn exchange(&mut self, request: &[u8]) -> Result<HttpReply, NoReply> {
        let timeout = self.timeout;
        let result = tokio::time::timeout(timeout, self.exchange_untimed(request)).await;
        let result =
            result.unwrap_or_else(|_| Err(NoReply::TimedOut(self.address.clone(), timeout)));
        if !matches!(&result, Ok(reply) if reply.keep_alive) {
            self.stream = None;
        }
        result
    }

    async fn exchange_untimed(&mut self, request: &[u8]) -> Result<HttpReply, NoReply> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => connect(&self.address).await?,
        };
        self.received.clear();
        let result = converse(&mut stream, request, &mut self.received).await;
        self.stream = Some(stream);
        result.map_err(|reason| NoReply::Cut(self.address.clone(), reason))
    }
}

async fn connect(address: &str) -> Result<TcpStream, NoReply> {
    let connected = TcpStream::connect(address).await;
    let stream = connected.map_err(|error| NoReply::NotSent(address.to_owned(), error))?;
    stream
        .set_nodelay(true)
        .map_err(|error| NoReply::NotSent(address.to_owned(), error))?;
    Ok(stream)
}

async fn converse(
    stream: &mut TcpStream,
    request: &[u8],
    received: &mut Vec<u8>,
) -> Result<HttpReply, String> {
    // A server that refuses a body may answer and close before it has read all
    // of it: its reply counts, so a failed write is only told when none comes.
    let written = stream.write_all(request).await;
    loop {
        let read = stream.read_buf(received).await;
        match (read, &written) {
            (Ok(0), Ok(())) => return Err("it was closed before the reply was whole".to_owned()),
            (Err(error), Ok(())) => return Err(error.to_string()),
            (Ok(0) | Err(_), Err(error)) => return Err(error.to_string()),
            (Ok(_), _) => {}
        }
        match http_reply::read(received) {
            Ok(Some(mut reply)) => {
                reply.keep_alive &= written.is_ok() && reply.n_bytes == received.len();
                return Ok(reply);
            }
            Ok(None) if received.len() > REPLY_BYTES_MAX => {
                return Err("the reply is too large".to_owned());
            }
            Ok(None) => {}
            Err(error) => return Err(error.to_string()),
        }
    }
}
