//! The one thread that reads Kafka: starts, polls, ends.
//!
//! In the flow: `config` → **`consumer`** → `engine`. One thread, because rebalance callbacks then run where records
//! are read, and nothing can overtake anything (docs/decisions/0004-one-consumer-thread.md).

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use kafka_source::privileges::Refused;
use kafka_source::questions::ask_regularly;
use kafka_source::subscription::{Subscription, leave_in_time};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use service::shutdown::Shutdown;
use tokio::runtime::Handle;
use tokio::sync::mpsc::unbounded_channel;

use crate::config::{Config, FETCH_AHEAD_KIB};
use crate::engine::{Ends, Engine, Link, Sleep};
use crate::holdings::Holdings;
use crate::metrics::Metrics;
use crate::status::StatusBoard;
use crate::writer::{Reply, Writer};

/// Records between two looks at replies.
const RECORDS_PER_TURN: u32 = 64;

/// What the consumer thread needs of the rest of the process.
#[derive(Debug)]
pub struct Surroundings {
    /// Runs the exchange with PostgreSQL.
    pub runtime: Handle,
    /// What people see.
    pub board: Arc<StatusBoard>,
    /// What alerts see.
    pub metrics: Arc<Metrics>,
    /// When to drain.
    pub shutdown: Shutdown,
    /// When the process started.
    pub started: Instant,
}

/// Runs until the shutdown is complete.
///
/// # Errors
/// If librdkafka refuses the configuration, or a fault that only a restart heals (a fenced member); a restart goes on
/// where the archive ends.
pub fn run(config: &Config, surroundings: Surroundings) -> anyhow::Result<()> {
    let Surroundings {
        runtime,
        board,
        metrics,
        shutdown,
        started,
    } = surroundings;
    let (replies_to_us, replies) = channel();
    let (orders, ordered) = unbounded_channel();
    let (asking, ask_until) = channel();
    let holdings = Holdings::default();
    let writer = Writer {
        target: config.target.clone(),
        manages_schema: config.manages_schema,
        timeout: config.postgres_timeout,
        current: holdings.current(),
        board: Arc::clone(&board),
        metrics: Arc::clone(&metrics),
        replies: replies_to_us.clone(),
    };
    runtime.spawn(writer.run(ordered));
    let ends = Ends {
        orders,
        replies,
        board: Arc::clone(&board),
        metrics,
    };
    let engine = Engine::new(
        holdings,
        config.batch,
        config.drain_max,
        Refused::new(&config.group, &config.topics, Arc::clone(&board.kafka)),
        ends,
        started,
    );
    let subscription = Subscription {
        client_id: "archive-sink",
        brokers: &config.brokers,
        topics: &config.topics,
        group: &config.group,
        properties: &config.kafka_properties,
        fetch_ahead_kib: FETCH_AHEAD_KIB,
    };
    let consumer = subscription.join(Link::new(engine, Arc::clone(&board.kafka)))?;
    let paused = Arc::clone(&board);
    let questions = ask_regularly(
        Arc::clone(&consumer),
        ask_until,
        Arc::clone(&board.kafka),
        move || paused.reading_is_paused(),
        move |asked_at, told| drop(replies_to_us.send(Reply::Topics { asked_at, told })),
    )
    .context("starting the thread that asks the brokers")?;
    let mut draining = false;
    let is_complete = loop {
        if shutdown.is_requested() && !draining {
            draining = true;
            board.drain();
            consumer.context().engine().drain(&consumer);
        }
        turn(&consumer)?;
        if let Some(is_complete) = consumer.context().engine().is_drained() {
            break is_complete;
        }
    };
    if !is_complete {
        tracing::warn!("what was read is not all archived; it is read again by whoever comes next");
    }
    if !board.kafka.is_there() {
        // Closing would wait for a coordinator that does not answer. Nothing is lost by not closing.
        tracing::warn!("Kafka is not there; ending without leaving the group");
        std::process::exit(0);
    }
    leave_in_time()?;
    drop(asking);
    if questions.join().is_err() {
        tracing::warn!("the thread that asks the brokers panicked");
    }
    drop(consumer);
    tracing::info!("drained, left the group");
    Ok(())
}

/// Takes records until there is something else to do.
fn turn(consumer: &BaseConsumer<Link>) -> anyhow::Result<()> {
    for _ in 0..RECORDS_PER_TURN {
        if !consumer.context().engine().takes_records() {
            break;
        }
        match consumer.poll(Duration::ZERO) {
            Some(polled) => consumer.context().engine().polled(polled)?,
            None => break,
        }
    }
    let sleep = consumer.context().engine().service(consumer);
    match sleep {
        Sleep::Polling(longest) => {
            if let Some(polled) = consumer.poll(longest) {
                consumer.context().engine().polled(polled)?;
            }
        }
        Sleep::AwaitingReplies(longest) => {
            consumer.context().engine().await_reply(consumer, longest);
        }
    }
    Ok(())
}
