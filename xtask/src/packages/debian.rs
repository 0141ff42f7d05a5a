//! The Debian package: built from the release binaries, and tried on a machine inside this one, with a systemd of its own.
//!
//! In the flow: `tools`, `start`, `promises` → **`debian`** → `deploy/debian`, `deploy/systemd`; `host.sh`, which is that
//! machine, and `install.sh`, which is what is done on it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::start::{Start, Starts};
use super::tools::Tools;
use super::{compose, promises};
use crate::command::{self, output};
use crate::interrupt::Interrupt;
use crate::progress::{Progress, Step};
use crate::services::PACKAGED;
use crate::workspace::Workspace;

const PACKAGE: &str = "logflow";
/// The most that a unit may be exposed, of 100, as `systemd-analyze security` counts.
const EXPOSURE_MAX: &str = "15";
/// What every image of Debian has.
const IN_EVERY_IMAGE: [&str; 2] = ["libc6", "libgcc-s1"];
/// What the package needs and an image does not.
const NOT_IN_AN_IMAGE: [&str; 1] = ["systemd"];
/// How much of what was said there an error shows.
const LOG_LINES: usize = 30;
/// Namespaces, and an overlay of all files with the kernel's own file systems in it.
const BEGINNING: &str = r#"
mount --make-rprivate /
mount -t tmpfs -o mode=0755 tmpfs "$0"
cd "$0"
mkdir upper work root
mount -t overlay -o lowerdir=/,upperdir=upper,workdir=work overlay root
mount -t proc proc root/proc
mount -t sysfs -o ro sysfs root/sys
"#;
/// How long that machine may be there: longer than `host.sh` gives what is done on it.
const INSTALL_WITHIN: &str = "4m";
/// What is done with the package on the machine inside this one.
const INSTALL: &str = include_str!("install.sh");

/// Checks the package.
///
/// # Errors
/// At the first fault.
pub fn check(
    workspace: &Workspace,
    tools: &Tools,
    starts: &Starts,
    progress: &Progress,
    interrupt: &Interrupt,
) -> Result<()> {
    let deploy = workspace.root.join("deploy");
    settings_are_accepted(&deploy.join("debian"), starts)?;
    for name in PACKAGED {
        unit_fits(&deploy, name, starts, interrupt)
            .with_context(|| format!("the unit of `{name}`"))?;
    }
    let step = progress.step("cargo-deb", "building the package");
    let directory = workspace.target.join("packages");
    let archive = build(workspace, &directory, tools, interrupt)?;
    is_all_that_the_images_need(&archive, &workspace.root)?;
    step.done(&format!("{} is built", archive.display()));
    if !rustix::process::geteuid().is_root() {
        progress.say("dpkg: the package is not installed: only root can make a machine for it");
        return Ok(());
    }
    if !lets_machines_be_made(&directory, interrupt)? {
        progress.say("dpkg: the package is not installed: namespaces, or an overlay of its files, are denied to this machine, as in most containers");
        return Ok(());
    }
    let mut step = progress.step("dpkg", "installing the package where a systemd runs");
    install(&workspace.root, &directory, &mut step, interrupt)?;
    step.done("the package installs, its services start, recover, upgrade and end, and nothing is left of it");
    Ok(())
}

/// The files of settings, as they are and with every example in them made a setting.
fn settings_are_accepted(directory: &Path, starts: &Starts) -> Result<()> {
    for name in PACKAGED {
        let path = directory.join(format!("{name}.toml"));
        let text = fs::read_to_string(&path)
            .with_context(|| format!("cannot read `{}`", path.display()))?;
        for text in [with_examples(&text), text] {
            let path = format!("/etc/logflow/{name}.toml");
            starts.accept(&Start {
                name: name.to_owned(),
                flags: vec!["--config".to_owned(), path.clone()],
                file: Some((path, text)),
                ..Start::default()
            })?;
        }
    }
    Ok(())
}

/// Settings with every example, which stands behind a `#` at once and without a space, in place of what it is one for.
fn with_examples(text: &str) -> String {
    let mut is_inside = false;
    let mut lines: Vec<(bool, &str)> = Vec::new();
    for line in text.lines() {
        let example = line
            .strip_prefix('#')
            .filter(|rest| is_inside || rest.starts_with(|c: char| c.is_ascii_lowercase()));
        lines.push((example.is_some(), example.unwrap_or(line)));
        if let Some(example) = example {
            is_inside = example.ends_with('[') || is_inside && example != "]";
        }
    }
    let key = |line: &str| line.split_once(" = ").map(|(key, _)| key.to_owned());
    let examples: Vec<String> = lines
        .iter()
        .filter(|(is_example, _)| *is_example)
        .filter_map(|(_, line)| key(line))
        .collect();
    let kept = lines.iter().filter(|(is_example, line)| {
        *is_example || !key(line).is_some_and(|key| examples.contains(&key))
    });
    kept.map(|(_, line)| format!("{line}\n")).collect()
}

/// A unit gives its service the time and the memory that its settings as installed ask for, and confines it.
fn unit_fits(deploy: &Path, name: &str, starts: &Starts, interrupt: &Interrupt) -> Result<()> {
    let path = deploy.join(format!("systemd/{PACKAGE}-{name}.service"));
    let unit = fs::read_to_string(&path)?;
    let value = |key: &str| {
        let value = unit
            .lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        value.with_context(|| format!("there is no `{key}`"))
    };
    let settings = fs::read_to_string(deploy.join(format!("debian/{name}.toml")))?;
    let settings = promises::of_file(&settings)?;
    let stop = promises::duration(value("TimeoutStopSec")?)?;
    promises::drains_within(stop, name, &settings, starts)?;
    let memory = promises::bytes(value("MemoryMax")?)?;
    promises::fits_into(memory, name, &settings, starts)?;
    let mut analyze = Command::new("systemd-analyze");
    analyze
        .args([
            "security",
            "--no-pager",
            "--offline=true",
            "--threshold",
            EXPOSURE_MAX,
        ])
        .arg(&path);
    command::run(analyze, interrupt, |_| {})
}

fn build(
    workspace: &Workspace,
    directory: &Path,
    tools: &Tools,
    interrupt: &Interrupt,
) -> Result<PathBuf> {
    let archive = directory.join(format!("{PACKAGE}.deb"));
    let mut cargo_deb = Command::new(&tools.cargo_deb);
    cargo_deb
        .current_dir(&workspace.root)
        .args([
            "--package",
            PACKAGE,
            "--no-build",
            "--no-strip",
            "--fast",
            "--output",
        ])
        .arg(&archive)
        .env("CARGO_TARGET_DIR", &workspace.target);
    command::run(cargo_deb, interrupt, |_| {})?;
    Ok(archive)
}

/// What the package depends on, the images install.
fn is_all_that_the_images_need(archive: &Path, root: &Path) -> Result<()> {
    let depends = output(
        "dpkg-deb",
        &["--field", &archive.to_string_lossy(), "Depends"],
    )
    .context("the package does not say what it depends on")?;
    let installed = compose::installed(root)?;
    let names = depends
        .split(',')
        .filter_map(|one| one.split_whitespace().next());
    for name in names {
        // As newer systems call what was built anew for 64 bits of time.
        let name = name.trim_end_matches("t64");
        let is_there = IN_EVERY_IMAGE.contains(&name)
            || NOT_IN_AN_IMAGE.contains(&name)
            || installed.contains(name);
        ensure!(
            is_there,
            "the services need `{name}`, and the images do not have it"
        );
    }
    Ok(())
}

/// A command in namespaces of its own, for a while.
fn unshare() -> Command {
    let mut unshare = Command::new("timeout");
    unshare
        .args(["--signal", "KILL", INSTALL_WITHIN, "unshare"])
        .args(["--mount", "--pid", "--fork", "--kill-child"])
        .args(["--uts", "--ipc", "--net", "--cgroup"])
        .arg("sh");
    unshare
}

/// Whether the kernel gives us what `host.sh` begins with.
fn lets_machines_be_made(directory: &Path, interrupt: &Interrupt) -> Result<bool> {
    let host = directory.join("host");
    fs::create_dir_all(&host)?;
    let mut probe = unshare();
    probe.args(["-ec", BEGINNING]).arg(&host);
    let made = command::run(probe, interrupt, |_| {});
    interrupt.check()?;
    Ok(made.is_ok())
}

/// On a machine inside this one, because it is not this one's.
fn install(root: &Path, directory: &Path, step: &mut Step, interrupt: &Interrupt) -> Result<()> {
    fs::write(directory.join("install.sh"), INSTALL)?;
    let log = directory.join("install.sh.log");
    fs::write(&log, "")?;
    let mut unshare = unshare();
    unshare
        .arg(root.join("xtask/src/packages/host.sh"))
        .arg(directory)
        .arg("install.sh");
    let result = command::run(unshare, interrupt, |line| step.note(line));
    result.with_context(|| {
        let said = fs::read_to_string(&log).unwrap_or_default();
        let lines: Vec<&str> = said.lines().collect();
        let end = lines[lines.len().saturating_sub(LOG_LINES)..].join("\n  | ");
        format!("`{}` ends with\n  | {end}", log.display())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_example_takes_the_place_of_the_setting() {
        let text = "# Of what.\n#\na = 1\n# As in:\n#a = 2\n#b = [\n#  \"x\",\n#]\nc = 3\n";
        assert_eq!(
            with_examples(text),
            "# Of what.\n#\n# As in:\na = 2\nb = [\n  \"x\",\n]\nc = 3\n"
        );
    }
}
