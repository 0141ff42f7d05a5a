//! One process of es-sink: the real core, and around it what the real process
//! does in `engine`, in virtual time. It crashes, stalls and wakes up with what
//! it believed before, is told to end, and starts again with nothing.
//! What it reads is in `reader`, what it commits in `commits`, how it is a
//! member of the group in `member`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use es_sink_core::assignment::TopicPartition;
use es_sink_core::sink::{BulkId, Command, Input, Sink, SinkConfig};

use crate::commits::{CommitOrder, LAST_COMMIT_MAX, LAST_COMMIT_PAUSE, LastCommit};
use crate::group::{Beat, MemberId};
use crate::member::GivingBack;
use crate::reader::Reader;
use crate::say;
use crate::truth::{At, NOON_MS, TOPICS, Truth};
use crate::world::{Event, World};

/// What reaches a process. While it stalls, it piles up.
#[derive(Debug)]
pub(crate) enum Arrival {
    Bulk {
        bulk: BulkId,
        reply: Result<(u16, String), String>,
    },
    Committed {
        number: u64,
        result: Result<(), String>,
    },
    TransactionTaken {
        transaction: u64,
    },
    TransactionEnded {
        result: Result<(), String>,
    },
    /// The answer to a heartbeat of this generation.
    Beat {
        generation: u32,
        beat: Beat,
    },
    Synced {
        member: MemberId,
        generation: u32,
        partitions: Vec<At>,
    },
    /// The committed offsets, with the id of the topic as it is.
    OffsetsFetched {
        asked: u64,
        offsets: Vec<(At, u32, Option<i64>)>,
    },
    LastCommitTooLate {
        number: u64,
    },
    /// A fault that only a restart heals.
    Fatal,
}

/// A process does not look at the time more often.
pub(crate) const SHORTEST_WAIT: Duration = Duration::from_millis(1);

#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) life: u32,
    pub(crate) is_running: bool,
    /// Whether it starts again after its end.
    pub(crate) returns: bool,
    pub(crate) stalls: bool,
    pub(crate) held_up: Vec<Arrival>,
    /// How far its clock is from the world's.
    pub(crate) clock_ahead_ms: i64,
    pub(crate) sink: Sink,
    pub(crate) config: SinkConfig,
    pub(crate) open_bulks: BTreeSet<BulkId>,
    pub(crate) member: Option<MemberId>,
    pub(crate) generation: u32,
    pub(crate) joining: bool,
    pub(crate) readers: BTreeMap<At, Reader>,
    /// Assigned, and their offsets not known yet.
    pub(crate) starting: BTreeSet<At>,
    pub(crate) asked: u64,
    pub(crate) giving_back: Option<GivingBack>,
    pub(crate) commit_orders: VecDeque<CommitOrder>,
    /// How often partitions have left.
    pub(crate) n_departures: u64,
    pub(crate) n_commits: u64,
    pub(crate) committing: Option<u64>,
    pub(crate) regular_commit: Option<u64>,
    pub(crate) transacting: bool,
    pub(crate) last_commit: Option<LastCommit>,
    pub(crate) is_paused: bool,
    pub(crate) assigned_since_pause: bool,
    pub(crate) is_ending: bool,
    /// It will see that it is told to end once it has given back what it gives back.
    pub(crate) ends_later: bool,
    pub(crate) exit_until: Option<Duration>,
    pub(crate) turn_at: Duration,
}

pub(crate) fn named(at: At) -> TopicPartition {
    TopicPartition {
        topic: TOPICS[at.topic].to_owned(),
        partition: at.partition,
    }
}

pub(crate) fn unnamed(at: &TopicPartition) -> At {
    let topic = TOPICS.iter().position(|topic| *topic == at.topic);
    At {
        topic: topic.expect("a topic of ours"),
        partition: at.partition,
    }
}

impl Process {
    pub(crate) fn new(config: SinkConfig, clock_ahead_ms: i64) -> Self {
        Self {
            life: 0,
            is_running: false,
            returns: true,
            stalls: false,
            held_up: Vec::new(),
            clock_ahead_ms,
            sink: Sink::new(config.clone()),
            config,
            open_bulks: BTreeSet::new(),
            member: None,
            generation: 0,
            joining: false,
            readers: BTreeMap::new(),
            starting: BTreeSet::new(),
            asked: 0,
            giving_back: None,
            commit_orders: VecDeque::new(),
            n_departures: 0,
            n_commits: 0,
            committing: None,
            regular_commit: None,
            transacting: false,
            last_commit: None,
            is_paused: false,
            assigned_since_pause: false,
            is_ending: false,
            ends_later: false,
            exit_until: None,
            turn_at: Duration::ZERO,
        }
    }

    pub(crate) fn owned(&self) -> Vec<At> {
        let starting = self.starting.iter().copied();
        self.readers.keys().copied().chain(starting).collect()
    }

    /// What belongs to partitions that are gone is let go of in time, too.
    pub(crate) fn holds_nothing(&self) -> bool {
        !self.is_running || self.sink.status().bytes_held == 0
    }

    /// Nothing is left to do, as far as it knows.
    pub(crate) fn is_idle(&self) -> bool {
        !self.is_running
            || (self.open_bulks.is_empty()
                && self.starting.is_empty()
                && self.giving_back.is_none()
                && !self.joining
                && !self.stalls
                && !self.is_ending
                && !self.transacting
                && self.regular_commit.is_none()
                && !self.sink.is_paused())
    }
}

impl World {
    /// The time as the process sees it: its clock may be days off.
    pub(crate) fn now_of(&self, p: usize) -> Duration {
        let ahead = NOON_MS + self.processes[p].clock_ahead_ms;
        self.now + Duration::from_millis(ahead as u64)
    }

    pub(crate) fn handle(&mut self, p: usize, input: Input<'_>) {
        let now = self.now_of(p);
        self.processes[p].sink.handle(now, input);
    }

    pub(crate) fn start(&mut self, p: usize) {
        if self.processes[p].is_running || !self.processes[p].returns {
            return;
        }
        if self.operator_waits_for.is_some() {
            self.after(Duration::from_millis(500), Event::Start { process: p });
            return;
        }
        say!(self, "sink {p} starts");
        let before = &self.processes[p];
        let life = before.life + 1;
        let mut fresh = Process::new(before.config.clone(), before.clock_ahead_ms);
        fresh.config.seed = self.dice.number();
        fresh.sink = Sink::new(fresh.config.clone());
        fresh.life = life;
        fresh.is_running = true;
        self.processes[p] = fresh;
        self.rejoin(p);
        let (beat, watch) = (self.heartbeat_interval, self.watch_interval);
        self.after(beat, Event::Heartbeat { process: p, life });
        self.after(watch, Event::Watch { process: p, life });
        self.turn(p);
    }

    pub(crate) fn crash(&mut self, p: usize) {
        say!(self, "sink {p} crashes");
        self.seen.insert("crash");
        self.end(p);
    }

    pub(crate) fn end(&mut self, p: usize) {
        self.note_counters(p);
        let later = self.dice.millis(1, 8_000);
        let process = &mut self.processes[p];
        process.is_running = false;
        process.life += 1;
        self.after(later, Event::Start { process: p });
    }

    pub(crate) fn shut_down(&mut self, p: usize) {
        if self.processes[p].is_ending {
            return;
        }
        if self.processes[p].stalls {
            // Who does not react to SIGTERM is killed.
            self.crash(p);
            return;
        }
        if self.processes[p].giving_back.is_some() {
            // The one thread is busy in a rebalance, and looks later.
            self.processes[p].ends_later = true;
            return;
        }
        say!(self, "sink {p} is told to end");
        self.processes[p].is_ending = true;
        self.handle(p, Input::Shutdown);
        self.processes[p]
            .readers
            .values_mut()
            .for_each(|reader| reader.paused = true);
        self.pump(p);
        self.schedule(p);
    }

    pub(crate) fn stall(&mut self, p: usize, for_so_long: Duration) {
        say!(self, "sink {p} stalls for {for_so_long:?}");
        let process = &mut self.processes[p];
        process.stalls = true;
        let life = process.life;
        self.after(for_so_long, Event::Wake { process: p, life });
    }

    /// It goes on with what it believed, and hears what happened meanwhile.
    pub(crate) fn wake(&mut self, p: usize) {
        say!(self, "sink {p} wakes up");
        let life = self.processes[p].life;
        let process = &mut self.processes[p];
        process.stalls = false;
        if let Some(giving_back) = &mut process.giving_back {
            giving_back.until = self.now + process.config.drain_max;
        }
        let held_up = std::mem::take(&mut process.held_up);
        if self.dice.percent(50) {
            self.turn(p);
        }
        for arrival in held_up {
            // One of them may be its end.
            if self.processes[p].life == life && self.processes[p].is_running {
                self.take(p, arrival);
            }
        }
        if self.processes[p].life == life && self.processes[p].is_running {
            self.turn(p);
        }
    }

    pub(crate) fn arrived(&mut self, p: usize, arrival: Arrival) {
        if self.processes[p].stalls {
            self.processes[p].held_up.push(arrival);
            return;
        }
        let life = self.processes[p].life;
        self.take(p, arrival);
        if self.processes[p].life == life {
            self.schedule(p);
        }
    }

    pub(crate) fn take(&mut self, p: usize, arrival: Arrival) {
        match arrival {
            Arrival::Bulk { bulk, reply } => {
                if self.processes[p].open_bulks.remove(&bulk) {
                    let reply = match &reply {
                        Ok((status, body)) => Ok((*status, body.as_bytes())),
                        Err(why) => Err(why.clone()),
                    };
                    self.handle(p, Input::BulkReply { bulk, reply });
                }
            }
            Arrival::Committed { number, result } => self.committed(p, number, result),
            Arrival::TransactionTaken { transaction } => {
                let life = self.processes[p].life;
                let latency = self.latency();
                let end = Event::EndTransactionArrives {
                    process: p,
                    life,
                    transaction,
                };
                self.after(latency, end);
            }
            Arrival::TransactionEnded { result } => self.transaction_ended(p, result),
            Arrival::Beat { generation, beat } => self.beaten(p, generation, beat),
            Arrival::Synced {
                member,
                generation,
                partitions,
            } => self.synced(p, member, generation, &partitions),
            Arrival::OffsetsFetched { asked, offsets } => self.offsets_fetched(p, asked, offsets),
            Arrival::LastCommitTooLate { number } => {
                let last = &self.processes[p].last_commit;
                if last.as_ref().is_some_and(|last| last.number == number) {
                    self.given_back(p);
                }
            }
            Arrival::Fatal => {
                self.crash(p);
                return;
            }
        }
        self.pump(p);
    }

    /// One turn of the consumer thread.
    pub(crate) fn turn(&mut self, p: usize) {
        let process = &self.processes[p];
        if process.stalls {
            return;
        }
        let reads = process.giving_back.is_none() && !process.is_ending;
        if reads {
            for _ in 0..self.dice.below(16) {
                let sink = &self.processes[p].sink;
                if !(sink.is_paused() || sink.accepts_records()) || !self.deliver_any(p) {
                    break;
                }
                if self.dice.percent(30) {
                    self.pump(p);
                }
            }
        }
        self.pump(p);
        self.end_if_done(p);
        if self.processes[p].is_running {
            self.schedule(p);
        }
    }

    pub(crate) fn schedule(&mut self, p: usize) {
        let now = self.now_of(p);
        let process = &self.processes[p];
        if !process.is_running || process.stalls {
            return;
        }
        let deadline = process.sink.next_deadline(now);
        assert!(deadline > now, "EO-6: sink {p} is busy with nothing");
        let mut wait = deadline - now;
        if let Some(until) = process.exit_until {
            wait = wait.min(LAST_COMMIT_PAUSE.min(until.saturating_sub(self.now)));
        }
        let readable = process.sink.is_paused() || process.sink.accepts_records();
        if readable && process.giving_back.is_none() && !process.is_ending {
            let has_more = process.readers.iter().any(|(at, reader)| {
                !reader.paused
                    && (!reader.fetched.is_empty() || reader.position != self.kafka.logs[at].end)
            });
            if has_more {
                wait = wait.min(self.dice.millis(1, 40));
            }
        }
        let at = self.now + wait.max(SHORTEST_WAIT);
        let process = &mut self.processes[p];
        // An earlier turn finds for itself when to come again.
        if process.turn_at <= self.now || at < process.turn_at {
            process.turn_at = at;
            let life = process.life;
            self.at(at, Event::Turn { process: p, life });
        }
    }

    /// Carries out what the core wants done.
    pub(crate) fn pump(&mut self, p: usize) {
        for n_commands in 0.. {
            assert!(
                n_commands < 10_000,
                "EO-6: sink {p} has commands without end"
            );
            let now = self.now_of(p);
            let Some(command) = self.processes[p].sink.poll_command(now) else {
                break;
            };
            self.carry_out(p, command);
        }
        self.check_memory(p);
    }

    pub(crate) fn carry_out(&mut self, p: usize, command: Command) {
        match command {
            Command::SendBulk { bulk, body } => {
                self.processes[p].open_bulks.insert(bulk);
                self.send_bulk(p, bulk, &body);
            }
            Command::Transact { letters, offsets } => {
                self.only_one_commit(p);
                let letters: Vec<usize> = letters
                    .iter()
                    .map(|letter| self.is_faithful(letter, Truth::number_in(&letter.headers)))
                    .collect();
                let offsets = self.passes(p, &offsets, &letters);
                self.processes[p].transacting = true;
                self.transact(p, letters, offsets);
            }
            Command::Commit(offsets) => {
                self.only_one_commit(p);
                assert!(!offsets.is_empty(), "a commit of nothing");
                let offsets = self.passes(p, &offsets, &[]);
                let number = self.order_commit(p, offsets);
                self.processes[p].regular_commit = Some(number);
            }
            Command::Pause => {
                let process = &mut self.processes[p];
                let again = process.is_paused && process.assigned_since_pause;
                assert!(!process.is_paused || again, "paused twice");
                process.is_paused = true;
                process.assigned_since_pause = false;
                process
                    .readers
                    .values_mut()
                    .for_each(|reader| reader.paused = true);
                self.seen.insert("pause");
            }
            Command::Resume => {
                let process = &mut self.processes[p];
                assert!(process.is_paused, "resumed without a pause");
                process.is_paused = false;
                process
                    .readers
                    .values_mut()
                    .for_each(|reader| reader.paused = false);
                self.seen.insert("resume");
            }
            Command::Release(offsets) => self.release(p, &offsets),
            Command::Exit => {
                assert!(self.processes[p].is_ending, "nobody asked it to end");
                self.processes[p].exit_until = Some(self.now + LAST_COMMIT_MAX);
            }
        }
    }
}
