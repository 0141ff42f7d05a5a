//! The protocols that events arrive in.
//!
//! In the flow: `routes` of the gateway → **`dialect`** → `event`.

use std::fmt;
use std::str::FromStr;

/// A protocol that shippers of logs speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// logflow's own.
    Native,
    /// OTLP/HTTP.
    OpenTelemetry,
    /// The bulk and document APIs.
    Elasticsearch,
    /// The push API.
    Loki,
    /// The HTTP Event Collector.
    Splunk,
}

impl Dialect {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Native,
        Self::OpenTelemetry,
        Self::Elasticsearch,
        Self::Loki,
        Self::Splunk,
    ];

    /// As settings and the key file name it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::OpenTelemetry => "otlp",
            Self::Elasticsearch => "elasticsearch",
            Self::Loki => "loki",
            Self::Splunk => "hec",
        }
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Dialect {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL
            .into_iter()
            .find(|dialect| dialect.as_str() == text);
        found.ok_or_else(|| {
            format!(
                "a dialect is one of {}",
                Self::ALL.map(Self::as_str).join(", ")
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_read_by_its_own_name() {
        for dialect in Dialect::ALL {
            assert_eq!(dialect.as_str().parse(), Ok(dialect));
        }
        let error = "syslog".parse::<Dialect>().unwrap_err();
        assert_eq!(
            error,
            "a dialect is one of native, otlp, elasticsearch, loki, hec"
        );
    }
}
