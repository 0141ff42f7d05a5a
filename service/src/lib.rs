//! The frame around each logflow service, in the order in which a process
//! meets it:
//!
//! 1. [`settings`]: flags, environment and file become one checked configuration;
//!    [`command_line`]: the flags, and commands beside the plain start.
//! 2. [`units`]: sizes and durations as people write them.
//! 3. [`logging`]: one line per event worth a line, for people or for machines.
//! 4. [`kafka`] and [`elasticsearch`]: the two clients, set up in one way;
//!    [`login`]: who a service is to Elasticsearch; [`search_engine`]: Elasticsearch or OpenSearch; [`record_headers`]: what no binding reads safely.
//! 5. [`metrics`]: what is counted, under the service's name.
//! 6. [`traces`]: what it tells of single requests and bulks, where somebody collects that.
//! 7. [`server`]: connections in; [`tls`]: over TLS, where there are certificates.
//! 8. [`access`]: API keys, and what each may do. These and the certificates are [`reloaded`] when they change.
//! 9. [`operations`]: `/healthz`, `/readyz`, `/metrics`, and a sink's `/status`; [`trouble`]: what is wrong, and since when.
//! 10. [`shutdown`]: SIGTERM drains.
//!
//! [`doctor`] examines beforehand whether all that these reach for is there. [`allocator`] is where the memory of all of it comes from.

pub mod settings;
pub mod command_line;
pub mod units;
pub mod logging;
pub mod kafka;
pub mod login;
pub mod elasticsearch;
pub mod search_engine;
pub mod record_headers;
pub mod metrics;
pub mod traces;
pub mod server;
pub mod tls;
pub mod reloaded;
pub mod access;
pub mod operations;
pub mod trouble;
pub mod shutdown;
pub mod doctor;
pub mod allocator;
