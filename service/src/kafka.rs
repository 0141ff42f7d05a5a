//! librdkafka, set up in one way for every service, and asked and understood in one way.

use std::str::FromStr;

use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

pub mod described;

/// One `--kafka-property KEY=VALUE`, passed on to librdkafka.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KafkaProperty {
    /// As in librdkafka's CONFIGURATION.md.
    pub key: String,
    /// Anything.
    pub value: String,
}

/// Why a property cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a Kafka property is written KEY=VALUE")]
pub struct NoKafkaProperty;

impl FromStr for KafkaProperty {
    type Err = NoKafkaProperty;

    fn from_str(text: &str) -> Result<Self, NoKafkaProperty> {
        match text.split_once('=') {
            Some((key, value)) if !key.trim().is_empty() => Ok(Self {
                key: key.trim().to_owned(),
                value: value.to_owned(),
            }),
            _ => Err(NoKafkaProperty),
        }
    }
}

/// After this long without an answer from any broker it knows, a client begins anew.
const REBOOTSTRAP_AFTER_MS: &str = "5000";

/// A client's configuration: what the service needs, then what the operator
/// gave, then what the guarantees rest on and nobody may change (`fixed`).
#[must_use]
pub fn client_config(
    brokers: &[String],
    needed: &[(&str, &str)],
    properties: &[KafkaProperty],
    fixed: &[(&str, &str)],
) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers.join(","));
    // A broker that stops tells its clients of a cluster without it. A client
    // that then knows no broker at all begins anew with those above, by default
    // only after five minutes (librdkafka CONFIGURATION.md).
    config.set(
        "metadata.recovery.rebootstrap.trigger.ms",
        REBOOTSTRAP_AFTER_MS,
    );
    for (key, value) in needed {
        config.set(*key, *value);
    }
    for property in properties {
        config.set(&property.key, &property.value);
    }
    for (key, value) in fixed {
        config.set(*key, *value);
    }
    config.set_log_level(RDKafkaLogLevel::Warning);
    config
}

/// The properties among `properties` that contradict `fixed`: an operator must
/// hear that they have no effect.
pub fn contradictions<'a>(
    properties: &'a [KafkaProperty],
    fixed: &'a [(&str, &str)],
) -> impl Iterator<Item = String> + 'a {
    properties.iter().filter_map(move |property| {
        let (key, value) = fixed.iter().find(|(key, _)| *key == property.key)?;
        (property.value != *value).then(|| {
            format!(
                "`{key}={}` would break a guarantee; it is always `{value}`",
                property.value
            )
        })
    })
}

/// Keeps the ends of partitions, which whoever reads up to them asks for, out of the log of errors; the others are logged
/// under what it says that is done.
#[derive(Clone, Copy, Debug)]
pub struct QuietEnds(pub &'static str);

impl ClientContext for QuietEnds {
    fn error(&self, error: KafkaError, reason: &str) {
        if !matches!(error, KafkaError::Global(RDKafkaErrorCode::PartitionEOF)) {
            tracing::warn!(%error, reason, "{}", self.0);
        }
    }
}

impl ConsumerContext for QuietEnds {}

/// What a broker's refusal means to people: which ACL the user lacks, and on what (`topic` or `group`, and its name).
#[must_use]
pub fn lacks(operation: &str, kind: &str, name: &str) -> String {
    format!("the user lacks the ACL {operation} on {kind} `{name}`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_property_has_a_key_and_a_value() {
        let read: KafkaProperty = "sasl.password=a=b".parse().unwrap();
        assert_eq!(
            (read.key.as_str(), read.value.as_str()),
            ("sasl.password", "a=b")
        );
        assert_eq!("=x".parse::<KafkaProperty>(), Err(NoKafkaProperty));
        assert_eq!("acks".parse::<KafkaProperty>(), Err(NoKafkaProperty));
    }

    #[test]
    fn a_property_that_would_break_a_guarantee_is_named_and_has_no_effect() {
        let properties = ["acks=1".parse().unwrap(), "linger.ms=7".parse().unwrap()];
        let fixed = [("acks", "all")];
        let config = client_config(
            &["b:1".to_owned()],
            &[("linger.ms", "5")],
            &properties,
            &fixed,
        );
        assert_eq!(config.get("acks"), Some("all"));
        assert_eq!(config.get("linger.ms"), Some("7"));
        assert_eq!(
            contradictions(&properties, &fixed).collect::<Vec<_>>(),
            ["`acks=1` would break a guarantee; it is always `all`"]
        );
    }
}
