//! A search never hangs and never gives half of an answer as a whole one, whatever stands between query-api and
//! Elasticsearch (QA-1).

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use xtask::http::Reply;
use xtask::services::order_fault;

use crate::scenarios;
use crate::search_client::{Random, Store, array, get, problem, search};
use crate::stage::{Part, SOON, Scenario, Stage};

pub(crate) const SCENARIOS: &[Scenario] = scenarios![
    without_elasticsearch_a_search_is_refused_in_time_and_works_again_by_itself,
    through_a_broken_network_a_search_is_whole_or_refused_in_time_and_heals_by_itself,
];

/// A search of at most 2 s (`--search-timeout`) and 1 s more for the reply, on a busy machine.
const REFUSED_WITHIN: Duration = Duration::from_secs(15);

fn without_elasticsearch_a_search_is_refused_in_time_and_works_again_by_itself(
    stage: &mut Stage<'_>,
) -> Result<()> {
    let api = stage.query_api(&["--search-timeout", "2s"])?;
    let store = Store::open(stage)?;
    let event = r#"{"level":"error","timestamp":"2026-01-31T08:00:00Z"}"#;
    store.write([("one", event), ("two", event)])?;
    let both = array(&[event, event]);
    ensure!(get(&api, "/logs")? == both);
    let cursor = search(&api, &json!({"limit": 1}))?["next_cursor"].clone();

    // It takes requests and never answers.
    stage.elasticsearch().pause();
    let refused = refused_in_time(&api, "elasticsearch_timed_out");
    stage.elasticsearch().resume();
    refused?;
    ready(stage, &api, 200)?;
    ensure!(get(&api, "/logs")? == both);

    stage.elasticsearch().kill();
    refused_in_time(&api, "elasticsearch_unreachable")?;
    ready(stage, &api, 503)?;
    stage.elasticsearch().start()?;
    ready(stage, &api, 200)?;
    ensure!(get(&api, "/logs")? == both);
    let page = search(&api, &json!({}))?;
    ensure!(page["total"]["value"] == 2, "{page}");
    // Its moment ended with the process that held it.
    let body = json!({"limit": 1, "cursor": cursor}).to_string();
    let reply = api.post("/api/v1/search", &[], body.as_bytes())?;
    problem(&reply, 410, "cursor_expired")?;
    Ok(())
}

fn through_a_broken_network_a_search_is_whole_or_refused_in_time_and_heals_by_itself(
    stage: &mut Stage<'_>,
) -> Result<()> {
    let (proxy, past_it) = stage.proxy_to_elasticsearch()?;
    let api = stage.query_api(&["--elasticsearch-url", &past_it, "--search-timeout", "2s"])?;
    let store = Store::open(stage)?;
    // A reply of a hundred kilobytes that compress badly, so that a connection can break in the middle of it.
    let mut random = Random(1);
    let events: Vec<(String, String)> = (0..100)
        .map(|n| {
            let timestamp = format!("2026-01-31T08:{:02}:{:02}Z", n / 60, n % 60);
            let event = json!({"timestamp": timestamp, "message": random.text(1_000)});
            (format!("e{n}"), event.to_string())
        })
        .collect();
    let to_store = events.iter().map(|(id, event)| (&**id, &**event));
    store.write(to_store)?;
    let newest_first: Vec<&str> = events.iter().rev().map(|(_, event)| &**event).collect();
    let whole = array(&newest_first);
    ensure!(get(&api, "/logs")? == whole);

    let order = |method, faults| order_fault(&proxy.url(), method, "elasticsearch", faults);
    order("PUT", r#"{"delay":{"ms":200}}"#)?;
    ensure!(get(&api, "/logs")? == whole);
    for (fault, code) in [
        (
            r#"{"throttle":{"bytes_per_second":4000}}"#,
            "elasticsearch_timed_out",
        ),
        (r#"{"drop_upstream":true}"#, "elasticsearch_timed_out"),
        (r#"{"drop_downstream":true}"#, "elasticsearch_timed_out"),
        (r#"{"freeze":true}"#, "elasticsearch_timed_out"),
        (
            r#"{"reset_after":{"bytes":20000}}"#,
            "elasticsearch_unreachable",
        ),
        (r#"{"refuse":true}"#, "elasticsearch_unreachable"),
    ] {
        order("PUT", fault)?;
        refused_in_time(&api, code).with_context(|| fault.to_owned())?;
        order("DELETE", "")?;
        stage.wait_for("searches to be whole again", SOON, || {
            match get(&api, "/logs") {
                Ok(found) if found == whole => Ok(()),
                Ok(found) => Err(found),
                Err(error) => Err(format!("{error:#}")),
            }
        })?;
    }
    ready(stage, &api, 200)
}

/// Both kinds of search say 503 with `code`, when to come again, and do so in time.
fn refused_in_time(api: &Part, code: &str) -> Result<()> {
    let requests: [(&str, &dyn Fn() -> Result<Reply>); 2] = [
        ("GET", &|| api.get("/logs")),
        ("POST", &|| api.post("/api/v1/search", &[], b"{}")),
    ];
    for (method, send) in requests {
        let started = Instant::now();
        let reply = send()?;
        let took = started.elapsed();
        problem(&reply, 503, code)?;
        let retry_after = reply.header("retry-after").unwrap_or_default();
        ensure!(
            retry_after.parse::<u64>().is_ok_and(|seconds| seconds > 0),
            "{method}: Retry-After is `{retry_after}`"
        );
        eprintln!("    {method}: {code} after {took:.1?}");
        ensure!(took < REFUSED_WITHIN, "{method}: {code} after {took:?}");
    }
    Ok(())
}

fn ready(stage: &Stage<'_>, api: &Part, status: u16) -> Result<()> {
    stage.wait_for(&format!("/readyz to answer {status}"), SOON, || {
        match api.get("/readyz") {
            Ok(reply) if reply.status == status => Ok(()),
            Ok(reply) => Err(reply.text()),
            Err(error) => Err(format!("{error:#}")),
        }
    })
}
