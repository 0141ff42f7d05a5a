//! The engines and programs that every part of the benchmark uses, and how it asks `loadtest` for figures.
//!
//! In the flow: `pipeline`, `peers` → **`bench::stage`** → the parts.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::bench::peers::Peers;
use crate::command;
use crate::engines::provision::Distribution;
use crate::http;
use crate::interrupt::Interrupt;
use crate::pipeline::Pipeline;
use crate::process::{Process, Spec};
use crate::progress::Step;

/// How long Elasticsearch or a service may take to answer a question.
pub(super) const TIMEOUT: Duration = Duration::from_secs(60);
/// Between two looks at how much is indexed: each costs Elasticsearch a moment.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long reading or indexing may take before something must be wrong.
pub(super) const LONG: Duration = Duration::from_secs(600);

/// What all parts share.
pub(super) struct Stage {
    pub(super) pipeline: Pipeline,
    pub(super) distribution: Distribution,
    pub(super) peers: Peers,
    pub(super) directory: PathBuf,
    pub(super) loadtest: PathBuf,
    pub(super) sink: PathBuf,
    pub(super) interrupt: Interrupt,
    /// How often each contender is measured.
    pub(super) rounds: usize,
    /// Divides the numbers of events, for a quick look.
    pub(super) divisor: u64,
    names: u32,
}

/// What a process used between two moments.
pub(super) struct Used {
    at: Instant,
    cpu: f64,
}

impl Stage {
    /// Without a number of rounds it is a quick look.
    pub(super) fn new(
        pipeline: Pipeline,
        distribution: Distribution,
        peers: Peers,
        directory: PathBuf,
        binaries: [PathBuf; 2],
        interrupt: Interrupt,
        rounds: Option<usize>,
    ) -> Self {
        let [loadtest, sink] = binaries;
        Self {
            pipeline,
            distribution,
            peers,
            directory,
            loadtest,
            sink,
            interrupt,
            rounds: rounds.unwrap_or(1),
            divisor: if rounds.is_some() { 1 } else { 10 },
            names: 0,
        }
    }

    /// A name that nothing else here has.
    pub(super) fn fresh(&mut self, what: &str) -> String {
        self.names += 1;
        format!("{what}{}", self.names)
    }

    /// So many, or a tenth for a quick look.
    pub(super) fn events(&self, n: u64) -> u64 {
        n / self.divisor
    }

    pub(super) fn kafka(&self) -> &str {
        &self.pipeline.wiring.kafka
    }

    pub(super) fn elasticsearch(&self) -> &str {
        &self.pipeline.wiring.elasticsearch
    }

    /// Runs `loadtest`, shows what it does, and gives what it prints.
    pub(super) fn loadtest(&self, arguments: &[&str], step: &mut Step) -> Result<Value> {
        self.interrupt.check()?;
        step.note(&format!("loadtest {}", arguments.join(" ")));
        let mut run = Command::new(&self.loadtest);
        run.args(arguments);
        let mut json = String::new();
        command::run(run, &self.interrupt, |line| {
            // What it and its sink log are lines of JSON, too, but begin with a timestamp.
            if !line.starts_with("{\"timestamp\"") {
                json.push_str(line);
            }
        })?;
        let printed: Value = serde_json::from_str(&json)
            .with_context(|| format!("loadtest printed no JSON: `{json}`"))?;
        // What is refused is answered fast, and says nothing of what is not.
        let lines = printed
            .as_array()
            .map_or(std::slice::from_ref(&printed), Vec::as_slice);
        let failed = lines
            .iter()
            .filter_map(|line| line["n_failed"].as_u64())
            .sum::<u64>();
        ensure!(
            failed == 0,
            "{failed} requests failed: loadtest {}",
            arguments.join(" ")
        );
        Ok(printed)
    }

    /// Makes a topic and fills it as the gateway would.
    pub(super) fn fill(&mut self, load: &Load, step: &mut Step) -> Result<String> {
        let topic = self.fresh("bench");
        let [partitions, events, bytes, days] = [
            u64::from(load.partitions),
            load.events,
            load.event_bytes,
            load.days,
        ]
        .map(|n| n.to_string());
        let arguments = [
            "bench",
            "fill",
            "--kafka-brokers",
            self.kafka(),
            "--topic",
            &topic,
            "--partitions",
            &partitions,
            "--events",
            &events,
            "--event-bytes",
            &bytes,
            "--days",
            &days,
            "--json",
        ];
        self.loadtest(&arguments, step)?;
        Ok(topic)
    }

    /// Starts a process and waits until it works.
    pub(super) fn start(&self, spec: Spec) -> Result<Process> {
        let mut process = Process::new(spec);
        process.start(&self.interrupt)?;
        Ok(process)
    }

    /// Asks Elasticsearch.
    pub(super) fn ask(&self, method: &str, path: &str, body: &str) -> Result<Value> {
        let url = format!("{}{path}", self.elasticsearch());
        let headers = [("content-type", "application/json")];
        let reply = http::request(method, &url, &headers, body.as_bytes(), TIMEOUT)?;
        ensure!(
            reply.status < 300,
            "{method} {url} answered {}: {}",
            reply.status,
            reply.text()
        );
        reply.json()
    }

    /// Removes all indices of logs, each by its name: Elasticsearch refuses patterns.
    pub(super) fn wipe_indices(&self) -> Result<()> {
        let all = self.ask("GET", "/_cat/indices/logflow-*?format=json&h=index", "")?;
        for index in all.as_array().into_iter().flatten() {
            let name = index["index"].as_str().context("an index without a name")?;
            self.ask("DELETE", &format!("/{name}"), "")?;
        }
        Ok(())
    }

    /// How many documents the indices have taken so far.
    pub(super) fn n_indexed(&self, index: &str) -> Result<u64> {
        let path = format!(
            "/{index}/_stats/indexing?ignore_unavailable=true&filter_path=_all.primaries.indexing.index_total"
        );
        let stats = self.ask("GET", &path, "")?;
        Ok(stats["_all"]["primaries"]["indexing"]["index_total"]
            .as_u64()
            .unwrap_or(0))
    }

    /// Waits until an index has all its documents, and gives how many a second came after the first look that saw any.
    pub(super) fn rate_of_indexing(&self, index: &str, n: u64, step: &mut Step) -> Result<f64> {
        let mut first = None;
        let began = Instant::now();
        loop {
            self.interrupt.check()?;
            let found = self.n_indexed(index)?;
            if found > 0 && first.is_none() {
                first = Some((Instant::now(), found));
            }
            if found >= n {
                break;
            }
            ensure!(
                began.elapsed() < LONG,
                "{found} of {n} documents are in `{index}` in time"
            );
            step.note(&format!("{found} of {n} documents"));
            std::thread::sleep(LOOK_EVERY);
        }
        let (first, before) = first.context("nothing was indexed")?;
        #[allow(clippy::cast_precision_loss)]
        let rate = (n - before.min(n)) as f64 / first.elapsed().as_secs_f64();
        Ok(rate)
    }
}

/// What a topic is filled with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    pub(super) events: u64,
    pub(super) event_bytes: u64,
    pub(super) partitions: u32,
    pub(super) days: u64,
}

impl Load {
    /// Events of 250 bytes of one day in six partitions.
    pub(super) fn usual(events: u64) -> Self {
        Self {
            events,
            event_bytes: 250,
            partitions: 6,
            days: 1,
        }
    }
}

impl Used {
    /// From now on.
    pub(super) fn since_now(process: &Process) -> Self {
        Self {
            at: Instant::now(),
            cpu: process.cpu_seconds().unwrap_or(f64::NAN),
        }
    }

    /// Seconds of CPU until now.
    pub(super) fn cpu_seconds(&self, process: &Process) -> f64 {
        process.cpu_seconds().unwrap_or(f64::NAN) - self.cpu
    }

    /// How many processors it kept busy until now.
    pub(super) fn processors(&self, process: &Process) -> f64 {
        self.cpu_seconds(process) / self.at.elapsed().as_secs_f64()
    }
}

/// A figure of what `loadtest` printed; NaN if it has none.
pub(super) fn figure(value: &Value, pointer: &str) -> f64 {
    value
        .pointer(pointer)
        .and_then(Value::as_f64)
        .unwrap_or(f64::NAN)
}

/// The peak memory of a process in MiB.
#[allow(clippy::cast_precision_loss)]
pub(super) fn peak_mib(process: &Process) -> f64 {
    process
        .memory_peak_bytes()
        .map_or(f64::NAN, |bytes| bytes as f64 / f64::from(1 << 20))
}
