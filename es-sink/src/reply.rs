//! What comes back to the consumer thread from elsewhere.
//!
//! In the flow: `bulk`, `dead_letter_topic`, `committer` → **`reply`** → `engine`.

use bytes::Bytes;
use es_sink_core::sink::{BulkId, DeadLetterId};

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
    /// A dead letter's delivery.
    DeadLetter {
        /// Which one.
        id: DeadLetterId,
        /// Why not.
        result: Result<(), String>,
    },
}
