//! The one thread that reads Kafka: starts, polls, ends.
//!
//! In the flow: `template` → **`consumer`** → `engine`. One thread, because
//! rebalance callbacks then run where records are read, and nothing can overtake
//! anything (docs/decisions/0004-one-consumer-thread.md).

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use kafka_source::questions::ask_regularly;
use kafka_source::subscription::{Subscription, leave_in_time};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use service::elasticsearch::Nodes;
use service::shutdown::Shutdown;
use service::traces::Traces;
use tokio::runtime::Handle;

use crate::committer::{self, DepartureCount};
use crate::config::Config;
use crate::dead_letter_topic::DeadLetterTopic;
use crate::engine::{Ending, Engine, Link, Orders, Sleep};
use crate::metrics::Metrics;
use crate::reply::Reply;
use crate::status::StatusBoard;

/// Records between two looks at replies and deadlines: rare enough to cost
/// nothing, often enough for a reply to wait only microseconds.
const RECORDS_PER_TURN: u32 = 64;

/// What the consumer thread needs of the rest of the process.
#[derive(Debug)]
pub struct Surroundings {
    /// The cluster.
    pub nodes: Arc<Nodes>,
    /// Runs the HTTP exchanges.
    pub runtime: Handle,
    /// What people see.
    pub board: Arc<StatusBoard>,
    /// What alerts see.
    pub metrics: Arc<Metrics>,
    /// Where spans go; `None`: nothing is traced.
    pub traces: Option<Traces>,
    /// When to drain.
    pub shutdown: Shutdown,
    /// When the process started; the machine's clock counts from here.
    pub started: Instant,
}

/// Runs until the shutdown is complete.
///
/// # Errors
/// If librdkafka refuses the configuration, or a fault that only a restart
/// heals (a fenced member); a restart goes on at the committed offsets.
pub fn run(config: &Config, surroundings: Surroundings) -> anyhow::Result<()> {
    let shutdown = surroundings.shutdown.clone();
    let board = Arc::clone(&surroundings.board);
    let (replies_to_us, replies) = channel();
    let (commits, commit_orders) = channel();
    let (transactions, transaction_orders) = channel();
    let (asking, ask_until) = channel();
    let departures = DepartureCount::default();
    let orders = Orders {
        commits,
        departures: departures.clone(),
        transactions,
    };
    let dead_letters = DeadLetterTopic::new(
        &config.brokers,
        &config.dead_letter_topic,
        &config.kafka_properties,
        &config.transactional_id,
    )
    .context("librdkafka refuses the configuration of the dead-letter producer")?;
    let engine = Engine::new(config, surroundings, replies_to_us.clone(), replies, orders);
    let subscription = Subscription {
        client_id: "es-sink",
        brokers: &config.brokers,
        topics: &config.topics,
        group: &config.sink.group,
        properties: &config.kafka_properties,
        fetch_ahead_kib: config.fetch_ahead_kib,
    };
    let consumer = subscription.join(Link::new(engine, Arc::clone(&board.kafka)))?;
    let paused = Arc::clone(&board);
    let threads = [
        committer::start(
            Arc::clone(&consumer),
            commit_orders,
            departures,
            replies_to_us.clone(),
        ),
        dead_letters.start(
            Arc::clone(&consumer),
            transaction_orders,
            replies_to_us.clone(),
        ),
        ask_regularly(
            Arc::clone(&consumer),
            ask_until,
            Arc::clone(&board.kafka),
            move || paused.reading_is_paused(),
            move |asked_at, told| drop(replies_to_us.send(Reply::Topics { asked_at, told })),
        ),
    ];
    let threads: Vec<_> = threads
        .into_iter()
        .collect::<Result<_, _>>()
        .context("starting the threads that wait for the coordinator")?;
    let mut draining = false;
    let ending = loop {
        if shutdown.is_requested() && !draining {
            draining = true;
            board.drain();
            consumer.context().engine().shutdown(&consumer);
        }
        if let Some(ending) = turn(&consumer)? {
            break ending;
        }
    };
    if ending == Ending::NoAnswer || !board.kafka.is_there() {
        // Closing would wait for a coordinator that does not answer (librdkafka
        // 2.12 may even crash on it); the next start repeats what was not
        // committed, to the same documents (EO-3).
        tracing::warn!("Kafka did not answer the last commit; ending without leaving the group");
        std::process::exit(0);
    }
    leave_in_time()?;
    consumer.context().engine().end_orders();
    drop(asking);
    for thread in threads {
        let name = thread.thread().name().unwrap_or_default().to_owned();
        if thread.join().is_err() {
            tracing::warn!(name, "a thread panicked");
        }
    }
    drop(consumer);
    tracing::info!("drained, committed, left the group");
    Ok(())
}

/// Takes records until there is something else to do, or nothing at all.
fn turn(consumer: &BaseConsumer<Link>) -> anyhow::Result<Option<Ending>> {
    let now = consumer.context().engine().now();
    for _ in 0..RECORDS_PER_TURN {
        if !consumer.context().engine().takes_records() {
            break;
        }
        match consumer.poll(Duration::ZERO) {
            Some(polled) => consumer.context().engine().polled(now, polled)?,
            None => break,
        }
    }
    let (ending, sleep) = consumer.context().engine().service(consumer);
    if ending.is_some() {
        return Ok(ending);
    }
    match sleep {
        Sleep::Polling(longest) => {
            if let Some(polled) = consumer.poll(longest) {
                let mut engine = consumer.context().engine();
                let now = engine.now();
                engine.polled(now, polled)?;
            }
        }
        Sleep::AwaitingReplies(longest) => {
            consumer.context().engine().await_reply(consumer, longest);
        }
    }
    Ok(None)
}
