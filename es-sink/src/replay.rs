//! `es-sink replay`: indexes a span of the topics once more, as when indices were deleted, or a snapshot is older than what
//! Kafka still has.
//!
//! Beside the flow: the topics → **`replay`** ⇄ `es-sink-core` → `bulk`. What is sent has the ids and indices that it had
//! at first (EO-3), so that sinks may run beside it, and it may be interrupted and begun again. It joins no group, moves
//! no offset, and writes no dead letter: what can never be indexed has one already, and is only counted.
//!
//! 1. [`command`]: what is asked for.
//! 2. [`span`]: which records those are.
//! 3. This file reads them, drives the machine, and tells.

pub mod command;
pub mod span;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use es_sink_core::assignment::TopicPartition;
use es_sink_core::bulk_request::Record;
use es_sink_core::sink::{Command, Input, Sink};
use kafka_source::subscription::FIXED_CONSUMER_PROPERTIES;
use log_event::offset::Offset;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::topic_partition_list::{Offset as Position, TopicPartitionList};
use serde_json::json;
use service::elasticsearch::Nodes;
use service::kafka::{QuietEnds, client_config};
use service::record_headers::headers_of;
use service::shutdown::Shutdown;
use tokio::runtime::Handle;

use crate::bulk::BulkSender;
use crate::metrics::Metrics;
use crate::reply::Reply;
use crate::template::Template;

use command::ReplayConfig;
use span::{Extent, Span};

/// One question to the brokers.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The longest sleep: a signal is seen within this time.
const SLEEP_MAX: Duration = Duration::from_millis(50);
/// Between two lines of progress.
const PROGRESS_EVERY: Duration = Duration::from_secs(2);
/// So long the brokers may give nothing before the end.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// Does what was asked for. The exit code is 0 if all of it was done.
///
/// # Errors
/// If Kafka does not give what is asked for, or Elasticsearch cannot be used. What Elasticsearch refuses for a time is
/// waited out, and told meanwhile.
pub fn run(
    config: &ReplayConfig,
    runtime: &Handle,
    shutdown: &Shutdown,
) -> anyhow::Result<ExitCode> {
    let sink = &config.sink;
    let nodes = Arc::new(Nodes::new(&sink.nodes, &sink.login).map_err(anyhow::Error::msg)?);
    let (to_us, replies) = channel();
    let mut replay = Replay {
        shutdown,
        sink: Sink::new(sink.sink.clone()),
        bulks: BulkSender::new(
            nodes.clone(),
            runtime.clone(),
            sink.bulk_timeout,
            to_us,
            Arc::new(Metrics::new()),
        ),
        replies,
        started: Instant::now(),
        told: None,
        records: 0,
        offsets: (0, 0),
    };
    let mut spans = Vec::new();
    for topic in &sink.topics {
        // One topic after the other: the end of a partition is told without its topic.
        let consumer = consumer(config)?;
        let span = find(config, &consumer, topic)?;
        replay.offsets.0 += span.progress().0;
        spans.push((topic, consumer, span));
    }
    let is_complete = match config.dry_run {
        true => true,
        false => {
            if sink.manages_template {
                let template = Template::new(&sink.sink.index_pattern);
                let installing = template.install(&nodes);
                runtime.block_on(installing).context("the index template")?;
            }
            let mut goes_on = true;
            for (topic, consumer, span) in &mut spans {
                goes_on = goes_on && replay.of_topic(topic, consumer, span)?;
            }
            goes_on
        }
    };
    replay.summary(config, is_complete)?;
    match is_complete {
        true => Ok(ExitCode::SUCCESS),
        false => {
            eprintln!("es-sink: ends early, as asked; the same command does all of it");
            Ok(ExitCode::FAILURE)
        }
    }
}

fn consumer(config: &ReplayConfig) -> anyhow::Result<BaseConsumer<QuietEnds>> {
    let sink = &config.sink;
    let fetch_ahead = sink.fetch_ahead_kib.to_string();
    let fixed = FIXED_CONSUMER_PROPERTIES.iter().copied();
    let fixed: Vec<_> = fixed
        .filter(|(key, _)| *key != "enable.partition.eof")
        .chain([("enable.partition.eof", "true")])
        .collect();
    client_config(
        &sink.brokers,
        &[
            ("client.id", "es-sink-replay"),
            // Never joined, and nothing is committed in its name.
            ("group.id", &sink.sink.group),
            ("queued.max.messages.kbytes", &fetch_ahead),
            ("fetch.message.max.bytes", "131072"),
            ("allow.auto.create.topics", "false"),
        ],
        &sink.kafka_properties,
        &fixed,
    )
    .create_with_context(QuietEnds("reading the topics"))
    .context("librdkafka refuses the configuration")
}

/// Asks Kafka which records of a topic are meant.
fn find(
    config: &ReplayConfig,
    consumer: &BaseConsumer<QuietEnds>,
    topic: &str,
) -> anyhow::Result<Span> {
    let asked = || format!("topic `{topic}` cannot be looked up");
    let metadata = consumer
        .fetch_metadata(Some(topic), TIMEOUT)
        .with_context(asked)?;
    let found = metadata.topics().iter().find(|found| found.name() == topic);
    let partitions = found.into_iter().flat_map(|topic| topic.partitions());
    let partitions: Vec<i32> = partitions.map(|partition| partition.id()).collect();
    ensure!(
        !partitions.is_empty(),
        "topic `{topic}` does not exist; name it with --topic"
    );
    let at_or_after = |millis: i64| -> anyhow::Result<BTreeMap<i32, i64>> {
        let mut list = TopicPartitionList::new();
        for partition in &partitions {
            list.add_partition_offset(topic, *partition, Position::Offset(millis.max(0)))?;
        }
        let found = consumer
            .offsets_for_times(list, TIMEOUT)
            .with_context(asked)?;
        let offsets = found.elements().into_iter().filter_map(|element| {
            let Position::Offset(offset) = element.offset() else {
                return None;
            };
            Some((element.partition(), offset))
        });
        Ok(offsets.collect())
    };
    let from = at_or_after(config.from_ms)?;
    let to = config.to_ms.map(at_or_after).transpose()?;
    let mut span = Span::default();
    for partition in partitions {
        let (low, high) = consumer
            .fetch_watermarks(topic, partition, TIMEOUT)
            .with_context(asked)?;
        let extent = Extent {
            low,
            high,
            from: from.get(&partition).copied(),
            to: to.as_ref().and_then(|to| to.get(&partition).copied()),
        };
        let topic = topic.to_owned();
        span.add(TopicPartition { topic, partition }, extent);
    }
    Ok(span)
}

/// The machine of a sink, without a group.
struct Replay<'a> {
    shutdown: &'a Shutdown,
    sink: Sink,
    bulks: BulkSender,
    replies: Receiver<Reply>,
    started: Instant,
    told: Option<Instant>,
    records: u64,
    /// How many there are in all spans, and how many of them in those that are done.
    offsets: (i64, i64),
}

impl Replay<'_> {
    /// Indexes the records of one topic. Tells whether it came to the end.
    fn of_topic(
        &mut self,
        topic: &str,
        consumer: &BaseConsumer<QuietEnds>,
        span: &mut Span,
    ) -> anyhow::Result<bool> {
        let starts = span.starts();
        let mut list = TopicPartitionList::new();
        for (at, next) in &starts {
            list.add_partition_offset(topic, at.partition, Position::Offset(next.0))?;
        }
        consumer.assign(&list)?;
        let starts = starts.into_iter().map(|(at, next)| (at, Some(next)));
        self.handle(Input::Assigned(starts.collect()));
        let mut heard = Instant::now();
        while !(span.is_read() && self.is_settled()) {
            if self.shutdown.is_requested() {
                return Ok(false);
            }
            while let Ok(reply) = self.replies.try_recv() {
                self.reply(reply);
            }
            let now = self.started.elapsed();
            while let Some(command) = self.sink.poll_command(now) {
                self.carry_out(command);
            }
            self.tell(span);
            let wait = self.sink.next_deadline(now).saturating_sub(now);
            let wait = wait.clamp(Duration::from_millis(1), SLEEP_MAX);
            if span.is_read() || !self.sink.accepts_records() {
                heard = Instant::now();
                if let Ok(reply) = self.replies.recv_timeout(wait) {
                    self.reply(reply);
                }
                continue;
            }
            match consumer.poll(wait) {
                None => ensure!(
                    heard.elapsed() < SILENCE_MAX,
                    "topic `{topic}` was silent for {SILENCE_MAX:?} before its end"
                ),
                Some(Ok(message)) => {
                    heard = Instant::now();
                    self.record(&message, span);
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => span.ends(topic, partition),
                Some(Err(error)) => {
                    let code = error.rdkafka_error_code();
                    ensure!(
                        code != Some(RDKafkaErrorCode::TopicAuthorizationFailed),
                        service::kafka::lacks("Read", "topic", topic)
                    );
                    // Everything else heals: librdkafka goes on by itself.
                    tracing::warn!(%error, "kafka");
                }
            }
        }
        self.offsets.1 += span.progress().0;
        Ok(true)
    }

    fn record(&mut self, message: &BorrowedMessage<'_>, span: &mut Span) {
        let offset = Offset(message.offset());
        if !span.meets(message.topic(), message.partition(), offset) {
            return;
        }
        self.records += 1;
        let headers = headers_of(message);
        let headers = headers.iter().map(|(name, value)| (&**name, *value));
        let record = Record {
            topic: message.topic(),
            partition: message.partition(),
            offset,
            timestamp_ms: message.timestamp().to_millis(),
            key: message.key(),
            value: message.payload(),
            headers,
            // What a trace tells is how its events came here first.
            mark: None,
        };
        self.sink.record(self.started.elapsed(), &record);
    }

    fn is_settled(&self) -> bool {
        let status = self.sink.status();
        status.dead_letters_waiting == 0 && status.partitions.iter().all(|one| one.in_flight == 0)
    }

    fn handle(&mut self, input: Input<'_>) {
        self.sink.handle(self.started.elapsed(), input);
    }

    fn reply(&mut self, reply: Reply) {
        if let Reply::Bulk { bulk, reply } = reply {
            let reply = reply
                .as_ref()
                .map(|(status, body)| (*status, &body[..]))
                .map_err(Clone::clone);
            self.handle(Input::BulkReply { bulk, reply });
            // Nobody asks how fresh they are.
            self.sink.take_indexed_timestamps();
        }
    }

    fn carry_out(&mut self, command: Command) {
        match command {
            Command::SendBulk { bulk, body } => self.bulks.send(bulk, body, None),
            // Each has been published when it was met first.
            Command::Transact { .. } => self.handle(Input::TransactionReply(Ok(()))),
            Command::Commit(_) => self.handle(Input::CommitReply(Ok(()))),
            Command::Pause | Command::Resume | Command::Release(_) | Command::Exit => {}
        }
    }

    /// Now and then, how far it is, and what keeps it.
    fn tell(&mut self, span: &Span) {
        if self
            .told
            .is_some_and(|told| told.elapsed() < PROGRESS_EVERY)
        {
            return;
        }
        self.told = Some(Instant::now());
        let (all, done) = (self.offsets.0.max(1), self.offsets.1 + span.progress().1);
        eprintln!(
            "es-sink: {done} of {all} records read ({} %), {} indexed",
            done.saturating_mul(100) / all,
            self.sink.counters().indexed
        );
        let status = self.sink.status();
        for held in status.held {
            eprintln!("es-sink: held ({}): {}", held.cause.label(), held.reason);
        }
        if let Some(failing) = status.failing {
            eprintln!("es-sink: Elasticsearch takes nothing: {}", failing.text);
        }
    }

    fn summary(&self, config: &ReplayConfig, is_complete: bool) -> std::io::Result<()> {
        let counters = self.sink.counters();
        let new = counters.indexed.saturating_sub(counters.updated);
        let refused: u64 = counters.dead_letters.values().sum();
        let mut out = std::io::stdout();
        if config.json {
            let summary = json!({"offsets": self.offsets.0, "records": self.records, "new": new,
                "were_there": counters.updated, "refused": refused, "dry_run": config.dry_run, "complete": is_complete});
            return writeln!(out, "{summary}");
        }
        if config.dry_run {
            return writeln!(out, "{} records would be read", self.offsets.0);
        }
        writeln!(
            out,
            "{} records read: {new} are new in Elasticsearch, {} were there, {refused} can never be indexed",
            self.records, counters.updated
        )
    }
}
