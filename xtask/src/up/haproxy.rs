//! Runs HAProxy in front of the gateways and the query APIs.
//!
//! In the flow: `layout` → **`haproxy`** → `stack`. It fills in `deploy/haproxy/haproxy.cfg` and describes the process.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};

use super::security::Security;
use crate::engines::kafka::write_from;
use crate::engines::template;
use crate::http::Client;
use crate::process::Spec;

/// One HAProxy, and who stands behind it.
#[derive(Debug, Clone)]
pub struct HaProxy {
    /// Where clients send events.
    pub gateway_port: u16,
    /// Where clients search.
    pub query_port: u16,
    /// Where it tells about itself.
    pub status_port: u16,
    /// Name and port of each gateway.
    pub gateways: Vec<(String, u16)>,
    /// Name and port of each query API.
    pub query_apis: Vec<(String, u16)>,
    /// Its own directory: configuration and log.
    pub directory: PathBuf,
    /// `None`: everything is in the clear.
    pub locked: Option<Locked>,
}

/// What a proxy needs that lets nobody listen in, and nobody look at it without a password.
#[derive(Debug, Clone)]
pub struct Locked {
    /// Key and certificate for clients.
    keystore: PathBuf,
    /// Who vouches for the services.
    authority: PathBuf,
    /// The API key with which it asks whether they are ready, and the password for its own page.
    key: PathBuf,
    /// How it is asked itself whether it is ready.
    client: Client,
}

/// The variable that carries the key, so that it does not stand in the configuration.
const KEY: &str = "MONITOR_KEY";

impl HaProxy {
    /// Takes clients over TLS alone, and goes on to the services so.
    ///
    /// # Errors
    /// When a file with a secret cannot be written.
    pub fn lock(&mut self, security: &Security) -> Result<()> {
        let secrets = &security.secrets;
        self.locked = Some(Locked {
            keystore: secrets.keystore("haproxy")?,
            authority: secrets.authority(),
            key: secrets.path("monitor.key"),
            client: secrets.client("monitor"),
        });
        Ok(())
    }

    /// Writes its configuration from the template and gives the process to run. It is ready when a gateway and a query
    /// API are reached through it.
    ///
    /// # Errors
    /// When a file cannot be read or written.
    pub fn prepare(&self, template: &Path) -> Result<Spec> {
        fs::create_dir_all(&self.directory)
            .with_context(|| format!("cannot create `{}`", self.directory.display()))?;
        let configuration = self.directory.join("haproxy.cfg");
        write_from(template, &configuration, |text| {
            template::fill(text, &self.values())
        })?;
        let locked = self.locked.as_ref();
        let client = locked.map(|one| one.client.clone()).unwrap_or_default();
        let ready =
            [self.gateway_port, self.query_port].map(|port| format!("{}/readyz", client.url(port)));
        let environment = match locked {
            None => Vec::new(),
            Some(Locked { key, .. }) => {
                let key = fs::read_to_string(key)
                    .with_context(|| format!("cannot read `{}`", key.display()))?;
                vec![(KEY.into(), key.into())]
            }
        };
        Ok(Spec {
            name: "haproxy".to_owned(),
            program: "haproxy".into(),
            // A master that stays in the foreground: SIGUSR2 makes it read its files again, and ends no connection.
            args: ["-W".into(), "-db".into(), "-f".into(), configuration.into()].into(),
            environment,
            privileges: Vec::new(),
            log: self.directory.join("haproxy.log"),
            own_logs: Vec::new(),
            ready: Arc::new(move || {
                ready
                    .iter()
                    .try_for_each(|url| match client.get(url, Duration::from_secs(3)) {
                        Ok(reply) if reply.status == 200 => Ok(()),
                        Ok(reply) => Err(format!("{url} answers {}", reply.status)),
                        Err(error) => Err(format!("{error:#}")),
                    })
            }),
            ready_within: Duration::from_secs(60),
            stop_within: Duration::from_secs(10),
        })
    }

    fn values(&self) -> [(&'static str, String); 10] {
        let locked = self.locked.as_ref();
        let only_locked = |text: &dyn Fn(&Locked) -> String| locked.map_or_else(String::new, text);
        let to_service = only_locked(&|locked| {
            let authority = locked.authority.display();
            format!(" ssl verify required verifyhost localhost ca-file {authority}")
        });
        let servers = |services: &[(String, u16)]| -> String {
            let lines: Vec<String> = services
                .iter()
                .map(|(name, port)| format!("    server {name} 127.0.0.1:{port}{to_service}"))
                .collect();
            lines.join("\n")
        };
        let for_clients =
            |alpn: &str| only_locked(&|one| format!(" ssl crt {}{alpn}", one.keystore.display()));
        let watchers = |_: &Locked| {
            format!("\nuserlist watchers\n    user monitor insecure-password \"${{{KEY}}}\"")
        };
        let guard = |_: &Locked| {
            "\n    http-request auth realm logflow unless { http_auth(watchers) }".to_owned()
        };
        [
            ("gateway_port", self.gateway_port.to_string()),
            ("query_port", self.query_port.to_string()),
            ("status_port", self.status_port.to_string()),
            ("gateways", servers(&self.gateways)),
            ("query_apis", servers(&self.query_apis)),
            ("tls", for_clients(" alpn h2,http/1.1")),
            ("status_tls", for_clients("")),
            (
                "key",
                only_locked(&|_| format!(" hdr Authorization \"Bearer ${{{KEY}}}\"")),
            ),
            ("watchers", only_locked(&watchers)),
            ("guard", only_locked(&guard)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_of_the_template_is_filled_and_every_service_is_a_server() {
        let proxy = HaProxy {
            gateway_port: 1,
            query_port: 2,
            status_port: 3,
            gateways: vec![("gateway-1".to_owned(), 11), ("gateway-2".to_owned(), 12)],
            query_apis: vec![("query-api-1".to_owned(), 21)],
            directory: PathBuf::new(),
            locked: None,
        };
        let text = include_str!("../../../deploy/haproxy/haproxy.cfg");
        let filled = template::fill(text, &proxy.values()).unwrap();
        for line in [
            "bind 127.0.0.1:1",
            "bind 127.0.0.1:2",
            "bind 127.0.0.1:3",
            "server gateway-1 127.0.0.1:11",
            "server gateway-2 127.0.0.1:12",
            "server query-api-1 127.0.0.1:21",
        ] {
            assert!(filled.lines().any(|one| one.trim() == line), "{line}");
        }
    }
}
