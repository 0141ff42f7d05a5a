//! Decides what a delivery report means for its event.
//!
//! In the flow: `produce` → **`delivery`** → `reply`. Upholds GW-1 and GW-3:
//! only what a broker acknowledged counts as kept, and "not kept" is said only
//! where it is certain.

use rdkafka::types::RDKafkaErrorCode as Error;

/// What became of one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// All in-sync replicas have it.
    Acknowledged,
    /// The brokers will never take it: it is too large by itself.
    TooLarge,
    /// It is not in Kafka; another time it may get there.
    NotKept,
    /// It may be in Kafka or not.
    Unknown,
}

/// What an error of the producer says of a record of that many bytes.
/// `batch_bytes_max` is the most that several records share a batch with.
#[must_use]
pub fn fate(error: Error, record_bytes: usize, batch_bytes_max: usize) -> Fate {
    match error {
        // A record larger than a batch is alone in its batch, so the refusal is
        // its own. A smaller one may just have had large company.
        Error::MessageSizeTooLarge | Error::MessageBatchTooLarge => {
            if record_bytes > batch_bytes_max {
                Fate::TooLarge
            } else {
                Fate::NotKept
            }
        }
        // Refused before it was sent, or by the broker before it was appended.
        Error::QueueFull
        | Error::PurgeQueue
        | Error::UnknownTopic
        | Error::UnknownPartition
        | Error::UnknownTopicOrPartition
        | Error::InvalidTopic
        | Error::TopicAuthorizationFailed
        | Error::ClusterAuthorizationFailed
        | Error::NotEnoughReplicas
        | Error::InvalidRequiredAcks
        | Error::InvalidTimestamp
        | Error::PolicyViolation
        | Error::InvalidRecord
        | Error::InvalidMessage
        | Error::UnsupportedForMessageFormat
        | Error::UnsupportedCompressionType => Fate::NotKept,
        // Above all the timeout: whether a broker got it is not known.
        _ => Fate::Unknown,
    }
}

/// What became of the records of one request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Deliveries {
    /// How many are in Kafka.
    pub acknowledged: usize,
    /// The positions of those that never will be, because of their size.
    pub too_large: Vec<usize>,
    /// How many are not in Kafka, but may be another time.
    pub not_kept: usize,
    /// How many may or may not be there.
    pub unknown: usize,
    /// Why the last of those two kinds failed, for people.
    pub fault: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_certain_is_called_not_kept() {
        for error in [
            Error::MessageTimedOut,
            Error::RequestTimedOut,
            Error::NotEnoughReplicasAfterAppend,
            Error::BrokerTransportFailure,
            Error::PurgeInflight,
            Error::Fatal,
            Error::OutOfOrderSequenceNumber,
            Error::KafkaStorageError,
            Error::Unknown,
        ] {
            assert_eq!(fate(error, 10, 100), Fate::Unknown, "{error:?}");
        }
        assert_eq!(fate(Error::NotEnoughReplicas, 10, 100), Fate::NotKept);
        assert_eq!(fate(Error::PurgeQueue, 10, 100), Fate::NotKept);
    }

    #[test]
    fn an_event_is_only_refused_for_a_size_that_is_its_own() {
        assert_eq!(fate(Error::MessageSizeTooLarge, 101, 100), Fate::TooLarge);
        assert_eq!(fate(Error::MessageSizeTooLarge, 100, 100), Fate::NotKept);
    }
}
