//! Decides whether Kafka takes records now, from what its answers were.
//!
//! In the flow: `decode` → **`reachability`** → `produce`. Upholds GW-2: while
//! Kafka is known to be away, a request is refused at once instead of waiting
//! for its delivery to time out.
//! Two signs: the probe (metadata, asked every second) and the deliveries.
//! Time is passed in, counted from any fixed moment.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How long the probe must fail, with no delivery meanwhile, before requests
/// are refused: a broker that restarts behind others is back by then.
pub const PROBE_GRACE: Duration = Duration::from_secs(3);
/// How often one request is let through to try while deliveries fail.
pub const TRIAL_INTERVAL: Duration = Duration::from_secs(1);
/// A failed delivery is held against Kafka this long: an instance that is out
/// of rotation gets no requests, so only time can bring it back.
pub const FAILURE_MEMORY: Duration = Duration::from_secs(10);

const NEVER: u64 = u64::MAX;

/// What is known of Kafka.
#[derive(Debug)]
pub struct Reachability {
    probe_answered: AtomicBool,
    probe_failing_since_ms: AtomicU64,
    delivered_ms: AtomicU64,
    failed_ms: AtomicU64,
    trial_ms: AtomicU64,
    /// The last reasons, for people.
    probe_fault: Mutex<Option<String>>,
    connection_fault: Mutex<Option<String>>,
    topic_fault: Mutex<Option<String>>,
    delivery_fault: Mutex<Option<String>>,
}

impl Default for Reachability {
    fn default() -> Self {
        Self {
            probe_answered: AtomicBool::new(false),
            probe_failing_since_ms: AtomicU64::new(NEVER),
            delivered_ms: AtomicU64::new(NEVER),
            failed_ms: AtomicU64::new(NEVER),
            trial_ms: AtomicU64::new(0),
            probe_fault: Mutex::new(None),
            connection_fault: Mutex::new(None),
            topic_fault: Mutex::new(None),
            delivery_fault: Mutex::new(None),
        }
    }
}

impl Reachability {
    /// Whether a request may go on to Kafka.
    pub fn admits(&self, now: Duration) -> bool {
        let now = millis(now);
        if self.is_away(now) {
            return false;
        }
        if !self.is_failing(now) {
            return true;
        }
        let due = self.trial_ms.load(Ordering::Relaxed);
        now >= due
            && self
                .trial_ms
                .compare_exchange(
                    due,
                    now.saturating_add(millis(TRIAL_INTERVAL)),
                    Ordering::Relaxed,
                    Ordering::Relaxed,
                )
                .is_ok()
    }

    /// Kafka answered the probe; `topic_fault` is what it said of the topic.
    pub fn probe_answered(&self, topic_fault: Option<String>) {
        set(&self.probe_fault, None);
        set(&self.connection_fault, None);
        set(&self.topic_fault, topic_fault);
        self.probe_failing_since_ms.store(NEVER, Ordering::Relaxed);
        self.probe_answered.store(true, Ordering::Relaxed);
    }

    /// A connection to a broker could not be made, or broke: why, in librdkafka's words. It says what a probe that
    /// only waited in vain cannot: a wrong password, a certificate that is not trusted.
    pub fn connection_failed(&self, reason: &str) {
        // What follows differs each time: how long it took, how often it was.
        let reason = reason.split(" (after ").next().unwrap_or(reason);
        set(&self.connection_fault, Some(reason.to_owned()));
    }

    /// Kafka did not answer the probe.
    pub fn probe_failed(&self, now: Duration, fault: String) {
        set(&self.probe_fault, Some(fault));
        // NEVER is the greatest value, so the first failure of a row stays.
        self.probe_failing_since_ms
            .fetch_min(millis(now), Ordering::Relaxed);
    }

    /// Whether a failed delivery is still held against Kafka, however old it is.
    pub fn has_failed(&self) -> bool {
        self.failed_ms.load(Ordering::Relaxed) != NEVER
    }

    /// Kafka acknowledged a record.
    pub fn delivered(&self, now: Duration) {
        self.delivered_ms.store(millis(now), Ordering::Relaxed);
        if self.has_failed() {
            self.failed_ms.store(NEVER, Ordering::Relaxed);
        }
    }

    /// Kafka did not acknowledge a record, for a reason that is not the record's.
    pub fn delivery_failed(&self, now: Duration, fault: impl FnOnce() -> String) {
        let now = millis(now);
        // A whole queue times out at once; one text for it is enough.
        if self.failed_ms.swap(now, Ordering::Relaxed) != now {
            set(&self.delivery_fault, Some(fault()));
        }
    }

    /// Why the gateway should get no requests; none means ready.
    pub fn reasons(&self, now: Duration) -> Vec<String> {
        let now = millis(now);
        let mut reasons = Vec::new();
        let known = |fault: &Mutex<Option<String>>| {
            let fault = fault.lock().unwrap_or_else(PoisonError::into_inner);
            fault.clone()
        };
        if self.is_away(now) || !self.probe_answered.load(Ordering::Relaxed) {
            let fault = known(&self.connection_fault).or_else(|| known(&self.probe_fault));
            let fault = fault.as_deref().unwrap_or("no answer yet");
            reasons.push(format!("Kafka does not answer: {fault}"));
        }
        if self.is_failing(now) {
            reasons.push(format!(
                "Kafka does not acknowledge records: {}",
                known(&self.delivery_fault).unwrap_or_default()
            ));
        }
        reasons.extend(known(&self.topic_fault));
        reasons
    }

    fn is_away(&self, now: u64) -> bool {
        let grace = millis(PROBE_GRACE);
        let long_ago = |then: u64| then == NEVER || now.saturating_sub(then) >= grace;
        let failing_since = self.probe_failing_since_ms.load(Ordering::Relaxed);
        failing_since != NEVER
            && long_ago(failing_since)
            && long_ago(self.delivered_ms.load(Ordering::Relaxed))
    }

    fn is_failing(&self, now: u64) -> bool {
        let failed = self.failed_ms.load(Ordering::Relaxed);
        failed != NEVER && now.saturating_sub(failed) < millis(FAILURE_MEMORY)
    }
}

fn set(text: &Mutex<Option<String>>, value: Option<String>) {
    *text.lock().unwrap_or_else(PoisonError::into_inner) = value;
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(NEVER - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn it_is_ready_once_kafka_answered_and_admits_before() {
        let kafka = Reachability::default();
        assert!(kafka.admits(at(0)));
        assert_eq!(
            kafka.reasons(at(0)),
            ["Kafka does not answer: no answer yet"]
        );
        kafka.probe_answered(None);
        assert!(kafka.reasons(at(1)).is_empty());
    }

    #[test]
    fn a_probe_that_fails_for_long_refuses_until_it_answers() {
        let kafka = Reachability::default();
        kafka.probe_answered(None);
        kafka.probe_failed(at(10), "timed out".to_owned());
        assert!(kafka.admits(at(12)), "within the grace");
        kafka.probe_failed(at(13), "refused".to_owned());
        assert!(!kafka.admits(at(13)));
        assert_eq!(kafka.reasons(at(13)), ["Kafka does not answer: refused"]);
        kafka.probe_answered(None);
        assert!(kafka.admits(at(14)));
        assert!(kafka.reasons(at(14)).is_empty());
    }

    #[test]
    fn why_no_connection_comes_about_is_told_rather_than_that_nothing_came() {
        let kafka = Reachability::default();
        kafka.probe_failed(at(2), "timed out".to_owned());
        for attempt in [
            "after 3ms in state AUTH_REQ",
            "after 2ms, 4 identical error(s) suppressed",
        ] {
            kafka.connection_failed(&format!("Authentication failed ({attempt})"));
            assert_eq!(
                kafka.reasons(at(3)),
                ["Kafka does not answer: Authentication failed"]
            );
        }
        kafka.probe_answered(None);
        kafka.probe_failed(at(10), "timed out".to_owned());
        assert_eq!(kafka.reasons(at(20)), ["Kafka does not answer: timed out"]);
    }

    #[test]
    fn deliveries_outweigh_a_failing_probe() {
        let kafka = Reachability::default();
        kafka.probe_failed(at(10), "timed out".to_owned());
        kafka.delivered(at(19));
        assert!(kafka.admits(at(21)));
        assert!(!kafka.admits(at(22)));
    }

    #[test]
    fn while_deliveries_fail_one_request_a_second_may_try() {
        let kafka = Reachability::default();
        kafka.probe_answered(None);
        kafka.delivery_failed(at(10), || "timed out".to_owned());
        assert_eq!(
            kafka.reasons(at(10)),
            ["Kafka does not acknowledge records: timed out"]
        );
        let admitted = |second| (0..5).filter(|_| kafka.admits(at(second))).count();
        assert_eq!([admitted(10), admitted(10), admitted(11)], [1, 0, 1]);
        kafka.delivered(at(12));
        assert_eq!(admitted(12), 5);
        assert!(kafka.reasons(at(12)).is_empty());
    }

    #[test]
    fn without_requests_a_failure_is_forgotten() {
        let kafka = Reachability::default();
        kafka.probe_answered(None);
        kafka.delivery_failed(at(10), || "timed out".to_owned());
        assert_eq!(kafka.reasons(at(19)).len(), 1);
        assert!(kafka.reasons(at(20)).is_empty());
    }

    #[test]
    fn a_fault_of_the_topic_is_told() {
        let kafka = Reachability::default();
        kafka.probe_answered(Some("topic `logs`: not authorized".to_owned()));
        assert_eq!(kafka.reasons(at(0)), ["topic `logs`: not authorized"]);
        kafka.probe_answered(None);
        assert!(kafka.reasons(at(0)).is_empty());
    }
}
