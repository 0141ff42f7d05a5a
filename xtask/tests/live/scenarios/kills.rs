//! Sinks that are killed lose nothing and repeat nothing (EO-1, EO-4).

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use xtask::process::Stopped;

use crate::load::Load;
use crate::scenarios;
use crate::stage::{Part, SOON, Scenario, Stage};

pub(crate) const SCENARIOS: &[Scenario] = scenarios![
    no_event_is_missing_or_twice_after_three_kills_of_one_of_two_sinks,
    a_sink_that_is_asked_to_end_hands_over_without_repeating_anything,
    a_sink_that_ends_while_another_one_joins_ends_all_the_same,
    a_sink_that_stalls_past_its_session_and_wakes_up_harms_nothing,
    a_sink_that_is_asked_to_end_under_full_load_ends_within_10_s_and_repeats_nothing,
    a_sink_killed_at_20_000_events_a_second_repeats_no_more_than_was_on_its_way,
];

/// The sink's own, its default.
const COMMIT_INTERVAL: Duration = Duration::from_secs(1);
/// What an event of the load has at least.
const EVENT_BYTES: f64 = 250.0;

fn no_event_is_missing_or_twice_after_three_kills_of_one_of_two_sinks(
    stage: &mut Stage<'_>,
) -> Result<()> {
    let gateway = stage.gateway(&[])?;
    let mut killed = stage.sink(&[])?;
    let other = stage.sink(&[])?;
    let load = Load::through(
        stage,
        &gateway,
        &[
            "--events",
            "200000",
            "--mode",
            "mixed",
            "--gzip",
            "mixed",
            "--connections",
            "8",
            "--rate",
            "8000",
            "--seed",
            "2",
        ],
    )?;
    for documents in [20_000, 60_000, 110_000] {
        stage.wait_for("the next kill", SOON * 2, || stage.has_at_least(documents))?;
        killed.kill();
        killed.start()?;
    }
    let loaded = load.finish(stage)?;
    ensure!(
        loaded.summary["events"]["acknowledged"] == 200_000,
        "{}",
        loaded.summary
    );
    loaded.verify(stage)?;
    let suppressed = killed.metric("es_sink_duplicates_suppressed_total", "")?
        + other.metric("es_sink_duplicates_suppressed_total", "")?;
    eprintln!("    duplicates suppressed: {suppressed}");
    Ok(())
}

fn a_sink_that_is_asked_to_end_hands_over_without_repeating_anything(
    stage: &mut Stage<'_>,
) -> Result<()> {
    let gateway = stage.gateway(&[])?;
    let mut leaving = stage.sink(&[])?;
    let staying = stage.sink(&[])?;
    let flags = [
        "--events",
        "60000",
        "--rate",
        "6000",
        "--connections",
        "4",
        "--seed",
        "3",
    ];
    let load = Load::through(stage, &gateway, &flags)?;
    stage.wait_for("the flow", SOON, || stage.has_at_least(10_000))?;
    // Otherwise the handover would be measured together with the second sink's arrival.
    stage.wait_for("both to own partitions", SOON, || {
        let mut owned = [0.0; 2];
        for (owned, sink) in owned.iter_mut().zip([&leaving, &staying]) {
            let partitions = sink.metric("es_sink_assigned_partitions", "");
            *owned = partitions.map_err(|error| format!("{error:#}"))?;
        }
        if owned == [3.0, 3.0] {
            Ok(())
        } else {
            Err(format!("they own {owned:?}"))
        }
    })?;
    let took = leaving.stop()?;
    eprintln!("    the sink drained, committed and left in {took:.1?}");
    load.finish(stage)?.verify(stage)?;
    let suppressed = staying.metric("es_sink_duplicates_suppressed_total", "")?;
    ensure!(
        suppressed == 0.0,
        "{suppressed} documents were written twice"
    );
    Ok(())
}

fn a_sink_that_ends_while_another_one_joins_ends_all_the_same(stage: &mut Stage<'_>) -> Result<()> {
    let gateway = stage.gateway(&[])?;
    let mut leaving = stage.sink(&[])?;
    let flags = [
        "--events",
        "40000",
        "--rate",
        "4000",
        "--connections",
        "4",
        "--seed",
        "8",
    ];
    let load = Load::through(stage, &gateway, &flags)?;
    stage.wait_for("the flow", SOON, || stage.has_at_least(5_000))?;
    // Without replies the drain lasts, and the rebalance falls into it.
    stage.elasticsearch().pause();
    stage.wait_for("requests without a reply", SOON, || {
        match leaving.metric("es_sink_bulks_in_flight", "") {
            Ok(in_flight) if in_flight > 0.0 => Ok(()),
            Ok(in_flight) => Err(format!("{in_flight} are in flight")),
            Err(error) => Err(format!("{error:#}")),
        }
    })?;
    let mut joining = stage.service("es-sink", stage.wiring.sink_flags(), &["--no-template"])?;
    let stopped = std::thread::scope(|scope| -> Result<Duration> {
        let stopping = scope.spawn(|| leaving.stop());
        let joined = joining.launch().and_then(|()| {
            stage.wait_for("the rebalance", SOON, || {
                match joining.metric("es_sink_rebalances_total", "") {
                    Ok(rebalances) if rebalances > 0.0 => Ok(()),
                    Ok(rebalances) => Err(format!("{rebalances} rebalances")),
                    Err(error) => Err(format!("{error:#}")),
                }
            })
        });
        stage.elasticsearch().resume();
        let stopped = stopping.join().expect("a stop does not panic");
        joined.and(stopped)
    })?;
    eprintln!("    the sink ended after {stopped:.1?}");
    load.finish(stage)?.verify(stage)?;
    Ok(())
}

fn a_sink_that_stalls_past_its_session_and_wakes_up_harms_nothing(
    stage: &mut Stage<'_>,
) -> Result<()> {
    let gateway = stage.gateway(&[])?;
    let stalled = stage.sink(&[])?;
    let _other = stage.sink(&[])?;
    let flags = [
        "--events",
        "100000",
        "--rate",
        "4000",
        "--connections",
        "4",
        "--seed",
        "7",
    ];
    let load = Load::through(stage, &gateway, &flags)?;
    stage.wait_for("the flow", SOON, || stage.has_at_least(10_000))?;
    stalled.pause();
    // Past session.timeout.ms (10 s): by then the group has given its partitions to the other sink.
    std::thread::sleep(Duration::from_secs(15));
    stalled.resume();
    load.finish(stage)?.verify(stage)?;
    Ok(())
}

fn a_sink_that_is_asked_to_end_under_full_load_ends_within_10_s_and_repeats_nothing(
    stage: &mut Stage<'_>,
) -> Result<()> {
    let load = Load::past_the_gateway(stage, &["--events", "500000", "--seed", "12"])?;
    let mut sink = stage.sink(&[])?;
    let mut repeated = 0.0;
    for round in 1..=3 {
        indexed_since_start(stage, &sink, 60_000.0)?;
        let held = sink.metric("es_sink_held_bytes", "")?;
        let Stopped::Ended(status, took) = sink.stop_anyhow()? else {
            bail!("the sink had to be killed")
        };
        eprintln!(
            "    stop {round}: {status} after {took:.1?}, with {:.1} MB read and not settled",
            held / 1e6
        );
        ensure!(status.success(), "the sink ended with {status}");
        ensure!(
            took <= Duration::from_secs(10),
            "the sink ended after {took:.1?}"
        );
        sink.start()?;
        // What would be repeated is at the front of each partition.
        indexed_since_start(stage, &sink, 30_000.0)?;
        repeated += sink.metric("es_sink_duplicates_suppressed_total", "")?;
    }
    load.finish(stage)?.verify(stage)?;
    eprintln!("    indexed again after three stops: {repeated}");
    // All that was on its way was settled, and the coordinator has confirmed the last commit.
    ensure!(repeated == 0.0, "{repeated} records were indexed again");
    Ok(())
}

fn a_sink_killed_at_20_000_events_a_second_repeats_no_more_than_was_on_its_way(
    stage: &mut Stage<'_>,
) -> Result<()> {
    let flags = ["--events", "700000", "--rate", "20000", "--seed", "13"];
    let load = Load::past_the_gateway(stage, &flags)?;
    let mut sink = stage.sink(&[])?;
    indexed_since_start(stage, &sink, 60_000.0)?;
    for kill in 1..=3 {
        // Two commits: one may be on its way, and it would have been the first to say what came before it.
        let before = sink.metric("es_sink_documents_indexed_total", "")?;
        std::thread::sleep(2 * COMMIT_INTERVAL);
        let recent = sink.metric("es_sink_documents_indexed_total", "")? - before;
        let held_max = sink.metric("es_sink_held_bytes_limit", "")?;
        sink.kill();
        sink.start()?;
        indexed_since_start(stage, &sink, 150_000.0)?;
        let repeated = sink.metric("es_sink_duplicates_suppressed_total", "")?;
        let bound = held_max / EVENT_BYTES + recent;
        eprintln!(
            "    kill {kill} at {:.0} events/s: {repeated:.0} records indexed again, of at most {bound:.0}",
            recent / (2 * COMMIT_INTERVAL).as_secs_f64()
        );
        ensure!(
            repeated <= bound,
            "{repeated} records were indexed again, more than the {bound:.0} that were on their way or not committed"
        );
    }
    load.finish(stage)?.verify(stage)?;
    Ok(())
}

/// Waits until `sink` has indexed so many documents since it was started.
fn indexed_since_start(stage: &Stage<'_>, sink: &Part, documents: f64) -> Result<()> {
    stage.wait_for("the flow", SOON * 2, || {
        match sink.metric("es_sink_documents_indexed_total", "") {
            Ok(indexed) if indexed >= documents => Ok(()),
            Ok(indexed) => Err(format!("{indexed} of {documents} documents")),
            Err(error) => Err(format!("{error:#}")),
        }
    })
}
