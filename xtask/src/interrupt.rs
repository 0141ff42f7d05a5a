//! Turns SIGINT, SIGTERM and SIGHUP into a flag that every wait looks at.
//!
//! In the flow: beside everything. A wait that sees the flag ends with [`Interrupted`], the error travels up like any
//! other, and the owner of the processes stops them. Not here: the stopping.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// Whether the user asked for an end.
#[derive(Debug, Clone, Default)]
pub struct Interrupt {
    flag: Arc<AtomicBool>,
}

/// The user asked for an end while something was under way.
#[derive(Debug)]
pub struct Interrupted;

impl std::fmt::Display for Interrupted {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}

/// How often a wait looks at the flag and at what it waits for.
pub const POLL: Duration = Duration::from_millis(50);

impl Interrupt {
    /// Sets the flag from now on when one of the three signals arrives.
    ///
    /// # Errors
    /// When the handlers cannot be installed.
    pub fn on_signals() -> Result<Self> {
        let interrupt = Self::default();
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register(signal, Arc::clone(&interrupt.flag))
                .context("cannot handle signals")?;
        }
        Ok(interrupt)
    }

    /// Whether an end was asked for.
    #[must_use]
    pub fn requested(&self) -> bool {
        self.flag.load(Ordering::Relaxed)
    }

    /// # Errors
    /// [`Interrupted`] when an end was asked for.
    pub fn check(&self) -> Result<()> {
        if self.requested() {
            Err(Interrupted.into())
        } else {
            Ok(())
        }
    }

    /// Asks for an end, as a signal would.
    pub fn request(&self) {
        self.flag.store(true, Ordering::Relaxed);
    }

    /// Lets `time` pass.
    ///
    /// # Errors
    /// [`Interrupted`].
    pub fn rest(&self, time: Duration) -> Result<()> {
        let until = Instant::now() + time;
        while Instant::now() < until {
            self.check()?;
            std::thread::sleep(POLL.min(until.saturating_duration_since(Instant::now())));
        }
        Ok(())
    }

    /// Polls `condition` until it gives `Ok`, for at most `within`.
    ///
    /// # Errors
    /// [`Interrupted`], or after `within`: `what`, and the last reason that `condition` gave for not being met.
    pub fn wait_for<T>(
        &self,
        what: &str,
        within: Duration,
        mut condition: impl FnMut() -> Result<T, String>,
    ) -> Result<T> {
        let began = Instant::now();
        loop {
            self.check()?;
            match condition() {
                Ok(value) => return Ok(value),
                Err(reason) if began.elapsed() >= within => {
                    anyhow::bail!("waited {} s for {what}: {reason}", within.as_secs());
                }
                Err(_) => std::thread::sleep(POLL),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_ends_with_the_last_reason_when_its_time_is_over() {
        let error = Interrupt::default()
            .wait_for::<()>("a miracle", Duration::ZERO, || Err("none in sight".into()))
            .unwrap_err();
        assert_eq!(error.to_string(), "waited 0 s for a miracle: none in sight");
    }

    #[test]
    fn a_wait_ends_at_once_when_interrupted() {
        let interrupt = Interrupt::default();
        interrupt.request();
        let error = interrupt
            .wait_for::<()>("ever", Duration::from_secs(3600), || Err(String::new()))
            .unwrap_err();
        assert!(error.is::<Interrupted>());
    }
}
