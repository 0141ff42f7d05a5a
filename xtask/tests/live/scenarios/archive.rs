//! archive-sink: every event is in PostgreSQL once, whatever dies, and what keeps it from being there is told (AR-1, AR-2, AR-4).

use std::time::Duration;

use anyhow::{Result, ensure};
use xtask::engines::postgres::{self, Server};

use crate::load::Load;
use crate::scenarios;
use crate::stage::{Part, SOON, Scenario, Stage};

pub(crate) const SCENARIOS: &[Scenario] = scenarios![
    each_event_is_archived_once_while_sink_and_postgresql_are_killed,
    a_sink_that_stalls_past_its_session_writes_nothing_when_it_wakes_up,
    what_keeps_postgresql_from_taking_events_is_told_and_heals,
    a_topic_that_is_created_again_is_archived_from_its_beginning,
];

/// Past a session's end, which is 10 s.
const STALL: Duration = Duration::from_secs(16);

/// A condition: the archive holds so many events or more.
fn has_at_least(server: &Server, expected: u64) -> Result<(), String> {
    let counted = server.ask("SELECT count(*) FROM logflow.events");
    match counted.map(|count| count.parse::<u64>()) {
        Ok(Ok(count)) if count >= expected => Ok(()),
        Ok(Ok(count)) => Err(format!("{count} events of {expected}")),
        Ok(Err(error)) => Err(error.to_string()),
        Err(error) => Err(format!("{error:#}")),
    }
}

/// A condition: `/readyz` says so.
fn says(sink: &Part, words: &[&str]) -> Result<(), String> {
    let told = sink.get("/readyz").map_err(|error| format!("{error:#}"))?;
    match words.iter().all(|word| told.text().contains(word)) {
        true => Ok(()),
        false => Err(format!("{}: {}", told.status, told.text())),
    }
}

fn each_event_is_archived_once_while_sink_and_postgresql_are_killed(
    stage: &mut Stage<'_>,
) -> Result<()> {
    let (server, mut database) = stage.postgres()?;
    let gateway = stage.gateway(&[])?;
    let _sink = stage.sink(&[])?;
    let mut killed = stage.archive_sink(&server, &[])?;
    let mut other = stage.archive_sink(&server, &[])?;
    let flags = [
        "--events",
        "100000",
        "--mode",
        "mixed",
        "--connections",
        "4",
        "--rate",
        "5000",
        "--seed",
        "5",
    ];
    let load = Load::through(stage, &gateway, &flags)?;
    for events in [10_000, 30_000, 50_000] {
        stage.wait_for("the next kill", SOON * 2, || has_at_least(&server, events))?;
        killed.kill();
        database.kill_by(postgres::kill);
        database.start()?;
        killed.start()?;
    }
    let loaded = load.finish(stage)?;
    ensure!(
        loaded.summary["events"]["acknowledged"] == 100_000,
        "{}",
        loaded.summary
    );
    let found = loaded.verify_with(stage, &["--postgres-url", &server.url()])?;
    let archive = &found["archive"];
    ensure!(archive["documents"] == 100_000, "{archive}");
    for sink in [&mut killed, &mut other] {
        let took = sink.stop()?;
        eprintln!("    {} ended in {took:.1?}", sink.name());
    }
    database.stop_anyhow()?;
    Ok(())
}

fn a_sink_that_stalls_past_its_session_writes_nothing_when_it_wakes_up(
    stage: &mut Stage<'_>,
) -> Result<()> {
    let (server, _database) = stage.postgres()?;
    let gateway = stage.gateway(&[])?;
    let _sink = stage.sink(&[])?;
    let stalling = stage.archive_sink(&server, &[])?;
    let _other = stage.archive_sink(&server, &[])?;
    let flags = [
        "--events",
        "60000",
        "--connections",
        "4",
        "--rate",
        "2500",
        "--seed",
        "6",
    ];
    let load = Load::through(stage, &gateway, &flags)?;
    stage.wait_for("the flow", SOON, || has_at_least(&server, 5_000))?;
    stalling.pause();
    std::thread::sleep(STALL);
    stalling.resume();
    let loaded = load.finish(stage)?;
    let found = loaded.verify_with(stage, &["--postgres-url", &server.url()])?;
    ensure!(found["archive"]["documents"] == 60_000, "{found}");
    Ok(())
}

fn what_keeps_postgresql_from_taking_events_is_told_and_heals(stage: &mut Stage<'_>) -> Result<()> {
    let (server, mut database) = stage.postgres()?;
    let gateway = stage.gateway(&[])?;
    // Whoever made the tables owns them, and nobody can take anything away from an owner.
    let maker = stage.archive_sink(&server, &[])?;
    drop(maker);
    server.ask(
        "CREATE USER writer; GRANT USAGE ON SCHEMA logflow TO writer; \
         GRANT SELECT ON logflow.schema_version TO writer; \
         GRANT SELECT, INSERT, UPDATE ON logflow.offsets TO writer; \
         GRANT INSERT ON logflow.events TO writer",
    )?;
    let url = server.url().replace("logflow@", "writer@");
    let flags = ["--postgres-url", &url, "--no-schema"];
    let sink = stage.archive_sink(&server, &flags)?;
    server.ask("CREATE TABLE logflow.every_day PARTITION OF logflow.events DEFAULT")?;
    let event = |n: u64| -> Result<()> {
        let reply = gateway.post("/logs", &[], format!(r#"{{"n":{n}}}"#).as_bytes())?;
        ensure!(
            reply.status == 202 || reply.status == 200,
            "{}",
            reply.text()
        );
        Ok(())
    };
    event(1)?;
    stage.wait_for("the first event", SOON, || has_at_least(&server, 1))?;

    database.stop_anyhow()?;
    event(2)?;
    stage.wait_for("the outage to be told", SOON, || {
        says(&sink, &["PostgreSQL takes nothing"])
    })?;
    database.start()?;
    stage.wait_for("the second event", SOON, || has_at_least(&server, 2))?;

    server.ask("REVOKE INSERT ON logflow.events FROM writer")?;
    event(3)?;
    stage.wait_for("the lost privilege to be told", SOON, || {
        says(&sink, &["permission denied for table events", "42501"])
    })?;
    server.ask("GRANT INSERT ON logflow.events TO writer")?;
    stage.wait_for("the third event", SOON, || has_at_least(&server, 3))?;
    stage.wait_for("the sink to be well", SOON, || {
        let told = sink.get("/readyz").map_err(|error| format!("{error:#}"))?;
        match told.status {
            200 => Ok(()),
            _ => Err(told.text()),
        }
    })
}

fn a_topic_that_is_created_again_is_archived_from_its_beginning(
    stage: &mut Stage<'_>,
) -> Result<()> {
    let (server, _database) = stage.postgres()?;
    let mut gateway = stage.gateway(&[])?;
    let mut sink = stage.archive_sink(&server, &[])?;
    let send = |gateway: &Part, n: std::ops::Range<u64>| -> Result<()> {
        for n in n {
            let reply = gateway.post("/logs", &[], format!(r#"{{"n":{n}}}"#).as_bytes())?;
            ensure!((200..300).contains(&reply.status), "{}", reply.text());
        }
        Ok(())
    };
    send(&gateway, 0..60)?;
    stage.wait_for("the events of the first topic", SOON, || {
        has_at_least(&server, 60)
    })?;
    // Both are away: what stands in PostgreSQL alone tells that the topic is another one.
    gateway.stop()?;
    sink.stop()?;
    stage.replace_topic()?;
    gateway.start()?;
    send(&gateway, 60..80)?;
    sink.start()?;
    stage.wait_for("the events of the second topic", SOON, || {
        has_at_least(&server, 80)
    })?;
    let twice = "SELECT count(*) FROM (SELECT event_id FROM logflow.events GROUP BY 1 HAVING count(*) > 1) AS t";
    ensure!(server.ask(twice)? == "0", "an event is there twice");
    Ok(())
}
