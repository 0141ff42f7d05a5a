//! How fast events get into real Elasticsearch: es-sink, rsyslog, and bulk bodies that are ready, which nothing can beat.
//!
//! In the flow: `bench::stage` → **`bench::index`** → sections of the report.

use std::time::Instant;

use anyhow::Result;

use super::report::{CPU_PER_MILLION, Column, Figures, PEAK, Section};
use super::stage::{Load, Stage, Used, figure, peak_mib};
use crate::process::Process;
use crate::progress::{Progress, Step};

const RATE: Column = Column::new("events_per_second", "documents/s", 0);
const COLUMNS: [Column; 4] = [
    RATE,
    CPU_PER_MILLION,
    PEAK,
    Column::new(
        "elasticsearch_processors",
        "processors that Elasticsearch kept busy",
        2,
    ),
];
const READY: &str = "bodies that are ready";
/// About what es-sink sends; the table of sizes shows that larger ones are no faster.
const READY_BYTES: &str = "512KiB";

/// All sections of this part.
pub(super) fn run(stage: &mut Stage, progress: &Progress) -> Result<Vec<Section>> {
    let mut step = progress.step("indexing", "warming up Elasticsearch");
    // The template comes with the first start of a sink; Elasticsearch compiles its own code meanwhile.
    let warm = stage.fill(&Load::usual(stage.events(300_000)), &mut step)?;
    sink(stage, &warm, stage.events(300_000), &[], &mut step)?;
    step.done("Elasticsearch is warm");
    Ok(vec![
        against_the_ceiling(stage, progress)?,
        writes(stage, progress)?,
        sizes(stage, progress)?,
    ])
}

fn against_the_ceiling(stage: &mut Stage, progress: &Progress) -> Result<Section> {
    let mut step = progress.step("indexing", "a million events");
    let load = Load::usual(stage.events(1_000_000));
    let topic = stage.fill(&load, &mut step)?;
    let title = format!("{} events of 250 bytes into Elasticsearch", load.events);
    let mut section = Section::new(&title, &COLUMNS).relative_to(READY);
    for _ in 0..stage.rounds {
        let ready = bodies(
            stage,
            load.events,
            READY_BYTES,
            3,
            "index",
            false,
            &mut step,
        )?;
        section.add(READY, ready);
        section.add("es-sink", sink(stage, &topic, load.events, &[], &mut step)?);
        section.add(
            "rsyslog, without ids",
            rsyslog(stage, &topic, load.events, &mut step)?,
        );
    }
    section.note("All into indices of the same template: 2 shards, no replica, refreshed each second, each bulk synced to disk.");
    step.done("a million events");
    Ok(section)
}

fn writes(stage: &mut Stage, progress: &Progress) -> Result<Section> {
    let mut step = progress.step("indexing", "kinds of writes");
    let n = stage.events(300_000);
    let title = format!("What a kind of write costs: {n} documents from bodies that are ready");
    let mut section = Section::new(&title, &[RATE]).relative_to("`index` with a time-first id");
    for _ in 0..stage.rounds {
        for (name, write, gzip) in [
            ("`index` with a time-first id", "index", false),
            ("`create` with a time-first id", "create", false),
            ("Elasticsearch's own ids", "automatic-id", false),
            ("`index`, gzip", "index", true),
        ] {
            let figures = bodies(stage, n, READY_BYTES, 3, write, gzip, &mut step)?;
            section.add(name, figures[..1].to_vec());
        }
    }
    step.done("kinds of writes");
    Ok(section)
}

fn sizes(stage: &mut Stage, progress: &Progress) -> Result<Section> {
    let mut step = progress.step("indexing", "sizes of bulks");
    let n = stage.events(300_000);
    let title = format!("By the size of a bulk and how many are under way: {n} documents");
    let mut section = Section::new(&title, &[RATE]).relative_to("512KiB, 3 at once");
    for _ in 0..stage.rounds {
        for bytes in ["128KiB", "512KiB", "3MiB"] {
            for concurrency in [1, 2, 3, 6] {
                let figures = bodies(stage, n, bytes, concurrency, "index", false, &mut step)?;
                section.add(
                    &format!("{bytes}, {concurrency} at once"),
                    figures[..1].to_vec(),
                );
            }
        }
    }
    section.note(
        "es-sink's defaults are 3 at once and at most 3 MiB; with events of 250 bytes a bulk is about 500 KiB, \
         because replies that refuse every item must fit into the memory limit.",
    );
    step.done("sizes of bulks");
    Ok(section)
}

fn bodies(
    stage: &mut Stage,
    n: u64,
    bytes: &str,
    concurrency: u32,
    write: &str,
    gzip: bool,
    step: &mut Step,
) -> Result<Figures> {
    stage.wipe_indices()?;
    let (n, concurrency) = (n.to_string(), concurrency.to_string());
    let url = stage.elasticsearch().to_owned();
    let mut arguments = vec!["bench", "bulk", "--json", "--elasticsearch-url", &url];
    arguments.extend(["--events", &n, "--bulk-bytes", bytes]);
    arguments.extend(["--concurrency", &concurrency, "--write", write]);
    arguments.extend(gzip.then_some("--gzip"));
    let used = Used::since_now(&stage.pipeline.elasticsearch);
    let measured = stage.loadtest(&arguments, step)?;
    let busy = used.cpu_seconds(&stage.pipeline.elasticsearch) / figure(&measured, "/seconds");
    Ok(vec![
        figure(&measured, "/events_per_second"),
        f64::NAN,
        f64::NAN,
        busy,
    ])
}

/// es-sink from the first document to the last.
pub(super) fn sink(
    stage: &mut Stage,
    topic: &str,
    n: u64,
    arguments: &[&str],
    step: &mut Step,
) -> Result<Figures> {
    stage.wipe_indices()?;
    let group = stage.fresh("bench-group");
    let mut wiring = stage.pipeline.wiring.clone();
    (wiring.topic, wiring.group) = (topic.to_owned(), group);
    let mut flags = wiring.sink_flags();
    flags.extend(arguments.iter().map(|argument| (*argument).to_owned()));
    let index = wiring.index();
    let mut service = stage.pipeline.launch("es-sink", &flags)?;
    let figures = measured(stage, &service.process, &index, n, step)?;
    service.process.stop()?;
    Ok(figures)
}

fn rsyslog(stage: &mut Stage, topic: &str, n: u64, step: &mut Step) -> Result<Figures> {
    stage.wipe_indices()?;
    let index = "logflow-rsyslog";
    stage.ask("PUT", &format!("/{index}"), "{}")?;
    let name = stage.fresh("rsyslog");
    let directory = stage.directory.join(name);
    let (kafka, elasticsearch) = (stage.kafka().to_owned(), stage.elasticsearch().to_owned());
    let spec = stage
        .peers
        .rsyslog_sink(&directory, &kafka, topic, &elasticsearch, index)?;
    let mut process = Process::new(spec);
    process.launch()?;
    let figures = measured(stage, &process, index, n, step)?;
    process.stop()?;
    Ok(figures)
}

fn measured(
    stage: &Stage,
    process: &Process,
    index: &str,
    n: u64,
    step: &mut Step,
) -> Result<Figures> {
    let began = Instant::now();
    let used = Used::since_now(&stage.pipeline.elasticsearch);
    let rate = stage.rate_of_indexing(index, n, step)?;
    let all = began.elapsed().as_secs_f64();
    #[allow(clippy::cast_precision_loss)]
    let n = n as f64;
    // Until the first document Elasticsearch had nothing to do.
    let busy = used.processors(&stage.pipeline.elasticsearch) * all * rate / n;
    Ok(vec![
        rate,
        process.cpu_seconds().unwrap_or(f64::NAN) * 1e6 / n,
        peak_mib(process),
        busy,
    ])
}
