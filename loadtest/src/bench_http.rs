//! Sends prepared requests to a server, as fast as it answers or at a fixed rate.
//!
//! In the flow: `process_usage` → **`bench_http`** → `bench_gateway`. In a closed loop every connection sends its next
//! request when the last one is answered. At a fixed rate a request is due at its time, whether or not the ones before
//! it are answered, and its latency counts from then: so a server that stalls is not spared by a client that waits.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde::Serialize;
use tokio::task::JoinSet;

use crate::http_client::{HttpClient, Target};
use crate::process_usage::Usage;
use crate::report::{Latency, Tally};

const TIMEOUT: Duration = Duration::from_secs(60);
/// How good outcomes are counted.
const GOOD: &str = "2xx";
/// After a failure, so that a server that is down is not asked in a tight loop.
const PAUSE: Duration = Duration::from_millis(10);

/// What is asked for.
#[derive(Clone, Debug)]
pub struct HttpLoop {
    /// The server.
    pub address: String,
    /// Whole requests, sent in turn.
    pub requests: Arc<Vec<Vec<u8>>>,
    /// Connections, each with one request at a time.
    pub connections: usize,
    /// Requests per second; none is a closed loop.
    pub rate: Option<f64>,
    /// For how long.
    pub duration: Duration,
    /// The server's process, if its use of the machine is to be told.
    pub pid: Option<u32>,
}

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct HttpFigures {
    /// Connections.
    pub connections: usize,
    /// Requests per second that were due, at a fixed rate.
    pub rate: Option<f64>,
    /// Requests answered with a 2xx, per second.
    pub requests_per_second: f64,
    /// Latencies in milliseconds.
    pub latency_ms: Latency,
    /// Requests with another answer or none.
    pub n_failed: u64,
    /// CPU of the server per request, in microseconds.
    pub cpu_us_per_request: Option<f64>,
    /// The server's peak memory meanwhile, in MiB.
    pub peak_memory_mib: Option<f64>,
}

/// The requests of a file: each line is the body of a POST; without a file one GET.
///
/// # Errors
/// If there is no line.
pub fn requests(target: &Target, bodies: Option<&str>) -> anyhow::Result<Vec<Vec<u8>>> {
    let Some(bodies) = bodies else {
        let request = format!(
            "GET {} HTTP/1.1\r\nhost: {}\r\n\r\n",
            target.path, target.address
        );
        return Ok(vec![request.into_bytes()]);
    };
    let lines = bodies.lines().filter(|line| !line.trim().is_empty());
    let requests: Vec<Vec<u8>> = lines
        .map(|body| {
            let mut request = Vec::new();
            let headers = "content-type: application/json\r\n";
            target.write_post(headers, body.as_bytes(), &mut request);
            request
        })
        .collect();
    anyhow::ensure!(!requests.is_empty(), "the file of bodies has no line");
    Ok(requests)
}

/// Sends until the time is up.
///
/// # Errors
/// If the process to be watched does not exist.
pub async fn run(settings: &HttpLoop) -> anyhow::Result<HttpFigures> {
    let usage = || settings.pid.map(Usage::of).transpose();
    if let Some(pid) = settings.pid {
        Usage::forget_peak(pid);
    }
    let before = usage()?;
    let started = Instant::now();
    let mut connections = JoinSet::new();
    for number in 0..settings.connections.max(1) {
        connections.spawn(send_until(settings.clone(), number, started));
    }
    let mut tally = Tally::default();
    while let Some(ended) = connections.join_next().await {
        tally.add(&ended.context("a connection's task ended early")?);
    }
    let seconds = started.elapsed().as_secs_f64();
    let n_good = tally.outcomes.get(GOOD).copied().unwrap_or_default();
    let n_all: u64 = tally.outcomes.values().sum();
    let after = usage()?;
    let cpu = before.zip(after).map(|(before, after)| {
        (after.cpu_seconds - before.cpu_seconds) * 1e6 / n_all.max(1) as f64
    });
    Ok(HttpFigures {
        connections: settings.connections,
        rate: settings.rate,
        requests_per_second: (n_good as f64 / seconds).round(),
        latency_ms: Latency::of(&tally.latency),
        n_failed: n_all - n_good,
        cpu_us_per_request: cpu.map(|us| (us * 10.0).round() / 10.0),
        peak_memory_mib: after.map(|usage| usage.peak_memory_mib),
    })
}

async fn send_until(settings: HttpLoop, number: usize, started: Instant) -> Tally {
    let mut client = HttpClient::new(&settings.address, TIMEOUT);
    let requests = &settings.requests;
    let end = started + settings.duration;
    let mut tally = Tally::default();
    let mut n_good = 0;
    let mut at = number;
    loop {
        let due = match settings.rate {
            Some(rate) => {
                let due = started + Duration::from_secs_f64(at as f64 / rate);
                // A timer that wakes this client late is no fault of the server; a reply that comes late is.
                if due > Instant::now() {
                    tokio::time::sleep_until(due.into()).await;
                    Instant::now()
                } else {
                    due
                }
            }
            None => Instant::now(),
        };
        if due >= end {
            break;
        }
        match client.exchange(&requests[at % requests.len()]).await {
            Ok(reply) if reply.status / 100 == 2 => {
                n_good += 1;
                tally.latency.record(due.elapsed());
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
        // At a fixed rate the connections share the requests between them.
        at += match settings.rate {
            Some(_) => settings.connections.max(1),
            None => 1,
        };
    }
    tally.outcomes.insert(GOOD.to_owned(), n_good);
    tally
}

impl fmt::Display for HttpFigures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let latency = &self.latency_ms;
        write!(
            f,
            "{} connections: {:.0} requests/s, p50 {:.3} ms, p99 {:.3}, p99.9 {:.3}, longest {:.1}; {} failed",
            self.connections,
            self.requests_per_second,
            latency.p50,
            latency.p99,
            latency.p999,
            latency.max,
            self.n_failed
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_is_the_body_of_a_post_and_without_a_file_there_is_one_get() {
        let target = Target::parse("http://h:1/a?b=c", "/").unwrap();
        let text = |request: &Vec<u8>| String::from_utf8_lossy(request).into_owned();
        let posts = requests(&target, Some("{\"a\":1}\n\n{}\n")).unwrap();
        let posts: Vec<String> = posts.iter().map(text).collect();
        let head = "POST /a?b=c HTTP/1.1\r\nhost: h:1\r\ncontent-type: application/json\r\n";
        assert_eq!(
            posts,
            [
                format!("{head}content-length: 7\r\n\r\n{{\"a\":1}}"),
                format!("{head}content-length: 2\r\n\r\n{{}}"),
            ]
        );
        let gets = requests(&target, None).unwrap();
        assert_eq!(text(&gets[0]), "GET /a?b=c HTTP/1.1\r\nhost: h:1\r\n\r\n");
        assert!(requests(&target, Some("\n")).is_err());
    }
}
