//! Sends a workload through the gateway and notes what became of each event.
//!
//! In the flow: `gateway_reply` → **`generate_http`** → `ledger`.
//! A request of unknown outcome is sent again only where that cannot make a
//! second document of an event: with an `Idempotency-Key` or explicit event ids.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use flate2::Compression;
use flate2::write::GzEncoder;
use indicatif::ProgressBar;
use tokio::task::JoinSet;

use crate::gateway_reply::{Judgement, judge};
use crate::http_client::{HttpClient, NoReply, Target};
use crate::http_reply::HttpReply;
use crate::ledger::{LedgerWriter, State};
use crate::pace::{Claim, Pace, Pacer};
use crate::report::{Report, Tally};
use crate::workload::{Workload, mix};

const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// How the events of a request are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    /// One object a request.
    Single,
    /// An array.
    Array,
    /// One object a line.
    Ndjson,
    /// All of these, in varying sizes.
    Mixed,
}

/// Which requests are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Gzip {
    /// None.
    Never,
    /// All.
    Always,
    /// Every other one, by chance.
    Mixed,
}

/// What is asked for.
#[derive(Clone, Debug)]
pub struct HttpSettings {
    /// The gateways, at least one, with one path. When one fails, a request goes to the next.
    pub targets: Vec<Target>,
    /// The events.
    pub workload: Workload,
    /// How many and how fast.
    pub pace: Pace,
    /// How requests are written.
    pub mode: Mode,
    /// Which are compressed.
    pub gzip: Gzip,
    /// Events per request, except in single mode; at least 1.
    pub batch: u64,
    /// Connections, each with one request at a time.
    pub connections: usize,
    /// Whether each request carries an `Idempotency-Key`.
    pub idempotency_keys: bool,
    /// Whether the events carry an `eventId` (as the workload was told).
    pub event_ids: bool,
    /// More headers, each `Name: value`.
    pub headers: Vec<String>,
    /// For one exchange.
    pub timeout: Duration,
    /// How long a request is sent again before its events stay uncertain or refused.
    pub give_up: Duration,
}

impl HttpSettings {
    /// As fast as possible, in requests of every kind, on 8 connections.
    #[must_use]
    pub fn new(target: Target, workload: Workload, n_events: u64) -> Self {
        Self {
            targets: vec![target],
            workload,
            pace: Pace {
                events: Some(n_events),
                ..Pace::default()
            },
            mode: Mode::Mixed,
            gzip: Gzip::Mixed,
            batch: 100,
            connections: 8,
            idempotency_keys: false,
            event_ids: false,
            headers: Vec::new(),
            timeout: Duration::from_secs(30),
            give_up: Duration::from_secs(300),
        }
    }
}

/// How a run is watched and ended from outside.
#[derive(Clone, Debug)]
pub struct Watch {
    /// Counts settled events.
    pub progress: ProgressBar,
    /// Once true, nothing more is begun; what is under way is finished.
    pub stop: Arc<AtomicBool>,
}

impl Watch {
    /// Nobody watches.
    #[must_use]
    pub fn unseen() -> Self {
        Self {
            progress: ProgressBar::hidden(),
            stop: Arc::default(),
        }
    }
}

type SharedLedger = Mutex<LedgerWriter<BufWriter<File>>>;

struct Shared {
    settings: HttpSettings,
    pacer: Mutex<(Pacer, u64)>,
    ledger: SharedLedger,
    watch: Watch,
    started: Instant,
}

/// Sends the workload and writes the ledger. Memory is bounded by connections
/// times the size of a request. The clock of the run starts when it is called.
///
/// # Errors
/// If the ledger cannot be written. What the gateway does is no error: it is in the report.
pub async fn run(settings: HttpSettings, ledger: &Path, watch: Watch) -> anyhow::Result<Report> {
    let name = settings.workload.run().clone();
    let shared = Arc::new(Shared {
        pacer: Mutex::new((Pacer::new(settings.pace), 0)),
        ledger: Mutex::new(create_ledger(&settings.workload, ledger)?),
        watch,
        started: Instant::now(),
        settings,
    });
    let mut connections = JoinSet::new();
    for number in 0..shared.settings.connections.max(1) {
        connections.spawn(send_requests(Arc::clone(&shared), number));
    }
    let mut tally = Tally::default();
    while let Some(ended) = connections.join_next().await {
        tally.add(&ended.context("a connection's task ended early")??);
    }
    let took = shared.started.elapsed();
    let shared = Arc::into_inner(shared).context("a connection's task is still running")?;
    let ledger = shared.ledger.into_inner().map_err(|_| poisoned())?;
    Ok(Report::new(name.as_str(), took, ledger.finish()?, &tally))
}

/// Opens a ledger for the events of a workload.
///
/// # Errors
/// Names the file if it cannot be written.
pub(crate) fn create_ledger(
    workload: &Workload,
    path: &Path,
) -> anyhow::Result<LedgerWriter<BufWriter<File>>> {
    let file = File::create(path)
        .with_context(|| format!("the ledger `{}` cannot be created", path.display()))?;
    Ok(LedgerWriter::new(workload.run(), BufWriter::new(file))?)
}

pub(crate) fn poisoned() -> anyhow::Error {
    anyhow::anyhow!("another thread ended while it wrote the ledger")
}

/// One request, as it is sent however often.
struct Request {
    bytes: Vec<u8>,
    claim: Claim,
}

/// The way to the gateways: to one of them, until it fails.
struct Gateways {
    clients: Vec<HttpClient>,
    turn: usize,
}

impl Gateways {
    /// The connections begin with different ones.
    fn new(settings: &HttpSettings, number: usize) -> Self {
        let client = |target: &Target| HttpClient::new(&target.address, settings.timeout);
        Self {
            clients: settings.targets.iter().map(client).collect(),
            turn: number,
        }
    }

    async fn exchange(&mut self, request: &[u8]) -> Result<HttpReply, NoReply> {
        let at = self.turn % self.clients.len().max(1);
        let result = self.clients[at].exchange(request).await;
        if !matches!(&result, Ok(reply) if reply.status < 500) {
            self.turn = at + 1;
        }
        result
    }
}

async fn send_requests(shared: Arc<Shared>, number: usize) -> anyhow::Result<Tally> {
    let settings = &shared.settings;
    let mut client = Gateways::new(settings, number);
    let mut tally = Tally::default();
    let mut request = Request {
        bytes: Vec::new(),
        claim: Claim {
            first: 0,
            n: 0,
            due: Duration::ZERO,
        },
    };
    while let Some((claim, shape)) = next_request(&shared)? {
        let elapsed = shared.started.elapsed();
        if claim.due > elapsed {
            tokio::time::sleep(claim.due - elapsed).await;
        }
        request.claim = claim;
        write_request(settings, claim, shape, &mut request.bytes)?;
        let settled = settle(&shared, &mut client, &request, &mut tally).await;
        let mut ledger = shared.ledger.lock().map_err(|_| poisoned())?;
        for (state, first, last) in settled {
            ledger.record(state, claim.first + first, claim.first + last)?;
        }
        drop(ledger);
        shared.watch.progress.inc(claim.n);
    }
    Ok(tally)
}

#[derive(Clone, Copy)]
struct Shape {
    mode: Mode,
    gzip: bool,
}

fn next_request(shared: &Shared) -> anyhow::Result<Option<(Claim, Shape)>> {
    if shared.watch.stop.load(Ordering::Relaxed) {
        return Ok(None);
    }
    let settings = &shared.settings;
    let mut pacer = shared.pacer.lock().map_err(|_| poisoned())?;
    let (pacer, number) = &mut *pacer;
    let draw = mix(0x7265_7175_6573_7400, *number);
    *number += 1;
    let batch = settings.batch.max(1);
    let (mode, n) = match (settings.mode, draw % 3) {
        (Mode::Single, _) | (Mode::Mixed, 0) => (Mode::Single, 1),
        (Mode::Mixed, 1) => (Mode::Array, 1 + (draw >> 8) % batch),
        (Mode::Mixed, _) => (Mode::Ndjson, 1 + (draw >> 8) % batch),
        (mode, _) => (mode, batch),
    };
    let gzip = match settings.gzip {
        Gzip::Never => false,
        Gzip::Always => true,
        Gzip::Mixed => (draw >> 4) & 1 == 0,
    };
    let claim = pacer.claim(n, shared.started.elapsed());
    Ok(claim.map(|claim| (claim, Shape { mode, gzip })))
}

fn write_request(
    settings: &HttpSettings,
    claim: Claim,
    shape: Shape,
    out: &mut Vec<u8>,
) -> anyhow::Result<()> {
    let mut body = Vec::new();
    write_body(&settings.workload, claim, shape.mode, &mut body);
    let mut headers = match shape.mode {
        Mode::Ndjson => "content-type: application/x-ndjson\r\n".to_owned(),
        Mode::Single | Mode::Array | Mode::Mixed => "content-type: application/json\r\n".to_owned(),
    };
    if shape.gzip {
        body = gzip(&body)?;
        headers.push_str("content-encoding: gzip\r\n");
    }
    if settings.idempotency_keys {
        let run = settings.workload.run();
        headers.push_str(&format!("idempotency-key: {run}-{}\r\n", claim.first));
    }
    for header in &settings.headers {
        headers.push_str(header);
        headers.push_str("\r\n");
    }
    out.clear();
    let target = settings.targets.first().context("there is no gateway")?;
    target.write_post(&headers, &body, out);
    Ok(())
}

/// The body as clients compress it: fast rather than small.
pub(crate) fn gzip(body: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(body)?;
    encoder.finish()
}

/// Writes the events of a claim as one body.
pub(crate) fn write_body(workload: &Workload, claim: Claim, mode: Mode, out: &mut Vec<u8>) {
    let separator = if mode == Mode::Ndjson { b'\n' } else { b',' };
    if mode == Mode::Array {
        out.push(b'[');
    }
    for n in claim.first..claim.first + claim.n {
        if n > claim.first {
            out.push(separator);
        }
        workload.write_event(n, out);
    }
    match mode {
        Mode::Array => out.push(b']'),
        Mode::Ndjson => out.push(b'\n'),
        Mode::Single | Mode::Mixed => {}
    }
}

/// Sends a request until its events are settled.
async fn settle(
    shared: &Shared,
    client: &mut Gateways,
    request: &Request,
    tally: &mut Tally,
) -> Vec<(State, u64, u64)> {
    let settings = &shared.settings;
    let may_repeat = settings.idempotency_keys || settings.event_ids;
    let begun = Instant::now();
    let mut perhaps_kept = false;
    let mut attempt = 0u32;
    let last = request.claim.n - 1;
    loop {
        let sent = Instant::now();
        let result = client.exchange(&request.bytes).await;
        tally.body_bytes += request.bytes.len() as u64;
        let (judgement, retry_after) = note(&result, sent.elapsed(), request.claim.n, tally);
        match judgement {
            Judgement::Settled(settled) => {
                let all_refused = settled == [(State::Refused, 0, last)];
                if perhaps_kept && all_refused {
                    return vec![(State::Uncertain, 0, last)];
                }
                return settled;
            }
            Judgement::Unknown if !may_repeat => return vec![(State::Uncertain, 0, last)],
            Judgement::Unknown => perhaps_kept = true,
            Judgement::NoneKept => {}
        }
        let stopped = shared.watch.stop.load(Ordering::Relaxed);
        if stopped || begun.elapsed() >= settings.give_up {
            let state = match perhaps_kept {
                true => State::Uncertain,
                false => State::Refused,
            };
            return vec![(state, 0, last)];
        }
        let wait = retry_after.unwrap_or_else(|| backoff(attempt));
        if retry_after.is_some() {
            tally.waited += wait;
        }
        tokio::time::sleep(wait).await;
        attempt += 1;
        tally.repeats += 1;
    }
}

/// Counts an attempt and judges it.
fn note(
    result: &Result<HttpReply, NoReply>,
    took: Duration,
    n_events: u64,
    tally: &mut Tally,
) -> (Judgement, Option<Duration>) {
    match result {
        Ok(reply) => {
            tally.latency.record(took);
            let judgement = judge(reply.status, &reply.body, n_events);
            let odd = reply.status == 200 && judgement == Judgement::Unknown;
            match odd {
                true => tally.outcome("200 with a wrong count"),
                false => tally.outcome(&reply.status.to_string()),
            }
            let wait = reply.retry_after_seconds.map(Duration::from_secs);
            (judgement, wait)
        }
        Err(NoReply::NotSent(..)) => {
            tally.outcome("no connection");
            (Judgement::NoneKept, None)
        }
        Err(NoReply::Cut(..)) => {
            tally.outcome("cut");
            (Judgement::Unknown, None)
        }
        Err(NoReply::TimedOut(..)) => {
            tally.outcome("timeout");
            (Judgement::Unknown, None)
        }
    }
}

fn backoff(attempt: u32) -> Duration {
    (BACKOFF_MIN * (1 << attempt.min(10))).min(BACKOFF_MAX)
}

#[cfg(test)]
mod tests;
