//! The promise holds with OpenSearch in the place of Elasticsearch (EO-1, EO-4, EO-5).

use anyhow::{Result, ensure};

use super::{paging, search};
use crate::load::Load;
use crate::scenarios;
use crate::stage::{SOON, Scenario, Stage};

pub(crate) const SCENARIOS: &[Scenario] = scenarios![
    a_killed_sink_an_opensearch_that_restarts_and_events_that_never_fit_lose_and_double_nothing,
    before_the_first_event_a_search_in_opensearch_finds_nothing_and_says_so,
    each_filter_finds_the_one_event_in_opensearch,
    the_newest_events_of_opensearch_come_first_and_no_more_than_the_limit,
    a_part_of_a_message_is_found_in_opensearch_wherever_a_plain_comparison_finds_it,
    paging_through_opensearch_gives_every_hit_once_among_equal_timestamps,
    a_cursor_into_opensearch_is_bound_to_its_search_and_the_oldest_gives_way,
];

fn a_killed_sink_an_opensearch_that_restarts_and_events_that_never_fit_lose_and_double_nothing(
    stage: &mut Stage<'_>,
) -> Result<()> {
    stage.use_opensearch()?;
    let mut killed = stage.sink(&[])?;
    let staying = stage.sink(&[])?;
    let load = Load::past_the_gateway(
        stage,
        &[
            "--events",
            "120000",
            "--rate",
            "4000",
            "--days",
            "2",
            "--poison-per-million",
            "1000",
            "--seed",
            "15",
        ],
    )?;
    stage.wait_for("the flow", SOON, || stage.has_at_least(20_000))?;
    killed.kill();
    killed.start()?;
    stage.wait_for("the flow", SOON * 2, || stage.has_at_least(40_000))?;
    let opensearch = stage.opensearch()?;
    opensearch.stop()?;
    opensearch.start()?;
    stage.wait_for("the flow", SOON * 2, || stage.has_at_least(70_000))?;
    stage.opensearch()?.kill();
    stage.opensearch()?.start()?;
    let outcome = load.finish(stage)?.verify(stage)?;
    let dead_lettered = outcome["dead_lettered"].as_u64().unwrap_or_default();
    ensure!(
        (60..240).contains(&dead_lettered),
        "{dead_lettered} of 120,000 events are dead letters, with 120 that never fit"
    );
    drop(staying);
    Ok(())
}

fn before_the_first_event_a_search_in_opensearch_finds_nothing_and_says_so(
    stage: &mut Stage<'_>,
) -> Result<()> {
    stage.use_opensearch()?;
    search::before_the_first_event_a_search_finds_nothing_and_says_so(stage)
}

fn each_filter_finds_the_one_event_in_opensearch(stage: &mut Stage<'_>) -> Result<()> {
    stage.use_opensearch()?;
    search::each_filter_alone_and_all_together_find_the_one_event_as_it_was_sent(stage)
}

fn the_newest_events_of_opensearch_come_first_and_no_more_than_the_limit(
    stage: &mut Stage<'_>,
) -> Result<()> {
    stage.use_opensearch()?;
    search::the_newest_events_come_first_and_no_more_than_the_limit(stage)
}

fn a_part_of_a_message_is_found_in_opensearch_wherever_a_plain_comparison_finds_it(
    stage: &mut Stage<'_>,
) -> Result<()> {
    stage.use_opensearch()?;
    search::a_part_of_a_message_is_found_wherever_a_plain_comparison_finds_it(stage)
}

fn paging_through_opensearch_gives_every_hit_once_among_equal_timestamps(
    stage: &mut Stage<'_>,
) -> Result<()> {
    stage.use_opensearch()?;
    paging::paging_gives_every_hit_once_among_equal_timestamps_while_events_are_written_again(stage)
}

fn a_cursor_into_opensearch_is_bound_to_its_search_and_the_oldest_gives_way(
    stage: &mut Stage<'_>,
) -> Result<()> {
    stage.use_opensearch()?;
    paging::a_cursor_is_bound_to_its_search_and_the_oldest_gives_way(stage)
}
