//! The promise holds under the group protocol of Kafka 4 as it does under the classic one (EO-1, EO-2, EO-4).

use anyhow::{Result, ensure};

use crate::load::Load;
use crate::scenarios;
use crate::stage::{Part, SOON, Scenario, Stage};

pub(crate) const SCENARIOS: &[Scenario] = scenarios![
    sinks_of_the_consumer_protocol_come_and_go_and_are_killed_and_every_event_is_there_once,
];

const CONSUMER_PROTOCOL: [&str; 2] = ["--kafka-property", "group.protocol=consumer"];
/// Those of a topic in the suite.
const PARTITIONS: f64 = 6.0;

fn sinks_of_the_consumer_protocol_come_and_go_and_are_killed_and_every_event_is_there_once(
    stage: &mut Stage<'_>,
) -> Result<()> {
    let gateway = stage.gateway(&[])?;
    let mut killed = stage.sink(&CONSUMER_PROTOCOL)?;
    let mut leaving = stage.sink(&CONSUMER_PROTOCOL)?;
    let flags = [
        "--events",
        "160000",
        "--rate",
        "3000",
        "--connections",
        "4",
        "--seed",
        "14",
    ];
    let load = Load::through(stage, &gateway, &flags)?;
    stage.wait_for("the flow", SOON, || stage.has_at_least(10_000))?;
    shared(stage, &[&killed, &leaving])?;
    killed.kill();
    // It takes the session's end until the group gives away what the killed one had.
    shared(stage, &[&leaving])?;
    let added = stage.sink(&CONSUMER_PROTOCOL)?;
    shared(stage, &[&leaving, &added])?;
    killed.start()?;
    shared(stage, &[&leaving, &added, &killed])?;
    let took = leaving.stop()?;
    eprintln!("    a sink drained, committed and left in {took:.1?}");
    shared(stage, &[&added, &killed])?;
    let loaded = load.finish(stage)?;
    ensure!(
        loaded.summary["events"]["acknowledged"] == 160_000,
        "{}",
        loaded.summary
    );
    loaded.verify(stage)?;
    Ok(())
}

/// Waits until these sinks own all partitions, and none of them owns none.
fn shared(stage: &Stage<'_>, sinks: &[&Part]) -> Result<()> {
    stage.wait_for("the partitions to be shared", SOON * 2, || {
        let owned = sinks
            .iter()
            .map(|sink| sink.metric("es_sink_assigned_partitions", ""));
        let owned: Vec<f64> = owned
            .collect::<Result<_>>()
            .map_err(|error| format!("{error:#}"))?;
        let all = owned.iter().fold(0.0, |sum, owned| sum + owned);
        if all == PARTITIONS && owned.iter().all(|owned| *owned > 0.0) {
            Ok(())
        } else {
            Err(format!("they own {owned:?}"))
        }
    })
}
