//! Where the memory of every service comes from, that of librdkafka and OpenSSL included.
//!
//! Beside the flow. A record is allocated by a thread of librdkafka and freed by one of ours; glibc makes the two wait
//! for each other, and keeps what they free in arenas, up to eight for each core (docs/decisions/0011-mimalloc.md).

/// Each program declares it as its `#[global_allocator]`; C libraries then use it, too.
pub use mimalloc::MiMalloc as Allocator;
