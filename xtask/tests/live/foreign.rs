//! Tools and clients in other languages, installed once each in environments of their own below Cargo's build directory.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use xtask::command;
use xtask::node::Node;

use crate::stage::Stage;

/// A Python environment with exactly the versions that a file lists, made anew when the list has changed. Returns its
/// directory of programs.
pub(crate) fn python(stage: &Stage<'_>, name: &str, requirements: &Path) -> Result<PathBuf> {
    let environment = stage.target().join("python").join(name);
    let programs = environment.join("bin");
    once(&environment, requirements, || {
        let mut make = Command::new("python3");
        make.args(["-m", "venv", "--clear"]).arg(&environment);
        command::run(make, &stage.interrupt(), |_| {})?;
        let mut pip = Command::new(programs.join("python"));
        pip.args(["-m", "pip", "install", "--disable-pip-version-check"])
            .args(["--quiet", "--no-deps", "--requirement"])
            .arg(requirements);
        command::run(pip, &stage.interrupt(), |_| {})
    })?;
    Ok(programs)
}

/// A directory with what a `package-lock.json` lists, and the scripts beside it; installed and run with `node`.
pub(crate) fn node(stage: &Stage<'_>, node: &Node, name: &str, source: &Path) -> Result<PathBuf> {
    let environment = stage.target().join("node").join(name);
    fs::create_dir_all(&environment)?;
    for entry in fs::read_dir(source)? {
        let path = entry?.path();
        let is_wanted = path
            .extension()
            .is_some_and(|extension| extension == "mjs" || extension == "json");
        if let Some(file) = path.file_name().filter(|_| is_wanted) {
            fs::copy(&path, environment.join(file))?;
        }
    }
    once(&environment, &source.join("package-lock.json"), || {
        let mut npm = node.command("npm");
        npm.current_dir(&environment)
            .args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"]);
        command::run(npm, &stage.interrupt(), |_| {})
    })?;
    Ok(environment)
}

/// A directory with the files of Debian packages that a file lists, unpacked and not installed: some cannot be
/// installed beside each other.
pub(crate) fn debian(stage: &Stage<'_>, name: &str, list: &Path) -> Result<PathBuf> {
    let root = stage.target().join("debian").join(name);
    once(&root, list, || {
        fs::remove_dir_all(&root).or_else(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Ok(()),
            _ => Err(error),
        })?;
        let archives = root.join("archives");
        fs::create_dir_all(&archives)?;
        let packages = fs::read_to_string(list)?;
        let download = || {
            let mut apt = Command::new("apt-get");
            apt.current_dir(&archives)
                .args(["download", "-q"])
                .args(packages.lines());
            command::run(apt, &stage.interrupt(), |_| {})
        };
        if download().is_err() {
            // The lists of packages are absent, or older than the packages.
            let mut apt = Command::new("apt-get");
            apt.args(["update", "-q"]);
            command::run(apt, &stage.interrupt(), |_| {})?;
            download()?;
        }
        for archive in fs::read_dir(&archives)? {
            let mut dpkg = Command::new("dpkg");
            dpkg.arg("-x").arg(archive?.path()).arg(&root);
            command::run(dpkg, &stage.interrupt(), |_| {})?;
        }
        Ok(fs::remove_dir_all(&archives)?)
    })?;
    Ok(root)
}

/// Installs unless what is installed is what the list says.
fn once(environment: &Path, list: &Path, install: impl FnOnce() -> Result<()>) -> Result<()> {
    let wanted = fs::read_to_string(list).with_context(|| format!("reading {}", list.display()))?;
    let installed = environment.join("installed.txt");
    if fs::read_to_string(&installed).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    install()?;
    fs::write(&installed, wanted)?;
    Ok(())
}
