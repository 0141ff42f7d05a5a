//! What goes wrong: the weather that every request meets, and single faults
//! one after the other, until all of it ends and the world heals.

use std::time::Duration;

use crate::dice::Dice;
use crate::elasticsearch::{INDEX_REFUSALS, IndexFault, WHOLE_REFUSALS};
use crate::say;
use crate::truth::At;
use crate::world::{Event, World};

/// Chances in percent.
#[derive(Debug, Default)]
pub(crate) struct Weather {
    /// The faults have ended.
    pub(crate) is_calm: bool,
    pub(crate) poison: u64,
    pub(crate) bulk_lost: u64,
    pub(crate) bulk_refused: u64,
    pub(crate) item_refused: u64,
    pub(crate) bulk_reply_lost: u64,
    pub(crate) reply_short: u64,
    pub(crate) reply_cut: u64,
    pub(crate) commit_refused: u64,
    pub(crate) commit_lost: u64,
    pub(crate) commit_late: u64,
    pub(crate) transaction_lost: u64,
    pub(crate) transaction_refused: u64,
    pub(crate) transaction_aborted: u64,
    pub(crate) transaction_reply_lost: u64,
}

impl Weather {
    /// In each run other things never fail: what always fails hides what follows.
    pub(crate) fn random(dice: &mut Dice) -> Self {
        let mut up_to = |most: u64| match dice.percent(50) {
            true => 0,
            false => 1 + dice.below(most),
        };
        Self {
            is_calm: false,
            poison: match up_to(40) {
                40 => 100,
                chance => chance,
            },
            bulk_lost: up_to(15),
            bulk_refused: up_to(30),
            item_refused: up_to(30),
            bulk_reply_lost: up_to(25),
            reply_short: up_to(10),
            reply_cut: up_to(10),
            commit_refused: up_to(30),
            commit_lost: up_to(20),
            commit_late: up_to(20),
            transaction_lost: up_to(20),
            transaction_refused: up_to(30),
            transaction_aborted: up_to(20),
            transaction_reply_lost: up_to(20),
        }
    }

    fn calm() -> Self {
        Self {
            is_calm: true,
            ..Self::default()
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// SIGKILL.
    Crash,
    /// SIGTERM.
    ShutDown,
    /// SIGSTOP, and SIGCONT so late that it may be a zombie.
    Stall,
    /// It ends and does not come back soon.
    ScaleDown,
    ScaleUp,
    Rebalance,
    Compaction,
    LostTail,
    TopicCreatedAgain,
    NodeCrash,
    SlowNode,
    IndexRefuses,
    ClusterRefuses,
    Overload,
    DeadLetterTopicRefuses,
    OffsetsReset,
}

impl Fault {
    const ALL: [Self; 16] = [
        Self::Crash,
        Self::ShutDown,
        Self::Stall,
        Self::ScaleDown,
        Self::ScaleUp,
        Self::Rebalance,
        Self::Compaction,
        Self::LostTail,
        Self::TopicCreatedAgain,
        Self::NodeCrash,
        Self::SlowNode,
        Self::IndexRefuses,
        Self::ClusterRefuses,
        Self::Overload,
        Self::DeadLetterTopicRefuses,
        Self::OffsetsReset,
    ];

    /// Some of them, for one run.
    pub(crate) fn random(dice: &mut Dice) -> Vec<Self> {
        let chance = dice.pick(&[0, 20, 50, 100]);
        let mut chosen = Self::ALL.to_vec();
        chosen.retain(|_| dice.percent(chance));
        chosen
    }
}

impl World {
    pub(crate) fn next_fault(&mut self) {
        if self.weather.is_calm || self.faults.is_empty() {
            return;
        }
        let fault = self.dice.pick(&self.faults);
        say!(self, "--- {fault:?}");
        self.strike(fault);
        let later = self.dice.millis(1, 2 * self.fault_interval_ms);
        self.after(later, Event::Fault);
    }

    fn strike(&mut self, fault: Fault) {
        let p = self.dice.index(self.processes.len());
        let runs = self.processes[p].is_running;
        let node = self.dice.index(self.elasticsearch.nodes.len());
        let partitions: Vec<At> = self.kafka.logs.keys().copied().collect();
        let at = self.dice.pick(&partitions);
        let for_long = self.dice.skewed_millis(50, 30_000);
        let until = self.now + for_long;
        match fault {
            Fault::Crash if runs => self.crash(p),
            Fault::ShutDown if runs => self.shut_down(p),
            Fault::Stall if runs && !self.processes[p].stalls => self.stall(p, for_long),
            Fault::ScaleDown if runs => {
                self.processes[p].returns = false;
                self.shut_down(p);
            }
            Fault::ScaleUp => self.scale_up(p),
            Fault::Rebalance => self.disturb(p),
            Fault::Compaction => self.compact(at),
            Fault::LostTail => self.truncate(at),
            Fault::TopicCreatedAgain => self.create_again(at.topic),
            Fault::NodeCrash => self.crash_node(node, for_long),
            Fault::SlowNode => self.elasticsearch.nodes[node].slow_until = until,
            Fault::IndexRefuses => {
                self.elasticsearch.index_faults.push(IndexFault {
                    day: self.dice.pick(&["2023.09.15", "2023.09.14"]),
                    answer: self.dice.pick(&INDEX_REFUSALS),
                    until,
                });
            }
            Fault::ClusterRefuses => {
                let answer = self.dice.pick(&WHOLE_REFUSALS);
                self.elasticsearch.refuses_all = Some((answer, until));
            }
            Fault::Overload => self.elasticsearch.overloaded_until = until,
            Fault::DeadLetterTopicRefuses => self.kafka.letters_refused_until = until,
            Fault::OffsetsReset => self.wait_for_reset(at.topic),
            Fault::Crash | Fault::ShutDown | Fault::Stall | Fault::ScaleDown => {}
        }
    }

    fn scale_up(&mut self, p: usize) {
        self.processes[p].returns = true;
        let later = self.dice.millis(1, 500);
        self.after(later, Event::Start { process: p });
    }

    /// Kafka lets an operator set offsets only while the group has no member.
    fn wait_for_reset(&mut self, topic: usize) {
        self.operator_waits_for = Some(topic);
        for p in 0..self.processes.len() {
            if self.processes[p].is_running {
                self.shut_down(p);
            }
        }
    }

    pub(crate) fn reset_offsets_if_possible(&mut self) {
        let Some(topic) = self.operator_waits_for else {
            return;
        };
        let somebody_runs = self.processes.iter().any(|process| process.is_running);
        let kafka = &mut self.kafka;
        if somebody_runs || !kafka.group.is_empty() || !kafka.transactions.is_empty() {
            return;
        }
        self.operator_waits_for = None;
        say!(
            self,
            "the offsets of topic {topic} are set back to the earliest"
        );
        self.seen.insert("offsets reset to the earliest");
        let partitions: Vec<At> = self.kafka.logs.keys().copied().collect();
        for at in partitions.into_iter().filter(|at| at.topic == topic) {
            self.kafka.committed.remove(&at);
            self.kafka
                .logs
                .get_mut(&at)
                .expect("it exists")
                .committed_to = 0;
            self.read_anew(at);
        }
    }

    /// From now on everything works.
    pub(crate) fn heal(&mut self) {
        say!(self, "=== everything heals");
        self.weather = Weather::calm();
        for node in &mut self.elasticsearch.nodes {
            node.down_until = Duration::ZERO;
            node.slow_until = Duration::ZERO;
        }
        self.elasticsearch.index_faults.clear();
        self.elasticsearch.refuses_all = None;
        self.elasticsearch.overloaded_until = Duration::ZERO;
        self.kafka.letters_refused_until = Duration::ZERO;
        for p in 0..self.processes.len() {
            self.scale_up(p);
        }
        // Not only what is there is to be finished: what comes is to flow, too.
        let partitions: Vec<At> = self.kafka.logs.keys().copied().collect();
        for at in partitions {
            self.produce(at);
        }
    }
}
