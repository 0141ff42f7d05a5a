//! What a fault proxy is told to do to a route, and which connections it hits.
//!
//! In the flow: **`fault`** → `passage` → `fault_proxy`. Pure: JSON in, and for
//! each connection a plan out that depends on the seed alone.

use serde::{Deserialize, Serialize};

use crate::workload::mix;

const MILLIS_MAX: u64 = 600_000;

/// The faults of a route. They combine; none is the healthy state.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Faults {
    /// Every byte arrives later, in order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay: Option<Delay>,
    /// Few bytes a second, each way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub throttle: Option<Throttle>,
    /// What the client sends vanishes, its end included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drop_upstream: Option<Switch>,
    /// What the target sends vanishes, its end included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drop_downstream: Option<Switch>,
    /// The connection is reset after so many bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reset_after: Option<ResetAfter>,
    /// Nothing moves; later all goes on, and nothing is lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub freeze: Option<Switch>,
    /// Connections are reset at once, those that exist too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refuse: Option<Switch>,
}

/// How late bytes arrive.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delay {
    /// At least so late.
    pub ms: u64,
    /// And up to so much later, by chance.
    #[serde(default)]
    pub jitter_ms: u64,
    /// Which connections are hit.
    #[serde(default)]
    pub probability: Probability,
}

/// How slow a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Throttle {
    /// Each way, at least 1.
    pub bytes_per_second: u64,
    /// Which connections are hit.
    #[serde(default)]
    pub probability: Probability,
}

/// When a connection breaks.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResetAfter {
    /// Both ways together, counted from when the fault is set or the connection is opened.
    pub bytes: u64,
    /// Which connections are hit.
    #[serde(default)]
    pub probability: Probability,
}

/// A fault without figures: `true`, or `{"probability":0.5}`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "a fault without figures is `true`, `false` or `{\"probability\":0.5}`"
)]
pub enum Switch {
    /// Every connection, or none.
    Flag(bool),
    /// Some connections.
    Some(SomeConnections),
}

/// Some connections.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SomeConnections {
    /// Which are hit.
    pub probability: Probability,
}

/// Between 0 and 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "f64")]
pub struct Probability(f64);

/// Why a fault cannot be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoFault {
    /// Not between 0 and 1.
    #[error("a `probability` is between 0 and 1")]
    Probability,
    /// Longer than ten minutes.
    #[error("`ms` and `jitter_ms` are at most {MILLIS_MAX}")]
    Delay,
    /// Nothing would ever arrive.
    #[error("`bytes_per_second` is at least 1; `freeze` is what lets nothing through")]
    Throttle,
}

impl TryFrom<f64> for Probability {
    type Error = NoFault;

    fn try_from(share: f64) -> Result<Self, NoFault> {
        match (0.0..=1.0).contains(&share) {
            true => Ok(Self(share)),
            false => Err(NoFault::Probability),
        }
    }
}

impl Default for Probability {
    /// Every connection.
    fn default() -> Self {
        Self(1.0)
    }
}

impl Probability {
    /// Whether a draw of 64 random bits hits.
    fn hits(self, draw: u64) -> bool {
        // 53 bits are what a double holds exactly.
        ((draw >> 11) as f64) < self.0 * (1u64 << 53) as f64
    }
}

impl Switch {
    fn probability(self) -> Probability {
        match self {
            Self::Flag(on) => Probability(f64::from(u8::from(on))),
            Self::Some(some) => some.probability,
        }
    }
}

/// What happens to one connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Milliseconds at least, and up to so many more.
    pub delay: Option<(u64, u64)>,
    /// Bytes per second each way.
    pub throttle: Option<u64>,
    /// What the client sends vanishes.
    pub drop_upstream: bool,
    /// What the target sends vanishes.
    pub drop_downstream: bool,
    /// Reset after so many bytes.
    pub reset_after: Option<u64>,
    /// Nothing moves.
    pub freeze: bool,
    /// Reset at once.
    pub refuse: bool,
}

impl Faults {
    /// Checks the figures.
    ///
    /// # Errors
    /// [`NoFault`] names the one that makes no sense.
    pub fn check(&self) -> Result<(), NoFault> {
        if let Some(delay) = self.delay
            && delay.ms.max(delay.jitter_ms) > MILLIS_MAX
        {
            return Err(NoFault::Delay);
        }
        match self.throttle {
            Some(throttle) if throttle.bytes_per_second == 0 => Err(NoFault::Throttle),
            _ => Ok(()),
        }
    }

    /// Draws what happens to a connection. The same seed gives the same plan;
    /// every fault is drawn for itself.
    #[must_use]
    pub fn plan(&self, seed: u64) -> Plan {
        let hits = |fault: u64, probability: Probability| probability.hits(mix(seed, fault));
        let on = |fault, switch: Option<Switch>| {
            switch.is_some_and(|switch| hits(fault, switch.probability()))
        };
        Plan {
            delay: (self.delay.filter(|delay| hits(0, delay.probability)))
                .map(|delay| (delay.ms, delay.jitter_ms)),
            throttle: (self
                .throttle
                .filter(|throttle| hits(1, throttle.probability)))
            .map(|throttle| throttle.bytes_per_second),
            drop_upstream: on(2, self.drop_upstream),
            drop_downstream: on(3, self.drop_downstream),
            reset_after: (self.reset_after.filter(|reset| hits(4, reset.probability)))
                .map(|reset| reset.bytes),
            freeze: on(5, self.freeze),
            refuse: on(6, self.refuse),
        }
    }
}

impl Plan {
    /// The names of the faults that hit.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        let hit = [
            ("delay", self.delay.is_some()),
            ("throttle", self.throttle.is_some()),
            ("drop_upstream", self.drop_upstream),
            ("drop_downstream", self.drop_downstream),
            ("reset_after", self.reset_after.is_some()),
            ("freeze", self.freeze),
            ("refuse", self.refuse),
        ];
        hit.into_iter()
            .filter_map(|(name, hit)| hit.then_some(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> Result<Faults, String> {
        let faults: Faults = serde_json::from_str(text).map_err(|error| error.to_string())?;
        faults.check().map_err(|error| error.to_string())?;
        Ok(faults)
    }

    #[track_caller]
    fn check(text: &str, expected: Plan) {
        let faults = faults(text).unwrap();
        assert_eq!(faults.plan(7), expected, "{text}");
        let again = serde_json::to_string(&faults).unwrap();
        assert_eq!(self::faults(&again), Ok(faults), "{again}");
    }

    #[test]
    fn every_fault_is_one_field_and_they_combine() {
        let none = Plan::default();
        check("{}", none);
        check(r#"{"freeze":false}"#, none);
        check(r#"{"refuse":{"probability":0}}"#, none);
        let delay = Some((300, 0));
        check(r#"{"delay":{"ms":300}}"#, Plan { delay, ..none });
        check(
            r#"{"delay":{"ms":1,"jitter_ms":5},"throttle":{"bytes_per_second":9},
                "drop_upstream":true,"drop_downstream":{"probability":1},
                "reset_after":{"bytes":0},"freeze":true,"refuse":true}"#,
            Plan {
                delay: Some((1, 5)),
                throttle: Some(9),
                drop_upstream: true,
                drop_downstream: true,
                reset_after: Some(0),
                freeze: true,
                refuse: true,
            },
        );
    }

    #[test]
    fn what_makes_no_sense_is_refused_and_named() {
        for (text, expected) in [
            (r#"{"melt":true}"#, "unknown field `melt`"),
            (r#"{"freeze":1}"#, "a fault without figures is"),
            (
                r#"{"refuse":{"probability":1.5}}"#,
                "a fault without figures is",
            ),
            (
                r#"{"delay":{"ms":1,"probability":-0.1}}"#,
                "a `probability` is between 0 and 1",
            ),
            (r#"{"delay":{"ms":600001}}"#, "at most 600000"),
            (r#"{"throttle":{"bytes_per_second":0}}"#, "at least 1"),
            (r#"{"reset_after":{}}"#, "missing field `bytes`"),
        ] {
            let error = faults(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn a_probability_is_the_share_of_connections_that_are_hit() {
        let faults =
            faults(r#"{"delay":{"ms":1,"probability":0.25},"drop_upstream":{"probability":0.25}}"#)
                .unwrap();
        let plans: Vec<Plan> = (0..40_000).map(|n| faults.plan(mix(3, n))).collect();
        let share = |hit: &dyn Fn(&Plan) -> bool| {
            plans.iter().filter(|plan| hit(plan)).count() as f64 / plans.len() as f64
        };
        assert!((0.24..0.26).contains(&share(&|plan| plan.delay.is_some())));
        assert!((0.24..0.26).contains(&share(&|plan| plan.drop_upstream)));
        let both = share(&|plan| plan.delay.is_some() && plan.drop_upstream);
        assert!(
            (0.055..0.07).contains(&both),
            "drawn for themselves: {both}"
        );
    }

    #[test]
    fn the_faults_that_hit_are_named() {
        let plan = faults(r#"{"freeze":true,"throttle":{"bytes_per_second":1}}"#)
            .unwrap()
            .plan(0);
        assert_eq!(plan.names().collect::<Vec<_>>(), ["throttle", "freeze"]);
    }
}
