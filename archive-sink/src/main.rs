//! Wires archive-sink together: settings, HTTP, the thread that reads.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use archive_sink::config::{Config, PROGRAM};
use archive_sink::consumer::{self, Surroundings};
use archive_sink::metrics::Metrics;
use archive_sink::status::StatusBoard;
use axum::routing::get;
use axum::{Json, Router};
use service::access::Access;
use service::operations;
use service::server::Server;
use service::settings::{Settings, SettingsError};
use service::shutdown::Shutdown;

/// Of those who ask how the sink is doing; more wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 64;
/// How long they may take to send a request's head, and stay idle between two requests.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
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
        config.access.watch(&metrics.namespace);
        if let Some(tls) = &config.tls {
            tls.watch(&metrics.namespace);
        }
        let listener = tokio::net::TcpListener::bind(config.listen)
            .await
            .with_context(|| {
                format!(
                    "listening on `{}`; choose another with --listen",
                    config.listen
                )
            })?;
        tracing::info!(address = %config.listen, "status, metrics and probes");
        let server = Server {
            listener,
            tls: config.tls.clone(),
            connections_max: CONNECTIONS_MAX,
            head_timeout: HEAD_TIMEOUT,
            open: metrics
                .namespace
                .gauge("open_connections", "Open client connections."),
        };
        let router = router(&config.access, Arc::clone(&board), Arc::clone(&metrics));
        // Who asks how the sink is doing is answered to its end.
        tokio::spawn(server.serve(router, std::future::pending(), Duration::ZERO));

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

fn router(access: &Access, board: Arc<StatusBoard>, metrics: Arc<Metrics>) -> Router {
    let registry = metrics.namespace.registry();
    let status = Arc::clone(&board);
    let status = Router::new().route(
        "/status",
        get(move || {
            let newest = metrics.newest_archived_seconds();
            std::future::ready(Json(status.json(newest)))
        }),
    );
    operations::router(registry, move || board.reasons(), access)
        .merge(operations::guarded(status, access))
}
