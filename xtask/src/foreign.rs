//! Tools and clients in other languages, installed once each in directories of their own below Cargo's build directory.
//!
//! In the flow: `workspace` → **`foreign`** → the live tests and `bench::peers`, which run them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::command;
use crate::interrupt::Interrupt;
use crate::node::Node;

/// A Python environment with exactly the versions that a file lists, made anew when the list has changed. Returns its
/// directory of programs.
///
/// # Errors
/// When it cannot be made, or pip cannot fetch what is listed.
pub fn python(environment: &Path, requirements: &Path, interrupt: &Interrupt) -> Result<PathBuf> {
    let programs = environment.join("bin");
    once(environment, requirements, || {
        let mut make = Command::new("python3");
        make.args(["-m", "venv", "--clear"]).arg(environment);
        command::run(make, interrupt, |_| {})?;
        let mut pip = Command::new(programs.join("python"));
        pip.args(["-m", "pip", "install", "--disable-pip-version-check"])
            .args(["--quiet", "--no-deps", "--requirement"])
            .arg(requirements);
        command::run(pip, interrupt, |_| {})
            .with_context(|| format!("installing what `{}` lists", requirements.display()))
    })?;
    Ok(programs)
}

/// A directory with what a `package-lock.json` lists, and the scripts beside it; installed and run with `node`.
///
/// # Errors
/// When the scripts cannot be copied, or npm cannot fetch what is listed.
pub fn node(environment: &Path, node: &Node, source: &Path, interrupt: &Interrupt) -> Result<()> {
    fs::create_dir_all(environment)?;
    for entry in fs::read_dir(source)? {
        let path = entry?.path();
        let is_wanted = path
            .extension()
            .is_some_and(|extension| extension == "mjs" || extension == "json");
        if let Some(file) = path.file_name().filter(|_| is_wanted) {
            fs::copy(&path, environment.join(file))?;
        }
    }
    once(environment, &source.join("package-lock.json"), || {
        let mut npm = node.command("npm");
        npm.current_dir(environment)
            .args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"]);
        command::run(npm, interrupt, |_| {})
    })
}

/// A directory with the files of Debian packages that a file lists, unpacked and not installed: some cannot be
/// installed beside each other.
///
/// # Errors
/// When this is neither Debian nor a system like it, or apt cannot fetch what is listed.
pub fn debian(root: &Path, list: &Path, interrupt: &Interrupt) -> Result<()> {
    once(root, list, || {
        fs::remove_dir_all(root).or_else(|error| match error.kind() {
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
            command::run(apt, interrupt, |_| {})
        };
        if download().is_err() {
            // The lists of packages are absent, or older than the packages.
            let mut apt = Command::new("apt-get");
            apt.args(["update", "-q"]);
            command::run(apt, interrupt, |_| {})?;
            download().with_context(|| format!("fetching what `{}` lists", list.display()))?;
        }
        for archive in fs::read_dir(&archives)? {
            let mut dpkg = Command::new("dpkg");
            dpkg.arg("-x").arg(archive?.path()).arg(root);
            command::run(dpkg, interrupt, |_| {})?;
        }
        Ok(fs::remove_dir_all(&archives)?)
    })
}

/// Installs unless what is installed is what the list says.
///
/// # Errors
/// When the list cannot be read, or the installation fails.
pub fn once(environment: &Path, list: &Path, install: impl FnOnce() -> Result<()>) -> Result<()> {
    let wanted = fs::read_to_string(list).with_context(|| format!("reading {}", list.display()))?;
    once_as(environment, &wanted, install)
}

/// Installs unless what is installed is what is `wanted`, a description of it.
///
/// # Errors
/// When the installation fails.
pub fn once_as(
    environment: &Path,
    wanted: &str,
    install: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let installed = environment.join("installed.txt");
    if fs::read_to_string(&installed).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    install()?;
    fs::write(&installed, wanted)?;
    Ok(())
}
