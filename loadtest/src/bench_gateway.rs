//! How many requests a gateway takes, at several numbers of connections.
//!
//! In the flow: `bench_http` → **`bench_gateway`** → `bench_sink`. Bodies are made
//! beforehand, so that the client costs little beside the server.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::bench_http::{self, HttpFigures, HttpLoop};
use crate::generate_http::{Mode, gzip, write_body};
use crate::http_client::Target;
use crate::pace::Claim;
use crate::workload::Workload;

/// Requests are made until they take this much, and then sent in turn.
const REQUESTS_BYTES_MAX: usize = 16 << 20;
const REQUESTS_MAX: u64 = 1_000;

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
    /// Requests per second; none is as many as are answered.
    pub rate: Option<f64>,
    /// Whether bodies are compressed.
    pub gzip: bool,
    /// Further headers of each request, `Name: value`.
    pub headers: Vec<String>,
    /// How long each is tried.
    pub duration: Duration,
    /// The gateway's process, if its use of the machine is to be told.
    pub pid: Option<u32>,
}

/// One line of the table.
#[derive(Clone, Debug, Serialize)]
pub struct GatewayFigures {
    /// Events per request.
    pub batch: u64,
    /// Events in requests answered with a 2xx, per second.
    pub events_per_second: f64,
    /// What was measured of the requests.
    #[serde(flatten)]
    pub http: HttpFigures,
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
        let requests = Arc::new(prepare(settings, (*batch).max(1))?);
        for connections in &settings.connections {
            table.push(measure(settings, *connections, *batch, &requests).await?);
        }
    }
    Ok(GatewayTable(table))
}

fn prepare(settings: &BenchGatewaySettings, batch: u64) -> anyhow::Result<Vec<Vec<u8>>> {
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
        let mut headers = "content-type: application/json\r\n".to_owned();
        for header in &settings.headers {
            headers.push_str(header);
            headers.push_str("\r\n");
        }
        if settings.gzip {
            body = gzip(&body)?;
            headers.push_str("content-encoding: gzip\r\n");
        }
        settings.target.write_post(&headers, &body, &mut request);
        bytes += request.len();
        requests.push(request);
        if bytes >= REQUESTS_BYTES_MAX {
            break;
        }
    }
    Ok(requests)
}

async fn measure(
    settings: &BenchGatewaySettings,
    connections: usize,
    batch: u64,
    requests: &Arc<Vec<Vec<u8>>>,
) -> anyhow::Result<GatewayFigures> {
    let http = bench_http::run(&HttpLoop {
        address: settings.target.address.clone(),
        requests: Arc::clone(requests),
        connections,
        rate: settings.rate,
        duration: settings.duration,
        pid: settings.pid,
    })
    .await?;
    Ok(GatewayFigures {
        batch,
        events_per_second: http.requests_per_second * batch as f64,
        http,
    })
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
            "p99.9 ms",
            "failed",
            "CPU µs/req",
            "peak MiB"
        )?;
        let optional = |value: Option<f64>| value.map_or("-".to_owned(), |v| format!("{v:.1}"));
        for line in &self.0 {
            write!(
                f,
                "\n{:>11} {:>6} {:>11.0} {:>11.0} {:>9.3} {:>9.3} {:>9.3} {:>7} {:>11} {:>9}",
                line.http.connections,
                line.batch,
                line.http.requests_per_second,
                line.events_per_second,
                line.http.latency_ms.p50,
                line.http.latency_ms.p99,
                line.http.latency_ms.p999,
                line.http.n_failed,
                optional(line.http.cpu_us_per_request),
                optional(line.http.peak_memory_mib)
            )?;
        }
        Ok(())
    }
}
