//! What may stand on a command line: a service's settings, and commands beside its plain start.
//!
//! In the flow: **`command_line`** → `settings`. Not here: where else values come from.
//! A shared setting is the service's own: the same flag, variable and key of the file. What a
//! command alone understands is given on the command line and nowhere else, so that nothing
//! left in an environment decides what it does.

use clap::ArgMatches;
use clap::builder::{Arg, ArgAction, Command};

use crate::settings::{Arity, Program, Setting, variable};

/// What may be asked of a program instead of its plain start.
#[derive(Clone, Copy, Debug)]
pub enum Entry {
    /// One word that says it all: `es-sink doctor`.
    Alone(Subcommand),
    /// A word for the kind, and one for the command: `es-sink dead-letters list`.
    Group(CommandGroup),
}

/// The command that was given.
#[derive(Clone, Copy, Debug)]
pub struct Chosen {
    /// The name of its group, if it has one.
    pub group: Option<&'static str>,
    /// The command itself.
    pub command: &'static Subcommand,
}

/// Commands of one kind: the `dead-letters` of `es-sink dead-letters list`.
#[derive(Clone, Copy, Debug)]
pub struct CommandGroup {
    /// In kebab case.
    pub name: &'static str,
    /// One sentence.
    pub about: &'static str,
    /// In the order of the help.
    pub commands: &'static [Subcommand],
}

/// One command: the `list` of `es-sink dead-letters list`, or all of `es-sink doctor`.
#[derive(Clone, Copy, Debug)]
pub struct Subcommand {
    /// In kebab case.
    pub name: &'static str,
    /// One sentence.
    pub about: &'static str,
    /// The service's settings that it takes, too.
    pub shares: Shared,
    /// What it alone takes.
    pub flags: &'static [Setting],
    /// What may stand behind the flags, any number of times.
    pub operand: Option<Setting>,
}

/// Which of the service's settings a command takes.
#[derive(Clone, Copy, Debug)]
pub enum Shared {
    /// All of them: it is about the service as it would start.
    All,
    /// Those of these names.
    These(&'static [&'static str]),
}

impl Subcommand {
    /// What it alone takes, the operand included.
    pub(crate) fn own(&self) -> impl Iterator<Item = Setting> {
        self.flags.iter().copied().chain(self.operand)
    }

    /// Whether it takes the service's setting of this name.
    pub(crate) fn takes(&self, setting: &str) -> bool {
        match self.shares {
            Shared::All => true,
            Shared::These(names) => names.contains(&setting),
        }
    }
}

impl Entry {
    fn name(&self) -> &'static str {
        match self {
            Self::Alone(command) => command.name,
            Self::Group(group) => group.name,
        }
    }

    fn command(&self, program: &Program) -> Command {
        let group = match self {
            Self::Alone(command) => return leaf(program, command),
            Self::Group(group) => group,
        };
        let kind = Command::new(group.name)
            .about(group.about)
            .subcommand_required(true)
            .arg_required_else_help(true)
            .disable_help_subcommand(true);
        group.commands.iter().fold(kind, |kind, command| {
            kind.subcommand(leaf(program, command))
        })
    }
}

impl Chosen {
    /// The command that stands in `matches`, and what was given for it.
    pub(crate) fn find<'m>(
        entries: &'static [Entry],
        matches: &'m ArgMatches,
    ) -> Option<(Self, &'m ArgMatches)> {
        let (name, given) = matches.subcommand()?;
        let chosen = |group, command| Self { group, command };
        match entries.iter().find(|entry| entry.name() == name)? {
            Entry::Alone(command) => Some((chosen(None, command), given)),
            Entry::Group(group) => {
                let (name, given) = given.subcommand()?;
                let command = group.commands.iter().find(|command| command.name == name)?;
                Some((chosen(Some(group.name), command), given))
            }
        }
    }
}

/// The service's own command line.
pub(crate) fn command(program: &Program) -> Command {
    let command = Command::new(program.name)
        .about(program.about)
        .version(env!("CARGO_PKG_VERSION"))
        .arg(config_arg())
        .arg(
            Arg::new("check-config")
                .long("check-config")
                .action(ArgAction::SetTrue)
                .help("Check the configuration, say what is wrong with it, and end"),
        );
    program.settings.iter().fold(command, |command, setting| {
        command.arg(arg(Some(program), setting))
    })
}

fn config_arg() -> Arg {
    Arg::new("config")
        .long("config")
        .value_name("FILE")
        .help("A TOML file with any of the service's settings, named as their flags")
}

/// The flag of a setting; one of a `program` has a variable, too.
fn arg(program: Option<&Program>, setting: &Setting) -> Arg {
    let mut help = setting.help.to_owned();
    if let Some(program) = program {
        help.push_str(&format!(" [env: {}]", variable(program, setting.name)));
    }
    if let Some(default) = setting.default.filter(|default| !default.is_empty()) {
        help.push_str(&format!(" [default: {default}]"));
    }
    let arg = Arg::new(setting.name).long(setting.name).help(help);
    match setting.arity {
        Arity::Switch => arg.action(ArgAction::SetTrue),
        Arity::One => arg.value_name(setting.value_name).action(ArgAction::Set),
        Arity::List | Arity::Lines => arg.value_name(setting.value_name).action(ArgAction::Append),
    }
}

/// Adds the commands to the service's own command line.
pub(crate) fn with_commands(command: Command, program: &Program, entries: &[Entry]) -> Command {
    // A setting of the service before the command's name would have no effect.
    let command = command
        .args_conflicts_with_subcommands(true)
        .disable_help_subcommand(true);
    entries.iter().fold(command, |command, entry| {
        command.subcommand(entry.command(program))
    })
}

fn leaf(program: &Program, subcommand: &Subcommand) -> Command {
    let mut command = Command::new(subcommand.name).about(subcommand.about);
    for flag in subcommand.flags {
        command = command.arg(arg(None, flag));
    }
    for setting in program.settings {
        if subcommand.takes(setting.name) {
            command = command.arg(arg(Some(program), setting));
        }
    }
    if let Some(operand) = &subcommand.operand {
        let action = match operand.arity {
            Arity::One | Arity::Switch => ArgAction::Set,
            Arity::List | Arity::Lines => ArgAction::Append,
        };
        let operand = Arg::new(operand.name)
            .value_name(operand.value_name)
            .help(operand.help)
            .required(operand.arity == Arity::One)
            .action(action);
        command = command.arg(operand);
    }
    command.arg(config_arg())
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;
    use crate::settings::{Settings, SettingsError};

    const PROGRAM: Program = Program {
        name: "test-service",
        about: "For the tests below.",
        settings: &[
            Setting::new("brokers", "HOST:PORT", "localhost:9092", "Which.").many(Arity::List),
            Setting::new("limit", "N", "7", "How many."),
        ],
    };

    const LIST: Subcommand = Subcommand {
        name: "list",
        about: "Lists them.",
        shares: Shared::These(&["brokers"]),
        flags: &[
            Setting::new("first", "N", "10", "How many."),
            Setting::switch("json", "As JSON."),
        ],
        operand: Some(Setting::optional("place", "PLACE", "Which.").many(Arity::List)),
    };

    const ENTRIES: &[Entry] = &[
        Entry::Alone(Subcommand {
            name: "doctor",
            about: "Examines.",
            shares: Shared::All,
            flags: &[Setting::switch("json", "As JSON.")],
            operand: None,
        }),
        Entry::Group(CommandGroup {
            name: "letters",
            about: "Letters.",
            commands: &[LIST],
        }),
        Entry::Group(CommandGroup {
            name: "topics",
            about: "Topics.",
            commands: &[LIST],
        }),
    ];

    type Loaded = (Settings, Option<Chosen>);

    fn load(args: &[&str], env: &[(&str, &str)]) -> Result<Loaded, SettingsError> {
        let args = std::iter::once("test-service")
            .chain(args.iter().copied())
            .map(OsString::from);
        let env = |name: &str| {
            let found = env.iter().find(|(key, _)| *key == name)?;
            Some(found.1.to_owned())
        };
        Settings::load_with(PROGRAM, ENTRIES, args, env)
    }

    #[test]
    fn without_a_command_it_is_the_service() {
        let (mut settings, command) = load(&["--limit", "1"], &[]).unwrap();
        assert!(command.is_none());
        assert_eq!(settings.value::<u32>("limit"), 1);
    }

    #[test]
    fn a_command_shares_settings_and_has_its_own() {
        let env = [
            ("TEST_SERVICE_BROKERS", "e:1"),
            ("TEST_SERVICE_LIMIT", "many"),
            ("TEST_SERVICE_FIRST", "3"),
        ];
        let (mut settings, command) =
            load(&["letters", "list", "--json", "0:1", "0:2"], &env).unwrap();
        let chosen = command.unwrap();
        assert_eq!(
            (chosen.group, chosen.command.name),
            (Some("letters"), "list")
        );
        assert_eq!(settings.list::<String>("brokers"), ["e:1"]);
        assert_eq!(settings.value::<u32>("first"), 10);
        assert!(settings.switch("json"));
        assert_eq!(settings.list::<String>("place"), ["0:1", "0:2"]);
        // A setting that the command does not take is not read, so it cannot be wrong.
        assert!(settings.finish().is_ok());
        let flag = ["letters", "list", "--brokers", "f:1", "--first", "2"];
        let (mut settings, _) = load(&flag, &env).unwrap();
        assert_eq!(settings.list::<String>("brokers"), ["f:1"]);
        assert_eq!(settings.value::<u32>("first"), 2);
    }

    #[test]
    fn a_command_may_stand_alone_and_take_all_settings() {
        let args = ["doctor", "--json", "--limit", "1", "--brokers", "a:1"];
        let (mut settings, chosen) = load(&args, &[]).unwrap();
        let chosen = chosen.unwrap();
        assert_eq!((chosen.group, chosen.command.name), (None, "doctor"));
        assert_eq!(settings.value::<u32>("limit"), 1);
        assert_eq!(settings.list::<String>("brokers"), ["a:1"]);
        assert!(settings.switch("json"));
    }

    #[test]
    fn groups_may_have_commands_of_the_same_name() {
        let (_, chosen) = load(&["topics", "list"], &[]).unwrap();
        assert_eq!(chosen.unwrap().group, Some("topics"));
    }

    #[test]
    fn the_help_lists_every_command() {
        let help = load(&["--help"], &[]).unwrap_err().to_string();
        for name in ["doctor", "letters", "topics"] {
            assert!(help.contains(name), "{help}");
        }
    }

    #[test]
    fn a_command_reads_the_services_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        std::fs::write(&path, "brokers = 'g:1'\nlimit = 3\nfirst = 1\n").unwrap();
        let args = ["letters", "list", "--config", path.to_str().unwrap()];
        let (mut settings, _) = load(&args, &[]).unwrap();
        assert_eq!(settings.list::<String>("brokers"), ["g:1"]);
        let error = settings.finish().unwrap_err().to_string();
        assert!(
            error.contains("`first`") && !error.contains("`limit`"),
            "{error}"
        );
    }

    #[test]
    fn what_would_have_no_effect_is_refused() {
        for args in [
            &["letters"][..],
            &["letters", "list", "--limit", "1"],
            &["--brokers", "a:1", "letters", "list"],
            &["--brokers", "a:1", "doctor"],
            &["doctor", "list"],
        ] {
            assert!(
                matches!(load(args, &[]), Err(SettingsError::Usage(_))),
                "{args:?}"
            );
        }
    }
}
