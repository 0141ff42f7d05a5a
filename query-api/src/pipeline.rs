//! How the pipeline is doing: what the sinks say of themselves, how far the topic reaches, what was refused.
//!
//! In the flow: `routes` → `sinks`, `letters` → **`pipeline`** → the page.
//! What cannot be found out is `null`, never a guess, and never the reason for a failed answer: this is what people
//! look at when something is broken.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// What is told of a refusal's text.
const REFUSAL_CHARS_MAX: usize = 200;

/// How the pipeline is doing.
#[derive(Debug, Default, Serialize, ToSchema)]
pub struct Pipeline {
    /// One for each `--sink-url`.
    pub sinks: Vec<Sink>,
    /// The topic between gateway and sinks; `null` if Kafka does not answer, or `--kafka-brokers` is not given.
    pub topic: Option<Topic>,
    /// What can never be indexed; `null` as `topic`, or if there is no such topic.
    pub dead_letters: Option<DeadLetters>,
}

/// A sink, as it describes itself.
#[derive(Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Sink {
    /// Its `--sink-url`.
    #[schema(example = "http://127.0.0.1:9102")]
    pub address: String,
    /// Whether it tells its state.
    pub reachable: bool,
    /// Whether it says that it is ready.
    pub ready: bool,
    /// Why it is not.
    pub reasons: Vec<String>,
    /// How many records of its partitions are not indexed yet.
    pub lag: Option<i64>,
    /// How old the newest event is that it has indexed; 0 while nothing waits.
    pub freshness_seconds: Option<i64>,
    /// How many partitions it reads.
    pub partitions: Option<usize>,
    /// What waits until somebody changes something.
    pub holds: Vec<Hold>,
}

/// Items that wait until somebody changes something.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Hold {
    /// What is in the way, for programs.
    #[schema(example = "index_blocked")]
    pub cause: String,
    /// How many items wait.
    pub items: u64,
    /// For how long.
    pub since_seconds: u64,
    /// For people.
    pub reason: String,
}

/// The topic between gateway and sinks.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Topic {
    /// Its name.
    #[schema(example = "logs")]
    pub name: String,
    /// How many partitions it has.
    pub partitions: usize,
    /// How many records were ever written to it: the sum of its partitions' ends.
    pub end_offsets: i64,
}

/// What is in the dead-letter topic.
#[derive(Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct DeadLetters {
    /// How many of the letters that were looked at were not redriven.
    pub count: usize,
    /// Whether all were looked at, and not only the last ones of each partition.
    pub count_is_exact: bool,
    /// The newest of them, 20 at most.
    pub newest: Vec<DeadLetter>,
}

/// A record that can never be indexed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct DeadLetter {
    /// Where it stands in the dead-letter topic.
    pub partition: i32,
    /// And its offset there.
    pub offset: i64,
    /// When the event was received.
    pub time: Option<String>,
    /// The topic it came from.
    pub topic: Option<String>,
    /// Elasticsearch's error type, or logflow's code.
    #[schema(example = "document_parsing_exception")]
    pub reason_class: Option<String>,
    /// For people.
    pub reason: Option<String>,
    /// The first 4,096 characters of the event, if it is text.
    pub value: Option<String>,
}

impl Sink {
    /// A sink that does not answer.
    #[must_use]
    pub fn silent(address: &str, reason: String) -> Self {
        Self {
            address: address.to_owned(),
            reasons: vec![reason],
            ..Self::default()
        }
    }

    /// What answers `/status` with a refusal, and why that may be; `by_key` is whether a key was sent.
    #[must_use]
    pub fn refused(address: &str, status: u16, body: &[u8], by_key: bool) -> Self {
        let detail: String = String::from_utf8_lossy(body)
            .trim()
            .chars()
            .take(REFUSAL_CHARS_MAX)
            .collect();
        let reason = match (status, by_key) {
            (401, false) => {
                "it asks for a key: give one of the scope `observe` by `--sink-credentials`"
                    .to_owned()
            }
            (401 | 403, _) => {
                format!("it does not take the key of `--sink-credentials`: {detail}")
            }
            _ => format!("what answers there is no es-sink: it answers {status} to /status"),
        };
        Self::silent(address, reason)
    }

    /// What a sink's `/status` and `/readyz` say.
    #[must_use]
    pub fn read(address: &str, status: &[u8], readiness: &[u8], now_seconds: i64) -> Self {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Status {
            newest_indexed: Option<i64>,
            partitions: Vec<Partition>,
            held: Vec<Held>,
        }
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Partition {
            lag: Option<i64>,
        }
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Held {
            cause: String,
            items: u64,
            since_seconds: u64,
            reason: String,
        }
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Readiness {
            ready: bool,
            reasons: Vec<Value>,
        }
        let Ok(status) = serde_json::from_slice::<Status>(status) else {
            let reason = "what answers there is no es-sink".to_owned();
            return Self::silent(address, reason);
        };
        let readiness: Readiness = serde_json::from_slice(readiness).unwrap_or_default();
        let lag = status
            .partitions
            .iter()
            .map(|partition| partition.lag)
            .sum::<Option<i64>>();
        let age = status
            .newest_indexed
            .map(|newest| (now_seconds - newest).max(0));
        let hold = |held: Held| Hold {
            cause: held.cause,
            items: held.items,
            since_seconds: held.since_seconds,
            reason: held.reason,
        };
        let text = |reason: Value| match reason {
            Value::String(text) => text,
            other => other.to_string(),
        };
        Self {
            address: address.to_owned(),
            reachable: true,
            ready: readiness.ready,
            reasons: readiness.reasons.into_iter().map(text).collect(),
            lag,
            freshness_seconds: if lag == Some(0) { Some(0) } else { age },
            partitions: Some(status.partitions.len()),
            holds: status.held.into_iter().map(hold).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sink_is_told_as_it_describes_itself() {
        let status = br#"{"newest_indexed":90,"partitions":[{"lag":3},{"lag":4}],"held":[
            {"cause":"index_blocked","items":5,"since_seconds":6,"reason":"read-only"}]}"#;
        let readiness = br#"{"ready":false,"reasons":["held"]}"#;
        let sink = Sink::read("http://a", status, readiness, 100);
        let expected = Sink {
            address: "http://a".to_owned(),
            reachable: true,
            ready: false,
            reasons: vec!["held".to_owned()],
            lag: Some(7),
            freshness_seconds: Some(10),
            partitions: Some(2),
            holds: vec![Hold {
                cause: "index_blocked".to_owned(),
                items: 5,
                since_seconds: 6,
                reason: "read-only".to_owned(),
            }],
        };
        assert_eq!(sink, expected);
    }

    #[test]
    fn a_sink_that_refuses_is_told_with_the_way_in() {
        let told = |status, body: &[u8], by_key| {
            let sink = Sink::refused("http://a", status, body, by_key);
            assert!(!sink.reachable);
            sink.reasons.join("")
        };
        assert_eq!(
            told(401, b"the request carries no API key\n", false),
            "it asks for a key: give one of the scope `observe` by `--sink-credentials`"
        );
        assert_eq!(
            told(403, b"the API key lacks the scope `observe`\n", true),
            "it does not take the key of `--sink-credentials`: the API key lacks the scope `observe`"
        );
        assert_eq!(
            told(404, b"<html>", true),
            "what answers there is no es-sink: it answers 404 to /status"
        );
    }

    #[test]
    fn what_a_sink_does_not_know_is_null_and_no_lag_is_fresh() {
        let unknown = br#"{"partitions":[{"lag":null},{"lag":4}]}"#;
        let sink = Sink::read("a", unknown, b"", 100);
        assert_eq!(
            (sink.lag, sink.freshness_seconds, sink.ready),
            (None, None, false)
        );
        let idle = br#"{"newest_indexed":1,"partitions":[{"lag":0}]}"#;
        let sink = Sink::read("a", idle, br#"{"ready":true,"reasons":[]}"#, 100);
        assert_eq!(
            (sink.lag, sink.freshness_seconds, sink.ready),
            (Some(0), Some(0), true)
        );
        assert!(!Sink::read("a", b"<html>", b"", 100).reachable);
    }
}
