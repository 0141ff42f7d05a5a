//! The query language means the same to Elasticsearch and to the matcher of the live tail (QA-2).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use log_event::timestamp::Timestamp;
use query_api::query::field::DynamicFields;
use query_api::query::filter::filter;
use query_api::query::mapping::dynamic_fields;
use query_api::query::matcher::Candidate;
use query_api::query::parser::parse;
use query_api::query::tree::Query;
use serde_json::json;
use service::search_engine::SearchEngine;
use xtask::http;

use crate::scenarios;
use crate::search_client::{DAY, Random, Store};
use crate::stage::{Scenario, Stage};

pub(crate) const SCENARIOS: &[Scenario] =
    scenarios![elasticsearch_and_the_matcher_agree_on_10_000_random_queries];

const TIMEOUT: Duration = Duration::from_secs(60);
const EVENTS: usize = 300;
const QUERIES: usize = 10_000;
const QUERIES_A_REQUEST: usize = 250;
/// The moment that relative dates are relative to.
const NOW: &str = "2026-01-31T12:00:00Z";

pub(super) fn elasticsearch_and_the_matcher_agree_on_10_000_random_queries(
    stage: &mut Stage<'_>,
) -> Result<()> {
    let store = Store::open(stage)?;
    // In this order: the first events decide how the fields of the others are kept.
    let events: Vec<(String, String)> = (0..EVENTS)
        .map(|n| {
            let event = match KINDS.get(n) {
                Some(kinds) => (*kinds).to_owned(),
                None => event(&mut Random(n as u64)),
            };
            (format!("{n:03}"), event)
        })
        .collect();
    for first in &events[..KINDS.len()] {
        store.write([(first.0.as_str(), first.1.as_str())])?;
    }
    let rest = events[KINDS.len()..].iter();
    store.write(rest.map(|(id, event)| (id.as_str(), event.as_str())))?;

    let index = format!("{}/{}", stage.wiring.elasticsearch, store.index(DAY));
    let caps = http::get(&format!("{index}/_field_caps?fields=*"), TIMEOUT)?;
    let dynamic = dynamic_fields(caps.text().as_bytes())?;
    let mut random = Random(20_260_131);
    let (mut found, mut asked) = (0, 0);
    while asked < QUERIES {
        let queries: Vec<(String, Query)> = std::iter::from_fn(|| Some(query(&mut random, 3)))
            .filter_map(|text| {
                let parsed = parse(&text, Timestamp::parse(NOW).ok()?).ok()?;
                Some((text, parsed))
            })
            .take(QUERIES_A_REQUEST)
            .collect();
        found += compare(&index, &events, &dynamic, &queries)?;
        asked += queries.len();
    }
    eprintln!("{asked} queries found {found} of {EVENTS} events each, both ways");
    // Queries that find all or nothing would prove little.
    ensure!(
        (asked..asked * EVENTS / 2).contains(&found),
        "{asked} queries found {found} events"
    );
    Ok(())
}

/// Asks both and holds the answers against each other; returns how many events were found.
fn compare(
    index: &str,
    events: &[(String, String)],
    dynamic: &DynamicFields,
    queries: &[(String, Query)],
) -> Result<usize> {
    let mut body = String::new();
    for (_, query) in queries {
        let search = json!({
            "query": { "bool": { "filter": [filter(SearchEngine::Elasticsearch, query)] } },
            "size": EVENTS,
            "_source": false,
            "sort": ["_doc"],
        });
        body.push_str(&format!("{{}}\n{search}\n"));
    }
    let headers = [("Content-Type", "application/x-ndjson")];
    let url = format!(
        "{index}/_msearch?filter_path=responses.error,responses.hits.hits._id,responses._shards.failed"
    );
    let reply = http::post(&url, &headers, body.as_bytes(), TIMEOUT)?.json()?;
    let responses = reply["responses"].as_array().context("no responses")?;
    ensure!(responses.len() == queries.len());
    let candidates: Vec<(&str, Candidate<'_>)> = events
        .iter()
        .map(|(id, event)| (id.as_str(), Candidate::new(id, event.as_bytes(), dynamic)))
        .collect();
    let mut found = 0;
    for ((text, query), response) in queries.iter().zip(responses) {
        if response["error"].is_object() || response["_shards"]["failed"] != 0 {
            bail!("`{text}` is refused: {response}");
        }
        let hits = response["hits"]["hits"].as_array();
        let indexed: BTreeSet<&str> = hits
            .into_iter()
            .flatten()
            .filter_map(|hit| hit["_id"].as_str())
            .collect();
        let matched: BTreeSet<&str> = candidates
            .iter()
            .filter(|(_, candidate)| candidate.matches(query))
            .map(|(id, _)| *id)
            .collect();
        if indexed != matched {
            let by_id: BTreeMap<&str, &str> = events
                .iter()
                .map(|(id, event)| (id.as_str(), event.as_str()))
                .collect();
            let only = |these: &BTreeSet<&str>, others: &BTreeSet<&str>| -> Vec<String> {
                let ids = these.difference(others).take(2);
                ids.map(|id| format!("{id}: {}", by_id[id])).collect()
            };
            bail!(
                "`{text}` ({query:?}) finds\nonly in Elasticsearch: {:#?}\nonly by the matcher: {:#?}",
                only(&indexed, &matched),
                only(&matched, &indexed),
            );
        }
        found += indexed.len();
    }
    Ok(found)
}

/// They decide how the fields of all others are kept.
const KINDS: [&str; 3] = [
    r#"{"timestamp":"2026-01-31T00:00:00Z","n":1,"t":"first","b":true,"o":{"n":1.5,"t":"x","b":false},"level":"info"}"#,
    r#"{"timestamp":"2026-01-31T23:59:59.999999999Z","o.list":["x","y"],"odd name:":"v","message":"","metadata":{}}"#,
    r#"{"timestamp":"2026-01-31T12:00:00.5Z","level":"ERROR","message":"Failed to connect to DB","resourceId":"server-1234","traceId":"abc-xyz-123","spanId":"span-456","commit":"5e5342f","metadata":{"parentResourceId":"server-0987"}}"#,
];

const LEVELS: [&str; 8] = [
    "info", "ERROR", "Warn", "debug", "fatal", "CRIT", "verbose", "ÄRGER",
];
const RESOURCES: [&str; 6] = [
    "server-1",
    "server-12",
    "Server-1",
    "pod/a*b",
    "a b",
    "ß\\\"?",
];
const TRACES: [&str; 4] = ["abc-xyz-123", "abc-xyz-124", "timeout", "5"];
const WORDS: [&str; 22] = [
    "timeout",
    "Timeout",
    "ReadTimeout",
    "connection",
    "refused",
    "db-7",
    "DB",
    "10.0.0.1",
    "/api/users/17",
    "user_id=5",
    "can't",
    "İstanbul",
    "ΣΊΣΥΦΟΣ",
    "naïve",
    "日本語",
    "カタカナ",
    "กขค",
    "👍🏽",
    "a.b.c",
    "x@y.org",
    "---",
    "3,14",
];
const NUMBERS: [&str; 10] = [
    "0",
    "-0.0",
    "5",
    "5.0",
    "1e3",
    "-2.5",
    "12345678901234567890",
    "500",
    "0.1",
    "1E+2",
];
const TEXTS: [&str; 10] = [
    "first",
    "x",
    "y",
    "5",
    "5.0",
    "true",
    "false",
    "",
    "First",
    "a\\u0020b",
];

fn pick<'a>(random: &mut Random, from: &[&'a str]) -> &'a str {
    from[random.below(from.len())]
}

fn message(random: &mut Random) -> String {
    if random.below(3) == 0 {
        let length = random.below(14);
        return random.text(length);
    }
    let words: Vec<&str> = (0..random.below(6)).map(|_| pick(random, &WORDS)).collect();
    words.join(if random.below(4) == 0 { ", " } else { " " })
}

/// A value for a field that the template does not name, as JSON, for one that is kept as text, number or boolean.
fn value(random: &mut Random) -> String {
    match random.below(8) {
        0 => "null".to_owned(),
        1 | 2 => pick(random, &NUMBERS).to_owned(),
        3 => pick(random, &["true", "false"]).to_owned(),
        4 => format!("\"{}\"", pick(random, &NUMBERS)),
        5 if random.below(8) == 0 => format!("\"{}\"", "long".repeat(255 + random.below(3))),
        _ => format!("\"{}\"", pick(random, &TEXTS)),
    }
}

fn event(random: &mut Random) -> String {
    let mut members = Vec::new();
    if random.below(12) > 0 {
        members.push(format!(
            "\"timestamp\":\"2026-01-31T{:02}:{:02}:00.{:09}Z\"",
            random.below(24),
            random.below(60),
            random.below(2) * 500_000_000
        ));
    }
    let mut text =
        |name: &str, value: &str| members.push(format!("{}:{}", json!(name), json!(value)));
    if random.below(5) > 0 {
        text("level", pick(random, &LEVELS));
    }
    if random.below(6) > 0 {
        let message = message(random);
        text("message", &message);
    }
    if random.below(4) > 0 {
        text("resourceId", pick(random, &RESOURCES));
    }
    if random.below(3) == 0 {
        text("traceId", pick(random, &TRACES));
    }
    if random.below(5) == 0 {
        text("commit", pick(random, &TRACES));
    }
    for field in ["n", "t", "b"] {
        if random.below(2) == 0 {
            let value = match random.below(4) {
                0 => format!("[{},{}]", value(random), value(random)),
                _ => value(random),
            };
            members.push(format!("\"{field}\":{value}"));
        }
    }
    if random.below(3) == 0 {
        members.push(format!(
            "\"o\":{{\"n\":{},\"t\":[{}]}}",
            value(random),
            value(random)
        ));
    }
    if random.below(3) == 0 {
        members.push(format!("\"o.b\":{}", value(random)));
    }
    if random.below(2) == 0 {
        members.push(format!(
            "\"metadata\":{{\"parentResourceId\":{},\"a\":{{\"b\":{},\"c.d\":[{},{}]}}}}",
            json!(pick(random, &RESOURCES)),
            value(random),
            value(random),
            value(random)
        ));
    }
    format!("{{{}}}", members.join(","))
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// A piece of a text with wildcards, everything else escaped.
fn wild(random: &mut Random, text: &str) -> String {
    let mut pattern = String::new();
    for c in text.chars() {
        match random.below(9) {
            0 => pattern.push('*'),
            1 => pattern.push('?'),
            _ if c.is_alphanumeric() => pattern.push(c),
            _ => pattern.extend(['\\', c]),
        }
    }
    if random.below(2) == 0 {
        pattern.push('*');
    }
    pattern
}

/// A value as a query spells it.
fn spelled(random: &mut Random, text: &str) -> String {
    match random.below(4) {
        0 => wild(random, text),
        1 => text.to_owned(),
        _ => quoted(text),
    }
}

fn asked_value(random: &mut Random) -> String {
    let text = match random.below(5) {
        0 => pick(random, &NUMBERS).to_owned(),
        1 => pick(random, &TEXTS).replace("\\u0020", " "),
        2 => pick(random, &["true", "false", "TRUE", "5d", "nan"]).to_owned(),
        3 => pick(random, &RESOURCES).to_owned(),
        _ => pick(random, &TRACES).to_owned(),
    };
    spelled(random, &text)
}

fn query(random: &mut Random, depth: usize) -> String {
    match random.below(if depth == 0 { 9 } else { 13 }) {
        0 | 1 => {
            let message = message(random);
            let part = if message.is_empty() {
                "x".to_owned()
            } else {
                random.cut(&message)
            };
            spelled(random, &part)
        }
        2 => {
            let word = pick(random, &WORDS);
            spelled(random, word)
        }
        3 => {
            let words = format!("{} {}", pick(random, &WORDS), pick(random, &WORDS));
            format!("message:{}", quoted(&words))
        }
        4 => {
            let operator = pick(random, &[":", ":", ">=", "<", ">", "<="]);
            format!("level{operator}{}", pick(random, &LEVELS))
        }
        5 => {
            let field = pick(
                random,
                &[
                    "resourceId",
                    "traceId",
                    "commit",
                    "spanId",
                    "metadata",
                    "metadata.parentResourceId",
                ],
            );
            let resource = match random.below(3) {
                0 => pick(random, &TRACES),
                _ => pick(random, &RESOURCES),
            };
            format!("{field}:{}", spelled(random, resource))
        }
        6 => {
            let field = pick(
                random,
                &[
                    "n",
                    "t",
                    "b",
                    "o.n",
                    "o.t",
                    "o.b",
                    "o.list",
                    "metadata.a.b",
                    "metadata.a.c.d",
                    "o",
                    "unknown",
                    r"odd\ name\:",
                ],
            );
            format!("{field}:{}", asked_value(random))
        }
        7 => {
            let field = pick(random, &["n", "t", "b", "o.n", "o", "unknown"]);
            let (low, high) = (pick(random, &NUMBERS), pick(random, &NUMBERS));
            match random.below(4) {
                0 => format!("{field}>{low}"),
                1 => format!("{field}<={high}"),
                2 => format!("{field}:[{low} TO {high}}}"),
                _ => format!("{field}:{{{low} TO *]"),
            }
        }
        8 => match random.below(3) {
            0 => {
                let field = pick(
                    random,
                    &[
                        "timestamp",
                        "level",
                        "message",
                        "resourceId",
                        "n",
                        "t",
                        "b",
                        "o",
                        "o.n",
                        "metadata",
                        "metadata.a",
                        "metadata.a.b",
                        "unknown",
                        "traceId",
                    ],
                );
                format!("{field}:*")
            }
            1 => format!("timestamp>2026-01-31T{:02}:00:00.5Z", random.below(24)),
            _ => format!("timestamp:[now-{}h TO 2026-01-31]", random.below(12)),
        },
        9 => format!("{} {}", query(random, depth - 1), query(random, depth - 1)),
        10 => format!(
            "({} OR {})",
            query(random, depth - 1),
            query(random, depth - 1)
        ),
        11 => format!("NOT ({})", query(random, depth - 1)),
        _ => format!(
            "({} AND -{})",
            query(random, depth - 1),
            query(random, depth - 1)
        ),
    }
}
