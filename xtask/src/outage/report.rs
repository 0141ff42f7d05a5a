//! What an outage cost, as a report, and what of it breaks a promise.
//!
//! In the flow: `outage` → **`outage::report`**. Pure.

use std::fmt::{self, Write as _};
use std::time::Duration;

use serde_json::Value;

/// The sink's default `--memory-limit`.
const RESIDENT_MAX: u64 = 64 << 20;
/// A long outage is shown in about so many rows.
const ROWS_MAX: usize = 40;

/// Where Elasticsearch is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// There.
    Before,
    /// Away.
    During,
    /// Starting, or there again.
    After,
}

/// The sink at one moment.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Moment {
    pub(super) phase: Phase,
    /// Since events began to flow.
    pub(super) at: Duration,
    pub(super) resident_bytes: u64,
    pub(super) partitions: usize,
    /// Times that partitions were assigned, revoked or lost.
    pub(super) rebalances: u64,
    /// Records in the log that are not committed.
    pub(super) lag: u64,
    pub(super) held_bytes: u64,
    pub(super) paused: bool,
    pub(super) dead_letters: u64,
    /// What the sink says is wrong.
    pub(super) failing: Option<String>,
}

/// What became of it all.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) away: Duration,
    pub(super) rate: u32,
    /// From the start of Elasticsearch until it answered.
    pub(super) returned: Duration,
    /// From then until the sink had caught up.
    pub(super) drained: Duration,
    pub(super) acknowledged: u64,
    /// What `loadtest verify` says.
    pub(super) verified: Value,
    /// In the order of time, not empty.
    pub(super) moments: Vec<Moment>,
}

impl Moment {
    /// Reads `/status` and `/metrics`.
    pub(super) fn read(
        phase: Phase,
        at: Duration,
        resident_bytes: u64,
        status: &Value,
        metrics: &str,
    ) -> Self {
        Self {
            phase,
            at,
            resident_bytes,
            partitions: status["partitions"].as_array().map_or(0, Vec::len),
            rebalances: metric(metrics, "es_sink_rebalances_total"),
            lag: metric(metrics, "es_sink_consumer_lag_records"),
            held_bytes: status["bytes_held"].as_u64().unwrap_or(0),
            paused: status["paused"] == true,
            dead_letters: metric(metrics, "es_sink_dead_letters_total"),
            failing: status["failing"]["reason"].as_str().map(str::to_owned),
        }
    }
}

/// The sum of a metric's samples.
fn metric(metrics: &str, name: &str) -> u64 {
    let samples = metrics.lines().filter_map(|line| {
        let (labels, value) = line.strip_prefix(name)?.rsplit_once(' ')?;
        (labels.is_empty() || labels.starts_with('{')).then_some(value)
    });
    samples.filter_map(|value| value.parse::<u64>().ok()).sum()
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} s: {} MiB resident, {} partitions, {} records behind{}",
            self.at.as_secs(),
            mebibytes(self.resident_bytes),
            self.partitions,
            self.lag,
            if self.failing.is_some() {
                ", Elasticsearch is away"
            } else {
                ""
            }
        )
    }
}

impl Outcome {
    /// What breaks a promise; empty when all is well.
    pub(super) fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let first = &self.moments[0];
        for moment in &self.moments {
            if moment.partitions != first.partitions || moment.rebalances != first.rebalances {
                faults.push(format!(
                    "the group was rebalanced: {} partitions and {} rebalances at the start, {} and {} after {} s (EO-6)",
                    first.partitions,
                    first.rebalances,
                    moment.partitions,
                    moment.rebalances,
                    moment.at.as_secs()
                ));
                break;
            }
        }
        if first.partitions == 0 {
            faults.push("the sink owned no partition".to_owned());
        }
        let peak = self.peak(None);
        if peak > RESIDENT_MAX {
            faults.push(format!(
                "the sink held {} MiB, more than its limit of {} (EO-6)",
                mebibytes(peak),
                mebibytes(RESIDENT_MAX)
            ));
        }
        let seen = |moment: &&Moment| moment.phase == Phase::During && moment.failing.is_some();
        if !self.moments.iter().any(|moment| seen(&moment)) {
            faults.push("the sink never said that Elasticsearch was away".to_owned());
        }
        let dead_letters = self.moments.iter().map(|moment| moment.dead_letters).max();
        let dead_lettered = self.verified["dead_lettered"].as_u64();
        if dead_letters != Some(0) || dead_lettered != Some(0) {
            faults.push(format!(
                "{dead_letters:?} dead letters by the sink's count, {dead_lettered:?} in the topic (EO-5)"
            ));
        }
        for what in ["missing", "duplicated", "unexpected"] {
            let count = self.verified[what]["count"].as_u64();
            if count != Some(0) {
                faults.push(format!("{count:?} events are {what} (EO-4)"));
            }
        }
        faults
    }

    fn peak(&self, phase: Option<Phase>) -> u64 {
        self.moments
            .iter()
            .filter(|moment| phase.is_none_or(|phase| moment.phase == phase))
            .map(|moment| moment.resident_bytes)
            .max()
            .unwrap_or(0)
    }

    /// The report.
    pub(super) fn to_markdown(&self) -> String {
        let (first, last) = (&self.moments[0], &self.moments[self.moments.len() - 1]);
        let mut text = format!(
            "\n## Elasticsearch away for {:.1} minutes at {} events/s\n\n| | |\n|---|---|\n",
            self.away.as_secs_f64() / 60.0,
            self.rate
        );
        let count = |what: &str| self.verified[what]["count"].to_string();
        let lag_max = self.moments.iter().map(|moment| moment.lag).max();
        let rows = [
            ("acknowledged", self.acknowledged.to_string()),
            ("indexed", self.verified["indexed"].to_string()),
            ("missing", count("missing")),
            ("duplicated", count("duplicated")),
            ("unexpected", count("unexpected")),
            ("dead letters", self.verified["dead_lettered"].to_string()),
            (
                "group",
                format!(
                    "{} partitions and {} rebalances before, {} and {} after",
                    first.partitions, first.rebalances, last.partitions, last.rebalances
                ),
            ),
            (
                "resident at most, MiB",
                format!(
                    "{} before, {} during, {} after",
                    mebibytes(self.peak(Some(Phase::Before))),
                    mebibytes(self.peak(Some(Phase::During))),
                    mebibytes(self.peak(Some(Phase::After)))
                ),
            ),
            ("records behind at most", lag_max.unwrap_or(0).to_string()),
            (
                "Elasticsearch answers after its start",
                format!("{:.1} s", self.returned.as_secs_f64()),
            ),
            (
                "drained after that, under load",
                format!("{:.1} s", self.drained.as_secs_f64()),
            ),
        ];
        for (name, value) in rows {
            writeln!(text, "| {name} | {value} |").ok();
        }
        text.push_str(
            "\n| seconds | Elasticsearch | resident MiB | held MiB | reading | records behind |\n|---:|---|---:|---:|---|---:|\n",
        );
        for moment in self
            .moments
            .iter()
            .step_by(self.moments.len().div_ceil(ROWS_MAX))
        {
            writeln!(
                text,
                "| {} | {} | {} | {} | {} | {} |",
                moment.at.as_secs(),
                match moment.phase {
                    Phase::Before => "there",
                    Phase::During => "away",
                    Phase::After => "back",
                },
                mebibytes(moment.resident_bytes),
                mebibytes(moment.held_bytes),
                if moment.paused { "paused" } else { "goes on" },
                moment.lag,
            )
            .ok();
        }
        text
    }
}

/// To a tenth, in whole numbers.
fn mebibytes(bytes: u64) -> String {
    let tenths = bytes * 10 / (1 << 20);
    format!("{}.{}", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn moment(phase: Phase, seconds: u64) -> Moment {
        let status = json!({
            "partitions": [{}, {}],
            "bytes_held": 1 << 20,
            "paused": phase == Phase::During,
            "failing": (phase == Phase::During).then(|| json!({"reason": "away"})),
        });
        let metrics = "es_sink_rebalances_total 1\nes_sink_consumer_lag_records{partition=\"0\"} 3\nes_sink_consumer_lag_records{partition=\"1\"} 4\nes_sink_dead_letters_total{cause=\"x\"} 0\n";
        Moment::read(
            phase,
            Duration::from_secs(seconds),
            50 << 20,
            &status,
            metrics,
        )
    }

    fn outcome() -> Outcome {
        Outcome {
            away: Duration::from_secs(60),
            rate: 2_000,
            returned: Duration::from_secs(15),
            drained: Duration::from_secs(4),
            acknowledged: 10,
            verified: json!({
                "indexed": 10, "dead_lettered": 0, "missing": {"count": 0},
                "duplicated": {"count": 0}, "unexpected": {"count": 0},
            }),
            moments: vec![
                moment(Phase::Before, 0),
                moment(Phase::During, 20),
                moment(Phase::After, 80),
            ],
        }
    }

    #[test]
    fn an_outage_that_cost_time_alone_is_no_fault() {
        let outcome = outcome();
        assert_eq!(outcome.faults(), Vec::<String>::new());
        assert_eq!(outcome.moments[0].lag, 7);
        let report = outcome.to_markdown();
        for line in [
            "## Elasticsearch away for 1.0 minutes at 2000 events/s",
            "| missing | 0 |",
            "| resident at most, MiB | 50.0 before, 50.0 during, 50.0 after |",
            "| 20 | away | 50.0 | 1.0 | paused | 7 |",
        ] {
            assert!(report.contains(line), "{line} is missing in {report}");
        }
    }

    #[test]
    fn each_broken_promise_is_named() {
        let check = |spoil: &dyn Fn(&mut Outcome), fault: &str| {
            let mut outcome = outcome();
            spoil(&mut outcome);
            let faults = outcome.faults();
            assert!(
                faults.len() == 1 && faults[0].contains(fault),
                "{fault}: {faults:?}"
            );
        };
        check(&|o| o.moments[2].partitions = 1, "rebalanced");
        check(&|o| o.moments[1].rebalances = 2, "rebalanced");
        check(&|o| o.moments[1].resident_bytes = 65 << 20, "EO-6");
        check(&|o| o.moments[1].failing = None, "never said");
        check(&|o| o.moments[2].dead_letters = 1, "EO-5");
        check(&|o| o.verified["dead_lettered"] = json!(1), "EO-5");
        for what in ["missing", "duplicated", "unexpected"] {
            check(&|o| o.verified[what]["count"] = json!(1), what);
        }
        check(
            &|o| {
                o.verified = json!({"dead_lettered": 0, "duplicated": {"count": 0}, "unexpected": {"count": 0}})
            },
            "missing",
        );
    }
}
