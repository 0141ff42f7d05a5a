//! The live suite: scenarios on real Kafka, real Elasticsearch and the release binaries.
//!
//! `cargo xtask test live`, or `cargo test --release -p xtask --test live -- NAME` for those whose name contains NAME;
//! `--list` names them. They run one after the other. The engines start with the first scenario, on free ports, with
//! data and logs under `target/live/`, and are stopped at the end, whatever happens.
//!
//! To add a scenario: write a function `fn name(stage: &mut Stage) -> Result<()>` in the file of its theme below
//! `scenarios/`, and list it in that file's `SCENARIOS`. Its name is the claim that it proves. [`stage::Stage`] has
//! everything it may do to the world.

mod collector;
mod load;
mod search_client;
mod shipper;
mod stage;
mod world;
mod scenarios {
    pub(crate) mod end_to_end;
    pub(crate) mod idempotency;
    pub(crate) mod shippers;
    pub(crate) mod lost_replies;
    pub(crate) mod hostile;
    pub(crate) mod secured;
    pub(crate) mod doctor;
    pub(crate) mod pressure;
    pub(crate) mod dead_letters;
    pub(crate) mod redrive;
    pub(crate) mod operations;
    pub(crate) mod upgrades;
    pub(crate) mod archive;
    pub(crate) mod holds;
    pub(crate) mod kills;
    pub(crate) mod topics;
    pub(crate) mod protocols;
    pub(crate) mod outages;
    pub(crate) mod opensearch;
    pub(crate) mod nemesis;
    pub(crate) mod search;
    pub(crate) mod query_language;
    pub(crate) mod analysis;
    pub(crate) mod tail;
    pub(crate) mod page;
    pub(crate) mod paging;
    pub(crate) mod search_faults;
    pub(crate) mod grafana;
    pub(crate) mod tenants;
    pub(crate) mod openapi;
    pub(crate) mod metrics;
    pub(crate) mod traces;
    pub(crate) mod prometheus;
}

use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use libtest_mimic::{Arguments, Failed, Trial};
use xtask::interrupt::Interrupt;

use crate::stage::{Scenario, Stage};
use crate::world::World;

/// All themes, in the order in which they run: what is most basic first.
const THEMES: &[(&str, &[Scenario])] = &[
    ("end_to_end", scenarios::end_to_end::SCENARIOS),
    ("metrics", scenarios::metrics::SCENARIOS),
    ("traces", scenarios::traces::SCENARIOS),
    ("prometheus", scenarios::prometheus::SCENARIOS),
    ("idempotency", scenarios::idempotency::SCENARIOS),
    ("shippers", scenarios::shippers::SCENARIOS),
    ("lost_replies", scenarios::lost_replies::SCENARIOS),
    ("hostile", scenarios::hostile::SCENARIOS),
    ("secured", scenarios::secured::SCENARIOS),
    ("doctor", scenarios::doctor::SCENARIOS),
    ("pressure", scenarios::pressure::SCENARIOS),
    ("search", scenarios::search::SCENARIOS),
    ("query_language", scenarios::query_language::SCENARIOS),
    ("analysis", scenarios::analysis::SCENARIOS),
    ("tail", scenarios::tail::SCENARIOS),
    ("page", scenarios::page::SCENARIOS),
    ("paging", scenarios::paging::SCENARIOS),
    ("search_faults", scenarios::search_faults::SCENARIOS),
    ("grafana", scenarios::grafana::SCENARIOS),
    ("tenants", scenarios::tenants::SCENARIOS),
    ("openapi", scenarios::openapi::SCENARIOS),
    ("dead_letters", scenarios::dead_letters::SCENARIOS),
    ("redrive", scenarios::redrive::SCENARIOS),
    ("operations", scenarios::operations::SCENARIOS),
    ("upgrades", scenarios::upgrades::SCENARIOS),
    ("archive", scenarios::archive::SCENARIOS),
    ("holds", scenarios::holds::SCENARIOS),
    ("kills", scenarios::kills::SCENARIOS),
    ("topics", scenarios::topics::SCENARIOS),
    ("protocols", scenarios::protocols::SCENARIOS),
    ("outages", scenarios::outages::SCENARIOS),
    ("opensearch", scenarios::opensearch::SCENARIOS),
    ("nemesis", scenarios::nemesis::SCENARIOS),
];

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // The scenarios share two engines and break them on purpose.
    arguments.test_threads = Some(1);
    let interrupt = match Interrupt::on_signals() {
        Ok(interrupt) => interrupt,
        Err(error) => {
            eprintln!("error: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    let world: Arc<Mutex<Option<World>>> = Arc::default();
    let trials = THEMES
        .iter()
        .flat_map(|(theme, scenarios)| scenarios.iter().map(move |scenario| (theme, scenario)));
    let trials = trials.map(|(theme, scenario)| {
        let (world, interrupt) = (Arc::clone(&world), interrupt.clone());
        Trial::test(format!("{theme}::{}", scenario.name), move || {
            run(theme, scenario, &world, &interrupt)
        })
    });
    let conclusion = libtest_mimic::run(&arguments, trials.collect());
    let mut world = world.lock().unwrap_or_else(PoisonError::into_inner);
    let stopped = world.take().map_or(Ok(()), World::stop);
    if let Err(error) = &stopped {
        eprintln!("error: the engines did not stop cleanly: {error:#}");
    }
    let chosen = conclusion.num_passed + conclusion.num_failed;
    let misspelled = arguments.filter.filter(|_| chosen == 0 && !arguments.list);
    if let Some(part) = &misspelled {
        eprintln!("error: no scenario has `{part}` in its name; `-- --list` shows them");
    }
    if conclusion.has_failed() || stopped.is_err() || misspelled.is_some() {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

/// Runs one scenario on a stage of its own. The engines start with the first one and are mended before each.
fn run(
    theme: &str,
    scenario: &Scenario,
    world: &Mutex<Option<World>>,
    interrupt: &Interrupt,
) -> Result<(), Failed> {
    // A scenario that panicked has left its processes to their drop; the engines are mended below.
    let mut world = world.lock().unwrap_or_else(PoisonError::into_inner);
    let told = |error: anyhow::Error| Failed::from(format!("{error:#}"));
    interrupt.check().map_err(told)?;
    if world.is_none() {
        *world = Some(World::start(interrupt).map_err(told)?);
    }
    let Some(world) = world.as_mut() else {
        return Err(Failed::from("the engines did not start"));
    };
    world.mend().map_err(told)?;
    let mut stage = Stage::new(world, theme, scenario.name).map_err(told)?;
    let began = Instant::now();
    let result = (scenario.run)(&mut stage);
    eprintln!("    {:.0} s", began.elapsed().as_secs_f64());
    result.map_err(|error| Failed::from(format!("{error:#}{}", stage.log_tails())))
}
