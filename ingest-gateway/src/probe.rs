//! Looks after Kafka once a second, so that its absence is known before a
//! delivery times out.
//!
//! In the flow: **`probe`** → `reachability`. What it does each time is
//! `produce`'s, what follows from the answer `reachability`'s.

use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::produce::Producer;

const PROBE_INTERVAL: Duration = Duration::from_secs(1);

/// Looks after Kafka once a second, on a thread of its own, because librdkafka
/// makes its caller wait.
#[derive(Debug)]
pub struct Probe {
    stop: mpsc::Sender<()>,
    thread: JoinHandle<()>,
}

impl Probe {
    /// Starts at once.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start(producer: Arc<Producer>) -> std::io::Result<Self> {
        let (stop, stopped) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("kafka-probe".to_owned())
            .spawn(move || {
                loop {
                    producer.probe();
                    if stopped.recv_timeout(PROBE_INTERVAL) != Err(mpsc::RecvTimeoutError::Timeout)
                    {
                        return;
                    }
                }
            })?;
        Ok(Self { stop, thread })
    }

    /// Ends the thread, within the probe's own timeout.
    pub fn stop(self) {
        drop(self.stop);
        if self.thread.join().is_err() {
            tracing::error!("the Kafka probe panicked");
        }
    }
}
