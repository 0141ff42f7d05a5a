//! Entry point: the configuration, the log, the server, the signals.

use std::hash::{BuildHasher as _, RandomState};
use std::process::ExitCode;

use anyhow::Context as _;
use ingest_gateway::config::{Config, PROGRAM};
use ingest_gateway::keys_command::{self, GROUP, KeysConfig};
use ingest_gateway::server::Server;
use service::command_line::Entry;
use service::settings::{Settings, SettingsError};
use service::{doctor, logging, shutdown::Shutdown};

/// What it does instead of its plain start, in the order of the help.
const COMMANDS: &[Entry] = &[Entry::Alone(doctor::COMMAND), Entry::Group(GROUP)];

#[global_allocator]
static ALLOCATOR: service::allocator::Allocator = service::allocator::Allocator;

fn main() -> ExitCode {
    let settings = Settings::load_with(PROGRAM, COMMANDS, std::env::args_os(), |name| {
        std::env::var(name).ok()
    });
    let code = settings.and_then(|(mut settings, command)| match command {
        Some(chosen) if chosen.command.name == doctor::COMMAND.name => {
            let json = settings.switch("json");
            let config = Config::check_all(settings);
            config.map(|config| config.map_or_else(sound, |config| examine(&config, json)))
        }
        Some(_) => KeysConfig::read(settings).map(|config| make_key(&config)),
        None => Config::check_all(settings).map(|config| config.map_or_else(sound, serve)),
    });
    match code {
        Ok(code) => code,
        Err(SettingsError::Usage(usage)) => usage.exit(),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

fn examine(config: &Config, json: bool) -> ExitCode {
    doctor::run(|_| ingest_gateway::doctor::checks(config), json)
}

fn make_key(config: &KeysConfig) -> ExitCode {
    match keys_command::run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn sound() -> ExitCode {
    eprintln!("the configuration has no faults");
    ExitCode::SUCCESS
}

fn serve(config: Config) -> ExitCode {
    logging::start();
    match run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "ended");
            ExitCode::FAILURE
        }
    }
}

fn run(config: Config) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?;
    let ended = runtime.block_on(listen(config));
    // A name that is being looked up for a collector of traces holds nobody up.
    runtime.shutdown_background();
    ended
}

async fn listen(config: Config) -> anyhow::Result<()> {
    let shutdown = Shutdown::on_signals().context("cannot listen for signals")?;
    // RandomState takes its keys from the system's randomness.
    let process = RandomState::new()
        .hash_one(std::process::id())
        .to_be_bytes();
    let server = Server::bind(config, process).await?;
    let address = server.address().context("no listening address")?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), %address, "listening");
    server.serve(shutdown.requested()).await;
    tracing::info!("drained");
    Ok(())
}
