//! Asks how far the logs have grown while reading is paused: decides nothing.
//!
//! In the flow: the brokers → **`log_ends`** → `status`. librdkafka learns the ends from what it
//! fetches, and of paused partitions it fetches nothing: lag would stand still during an outage.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};

use crate::positions::named_one;
use crate::status::StatusBoard;

const ASK_TIMEOUT: Duration = Duration::from_secs(2);

/// Tells the board the ends of the logs if reading is paused, else that they are not needed.
pub fn ask<C: ConsumerContext>(consumer: &BaseConsumer<C>, board: &StatusBoard) {
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
