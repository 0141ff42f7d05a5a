//! Follows the topic for one client: reads what is new, keeps what matches, drops what the client has no time for.
//!
//! In the flow: Kafka → **`tail_reader`** → `query::matcher`, `tail` → `routes`. Upholds QA-3.
//! Each tail has a consumer of its own, on a thread of its own, without a group: it moves no offsets, a slow client
//! delays no other, and one that comes back goes on where it was. What is on its way to a client is bounded, and so is
//! the number of tails.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use log_event::document::{Coordinates, document_id};
use log_event::offset::Offset;
use log_event::record::RecordHeaders;
use log_event::tenant::Tenant;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::{ClientContext, TopicPartitionList};
use service::kafka::described::{Operation, topics};
use service::kafka::lacks;
use service::record_headers::headers_of;
use service::shutdown::Shutdown;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::error::{Code, Problem};
use crate::kafka::{KafkaSettings, consumer};
use crate::query::field::DynamicFields;
use crate::query::matcher::Candidate;
use crate::tail::{Batch, Position, Progress, TailRequest};

/// One wait for the brokers before a tail begins.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How long an event waits for others to go with it.
const LINGER: Duration = Duration::from_millis(50);
/// How often a client hears how far its tail is, also when nothing matches.
const STATUS_INTERVAL: Duration = Duration::from_secs(1);
/// How often partitions that are new are looked for.
const PARTITIONS_INTERVAL: Duration = Duration::from_secs(30);
/// A batch that is as large is sent.
const BATCH_BYTES: usize = 64 * 1024;
/// What may wait for one client: beyond it events are dropped. One batch always may.
const QUEUE_BYTES_MAX: usize = 4 * 1024 * 1024;
const QUEUE_BATCHES_MAX: usize = 256;
/// A client that takes nothing for so long has its tail ended.
const STALL_MAX: Duration = Duration::from_secs(60);
/// Who comes back later than so many records of a partition misses those before.
const RESUME_RECORDS_MAX: i64 = 100_000;

/// Where the tails read. Clones share the bound.
#[derive(Clone, Debug)]
pub struct Tails {
    settings: Arc<KafkaSettings>,
    permits: Arc<Semaphore>,
    shutdown: Shutdown,
}

/// What a client gets, batch after batch.
#[derive(Debug)]
pub struct Tail {
    batches: mpsc::Receiver<Bytes>,
    waiting: Arc<AtomicUsize>,
}

impl Tail {
    /// The next batch; `None` at the end.
    pub async fn next(&mut self) -> Option<Bytes> {
        let batch = self.batches.recv().await?;
        self.waiting.fetch_sub(batch.len(), Ordering::Relaxed);
        Some(batch)
    }
}

impl Tails {
    /// At most so many at once; none runs yet.
    #[must_use]
    pub fn new(settings: KafkaSettings, concurrent_max: u32, shutdown: Shutdown) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(concurrent_max as usize)),
            settings: Arc::new(settings),
            shutdown,
        }
    }

    /// Whether there can be a tail at all.
    #[must_use]
    pub fn are_possible(&self) -> bool {
        !self.settings.brokers.is_empty()
    }

    /// Begins one.
    ///
    /// # Errors
    /// A [`Problem`] if there are too many, or Kafka does not answer.
    pub async fn begin(
        &self,
        request: TailRequest,
        dynamic: DynamicFields,
    ) -> Result<Tail, Problem> {
        let permit = Arc::clone(&self.permits).try_acquire_owned().map_err(|_| {
            let detail = "too many live tails run at once (`--max-tails`); close one, or try again";
            Problem::new(Code::Overloaded, detail)
        })?;
        let (settings, shutdown) = (Arc::clone(&self.settings), self.shutdown.clone());
        let (sender, batches) = mpsc::channel(QUEUE_BATCHES_MAX);
        let waiting = Arc::new(AtomicUsize::new(0));
        let outlet = Outlet {
            sender,
            waiting: Arc::clone(&waiting),
            last_taken: Instant::now(),
        };
        let begun = tokio::task::spawn_blocking(move || {
            let (consumer, reader) = Reader::begin(&settings, request, dynamic, outlet, permit)?;
            let is_there = !reader.position.0.is_empty();
            let lacks = is_there.then(|| unreadable(&consumer, &settings.topic));
            if lacks == Some(None) {
                std::thread::spawn(move || reader.run(&consumer, &shutdown));
            }
            Ok::<_, KafkaError>(lacks)
        });
        let reason = match begun.await {
            Ok(Ok(Some(None))) => return Ok(Tail { batches, waiting }),
            Ok(Ok(Some(Some(lacks)))) => lacks,
            Ok(Ok(None)) => format!("topic `{}` does not exist", self.settings.topic),
            Ok(Err(error)) => told(&error, &self.settings.topic),
            Err(error) => error.to_string(),
        };
        tracing::warn!(reason, "a live tail does not begin");
        let detail = format!("the topic cannot be followed: {reason}");
        Err(Problem::new(Code::KafkaUnavailable, detail))
    }
}

/// What the user lacks to read the topic, if the brokers tell (Kafka 2.3 and later): of a tail that it does not lead to
/// nothing would come but silence.
fn unreadable(consumer: &BaseConsumer<Complaints>, topic: &str) -> Option<String> {
    let described = topics(consumer.client(), &[topic.to_owned()], TIMEOUT);
    let operations = described.ok()?.remove(topic)?.ok()?.operations?;
    (!operations.contains(&Operation::Read)).then(|| lacks("Read", "topic", topic))
}

/// What an error of Kafka's means to people.
fn told(error: &KafkaError, topic: &str) -> String {
    match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::TopicAuthorizationFailed) => lacks("Read", "topic", topic),
        _ => error.to_string(),
    }
}

/// Remembers what librdkafka says is wrong.
#[derive(Debug, Default)]
struct Complaints(Mutex<Option<(Instant, String)>>);

impl ClientContext for Complaints {
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "a live tail has trouble with Kafka");
        let mut last = self.0.lock().unwrap_or_else(|broken| broken.into_inner());
        *last = Some((Instant::now(), error.to_string()));
    }
}

impl ConsumerContext for Complaints {}

impl Complaints {
    /// What was wrong since `since`.
    fn since(&self, since: Instant) -> Option<String> {
        let last = self.0.lock().unwrap_or_else(|broken| broken.into_inner());
        last.as_ref()
            .filter(|(at, _)| *at > since)
            .map(|(_, reason)| reason.clone())
    }
}

/// The way to one client.
struct Outlet {
    sender: mpsc::Sender<Bytes>,
    waiting: Arc<AtomicUsize>,
    last_taken: Instant,
}

/// One tail, beside its consumer.
struct Reader {
    topic: String,
    request: TailRequest,
    dynamic: DynamicFields,
    outlet: Outlet,
    position: Position,
    /// Where the partitions ended when they were found: what stands before is waited for, not dropped.
    ends: BTreeMap<i32, i64>,
    batch: Batch,
    batch_since: Instant,
    progress: Progress,
    /// Not told yet.
    dropped: u64,
    _permit: OwnedSemaphorePermit,
}

impl Reader {
    fn begin(
        settings: &KafkaSettings,
        request: TailRequest,
        dynamic: DynamicFields,
        outlet: Outlet,
        permit: OwnedSemaphorePermit,
    ) -> KafkaResult<(BaseConsumer<Complaints>, Self)> {
        let consumer = consumer(settings, false, Complaints::default())?;
        let mut reader = Self {
            topic: settings.topic.clone(),
            request,
            dynamic,
            outlet,
            position: Position::default(),
            ends: BTreeMap::new(),
            batch: Batch::default(),
            batch_since: Instant::now(),
            progress: Progress::default(),
            dropped: 0,
            _permit: permit,
        };
        reader.add_partitions(&consumer)?;
        Ok((consumer, reader))
    }

    /// Adds the partitions that are not read yet: at the place where the client was, else at their end; those that are
    /// new since the tail began, from their beginning.
    fn add_partitions(&mut self, consumer: &BaseConsumer<Complaints>) -> KafkaResult<()> {
        let metadata = consumer.fetch_metadata(Some(&self.topic), TIMEOUT)?;
        let topic = metadata
            .topics()
            .iter()
            .find(|topic| topic.name() == self.topic);
        let partitions = topic.into_iter().flat_map(|topic| topic.partitions());
        let begins = self.position.0.is_empty();
        let mut list = TopicPartitionList::new();
        for partition in partitions.map(|partition| partition.id()) {
            if self.position.0.contains_key(&partition) {
                continue;
            }
            let (first, end) = consumer.fetch_watermarks(&self.topic, partition, TIMEOUT)?;
            let earliest = first.max(end - RESUME_RECORDS_MAX);
            let after = self.request.after.as_ref();
            let start = match after.map(|after| after.0.get(&partition).copied()) {
                Some(Some(after)) => {
                    let start = after.max(earliest).min(end);
                    self.note_dropped(u64::try_from(start - after).unwrap_or(0));
                    start
                }
                None if begins => end,
                None | Some(None) => earliest,
            };
            self.ends.insert(partition, end);
            self.position.0.insert(partition, start);
            list.add_partition_offset(&self.topic, partition, rdkafka::Offset::Offset(start))?;
        }
        if list.count() > 0 {
            consumer.incremental_assign(&list)?;
        }
        Ok(())
    }

    fn run(mut self, consumer: &BaseConsumer<Complaints>, shutdown: &Shutdown) {
        let mut last_looked = Instant::now();
        let mut refused = None;
        while !self.outlet.sender.is_closed() && !shutdown.is_requested() {
            match consumer.poll(LINGER) {
                Some(Ok(record)) => {
                    refused = None;
                    self.take(&record);
                }
                None => {}
                // librdkafka tries again by itself; the client hears of it by the status.
                Some(Err(error)) => {
                    tracing::debug!(%error, "a live tail has trouble with Kafka");
                    // Said once, and true until a record comes.
                    if error.rdkafka_error_code()
                        == Some(RDKafkaErrorCode::TopicAuthorizationFailed)
                    {
                        refused = Some(told(&error, &self.topic));
                    }
                }
            }
            let wait = if self.batch.events() > 0 {
                LINGER
            } else {
                STATUS_INTERVAL
            };
            if self.batch.bytes() >= BATCH_BYTES || self.batch_since.elapsed() >= wait {
                let trouble = consumer.context().since(Instant::now() - STALL_MAX / 6);
                self.progress.problem = trouble.or_else(|| refused.clone());
                self.send();
                if self.outlet.last_taken.elapsed() > STALL_MAX {
                    tracing::info!("a live tail ends: its client took nothing for {STALL_MAX:?}");
                    break;
                }
            }
            if last_looked.elapsed() > PARTITIONS_INTERVAL {
                last_looked = Instant::now();
                if let Err(error) = self.add_partitions(consumer) {
                    tracing::debug!(%error, "new partitions are looked for again later");
                }
            }
        }
    }

    fn note_dropped(&mut self, records: u64) {
        self.dropped += records;
        self.progress.dropped += records;
    }

    fn take(&mut self, record: &BorrowedMessage<'_>) {
        self.position
            .0
            .insert(record.partition(), record.offset() + 1);
        let Some(value) = record.payload() else {
            return;
        };
        let headers = headers_of(record);
        let headers = RecordHeaders::read(headers.iter().map(|(name, value)| (&**name, *value)));
        let owner = self.request.tenant.as_ref().map(Tenant::as_str);
        if owner.is_some() && headers.tenant != owner {
            return;
        }
        self.progress.read += 1;
        let at = Coordinates {
            topic: record.topic(),
            partition: record.partition(),
            offset: Offset(record.offset()),
            timestamp_ms: record.timestamp().to_millis(),
        };
        let id = document_id(&at, &headers, value);
        let candidate = Candidate::new(&id, value, &self.dynamic);
        if candidate.is_event() && candidate.matches(&self.request.query) {
            if self.batch.events() == 0 {
                self.batch_since = Instant::now();
            }
            self.progress.matched += 1;
            self.batch.add(&id, value);
        }
    }

    /// Sends what there is; what there is no room for is dropped, and the client is told with the next batch.
    fn send(&mut self) {
        let batch = std::mem::take(&mut self.batch);
        let events = batch.events();
        let waits = self
            .position
            .0
            .iter()
            .any(|(partition, at)| self.ends.get(partition).is_some_and(|end| at < end));
        let text = batch.finish(self.dropped, &self.progress, &self.position);
        let sent = self.outlet.send(text, waits);
        if sent {
            self.dropped = 0;
        } else {
            self.note_dropped(events);
        }
        self.batch_since = Instant::now();
    }
}

impl Outlet {
    /// Whether the batch is on its way. `waits`: for room, as long as the client takes anything at all.
    fn send(&mut self, batch: Bytes, waits: bool) -> bool {
        let bytes = batch.len();
        loop {
            let waiting = self.waiting.load(Ordering::Relaxed);
            if waiting == 0 || waiting + bytes <= QUEUE_BYTES_MAX {
                self.waiting.fetch_add(bytes, Ordering::Relaxed);
                if self.sender.try_send(batch).is_ok() {
                    self.last_taken = Instant::now();
                    return true;
                }
                self.waiting.fetch_sub(bytes, Ordering::Relaxed);
                return false;
            }
            if !waits || self.sender.is_closed() || self.last_taken.elapsed() > STALL_MAX {
                return false;
            }
            std::thread::sleep(LINGER);
        }
    }
}
