//! Log lines to stderr: for people on a terminal, JSON elsewhere.

use std::env;
use std::io::{self, IsTerminal as _};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Starts the log. `RUST_LOG` chooses levels (default `info`), for all or for parts by their path
/// (`info,es_sink::engine=debug`); librdkafka's own lines come under the target `librdkafka`. One that cannot be read
/// counts as none, and the first line says so.
///
/// # Panics
/// If called twice in one process.
pub fn start() {
    let wanted = env::var("RUST_LOG").unwrap_or_default();
    let (levels, fault) = levels(&wanted);
    let lines = tracing_subscriber::registry().with(levels);
    if io::stderr().is_terminal() {
        lines
            .with(fmt::layer().with_writer(io::stderr).with_target(false))
            .init();
    } else {
        let json = fmt::layer()
            .with_writer(io::stderr)
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false);
        lines.with(json).init();
    }
    if let Some(fault) = fault {
        tracing::warn!(
            RUST_LOG = wanted,
            fault,
            "cannot be read: a level, or `part=level`, with commas between them; `info` is taken"
        );
    }
}

/// What `wanted` chooses, and what is wrong with it.
fn levels(wanted: &str) -> (Targets, Option<String>) {
    let usual = Targets::new().with_default(LevelFilter::INFO);
    if wanted.is_empty() {
        return (usual, None);
    }
    match wanted.parse() {
        Ok(levels) => (levels, None),
        Err(error) => (usual, Some(format!("{error}"))),
    }
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn levels_are_chosen_for_all_and_for_parts_and_info_is_usual() {
        // What is wanted; whether es_sink's debug lines and librdkafka's info lines are written; whether it is faulty.
        for (wanted, debug, info, faulty) in [
            ("", false, true, false),
            ("debug", true, true, false),
            ("es_sink=debug", true, false, false),
            ("warn,es_sink::engine=debug", true, false, false),
            ("off", false, false, false),
            ("es_sink=loud", false, true, true),
        ] {
            let (levels, fault) = levels(wanted);
            assert_eq!(
                (
                    levels.would_enable("es_sink::engine", &Level::DEBUG),
                    levels.would_enable("librdkafka", &Level::INFO),
                    fault.is_some()
                ),
                (debug, info, faulty),
                "{wanted:?}"
            );
        }
    }
}
