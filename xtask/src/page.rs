//! The explorer page in `query-api/ui`: what it takes to check it, and to drive it in a browser.
//!
//! In the flow: `test` → **`page`** → npm. The scenario that serves it stands in `xtask/tests/live/scenarios/page.rs`.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, bail};

use crate::command;
use crate::interrupt::Interrupt;
use crate::progress::Progress;
use crate::workspace::Workspace;

/// How the scenarios of the page begin among those of the live suite.
pub const THEME: &str = "page::";

/// Checks the source, builds it, and holds what it builds against what is committed.
///
/// # Errors
/// When a check fails, or `dist` is not what the source builds.
pub fn check(workspace: &Workspace, progress: &Progress, interrupt: &Interrupt) -> Result<()> {
    let directory = directory(workspace);
    for arguments in [
        &["ci", "--no-audit", "--no-fund"][..],
        &["run", "check"],
        &["run", "unit"],
        &["run", "build"],
    ] {
        progress.say(&format!("npm {}", arguments.join(" ")));
        run(&directory, "npm", arguments, interrupt)?;
    }
    let dist = directory.join("dist");
    let changed = Command::new("git")
        .arg("-C")
        .arg(&directory)
        .args(["status", "--porcelain", "--"])
        .arg(&dist)
        .output()?;
    if !changed.status.success() || !changed.stdout.is_empty() {
        bail!(
            "`{}` is not what the source builds; commit what `npm run build` wrote:\n{}{}",
            dist.display(),
            String::from_utf8_lossy(&changed.stdout),
            String::from_utf8_lossy(&changed.stderr)
        );
    }
    Ok(())
}

/// Drives the page at `page` in a browser; its tests send their events to `gateway`.
///
/// # Errors
/// When a test fails.
pub fn drive(
    workspace: &Workspace,
    page: &str,
    gateway: &str,
    interrupt: &Interrupt,
) -> Result<()> {
    let directory = directory(workspace);
    let mut npm = Command::new("npm");
    npm.current_dir(&directory)
        .arg("test")
        .env("LOGFLOW_UI_URL", page)
        .env("LOGFLOW_INGEST_URL", gateway);
    finish(npm, "npm test", interrupt)
}

fn directory(workspace: &Workspace) -> PathBuf {
    workspace.root.join("query-api/ui")
}

fn run(
    directory: &PathBuf,
    program: &str,
    arguments: &[impl AsRef<OsStr>],
    interrupt: &Interrupt,
) -> Result<()> {
    let mut command = Command::new(program);
    command.current_dir(directory).args(arguments);
    let shown: Vec<_> = arguments
        .iter()
        .map(|one| one.as_ref().to_string_lossy())
        .collect();
    finish(
        command,
        &format!("{program} {}", shown.join(" ")),
        interrupt,
    )
}

fn finish(command: Command, shown: &str, interrupt: &Interrupt) -> Result<()> {
    let status = command::run_visibly(command, interrupt)?;
    if !status.success() {
        bail!("`{shown}` in query-api/ui ended with {status}");
    }
    Ok(())
}
