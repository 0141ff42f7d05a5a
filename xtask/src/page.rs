//! The explorer page in `query-api/ui`: what it takes to check it, and to drive it in a browser.
//!
//! In the flow: `test`, `node` → **`page`** → npm. The scenario that serves it stands in
//! `xtask/tests/live/scenarios/page.rs`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::command;
use crate::interrupt::Interrupt;
use crate::node::Node;
use crate::progress::Progress;
use crate::workspace::Workspace;

/// How the scenarios of the page begin among those of the live suite.
pub const THEME: &str = "page::";

/// The folder of the page's source and its tools.
#[derive(Debug, Clone)]
pub struct Page {
    directory: PathBuf,
    node: Node,
}

impl Page {
    /// The page, with a Node.js for its tools.
    ///
    /// # Errors
    /// When there is no Node.js and none can be fetched.
    pub fn new(workspace: &Workspace, progress: &Progress, interrupt: &Interrupt) -> Result<Self> {
        Ok(Self {
            directory: workspace.root.join("query-api/ui"),
            node: Node::provide(workspace, progress, interrupt)?,
        })
    }

    /// Installs its tools, in the versions of the lock file.
    ///
    /// # Errors
    /// When npm cannot.
    pub fn install(&self, progress: &Progress, interrupt: &Interrupt) -> Result<()> {
        self.npm(&["ci"], progress, interrupt)
    }

    /// Checks the source, and whether what is committed is what it builds and light enough.
    ///
    /// What is committed stays untouched: the services embed it, and a newer file would have them compiled again.
    ///
    /// # Errors
    /// When a check fails, or `dist` is not what the source builds.
    pub fn check(
        &self,
        workspace: &Workspace,
        progress: &Progress,
        interrupt: &Interrupt,
    ) -> Result<()> {
        self.install(progress, interrupt)?;
        self.npm(&["run", "check"], progress, interrupt)?;
        self.npm(&["run", "unit"], progress, interrupt)?;
        let built = workspace.target.join("page");
        let path = built.to_string_lossy();
        let compile = ["run", "compile", "--", "--emptyOutDir", "--outDir", &path];
        self.npm(&compile, progress, interrupt)?;
        let different = different(&self.directory.join("dist"), &built)?;
        if !different.is_empty() {
            bail!(
                "`query-api/ui/dist` is not what the source builds: {} differ; run `npm run build` in `query-api/ui` \
                 and commit what it writes",
                different.join(", ")
            );
        }
        self.npm(&["run", "weigh"], progress, interrupt)
    }

    /// Drives the page at `page` in a browser; its tests send their events to `gateway`. Where there is also a query
    /// API that needs keys, `keys` are the variables that tell the tests of it.
    ///
    /// # Errors
    /// When a test fails.
    pub fn drive(
        &self,
        page: &str,
        gateway: &str,
        keys: &[(&str, String)],
        interrupt: &Interrupt,
    ) -> Result<()> {
        let mut npm = self.command(&["test"]);
        npm.env("LOGFLOW_UI_URL", page)
            .env("LOGFLOW_INGEST_URL", gateway)
            .envs(keys.iter().map(|(name, value)| (name, value)));
        finish(npm, "npm test", interrupt)
    }

    /// npm with these arguments, to be run.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut npm = self.node.command("npm");
        npm.current_dir(&self.directory).args(arguments);
        npm
    }

    fn npm(&self, arguments: &[&str], progress: &Progress, interrupt: &Interrupt) -> Result<()> {
        let shown = format!("npm {}", arguments.join(" "));
        progress.say(&shown);
        finish(self.command(arguments), &shown, interrupt)
    }
}

fn finish(command: Command, shown: &str, interrupt: &Interrupt) -> Result<()> {
    let status = command::run_visibly(command, interrupt)?;
    if !status.success() {
        bail!("`{shown}` in query-api/ui ended with {status}");
    }
    Ok(())
}

/// The names of the files that only one of the two has, or that are not the same in both.
fn different(one: &Path, other: &Path) -> Result<Vec<String>> {
    let (one, other) = (files(one)?, files(other)?);
    let mut names: Vec<&String> = one.keys().chain(other.keys()).collect();
    names.sort();
    names.dedup();
    let differ = |name: &&&String| one.get(**name) != other.get(**name);
    Ok(names
        .iter()
        .filter(differ)
        .map(ToString::to_string)
        .collect())
}

fn files(directory: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    let unreadable = || format!("cannot read `{}`", directory.display());
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(directory).with_context(unreadable)? {
        let entry = entry.with_context(unreadable)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        files.insert(name, fs::read(entry.path()).with_context(unreadable)?);
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_missing_or_another_is_named() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for (directory, name, text) in [
            (&one, "same", "a"),
            (&other, "same", "a"),
            (&one, "changed", "a"),
            (&other, "changed", "b"),
            (&one, "gone", "a"),
            (&other, "new", "a"),
        ] {
            fs::write(directory.path().join(name), text).unwrap();
        }
        let named = different(one.path(), other.path()).unwrap();
        assert_eq!(named, ["changed", "gone", "new"]);
    }
}
