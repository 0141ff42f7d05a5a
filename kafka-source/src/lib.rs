//! The way out of Kafka that es-sink and archive-sink share, in the order in which a record takes it:
//!
//! 1. [`subscription`]: the member of a consumer group, set up so that its guarantees hold.
//! 2. [`callbacks`]: what librdkafka has to say while it is polled, for who keeps the records.
//! 3. [`topic_id`], [`positions`] and [`starting_point`]: which topic an offset counts in, and where reading begins.
//! 4. [`questions`]: what no poll tells; [`log_ends`]: how far the logs reach while nothing is read.
//! 5. [`privileges`]: what the brokers refuse meanwhile.
//! 6. [`view`]: all of this as the sinks' status shows it.
//!
//! One thread polls, and everything here but the questions to the brokers runs on it. What becomes of the records is
//! the sinks' own.

pub mod subscription;
pub mod callbacks;
pub mod topic_id;
pub mod positions;
pub mod starting_point;
pub mod log_ends;
pub mod questions;
pub mod privileges;
pub mod view;
