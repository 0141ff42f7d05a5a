//! What refuses one day holds that day alone, is seen at once, and heals by itself (EO-5).

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::load::Load;
use crate::scenarios;
use crate::stage::{Part, SOON, Scenario, Stage};

pub(crate) const SCENARIOS: &[Scenario] = scenarios![
    while_a_day_is_read_only_the_others_flow_and_the_hold_is_seen_within_5_s_and_heals_within_10,
    while_the_disk_of_a_day_is_full_the_others_flow_and_the_hold_is_seen_within_5_s_and_heals_within_10,
    a_cluster_that_is_read_only_is_seen_within_5_s_and_heals_within_10,
    a_day_that_is_read_only_until_memory_is_full_stops_reading_is_seen_and_heals_within_10_s,
    a_partition_that_left_while_reading_paused_is_read_again_when_it_is_back,
];

/// From the first refusal until people and alerts see it.
const SEEN_MAX: Duration = Duration::from_secs(5);
/// From the end of the cause until the events flow and no alert is left.
const HEALED_MAX: Duration = Duration::from_secs(10);
/// Long enough for the waits between two tries to grow to their longest.
const HELD_FOR: Duration = Duration::from_secs(20);

fn while_a_day_is_read_only_the_others_flow_and_the_hold_is_seen_within_5_s_and_heals_within_10(
    stage: &mut Stage<'_>,
) -> Result<()> {
    one_of_two_days_is_held(stage, "index.blocks.write")
}

/// The block that Elasticsearch itself sets when a disk passes the flood-stage watermark.
fn while_the_disk_of_a_day_is_full_the_others_flow_and_the_hold_is_seen_within_5_s_and_heals_within_10(
    stage: &mut Stage<'_>,
) -> Result<()> {
    one_of_two_days_is_held(stage, "index.blocks.read_only_allow_delete")
}

fn one_of_two_days_is_held(stage: &mut Stage<'_>, setting: &str) -> Result<()> {
    let gateway = stage.gateway(&[])?;
    let sink = stage.sink(&[])?;
    let load = two_days(stage, &gateway, "1500", "75000")?;
    let [held, free] = both_days(stage)?;
    let block = Block::of_index(&held, setting);

    let blocked_at = Instant::now();
    block.set(stage)?;
    let seen = seen(stage, &sink, blocked_at)?;
    ensure!(
        seen.contains(&held),
        "the reason does not name the index `{held}`: {seen}"
    );
    let (held_before, free_before) = (documents(stage, &held)?, documents(stage, &free)?);
    stage.wait_for("the other day to flow", SOON, || {
        match documents(stage, &free) {
            Ok(count) if count >= free_before + 5_000 => Ok(()),
            Ok(count) => Err(format!("{count} documents after {free_before}")),
            Err(error) => Err(format!("{error:#}")),
        }
    })?;
    std::thread::sleep(HELD_FOR.saturating_sub(blocked_at.elapsed()));
    let (held_after, free_after) = (documents(stage, &held)?, documents(stage, &free)?);
    ensure!(
        held_after == held_before,
        "a read-only index grew from {held_before} to {held_after} documents"
    );
    eprintln!(
        "    while it was held, the other day got {} documents",
        free_after - free_before
    );

    healed(stage, &sink, &block)?;
    load.finish(stage)?.verify(stage)?;
    nothing_was_dead_lettered(&sink)
}

fn a_cluster_that_is_read_only_is_seen_within_5_s_and_heals_within_10(
    stage: &mut Stage<'_>,
) -> Result<()> {
    let gateway = stage.gateway(&[])?;
    let sink = stage.sink(&[])?;
    let load = two_days(stage, &gateway, "1500", "60000")?;
    both_days(stage)?;
    let block = Block::of_cluster();
    let blocked_at = Instant::now();
    block.set(stage)?;
    let held = seen(stage, &sink, blocked_at).map(|_| {
        std::thread::sleep(HELD_FOR.saturating_sub(blocked_at.elapsed()));
    });
    // The engine serves the next scenario too, so the block goes whatever was seen.
    let healed = match &held {
        Ok(()) => healed(stage, &sink, &block),
        Err(_) => block.lift(stage),
    };
    held.and(healed)?;
    load.finish(stage)?.verify(stage)?;
    nothing_was_dead_lettered(&sink)
}

fn a_day_that_is_read_only_until_memory_is_full_stops_reading_is_seen_and_heals_within_10_s(
    stage: &mut Stage<'_>,
) -> Result<()> {
    let gateway = stage.gateway(&[])?;
    let sink = stage.sink(&[])?;
    let load = two_days(stage, &gateway, "8000", "300000")?;
    let [held, _] = both_days(stage)?;
    let block = Block::of_index(&held, "index.blocks.write");
    let blocked_at = Instant::now();
    block.set(stage)?;
    seen(stage, &sink, blocked_at)?;
    pauses(stage, &sink)?;
    eprintln!("    reading paused after {:.1?}", blocked_at.elapsed());
    let lag = || sink.metric("es_sink_consumer_lag_records", "");
    let at_pause = lag()?;
    stage.wait_for("lag to grow while nothing is read", SOON, || match lag() {
        Ok(lag) if lag > at_pause + 20_000.0 => Ok(()),
        Ok(lag) => Err(format!("it is {lag}, after {at_pause}")),
        Err(error) => Err(format!("{error:#}")),
    })?;
    std::thread::sleep(HELD_FOR.saturating_sub(blocked_at.elapsed()));
    let still = visible(&sink)?;
    ensure!(still.is_some(), "the hold is no longer to be seen");
    healed(stage, &sink, &block)?;
    load.finish(stage)?.verify(stage)?;
    nothing_was_dead_lettered(&sink)
}

fn a_partition_that_left_while_reading_paused_is_read_again_when_it_is_back(
    stage: &mut Stage<'_>,
) -> Result<()> {
    let gateway = stage.gateway(&[])?;
    let staying = stage.sink(&[])?;
    let load = two_days(stage, &gateway, "8000", "300000")?;
    stage.wait_for("the flow", SOON, || stage.has_at_least(4_000))?;
    // Everything is held, so that nothing is drained before partitions leave.
    let block = Block::of_cluster();
    block.set(stage)?;
    pauses(stage, &staying)?;
    // Not ready while it holds what the block refuses.
    let mut passing = stage.service("es-sink", stage.wiring.sink_flags(), &[])?;
    passing.launch()?;
    owns(stage, &staying, 3.0)?;
    healed(stage, &staying, &block)?;
    passing.wait_until_ready()?;
    load.finish(stage)?.verify(stage)?;
    passing.stop()?;
    owns(stage, &staying, 6.0)?;
    // Few, so that no later pause ends with a resumption of all.
    let few = two_days(stage, &gateway, "2000", "10000")?;
    few.finish(stage)?.verify(stage)?;
    nothing_was_dead_lettered(&staying)
}

fn pauses(stage: &Stage<'_>, sink: &Part) -> Result<()> {
    shows(stage, sink, "es_sink_paused", 1.0)
}

/// Waits until the sink has so many partitions of the topic's six.
fn owns(stage: &Stage<'_>, sink: &Part, partitions: f64) -> Result<()> {
    shows(stage, sink, "es_sink_assigned_partitions", partitions)
}

fn shows(stage: &Stage<'_>, sink: &Part, metric: &str, wanted: f64) -> Result<()> {
    let what = format!("`{metric}` to be {wanted}");
    stage.wait_for(&what, SOON * 2, || match sink.metric(metric, "") {
        Ok(shown) if shown == wanted => Ok(()),
        Ok(shown) => Err(format!("it is {shown}")),
        Err(error) => Err(format!("{error:#}")),
    })
}

fn two_days(stage: &Stage<'_>, gateway: &Part, rate: &str, events: &str) -> Result<Load> {
    let flags = [
        "--days",
        "2",
        "--rate",
        rate,
        "--events",
        events,
        "--connections",
        "8",
        "--seed",
        "11",
    ];
    Load::through(stage, gateway, &flags)
}

/// The indices of the two days, the older one first, once both are being filled.
fn both_days(stage: &Stage<'_>) -> Result<[String; 2]> {
    stage.wait_for("the flow", SOON, || stage.has_at_least(4_000))?;
    let path = format!("/{}/_settings", stage.wiring.index());
    let settings = stage.ask_elasticsearch("GET", &path, &Value::Null)?;
    let indices = settings.as_object().context("settings by index")?;
    let mut indices: Vec<String> = indices.keys().cloned().collect();
    indices.sort();
    indices
        .try_into()
        .map_err(|indices| anyhow::anyhow!("two days are in the indices {indices:?}"))
}

fn documents(stage: &Stage<'_>, index: &str) -> Result<u64> {
    stage.ask_elasticsearch("POST", &format!("/{index}/_refresh"), &Value::Null)?;
    let count = stage.ask_elasticsearch("GET", &format!("/{index}/_count"), &Value::Null)?;
    count["count"]
        .as_u64()
        .with_context(|| format!("no count in {count}"))
}

/// Something that makes Elasticsearch refuse writes.
struct Block {
    path: String,
    on: Value,
    off: Value,
}

impl Block {
    fn of_index(index: &str, setting: &str) -> Self {
        Self {
            path: format!("/{index}/_settings"),
            on: json!({ setting: true }),
            off: json!({ setting: null }),
        }
    }

    fn of_cluster() -> Self {
        let settings = |on: Value| json!({ "persistent": { "cluster.blocks.read_only": on } });
        Self {
            path: "/_cluster/settings".to_owned(),
            on: settings(json!(true)),
            off: settings(Value::Null),
        }
    }

    fn set(&self, stage: &Stage<'_>) -> Result<()> {
        stage
            .ask_elasticsearch("PUT", &self.path, &self.on)
            .map(drop)
    }

    fn lift(&self, stage: &Stage<'_>) -> Result<()> {
        stage
            .ask_elasticsearch("PUT", &self.path, &self.off)
            .map(drop)
    }
}

/// Waits until the hold stands in `/status`, `/metrics` and `/readyz`, and gives the reason. The block was asked for at
/// `since`, so no refusal was earlier.
fn seen(stage: &Stage<'_>, sink: &Part, since: Instant) -> Result<String> {
    let reason = stage.wait_for("the hold to be seen", SOON, || match visible(sink) {
        Ok(Some(reason)) => Ok(reason),
        Ok(None) => Err("it is not in all of /status, /metrics and /readyz".to_owned()),
        Err(error) => Err(format!("{error:#}")),
    })?;
    let took = since.elapsed();
    eprintln!("    seen {took:.1?} after the block was asked for: {reason}");
    ensure!(took <= SEEN_MAX, "the hold was seen after {took:.1?}");
    Ok(reason)
}

/// The reason of the hold, if all three places show it.
fn visible(sink: &Part) -> Result<Option<String>> {
    let status = sink.get("/status")?.json()?;
    let held = &status["held"][0];
    let counted = sink.metric("es_sink_held_items", r#"cause="index_blocked""#)?;
    let ready = sink.get("/readyz")?;
    let everywhere = held["cause"] == "index_blocked"
        && held["items"].as_u64() > Some(0)
        && counted > 0.0
        && ready.status == 503
        && ready.text().contains("held (index_blocked)");
    Ok(held["reason"]
        .as_str()
        .filter(|reason| everywhere && !reason.is_empty())
        .map(str::to_owned))
}

/// Takes the cause away and waits until nothing is held and no probe complains.
fn healed(stage: &Stage<'_>, sink: &Part, block: &Block) -> Result<()> {
    let asked_at = Instant::now();
    block.lift(stage)?;
    let lifted_at = Instant::now();
    stage.wait_for("the end of the hold", SOON, || {
        let told = |error: anyhow::Error| format!("{error:#}");
        let status = sink
            .get("/status")
            .and_then(|reply| reply.json())
            .map_err(told)?;
        let counted = sink.metric("es_sink_held_items", "").map_err(told)?;
        let ready = sink.get("/readyz").map_err(told)?;
        if ready.status == 200 && counted == 0.0 && status["held"] == json!([]) {
            Ok(())
        } else {
            Err(format!(
                "{counted} items are held; /readyz: {}",
                ready.text()
            ))
        }
    })?;
    let took = lifted_at.elapsed();
    eprintln!(
        "    healed {took:.1?} after the block was gone ({:.1?} after that was asked for)",
        asked_at.elapsed()
    );
    ensure!(took <= HEALED_MAX, "the hold healed after {took:.1?}");
    Ok(())
}

/// The sink's own count. What is in the topic, the reckoning has compared.
fn nothing_was_dead_lettered(sink: &Part) -> Result<()> {
    let dead_letters = sink.metric("es_sink_dead_letters_total", "")?;
    ensure!(dead_letters == 0.0, "{dead_letters} dead letters (EO-5)");
    Ok(())
}
