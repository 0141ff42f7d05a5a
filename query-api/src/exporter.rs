//! Reads page after page of an export and hands it to the client, as fast as that reads.
//!
//! In the flow: `export` → **`exporter`** → `searcher`, `routes`. Upholds QA-1: a bounded number of
//! exports, each of a bounded number of events, a page in memory each.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, Stream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::cursor::Cursor;
use crate::error::{Code, Problem};
use crate::export::{End, ExportRequest};
use crate::search_response::{Partial, PartialCode};
use crate::searcher::Searcher;

/// A client that reads nothing for so long has its export cut.
const STALL_MAX: Duration = Duration::from_secs(60);
/// How often a page is asked for again while Elasticsearch is busy, and the pause before it.
const TRIES_MAX: u32 = 5;
const PAUSE: Duration = Duration::from_secs(1);

/// Carries out exports. Clones share the bound.
#[derive(Clone, Debug)]
pub struct Exporter {
    permits: Arc<Semaphore>,
    events_max: u64,
}

/// A part of the file.
enum Part {
    Rows(Bytes),
    End(Bytes),
}

/// What is read next.
struct Reading {
    searcher: Searcher,
    request: ExportRequest,
    next: Option<Cursor>,
    end: End,
    events_max: u64,
    _permit: OwnedSemaphorePermit,
}

impl Exporter {
    /// At most so many exports at once, of at most so many events each.
    #[must_use]
    pub fn new(concurrent_max: u32, events_max: u64) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(concurrent_max as usize)),
            events_max,
        }
    }

    /// The file as it is read. Its first page is read before, so that what goes wrong at once is told as a problem.
    /// What goes wrong later breaks the stream off, without the end of the file.
    ///
    /// # Errors
    /// A [`Problem`].
    pub async fn export(
        &self,
        searcher: Searcher,
        request: ExportRequest,
    ) -> Result<impl Stream<Item = io::Result<Bytes>> + use<>, Problem> {
        let permit = Arc::clone(&self.permits).try_acquire_owned().map_err(|_| {
            let detail = "too many exports run at once; try again";
            Problem::new(Code::Overloaded, detail)
        })?;
        let mut reading = Reading {
            searcher,
            request,
            next: None,
            end: End::default(),
            events_max: self.events_max,
            _permit: permit,
        };
        let mut first = reading.request.format.head();
        first.extend(reading.page().await?);
        let (sender, receiver) = mpsc::channel(1);
        tokio::spawn(reading.send(first.into(), sender));
        Ok(stream::unfold(Some(receiver), |receiver| async move {
            let mut receiver = receiver?;
            match receiver.recv().await {
                Some(Part::Rows(rows)) => Some((Ok(rows), Some(receiver))),
                Some(Part::End(end)) => Some((Ok(end), None)),
                None => Some((Err(io::Error::other("the export is cut")), None)),
            }
        }))
    }
}

impl Reading {
    async fn send(mut self, first: Bytes, sender: mpsc::Sender<Part>) {
        let mut part = Part::Rows(first);
        loop {
            let is_end = matches!(part, Part::End(_));
            let sent = tokio::time::timeout(STALL_MAX, sender.send(part)).await;
            if is_end || !matches!(sent, Ok(Ok(()))) {
                break;
            }
            if self.next.is_none() || self.end.events >= self.events_max {
                part = Part::End(self.end_of_file());
                continue;
            }
            let page = tokio::select! {
                page = self.page_in_the_end() => page,
                () = sender.closed() => break,
            };
            match page {
                Ok(rows) => part = Part::Rows(rows.into()),
                Err(problem) => {
                    tracing::warn!(
                        reason = problem.detail,
                        events = self.end.events,
                        "an export is cut"
                    );
                    break;
                }
            }
        }
        if let Some(cursor) = self.next.take() {
            self.searcher.give_up(cursor);
        }
    }

    fn end_of_file(&mut self) -> Bytes {
        if self.next.is_some() {
            self.note(Partial {
                code: PartialCode::EventLimit,
                detail: format!(
                    "an export has at most {} events (`--max-export-events`); narrow it by a time range",
                    self.events_max
                ),
            });
        }
        self.request.format.end(&self.end).into()
    }

    /// A page, asked for again while there is hope.
    async fn page_in_the_end(&mut self) -> Result<Vec<u8>, Problem> {
        let mut tries = 1;
        loop {
            match self.page().await {
                Err(problem) if problem.code.may_pass() && tries < TRIES_MAX => {
                    tries += 1;
                    tokio::time::sleep(PAUSE).await;
                }
                page => return page,
            }
        }
    }

    async fn page(&mut self) -> Result<Vec<u8>, Problem> {
        let format = &self.request.format;
        let page = self.searcher.read_page(
            &self.request.search,
            self.next.clone(),
            |found, partial, next| (format.rows(&found), found.hits().len(), partial, next),
        );
        let (rows, events, partial, next) = page.await?;
        self.next = next;
        self.end.events += events as u64;
        for reason in partial {
            self.note(reason);
        }
        Ok(rows)
    }

    fn note(&mut self, reason: Partial) {
        self.end.partial = true;
        let reasons = &mut self.end.partial_reasons;
        if !reasons.iter().any(|known| known.code == reason.code) {
            reasons.push(reason);
        }
    }
}
