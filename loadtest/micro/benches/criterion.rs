//! Takes the time of each workload: `cargo bench -p micro`, or `cargo bench -p micro -- sink` for some of them.
//!
//! In the flow: **this** → `micro`. For people, who know what else their machine does; no test reads it.

use criterion::{Criterion, Throughput};
use micro::WORKLOADS;

#[global_allocator]
static ALLOCATOR: service::allocator::Allocator = service::allocator::Allocator;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    for workload in WORKLOADS {
        let (package, what) = workload.name.split_once('/').unwrap_or(("", workload.name));
        let mut group = criterion.benchmark_group(package);
        group.throughput(Throughput::Elements(workload.elements));
        let mut run = None;
        group.bench_function(what, |bencher| {
            let run = run.get_or_insert_with(|| workload.prepare());
            bencher.iter(run);
        });
        group.finish();
    }
    criterion.final_summary();
}
