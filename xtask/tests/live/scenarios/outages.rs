//! An outage of either engine under load costs time and nothing else (GW-2, EO-4, EO-6).

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::load::Load;
use crate::scenarios;
use crate::stage::{Part, SOON, Scenario, Stage};

pub(crate) const SCENARIOS: &[Scenario] = scenarios![
    half_a_minute_without_kafka_loses_nothing_and_needs_no_restart,
    a_minute_without_elasticsearch_loses_nothing_and_needs_no_restart,
    services_started_before_their_engines_begin_to_work_when_these_are_there,
];

/// The sink's own limit, its default.
const SINK_BYTES_MAX: u64 = 64 << 20;
/// The gateway's budget for requests in flight (its default), with room for the process itself and librdkafka's copies.
const GATEWAY_BYTES_MAX: u64 = 256 << 20;

fn half_a_minute_without_kafka_loses_nothing_and_needs_no_restart(
    stage: &mut Stage<'_>,
) -> Result<()> {
    let gateway = stage.gateway(&[])?;
    let sink = stage.sink(&[])?;
    let load = Load::through(
        stage,
        &gateway,
        &[
            "--events",
            "100000",
            "--rate",
            "2000",
            "--connections",
            "16",
            "--mode",
            "mixed",
            "--seed",
            "4",
        ],
    )?;
    stage.wait_for("the flow", SOON, || stage.has_at_least(10_000))?;
    stage.kafka().stop()?;
    let refused = stage.wait_for("the gateway to refuse", SOON, || {
        match gateway.get("/readyz") {
            Ok(reply) if reply.status == 503 => Ok(reply.text()),
            Ok(reply) => Err(format!("{} {}", reply.status, reply.text())),
            Err(error) => Err(format!("{error:#}")),
        }
    })?;
    ensure!(
        refused.contains("kafka") || refused.contains("Kafka"),
        "{refused}"
    );
    std::thread::sleep(Duration::from_secs(30));
    stage.kafka().start()?;
    let loaded = load.finish(stage)?;
    loaded.verify(stage)?;
    stays_within(&gateway, GATEWAY_BYTES_MAX)?;
    stays_within(&sink, SINK_BYTES_MAX)?;
    let ready = gateway.get("/readyz")?;
    ensure!(ready.status == 200, "{}", ready.text());
    Ok(())
}

fn a_minute_without_elasticsearch_loses_nothing_and_needs_no_restart(
    stage: &mut Stage<'_>,
) -> Result<()> {
    let gateway = stage.gateway(&[])?;
    let sink = stage.sink(&[])?;
    let load = Load::through(
        stage,
        &gateway,
        &[
            "--events",
            "200000",
            "--rate",
            "2500",
            "--connections",
            "16",
            "--mode",
            "mixed",
            "--seed",
            "5",
        ],
    )?;
    stage.wait_for("the flow", SOON, || stage.has_at_least(10_000))?;
    stage.elasticsearch().stop()?;
    std::thread::sleep(Duration::from_secs(60));
    let status = sink.get("/status")?.json()?;
    ensure!(status["failing"]["reason"].is_string(), "{status}");
    let ready = sink.get("/readyz")?;
    ensure!(
        ready.status == 503 && ready.text().contains("Elasticsearch takes nothing"),
        "an outage must be seen: {}",
        ready.text()
    );
    ensure!(
        status["partitions"]
            .as_array()
            .is_some_and(|own| !own.is_empty()),
        "a slow Elasticsearch cost the group membership: {status}"
    );
    stage.elasticsearch().start()?;
    let loaded = load.finish(stage)?;
    loaded.verify(stage)?;
    stays_within(&gateway, GATEWAY_BYTES_MAX)?;
    stays_within(&sink, SINK_BYTES_MAX)?;
    let dead_letters = sink.metric("es_sink_dead_letters_total", "")?;
    ensure!(dead_letters == 0.0, "{dead_letters} dead letters (EO-5)");
    Ok(())
}

fn services_started_before_their_engines_begin_to_work_when_these_are_there(
    stage: &mut Stage<'_>,
) -> Result<()> {
    stage.kafka().stop()?;
    stage.elasticsearch().stop()?;
    let mut gateway = stage.service("ingest-gateway", stage.wiring.gateway_flags(), &[])?;
    let mut sink = stage.service("es-sink", stage.wiring.sink_flags(), &[])?;
    gateway.launch()?;
    sink.launch()?;
    for part in [&gateway, &sink] {
        let reasons = stage.wait_for("a reason for not being ready", SOON, || {
            match part.get("/readyz") {
                Ok(reply) if reply.status == 503 => Ok(reply.text()),
                Ok(reply) => Err(format!("{} {}", reply.status, reply.text())),
                Err(error) => Err(format!("{error:#}")),
            }
        })?;
        eprintln!("    {}: {}", part.name(), reasons.trim());
    }
    let refused = gateway.post("/logs", &[], br#"{"message":"too early"}"#)?;
    ensure!(
        refused.status == 503,
        "{} {}",
        refused.status,
        refused.text()
    );
    stage.kafka().start()?;
    stage.elasticsearch().start()?;
    gateway.wait_until_ready()?;
    sink.wait_until_ready()?;
    let accepted = gateway.post(
        "/logs",
        &[("Idempotency-Key", "early")],
        br#"{"message":"now"}"#,
    )?;
    ensure!(
        accepted.status == 200,
        "{} {}",
        accepted.status,
        accepted.text()
    );
    stage.wait_for("the event", SOON * 2, || stage.has_documents(1))
}

fn stays_within(part: &Part, limit: u64) -> Result<()> {
    let peak = part.memory_peak_bytes()?;
    eprintln!(
        "    {} held at most {:.1} MiB",
        part.name(),
        mebibytes(peak)
    );
    ensure!(
        peak <= limit,
        "{} held {:.1} MiB, more than {:.0} MiB",
        part.name(),
        mebibytes(peak),
        mebibytes(limit)
    );
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
