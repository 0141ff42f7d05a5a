//! When the machine takes records, and when it pauses reading.
//!
//! In the flow: the consumer thread → **`sink::intake`** → `offset_tracker`.
//! Upholds EO-6: what finds no room stays in Kafka.

use std::time::Duration;

use super::{Command, Shutdown, Sink};

/// Full for longer than this, reading is paused; until then it is only not polled,
/// because a pause throws away what was fetched ahead.
pub(super) const PAUSE_AFTER: Duration = Duration::from_millis(300);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Intake {
    Open,
    Full {
        since: Duration,
    },
    /// `newcomers` were assigned meanwhile; they come unpaused.
    Paused {
        newcomers: bool,
    },
}

impl Sink {
    pub(super) fn poll_intake(&mut self, now: Duration) -> Option<Command> {
        let (next, command) = match self.intake {
            Intake::Open if !self.accepts_records() => (Intake::Full { since: now }, None),
            Intake::Full { .. } if self.accepts_records() => (Intake::Open, None),
            Intake::Full { since } if now >= since + PAUSE_AFTER => {
                (Intake::Paused { newcomers: false }, Some(Command::Pause))
            }
            // Who ends reads nothing more.
            Intake::Paused { .. } if self.shutdown != Shutdown::No => (self.intake, None),
            Intake::Paused { .. } if self.n_bytes() <= self.config.bytes_held_max / 2 => {
                (Intake::Open, Some(Command::Resume))
            }
            Intake::Paused { newcomers: true } => {
                (Intake::Paused { newcomers: false }, Some(Command::Pause))
            }
            unchanged => (unchanged, None),
        };
        self.intake = next;
        command
    }
}
