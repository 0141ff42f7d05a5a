//! How many requests a gateway takes, at several numbers of connections.
//!
//! In the flow: `process_usage` → **`bench_gateway`** → `bench_sink`. A closed
//! loop: every connection sends its next request when the last one is answered.
//! Bodies are made beforehand, so that the client costs little beside the server.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde::Serialize;
use tokio::task::JoinSet;

use crate::generate_http::{Mode, write_body};
use crate::http_client::{HttpClient, Target};
use crate::pace::Claim;
use crate::process_usage::Usage;
use crate::report::{Latency, Tally};
use crate::workload::Workload;

/// Requests are made until they take this much, and then sent in turn.
const REQUESTS_BYTES_MAX: usize = 16 << 20;
const REQUESTS_MAX: u64 = 1_000;
const TIMEOUT: Duration = Duration::from_secs(60);

/// What is asked for.
#[derive(Clone, Debug)]
pub struct BenchGatewaySettings {
    /// The gateway.
    pub target: Target,
    /// The events.
    pub workload: Workload,
    /// Numbers of connections to try.
    pub connections: Vec<usize>,
    /// Events per request to try; 1 is a single object, more are an array.
    pub batches: Vec<u64>,
    /// How long each is tried.
    pub duration: Duration,
    /// The gateway's process, if its use of the machine is to be told.
    pub pid: Option<u32>,
}

/// One line of the table.
#[derive(Clone, Debug, Serialize)]
pub struct GatewayFigures {
    /// Connections.
    pub connections: usize,
    /// Events per request.
    pub batch: u64,
    /// Requests answered with 200, per second.
    pub requests_per_second: f64,
    /// Events in these, per second.
    pub events_per_second: f64,
    /// Latencies in milliseconds.
    pub latency_ms: Latency,
    /// Requests with another answer or none.
    pub n_failed: u64,
    /// CPU of the gateway per request, in microseconds.
    pub cpu_us_per_request: Option<f64>,
    /// The gateway's peak memory so far, in MiB.
    pub peak_memory_mib: Option<f64>,
}

/// Every line, to be printed as a table.
#[derive(Clone, Debug, Serialize)]
pub struct GatewayTable(pub Vec<GatewayFigures>);

/// Tries every number of connections with every size of request.
///
/// # Errors
/// If the process to be watched does not exist.
pub async fn run(settings: &BenchGatewaySettings) -> anyhow::Result<GatewayTable> {
    let mut table = Vec::new();
    for batch in &settings.batches {
        let requests = Arc::new(prepare(settings, (*batch).max(1)));
        for connections in &settings.connections {
            table.push(measure(settings, *connections, *batch, &requests).await?);
        }
    }
    Ok(GatewayTable(table))
}

fn prepare(settings: &BenchGatewaySettings, batch: u64) -> Vec<Vec<u8>> {
    let mode = if batch == 1 {
        Mode::Single
    } else {
        Mode::Array
    };
    let mut requests = Vec::new();
    let mut bytes = 0;
    for number in 0..REQUESTS_MAX {
        let claim = Claim {
            first: number * batch,
            n: batch,
            due: Duration::ZERO,
        };
        let (mut body, mut request) = (Vec::new(), Vec::new());
        write_body(&settings.workload, claim, mode, &mut body);
        let headers = "content-type: application/json\r\n";
        settings.target.write_post(headers, &body, &mut request);
        bytes += request.len();
        requests.push(request);
        if bytes >= REQUESTS_BYTES_MAX {
            break;
        }
    }
    requests
}

async fn measure(
    settings: &BenchGatewaySettings,
    n_connections: usize,
    batch: u64,
    requests: &Arc<Vec<Vec<u8>>>,
) -> anyhow::Result<GatewayFigures> {
    let usage = || settings.pid.map(Usage::of).transpose();
    let before = usage()?;
    let started = Instant::now();
    let end = started + settings.duration;
    let mut connections = JoinSet::new();
    for number in 0..n_connections.max(1) {
        let requests = Arc::clone(requests);
        let client = HttpClient::new(&settings.target.address, TIMEOUT);
        connections.spawn(send_until(client, requests, number, end));
    }
    let mut tally = Tally::default();
    while let Some(ended) = connections.join_next().await {
        tally.add(&ended.context("a connection's task ended early")?);
    }
    let seconds = started.elapsed().as_secs_f64();
    let n_good = tally.outcomes.get("200").copied().unwrap_or_default();
    let n_all: u64 = tally.outcomes.values().sum();
    let after = usage()?;
    let cpu = before.zip(after).map(|(before, after)| {
        (after.cpu_seconds - before.cpu_seconds) * 1e6 / n_all.max(1) as f64
    });
    Ok(GatewayFigures {
        connections: n_connections,
        batch,
        requests_per_second: (n_good as f64 / seconds).round(),
        events_per_second: ((n_good * batch) as f64 / seconds).round(),
        latency_ms: Latency::of(&tally.latency),
        n_failed: n_all - n_good,
        cpu_us_per_request: cpu.map(|us| (us * 10.0).round() / 10.0),
        peak_memory_mib: after.map(|usage| usage.peak_memory_mib),
    })
}

async fn send_until(
    mut client: HttpClient,
    requests: Arc<Vec<Vec<u8>>>,
    first: usize,
    end: Instant,
) -> Tally {
    /// After a failure, so that a gateway that is down is not asked in a tight loop.
    const PAUSE: Duration = Duration::from_millis(10);
    let mut tally = Tally::default();
    let mut n_good = 0;
    let mut at = first;
    loop {
        let sent = Instant::now();
        if sent >= end {
            break;
        }
        match client.exchange(&requests[at % requests.len()]).await {
            Ok(reply) if reply.status == 200 => {
                n_good += 1;
                tally.latency.record(sent.elapsed());
            }
            Ok(reply) => {
                tally.outcome(&reply.status.to_string());
                tokio::time::sleep(PAUSE).await;
            }
            Err(_) => {
                tally.outcome("no reply");
                tokio::time::sleep(PAUSE).await;
            }
        }
        at += 1;
    }
    tally.outcomes.insert("200".to_owned(), n_good);
    tally
}

impl fmt::Display for GatewayTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:>11} {:>6} {:>11} {:>11} {:>9} {:>9} {:>9} {:>7} {:>11} {:>9}",
            "connections",
            "batch",
            "requests/s",
            "events/s",
            "p50 ms",
            "p99 ms",
            "max ms",
            "failed",
            "CPU µs/req",
            "peak MiB"
        )?;
        let optional = |value: Option<f64>| value.map_or("-".to_owned(), |v| format!("{v:.1}"));
        for line in &self.0 {
            write!(
                f,
                "\n{:>11} {:>6} {:>11.0} {:>11.0} {:>9.3} {:>9.3} {:>9.1} {:>7} {:>11} {:>9}",
                line.connections,
                line.batch,
                line.requests_per_second,
                line.events_per_second,
                line.latency_ms.p50,
                line.latency_ms.p99,
                line.latency_ms.max,
                line.n_failed,
                optional(line.cpu_us_per_request),
                optional(line.peak_memory_mib)
            )?;
        }
        Ok(())
    }
}
