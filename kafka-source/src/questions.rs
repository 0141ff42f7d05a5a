//! Asks the brokers what no poll tells, on a thread of its own because the answers take their time.
//!
//! In the flow: `topic_id`, `log_ends` → **`questions`** → `view`, the sinks.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, ConsumerContext};

use crate::topic_id::Told;
use crate::view::KafkaView;
use crate::{log_ends, topic_id};

/// How soon a topic that is created again is noticed, and the age of what is known of paused logs.
const INTERVAL: Duration = Duration::from_secs(3);

/// Asks until nobody keeps the other end of `until`: for the topics that are assigned, of which `tell` hears with the
/// time of the question, and for the ends of the logs while they are not read.
///
/// # Errors
/// If the thread cannot be started.
pub fn ask_regularly<C: ConsumerContext + 'static>(
    consumer: Arc<BaseConsumer<C>>,
    until: Receiver<()>,
    view: Arc<KafkaView>,
    reading_is_paused: impl Fn() -> bool + Send + 'static,
    tell: impl Fn(Instant, Told) + Send + 'static,
) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new()
        .name("kafka-questions".to_owned())
        .spawn(move || {
            while until.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
                let asked_at = Instant::now();
                // What keeps the brokers from answering is told by others.
                if let Ok(Some(told)) = topic_id::of_assigned(&consumer) {
                    tell(asked_at, told);
                }
                let ends = match reading_is_paused() {
                    true => log_ends::of_assigned(&consumer),
                    false => BTreeMap::new(),
                };
                view.publish_asked_ends(ends);
            }
        })
}
