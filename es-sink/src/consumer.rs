//! The one thread that reads Kafka: starts, polls, ends.
//!
//! In the flow: `template` → **`consumer`** → `callbacks`, `engine`. One thread, because
//! rebalance callbacks then run where records are read, and nothing can overtake
//! anything (docs/decisions/0004-one-consumer-thread.md).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use service::kafka::{KafkaProperty, client_config};

use crate::callbacks::Link;
use crate::committer::{self, DepartureCount};
use crate::config::{Config, FIXED_CONSUMER_PROPERTIES};
use crate::dead_letter_topic::DeadLetterTopic;
use crate::engine::{Ending, Engine, Orders, Sleep, Surroundings};
use crate::reply::Reply;
use crate::status::StatusBoard;
use crate::{log_ends, topic_id};

/// Records between two looks at replies and deadlines: rare enough to cost
/// nothing, often enough for a reply to wait only microseconds.
const RECORDS_PER_TURN: u32 = 64;
/// How long leaving the group may take: a coordinator that stalls answers nothing.
const LEAVING_MAX: Duration = Duration::from_secs(5);
/// How soon a topic that is created again is noticed, and the age of what is known of paused logs.
const ASK_INTERVAL: Duration = Duration::from_secs(3);
/// How a group of the classic protocol shares its partitions and finds out who is gone.
const CLASSIC_PROTOCOL: [(&str, &str); 3] = [
    ("partition.assignment.strategy", "cooperative-sticky"),
    ("session.timeout.ms", "10000"),
    ("heartbeat.interval.ms", "2000"),
];

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
    let consumer = subscribe(config, Link::new(engine, Arc::clone(&board)))?;
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
            replies_to_us,
            Arc::clone(&board),
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
    if ending == Ending::NoAnswer || !board.kafka_is_there() {
        // Closing would wait for a coordinator that does not answer (librdkafka
        // 2.12 may even crash on it); the next start repeats what was not
        // committed, to the same documents (EO-3).
        tracing::warn!("Kafka did not answer the last commit; ending without leaving the group");
        std::process::exit(0);
    }
    std::thread::Builder::new()
        .name("leaving".to_owned())
        .spawn(|| {
            std::thread::sleep(LEAVING_MAX);
            // What was confirmed is committed; the group finds out by the session's end.
            tracing::warn!("leaving the group takes too long; ending without an answer");
            std::process::exit(0);
        })
        .context("starting the thread that ends a long goodbye")?;
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

/// Asks the brokers what no poll tells, on a thread of its own because the answers take their time,
/// until nobody keeps the other end of `until`.
fn ask_regularly(
    consumer: Arc<BaseConsumer<Link>>,
    until: Receiver<()>,
    replies: Sender<Reply>,
    board: Arc<StatusBoard>,
) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new()
        .name("kafka-questions".to_owned())
        .spawn(move || {
            while until.recv_timeout(ASK_INTERVAL) == Err(RecvTimeoutError::Timeout) {
                let asked_at = Instant::now();
                // What keeps the brokers from answering is told by others.
                if let Ok(ids) = topic_id::of_assigned(&consumer) {
                    drop(replies.send(Reply::TopicIds { asked_at, ids }));
                }
                let ends = match board.reading_is_paused() {
                    true => log_ends::of_assigned(&consumer),
                    false => BTreeMap::new(),
                };
                board.publish_asked_ends(ends);
            }
        })
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

fn subscribe(config: &Config, link: Link) -> anyhow::Result<Arc<BaseConsumer<Link>>> {
    let fetch_ahead = config.fetch_ahead_kib.to_string();
    // One fetch may bring this much per broker; compressed, so several times that once unpacked.
    let fetch_bytes = (config.fetch_ahead_kib * 1024 / 4)
        .clamp(1 << 20, 16 << 20)
        .to_string();
    let mut needed = vec![
        ("group.id", config.sink.group.as_str()),
        ("client.id", "es-sink"),
        ("max.poll.interval.ms", "300000"),
        ("queued.min.messages", "100000"),
        ("queued.max.messages.kbytes", fetch_ahead.as_str()),
        ("fetch.message.max.bytes", "131072"),
        ("fetch.max.bytes", fetch_bytes.as_str()),
        // How often a full queue is looked at: at 10 ms reading is over sooner than the next fetch begins.
        ("fetch.queue.backoff.ms", "2"),
        ("fetch.wait.max.ms", "100"),
        ("topic.metadata.refresh.interval.ms", "5000"),
        // Where the brokers allow it, a sink that starts first does not wait for the first event.
        ("allow.auto.create.topics", "true"),
        ("statistics.interval.ms", "1000"),
        ("reconnect.backoff.max.ms", "2000"),
    ];
    // In the protocol of Kafka 4 the brokers decide these, and librdkafka refuses them.
    if !config.kafka_properties.iter().any(is_consumer_protocol) {
        needed.extend(CLASSIC_PROTOCOL);
    }
    let client = client_config(
        &config.brokers,
        &needed,
        &config.kafka_properties,
        &FIXED_CONSUMER_PROPERTIES,
    );
    let consumer: BaseConsumer<Link> = client
        .create_with_context(link)
        .context("librdkafka refuses the configuration")?;
    let topics: Vec<&str> = config.topics.iter().map(String::as_str).collect();
    consumer.subscribe(&topics).context("subscribing")?;
    Ok(Arc::new(consumer))
}

fn is_consumer_protocol(property: &KafkaProperty) -> bool {
    property.key == "group.protocol" && property.value.eq_ignore_ascii_case("consumer")
}
