//! Asks the sinks how they are doing.
//!
//! In the flow: `routes` → **`sinks`** → `pipeline`. All at once, and none for longer than [`TIMEOUT`].

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures_util::future::join_all;
use reqwest::{Client, Url};

use crate::pipeline::Sink;

/// How long a sink may take to answer.
const TIMEOUT: Duration = Duration::from_secs(2);

/// The sinks that are known. Clones share connections.
#[derive(Clone, Debug)]
pub struct Sinks {
    client: Client,
    addresses: Vec<Url>,
}

impl Sinks {
    /// Asks none yet.
    ///
    /// # Errors
    /// If TLS cannot be set up.
    pub fn new(addresses: Vec<Url>) -> reqwest::Result<Self> {
        let client = Client::builder().timeout(TIMEOUT).build()?;
        Ok(Self { client, addresses })
    }

    /// What each says, in the order of `--sink-url`.
    pub async fn ask(&self) -> Vec<Sink> {
        join_all(self.addresses.iter().map(|address| self.ask_one(address))).await
    }

    async fn ask_one(&self, address: &Url) -> Sink {
        let shown = address.as_str().trim_end_matches('/');
        let answers = tokio::try_join!(self.get(address, "status"), self.get(address, "readyz"));
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.map_or(0, |now| i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
        match answers {
            Ok((status, readiness)) => Sink::read(shown, &status, &readiness, now),
            Err(error) => {
                tracing::debug!(%error, sink = shown, "a sink does not answer");
                let reason = if error.is_timeout() {
                    "does not answer in time"
                } else {
                    "cannot be reached"
                };
                Sink::silent(shown, reason.to_owned())
            }
        }
    }

    /// `/readyz` answers 503 with the reasons, so no status is an error here.
    async fn get(&self, address: &Url, path: &str) -> reqwest::Result<Bytes> {
        let mut url = address.clone();
        url.set_path(path);
        self.client.get(url).send().await?.bytes().await
    }
}
