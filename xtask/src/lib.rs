//! The one tool of the repository: starts the whole pipeline on one machine, and checks everything CI checks.
//!
//! In the order in which `cargo xtask up` meets them: where things are (`workspace`), what the machine lacks
//! (`prerequisites`), the engines (`engines`), one supervised child process (`process`), the three services
//! (`services`), the whole (`up`), the first logs through it (`ship_logs`), and the whole without Elasticsearch for a
//! while (`outage`, on a `pipeline` of its own). `nemesis` and `failover` break a cluster of it under a `load` whose
//! events are all looked for; `rescale` lets sinks come and go; `archive` kills archive-sink and its
//! PostgreSQL; `secured` replaces every secret of
//! one; `incidents` provokes each alert under the eyes of a
//! `prometheus`. `test`, `fuzz`, `instructions`, `packages`, `node`, `page`, `mutants` and `tidy` are `cargo xtask
//! test`; `page_speed` measures the page, `bench` the services beside their peers, `soak` their memory over time, and
//! `foreign` and `go` install what is written in other languages. `dashboards` writes Grafana's.
//! The live tests are built from the same parts.
//!
//! Not here: anything a deployed service needs. xtask is compiled first by every newcomer, so it depends on little.

pub mod workspace;
pub mod interrupt;
pub mod progress;
pub mod prerequisites;
pub mod http;
pub mod process;
pub mod command;
pub mod engines;
pub mod certificates;
pub mod services;
pub mod ship_logs;
pub mod up;
pub mod pipeline;
pub mod load;
mod clients;
mod dice;
pub mod outage;
pub mod prometheus;
pub mod incidents;
pub mod nemesis;
pub mod failover;
pub mod rescale;
pub mod archive;
pub mod secured;
pub mod test;
pub mod node;
pub mod page;
pub mod machine;
pub mod page_speed;
pub mod soak;
pub mod foreign;
pub mod go;
pub mod packages;
pub mod bench;
pub mod fuzz;
pub mod instructions;
pub mod mutants;
pub mod dashboards;
pub mod tidy;
