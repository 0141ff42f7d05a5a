//! What `es-sink replay` is asked to do, checked.
//!
//! In the flow: `service::settings` → **`command`** → `replay`. Pure but for the files of the login.

use service::command_line::{Shared, Subcommand};
use service::settings::{Setting, Settings, SettingsError};

use crate::config::Config;
use crate::dead_letters::filter::Moment;

/// The command.
pub const COMMAND: Subcommand = Subcommand {
    name: "replay",
    about: "Indexes a span of the topics once more, beside the sinks that run; moves no offset, and writes no dead letter",
    shares: Shared::All,
    flags: &[
        Setting::optional(
            "from",
            "MOMENT",
            "Records from this moment on: 2026-01-31T08:00:00Z, or 2h for two hours ago",
        ),
        Setting::optional(
            "to",
            "MOMENT",
            "Records from before this moment; without it, all that is there at the start",
        ),
        Setting::switch("dry-run", "Count the records, and index nothing"),
        Setting::switch("json", "Write JSON, one object"),
    ],
    operand: None,
};

/// What to index once more.
#[derive(Clone, Debug)]
pub struct ReplayConfig {
    /// The sink's, as it would start.
    pub sink: Config,
    /// Kafka's time of the first records, milliseconds since the epoch.
    pub from_ms: i64,
    /// The time that the records come before.
    pub to_ms: Option<i64>,
    /// Index nothing.
    pub dry_run: bool,
    /// For programs.
    pub json: bool,
}

impl ReplayConfig {
    /// Reads the settings of [`COMMAND`].
    ///
    /// # Errors
    /// All faults together.
    pub fn read(mut settings: Settings, seed: u64, now_ms: i64) -> Result<Self, SettingsError> {
        let mut moment = |name| {
            let moment: Option<Moment> = settings.optional(name);
            moment.map(|moment| moment.millis(now_ms))
        };
        let (from_ms, to_ms) = (moment("from"), moment("to"));
        if from_ms.is_none() {
            settings.reject("from", "say where to begin: --from 2h");
        }
        if let (Some(from), Some(to)) = (from_ms, to_ms)
            && from >= to
        {
            settings.reject("to", "must be later than `from`");
        }
        let (dry_run, json) = (settings.switch("dry-run"), settings.switch("json"));
        let (sink, _checked) = Config::read(settings, seed)?;
        Ok(Self {
            sink,
            from_ms: from_ms.unwrap_or(i64::MAX),
            to_ms,
            dry_run,
            json,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use service::command_line::Entry;

    use super::*;
    use crate::config::PROGRAM;

    fn read(args: &[&str]) -> Result<ReplayConfig, SettingsError> {
        let given = ["es-sink", "replay"].into_iter();
        let args = given.chain(args.iter().copied()).map(OsString::from);
        let entries = &[Entry::Alone(COMMAND)];
        let (settings, _) = Settings::load_with(PROGRAM, entries, args, |_| None)?;
        ReplayConfig::read(settings, 1, 10_000)
    }

    #[test]
    fn a_span_begins_somewhere_and_ends_after_that() {
        let config = read(&["--from", "4s", "--to", "1s", "--topic", "a,b"]).unwrap();
        assert_eq!((config.from_ms, config.to_ms), (6_000, Some(9_000)));
        assert_eq!(config.sink.topics, ["a", "b"]);
        assert_eq!(read(&["--from", "4s"]).unwrap().to_ms, None);
        for (args, named) in [
            (&[][..], "`from`"),
            (&["--from", "1s", "--to", "4s"], "`to`"),
            (&["--from", "yesterday"], "`from`"),
        ] {
            let error = read(args).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
    }
}
