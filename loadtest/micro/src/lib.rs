//! Workloads of the pure core: what one event costs before any socket, broker or disk.
//!
//! In the order in which one log event meets them: [`events`] makes it, [`intake`] reads and decodes it, [`sink`] indexes
//! it and settles it, [`search`] looks for it. Each workload is measured in two ways, and is the same in both:
//! `benches/criterion.rs` takes its time, for people; `bin/instructions.rs` runs it so often as told, and
//! `cargo xtask instructions` counts what that takes, because a count stays the same on a machine that is busy.
//!
//! Not here: threads, Kafka, Elasticsearch (`loadtest bench`).

pub mod events;
pub mod intake;
pub mod sink;
pub mod search;

/// One thing that is measured.
#[derive(Clone, Copy, Debug)]
pub struct Workload {
    /// The package whose code it runs, then what it is.
    pub name: &'static str,
    /// How many events, records or items one run is about.
    pub elements: u64,
    make: fn() -> Run,
}

/// Runs a workload once. What it needs is made before, and stays the same however often it runs.
pub type Run = Box<dyn FnMut()>;

impl Workload {
    const fn new(name: &'static str, elements: u64, make: fn() -> Run) -> Self {
        Self {
            name,
            elements,
            make,
        }
    }

    /// Makes what the workload needs, and runs it once, so that what is only
    /// allocated the first time is there.
    #[must_use]
    pub fn prepare(&self) -> Run {
        let mut run = (self.make)();
        run();
        run
    }
}

/// All of them.
pub const WORKLOADS: &[Workload] = &[
    Workload::new("log-event/event_250", 100, intake::event_250),
    Workload::new("log-event/event_10k", 10, intake::event_10k),
    Workload::new("ingest-gateway/json", 1_000, intake::json),
    Workload::new("ingest-gateway/otlp", 100, intake::otlp),
    Workload::new("ingest-gateway/loki", 100, intake::loki),
    Workload::new("es-sink-core/offset_tracker", 10_000, sink::offset_tracker),
    Workload::new("es-sink-core/bulk_request", 2_000, sink::bulk_request),
    Workload::new("es-sink-core/reply_created", 2_000, sink::reply_created),
    Workload::new("es-sink-core/reply_refused", 2_000, sink::reply_refused),
    Workload::new("es-sink-core/sink", 2_000, sink::sink),
    Workload::new("query-api/query", 1, search::query),
    Workload::new("query-api/tail", 100, search::tail),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_workload_can_run_again_and_again() {
        for workload in WORKLOADS {
            let mut run = workload.prepare();
            run();
            run();
        }
    }

    #[test]
    fn each_workload_has_a_baseline_and_the_other_way_round() {
        let baseline: serde_json::Value =
            serde_json::from_str(include_str!("../instructions.json")).unwrap();
        let counts = baseline["instructions"].as_object().unwrap();
        let known: BTreeSet<&str> = counts.keys().map(String::as_str).collect();
        let names: BTreeSet<&str> = WORKLOADS.iter().map(|workload| workload.name).collect();
        assert_eq!(names.len(), WORKLOADS.len());
        assert_eq!(names, known);
    }
}
