//! A log event goes in by HTTP and comes out of a search, unchanged.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::scenarios;
use crate::stage::{SOON, Scenario, Stage};

pub(crate) const SCENARIOS: &[Scenario] =
    scenarios![an_event_that_was_accepted_is_found_by_a_search_as_it_was_sent];

fn an_event_that_was_accepted_is_found_by_a_search_as_it_was_sent(
    stage: &mut Stage<'_>,
) -> Result<()> {
    let mut gateway = stage.gateway(&[])?;
    let mut sink = stage.sink(&[])?;
    let mut query_api = stage.query_api(&[])?;
    let event = json!({
        "level": "error", "message": "Failed to connect to DB", "resourceId": "server-1234",
        "timestamp": "2023-09-15T08:00:00Z", "traceId": "abc-xyz-123", "spanId": "span-456", "commit": "5e5342f",
        "metadata": {"parentResourceId": "server-0987"}, "other": {"kept": [1, 2, null], "as": "sent"},
    });

    let reply = gateway.post(
        "/logs",
        &[("Content-Type", "application/json")],
        event.to_string().as_bytes(),
    )?;
    ensure!(reply.status == 200, "{} {}", reply.status, reply.text());
    ensure!(reply.json()?["accepted"] == 1, "{}", reply.text());

    let filters = [
        "level=error",
        "resourceId=server-1234",
        "message=CONNECT%20to",
        "traceId=abc-xyz-123",
        "spanId=span-456",
        "commit=5e5342f",
        "metadata.parentResourceId=server-0987",
        "startDate=2023-09-15T07:59:59Z&endDate=2023-09-15T08:00:01Z",
    ];
    for filter in filters.iter().copied().chain([filters.join("&").as_str()]) {
        let found = stage.wait_for(&format!("a hit for {filter}"), SOON, || {
            let reply = query_api
                .get(&format!("/logs?{filter}"))
                .map_err(|error| format!("{error:#}"))?;
            match reply.json() {
                Ok(Value::Array(hits)) if !hits.is_empty() => Ok(hits),
                _ => Err(format!("{} {}", reply.status, reply.text())),
            }
        })?;
        ensure!(found == [event.clone()], "{filter} finds {found:?}");
    }
    let others = query_api.get("/logs?level=info")?;
    ensure!(
        others.json()? == json!([]),
        "level=info finds {}",
        others.text()
    );

    for service in [&mut gateway, &mut sink, &mut query_api] {
        service.stop()?;
    }
    Ok(())
}
