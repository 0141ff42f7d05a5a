//! Runs one OpenSearch node: the second search engine that logflow works with.
//!
//! In the flow: `provision` → **`opensearch`** → the live tests. It writes the node's files from
//! `deploy/local/opensearch`, and describes the process; `process` runs it.
//! Like Elasticsearch it refuses to run as root; then it runs as `nobody`.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};

use super::elasticsearch::{as_nobody, copy_missing};
use super::kafka::write_from;
use super::provision::{Distribution, OpenSearchHome};
use super::template;
use crate::http;
use crate::process::Spec;

/// One node, a cluster of its own.
#[derive(Debug, Clone)]
pub struct Node {
    /// How messages call it; also the node's name in its cluster.
    pub name: String,
    /// The port for clients.
    pub http_port: u16,
    /// The port for other nodes.
    pub transport_port: u16,
    /// Its own directory: configuration, data and logs.
    pub directory: PathBuf,
    /// The JVM's heap in MiB.
    pub heap_mib: u32,
}

impl Node {
    /// Where clients connect.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.http_port)
    }

    /// Writes its configuration and gives the process to run.
    ///
    /// # Errors
    /// When a file cannot be written or handed to `nobody`.
    pub fn prepare(&self, distribution: &Distribution, home: &OpenSearchHome) -> Result<Spec> {
        let [config, data, logs, temporary] =
            ["config", "data", "logs", "tmp"].map(|name| self.directory.join(name));
        for directory in [&config, &data, &logs, &temporary] {
            fs::create_dir_all(directory)
                .with_context(|| format!("cannot create `{}`", directory.display()))?;
        }
        copy_missing(&home.0.join("config"), &config)?;
        let values = [
            ("cluster", self.name.clone()),
            ("node", self.name.clone()),
            ("data", data.display().to_string()),
            ("logs", logs.display().to_string()),
            ("http_port", self.http_port.to_string()),
            ("transport_port", self.transport_port.to_string()),
            ("heap", self.heap_mib.to_string()),
        ];
        let templates = distribution.templates.join("opensearch");
        for name in ["opensearch.yml", "jvm.options"] {
            write_from(&templates.join(name), &config.join(name), |text| {
                template::fill(text, &values)
            })?;
        }
        let privileges = if rustix::process::geteuid().is_root() {
            as_nobody(&self.directory, &[&home.0.join("lib"), &distribution.java])?
        } else {
            Vec::new()
        };
        let health = format!(
            "{}/_cluster/health?wait_for_status=yellow&timeout=1s",
            self.url()
        );
        let environment = [
            ("OPENSEARCH_JAVA_HOME", distribution.java.as_os_str()),
            ("OPENSEARCH_PATH_CONF", config.as_os_str()),
            ("OPENSEARCH_TMPDIR", temporary.as_os_str()),
            ("HOME", temporary.as_os_str()),
            ("OPENSEARCH_JAVA_OPTS", "".as_ref()),
        ];
        Ok(Spec {
            name: self.name.clone(),
            program: home.0.join("bin/opensearch"),
            args: Vec::new(),
            environment: environment
                .map(|(key, value)| (key.into(), value.to_owned()))
                .into(),
            privileges,
            log: self.directory.join("console.log"),
            own_logs: Vec::new(),
            ready: Arc::new(move || match http::get(&health, Duration::from_secs(3)) {
                Ok(reply) if reply.status == 200 => Ok(()),
                Ok(reply) => Err(format!("its health is {}", reply.text())),
                Err(error) => Err(format!("{error:#}")),
            }),
            ready_within: Duration::from_secs(240),
            stop_within: Duration::from_secs(60),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_template_of_a_node_is_filled() {
        let names = [
            "cluster",
            "node",
            "data",
            "logs",
            "http_port",
            "transport_port",
            "heap",
        ];
        let values: Vec<(&str, String)> = names.map(|name| (name, name.to_uppercase())).into();
        for text in [
            include_str!("../../../deploy/local/opensearch/opensearch.yml"),
            include_str!("../../../deploy/local/opensearch/jvm.options"),
        ] {
            template::fill(text, &values).unwrap();
        }
    }
}
