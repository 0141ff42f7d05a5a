//! Receives what librdkafka reports, on its threads: the fate of each record, and why a connection fails.
//!
//! In the flow: `produce` → **`produce::reports`** → `delivery`, `reachability`.

use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock, PoisonError, Weak};

use log_event::record::EVENT_ID;
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Headers as _, Message as _};
use rdkafka::producer::{DeliveryResult, ProducerContext};
use service::kafka::lacks;

use super::client::Line;
use super::{RequestState, Shared};
use crate::delivery::{Fate, fate};

/// Receives what librdkafka reports.
pub(super) struct Reports {
    pub(super) batch_bytes_max: usize,
    pub(super) shared: Arc<Shared>,
    /// Where the next group waits; set once the producer is made.
    pub(super) line: OnceLock<Weak<Line>>,
}

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        // A broker that is away is told by the probe, now and then, and not with every try.
        let is_quiet = matches!(
            level,
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug
        );
        if is_quiet || matches!(facility, "FAIL" | "ERROR") {
            tracing::debug!(target: "librdkafka", facility, "{message}");
        } else {
            tracing::warn!(target: "librdkafka", facility, "{message}");
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "librdkafka", %error, reason);
        // That all brokers are down follows from what each of them said before.
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::AllBrokersDown) {
            self.shared.reachability.connection_failed(reason);
        }
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = Arc<RequestState>;

    fn delivery(&self, result: &DeliveryResult<'_>, state: Arc<RequestState>) {
        let now = || self.shared.started.elapsed();
        match result {
            Ok(_) => {
                // While all is well, once a request is often enough.
                let is_first = state.acknowledged.fetch_add(1, Ordering::Relaxed) == 0;
                if is_first || self.shared.reachability.has_failed() {
                    self.shared.reachability.delivered(now());
                }
            }
            Err((error, message)) => {
                let code = error
                    .rdkafka_error_code()
                    .unwrap_or(RDKafkaErrorCode::Unknown);
                let failures = &self.shared.metrics.delivery_failures;
                failures.with_label_values(&[cause(code)]).inc();
                match fate(code, message.payload_len(), self.batch_bytes_max) {
                    Fate::TooLarge => {
                        let id = message.headers().and_then(|headers| {
                            let id = headers.iter().find(|header| header.key == EVENT_ID)?;
                            Some(String::from_utf8_lossy(id.value?).into_owned())
                        });
                        state
                            .refused_ids
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .extend(id);
                    }
                    failed => {
                        let told = || told(code, message.topic());
                        state.failed(failed, 1, told);
                        self.shared.reachability.delivery_failed(now(), told);
                    }
                }
            }
        }
        if state.settle(1)
            && let Some(line) = self.line.get().and_then(Weak::upgrade)
        {
            line.reported(state.group());
        }
    }
}

/// What an answer of Kafka's to a record, or to the question for its topic, means to people.
pub(super) fn told(code: RDKafkaErrorCode, topic: &str) -> String {
    match code {
        RDKafkaErrorCode::TopicAuthorizationFailed => lacks("Write", "topic", topic),
        other => other.to_string(),
    }
}

/// All that [`cause`] gives.
pub(super) const CAUSES: [&str; 7] = [
    "timeout",
    "too_large",
    "not_authorized",
    "no_topic",
    "not_enough_replicas",
    "purged",
    "other",
];

/// The causes that operators act on differently.
pub(super) fn cause(code: RDKafkaErrorCode) -> &'static str {
    match code {
        RDKafkaErrorCode::MessageTimedOut | RDKafkaErrorCode::RequestTimedOut => "timeout",
        RDKafkaErrorCode::MessageSizeTooLarge | RDKafkaErrorCode::MessageBatchTooLarge => {
            "too_large"
        }
        RDKafkaErrorCode::TopicAuthorizationFailed
        | RDKafkaErrorCode::ClusterAuthorizationFailed
        | RDKafkaErrorCode::SaslAuthenticationFailed
        | RDKafkaErrorCode::Authentication => "not_authorized",
        RDKafkaErrorCode::UnknownTopic
        | RDKafkaErrorCode::UnknownTopicOrPartition
        | RDKafkaErrorCode::UnknownPartition
        | RDKafkaErrorCode::InvalidTopic => "no_topic",
        RDKafkaErrorCode::NotEnoughReplicas | RDKafkaErrorCode::NotEnoughReplicasAfterAppend => {
            "not_enough_replicas"
        }
        RDKafkaErrorCode::PurgeQueue | RDKafkaErrorCode::PurgeInflight => "purged",
        _ => "other",
    }
}
