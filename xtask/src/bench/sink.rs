//! How fast es-sink reads Kafka when Elasticsearch costs nothing, beside librdkafka alone.
//!
//! In the flow: `bench::stage` → **`bench::sink`** → sections of the report.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::report::{CPU_PER_MILLION, Column, Figures, PEAK, Section};
use super::stage::{LONG, Load, Stage, figure, peak_mib};
use crate::process::Process;
use crate::progress::{Progress, Step};

const COLUMNS: [Column; 5] = [
    Column::new("events_per_second", "events/s", 0),
    CPU_PER_MILLION,
    Column::new("system_seconds_per_million", "of that in the kernel", 2),
    PEAK,
    Column::new("null_cpu_seconds_per_million", "the null server's CPU s", 2),
];

fn figures(measured: &Value) -> Figures {
    let millions = figure(measured, "/events") / 1e6;
    vec![
        figure(measured, "/events_per_second"),
        figure(measured, "/cpu_seconds_per_million"),
        figure(measured, "/usage/system_seconds") / millions,
        figure(measured, "/usage/peak_memory_mib"),
        figure(measured, "/null_cpu_seconds_per_million"),
    ]
}

/// All sections of this part.
pub(super) fn run(stage: &mut Stage, progress: &Progress) -> Result<Vec<Section>> {
    Ok(vec![
        million(stage, progress)?,
        framework(stage, progress)?,
        five_millions(stage, progress)?,
        memory(stage, progress)?,
        sizes(stage, progress)?,
        partitions_and_days(stage, progress)?,
    ])
}

impl Stage {
    fn sink_into_null(
        &mut self,
        topic: &str,
        events: u64,
        sink_arguments: &[&str],
        step: &mut Step,
    ) -> Result<Figures> {
        let run = self.fresh("run");
        let (events, sink) = (events.to_string(), self.sink.display().to_string());
        let mut arguments = vec![
            "bench",
            "sink",
            "--json",
            "--kafka-brokers",
            self.kafka(),
            "--topic",
            topic,
            "--events",
            &events,
            "--run",
            &run,
            "--sink",
            &sink,
            "--",
        ];
        arguments.extend(sink_arguments);
        Ok(figures(&self.loadtest(&arguments, step)?))
    }

    fn librdkafka_alone(
        &self,
        topic: &str,
        events: u64,
        headers: bool,
        step: &mut Step,
    ) -> Result<Figures> {
        let events = events.to_string();
        let mut arguments = vec!["bench", "read", "--json", "--kafka-brokers", self.kafka()];
        arguments.extend(["--topic", topic, "--events", &events]);
        arguments.extend(headers.then_some("--headers"));
        Ok(figures(&self.loadtest(&arguments, step)?))
    }
}

const ALONE: &str = "librdkafka alone";

fn million(stage: &mut Stage, progress: &Progress) -> Result<Section> {
    let mut step = progress.step("sink", "a million events");
    let load = Load::usual(stage.events(1_000_000));
    let topic = stage.fill(&load, &mut step)?;
    let title = format!(
        "{} events of 250 bytes into the null Elasticsearch",
        load.events
    );
    let mut section = Section::new(&title, &COLUMNS).relative_to(ALONE);
    for _ in 0..stage.rounds + 2 {
        let n = load.events;
        section.add(ALONE, stage.librdkafka_alone(&topic, n, false, &mut step)?);
        section.add(
            "librdkafka alone, headers read",
            stage.librdkafka_alone(&topic, n, true, &mut step)?,
        );
        section.add("es-sink", stage.sink_into_null(&topic, n, &[], &mut step)?);
    }
    step.done("a million events");
    Ok(section)
}

fn framework(stage: &mut Stage, progress: &Progress) -> Result<Section> {
    let mut step = progress.step("sink", "Kafka Connect");
    let load = Load::usual(stage.events(1_000_000));
    let topic = stage.fill(&load, &mut step)?;
    let title = format!("{} events: the floor of Kafka Connect", load.events);
    let mut section = Section::new(&title, &COLUMNS).relative_to("es-sink");
    for _ in 0..stage.rounds {
        let own = stage.sink_into_null(&topic, load.events, &[], &mut step)?;
        section.add("es-sink", own);
        let connect = connect(stage, &topic, load.events, &mut step)?;
        section.add("Kafka Connect's file sink", connect);
    }
    section.note(
        "Kafka Connect writes the values to a file, without ids, headers or replies. Its CPU and memory include the start \
         of its JVM.",
    );
    step.done("Kafka Connect");
    Ok(section)
}

/// From the first line to the last.
fn connect(stage: &mut Stage, topic: &str, events: u64, step: &mut Step) -> Result<Figures> {
    step.note("Kafka Connect");
    let name = stage.fresh("connect");
    let directory = stage.directory.join(name);
    let output = directory.join("lines");
    let spec = stage.peers.connect_file_sink(
        &stage.distribution,
        &directory,
        stage.kafka(),
        topic,
        &output,
    )?;
    let mut process = Process::new(spec);
    process.launch()?;
    let mut began = None;
    let size = || fs::metadata(&output).map_or(0, |file| file.len());
    let (mut last, mut still) = (0, Instant::now());
    let started = Instant::now();
    // Complete once it has not grown for a while; the number of lines is counted then.
    while last == 0 || still.elapsed() < Duration::from_secs(2) {
        stage.interrupt.check()?;
        let now = size();
        if now > last {
            began.get_or_insert_with(Instant::now);
            (last, still) = (now, Instant::now());
        }
        ensure!(
            started.elapsed() < LONG,
            "Kafka Connect wrote nothing{}",
            process.tail()
        );
        std::thread::sleep(Duration::from_millis(10));
    }
    let seconds = began.map_or(f64::NAN, |began| (still - began).as_secs_f64());
    let text = fs::read(&output).context("reading what Kafka Connect wrote")?;
    #[allow(clippy::naive_bytecount)]
    let lines = text.iter().filter(|byte| **byte == b'\n').count() as u64;
    ensure!(
        lines == events,
        "Kafka Connect wrote {lines} of {events} lines"
    );
    #[allow(clippy::cast_precision_loss)]
    let events = events as f64;
    let figures = vec![
        events / seconds,
        process.cpu_seconds().unwrap_or(f64::NAN) * 1e6 / events,
        f64::NAN,
        peak_mib(&process),
        f64::NAN,
    ];
    process.stop()?;
    Ok(figures)
}

fn five_millions(stage: &mut Stage, progress: &Progress) -> Result<Section> {
    let mut step = progress.step("sink", "five million events");
    let load = Load::usual(stage.events(5_000_000));
    let topic = stage.fill(&load, &mut step)?;
    let title = format!(
        "{} events of 250 bytes into the null Elasticsearch",
        load.events
    );
    let mut section = Section::new(&title, &COLUMNS).relative_to(ALONE);
    for _ in 0..stage.rounds {
        let alone = stage.librdkafka_alone(&topic, load.events, false, &mut step)?;
        section.add(ALONE, alone);
        let own = stage.sink_into_null(&topic, load.events, &[], &mut step)?;
        section.add("es-sink", own);
    }
    step.done("five million events");
    Ok(section)
}

fn memory(stage: &mut Stage, progress: &Progress) -> Result<Section> {
    let mut step = progress.step("sink", "with more memory");
    let load = Load::usual(stage.events(1_000_000));
    let topic = stage.fill(&load, &mut step)?;
    let mut section = Section::new("What a larger memory limit buys", &COLUMNS);
    for _ in 0..stage.rounds {
        for limit in ["48MiB", "64MiB", "128MiB", "256MiB"] {
            // A small limit has no room for two of the usual requests.
            let bulk = if limit == "48MiB" { "1MiB" } else { "3MiB" };
            let arguments = ["--memory-limit", limit, "--bulk-bytes", bulk];
            let own = stage.sink_into_null(&topic, load.events, &arguments, &mut step)?;
            section.add(&format!("--memory-limit {limit}"), own);
        }
    }
    step.done("with more memory");
    Ok(section)
}

fn sizes(stage: &mut Stage, progress: &Progress) -> Result<Section> {
    let mut step = progress.step("sink", "by the size of events");
    let mut section = Section::new("By the size of events", &COLUMNS);
    for (bytes, events) in [
        (150, 1_000_000),
        (250, 1_000_000),
        (1_000, 400_000),
        (10_000, 60_000),
    ] {
        let load = Load {
            event_bytes: bytes,
            ..Load::usual(stage.events(events))
        };
        let topic = stage.fill(&load, &mut step)?;
        for _ in 0..stage.rounds {
            let own = stage.sink_into_null(&topic, load.events, &[], &mut step)?;
            section.add(&format!("{bytes} bytes, {} events", load.events), own);
        }
    }
    step.done("by the size of events");
    Ok(section)
}

fn partitions_and_days(stage: &mut Stage, progress: &Progress) -> Result<Section> {
    let mut step = progress.step("sink", "by partitions and days");
    let mut section = Section::new(
        "By partitions, and by the days that the events fall on",
        &COLUMNS,
    );
    for (partitions, days) in [(1, 1), (6, 1), (50, 1), (200, 1), (6, 7), (6, 60)] {
        let load = Load {
            partitions,
            days,
            ..Load::usual(stage.events(1_000_000))
        };
        let topic = stage.fill(&load, &mut step)?;
        for _ in 0..stage.rounds {
            let own = stage.sink_into_null(&topic, load.events, &[], &mut step)?;
            section.add(&format!("{partitions} partitions, {days} days"), own);
        }
    }
    section.note("Events of 60 days: what is older than 30 days before its record goes to the record's own day.");
    step.done("by partitions and days");
    Ok(section)
}
