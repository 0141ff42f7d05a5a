//! Runs one workload as often as told, and nothing else: what counts its instructions stands outside.
//!
//! In the flow: `cargo xtask instructions` → valgrind → **this** → `micro`. Without arguments it lists the workloads.

use std::io::Write as _;
use std::process::ExitCode;

use micro::WORKLOADS;

#[global_allocator]
static ALLOCATOR: service::allocator::Allocator = service::allocator::Allocator;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let told = match arguments[..] {
        [] => list(),
        [name, runs] => run(name, runs),
        _ => Err("usage: micro-instructions [WORKLOAD RUNS]".to_owned()),
    };
    match told {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            writeln!(std::io::stderr(), "error: {error}").ok();
            ExitCode::FAILURE
        }
    }
}

fn list() -> Result<(), String> {
    let mut output = std::io::stdout().lock();
    WORKLOADS
        .iter()
        .try_for_each(|workload| writeln!(output, "{}", workload.name))
        .map_err(|error| format!("standard output: {error}"))
}

fn run(name: &str, runs: &str) -> Result<(), String> {
    let workload = WORKLOADS.iter().find(|workload| workload.name == name);
    let workload = workload.ok_or_else(|| format!("no workload is called `{name}`"))?;
    let runs: u32 = runs
        .parse()
        .map_err(|_| format!("`{runs}` is no number of runs"))?;
    let mut run = workload.prepare();
    for _ in 0..runs {
        run();
    }
    Ok(())
}
