//! Runs a Prometheus with the configuration, the rules and the alerts of `deploy/prometheus`, and asks it.
//!
//! In the flow: `services` → **`prometheus`** → `incidents`, the live tests. Its addresses are those of the services on
//! this machine, and it scrapes and evaluates every second; what else is changed stands in `shipped`.

pub mod shipped;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use self::shipped::Job;
use crate::http;
use crate::process::Spec;

/// Where the shipped files lie, from the root of the repository.
pub const SHIPPED: &str = "deploy/prometheus";
/// The file there with the alerts.
pub const ALERT_RULES: &str = "alerts.yml";
/// All files with rules; the others are the configuration and the tests.
pub const RULES: [&str; 2] = ["recording.yml", ALERT_RULES];

const QUERY_TIMEOUT: Duration = Duration::from_secs(10);

/// One Prometheus.
#[derive(Debug, Clone)]
pub struct Prometheus {
    /// Where it listens on loopback.
    pub port: u16,
    /// Its own directory: configuration and data.
    pub directory: PathBuf,
    /// What it scrapes.
    pub jobs: Vec<Job>,
    /// What the durations in the rules are divided by; 1 leaves the rules as they are shipped.
    pub haste: u32,
}

/// An alert that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alert {
    /// Its name.
    pub name: String,
    /// Whether it fires; else it waits for the end of its `for`.
    pub fires: bool,
    /// What it says.
    pub summary: String,
}

impl Prometheus {
    /// Writes its configuration and gives the process to run.
    ///
    /// # Errors
    /// When a file cannot be read or written, or the shipped configuration lacks a job.
    pub fn prepare(&self, root: &Path) -> Result<Spec> {
        fs::create_dir_all(&self.directory)
            .with_context(|| format!("cannot create `{}`", self.directory.display()))?;
        let change = |name: &str, change: &dyn Fn(&str) -> Result<String>| -> Result<PathBuf> {
            let (from, to) = (root.join(SHIPPED).join(name), self.directory.join(name));
            let text = fs::read_to_string(&from)
                .with_context(|| format!("cannot read `{}`", from.display()))?;
            let text = change(&text).with_context(|| format!("cannot use `{}`", from.display()))?;
            fs::write(&to, text).with_context(|| format!("cannot write `{}`", to.display()))?;
            Ok(to)
        };
        let configuration = change("prometheus.yml", &|text| {
            shipped::configuration(text, &self.jobs)
        })?;
        for name in RULES {
            change(name, &|text| Ok(shipped::hastened(text, self.haste)))?;
        }
        let flags = [
            format!("--config.file={}", configuration.display()),
            format!(
                "--storage.tsdb.path={}",
                self.directory.join("data").display()
            ),
            format!("--web.listen-address=127.0.0.1:{}", self.port),
        ];
        let ready = format!("{}/-/ready", self.url());
        Ok(Spec {
            name: "prometheus".to_owned(),
            program: PathBuf::from("prometheus"),
            args: flags.into_iter().map(Into::into).collect(),
            environment: Vec::new(),
            privileges: Vec::new(),
            log: self.directory.join("prometheus.log"),
            own_logs: Vec::new(),
            ready: Arc::new(move || match http::get(&ready, QUERY_TIMEOUT) {
                Ok(reply) if reply.status == 200 => Ok(()),
                Ok(reply) => Err(reply.text()),
                Err(error) => Err(format!("{error:#}")),
            }),
            ready_within: Duration::from_secs(60),
            stop_within: Duration::from_secs(30),
        })
    }

    /// Where it answers.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The samples that an expression gives now.
    ///
    /// # Errors
    /// When it does not answer, or does not understand the expression.
    pub fn query(&self, expression: &str) -> Result<Vec<Value>> {
        let query = format!("query={}", encoded(expression));
        let result = self.ask("query", &query)?["result"].take();
        match result {
            Value::Array(samples) => Ok(samples),
            other => anyhow::bail!("`{expression}` gives {other}"),
        }
    }

    /// The alerts that are due, whether they fire or not.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn alerts(&self) -> Result<Vec<Alert>> {
        let answer = self.ask("alerts", "")?;
        let alerts = answer["alerts"].as_array().context("no alerts")?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let alert = |alert: &Value| Alert {
            name: text(&alert["labels"]["alertname"]),
            fires: alert["state"] == "firing",
            summary: text(&alert["annotations"]["summary"]),
        };
        Ok(alerts.iter().map(alert).collect())
    }

    /// What an endpoint of its API answers.
    ///
    /// # Errors
    /// When it does not answer, or answers with an error.
    pub fn ask(&self, endpoint: &str, query: &str) -> Result<Value> {
        let url = format!("{}/api/v1/{endpoint}?{query}", self.url());
        let mut answer = http::get(&url, QUERY_TIMEOUT)?.json()?;
        ensure!(answer["status"] == "success", "{url}: {}", answer["error"]);
        Ok(answer["data"].take())
    }
}

/// As a query string needs it.
fn encoded(text: &str) -> String {
    let encode = |byte: u8| match byte.is_ascii_alphanumeric() {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}
