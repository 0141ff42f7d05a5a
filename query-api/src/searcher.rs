//! Leads a search to Elasticsearch and back: admits it, opens and closes the
//! points in time that pages are read from, and keeps the deadline.
//!
//! In the flow: `cursor` → **`searcher`** → `open_cursors`, `es_query`,
//! `elasticsearch`, `search_response` → `routes`. Upholds QA-1.
//! A caller that is dropped, because its client left, takes its request to
//! Elasticsearch with it, and Elasticsearch then cancels the search.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use bytes::Bytes;
use service::elasticsearch::Reply;
use service::search_engine::SearchEngine;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::config::{Config, IndexExpression};
use crate::cursor::{Cursor, CursorError, Resume};
use crate::elasticsearch::{Elasticsearch, Opened, SearchError};
use crate::error::{Code, Problem};
use crate::es_query::{self, Bounded};
use crate::metrics::{Metrics, Operation};
use crate::open_cursors::OpenCursors;
use crate::passthrough::Passage;
use crate::query::field::DynamicFields;
use crate::query::mapping::dynamic_fields;
use crate::search_request::{PAGE_LIMIT_MAX, SearchRequest};
use crate::search_response::{Found, Partial};

/// So many cursors at most give way to a new one for which the cluster has no room.
const GIVING_WAY_MAX: usize = 8;
/// How much longer than the search itself its reply may take to arrive.
const REPLY_GRACE: Duration = Duration::from_secs(1);

/// Carries out searches. Clones share everything.
#[derive(Clone, Debug)]
pub struct Searcher {
    shared: Arc<Shared>,
    index: IndexExpression,
}

#[derive(Debug)]
struct Shared {
    elasticsearch: Elasticsearch,
    metrics: Metrics,
    /// One permit for each [`PAGE_LIMIT_MAX`] events that a search may return.
    permits: Semaphore,
    cursors: Mutex<OpenCursors>,
    search_timeout: Duration,
    cursor_keep_alive: Duration,
}

/// What `GET /logs` found.
#[derive(Debug)]
pub struct Logs {
    /// A JSON array of events.
    pub array: Bytes,
    /// Why events may be missing.
    pub partial: Vec<Partial>,
}

impl Searcher {
    /// Searches in one cluster.
    #[must_use]
    pub fn new(config: &Config, elasticsearch: Elasticsearch, metrics: Metrics) -> Self {
        let cursors = OpenCursors::new(config.open_cursors_max, config.cursor_keep_alive);
        let shared = Shared {
            elasticsearch,
            metrics,
            permits: Semaphore::new(config.concurrent_searches_max as usize),
            cursors: Mutex::new(cursors),
            search_timeout: config.search_timeout,
            cursor_keep_alive: config.cursor_keep_alive,
        };
        Self {
            shared: Arc::new(shared),
            index: config.indices.all(),
        }
    }

    /// One that searches other indices, and shares everything else.
    #[must_use]
    pub fn within(&self, index: IndexExpression) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            index,
        }
    }

    /// The indices that it searches.
    #[must_use]
    pub fn index(&self) -> &IndexExpression {
        &self.index
    }

    /// Finds events, without a way to the next page.
    ///
    /// # Errors
    /// A [`Problem`], at the deadline at the latest.
    pub async fn logs(&self, request: &SearchRequest) -> Result<Logs, Problem> {
        let permits = request.limit.div_ceil(PAGE_LIMIT_MAX);
        let body = |engine, bounded: Bounded| es_query::search(engine, request, bounded.timeout);
        let reply = self.ask(permits, body).await?;
        let (found, partial) = self.read(&reply)?;
        Ok(Logs {
            array: found.into_array(),
            partial,
        })
    }

    /// Sends one search; `permits` is one for each [`PAGE_LIMIT_MAX`] events that it may return.
    ///
    /// # Errors
    /// A [`Problem`], at the deadline at the latest.
    pub async fn ask(
        &self,
        permits: u32,
        body: impl FnOnce(SearchEngine, Bounded) -> Bytes,
    ) -> Result<Bytes, Problem> {
        let shared = &*self.shared;
        let _permit = shared.admit(permits)?;
        let deadline = shared.deadline();
        let engine = shared.elasticsearch.engine(deadline).await;
        let body = body(engine, shared.bounded());
        let result = shared
            .elasticsearch
            .search(&self.index, body, deadline)
            .await;
        result.map_err(|error| shared.failed(Operation::Search, error))
    }

    /// Sends two searches at once, if there are any.
    ///
    /// # Errors
    /// A [`Problem`], at the deadline at the latest.
    pub async fn both(
        &self,
        bodies: impl FnOnce(SearchEngine, Bounded) -> Option<[Bytes; 2]>,
    ) -> Result<Option<[Bytes; 2]>, Problem> {
        let shared = &*self.shared;
        let engine = shared.elasticsearch.engine(shared.deadline()).await;
        let Some([first, second]) = bodies(engine, shared.bounded()) else {
            return Ok(None);
        };
        let (first, second) =
            tokio::try_join!(self.ask(1, |_, _| first), self.ask(1, |_, _| second))?;
        Ok(Some([first, second]))
    }

    /// Reads the reply to a search, and notes why it may lack something.
    ///
    /// # Errors
    /// A [`Problem`] if it is no such reply.
    pub fn read<'r>(&self, reply: &'r Bytes) -> Result<(Found<'r>, Vec<Partial>), Problem> {
        let found = Found::read(reply).map_err(|error| self.unreadable(error))?;
        let partial = self.shared.note_partial(&found);
        Ok((found, partial))
    }

    /// How the indices keep the fields that the template does not name.
    ///
    /// # Errors
    /// A [`Problem`], at the deadline at the latest.
    pub async fn dynamic_fields(&self) -> Result<DynamicFields, Problem> {
        let reply = self
            .shared
            .elasticsearch
            .field_capabilities(&self.index, self.shared.deadline())
            .await;
        let failed = |error| self.shared.failed(Operation::Fields, error);
        let reply = reply.map_err(failed)?;
        dynamic_fields(&reply).map_err(|error| failed(SearchError::Unreadable(error)))
    }

    /// The problem that a reply was not what it must be.
    pub fn unreadable(&self, error: SearchError) -> Problem {
        self.shared.failed(Operation::Search, error)
    }

    /// Finds one page of hits: the first one, or the one that `cursor` leads to.
    ///
    /// # Errors
    /// A [`Problem`], at the deadline at the latest.
    pub async fn page(
        &self,
        request: &SearchRequest,
        cursor: Option<&str>,
    ) -> Result<Bytes, Problem> {
        let cursor = cursor
            .map(|text| Cursor::decode(text, request, &self.index))
            .transpose();
        let cursor = cursor.map_err(Problem::from)?;
        let range = request.selection.range;
        self.read_page(request, cursor, |found, partial, next| {
            let next = next.map(|next| next.encode(request, &self.index));
            found.into_page(range, &partial, next)
        })
        .await
    }

    /// Finds one page of hits and lets `read` make of it what it is for; beside
    /// the hits it gets why some may be missing, and where the next page starts.
    ///
    /// # Errors
    /// A [`Problem`], at the deadline at the latest.
    pub async fn read_page<T>(
        &self,
        request: &SearchRequest,
        cursor: Option<Cursor>,
        read: impl FnOnce(Found<'_>, Vec<Partial>, Option<Cursor>) -> T,
    ) -> Result<T, Problem> {
        let shared = &*self.shared;
        let _permit = shared.admit(1)?;
        let deadline = shared.deadline();
        let (mut point_in_time, resume) = match cursor {
            Some(cursor) => (self.lease(cursor.point_in_time, false), cursor.resume),
            None => {
                let opened = shared
                    .open_point_in_time(&self.index, request, deadline)
                    .await;
                let failed = |error| shared.failed(Operation::OpenCursor, error);
                match opened.map_err(failed)? {
                    Opened::PointInTime(id) => (self.lease(id, true), Resume::default()),
                    Opened::Nothing(reply) => {
                        let found = Found::read(&reply).map_err(failed)?;
                        return Ok(read(found, Vec::new(), None));
                    }
                }
            }
        };
        let body = es_query::search_point_in_time(
            shared.elasticsearch.engine(deadline).await,
            request,
            &point_in_time.id,
            resume,
            shared.cursor_keep_alive,
            shared.search_timeout,
        );
        let result = shared
            .elasticsearch
            .search_point_in_time(body, deadline)
            .await;
        let reply = result.map_err(|error| point_in_time.lost(error))?;
        let mut found = Found::read(&reply).map_err(|error| point_in_time.lost(error))?;
        let partial = shared.note_partial(&found);
        if let Some(id) = found.pit_id.take() {
            point_in_time.renamed(id.into_owned());
        }
        let next = match found
            .cut(resume, request.limit)
            .map_err(|error| point_in_time.lost(error))?
        {
            Some(resume) => Some(Cursor {
                point_in_time: point_in_time.keep(),
                resume,
            }),
            None => {
                point_in_time.close_on_drop = true;
                None
            }
        };
        Ok(read(found, partial, next))
    }

    /// Closes what a cursor holds open, when nobody will use it.
    pub fn give_up(&self, cursor: Cursor) {
        self.close(cursor.point_in_time);
    }

    /// Passes a request on, and gives Elasticsearch's reply, whatever its status is.
    ///
    /// # Errors
    /// A [`Problem`] if there is no room or no reply, at the deadline at the latest.
    pub async fn pass_on(&self, passage: &Passage) -> Result<Reply, Problem> {
        let shared = &*self.shared;
        let _permits = shared.admit(passage.permits)?;
        let reply = shared
            .elasticsearch
            .pass_on(passage, shared.deadline())
            .await;
        reply.map_err(|error| shared.failed(Operation::PassOn, error))
    }

    /// Probes Elasticsearch once, for readiness.
    pub async fn probe(&self) {
        self.shared.elasticsearch.probe(&self.index).await;
        let open = self.shared.lock_cursors().count(Instant::now());
        self.shared.metrics.set_cursors_open(open);
    }

    /// Why searches cannot work; none if they can.
    #[must_use]
    pub fn not_ready(&self) -> Vec<String> {
        self.shared.elasticsearch.not_ready().into_iter().collect()
    }

    fn lease(&self, id: String, close_on_drop: bool) -> Lease {
        Lease {
            searcher: self.clone(),
            id,
            close_on_drop,
        }
    }

    /// Closes a point in time, and lets nobody wait for it.
    fn close(&self, point_in_time: String) {
        self.shared.lock_cursors().forget(&point_in_time);
        let shared = Arc::clone(&self.shared);
        drop(tokio::spawn(async move {
            shared
                .elasticsearch
                .close_point_in_time(&point_in_time)
                .await;
        }));
    }
}

impl Shared {
    fn admit(&self, permits: u32) -> Result<SemaphorePermit<'_>, Problem> {
        self.permits.try_acquire_many(permits).map_err(|_| {
            let detail = "too many searches run at once; try again";
            Problem::new(Code::Overloaded, detail)
        })
    }

    async fn open_point_in_time(
        &self,
        index: &IndexExpression,
        request: &SearchRequest,
        deadline: Instant,
    ) -> Result<Opened, SearchError> {
        let engine = self.elasticsearch.engine(deadline).await;
        let range = es_query::open_point_in_time(engine, request);
        let open = || {
            let (range, keep_alive) = (range.clone(), self.cursor_keep_alive);
            self.elasticsearch
                .open_point_in_time(engine, index, range, keep_alive, deadline)
        };
        let mut opened = open().await;
        for _ in 0..GIVING_WAY_MAX {
            // OpenSearch holds 300 shards open on a node (`search.max_open_pit_context`), and
            // refuses the next with 429. Elasticsearch knows no such bound.
            let is_full = engine == SearchEngine::OpenSearch
                && matches!(opened, Err(SearchError::Overloaded { status: 429, .. }));
            let oldest = is_full.then(|| self.lock_cursors().give_way(Instant::now()));
            let Some(oldest) = oldest.flatten() else {
                break;
            };
            self.metrics.count_evicted(1);
            self.elasticsearch.close_point_in_time(&oldest).await;
            opened = open().await;
        }
        opened
    }

    fn bounded(&self) -> Bounded {
        Bounded {
            timeout: self.search_timeout,
        }
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.search_timeout + REPLY_GRACE
    }

    fn note_partial(&self, found: &Found<'_>) -> Vec<Partial> {
        let partial = found.partial();
        if !partial.is_empty() {
            self.metrics.count_partial(&partial);
            let shards: Vec<&str> = found.failure_types().collect();
            tracing::warn!(?partial, ?shards, "a result is partial");
        }
        partial
    }

    /// Logs what the client is not told.
    fn failed(&self, operation: Operation, error: SearchError) -> Problem {
        self.metrics.count_elasticsearch_error(operation, &error);
        match &error {
            SearchError::CursorExpired => {}
            SearchError::Unreachable(_)
            | SearchError::TimedOut(_)
            | SearchError::Overloaded { .. } => {
                tracing::warn!(%error, "a search got no result");
            }
            SearchError::Refused { .. } | SearchError::Unreadable(_) => {
                tracing::error!(%error, "a search got no result");
            }
        }
        Problem::from(error)
    }

    fn lock_cursors(&self) -> MutexGuard<'_, OpenCursors> {
        self.cursors
            .lock()
            .unwrap_or_else(|broken| broken.into_inner())
    }
}

/// A point in time while a page is read from it. One that was opened for a
/// first page that never arrived is closed again; one that came with a cursor
/// stays, so that the client can ask for the same page once more.
struct Lease {
    searcher: Searcher,
    id: String,
    close_on_drop: bool,
}

impl Lease {
    fn renamed(&mut self, id: String) {
        if id != self.id {
            self.searcher.shared.lock_cursors().forget(&self.id);
            self.id = id;
        }
    }

    /// Stays open for the next page; others may have to go.
    fn keep(&mut self) -> String {
        self.close_on_drop = false;
        let shared = &*self.searcher.shared;
        let now = Instant::now();
        let (evicted, open) = {
            let mut cursors = shared.lock_cursors();
            (cursors.used(self.id.clone(), now), cursors.count(now))
        };
        shared.metrics.count_evicted(evicted.len());
        shared.metrics.set_cursors_open(open);
        for point_in_time in evicted {
            self.searcher.close(point_in_time);
        }
        self.id.clone()
    }

    fn lost(&mut self, error: SearchError) -> Problem {
        if matches!(error, SearchError::CursorExpired) {
            self.searcher.shared.lock_cursors().forget(&self.id);
            self.close_on_drop = true;
        }
        self.searcher.shared.failed(Operation::Search, error)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.close_on_drop {
            self.searcher.close(std::mem::take(&mut self.id));
        }
    }
}

impl From<CursorError> for Problem {
    fn from(error: CursorError) -> Self {
        Self {
            code: Code::InvalidCursor,
            detail: format!("`cursor`: {error}"),
            parameter: Some("cursor".to_owned()),
            column: None,
        }
    }
}
