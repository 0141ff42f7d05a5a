//! The entry point: reads the configuration, starts the server, ends with it.

use std::process::ExitCode;

use anyhow::Context as _;
use query_api::config::{Config, PROGRAM};
use query_api::server;
use service::command_line::Entry;
use service::doctor;
use service::settings::{Settings, SettingsError};

#[global_allocator]
static ALLOCATOR: service::allocator::Allocator = service::allocator::Allocator;

/// What it does instead of its plain start, in the order of the help.
const COMMANDS: &[Entry] = &[Entry::Alone(doctor::COMMAND)];

fn main() -> ExitCode {
    let settings = Settings::load_with(PROGRAM, COMMANDS, std::env::args_os(), |name| {
        std::env::var(name).ok()
    });
    let ended = settings.and_then(|(mut settings, chosen)| {
        let json = chosen.is_some().then(|| settings.switch("json"));
        let (config, checked) = Config::read(settings)?;
        Ok(match json {
            Some(json) => doctor::run(|handle| query_api::doctor::checks(&config, handle), json),
            None if checked.stop_here => {
                eprintln!("query-api: the configuration is sound");
                ExitCode::SUCCESS
            }
            None => serve(config),
        })
    });
    match ended {
        Ok(code) => code,
        Err(SettingsError::Usage(usage)) => usage.exit(),
        Err(error) => {
            eprintln!("query-api: {error}");
            ExitCode::from(2)
        }
    }
}

fn serve(config: Config) -> ExitCode {
    service::logging::start();
    match run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "query-api ends");
            ExitCode::FAILURE
        }
    }
}

fn run(config: Config) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the runtime does not start")?
        .block_on(server::run(config))
        .context("the server does not run")
}
