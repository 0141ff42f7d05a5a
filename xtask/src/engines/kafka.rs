//! Runs one Kafka broker that is its own controller, or one of several that form a cluster.
//!
//! In the flow: `provision` → **`kafka`** → `services`. It writes the broker's files from `deploy/local/kafka`, formats
//! its storage once, and describes the process; `process` runs it.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};

use super::metadata::brokers_known;
use super::provision::Distribution;
use super::template;
use crate::certificates;
use crate::command;
use crate::interrupt::Interrupt;
use crate::process::{Probe, Spec};

/// The id of every cluster made here. Any 16 bytes in base64 serve.
const CLUSTER_ID: &str = "bG9nZmxvdy1jbHVzdGVyIQ";

/// One broker.
#[derive(Debug, Clone)]
pub struct Broker {
    /// How messages call it.
    pub name: String,
    /// Its number in the cluster, from 1.
    pub node_id: u16,
    /// The port for clients.
    pub port: u16,
    /// The port for the other controllers.
    pub controller_port: u16,
    /// Number and controller port of every broker of the cluster, this one among them.
    pub voters: Vec<(u16, u16)>,
    /// Its own directory: configuration, data and logs.
    pub directory: PathBuf,
    /// The JVM's heap in MiB; 512 serve a developer, 1024 a load test.
    pub heap_mib: u32,
    /// Lines of `server.properties` beside or instead of the template's.
    pub settings: Vec<(String, String)>,
    /// Who may sign in by SCRAM-SHA-512, with which password.
    pub users: Vec<(String, String)>,
    /// Who vouches for it, if clients come over TLS.
    pub authority: Option<PathBuf>,
}

impl Broker {
    /// A cluster of one.
    #[must_use]
    pub fn alone(name: &str, port: u16, controller_port: u16, directory: PathBuf) -> Self {
        Self {
            name: name.to_owned(),
            node_id: 1,
            port,
            controller_port,
            voters: vec![(1, controller_port)],
            directory,
            heap_mib: 512,
            settings: Vec::new(),
            users: Vec::new(),
            authority: None,
        }
    }

    /// Where clients connect, `host:port`; over TLS by the name that the certificate has.
    #[must_use]
    pub fn address(&self) -> String {
        let host = if self.authority.is_some() {
            "localhost"
        } else {
            "127.0.0.1"
        };
        format!("{host}:{}", self.port)
    }

    /// The same as [`Broker::address`], for a socket.
    #[must_use]
    pub fn socket(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    /// The broker's own log.
    #[must_use]
    pub fn server_log(&self) -> PathBuf {
        self.directory.join("logs/server.log")
    }

    /// Writes its configuration, formats its storage unless it holds data, and gives the process to run.
    ///
    /// # Errors
    /// When a file cannot be written, or the storage belongs to another cluster.
    pub fn prepare(&self, distribution: &Distribution, interrupt: &Interrupt) -> Result<Spec> {
        let data = self.directory.join("data");
        let logs = self.directory.join("logs");
        for directory in [&data, &logs] {
            fs::create_dir_all(directory)
                .with_context(|| format!("cannot create `{}`", directory.display()))?;
        }
        let properties = self.directory.join("server.properties");
        write_from(
            &distribution.templates.join("kafka/server.properties"),
            &properties,
            |text| {
                let filled = template::fill(text, &self.values(data.display().to_string()))?;
                Ok(template::set(&filled, '=', &self.settings))
            },
        )?;
        let log4j = distribution.templates.join("kafka/log4j2.xml");
        let java = distribution.java.join("bin/java");
        let shared = [
            format!("-Dlogflow.logs={}", logs.display()),
            format!("-Dlog4j2.configurationFile={}", log4j.display()),
            "-cp".to_owned(),
            format!("{}/*", distribution.kafka_libs.display()),
        ];
        if !data.join("meta.properties").is_file() {
            let mut format = Command::new(&java);
            format
                .args(["-Xmx256m", "-XX:TieredStopAtLevel=1"])
                .args(&shared)
                .args([
                    "kafka.tools.StorageTool",
                    "format",
                    "--ignore-formatted",
                    "-t",
                    CLUSTER_ID,
                    "-c",
                ])
                .arg(&properties);
            for (name, password) in &self.users {
                let user = format!("SCRAM-SHA-512=[name={name},password={password}]");
                format.args(["--add-scram", &user]);
            }
            command::run(format, interrupt, |_| {})
                .with_context(|| format!("cannot format `{}`", data.display()))?;
        }
        let heap = self.heap_mib;
        let mut args: Vec<std::ffi::OsString> =
            vec![format!("-Xms{heap}m").into(), format!("-Xmx{heap}m").into()];
        args.extend(
            [
                "-XX:+UseG1GC",
                "-XX:+ExitOnOutOfMemoryError",
                "-Djava.awt.headless=true",
            ]
            .map(Into::into),
        );
        args.extend(shared.iter().map(Into::into));
        args.push("kafka.Kafka".into());
        args.push(properties.into());
        Ok(Spec {
            name: self.name.clone(),
            program: java,
            args,
            environment: Vec::new(),
            privileges: Vec::new(),
            log: logs.join("console.log"),
            own_logs: vec![self.server_log()],
            ready: self.ready(),
            ready_within: Duration::from_secs(120),
            stop_within: Duration::from_secs(30),
        })
    }

    /// It works when it knows the others; over TLS, where that would take a password, when it speaks at all.
    fn ready(&self) -> Probe {
        let (socket, brokers) = (self.socket(), self.voters.len());
        match self.authority.clone() {
            None => Arc::new(move || match brokers_known(socket) {
                Ok(known) if known >= brokers => Ok(()),
                Ok(known) => Err(format!("it knows {known} of {brokers} brokers")),
                Err(error) => Err(format!("{error:#}")),
            }),
            Some(authority) => {
                let address = self.address();
                Arc::new(move || {
                    certificates::greet(&address, &authority).map_err(|error| format!("{error:#}"))
                })
            }
        }
    }

    fn values(&self, data: String) -> [(&'static str, String); 7] {
        let voters: Vec<String> = self
            .voters
            .iter()
            .map(|(node, port)| format!("{node}@127.0.0.1:{port}"))
            .collect();
        let replicas = self.voters.len().min(3);
        [
            ("node_id", self.node_id.to_string()),
            ("voters", voters.join(",")),
            ("broker_port", self.port.to_string()),
            ("controller_port", self.controller_port.to_string()),
            ("data", data),
            ("replicas", replicas.to_string()),
            (
                "replicas_in_sync",
                replicas.saturating_sub(1).max(1).to_string(),
            ),
        ]
    }
}

/// Writes `target` from the template `source`.
pub(crate) fn write_from(
    source: &std::path::Path,
    target: &std::path::Path,
    make: impl FnOnce(&str) -> Result<String>,
) -> Result<()> {
    let text = fs::read_to_string(source)
        .with_context(|| format!("cannot read `{}`", source.display()))?;
    let made = make(&text).with_context(|| format!("cannot use `{}`", source.display()))?;
    fs::write(target, made).with_context(|| format!("cannot write `{}`", target.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_of_three_brokers_replicates_and_of_one_does_not() {
        let template = include_str!("../../../deploy/local/kafka/server.properties");
        let mut broker = Broker::alone("kafka", 1001, 1002, PathBuf::from("/k"));
        let one = template::fill(template, &broker.values("/k/data".into())).unwrap();
        for line in [
            "num.partitions=6",
            "default.replication.factor=1",
            "min.insync.replicas=1",
            "log.dirs=/k/data",
        ] {
            assert!(one.lines().any(|found| found == line), "{line}\n{one}");
        }
        broker.voters = vec![(1, 1002), (2, 1004), (3, 1006)];
        let three = template::fill(template, &broker.values("/k/data".into())).unwrap();
        for line in [
            "controller.quorum.voters=1@127.0.0.1:1002,2@127.0.0.1:1004,3@127.0.0.1:1006",
            "default.replication.factor=3",
            "min.insync.replicas=2",
        ] {
            assert!(three.lines().any(|found| found == line), "{line}\n{three}");
        }
    }
}
