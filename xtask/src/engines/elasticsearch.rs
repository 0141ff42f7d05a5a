//! Runs one Elasticsearch node.
//!
//! In the flow: `provision` → **`elasticsearch`** → `services`. It writes the node's files from
//! `deploy/local/elasticsearch`, and describes the process; `process` runs it.
//!
//! The server is started by its own launcher, `bin/elasticsearch`: the launcher stays as the server's parent, and the
//! server ends when its pipe from the launcher breaks, so killing the launcher ends both.
//! Elasticsearch refuses to run as root; then it runs as `nobody`, who owns the node's directory.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{PermissionsExt, lchown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};

use super::kafka::write_from;
use super::provision::Distribution;
use super::template;
use crate::http::Client;
use crate::process::Spec;

/// One node.
#[derive(Debug, Clone)]
pub struct Node {
    /// How messages call it; also the node's name in its cluster.
    pub name: String,
    /// The cluster's name.
    pub cluster: String,
    /// The port for clients.
    pub http_port: u16,
    /// The port for other nodes.
    pub transport_port: u16,
    /// Its own directory: configuration, data and logs.
    pub directory: PathBuf,
    /// The JVM's heap in MiB; 1024 are plenty, 512 enough for a few indices.
    pub heap_mib: u32,
    /// Lines of `elasticsearch.yml` beside or instead of the template's.
    pub settings: Vec<(String, String)>,
    /// Files of its configuration, name and contents, that nobody else may read.
    pub files: Vec<(String, String)>,
    /// How it is spoken to.
    pub client: Client,
}

impl Node {
    /// A cluster of one.
    #[must_use]
    pub fn alone(name: &str, http_port: u16, transport_port: u16, directory: PathBuf) -> Self {
        Self {
            name: name.to_owned(),
            cluster: "logflow".to_owned(),
            http_port,
            transport_port,
            directory,
            heap_mib: 1024,
            settings: Vec::new(),
            files: Vec::new(),
            client: Client::default(),
        }
    }

    /// Where clients connect.
    #[must_use]
    pub fn url(&self) -> String {
        self.client.url(self.http_port)
    }

    /// The node's own log.
    #[must_use]
    pub fn server_log(&self) -> PathBuf {
        self.directory.join("logs/server.json")
    }

    /// Writes its configuration and gives the process to run.
    ///
    /// # Errors
    /// When a file cannot be written or handed to `nobody`.
    pub fn prepare(&self, distribution: &Distribution) -> Result<Spec> {
        let [config, data, logs, temporary] =
            ["config", "data", "logs", "tmp"].map(|name| self.directory.join(name));
        for directory in [&config, &data, &logs, &temporary] {
            fs::create_dir_all(directory)
                .with_context(|| format!("cannot create `{}`", directory.display()))?;
        }
        copy_missing(&distribution.elasticsearch.join("config"), &config)?;
        let values = [
            ("cluster", self.cluster.clone()),
            ("node", self.name.clone()),
            ("data", data.display().to_string()),
            ("logs", logs.display().to_string()),
            ("http_port", self.http_port.to_string()),
            ("transport_port", self.transport_port.to_string()),
            ("heap", self.heap_mib.to_string()),
        ];
        let templates = distribution.templates.join("elasticsearch");
        for name in ["elasticsearch.yml", "jvm.options", "log4j2.properties"] {
            write_from(&templates.join(name), &config.join(name), |text| {
                let filled = template::fill(text, &values)?;
                let settings = if name == "elasticsearch.yml" {
                    self.settings.as_slice()
                } else {
                    &[]
                };
                Ok(if settings.is_empty() {
                    filled
                } else {
                    template::set(&filled, ':', settings)
                })
            })?;
        }
        for (name, contents) in &self.files {
            self.put(name, contents)?;
        }
        let privileges = if rustix::process::geteuid().is_root() {
            let readable = [&distribution.elasticsearch.join("lib"), &distribution.java];
            as_nobody(&self.directory, &readable)?
        } else {
            Vec::new()
        };
        let health = format!(
            "{}/_cluster/health?wait_for_status=yellow&timeout=1s",
            self.url()
        );
        let client = self.client.clone();
        let environment = [
            ("ES_JAVA_HOME", distribution.java.as_os_str()),
            ("ES_PATH_CONF", config.as_os_str()),
            ("ES_TMPDIR", temporary.as_os_str()),
            ("HOME", temporary.as_os_str()),
            ("LIBFFI_TMPDIR", temporary.as_os_str()),
            ("ES_JAVA_OPTS", "".as_ref()),
        ];
        Ok(Spec {
            name: self.name.clone(),
            program: distribution.elasticsearch.join("bin/elasticsearch"),
            args: Vec::new(),
            environment: environment
                .map(|(key, value)| (key.into(), value.to_owned()))
                .into(),
            privileges,
            log: self.directory.join("console.log"),
            own_logs: vec![self.server_log()],
            ready: Arc::new(move || match client.get(&health, Duration::from_secs(3)) {
                Ok(reply) if reply.status == 200 => Ok(()),
                Ok(reply) => Err(format!("its health is {}", reply.text())),
                Err(error) => Err(format!("{error:#}")),
            }),
            ready_within: Duration::from_secs(240),
            stop_within: Duration::from_secs(60),
        })
    }
}

impl Node {
    /// Writes a file of its configuration that nobody else may read, in one step, since the node may look at any moment.
    ///
    /// # Errors
    /// When it cannot be written or handed to `nobody`.
    pub fn put(&self, name: &str, contents: &str) -> Result<()> {
        let path = self.directory.join("config").join(name);
        let failed = || format!("cannot write `{}`", path.display());
        let new = path.with_extension("new");
        fs::write(&new, contents).with_context(failed)?;
        fs::set_permissions(&new, fs::Permissions::from_mode(0o600)).with_context(failed)?;
        if rustix::process::geteuid().is_root() {
            let (user, group) = nobody()?;
            lchown(&new, Some(user), Some(group)).with_context(failed)?;
        }
        fs::rename(&new, &path).with_context(failed)
    }
}

/// The options that make a server run as `nobody`, who owns the node's `directory` from now on and must be able to read
/// what is `readable`.
pub(super) fn as_nobody(directory: &Path, readable: &[&PathBuf]) -> Result<Vec<OsString>> {
    let (user, group) = nobody()?;
    give(directory, user, group)?;
    let mut options: Vec<OsString> = vec![
        "--reuid".into(),
        user.to_string().into(),
        "--regid".into(),
        group.to_string().into(),
    ];
    options.push("--clear-groups".into());
    // A checkout below root's home is closed to everyone else: then the server may pass closed directories.
    let data = directory.join("data");
    let reachable = readable.iter().copied().chain([&data]).all(|directory| {
        let mut test = Command::new("setpriv");
        test.args(&options)
            .args(["--", "test", "-r"])
            .arg(directory)
            .stdin(Stdio::null())
            .stderr(Stdio::null());
        test.status().is_ok_and(|status| status.success())
    });
    if !reachable {
        // Without the last, access(2) would still say no to a user that is not root.
        let passing = [
            "--inh-caps=+dac_override",
            "--ambient-caps=+dac_override",
            "--securebits=+no_setuid_fixup",
        ];
        options.extend(passing.map(Into::into));
    }
    Ok(options)
}

/// The ids of user and group of `nobody`.
fn nobody() -> Result<(u32, u32)> {
    let users = fs::read_to_string("/etc/passwd").context("cannot read `/etc/passwd`")?;
    let ids = users.lines().find_map(|line| {
        let mut fields = line.strip_prefix("nobody:")?.split(':').skip(1);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    });
    ids.context("there is no user `nobody`, and Elasticsearch refuses to run as root; run xtask as an ordinary user")
}

/// Hands `path` and all below it to a user, and opens it to that user alone and root.
fn give(path: &Path, user: u32, group: u32) -> Result<()> {
    let failed = || format!("cannot hand `{}` to the user nobody", path.display());
    lchown(path, Some(user), Some(group)).with_context(failed)?;
    let metadata = fs::symlink_metadata(path).with_context(failed)?;
    if metadata.is_dir() {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).with_context(failed)?;
        for entry in fs::read_dir(path).with_context(failed)? {
            give(&entry.with_context(failed)?.path(), user, group)?;
        }
    }
    Ok(())
}

/// Copies the files that the distribution configures itself with, where the node has none yet.
pub(super) fn copy_missing(source: &Path, target: &Path) -> Result<()> {
    let failed = || format!("cannot copy `{}`", source.display());
    for entry in fs::read_dir(source).with_context(failed)? {
        let path = entry.with_context(failed)?.path();
        let copy = target.join(path.file_name().unwrap_or_default());
        if path.is_file() && !copy.exists() {
            fs::copy(&path, &copy).with_context(failed)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_template_of_a_node_is_filled() {
        let node = Node::alone("elasticsearch", 1001, 1002, PathBuf::from("/e"));
        let values: Vec<(&str, String)> = [
            "cluster",
            "node",
            "data",
            "logs",
            "http_port",
            "transport_port",
            "heap",
        ]
        .map(|name| (name, name.to_uppercase()))
        .into();
        for text in [
            include_str!("../../../deploy/local/elasticsearch/elasticsearch.yml"),
            include_str!("../../../deploy/local/elasticsearch/jvm.options"),
            include_str!("../../../deploy/local/elasticsearch/log4j2.properties"),
        ] {
            template::fill(text, &values).unwrap();
        }
        assert_eq!(node.url(), "http://127.0.0.1:1001");
    }

    #[test]
    fn nobody_is_a_user_of_this_machine() {
        let (user, group) = nobody().unwrap();
        assert!(user > 0 && group > 0);
    }
}
