//! Builds the services and describes their processes, each with the flags it is started with.
//!
//! In the flow: `engines` → **`services`** → `ship_logs`. Not here: what the flags mean (the services' own `--help`).

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::command;
use crate::http::{self, Client};
use crate::interrupt::Interrupt;
use crate::process::{Probe, Spec};
use crate::workspace::Workspace;

/// The package and binary name of each service, in the order in which an event meets them.
pub const SERVICES: [&str; 3] = ["ingest-gateway", "es-sink", "query-api"];

/// All packages that tests and measurements run. Always built together: another set would have features, and so builds,
/// of its own.
pub const BINARIES: [&str; 5] = [
    "ingest-gateway",
    "es-sink",
    "archive-sink",
    "query-api",
    "loadtest",
];

/// What the packages hold: the services, and the sink that is there for who wants an archive.
pub const PACKAGED: [&str; 4] = ["ingest-gateway", "es-sink", "archive-sink", "query-api"];

/// How long the fault proxy may take to obey.
const CONTROL_TIMEOUT: Duration = Duration::from_secs(5);

/// The release binaries.
#[derive(Debug, Clone)]
pub struct Binaries {
    directory: PathBuf,
}

impl Binaries {
    /// Builds `packages` with cargo, showing cargo's own progress.
    ///
    /// # Errors
    /// When cargo fails; it has said why by then.
    pub fn build(workspace: &Workspace, packages: &[&str], interrupt: &Interrupt) -> Result<Self> {
        let mut cargo = Command::new("cargo");
        cargo
            .current_dir(&workspace.root)
            .args(["build", "--release", "--bins"]);
        cargo.arg("--target-dir").arg(&workspace.target);
        for package in packages {
            cargo.args(["--package", package]);
        }
        let status = command::run_visibly(cargo, interrupt)?;
        if !status.success() {
            bail!("the build failed ({status})");
        }
        Ok(Self {
            directory: workspace.binaries(),
        })
    }

    /// The path of one.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// The process of service `name`, which listens on `port` of loopback, is ready when `/readyz` says so, and logs
    /// to `log`.
    #[must_use]
    pub fn service(&self, name: &str, port: u16, flags: &[String], log: &Path) -> Spec {
        let listen = ["--listen".to_owned(), format!("127.0.0.1:{port}")];
        Spec {
            name: name.to_owned(),
            program: self.path(name),
            args: listen.iter().chain(flags).map(Into::into).collect(),
            environment: Vec::new(),
            privileges: Vec::new(),
            log: log.to_path_buf(),
            own_logs: Vec::new(),
            ready: ready(&Client::default(), port),
            ready_within: Duration::from_secs(60),
            stop_within: Duration::from_secs(30),
        }
    }

    /// The process of a fault proxy with these routes (`NAME=LISTEN=HOST:PORT`), whose control port is `port`.
    #[must_use]
    pub fn fault_proxy(&self, port: u16, seed: u64, routes: &[String], log: &Path) -> Spec {
        let mut args = vec!["fault-proxy".to_owned()];
        let (control, seed) = (format!("127.0.0.1:{port}"), seed.to_string());
        args.extend(flags(&[("--control", &control), ("--seed", &seed)]));
        args.extend(routes.iter().flat_map(|route| flags(&[("--route", route)])));
        Spec {
            name: "fault proxy".to_owned(),
            args: args.into_iter().map(Into::into).collect(),
            ready_within: Duration::from_secs(30),
            ..self.service("loadtest", port, &[], log)
        }
    }
}

/// Sets the faults of a route (PUT) or heals it (DELETE), at the control port of a fault proxy.
///
/// # Errors
/// When the proxy does not answer, or refuses; it says why.
pub fn order_fault(control: &str, method: &str, route: &str, faults: &str) -> Result<()> {
    let url = format!("{control}/routes/{route}/fault");
    let reply = http::request(method, &url, &[], faults.as_bytes(), CONTROL_TIMEOUT)?;
    match reply.status {
        200 => Ok(()),
        status => bail!("the fault proxy answers {status}: {}", reply.text()),
    }
}

/// The engines and names that the three services meet at.
#[derive(Debug, Clone)]
pub struct Wiring {
    /// `host:port` of the brokers, with commas between them.
    pub kafka: String,
    /// Elasticsearch's address.
    pub elasticsearch: String,
    /// The topic between gateway and sink.
    pub topic: String,
    /// The sink's consumer group.
    pub group: String,
    /// The sink's index pattern, with `{date}` in it.
    pub index_pattern: String,
    /// Where the sink puts what can never be indexed.
    pub dead_letter_topic: String,
}

impl Wiring {
    /// The names that the services have by default, as `cargo xtask up` uses them.
    #[must_use]
    pub fn standard(kafka: String, elasticsearch: String) -> Self {
        Self {
            kafka,
            elasticsearch,
            topic: "logs".to_owned(),
            group: "es-sink".to_owned(),
            index_pattern: "logflow-{date}".to_owned(),
            dead_letter_topic: "logs.dead-letter".to_owned(),
        }
    }

    /// What the query API searches: the indices of the pattern, of any day.
    #[must_use]
    pub fn index(&self) -> String {
        self.index_pattern.replace("{date}", "*")
    }

    /// The flags of ingest-gateway beside `--listen`.
    #[must_use]
    pub fn gateway_flags(&self) -> Vec<String> {
        flags(&[("--kafka-brokers", &self.kafka), ("--topic", &self.topic)])
    }

    /// The flags of es-sink beside `--listen`.
    #[must_use]
    pub fn sink_flags(&self) -> Vec<String> {
        flags(&[
            ("--kafka-brokers", &self.kafka),
            ("--topic", &self.topic),
            ("--group-id", &self.group),
            ("--elasticsearch-url", &self.elasticsearch),
            ("--index-pattern", &self.index_pattern),
            ("--dead-letter-topic", &self.dead_letter_topic),
        ])
    }

    /// The flags of archive-sink beside `--listen`; all sinks of an archive are in the group that is named after it.
    #[must_use]
    pub fn archive_flags(&self, postgres: &str) -> Vec<String> {
        let group = format!("{}-archive", self.group);
        flags(&[
            ("--kafka-brokers", &self.kafka),
            ("--topic", &self.topic),
            ("--group-id", &group),
            ("--postgres-url", postgres),
        ])
    }

    /// The flags of query-api beside `--listen`.
    #[must_use]
    pub fn query_flags(&self) -> Vec<String> {
        flags(&[
            ("--elasticsearch-url", &self.elasticsearch),
            ("--index", &self.index()),
            ("--kafka-brokers", &self.kafka),
            ("--topic", &self.topic),
            ("--dead-letter-topic", &self.dead_letter_topic),
        ])
    }
}

fn flags(pairs: &[(&str, &str)]) -> Vec<String> {
    pairs
        .iter()
        .flat_map(|(name, value)| [(*name).to_owned(), (*value).to_owned()])
        .collect()
}

/// Whether the service on `port` of loopback says that it is ready.
#[must_use]
pub fn ready(client: &Client, port: u16) -> Probe {
    let (client, url) = (client.clone(), format!("{}/readyz", client.url(port)));
    Arc::new(move || match client.get(&url, Duration::from_secs(3)) {
        Ok(reply) if reply.status == 200 => Ok(()),
        Ok(reply) => Err(format!(
            "/readyz answers {}: {}",
            reply.status,
            reply.text().trim()
        )),
        Err(error) => Err(format!("{error:#}")),
    })
}
