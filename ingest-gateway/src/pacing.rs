//! Holds a request back until its rate has room for it, as `admission` and `quotas` said it may.
//!
//! In the flow: `quotas` → **`pacing`** → `body`. Upholds GW-2: what is held back is a part of the bytes in flight,
//! so that clients beyond their rates leave room for the others.

use std::sync::Arc;
use std::time::Duration;

use prometheus::IntCounter;

use crate::admission::{Budget, Pacing, Spent, Verdict};
use crate::error::{Code, Problem};

/// The part of the bytes in flight that requests which are held back may have.
const HELD_BACK_PART: usize = 4;
/// The part of that which one client or key may have, so that no one takes all of it.
const SHARE_PART: usize = 4;
/// What a request costs before its body is read: its head, and the buffers of its connection.
pub(crate) const HEAD_BYTES: usize = 16 << 10;

/// What one client or key may have held back, of so many bytes in flight.
pub(crate) fn share(span: Duration, in_flight_bytes_max: usize) -> Pacing {
    let bytes = in_flight_bytes_max / HELD_BACK_PART / SHARE_PART;
    let count = |of: usize| u32::try_from(bytes / of).unwrap_or(u32::MAX);
    Pacing {
        span,
        requests_max: count(HEAD_BYTES),
        kib_max: count(1024),
    }
}

/// Bounds what is held back.
#[derive(Debug)]
pub(crate) struct HeldBack {
    bytes: Arc<Budget>,
}

impl HeldBack {
    pub(crate) fn new(in_flight_bytes_max: usize) -> Self {
        Self {
            bytes: Budget::new(in_flight_bytes_max / HELD_BACK_PART),
        }
    }

    pub(crate) fn budget(&self) -> Arc<Budget> {
        Arc::clone(&self.bytes)
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
                let mut share = self.bytes.share();
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

    fn counter() -> IntCounter {
        IntCounter::new("paced", "paced").unwrap()
    }

    #[tokio::test]
    async fn a_request_waits_its_turn_and_gives_its_room_back() {
        let (held_back, paced) = (HeldBack::new(400), counter());
        let started = std::time::Instant::now();
        let after = Duration::from_millis(50);
        let admit = Verdict::Admit { after };
        assert_eq!(held_back.pass(admit, "bytes", 100, &paced).await, Ok(()));
        assert!(started.elapsed() >= after);
        assert_eq!((paced.get(), held_back.budget().bytes()), (1, 0));
        assert_eq!(
            held_back.pass(Verdict::ADMIT, "bytes", 100, &paced).await,
            Ok(())
        );
        assert_eq!(paced.get(), 1);
    }

    #[tokio::test]
    async fn what_finds_no_room_to_wait_in_is_refused_at_once() {
        let (held_back, paced) = (HeldBack::new(400), counter());
        let admit = Verdict::Admit {
            after: Duration::from_secs(600),
        };
        let refused = held_back
            .pass(admit, "bytes", 101, &paced)
            .await
            .unwrap_err();
        assert_eq!(
            (refused.code, refused.retry_after_seconds),
            (Code::RateLimited, Some(601))
        );
        assert_eq!(paced.get(), 0);
    }
}
