//! The shippers and SDKs that people already run, as they are: what each is installed in, and how it is run.
//!
//! In the flow: `xtask::foreign` → **`shipper`** → `scenarios`. The scripts lie in `scenarios/shippers/`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use service::access::api_keys::NewKey;
use xtask::foreign;
use xtask::node::Node;

use crate::stage::Stage;

/// A client, what it is installed in, and what it runs.
#[derive(Debug)]
pub(crate) struct Shipper {
    pub(crate) name: &'static str,
    /// What it says of each of its events, all of which are errors.
    pub(crate) level: Option<&'static str>,
    program: String,
    script: PathBuf,
    /// Where the packages of a daemon lie.
    packages: Option<PathBuf>,
}

/// What a shipper is to send.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Task<'a> {
    pub(crate) gateway: &'a str,
    pub(crate) key: &'a NewKey,
    pub(crate) events: usize,
    /// Between two events.
    pub(crate) pace: Duration,
    /// How long a daemon may take to send its last events; the others end by themselves.
    pub(crate) patience: Duration,
}

impl Shipper {
    /// All of them, installed.
    pub(crate) fn all(stage: &Stage<'_>, node: &Node) -> Result<Vec<Self>> {
        let scripts = stage.root().join("xtask/tests/live/scenarios/shippers");
        let (target, interrupt) = (stage.target(), stage.interrupt());
        let python = |list: &str| -> Result<String> {
            let environment = target.join(format!("python/shippers-{list}"));
            let requirements = scripts.join(format!("requirements-{list}.txt"));
            let programs = foreign::python(&environment, &requirements, &interrupt)?;
            Ok(programs.join("python").to_string_lossy().into_owned())
        };
        let (a, b) = (python("a")?, python("b")?);
        let in_node = target.join("node/shippers");
        foreign::node(&in_node, node, &scripts, &interrupt)?;
        let daemon = |name: &str| -> Result<PathBuf> {
            let root = target.join("debian").join(name);
            let list = scripts.join(format!("debian-{name}.txt"));
            foreign::debian(&root, &list, &interrupt)?;
            Ok(root)
        };
        let (rsyslog, syslog_ng) = (daemon("rsyslog")?, daemon("syslog-ng")?);
        let error = Some("error");
        let shipper = |name, level, program: &str, directory: &Path, script| Self {
            name,
            level,
            program: program.to_owned(),
            script: directory.join(script),
            packages: None,
        };
        let of_daemon = |name, level, packages, script| Self {
            packages: Some(packages),
            ..shipper(name, level, "python3", &scripts, script)
        };
        Ok(vec![
            shipper("opentelemetry-python-1.44", error, &a, &scripts, "otlp.py"),
            shipper("opentelemetry-python-1.45", error, &b, &scripts, "otlp.py"),
            shipper("opentelemetry-js", error, "node", &in_node, "otlp.mjs"),
            shipper("elasticsearch-py-9", error, &a, &scripts, "bulk.py"),
            shipper("elasticsearch-py-8", error, &b, &scripts, "bulk.py"),
            shipper("elasticsearch-js-9", error, "node", &in_node, "bulk.mjs"),
            of_daemon("rsyslog", Some("err"), rsyslog, "rsyslog.py"),
            of_daemon("syslog-ng", error, syslog_ng, "syslog_ng.py"),
            shipper("python-logging-loki", error, &a, &scripts, "loki.py"),
            shipper("splunk_handler", None, &b, &scripts, "hec.py"),
            shipper("curl", error, "sh", &scripts, "curl.sh"),
        ])
    }

    /// The command that does this, and ends.
    pub(crate) fn command(&self, node: &Node, task: Task<'_>) -> Command {
        let credential = &task.key.credential;
        let encoded = STANDARD.encode(format!("{}:{}", credential.id, credential.secret));
        let mut command = node.command(&self.program);
        command
            .arg(&self.script)
            .env("GATEWAY", task.gateway)
            .env("NAME", self.name)
            .env("COUNT", task.events.to_string())
            .env("PACE", task.pace.as_secs_f64().to_string())
            .env("PATIENCE", task.patience.as_secs_f64().to_string())
            .env("TOKEN", credential.to_token())
            .env("ENCODED", encoded)
            .env("PYTHONDONTWRITEBYTECODE", "1");
        if let Some(packages) = &self.packages {
            command.env("PACKAGES", packages);
        }
        command
    }
}
