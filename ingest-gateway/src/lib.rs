//! HTTP to Kafka: takes log events and acknowledges what the brokers hold.
//!
//! In the order in which one request meets the files:
//!
//! 1. [`config`]: what the operator set, checked as a whole.
//! 2. [`server`]: connections in, and the drain at the end.
//! 3. [`gateway`]: what requests share; [`routes`]: the router and its layers; [`intake`]: the walk of one request.
//! 4. [`client`]: who sent it. [`headers`]: what it says about its body.
//!    [`dialect`]: how it speaks.
//! 5. [`admission`]: rate limits per client, and the budget of bytes in flight; [`quotas`]: rates per key;
//!    `pacing`: holds back what is beyond them by little.
//! 6. [`body`]: reads and inflates, within limits.
//! 7. [`decode`]: bytes become events, each bad one refused alone.
//! 8. [`reachability`]: whether Kafka takes records now, asked by [`probe`].
//! 9. [`produce`]: records out, delivery reports in, set up by [`kafka_settings`]; [`grouping`] says when,
//!    [`delivery`] what each report means.
//! 10. [`reply`]: what happened becomes a status and a body; [`error`] lists the codes.
//!     [`rate_limit_headers`]: what the client may still send.
//! 11. [`metrics`]: what operators see; `traces`: what they see of a single request.
//!
//! Beside the flow, [`keys_command`] makes API keys, and [`doctor`] examines beforehand whether Kafka is as it must be.
//!
//! Upholds GW-1, GW-2 and GW-3 (docs/guarantees.md).

pub mod config;
pub mod keys_command;
pub mod doctor;
pub mod server;
pub mod gateway;
pub mod routes;
pub mod intake;
pub mod client;
pub mod headers;
pub mod dialect;
pub mod admission;
pub mod quotas;
mod pacing;
pub mod body;
pub mod decode;
pub mod reachability;
pub mod probe;
pub mod kafka_settings;
pub mod grouping;
pub mod delivery;
pub mod produce;
pub mod reply;
pub mod rate_limit_headers;
pub mod error;
pub mod metrics;
mod traces;
