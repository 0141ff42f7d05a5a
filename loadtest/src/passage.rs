//! What a plan of faults does to the bytes of one connection.
//!
//! In the flow: `fault` → **`passage`** → `fault_proxy`. Pure: it is told what
//! was read, written and when, and says what may be done next. Time counts from
//! the connection's opening.
//!
//! TCP never loses bytes and then goes on: whoever lost some would read the
//! middle of one request as the start of another. So a connection that lost
//! bytes is reset once its faults no longer swallow them.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{Buf as _, Bytes};

use crate::fault::Plan;
use crate::workload::mix;

/// Bytes that wait in one direction; beyond it nothing is read.
pub const WAITING_BYTES_MAX: usize = 1 << 20;
/// A throttled connection gets its bytes in so many portions a second.
const PORTIONS_PER_SECOND: u64 = 50;

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the target.
    Up,
    /// From the target to the client.
    Down,
}

/// What may be done in one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// Whether more may be read.
    pub read: bool,
    /// How many of the [`Passage::front`] bytes may be written.
    pub write: usize,
    /// Whether the end is to be passed on.
    pub close: bool,
}

impl Step {
    /// Whether anything is to be passed on.
    #[must_use]
    pub fn puts(self) -> bool {
        self.write > 0 || self.close
    }
}

/// What is to be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Reset both sides.
    Reset,
    /// Both directions have ended.
    Over,
    /// Go on.
    Go {
        /// From the client to the target.
        up: Step,
        /// From the target to the client.
        down: Step,
        /// When to look again, even if nothing happens.
        wake: Option<Duration>,
    },
}

/// One connection through the proxy.
#[derive(Debug)]
pub struct Passage {
    plan: Plan,
    up: Way,
    down: Way,
    /// Bytes that went through under this plan.
    n_passed: u64,
    broken: bool,
    seed: u64,
    n_draws: u64,
}

#[derive(Debug, Default)]
struct Way {
    /// What was read, and from when on it may be written.
    waiting: VecDeque<(Duration, Bytes)>,
    n_waiting: usize,
    /// Nothing that comes later may be written before.
    latest: Duration,
    /// A throttled way is silent until then.
    silent_until: Duration,
    /// No more will be read; from when on that may be passed on.
    ended: Option<Duration>,
    closed: bool,
    lost: bool,
}

impl Passage {
    /// Nothing was read yet. `seed` is for the jitter.
    #[must_use]
    pub fn new(plan: Plan, seed: u64) -> Self {
        Self {
            plan,
            up: Way::default(),
            down: Way::default(),
            n_passed: 0,
            broken: false,
            seed,
            n_draws: 0,
        }
    }

    /// Other faults, from now on. What is delayed already stays delayed.
    pub fn change(&mut self, plan: Plan) {
        let heals =
            (self.up.lost && !plan.drop_upstream) || (self.down.lost && !plan.drop_downstream);
        self.broken |= heals;
        self.plan = plan;
        self.n_passed = 0;
        self.up.silent_until = Duration::ZERO;
        self.down.silent_until = Duration::ZERO;
    }

    /// Bytes were read. Gives how many of them vanish.
    pub fn read(&mut self, now: Duration, direction: Direction, bytes: Bytes) -> usize {
        if self.drops(direction) {
            self.way(direction).lost = true;
            return bytes.len();
        }
        let due = self.due(now, direction);
        let way = self.way(direction);
        way.n_waiting += bytes.len();
        way.waiting.push_back((due, bytes));
        0
    }

    /// Nothing more comes: an end, or a failure to read.
    pub fn read_ended(&mut self, now: Duration, direction: Direction, properly: bool) {
        if self.drops(direction) {
            self.way(direction).lost = true;
        } else {
            self.broken |= !properly;
        }
        let due = self.due(now, direction);
        self.way(direction).ended = Some(due);
    }

    /// The first bytes that wait.
    #[must_use]
    pub fn front(&self, direction: Direction) -> &[u8] {
        let way = match direction {
            Direction::Up => &self.up,
            Direction::Down => &self.down,
        };
        way.waiting.front().map_or(&[], |(_, bytes)| &bytes[..])
    }

    /// So many of the first bytes were written.
    pub fn written(&mut self, now: Duration, direction: Direction, n: usize) {
        self.n_passed += n as u64;
        let throttle = self.plan.throttle;
        let way = self.way(direction);
        way.n_waiting -= n;
        if let Some((_, bytes)) = way.waiting.front_mut() {
            bytes.advance(n);
            if bytes.is_empty() {
                way.waiting.pop_front();
            }
        }
        if let Some(per_second) = throttle {
            let took = Duration::from_secs_f64(n as f64 / per_second as f64);
            way.silent_until = way.silent_until.max(now) + took;
        }
    }

    /// The end was passed on.
    pub fn closed(&mut self, direction: Direction) {
        self.way(direction).closed = true;
    }

    /// Nothing can be written any more.
    pub fn write_failed(&mut self) {
        self.broken = true;
    }

    /// What is to be done.
    #[must_use]
    pub fn next(&self, now: Duration) -> Next {
        let left = (self.plan.reset_after).map(|bytes| bytes.saturating_sub(self.n_passed));
        if self.broken || self.plan.refuse || left == Some(0) {
            return Next::Reset;
        }
        if self.up.closed && self.down.closed {
            return Next::Over;
        }
        if self.plan.freeze {
            let (up, down) = (Step::default(), Step::default());
            return Next::Go {
                up,
                down,
                wake: None,
            };
        }
        let most = usize::try_from(left.unwrap_or(u64::MAX)).unwrap_or(usize::MAX);
        let (up, wake_up) = self.up.step(now, most, self.plan.throttle);
        // Both directions together keep to what is left.
        let most = most - up.write;
        let (down, wake_down) = self.down.step(now, most, self.plan.throttle);
        let wake = match (wake_up, wake_down) {
            (Some(up), Some(down)) => Some(up.min(down)),
            (up, down) => up.or(down),
        };
        Next::Go { up, down, wake }
    }

    fn way(&mut self, direction: Direction) -> &mut Way {
        match direction {
            Direction::Up => &mut self.up,
            Direction::Down => &mut self.down,
        }
    }

    fn drops(&self, direction: Direction) -> bool {
        match direction {
            Direction::Up => self.plan.drop_upstream,
            Direction::Down => self.plan.drop_downstream,
        }
    }

    /// When what was read now may be written: in order, however it jitters.
    fn due(&mut self, now: Duration, direction: Direction) -> Duration {
        let mut due = now;
        if let Some((ms, jitter_ms)) = self.plan.delay {
            let jitter = mix(self.seed, self.n_draws) % (jitter_ms + 1);
            self.n_draws += 1;
            due += Duration::from_millis(ms + jitter);
        }
        let way = self.way(direction);
        way.latest = way.latest.max(due);
        way.latest
    }
}

impl Way {
    /// The step, and when to look again if time alone is what is waited for.
    fn step(&self, now: Duration, most: usize, throttle: Option<u64>) -> (Step, Option<Duration>) {
        let mut step = Step {
            read: self.ended.is_none() && self.n_waiting < WAITING_BYTES_MAX,
            ..Step::default()
        };
        if self.closed {
            return (step, None);
        }
        let Some((due, bytes)) = self.waiting.front() else {
            // A lost end never arrives.
            let end = self.ended.filter(|_| !self.lost);
            step.close = end.is_some_and(|due| due <= now);
            return (step, end.filter(|due| *due > now));
        };
        let due = (*due).max(self.silent_until);
        if due > now {
            return (step, Some(due));
        }
        let portion = throttle.map_or(usize::MAX, |per_second| {
            let portion = (per_second / PORTIONS_PER_SECOND).max(1);
            usize::try_from(portion).unwrap_or(usize::MAX)
        });
        step.write = bytes.len().min(portion).min(most);
        (step, None)
    }
}

#[cfg(test)]
mod tests;
