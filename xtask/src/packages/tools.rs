//! The tools that judge the packages, pinned, below the build directory.
//!
//! In the flow: `go`, `foreign`, `schemas` → **`tools`** → `chart`, `debian`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::schemas;
use crate::command;
use crate::foreign;
use crate::go::Go;
use crate::interrupt::Interrupt;
use crate::progress::Progress;
use crate::workspace::Workspace;

const HELM: (&str, &str) = ("helm.sh/helm/v3/cmd/helm", "v3.22.0");
const KUBECONFORM: (&str, &str) = ("github.com/yannh/kubeconform/cmd/kubeconform", "v0.8.0");
const CARGO_DEB: &str = "3.8.0";
/// The oldest Kubernetes that the chart takes, and a new one.
pub const KUBERNETES: [&str; 2] = ["1.30.0", "1.37.0"];
/// Where KEDA and the Prometheus operator describe the kinds that they add to it.
const ADDED: [(&str, &str); 2] = [
    ("github.com/kedacore/keda/v2@v2.21.0", "config/crd/bases"),
    (
        "github.com/prometheus-operator/prometheus-operator@v0.85.0",
        "example/prometheus-operator-crd",
    ),
];

/// The tools, each to be run.
#[derive(Debug, Clone)]
pub struct Tools {
    /// Helm.
    pub helm: PathBuf,
    /// kubeconform.
    pub kubeconform: PathBuf,
    /// cargo-deb.
    pub cargo_deb: PathBuf,
    /// Where kubeconform finds the schemas of each version, as it is told.
    pub schemas: String,
}

impl Tools {
    /// Installs what is missing.
    ///
    /// # Errors
    /// When a registry does not answer, or something does not compile.
    pub fn provide(
        workspace: &Workspace,
        progress: &Progress,
        interrupt: &Interrupt,
    ) -> Result<Self> {
        let directory = workspace.target.join("tools");
        let go = Go::provide(progress, interrupt)?;
        let install = |(package, version): (&str, &str)| {
            let programs = directory.join(version);
            go.install(package, version, &programs, progress, interrupt)
                .with_context(|| format!("installing `{package}@{version}`"))
        };
        Ok(Self {
            helm: install(HELM)?,
            kubeconform: install(KUBECONFORM)?,
            cargo_deb: cargo_deb(&directory, progress, interrupt)?,
            schemas: schemas(workspace, &directory, &go, progress, interrupt)?,
        })
    }
}

fn cargo_deb(directory: &Path, progress: &Progress, interrupt: &Interrupt) -> Result<PathBuf> {
    let root = directory.join(format!("cargo-deb-{CARGO_DEB}"));
    let program = root.join("bin/cargo-deb");
    if program.is_file() {
        return Ok(program);
    }
    let mut step = progress.step("cargo-deb", &format!("compiling {CARGO_DEB}"));
    let build = directory.join("build");
    let mut cargo = Command::new("nice");
    cargo
        .args([
            "cargo",
            "install",
            "cargo-deb",
            "--locked",
            "--version",
            CARGO_DEB,
        ])
        // The libraries that others compress with by default; gzip alone would take zopfli's time.
        .arg("--root")
        .arg(&root)
        .env("CARGO_TARGET_DIR", &build);
    command::run(cargo, interrupt, |line| step.note(line.trim()))?;
    fs::remove_dir_all(&build)?;
    step.done(&format!("{CARGO_DEB} is there"));
    Ok(program)
}

/// Where the schemas lie, in the words of `kubeconform -schema-location`.
fn schemas(
    workspace: &Workspace,
    directory: &Path,
    go: &Go,
    progress: &Progress,
    interrupt: &Interrupt,
) -> Result<String> {
    let list = workspace.root.join("xtask/src/packages/requirements.txt");
    let written = directory.join("schemas");
    // All that they are made of; they are written anew when it is another.
    let sources = format!(
        "{} {KUBERNETES:?} {ADDED:?}",
        fs::read_to_string(&list)?.trim()
    );
    foreign::once_as(&written, &sources, || {
        let mut step = progress.step("schemas", "fetching those of Kubernetes");
        let environment = directory.join("kubernetes-validate");
        let programs = foreign::python(&environment, &list, interrupt)?;
        for version in KUBERNETES {
            let folder = written.join(format!("v{version}"));
            schemas::write_kubernetes(&programs, version, &folder)?;
            for (module, sources) in ADDED {
                step.note(module);
                let sources = go.module(module, interrupt)?.join(sources);
                schemas::write_added(&sources, &folder).with_context(|| format!("`{module}`"))?;
            }
        }
        step.done("there");
        Ok(())
    })?;
    let folder = format!(
        "{}/{{{{ .NormalizedKubernetesVersion }}}}",
        written.display()
    );
    Ok(format!(
        "{folder}/{{{{ .ResourceKind }}}}{{{{ .KindSuffix }}}}.json"
    ))
}
