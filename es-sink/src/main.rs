//! Wires es-sink together: settings, HTTP, template, consumer thread; or a command beside them.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use es_sink::config::{Config, PROGRAM};
use es_sink::consumer::{self, Surroundings};
use es_sink::dead_letters;
use es_sink::dead_letters::command::{DeadLettersConfig, GROUP};
use es_sink::metrics::Metrics;
use es_sink::replay;
use es_sink::replay::command::ReplayConfig;
use es_sink::retention;
use es_sink::retention::command::RetentionConfig;
use es_sink::status::StatusBoard;
use es_sink::template;
use es_sink::template::command::TemplateConfig;
use es_sink::template::{Plan, Template, TemplateError};
use es_sink::topics;
use es_sink::topics::command::TopicsConfig;
use service::command_line::{Chosen, Entry};
use service::doctor;
use service::elasticsearch::Nodes;
use service::operations;
use service::settings::{Settings, SettingsError};
use service::shutdown::Shutdown;
use service::traces::Traces;
use tokio::runtime::Runtime;

/// Between two tries to install the template.
const TEMPLATE_RETRY: Duration = Duration::from_secs(2);

/// What it does instead of its plain start, in the order of the help.
const COMMANDS: &[Entry] = &[
    Entry::Alone(doctor::COMMAND),
    Entry::Group(GROUP),
    Entry::Alone(retention::command::COMMAND),
    Entry::Alone(replay::command::COMMAND),
    Entry::Group(template::command::GROUP),
    Entry::Group(topics::command::GROUP),
];

#[global_allocator]
static ALLOCATOR: service::allocator::Allocator = service::allocator::Allocator;

fn main() -> ExitCode {
    let started = Instant::now();
    let settings = Settings::load_with(PROGRAM, COMMANDS, std::env::args_os(), |name| {
        std::env::var(name).ok()
    });
    let ended = settings.and_then(|(settings, chosen)| match chosen {
        Some(chosen) => command(settings, &chosen),
        None => Config::read(settings, seed()).map(|(config, checked)| {
            if checked.stop_here {
                eprintln!("es-sink: the configuration has no faults");
                return ExitCode::SUCCESS;
            }
            service::logging::start();
            match run(&config, started) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    tracing::error!(error = format!("{error:#}"), "es-sink ends");
                    ExitCode::FAILURE
                }
            }
        }),
    });
    match ended {
        Ok(code) => code,
        Err(SettingsError::Usage(usage)) => usage.exit(),
        Err(faults) => {
            eprintln!("es-sink: {faults}");
            ExitCode::from(2)
        }
    }
}

/// Reads a command's settings and carries it out.
fn command(mut settings: Settings, chosen: &Chosen) -> Result<ExitCode, SettingsError> {
    match (chosen.group, chosen.command.name) {
        (Some("template"), _) => {
            let config = TemplateConfig::read(settings, chosen.command)?;
            Ok(see_to(|runtime, _| {
                runtime.block_on(template::command::run(&config))
            }))
        }
        (Some("topics"), _) => {
            let config = TopicsConfig::read(settings, chosen.command)?;
            Ok(see_to(|runtime, _| runtime.block_on(topics::run(&config))))
        }
        (None, "doctor") => {
            let json = settings.switch("json");
            let (config, _) = Config::read(settings, seed())?;
            Ok(doctor::run(
                |handle| es_sink::doctor::checks(&config, handle),
                json,
            ))
        }
        (None, "replay") => {
            let config = ReplayConfig::read(settings, seed(), now_ms())?;
            Ok(see_to(|runtime, shutdown| {
                replay::run(&config, runtime.handle(), shutdown)
            }))
        }
        (None, _) => {
            let config = RetentionConfig::read(settings)?;
            Ok(see_to(|runtime, shutdown| {
                runtime.block_on(retention::run(&config, shutdown))
            }))
        }
        (Some(_), _) => {
            let config = DeadLettersConfig::read(settings, chosen.command, now_ms())?;
            Ok(see_to(|_, shutdown| dead_letters::run(&config, shutdown)))
        }
    }
}

/// Carries out a command, which speaks to a person or a script and not to a log.
fn see_to(order: impl FnOnce(&Runtime, &Shutdown) -> anyhow::Result<ExitCode>) -> ExitCode {
    service::logging::start();
    let carry_out = || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .context("starting the runtime")?;
        let _within = runtime.enter();
        let shutdown = Shutdown::on_signals().context("installing signal handlers")?;
        order(&runtime, &shutdown)
    };
    match carry_out() {
        Ok(code) => code,
        // Whoever reads our output has seen enough, as `head` has.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("es-sink: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<std::io::Error>();
    error.is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

fn run(config: &Config, started: Instant) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("starting the runtime")?;
    runtime.block_on(async {
        let shutdown = Shutdown::on_signals().context("installing signal handlers")?;
        let nodes = Arc::new(Nodes::new(&config.nodes, &config.login).map_err(anyhow::Error::msg)?);
        let board = Arc::new(StatusBoard::new(started));
        let metrics = Arc::new(Metrics::new());
        config.login.watch(&metrics.namespace);
        let traces = config.traces.clone();
        let traces = traces.map(|traces| Traces::start(traces, PROGRAM.name, &metrics.namespace));
        let (reasons, status, numbers) = (board.clone(), board.clone(), metrics.clone());
        operations::serve_sink(
            config.listen,
            config.tls.as_ref(),
            &config.access,
            &metrics.namespace,
            move || reasons.reasons(),
            move || status.json(numbers.newest_indexed_seconds()),
        )
        .await
        .map_err(anyhow::Error::msg)?;

        if config.manages_template {
            let template = Template::new(&config.sink.index_pattern);
            tokio::select! {
                installed = install(&template, &nodes, &board) => installed?,
                () = shutdown.clone().requested() => return Ok(()),
            }
        }
        board.wait_for(None);

        let surroundings = Surroundings {
            nodes,
            runtime: tokio::runtime::Handle::current(),
            board,
            metrics,
            traces: traces.clone(),
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
        let ended = ended
            .await
            .context("the consumer thread panicked; a restart goes on at the committed offsets")?;
        if let Some(traces) = traces {
            traces.close().await;
        }
        ended
    })
}

/// Tries until the template is there: without it, Elasticsearch would guess a mapping.
async fn install(template: &Template, nodes: &Nodes, board: &StatusBoard) -> anyhow::Result<()> {
    loop {
        match template.install(nodes).await {
            Ok(Plan::Keep) => {
                tracing::info!(template = template.name(), "index template is up to date");
                return Ok(());
            }
            Ok(_) => {
                tracing::info!(template = template.name(), "index template installed");
                return Ok(());
            }
            Err(TemplateError::Never(reason)) => anyhow::bail!(reason),
            Err(error @ TemplateError::NotNow { .. }) => {
                tracing::warn!(%error, "waiting for Elasticsearch");
                board.wait_for(Some(error.to_string()));
                tokio::time::sleep(TEMPLATE_RETRY).await;
            }
        }
    }
}

/// Differs between processes that start together; only spreads their retries.
fn seed() -> u64 {
    RandomState::new().build_hasher().finish()
}

fn now_ms() -> i64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
    since_epoch.map_or(0, |since| {
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    })
}
