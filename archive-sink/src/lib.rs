//! Kafka to PostgreSQL: archives each record exactly once, beside Elasticsearch.
//!
//! The walk of one record through this crate:
//!
//! 1. [`config`]: what the operator wants; [`target`]: where PostgreSQL is, and who we are to it.
//! 2. [`consumer`]: the one thread that reads Kafka, as `kafka-source` joins it to the group.
//! 3. [`holdings`]: which partitions are ours, and how far each is on its way to be read.
//! 4. [`row`] and [`batch`]: a record becomes a row, rows become what one transaction writes.
//! 5. [`engine`]: drives 3 and 4 on that thread.
//! 6. [`writer`]: claims partitions, and writes events and offsets in one transaction; [`fence`] judges whether it may.
//! 7. [`schema`]: the tables, and one for each day.
//! 8. [`status`] and [`metrics`]: what people and alerts see of all this.
//!
//! The offsets in PostgreSQL decide where reading begins. Kafka's group only shares the partitions out, and holds none.

pub mod config;
pub mod target;
pub mod consumer;
pub mod holdings;
pub mod row;
mod binary;
pub mod batch;
pub mod engine;
pub mod writer;
pub mod fence;
pub mod schema;
pub mod status;
pub mod metrics;
