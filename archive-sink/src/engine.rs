//! Drives holdings and batches on the thread that reads: takes records, orders, brings back.
//!
//! In the flow: `consumer` → **`engine`** ⇄ `holdings`, `batch` → `writer`. Decides nothing but how to wait.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use kafka_source::callbacks::{self, Keeper, log_error};
use kafka_source::positions::{Incarnations, named};
use kafka_source::privileges::Refused;
use kafka_source::starting_point;
use kafka_source::topic_id::{TopicId, topic_ids};
use log_event::document::Coordinates;
use log_event::offset::{Offset, TopicPartition};
use log_event::record::RecordHeaders;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::topic_partition_list::{Offset as Position, TopicPartitionList};
use service::record_headers::headers_of;
use tokio::sync::mpsc::UnboundedSender;

use crate::batch::{BatchLimits, Batcher};
use crate::fence::begin;
use crate::holdings::Holdings;
use crate::metrics::Metrics;
use crate::row::Row;
use crate::status::{Moment, Partition, StatusBoard};
use crate::writer::{Order, Reply};

/// One is written while another waits; a third is built.
const IN_FLIGHT_MAX: usize = 2;
/// The longest sleep: a signal is seen within this time.
const SLEEP_MAX: Duration = Duration::from_millis(50);
/// While replies are awaited.
const SLEEP_IN_FLIGHT: Duration = Duration::from_millis(5);
const PUBLISH_INTERVAL: Duration = Duration::from_millis(250);
/// Full for longer than this, reading is paused; until then it is only not polled,
/// because a pause throws away what was fetched ahead.
const PAUSE_AFTER: Duration = Duration::from_millis(300);
const ANSWER_MAX: Duration = Duration::from_secs(5);
const SEEK_MAX: Duration = Duration::from_secs(2);

/// librdkafka's callbacks, which reach the engine.
pub(crate) type Link = callbacks::Link<Engine>;

/// What the engine meets.
#[derive(Debug)]
pub(crate) struct Ends {
    pub(crate) orders: UnboundedSender<Order>,
    pub(crate) replies: Receiver<Reply>,
    pub(crate) board: Arc<StatusBoard>,
    pub(crate) metrics: Arc<Metrics>,
}

/// What is ours, what is read, what is on its way.
pub(crate) struct Engine {
    holdings: Holdings,
    batcher: Batcher,
    ends: Ends,
    incarnations: Incarnations,
    refused: Refused,
    /// Older words on topics say nothing about the present assignment.
    assigned_at: Instant,
    batches_in_flight: usize,
    bytes_in_flight: usize,
    full_since: Option<Duration>,
    paused: bool,
    /// When the drain is given up, once it has begun.
    drain_until: Option<Duration>,
    drain_max: Duration,
    /// The process leaves the group; what still comes is no longer taken.
    ended: bool,
    started: Instant,
    published_at: Duration,
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
        holdings: Holdings,
        limits: BatchLimits,
        drain_max: Duration,
        refused: Refused,
        ends: Ends,
        started: Instant,
    ) -> Self {
        Self {
            holdings,
            batcher: Batcher::new(limits),
            ends,
            incarnations: Incarnations::default(),
            refused,
            assigned_at: started,
            batches_in_flight: 0,
            bytes_in_flight: 0,
            full_since: None,
            paused: false,
            drain_until: None,
            drain_max,
            ended: false,
            started,
            published_at: Duration::ZERO,
        }
    }

    pub(crate) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    pub(crate) fn takes_records(&self) -> bool {
        self.paused || self.has_room()
    }

    fn has_room(&self) -> bool {
        self.batches_in_flight < IN_FLIGHT_MAX
    }

    /// Takes what `poll` returned.
    pub(crate) fn polled(
        &mut self,
        polled: KafkaResult<BorrowedMessage<'_>>,
    ) -> anyhow::Result<()> {
        match polled {
            Ok(message) => self.record(&message),
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

    fn record(&mut self, message: &BorrowedMessage<'_>) {
        let (topic, partition) = (message.topic(), message.partition());
        // Until its partition is sought, a record is none: the seek goes back to it.
        let Some(holding) = self.holdings.reading(topic, partition) else {
            return;
        };
        let headers = headers_of(message);
        let headers = RecordHeaders::read(headers.iter().map(|(name, value)| (&**name, *value)));
        let at = Coordinates {
            topic,
            partition,
            offset: Offset(message.offset()),
            timestamp_ms: message.timestamp().to_millis(),
        };
        let row = Row::of(&at, &headers, message.payload());
        let metrics = &self.ends.metrics;
        metrics.records.inc();
        let value = message.payload().map_or(0, <[u8]>::len);
        metrics
            .record_bytes
            .inc_by(u64::try_from(value).unwrap_or(u64::MAX));
        let topic_id = self
            .incarnations
            .get(&holding.at)
            .map(|TopicId(id)| id.as_str());
        let now = self.started.elapsed();
        let complete = self
            .batcher
            .push(now, &holding.at, holding.generation, topic_id, row);
        if let Some(batch) = complete {
            self.order(Order::Write(batch));
        }
    }

    fn order(&mut self, order: Order) {
        if let Order::Write(batch) = &order {
            self.batches_in_flight += 1;
            self.bytes_in_flight += batch.n_bytes;
        }
        // The writer ends with the process.
        drop(self.ends.orders.send(order));
    }

    fn seal(&mut self) {
        if let Some(batch) = self.batcher.seal() {
            self.order(Order::Write(batch));
        }
    }

    /// Takes all replies that are there, and orders what is due.
    pub(crate) fn service(&mut self, consumer: &BaseConsumer<Link>) -> Sleep {
        while let Ok(reply) = self.ends.replies.try_recv() {
            self.reply(consumer, reply);
        }
        let now = self.now();
        for (at, generation) in self.holdings.claims(now) {
            self.order(Order::Claim { at, generation });
        }
        self.seek(consumer, now);
        if self.has_room() && (self.batcher.is_due(now) || self.drain_until.is_some()) {
            self.seal();
        }
        self.pace(consumer, now);
        self.publish(now);
        match (self.takes_records(), self.batches_in_flight) {
            (true, 0) => Sleep::Polling(SLEEP_MAX),
            (true, _) => Sleep::Polling(SLEEP_IN_FLIGHT),
            (false, _) => Sleep::AwaitingReplies(SLEEP_MAX),
        }
    }

    /// Pauses reading when there has been no room for a while, and lets it go on.
    fn pace(&mut self, consumer: &BaseConsumer<Link>, now: Duration) {
        if self.has_room() {
            self.full_since = None;
            if self.paused && self.drain_until.is_none() {
                self.paused = false;
                tracing::info!("reading goes on");
                log_error("resuming", consumer.resume(&self.reading()));
            }
            return;
        }
        let since = *self.full_since.get_or_insert(now);
        if !self.paused && now >= since + PAUSE_AFTER {
            self.paused = true;
            tracing::info!("reading pauses: as much is held as may be");
            log_error("pausing", consumer.pause(&self.reading()));
        }
    }

    fn reading(&self) -> TopicPartitionList {
        let reading = self.holdings.all().iter().filter(|one| one.is_reading());
        list(reading.map(|one| &one.at))
    }

    fn seek(&mut self, consumer: &BaseConsumer<Link>, now: Duration) {
        for (at, begin) in self.holdings.seeks(now) {
            let position = begin.map_or(Position::Beginning, |next| Position::Offset(next.0));
            let sought = consumer.seek(&at.topic, at.partition, position, SEEK_MAX);
            if let Err(error) = &sought {
                tracing::warn!(%error, partition = %at, "going to where the archive ends failed; trying again");
            }
            self.holdings.sought(&at, now, sought.is_ok());
            if sought.is_ok() {
                tracing::info!(partition = %at, from = ?begin.map(|next| next.0), "reading begins where the archive ends");
                if !self.paused {
                    log_error("resuming", consumer.resume(&list([&at])));
                }
            }
        }
    }

    pub(crate) fn await_reply(&mut self, consumer: &BaseConsumer<Link>, longest: Duration) {
        match self.ends.replies.recv_timeout(longest) {
            Ok(reply) => self.reply(consumer, reply),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
        }
    }

    fn reply(&mut self, consumer: &BaseConsumer<Link>, reply: Reply) {
        let now = self.now();
        match reply {
            Reply::Claimed {
                at,
                generation,
                stored,
            } => {
                let id = self.incarnations.get(&at).map(|TopicId(id)| id.as_str());
                let begin = begin(&stored, id);
                if begin.is_none() {
                    tracing::warn!(partition = %at, "the topic was created again: from its beginning");
                }
                self.holdings.claimed(&at, generation, stored.next, begin);
            }
            Reply::Settled {
                written,
                deposed,
                n_bytes,
                newest_ms,
            } => {
                self.batches_in_flight = self.batches_in_flight.saturating_sub(1);
                self.bytes_in_flight = self.bytes_in_flight.saturating_sub(n_bytes);
                if deposed.is_empty() {
                    self.ends.metrics.archived_up_to(newest_ms);
                }
                for (at, generation, next) in written {
                    self.holdings.written(&at, generation, next);
                }
                for (at, generation) in deposed {
                    if self.holdings.deposed(&at, generation, now) {
                        tracing::warn!(partition = %at, "another sink has claimed it, or its offset was changed; claiming it again");
                        self.ends.metrics.deposed.inc();
                        log_error("pausing", consumer.pause(&list([&at])));
                        self.batcher.forget(&[at]);
                    }
                }
            }
            Reply::Topics { asked_at, told } if asked_at > self.assigned_at => {
                self.refused.told(&told);
                let ids = told.ids;
                for at in self.holdings.topics_are_known(now) {
                    let id = ids.get(&at.topic).cloned();
                    self.incarnations.set(at, id);
                }
                // The rows of the topic that was are written apart from those of the one that is.
                if self.follows(&ids) {
                    self.seal();
                }
                starting_point::follow(consumer, &ids, &mut self.incarnations);
            }
            Reply::Topics { .. } => {}
        }
    }

    /// Whether a topic of ours was created again.
    fn follows(&self, ids: &BTreeMap<String, TopicId>) -> bool {
        let mut all = self.holdings.all().iter();
        all.any(|one| {
            let known = self.incarnations.get(&one.at);
            known.is_some_and(|known| ids.get(&one.at.topic).is_some_and(|id| id != known))
        })
    }

    /// Reads nothing more; what was read is written.
    pub(crate) fn drain(&mut self, consumer: &BaseConsumer<Link>) {
        self.drain_until = Some(self.now() + self.drain_max);
        self.paused = true;
        let paused = consumer.assignment().and_then(|list| consumer.pause(&list));
        log_error("pausing", paused);
        self.seal();
    }

    /// Whether the drain is over, and whether everything was written.
    pub(crate) fn is_drained(&mut self) -> Option<bool> {
        let until = self.drain_until?;
        let is_empty = self.batches_in_flight == 0 && self.batcher.n_bytes() == 0;
        let is_over = is_empty || self.now() >= until;
        self.ended |= is_over;
        is_over.then_some(is_empty)
    }

    fn publish(&mut self, now: Duration) {
        if now < self.published_at + PUBLISH_INTERVAL {
            return;
        }
        self.published_at = now;
        let partitions = self.holdings.all().iter().map(|one| Partition {
            at: one.at.clone(),
            archived: one.archived.map(|next| next.0),
            reading: one.is_reading(),
        });
        let moment = Moment {
            partitions: partitions.collect(),
            batches_in_flight: self.batches_in_flight,
            bytes_held: self.bytes_in_flight + self.batcher.n_bytes(),
            paused: self.paused,
        };
        self.ends.board.publish(moment.clone());
        self.ends.metrics.update(&moment, &self.ends.board);
    }
}

impl Keeper for Engine {
    fn assign(&mut self, consumer: &BaseConsumer<Link>, assigned: &TopicPartitionList) {
        self.refused.joined();
        // A cooperative rebalance that only takes away ends with an assignment of nothing.
        if self.ended || assigned.count() == 0 {
            return;
        }
        self.ends.metrics.rebalances.inc();
        // Nothing is taken before PostgreSQL has said where to begin. Should something slip through until then, it is
        // what comes before that and not after it.
        for mut element in assigned.elements() {
            log_error(
                "choosing where reading starts",
                element.set_offset(Position::Beginning),
            );
        }
        let partitions = named(assigned);
        let topics: BTreeSet<&str> = partitions.iter().map(|at| at.topic.as_str()).collect();
        let ids = topic_ids(consumer.client(), &topics, ANSWER_MAX);
        match &ids {
            Ok(ids) => {
                for at in &partitions {
                    self.incarnations
                        .set(at.clone(), ids.get(&at.topic).cloned());
                }
            }
            Err(error) => tracing::warn!(error, "asking for the ids of topics; asking again"),
        }
        self.holdings.assign(partitions, self.now(), ids.is_ok());
        self.assigned_at = Instant::now();
    }

    fn assigned(&mut self, consumer: &BaseConsumer<Link>, assigned: &TopicPartitionList) {
        log_error("pausing", consumer.pause(assigned));
    }

    /// Everything goes on but reading, until what was read is written or the time for it is over. What is not written
    /// by then the next owner reads again, and our transaction, should it still come, finds that it was deposed.
    fn give_back(&mut self, consumer: &BaseConsumer<Link>, partitions: Vec<TopicPartition>) {
        self.ends.metrics.rebalances.inc();
        if !self.ended {
            self.seal();
            let until = self.now() + self.drain_max;
            while self.batches_in_flight > 0 && self.now() < until {
                self.await_reply(consumer, SLEEP_MAX);
            }
        }
        self.batcher.forget(&partitions);
        self.holdings.lose(&partitions);
    }

    fn lose(&mut self, partitions: Vec<TopicPartition>) {
        self.ends.metrics.rebalances.inc();
        self.batcher.forget(&partitions);
        self.holdings.lose(&partitions);
    }
}

fn list<'a>(partitions: impl IntoIterator<Item = &'a TopicPartition>) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for at in partitions {
        list.add_partition(&at.topic, at.partition);
    }
    list
}
