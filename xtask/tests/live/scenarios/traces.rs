//! A trace tells how events came to be found, and costs them nothing.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use serde_json::json;
use xtask::engines::port_for_later;
use xtask::services::Wiring;

use crate::collector::{Collector, Told};
use crate::scenarios;
use crate::stage::{Part, SOON, Scenario, Stage};

pub(crate) const SCENARIOS: &[Scenario] = scenarios![
    a_request_is_one_trace_as_far_as_its_bulk_and_a_collector_that_is_away_holds_nothing_up,
];

/// Each of these is a request of its own.
const WHILE_IT_IS_AWAY: u64 = 50;
/// Far above what a request takes, far below what an exchange with a collector may.
const AT_ONCE: Duration = Duration::from_secs(2);
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CLIENT_SPAN: &str = "00f067aa0ba902b7";
const AWAY_TRACE: &str = "c0ffee00c0ffee00c0ffee00c0ffee00";
const OTHER_TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

fn a_request_is_one_trace_as_far_as_its_bulk_and_a_collector_that_is_away_holds_nothing_up(
    stage: &mut Stage<'_>,
) -> Result<()> {
    let port = port_for_later()?;
    let endpoint = format!("http://127.0.0.1:{port}");
    let traced = ["--otlp-endpoint", &endpoint];
    let gateway = stage.gateway(&[&traced[..], &["--trace-sample-ratio", "0"]].concat())?;
    let sink = stage.sink(&traced)?;

    // Nobody listens yet.
    for n in 0..WHILE_IT_IS_AWAY {
        let parent = format!("00-{AWAY_TRACE}-{:016x}-01", n + 1);
        let sent = Instant::now();
        post(&gateway, Some(&parent), &json!({"message": n.to_string()}))?;
        ensure!(
            sent.elapsed() < AT_ONCE,
            "a request took {:?}",
            sent.elapsed()
        );
    }
    stage.wait_for("the events", SOON, || stage.has_documents(WHILE_IT_IS_AWAY))?;
    for (service, metric) in [
        (&gateway, "ingest_gateway_spans_dropped_total"),
        (&sink, "es_sink_spans_dropped_total"),
    ] {
        stage.wait_for("spans to be given up", SOON, || {
            match service.metric(metric, "unreachable") {
                Ok(lost) if lost >= WHILE_IT_IS_AWAY as f64 => Ok(()),
                other => Err(format!("{metric}: {other:?}")),
            }
        })?;
        let ready = service.get("/readyz")?;
        ensure!(ready.status == 200, "{}", ready.text());
    }

    let collector = Collector::start(port)?;
    post(&gateway, None, &json!({"message": "of no trace"}))?;
    let events = json!([{"message": "a"}, {"message": "b"}, {"message": "c"}]);
    post(
        &gateway,
        Some(&format!("00-{TRACE}-{CLIENT_SPAN}-01")),
        &events,
    )?;
    let unsampled = format!("00-{OTHER_TRACE}-{CLIENT_SPAN}-00");
    post(
        &gateway,
        Some(&unsampled),
        &json!({"message": "not sampled"}),
    )?;
    stage.wait_for("the events", SOON, || {
        stage.has_documents(WHILE_IT_IS_AWAY + 5)
    })?;
    let told = || -> Vec<Told> {
        let told = collector.told().into_iter();
        // What waited while nobody listened may still come.
        told.filter(|one| hex(&one.span.trace_id) != AWAY_TRACE)
            .collect()
    };
    stage.wait_for("three events that are told of", SOON, || {
        check(&stage.wiring, &told()).map_err(|error| format!("{error:#}"))
    })?;

    // What becomes a dead letter is told of, too.
    let mapping = format!("/{}/_mapping", stage.wiring.index());
    let number = json!({"properties": {"number": {"type": "long"}}});
    stage.ask_elasticsearch("PUT", &mapping, &number)?;
    let refused = json!({"message": "x", "number": "none"});
    post(
        &gateway,
        Some(&format!("00-{OTHER_TRACE}-{CLIENT_SPAN}-01")),
        &refused,
    )?;
    stage.wait_for("the dead letter's span", SOON, || {
        let told = told();
        let failed = all(&told, &format!("process {}", stage.wiring.topic)).any(|one| {
            hex(&one.span.trace_id) == OTHER_TRACE
                && one.span.status.as_ref().map(|status| status.code()) == Some(StatusCode::Error)
        });
        failed.then_some(()).ok_or_else(|| format!("{told:?}"))
    })
}

/// The client's span → the request's → that of the hand-over to Kafka → those of the sink, beside that of the bulk.
fn check(wiring: &Wiring, told: &[Told]) -> Result<()> {
    let of_trace = |name: &str| {
        let mut found = all(told, name).filter(|one| hex(&one.span.trace_id) == TRACE);
        found
            .next()
            .with_context(|| format!("no `{name}` in {told:?}"))
    };
    let send_name = format!("send {}", wiring.topic);
    let (request, send, process) = (
        of_trace("POST /logs")?,
        of_trace(&send_name)?,
        of_trace(&format!("process {}", wiring.topic))?,
    );
    ensure!(all(told, "POST /logs").count() == 1, "{told:?}");
    let processed = all(told, &process.span.name);
    let counts = processed.map(|one| one.attribute("messaging.batch.message_count"));
    let events = counts.map(|count| count.parse::<u64>().unwrap_or_default());
    ensure!(events.sum::<u64>() == 3, "{told:?}");
    ensure!(
        hex(&request.span.parent_span_id) == CLIENT_SPAN,
        "{request:?}"
    );
    ensure!(
        request.attribute("http.response.status_code") == "200",
        "{request:?}"
    );
    ensure!(send.span.parent_span_id == request.span.span_id, "{send:?}");
    ensure!(
        send.attribute("messaging.batch.message_count") == "3",
        "{send:?}"
    );
    ensure!(
        process.span.parent_span_id == send.span.span_id,
        "{process:?}"
    );
    ensure!(process.attribute("messaging.consumer.group.name") == wiring.group);
    let services = [request, send, process].map(|one| one.service.as_str());
    ensure!(services == ["ingest-gateway", "ingest-gateway", "es-sink"]);
    for one in [request, send, process] {
        ensure!(one.span.trace_state == "vendor=kept", "{one:?}");
        ensure!(one.span.start_time_unix_nano <= one.span.end_time_unix_nano);
    }
    let bulk = all(told, "bulk").find(|bulk| {
        let mut links = process.span.links.iter();
        links.any(|link| link.span_id == bulk.span.span_id)
    });
    let bulk = bulk.with_context(|| format!("no bulk for {process:?}"))?;
    let mut links = bulk.span.links.iter();
    ensure!(
        links.any(|link| link.span_id == send.span.span_id),
        "{bulk:?}"
    );
    ensure!(
        bulk.attribute("db.response.status_code") == "200",
        "{bulk:?}"
    );
    ensure!(hex(&bulk.span.trace_id) != TRACE, "{bulk:?}");
    Ok(())
}

fn post(gateway: &Part, parent: Option<&str>, events: &serde_json::Value) -> Result<()> {
    let mut headers = vec![("Content-Type", "application/json")];
    if let Some(parent) = parent {
        headers.extend([("traceparent", parent), ("tracestate", "vendor=kept")]);
    }
    let reply = gateway.post("/logs", &headers, events.to_string().as_bytes())?;
    ensure!(reply.status == 200, "{} {}", reply.status, reply.text());
    Ok(())
}

fn all<'a>(told: &'a [Told], name: &str) -> impl Iterator<Item = &'a Told> {
    let name = name.to_owned();
    told.iter().filter(move |one| one.span.name == name)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
