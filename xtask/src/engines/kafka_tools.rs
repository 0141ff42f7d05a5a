//! Runs Kafka's own command line tools: what an operator changes in a running cluster.
//!
//! In the flow: `provision`, `kafka` → **`kafka_tools`** → `nemesis`. Each call starts a JVM and takes seconds.
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

    fn tool(&self, class: &str) -> Command {
        let log4j = self.distribution.templates.join("kafka/log4j2.xml");
        let mut tool = Command::new(self.distribution.java.join("bin/java"));
        tool.args(["-Xmx256m", "-XX:TieredStopAtLevel=1"])
            .arg(format!("-Dlogflow.logs={}", self.logs.display()))
            .arg(format!("-Dlog4j2.configurationFile={}", log4j.display()))
            .arg("-cp")
            .arg(format!("{}/*", self.distribution.kafka_libs.display()))
            .args([class, "--bootstrap-server", &self.brokers]);
        tool
    }
}
