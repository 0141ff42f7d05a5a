//! The headers by which a record in the dead-letter topic is told from others (docs/formats.md).
//!
//! In the flow: `document` → **`dead_letter`**. Written by es-sink, read by it and by query-api.

/// What the headers with a dead letter's reason begin with, as Kafka Connect writes them.
pub const REASON_PREFIX: &str = "__connect.errors.";
/// The header of a mark: `PARTITION:OFFSET` of the letter that was redriven.
pub const REDRIVEN: &str = "logflow.redriven";
