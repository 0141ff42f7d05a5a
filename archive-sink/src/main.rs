//! Wires archive-sink together: settings, HTTP, the thread that reads.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;
use archive_sink::config::{Config, PROGRAM};
use archive_sink::consumer::{self, Surroundings};
use archive_sink::metrics::Metrics;
use archive_sink::status::StatusBoard;
use service::operations;
use service::settings::{Settings, SettingsError};
use service::shutdown::Shutdown;

/// libpq's name for it.
const PASSWORD_VARIABLE: &str = "PGPASSWORD";

#[global_allocator]
static ALLOCATOR: service::allocator::Allocator = service::allocator::Allocator;

fn main() -> ExitCode {
    let started = Instant::now();
    let env = |name: &str| std::env::var(name).ok();
    let settings = Settings::load(PROGRAM, std::env::args_os(), env);
    let config = settings.and_then(|settings| Config::read(settings, env(PASSWORD_VARIABLE)));
    let config = match config {
        Ok((_, checked)) if checked.stop_here => {
            eprintln!("archive-sink: the configuration has no faults");
            return ExitCode::SUCCESS;
        }
        Ok((config, _)) => config,
        Err(SettingsError::Usage(usage)) => usage.exit(),
        Err(faults) => {
            eprintln!("archive-sink: {faults}");
            return ExitCode::from(2);
        }
    };
    service::logging::start();
    match run(&config, started) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "archive-sink ends");
            ExitCode::FAILURE
        }
    }
}

fn run(config: &Config, started: Instant) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("starting the runtime")?;
    runtime.block_on(async {
        let shutdown = Shutdown::on_signals().context("installing signal handlers")?;
        let board = Arc::new(StatusBoard::new(started));
        let metrics = Arc::new(Metrics::new());
        let (reasons, status, numbers) = (board.clone(), board.clone(), metrics.clone());
        operations::serve_sink(
            config.listen,
            config.tls.as_ref(),
            &config.access,
            &metrics.namespace,
            move || reasons.reasons(),
            move || status.json(numbers.newest_archived_seconds()),
        )
        .await
        .map_err(anyhow::Error::msg)?;

        let surroundings = Surroundings {
            runtime: tokio::runtime::Handle::current(),
            board,
            metrics,
            shutdown,
            started,
        };
        let config = config.clone();
        let (done, ended) = tokio::sync::oneshot::channel();
        std::thread::Builder::new()
            .name("kafka-consumer".to_owned())
            .spawn(move || {
                // Whoever waits for the result is gone only with the process.
                drop(done.send(consumer::run(&config, surroundings)));
            })
            .context("starting the consumer thread")?;
        ended
            .await
            .context("the consumer thread panicked; a restart goes on where the archive ends")?
    })
}
