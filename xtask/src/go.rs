//! Go, for tools and files that its modules have: the machine's own, or a newer one where that is too old.
//!
//! In the flow: `prerequisites` → **`go`** → `packages::tools`. Debian's stable releases have a Go that is older than
//! what Helm is written in; newer ones are modules themselves, so they come from where all else comes from.

use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::command::{self, output};
use crate::interrupt::Interrupt;
use crate::progress::Progress;

/// The oldest that will do, major and minor.
const LEAST: (u32, u32) = (1, 26);
/// What is fetched where the machine's is older.
const FETCHED: &str = "1.27.3";

/// A Go that is new enough.
#[derive(Debug, Clone)]
pub struct Go {
    program: PathBuf,
}

impl Go {
    /// Finds one that is new enough, and fetches it if the machine's is not.
    ///
    /// # Errors
    /// When there is none for this kind of processor, or it cannot be fetched.
    pub fn provide(progress: &Progress, interrupt: &Interrupt) -> Result<Self> {
        let own = Self {
            program: PathBuf::from("go"),
        };
        let version = output("go", &["env", "GOVERSION"]).unwrap_or_default();
        if is_new_enough(&version) {
            return Ok(own);
        }
        let step = progress.step("go", &format!("fetching Go {FETCHED}"));
        let toolchain = format!(
            "golang.org/toolchain@v0.0.1-go{FETCHED}.linux-{}",
            processor(env::consts::ARCH)?
        );
        let home = own.module(&toolchain, interrupt)?;
        unpack(&home).with_context(|| format!("`{}`", home.display()))?;
        step.done(&format!(
            "Go {FETCHED} is there; the machine's is `{}`",
            version.trim()
        ));
        Ok(Self {
            program: home.join("bin/go"),
        })
    }

    /// Compiles `package@version` and puts the program into `directory`, unless it lies there.
    ///
    /// # Errors
    /// When Go cannot fetch or compile it.
    pub fn install(
        &self,
        package: &str,
        version: &str,
        directory: &Path,
        progress: &Progress,
        interrupt: &Interrupt,
    ) -> Result<PathBuf> {
        let name = package.rsplit('/').next().unwrap_or(package);
        let program = directory.join(name);
        if program.is_file() {
            return Ok(program);
        }
        let mut step = progress.step(name, &format!("compiling {version}"));
        let mut go = Command::new("nice");
        go.arg(&self.program)
            // Names each package when it is compiled.
            .args(["install", "-v", "-ldflags=-s -w"])
            .arg(format!("{package}@{version}"))
            .env("GOBIN", directory)
            .env("CGO_ENABLED", "0");
        command::run(go, interrupt, |line| step.note(line))?;
        step.done(&format!("{version} is there"));
        Ok(program)
    }

    /// The directory of `module@version`.
    ///
    /// # Errors
    /// When Go cannot fetch it.
    pub fn module(&self, module: &str, interrupt: &Interrupt) -> Result<PathBuf> {
        let mut go = Command::new(&self.program);
        go.args(["mod", "download", "-json", module]);
        let mut answer = String::new();
        command::run(go, interrupt, |line| answer.push_str(line))?;
        // Warnings stand before it.
        let start = answer.find('{').unwrap_or_default();
        let answer: serde_json::Value = serde_json::from_str(&answer[start..])
            .with_context(|| format!("`go mod download` says of `{module}`: `{answer}`"))?;
        let directory = answer["Dir"]
            .as_str()
            .with_context(|| format!("`go mod download` tells no directory of `{module}`"))?;
        Ok(PathBuf::from(directory))
    }
}

/// Does what a newer `go` would do itself: a module has no programs, and no modules within it.
fn unpack(home: &Path) -> std::io::Result<()> {
    let tools = fs::read_dir(home.join("pkg/tool"))?;
    let tools = tools.map(|entry| std::io::Result::Ok(entry?.path()));
    for directory in tools.chain([Ok(home.join("bin"))]) {
        for entry in fs::read_dir(directory?)? {
            fs::set_permissions(entry?.path(), fs::Permissions::from_mode(0o755))?;
        }
    }
    for module in ["src", "src/cmd"].map(|module| home.join(module)) {
        let manifest = module.join("go.mod");
        if !manifest.is_file() {
            fs::set_permissions(&module, fs::Permissions::from_mode(0o755))?;
            fs::copy(module.join("_go.mod"), manifest)?;
        }
    }
    Ok(())
}

fn processor(name: &str) -> Result<&'static str> {
    match name {
        "x86_64" => Ok("amd64"),
        "aarch64" => Ok("arm64"),
        other => bail!(
            "there is no Go to fetch for `{other}`; install Go {}.{} or later",
            LEAST.0,
            LEAST.1
        ),
    }
}

/// Whether `version`, such as `go1.26.8`, will do.
fn is_new_enough(version: &str) -> bool {
    let mut numbers = version.trim().trim_start_matches("go").split('.');
    let mut number = || numbers.next().and_then(|number| number.parse().ok());
    let version: (Option<u32>, Option<u32>) = (number(), number());
    version >= (Some(LEAST.0), Some(LEAST.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_older_than_helm_wants_it_is_not_used() {
        for version in ["go1.26.0\n", "go1.27.3", "go2.0"] {
            assert!(is_new_enough(version), "{version}");
        }
        for version in ["go1.19.8\n", "go1.25.9", "", "devel"] {
            assert!(!is_new_enough(version), "{version}");
        }
        assert!(is_new_enough(FETCHED));
    }
}
