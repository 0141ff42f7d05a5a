//! The pure machine inside the sink: what to index, what to retry, what to
//! dead-letter, what to commit. No network, no files, no threads, no clock, no
//! randomness: time and a seed are arguments, so that any run can be replayed.
//!
//! In the order in which one record meets them:
//!
//! 1. [`sink`]: the whole machine's face: inputs in, commands out.
//! 2. [`assignment`]: which partitions are ours, and since when.
//! 3. [`offset_tracker`]: which records are in flight, which offset is safe to commit.
//! 4. `index_names`: the index that a record goes to.
//! 5. [`bulk_request`]: records become the lines of a `_bulk` body.
//! 6. [`batcher`]: when a bulk request is full or old enough to go.
//! 7. [`bulk_response`]: what Elasticsearch's reply means for each item.
//! 8. [`cause`]: why an item waits; [`retry`]: how long to wait before the next try.
//! 9. [`dead_letter`]: the record that keeps what can never be indexed.
//! 10. [`report`]: what the machine tells people: counters and status; [`mark`]: what it tells of single records.

pub mod sink;
pub mod assignment;
pub mod offset_tracker;
mod index_names;
pub mod bulk_request;
pub mod batcher;
pub mod bulk_response;
pub mod cause;
pub mod retry;
pub mod dead_letter;
pub mod report;
pub mod mark;
#[cfg(logflow_mutants)]
mod mutant;
