//! Decides whether a request may come in: rate limits per client, and the
//! budget of bytes in flight for all of them together.
//!
//! In the flow: `headers` → **`admission`** → `body`. Upholds GW-2.
//! A refused request consumes nothing of its client's limit.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use governor::clock::{Clock, DefaultClock, Reference as _};
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{NotUntil, Quota, RateLimiter};

use crate::client::ClientKey;

/// Bytes are counted in KiB: a byte's share of a second is a whole number of
/// nanoseconds only for slow limits, and would be cut.
const BYTES_PER_CELL: usize = 1024;
/// The longest that a client's limits take to be as new after it fell silent,
/// beyond the burst itself: covers the rounding of bursts to whole cells.
const REFILL_SLACK: Duration = Duration::from_secs(1);

/// The limits of each client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimits {
    /// Requests a second; `None` is no limit.
    pub requests_per_second: Option<NonZeroU32>,
    /// KiB of decompressed bodies a second; `None` is no limit.
    pub kib_per_second: Option<NonZeroU32>,
    /// How much of its rate a client that was silent may send at once.
    pub burst: Duration,
    /// How many clients have limits of their own; the others share one.
    pub clients_max: usize,
}

/// What a limit says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Come in.
    Admit,
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

type Limiter<C> = RateLimiter<NotKeyed, InMemoryState, C, NoOpMiddleware<<C as Clock>::Instant>>;

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
        let others = Limiters::new(&limits, &clock);
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
        if self.limits.requests_per_second.is_none() {
            return Verdict::Admit;
        }
        self.ask(client, |limiters| limiters.request(&self.clock))
    }

    /// That many decompressed bytes more of a client.
    pub fn bytes(&self, client: ClientKey, bytes: usize) -> Verdict {
        if self.limits.kib_per_second.is_none() {
            return Verdict::Admit;
        }
        self.ask(client, |limiters| limiters.bytes(bytes, &self.clock))
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
            clients.sweep(now, self.limits.burst + REFILL_SLACK);
        }
        let has_room = clients.known.len() < self.limits.clients_max;
        let limiters = match clients.known.entry(client) {
            std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::hash_map::Entry::Vacant(room) if has_room => {
                room.insert(Limiters::new(&self.limits, &self.clock))
            }
            std::collections::hash_map::Entry::Vacant(_) => &mut clients.others,
        };
        limiters.last_seen = now;
        verdict(limiters)
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
    fn new(limits: &RateLimits, clock: &C) -> Self {
        let RateLimits {
            requests_per_second,
            kib_per_second,
            burst,
            ..
        } = *limits;
        Self::with_rates(requests_per_second, kib_per_second, burst, clock)
    }

    pub(crate) fn with_rates(
        requests_per_second: Option<NonZeroU32>,
        kib_per_second: Option<NonZeroU32>,
        burst: Duration,
        clock: &C,
    ) -> Self {
        let limiter = |rate: NonZeroU32| {
            let burst = f64::from(rate.get()) * burst.as_secs_f64();
            // Float to integer casts saturate, which is what is wanted here.
            let burst = NonZeroU32::new(burst as u32).unwrap_or(NonZeroU32::MIN);
            Limiter::<C>::direct_with_clock(
                Quota::per_second(rate).allow_burst(burst),
                clock.clone(),
            )
        };
        Self {
            requests: requests_per_second.map(limiter),
            kib: kib_per_second.map(limiter),
            last_seen: clock.now(),
        }
    }

    /// One request more.
    pub(crate) fn request(&self, clock: &C) -> Verdict {
        match self.requests.as_ref().map(|limiter| limiter.check()) {
            None | Some(Ok(())) => Verdict::Admit,
            Some(Err(until)) => refuse(&until, clock),
        }
    }

    /// That many decompressed bytes more.
    pub(crate) fn bytes(&self, bytes: usize, clock: &C) -> Verdict {
        let cells = u32::try_from(bytes.div_ceil(BYTES_PER_CELL)).unwrap_or(u32::MAX);
        let cells = NonZeroU32::new(cells).unwrap_or(NonZeroU32::MIN);
        match self.kib.as_ref().map(|limiter| limiter.check_n(cells)) {
            None | Some(Ok(Ok(()))) => Verdict::Admit,
            Some(Ok(Err(until))) => refuse(&until, clock),
            Some(Err(capacity)) => Verdict::Never {
                bytes_max: usize::try_from(capacity.0)
                    .unwrap_or(usize::MAX)
                    .saturating_mul(BYTES_PER_CELL),
            },
        }
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
