//! Decides what dies in which order: of each kind one process is killed and one restarted.
//!
//! In the flow: **`plan`** → `failover`. Pure: the same seed, the same plan.

use std::fmt;

use crate::dice::Dice;
use crate::up::layout::Layout;

/// What becomes of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum How {
    /// SIGKILL, as the kernel does when memory is short; it is started again at once.
    Killed,
    /// SIGTERM, as in a rolling upgrade; it is started again when it has ended.
    Restarted,
}

/// One fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The kind of process, as the report calls it.
    pub kind: &'static str,
    /// The process, as the layout calls it.
    pub process: String,
    /// What becomes of it.
    pub how: How,
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Killed => "killed",
            Self::Restarted => "restarted",
        })
    }
}

/// Of each kind of process of the layout one killed and one restarted, `rounds` times, each round in an order of its own.
#[must_use]
pub fn plan(seed: u64, rounds: u8, layout: &Layout) -> Vec<Fault> {
    let mut kinds: Vec<(&'static str, Vec<String>)> = vec![
        ("Kafka broker", names(&layout.brokers, |one| &one.name)),
        ("Elasticsearch node", names(&layout.nodes, |one| &one.name)),
    ];
    for service in crate::services::SERVICES {
        let replicas = layout.services.iter().filter(|one| one.service == service);
        kinds.push((service, replicas.map(|one| one.name.clone()).collect()));
    }
    if layout.proxy.is_some() {
        kinds.push(("HAProxy", vec!["haproxy".to_owned()]));
    }
    let mut dice = Dice::new(seed);
    let mut faults = Vec::new();
    for _ in 0..rounds {
        let mut round: Vec<Fault> = Vec::new();
        for (kind, processes) in &kinds {
            for how in [How::Killed, How::Restarted] {
                round.push(Fault {
                    kind,
                    process: processes[dice.below(processes.len())].clone(),
                    how,
                });
            }
        }
        dice.shuffle(&mut round);
        faults.extend(round);
    }
    faults
}

fn names<T>(all: &[T], name: impl Fn(&T) -> &String) -> Vec<String> {
    all.iter().map(|one| name(one).clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::up::layout::{Heaps, Ports};
    use std::collections::HashMap;
    use std::path::Path;

    #[test]
    fn each_kind_is_killed_and_restarted_once_a_round_and_the_seed_decides_the_order() {
        let mut port = 20_000;
        let ports = Ports::cluster_from(|| {
            port += 1;
            Ok(port)
        });
        let heaps = Heaps {
            kafka: 1,
            elasticsearch: 1,
        };
        let layout = Layout::new(ports.unwrap(), heaps, Path::new("/s"));
        let plan_of = |seed| plan(seed, 2, &layout);
        let mut counts = HashMap::new();
        for fault in plan_of(1) {
            *counts.entry((fault.kind, fault.how)).or_insert(0) += 1;
        }
        assert_eq!(counts.len(), 12);
        assert!(counts.values().all(|n| *n == 2), "{counts:?}");
        assert_eq!(plan_of(1), plan_of(1));
        assert_ne!(plan_of(1), plan_of(2));
    }
}
