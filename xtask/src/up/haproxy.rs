//! Runs HAProxy in front of the gateways and the query APIs.
//!
//! In the flow: `layout` → **`haproxy`** → `stack`. It fills in `deploy/haproxy/haproxy.cfg` and describes the process.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::engines::kafka::write_from;
use crate::engines::template;
use crate::http;
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
}

impl HaProxy {
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
        let ready = [self.gateway_port, self.query_port]
            .map(|port| format!("http://127.0.0.1:{port}/readyz"));
        Ok(Spec {
            name: "haproxy".to_owned(),
            program: "haproxy".into(),
            args: ["-db".into(), "-f".into(), configuration.into()].into(),
            environment: Vec::new(),
            privileges: Vec::new(),
            log: self.directory.join("haproxy.log"),
            own_logs: Vec::new(),
            ready: Arc::new(move || {
                ready
                    .iter()
                    .try_for_each(|url| match http::get(url, Duration::from_secs(3)) {
                        Ok(reply) if reply.status == 200 => Ok(()),
                        Ok(reply) => Err(format!("{url} answers {}", reply.status)),
                        Err(error) => Err(format!("{error:#}")),
                    })
            }),
            ready_within: Duration::from_secs(60),
            stop_within: Duration::from_secs(10),
        })
    }

    fn values(&self) -> [(&'static str, String); 5] {
        let servers = |services: &[(String, u16)]| -> String {
            let lines: Vec<String> = services
                .iter()
                .map(|(name, port)| format!("    server {name} 127.0.0.1:{port}"))
                .collect();
            lines.join("\n")
        };
        [
            ("gateway_port", self.gateway_port.to_string()),
            ("query_port", self.query_port.to_string()),
            ("status_port", self.status_port.to_string()),
            ("gateways", servers(&self.gateways)),
            ("query_apis", servers(&self.query_apis)),
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
