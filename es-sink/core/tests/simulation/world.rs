//! Virtual time: what happens next, until everything is at rest. One number is
//! a whole run, and the same number is the same run.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashSet};
use std::time::Duration;

use es_sink_core::batcher::BulkLimits;
use es_sink_core::retry::Backoff;
use es_sink_core::sink::SinkConfig;

use crate::commits::LAST_COMMIT_MAX;
use crate::dice::Dice;
use crate::elasticsearch::{BulkArrival, BulkSync, Elasticsearch};
use crate::faults::{Fault, Weather};
use crate::group::Group;
use crate::kafka::{CommitRequest, Kafka, TransactionRequest};
use crate::process::{Arrival, Process};
use crate::truth::{At, DAY_MS, Truth};

/// From the end of the faults to rest, at the longest.
const REST_WITHIN: Duration = Duration::from_secs(180);
const TICK: Duration = Duration::from_millis(100);

/// What is to happen at a certain time. What concerns a process concerns one
/// life of it, and nothing once that is over.
#[derive(Debug)]
pub(crate) enum Event {
    Start {
        process: usize,
    },
    Wake {
        process: usize,
        life: u32,
    },
    Turn {
        process: usize,
        life: u32,
    },
    Heartbeat {
        process: usize,
        life: u32,
    },
    Watch {
        process: usize,
        life: u32,
    },
    Arrival {
        process: usize,
        life: u32,
        arrival: Arrival,
    },
    CommitArrives(CommitRequest),
    TransactionArrives(TransactionRequest),
    EndTransactionArrives {
        process: usize,
        life: u32,
        transaction: u64,
    },
    BulkArrives(BulkArrival),
    BulkSynced(BulkSync),
    Produce,
    Fault,
    Heal,
    Tick,
}

#[derive(Debug)]
struct Scheduled {
    at: Duration,
    /// Of two at the same time, the one that was scheduled first.
    number: u64,
    event: Event,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) dice: Dice,
    pub(crate) now: Duration,
    pub(crate) heal_at: Duration,
    queue: BinaryHeap<Reverse<Scheduled>>,
    n_scheduled: u64,
    pub(crate) n_to_produce: usize,
    pub(crate) truth: Truth,
    pub(crate) kafka: Kafka,
    pub(crate) elasticsearch: Elasticsearch,
    pub(crate) processes: Vec<Process>,
    pub(crate) weather: Weather,
    /// The faults of this run, and how long from one to the next.
    pub(crate) faults: Vec<Fault>,
    pub(crate) fault_interval_ms: u64,
    /// An operator waits for all sinks to be gone, to set back the offsets of a topic.
    pub(crate) operator_waits_for: Option<usize>,
    pub(crate) heartbeat_interval: Duration,
    pub(crate) watch_interval: Duration,
    pub(crate) transaction_timeout: Duration,
    /// Events whose new field Elasticsearch has refused once.
    pub(crate) new_fields: HashSet<usize>,
    /// What this run went through: a simulation that meets no trouble proves nothing.
    pub(crate) seen: BTreeSet<&'static str>,
    pub(crate) n_events: u64,
    is_at_rest: bool,
    /// What happened, if somebody wants to read it.
    pub(crate) story: Option<Vec<String>>,
}

/// A line of the story; nothing is formatted if nobody reads it.
#[macro_export]
macro_rules! say {
    ($world:expr, $($text:tt)*) => {
        if $world.story.is_some() {
            let line = format!($($text)*);
            $world.tell(line);
        }
    };
}

impl World {
    pub(crate) fn new(seed: u64, with_story: bool) -> Self {
        let mut dice = Dice::new(seed);
        let partitions = random_partitions(&mut dice);
        let config = random_config(&mut dice);
        let (session_timeout, more) = (dice.millis(2_000, 8_000), dice.millis(1_000, 8_000));
        // A rebalance waits longer than a drain and its last commit may take.
        let rebalance_timeout = config.drain_max + LAST_COMMIT_MAX + more;
        let group = Group::new(dice.percent(60), session_timeout, rebalance_timeout);
        let processes = (0..1 + dice.below(4)).map(|_| {
            let clock_ahead_ms = dice.pick(&[0, 0, DAY_MS, -DAY_MS]);
            Process::new(config.clone(), clock_ahead_ms)
        });
        let processes = processes.collect();
        let n_nodes = 1 + dice.index(3);
        Self {
            now: Duration::from_secs(1),
            heal_at: dice.millis(1_000, 40_000),
            queue: BinaryHeap::new(),
            n_scheduled: 0,
            n_to_produce: 10 + dice.index(190),
            truth: Truth::default(),
            kafka: Kafka::new(&partitions, group),
            elasticsearch: Elasticsearch::new(n_nodes),
            processes,
            weather: Weather::random(&mut dice),
            faults: Fault::random(&mut dice),
            fault_interval_ms: dice.pick(&[300, 1_000, 3_000, 10_000]),
            operator_waits_for: None,
            heartbeat_interval: dice.millis(200, 1_000),
            watch_interval: dice.millis(200, 4_000),
            transaction_timeout: dice.millis(2_000, 10_000),
            new_fields: HashSet::new(),
            seen: BTreeSet::new(),
            n_events: 0,
            is_at_rest: false,
            story: with_story.then(Vec::new),
            dice,
        }
    }

    /// Goes on until everything is at rest.
    pub(crate) fn run(&mut self) {
        for process in 0..self.processes.len() {
            let later = self.dice.skewed_millis(0, 20_000);
            self.after(later, Event::Start { process });
        }
        for first in [Event::Produce, Event::Fault, Event::Tick] {
            let later = self.dice.millis(0, 1_000);
            self.after(later, first);
        }
        self.at(self.heal_at, Event::Heal);
        while !self.is_at_rest {
            let Reverse(next) = self.queue.pop().expect("there is always a tick to come");
            self.now = next.at;
            self.n_events += 1;
            if self.now > self.heal_at + REST_WITHIN || self.n_events > 1_000_000 {
                self.has_no_rest();
            }
            self.happen(next.event);
        }
        self.check_rest();
    }

    pub(crate) fn at(&mut self, at: Duration, event: Event) {
        self.n_scheduled += 1;
        let number = self.n_scheduled;
        self.queue.push(Reverse(Scheduled { at, number, event }));
    }

    pub(crate) fn after(&mut self, later: Duration, event: Event) {
        self.at(self.now + later, event);
    }

    pub(crate) fn tell(&mut self, line: String) {
        let now = self.now.as_secs_f64();
        if let Some(story) = &mut self.story {
            story.push(format!("{now:9.3} s  {line}"));
        }
    }

    fn lives(&self, process: usize, life: u32) -> bool {
        let process = &self.processes[process];
        process.is_running && process.life == life
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Start { process } => self.start(process),
            Event::Wake { process, life } if self.lives(process, life) => self.wake(process),
            Event::Turn { process, life } if self.lives(process, life) => self.turn(process),
            Event::Heartbeat { process, life } if self.lives(process, life) => {
                self.heartbeat(process);
                self.after(self.heartbeat_interval, Event::Heartbeat { process, life });
            }
            Event::Watch { process, life } if self.lives(process, life) => {
                self.watch(process);
                self.after(self.watch_interval, Event::Watch { process, life });
            }
            Event::Arrival {
                process,
                life,
                arrival,
            } if self.lives(process, life) => self.arrived(process, arrival),
            Event::Wake { .. }
            | Event::Turn { .. }
            | Event::Heartbeat { .. }
            | Event::Watch { .. }
            | Event::Arrival { .. } => {}
            Event::CommitArrives(request) => self.commit_arrives(request),
            Event::TransactionArrives(request) => self.transaction_arrives(request),
            Event::EndTransactionArrives {
                process,
                life,
                transaction,
            } => self.end_transaction_arrives(process, life, transaction),
            Event::BulkArrives(arrival) => self.bulk_arrives(arrival),
            Event::BulkSynced(sync) => self.bulk_synced(sync),
            Event::Produce => self.produce_some(),
            Event::Fault => self.next_fault(),
            Event::Heal => self.heal(),
            Event::Tick => self.tick(),
        }
    }

    fn produce_some(&mut self) {
        let partitions: Vec<At> = self.kafka.logs.keys().copied().collect();
        for _ in 0..1 + self.dice.below(12) {
            let at = self.dice.pick(&partitions);
            self.produce(at);
            self.n_to_produce = self.n_to_produce.saturating_sub(1);
        }
        if self.n_to_produce > 0 && !self.weather.is_calm {
            let later = self.dice.skewed_millis(1, 4_000);
            self.after(later, Event::Produce);
        }
    }

    fn tick(&mut self) {
        self.group_tick();
        self.abort_old_transactions();
        self.reset_offsets_if_possible();
        self.is_at_rest = self.rests();
        self.after(TICK, Event::Tick);
    }

    fn rests(&self) -> bool {
        let all_committed = || {
            self.kafka.logs.values().all(|log| {
                let last = log.records.last();
                last.is_none_or(|last| log.committed_to > self.truth.records[*last].offset)
            })
        };
        self.weather.is_calm
            && self.operator_waits_for.is_none()
            && self.elasticsearch.n_underway == 0
            && self.kafka.transactions.is_empty()
            && self.kafka.group.is_stable()
            && self.processes.iter().all(Process::is_idle)
            && all_committed()
            && self.processes.iter().all(Process::holds_nothing)
    }

    fn has_no_rest(&self) -> ! {
        let statuses = self.processes.iter().map(|process| {
            let (runs, stalls) = (process.is_running, process.stalls);
            let status = process.sink.status();
            format!("runs {runs}, stalls {stalls}, {status:?}\n")
        });
        panic!(
            "EO-4: no rest {REST_WITHIN:?} after the faults have ended:\n{}",
            statuses.collect::<String>()
        );
    }
}

fn random_partitions(dice: &mut Dice) -> Vec<At> {
    let mut partitions = Vec::new();
    for topic in 0..1 + dice.index(2) {
        for partition in 0..1 + dice.below(3) as i32 {
            partitions.push(At { topic, partition });
        }
    }
    partitions
}

fn random_config(dice: &mut Dice) -> SinkConfig {
    SinkConfig {
        group: "group".to_owned(),
        index_pattern: "logflow-{date}".parse().expect("a pattern"),
        bulk: BulkLimits {
            bytes_max: 65_536,
            items_max: 1 + dice.index(8),
            linger: dice.millis(0, 200),
        },
        bulk_concurrency: 1 + dice.index(3),
        bytes_held_max: 600 + dice.index(20_000),
        letters_per_transaction_max: 1 + dice.index(4),
        commit_interval: dice.millis(50, 1_000),
        drain_max: dice.millis(1, 5_000),
        backoff: Backoff {
            first: dice.millis(1, 200),
            longest: dice.millis(200, 3_000),
        },
        seed: 0,
    }
}
