//! `es-sink template diff` and `apply`: the index template without a start of the service.
//!
//! Beside the flow: `service::settings` → **`command`** → `template`, `difference`.

use std::io::Write as _;
use std::process::ExitCode;

use log_event::document::IndexPattern;
use serde_json::Value;
use service::command_line::{CommandGroup, Shared, Subcommand};
use service::elasticsearch::{NodeUrl, Nodes};
use service::login::Login;
use service::settings::{Settings, SettingsError};

use super::difference::differences;
use super::{Plan, Template};
use crate::config::nodes_and_login;

const SHARED: Shared = Shared::These(&[
    "elasticsearch-url",
    "elasticsearch-credentials",
    "elasticsearch-ca",
    "index-pattern",
]);

/// The commands.
pub const GROUP: CommandGroup = CommandGroup {
    name: "template",
    about: "Compares the index template that Elasticsearch holds with the one that ships, and installs that",
    commands: &[
        Subcommand {
            name: "diff",
            about: "Shows what differs, by JSON path; the exit status is 1 if something does",
            shares: SHARED,
            flags: &[],
            operand: None,
        },
        Subcommand {
            name: "apply",
            about: "Installs the template that ships, unless there is one of somebody else's or a newer one",
            shares: SHARED,
            flags: &[],
            operand: None,
        },
    ],
};

/// What to do, and where.
#[derive(Clone, Debug)]
pub struct TemplateConfig {
    /// Nodes of the cluster.
    pub nodes: Vec<NodeUrl>,
    /// Who we are to them.
    pub login: Login,
    /// Whose template.
    pub pattern: IndexPattern,
    /// Whether to install it.
    pub is_applied: bool,
}

impl TemplateConfig {
    /// Reads the settings of a command of [`GROUP`].
    ///
    /// # Errors
    /// All faults together.
    pub fn read(mut settings: Settings, command: &Subcommand) -> Result<Self, SettingsError> {
        let (nodes, login) = nodes_and_login(&mut settings);
        let config = Self {
            nodes,
            login,
            pattern: settings.value("index-pattern"),
            is_applied: command.name == "apply",
        };
        settings.finish().map(|_checked| config)
    }
}

/// Does what was asked for. The exit code is 0 if nothing differs (any more).
///
/// # Errors
/// If Elasticsearch does not answer, or refuses; if the template there is somebody else's.
pub async fn run(config: &TemplateConfig) -> anyhow::Result<ExitCode> {
    let nodes = Nodes::new(&config.nodes, &config.login).map_err(anyhow::Error::msg)?;
    let template = Template::new(&config.pattern);
    let name = template.name();
    let mut out = std::io::stdout();
    if config.is_applied {
        let told = match template.install(&nodes).await? {
            Plan::Keep => "is up to date",
            _ => "is installed; it holds for indices that are made from now on",
        };
        writeln!(out, "index template `{name}` {told}")?;
        return Ok(ExitCode::SUCCESS);
    }
    let shipped = template.body_for(template.engine(&nodes).await?);
    let Some(held) = template.look(&nodes).await? else {
        writeln!(out, "index template `{name}` is not there")?;
        return Ok(ExitCode::FAILURE);
    };
    let found = differences(&held, &shipped);
    for difference in &found {
        writeln!(out, "{difference}")?;
    }
    if found.is_empty() {
        writeln!(out, "index template `{name}` is as it ships")?;
        return Ok(ExitCode::SUCCESS);
    }
    writeln!(out, "{}", verdict(&template, &held, found.len()))?;
    Ok(ExitCode::FAILURE)
}

/// What can be done about differences.
fn verdict(template: &Template, held: &Value, n: usize) -> String {
    let name = template.name();
    let way = match template.plan(Some(held)) {
        Plan::Install => "`es-sink template apply` installs what ships".to_owned(),
        Plan::Keep => format!(
            "its version is not older than what ships, so it was changed on purpose and `apply` keeps it; to have what ships, delete it first (DELETE /_index_template/{name})"
        ),
        Plan::Refuse => "it is not logflow's, and `apply` refuses to replace it".to_owned(),
    };
    format!("index template `{name}` differs in {n} places; {way}")
}
