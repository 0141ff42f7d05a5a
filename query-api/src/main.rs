//! The entry point: reads the configuration, starts the server, ends with it.

use std::process::ExitCode;

use anyhow::Context as _;
use query_api::config::Config;
use query_api::server;
use service::settings::SettingsError;

#[global_allocator]
static ALLOCATOR: service::allocator::Allocator = service::allocator::Allocator;

fn main() -> ExitCode {
    let (config, checked) = match Config::load(std::env::args_os(), |name| std::env::var(name).ok())
    {
        Ok(loaded) => loaded,
        Err(SettingsError::Usage(usage)) => usage.exit(),
        Err(error) => {
            eprintln!("query-api: {error}");
            return ExitCode::from(2);
        }
    };
    if checked.stop_here {
        eprintln!("query-api: the configuration is sound");
        return ExitCode::SUCCESS;
    }
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
