//! Asks how far the logs have grown while reading is paused: decides nothing.
//!
//! In the flow: the brokers → **`log_ends`** → the sinks' status. librdkafka learns the ends from what it
//! fetches, and of paused partitions it fetches nothing: lag would stand still during an outage.

use std::collections::BTreeMap;
use std::time::Duration;

use log_event::offset::TopicPartition;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};

use crate::positions::named_one;

const ASK_TIMEOUT: Duration = Duration::from_secs(2);

/// The ends of the logs of the partitions that are assigned, as far as brokers answer.
pub fn of_assigned<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
) -> BTreeMap<TopicPartition, i64> {
    let mut ends = BTreeMap::new();
    let Ok(assignment) = consumer.assignment() else {
        return ends;
    };
    for element in assignment.elements() {
        let (topic, partition) = (element.topic(), element.partition());
        match consumer.fetch_watermarks(topic, partition, ASK_TIMEOUT) {
            Ok((_, end)) => drop(ends.insert(named_one(&element), end)),
            Err(_) => break,
        }
    }
    ends
}
