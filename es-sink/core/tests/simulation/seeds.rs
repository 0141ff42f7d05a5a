//! Runs seeds on all cores, shows how far it is, and tells the story of the one that fails.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::io::Write as _;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::world::World;

/// Always run, so that what they must meet can be demanded.
const FIXED: Range<u64> = 0..3_000;
/// So many more each time, never the same ones.
const FRESH: u64 = 3_000;
/// The end of a failed seed's story.
const LAST_LINES: usize = 60;
const PROGRESS_EVERY: Duration = Duration::from_secs(2);

/// Seeds that failed once, each with what it found.
const FOUND: [(u64, &str); 2] = [
    (
        2_897,
        "a commit ordered in one assignment and carried out in the next set the offset back",
    ),
    (
        8_000_598,
        "a sink went on to raise the alarm about a request that had left with its partition",
    ),
];

/// What the fixed seeds must meet, all in all.
const EVERYTHING: [&str; 73] = [
    "a late commit overtook a transaction",
    "a late commit set an offset back",
    "bulk lost",
    "commit failed",
    "commit late",
    "commit lost",
    "commit order outlived its assignment",
    "commit of a stale generation refused",
    "conflict",
    "cooperative rebalance",
    "crash",
    "crashed before it was synced",
    "dead letters of a log that is gone",
    "dead letter retried",
    "document_parsing_exception",
    "eager rebalance",
    "end, all said",
    "end, no answer",
    "everything refused",
    "forbidden",
    "illegal_argument_exception",
    "index_blocked",
    "index_closed",
    "index_missing",
    "indexed",
    "last commit repeated",
    "late record ignored",
    "limit_reached",
    "member left out of a round",
    "new field refused once",
    "new topic noticed",
    "no_reply",
    "no_value",
    "node unreachable",
    "not_an_object",
    "offset of another topic ignored",
    "offsets reset to the earliest",
    "open transaction aborted",
    "overloaded",
    "partitions lost",
    "pause",
    "read of a new topic, taken for the old one",
    "reading set back after a lost tail",
    "reading went back",
    "records removed",
    "release, drained",
    "release, not drained",
    "reply cut",
    "reply to a bulk lost",
    "reply to a commit lost",
    "reply to a transaction lost",
    "request_entity_too_large",
    "resume",
    "session timed out",
    "slow node",
    "split",
    "tail lost in an unclean election",
    "the same, sent by a zombie",
    "topic created again",
    "transaction aborted",
    "transaction ended by the coordinator",
    "transaction lost",
    "transaction of a stale generation fenced",
    "unacknowledged tail lost",
    "unauthorized",
    "unavailable",
    "unexplained",
    "unreadable_reply",
    "unsynced document lost in a crash",
    "updated",
    "waits for an open transaction",
    "written again before it was synced",
    "x_content_parse_exception",
];

#[derive(Debug)]
struct Failure {
    seed: u64,
    why: String,
}

/// What one machine finds out about many seeds.
#[derive(Default)]
struct Sum {
    seen: BTreeSet<&'static str>,
    n_events: u64,
    virtual_time: Duration,
    failure: Option<Failure>,
}

/// What the environment names, or what CI runs.
pub(crate) fn run_chosen() {
    let number = |name: &str| {
        let text = std::env::var(name).ok()?;
        let number = text.parse();
        Some(number.unwrap_or_else(|_| panic!("{name}={text} is no number")))
    };
    let n_seeds = number("LOGFLOW_SIM_SEEDS");
    let from = number("LOGFLOW_SIM_FROM").unwrap_or(0);
    keep_panics_of_seeds();
    match (number("LOGFLOW_SIM_SEED"), n_seeds) {
        (Some(seed), _) => replay(seed),
        (None, Some(n_seeds)) => drop(run("seeds", from..from + n_seeds)),
        (None, None) => {
            for (seed, _) in FOUND {
                run("a seed that failed once", seed..seed + 1);
            }
            let met = run("fixed seeds", FIXED);
            for what in EVERYTHING {
                assert!(met.contains(what), "the fixed seeds never meet: {what}");
            }
            let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
            let start = since_1970.map_or(0, |now| now.as_secs()) * 1_000;
            run("fresh seeds", start..start + FRESH);
        }
    }
}

/// Runs them all; what they met. The first failure ends it.
fn run(what: &str, seeds: Range<u64>) -> BTreeSet<&'static str> {
    let began = Instant::now();
    let n_seeds = seeds.end - seeds.start;
    let next = AtomicU64::new(seeds.start);
    let sum = Mutex::new(Sum::default());
    let n_workers = std::thread::available_parallelism().map_or(1, usize::from);
    let n_done = || next.load(Ordering::Relaxed).min(seeds.end) - seeds.start;
    std::thread::scope(|scope| {
        let work = || {
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= seeds.end {
                    break;
                }
                let (world, result) = run_one(seed, false);
                let mut sum = sum.lock().expect("no worker panics");
                sum.seen.extend(&world.seen);
                sum.n_events += world.n_events;
                sum.virtual_time += world.now;
                if let Err(why) = result {
                    next.fetch_max(seeds.end, Ordering::Relaxed);
                    if sum.failure.as_ref().is_none_or(|other| seed < other.seed) {
                        sum.failure = Some(Failure { seed, why });
                    }
                }
            }
        };
        let workers: Vec<_> = (0..n_workers).map(|_| scope.spawn(work)).collect();
        let mut shown = Instant::now();
        while workers.iter().any(|worker| !worker.is_finished()) {
            std::thread::park_timeout(Duration::from_millis(20));
            if shown.elapsed() >= PROGRESS_EVERY {
                shown = Instant::now();
                let rate = n_done() as f64 / began.elapsed().as_secs_f64();
                let left = (n_seeds - n_done()) as f64 / rate.max(1.0);
                say(&format!(
                    "{what}: {} of {n_seeds}, {rate:.0} a second, {left:.0} s left",
                    n_done()
                ));
            }
        }
    });
    let sum = sum.into_inner().expect("no worker panics");
    let took = began.elapsed().as_secs_f64();
    if let Some(Failure { seed, why }) = sum.failure {
        say(&format!(
            "seed {seed} fails, {} of {n_seeds} {what} and {took:.1} s after the beginning",
            seed - seeds.start + 1
        ));
        tell_end(seed, &why);
    }
    say(&format!(
        "{what}: {n_seeds} from {} on hold, {took:.1} s, {} events in {:.1} hours of virtual time",
        seeds.start,
        sum.n_events,
        sum.virtual_time.as_secs_f64() / 3_600.0
    ));
    sum.seen
}

/// One seed with its whole story.
fn replay(seed: u64) {
    let (world, result) = run_one(seed, true);
    world.story.iter().flatten().for_each(|line| say(line));
    if let Err(why) = result {
        panic!("seed {seed} fails: {why}");
    }
    say(&format!(
        "seed {seed} holds: {} records, {} events, {:.1} s of virtual time; met: {}",
        world.truth.records.len(),
        world.n_events,
        world.now.as_secs_f64(),
        world.seen.into_iter().collect::<Vec<_>>().join(", ")
    ));
}

/// Runs a failed seed once more, for its last lines.
fn tell_end(seed: u64, why: &str) -> ! {
    let (world, again) = run_one(seed, true);
    let story = world.story.unwrap_or_default();
    let first = story.len().saturating_sub(LAST_LINES);
    story[first..].iter().for_each(|line| say(line));
    let same = again.is_err_and(|again| again == why);
    assert!(same, "seed {seed} does not fail the same way twice: {why}");
    panic!("seed {seed} fails: {why}\nthe whole story: `cargo xtask test sim --seed {seed}`");
}

fn run_one(seed: u64, with_story: bool) -> (World, Result<(), String>) {
    let mut world = World::new(seed, with_story);
    RUNS_SEED.set(true);
    let result = catch_unwind(AssertUnwindSafe(|| world.run()));
    RUNS_SEED.set(false);
    let result = result.map_err(|_| LAST_PANIC.take());
    (world, result)
}

thread_local! {
    static RUNS_SEED: Cell<bool> = const { Cell::new(false) };
    static LAST_PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Why a seed fails is told with its story, not where it panics.
fn keep_panics_of_seeds() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if RUNS_SEED.get() {
            let text = panic.payload_as_str().unwrap_or("no text");
            let place = panic.location().map(|place| format!(" ({place})"));
            LAST_PANIC.set(format!("{text}{}", place.unwrap_or_default()));
        } else {
            usual(panic);
        }
    }));
}

/// Past the test harness, which would keep it back until the end.
fn say(line: &str) {
    let written = writeln!(std::io::stderr(), "{line}");
    written.expect("somebody reads the progress");
}
