//! Runs a tool that ends by itself (Maven, cargo, apt-get) and stops it when the user asks for an end.
//!
//! In the flow: `prerequisites`, `engines::provision`, `services` and `test` run their tools through it.
//! Not here: processes that stay (`process`).

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::Signal;

use crate::interrupt::{Interrupt, POLL};
use crate::process::{signal_group, spawn};

/// How long a tool may take to end after SIGTERM.
const STOP_WITHIN: Duration = Duration::from_secs(10);

/// How many of its last lines the error shows when a tool fails.
const TAIL_LINES: usize = 25;

/// Runs `command` with xtask's own output.
///
/// # Errors
/// When it cannot be started, or an end was asked for.
pub fn run_visibly(command: Command, interrupt: &Interrupt) -> Result<ExitStatus> {
    let mut child = spawn_under_setpriv(&command, Stdio::inherit)?;
    loop {
        if let Some(status) = child.try_wait().context("cannot wait for a tool")? {
            return Ok(status);
        }
        if interrupt.requested() {
            end(&mut child);
            interrupt.check()?;
        }
        std::thread::sleep(POLL);
    }
}

/// Runs `command` and gives each line of its output to `on_line`.
///
/// # Errors
/// When it cannot be started, fails (the error shows its last lines), or an end was asked for.
pub fn run(command: Command, interrupt: &Interrupt, mut on_line: impl FnMut(&str)) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let mut child = spawn_under_setpriv(&command, Stdio::piped)?;
    let (sender, lines) = mpsc::channel::<String>();
    let stdout = child
        .stdout
        .take()
        .map(|pipe| Box::new(pipe) as Box<dyn std::io::Read + Send>);
    let stderr = child
        .stderr
        .take()
        .map(|pipe| Box::new(pipe) as Box<dyn std::io::Read + Send>);
    for pipe in [stdout, stderr].into_iter().flatten() {
        let sender = sender.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
                if sender
                    .send(String::from_utf8_lossy(&line).trim_end().to_owned())
                    .is_err()
                {
                    break;
                }
            }
        });
    }
    drop(sender);
    let mut last: std::collections::VecDeque<String> = std::collections::VecDeque::new();
    loop {
        match lines.recv_timeout(POLL) {
            Ok(line) => {
                on_line(&line);
                last.push_back(line);
                if last.len() > TAIL_LINES {
                    last.pop_front();
                }
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {}
        }
        if interrupt.requested() {
            end(&mut child);
            interrupt.check()?;
        }
    }
    let status = child
        .wait()
        .with_context(|| format!("cannot wait for `{name}`"))?;
    if !status.success() {
        let tail: String = last.iter().map(|line| format!("\n  | {line}")).collect();
        bail!("`{name}` ended with {status}{tail}");
    }
    Ok(())
}

/// Runs `command` to its end and gives its standard output, or `None` when it is absent or fails.
#[must_use]
pub fn output(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// As a process that stays, a tool dies with xtask.
fn spawn_under_setpriv(command: &Command, output: impl Fn() -> Stdio) -> Result<Child> {
    let name = command.get_program().to_string_lossy().into_owned();
    let mut wrapped = Command::new("setpriv");
    wrapped
        .args(["--pdeathsig", "KILL", "--"])
        .arg(command.get_program())
        .args(command.get_args());
    wrapped
        .stdin(Stdio::null())
        .stdout(output())
        .stderr(output());
    for (key, value) in command.get_envs() {
        match value {
            Some(value) => wrapped.env(key, value),
            None => wrapped.env_remove(key),
        };
    }
    if let Some(directory) = command.get_current_dir() {
        wrapped.current_dir(directory);
    }
    spawn(wrapped).with_context(|| format!("cannot start `{name}`"))
}

fn end(child: &mut Child) {
    let began = Instant::now();
    signal_group(child.id(), Signal::TERM);
    while began.elapsed() < STOP_WITHIN {
        if matches!(child.try_wait(), Ok(Some(_)) | Err(_)) {
            break;
        }
        std::thread::sleep(POLL);
    }
    signal_group(child.id(), Signal::KILL);
    child.wait().ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn gives_every_line_of_both_outputs() {
        let mut lines = Vec::new();
        run(
            shell("echo one; echo two >&2"),
            &Interrupt::default(),
            |line| lines.push(line.to_owned()),
        )
        .unwrap();
        lines.sort();
        assert_eq!(lines, ["one", "two"]);
    }

    #[test]
    fn a_failure_shows_the_last_lines() {
        let error = run(shell("echo no disk; exit 4"), &Interrupt::default(), |_| {})
            .unwrap_err()
            .to_string();
        assert_eq!(error, "`sh` ended with exit status: 4\n  | no disk");
    }

    #[test]
    fn an_interrupt_ends_the_tool_and_what_it_started() {
        let interrupt = Interrupt::default();
        let asked = interrupt.clone();
        let began = Instant::now();
        let result = run(
            shell("sleep 600 & echo started; wait"),
            &interrupt,
            move |_| asked.request(),
        );
        assert!(result.unwrap_err().is::<crate::interrupt::Interrupted>());
        assert!(began.elapsed() < Duration::from_secs(60));
    }
}
