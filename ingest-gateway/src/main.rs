//! Entry point: the configuration, the log, the server, the signals.

use std::hash::{BuildHasher as _, RandomState};
use std::process::ExitCode;

use anyhow::Context as _;
use ingest_gateway::config::Config;
use ingest_gateway::server::Server;
use service::settings::SettingsError;
use service::{logging, shutdown::Shutdown};

fn main() -> ExitCode {
    let config = match Config::load(std::env::args_os(), |name| std::env::var(name).ok()) {
        Ok(Some(config)) => config,
        Ok(None) => {
            eprintln!("the configuration has no faults");
            return ExitCode::SUCCESS;
        }
        Err(SettingsError::Usage(usage)) => usage.exit(),
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    logging::start();
    match run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "ended");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run(config: Config) -> anyhow::Result<()> {
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
