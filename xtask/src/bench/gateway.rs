//! How many events the gateway takes, how long each waits, and what it costs; beside its own router without Kafka, and
//! an intake as it is often written by hand.
//!
//! In the flow: `bench::stage` → **`bench::gateway`** → sections of the report.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::Value;

use super::report::{CPU_PER_MILLION, Column, Figures, PEAK, Section};
use super::stage::{Stage, Used, figure};
use crate::engines::free_port;
use crate::pipeline::Service;
use crate::process::Process;
use crate::progress::{Progress, Step};

const REQUESTS: Column = Column::new("requests_per_second", "requests/s", 0);
const EVENTS: Column = Column::new("events_per_second", "events/s", 0);
const LATENCY: [Column; 3] = [
    Column::new("p50_ms", "p50 ms", 2),
    Column::new("p99_ms", "p99 ms", 1),
    Column::new("p999_ms", "p99.9 ms", 1),
];
const CPU: Column = Column::new("cpu_us_per_request", "CPU µs a request", 0);
const CONNECTIONS: [u32; 4] = [1, 10, 64, 256];
/// Connections at which the broker is warmed up, one after the other.
const WARM_UP: [&str; 4] = ["64", "10", "64", "10"];
/// A process whose backlog is done uses less of a processor than this…
const IDLE_MAX: f64 = 0.1;
/// … looked at over this long, …
const IDLE_OVER: Duration = Duration::from_millis(500);
/// … and is not waited for beyond this.
const IDLE_WAIT_MAX: Duration = Duration::from_secs(60);
/// A key for a gateway that asks for one; it is worth nothing anywhere else.
const SECRET: &str = "benchmark-0123456789abcdef0123456789abcdef0";
const SECRET_SHA256: &str = "aa99245829484cef01f7c67134c6558578c083193c775b0244d539dc411a7730";

/// All sections of this part.
pub(super) fn run(stage: &mut Stage, progress: &Progress) -> Result<Vec<Section>> {
    let gateway = stage
        .pipeline
        .service("ingest-gateway", &stage.pipeline.wiring.gateway_flags())?;
    warm(stage, &gateway, progress)?;
    let sections = vec![
        single(stage, &gateway, progress)?,
        lone(stage, &gateway, progress)?,
        batches(stage, &gateway, progress)?,
        fixed_rate(stage, &gateway, progress)?,
    ];
    drop(gateway);
    Ok(sections)
}

fn seconds(stage: &Stage) -> &'static str {
    if stage.divisor > 1 { "1" } else { "4" }
}

impl Stage {
    /// `loadtest bench gateway`, one line of its table.
    fn posts(
        &self,
        target: &str,
        pid: Option<u32>,
        more: &[&str],
        step: &mut Step,
    ) -> Result<Value> {
        let pid = pid.map(|pid| pid.to_string());
        let mut arguments = vec!["bench", "gateway", "--json", "--target", target];
        arguments.extend(["--seconds", seconds(self)]);
        arguments.extend(pid.iter().flat_map(|pid| ["--pid", pid.as_str()]));
        arguments.extend(more);
        let table = self.loadtest(&arguments, step)?;
        table.get(0).cloned().context("loadtest measured nothing")
    }
}

fn latency(line: &Value) -> [f64; 3] {
    ["/latency_ms/p50", "/latency_ms/p99", "/latency_ms/p999"].map(|pointer| figure(line, pointer))
}

fn of_requests(line: &Value) -> Figures {
    let [p50, p99, p999] = latency(line);
    vec![
        figure(line, "/requests_per_second"),
        p50,
        p99,
        p999,
        figure(line, "/cpu_us_per_request"),
        figure(line, "/peak_memory_mib"),
    ]
}

/// Posts until the broker's JVM has compiled what it does for each request: before that, few connections get half of what
/// they get later.
fn warm(stage: &Stage, gateway: &Service, progress: &Progress) -> Result<()> {
    let mut step = progress.step("gateway", "warming up the broker");
    for connections in WARM_UP {
        let flags = ["--connections", connections, "--batch", "1"];
        stage.posts(&gateway.url, None, &flags, &mut step)?;
    }
    step.done("the broker is warm");
    Ok(())
}

fn single(stage: &mut Stage, gateway: &Service, progress: &Progress) -> Result<Section> {
    let mut step = progress.step("gateway", "one event a request");
    let columns = [REQUESTS, LATENCY[0], LATENCY[1], LATENCY[2], CPU, PEAK];
    let mut section = Section::new(
        "One event a request, acknowledged by Kafka (acks=all)",
        &columns,
    );
    let limited = limited(stage)?;
    let port = free_port()?;
    let directory = stage.directory.join("fastapi");
    let topic = stage.pipeline.wiring.topic.clone();
    let fastapi = stage
        .peers
        .fastapi(&directory, port, stage.kafka(), &topic)?;
    let fastapi = stage.start(fastapi)?;
    let intake = format!("http://127.0.0.1:{port}/ingest");
    for round in 0..stage.rounds {
        let mut turns = CONNECTIONS;
        if round % 2 == 1 {
            turns.reverse();
        }
        for connections in turns {
            let n = connections.to_string();
            let flags = ["--connections", n.as_str(), "--batch", "1"];
            let line = stage.posts(&gateway.url, gateway.process.pid(), &flags, &mut step)?;
            section.add(
                &format!("ingest-gateway, {n} connections"),
                of_requests(&line),
            );
            if connections == 64 {
                let header = format!("x-api-key: bench.{SECRET}");
                let flags = [&flags[..], &["--header", &header]].concat();
                let line = stage.posts(&limited.url, limited.process.pid(), &flags, &mut step)?;
                let name =
                    format!("the same with a key, its quota and the address's, {n} connections");
                section.add(&name, of_requests(&line));
            }
            let line = router(stage, gateway, &n, &mut step)?;
            section.add(
                &format!("its router alone (GET /healthz), {n} connections"),
                of_requests(&line),
            );
        }
        for n in ["10", "64"] {
            let flags = ["--connections", n, "--batch", "1"];
            let line = stage.posts(&intake, fastapi.pid(), &flags, &mut step)?;
            let name = format!("FastAPI and kafka-python, which answers before, {n} connections");
            section.add(&name, of_requests(&line));
            settle(stage, &fastapi, &mut step)?;
        }
    }
    section
        .note("The load generator and the broker share the two processors with what is measured.");
    step.done("one event a request");
    Ok(section)
}

/// What the gateway's HTTP takes when there is nothing to do for a request.
fn router(stage: &Stage, gateway: &Service, connections: &str, step: &mut Step) -> Result<Value> {
    let health = format!("{}/healthz", gateway.url);
    let pid = gateway.process.pid().map(|pid| pid.to_string());
    let mut arguments = vec!["bench", "http", "--json", "--target", &health];
    arguments.extend(["--seconds", seconds(stage), "--connections", connections]);
    arguments.extend(pid.iter().flat_map(|pid| ["--pid", pid.as_str()]));
    stage.loadtest(&arguments, step)
}

/// Waits until a process has done what it still had to do, so that the next one has the machine for itself.
fn settle(stage: &Stage, process: &Process, step: &mut Step) -> Result<()> {
    let until = Instant::now() + IDLE_WAIT_MAX;
    step.note("waiting for its backlog");
    while Instant::now() < until {
        stage.interrupt.check()?;
        let used = Used::since_now(process);
        std::thread::sleep(IDLE_OVER);
        if used.processors(process) < IDLE_MAX {
            break;
        }
    }
    Ok(())
}

/// A gateway with a key file and limits for addresses, none of which is reached.
fn limited(stage: &Stage) -> Result<Service> {
    let file = stage.directory.join("keys.toml");
    let key = format!(
        "[[key]]\nid = \"bench\"\nsecret-sha256 = \"{SECRET_SHA256}\"\nscopes = [\"ingest\"]\n\
         requests-per-second = 1000000\nbytes-per-second = \"900MiB\"\n"
    );
    fs::write(&file, key).with_context(|| format!("cannot write `{}`", file.display()))?;
    let mut flags = stage.pipeline.wiring.gateway_flags();
    flags.extend(["--api-keys".to_owned(), file.display().to_string()]);
    flags.extend(
        [
            "--rate-limit-requests",
            "1000000",
            "--rate-limit-bytes",
            "900MiB",
        ]
        .map(str::to_owned),
    );
    stage.pipeline.service("ingest-gateway", &flags)
}

fn lone(stage: &mut Stage, gateway: &Service, progress: &Progress) -> Result<Section> {
    let mut step = progress.step("gateway", "one request at a time");
    let columns = LATENCY;
    let mut section = Section::new("What a lone request waits for", &columns);
    let topic = stage.pipeline.wiring.topic.clone();
    for _ in 0..stage.rounds {
        let arguments = [
            "bench",
            "acks",
            "--json",
            "--kafka-brokers",
            stage.kafka(),
            "--topic",
            &topic,
        ];
        let acks = stage.loadtest(&arguments, &mut step)?;
        section.add("librdkafka alone, one record", latency(&acks).to_vec());
        let flags = ["--connections", "1", "--batch", "1"];
        let line = stage.posts(&gateway.url, None, &flags, &mut step)?;
        section.add("ingest-gateway, one event", latency(&line).to_vec());
    }
    step.done("one request at a time");
    Ok(section)
}

fn batches(stage: &mut Stage, gateway: &Service, progress: &Progress) -> Result<Section> {
    let mut step = progress.step("gateway", "many events a request");
    let columns = [EVENTS, CPU_PER_MILLION, LATENCY[0], LATENCY[1], PEAK];
    let alone = "one thread that makes events and produces them";
    let mut section =
        Section::new("Many events a request, 10 connections", &columns).relative_to(alone);
    for _ in 0..stage.rounds {
        let topic = stage.pipeline.wiring.topic.clone();
        let events = stage.events(1_000_000).to_string();
        let arguments = [
            "generate",
            "--json",
            "--ledger",
            "/dev/null",
            "--headers",
            "--kafka",
            stage.kafka(),
            "--topic",
            &topic,
            "--events",
            &events,
        ];
        let produced = stage.loadtest(&arguments, &mut step)?;
        let rate = figure(&produced, "/events_per_second");
        section.add(alone, vec![rate, f64::NAN, f64::NAN, f64::NAN, f64::NAN]);
        for batch in [10_u32, 100, 1000] {
            for gzip in [false, true] {
                let n = batch.to_string();
                let mut flags = vec!["--connections", "10", "--batch", &n];
                flags.extend(gzip.then_some("--gzip"));
                let line = stage.posts(&gateway.url, gateway.process.pid(), &flags, &mut step)?;
                let [p50, p99, _] = latency(&line);
                let figures = vec![
                    figure(&line, "/events_per_second"),
                    figure(&line, "/cpu_us_per_request") / f64::from(batch),
                    p50,
                    p99,
                    figure(&line, "/peak_memory_mib"),
                ];
                let kind = if gzip { ", gzip" } else { "" };
                section.add(&format!("{batch} events a request{kind}"), figures);
            }
        }
    }
    step.done("many events a request");
    Ok(section)
}

fn fixed_rate(stage: &mut Stage, gateway: &Service, progress: &Progress) -> Result<Section> {
    let mut step = progress.step("gateway", "at a fixed rate");
    let columns = [LATENCY[0], LATENCY[1], LATENCY[2], CPU];
    let title = "One event a request at a fixed rate (open loop, 256 connections)";
    let mut section = Section::new(title, &columns);
    for _ in 0..stage.rounds {
        for rate in ["1000", "5000", "15000"] {
            let flags = ["--connections", "256", "--batch", "1", "--rate", rate];
            let line = stage.posts(&gateway.url, gateway.process.pid(), &flags, &mut step)?;
            let mut figures = latency(&line).to_vec();
            figures.push(figure(&line, "/cpu_us_per_request"));
            section.add(&format!("{rate} requests/s"), figures);
        }
    }
    section.note("Latency counts from the moment a request is due, or, where its connection is free by then, from the moment it is sent.");
    step.done("at a fixed rate");
    Ok(section)
}
