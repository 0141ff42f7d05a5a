//! Entry point of `cargo xtask`: reads the command line and runs one command.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use xtask::{
    archive, bench, dashboards, failover, incidents, instructions, nemesis, outage, page_speed,
    rescale, secured, soak, test, up,
};

/// The one tool of the logflow repository.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version)]
struct Line {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start Kafka, Elasticsearch and the three services on this machine, until Ctrl-C.
    Up(up::Options),
    /// Check everything that CI checks, or a part of it.
    Test(test::Options),
    /// Take Elasticsearch away for minutes under load, and report what that costs the sink.
    Outage(outage::Options),
    /// Provoke every alert in a running pipeline, and tell after how long it fires and clears.
    Incidents(incidents::Options),
    /// Break everything that can break under load, by a seeded schedule, and look for every event afterwards.
    Nemesis(nemesis::Options),
    /// Kill and restart each kind of process of a cluster under load, and measure what a client sees of it.
    Failover(failover::Options),
    /// Let sinks join and leave a group under load, and measure how soon the others share the work.
    Rescale(rescale::Options),
    /// Kill archive-sink and its PostgreSQL under load, look for each event, and measure what the archive takes.
    Archive(archive::Options),
    /// Run a secured cluster: look at its ports as a stranger, and replace each secret under load.
    Secured(secured::Options),
    /// Measure in a browser how long the explorer page and a search take with a million events.
    PageSpeed(page_speed::Options),
    /// Count the instructions that the pure core takes, and hold them against the baseline.
    Instructions(instructions::Options),
    /// Measure every service against its ceiling and against what others run in its place.
    Bench(bench::Options),
    /// Write Grafana's dashboards anew, from their tables.
    Dashboards,
    /// Run everything at half of what the machine can take for half an hour, and watch the services' memory.
    Soak(soak::Options),
}

fn main() -> ExitCode {
    let result = match Line::parse().command {
        Command::Up(options) => up::up(&options),
        Command::Test(options) => test::test(&options),
        Command::Outage(options) => outage::outage(&options),
        Command::Incidents(options) => incidents::incidents(&options),
        Command::Nemesis(options) => nemesis::nemesis(&options),
        Command::Failover(options) => failover::failover(&options),
        Command::Rescale(options) => rescale::rescale(&options),
        Command::Archive(options) => archive::archive(&options),
        Command::Secured(options) => secured::secured(&options),
        Command::PageSpeed(options) => page_speed::page_speed(&options),
        Command::Instructions(options) => instructions::instructions(&options),
        Command::Bench(options) => bench::bench(&options),
        Command::Dashboards => dashboards::dashboards(),
        Command::Soak(options) => soak::soak(&options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            use std::io::Write;
            writeln!(std::io::stderr(), "error: {error:#}").ok();
            ExitCode::FAILURE
        }
    }
}
