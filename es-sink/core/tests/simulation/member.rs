//! How a process is a member of the group: heartbeats, joining, taking over and
//! giving back, as librdkafka and the real process's callbacks do it together.

use std::collections::VecDeque;
use std::time::Duration;

use es_sink_core::sink::Input;
use log_event::offset::NextOffset;

use crate::group::{Beat, MemberId};
use crate::process::{Arrival, named};
use crate::reader::Reader;
use crate::say;
use crate::truth::At;
use crate::world::World;

/// Partitions are being given back.
#[derive(Debug)]
pub(crate) struct GivingBack {
    pub(crate) leaving: Vec<At>,
    pub(crate) arriving: Vec<At>,
    /// Until when the core must have let go.
    pub(crate) until: Duration,
    /// The core has let go; only its last commit is awaited.
    pub(crate) released: bool,
    /// Meanwhile the coordinator has given up this member.
    pub(crate) lost: bool,
}

impl World {
    pub(crate) fn heartbeat(&mut self, p: usize) {
        let now = self.now;
        let process = &self.processes[p];
        if process.stalls {
            return;
        }
        let (member, generation, life) = (process.member, process.generation, process.life);
        if process.joining {
            if !self.kafka.group.touch(now, member) {
                self.rejoin(p);
            }
            return;
        }
        let beat = self.kafka.group.beat(now, member, generation);
        if beat != Beat::Stable {
            let latency = self.latency();
            self.arrive(p, life, latency, Arrival::Beat { generation, beat });
        }
    }

    pub(crate) fn beaten(&mut self, p: usize, generation: u32, beat: Beat) {
        let is_cooperative = self.kafka.group.is_cooperative;
        let process = &mut self.processes[p];
        if process.generation != generation || process.joining {
            return;
        }
        match beat {
            Beat::Stable => {}
            Beat::Unknown => match &mut process.giving_back {
                Some(giving_back) => giving_back.lost = true,
                None => {
                    self.lose_all(p);
                    self.rejoin(p);
                }
            },
            Beat::Rebalance if process.giving_back.is_some() => {}
            Beat::Rebalance if is_cooperative => self.rejoin(p),
            Beat::Rebalance => {
                let all = process.owned();
                self.give_back(p, all, Vec::new());
            }
        }
    }

    pub(crate) fn rejoin(&mut self, p: usize) {
        let member = self.processes[p].member;
        if member.is_some_and(|id| !self.kafka.group.has(id)) {
            // Whoever the coordinator does not know owns nothing any more.
            self.lose_all(p);
        }
        let process = &self.processes[p];
        let (member, claims) = (process.member, process.owned());
        let id = self.join(p, member, claims);
        let process = &mut self.processes[p];
        process.member = Some(id);
        process.joining = true;
    }

    /// Metadata changed, or a member wants another share.
    pub(crate) fn disturb(&mut self, p: usize) {
        let process = &self.processes[p];
        if process.is_running
            && !process.stalls
            && !process.joining
            && process.giving_back.is_none()
        {
            match self.kafka.group.is_cooperative {
                true => self.rejoin(p),
                false => {
                    let all = self.processes[p].owned();
                    self.give_back(p, all, Vec::new());
                }
            }
            self.pump(p);
            self.schedule(p);
        }
    }

    pub(crate) fn lose_all(&mut self, p: usize) {
        say!(self, "sink {p} has lost its partitions");
        self.seen.insert("partitions lost");
        let process = &mut self.processes[p];
        process.member = None;
        process.n_departures += 1;
        process.starting.clear();
        let readers = std::mem::take(&mut process.readers);
        if let Some(last) = &mut process.last_commit {
            last.offsets.clear();
        }
        let lost = readers.keys().map(|at| named(*at)).collect();
        self.handle(p, Input::Lost(lost));
        // A record that was fetched before is delivered late.
        let late = readers.values().find_map(|reader| reader.fetched.front());
        if let Some(number) = late.copied().filter(|_| self.dice.percent(50)) {
            self.give(p, number);
        }
    }

    pub(crate) fn synced(
        &mut self,
        p: usize,
        member: MemberId,
        generation: u32,
        partitions: &[At],
    ) {
        let process = &mut self.processes[p];
        if process.member != Some(member) {
            return;
        }
        process.joining = false;
        process.generation = generation;
        let owned = process.owned();
        let leaving: Vec<At> = owned
            .iter()
            .filter(|at| !partitions.contains(at))
            .copied()
            .collect();
        let arriving: Vec<At> = partitions
            .iter()
            .filter(|at| !owned.contains(at))
            .copied()
            .collect();
        if leaving.is_empty() {
            self.take_over(p, arriving);
        } else {
            self.give_back(p, leaving, arriving);
        }
    }

    pub(crate) fn give_back(&mut self, p: usize, leaving: Vec<At>, arriving: Vec<At>) {
        say!(self, "sink {p} gives back {leaving:?}");
        let now = self.now;
        let process = &mut self.processes[p];
        process.starting.retain(|at| !leaving.contains(at));
        if let Some(last) = &mut process.last_commit {
            last.offsets.retain(|offset| !leaving.contains(&offset.at));
        }
        let names = leaving.iter().filter(|at| process.readers.contains_key(at));
        let names = names.map(|at| named(*at)).collect();
        process.giving_back = Some(GivingBack {
            leaving,
            arriving,
            until: now + process.config.drain_max,
            released: false,
            lost: false,
        });
        self.handle(p, Input::Revoked(names));
    }

    pub(crate) fn given_back(&mut self, p: usize) {
        let process = &mut self.processes[p];
        let Some(done) = process
            .giving_back
            .take_if(|giving_back| giving_back.released)
        else {
            return;
        };
        process.last_commit = None;
        process.n_departures += 1;
        process.readers.retain(|at, _| !done.leaving.contains(at));
        if done.lost {
            self.lose_all(p);
        } else {
            self.take_over(p, done.arriving);
        }
        self.rejoin(p);
        if self.processes[p].ends_later {
            self.shut_down(p);
        }
    }

    /// Partitions are ours as soon as it is known where to begin.
    pub(crate) fn take_over(&mut self, p: usize, arriving: Vec<At>) {
        if arriving.is_empty() {
            return;
        }
        self.processes[p].starting.extend(arriving);
        self.ask_for_offsets(p);
    }

    pub(crate) fn ask_for_offsets(&mut self, p: usize) {
        let process = &mut self.processes[p];
        process.asked += 1;
        let (asked, life) = (process.asked, process.life);
        let starting: Vec<At> = process.starting.iter().copied().collect();
        let mut offsets = Vec::new();
        let mut unstable = false;
        for at in starting {
            if self.kafka.is_unstable(at) {
                unstable = true;
                self.seen.insert("waits for an open transaction");
                continue;
            }
            let topic_id = self.kafka.topic_ids[at.topic];
            let committed = self.kafka.committed.get(&at);
            if committed.is_some_and(|committed| committed.topic_id != topic_id) {
                self.seen.insert("offset of another topic ignored");
            }
            let committed = committed.filter(|committed| committed.topic_id == topic_id);
            offsets.push((at, topic_id, committed.map(|committed| committed.offset)));
        }
        let latency = if unstable && offsets.is_empty() {
            self.dice.millis(50, 200)
        } else {
            self.latency()
        };
        self.arrive(p, life, latency, Arrival::OffsetsFetched { asked, offsets });
    }

    pub(crate) fn offsets_fetched(
        &mut self,
        p: usize,
        asked: u64,
        offsets: Vec<(At, u32, Option<i64>)>,
    ) {
        let process = &mut self.processes[p];
        if process.asked != asked {
            return;
        }
        let mut assigned = Vec::new();
        for (at, topic_id, committed) in offsets {
            if !process.starting.remove(&at) {
                continue;
            }
            let reader = Reader {
                topic_id,
                position: committed.unwrap_or(0),
                fetched: VecDeque::new(),
                paused: process.is_ending,
                last_offset: -1,
                highest: committed.unwrap_or(0),
                transacting_to: None,
            };
            process.readers.insert(at, reader);
            assigned.push((named(at), committed.map(NextOffset)));
        }
        if !assigned.is_empty() {
            for (name, committed) in &assigned {
                say!(self, "sink {p} begins {name} at {committed:?}");
            }
            self.processes[p].assigned_since_pause = true;
            self.handle(p, Input::Assigned(assigned));
        }
        if !self.processes[p].starting.is_empty() {
            self.ask_for_offsets(p);
        }
    }
}
