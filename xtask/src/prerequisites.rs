//! Finds out what the machine lacks, installs it where that is possible, and else names the command that does.
//!
//! In the flow: `workspace` → **`prerequisites`** → `engines`.
//! Installed is only as root on a system with apt (Debian, Ubuntu), and only what a command is about to need.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::command::{self, output};
use crate::engines::postgres;
use crate::interrupt::Interrupt;
use crate::progress::Progress;

/// Something that a command needs on the machine.
#[derive(Debug, Clone, Copy)]
pub struct Prerequisite {
    /// What it is called.
    pub name: &'static str,
    /// What it is for.
    pub purpose: &'static str,
    /// The Debian packages that bring it.
    pub packages: &'static [&'static str],
    is_there: fn() -> bool,
}

const C_COMPILER: Prerequisite = Prerequisite {
    name: "a C and C++ compiler",
    purpose: "librdkafka is compiled from source",
    packages: &["build-essential"],
    is_there: || runs("cc") && runs("c++") && runs("make"),
};
const CMAKE: Prerequisite = Prerequisite {
    name: "cmake",
    purpose: "librdkafka is compiled from source",
    packages: &["cmake"],
    is_there: || runs("cmake"),
};
const PKG_CONFIG: Prerequisite = Prerequisite {
    name: "pkg-config",
    purpose: "it finds the system's OpenSSL and zlib",
    packages: &["pkg-config"],
    is_there: || runs("pkg-config"),
};
const OPENSSL: Prerequisite = Prerequisite {
    name: "OpenSSL's headers",
    purpose: "TLS to Kafka and Elasticsearch",
    packages: &["libssl-dev"],
    is_there: || output("pkg-config", &["--exists", "openssl"]).is_some(),
};
const ZLIB: Prerequisite = Prerequisite {
    name: "zlib's headers",
    purpose: "gzip in Kafka",
    packages: &["zlib1g-dev"],
    is_there: || output("pkg-config", &["--exists", "zlib"]).is_some(),
};
const SETPRIV: Prerequisite = Prerequisite {
    name: "setpriv",
    purpose: "every child process ends with xtask, and Elasticsearch does not run as root",
    packages: &["util-linux"],
    is_there: || runs("setpriv"),
};
const JAVA: Prerequisite = Prerequisite {
    name: "a JDK, 17 or later",
    purpose: "Kafka and Elasticsearch run in it",
    packages: &["openjdk-17-jdk-headless"],
    is_there: || java().is_ok(),
};
const MAVEN: Prerequisite = Prerequisite {
    name: "Maven",
    purpose: "it fetches Kafka and Elasticsearch",
    packages: &["maven"],
    is_there: || runs("mvn"),
};
const PROMETHEUS: Prerequisite = Prerequisite {
    name: "Prometheus with promtool",
    purpose: "it checks the metrics, and evaluates the rules and the dashboards",
    packages: &["prometheus"],
    is_there: || runs("prometheus") && runs("promtool"),
};
const PYTHON: Prerequisite = Prerequisite {
    name: "Python with venv and pip",
    purpose: "Schemathesis, which holds the query API against its description, and clients of the live tests run in it",
    packages: &["python3", "python3-venv"],
    is_there: || output("python3", &["-c", "import ensurepip, venv"]).is_some(),
};

const POSTGRESQL: Prerequisite = Prerequisite {
    name: "PostgreSQL's server",
    purpose: "the archive is kept in it",
    packages: &["postgresql"],
    is_there: || postgres::programs().is_some(),
};

const LIBCURL: Prerequisite = Prerequisite {
    name: "libcurl",
    purpose: "rsyslog, which is unpacked and not installed, speaks to Elasticsearch with it",
    packages: &["libcurl4"],
    is_there: || library("libcurl.so.4"),
};
const CURL: Prerequisite = Prerequisite {
    name: "curl",
    purpose: "requests over TLS and HTTP/2 are sent with it",
    packages: &["curl"],
    is_there: || runs("curl"),
};
const OPENSSL_COMMAND: Prerequisite = Prerequisite {
    name: "the openssl command",
    purpose: "it makes certificates",
    packages: &["openssl"],
    is_there: || runs("openssl"),
};
const LIBFAKETIME: Prerequisite = Prerequisite {
    name: "libfaketime",
    purpose: "it sets the clock of one process off",
    packages: &["libfaketime"],
    is_there: || faketime().is_some(),
};

const HAPROXY: Prerequisite = Prerequisite {
    name: "HAProxy",
    purpose: "it stands before the gateways and the query APIs of a cluster",
    packages: &["haproxy"],
    is_there: || runs("haproxy"),
};

const CALLGRIND: Prerequisite = Prerequisite {
    name: "valgrind",
    purpose: "it counts the instructions of the pure core",
    packages: &["valgrind"],
    is_there: || runs("valgrind"),
};

const GO: Prerequisite = Prerequisite {
    name: "Go",
    purpose: "Helm and kubeconform, which check the chart, are compiled with it or with what it fetches",
    packages: &["golang-go"],
    is_there: || runs("go"),
};
const SYSTEMD: Prerequisite = Prerequisite {
    name: "systemd",
    purpose: "it runs the Debian package's units, on a machine inside this one",
    packages: &["systemd"],
    is_there: || runs("systemd-analyze"),
};
const DPKG: Prerequisite = Prerequisite {
    name: "dpkg's development tools",
    purpose: "they find out what the Debian package depends on",
    packages: &["dpkg-dev"],
    is_there: || runs("dpkg-deb") && runs("dpkg-shlibdeps"),
};

const NODE: Prerequisite = Prerequisite {
    name: "Node.js with npm",
    purpose: "the explorer page is built with it, and clients of the live tests run on it",
    packages: &["nodejs", "npm"],
    is_there: || runs("node") && runs("npm"),
};
const CHROMIUM: Prerequisite = Prerequisite {
    name: "Chromium",
    purpose: "the explorer page is tested in it",
    packages: &["chromium"],
    is_there: || runs("chromium"),
};

/// What building the services needs.
pub const BUILD: &[Prerequisite] = &[C_COMPILER, CMAKE, PKG_CONFIG, OPENSSL, ZLIB];
/// What running the engines needs.
pub const ENGINES: &[Prerequisite] = &[SETPRIV, JAVA, MAVEN];
/// What the live tests need beyond both.
pub const CHECKS: &[Prerequisite] = &[PROMETHEUS, PYTHON, NODE, CURL, OPENSSL_COMMAND];
/// What provoking alerts needs beyond the engines.
pub const ALERTS: &[Prerequisite] = &[PROMETHEUS, OPENSSL_COMMAND];
/// What the peers of `bench` need beyond the engines.
pub const PEERS: &[Prerequisite] = &[PYTHON, LIBCURL];
/// What a cluster needs beyond the engines.
pub const PROXY: &[Prerequisite] = &[HAPROXY];
/// What a secured pipeline needs beyond the engines.
pub const SECURITY: &[Prerequisite] = &[CURL, OPENSSL_COMMAND];
/// What an archive needs beyond the engines.
pub const ARCHIVE: &[Prerequisite] = &[POSTGRESQL];
/// What setting a clock off needs.
pub const FAKETIME: &[Prerequisite] = &[LIBFAKETIME];
/// What counting instructions needs.
pub const VALGRIND: &[Prerequisite] = &[CALLGRIND];

/// What checking the packages needs beyond the services.
pub const PACKAGES: &[Prerequisite] = &[SETPRIV, GO, PYTHON, CURL, OPENSSL_COMMAND, SYSTEMD, DPKG];

/// What checking the explorer page needs beyond the services.
pub const PAGE: &[Prerequisite] = &[NODE, CHROMIUM];

/// Where libfaketime's library for programs with threads lies, to be loaded before all others.
#[must_use]
pub fn faketime() -> Option<PathBuf> {
    let libraries = std::fs::read_dir("/usr/lib").ok()?;
    libraries
        .filter_map(|entry| Some(entry.ok()?.path().join("faketime/libfaketimeMT.so.1")))
        .find(|library| library.is_file())
}

/// Sees to it that everything in `groups` is there.
///
/// # Errors
/// When something is missing and cannot be installed: each missing thing with its purpose, and one command.
pub fn ensure(
    groups: &[&[Prerequisite]],
    progress: &Progress,
    interrupt: &Interrupt,
) -> Result<()> {
    let mut missing: Vec<Prerequisite> = Vec::new();
    for one in groups.iter().copied().flatten() {
        if missing.iter().all(|other| other.name != one.name) && !(one.is_there)() {
            missing.push(*one);
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let packages: Vec<&str> = missing
        .iter()
        .flat_map(|one| one.packages)
        .copied()
        .collect();
    let list: Vec<String> = missing
        .iter()
        .map(|one| format!("{} ({})", one.name, one.purpose))
        .collect();
    let install = format!(
        "apt-get install -y --no-install-recommends {}",
        packages.join(" ")
    );
    if !rustix::process::geteuid().is_root() || !runs("apt-get") {
        bail!(
            "missing: {}; install it, on Debian and Ubuntu by `sudo {install}`",
            list.join(", ")
        );
    }
    progress.say(&format!("missing: {}", list.join(", ")));
    let mut step = progress.step("apt-get", &format!("installing {}", packages.join(" ")));
    for arguments in [
        &["update"][..],
        &["install", "-y", "--no-install-recommends"][..],
    ] {
        let mut apt = Command::new("apt-get");
        apt.args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
        if arguments[0] == "install" {
            apt.args(&packages);
        }
        command::run(apt, interrupt, |line| step.note(line))
            .with_context(|| format!("`{install}` failed"))?;
    }
    let absent: Vec<&str> = missing
        .iter()
        .filter(|one| !(one.is_there)())
        .map(|one| one.name)
        .collect();
    if !absent.is_empty() {
        bail!(
            "installed {}, and still missing: {}",
            packages.join(" "),
            absent.join(", ")
        );
    }
    step.done(&format!("installed {}", packages.join(" ")));
    Ok(())
}

/// The home of the JDK: `JAVA_HOME` where it is set, else that of `java` on the path.
///
/// # Errors
/// When there is none, or it is older than 17.
pub fn java() -> Result<PathBuf> {
    let program = match std::env::var_os("JAVA_HOME") {
        Some(home) => Path::new(&home).join("bin/java"),
        None => PathBuf::from("java"),
    };
    let output = Command::new(&program)
        .args(["-XshowSettings:properties", "-version"])
        .output()
        .with_context(|| {
            format!(
                "cannot run `{}`; set JAVA_HOME to a JDK, 17 or later",
                program.display()
            )
        })?;
    let settings = String::from_utf8_lossy(&output.stderr).into_owned();
    let value = |key: &str| {
        settings.lines().find_map(|line| {
            line.trim()
                .strip_prefix(key)?
                .trim_start()
                .strip_prefix("= ")
                .map(str::to_owned)
        })
    };
    let version = value("java.specification.version").unwrap_or_default();
    if !version.parse::<u32>().is_ok_and(|version| version >= 17) {
        bail!(
            "`{}` is Java `{version}`; set JAVA_HOME to a JDK, 17 or later",
            program.display()
        );
    }
    value("java.home")
        .map(PathBuf::from)
        .with_context(|| format!("`{}` does not tell its home", program.display()))
}

/// Whether a shared library of that name lies where the system looks for them.
fn library(name: &str) -> bool {
    let directories = std::fs::read_dir("/usr/lib").into_iter().flatten();
    directories
        .filter_map(|entry| Some(entry.ok()?.path().join(name)))
        .any(|library| library.is_file())
}

/// Whether a program of that name is on the path.
fn runs(program: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_programs_on_the_path_only() {
        assert!(runs("sh"));
        assert!(!runs("no-such-program-anywhere"));
    }

    #[test]
    fn everything_tells_its_purpose_and_its_package() {
        for one in [
            BUILD, ENGINES, CHECKS, ALERTS, PEERS, PROXY, FAKETIME, VALGRIND, PACKAGES, PAGE,
        ]
        .concat()
        {
            assert!(
                !one.purpose.is_empty() && !one.packages.is_empty(),
                "{}",
                one.name
            );
        }
    }
}
