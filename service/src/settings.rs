//! Flags, environment variables and a TOML file become one set of values.
//!
//! A flag wins over its environment variable, the variable over the file, the
//! file over the default. Every fault is collected, so that an operator sees
//! all of them at the first start and not one by one.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::command_line::{Chosen, Entry, Subcommand, command, with_commands};

/// How often a setting may be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arity {
    /// Once.
    One,
    /// As often as wanted; commas separate values too.
    List,
    /// As often as wanted; values may contain commas, so in the environment
    /// each stands on a line of its own.
    Lines,
    /// A switch: present or absent; `true` or `false` in environment and file.
    Switch,
}

/// One setting of a service: the flag `--name`, the variable
/// `SERVICE_NAME`, the key `name` of the file.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// In kebab case.
    pub name: &'static str,
    /// What stands for the value in the help.
    pub value_name: &'static str,
    /// One sentence.
    pub help: &'static str,
    /// As an operator would write it.
    pub default: Option<&'static str>,
    /// How often it may be given.
    pub arity: Arity,
}

impl Setting {
    /// A setting with a default.
    #[must_use]
    pub const fn new(
        name: &'static str,
        value_name: &'static str,
        default: &'static str,
        help: &'static str,
    ) -> Self {
        Self {
            name,
            value_name,
            help,
            default: Some(default),
            arity: Arity::One,
        }
    }

    /// A setting that may be absent.
    #[must_use]
    pub const fn optional(
        name: &'static str,
        value_name: &'static str,
        help: &'static str,
    ) -> Self {
        Self {
            name,
            value_name,
            help,
            default: None,
            arity: Arity::One,
        }
    }

    /// A switch.
    #[must_use]
    pub const fn switch(name: &'static str, help: &'static str) -> Self {
        Self {
            name,
            value_name: "",
            help,
            default: None,
            arity: Arity::Switch,
        }
    }

    /// The same setting, given any number of times.
    #[must_use]
    pub const fn many(self, arity: Arity) -> Self {
        Self { arity, ..self }
    }
}

/// A service and all of its settings.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    /// The name of the binary.
    pub name: &'static str,
    /// One sentence for the help.
    pub about: &'static str,
    /// In the order of the help.
    pub settings: &'static [Setting],
}

/// The values that an operator gave, and the faults found in them so far.
#[derive(Debug)]
pub struct Settings {
    program: Program,
    /// What only the command takes that was given.
    own: Vec<Setting>,
    given: BTreeMap<&'static str, Given>,
    check_only: bool,
    faults: Vec<Fault>,
}

#[derive(Debug)]
struct Given {
    values: Vec<String>,
    source: Source,
}

#[derive(Clone, Debug)]
enum Source {
    Flag,
    Variable(String),
    File(PathBuf),
    Default,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Fault {
    place: String,
    reason: String,
}

/// Why a service does not start: every fault of its configuration.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A flag that does not exist, or the help that was asked for: clap's own message.
    #[error(transparent)]
    Usage(#[from] clap::Error),
    /// The faults, one a line.
    #[error("the configuration has faults:\n{}", .0.join("\n"))]
    Faults(Vec<String>),
}

impl Settings {
    /// Reads the command line, the environment and the file that `--config` names.
    ///
    /// # Errors
    /// [`SettingsError::Usage`] if the command line cannot be read.
    pub fn load(
        program: Program,
        args: impl IntoIterator<Item = OsString>,
        env: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, SettingsError> {
        let matches = command(&program).try_get_matches_from(args)?;
        Ok(Self::read(program, None, &matches, env))
    }

    /// The same for a service that has commands beside its plain start; also gives the
    /// command, where there is one.
    ///
    /// # Errors
    /// [`SettingsError::Usage`] if the command line cannot be read.
    pub fn load_with(
        program: Program,
        entries: &'static [Entry],
        args: impl IntoIterator<Item = OsString>,
        env: impl Fn(&str) -> Option<String>,
    ) -> Result<(Self, Option<Chosen>), SettingsError> {
        let known = with_commands(command(&program), &program, entries);
        let matches = known.try_get_matches_from(args)?;
        Ok(match Chosen::find(entries, &matches) {
            Some((chosen, given)) => {
                let settings = Self::read(program, Some(chosen.command), given, env);
                (settings, Some(chosen))
            }
            None => (Self::read(program, None, &matches, env), None),
        })
    }

    fn read(
        program: Program,
        command: Option<&Subcommand>,
        matches: &clap::ArgMatches,
        env: impl Fn(&str) -> Option<String>,
    ) -> Self {
        let own: Vec<Setting> = command.into_iter().flat_map(Subcommand::own).collect();
        let mut settings = Self {
            program,
            own,
            given: BTreeMap::new(),
            check_only: command.is_none() && matches.get_flag("check-config"),
            faults: Vec::new(),
        };
        let file = matches
            .get_one::<String>("config")
            .cloned()
            .or_else(|| env(&variable(&program, "config")));
        let mut from_file = match file {
            Some(path) => settings.read_file(Path::new(&path)),
            None => BTreeMap::new(),
        };
        for setting in program.settings {
            let file_value = from_file.remove(setting.name);
            if command.is_some_and(|command| !command.takes(setting.name)) {
                continue;
            }
            if let Some(given) = settings.pick(setting, matches, &env, file_value) {
                settings.given.insert(setting.name, given);
            }
        }
        for setting in settings.own.clone() {
            if let Some(given) = settings.pick(&setting, matches, &|_| None, None) {
                settings.given.insert(setting.name, given);
            }
        }
        for (key, given) in from_file {
            settings.fault(
                format!("`{key}` in {}", given.source),
                "is no setting of this service",
            );
        }
        settings
    }

    /// The value of a setting with a default. A value that cannot be read is
    /// reported by [`Settings::finish`]; until then the default stands in.
    pub fn value<T>(&mut self, name: &str) -> T
    where
        T: FromStr,
        T::Err: fmt::Display,
    {
        match self.optional(name) {
            Some(value) => value,
            None => self
                .setting(name)
                .default
                .and_then(|default| default.parse().ok())
                .expect("a setting that is read by `value` has a readable default"),
        }
    }

    /// The value of a setting that may be absent.
    pub fn optional<T>(&mut self, name: &str) -> Option<T>
    where
        T: FromStr,
        T::Err: fmt::Display,
    {
        self.list(name).pop()
    }

    /// All values of a setting.
    pub fn list<T>(&mut self, name: &str) -> Vec<T>
    where
        T: FromStr,
        T::Err: fmt::Display,
    {
        let setting = *self.setting(name);
        let Some(given) = self.given.get(setting.name) else {
            return Vec::new();
        };
        let place = format!("`{name}` ({})", given.source);
        let mut faults = Vec::new();
        let mut values = Vec::new();
        for text in &given.values {
            match text.parse() {
                Ok(value) => values.push(value),
                Err(error) => {
                    // What looks like an address with a password is not repeated in a log.
                    let shown = if text.contains('@') { "…" } else { text };
                    faults.push(format!("`{shown}`: {error}"));
                }
            }
        }
        for reason in faults {
            self.fault(place.clone(), reason);
        }
        values
    }

    /// Whether a switch is on.
    pub fn switch(&mut self, name: &str) -> bool {
        self.optional(name).unwrap_or(false)
    }

    /// Reports what only the service can know, such as two settings that contradict each other.
    pub fn reject(&mut self, name: &str, reason: impl fmt::Display) {
        let source = self
            .given
            .get(name)
            .map_or(Source::Default, |given| given.source.clone());
        self.fault(format!("`{name}` ({source})"), reason);
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// All faults together.
    pub fn finish(self) -> Result<Checked, SettingsError> {
        if self.faults.is_empty() {
            return Ok(Checked {
                stop_here: self.check_only,
            });
        }
        let lines = self
            .faults
            .iter()
            .map(|fault| format!("  {} {}", fault.place, fault.reason));
        Err(SettingsError::Faults(lines.collect()))
    }

    fn setting(&self, name: &str) -> &Setting {
        let all = self.program.settings.iter().chain(&self.own);
        all.into_iter()
            .find(|setting| setting.name == name)
            .unwrap_or_else(|| panic!("`{name}` is read but not declared"))
    }

    fn pick(
        &mut self,
        setting: &Setting,
        matches: &clap::ArgMatches,
        env: &impl Fn(&str) -> Option<String>,
        file: Option<Given>,
    ) -> Option<Given> {
        let flag = match setting.arity {
            Arity::Switch => matches
                .get_flag(setting.name)
                .then(|| vec!["true".to_owned()]),
            _ => matches
                .get_many::<String>(setting.name)
                .map(|values| values.cloned().collect()),
        };
        let variable = variable(&self.program, setting.name);
        let given = flag
            .map(|values| Given {
                values,
                source: Source::Flag,
            })
            .or_else(|| {
                let value = env(&variable)?;
                Some(Given {
                    values: vec![value],
                    source: Source::Variable(variable),
                })
            })
            .or(file)
            .or_else(|| {
                let default = setting.default?.to_owned();
                Some(Given {
                    values: vec![default],
                    source: Source::Default,
                })
            })?;
        Some(Given {
            values: split(setting.arity, given.values),
            ..given
        })
    }

    fn read_file(&mut self, path: &Path) -> BTreeMap<String, Given> {
        let place = format!("the file `{}`", path.display());
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => {
                self.fault(place, format!("cannot be read: {error}"));
                return BTreeMap::new();
            }
        };
        let table: toml::Table = match text.parse() {
            Ok(table) => table,
            Err(error) => {
                self.fault(place, format!("is not TOML: {error}"));
                return BTreeMap::new();
            }
        };
        let mut given = BTreeMap::new();
        for (key, value) in table {
            match file_values(value) {
                Some(values) => {
                    given.insert(
                        key,
                        Given {
                            values,
                            source: Source::File(path.to_owned()),
                        },
                    );
                }
                None => self.fault(
                    format!("`{key}` in {place}"),
                    "must be a string, a number, a boolean or an array of these",
                ),
            }
        }
        given
    }

    fn fault(&mut self, place: String, reason: impl fmt::Display) {
        let reason = reason.to_string();
        self.faults.push(Fault { place, reason });
    }
}

/// A configuration without faults.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Checked {
    /// `--check-config` was given: say so and end.
    pub stop_here: bool,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("flag"),
            Self::Variable(name) => write!(f, "variable {name}"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Default => f.write_str("default"),
        }
    }
}

/// `INGEST_GATEWAY_LISTEN` for `listen` of `ingest-gateway`.
pub(crate) fn variable(program: &Program, setting: &str) -> String {
    format!("{}_{setting}", program.name)
        .replace('-', "_")
        .to_ascii_uppercase()
}

fn split(arity: Arity, values: Vec<String>) -> Vec<String> {
    let separator = match arity {
        Arity::One | Arity::Switch => return values,
        Arity::List => ',',
        Arity::Lines => '\n',
    };
    let parts = values.iter().flat_map(|value| value.split(separator));
    parts
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .map(str::to_owned)
        .collect()
}

fn file_values(value: toml::Value) -> Option<Vec<String>> {
    match value {
        toml::Value::String(text) => Some(vec![text]),
        toml::Value::Integer(number) => Some(vec![number.to_string()]),
        toml::Value::Float(number) => Some(vec![number.to_string()]),
        toml::Value::Boolean(on) => Some(vec![on.to_string()]),
        toml::Value::Array(items) => {
            let items: Option<Vec<Vec<String>>> = items.into_iter().map(file_values).collect();
            Some(items?.into_iter().flatten().collect())
        }
        toml::Value::Datetime(_) | toml::Value::Table(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROGRAM: Program = Program {
        name: "test-service",
        about: "For the tests below.",
        settings: &[
            Setting::new("listen", "ADDRESS", "127.0.0.1:1", "Where."),
            Setting::new("limit", "N", "7", "How many."),
            Setting::new("brokers", "HOST:PORT", "localhost:9092", "Which.").many(Arity::List),
            Setting::optional("property", "KEY=VALUE", "What.").many(Arity::Lines),
            Setting::switch("open", "Whether."),
        ],
    };

    fn load(args: &[&str], env: &[(&str, &str)]) -> Settings {
        let args = std::iter::once("test-service")
            .chain(args.iter().copied())
            .map(OsString::from);
        let env = |name: &str| {
            let found = env.iter().find(|(key, _)| *key == name)?;
            Some(found.1.to_owned())
        };
        Settings::load(PROGRAM, args, env).unwrap()
    }

    fn file(text: &str) -> (tempfile::TempDir, String) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        std::fs::write(&path, text).unwrap();
        let path = path.to_str().unwrap().to_owned();
        (dir, path)
    }

    #[test]
    fn a_flag_wins_over_the_variable_the_variable_over_the_file_the_file_over_the_default() {
        let (_dir, path) = file("limit = 3\nbrokers = ['f:1', 'g:1']\n");
        let limit = |args: &[&str], env: &[(&str, &str)]| load(args, env).value::<u32>("limit");
        let variable = [("TEST_SERVICE_LIMIT", "2")];
        assert_eq!(limit(&["--config", &path, "--limit", "1"], &variable), 1);
        assert_eq!(limit(&["--config", &path], &variable), 2);
        assert_eq!(limit(&["--config", &path], &[]), 3);
        assert_eq!(limit(&[], &[]), 7);
        assert_eq!(limit(&[], &[("TEST_SERVICE_CONFIG", &path)]), 3);
        assert_eq!(
            load(&["--config", &path], &[]).list::<String>("brokers"),
            ["f:1", "g:1"]
        );
    }

    #[test]
    fn lists_take_commas_and_lines_keep_them() {
        let mut settings = load(
            &["--brokers", "a:1, b:2", "--brokers", "c:3"],
            &[("TEST_SERVICE_PROPERTY", "x=1,2\ny=3\n")],
        );
        assert_eq!(settings.list::<String>("brokers"), ["a:1", "b:2", "c:3"]);
        assert_eq!(settings.list::<String>("property"), ["x=1,2", "y=3"]);
    }

    #[test]
    fn a_switch_is_off_unless_something_turns_it_on() {
        assert!(!load(&[], &[]).switch("open"));
        assert!(load(&["--open"], &[]).switch("open"));
        assert!(load(&[], &[("TEST_SERVICE_OPEN", "true")]).switch("open"));
    }

    #[test]
    fn every_fault_is_reported_with_its_place() {
        let (_dir, path) = file("limit = 'many'\nlimits = 3\nopen = {a = 1}\n");
        let mut settings = load(&["--config", &path, "--listen", "nowhere"], &[]);
        let listen: std::net::SocketAddr = settings.value("listen");
        assert_eq!(listen.port(), 1);
        assert_eq!(settings.value::<u32>("limit"), 7);
        settings.reject("brokers", "are too many");
        let error = settings.finish().unwrap_err().to_string();
        let expected = format!(
            "the configuration has faults:\n  \
             `open` in the file `{path}` must be a string, a number, a boolean or an array of these\n  \
             `limits` in file {path} is no setting of this service\n  \
             `listen` (flag) `nowhere`: invalid socket address syntax\n  \
             `limit` (file {path}) `many`: invalid digit found in string\n  \
             `brokers` (default) are too many"
        );
        assert_eq!(error, expected);
    }

    #[test]
    fn an_unknown_flag_and_a_missing_file_are_named() {
        let args = ["test-service", "--limmit", "1"].map(OsString::from);
        let error = Settings::load(PROGRAM, args, |_| None)
            .unwrap_err()
            .to_string();
        assert!(error.contains("--limmit"), "{error}");
        let settings = load(&["--config", "/nowhere/x.toml"], &[]);
        let error = settings.finish().unwrap_err().to_string();
        assert!(error.contains("/nowhere/x.toml"), "{error}");
    }
}
