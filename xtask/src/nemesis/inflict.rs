//! Does what the schedule says: inflicts each fault at its time, and heals it.
//!
//! In the flow: `schedule` → **`inflict`** → `cluster`. Each fault has a thread of its own. The schedule keeps faults
//! apart that need the same part; where healing takes longer than planned, the next one waits for it ([`Claims`]).

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::claims::Claims;
use super::cluster::{Cluster, Part, TOPOLOGY};
use super::false_clock::FalseClock;
use super::fault::{Fault, Harm, How, Link, Target};
use super::guarded::{self, Role};
use super::load;
use super::schedule::Planned;
use super::story::Story;
use crate::load::Sent;
use crate::process::{Spec, Stopped};
use crate::services::order_fault;

/// How long an engine may take to do what an operator asks for.
const ADMIN_WITHIN: Duration = Duration::from_secs(90);
/// A fault that is later than this is told as late.
const LATE: Duration = Duration::from_secs(2);
/// How long a group may take to notice that its members are gone.
const GROUP_EMPTY_WITHIN: Duration = Duration::from_secs(60);
/// The sink that comes and goes is there for so long, and away for so long.
const COMES_FOR: Duration = Duration::from_secs(3);
const GOES_FOR: Duration = Duration::from_secs(2);

/// What a run's faults share.
#[derive(Debug)]
pub struct Nemesis<'a> {
    /// The pipeline.
    pub cluster: &'a Cluster,
    /// What is told.
    pub story: &'a Story<'a>,
    /// Sets a sink's clock off.
    pub false_clock: FalseClock,
    /// For the bursts.
    pub seed: u64,
    claims: Claims,
    bursts: Mutex<Vec<Sent>>,
}

impl<'a> Nemesis<'a> {
    /// Nothing has happened yet.
    #[must_use]
    pub fn new(
        cluster: &'a Cluster,
        story: &'a Story<'a>,
        false_clock: FalseClock,
        seed: u64,
    ) -> Self {
        Self {
            cluster,
            story,
            false_clock,
            seed,
            claims: Claims::default(),
            bursts: Mutex::default(),
        }
    }

    /// Carries the schedule out and comes back when all is healed.
    ///
    /// # Errors
    /// The first fault that could not be inflicted or healed; the others were healed all the same.
    pub fn carry_out(&self, schedule: &[Planned]) -> Result<()> {
        let results: Vec<Result<()>> = std::thread::scope(|scope| {
            let threads: Vec<_> = schedule
                .iter()
                .enumerate()
                .map(|(n, planned)| scope.spawn(move || self.one(n + 1, planned)))
                .collect();
            let join = |thread: std::thread::ScopedJoinHandle<'_, Result<()>>| {
                thread
                    .join()
                    .unwrap_or_else(|_| bail!("the thread of a fault panicked"))
            };
            threads.into_iter().map(join).collect()
        });
        results.into_iter().collect()
    }

    /// The bursts of poison that were sent.
    #[must_use]
    pub fn bursts(&self) -> Vec<Sent> {
        let bursts = self.bursts.lock();
        bursts.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn one(&self, number: usize, planned: &Planned) -> Result<()> {
        self.cluster
            .interrupt
            .rest(planned.at.saturating_sub(self.story.began().elapsed()))?;
        let _claimed = self.claims.take(planned.fault.claims(TOPOLOGY));
        self.cluster.interrupt.check()?;
        let late = self.story.began().elapsed().saturating_sub(planned.at);
        let note = match late > LATE {
            true => format!(" ({:.0} s late)", late.as_secs_f64()),
            false => String::new(),
        };
        let lasts = planned.lasts.as_secs_f64();
        self.story.tell(format!(
            "#{number} {}, for {lasts:.1} s{note}",
            planned.fault
        ));
        let done = self.inflict_and_heal(number, planned);
        let began = done.with_context(|| format!("#{number} {}", planned.fault))?;
        let took = began.elapsed().as_secs_f64();
        self.story
            .tell(format!("#{number} healed, which took {took:.1} s"));
        Ok(())
    }

    /// Gives the moment at which the healing began.
    fn inflict_and_heal(&self, number: usize, planned: &Planned) -> Result<Instant> {
        let lasts = planned.lasts;
        match planned.fault {
            Fault::Process { target, how } => self.process(target, how, lasts),
            Fault::Link { link, harm, only } => self.link(link, harm, only, lasts),
            Fault::IndexReadOnly { pick } => {
                let index = self.pick_index(pick)?;
                self.story.tell(format!("#{number} it is `{index}`"));
                self.blocked(&index, "index.blocks.write", lasts)
            }
            Fault::IndexClosed { pick } => {
                let index = self.pick_index(pick)?;
                self.story.tell(format!("#{number} it is `{index}`"));
                self.elasticsearch("POST", &format!("/{index}/_close"), &Value::Null)?;
                self.cluster.interrupt.rest(lasts)?;
                let began = Instant::now();
                self.elasticsearch("POST", &format!("/{index}/_open"), &Value::Null)?;
                Ok(began)
            }
            Fault::IndicesFlooded => {
                let all = self.cluster.wiring.index();
                self.blocked(&all, "index.blocks.read_only_allow_delete", lasts)
            }
            Fault::RoleStripped => self.unguarded(lasts, |node, whole| {
                guarded::set_role(node, if whole { Role::Whole } else { Role::Stripped })
            }),
            Fault::UserForgotten => self.unguarded(lasts, guarded::set_user),
            Fault::DeadLettersUnwritable { broker } => self.unwritable(broker, lasts),
            Fault::PoisonBurst => self.burst(number),
            Fault::OffsetsReset => self.reset_offsets(),
            Fault::IndexDeleted { pick } => {
                let index = self.pick_index(pick)?;
                self.story.tell(format!("#{number} it is `{index}`"));
                self.elasticsearch("DELETE", &format!("/{index}"), &Value::Null)?;
                self.cluster.interrupt.rest(lasts)?;
                self.reset_offsets()
            }
            Fault::SinksComeAndGo => self.come_and_go(lasts),
            Fault::ClockOff { sink, days } => self.clock_off(sink, days, lasts),
        }
    }

    fn process(&self, target: Target, how: How, lasts: Duration) -> Result<Instant> {
        let part = self.cluster.part(target);
        self.expect_running(part);
        match how {
            How::Stalled => {
                part.hold().pause();
                self.cluster.interrupt.rest(lasts)?;
                part.hold().resume();
                return Ok(Instant::now());
            }
            How::Killed => part.hold().kill(),
            How::Stopped => self.stop(part)?,
        }
        self.cluster.interrupt.rest(lasts)?;
        self.start(part)
    }

    fn link(
        &self,
        link: Link,
        harm: Harm,
        only: Option<usize>,
        lasts: Duration,
    ) -> Result<Instant> {
        let all = 0..link.routes(TOPOLOGY);
        let routes: Vec<usize> = all.filter(|n| only.is_none_or(|only| only == *n)).collect();
        for n in &routes {
            self.order("PUT", link, *n, &harm.order().to_string())?;
        }
        self.cluster.interrupt.rest(lasts)?;
        for n in &routes {
            self.order("DELETE", link, *n, "")?;
        }
        Ok(Instant::now())
    }

    fn order(&self, method: &str, link: Link, n: usize, body: &str) -> Result<()> {
        let route = format!("{}-{}", link.name(), n + 1);
        order_fault(&self.cluster.proxy.url, method, &route, body)
    }

    fn elasticsearch(&self, method: &str, path: &str, body: &Value) -> Result<Value> {
        self.cluster
            .ask_elasticsearch(method, path, body, ADMIN_WITHIN)
    }

    fn pick_index(&self, pick: usize) -> Result<String> {
        let pattern = self.cluster.wiring.index();
        let path = format!("/_cat/indices/{pattern}?h=index&format=json&expand_wildcards=all");
        let answer = self.elasticsearch("GET", &path, &Value::Null)?;
        let listed = answer.as_array().into_iter().flatten();
        let mut names: Vec<&str> = listed.filter_map(|one| one["index"].as_str()).collect();
        names.sort_unstable();
        let picked = names.get(pick % names.len().max(1));
        picked
            .map(|name| (*name).to_owned())
            .with_context(|| format!("there is no index `{pattern}`"))
    }

    fn blocked(&self, index: &str, block: &str, lasts: Duration) -> Result<Instant> {
        let path = format!("/{index}/_settings");
        self.elasticsearch("PUT", &path, &json!({block: true}))?;
        self.cluster.interrupt.rest(lasts)?;
        let began = Instant::now();
        self.elasticsearch("PUT", &path, &json!({block: null}))?;
        Ok(began)
    }

    /// `set` changes a node: whether all is as the sinks need it.
    fn unguarded(
        &self,
        lasts: Duration,
        set: impl Fn(&Path, bool) -> Result<()>,
    ) -> Result<Instant> {
        let directory = &self.cluster.directory;
        let set_all = |whole| {
            let mut nodes = 1..=TOPOLOGY.nodes;
            nodes.try_for_each(|n| set(&directory.join(format!("elasticsearch-{n}")), whole))
        };
        set_all(false)?;
        self.cluster.interrupt.rest(lasts)?;
        let began = Instant::now();
        set_all(true)?;
        Ok(began)
    }

    /// Kafka takes the smaller of replicas wanted and replicas there are, so one of them has to be away.
    fn unwritable(&self, broker: usize, lasts: Duration) -> Result<Instant> {
        let topic = &self.cluster.wiring.dead_letter_topic;
        let tools = &self.cluster.kafka_tools;
        let interrupt = &self.cluster.interrupt;
        let key = "min.insync.replicas";
        tools.configure_topic(topic, key, Some("3"), interrupt)?;
        let part = &self.cluster.brokers[broker];
        self.expect_running(part);
        self.stop(part)?;
        self.cluster.interrupt.rest(lasts)?;
        let began = self.start(part)?;
        tools.configure_topic(topic, key, None, interrupt)?;
        Ok(began)
    }

    fn burst(&self, number: usize) -> Result<Instant> {
        let load = load::burst(self.cluster, self.seed, number)?;
        let sent = load.finish(&self.cluster.interrupt, Duration::from_secs(300))?;
        let mut bursts = self.bursts.lock().unwrap_or_else(PoisonError::into_inner);
        bursts.push(sent);
        Ok(Instant::now())
    }

    fn reset_offsets(&self) -> Result<Instant> {
        std::thread::scope(|scope| {
            let stop = |sink| {
                self.expect_running(sink);
                self.stop(sink)
            };
            let sinks = self.cluster.staying_sinks();
            let stops: Vec<_> = sinks.map(|sink| scope.spawn(move || stop(sink))).collect();
            let join = |stop: std::thread::ScopedJoinHandle<'_, Result<()>>| {
                stop.join()
                    .unwrap_or_else(|_| bail!("the thread that stops a sink panicked"))
            };
            stops.into_iter().try_for_each(join)
        })?;
        let (wiring, interrupt) = (&self.cluster.wiring, &self.cluster.interrupt);
        interrupt.wait_for("the group to be reset", GROUP_EMPTY_WITHIN, || {
            self.cluster
                .kafka_tools
                .reset_to_earliest(&wiring.group, &wiring.topic, interrupt)
                .map_err(|error| format!("{error:#}"))
        })?;
        self.story.tell("the group's offsets are at the earliest");
        let began = Instant::now();
        for sink in self.cluster.staying_sinks() {
            self.start(sink)?;
        }
        Ok(began)
    }

    fn come_and_go(&self, lasts: Duration) -> Result<Instant> {
        let began = Instant::now();
        let part = self.cluster.extra_sink();
        for round in 0.. {
            part.hold().launch()?;
            self.cluster.interrupt.rest(COMES_FOR)?;
            self.expect_running(part);
            match round % 2 {
                0 => self.stop(part)?,
                _ => part.hold().kill(),
            }
            if began.elapsed() >= lasts {
                break;
            }
            self.cluster.interrupt.rest(GOES_FOR)?;
        }
        Ok(Instant::now())
    }

    fn clock_off(&self, sink: usize, days: i8, lasts: Duration) -> Result<Instant> {
        let part = &self.cluster.sinks[sink];
        self.expect_running(part);
        let right: Spec = part.hold().spec().clone();
        let mut wrong = right.clone();
        wrong.environment.extend(self.false_clock.environment(days));
        self.stop(part)?;
        part.hold().set_spec(wrong);
        let lived = self
            .start(part)
            .and_then(|_| self.cluster.interrupt.rest(lasts));
        let stopped = self.stop(part);
        part.hold().set_spec(right);
        lived.and(stopped)?;
        self.start(part)
    }

    /// One that ended by itself has broken a promise that no fault excuses.
    fn expect_running(&self, part: &Part) {
        let mut held = part.hold();
        if let Ok(Some(status)) = held.exit_status() {
            let tail = held.tail();
            self.story
                .complain(format!("{} ended by itself with {status}", part.name));
            self.story.tell(tail);
        }
    }

    /// Ends a part by SIGTERM and tells how it ended.
    fn stop(&self, part: &Part) -> Result<()> {
        let stopped = part.hold().stop()?;
        match stopped {
            Stopped::WasNotRunning => {}
            // A JVM reports the signal itself: 128 + 15.
            Stopped::Ended(status, took) if status.success() || status.code() == Some(143) => {
                let took = took.as_secs_f64();
                self.story
                    .tell(format!("{} ended {took:.1} s after SIGTERM", part.name));
            }
            Stopped::Ended(status, _) => self
                .story
                .complain(format!("{} ended with {status} after SIGTERM", part.name)),
            Stopped::Killed => self.story.complain(format!(
                "{} did not end within {} s of SIGTERM",
                part.name,
                part.hold().spec().stop_within.as_secs()
            )),
        }
        Ok(())
    }

    /// Starts a part and waits until it answers; gives the moment before.
    fn start(&self, part: &Part) -> Result<Instant> {
        let began = Instant::now();
        part.hold().launch()?;
        // Looked at without holding it all the while, so that others can.
        let within = part.hold().spec().ready_within;
        let what = format!("{} to answer", part.name);
        self.cluster.interrupt.wait_for(&what, within, || {
            let (ready, running) = {
                let mut held = part.hold();
                (std::sync::Arc::clone(&held.spec().ready), held.is_running())
            };
            if !running {
                return Err("it has ended".to_owned());
            }
            ready()
        })?;
        Ok(began)
    }
}
