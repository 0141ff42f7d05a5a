//! Asks the sinks how they are doing.
//!
//! In the flow: `routes` → **`sinks`** → `pipeline`. All at once, and none for longer than [`TIMEOUT`].

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures_util::future::join_all;
use reqwest::{Client, Url};
use tokio::net::lookup_host;
use tokio::time::timeout;
use url::Host;

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
        let places = join_all(self.addresses.iter().map(places)).await.concat();
        join_all(places.iter().map(|place| self.ask_one(place))).await
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

/// Where the sinks of an address are: all that its name stands for, as that of a headless service in Kubernetes does.
async fn places(address: &Url) -> Vec<Url> {
    let (Some(Host::Domain(name)), Some(port)) = (address.host(), address.port_or_known_default())
    else {
        return vec![address.clone()];
    };
    match timeout(TIMEOUT, lookup_host((name, port))).await {
        Ok(Ok(found)) => behind(address, found),
        // Whoever asks there is told why.
        Ok(Err(_)) | Err(_) => vec![address.clone()],
    }
}

/// The addresses that `found` tells of, if they are several; else the one that there is.
fn behind(address: &Url, found: impl Iterator<Item = SocketAddr>) -> Vec<Url> {
    let (old, new): (BTreeSet<IpAddr>, BTreeSet<IpAddr>) =
        found.map(|at| at.ip()).partition(IpAddr::is_ipv4);
    // Both families of addresses are two ways to the same sinks.
    let ips = if old.is_empty() { new } else { old };
    // A certificate is the name's.
    if ips.len() < 2 || address.scheme() != "http" {
        return vec![address.clone()];
    }
    let places = ips.into_iter().filter_map(|ip| {
        let mut place = address.clone();
        place.set_ip_host(ip).ok()?;
        Some(place)
    });
    places.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(address: &str, found: &[&str], places: &[&str]) {
        let found = found
            .iter()
            .map(|ip| SocketAddr::new(ip.parse().unwrap(), 9102));
        let told = behind(&address.parse().unwrap(), found);
        let told: Vec<&str> = told.iter().map(Url::as_str).collect();
        assert_eq!(told, places);
    }

    #[test]
    fn a_name_that_stands_for_several_sinks_is_each_of_them_once() {
        check(
            "http://sinks:9102",
            &["10.0.0.2", "10.0.0.1", "fd00::1", "10.0.0.2"],
            &["http://10.0.0.1:9102/", "http://10.0.0.2:9102/"],
        );
        check(
            "http://sinks:9102",
            &["fd00::2", "fd00::1"],
            &["http://[fd00::1]:9102/", "http://[fd00::2]:9102/"],
        );
    }

    #[test]
    fn a_name_that_stands_for_one_stays_a_name() {
        check(
            "http://localhost:9102",
            &["::1", "127.0.0.1"],
            &["http://localhost:9102/"],
        );
        check("http://localhost:9102", &[], &["http://localhost:9102/"]);
        check(
            "https://sinks:9102",
            &["10.0.0.1", "10.0.0.2"],
            &["https://sinks:9102/"],
        );
    }
}
