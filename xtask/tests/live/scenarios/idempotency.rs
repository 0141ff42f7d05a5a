//! A request that is sent again is not stored again (EO-3, GW-3).

use anyhow::{Result, ensure};
use serde_json::json;

use crate::scenarios;
use crate::stage::{SOON, Scenario, Stage};

pub(crate) const SCENARIOS: &[Scenario] = scenarios![
    a_request_repeated_with_its_key_after_a_restart_of_the_gateway_is_one_document_per_event
];

fn a_request_repeated_with_its_key_after_a_restart_of_the_gateway_is_one_document_per_event(
    stage: &mut Stage<'_>,
) -> Result<()> {
    let mut gateway = stage.gateway(&[])?;
    let sink = stage.sink(&[])?;
    let body = "{\"message\":\"first\",\"timestamp\":\"2026-01-31T08:00:00Z\"}\n\
                {\"message\":\"second\",\"timestamp\":\"2026-01-31T08:00:01Z\"}\n\
                {\"message\":\"second\",\"timestamp\":\"2026-01-31T08:00:01Z\"}\n";
    let key = [("Idempotency-Key", "6f1f6a52-one-key")];
    for attempt in 1..=2 {
        let reply = gateway.post("/logs", &key, body.as_bytes())?;
        ensure!(
            reply.status == 200 && reply.json()?["accepted"] == 3,
            "attempt {attempt}: {}",
            reply.text()
        );
        gateway.stop()?;
        gateway.start()?;
    }
    // The same bytes with another key are another event.
    let reply = gateway.post(
        "/logs",
        &[("Idempotency-Key", "another")],
        b"{\"message\":\"first\",\"timestamp\":\"2026-01-31T08:00:00Z\"}",
    )?;
    ensure!(reply.status == 200, "{}", reply.text());

    let counted = |name: &str| sink.metric(name, "").map_err(|error| format!("{error:#}"));
    stage.wait_for("all seven records to be indexed", SOON, || {
        let indexed = counted("es_sink_documents_indexed_total")?;
        if indexed >= 7.0 {
            Ok(())
        } else {
            Err(format!("{indexed} are"))
        }
    })?;
    let documents = stage.documents()?;
    ensure!(
        documents == 4,
        "there are {documents} documents, not 3 and the one of the other key"
    );
    let suppressed = sink.metric("es_sink_duplicates_suppressed_total", "")?;
    ensure!(
        suppressed == 3.0,
        "{suppressed} duplicates were suppressed, not 3"
    );

    let query = json!({"size": 100, "query": {"match_phrase": {"message": "second"}}});
    let hits = stage.ask_elasticsearch(
        "POST",
        &format!("/{}/_search", stage.wiring.index()),
        &query,
    )?;
    let hits = hits["hits"]["hits"].as_array().cloned().unwrap_or_default();
    ensure!(
        hits.len() == 2,
        "two equal events of one request are two documents, not {}",
        hits.len()
    );
    ensure!(
        hits.iter().all(|hit| hit["_source"]["message"] == "second"),
        "{hits:?}"
    );
    Ok(())
}
