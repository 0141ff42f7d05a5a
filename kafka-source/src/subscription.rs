//! The member of a consumer group, set up so that a sink's guarantees hold.
//!
//! In the flow: **`subscription`** → `callbacks`.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use service::kafka::{KafkaProperty, client_config};

use crate::callbacks::{Keeper, Link};

/// How a group of the classic protocol shares its partitions and finds out who is gone.
const CLASSIC_PROTOCOL: [(&str, &str); 3] = [
    ("partition.assignment.strategy", "cooperative-sticky"),
    ("session.timeout.ms", "10000"),
    ("heartbeat.interval.ms", "2000"),
];

/// How long leaving the group may take: a coordinator that stalls answers nothing.
const LEAVING_MAX: Duration = Duration::from_secs(5);

/// What the guarantees rest on; an operator cannot change these.
pub const FIXED_CONSUMER_PROPERTIES: [(&str, &str); 5] = [
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("enable.partition.eof", "false"),
    // A new group, or one whose offsets expired, reads all there is: the ids make repeats harmless.
    ("auto.offset.reset", "earliest"),
    // Offsets that a transaction is about to move are waited for (KIP-447).
    ("isolation.level", "read_committed"),
];

/// What is read, as whom, and how far ahead.
#[derive(Clone, Copy, Debug)]
pub struct Subscription<'a> {
    /// The name of the service, for the brokers' logs.
    pub client_id: &'a str,
    /// Brokers to start from.
    pub brokers: &'a [String],
    /// Topics to read.
    pub topics: &'a [String],
    /// The consumer group.
    pub group: &'a str,
    /// Properties for librdkafka.
    pub properties: &'a [KafkaProperty],
    /// What librdkafka may fetch ahead, in KiB.
    pub fetch_ahead_kib: u64,
}

impl Subscription<'_> {
    /// Joins the group; `link` leads to who keeps the records.
    ///
    /// # Errors
    /// If librdkafka refuses the configuration.
    pub fn join<K: Keeper>(&self, link: Link<K>) -> anyhow::Result<Arc<BaseConsumer<Link<K>>>> {
        let fetch_ahead = self.fetch_ahead_kib.to_string();
        // One fetch may bring this much per broker; compressed, so several times that once unpacked.
        let fetch_bytes = (self.fetch_ahead_kib * 1024 / 4)
            .clamp(1 << 20, 16 << 20)
            .to_string();
        let mut needed = vec![
            ("group.id", self.group),
            ("client.id", self.client_id),
            ("max.poll.interval.ms", "300000"),
            ("queued.min.messages", "100000"),
            ("queued.max.messages.kbytes", fetch_ahead.as_str()),
            ("fetch.message.max.bytes", "131072"),
            ("fetch.max.bytes", fetch_bytes.as_str()),
            // How often a full queue is looked at: at 10 ms reading is over sooner than the next fetch begins.
            ("fetch.queue.backoff.ms", "2"),
            ("fetch.wait.max.ms", "100"),
            ("topic.metadata.refresh.interval.ms", "5000"),
            // Where the brokers allow it, a sink that starts first does not wait for the first event.
            ("allow.auto.create.topics", "true"),
            ("statistics.interval.ms", "1000"),
            ("reconnect.backoff.max.ms", "2000"),
        ];
        // In the protocol of Kafka 4 the brokers decide these, and librdkafka refuses them.
        if !self.properties.iter().any(is_consumer_protocol) {
            needed.extend(CLASSIC_PROTOCOL);
        }
        let client = client_config(
            self.brokers,
            &needed,
            self.properties,
            &FIXED_CONSUMER_PROPERTIES,
        );
        let consumer: BaseConsumer<Link<K>> = client
            .create_with_context(link)
            .context("librdkafka refuses the configuration")?;
        let topics: Vec<&str> = self.topics.iter().map(String::as_str).collect();
        consumer.subscribe(&topics).context("subscribing")?;
        Ok(Arc::new(consumer))
    }
}

/// From now on the process ends within [`LEAVING_MAX`], by itself or without an answer.
///
/// # Errors
/// If the thread that sees to it cannot be started.
pub fn leave_in_time() -> anyhow::Result<()> {
    std::thread::Builder::new()
        .name("leaving".to_owned())
        .spawn(|| {
            std::thread::sleep(LEAVING_MAX);
            // What was confirmed is kept; the group finds out by the session's end.
            tracing::warn!("leaving the group takes too long; ending without an answer");
            std::process::exit(0);
        })
        .context("starting the thread that ends a long goodbye")?;
    Ok(())
}

fn is_consumer_protocol(property: &KafkaProperty) -> bool {
    property.key == "group.protocol" && property.value.eq_ignore_ascii_case("consumer")
}
