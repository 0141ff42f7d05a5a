//! What `es-sink retention` is asked to do, checked.
//!
//! In the flow: `service::settings` → **`command`** → `retention`. Pure but for the files of the login.

use std::time::Duration;

use log_event::document::IndexPattern;
use service::command_line::{Shared, Subcommand};
use service::elasticsearch::NodeUrl;
use service::login::Login;
use service::settings::{Setting, Settings, SettingsError};
use service::units::Span;

use crate::config::nodes_and_login;

const DAY: Duration = Duration::from_secs(86_400);

/// The command.
pub const COMMAND: Subcommand = Subcommand {
    name: "retention",
    about: "Deletes the indices of days that are over for long enough",
    shares: Shared::These(&[
        "elasticsearch-url",
        "elasticsearch-credentials",
        "elasticsearch-ca",
        "index-pattern",
    ]),
    flags: &[
        Setting::optional(
            "keep",
            "DAYS",
            "How many full days before today (UTC) are kept, as 30d",
        ),
        Setting::switch("dry-run", "Say what would be deleted, and delete nothing"),
        Setting::switch("json", "Write JSON, one object a line"),
    ],
    operand: None,
};

/// What to delete, and where.
#[derive(Clone, Debug)]
pub struct RetentionConfig {
    /// Nodes of the cluster.
    pub nodes: Vec<NodeUrl>,
    /// Who we are to them.
    pub login: Login,
    /// Whose indices.
    pub pattern: IndexPattern,
    /// Full days before today that are kept.
    pub keep_days: u32,
    /// Change nothing.
    pub dry_run: bool,
    /// For programs.
    pub json: bool,
}

impl RetentionConfig {
    /// Reads the settings of [`COMMAND`].
    ///
    /// # Errors
    /// All faults together.
    pub fn read(mut settings: Settings) -> Result<Self, SettingsError> {
        let keep: Option<Span> = settings.optional("keep");
        let days = keep.and_then(|Span(keep)| {
            let is_whole =
                keep >= DAY && keep.as_secs() % DAY.as_secs() == 0 && keep.subsec_nanos() == 0;
            is_whole.then(|| u32::try_from(keep.as_secs() / DAY.as_secs()).unwrap_or(u32::MAX))
        });
        if days.is_none() {
            settings.reject(
                "keep",
                "say how many whole days are kept, one at least: --keep 30d",
            );
        }
        let (nodes, login) = nodes_and_login(&mut settings);
        let config = Self {
            nodes,
            login,
            pattern: settings.value("index-pattern"),
            keep_days: days.unwrap_or(u32::MAX),
            dry_run: settings.switch("dry-run"),
            json: settings.switch("json"),
        };
        settings.finish().map(|_checked| config)
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use service::command_line::Entry;

    use super::*;
    use crate::config::PROGRAM;

    fn read(args: &[&str]) -> Result<RetentionConfig, SettingsError> {
        let given = ["es-sink", "retention"].into_iter();
        let args = given.chain(args.iter().copied()).map(OsString::from);
        let entries = &[Entry::Alone(COMMAND)];
        let (settings, _) = Settings::load_with(PROGRAM, entries, args, |_| None)?;
        RetentionConfig::read(settings)
    }

    #[test]
    fn whole_days_are_kept_and_one_at_least() {
        for (keep, days) in [("30d", 30), ("1d", 1), ("48h", 2)] {
            assert_eq!(read(&["--keep", keep]).unwrap().keep_days, days, "{keep}");
        }
        for args in [
            &[][..],
            &["--keep", "0d"],
            &["--keep", "23h"],
            &["--keep", "36h"],
            &["--keep", "1d1h"],
            &["--keep", "86400001ms"],
            &["--keep", "30"],
        ] {
            let error = read(args).map(|config| config.keep_days);
            assert!(
                error
                    .as_ref()
                    .is_err_and(|error| error.to_string().contains("keep")),
                "{args:?}: {error:?}"
            );
        }
    }

    #[test]
    fn nothing_that_is_not_needed_is_taken() {
        let error = read(&["--keep", "30d", "--kafka-brokers", "a:1"]).unwrap_err();
        assert!(matches!(error, SettingsError::Usage(_)));
    }
}
