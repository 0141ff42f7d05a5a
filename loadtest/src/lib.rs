//! Loads logflow and proves that each event it was given is there exactly once.
//!
//! In the order in which one generated event meets the files:
//!
//! 1. [`marker`]: the `loadtest` field that tells every event apart, whatever its id.
//! 2. [`workload`]: seed and number in, the bytes of one log event out.
//! 3. [`pace`] and [`ledger`]: how fast events are sent, and what became of each event, as far as its sender knows.
//! 4. [`histogram`] and [`report`]: how long requests took, and the summary.
//! 5. [`http_reply`] and [`http_client`]: one keep-alive connection, as cheap as a client can be.
//! 6. [`gateway_reply`]: what a reply of the gateway says about the events of its request.
//! 7. [`generate_http`]: `generate --target`, through the gateway.
//! 8. [`generate_kafka`]: `generate --kafka`, as another producer.
//! 9. [`verify`]: ledger and sightings in, missing, duplicated and unexpected events out.
//! 10. [`elasticsearch_reader`], [`dead_letter_reader`], [`postgres_reader`] and [`verification`]: where sightings come from.
//! 11. [`bulk_frames`] and [`null_elasticsearch`]: the fastest Elasticsearch there is, for measuring what feeds it.
//! 12. [`fault`], [`passage`], [`fault_proxy`] and [`fault_control`]: what goes wrong between two parts, on demand.
//! 13. [`process_usage`], [`bench_http`], [`bench_gateway`], [`bench_read`], [`bench_acks`], [`bench_bulk`] and [`bench_sink`]: the
//!     benchmarks and their ceilings. `cargo xtask bench` runs them beside each other.
//!
//! Tests call the same functions as the binary:
//!
//! ```no_run
//! use indicatif::ProgressBar;
//! use loadtest::generate_http::{self, HttpSettings, Watch};
//! use loadtest::http_client::Target;
//! use loadtest::verification::{self, VerificationSettings};
//! use loadtest::workload::{Workload, WorkloadSettings};
//! use log_event::timestamp::Timestamp;
//!
//! # async fn example() -> anyhow::Result<()> {
//! let ledger = std::path::Path::new("run.ledger");
//! let start = Timestamp::parse("2023-09-15T08:00:00Z")?;
//! let workload = Workload::new(WorkloadSettings::new(1, "r1".parse()?, start));
//! let target = Target::parse("http://127.0.0.1:3000", "/logs")?;
//! let mut settings = HttpSettings::new(target, workload, 200_000);
//! settings.idempotency_keys = true;
//! let report = generate_http::run(settings, ledger, Watch::unseen()).await?;
//! assert_eq!(report.events.acknowledged, 200_000);
//!
//! let settings = VerificationSettings {
//!     ledger: ledger.to_owned(),
//!     elasticsearch: vec!["http://127.0.0.1:9200".parse()?],
//!     index: "logflow-*".to_owned(),
//!     archive: None,
//!     dead_letters: None,
//!     offset_resets: 0,
//!     wait: std::time::Duration::from_secs(30),
//! };
//! let found = verification::run(&settings, &ProgressBar::hidden()).await?;
//! assert!(found.holds(), "{found}");
//! # Ok(())
//! # }
//! ```

pub mod marker;
pub mod workload;
pub mod pace;
pub mod ledger;
pub mod histogram;
pub mod report;
pub mod http_reply;
pub mod http_client;
pub mod gateway_reply;
pub mod generate_http;
pub mod generate_kafka;
pub mod verify;
pub mod elasticsearch_reader;
pub mod dead_letter_reader;
pub mod postgres_reader;
pub mod verification;
pub mod bulk_frames;
pub mod null_elasticsearch;
pub mod fault;
pub mod passage;
pub mod fault_proxy;
pub mod fault_control;
pub mod process_usage;
pub mod bench_http;
pub mod bench_gateway;
pub mod bench_read;
pub mod bench_acks;
pub mod bench_bulk;
pub mod bench_sink;
