//! Claims partitions, and writes events and offsets in one transaction: one thing after the other.
//!
//! In the flow: `engine` → **`writer`** → PostgreSQL. Upholds AR-1, AR-2 and AR-4. An order is carried out until it
//! succeeds or its partitions are no longer ours; whatever keeps it from that is shown meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use kafka_source::topic_id::Told;
use log_event::document::UtcDay;
use log_event::offset::{NextOffset, TopicPartition};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Transaction};

use crate::batch::{Batch, Part};
use crate::binary::{Date, Moment};
use crate::fence::{Claim, Judgement, Stored, judge};
use crate::holdings::Current;
use crate::metrics::Metrics;
use crate::row::Row;
use crate::schema::{SchemaError, make_days, prepare};
use crate::status::StatusBoard;
use crate::target::{ConnectError, Target, explain};

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// While nothing changes, the log repeats it so often.
const LOG_INTERVAL: Duration = Duration::from_secs(30);
/// Days whose tables are known to be there: more than any batch has, fewer than would matter.
const DAYS_KNOWN_MAX: usize = 4_096;

const CLAIM: &str = "\
    INSERT INTO logflow.offsets AS o (topic, partition, next_offset, epoch) VALUES ($1, $2, 0, 1) \
    ON CONFLICT (topic, partition) DO UPDATE SET epoch = o.epoch + 1 \
    RETURNING topic_id, next_offset, epoch";
/// In one order, so that two who lock the same rows never wait for each other.
const LOCK: &str = "\
    SELECT o.topic, o.partition, o.topic_id, o.next_offset, o.epoch FROM logflow.offsets o \
    JOIN unnest($1::text[], $2::int4[]) AS p (topic, partition) \
    ON o.topic = p.topic AND o.partition = p.partition \
    ORDER BY o.topic, o.partition FOR UPDATE OF o";
const MOVE: &str = "\
    UPDATE logflow.offsets o SET next_offset = p.next, topic_id = p.topic_id \
    FROM unnest($1::text[], $2::int4[], $3::text[], $4::int8[]) AS p (topic, partition, topic_id, next) \
    WHERE o.topic = p.topic AND o.partition = p.partition";
const INSERT: &str = "\
    INSERT INTO logflow.events \
    (day, event_id, event_time, received, tenant, topic, partition, kafka_offset, value) \
    SELECT * FROM unnest($1::date[], $2::bytea[], $3::timestamptz[], $4::timestamptz[], $5::text[], \
    $6::text[], $7::int4[], $8::int8[], $9::bytea[]) ON CONFLICT DO NOTHING";

/// What is to be done.
#[derive(Debug)]
pub enum Order {
    /// Take a partition from whoever had it.
    Claim {
        /// Which.
        at: TopicPartition,
        /// What we call the claim.
        generation: u64,
    },
    /// Write these.
    Write(Batch),
}

/// What came of it; and what the brokers say of topics.
#[derive(Debug)]
pub enum Reply {
    /// The partition is ours.
    Claimed {
        /// Which.
        at: TopicPartition,
        /// What we call the claim.
        generation: u64,
        /// Where the archive is.
        stored: Stored,
    },
    /// A batch is settled.
    Settled {
        /// Partitions whose rows are in the archive, and how far it reaches.
        written: Vec<(TopicPartition, u64, NextOffset)>,
        /// Partitions that another has claimed.
        deposed: Vec<(TopicPartition, u64)>,
        /// What it held.
        n_bytes: usize,
        /// Receipt of its newest record.
        newest_ms: Option<i64>,
    },
    /// The brokers' word on the topics that are assigned.
    Topics {
        /// When they were asked.
        asked_at: Instant,
        /// What they said.
        told: Told,
    },
}

/// Why something is tried again.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{}", explain_connect(.0))]
    Connect(#[from] ConnectError),
    #[error("{0}")]
    Schema(#[from] SchemaError),
    #[error("{}", explain(.0))]
    Postgres(#[from] tokio_postgres::Error),
    #[error("no answer within {0:?}")]
    NoAnswer(Duration),
}

fn explain_connect(error: &ConnectError) -> String {
    match error {
        ConnectError::Postgres(error) => explain(error),
        other @ ConnectError::Password(..) => other.to_string(),
    }
}

/// Carries out orders.
#[derive(Debug)]
pub struct Writer {
    /// Where to.
    pub target: Target,
    /// Whether tables are ours to make.
    pub manages_schema: bool,
    /// How long one try may take.
    pub timeout: Duration,
    /// Claims that still count.
    pub current: Current,
    /// What people see.
    pub board: Arc<StatusBoard>,
    /// What alerts see.
    pub metrics: Arc<Metrics>,
    /// To the thread that reads.
    pub replies: Sender<Reply>,
}

/// What is known of PostgreSQL.
#[derive(Default)]
struct Session {
    client: Option<Client>,
    days: BTreeSet<UtcDay>,
    claims: BTreeMap<TopicPartition, Claim>,
}

#[derive(Default)]
struct Outcome {
    written: Vec<(TopicPartition, u64, NextOffset)>,
    deposed: Vec<(TopicPartition, u64)>,
}

impl Writer {
    /// Carries out orders until nobody can give any more. Connects at once, so that a fault shows at the start.
    pub async fn run(self, mut orders: UnboundedReceiver<Order>) {
        let mut session = Session::default();
        let (mut connected, mut pause) = (false, FIRST_PAUSE);
        let mut failing: Option<(String, Instant)> = None;
        let mut order = None;
        loop {
            if connected && order.is_none() {
                order = orders.recv().await;
                if order.is_none() {
                    return;
                }
            }
            let trying =
                tokio::time::timeout(self.timeout, self.attempt(&mut session, order.as_ref()));
            let tried = match trying.await {
                Ok(tried) => tried,
                Err(_) => Err(Failure::NoAnswer(self.timeout)),
            };
            match tried {
                Ok(reply) => {
                    if failing.take().is_some() {
                        tracing::info!("PostgreSQL takes what it is given again");
                    }
                    self.board.postgres(None);
                    self.metrics.postgres_failing.set(0);
                    (connected, pause, order) = (true, FIRST_PAUSE, None);
                    if let Some(reply) = reply {
                        // The thread that reads is gone only when the process ends.
                        drop(self.replies.send(reply));
                    }
                }
                Err(failure) => {
                    let text = failure.to_string();
                    self.metrics
                        .transactions
                        .with_label_values(&["failed"])
                        .inc();
                    self.metrics.postgres_failing.set(1);
                    self.board.postgres(Some(text.clone()));
                    let is_known = failing
                        .as_ref()
                        .is_some_and(|(known, at)| *known == text && at.elapsed() < LOG_INTERVAL);
                    if !is_known {
                        tracing::warn!(
                            error = text,
                            "PostgreSQL takes nothing; trying until it does"
                        );
                        failing = Some((text, Instant::now()));
                    }
                    session.after(&failure);
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    async fn attempt(
        &self,
        session: &mut Session,
        order: Option<&Order>,
    ) -> Result<Option<Reply>, Failure> {
        let mut client = match session.client.take() {
            Some(client) if !client.is_closed() => client,
            _ => {
                let mut client = self.target.connect().await?;
                prepare(&mut client, self.manages_schema).await?;
                session.days.clear();
                client
            }
        };
        // Only a client whose last words were heard is used again: after any error there is a new one.
        let reply = match order {
            None => None,
            Some(Order::Claim { at, generation }) => {
                self.claim(session, &client, at, *generation).await?
            }
            Some(Order::Write(batch)) => Some(self.write(session, &mut client, batch).await?),
        };
        session.client = Some(client);
        Ok(reply)
    }

    async fn claim(
        &self,
        session: &mut Session,
        client: &Client,
        at: &TopicPartition,
        generation: u64,
    ) -> Result<Option<Reply>, Failure> {
        // A claim that nobody wants any more would only depose whom Kafka gave the partition to.
        if !self.current.has(generation) {
            return Ok(None);
        }
        let row = client.query_one(CLAIM, &[&at.topic, &at.partition]).await?;
        let stored = Stored {
            topic_id: row.try_get(0)?,
            next: NextOffset(row.try_get(1)?),
            epoch: row.try_get(2)?,
        };
        let claim = Claim {
            generation,
            epoch: stored.epoch,
            next: stored.next,
        };
        session.claims.insert(at.clone(), claim);
        Ok(Some(Reply::Claimed {
            at: at.clone(),
            generation,
            stored,
        }))
    }

    async fn write(
        &self,
        session: &mut Session,
        client: &mut Client,
        batch: &Batch,
    ) -> Result<Reply, Failure> {
        let started = Instant::now();
        if self.manages_schema && !batch.days.is_subset(&session.days) {
            let made = make_days(client, &batch.days).await?;
            self.metrics.days_made.inc_by(made);
            if session.days.len() > DAYS_KNOWN_MAX {
                session.days.clear();
            }
            session.days.extend(&batch.days);
        }
        let transaction = client.transaction().await?;
        let stored = lock(&transaction, &batch.parts).await?;
        let mut outcome = Outcome::default();
        let mut parts = Vec::new();
        for part in &batch.parts {
            let is_current = self.current.has(part.generation);
            let claim = session.claims.get(&part.at).filter(|_| is_current);
            match judge(part, claim, stored.get(&part.at)) {
                Judgement::Write => {
                    parts.push(part);
                    outcome
                        .written
                        .push((part.at.clone(), part.generation, part.next));
                }
                Judgement::Written => {
                    outcome
                        .written
                        .push((part.at.clone(), part.generation, part.next));
                }
                Judgement::Deposed => outcome.deposed.push((part.at.clone(), part.generation)),
            }
        }
        let n_rows: usize = parts.iter().map(|part| part.rows.len()).sum();
        if parts.is_empty() {
            transaction.rollback().await?;
        } else {
            move_offsets(&transaction, &parts).await?;
            let inserted = insert(&transaction, &parts).await?;
            transaction.commit().await?;
            self.metrics.events_archived.inc_by(inserted);
            let n_rows = u64::try_from(n_rows).unwrap_or(u64::MAX);
            self.metrics
                .duplicates_suppressed
                .inc_by(n_rows.saturating_sub(inserted));
        }
        for (at, generation, next) in &outcome.written {
            let claim = session.claims.get_mut(at);
            if let Some(claim) = claim.filter(|claim| claim.generation == *generation) {
                claim.next = *next;
            }
        }
        for (at, generation) in &outcome.deposed {
            // Nothing of what was read behind these rows may be written, whatever PostgreSQL says then: it would
            // leave a gap. Only a new claim goes on.
            let claim = session.claims.get(at);
            if claim.is_some_and(|claim| claim.generation == *generation) {
                session.claims.remove(at);
            }
        }
        self.metrics
            .transactions
            .with_label_values(&["committed"])
            .inc();
        self.metrics
            .transaction_seconds
            .observe(started.elapsed().as_secs_f64());
        Ok(Reply::Settled {
            written: outcome.written,
            deposed: outcome.deposed,
            n_bytes: batch.n_bytes,
            newest_ms: batch.newest_received_ms(),
        })
    }
}

impl Session {
    /// What an error says about what was known.
    fn after(&mut self, failure: &Failure) {
        // Somebody has dropped the table of a day.
        if let Failure::Postgres(error) = failure
            && error.code() == Some(&SqlState::CHECK_VIOLATION)
        {
            self.days.clear();
        }
    }
}

async fn lock(
    transaction: &Transaction<'_>,
    parts: &[Part],
) -> Result<BTreeMap<TopicPartition, Stored>, tokio_postgres::Error> {
    let topics: Vec<&str> = parts.iter().map(|part| part.at.topic.as_str()).collect();
    let partitions: Vec<i32> = parts.iter().map(|part| part.at.partition).collect();
    let rows = transaction.query(LOCK, &[&topics, &partitions]).await?;
    let mut found = BTreeMap::new();
    for row in rows {
        let at = TopicPartition {
            topic: row.try_get(0)?,
            partition: row.try_get(1)?,
        };
        let stored = Stored {
            topic_id: row.try_get(2)?,
            next: NextOffset(row.try_get(3)?),
            epoch: row.try_get(4)?,
        };
        found.insert(at, stored);
    }
    Ok(found)
}

async fn move_offsets(
    transaction: &Transaction<'_>,
    parts: &[&Part],
) -> Result<(), tokio_postgres::Error> {
    let topics: Vec<&str> = parts.iter().map(|part| part.at.topic.as_str()).collect();
    let partitions: Vec<i32> = parts.iter().map(|part| part.at.partition).collect();
    let ids: Vec<Option<&str>> = parts.iter().map(|part| part.topic_id.as_deref()).collect();
    let nexts: Vec<i64> = parts.iter().map(|part| part.next.0).collect();
    transaction
        .execute(MOVE, &[&topics, &partitions, &ids, &nexts])
        .await?;
    Ok(())
}

async fn insert(
    transaction: &Transaction<'_>,
    parts: &[&Part],
) -> Result<u64, tokio_postgres::Error> {
    fn column<'a, T>(parts: &[&'a Part], of: impl Fn(&'a Part, &'a Row) -> T) -> Vec<T> {
        let rows = parts
            .iter()
            .flat_map(|part| part.rows.iter().map(move |row| (*part, row)));
        rows.map(|(part, row)| of(part, row)).collect()
    }
    let days = column(parts, |_, row| Date(row.day));
    let ids = column(parts, |_, row| row.event_id.as_slice());
    let times = column(parts, |_, row| row.event_time_ms.map(Moment));
    let received = column(parts, |_, row| row.received_ms.map(Moment));
    let tenants = column(parts, |_, row| row.tenant.as_deref());
    let topics = column(parts, |part, _| part.at.topic.as_str());
    let partitions = column(parts, |part, _| part.at.partition);
    let offsets = column(parts, |_, row| row.offset);
    let values = column(parts, |_, row| row.value.as_deref());
    let columns: [&(dyn ToSql + Sync); 9] = [
        &days,
        &ids,
        &times,
        &received,
        &tenants,
        &topics,
        &partitions,
        &offsets,
        &values,
    ];
    transaction.execute(INSERT, &columns).await
}
