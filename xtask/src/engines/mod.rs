//! Real Kafka and real Elasticsearch on one machine, without Docker.
//!
//! In the flow: `prerequisites` → `provision` (fetch) → `template` (their files) → `kafka`, `elasticsearch`, `opensearch` (run) →
//! `services`. Any number of instances can run side by side: each has its own directory, ports and heap.
//! Not here: stopping and restarting, which is the same for every process (`process`).

pub mod provision;
pub mod template;
pub mod metadata;
pub mod kafka;
pub mod kafka_tools;
pub mod elasticsearch;
pub mod opensearch;

use std::net::TcpListener;

use anyhow::{Context, Result};

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
