//! Decides whether a request may come in: rate limits per client, and the
//! budget of bytes in flight for all of them together.
//!
//! In the flow: `headers` → **`admission`** → `body`. Upholds GW-2.
//! A refused request consumes nothing of its client's limit. What exceeds it by little is held back rather than
//! refused, because some clients drop what they are refused.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use governor::clock::{Clock, DefaultClock, Reference as _};
use governor::middleware::StateInformationMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{NotUntil, Quota, RateLimiter};

use crate::client::ClientKey;

/// Bytes are counted in KiB: a byte's share of a second is a whole number of
/// nanoseconds only for slow limits, and would be cut.
const BYTES_PER_CELL: usize = 1024;
/// The longest that a client's limits take to be as new after it fell silent,
/// beyond the burst itself: covers the rounding of bursts to whole cells.
const REFILL_SLACK: Duration = Duration::from_secs(1);

/// What a client or a key may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rates {
    /// Requests a second; `None` is no limit.
    pub requests_per_second: Option<NonZeroU32>,
    /// KiB of decompressed bodies a second; `None` is no limit.
    pub kib_per_second: Option<NonZeroU32>,
    /// How much of its rate it may send at once after a silence.
    pub burst: Duration,
    /// What of that which exceeds the burst may be held back instead of refused.
    pub pacing: Pacing,
}

/// Bounds what one client or key may have held back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pacing {
    /// For how long.
    pub span: Duration,
    /// Requests before their bodies are read.
    pub requests_max: u32,
    /// KiB of bodies.
    pub kib_max: u32,
}

impl Pacing {
    /// Nothing is held back.
    pub const NONE: Self = Self {
        span: Duration::ZERO,
        requests_max: 0,
        kib_max: 0,
    };
}

/// The limits of each client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimits {
    /// Of each.
    pub rates: Rates,
    /// How many clients have limits of their own; the others share one.
    pub clients_max: usize,
}

impl RateLimits {
    /// For requests without a valid key, by address: far above what a mistake at one host of many behind it makes,
    /// far below what costs us anything.
    #[must_use]
    pub fn of_denials(clients_max: usize) -> Self {
        const PER_SECOND: NonZeroU32 = NonZeroU32::new(10).expect("not 0");
        let rates = Rates {
            requests_per_second: Some(PER_SECOND),
            kib_per_second: None,
            burst: Duration::from_secs(10),
            pacing: Pacing::NONE,
        };
        Self { rates, clients_max }
    }
}

/// What a limit says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Come in.
    Admit {
        /// But not before then; in the order in which they asked.
        after: Duration,
    },
    /// The same again conforms after this long, if the client sends nothing else.
    Refuse {
        /// Whole seconds, rounded up, at least 1.
        retry_after_seconds: u64,
    },
    /// More than the burst: it never conforms.
    Never {
        /// What would conform.
        bytes_max: usize,
    },
}

/// The limits of all clients, in bounded memory.
#[derive(Debug)]
pub struct Admission<C: Clock = DefaultClock> {
    limits: RateLimits,
    clock: C,
    clients: Mutex<Clients<C>>,
}

#[derive(Debug)]
struct Clients<C: Clock> {
    known: HashMap<ClientKey, Limiters<C>>,
    /// Shared by the clients for which there was no room. Making room for them
    /// would mean forgetting what others used up.
    others: Limiters<C>,
    swept: C::Instant,
}

/// Counts cells of one kind. Its bucket is larger than the burst by what refills within the pacing: who reaches into
/// that comes in once it is there again, so that a queue needs neither room nor an order of its own.
#[derive(Debug)]
struct Limiter<C: Clock> {
    bucket: RateLimiter<NotKeyed, InMemoryState, C, StateInformationMiddleware>,
    per_second: NonZeroU32,
    paced_cells: u32,
    burst_cells: u32,
    /// Of the burst, and when.
    left: Mutex<(u32, C::Instant)>,
}

/// What a client may still send at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    /// After a silence.
    pub quota: u32,
    /// Now.
    pub left: u32,
    /// How many come back a second.
    pub per_second: u32,
}

/// What a client or key may still send, of each kind that is limited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeftOf {
    /// Requests.
    pub requests: Option<Left>,
    /// KiB of decompressed bodies.
    pub kib: Option<Left>,
}

impl LeftOf {
    /// The stricter of two for each kind.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let stricter = |one: Option<Left>, two: Option<Left>| match (one, two) {
            (Some(one), Some(two)) => Some(if one.left <= two.left { one } else { two }),
            (one, two) => one.or(two),
        };
        Self {
            requests: stricter(self.requests, other.requests),
            kib: stricter(self.kib, other.kib),
        }
    }
}

/// What one client or one key may send.
#[derive(Debug)]
pub(crate) struct Limiters<C: Clock> {
    requests: Option<Limiter<C>>,
    kib: Option<Limiter<C>>,
    last_seen: C::Instant,
}

impl Admission {
    /// With the clock of this machine.
    #[must_use]
    pub fn new(limits: RateLimits) -> Self {
        Self::with_clock(limits, DefaultClock::default())
    }
}

impl<C: Clock + Clone> Admission<C> {
    /// With any clock.
    pub fn with_clock(limits: RateLimits, clock: C) -> Self {
        let others = Limiters::new(&limits.rates, &clock);
        let clients = Clients {
            known: HashMap::new(),
            swept: clock.now(),
            others,
        };
        Self {
            limits,
            clock,
            clients: Mutex::new(clients),
        }
    }

    /// One request more of a client.
    pub fn request(&self, client: ClientKey) -> Verdict {
        if self.limits.rates.requests_per_second.is_none() {
            return Verdict::ADMIT;
        }
        self.ask(client, |limiters| limiters.request(&self.clock))
    }

    /// That many decompressed bytes more of a client.
    pub fn bytes(&self, client: ClientKey, bytes: usize) -> Verdict {
        if self.limits.rates.kib_per_second.is_none() {
            return Verdict::ADMIT;
        }
        self.ask(client, |limiters| limiters.bytes(bytes, &self.clock))
    }

    /// What a client has left.
    pub fn left(&self, client: ClientKey) -> LeftOf {
        let guard = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let limiters = guard.known.get(&client).unwrap_or(&guard.others);
        limiters.left(&self.clock)
    }

    /// How many clients have limits of their own now.
    pub fn tracked_clients(&self) -> usize {
        self.clients
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .known
            .len()
    }

    fn ask(&self, client: ClientKey, verdict: impl FnOnce(&Limiters<C>) -> Verdict) -> Verdict {
        let now = self.clock.now();
        let mut guard = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let clients = &mut *guard;
        if clients.known.len() >= self.limits.clients_max && !clients.known.contains_key(&client) {
            let rates = &self.limits.rates;
            clients.sweep(now, rates.burst + rates.pacing.span + REFILL_SLACK);
        }
        let has_room = clients.known.len() < self.limits.clients_max;
        let limiters = match clients.known.entry(client) {
            std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::hash_map::Entry::Vacant(room) if has_room => {
                room.insert(Limiters::new(&self.limits.rates, &self.clock))
            }
            std::collections::hash_map::Entry::Vacant(_) => &mut clients.others,
        };
        limiters.last_seen = now;
        verdict(limiters)
    }
}

impl Verdict {
    /// Come in at once.
    pub const ADMIT: Self = Self::Admit {
        after: Duration::ZERO,
    };

    /// What two limits say together; what the first refuses, the other is not asked for, and so not charged for.
    #[must_use]
    pub fn and(self, other: impl FnOnce() -> Self) -> Self {
        let Self::Admit { after: one } = self else {
            return self;
        };
        match other() {
            Self::Admit { after: two } => Self::Admit {
                after: one.max(two),
            },
            refused => refused,
        }
    }
}

impl<C: Clock + Clone> Limiter<C> {
    fn new(
        per_second: NonZeroU32,
        burst: Duration,
        pacing: Duration,
        paced_max: u32,
        clock: &C,
    ) -> Self {
        // Float to integer casts saturate, which is what is wanted here.
        let cells = |span: Duration| (f64::from(per_second.get()) * span.as_secs_f64()) as u32;
        let paced_cells = cells(pacing).min(paced_max);
        let size = NonZeroU32::new(cells(burst)).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::per_second(per_second).allow_burst(size.saturating_add(paced_cells));
        Self {
            bucket: RateLimiter::direct_with_clock(quota, clock.clone()).with_middleware(),
            per_second,
            paced_cells,
            burst_cells: size.get(),
            left: Mutex::new((size.get(), clock.now())),
        }
    }

    fn left(&self, clock: &C) -> Left {
        let (left, then) = *self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let since = Duration::from(clock.now().duration_since(then)).as_secs_f64();
        // Float to integer casts saturate.
        let come_back = (since * f64::from(self.per_second.get())) as u32;
        Left {
            quota: self.burst_cells,
            left: left.saturating_add(come_back).min(self.burst_cells),
            per_second: self.per_second.get(),
        }
    }

    /// Takes so many cells, or none. `Err` is how many there are at most.
    fn take(&self, cells: NonZeroU32, clock: &C) -> Result<Verdict, u32> {
        match self.bucket.check_n(cells) {
            Ok(Ok(left)) => {
                let left = left.remaining_burst_capacity();
                let of_burst = left.saturating_sub(self.paced_cells);
                *self.left.lock().unwrap_or_else(PoisonError::into_inner) = (of_burst, clock.now());
                let borrowed = self.paced_cells.saturating_sub(left);
                let seconds = f64::from(borrowed) / f64::from(self.per_second.get());
                Ok(Verdict::Admit {
                    after: Duration::from_secs_f64(seconds),
                })
            }
            Ok(Err(until)) => Ok(refuse(&until, clock)),
            Err(capacity) => Err(capacity.0),
        }
    }
}

fn refuse<C: Clock>(until: &NotUntil<C::Instant>, clock: &C) -> Verdict {
    let wait = until.wait_time_from(clock.now());
    let rounded_up = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    Verdict::Refuse {
        retry_after_seconds: rounded_up.max(1),
    }
}

impl<C: Clock> Clients<C> {
    /// Forgets the clients whose limits are as new by now. At most once a
    /// second, so that a flood of addresses does not make every request walk
    /// the whole table.
    fn sweep(&mut self, now: C::Instant, refill: Duration) {
        if Duration::from(now.duration_since(self.swept)) < Duration::from_secs(1) {
            return;
        }
        self.swept = now;
        self.known
            .retain(|_, client| Duration::from(now.duration_since(client.last_seen)) < refill);
        self.known.shrink_to_fit();
    }
}

impl<C: Clock + Clone> Limiters<C> {
    pub(crate) fn new(rates: &Rates, clock: &C) -> Self {
        let Pacing {
            span,
            requests_max,
            kib_max,
        } = rates.pacing;
        let limiter = |rate, paced_max| Limiter::new(rate, rates.burst, span, paced_max, clock);
        Self {
            requests: (rates.requests_per_second).map(|rate| limiter(rate, requests_max)),
            kib: (rates.kib_per_second).map(|rate| limiter(rate, kib_max)),
            last_seen: clock.now(),
        }
    }

    pub(crate) fn left(&self, clock: &C) -> LeftOf {
        LeftOf {
            requests: self.requests.as_ref().map(|limiter| limiter.left(clock)),
            kib: self.kib.as_ref().map(|limiter| limiter.left(clock)),
        }
    }

    /// One request more.
    pub(crate) fn request(&self, clock: &C) -> Verdict {
        // One cell fits into every bucket.
        let limiter = self.requests.as_ref();
        let verdict = limiter.and_then(|limiter| limiter.take(NonZeroU32::MIN, clock).ok());
        verdict.unwrap_or(Verdict::ADMIT)
    }

    /// That many decompressed bytes more.
    pub(crate) fn bytes(&self, bytes: usize, clock: &C) -> Verdict {
        let Some(limiter) = &self.kib else {
            return Verdict::ADMIT;
        };
        let cells = u32::try_from(bytes.div_ceil(BYTES_PER_CELL)).unwrap_or(u32::MAX);
        let cells = NonZeroU32::new(cells).unwrap_or(NonZeroU32::MIN);
        let never = |cells_max| Verdict::Never {
            bytes_max: usize::try_from(cells_max)
                .unwrap_or(usize::MAX)
                .saturating_mul(BYTES_PER_CELL),
        };
        limiter.take(cells, clock).unwrap_or_else(never)
    }
}

/// The bytes that all requests together may hold: bodies, decoded events, and
/// records until Kafka reported them.
#[derive(Debug)]
pub struct Budget {
    bytes_max: usize,
    bytes: AtomicUsize,
}

/// The budget is spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spent;

/// A request's share of the budget; given back when dropped.
#[derive(Debug)]
pub struct Reservation {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Budget {
    /// Nothing is taken yet.
    #[must_use]
    pub fn new(bytes_max: usize) -> Arc<Self> {
        Arc::new(Self {
            bytes_max,
            bytes: AtomicUsize::new(0),
        })
    }

    /// A share without bytes yet.
    #[must_use]
    pub fn share(self: &Arc<Self>) -> Reservation {
        Reservation {
            budget: Arc::clone(self),
            bytes: 0,
        }
    }

    /// The bytes taken now.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }
}

impl Reservation {
    /// Takes that many bytes more, or none of them.
    ///
    /// # Errors
    /// [`Spent`] if they do not fit.
    pub fn grow(&mut self, bytes: usize) -> Result<(), Spent> {
        let fits = |taken: usize| {
            taken
                .checked_add(bytes)
                .filter(|sum| *sum <= self.budget.bytes_max)
        };
        self.budget
            .bytes
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits)
            .map_err(|_| Spent)?;
        self.bytes += bytes;
        Ok(())
    }

    /// Gives back what exceeds `bytes`.
    pub fn shrink_to(&mut self, bytes: usize) {
        if let Some(surplus) = self.bytes.checked_sub(bytes) {
            self.budget.bytes.fetch_sub(surplus, Ordering::Relaxed);
            self.bytes = bytes;
        }
    }

    /// The bytes taken.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// All of it as a share of its own; nothing is left here.
    #[must_use]
    pub fn split_off(&mut self) -> Self {
        Self {
            budget: Arc::clone(&self.budget),
            bytes: std::mem::take(&mut self.bytes),
        }
    }

    /// Takes over another share of the same budget.
    pub fn merge(&mut self, mut other: Self) {
        self.bytes += std::mem::take(&mut other.bytes);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

#[cfg(test)]
mod tests;
