//! Two tenants share one pipeline, and neither sees, overwrites or redrives what is the other's (QA-5).

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use service::access::Scope;
use service::access::api_keys::NewKey;
use xtask::http::Reply;

use super::tail::Follower;
use crate::scenarios;
use crate::stage::{Part, SOON, Scenario, Stage};

pub(crate) const SCENARIOS: &[Scenario] =
    scenarios![a_tenant_sees_its_own_events_in_every_way_and_no_others];

/// Of each tenant; both use the same event ids, resources and traces.
const EVENTS: usize = 40;
const TENANTS: [&str; 2] = ["shop", "bank"];

/// A client with a key.
struct Client<'a> {
    api: &'a Part,
    key: String,
}

impl Client<'_> {
    fn get(&self, path: &str) -> Result<Reply> {
        self.api.get_with(path, &[("authorization", &self.key)])
    }

    fn json(&self, path: &str) -> Result<Value> {
        let reply = self.get(path)?;
        ensure!(reply.status == 200, "{path}: {}", reply.text());
        reply.json()
    }

    fn post(&self, path: &str, body: &Value) -> Result<Reply> {
        let headers = [("authorization", self.key.as_str())];
        self.api.post(path, &headers, body.to_string().as_bytes())
    }
}

fn a_tenant_sees_its_own_events_in_every_way_and_no_others(stage: &mut Stage<'_>) -> Result<()> {
    stage.wiring.index_pattern = stage
        .wiring
        .index_pattern
        .replace("{date}", "{tenant}-{date}");
    let mut keys = Vec::new();
    for (n, tenant) in (1..).zip([Some("shop"), Some("bank"), None]) {
        let id = tenant.unwrap_or("everybody");
        let tenant = tenant.map(str::parse).transpose()?;
        let key = NewKey::make(id, &Scope::ALL, tenant.as_ref(), None, [n; 32]);
        keys.push(key.map_err(anyhow::Error::msg)?);
    }
    let file = stage.directory.join("keys.toml");
    let entries: String = keys.iter().map(|key| key.entry.as_str()).collect();
    std::fs::write(&file, entries)?;
    let flags = ["--api-keys", &file.display().to_string()];
    let gateway = stage.gateway(&flags)?;
    let _sink = stage.sink(&[])?;
    let api = stage.query_api(&flags)?;
    let client = |api, at: usize| Client {
        api,
        key: format!("Bearer {}", keys[at].credential.to_token()),
    };
    let mut followers = TENANTS.len();
    let tails: Result<Vec<Follower>> = (0..followers)
        .map(|at| Follower::open_with(&api, "", &[("authorization", &client(&api, at).key)]))
        .collect();
    let mut tails = tails?;
    for (at, tenant) in TENANTS.into_iter().enumerate() {
        let events: Vec<Value> = (0..EVENTS)
            .map(|n| {
                json!({
                    "eventId": format!("event-{n}"), "message": format!("{tenant} {n}"), "level": "info",
                    "resourceId": "server", "traceId": "trace", "owner": tenant, "shape": "round",
                })
            })
            .collect();
        let reply = client(&gateway, at).post("/logs", &json!(events))?;
        ensure!(reply.status == 200, "{}", reply.text());
    }
    stage.wait_for("the events of both tenants", SOON, || {
        stage.has_documents(2 * EVENTS as u64)
    })?;
    for (at, tenant) in TENANTS.into_iter().enumerate() {
        sees_its_own(&client(&api, at), tenant)?;
        let sent =
            tails[at].until(|sent| sent.kind == "status" && sent.data["matched"] == EVENTS)?;
        let logs = sent.iter().filter(|sent| sent.kind == "log");
        let owners: BTreeSet<&str> = logs
            .filter_map(|sent| sent.data["event"]["owner"].as_str())
            .collect();
        ensure!(
            owners == BTreeSet::from([tenant]),
            "the tail shows {owners:?}"
        );
        followers -= 1;
    }
    ensure!(followers == 0, "a tail was not looked at");
    let all = client(&api, 2).json("/api/v1/histogram?buckets=1")?;
    ensure!(all["total"] == 2 * EVENTS, "{all}");
    a_cursor_serves_its_tenant_alone(&client(&api, 0), &client(&api, 1))?;
    dead_letters_are_redriven_by_their_tenant_alone(stage, &gateway, &api, &client)
}

fn sees_its_own(client: &Client<'_>, tenant: &str) -> Result<()> {
    let only_own = |what: &str, events: Vec<&Value>| -> Result<()> {
        ensure!(!events.is_empty(), "{what}: nothing is found");
        for event in events {
            ensure!(event["owner"] == tenant, "{what} of {tenant} shows {event}");
        }
        Ok(())
    };
    let listed = |reply: &Value, name: &str| -> Result<Vec<Value>> {
        let hits = reply[name].as_array().with_context(|| reply.to_string())?;
        Ok(hits.iter().map(|hit| hit["event"].clone()).collect())
    };
    let logs = client.json("/logs?limit=1000")?;
    only_own(
        "/logs",
        logs.as_array().context("an array")?.iter().collect(),
    )?;
    let found = client
        .post("/api/v1/search", &json!({"limit": 1000}))?
        .json()?;
    let hits = listed(&found, "hits")?;
    ensure!(hits.len() == EVENTS, "{} hits", hits.len());
    only_own("search", hits.iter().collect())?;
    let histogram = client.json("/api/v1/histogram?buckets=1")?;
    ensure!(histogram["total"] == EVENTS, "{histogram}");
    let facets = client.json("/api/v1/facets?field=owner")?.to_string();
    ensure!(
        TENANTS
            .iter()
            .all(|name| facets.contains(*name) == (*name == tenant)),
        "{facets}"
    );
    let fields = client.json("/api/v1/fields")?.to_string();
    ensure!(fields.contains("owner"), "{fields}");
    let id = found["hits"][0]["id"].as_str().context("an id")?;
    let event = client.json(&format!("/api/v1/events/{id}"))?;
    only_own("an event", vec![&event["hit"]["event"]])?;
    let context = client.json(&format!("/api/v1/context?id={id}&before=5&after=5"))?;
    let around = [listed(&context, "before")?, listed(&context, "after")?].concat();
    only_own("context", around.iter().collect())?;
    let trace = listed(&client.json("/api/v1/traces/trace")?, "hits")?;
    ensure!(trace.len() == EVENTS, "{} events of the trace", trace.len());
    only_own("trace", trace.iter().collect())?;
    let export = client.get("/api/v1/export?format=ndjson")?.text();
    for name in TENANTS {
        let owner = format!("\"owner\":\"{name}\"");
        ensure!(
            export.contains(&owner) == (name == tenant),
            "export: {export}"
        );
    }
    let everything = json!({"size": 100, "query": {"match_all": {}}});
    let passed_on = client.post("/elasticsearch/_search", &everything)?.json()?;
    let hits = passed_on["hits"]["hits"].as_array().context("hits")?;
    only_own("_search", hits.iter().map(|hit| &hit["_source"]).collect())?;
    let count = client.json("/elasticsearch/_count")?;
    ensure!(count["count"] == EVENTS, "{count}");
    for index in ["logflow-*", "*", "_all"] {
        let path = format!("/elasticsearch/{index}/_search");
        let reply = client.post(&path, &everything)?;
        let others: Vec<_> = TENANTS.iter().filter(|name| **name != tenant).collect();
        ensure!(
            reply.status == 403 || others.iter().all(|name| !reply.text().contains(**name)),
            "{path}: {}",
            reply.text()
        );
    }
    Ok(())
}

fn a_cursor_serves_its_tenant_alone(own: &Client<'_>, other: &Client<'_>) -> Result<()> {
    let page = own.post("/api/v1/search", &json!({"limit": 5}))?.json()?;
    let next = json!({"limit": 5, "cursor": page["next_cursor"]});
    let reply = other.post("/api/v1/search", &next)?;
    ensure!(
        reply.status == 400 && reply.json()?["code"] == "invalid_cursor",
        "another tenant reads on: {}",
        reply.text()
    );
    let reply = own.post("/api/v1/search", &next)?;
    ensure!(reply.status == 200, "{}", reply.text());
    Ok(())
}

fn dead_letters_are_redriven_by_their_tenant_alone<'a>(
    stage: &Stage<'_>,
    gateway: &'a Part,
    api: &'a Part,
    client: &dyn Fn(&'a Part, usize) -> Client<'a>,
) -> Result<()> {
    for at in 0..TENANTS.len() {
        let event = json!({"eventId": "refused", "shape": {"is": "an object, where the others have a text"}});
        let reply = client(gateway, at).post("/logs", &event)?;
        ensure!(reply.status == 200, "{}", reply.text());
    }
    let place = |at: usize| -> Result<String, String> {
        let look = || -> Result<Value> { client(api, at).json("/api/v1/pipeline") };
        let pipeline = look().map_err(|error| format!("{error:#}"))?;
        let letters = pipeline["dead_letters"]["newest"].as_array();
        match letters.map(Vec::as_slice) {
            Some([letter]) => Ok(format!("{}:{}", letter["partition"], letter["offset"])),
            other => Err(format!("{other:?}")),
        }
    };
    let shop = stage.wait_for("the shop's one letter", SOON, || place(0))?;
    let bank = stage.wait_for("the bank's one letter", SOON, || place(1))?;
    let redrive = |at: usize, body: Value| -> Result<Value> {
        let reply = client(api, at).post("/api/v1/dead-letters/redrive", &body)?;
        ensure!(reply.status == 200, "{}", reply.text());
        reply.json()
    };
    let theirs = redrive(1, json!({"letters": [&shop]}))?;
    ensure!(
        theirs["redriven"] == 0,
        "the bank redrives the shop's letter: {theirs}"
    );
    let own = redrive(0, json!({"all": true}))?;
    ensure!(own["redriven"] == 1 && own["refused"] == 0, "{own}");
    stage.wait_for(
        "the shop's letter at another place, as it is refused again",
        SOON,
        || place(0).and_then(|now| if now == shop { Err(now) } else { Ok(()) }),
    )?;
    ensure!(place(1) == Ok(bank), "the bank's letter was touched");
    Ok(())
}
