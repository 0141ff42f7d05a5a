//! Kafka to Elasticsearch: indexes each record exactly once.
//!
//! The walk of one record through this crate:
//!
//! 1. [`config`]: what the operator wants.
//! 2. [`template`]: how Elasticsearch is to keep what we send, before anything is sent.
//! 3. [`consumer`]: the one thread that reads Kafka; what it shares with archive-sink, `kafka-source` has.
//! 4. [`engine`]: gives each record to the pure machine in `es-sink-core` and
//!    does what that commands.
//! 5. [`reply`]: what comes back to it from those that follow.
//! 6. [`bulk`]: carries a bulk request to Elasticsearch and its reply back.
//! 7. `dead_letter_topic`: keeps what can never be indexed.
//! 8. [`committer`]: tells Kafka how far all of this has come.
//! 9. [`status`] and [`metrics`]: what people and alerts see of all this; [`traces`]: what they see of single events.
//!
//! Beside the walk: [`dead_letters`] shows what step 7 kept, and sends it back to where step 3 reads;
//! [`retention`] deletes what step 6 wrote when it is old enough; [`topics`] makes the topics as they should be;
//! [`replay`] sends a span of the topics through step 6 once more;
//! [`doctor`] examines beforehand whether all that the steps reach for is there.

pub mod config;
pub mod template;
pub mod consumer;
pub mod engine;
pub mod reply;
pub mod bulk;
mod dead_letter_topic;
pub mod committer;
pub mod status;
pub mod metrics;
pub mod traces;
pub mod dead_letters;
pub mod retention;
pub mod topics;
pub mod replay;
pub mod doctor;
