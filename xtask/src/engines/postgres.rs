//! Runs one PostgreSQL server, as Debian ships it, for the archive.
//!
//! In the flow: `prerequisites` → **`postgres`** → `archive`, the live tests. Like Elasticsearch it refuses to run as root.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};

use super::elasticsearch::as_nobody;
use crate::command;
use crate::interrupt::Interrupt;
use crate::process::{Process, Spec};

/// Whom everybody on loopback may be: the database holds what a test made up.
const USER: &str = "logflow";
/// Where Debian puts each version's programs.
const VERSIONS: &str = "/usr/lib/postgresql";

/// One server.
#[derive(Debug, Clone)]
pub struct Server {
    /// How messages call it.
    pub name: String,
    /// The port for clients.
    pub port: u16,
    /// Its own directory.
    pub directory: PathBuf,
}

/// Where the programs of the newest version that is installed lie; `None` if there is none.
#[must_use]
pub fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir(VERSIONS).ok()?;
    let found = versions.filter_map(|entry| {
        let path = entry.ok()?.path();
        let version: u32 = path.file_name()?.to_str()?.parse().ok()?;
        let programs = path.join("bin");
        programs
            .join("initdb")
            .is_file()
            .then_some((version, programs))
    });
    found.max().map(|(_, programs)| programs)
}

impl Server {
    /// As archive-sink and `loadtest verify` are given it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("postgres://{USER}@127.0.0.1:{}/postgres", self.port)
    }

    /// What psql answers to a statement, without decoration.
    ///
    /// # Errors
    /// When it cannot be asked, or refuses.
    pub fn ask(&self, statement: &str) -> Result<String> {
        let programs = programs().context("PostgreSQL's programs")?;
        let output = Command::new(programs.join("psql"))
            .args(["--no-psqlrc", "--tuples-only", "--no-align", "--quiet"])
            .args(["--set", "ON_ERROR_STOP=1", "--command", statement])
            .arg(self.url())
            .stdin(Stdio::null())
            .output()
            .context("starting psql")?;
        ensure!(
            output.status.success(),
            "{statement}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// Makes a cluster with nothing in it, unless there is one, and gives the process to run.
    ///
    /// # Errors
    /// When PostgreSQL is not installed or refuses.
    pub fn prepare(&self, interrupt: &Interrupt) -> Result<Spec> {
        let programs = programs()
            .with_context(|| format!("PostgreSQL's programs are not below `{VERSIONS}`"))?;
        let data = self.directory.join("data");
        fs::create_dir_all(&data).with_context(|| format!("cannot create `{}`", data.display()))?;
        let privileges = match rustix::process::geteuid().is_root() {
            true => as_nobody(&self.directory, &[&programs])?,
            false => Vec::new(),
        };
        if !data.join("PG_VERSION").exists() {
            let mut initdb = Command::new("setpriv");
            initdb
                .args(&privileges)
                .arg("--")
                .arg(programs.join("initdb"))
                .arg("--pgdata")
                .arg(&data)
                .args(["--username", USER, "--auth", "trust", "--encoding", "UTF8"])
                .args(["--no-locale", "--no-sync"]);
            command::run(initdb, interrupt, |_| {}).context("making PostgreSQL's data")?;
        }
        let port = self.port.to_string();
        let settings = [
            ("listen_addresses", "127.0.0.1"),
            // A socket's path may have 107 bytes at most, and a directory of a test has more.
            ("unix_socket_directories", ""),
            ("port", &port),
            // Compiles nothing at run time: the library for that is a hundred megabytes of memory in each session.
            ("jit", "off"),
        ];
        let mut args: Vec<OsString> = vec!["-D".into(), data.into()];
        for (key, value) in settings {
            args.extend(["-c".into(), format!("{key}={value}").into()]);
        }
        let ready = programs.join("pg_isready");
        Ok(Spec {
            name: self.name.clone(),
            program: programs.join("postgres"),
            args,
            environment: Vec::new(),
            privileges,
            log: self.directory.join("postgres.log"),
            own_logs: Vec::new(),
            ready: Arc::new(move || {
                let mut question = Command::new(&ready);
                question.args(["-q", "-h", "127.0.0.1", "-p", &port]);
                let answer = question.stdin(Stdio::null()).status();
                match answer {
                    Ok(status) if status.success() => Ok(()),
                    Ok(status) => Err(format!("pg_isready ends with {status}")),
                    Err(error) => Err(error.to_string()),
                }
            }),
            ready_within: Duration::from_secs(60),
            stop_within: Duration::from_secs(30),
        })
    }
}

/// Kills a server with all of its sessions, as a machine that loses power does. They have process groups of their own,
/// and while one is left no server starts on their data.
pub fn kill(server: &mut Process) {
    let sessions = server.pid().map(children).unwrap_or_default();
    server.kill();
    for pid in sessions {
        // It may have ended a moment ago: then there is nothing to kill.
        kill_process(pid, Signal::KILL).ok();
    }
}

fn children(pid: u32) -> Vec<Pid> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let children = children.unwrap_or_default();
    let pids = children.split_whitespace();
    pids.filter_map(|pid| Pid::from_raw(pid.parse().ok()?))
        .collect()
}
