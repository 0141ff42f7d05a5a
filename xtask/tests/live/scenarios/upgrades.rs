//! A new version beside and after an old one, under load: nothing is lost, and what the old one left is still found.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use log_event::timestamp::Timestamp;
use serde_json::{Value, json};

use crate::load::Load;
use crate::scenarios;
use crate::scenarios::operations::lines;
use crate::search_client::search;
use crate::stage::{SOON, Scenario, Stage};

pub(crate) const SCENARIOS: &[Scenario] = scenarios![
    a_new_template_holds_for_indices_made_from_then_on_and_a_search_finds_what_is_in_both_kinds,
];

const LOAD: [&str; 6] = ["--rate", "500", "--duration", "15s", "--connections", "4"];
/// Of a version that is still to come.
const LATER: u64 = 9;
const DAY_SECONDS: u64 = 86_400;

fn a_new_template_holds_for_indices_made_from_then_on_and_a_search_finds_what_is_in_both_kinds(
    stage: &mut Stage<'_>,
) -> Result<()> {
    // As a version before left it, in which levels were found as they were written alone.
    apply(stage)?;
    let (template, shipped) = held(stage)?;
    let mut older = shipped.clone();
    older["_meta"]["version"] = json!(0);
    older["template"]["mappings"]["properties"]["level"] = json!({"type": "keyword"});
    stage.ask_elasticsearch("PUT", &template, &older)?;
    let gateway = stage.gateway(&[])?;
    let mut old_sink = stage.sink(&["--no-template"])?;
    let [first_day, next_day] = [noon(2)?, noon(1)?];
    let load = Load::through(
        stage,
        &gateway,
        &[&LOAD[..], &["--start", &first_day]].concat(),
    )?;
    stage.wait_for("the first day's index", SOON, || stage.has_at_least(1))?;

    let mut new_sink = stage.sink(&[])?;
    ensure!(
        held(stage)?.1 == shipped,
        "the new sink has not installed its template"
    );
    old_sink.stop()?;
    load.finish(stage)?.verify(stage)?;
    let documents = stage.documents()?;
    let event =
        format!(r#"{{"timestamp":"{next_day}","level":"Error","message":"of the next day"}}"#);
    gateway.post("/logs", &[], event.as_bytes())?;
    stage.wait_for("the next day's event", SOON, || {
        stage.has_documents(documents + 1)
    })?;

    let pattern = stage.wiring.index_pattern.clone();
    let index = |noon: &str| pattern.replace("{date}", &noon[..10].replace('-', "."));
    for (day, level) in [
        (
            &first_day,
            &older["template"]["mappings"]["properties"]["level"],
        ),
        (
            &next_day,
            &shipped["template"]["mappings"]["properties"]["level"],
        ),
    ] {
        let index = index(day);
        let path = format!("/{index}/_mapping");
        let mapping = stage.ask_elasticsearch("GET", &path, &Value::Null)?;
        let kept = &mapping[&index]["mappings"]["properties"]["level"];
        ensure!(kept == level, "`{index}` keeps `level` as {kept}");
    }

    let query_api = stage.query_api(&[])?;
    for (sort, day) in [("oldest", &first_day), ("newest", &next_day)] {
        let asked = json!({"q": "level:error", "limit": 1, "sort": sort});
        let page = search(&query_api, &asked)?;
        let found = &page["hits"][0]["index"];
        ensure!(
            *found == index(day) && page["partial"] == false,
            "{sort}: {page}"
        );
    }

    // One of a version that is still to come is left as it is.
    let mut later = shipped;
    later["_meta"]["version"] = json!(LATER);
    stage.ask_elasticsearch("PUT", &template, &later)?;
    new_sink.stop()?;
    new_sink.start()?;
    ensure!(
        held(stage)?.1 == later,
        "an older sink has replaced a later template"
    );
    Ok(())
}

/// Noon of so many days ago, when no midnight is near.
fn noon(days_ago: u64) -> Result<String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let noon = (now / DAY_SECONDS - days_ago) * DAY_SECONDS + DAY_SECONDS / 2;
    let noon = Timestamp::from_nanos(i64::try_from(noon)? * 1_000_000_000);
    Ok(noon.context("a time since the epoch")?.to_rfc3339())
}

/// Installs the template that ships, for the indices of the stage.
fn apply(stage: &Stage<'_>) -> Result<()> {
    let (address, pattern) = (&stage.wiring.elasticsearch, &stage.wiring.index_pattern);
    let flags = ["--elasticsearch-url", address, "--index-pattern", pattern];
    lines(stage, 0, &[&["template", "apply"][..], &flags].concat()).map(drop)
}

/// The path of the template for the indices of the stage, and what Elasticsearch holds there.
fn held(stage: &Stage<'_>) -> Result<(String, Value)> {
    let name = stage.wiring.index_pattern.replace("-{date}", "");
    let path = format!("/_index_template/{name}");
    let mut reply = stage.ask_elasticsearch("GET", &path, &Value::Null)?;
    Ok((path, reply["index_templates"][0]["index_template"].take()))
}
