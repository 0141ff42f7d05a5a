//! How fast Elasticsearch indexes bulk bodies that are ready: the ceiling of what feeds it.
//!
//! In the flow: `bench_http` → **`bench_bulk`** → `bench_sink`. All bodies are made before the first is sent, so that
//! what is measured is Elasticsearch, and a client that costs next to nothing.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use log_event::document::{IndexPattern, UtcDay};
use log_event::event_id::EventIdMinter;
use serde::Serialize;
use tokio::task::JoinSet;

use crate::generate_http::gzip;
use crate::http_client::{HttpClient, Target};
use crate::workload::Workload;

const TIMEOUT: Duration = Duration::from_secs(120);
const PATH: &str = "/_bulk?filter_path=errors";

/// How a document gets into its index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Write {
    /// `index` with the id of an event, as es-sink does it.
    Index,
    /// `create` with the id of an event.
    Create,
    /// `index` without an id: Elasticsearch makes one, and looks for no older document.
    AutomaticId,
}

/// What is asked for.
#[derive(Clone, Debug)]
pub struct BenchBulkSettings {
    /// Elasticsearch.
    pub target: Target,
    /// Names of the daily indices.
    pub index: IndexPattern,
    /// The events.
    pub workload: Workload,
    /// How many are sent.
    pub n_events: u64,
    /// The size of a body.
    pub bulk_bytes: usize,
    /// Bodies on their way at once.
    pub concurrency: usize,
    /// How documents are written.
    pub write: Write,
    /// Whether bodies are compressed.
    pub gzip: bool,
}

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct BulkFigures {
    /// Documents that Elasticsearch has acknowledged.
    pub events: u64,
    /// Requests.
    pub bulks: usize,
    /// Bytes of bodies, as sent.
    pub body_bytes: usize,
    /// Seconds from the first request to the last reply.
    pub seconds: f64,
    /// Documents per second.
    pub events_per_second: f64,
}

impl Target {
    /// The bulk endpoint of `http://HOST:PORT`.
    ///
    /// # Errors
    /// Names the text if it is no such address.
    pub fn bulk(url: &str) -> anyhow::Result<Self> {
        Self::parse(url, PATH)
    }
}

/// Sends all.
///
/// # Errors
/// If a reply is missing or tells of an error.
pub async fn run(settings: &BenchBulkSettings) -> anyhow::Result<BulkFigures> {
    let requests = prepare(settings)?;
    let bulks = requests.len();
    let body_bytes = requests.iter().map(Vec::len).sum();
    let waiting = Arc::new(Mutex::new(requests));
    let started = Instant::now();
    let mut senders = JoinSet::new();
    for _ in 0..settings.concurrency.max(1) {
        let waiting = Arc::clone(&waiting);
        let mut client = HttpClient::new(&settings.target.address, TIMEOUT);
        senders.spawn(async move {
            loop {
                let next = waiting
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .pop_front();
                let Some(request) = next else {
                    return anyhow::Ok(());
                };
                let reply = client.exchange(&request).await?;
                let text = String::from_utf8_lossy(&reply.body);
                ensure!(
                    reply.status == 200 && text.contains("\"errors\":false"),
                    "Elasticsearch answered {}: {text}",
                    reply.status
                );
            }
        });
    }
    while let Some(ended) = senders.join_next().await {
        ended.context("a sender ended early")??;
    }
    let seconds = started.elapsed().as_secs_f64();
    Ok(BulkFigures {
        events: settings.n_events,
        bulks,
        body_bytes,
        seconds,
        events_per_second: (settings.n_events as f64 / seconds.max(1e-6)).round(),
    })
}

fn prepare(settings: &BenchBulkSettings) -> anyhow::Result<VecDeque<Vec<u8>>> {
    let minter = EventIdMinter::new([7; 8]);
    let mut requests = VecDeque::new();
    let mut body = Vec::new();
    for n in 0..settings.n_events {
        let time = settings.workload.event_time(n);
        let index = settings
            .index
            .index_name(UtcDay::of_millis(time.millis()), None);
        let action = match settings.write {
            Write::Index | Write::Create => {
                let name = if settings.write == Write::Index {
                    "index"
                } else {
                    "create"
                };
                let id = minter.mint(time);
                format!("{{\"{name}\":{{\"_index\":\"{index}\",\"_id\":\"{id}\"}}}}\n")
            }
            Write::AutomaticId => format!("{{\"index\":{{\"_index\":\"{index}\"}}}}\n"),
        };
        body.extend_from_slice(action.as_bytes());
        settings.workload.write_event(n, &mut body);
        body.push(b'\n');
        if body.len() >= settings.bulk_bytes || n + 1 == settings.n_events {
            requests.push_back(request(settings, &body)?);
            body.clear();
        }
    }
    Ok(requests)
}

fn request(settings: &BenchBulkSettings, body: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut request = Vec::with_capacity(body.len() + 256);
    let kind = "content-type: application/x-ndjson\r\n";
    if settings.gzip {
        let headers = format!("{kind}content-encoding: gzip\r\n");
        settings
            .target
            .write_post(&headers, &gzip(body)?, &mut request);
    } else {
        settings.target.write_post(kind, body, &mut request);
    }
    Ok(request)
}

impl fmt::Display for BulkFigures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} documents in {} requests of {} bytes took {:.2} s ({:.0}/s)",
            self.events,
            self.bulks,
            self.body_bytes / self.bulks.max(1),
            self.seconds,
            self.events_per_second
        )
    }
}
