//! Writes down what happens while it happens, from all threads of a run, and shows it.
//!
//! In the flow: `inflict`, `load`, `watch` → **`story`** → `timeline`.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::progress::Progress;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Since events began to flow.
    pub at: Duration,
    /// What.
    pub what: String,
}

/// What happened so far.
#[derive(Debug)]
pub struct Story<'a> {
    began: Instant,
    progress: &'a Progress,
    entries: Mutex<Vec<Entry>>,
    faults: Mutex<Vec<String>>,
}

impl<'a> Story<'a> {
    /// Begins now.
    #[must_use]
    pub fn begin(progress: &'a Progress) -> Self {
        Self {
            began: Instant::now(),
            progress,
            entries: Mutex::default(),
            faults: Mutex::default(),
        }
    }

    /// Since when it is told.
    #[must_use]
    pub fn began(&self) -> Instant {
        self.began
    }

    /// Something happened now.
    pub fn tell(&self, what: impl Into<String>) {
        let entry = Entry {
            at: self.began.elapsed(),
            what: what.into(),
        };
        let line = format!("{:7.1} s  {}", entry.at.as_secs_f64(), entry.what);
        self.progress.say(&line);
        lock(&self.entries).push(entry);
    }

    /// Something happened that must not.
    pub fn complain(&self, what: impl Into<String>) {
        let what = what.into();
        self.tell(format!("**{what}**"));
        lock(&self.faults).push(what);
    }

    /// All that happened, in order.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        let mut entries = lock(&self.entries).clone();
        entries.sort_by_key(|entry| entry.at);
        entries
    }

    /// All that happened and must not.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        lock(&self.faults).clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
