//! The one thread that reads Kafka: starts, polls, ends.
//!
//! In the flow: `config` → **`consumer`** → `engine`. One thread, because rebalance callbacks then run where records
//! are read, and nothing can overtake anything (docs/decisions/0004-one-consumer-thread.md).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use kafka_source::privileges::Refused;
use kafka_source::subscription::Subscription;
use kafka_source::{log_ends, topic_id};
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
/// How long leaving the group may take: a coordinator that stalls answers nothing.
const LEAVING_MAX: Duration = Duration::from_secs(5);
/// How soon a topic that is created again is noticed, and the age of what is known of paused logs.
const ASK_INTERVAL: Duration = Duration::from_secs(3);

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
        Refused::new(&config.group, &config.topics),
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
    let consumer = subscription.join(Link::new(engine, Arc::clone(&board) as _))?;
    let questions = ask_regularly(
        Arc::clone(&consumer),
        ask_until,
        replies_to_us,
        Arc::clone(&board),
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
    if !board.kafka_is_there() {
        // Closing would wait for a coordinator that does not answer. Nothing is lost by not closing.
        tracing::warn!("Kafka is not there; ending without leaving the group");
        std::process::exit(0);
    }
    std::thread::Builder::new()
        .name("leaving".to_owned())
        .spawn(|| {
            std::thread::sleep(LEAVING_MAX);
            tracing::warn!("leaving the group takes too long; ending without an answer");
            std::process::exit(0);
        })
        .context("starting the thread that ends a long goodbye")?;
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

/// Asks the brokers what no poll tells, on a thread of its own because the answers take their time,
/// until nobody keeps the other end of `until`.
fn ask_regularly(
    consumer: Arc<BaseConsumer<Link>>,
    until: Receiver<()>,
    replies: Sender<Reply>,
    board: Arc<StatusBoard>,
) -> std::io::Result<std::thread::JoinHandle<()>> {
    std::thread::Builder::new()
        .name("kafka-questions".to_owned())
        .spawn(move || {
            while until.recv_timeout(ASK_INTERVAL) == Err(RecvTimeoutError::Timeout) {
                let asked_at = Instant::now();
                // What keeps the brokers from answering is told by others.
                if let Ok(Some(told)) = topic_id::of_assigned(&consumer) {
                    drop(replies.send(Reply::Topics { asked_at, told }));
                }
                let ends = match board.reading_is_paused() {
                    true => log_ends::of_assigned(&consumer),
                    false => BTreeMap::new(),
                };
                board.publish_asked_ends(ends);
            }
        })
}
