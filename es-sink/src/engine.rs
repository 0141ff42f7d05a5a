//! The machine with everything that it commands: carries out, brings back.
//!
//! In the flow: `consumer` → **`engine`** ⇄ `es-sink-core` → `bulk`,
//! `dead_letter_topic`, `committer`. Decides nothing but how to wait.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use es_sink_core::assignment::TopicPartition;
use es_sink_core::bulk_request::Record;
use es_sink_core::dead_letter::DeadLetter;
use es_sink_core::sink::{Command, Input, Sink};
use kafka_source::callbacks::{self, Keeper, log_error};
use kafka_source::positions::Incarnations;
use kafka_source::privileges::Refused;
use kafka_source::starting_point;
use log_event::offset::{NextOffset, Offset};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::topic_partition_list::TopicPartitionList;
use service::record_headers::headers_of;

use crate::bulk::BulkSender;
use crate::committer::{CommitOrder, DepartureCount};
use crate::config::Config;
use crate::consumer::Surroundings;
use crate::dead_letter_topic::Transaction;
use crate::metrics::Metrics;
use crate::reply::Reply;
use crate::status::StatusBoard;
use crate::traces::SinkTraces;

/// The longest sleep: a signal is seen within this time.
const SLEEP_MAX: Duration = Duration::from_millis(50);
/// While replies are awaited, so that the next bulk request follows at once.
const SLEEP_IN_FLIGHT: Duration = Duration::from_millis(5);
const PUBLISH_INTERVAL: Duration = Duration::from_millis(250);
/// After this, a shutdown no longer waits for Kafka to confirm the last commit.
const LAST_COMMIT_MAX: Duration = Duration::from_secs(5);
const LAST_COMMIT_PAUSE: Duration = Duration::from_millis(200);

/// librdkafka's callbacks, which reach the machine.
pub(crate) type Link = callbacks::Link<Engine>;

/// How a shutdown ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The coordinator has confirmed or refused the last commit.
    Answered,
    /// It has said nothing.
    NoAnswer,
}

/// The machine with everything that it commands.
pub(crate) struct Engine {
    sink: Sink,
    bulks: BulkSender,
    replies: Receiver<Reply>,
    /// None once the process ends.
    orders: Option<Orders>,
    incarnations: Incarnations,
    refused: Refused,
    /// Older words on topics say nothing about the present assignment.
    assigned_at: Instant,
    /// The coordinator has not said how the last transaction ended.
    transacting: bool,
    commits_ordered: u64,
    /// The commit that the machine waits for.
    regular_commit: Option<u64>,
    /// The last commit for partitions that are given back, until it is confirmed.
    releasing: Option<LastCommit>,
    board: Arc<StatusBoard>,
    metrics: Arc<Metrics>,
    traces: SinkTraces,
    started: Instant,
    published_at: Duration,
    /// Until when the last commit is waited for, once all is drained.
    ending: Option<Duration>,
}

/// Where what waits for the coordinator is carried out.
pub(crate) struct Orders {
    pub(crate) commits: Sender<CommitOrder>,
    pub(crate) departures: DepartureCount,
    pub(crate) transactions: Sender<Transaction>,
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
pub(crate) enum Sleep {
    /// In `poll`, which also serves Kafka's own events.
    Polling(Duration),
    /// On replies alone: there is no room for records.
    AwaitingReplies(Duration),
}

impl Engine {
    pub(crate) fn new(
        config: &Config,
        surroundings: Surroundings,
        replies_to_us: Sender<Reply>,
        replies: Receiver<Reply>,
        orders: Orders,
    ) -> Self {
        let Surroundings {
            nodes,
            runtime,
            board,
            metrics,
            traces,
            started,
            ..
        } = surroundings;
        let view = Arc::clone(&board.kafka);
        let refused = Refused::new(&config.sink.group, &config.topics, view);
        metrics.set_limits(config.sink.bytes_held_max);
        Self {
            sink: Sink::new(config.sink.clone()),
            bulks: BulkSender::new(
                nodes,
                runtime,
                config.bulk_timeout,
                replies_to_us,
                Arc::clone(&metrics),
            ),
            replies,
            board,
            metrics,
            traces: SinkTraces::new(traces, &config.sink.group),
            started,
            published_at: Duration::ZERO,
            ending: None,
            orders: Some(orders),
            incarnations: Incarnations::default(),
            refused,
            assigned_at: started,
            transacting: false,
            commits_ordered: 0,
            regular_commit: None,
            releasing: None,
        }
    }

    pub(crate) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn handle(&mut self, input: Input<'_>) {
        self.sink.handle(self.now(), input);
    }

    pub(crate) fn shutdown(&mut self, consumer: &BaseConsumer<Link>) {
        self.handle(Input::Shutdown);
        pause(consumer);
    }

    pub(crate) fn takes_records(&self) -> bool {
        self.sink.is_paused() || self.sink.accepts_records()
    }

    /// Gives what `poll` returned to the machine.
    pub(crate) fn polled(
        &mut self,
        now: Duration,
        polled: KafkaResult<BorrowedMessage<'_>>,
    ) -> anyhow::Result<()> {
        match polled {
            Ok(message) => self.record(now, &message),
            Err(KafkaError::MessageConsumptionFatal(code)) => {
                anyhow::bail!("Kafka ended this consumer for good: {code}");
            }
            // Everything else heals: librdkafka goes on by itself.
            Err(error) => {
                tracing::warn!(%error, "kafka");
                self.refused.heard(&error);
            }
        }
        Ok(())
    }

    fn record(&mut self, now: Duration, message: &BorrowedMessage<'_>) {
        let headers = headers_of(message);
        let record = Record {
            topic: message.topic(),
            partition: message.partition(),
            offset: Offset(message.offset()),
            timestamp_ms: message.timestamp().to_millis(),
            key: message.key(),
            value: message.payload(),
            headers: headers.iter().map(|(name, value)| (&**name, *value)),
            mark: self.traces.mark(message.topic(), &headers),
        };
        self.sink.record(now, &record);
    }

    /// Takes all replies that are there, carries out all commands that follow.
    /// Tells when the process may end.
    pub(crate) fn service(&mut self, consumer: &BaseConsumer<Link>) -> (Option<Ending>, Sleep) {
        while let Ok(reply) = self.replies.try_recv() {
            self.reply(consumer, reply);
        }
        self.traces.settled(None, &mut self.sink);
        let now = self.now();
        while let Some(command) = self.sink.poll_command(now) {
            self.carry_out(consumer, command);
        }
        self.publish(now);
        (self.end(now), self.sleep(now))
    }

    fn end(&mut self, now: Duration) -> Option<Ending> {
        let until = self.ending?;
        if self.transacting || self.regular_commit.is_some() {
            return (now >= until).then_some(Ending::NoAnswer);
        }
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

    pub(crate) fn await_reply(&mut self, consumer: &BaseConsumer<Link>, longest: Duration) {
        match self.replies.recv_timeout(longest) {
            Ok(reply) => self.reply(consumer, reply),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
        }
    }

    fn reply(&mut self, consumer: &BaseConsumer<Link>, reply: Reply) {
        match reply {
            Reply::Bulk { bulk, reply } => {
                let reply = reply
                    .as_ref()
                    .map(|(status, body)| (*status, &body[..]))
                    .map_err(Clone::clone);
                self.handle(Input::BulkReply { bulk, reply });
                self.traces.settled(Some(bulk), &mut self.sink);
                let indexed = self.sink.take_indexed_timestamps();
                self.metrics.observe_freshness(indexed);
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
                // The last commit for partitions that are gone is no answer to the regular one.
                if self.regular_commit == Some(number) {
                    self.regular_commit = None;
                    self.handle(Input::CommitReply(result));
                }
            }
            Reply::Transaction(result) => {
                self.transacting = false;
                if let Err(error) = &result {
                    tracing::warn!(
                        error,
                        "dead letters are not published; they are tried again"
                    );
                }
                self.handle(Input::TransactionReply(result));
            }
            Reply::Topics { asked_at, told } if asked_at > self.assigned_at => {
                self.refused.told(&told);
                let restarted = starting_point::follow(consumer, &told.ids, &mut self.incarnations);
                self.handle(Input::LogRestarted(restarted));
            }
            Reply::Topics { .. } => {}
        }
    }

    fn carry_out(&mut self, consumer: &BaseConsumer<Link>, command: Command) {
        match command {
            Command::SendBulk { bulk, body } => {
                let span = self.traces.sends(&self.sink, bulk);
                self.bulks.send(bulk, body, span);
            }
            Command::Transact { letters, offsets } => self.transact(consumer, letters, &offsets),
            Command::Commit(offsets) => match self.commit(&offsets) {
                Ok(number) => self.regular_commit = Some(number),
                Err(why) => self.handle(Input::CommitReply(Err(why))),
            },
            Command::Pause => {
                tracing::info!("reading pauses: as much is held as may be");
                pause(consumer);
            }
            Command::Resume => {
                tracing::info!("reading goes on");
                let resumed = consumer
                    .assignment()
                    .and_then(|list| consumer.resume(&list));
                log_error("resuming", resumed);
            }
            Command::Release(offsets) => self.commit_last(offsets),
            Command::Exit => self.ending = Some(self.now() + LAST_COMMIT_MAX),
        }
    }

    /// Orders a commit; the number is in its reply.
    fn commit(&mut self, offsets: &[(TopicPartition, NextOffset)]) -> Result<u64, String> {
        let offsets = self
            .incarnations
            .committable(offsets)
            .map_err(|error| error.to_string())?;
        let orders = self.orders.as_ref().ok_or("the process ends")?;
        let given = orders.departures.so_far();
        self.commits_ordered += 1;
        let number = self.commits_ordered;
        let order = CommitOrder {
            number,
            offsets,
            given,
        };
        let sent = orders.commits.send(order);
        sent.map_err(|_| "the committer thread is gone".to_owned())?;
        Ok(number)
    }

    fn transact(
        &mut self,
        consumer: &BaseConsumer<Link>,
        letters: Vec<DeadLetter>,
        offsets: &[(TopicPartition, NextOffset)],
    ) {
        let offsets = self
            .incarnations
            .committable(offsets)
            .map_err(|error| error.to_string());
        let ordered = offsets.and_then(|offsets| {
            let gone = || "the process ends".to_owned();
            let transaction = Transaction {
                letters,
                offsets,
                member: consumer.group_metadata().ok_or_else(gone)?,
            };
            let orders = self.orders.as_ref().ok_or_else(gone)?;
            orders.transactions.send(transaction).map_err(|_| gone())
        });
        match ordered {
            Ok(()) => self.transacting = true,
            Err(why) => self.handle(Input::TransactionReply(Err(why))),
        }
    }

    fn commit_last(&mut self, offsets: Vec<(TopicPartition, NextOffset)>) {
        self.releasing = None;
        if offsets.is_empty() {
            return;
        }
        let ordered = self.commit(&offsets);
        if let Err(error) = &ordered {
            tracing::warn!(error, "the last commit cannot be ordered");
        }
        self.releasing = Some(LastCommit {
            refused: ordered.is_err().then(|| self.now() + LAST_COMMIT_PAUSE),
            number: ordered.unwrap_or_default(),
            offsets,
        });
    }

    /// What was ordered while these were ours is carried out no more (EO-2).
    fn departed(&self) {
        if let Some(orders) = &self.orders {
            orders.departures.add();
        }
    }

    /// The last commit of earlier ones that somebody else may own by now is not repeated (EO-2).
    fn forget(&mut self, partitions: &[TopicPartition]) {
        if let Some(last) = &mut self.releasing {
            last.offsets.retain(|(at, _)| !partitions.contains(at));
        }
    }

    pub(crate) fn end_orders(&mut self) {
        self.orders = None;
    }

    /// Everything goes on but reading, until the partitions
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
            self.await_reply(consumer, wait.clamp(Duration::from_millis(1), SLEEP_MAX));
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

impl Keeper for Engine {
    /// Learns where reading of new partitions starts, and makes `assigned` say so.
    fn assign(&mut self, consumer: &BaseConsumer<Link>, assigned: &TopicPartitionList) {
        self.refused.joined();
        // A client that closes answers no questions, and reads no more. And a cooperative
        // rebalance that only takes away ends with an assignment of nothing.
        let committed = if self.orders.is_some() && assigned.count() > 0 {
            starting_point::choose(consumer, assigned, &mut self.incarnations)
        } else {
            Vec::new()
        };
        self.handle(Input::Assigned(committed));
        self.assigned_at = Instant::now();
    }

    fn assigned(&mut self, consumer: &BaseConsumer<Link>, assigned: &TopicPartitionList) {
        // A partition that left while it was paused comes back paused: librdkafka takes back
        // only the pauses of its own. To the machine, newcomers come unpaused.
        log_error("resuming", consumer.resume(assigned));
    }

    fn give_back(&mut self, consumer: &BaseConsumer<Link>, which: Vec<TopicPartition>) {
        self.forget(&which);
        self.handle(Input::Revoked(which));
        self.drain_for_rebalance(consumer);
        self.departed();
    }

    fn lose(&mut self, partitions: Vec<TopicPartition>) {
        self.departed();
        self.forget(&partitions);
        self.handle(Input::Lost(partitions));
    }
}

fn pause(consumer: &BaseConsumer<Link>) {
    let paused = consumer.assignment().and_then(|list| consumer.pause(&list));
    log_error("pausing", paused);
}
