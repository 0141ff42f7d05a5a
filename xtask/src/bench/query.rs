//! What query-api adds to a search: the same search straight to Elasticsearch, in turns.
//!
//! In the flow: `bench::stage` → **`bench::query`** → sections of the report. What query-api asks Elasticsearch is heard
//! on the way (`bench::recorder`), so that both are asked the very same.

use std::fs;

use anyhow::{Context, Result};

use super::recorder::Recorder;
use super::report::{Column, Section};
use super::stage::{Load, Stage, TIMEOUT, figure};
use crate::http;
use crate::progress::Progress;

const COLUMNS: [Column; 4] = [
    Column::new("p50_ms", "p50 ms", 2),
    Column::new("p99_ms", "p99 ms", 1),
    Column::new("requests_per_second", "requests/s", 0),
    Column::new("cpu_us_per_request", "query-api's CPU µs a request", 0),
];
const FORMS: [(&str, &str); 4] = [
    ("newest 50", "limit=50"),
    ("level", "q=level%3Aerror&limit=50"),
    (
        "words and a field",
        "q=checkout%20resourceId%3Aserver-1*&limit=50",
    ),
    ("a phrase", "q=%22Failed%20to%20connect%22&limit=50"),
];

/// All sections of this part.
pub(super) fn run(stage: &mut Stage, progress: &Progress) -> Result<Vec<Section>> {
    let mut step = progress.step("search", "filling Elasticsearch");
    let load = Load {
        days: 7,
        ..Load::usual(stage.events(500_000))
    };
    let topic = stage.fill(&load, &mut step)?;
    super::index::sink(stage, &topic, load.events, &[], &mut step)?;
    stage.ask("POST", "/logflow-*/_refresh", "")?;
    let recorder = Recorder::start(stage.elasticsearch())?;
    let flags = |elasticsearch: &str| {
        let mut wiring = stage.pipeline.wiring.clone();
        elasticsearch.clone_into(&mut wiring.elasticsearch);
        wiring.query_flags()
    };
    let heard = stage.pipeline.service("query-api", &flags(&recorder.url))?;
    let query_api = stage
        .pipeline
        .service("query-api", &flags(stage.elasticsearch()))?;
    let mut sections = Vec::new();
    for connections in ["1", "16"] {
        let title = format!(
            "The same search through query-api and straight to Elasticsearch, {connections} connections"
        );
        sections.push(Section::new(&title, &COLUMNS));
    }
    let mut asked = Vec::new();
    for (name, query) in FORMS {
        recorder.forget();
        let reply = http::get(&format!("{}/logs?{query}", heard.url), TIMEOUT)?;
        anyhow::ensure!(
            reply.status == 200,
            "{query} is answered {}: {}",
            reply.status,
            reply.text()
        );
        let (path, body) = recorder
            .last_search()
            .with_context(|| format!("no search was heard for {query}"))?;
        let file = stage
            .directory
            .join(format!("{}.body", name.replace(' ', "-")));
        fs::write(&file, body).with_context(|| format!("cannot write `{}`", file.display()))?;
        asked.push((name, query, path, file.display().to_string()));
    }
    drop(heard);
    for _ in 0..stage.rounds {
        for (section, connections) in sections.iter_mut().zip(["1", "16"]) {
            for (name, query, path, file) in &asked {
                let seconds = if stage.divisor > 1 { "1" } else { "3" };
                let shared = ["--json", "--seconds", seconds, "--connections", connections];
                let direct = format!("{}{path}", stage.elasticsearch());
                let arguments = ["bench", "http", "--target", &direct, "--bodies", file];
                let line = stage.loadtest(&[&arguments[..], &shared].concat(), &mut step)?;
                let figures = |line: &serde_json::Value, cpu: f64| {
                    let [p50, p99, rate] =
                        ["/latency_ms/p50", "/latency_ms/p99", "/requests_per_second"]
                            .map(|pointer| figure(line, pointer));
                    vec![p50, p99, rate, cpu]
                };
                section.add(&format!("{name}: Elasticsearch"), figures(&line, f64::NAN));
                let through = format!("{}/logs?{query}", query_api.url);
                let pid = query_api
                    .process
                    .pid()
                    .map(|pid| pid.to_string())
                    .unwrap_or_default();
                let arguments = ["bench", "http", "--target", &through, "--pid", &pid];
                let line = stage.loadtest(&[&arguments[..], &shared].concat(), &mut step)?;
                let cpu = figure(&line, "/cpu_us_per_request");
                section.add(&format!("{name}: query-api"), figures(&line, cpu));
            }
        }
    }
    step.done("searched");
    Ok(sections)
}
