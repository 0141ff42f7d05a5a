//! When it is too much or Kafka is away: what is lost is what a client gives up, and no client costs another (GW-1, GW-2).

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use service::access::Scope;
use service::access::api_keys::NewKey;
use xtask::command;

use crate::load::Load;
use crate::scenarios;
use crate::shipper::{Shipper, Task};
use crate::stage::{SOON, Scenario, Stage};

pub(crate) const SCENARIOS: &[Scenario] = scenarios![
    of_clients_that_are_throttled_and_see_kafka_go_away_none_loses_what_was_acknowledged,
    a_tenant_that_floods_at_fifty_times_its_quota_costs_another_nothing,
];

/// Of each client: 100 a second, in ten requests or more.
const EVENTS: usize = 3_000;
const PACE: Duration = Duration::from_millis(10);
/// A tenth of the requests that each client makes.
const THROTTLED: &str = "requests-per-second = 1\nburst = \"1s\"\n";
const THROTTLED_FOR: Duration = Duration::from_secs(12);
const KAFKA_AWAY_FOR: Duration = Duration::from_secs(5);
/// How long those that try again may take for what has piled up.
const PATIENCE: Duration = Duration::from_secs(20);
/// Clients that keep what is refused until it is taken, however long that is.
const KEEPS: [&str; 5] = [
    "elasticsearch-py-9",
    "elasticsearch-py-8",
    "rsyslog",
    "syslog-ng",
    "curl",
];

/// What became of a client's events.
#[derive(Default)]
struct Outcome {
    found: usize,
    twice: usize,
    ended: String,
}

fn of_clients_that_are_throttled_and_see_kafka_go_away_none_loses_what_was_acknowledged(
    stage: &mut Stage<'_>,
) -> Result<()> {
    let node = stage.node()?;
    let shippers = Shipper::all(stage, &node)?;
    let keys: Result<Vec<NewKey>> = (1..)
        .zip(&shippers)
        .map(|(n, shipper)| {
            let id = shipper.name.replace('.', "-");
            NewKey::make(&id, &[Scope::Ingest], None, None, [n; 32]).map_err(anyhow::Error::msg)
        })
        .collect();
    let keys = keys?;
    let file = stage.directory.join("keys.toml");
    let write_keys = |quota: &str| -> Result<()> {
        let entries: String = keys
            .iter()
            .map(|key| format!("{}{quota}", key.entry))
            .collect();
        Ok(fs::write(&file, entries)?)
    };
    write_keys("")?;
    let gateway = stage.gateway(&["--api-keys", &file.display().to_string()])?;
    let sink = stage.sink(&[])?;
    let url = gateway.url();
    let interrupt = stage.interrupt();
    let ended: Result<Vec<String>> = std::thread::scope(|scope| {
        let running: Vec<_> = shippers
            .iter()
            .zip(&keys)
            .map(|(shipper, key)| {
                let task = Task {
                    gateway: &url,
                    key,
                    events: EVENTS,
                    pace: PACE,
                    patience: PATIENCE,
                };
                let (run, interrupt) = (shipper.command(&node, task), interrupt.clone());
                scope.spawn(move || command::run(run, &interrupt, |_| {}))
            })
            .collect();
        std::thread::sleep(Duration::from_secs(5));
        write_keys(THROTTLED)?;
        std::thread::sleep(THROTTLED_FOR);
        write_keys("")?;
        std::thread::sleep(Duration::from_secs(5));
        stage.kafka().pause();
        std::thread::sleep(KAFKA_AWAY_FOR);
        stage.kafka().resume();
        let ended = running.into_iter().map(|running| match running.join() {
            Ok(Ok(())) => Ok("by itself".to_owned()),
            Ok(Err(_)) => Ok("with an error".to_owned()),
            Err(_) => Err(anyhow::anyhow!("a thread panicked")),
        });
        ended.collect()
    });
    let ended = ended?;

    let accepted = gateway.metric("ingest_gateway_events_accepted_total", "")?;
    let failures = gateway.metric("ingest_gateway_kafka_delivery_failures_total", "")?;
    let records = stage.wait_for("the sink to take everything", SOON, || {
        let metric = |name| sink.metric(name, "").map_err(|error| format!("{error:#}"));
        let records = metric("es_sink_records_total")?;
        let indexed = metric("es_sink_documents_indexed_total")?;
        let lag = metric("es_sink_consumer_lag_records")?;
        match lag == 0.0 && records >= accepted && records == indexed {
            true => Ok(records),
            false => Err(format!(
                "{records} records, {accepted} accepted, {indexed} indexed, lag {lag}"
            )),
        }
    })?;
    ensure!(
        records - accepted <= failures,
        "{records} records, {accepted} acknowledged, {failures} without an answer of Kafka's"
    );
    stage.documents()?;
    eprintln!(
        "    {accepted} acknowledged, {records} in Kafka and indexed, {failures} failed deliveries"
    );
    eprintln!(
        "    {:26} {:>6} {:>6} {:>6}  ended",
        "client", "found", "lost", "twice"
    );
    for (shipper, ended) in shippers.iter().zip(ended) {
        let Outcome {
            found,
            twice,
            ended,
        } = outcome(stage, shipper.name, ended)?;
        let lost = EVENTS - found;
        eprintln!(
            "    {:26} {found:>6} {lost:>6} {twice:>6}  {ended}",
            shipper.name
        );
        ensure!(
            lost == 0 || !KEEPS.contains(&shipper.name),
            "{} lost {lost}",
            shipper.name
        );
    }
    Ok(())
}

fn outcome(stage: &Stage<'_>, name: &str, ended: String) -> Result<Outcome> {
    let path = format!("/{}/_search", stage.wiring.index());
    let search = json!({
        "size": 10_000, "_source": ["message"], "query": {"match_phrase": {"message": name}},
    });
    let reply = stage.ask_elasticsearch("POST", &path, &search)?;
    let hits = reply["hits"]["hits"].as_array().context("hits")?;
    ensure!(hits.len() < 10_000, "{name} has too many");
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for hit in hits {
        let message = hit["_source"]["message"].as_str().context("a message")?;
        if message
            .strip_prefix(name)
            .is_some_and(|rest| rest.starts_with(' '))
        {
            *counts.entry(message).or_default() += 1;
        }
    }
    Ok(Outcome {
        found: counts.len(),
        twice: counts.values().map(|count| count - 1).sum(),
        ended,
    })
}

fn a_tenant_that_floods_at_fifty_times_its_quota_costs_another_nothing(
    stage: &mut Stage<'_>,
) -> Result<()> {
    const FLOOD_QUOTA: f64 = 4.0;
    let key = |id, n: u8| {
        let made = NewKey::make(id, &[Scope::Ingest], None, None, [n; 32]);
        made.map_err(anyhow::Error::msg)
    };
    let (quiet, flood) = (key("quiet", 1)?, key("flood", 2)?);
    let file = stage.directory.join("keys.toml");
    let quota = |rate: f64| format!("requests-per-second = {rate}\nburst = \"1s\"\n");
    let entries = [
        quiet.entry.clone(),
        quota(100.0),
        flood.entry.clone(),
        quota(FLOOD_QUOTA),
    ];
    fs::write(&file, entries.concat())?;
    let gateway = stage.gateway(&["--api-keys", &file.display().to_string()])?;
    let _sink = stage.sink(&[])?;
    let header = |key: &NewKey| format!("Authorization: Bearer {}", key.credential.to_token());
    let (by_quiet, by_flood) = (header(&quiet), header(&flood));
    let steady = |seconds| {
        [
            "--header",
            by_quiet.as_str(),
            "--mode",
            "ndjson",
            "--batch",
            "10",
            "--rate",
            "400",
        ]
        .into_iter()
        .chain(["--connections", "4", "--duration", seconds])
        .collect::<Vec<_>>()
    };
    let alone = Load::named(stage, "alone", &gateway, &steady("10s"))?.finish(stage)?;
    let flooding = [
        "--header",
        &by_flood,
        "--mode",
        "ndjson",
        "--batch",
        "10",
        "--connections",
        "200",
        "--duration",
        "15s",
        "--give-up",
        "5s",
        "--seed",
        "2",
    ];
    let flooding = Load::named(stage, "flood", &gateway, &flooding)?;
    std::thread::sleep(Duration::from_secs(2));
    let refused = "ingest_gateway_requests_refused_total";
    let (began, before) = (Instant::now(), gateway.metric(refused, "rate_limited")?);
    let beside = Load::named(stage, "beside", &gateway, &steady("10s"))?.finish(stage)?;
    let refusals = gateway.metric(refused, "rate_limited")? - before;
    let rate = refusals / began.elapsed().as_secs_f64();
    let flooding = flooding.finish(stage)?;
    for loaded in [&alone, &beside] {
        let events = &loaded.summary["events"];
        ensure!(
            events["refused"] == 0 && events["uncertain"] == 0,
            "{events}"
        );
    }
    for loaded in [&alone, &beside, &flooding] {
        loaded.verify(stage)?;
    }
    ensure!(
        rate > 25.0 * FLOOD_QUOTA,
        "the flood was one of {rate} requests a second"
    );
    eprintln!(
        "    the quiet tenant's latency: alone {}, beside a flood of {rate:.0} refused requests a second, quota {FLOOD_QUOTA}: {}",
        alone.summary["latency_ms"], beside.summary["latency_ms"]
    );
    eprintln!("    the flood: {}", flooding.summary["events"]);
    Ok(())
}
