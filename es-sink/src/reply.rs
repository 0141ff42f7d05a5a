//! What comes back to the consumer thread from elsewhere.
//!
//! In the flow: `bulk`, `dead_letter_topic`, `committer`, `topic_id` → **`reply`** → `engine`.

use std::time::Instant;

use bytes::Bytes;
use es_sink_core::sink::BulkId;

use kafka_source::topic_id::Told;

/// What comes back to the consumer thread from elsewhere.
#[derive(Debug)]
pub enum Reply {
    /// A bulk request's reply, or why there is none.
    Bulk {
        /// Which one.
        bulk: BulkId,
        /// Status and body.
        reply: Result<(u16, Bytes), String>,
    },
    /// The coordinator's word on a commit.
    Commit {
        /// Which one.
        number: u64,
        /// Why not.
        result: Result<(), String>,
    },
    /// The transaction is committed, or why not.
    Transaction(Result<(), String>),
    /// The brokers' word on the topics that are assigned.
    Topics {
        /// When the brokers were asked.
        asked_at: Instant,
        /// What they said.
        told: Told,
    },
}
