//! How long it takes from the POST of an event until a search finds it, and until the live tail shows it, while others
//! flow beside it.
//!
//! In the flow: `bench::stage` → **`bench::freshness`** → a section of the report.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::report::{Column, Section};
use super::stage::{Stage, TIMEOUT};
use crate::http;
use crate::pipeline::Service;
use crate::progress::Progress;

const COLUMNS: [Column; 3] = [
    Column::new("p50_ms", "p50 ms", 0),
    Column::new("p90_ms", "p90 ms", 0),
    Column::new("max_ms", "longest ms", 0),
];
/// Between two looks whether a search finds the event.
const LOOK_EVERY: Duration = Duration::from_millis(10);
const FOUND_WITHIN: Duration = Duration::from_secs(60);
/// For how long events are sent and looked for, at each rate.
const PROBING_MAX: Duration = Duration::from_secs(75);

/// All sections of this part.
pub(super) fn run(stage: &mut Stage, progress: &Progress) -> Result<Vec<Section>> {
    let mut step = progress.step("freshness", "starting");
    stage.wipe_indices()?;
    let wiring = stage.pipeline.wiring.clone();
    // Others have filled the topic by now; only what is new is to be read.
    let mut wiring = wiring;
    wiring.topic = stage.fresh("bench");
    wiring.group = stage.fresh("bench-group");
    let gateway = stage
        .pipeline
        .service("ingest-gateway", &wiring.gateway_flags())?;
    let query_api = stage.pipeline.service("query-api", &wiring.query_flags())?;
    let sink = stage.pipeline.service("es-sink", &wiring.sink_flags())?;
    let mut section = Section::new("From the POST of an event until it is seen", &COLUMNS);
    let probes = if stage.divisor > 1 { 5 } else { 40 };
    for rate in [0, 1_000, 20_000] {
        step.note(&format!("beside {rate} events/s"));
        let load = (rate > 0)
            .then(|| load(stage, &gateway, rate))
            .transpose()?;
        std::thread::sleep(Duration::from_secs(3));
        let seen = tail(&query_api, &format!("resourceId:probe-{rate}"))?;
        let (mut found, mut shown) = (Vec::new(), Vec::new());
        let began = Instant::now();
        for n in 0..probes {
            stage.interrupt.check()?;
            if began.elapsed() > PROBING_MAX {
                break;
            }
            let name = format!("probe {rate} {n}");
            let event = format!(
                "{{\"level\":\"info\",\"resourceId\":\"probe-{rate}\",\"message\":\"{name}\",\"spanId\":\"p{rate}n{n}\"}}"
            );
            let headers = [("content-type", "application/json")];
            let sent = Instant::now();
            let reply = http::request(
                "POST",
                &format!("{}/logs", gateway.url),
                &headers,
                event.as_bytes(),
                TIMEOUT,
            )?;
            ensure!(
                reply.status == 200,
                "the gateway answered {}: {}",
                reply.status,
                reply.text()
            );
            // The tail hears it first, and remembers when.
            found.push(until_found(&query_api, &format!("p{rate}n{n}"), sent)?);
            let at = seen
                .recv_timeout(FOUND_WITHIN)
                .context("the tail did not show a probe")?;
            shown.push(at.saturating_duration_since(sent));
        }
        drop(load);
        let beside = match rate {
            0 => "nothing else".to_owned(),
            rate => format!("{rate} events/s"),
        };
        section.add(
            &format!("found by a search, beside {beside}"),
            quantiles(found),
        );
        section.add(
            &format!("shown by the live tail, beside {beside}"),
            quantiles(shown),
        );
    }
    drop((sink, query_api, gateway));
    section.note("Elasticsearch makes new documents visible once a second (`refresh_interval`), es-sink sends them after 200 ms at the latest (`--bulk-linger`).");
    step.done("seen");
    Ok(vec![section])
}

fn quantiles(mut times: Vec<Duration>) -> Vec<f64> {
    times.sort();
    let at = |percent: usize| {
        let rank = (times.len() * percent).div_ceil(100).max(1) - 1;
        times
            .get(rank)
            .map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
    };
    vec![at(50), at(90), at(100)]
}

fn until_found(query_api: &Service, span: &str, sent: Instant) -> Result<Duration> {
    let url = format!("{}/logs?spanId={span}", query_api.url);
    loop {
        let reply = http::get(&url, TIMEOUT)?;
        if reply.status == 200 && reply.text().contains(span) {
            return Ok(sent.elapsed());
        }
        // What lags behind further is told as that, and no fault: the machine may be too small for the rate.
        if sent.elapsed() >= FOUND_WITHIN {
            return Ok(FOUND_WITHIN);
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Follows a tail, and tells when each of its events came.
fn tail(query_api: &Service, query: &str) -> Result<Receiver<Instant>> {
    let address = query_api.url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).context("connecting to the live tail")?;
    write!(
        stream,
        "GET /api/v1/tail?q={query} HTTP/1.1\r\nhost: {address}\r\n\r\n"
    )?;
    let mut lines = BufReader::new(stream).lines();
    let status = lines.next().context("the live tail says nothing")??;
    ensure!(status.contains(" 200 "), "the live tail answers `{status}`");
    let (sender, seen) = channel();
    let (began, ready) = channel();
    std::thread::spawn(move || {
        let mut is_event = false;
        for line in lines.map_while(Result::ok) {
            is_event |= line.starts_with("event: log") || line.starts_with("event:log");
            if line.starts_with("event") {
                began.send(()).ok();
            }
            if is_event && line.starts_with("data") {
                is_event = false;
                if sender.send(Instant::now()).is_err() {
                    return;
                }
            }
        }
    });
    ready
        .recv_timeout(TIMEOUT)
        .context("the live tail did not begin")?;
    Ok(seen)
}

/// A running `loadtest generate`; killed when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn load(stage: &Stage, gateway: &Service, rate: u32) -> Result<Running> {
    let child = Command::new(&stage.loadtest)
        .args([
            "generate",
            "--json",
            "--ledger",
            "/dev/null",
            "--connections",
            "8",
        ])
        .args([
            "--target",
            &gateway.url,
            "--rate",
            &rate.to_string(),
            "--duration",
            "10m",
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("starting loadtest generate")?;
    Ok(Running(child))
}
