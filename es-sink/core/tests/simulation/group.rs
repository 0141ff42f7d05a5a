//! A group coordinator: members, generations, rounds of joining, sessions.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::process::Arrival;
use crate::say;
use crate::truth::At;
use crate::world::World;

pub(crate) type MemberId = u32;

#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) is_cooperative: bool,
    pub(crate) session_timeout: Duration,
    /// How long a round waits for members that know of it and do not join.
    pub(crate) rebalance_timeout: Duration,
    pub(crate) generation: u32,
    members: BTreeMap<MemberId, Member>,
    /// Until when a round of joining waits, if there is one.
    joining_until: Option<Duration>,
    last_member: MemberId,
}

#[derive(Debug)]
struct Member {
    process: usize,
    life: u32,
    session_until: Duration,
    has_joined: bool,
    /// What it says that it owns.
    claims: Vec<At>,
}

/// What a heartbeat is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Beat {
    Stable,
    /// Join again.
    Rebalance,
    /// Somebody else owns what you owned.
    Unknown,
}

impl Group {
    pub(crate) fn new(
        is_cooperative: bool,
        session_timeout: Duration,
        rebalance_timeout: Duration,
    ) -> Self {
        Self {
            is_cooperative,
            session_timeout,
            rebalance_timeout,
            generation: 0,
            members: BTreeMap::new(),
            joining_until: None,
            last_member: 0,
        }
    }

    /// Whether a commit of this member is taken.
    pub(crate) fn takes(&self, member: Option<MemberId>, generation: u32) -> bool {
        member.is_some_and(|member| self.members.contains_key(&member))
            && generation == self.generation
    }

    pub(crate) fn is_stable(&self) -> bool {
        self.joining_until.is_none()
    }

    /// Who waits for a round to end is not timed out by it.
    /// `false` if it is no member any more.
    pub(crate) fn touch(&mut self, now: Duration, id: Option<MemberId>) -> bool {
        let Some(member) = id.and_then(|id| self.members.get_mut(&id)) else {
            return false;
        };
        member.session_until = now + self.session_timeout;
        true
    }

    pub(crate) fn has(&self, id: MemberId) -> bool {
        self.members.contains_key(&id)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    pub(crate) fn beat(&mut self, now: Duration, id: Option<MemberId>, generation: u32) -> Beat {
        let Some(member) = id.and_then(|id| self.members.get_mut(&id)) else {
            return Beat::Unknown;
        };
        member.session_until = now + self.session_timeout;
        match () {
            () if generation != self.generation => Beat::Unknown,
            () if self.joining_until.is_some() => Beat::Rebalance,
            () => Beat::Stable,
        }
    }
}

impl World {
    /// A member joins, for the first time or again; its id.
    pub(crate) fn join(
        &mut self,
        process: usize,
        member: Option<MemberId>,
        claims: Vec<At>,
    ) -> MemberId {
        let group = &mut self.kafka.group;
        let id = member
            .filter(|id| group.members.contains_key(id))
            .unwrap_or_else(|| {
                group.last_member += 1;
                group.last_member
            });
        let member = Member {
            process,
            life: self.processes[process].life,
            session_until: self.now + group.session_timeout,
            has_joined: true,
            claims,
        };
        group.members.insert(id, member);
        let until = self.now + group.rebalance_timeout;
        group.joining_until.get_or_insert(until);
        say!(self, "Kafka: sink {process} joins as member {id}");
        self.end_round(false);
        id
    }

    pub(crate) fn leave(&mut self, member: Option<MemberId>) {
        let group = &mut self.kafka.group;
        if member.is_some_and(|id| group.members.remove(&id).is_some()) {
            let until = self.now + group.rebalance_timeout;
            group.joining_until.get_or_insert(until);
            self.end_round(false);
        }
    }

    pub(crate) fn group_tick(&mut self) {
        let now = self.now;
        let group = &mut self.kafka.group;
        let before = group.members.len();
        group.members.retain(|_, member| member.session_until > now);
        if group.members.len() < before {
            say!(self, "Kafka: a member's session has ended");
            self.seen.insert("session timed out");
            let until = now + self.kafka.group.rebalance_timeout;
            self.kafka.group.joining_until.get_or_insert(until);
        }
        let is_over = self
            .kafka
            .group
            .joining_until
            .is_some_and(|until| until <= now);
        self.end_round(is_over);
    }

    /// Ends a round of joining if all have joined, or without the others.
    fn end_round(&mut self, is_over: bool) {
        let group = &mut self.kafka.group;
        if group.is_stable() || (!is_over && group.members.values().any(|m| !m.has_joined)) {
            return;
        }
        self.seen.insert(match group.is_cooperative {
            true => "cooperative rebalance",
            false => "eager rebalance",
        });
        group.joining_until = None;
        let before = group.members.len();
        group.members.retain(|_, member| member.has_joined);
        if group.members.len() < before {
            self.seen.insert("member left out of a round");
        }
        group.generation += 1;
        let generation = group.generation;
        let partitions: Vec<At> = self.kafka.logs.keys().copied().collect();
        let assigned = self.share_out(&partitions);
        say!(self, "Kafka: generation {generation}: {assigned:?}");
        for (id, partitions) in assigned {
            let latency = self.latency();
            let member = self
                .kafka
                .group
                .members
                .get_mut(&id)
                .expect("it has joined");
            member.has_joined = false;
            member.session_until = self.now + self.kafka.group.session_timeout;
            let (process, life) = (member.process, member.life);
            let synced = Arrival::Synced {
                member: id,
                generation,
                partitions,
            };
            self.arrive(process, life, latency, synced);
        }
    }

    /// Who gets what: owners keep theirs as far as that is fair, or (sometimes)
    /// as chance has it. What moves is given to nobody before its owner has let go.
    fn share_out(&mut self, partitions: &[At]) -> BTreeMap<MemberId, Vec<At>> {
        let members = &self.kafka.group.members;
        let mut owners: BTreeMap<At, MemberId> = BTreeMap::new();
        let mut contested = BTreeSet::new();
        for (id, member) in members {
            for at in &member.claims {
                if owners.insert(*at, *id).is_some() {
                    contested.insert(*at);
                }
            }
        }
        owners.retain(|at, _| !contested.contains(at));
        let mut shares: BTreeMap<MemberId, Vec<At>> =
            members.keys().map(|id| (*id, Vec::new())).collect();
        if shares.is_empty() {
            return shares;
        }
        let ids: Vec<MemberId> = shares.keys().copied().collect();
        let fair = partitions.len().div_ceil(ids.len());
        let keeps = self.weather.is_calm || self.dice.percent(70);
        let mut homeless = Vec::new();
        for at in partitions {
            match owners.get(at) {
                Some(owner) if keeps && shares[owner].len() < fair => {
                    shares.get_mut(owner).expect("a member").push(*at);
                }
                _ => homeless.push(*at),
            }
        }
        for at in homeless {
            let chosen = if self.weather.is_calm || self.dice.percent(70) {
                let fewest = ids.iter().min_by_key(|id| shares[*id].len());
                *fewest.expect("there is a member")
            } else {
                self.dice.pick(&ids)
            };
            let moves = owners.get(&at).is_some_and(|owner| *owner != chosen);
            if !(moves && self.kafka.group.is_cooperative) {
                shares.get_mut(&chosen).expect("a member").push(at);
            }
        }
        shares
    }
}
