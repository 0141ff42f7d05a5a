//! Decides which fault comes when, from a seed alone.
//!
//! In the flow: `fault` → **`schedule`** → `inflict`. Pure: the same seed, length and topology give the same schedule.
//! Faults overlap, but never two that need the same part, so that what the promise rests on is never taken away for
//! good: at most one broker and one Elasticsearch node are away at a time. All is healed before the end.

use std::time::Duration;

use super::fault::{Claim, Fault, Harm, How, Link, Target, Topology};
use crate::dice::Dice;

/// Nothing happens in the first and the last seconds.
const CALM: Duration = Duration::from_secs(5);
/// Faults under way at a time.
const AT_ONCE_MAX: usize = 3;

/// A fault and its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// Since events began to flow.
    pub at: Duration,
    /// What happens.
    pub fault: Fault,
    /// How long it lasts until it is healed.
    pub lasts: Duration,
    /// How long the healing may take before the part is used again.
    pub mending: Duration,
}

impl Planned {
    fn over(&self) -> Duration {
        self.at + self.lasts + self.mending
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.at < other.over() && other.at < self.over()
    }
}

/// What is drawn from: each comes up once before any comes up again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Sink(How),
    Gateway(How),
    Broker(How),
    Node(How),
    Link(Link),
    IndexReadOnly,
    IndexClosed,
    IndicesFlooded,
    RoleStripped,
    UserForgotten,
    DeadLettersUnwritable,
    PoisonBurst,
    SinksComeAndGo,
    ClockOff,
}

const DECK: [Kind; 27] = [
    Kind::Sink(How::Killed),
    Kind::Sink(How::Stalled),
    Kind::Sink(How::Stopped),
    Kind::Gateway(How::Killed),
    Kind::Gateway(How::Stalled),
    Kind::Gateway(How::Stopped),
    Kind::Broker(How::Killed),
    Kind::Broker(How::Stalled),
    Kind::Broker(How::Stopped),
    Kind::Node(How::Killed),
    Kind::Node(How::Stalled),
    Kind::Node(How::Stopped),
    // Twice, because there are seven ways to harm a link.
    Kind::Link(Link::SinkElasticsearch),
    Kind::Link(Link::SinkElasticsearch),
    Kind::Link(Link::SinkKafka),
    Kind::Link(Link::SinkKafka),
    Kind::Link(Link::GatewayKafka),
    Kind::Link(Link::GatewayKafka),
    Kind::IndexReadOnly,
    Kind::IndexClosed,
    Kind::IndicesFlooded,
    Kind::RoleStripped,
    Kind::UserForgotten,
    Kind::DeadLettersUnwritable,
    Kind::PoisonBurst,
    Kind::SinksComeAndGo,
    Kind::ClockOff,
];

/// The schedule for so long a run.
#[must_use]
pub fn schedule(seed: u64, length: Duration, topology: Topology) -> Vec<Planned> {
    let mut dice = Dice::new(seed);
    let until = length.saturating_sub(CALM);
    let mut plan = Plan {
        topology,
        until,
        planned: Vec::new(),
    };
    // First the one that needs nearly everything: later it would find no room.
    let mut reset = dice.reset();
    let middle = length.mul_f64(0.35) + dice.between(Duration::ZERO, length.mul_f64(0.2));
    reset.at = middle.min(until.saturating_sub(reset.lasts + reset.mending));
    if reset.at >= CALM {
        plan.planned.push(reset);
    }
    let mut deck = Vec::new();
    let mut at = CALM;
    while at < until {
        if deck.is_empty() {
            deck = DECK.to_vec();
            dice.shuffle(&mut deck);
        }
        let drawn = deck.iter().enumerate().find_map(|(n, kind)| {
            let mut planned = dice.draw(*kind, topology);
            planned.at = at;
            plan.has_room_for(&planned).then_some((n, planned))
        });
        if let Some((n, planned)) = drawn {
            deck.remove(n);
            plan.planned.push(planned);
        }
        at += dice.seconds(2.0, 5.0);
    }
    plan.planned.sort_by_key(|planned| planned.at);
    plan.planned
}

struct Plan {
    topology: Topology,
    until: Duration,
    planned: Vec<Planned>,
}

impl Plan {
    fn has_room_for(&self, new: &Planned) -> bool {
        let claims: Vec<Claim> = new.fault.claims(self.topology);
        let overlapping: Vec<&Planned> = self
            .planned
            .iter()
            .filter(|planned| planned.overlaps(new))
            .collect();
        new.over() <= self.until
            && overlapping.len() < AT_ONCE_MAX
            && !overlapping
                .iter()
                .flat_map(|planned| planned.fault.claims(self.topology))
                .any(|claim| claims.contains(&claim))
    }
}

impl Dice {
    fn reset(&mut self) -> Planned {
        let (fault, mending) = match self.below(2) {
            0 => (Fault::OffsetsReset, 20),
            _ => (
                Fault::IndexDeleted {
                    pick: self.below(8),
                },
                25,
            ),
        };
        Planned {
            at: Duration::ZERO,
            fault,
            lasts: Duration::from_secs(1),
            mending: Duration::from_secs(mending),
        }
    }

    /// A fault of this kind, without its time.
    fn draw(&mut self, kind: Kind, topology: Topology) -> Planned {
        let (fault, lasts, mending) = match kind {
            Kind::Sink(how) => {
                let n = self.below(topology.sinks);
                self.process(Target::Sink(n), how, 4)
            }
            Kind::Gateway(how) => {
                let n = self.below(topology.gateways);
                self.process(Target::Gateway(n), how, 4)
            }
            Kind::Broker(how) => {
                let n = self.below(topology.brokers);
                self.process(Target::Broker(n), how, 15)
            }
            Kind::Node(how) => {
                let n = self.below(topology.nodes);
                self.process(Target::Node(n), how, 30)
            }
            Kind::Link(link) => (self.harmed(link, topology), self.seconds(5.0, 12.0), 1),
            Kind::IndexReadOnly => {
                let pick = self.below(8);
                (Fault::IndexReadOnly { pick }, self.seconds(6.0, 12.0), 2)
            }
            Kind::IndexClosed => {
                let pick = self.below(8);
                (Fault::IndexClosed { pick }, self.seconds(6.0, 12.0), 2)
            }
            Kind::IndicesFlooded => (Fault::IndicesFlooded, self.seconds(6.0, 12.0), 2),
            Kind::RoleStripped => (Fault::RoleStripped, self.seconds(8.0, 14.0), 3),
            Kind::UserForgotten => (Fault::UserForgotten, self.seconds(8.0, 14.0), 3),
            Kind::DeadLettersUnwritable => {
                let broker = self.below(topology.brokers);
                let fault = Fault::DeadLettersUnwritable { broker };
                (fault, self.seconds(10.0, 15.0), 20)
            }
            Kind::PoisonBurst => (Fault::PoisonBurst, self.seconds(3.0, 5.0), 2),
            Kind::SinksComeAndGo => (Fault::SinksComeAndGo, self.seconds(14.0, 20.0), 5),
            Kind::ClockOff => {
                let sink = self.below(topology.sinks);
                let days = if self.below(2) == 0 { 1 } else { -1 };
                (Fault::ClockOff { sink, days }, self.seconds(15.0, 22.0), 6)
            }
        };
        Planned {
            at: Duration::ZERO,
            fault,
            lasts,
            mending: Duration::from_secs(mending),
        }
    }

    fn process(&mut self, target: Target, how: How, mending: u64) -> (Fault, Duration, u64) {
        let engine = matches!(target, Target::Broker(_) | Target::Node(_));
        let lasts = match how {
            // Past the sessions of the sinks' group (10 s), of a broker (9 s), and of a node (8 s).
            How::Stalled => self.seconds(12.0, 17.0),
            _ if engine => self.seconds(5.0, 10.0),
            _ => self.seconds(1.0, 6.0),
        };
        let mending = if how == How::Stalled { 4 } else { mending };
        (Fault::Process { target, how }, lasts, mending)
    }

    fn harmed(&mut self, link: Link, topology: Topology) -> Fault {
        let harm = match self.below(7) {
            0 => Harm::Delay(100 + self.roll() % 700),
            1 => Harm::Throttle(20_000 + self.roll() % 180_000),
            2 => Harm::DropRequests,
            3 => Harm::DropReplies,
            4 => Harm::Reset(20_000 + self.roll() % 480_000),
            5 => Harm::Freeze,
            _ => Harm::Refuse,
        };
        let routes = link.routes(topology);
        let only = self.below(routes * 2);
        Fault::Link {
            link,
            harm,
            only: (only < routes).then_some(only),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    const TOPOLOGY: Topology = Topology {
        sinks: 3,
        gateways: 2,
        brokers: 3,
        nodes: 2,
    };
    const LENGTH: Duration = Duration::from_secs(180);

    #[test]
    fn the_same_seed_gives_the_same_schedule_and_another_one_another() {
        let one = schedule(7, LENGTH, TOPOLOGY);
        assert_eq!(one, schedule(7, LENGTH, TOPOLOGY));
        assert_ne!(one, schedule(8, LENGTH, TOPOLOGY));
    }

    #[test]
    fn no_two_faults_at_once_need_the_same_part_and_all_is_healed_before_the_end() {
        for seed in 0..300 {
            let planned = schedule(seed, LENGTH, TOPOLOGY);
            for (n, one) in planned.iter().enumerate() {
                assert!(
                    one.at >= CALM && one.over() <= LENGTH - CALM,
                    "{seed}: {one:?}"
                );
                let claims = one.fault.claims(TOPOLOGY);
                for other in planned[n + 1..].iter().filter(|other| other.overlaps(one)) {
                    let others = other.fault.claims(TOPOLOGY);
                    let shared = claims.iter().any(|claim| others.contains(claim));
                    assert!(!shared, "{seed}: {one:?} and {other:?}");
                }
            }
        }
    }

    #[test]
    fn a_run_of_three_minutes_is_full_and_has_one_reset() {
        for seed in 0..300 {
            let planned = schedule(seed, LENGTH, TOPOLOGY);
            assert!(planned.len() >= 15, "{seed}: {} faults", planned.len());
            let resets = planned.iter().filter(|one| one.fault.resets_offsets());
            assert_eq!(resets.count(), 1, "{seed}");
        }
    }

    #[test]
    fn ten_seeds_show_every_kind_of_fault() {
        let kinds: HashSet<String> = (1..=10)
            .flat_map(|seed| schedule(seed, LENGTH, TOPOLOGY))
            .map(|one| match one.fault {
                Fault::Process { target, how } => {
                    let kind = target.to_string();
                    let kind = kind.trim_end_matches(|c: char| c.is_ascii_digit());
                    format!("{kind}{how:?}")
                }
                Fault::Link { link, .. } => format!("{link:?}"),
                Fault::ClockOff { days, .. } => format!("clock {days}"),
                Fault::DeadLettersUnwritable { .. } => "dead letters".to_owned(),
                other => other.to_string(),
            })
            .collect();
        // 12 of processes, 3 of links, 2 of clocks, 2 of resets, and 8 more.
        assert_eq!(kinds.len(), 27, "{kinds:?}");
    }

    #[test]
    fn a_short_run_has_faults_too() {
        for seed in 0..100 {
            let planned = schedule(seed, Duration::from_secs(60), TOPOLOGY);
            assert!(planned.len() >= 3, "{seed}: {planned:?}");
        }
    }
}
