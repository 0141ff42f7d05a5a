//! What a run did and what came of it, as a page in Markdown; and what of it breaks a promise.
//!
//! In the flow: `story`, `watch`, `load` → **`timeline`** → the user and `target/nemesis`. Pure.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::Value;

use super::counts::Counts;
use super::story::Entry;

/// The sink's default `--memory-limit` (EO-6).
const SINK_RESIDENT_MAX: u64 = 64 << 20;

/// A run.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Decides the schedule.
    pub seed: u64,
    /// For how long faults came.
    pub length: Duration,
    /// Events per second.
    pub rate: u32,
    /// How many faults the schedule had.
    pub n_faults: usize,
    /// What happened.
    pub entries: Vec<Entry>,
    /// What happened and must not.
    pub complaints: Vec<String>,
    /// From the last healing until all services said that they are ready.
    pub ready_after: Duration,
    /// From the last event until no record was left.
    pub drained_after: Duration,
    /// What all processes counted.
    pub counts: Counts,
    /// What `loadtest verify` found, by load.
    pub verified: Vec<(String, Value)>,
}

impl Outcome {
    /// What breaks a promise, one line each.
    #[must_use]
    pub fn violations(&self) -> Vec<String> {
        let mut violations = self.complaints.clone();
        for (load, found) in &self.verified {
            for what in ["missing", "duplicated", "unexpected", "poison_indexed"] {
                match found[what]["count"].as_u64() {
                    Some(0) => {}
                    Some(n) => violations.push(format!(
                        "EO-4: {n} events of `{load}` are {}: {}",
                        what.replace('_', " "),
                        found[what]["first"]
                    )),
                    None => violations.push(format!("`{load}` was not compared for {what}")),
                }
            }
        }
        for (process, peak) in &self.counts.memory_peaks {
            if process.starts_with("sink") && *peak > SINK_RESIDENT_MAX {
                violations.push(format!(
                    "EO-6: {process} held {} MiB, more than its limit",
                    mebibytes(*peak)
                ));
            }
        }
        violations
    }

    /// The page.
    #[must_use]
    pub fn to_markdown(&self) -> String {
        let violations = self.violations();
        let mut text = format!(
            "# Nemesis, seed {}\n\n`cargo xtask nemesis --seed {} --minutes {} --rate {}`: {} faults in {} s.\n\n",
            self.seed,
            self.seed,
            self.length.as_secs_f64() / 60.0,
            self.rate,
            self.n_faults,
            self.length.as_secs(),
        );
        match violations.is_empty() {
            true => text.push_str("**Every event is where it must be, exactly once.**\n"),
            false => {
                text.push_str("**The promise is broken:**\n\n");
                for violation in &violations {
                    writeln!(text, "- {violation}").ok();
                }
            }
        }
        self.write_events(&mut text);
        self.write_figures(&mut text);
        text.push_str("\n## Timeline\n\n| second | what |\n|---:|---|\n");
        for entry in &self.entries {
            let what = entry.what.trim().replace('|', "\\|").replace('\n', "<br>");
            writeln!(text, "| {:.1} | {what} |", entry.at.as_secs_f64()).ok();
        }
        text
    }

    fn write_events(&self, text: &mut String) {
        text.push_str("\n## Events\n\n| load | acknowledged | poison | refused | uncertain (arrived) | indexed | dead-lettered | missing | duplicated | unexpected |\n|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n");
        for (load, found) in &self.verified {
            let number = |name: &str| found[name].as_u64().unwrap_or(0);
            let count = |name: &str| match found[name]["count"].as_u64() {
                Some(n) => n.to_string(),
                None => "?".to_owned(),
            };
            writeln!(
                text,
                "| {load} | {} | {} | {} | {} ({}) | {} | {} | {} | {} | {} |",
                number("acknowledged"),
                number("poison"),
                number("refused"),
                number("uncertain"),
                number("uncertain_arrived"),
                number("indexed"),
                number("dead_lettered"),
                count("missing"),
                count("duplicated"),
                count("unexpected"),
            )
            .ok();
        }
    }

    fn write_figures(&self, text: &mut String) {
        let sum = |name: &str| self.counts.sum(name).to_string();
        let rows = [
            (
                "all services ready after the last healing",
                format!("{:.1} s", self.ready_after.as_secs_f64()),
            ),
            (
                "no record left after the last event was sent",
                format!("{:.1} s", self.drained_after.as_secs_f64()),
            ),
            (
                "documents acknowledged by Elasticsearch",
                sum("es_sink_documents_indexed_total"),
            ),
            (
                "of them duplicates suppressed",
                sum("es_sink_duplicates_suppressed_total"),
            ),
            ("dead letters published", sum("es_sink_dead_letters_total")),
        ];
        text.push_str("\n## Figures\n\n| | |\n|---|---:|\n");
        for (name, value) in rows {
            writeln!(text, "| {name} | {value} |").ok();
        }
        text.push_str("\nWhat the sinks counted, at least (a second before a kill is lost):\n\n| counter | |\n|---|---:|\n");
        for (sample, value) in self.counts.samples() {
            writeln!(text, "| `{sample}` | {value} |").ok();
        }
        text.push_str("\n| process | resident at most, MiB |\n|---|---:|\n");
        for (process, peak) in &self.counts.memory_peaks {
            writeln!(text, "| {process} | {} |", mebibytes(*peak)).ok();
        }
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

    fn outcome() -> Outcome {
        let mut counts = Counts::default();
        counts.metrics("sink 1", "es_sink_duplicates_suppressed_total 12\n");
        counts.memory("sink 1", 60 << 20);
        counts.memory("broker 1", 600 << 20);
        let none = json!({"count": 0, "first": []});
        Outcome {
            seed: 7,
            length: Duration::from_secs(180),
            rate: 2_000,
            n_faults: 1,
            entries: vec![Entry {
                at: Duration::from_millis(5_100),
                what: "#1 sink 2 killed".to_owned(),
            }],
            complaints: Vec::new(),
            ready_after: Duration::from_secs(2),
            drained_after: Duration::from_secs(3),
            counts,
            verified: vec![(
                "kafka".to_owned(),
                json!({
                    "acknowledged": 10, "poison": 1, "indexed": 10, "dead_lettered": 1,
                    "missing": none, "duplicated": none, "unexpected": none, "poison_indexed": none,
                }),
            )],
        }
    }

    #[test]
    fn a_run_that_lost_nothing_says_so_and_tells_what_it_did() {
        let outcome = outcome();
        assert_eq!(outcome.violations(), Vec::<String>::new());
        let page = outcome.to_markdown();
        for line in [
            "`cargo xtask nemesis --seed 7 --minutes 3 --rate 2000`: 1 faults in 180 s.",
            "**Every event is where it must be, exactly once.**",
            "| kafka | 10 | 1 | 0 | 0 (0) | 10 | 1 | 0 | 0 | 0 |",
            "| of them duplicates suppressed | 12 |",
            "| sink 1 | 60.0 |",
            "| 5.1 | #1 sink 2 killed |",
        ] {
            assert!(page.contains(line), "{line} is missing in {page}");
        }
    }

    #[test]
    fn each_broken_promise_is_named() {
        let check = |spoil: &dyn Fn(&mut Outcome), violation: &str| {
            let mut outcome = outcome();
            spoil(&mut outcome);
            let violations = outcome.violations();
            assert!(
                violations.len() == 1 && violations[0].contains(violation),
                "{violation}: {violations:?}"
            );
            assert!(outcome.to_markdown().contains(violation));
        };
        for what in ["missing", "duplicated", "unexpected", "poison_indexed"] {
            let spoil = |o: &mut Outcome| o.verified[0].1[what]["count"] = json!(3);
            check(&spoil, &what.replace('_', " "));
        }
        check(
            &|o| o.verified[0].1 = json!({"duplicated": {"count": 0}, "unexpected": {"count": 0}, "poison_indexed": {"count": 0}}),
            "not compared",
        );
        check(&|o| o.counts.memory("sink 3", 65 << 20), "EO-6");
        check(
            &|o| o.complaints.push("sink 1 ended by itself".to_owned()),
            "by itself",
        );
    }
}
