use super::*;
use governor::clock::FakeRelativeClock;
use proptest::prelude::*;

fn limits(requests: u32, kib: u32, burst_ms: u64, clients_max: usize) -> RateLimits {
    let rates = Rates {
        requests_per_second: NonZeroU32::new(requests),
        kib_per_second: NonZeroU32::new(kib),
        burst: Duration::from_millis(burst_ms),
        pacing: Pacing::NONE,
    };
    RateLimits { rates, clients_max }
}

fn paced(mut limits: RateLimits, pacing_ms: u64) -> RateLimits {
    limits.rates.pacing = Pacing {
        span: Duration::from_millis(pacing_ms),
        requests_max: u32::MAX,
        kib_max: u32::MAX,
    };
    limits
}

fn admission(limits: RateLimits) -> (Admission<FakeRelativeClock>, FakeRelativeClock) {
    let clock = FakeRelativeClock::default();
    (Admission::with_clock(limits, clock.clone()), clock)
}

const A: ClientKey = ClientKey::V4(1);
const B: ClientKey = ClientKey::V4(2);
const C: ClientKey = ClientKey::V6(3);

fn after(millis: u64) -> Verdict {
    let after = Duration::from_millis(millis);
    Verdict::Admit { after }
}

fn refuse(retry_after_seconds: u64) -> Verdict {
    Verdict::Refuse {
        retry_after_seconds,
    }
}

#[test]
fn clients_do_not_use_up_each_others_limit() {
    let (admission, _clock) = admission(limits(1, 0, 2_000, 10));
    assert_eq!(admission.request(A), Verdict::ADMIT);
    assert_eq!(admission.request(A), Verdict::ADMIT);
    assert_eq!(admission.request(A), refuse(1));
    assert_eq!(admission.request(B), Verdict::ADMIT);
}

#[test]
fn the_wait_is_honest() {
    let (admission, clock) = admission(limits(0, 10, 10_000, 10));
    assert_eq!(admission.bytes(A, 100 * 1024), Verdict::ADMIT);
    assert_eq!(admission.bytes(A, 35 * 1024), refuse(4));
    clock.advance(Duration::from_millis(3_400));
    assert_eq!(admission.bytes(A, 35 * 1024), refuse(1));
    clock.advance(Duration::from_millis(100));
    assert_eq!(admission.bytes(A, 35 * 1024), Verdict::ADMIT);
}

#[test]
fn what_exceeds_the_burst_by_little_is_held_back_in_turn() {
    let (admission, clock) = admission(paced(limits(10, 0, 1_000, 10), 500));
    for _ in 0..10 {
        assert_eq!(admission.request(A), Verdict::ADMIT);
    }
    for place in 1..=5 {
        assert_eq!(admission.request(A), after(place * 100));
    }
    assert_eq!(admission.request(A), refuse(1), "the queue is full");
    clock.advance(Duration::from_millis(200));
    assert_eq!(admission.request(A), after(400));
    assert_eq!(admission.request(B), Verdict::ADMIT);
}

#[test]
fn a_client_has_no_more_held_back_than_its_share_of_the_room() {
    let mut limits = paced(limits(100, 100, 1_000, 10), 1_000);
    limits.rates.pacing.requests_max = 2;
    limits.rates.pacing.kib_max = 10;
    let (admission, _clock) = admission(limits);
    let admitted = |verdict: Verdict| matches!(verdict, Verdict::Admit { .. });
    let requests = (0..200).filter(|_| admitted(admission.request(A))).count();
    let kib = (0..200)
        .filter(|_| admitted(admission.bytes(A, 1024)))
        .count();
    assert_eq!((requests, kib), (102, 110));
}

#[test]
fn what_is_left_grows_again_while_nothing_is_sent() {
    let (admission, clock) = admission(paced(limits(10, 0, 1_000, 10), 500));
    let left = |admission: &Admission<FakeRelativeClock>| {
        let left = admission.left(A);
        assert_eq!(left.kib, None);
        left.requests.map(|left| (left.left, left.quota))
    };
    assert_eq!(left(&admission), Some((10, 10)));
    for expected in (0..10).rev().chain([0, 0]) {
        assert!(matches!(admission.request(A), Verdict::Admit { .. }));
        assert_eq!(left(&admission), Some((expected, 10)));
    }
    clock.advance(Duration::from_millis(700));
    assert_eq!(left(&admission), Some((7, 10)));
    clock.advance(Duration::from_secs(60));
    assert_eq!(left(&admission), Some((10, 10)));
}

#[test]
fn of_two_limits_the_stricter_one_counts() {
    let never = Verdict::Never { bytes_max: 1 };
    for (one, two, both) in [
        (Verdict::ADMIT, after(3), after(3)),
        (after(3), after(2), after(3)),
        (after(3), refuse(1), refuse(1)),
        (never, after(3), never),
        (refuse(1), never, refuse(1)),
    ] {
        assert_eq!(one.and(|| two), both);
    }
}

#[test]
fn what_exceeds_the_burst_is_never_promised_for_later() {
    let (admission, _clock) = admission(limits(0, 10, 2_000, 10));
    assert_eq!(
        admission.bytes(A, 20 * 1024 + 1),
        Verdict::Never {
            bytes_max: 20 * 1024
        }
    );
    assert_eq!(admission.bytes(A, 20 * 1024), Verdict::ADMIT);
    assert_eq!(
        admission.bytes(A, usize::MAX),
        Verdict::Never {
            bytes_max: 20 * 1024
        }
    );
}

#[test]
fn a_flood_of_clients_shares_one_limit_and_forgets_nobody_active() {
    let (admission, clock) = admission(limits(1, 0, 1_000, 2));
    assert_eq!(admission.request(A), Verdict::ADMIT);
    assert_eq!(admission.request(B), Verdict::ADMIT);
    assert_eq!(admission.request(C), Verdict::ADMIT);
    assert_eq!(
        admission.request(ClientKey::V4(4)),
        refuse(1),
        "shares with C"
    );
    assert_eq!(admission.request(A), refuse(1), "A is still known");
    assert_eq!(admission.tracked_clients(), 2);
    clock.advance(Duration::from_secs(5));
    assert_eq!(admission.request(C), Verdict::ADMIT);
    assert_eq!(
        admission.tracked_clients(),
        1,
        "A and B were silent long enough"
    );
}

#[test]
fn a_budget_never_exceeds_its_bound_and_gets_everything_back() {
    let budget = Budget::new(100);
    let mut first = budget.share();
    let mut second = budget.share();
    assert_eq!(first.grow(60), Ok(()));
    assert_eq!(second.grow(41), Err(Spent));
    assert_eq!(second.grow(40), Ok(()));
    assert_eq!(second.grow(1), Err(Spent));
    assert_eq!(second.grow(usize::MAX), Err(Spent));
    first.shrink_to(10);
    assert_eq!((first.bytes(), budget.bytes()), (10, 50));
    first.shrink_to(20);
    assert_eq!(first.bytes(), 10, "shrinking never takes more");
    drop(second);
    drop(first);
    assert_eq!(budget.bytes(), 0);
}

/// A bucket of tokens as one would write it down on paper.
struct Bucket {
    per_second: f64,
    size: f64,
    tokens: f64,
}

impl Bucket {
    fn pass(&mut self, elapsed: Duration) {
        self.tokens = (self.tokens + self.per_second * elapsed.as_secs_f64()).min(self.size);
    }
}

proptest! {
    #[test]
    fn agrees_with_a_naive_token_bucket(
        rate in 1_u32..200,
        burst_seconds in 1_u32..6,
        pacing_seconds in 0_u32..3,
        steps in prop::collection::vec((0_u64..3_000, 0_usize..300_000), 1..80),
    ) {
        let limits = limits(0, rate, u64::from(burst_seconds) * 1_000, 4);
        let (admission, clock) = admission(paced(limits, u64::from(pacing_seconds) * 1_000));
        let size = f64::from(rate * burst_seconds);
        let mut bucket = Bucket { per_second: f64::from(rate), size, tokens: size };
        for (wait_ms, bytes) in steps {
            let wait = Duration::from_millis(wait_ms);
            clock.advance(wait);
            bucket.pass(wait);
            let cells = f64::from(u32::try_from(bytes.div_ceil(1024).max(1)).unwrap());
            let verdict = admission.bytes(A, bytes);
            // Whole nanoseconds a cell make the two differ by less than this.
            let slack = 0.001;
            let borrowed_max = f64::from(rate * pacing_seconds);
            match verdict {
                Verdict::Admit { after } => {
                    bucket.tokens -= cells;
                    let borrowed = (-bucket.tokens).max(0.0);
                    prop_assert!(borrowed <= borrowed_max + slack, "{borrowed} borrowed");
                    // Whole cells are waited for.
                    let waited = after.as_secs_f64() * bucket.per_second;
                    prop_assert!(waited + slack >= borrowed && waited < borrowed + 1.0 + slack, "{waited} for {borrowed}");
                }
                Verdict::Refuse { retry_after_seconds } => {
                    let missing = cells - bucket.tokens - borrowed_max;
                    prop_assert!(missing > -slack && cells <= size + borrowed_max + slack);
                    let expected = (missing / bucket.per_second).max(0.0);
                    let told = retry_after_seconds as f64;
                    prop_assert!(told >= 1.0 && told + slack >= expected && told <= expected.max(1.0) + 1.0 + slack,
                        "told {told}, expected {expected}");
                }
                Verdict::Never { .. } => prop_assert!(cells > size + borrowed_max),
            }
        }
    }

    #[test]
    fn never_tracks_more_clients_than_allowed(clients in prop::collection::vec((0_u32..50, 0_u64..900), 1..200)) {
        let (admission, clock) = admission(limits(5, 5, 1_000, 7));
        for (client, wait_ms) in clients {
            clock.advance(Duration::from_millis(wait_ms));
            let _ = admission.request(ClientKey::V4(client));
            let _ = admission.bytes(ClientKey::V4(client), 100);
            prop_assert!(admission.tracked_clients() <= 7);
        }
    }
}
