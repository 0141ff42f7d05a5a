//! What is asked about events beside the events: counted here by hand, and by Elasticsearch;
//! and whether an export is whole (QA-4).

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::scenarios;
use crate::search_client::{Random, Store, problem, search};
use crate::stage::{Part, Scenario, Stage};

pub(crate) const SCENARIOS: &[Scenario] = scenarios![
    before_the_first_event_every_answer_is_empty,
    histogram_facets_and_fields_count_as_a_hand_would,
    an_event_its_neighbours_and_its_trace_are_found,
    an_export_has_every_event_once_and_an_end,
];

const LEVELS: [&str; 4] = ["error", "WARN", "info", "debug"];
const EVENTS: usize = 3_000;

fn ask(api: &Part, path: &str) -> Result<Value> {
    let reply = api.get(path)?;
    ensure!(
        reply.status == 200,
        "{path}: {} {}",
        reply.status,
        reply.text()
    );
    let answer = reply.json()?;
    ensure!(answer["partial"] != true, "{path}: {answer}");
    Ok(answer)
}

fn before_the_first_event_every_answer_is_empty(stage: &mut Stage<'_>) -> Result<()> {
    let api = stage.query_api(&[])?;
    let histogram = ask(&api, "/api/v1/histogram?buckets=10")?;
    ensure!(histogram["total"] == 0, "{histogram}");
    let buckets = histogram["buckets"].as_array().map_or(0, Vec::len);
    ensure!((1..=10).contains(&buckets), "{histogram}");
    ensure!(ask(&api, "/api/v1/fields")?["fields"] == json!([]));
    ensure!(ask(&api, "/api/v1/facets?field=level")?["values"] == json!([]));
    ensure!(ask(&api, "/api/v1/traces/none")?["hits"] == json!([]));
    problem(&api.get("/api/v1/events/none")?, 404, "not_found")?;
    problem(&api.get("/api/v1/context?id=none")?, 404, "not_found")?;
    let export = api.get("/api/v1/export")?.text();
    ensure!(
        export == "{\"_end\":true,\"events\":0,\"partial\":false,\"partial_reasons\":[]}\n",
        "{export}"
    );
    Ok(())
}

/// An event, and what of it is counted.
struct Told {
    id: String,
    json: String,
    second: usize,
    level: &'static str,
    resource: usize,
    status: usize,
}

/// Events over the 48 hours of two days; some share their second, the level is absent from some.
fn events() -> Vec<Told> {
    let mut random = Random(7);
    let told = |n: usize| {
        let second = random.below(2 * 86_400);
        let level = LEVELS[random.below(4)];
        let (resource, status) = (random.below(20), 500 + random.below(3));
        let mut event = json!({
            "timestamp": format!("2026-01-{:02}T{:02}:{:02}:{:02}Z", 30 + second / 86_400, second / 3_600 % 24, second / 60 % 60, second % 60),
            "message": format!("event {n}\nof many"),
            "resourceId": format!("server-{resource}"),
            "status": status,
            "metadata": { "shard": format!("s{}", n % 3) },
        });
        if level != "debug" {
            event["level"] = level.into();
        }
        Told {
            id: format!("e{n}"),
            json: event.to_string(),
            second,
            level: if level == "debug" { "" } else { level },
            resource,
            status,
        }
    };
    (0..EVENTS).map(told).collect()
}

fn write(stage: &mut Stage<'_>) -> Result<Vec<Told>> {
    let events = events();
    let store = Store::open(stage)?;
    for (day, index) in ["2026.01.30", "2026.01.31"].into_iter().enumerate() {
        let of_day = events.iter().filter(|event| event.second / 86_400 == day);
        store.write_to(
            index,
            of_day.map(|event| (event.id.as_str(), event.json.as_str())),
        )?;
    }
    Ok(events)
}

fn histogram_facets_and_fields_count_as_a_hand_would(stage: &mut Stage<'_>) -> Result<()> {
    let events = write(stage)?;
    let api = stage.query_api(&[])?;

    let histogram = ask(
        &api,
        "/api/v1/histogram?from=2026-01-30&to=2026-01-31&buckets=48",
    )?;
    ensure!(
        histogram["interval_ms"] == 3_600_000 && histogram["total"] == EVENTS,
        "{histogram}"
    );
    let mut by_hour: BTreeMap<usize, BTreeMap<String, u64>> = BTreeMap::new();
    for event in &events {
        let levels = by_hour.entry(event.second / 3_600).or_default();
        *levels.entry(event.level.to_lowercase()).or_default() += 1;
    }
    for (hour, bucket) in histogram["buckets"]
        .as_array()
        .into_iter()
        .flatten()
        .enumerate()
    {
        let expected = by_hour.get(&hour).cloned().unwrap_or_default();
        ensure!(
            bucket["count"] == expected.values().sum::<u64>(),
            "{hour}: {bucket}"
        );
        ensure!(bucket["levels"] == json!(expected), "{hour}: {bucket}");
    }
    // The range that is not given is that of the events.
    let whole = ask(&api, "/api/v1/histogram?q=status:500&buckets=120")?;
    let with_500 = events.iter().filter(|event| event.status == 500).count();
    ensure!(whole["total"] == with_500, "{whole}");

    let facets = ask(
        &api,
        "/api/v1/facets?field=resourceId&size=20&q=level:error",
    )?;
    let mut by_resource: BTreeMap<String, u64> = BTreeMap::new();
    for event in events.iter().filter(|event| event.level == "error") {
        *by_resource
            .entry(format!("server-{}", event.resource))
            .or_default() += 1;
    }
    let told: BTreeMap<String, u64> = facets["values"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|value| {
            Some((
                value["value"].as_str()?.to_owned(),
                value["count"].as_u64()?,
            ))
        })
        .collect();
    ensure!(told == by_resource, "{facets}");
    let levels = ask(&api, "/api/v1/facets?field=level&prefix=E")?;
    ensure!(levels["values"][0]["value"] == "error", "{levels}");
    let statuses = ask(&api, "/api/v1/facets?field=status&size=2")?;
    ensure!(
        statuses["others"].as_u64() > Some(0) && statuses["without"] == 0,
        "{statuses}"
    );
    let shards = ask(&api, "/api/v1/facets?field=metadata.shard")?;
    ensure!(
        shards["values"].as_array().map(Vec::len) == Some(3),
        "{shards}"
    );

    let fields = ask(&api, "/api/v1/fields?q=level:*")?;
    let names: Vec<&str> = fields["fields"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|field| field["name"].as_str())
        .collect();
    ensure!(
        names
            == [
                "level",
                "message",
                "metadata.shard",
                "resourceId",
                "status",
                "timestamp"
            ],
        "{fields}"
    );
    ensure!(fields["sampled"] == 500, "{fields}");
    problem(
        &api.get("/api/v1/histogram?q=level:(a")?,
        400,
        "invalid_query",
    )?;
    Ok(())
}

fn an_event_its_neighbours_and_its_trace_are_found(stage: &mut Stage<'_>) -> Result<()> {
    let api = stage.query_api(&[])?;
    let store = Store::open(stage)?;
    let event = |at: &str, resource: &str, trace: &str| {
        json!({"timestamp": at, "resourceId": resource, "traceId": trace, "message": "m"})
            .to_string()
    };
    let moments = [
        "08:00:00Z",
        "08:00:01Z",
        "08:00:02Z",
        "08:00:02Z",
        "08:00:02.000000001Z",
        "08:00:03Z",
    ];
    let events: Vec<(String, String)> = moments
        .iter()
        .enumerate()
        .flat_map(|(n, at)| {
            let at = format!("2026-01-31T{at}");
            [("a", "t1"), ("b", "t2")]
                .map(|(resource, trace)| (format!("{resource}/{n} ü"), event(&at, resource, trace)))
        })
        .collect();
    store.write(
        events
            .iter()
            .map(|(id, event)| (id.as_str(), event.as_str())),
    )?;
    store.write([("lonely", r#"{"message":"no timestamp"}"#)])?;

    let found = ask(&api, "/api/v1/events/a%2F2%20%C3%BC")?;
    ensure!(
        found["hit"]["id"] == "a/2 ü" && found["hit"]["event"]["resourceId"] == "a",
        "{found}"
    );
    let ids = |hits: &Value| -> Vec<String> {
        let hits = hits.as_array().into_iter().flatten();
        hits.filter_map(|hit| hit["id"].as_str().map(str::to_owned))
            .collect()
    };
    let context = ask(&api, "/api/v1/context?id=a%2F2%20%C3%BC")?;
    ensure!(ids(&context["before"]) == ["a/0 ü", "a/1 ü"], "{context}");
    ensure!(
        ids(&context["after"]) == ["a/3 ü", "a/4 ü", "a/5 ü"],
        "{context}"
    );
    ensure!(
        context["resource"] == "a" && context["hit"]["id"] == "a/2 ü",
        "{context}"
    );
    let near = ask(&api, "/api/v1/context?id=a%2F3%20%C3%BC&before=1&after=0")?;
    ensure!(
        ids(&near["before"]) == ["a/1 ü"] && ids(&near["after"]).is_empty(),
        "{near}"
    );
    let lonely = ask(&api, "/api/v1/context?id=lonely")?;
    ensure!(
        lonely["before"] == json!([]) && lonely["after"] == json!([]),
        "{lonely}"
    );

    let trace = ask(&api, "/api/v1/traces/t2")?;
    ensure!(trace["total"]["value"] == 6, "{trace}");
    let traced = ids(&trace["hits"]);
    ensure!(
        traced[..2] == ["b/0 ü", "b/1 ü"] && traced[4..] == ["b/4 ü", "b/5 ü"],
        "{trace}"
    );
    ensure!(ids(&ask(&api, "/api/v1/traces/t2?limit=1")?["hits"]) == ["b/0 ü"]);
    Ok(())
}

fn an_export_has_every_event_once_and_an_end(stage: &mut Stage<'_>) -> Result<()> {
    let events = write(stage)?;
    let api = stage.query_api(&["--max-export-events", "2000"])?;
    let unbounded = stage.query_api(&[])?;

    let file = unbounded.get("/api/v1/export?sort=oldest&q=-level:info")?;
    ensure!(
        file.header("content-type") == Some("application/x-ndjson"),
        "{:?}",
        file.headers
    );
    let text = file.text();
    let lines: Vec<&str> = text.lines().collect();
    let Some((end, exported)) = lines.split_last() else {
        anyhow::bail!("nothing is exported");
    };
    let mut expected: Vec<&str> = events
        .iter()
        .filter(|event| event.level != "info")
        .map(|event| event.json.as_str())
        .collect();
    ensure!(
        **end
            == format!(
                "{{\"_end\":true,\"events\":{},\"partial\":false,\"partial_reasons\":[]}}",
                expected.len()
            ),
        "{end}"
    );
    let mut sorted = exported.to_vec();
    sorted.sort_unstable();
    expected.sort_unstable();
    ensure!(
        sorted == expected,
        "{} lines of {}",
        sorted.len(),
        expected.len()
    );
    let moments: Vec<String> = exported
        .iter()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .map(|event| event["timestamp"].to_string())
        .collect();
    ensure!(moments.is_sorted(), "the oldest come first");

    let table = unbounded
        .get("/api/v1/export?format=csv&fields=timestamp,message,status")?
        .text();
    ensure!(
        table.starts_with("timestamp,message,status\r\n"),
        "{}",
        &table[..80]
    );
    // The message has a line break in it, so a record has two lines.
    ensure!(
        table.lines().count() == 1 + 2 * EVENTS + 1,
        "{}",
        table.lines().count()
    );
    ensure!(table.ends_with("# end: 3000 events\r\n"));

    let cut = api.get("/api/v1/export")?.text();
    let end: Value = serde_json::from_str(cut.lines().last().unwrap_or_default())?;
    ensure!(
        end["_end"] == true && end["events"] == 2_000 && end["partial"] == true,
        "{end}"
    );
    ensure!(end["partial_reasons"][0]["code"] == "event_limit", "{end}");

    // What the page sends as relative dates, and the reply tells as moments for the next page.
    let page = search(
        &unbounded,
        &json!({"from": "now-1000w", "to": "now", "limit": 10}),
    )?;
    let next = search(
        &unbounded,
        &json!({"from": page["from"], "to": page["to"], "limit": 10, "cursor": page["next_cursor"]}),
    )?;
    ensure!(next["hits"].as_array().map(Vec::len) == Some(10), "{next}");
    Ok(())
}
