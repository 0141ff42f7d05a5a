//! Asks the sinks how they are doing.
//!
//! In the flow: `routes` → **`sinks`** → `pipeline`. All at once, and none for longer than [`TIMEOUT`]; a sink that is
//! guarded is shown the key of `--sink-credentials`.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures_util::future::join_all;
use reqwest::header::AUTHORIZATION;
use reqwest::{Client, Url};
use service::login::Login;
use service::trouble::innermost;
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
    login: Login,
}

impl Sinks {
    /// Asks none yet.
    ///
    /// # Errors
    /// If TLS cannot be set up.
    pub fn new(addresses: Vec<Url>, login: Login) -> Result<Self, String> {
        let mut client = Client::builder().timeout(TIMEOUT);
        for authority in login.authorities()?.into_iter().flatten() {
            client = client.add_root_certificate(authority);
        }
        let client = client.build().map_err(|error| innermost(&error))?;
        Ok(Self {
            client,
            addresses,
            login,
        })
    }

    /// What each says, in the order of `--sink-url`.
    pub async fn ask(&self) -> Vec<Sink> {
        let places = join_all(self.addresses.iter().map(places)).await.concat();
        join_all(places.iter().map(|place| self.ask_one(place))).await
    }

    async fn ask_one(&self, address: &Url) -> Sink {
        let shown = shown(address);
        let answers = tokio::try_join!(self.get(address, "status"), self.get(address, "readyz"));
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.map_or(0, |now| i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
        match answers {
            Ok(((200, status), (_, readiness))) => Sink::read(&shown, &status, &readiness, now),
            Ok(((refusal, body), _)) => {
                let by_key = self.login.authorization().is_some() || !address.username().is_empty();
                Sink::refused(&shown, refusal, &body, by_key)
            }
            Err(error) => {
                tracing::debug!(%error, sink = shown, "a sink does not answer");
                let reason = if error.is_timeout() {
                    "does not answer in time".to_owned()
                } else {
                    format!("cannot be reached: {}", innermost(&error))
                };
                Sink::silent(&shown, reason)
            }
        }
    }

    /// The status and the body; `/readyz` answers 503 with the reasons, so no status is an error here.
    async fn get(&self, address: &Url, path: &str) -> reqwest::Result<(u16, Bytes)> {
        let mut url = address.clone();
        url.set_path(path);
        let mut request = self.client.get(url);
        if let Some(authorization) = self.login.authorization() {
            request = request.header(AUTHORIZATION, authorization);
        }
        let reply = request.send().await?;
        Ok((reply.status().as_u16(), reply.bytes().await?))
    }
}

/// Without the credentials that may stand in it.
fn shown(address: &Url) -> String {
    let mut bare = address.clone();
    let cleared = bare.set_username("").and_then(|()| bare.set_password(None));
    match cleared {
        Ok(()) => bare.as_str().trim_end_matches('/').to_owned(),
        Err(()) => "a sink without a host".to_owned(),
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
    use std::ffi::OsString;
    use std::sync::Arc;

    use axum::Router;
    use axum::routing::get;
    use service::access::api_keys::{ApiKeys, NewKey};
    use service::access::{Access, Scope};
    use service::operations;

    use super::*;
    use crate::config::Config;

    #[tokio::test]
    async fn a_guarded_sink_tells_its_state_to_who_shows_a_key() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let observer = NewKey::make("observer", &[Scope::Observe], None, None, [1; 32]).unwrap();
        let sender = NewKey::make("sender", &[Scope::Ingest], None, None, [2; 32]).unwrap();
        let entries = format!("{}{}", observer.entry, sender.entry);
        let keys = ApiKeys::load(file("keys.toml", &entries)).unwrap();
        let told = Router::new()
            .route("/status", get(|| async { r#"{"partitions":[{"lag":3}]}"# }))
            .route(
                "/readyz",
                get(|| async { r#"{"ready":true,"reasons":[]}"# }),
            );
        let guarded = operations::guarded(told, &Access::by(Arc::new(keys)));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, guarded).await });
        let ask = async |args: &[&str]| {
            let given = [&["query-api", "--sink-url", &url], args].concat();
            let (config, _) = Config::load(given.iter().map(OsString::from), |_| None).unwrap();
            let sinks = Sinks::new(config.sinks, config.sink_login).unwrap();
            sinks.ask().await.pop().unwrap()
        };
        let line = |key: &NewKey| {
            let token = key.credential.to_token();
            token.replacen('.', ":", 1)
        };
        let observer = file("observer", &line(&observer)).display().to_string();
        let sender = file("sender", &line(&sender)).display().to_string();
        let sink = ask(&["--sink-credentials", &observer]).await;
        assert_eq!(
            (sink.reachable, sink.ready, sink.lag),
            (true, true, Some(3))
        );
        let sink = ask(&[]).await;
        assert!(sink.reasons[0].contains("asks for a key"), "{sink:?}");
        let sink = ask(&["--sink-credentials", &sender]).await;
        assert!(
            sink.reasons[0].contains("lacks the scope `observe`"),
            "{sink:?}"
        );
    }

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
    fn the_key_in_an_address_is_not_shown() {
        let address = "https://observer:secret@sinks:9102/".parse().unwrap();
        assert_eq!(shown(&address), "https://sinks:9102");
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
