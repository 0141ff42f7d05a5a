//! Something that goes on beside everything else until it is dropped: clients, searches, a broker that stalls.
//!
//! In the flow: part of `incidents`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Threads that do one thing again and again.
#[derive(Debug)]
pub(super) struct Activity {
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Activity {
    /// Each thread does `once` and pauses, until the end.
    pub(super) fn start(
        threads: usize,
        pause: Duration,
        once: impl Fn() + Clone + Send + 'static,
    ) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let thread = |_| {
            let (over, once) = (Arc::clone(&over), once.clone());
            std::thread::spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    once();
                    std::thread::sleep(pause);
                }
            })
        };
        Self {
            threads: (0..threads).map(thread).collect(),
            over,
        }
    }
}

impl Drop for Activity {
    /// What a thread does at the moment is brought to its end.
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().ok();
        }
    }
}
