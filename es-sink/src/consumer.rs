//! The one thread that talks to Kafka: gives what happens to the machine, does
//! what the machine commands, decides nothing.
//!
//! In the flow: `template` → **`consumer`** ⇄ `es-sink-core`. One thread, because
//! rebalance callbacks then run where records are read, and nothing can overtake
//! anything (docs/decisions/0004-one-consumer-thread.md).

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use bytes::Bytes;
use es_sink_core::assignment::TopicPartition;
use es_sink_core::bulk_request::Record;
use es_sink_core::sink::{BulkId, Command, DeadLetterId, Input, Sink};
use log_event::offset::{NextOffset, Offset};
use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::statistics::Statistics;
use rdkafka::topic_partition_list::TopicPartitionList;
use service::elasticsearch::Nodes;
use service::kafka::client_config;
use service::shutdown::Shutdown;
use tokio::runtime::Handle;

use crate::bulk::BulkSender;
use crate::committer::{self, CommitOrder};
use crate::config::{Config, FIXED_CONSUMER_PROPERTIES};
use crate::dead_letter_topic::DeadLetterTopic;
use crate::metrics::Metrics;
use crate::status::{LogEnd, StatusBoard};

/// Records between two looks at replies and deadlines: rare enough to cost
/// nothing, often enough for a reply to wait only microseconds.
const RECORDS_PER_TURN: u32 = 64;
/// The longest sleep: a signal is seen within this time.
const SLEEP_MAX: Duration = Duration::from_millis(50);
/// While replies are awaited, so that the next bulk request follows at once.
const SLEEP_IN_FLIGHT: Duration = Duration::from_millis(5);
const PUBLISH_INTERVAL: Duration = Duration::from_millis(250);
/// After this, a shutdown no longer waits for Kafka to confirm the last commit.
const LAST_COMMIT_MAX: Duration = Duration::from_secs(5);
const LAST_COMMIT_PAUSE: Duration = Duration::from_millis(200);

/// What comes back to the consumer thread from elsewhere.
#[derive(Debug)]
pub enum Reply {
    /// A bulk request's reply, or why there is none.
    Bulk {
        /// Which one.
        bulk: BulkId,
        /// Status and body.
        reply: Result<(u16, Bytes), String>,
    },
    /// The coordinator's word on a commit.
    Commit {
        /// Which one.
        number: u64,
        /// Why not.
        result: Result<(), String>,
    },
    /// A dead letter's delivery.
    DeadLetter {
        /// Which one.
        id: DeadLetterId,
        /// Why not.
        result: Result<(), String>,
    },
}

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
    let (commits, orders) = channel();
    let engine = Engine::new(
        config,
        surroundings,
        replies_to_us.clone(),
        replies,
        commits,
    )?;
    let consumer = subscribe(
        config,
        Link {
            engine: Mutex::new(engine),
            board: Arc::clone(&board),
        },
    )?;
    let committer = committer::start(Arc::clone(&consumer), orders, replies_to_us)
        .context("starting the committer thread")?;
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
    if ending == Ending::NoAnswer {
        // Closing would wait for a coordinator that does not answer (librdkafka
        // 2.12 may even crash on it); the next start repeats what was not
        // committed, to the same documents (EO-3).
        tracing::warn!("Kafka did not answer the last commit; ending without leaving the group");
        std::process::exit(0);
    }
    consumer.context().engine().end_commits();
    if committer.join().is_err() {
        tracing::warn!("the committer thread panicked");
    }
    drop(consumer);
    tracing::info!("drained, committed, left the group");
    Ok(())
}

/// How a shutdown ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// The coordinator has confirmed or refused the last commit.
    Answered,
    /// It has said nothing.
    NoAnswer,
}

/// Takes records until there is something else to do, or nothing at all.
fn turn(consumer: &BaseConsumer<Link>) -> anyhow::Result<Option<Ending>> {
    for _ in 0..RECORDS_PER_TURN {
        if !consumer.context().engine().takes_records() {
            break;
        }
        match consumer.poll(Duration::ZERO) {
            Some(polled) => consumer.context().engine().polled(polled)?,
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
                consumer.context().engine().polled(polled)?;
            }
        }
        Sleep::AwaitingReplies(longest) => consumer.context().engine().await_reply(longest),
    }
    Ok(None)
}

fn subscribe(config: &Config, link: Link) -> anyhow::Result<Arc<BaseConsumer<Link>>> {
    let fetch_ahead = config.fetch_ahead_kib.to_string();
    // One fetch may bring this much per broker; compressed, so several times that once unpacked.
    let fetch_bytes = (config.fetch_ahead_kib * 1024 / 4)
        .clamp(1 << 20, 16 << 20)
        .to_string();
    let needed = [
        ("group.id", config.sink.group.as_str()),
        ("client.id", "es-sink"),
        ("partition.assignment.strategy", "cooperative-sticky"),
        ("session.timeout.ms", "10000"),
        ("heartbeat.interval.ms", "2000"),
        ("max.poll.interval.ms", "300000"),
        ("queued.min.messages", "100000"),
        ("queued.max.messages.kbytes", fetch_ahead.as_str()),
        ("fetch.message.max.bytes", "131072"),
        ("fetch.max.bytes", fetch_bytes.as_str()),
        ("fetch.queue.backoff.ms", "10"),
        ("fetch.wait.max.ms", "100"),
        ("topic.metadata.refresh.interval.ms", "5000"),
        // Where the brokers allow it, a sink that starts first does not wait for the first event.
        ("allow.auto.create.topics", "true"),
        ("statistics.interval.ms", "1000"),
        ("reconnect.backoff.max.ms", "2000"),
    ];
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

/// librdkafka's callbacks. They run inside `poll`, on the consumer thread, so
/// the lock is never waited for.
struct Link {
    engine: Mutex<Engine>,
    board: Arc<StatusBoard>,
}

impl Link {
    fn engine(&self) -> MutexGuard<'_, Engine> {
        // A panic on the one thread that locks ends the process.
        self.engine.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Link {
    /// `poll` returns the same errors, and there they are logged.
    fn error(&self, _: KafkaError, _: &str) {}

    fn stats(&self, statistics: Statistics) {
        if statistics
            .brokers
            .values()
            .any(|broker| broker.state == "UP")
        {
            self.board.kafka_answers();
        } else {
            self.board
                .kafka_error("no broker can be reached".to_owned());
        }
        let mut log_ends = BTreeMap::new();
        for (topic, statistics) in statistics.topics {
            for (partition, statistics) in statistics.partitions {
                if partition >= 0 && statistics.ls_offset >= 0 {
                    let committed =
                        (statistics.committed_offset >= 0).then_some(statistics.committed_offset);
                    let log = LogEnd {
                        end: statistics.ls_offset,
                        committed,
                    };
                    log_ends.insert(
                        TopicPartition {
                            topic: topic.clone(),
                            partition,
                        },
                        log,
                    );
                }
            }
        }
        self.board.publish_log_ends(log_ends);
    }
}

impl ConsumerContext for Link {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let mut engine = self.engine();
        match rebalance {
            Rebalance::Assign(list) => {
                let partitions = named(list);
                tracing::info!(partitions = %names(&partitions), "assigned");
                let partitions = partitions.into_iter().map(|at| (at, None)).collect();
                engine.handle(Input::Assigned(partitions));
            }
            Rebalance::Revoke(list) if consumer.assignment_lost() => {
                let partitions = named(list);
                tracing::warn!(partitions = %names(&partitions), "lost: others own these already");
                engine.forget(&partitions);
                engine.handle(Input::Lost(partitions));
            }
            Rebalance::Revoke(list) => {
                let partitions = named(list);
                tracing::info!(partitions = %names(&partitions), "giving back");
                engine.forget(&partitions);
                engine.handle(Input::Revoked(partitions));
                engine.drain_for_rebalance(consumer);
            }
            Rebalance::Error(error) => {
                tracing::warn!(%error, "rebalance failed");
                let all = consumer
                    .assignment()
                    .map(|list| named(&list))
                    .unwrap_or_default();
                engine.handle(Input::Lost(all));
            }
        }
    }
}

/// The machine with everything that it commands.
struct Engine {
    sink: Sink,
    bulks: BulkSender,
    dead_letters: DeadLetterTopic,
    replies: Receiver<Reply>,
    /// None once the process ends.
    commits: Option<Sender<CommitOrder>>,
    commits_ordered: u64,
    /// The last commit for partitions that are given back, until it is confirmed.
    releasing: Option<LastCommit>,
    board: Arc<StatusBoard>,
    metrics: Arc<Metrics>,
    started: Instant,
    published_at: Duration,
    /// Until when the last commit is waited for, once all is drained.
    ending: Option<Duration>,
}

/// The last commit for partitions that are given back.
struct LastCommit {
    number: u64,
    offsets: Vec<(TopicPartition, NextOffset)>,
    /// When it may be tried again, if the coordinator has refused it: during a
    /// rebalance it refuses every commit, and right after it takes them again.
    refused: Option<Duration>,
}

/// How to wait for the next thing to happen.
enum Sleep {
    /// In `poll`, which also serves Kafka's own events.
    Polling(Duration),
    /// On replies alone: there is no room for records.
    AwaitingReplies(Duration),
}

impl Engine {
    fn new(
        config: &Config,
        surroundings: Surroundings,
        replies_to_us: Sender<Reply>,
        replies: Receiver<Reply>,
        commits: Sender<CommitOrder>,
    ) -> anyhow::Result<Self> {
        let Surroundings {
            nodes,
            runtime,
            board,
            metrics,
            started,
            ..
        } = surroundings;
        metrics.set_limits(config.sink.bytes_held_max);
        Ok(Self {
            sink: Sink::new(config.sink.clone()),
            bulks: BulkSender::new(
                nodes,
                runtime,
                config.bulk_timeout,
                replies_to_us.clone(),
                Arc::clone(&metrics),
            ),
            dead_letters: DeadLetterTopic::new(
                &config.brokers,
                &config.dead_letter_topic,
                &config.kafka_properties,
                replies_to_us,
            )
            .context("librdkafka refuses the configuration of the dead-letter producer")?,
            replies,
            board,
            metrics,
            started,
            published_at: Duration::ZERO,
            ending: None,
            commits: Some(commits),
            commits_ordered: 0,
            releasing: None,
        })
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn handle(&mut self, input: Input<'_>) {
        self.sink.handle(self.now(), input);
    }

    fn shutdown(&mut self, consumer: &BaseConsumer<Link>) {
        self.handle(Input::Shutdown);
        log_error(
            "pausing",
            consumer.assignment().and_then(|list| consumer.pause(&list)),
        );
    }

    fn takes_records(&self) -> bool {
        self.sink.is_paused() || self.sink.accepts_records()
    }

    /// Gives what `poll` returned to the machine.
    fn polled(&mut self, polled: KafkaResult<BorrowedMessage<'_>>) -> anyhow::Result<()> {
        match polled {
            Ok(message) => self.record(&message),
            Err(KafkaError::MessageConsumptionFatal(code)) => {
                anyhow::bail!("Kafka ended this consumer for good: {code}");
            }
            // Everything else heals: librdkafka goes on by itself.
            Err(error) => tracing::warn!(%error, "kafka"),
        }
        Ok(())
    }

    fn record(&mut self, message: &BorrowedMessage<'_>) {
        let headers = message.headers();
        let count = headers.map_or(0, |headers| headers.count());
        let headers = (0..count).filter_map(|index| {
            let header = headers?.get(index);
            Some((header.key, header.value))
        });
        let record = Record {
            topic: message.topic(),
            partition: message.partition(),
            offset: Offset(message.offset()),
            timestamp_ms: message.timestamp().to_millis(),
            key: message.key(),
            value: message.payload(),
            headers,
        };
        self.sink.record(self.now(), &record);
    }

    /// Takes all replies that are there, carries out all commands that follow.
    /// Tells when the process may end.
    fn service(&mut self, consumer: &BaseConsumer<Link>) -> (Option<Ending>, Sleep) {
        while let Ok(reply) = self.replies.try_recv() {
            self.reply(reply);
        }
        let now = self.now();
        while let Some(command) = self.sink.poll_command(now) {
            match command {
                Command::Exit => self.ending = Some(now + LAST_COMMIT_MAX),
                other => self.carry_out(consumer, other),
            }
        }
        self.publish(now);
        (self.end(now), self.sleep(now))
    }

    fn end(&mut self, now: Duration) -> Option<Ending> {
        let until = self.ending?;
        let Some(last) = &mut self.releasing else {
            return Some(Ending::Answered);
        };
        match last.refused {
            Some(_) if now >= until => Some(Ending::Answered),
            None if now >= until => Some(Ending::NoAnswer),
            Some(again_at) if now >= again_at => {
                let offsets = std::mem::take(&mut last.offsets);
                self.commit_last(offsets);
                None
            }
            _ => None,
        }
    }

    fn sleep(&self, now: Duration) -> Sleep {
        let status_due = self.published_at + PUBLISH_INTERVAL;
        let deadline = self
            .sink
            .next_deadline(now)
            .min(status_due.max(now + Duration::from_millis(1)));
        let longest = if self.sink.awaits_replies() {
            SLEEP_IN_FLIGHT
        } else {
            SLEEP_MAX
        };
        let wait = deadline
            .saturating_sub(now)
            .clamp(Duration::from_millis(1), longest);
        if self.takes_records() {
            Sleep::Polling(wait)
        } else {
            Sleep::AwaitingReplies(wait)
        }
    }

    fn await_reply(&mut self, longest: Duration) {
        match self.replies.recv_timeout(longest) {
            Ok(reply) => self.reply(reply),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
        }
    }

    fn reply(&mut self, reply: Reply) {
        match reply {
            Reply::Bulk { bulk, reply } => {
                let reply = reply
                    .as_ref()
                    .map(|(status, body)| (*status, &body[..]))
                    .map_err(Clone::clone);
                self.handle(Input::BulkReply { bulk, reply });
                self.observe_freshness();
            }
            Reply::Commit { number, result } => {
                let now = self.now();
                if let Some(last) = self.releasing.as_mut().filter(|last| last.number == number) {
                    match &result {
                        Ok(()) => self.releasing = None,
                        Err(_) => last.refused = Some(now + LAST_COMMIT_PAUSE),
                    }
                }
                if let Err(error) = &result {
                    tracing::warn!(error, "a commit failed; it is repeated with the next one");
                }
                self.handle(Input::CommitReply(result));
            }
            Reply::DeadLetter { id, result } => self.handle(Input::DeadLetterReply { id, result }),
        }
    }

    fn carry_out(&mut self, consumer: &BaseConsumer<Link>, command: Command) {
        match command {
            Command::SendBulk { bulk, body } => self.bulks.send(bulk, body),
            Command::SendDeadLetter { id, letter } => self.dead_letters.send(id, &letter),
            Command::Commit(offsets) => self.commit(offsets),
            Command::Pause => {
                tracing::info!("reading pauses: as much is held as may be");
                log_error(
                    "pausing",
                    consumer.assignment().and_then(|list| consumer.pause(&list)),
                );
            }
            Command::Resume => {
                tracing::info!("reading goes on");
                log_error(
                    "resuming",
                    consumer
                        .assignment()
                        .and_then(|list| consumer.resume(&list)),
                );
            }
            Command::Release(offsets) => self.commit_last(offsets),
            Command::Exit => {}
        }
    }

    fn commit(&mut self, offsets: Vec<(TopicPartition, NextOffset)>) {
        self.commits_ordered += 1;
        let order = CommitOrder {
            number: self.commits_ordered,
            offsets,
        };
        if self
            .commits
            .as_ref()
            .is_none_or(|commits| commits.send(order).is_err())
        {
            self.handle(Input::CommitReply(Err(
                "the committer thread is gone".to_owned()
            )));
        }
    }

    fn commit_last(&mut self, offsets: Vec<(TopicPartition, NextOffset)>) {
        self.releasing = None;
        if !offsets.is_empty() {
            self.commit(offsets.clone());
            self.releasing = Some(LastCommit {
                number: self.commits_ordered,
                offsets,
                refused: None,
            });
        }
    }

    /// Partitions that somebody else may own by now are committed no more (EO-2).
    fn forget(&mut self, partitions: &[TopicPartition]) {
        if let Some(last) = &mut self.releasing {
            last.offsets.retain(|(at, _)| !partitions.contains(at));
        }
    }

    fn end_commits(&mut self) {
        self.commits = None;
    }

    /// Within a rebalance: everything goes on but reading, until the partitions
    /// that are to be given back are drained or their time is over, and what
    /// they came to is committed.
    fn drain_for_rebalance(&mut self, consumer: &BaseConsumer<Link>) {
        let mut commit_until = None;
        loop {
            let now = self.now();
            while let Some(command) = self.sink.poll_command(now) {
                if matches!(command, Command::Release(_)) {
                    commit_until = Some(now + LAST_COMMIT_MAX);
                }
                self.carry_out(consumer, command);
            }
            let answered = self
                .releasing
                .as_ref()
                .is_none_or(|last| last.refused.is_some());
            if commit_until.is_some_and(|until| answered || now >= until) {
                self.releasing = None;
                return;
            }
            let wait = self.sink.next_deadline(now).saturating_sub(now);
            self.await_reply(wait.clamp(Duration::from_millis(1), SLEEP_MAX));
        }
    }

    fn observe_freshness(&mut self) {
        let indexed = self.sink.take_indexed_timestamps();
        let now_ms = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |now| now.as_millis());
        let now_ms = i64::try_from(now_ms).unwrap_or(i64::MAX);
        let local = self.metrics.freshness_seconds.local();
        for (timestamp_ms, count) in indexed {
            let age = Duration::from_millis(u64::try_from(now_ms - timestamp_ms).unwrap_or(0));
            for _ in 0..count {
                local.observe(age.as_secs_f64());
            }
        }
    }

    fn publish(&mut self, now: Duration) {
        if now < self.published_at + PUBLISH_INTERVAL {
            return;
        }
        self.published_at = now;
        let status = self.sink.status();
        self.metrics
            .update(self.sink.counters(), &status, &self.board);
        self.board.publish(status);
    }
}

fn named(list: &TopicPartitionList) -> Vec<TopicPartition> {
    let elements = list.elements();
    let named = elements.iter().map(|element| TopicPartition {
        topic: element.topic().to_owned(),
        partition: element.partition(),
    });
    named.collect()
}

fn names(partitions: &[TopicPartition]) -> String {
    partitions
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(" ")
}

fn log_error<T>(what: &str, result: KafkaResult<T>) {
    if let Err(error) = result {
        tracing::warn!(%error, "{what} failed");
    }
}
