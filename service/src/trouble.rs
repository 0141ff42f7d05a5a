//! Something that is wrong, why, and since when: as `/readyz` and `/status` tell it.
//!
//! In the flow: beside it. Time is passed in, counted from any fixed moment.

use std::error::Error;
use std::time::Duration;

use serde_json::{Value, json};

/// Something that is wrong, or is not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trouble(Option<(Duration, String)>);

impl Trouble {
    /// It is wrong for this reason, or no longer. One that goes on for another reason began when it began.
    pub fn set(&mut self, now: Duration, reason: Option<String>) {
        let since = self.0.as_ref().map_or(now, |(since, _)| *since);
        self.0 = reason.map(|reason| (since, reason));
    }

    /// Why, if it is wrong.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        self.0.as_ref().map(|(_, reason)| reason.as_str())
    }

    /// For `/status`; null if nothing is wrong.
    #[must_use]
    pub fn json(&self, now: Duration) -> Value {
        self.0.as_ref().map_or(Value::Null, |(since, reason)| {
            json!({ "since_seconds": now.saturating_sub(*since).as_secs(), "text": reason })
        })
    }
}

/// The last cause of an error says what happened; those before it, that something did.
#[must_use]
pub fn innermost(error: &dyn Error) -> String {
    let mut innermost = error;
    while let Some(deeper) = innermost.source() {
        innermost = deeper;
    }
    innermost.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_goes_on_for_another_reason_began_when_it_began() {
        let at = Duration::from_secs;
        let mut trouble = Trouble::default();
        assert_eq!(trouble.json(at(1)), Value::Null);
        trouble.set(at(2), Some("refused".to_owned()));
        trouble.set(at(5), Some("timed out".to_owned()));
        assert_eq!(trouble.reason(), Some("timed out"));
        let shown = json!({ "since_seconds": 7, "text": "timed out" });
        assert_eq!(trouble.json(at(9)), shown);
        trouble.set(at(9), None);
        assert_eq!(trouble, Trouble::default());
    }
}
