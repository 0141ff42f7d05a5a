//! The binary: `generate`, `verify`, `null-elasticsearch`, `fault-proxy`, `bench`.

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;
use clap::Parser as _;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use service::shutdown::Shutdown;

use loadtest::fault_control::FaultControl;
use loadtest::fault_proxy::{self, RouteState};
use loadtest::generate_http::{self, Watch};
use loadtest::null_elasticsearch::NullElasticsearch;
use loadtest::{
    bench_acks, bench_bulk, bench_gateway, bench_http, bench_read, bench_sink, generate_kafka,
    verification,
};

mod arguments;

use arguments::{Arguments, Bench, Command, FaultProxy, Generate, Generator, Null, Verify};

#[global_allocator]
static ALLOCATOR: service::allocator::Allocator = service::allocator::Allocator;

#[tokio::main]
async fn main() -> ExitCode {
    service::logging::start();
    match run(Arguments::parse().command).await {
        Ok(code) => code,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::from(2)
        }
    }
}

async fn run(command: Command) -> anyhow::Result<ExitCode> {
    let shutdown = Shutdown::on_signals()?;
    match command {
        Command::Generate(arguments) => generate(arguments, shutdown).await,
        Command::Verify(arguments) => verify(arguments).await,
        Command::NullElasticsearch(arguments) => null_elasticsearch(arguments, shutdown).await,
        Command::FaultProxy(arguments) => fault_proxy(arguments, shutdown).await,
        Command::Bench { bench } => run_bench(bench, shutdown).await,
    }
}

async fn run_bench(bench: Bench, shutdown: Shutdown) -> anyhow::Result<ExitCode> {
    match bench {
        Bench::Gateway(arguments) => {
            let table = bench_gateway::run(&arguments.settings()?).await?;
            print(&table, arguments.json)
        }
        Bench::Http(arguments) => {
            let figures = bench_http::run(&arguments.settings()?).await?;
            print(&figures, arguments.json)
        }
        Bench::Sink(arguments) => {
            let settings = arguments.settings()?;
            let watch = watch(Some(settings.n_events), shutdown)?;
            let figures = bench_sink::run(&settings, &watch).await?;
            watch.progress.finish_and_clear();
            print(&figures, arguments.json)
        }
        Bench::Read(arguments) => {
            let settings = arguments.settings();
            let reading = tokio::task::spawn_blocking(move || bench_read::run(&settings));
            let figures = reading.await.context("reading ended early")??;
            print(&figures, arguments.json)
        }
        Bench::Acks(arguments) => {
            let settings = arguments.settings();
            let sending = tokio::task::spawn_blocking(move || bench_acks::run(&settings));
            let figures = sending.await.context("sending ended early")??;
            print(&figures, arguments.json)
        }
        Bench::Fill(arguments) => {
            let watch = watch(Some(arguments.n_events), shutdown)?;
            let report = bench_sink::fill(&arguments.settings()?, &watch).await?;
            watch.progress.finish_and_clear();
            print(&report, arguments.json)
        }
        Bench::Bulk(arguments) => {
            let figures = bench_bulk::run(&arguments.settings()?).await?;
            print(&figures, arguments.json)
        }
    }
}

async fn generate(arguments: Generate, shutdown: Shutdown) -> anyhow::Result<ExitCode> {
    let watch = watch(arguments.pace().events, shutdown)?;
    let progress = watch.progress.clone();
    let report = match arguments.generator()? {
        Generator::Http(settings) => {
            generate_http::run(*settings, &arguments.ledger, watch).await?
        }
        Generator::Kafka(settings) => {
            let ledger = arguments.ledger.clone();
            let running = move || generate_kafka::run(&settings, &ledger, watch);
            tokio::task::spawn_blocking(running)
                .await
                .context("the generator ended early")??
        }
    };
    progress.finish_and_clear();
    print(&report, arguments.json)
}

async fn verify(arguments: Verify) -> anyhow::Result<ExitCode> {
    let progress = progress_bar(None)?;
    let found = verification::run(&arguments.settings()?, &progress).await?;
    progress.finish_and_clear();
    print(&found, arguments.json)?;
    Ok(match found.holds() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

async fn null_elasticsearch(arguments: Null, shutdown: Shutdown) -> anyhow::Result<ExitCode> {
    let server = NullElasticsearch::start(arguments.listen, arguments.behaviour.settings()).await?;
    tracing::info!(address = %server.address(), "listening");
    shutdown.requested().await;
    print(&server.counts(), true)
}

async fn fault_proxy(arguments: FaultProxy, shutdown: Shutdown) -> anyhow::Result<ExitCode> {
    let routes = arguments.routes()?;
    let proxy = Arc::new(fault_proxy::FaultProxy::start(&routes, arguments.seed).await?);
    let control = FaultControl::start(arguments.control, Arc::clone(&proxy)).await?;
    for route in proxy.routes() {
        let state = route.state();
        tracing::info!(route = state.name, listen = %state.listen, to = state.to, "listening");
    }
    tracing::info!(control = %control.address(), "taking orders");
    shutdown.requested().await;
    let states: Vec<RouteState> = proxy.routes().iter().map(|route| route.state()).collect();
    let text = serde_json::to_string_pretty(&states)?;
    writeln!(std::io::stdout(), "{text}")?;
    Ok(ExitCode::SUCCESS)
}

fn watch(n_events: Option<u64>, shutdown: Shutdown) -> anyhow::Result<Watch> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    tokio::spawn(async move {
        shutdown.requested().await;
        flag.store(true, Ordering::Relaxed);
    });
    Ok(Watch {
        progress: progress_bar(n_events)?,
        stop,
    })
}

/// On a terminal only; drawn on stderr.
fn progress_bar(length: Option<u64>) -> anyhow::Result<ProgressBar> {
    let style = ProgressStyle::with_template(
        "{elapsed_precise} {wide_bar} {human_pos}/{human_len} events, {per_sec}",
    )?;
    let bar = match length {
        Some(length) => ProgressBar::new(length),
        None => ProgressBar::no_length(),
    };
    Ok(bar.with_style(style))
}

fn print(outcome: &(impl std::fmt::Display + Serialize), json: bool) -> anyhow::Result<ExitCode> {
    let text = match json {
        true => serde_json::to_string_pretty(outcome)?,
        false => outcome.to_string(),
    };
    writeln!(std::io::stdout(), "{text}")?;
    Ok(ExitCode::SUCCESS)
}
