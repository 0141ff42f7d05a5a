//! What is deployed starts: the command lines of `deploy/compose` are those that the binaries accept.

use std::fs;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use yaml_rust2::{Yaml, YamlLoader};

use crate::scenarios;
use crate::stage::{Scenario, Stage};
use xtask::services::SERVICES;

pub(crate) const SCENARIOS: &[Scenario] =
    scenarios![the_command_lines_of_the_compose_file_are_accepted_by_the_binaries];

fn the_command_lines_of_the_compose_file_are_accepted_by_the_binaries(
    stage: &mut Stage<'_>,
) -> Result<()> {
    let path = stage.root().join("deploy/compose/compose.yaml");
    let text =
        fs::read_to_string(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
    let compose = YamlLoader::load_from_str(&text)?;
    let compose = compose.first().context("the compose file is empty")?;
    let services = compose["services"]
        .as_hash()
        .context("the compose file has no services")?;
    let mut checked = Vec::new();
    for (name, service) in services {
        let Some(command) = service["command"].as_vec() else {
            continue;
        };
        let words: Vec<&str> = command.iter().filter_map(Yaml::as_str).collect();
        ensure!(
            words.len() == command.len(),
            "{name:?}: every word of `command` must be text"
        );
        let (binary, flags) = words.split_first().context("an empty command")?;
        let output = Command::new(stage.binary(binary))
            .args(flags)
            .arg("--check-config")
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("cannot run `{binary}`"))?;
        let complaints = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success(),
            "{binary} refuses its command line: {complaints}"
        );
        checked.push((*binary).to_owned());
    }
    ensure!(
        SERVICES
            .iter()
            .all(|service| checked.iter().any(|name| name == service)),
        "only {checked:?} are started"
    );
    Ok(())
}
