//! The processes that run together: started in order, started again when they die, stopped in reverse order.
//!
//! In the flow: `process` → **`stack`** → `up`, `failover`. Not here: what they are.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process};

use crate::interrupt::Interrupt;
use crate::process::{Process, Spec, Stopped};
use crate::progress::Progress;

/// What died is started again at once, and later each time it dies within a minute, up to this.
const RESTART_AFTER_MAX: Duration = Duration::from_secs(30);
/// One that ran for so long before it died is started again at once.
const RAN_WELL: Duration = Duration::from_secs(60);

/// What runs, in the order in which it was started.
#[derive(Debug, Default)]
pub(crate) struct Stack {
    parts: Vec<Part>,
    /// Where in `parts` those begin that were started together.
    groups: Vec<usize>,
}

#[derive(Debug)]
struct Part {
    process: Process,
    started: Instant,
    restart_after: Duration,
    /// It died and is to be started again then.
    restart_at: Option<Instant>,
}

impl Stack {
    /// Starts all of `specs` at once and waits for each.
    ///
    /// # Errors
    /// When one does not become ready. It and the others are part of the stack by then, to be stopped with it.
    pub(crate) fn start(
        &mut self,
        specs: Vec<Spec>,
        progress: &Progress,
        interrupt: &Interrupt,
    ) -> Result<()> {
        let first = self.parts.len();
        self.groups.push(first);
        let mut steps = Vec::new();
        for spec in specs {
            interrupt.check()?;
            steps.push(progress.step(&spec.name, "starting"));
            let mut process = Process::new(spec);
            process.launch()?;
            self.parts.push(Part {
                process,
                started: Instant::now(),
                restart_after: Duration::ZERO,
                restart_at: None,
            });
        }
        for (part, step) in self.parts[first..].iter_mut().zip(steps) {
            part.process.wait_until_ready(interrupt)?;
            step.done("ready");
        }
        Ok(())
    }

    /// Starts again what has died, when its time has come.
    ///
    /// # Errors
    /// When one cannot be started at all.
    pub(crate) fn look_after(&mut self, progress: &Progress) -> Result<()> {
        self.parts
            .iter_mut()
            .try_for_each(|part| part.look_after(progress))
    }

    /// The process of that name.
    pub(crate) fn process(&self, name: &str) -> Option<&Process> {
        let mut processes = self.parts.iter().map(|part| &part.process);
        processes.find(|process| process.spec().name == name)
    }

    /// Name and leader of the process group of each that runs.
    pub(crate) fn leaders(&self) -> Vec<(String, u32)> {
        let processes = self.parts.iter().map(|part| &part.process);
        processes
            .filter_map(|process| Some((process.spec().name.clone(), process.pid()?)))
            .collect()
    }

    /// Sends a signal to the process of that name.
    ///
    /// # Errors
    /// When there is none, or it does not run.
    pub(crate) fn signal(&self, name: &str, signal: Signal) -> Result<()> {
        let process = self.process(name).with_context(|| format!("no `{name}`"))?;
        let pid = process.pid().and_then(|pid| i32::try_from(pid).ok());
        let pid = pid.and_then(Pid::from_raw);
        let pid = pid.with_context(|| format!("`{name}` does not run"))?;
        kill_process(pid, signal).with_context(|| format!("cannot signal `{name}`"))
    }

    /// Stops the process of that name as its supervisor would, starts it again and waits until it is ready.
    ///
    /// # Errors
    /// When there is none, or it does not become ready.
    pub(crate) fn restart(&mut self, name: &str, interrupt: &Interrupt) -> Result<()> {
        let parts = self.parts.iter_mut();
        let mut processes = parts.map(|part| &mut part.process);
        let process = processes.find(|process| process.spec().name == name);
        let process = process.with_context(|| format!("no `{name}`"))?;
        process.stop()?;
        process.start(interrupt)
    }

    /// Stops everything, the last started first; what was started together is stopped together.
    pub(crate) fn stop(&mut self, progress: &Progress) {
        for first in std::mem::take(&mut self.groups).into_iter().rev() {
            let mut group = self.parts.split_off(first);
            std::thread::scope(|scope| {
                for part in &mut group {
                    scope.spawn(|| part.stop(progress));
                }
            });
        }
    }
}

impl Part {
    fn stop(&mut self, progress: &Progress) {
        let name = self.process.spec().name.clone();
        let step = progress.step(&name, "stopping");
        match self.process.stop() {
            Ok(Stopped::Ended(_, _)) => step.done("stopped"),
            Ok(Stopped::WasNotRunning) => step.done("had stopped by itself"),
            Ok(Stopped::Killed) => step.done("did not stop in time and was killed"),
            Err(error) => progress.say(&format!("{name}: {error:#}")),
        }
    }

    fn look_after(&mut self, progress: &Progress) -> Result<()> {
        let name = self.process.spec().name.clone();
        if let Some(at) = self.restart_at {
            if Instant::now() >= at {
                self.restart_at = None;
                self.started = Instant::now();
                self.process.launch()?;
            }
        } else if let Some(status) = self.process.exit_status()? {
            if self.started.elapsed() > RAN_WELL {
                self.restart_after = Duration::ZERO;
            }
            let when = match self.restart_after.as_secs() {
                0 => "now".to_owned(),
                seconds => format!("in {seconds} s"),
            };
            let log = self.process.spec().log.display();
            progress.say(&format!(
                "{name} ended by itself ({status}); starting it again {when}; its log: {log}"
            ));
            self.restart_at = Some(Instant::now() + self.restart_after);
            self.restart_after =
                (self.restart_after * 2).clamp(Duration::from_secs(1), RESTART_AFTER_MAX);
        }
        Ok(())
    }
}
