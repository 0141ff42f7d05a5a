//! Asks how far the logs have grown while reading is paused: decides nothing.
//!
//! In the flow: the brokers → **`log_ends`** → `status`. librdkafka learns the ends from what it
//! fetches, and of paused partitions it fetches nothing: lag would stand still during an outage.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};

use crate::positions::named_one;
use crate::status::StatusBoard;

const ASK_INTERVAL: Duration = Duration::from_secs(3);
const ASK_TIMEOUT: Duration = Duration::from_secs(2);

/// Tells the board the ends of the logs every few seconds while reading is paused, until nobody
/// keeps the other end of `until`.
///
/// # Errors
/// If the thread cannot be started.
pub fn watch<C: ConsumerContext + 'static>(
    consumer: Arc<BaseConsumer<C>>,
    until: Receiver<()>,
    board: Arc<StatusBoard>,
) -> std::io::Result<std::thread::JoinHandle<()>> {
    std::thread::Builder::new()
        .name("log-ends".to_owned())
        .spawn(move || {
            while until.recv_timeout(ASK_INTERVAL) == Err(RecvTimeoutError::Timeout) {
                let mut ends = BTreeMap::new();
                if board.reading_is_paused()
                    && let Ok(assignment) = consumer.assignment()
                {
                    for element in assignment.elements() {
                        let (topic, partition) = (element.topic(), element.partition());
                        // What keeps the brokers from answering is told by others.
                        match consumer.fetch_watermarks(topic, partition, ASK_TIMEOUT) {
                            Ok((_, end)) => drop(ends.insert(named_one(&element), end)),
                            Err(_) => break,
                        }
                    }
                }
                board.publish_asked_ends(ends);
            }
        })
}
