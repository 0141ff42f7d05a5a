//! One supervised child process: start, readiness, log, stop, kill, restart.
//!
//! In the flow: `engines` and `services` describe processes as [`Spec`]s; `up` and the live tests hold them as
//! [`Process`]es. No way to end xtask leaves one behind: dropping a `Process` kills it, and the kernel kills it when
//! xtask itself is killed.
//! Not here: what to run (`engines`, `services`), when to start it again (`up`).

use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, OnceLock, mpsc};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::interrupt::{Interrupt, POLL};

/// A log larger than this is moved to `<log>.1` at the next start.
const LOG_BYTES_MAX: u64 = 16 << 20;

/// How many lines of each log an error shows, and how much of each.
const TAIL_LINES: usize = 15;
const TAIL_LINE_CHARS: usize = 400;

/// Tells whether a process does its work: `Err` with the reason while it does not.
pub type Probe = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// What to run and how to know that it works.
#[derive(Clone)]
pub struct Spec {
    /// How messages call it.
    pub name: String,
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Environment variables beside those of xtask.
    pub environment: Vec<(OsString, OsString)>,
    /// Further options of `setpriv`, to give up privileges.
    pub privileges: Vec<OsString>,
    /// Where its standard output and error go, appended.
    pub log: PathBuf,
    /// Logs that it writes itself; an error shows their ends too.
    pub own_logs: Vec<PathBuf>,
    /// Whether it works.
    pub ready: Probe,
    /// How long it may take until it works.
    pub ready_within: Duration,
    /// How long it may take to end after SIGTERM.
    pub stop_within: Duration,
}

impl fmt::Debug for Spec {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.name, self.command_line())
    }
}

impl Spec {
    /// The command as a person would type it.
    #[must_use]
    pub fn command_line(&self) -> String {
        let words = std::iter::once(self.program.as_os_str())
            .chain(self.args.iter().map(OsString::as_os_str));
        words
            .map(|word| word.to_string_lossy())
            .collect::<Vec<_>>()
            .join(" ")
    }
}

/// How a process ended when it was asked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// It did not run.
    WasNotRunning,
    /// It ended after SIGTERM with this status, in this time.
    Ended(ExitStatus, Duration),
    /// It did not end in [`Spec::stop_within`] and was killed.
    Killed,
}

/// A child process, running or not.
#[derive(Debug)]
pub struct Process {
    spec: Spec,
    child: Option<Child>,
}

impl Process {
    /// A process that does not run yet.
    #[must_use]
    pub fn new(spec: Spec) -> Self {
        Self { spec, child: None }
    }

    /// What it is.
    #[must_use]
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// Runs something else from the next start on.
    pub fn set_spec(&mut self, spec: Spec) {
        self.spec = spec;
    }

    /// Its process id while it runs. Elasticsearch's is that of its launcher, see [`Process::server_pid`].
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// The process that does the work: the child of the started one where there is one (Elasticsearch), else itself.
    #[must_use]
    pub fn server_pid(&self) -> Option<u32> {
        let pid = self.pid()?;
        // The kernel lists children by the thread that made them; a JVM's first thread makes none.
        let threads = fs::read_dir(format!("/proc/{pid}/task")).ok();
        let children = threads.into_iter().flatten().filter_map(|thread| {
            let children = fs::read_to_string(thread.ok()?.path().join("children")).ok()?;
            children.split_whitespace().next()?.parse().ok()
        });
        Some(children.min().unwrap_or(pid))
    }

    /// Starts it, and does not wait until it works.
    ///
    /// # Errors
    /// When it runs already or cannot be started at all.
    pub fn launch(&mut self) -> Result<()> {
        if self.exit_status()?.is_none() && self.child.is_some() {
            bail!("{} runs already", self.spec.name);
        }
        self.child = None;
        let log = open_log(&self.spec.log)?;
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL"])
            .args(&self.spec.privileges)
            .arg("--")
            .arg(&self.spec.program)
            .args(&self.spec.args)
            .envs(
                self.spec
                    .environment
                    .iter()
                    .map(|(key, value)| (key, value)),
            )
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("cannot share the log file")?)
            .stderr(log);
        let child = spawn(command).with_context(|| {
            format!(
                "cannot start {} (`{}`)",
                self.spec.name,
                self.spec.command_line()
            )
        })?;
        self.child = Some(child);
        Ok(())
    }

    /// Waits until it works.
    ///
    /// # Errors
    /// When it ends first, does not work in [`Spec::ready_within`], or an end was asked for. The error shows the ends
    /// of its logs.
    pub fn wait_until_ready(&mut self, interrupt: &Interrupt) -> Result<()> {
        let began = Instant::now();
        loop {
            interrupt.check()?;
            if let Some(status) = self.exit_status()? {
                bail!(
                    "{} ended with {status} before it was ready{}",
                    self.spec.name,
                    self.tail()
                );
            }
            match (self.spec.ready)() {
                Ok(()) => return Ok(()),
                Err(reason) if began.elapsed() >= self.spec.ready_within => {
                    let seconds = self.spec.ready_within.as_secs();
                    bail!(
                        "{} was not ready after {seconds} s: {reason}{}",
                        self.spec.name,
                        self.tail()
                    );
                }
                Err(_) => std::thread::sleep(POLL),
            }
        }
    }

    /// Starts it and waits until it works. One that fails to is killed.
    ///
    /// # Errors
    /// As [`Process::launch`] and [`Process::wait_until_ready`].
    pub fn start(&mut self, interrupt: &Interrupt) -> Result<()> {
        self.launch()?;
        let ready = self.wait_until_ready(interrupt);
        if ready.is_err() {
            self.kill();
        }
        ready
    }

    /// How it ended, when it did by itself since the last look; `None` while it runs or when it was never started.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn exit_status(&mut self) -> Result<Option<ExitStatus>> {
        let Some(child) = &mut self.child else {
            return Ok(None);
        };
        let status = child
            .try_wait()
            .with_context(|| format!("cannot ask after {}", self.spec.name))?;
        if status.is_some() {
            // What it left behind in its group goes with it.
            signal_group(child.id(), Signal::KILL);
            self.child = None;
        }
        Ok(status)
    }

    /// Whether it runs.
    #[must_use]
    pub fn is_running(&mut self) -> bool {
        matches!(self.exit_status(), Ok(None)) && self.child.is_some()
    }

    /// Asks it to end by SIGTERM, waits for at most [`Spec::stop_within`], then kills it.
    ///
    /// # Errors
    /// When the kernel does not tell whether it ended.
    pub fn stop(&mut self) -> Result<Stopped> {
        let Some(pid) = self.pid() else {
            return Ok(Stopped::WasNotRunning);
        };
        let began = Instant::now();
        if let Some(pid) = raw_pid(pid) {
            // It may have ended a moment ago: then there is nothing to signal.
            kill_process(pid, Signal::TERM).ok();
        }
        while began.elapsed() < self.spec.stop_within {
            if let Some(status) = self.exit_status()? {
                return Ok(Stopped::Ended(status, began.elapsed()));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.kill();
        Ok(Stopped::Killed)
    }

    /// Kills it and everything it started, by SIGKILL, and waits until it is gone.
    pub fn kill(&mut self) {
        let Some(mut child) = self.child.take() else {
            return;
        };
        signal_group(child.id(), Signal::KILL);
        child.kill().ok();
        child.wait().ok();
    }

    /// Stops every thread of it where it stands, until [`Process::resume`]: a stall, not an end.
    pub fn pause(&self) {
        if let Some(pid) = self.pid() {
            signal_group(pid, Signal::STOP);
        }
    }

    /// Ends a [`Process::pause`].
    pub fn resume(&self) {
        if let Some(pid) = self.pid() {
            signal_group(pid, Signal::CONT);
        }
    }

    /// The most memory it ever held resident, in bytes, from `/proc`; `None` when it does not run.
    #[must_use]
    pub fn memory_peak_bytes(&self) -> Option<u64> {
        memory_bytes(self.server_pid()?, "VmHWM:")
    }

    /// The memory it holds resident now, in bytes, from `/proc`; `None` when it does not run.
    #[must_use]
    pub fn memory_bytes(&self) -> Option<u64> {
        memory_bytes(self.server_pid()?, "VmRSS:")
    }

    /// The seconds of CPU it has used so far, in the program and in the kernel for it; `None` when it does not run.
    #[must_use]
    pub fn cpu_seconds(&self) -> Option<f64> {
        /// Of a second; the same on every Linux that user space sees (`USER_HZ`).
        const TICKS: f64 = 100.0;
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.server_pid()?)).ok()?;
        // The name in brackets may hold anything; the numbers follow the last one.
        let (_, numbers) = stat.rsplit_once(") ")?;
        let mut numbers = numbers.split(' ').skip(11);
        let mut ticks = || numbers.next()?.parse::<u32>().ok().map(f64::from);
        Some((ticks()? + ticks()?) / TICKS)
    }

    /// The ends of its logs, each under its path, to stand at the end of an error; empty when there are none.
    #[must_use]
    pub fn tail(&self) -> String {
        std::iter::once(&self.spec.log)
            .chain(&self.spec.own_logs)
            .map(|log| tail(log))
            .collect()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Starts `command` as the leader of a process group of its own, so that the terminal's Ctrl-C reaches xtask alone.
///
/// `setpriv --pdeathsig` acts when the *thread* that started the child ends, so all children are started by one thread
/// that lives as long as xtask.
///
/// # Errors
/// When it cannot be started.
pub fn spawn(mut command: Command) -> io::Result<Child> {
    type Request = (Command, mpsc::Sender<io::Result<Child>>);
    static SPAWNER: OnceLock<mpsc::Sender<Request>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (sender, requests) = mpsc::channel::<Request>();
        std::thread::spawn(move || {
            for (mut command, reply) in requests {
                reply.send(command.spawn()).ok();
            }
        });
        sender
    });
    command.process_group(0);
    let (reply, answer) = mpsc::channel();
    let gone = || io::Error::other("the thread that starts processes is gone");
    spawner.send((command, reply)).map_err(|_| gone())?;
    answer.recv().map_err(|_| gone())?
}

/// Signals the process group that `leader` leads, when there still is one.
pub fn signal_group(leader: u32, signal: Signal) {
    if let Some(pid) = raw_pid(leader) {
        kill_process_group(pid, signal).ok();
    }
}

fn raw_pid(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw)
}

fn open_log(path: &Path) -> Result<File> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)
            .with_context(|| format!("cannot create `{}`", directory.display()))?;
    }
    if path
        .metadata()
        .is_ok_and(|metadata| metadata.len() > LOG_BYTES_MAX)
    {
        let mut older = path.as_os_str().to_owned();
        older.push(".1");
        fs::rename(path, older)
            .with_context(|| format!("cannot move `{}` aside", path.display()))?;
    }
    File::options()
        .create(true)
        .append(true)
        .open(path)
        .with_context(|| format!("cannot write the log `{}`", path.display()))
}

fn memory_bytes(pid: u32, field: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    let kibibytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kibibytes * 1024)
}

/// The last lines of a log under its path, or nothing when it is empty or absent.
#[must_use]
pub fn tail(path: &Path) -> String {
    const WINDOW_BYTES: u64 = 16 << 10;
    let read = || -> io::Result<String> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(WINDOW_BYTES)))?;
        let mut bytes = Vec::new();
        file.take(WINDOW_BYTES).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let text = read().unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let last = &lines[lines.len().saturating_sub(TAIL_LINES)..];
    if last.is_empty() {
        return String::new();
    }
    let quoted: String = last
        .iter()
        .map(|line| {
            format!(
                "\n  | {}",
                line.chars().take(TAIL_LINE_CHARS).collect::<String>()
            )
        })
        .collect();
    format!("\n  end of {}:{quoted}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(directory: &Path, script: &str, ready: Probe) -> Process {
        Process::new(Spec {
            name: "child".into(),
            program: "/bin/sh".into(),
            args: vec!["-c".into(), script.into()],
            environment: Vec::new(),
            privileges: Vec::new(),
            log: directory.join("child.log"),
            own_logs: Vec::new(),
            ready,
            ready_within: Duration::from_secs(10),
            stop_within: Duration::from_secs(10),
        })
    }

    fn log_says(directory: &Path, text: &'static str) -> Probe {
        let log = directory.join("child.log");
        Arc::new(move || match fs::read_to_string(&log) {
            Ok(content) if content.contains(text) => Ok(()),
            _ => Err(format!("the log does not say `{text}`")),
        })
    }

    fn is_alive(pid: &str) -> bool {
        fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
    }

    #[test]
    fn one_that_ends_before_it_is_ready_is_told_with_its_last_words() {
        let directory = tempfile::tempdir().unwrap();
        let mut process = shell(
            directory.path(),
            "echo no such port; exit 3",
            Arc::new(|| Err("not yet".into())),
        );
        let error = process
            .start(&Interrupt::default())
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("child ended with exit status: 3 before it was ready"),
            "{error}"
        );
        assert!(error.contains("| no such port"), "{error}");
    }

    #[test]
    fn one_that_is_not_ready_in_time_is_killed() {
        let directory = tempfile::tempdir().unwrap();
        let mut process = shell(
            directory.path(),
            "exec sleep 600",
            Arc::new(|| Err("deaf".into())),
        );
        process.spec.ready_within = Duration::from_millis(100);
        let error = process
            .start(&Interrupt::default())
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("child was not ready after 0 s: deaf"),
            "{error}"
        );
        assert!(!process.is_running());
    }

    #[test]
    fn stops_by_sigterm_and_starts_again() {
        let directory = tempfile::tempdir().unwrap();
        let script = "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done";
        // The log is continued, so what the run before said must not count.
        let log = directory.path().join("child.log");
        let up = move || match fs::read_to_string(&log) {
            Ok(content) if content.ends_with("up\n") => Ok(()),
            _ => Err("the log does not end with `up`".to_owned()),
        };
        let mut process = shell(directory.path(), script, Arc::new(up));
        for _ in 0..2 {
            process.start(&Interrupt::default()).unwrap();
            assert!(
                matches!(process.stop().unwrap(), Stopped::Ended(status, _) if status.success())
            );
            assert!(!process.is_running());
        }
        assert_eq!(
            fs::read_to_string(directory.path().join("child.log")).unwrap(),
            "up\nbye\nup\nbye\n"
        );
    }

    #[test]
    fn one_that_ignores_sigterm_is_killed_with_all_it_started() {
        let directory = tempfile::tempdir().unwrap();
        let script = "trap '' TERM; sleep 600 & echo $!; echo up; while :; do sleep 0.05; done";
        let mut process = shell(directory.path(), script, log_says(directory.path(), "up"));
        process.spec.stop_within = Duration::from_millis(100);
        process.start(&Interrupt::default()).unwrap();
        let log = fs::read_to_string(directory.path().join("child.log")).unwrap();
        let grandchild = log.lines().next().unwrap().to_owned();
        assert!(is_alive(&grandchild));
        assert_eq!(process.stop().unwrap(), Stopped::Killed);
        Interrupt::default()
            .wait_for("the grandchild to be gone", Duration::from_secs(5), || {
                if is_alive(&grandchild) {
                    Err("it is alive".into())
                } else {
                    Ok(())
                }
            })
            .unwrap();
    }

    #[test]
    fn an_interrupt_ends_the_wait_and_the_process() {
        let directory = tempfile::tempdir().unwrap();
        let interrupt = Interrupt::default();
        interrupt.request();
        let mut process = shell(
            directory.path(),
            "exec sleep 600",
            Arc::new(|| Err("not yet".into())),
        );
        assert!(
            process
                .start(&interrupt)
                .unwrap_err()
                .is::<crate::interrupt::Interrupted>()
        );
        assert!(!process.is_running());
    }

    #[test]
    fn tells_the_memory_of_a_running_process() {
        let directory = tempfile::tempdir().unwrap();
        let mut process = shell(
            directory.path(),
            // Without `exec`, which would begin again with no memory at all, perhaps at this very moment.
            "echo up; while :; do sleep 600; done",
            log_says(directory.path(), "up"),
        );
        process.start(&Interrupt::default()).unwrap();
        assert!(process.memory_peak_bytes().unwrap() > 100_000);
        process.kill();
        assert_eq!(process.memory_peak_bytes(), None);
    }
}
