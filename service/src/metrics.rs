//! The metrics of one service: one prefix, one registry, no name twice.
//!
//! What is registered here is what `operations` serves under `/metrics`.

use std::sync::Arc;

use prometheus::core::{Collector, Desc};
use prometheus::process_collector::ProcessCollector;
use prometheus::proto::MetricFamily;
use prometheus::{
    GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, PullingGauge, Registry,
};

/// Makes and registers metrics whose names begin with the service's; beside them stand those of every process
/// (`process_start_time_seconds`, `process_resident_memory_bytes` and their like).
///
/// Every method panics if the name is taken or is no metric name: both are
/// fixed in the code, so the first start of a test shows it.
#[derive(Clone, Debug)]
pub struct Namespace {
    prefix: &'static str,
    registry: Registry,
}

impl Namespace {
    /// `prefix` is the service in snake case.
    #[must_use]
    pub fn new(prefix: &'static str) -> Self {
        let namespace = Self {
            prefix,
            registry: Registry::new(),
        };
        let process = Box::new(ProcessCollector::for_self());
        let registered = namespace.registry.register(process);
        registered.expect("nothing else is registered yet");
        namespace
    }

    /// For `/metrics`.
    #[must_use]
    pub fn registry(&self) -> Registry {
        self.registry.clone()
    }

    /// A count that only grows.
    #[must_use]
    pub fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.register(IntCounter::new(self.full(name), help))
    }

    /// Counts by labels, whose values must come from bounded sets.
    #[must_use]
    pub fn counter_by(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.register(IntCounterVec::new(Opts::new(self.full(name), help), labels))
    }

    /// A value that goes up and down.
    #[must_use]
    pub fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.register(IntGauge::new(self.full(name), help))
    }

    /// Values by labels, whose values must come from bounded sets.
    #[must_use]
    pub fn gauge_by(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        self.register(IntGaugeVec::new(Opts::new(self.full(name), help), labels))
    }

    /// A distribution, in seconds or bytes as its name says.
    #[must_use]
    pub fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> Histogram {
        let options = HistogramOpts::new(self.full(name), help).buckets(buckets.to_vec());
        self.register(Histogram::with_opts(options))
    }

    /// Distributions by labels, whose values must come from bounded sets.
    #[must_use]
    pub fn histogram_by(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
        buckets: &[f64],
    ) -> HistogramVec {
        let options = HistogramOpts::new(self.full(name), help).buckets(buckets.to_vec());
        self.register(HistogramVec::new(options, labels))
    }

    /// A gauge whose value is asked for when it is read.
    pub fn watch(&self, name: &str, help: &str, value: impl Fn() -> f64 + Send + Sync + 'static) {
        self.register(PullingGauge::new(self.full(name), help, Box::new(value)));
    }

    /// Gauges by one label, whose values are asked for when they are read and must come from a bounded set. Nothing is
    /// there while there are none.
    pub fn watch_by(
        &self,
        name: &str,
        help: &str,
        label: &'static str,
        values: impl Fn() -> Vec<(String, f64)> + Send + Sync + 'static,
    ) {
        let options = Opts::new(self.full(name), help);
        let described = GaugeVec::new(options.clone(), &[label]);
        self.register(described.map(|described| Watched {
            options,
            label,
            described,
            values: Arc::new(values),
        }));
    }

    fn full(&self, name: &str) -> String {
        format!("{}_{name}", self.prefix)
    }

    fn register<M: Collector + Clone + 'static>(&self, metric: prometheus::Result<M>) -> M {
        let metric = metric.expect("the names and labels of metrics are fixed and valid");
        self.registry
            .register(Box::new(metric.clone()))
            .expect("each metric has a name of its own");
        metric
    }
}

/// Gauges that are made anew whenever they are read.
#[derive(Clone)]
struct Watched {
    options: Opts,
    label: &'static str,
    /// Bears the description alone: the registry borrows it.
    described: GaugeVec,
    values: Arc<dyn Fn() -> Vec<(String, f64)> + Send + Sync>,
}

impl Collector for Watched {
    fn desc(&self) -> Vec<&Desc> {
        self.described.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        // Two readers at once must not find each other's half.
        let gauges = GaugeVec::new(self.options.clone(), &[self.label])
            .expect("the same name and label were registered");
        for (value, gauge) in (self.values)() {
            gauges.with_label_values(&[&value]).set(gauge);
        }
        gauges.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_begins_with_the_service() {
        let namespace = Namespace::new("test_service");
        namespace.counter("things_total", "Things.").inc();
        namespace.watch("level", "A level.", || 3.0);
        let families = namespace.registry().gather();
        let names = families.iter().map(|family| family.name());
        let own: Vec<&str> = names
            .clone()
            .filter(|name| !name.starts_with("process_"))
            .collect();
        assert_eq!(own, ["test_service_level", "test_service_things_total"]);
        assert!(
            names
                .into_iter()
                .any(|name| name == "process_start_time_seconds")
        );
    }
}
