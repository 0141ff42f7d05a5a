//! Runs Kafka's own command line tools: what an operator changes in a running cluster.
//!
//! In the flow: `provision`, `kafka` → **`kafka_tools`** → `up::security`, `nemesis`. Each call starts a JVM and takes seconds.
//! Not here: whether a broker works (`metadata`).

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, ensure};

use super::provision::Distribution;
use crate::command;
use crate::interrupt::Interrupt;

/// The tools, told which cluster they speak to.
#[derive(Debug, Clone)]
pub struct KafkaTools {
    /// Where Kafka's jars lie.
    pub distribution: Distribution,
    /// `host:port` of brokers, with commas between them.
    pub brokers: String,
    /// Where the tools may write their logs.
    pub logs: PathBuf,
    /// Properties with which they sign in, if that is needed.
    pub properties: Option<PathBuf>,
}

/// What a principal may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The principal, without `User:`.
    pub principal: String,
    /// `topic`, `group` or `transactional-id`.
    pub kind: &'static str,
    /// The resource's name, or the beginning of its names.
    pub name: String,
    /// Whether all are meant that begin so.
    pub prefixed: bool,
    /// As Kafka calls them.
    pub operations: &'static [&'static str],
}

impl KafkaTools {
    /// Sets a property of a topic, or gives it back to the cluster's default.
    ///
    /// # Errors
    /// When the tool fails; the error shows its last lines.
    pub fn configure_topic(
        &self,
        topic: &str,
        key: &str,
        value: Option<&str>,
        interrupt: &Interrupt,
    ) -> Result<()> {
        let change = match value {
            Some(value) => ["--add-config".to_owned(), format!("{key}={value}")],
            None => ["--delete-config".to_owned(), key.to_owned()],
        };
        let mut tool = self.tool("kafka.admin.ConfigCommand");
        tool.args(["--alter", "--entity-type", "topics", "--entity-name", topic])
            .args(change);
        command::run(tool, interrupt, |_| {})
    }

    /// Sets the committed offsets of a group without members to the earliest of `topic`.
    ///
    /// # Errors
    /// When the group still has members, or the tool fails otherwise.
    pub fn reset_to_earliest(&self, group: &str, topic: &str, interrupt: &Interrupt) -> Result<()> {
        let mut tool = self.tool("org.apache.kafka.tools.consumer.group.ConsumerGroupCommand");
        tool.args(["--group", group, "--topic", topic]).args([
            "--reset-offsets",
            "--to-earliest",
            "--execute",
        ]);
        let mut lines = Vec::new();
        command::run(tool, interrupt, |line| lines.push(line.to_owned()))?;
        // The tool tells of a refusal and ends with 0 all the same.
        let reset = lines.iter().any(|line| {
            let mut words = line.split_whitespace();
            words.next() == Some(group) && words.next() == Some(topic)
        });
        ensure!(reset, "the offsets stay: {}", lines.join(" | "));
        Ok(())
    }

    /// Creates a topic as the brokers' defaults have it, unless it exists.
    ///
    /// # Errors
    /// When the tool fails.
    pub fn create_topic(&self, topic: &str, interrupt: &Interrupt) -> Result<()> {
        let mut tool = self.tool("org.apache.kafka.tools.TopicCommand");
        tool.args(["--create", "--if-not-exists", "--topic", topic]);
        command::run(tool, interrupt, |_| {})
    }

    /// How many partitions have a replica that is not in sync.
    ///
    /// # Errors
    /// When the tool fails.
    pub fn partitions_behind(&self, interrupt: &Interrupt) -> Result<usize> {
        let mut tool = self.tool("org.apache.kafka.tools.TopicCommand");
        tool.args(["--describe", "--under-replicated-partitions"]);
        let mut behind = 0;
        command::run(tool, interrupt, |line| {
            behind += usize::from(line.contains("Partition:"));
        })?;
        Ok(behind)
    }

    /// Lets a principal do what the grant says.
    ///
    /// # Errors
    /// When the tool fails.
    pub fn grant(&self, grant: &Grant, interrupt: &Interrupt) -> Result<()> {
        command::run(self.acl("--add", grant), interrupt, |_| {})
    }

    /// Lets it do so no more.
    ///
    /// # Errors
    /// When the tool fails.
    pub fn revoke(&self, grant: &Grant, interrupt: &Interrupt) -> Result<()> {
        let mut tool = self.acl("--remove", grant);
        tool.arg("--force");
        command::run(tool, interrupt, |_| {})
    }

    /// Gives a user a new password for SCRAM-SHA-512; connections that are open stay.
    ///
    /// # Errors
    /// When the tool fails.
    pub fn set_password(&self, user: &str, password: &str, interrupt: &Interrupt) -> Result<()> {
        let mut tool = self.tool("kafka.admin.ConfigCommand");
        tool.args(["--alter", "--entity-type", "users", "--entity-name", user])
            .args([
                "--add-config",
                &format!("SCRAM-SHA-512=[password={password}]"),
            ]);
        command::run(tool, interrupt, |_| {})
    }

    /// Forgets a user's password for SCRAM-SHA-512: nobody signs in as that user any more.
    ///
    /// # Errors
    /// When the tool fails.
    pub fn remove_user(&self, user: &str, interrupt: &Interrupt) -> Result<()> {
        let mut tool = self.tool("kafka.admin.ConfigCommand");
        tool.args(["--alter", "--entity-type", "users", "--entity-name", user])
            .args(["--delete-config", "SCRAM-SHA-512"]);
        command::run(tool, interrupt, |_| {})
    }

    fn acl(&self, change: &str, grant: &Grant) -> Command {
        let mut tool = self.tool("org.apache.kafka.tools.AclCommand");
        tool.args([
            change,
            "--allow-principal",
            &format!("User:{}", grant.principal),
        ])
        .args([&format!("--{}", grant.kind), &grant.name]);
        if grant.prefixed {
            tool.args(["--resource-pattern-type", "prefixed"]);
        }
        for operation in grant.operations {
            tool.args(["--operation", operation]);
        }
        tool
    }

    fn tool(&self, class: &str) -> Command {
        let log4j = self.distribution.templates.join("kafka/log4j2.xml");
        let mut tool = Command::new(self.distribution.java.join("bin/java"));
        tool.args(["-Xmx256m", "-XX:TieredStopAtLevel=1"])
            .arg(format!("-Dlogflow.logs={}", self.logs.display()))
            .arg(format!("-Dlog4j2.configurationFile={}", log4j.display()))
            .arg("-cp")
            .arg(format!("{}/*", self.distribution.kafka_libs.display()))
            .args([class, "--bootstrap-server", &self.brokers]);
        if let Some(properties) = &self.properties {
            tool.arg("--command-config").arg(properties);
        }
        tool
    }
}
