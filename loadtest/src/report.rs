//! The summary of a run of the generator, for people and as JSON.
//!
//! In the flow: `histogram` → **`report`**.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::histogram::Histogram;
use crate::ledger::LedgerCounts;

/// What connections count while they run; bounded by the number of HTTP statuses.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Requests by status as text; `cut`, `timeout` and `refused connection` for those without.
    pub outcomes: BTreeMap<String, u64>,
    /// How long answered requests took.
    pub latency: Histogram,
    /// Requests sent again because the outcome was unknown or none.
    pub repeats: u64,
    /// Time spent waiting because a reply asked for it.
    pub waited: Duration,
    /// Bytes of bodies sent, repeats included.
    pub body_bytes: u64,
}

impl Tally {
    /// Counts one request.
    pub fn outcome(&mut self, name: &str) {
        match self.outcomes.get_mut(name) {
            Some(count) => *count += 1,
            None => {
                self.outcomes.insert(name.to_owned(), 1);
            }
        }
    }

    /// Adds what another connection counted.
    pub fn add(&mut self, other: &Self) {
        for (name, count) in &other.outcomes {
            *self.outcomes.entry(name.clone()).or_default() += count;
        }
        self.latency.add(&other.latency);
        self.repeats += other.repeats;
        self.waited += other.waited;
        self.body_bytes += other.body_bytes;
    }
}

/// The outcome of a run of the generator.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The run.
    pub run: String,
    /// Wall time.
    pub seconds: f64,
    /// Events by what the sender knows of them.
    pub events: LedgerCounts,
    /// Events settled, per second.
    pub events_per_second: f64,
    /// Requests answered, repeats included; 0 for Kafka.
    pub requests: u64,
    /// Requests answered per second.
    pub requests_per_second: f64,
    /// Requests sent again.
    pub repeats: u64,
    /// Seconds spent waiting because replies asked for it, over all connections.
    pub waited_seconds: f64,
    /// Bytes of bodies or values sent.
    pub body_bytes: u64,
    /// Latencies in milliseconds.
    pub latency_ms: Latency,
    /// Requests by status.
    pub outcomes: BTreeMap<String, u64>,
}

/// Latencies in milliseconds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Latency {
    /// Half took no longer.
    pub p50: f64,
    /// 99 of 100 took no longer.
    pub p99: f64,
    /// 999 of 1000 took no longer.
    pub p999: f64,
    /// The longest.
    pub max: f64,
}

impl Latency {
    /// Of what was recorded.
    #[must_use]
    pub fn of(histogram: &Histogram) -> Self {
        let ms = |duration: Duration| (duration.as_secs_f64() * 1e6).round() / 1e3;
        Self {
            p50: ms(histogram.quantile(0.5)),
            p99: ms(histogram.quantile(0.99)),
            p999: ms(histogram.quantile(0.999)),
            max: ms(histogram.max()),
        }
    }
}

impl Report {
    /// Puts the figures together.
    #[must_use]
    pub fn new(run: &str, took: Duration, events: LedgerCounts, tally: &Tally) -> Self {
        let seconds = took.as_secs_f64().max(1e-6);
        let settled = events.acknowledged + events.uncertain + events.refused + events.poison;
        let requests = tally.latency.n();
        Self {
            run: run.to_owned(),
            seconds: (seconds * 1e3).round() / 1e3,
            events,
            events_per_second: (settled as f64 / seconds).round(),
            requests,
            requests_per_second: (requests as f64 / seconds).round(),
            repeats: tally.repeats,
            waited_seconds: (tally.waited.as_secs_f64() * 1e3).round() / 1e3,
            body_bytes: tally.body_bytes,
            latency_ms: Latency::of(&tally.latency),
            outcomes: tally.outcomes.clone(),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let events = &self.events;
        writeln!(f, "run           {}", self.run)?;
        writeln!(
            f,
            "events        {} acknowledged, {} uncertain, {} refused, {} poison",
            events.acknowledged, events.uncertain, events.refused, events.poison
        )?;
        writeln!(
            f,
            "took          {:.3} s, {:.0} events/s, {:.1} MB of bodies",
            self.seconds,
            self.events_per_second,
            self.body_bytes as f64 / 1e6
        )?;
        if self.requests > 0 {
            writeln!(
                f,
                "requests      {}, {:.0}/s, {} sent again, {:.1} s waited because replies asked for it",
                self.requests, self.requests_per_second, self.repeats, self.waited_seconds
            )?;
            let latency = &self.latency_ms;
            writeln!(
                f,
                "latency       p50 {:.3} ms, p99 {:.3} ms, longest {:.3} ms",
                latency.p50, latency.p99, latency.max
            )?;
        }
        write!(f, "outcomes     ")?;
        for (name, count) in &self.outcomes {
            write!(f, " {name}: {count}")?;
        }
        Ok(())
    }
}
