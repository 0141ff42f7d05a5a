//! Holds a request back until its rate has room for it, as `admission` and `quotas` said it may.
//!
//! In the flow: `quotas` → **`pacing`** → `body`. Upholds GW-2: what is held back is a part of the bytes in flight,
//! so that clients beyond their rates leave room for the others.

use std::sync::Arc;

use prometheus::IntCounter;

use crate::admission::{Budget, Spent, Verdict};
use crate::error::{Code, Problem};

/// The part of the bytes in flight that requests which are held back may have.
const HELD_BACK_PART: usize = 4;
/// What a request costs before its body is read: the buffers of its connection.
pub(crate) const HEAD_BYTES: usize = 64 << 10;

/// Bounds what is held back.
#[derive(Debug)]
pub(crate) struct Pacing {
    held_back: Arc<Budget>,
}

impl Pacing {
    pub(crate) fn new(in_flight_bytes_max: usize) -> Self {
        Self {
            held_back: Budget::new(in_flight_bytes_max / HELD_BACK_PART),
        }
    }

    pub(crate) fn held_back(&self) -> Arc<Budget> {
        Arc::clone(&self.held_back)
    }

    /// Returns once a request that holds so many bytes may go on. `what` is limited, and `paced` counts.
    ///
    /// # Errors
    /// The refusal, at once.
    pub(crate) async fn pass(
        &self,
        verdict: Verdict,
        what: &str,
        bytes: usize,
        paced: &IntCounter,
    ) -> Result<(), Problem> {
        match verdict {
            Verdict::Admit { after } if after.is_zero() => Ok(()),
            Verdict::Admit { after } => {
                let mut share = self.held_back.share();
                let room = share.grow(bytes);
                room.map_err(|Spent| rate_limited(what, after.as_secs() + 1))?;
                paced.inc();
                tokio::time::sleep(after).await;
                Ok(())
            }
            Verdict::Refuse {
                retry_after_seconds,
            } => Err(rate_limited(what, retry_after_seconds)),
            Verdict::Never { bytes_max } => Err(Problem::permanent(
                Code::OverByteBurst,
                format!(
                    "this client may send {bytes_max} bytes at once; send several smaller requests"
                ),
            )),
        }
    }
}

fn rate_limited(what: &str, retry_after_seconds: u64) -> Problem {
    Problem {
        code: Code::RateLimited,
        detail: format!(
            "more {what} than this client may send; the same request conforms in {retry_after_seconds} s"
        ),
        retry_after_seconds: Some(retry_after_seconds),
        outcome: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn counter() -> IntCounter {
        IntCounter::new("paced", "paced").unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_waits_its_turn_and_gives_its_room_back() {
        let (pacing, paced) = (Pacing::new(400), counter());
        let started = tokio::time::Instant::now();
        let after = Duration::from_millis(700);
        let admit = Verdict::Admit { after };
        assert_eq!(pacing.pass(admit, "bytes", 100, &paced).await, Ok(()));
        assert_eq!((started.elapsed(), paced.get()), (after, 1));
        assert_eq!(pacing.held_back().bytes(), 0);
        assert_eq!(
            pacing.pass(Verdict::ADMIT, "bytes", 100, &paced).await,
            Ok(())
        );
        assert_eq!((started.elapsed(), paced.get()), (after, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn what_finds_no_room_to_wait_in_is_refused_at_once() {
        let (pacing, paced) = (Pacing::new(400), counter());
        let started = tokio::time::Instant::now();
        let admit = Verdict::Admit {
            after: Duration::from_millis(700),
        };
        let refused = pacing.pass(admit, "bytes", 101, &paced).await.unwrap_err();
        assert_eq!(
            (refused.code, refused.retry_after_seconds),
            (Code::RateLimited, Some(1))
        );
        assert_eq!((started.elapsed(), paced.get()), (Duration::ZERO, 0));
    }
}
