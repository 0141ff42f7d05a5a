//! Shows what is going on: spinners with elapsed time on a terminal, plain lines anywhere else.
//!
//! In the flow: beside everything that takes long. Not here: what is said.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// In plain lines, at most one note of a step in this time.
const PLAIN_NOTES_EVERY: Duration = Duration::from_secs(2);

/// Where progress is shown.
#[derive(Debug)]
pub struct Progress {
    bars: Option<MultiProgress>,
}

impl Progress {
    /// Spinners when standard output is a terminal, else plain lines.
    #[must_use]
    pub fn new() -> Self {
        Self {
            bars: std::io::stdout().is_terminal().then(MultiProgress::new),
        }
    }

    /// Prints a line above the spinners.
    pub fn say(&self, line: &str) {
        match &self.bars {
            Some(bars) => bars.suspend(|| print_line(line)),
            None => print_line(line),
        }
    }

    /// Begins a step that takes a while.
    #[must_use]
    pub fn step(&self, name: &str, note: &str) -> Step {
        let bar = self.bars.as_ref().map(|bars| {
            let style = ProgressStyle::with_template("{spinner} {prefix}: {wide_msg} {elapsed}")
                .unwrap_or_else(|_| ProgressStyle::default_spinner());
            let bar = bars.add(
                ProgressBar::new_spinner()
                    .with_style(style)
                    .with_prefix(name.to_owned()),
            );
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        let step = Step {
            name: name.to_owned(),
            bar,
            began: Instant::now(),
            noted: Instant::now(),
        };
        match &step.bar {
            Some(bar) => bar.set_message(note.to_owned()),
            None => print_line(&format!("{name}: {note}")),
        }
        step
    }
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}

/// One step under way. Dropped without [`Step::done`], its spinner just goes away: the error tells the rest.
#[derive(Debug)]
pub struct Step {
    name: String,
    bar: Option<ProgressBar>,
    began: Instant,
    noted: Instant,
}

impl Step {
    /// Says what the step does at the moment.
    pub fn note(&mut self, note: &str) {
        match &self.bar {
            Some(bar) => bar.set_message(note.to_owned()),
            None if self.noted.elapsed() >= PLAIN_NOTES_EVERY => {
                self.noted = Instant::now();
                print_line(&format!("{}: {note}", self.name));
            }
            None => {}
        }
    }

    /// Ends the step with a line that stays.
    pub fn done(self, result: &str) {
        let line = format!(
            "{}: {result} ({:.1} s)",
            self.name,
            self.began.elapsed().as_secs_f64()
        );
        match &self.bar {
            Some(bar) => {
                bar.suspend(|| print_line(&line));
                bar.finish_and_clear();
            }
            None => print_line(&line),
        }
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// A closed standard output (`| head`) is no reason to leave processes behind, so a failed write is let go.
fn print_line(line: &str) {
    let mut output = std::io::stdout().lock();
    writeln!(output, "{line}")
        .and_then(|()| output.flush())
        .ok();
}
