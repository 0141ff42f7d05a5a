//! A search finds what it says and nothing else.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::scenarios;
use crate::search_client::{DAY, Random, Store, array, get, problem, search};
use crate::stage::{Scenario, Stage};

pub(crate) const SCENARIOS: &[Scenario] = scenarios![
    before_the_first_event_a_search_finds_nothing_and_says_so,
    each_filter_alone_and_all_together_find_the_one_event_as_it_was_sent,
    a_request_that_cannot_be_meant_so_is_refused_and_the_offender_named,
    the_newest_events_come_first_and_no_more_than_the_limit,
    a_part_of_a_message_is_found_wherever_a_plain_comparison_finds_it,
];

pub(super) fn before_the_first_event_a_search_finds_nothing_and_says_so(
    stage: &mut Stage<'_>,
) -> Result<()> {
    let api = stage.query_api(&[])?;
    ensure!(get(&api, "/logs")? == array(&[]));
    let page = search(&api, &json!({"level": "error"}))?;
    ensure!(page["hits"] == json!([]), "{page}");
    ensure!(
        page["total"] == json!({"value": 0, "relation": "eq"}),
        "{page}"
    );
    ensure!(
        page["next_cursor"].is_null() && page["partial"] == false,
        "{page}"
    );
    Ok(())
}

/// Spelled as no serializer would: a reply that was parsed and written again would differ.
const WANTED: &str = r#"{ "level":"error", "message":"Failed to connect\u0020to DB","resourceId":"server-1234", "timestamp":"2026-01-31T08:00:00Z","traceId":"abc-xyz-123","spanId":"span-456","commit":"5e5342f", "metadata":{"parentResourceId":"server-0987","cost":1.50E+2}, "count":12345678901234567890,"a":[ 1 , 2.0,null ]}"#;
const OTHER: &str = r#"{"timestamp":"2026-01-30T08:00:00Z","level":"info","message":"Connected","resourceId":"server-1235","traceId":"abc-xyz-124","spanId":"span-457","commit":"5e5342e","metadata":{"parentResourceId":"server-0988"}}"#;
/// What finds [`WANTED`] of the two, and what finds [`OTHER`].
const FILTERS: [(&str, &str); 8] = [
    ("level=ERROR", "level=Info"),
    ("resourceId=server-1234", "resourceId=server-1235"),
    ("message=TO%20CONN", "message=nected"),
    ("traceId=abc-xyz-123", "traceId=abc-xyz-124"),
    ("spanId=span-456", "spanId=span-457"),
    ("commit=5e5342f", "commit=5e5342e"),
    (
        "metadata.parentResourceId=server-0987",
        "metadata.parentResourceId=server-0988",
    ),
    ("startDate=2026-01-31", "endDate=2026-01-30"),
];
/// Other spellings that find [`WANTED`] alone: moments belong to the range that they end.
const SPELLINGS: [&str; 10] = [
    "parentResourceId=server-0987",
    "message=led+to",
    "message=db&commit=&spanId=",
    "startDate=2026-01-31T08:00:00Z&endDate=2026-01-31T08:00:00Z",
    "startDate=2026-01-31T07:59:59.999999999Z&endDate=2026-01-31T10:00:00%2B02:00",
    "startDate=2026-01-31T02:00:00-06:00&endDate=2026-01-31T10:00:00+02:00",
    "startDate=1769846400&endDate=1769846400",
    "startDate=1769846400000&endDate=1769846400000000",
    "startDate=1769846400000000000&endDate=2026-01-31",
    "startDate=2026-01-31&endDate=&commit=&message=&level=",
];

pub(super) fn each_filter_alone_and_all_together_find_the_one_event_as_it_was_sent(
    stage: &mut Stage<'_>,
) -> Result<()> {
    let api = stage.query_api(&[])?;
    let store = Store::open(stage)?;
    store.write([("wanted", WANTED), ("other", OTHER)])?;
    let finds = |filter: &str, expected: &[&str]| -> Result<()> {
        let found = get(&api, &format!("/logs?{filter}"))?;
        ensure!(found == array(expected), "{filter} finds {found}");
        Ok(())
    };
    for (wanted, other) in FILTERS {
        finds(wanted, &[WANTED])?;
        finds(other, &[OTHER])?;
    }
    for filter in SPELLINGS {
        finds(filter, &[WANTED])?;
    }
    finds("startDate=2026-01-31T08:00:00.000000001Z", &[])?;
    finds("endDate=2026-01-31T07:59:59.999999999Z", &[OTHER])?;
    finds("commit=&message=", &[WANTED, OTHER])?;

    let mut all = FILTERS.map(|(wanted, _)| wanted);
    finds(&all.join("&"), &[WANTED])?;
    // Each of them takes part: with one of the other event's there is nothing that matches all.
    for (at, (wanted, other)) in FILTERS.into_iter().enumerate() {
        all[at] = other;
        finds(&all.join("&"), &[])?;
        all[at] = wanted;
    }

    let body = json!({
        "level": "Error", "message": "FAILED to", "resourceId": "server-1234", "traceId": "abc-xyz-123",
        "spanId": "span-456", "commit": "5e5342f", "parentResourceId": "server-0987",
        "from": "2026-01-31", "to": "2026-01-31",
    });
    let page = api.post("/api/v1/search", &[], body.to_string().as_bytes())?;
    ensure!(page.text().contains(WANTED), "{}", page.text());
    let page = page.json()?;
    ensure!(page["total"]["value"] == 1, "{page}");
    ensure!(page["hits"][0]["id"] == "wanted", "{page}");
    ensure!(
        page["hits"][0]["index"] == store.index(DAY).as_str(),
        "{page}"
    );
    Ok(())
}

fn a_request_that_cannot_be_meant_so_is_refused_and_the_offender_named(
    stage: &mut Stage<'_>,
) -> Result<()> {
    let api = stage.query_api(&[])?;
    for (query, code, parameter) in [
        ("levle=error", "unknown_parameter", "levle"),
        ("levle=", "unknown_parameter", "levle"),
        ("level=error&level=info", "duplicate_parameter", "level"),
        ("startDate=soon", "invalid_parameter", "startDate"),
        ("endDate=2026-02-30", "invalid_parameter", "endDate"),
        ("limit=0", "invalid_parameter", "limit"),
        ("limit=10001", "invalid_parameter", "limit"),
    ] {
        let reply = api.get(&format!("/logs?{query}"))?;
        let problem = problem(&reply, 400, code)?;
        ensure!(problem["parameter"] == parameter, "{query}: {problem}");
    }
    for (body, code, parameter) in [
        (json!({"levle": "a"}), "unknown_parameter", "levle"),
        (json!({"level": 3}), "invalid_parameter", "level"),
        (json!({"limit": 1001}), "invalid_parameter", "limit"),
        (json!({"sort": "random"}), "invalid_parameter", "sort"),
        (json!({"cursor": "x"}), "invalid_cursor", "cursor"),
    ] {
        let reply = api.post("/api/v1/search", &[], body.to_string().as_bytes())?;
        let problem = problem(&reply, 400, code)?;
        ensure!(problem["parameter"] == parameter, "{body}: {problem}");
    }
    let backwards = api.get("/logs?startDate=2026-02-01&endDate=2026-01-31")?;
    problem(&backwards, 400, "invalid_time_range")?;
    problem(
        &api.post("/api/v1/search", &[], b"[]")?,
        400,
        "invalid_json",
    )?;
    Ok(())
}

pub(super) fn the_newest_events_come_first_and_no_more_than_the_limit(
    stage: &mut Stage<'_>,
) -> Result<()> {
    /// More shards than an engine asks at once: what it found in the first decides which of the others it asks.
    const DAYS: usize = 9;
    const EVENTS: usize = DAYS * 100;
    let api = stage.query_api(&[])?;
    let store = Store::open(stage)?;
    // Within each daily index an event is one nanosecond newer than the one before.
    for nth in 0..DAYS {
        let date = format!("2026-01-{:02}", 23 + nth);
        let day = &date.replace('-', ".");
        // Coprime to their number, so each comes once, in an order that is neither.
        let numbers = (0..100).map(|n| nth * 100 + n * 37 % 100);
        let events: Vec<(String, String)> = numbers
            .map(|n| {
                let event = json!({"n": n, "timestamp": format!("{date}T08:00:00.{n:09}Z")});
                (format!("{n}"), event.to_string())
            })
            .collect();
        store.write_to(day, events.iter().map(|(id, e)| (&**id, &**e)))?;
    }
    let numbers = |events: &[Value]| -> Vec<Option<u64>> {
        events.iter().map(|event| event["n"].as_u64()).collect()
    };
    let expected = |newest: bool, limit: usize| -> Vec<Option<u64>> {
        let all = 0..EVENTS as u64;
        if newest {
            all.rev().take(limit).map(Some).collect()
        } else {
            all.take(limit).map(Some).collect()
        }
    };
    for (query, limit) in [
        ("", 100),
        ("?limit=1", 1),
        ("?limit=7", 7),
        ("?limit=250", 250),
        ("?limit=10000", EVENTS),
    ] {
        let found: Vec<Value> = serde_json::from_str(&get(&api, &format!("/logs{query}"))?)?;
        let found = numbers(&found);
        ensure!(found == expected(true, limit), "{query}: {found:?}");
    }
    // Which shard answers first is chance.
    let often = ["newest", "oldest"].repeat(20).into_iter();
    for (sort, limit) in often.map(|sort| (sort, 7)).chain([("oldest", 1000)]) {
        let page = search(&api, &json!({"sort": sort, "limit": limit}))?;
        let hits = page["hits"].as_array().context("hits")?;
        let events: Vec<Value> = hits.iter().map(|hit| hit["event"].clone()).collect();
        let found = numbers(&events);
        ensure!(
            found == expected(sort == "newest", limit),
            "{sort} {limit}: {found:?}, partial: {}",
            page["partial"]
        );
        ensure!(
            page["total"] == json!({"value": EVENTS, "relation": "eq"}),
            "{page}"
        );
    }
    Ok(())
}

pub(super) fn a_part_of_a_message_is_found_wherever_a_plain_comparison_finds_it(
    stage: &mut Stage<'_>,
) -> Result<()> {
    let api = stage.query_api(&[])?;
    let store = Store::open(stage)?;
    let mut random = Random(20_260_131);
    let messages: Vec<(String, String)> = (0..800)
        .map(|n| (format!("m{n}"), random.text(1 + n % 40)))
        .collect();
    let events: Vec<String> = messages
        .iter()
        .map(|(id, message)| {
            json!({"eventId": id, "message": message, "timestamp": "2026-01-31T08:00:00Z"})
                .to_string()
        })
        .collect();
    let ids = messages.iter().map(|(id, _)| id.as_str());
    store.write(ids.zip(events.iter().map(String::as_str)))?;
    let mut sorts = [0, 0];
    for n in 0..150 {
        // Every other part is cut from a message, so that it is found at least once.
        let part = if n % 2 == 0 {
            random.text(1 + n % 4)
        } else {
            let whole = &messages[random.below(messages.len())].1;
            random.cut(whole)
        };
        let expected: BTreeSet<&str> = messages
            .iter()
            .filter(|(_, message)| lower(message).contains(&lower(&part)))
            .map(|(id, _)| id.as_str())
            .collect();
        sorts[usize::from(expected.is_empty())] += 1;
        let page = search(&api, &json!({"message": part, "limit": 1000}))?;
        let encoded: String = part.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let logs = get(&api, &format!("/logs?limit=1000&message={encoded}"))?;
        let hits = page["hits"].as_array().context("hits")?;
        let ids = |id: &Value| id.as_str().unwrap_or_default().to_owned();
        let by_post: Vec<String> = hits.iter().map(|hit| ids(&hit["id"])).collect();
        let by_get: Vec<Value> = serde_json::from_str(&logs)?;
        let by_get: Vec<String> = by_get.iter().map(|event| ids(&event["eventId"])).collect();
        for found in [by_post, by_get] {
            let count = found.len();
            let found: BTreeSet<&str> = found.iter().map(String::as_str).collect();
            ensure!(
                count == expected.len() && found == expected,
                "{part:?} finds {count}; found by one only: {:?}",
                found
                    .symmetric_difference(&expected)
                    .filter_map(|id| messages.iter().find(|(m, _)| m == id))
                    .collect::<Vec<_>>()
            );
        }
    }
    eprintln!("    {} parts were found, {} were not", sorts[0], sorts[1]);
    ensure!(
        sorts[0] >= 75 && sorts[1] > 0,
        "the sample proves too little: {sorts:?}"
    );
    Ok(())
}

/// Letter by letter, so that no letter depends on its neighbours, as the final sigma does.
fn lower(text: &str) -> String {
    text.chars().flat_map(char::to_lowercase).collect()
}
