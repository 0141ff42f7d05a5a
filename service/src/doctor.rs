//! `doctor`: whether what a service needs is there, asked with the settings that it would start with.
//!
//! Beside the flow, in the order in which a check meets the files:
//!
//! 1. here: what a check is, all of them at once and none for longer than [`CHECK_TIMEOUT`], and how it is told.
//! 2. [`kafka`] asks the brokers, through [`crate::kafka::described`] what no binding asks; [`kafka_verdict`] judges the answers.
//! 3. [`elasticsearch`] asks the nodes; [`elasticsearch_verdict`] judges.
//! 4. [`files`]: keys and certificates that end.
//!
//! Nothing is changed by it, but that a transactional id of its own may be known to Kafka for a week.

use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::runtime::Handle;

use crate::command_line::{Shared, Subcommand};
use crate::settings::Setting;

pub mod elasticsearch;
pub mod elasticsearch_verdict;
pub mod files;
pub mod kafka;
pub mod kafka_verdict;

/// The command, the same for every service.
pub const COMMAND: Subcommand = Subcommand {
    name: "doctor",
    about: "Examines every connection and privilege that the service needs, with the settings that it would start with; changes nothing",
    shares: Shared::All,
    flags: &[Setting::switch("json", "Write JSON, one object")],
    operand: None,
};

/// How long one question may take.
pub const ASK_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a check may take, all of its questions together.
pub const CHECK_TIMEOUT: Duration = Duration::from_secs(15);

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Grade {
    /// As the service needs it.
    Ok,
    /// The service works, and something is not as it should be, or could not be found out.
    Warn,
    /// The service does not work so.
    Fail,
}

/// One line: what was looked at, and what is to be said of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How it ended.
    pub grade: Grade,
    /// What was looked at.
    pub about: String,
    /// What was seen, and, unless all is well, the way out.
    pub says: String,
}

impl Finding {
    /// All is well.
    pub fn ok(about: impl Into<String>, says: impl Into<String>) -> Self {
        Self::new(Grade::Ok, about, says)
    }

    /// The service works all the same.
    pub fn warn(about: impl Into<String>, says: impl Into<String>) -> Self {
        Self::new(Grade::Warn, about, says)
    }

    /// The service does not.
    pub fn fail(about: impl Into<String>, says: impl Into<String>) -> Self {
        Self::new(Grade::Fail, about, says)
    }

    fn new(grade: Grade, about: impl Into<String>, says: impl Into<String>) -> Self {
        Self {
            grade,
            about: about.into(),
            says: says.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let grade = match self.grade {
            Grade::Ok => "ok  ",
            Grade::Warn => "warn",
            Grade::Fail => "FAIL",
        };
        // One line a check, whatever an answer held.
        let says = self.says.split_whitespace().collect::<Vec<_>>().join(" ");
        write!(f, "{grade}  {}: {says}", self.about)
    }
}

/// Questions that belong together, and the one that asks them.
pub struct Check {
    about: String,
    ask: Box<dyn FnOnce() -> Vec<Finding> + Send>,
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Check")
            .field("about", &self.about)
            .finish_non_exhaustive()
    }
}

impl Check {
    /// `ask` runs on a thread of its own, beside all others.
    pub fn new(
        about: impl Into<String>,
        ask: impl FnOnce() -> Vec<Finding> + Send + 'static,
    ) -> Self {
        Self {
            about: about.into(),
            ask: Box::new(ask),
        }
    }
}

/// What was found, in the order of the checks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    findings: Vec<Finding>,
    ok: usize,
    warnings: usize,
    failures: usize,
}

impl Report {
    /// Carries out all checks at once. One that does not end in time fails, and hides no other.
    #[must_use]
    pub fn of(checks: Vec<Check>, timeout: Duration) -> Self {
        let deadline = Instant::now() + timeout;
        let (done, found) = channel();
        let mut results: Vec<Result<Vec<Finding>, String>> = Vec::new();
        for (at, check) in checks.into_iter().enumerate() {
            let done = done.clone();
            results.push(Err(check.about));
            // Nobody listens any more if the check ends too late.
            std::thread::spawn(move || drop(done.send((at, (check.ask)()))));
        }
        drop(done);
        while let Ok((at, findings)) =
            found.recv_timeout(deadline.saturating_duration_since(Instant::now()))
        {
            results[at] = Ok(findings);
        }
        let findings = results.into_iter().flat_map(|result| {
            result.unwrap_or_else(|about| vec![Finding::fail(about, "does not end in time")])
        });
        Self::counted(findings.collect())
    }

    fn counted(findings: Vec<Finding>) -> Self {
        let count = |grade| findings.iter().filter(|found| found.grade == grade).count();
        let (ok, warnings, failures) = (count(Grade::Ok), count(Grade::Warn), count(Grade::Fail));
        Self {
            findings,
            ok,
            warnings,
            failures,
        }
    }

    /// Writes it for people or for programs.
    ///
    /// # Errors
    /// If nobody reads it.
    pub fn write(&self, mut to: impl Write, json: bool) -> io::Result<()> {
        if json {
            let text = serde_json::to_string(self).map_err(io::Error::other)?;
            return writeln!(to, "{text}");
        }
        for finding in &self.findings {
            writeln!(to, "{finding}")?;
        }
        let Self {
            ok,
            warnings,
            failures,
            ..
        } = self;
        writeln!(to, "{ok} ok, {warnings} to look at, {failures} failed")
    }

    /// 1 if something fails.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(u8::from(self.failures > 0))
    }
}

/// Carries out the checks of a service and tells; the exit status says whether something fails.
#[must_use]
pub fn run(checks: impl FnOnce(&Handle) -> Vec<Check>, json: bool) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("the runtime does not start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let report = Report::of(checks(runtime.handle()), CHECK_TIMEOUT);
    // What hangs is not waited for.
    runtime.shutdown_background();
    match report.write(io::stdout().lock(), json) {
        // Whoever reads our output has seen enough, as `head` has.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => ExitCode::FAILURE,
        _ => report.exit_code(),
    }
}

/// What a question of the service's own found, in time.
///
/// # Errors
/// What the question's are, and that it took too long.
pub fn in_time<T>(
    handle: &Handle,
    question: impl Future<Output = Result<T, String>>,
) -> Result<T, String> {
    handle.block_on(async {
        match tokio::time::timeout(ASK_TIMEOUT, question).await {
            Ok(found) => found,
            Err(_) => Err("there is no answer in time".to_owned()),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_that_hangs_fails_and_hides_no_other() {
        let checks = vec![
            Check::new("slow", || {
                std::thread::park();
                Vec::new()
            }),
            Check::new("panics", || panic!("on purpose")),
            Check::new("quick", || {
                vec![
                    Finding::ok("quick", "there"),
                    Finding::warn("quick", "old\nand grey"),
                ]
            }),
        ];
        let report = Report::of(checks, Duration::from_millis(300));
        let mut text = Vec::new();
        report.write(&mut text, false).unwrap();
        let expected = "FAIL  slow: does not end in time\n\
            FAIL  panics: does not end in time\n\
            ok    quick: there\n\
            warn  quick: old and grey\n\
            1 ok, 1 to look at, 2 failed\n";
        assert_eq!(String::from_utf8(text).unwrap(), expected);
        assert_eq!(report.exit_code(), ExitCode::from(1));
    }

    #[test]
    fn programs_get_one_object() {
        let report = Report::counted(vec![Finding::ok("a", "b")]);
        let mut text = Vec::new();
        report.write(&mut text, true).unwrap();
        let expected = "{\"findings\":[{\"grade\":\"ok\",\"about\":\"a\",\"says\":\"b\"}],\"ok\":1,\"warnings\":0,\"failures\":0}\n";
        assert_eq!(String::from_utf8(text).unwrap(), expected);
        assert_eq!(report.exit_code(), ExitCode::SUCCESS);
    }
}
