//! Real Kafka and real Elasticsearch on one machine, without Docker.
//!
//! In the flow: `prerequisites` → `provision` (fetch) → `template` (their files) → `kafka`, `elasticsearch`, `opensearch`, `postgres` (run) →
//! `services`. Any number of instances can run side by side: each has its own directory, ports and heap.
//! Not here: stopping and restarting, which is the same for every process (`process`).

pub mod provision;
pub mod template;
pub mod metadata;
pub mod kafka;
pub mod kafka_tools;
pub mod elasticsearch;
pub mod opensearch;
pub mod postgres;

use std::net::TcpListener;

use anyhow::{Context, Result, bail};

/// The ports of this machine's own outgoing connections begin above.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// A TCP port of loopback that nothing listens on at the moment.
///
/// # Errors
/// When there is none.
pub fn free_port() -> Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("no free port")?;
    Ok(listener
        .local_addr()
        .context("a listener without an address")?
        .port())
}

/// A TCP port of loopback that nothing listens on yet, and that no outgoing connection takes meanwhile.
///
/// # Errors
/// When there is none.
pub fn port_for_later() -> Result<u16> {
    FreePorts::new().next()
}

/// Ports that no outgoing connection takes while the process that listens on them is away.
pub(crate) struct FreePorts(std::ops::Range<u16>);

impl FreePorts {
    pub(crate) fn new() -> Self {
        // Two runs at once, of different worktrees, begin at different places.
        let start = u16::try_from(std::process::id() % 100).unwrap_or(0) * 100;
        Self(PORTS.start + start..PORTS.end)
    }

    pub(crate) fn next(&mut self) -> Result<u16> {
        for port in self.0.by_ref() {
            if TcpListener::bind(("127.0.0.1", port)).is_ok() {
                return Ok(port);
            }
        }
        bail!("no port below {} is free", PORTS.end)
    }
}
