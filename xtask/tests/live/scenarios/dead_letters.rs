//! What can never be indexed is kept with its reason, and costs nobody else anything (EO-5).

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::load::Load;
use crate::scenarios;
use crate::stage::{SOON, Scenario, Stage};

pub(crate) const SCENARIOS: &[Scenario] = scenarios![
    one_refused_event_in_a_thousand_is_one_dead_letter_and_its_neighbours_are_indexed,
    an_index_that_is_read_only_holds_the_flow_and_nothing_is_dead_lettered,
    each_dead_letter_is_there_once_though_the_sink_is_killed_while_it_writes_them,
];

fn one_refused_event_in_a_thousand_is_one_dead_letter_and_its_neighbours_are_indexed(
    stage: &mut Stage<'_>,
) -> Result<()> {
    let sink = stage.sink(&[])?;
    let load = Load::past_the_gateway(
        stage,
        &[
            "--events",
            "100000",
            "--poison-per-million",
            "1000",
            "--seed",
            "6",
        ],
    )?;
    let loaded = load.finish(stage)?;
    let verified = loaded.verify(stage)?;
    eprintln!("    {verified}");
    let dead_letters = sink.metric("es_sink_dead_letters_total", "")?;
    ensure!(
        (50.0..200.0).contains(&dead_letters),
        "{dead_letters} dead letters of 100,000 events"
    );
    Ok(())
}

fn an_index_that_is_read_only_holds_the_flow_and_nothing_is_dead_lettered(
    stage: &mut Stage<'_>,
) -> Result<()> {
    let gateway = stage.gateway(&[])?;
    let sink = stage.sink(&[])?;
    let send = |key: &str| -> Result<()> {
        let event = json!({"message": key, "timestamp": "2026-01-31T08:00:00Z", "eventId": key});
        let reply = gateway.post("/logs", &[], event.to_string().as_bytes())?;
        ensure!(reply.status == 200, "{} {}", reply.status, reply.text());
        Ok(())
    };
    send("before")?;
    stage.wait_for("the index", SOON, || stage.has_documents(1))?;
    let settings = format!("/{}/_settings", stage.wiring.index());
    let block = |on: Value| json!({"index.blocks.write": on});
    stage.ask_elasticsearch("PUT", &settings, &block(json!(true)))?;
    send("during")?;
    let held = stage.wait_for("the hold", SOON, || {
        match sink.get("/status").and_then(|reply| reply.json()) {
            Ok(status) if status["held"][0]["cause"] == "index_blocked" => {
                Ok(status["held"][0].clone())
            }
            Ok(status) => Err(status.to_string()),
            Err(error) => Err(format!("{error:#}")),
        }
    })?;
    ensure!(held["items"] == 1, "{held}");
    let ready = sink.get("/readyz")?;
    ensure!(
        ready.status == 503 && ready.text().contains("index_blocked"),
        "{}",
        ready.text()
    );
    stage.ask_elasticsearch("PUT", &settings, &block(Value::Null))?;
    stage.wait_for("both documents", SOON, || stage.has_documents(2))?;
    stage.wait_for("the end of the hold", SOON, || match sink.get("/readyz") {
        Ok(reply) if reply.status == 200 => Ok(()),
        Ok(reply) => Err(reply.text()),
        Err(error) => Err(format!("{error:#}")),
    })?;
    let dead_letters = sink.metric("es_sink_dead_letters_total", "")?;
    ensure!(dead_letters == 0.0, "{dead_letters} dead letters");
    Ok(())
}

fn each_dead_letter_is_there_once_though_the_sink_is_killed_while_it_writes_them(
    stage: &mut Stage<'_>,
) -> Result<()> {
    const EVENTS: u64 = 60_000;
    let load = Load::past_the_gateway(
        stage,
        &[
            "--events",
            &EVENTS.to_string(),
            "--poison-per-million",
            "1000000",
            "--seed",
            "8",
        ],
    )?;
    let loaded = load.finish(stage)?;
    let mut sink = stage.sink(&[])?;
    for _ in 0..3 {
        stage.wait_for("dead letters of this life", SOON, || {
            match sink.metric("es_sink_dead_letters_total", "") {
                Ok(count) if count >= 2_000.0 => Ok(()),
                Ok(count) => Err(format!("{count} dead letters")),
                Err(error) => Err(format!("{error:#}")),
            }
        })?;
        sink.kill();
        sink.start()?;
    }
    let verified = loaded.verify(stage)?;
    eprintln!("    {verified}");
    // `dead_lettered` counts events, `dead_letters` what stands in the topic.
    ensure!(
        verified["dead_lettered"] == EVENTS && verified["dead_letters"] == EVENTS,
        "{verified}"
    );
    Ok(())
}
