//! What each fault cost, as a table.
//!
//! In the flow: `clients`, `failover` → **`report`** → `target/failover/report.md`. Pure.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::Value;

use super::plan::Fault;
use crate::clients::{Seen, Worst};
use crate::load::is_whole;

/// One fault and what was seen of it.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) fault: Fault,
    /// When it came, and when everything worked again, since the start of the clients.
    pub(super) from: Duration,
    pub(super) until: Duration,
    /// What `loadtest verify` says of the events sent meanwhile.
    pub(super) verified: Value,
}

/// All of a run.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) command: String,
    pub(super) rate: u32,
    pub(super) rows: Vec<Row>,
    pub(super) seen: Seen,
    /// Requests of the two clients that were not answered well.
    pub(super) failures: u64,
    /// Events of the sending client that were acknowledged, and found in the end.
    pub(super) acknowledged: u64,
    pub(super) found: u64,
}

impl Row {
    fn is_whole(&self) -> bool {
        is_whole(&self.verified)
    }
}

impl Report {
    /// What was promised and did not hold.
    pub(super) fn violations(&self) -> Vec<String> {
        let mut violations: Vec<String> = self
            .rows
            .iter()
            .filter(|row| !row.is_whole())
            .map(|row| {
                format!(
                    "EO-4: {} {}: {}",
                    row.fault.process, row.fault.how, row.verified
                )
            })
            .collect();
        if self.acknowledged != self.found {
            violations.push(format!(
                "EO-4: of {} events of the client {} are found",
                self.acknowledged, self.found
            ));
        }
        violations
    }

    pub(super) fn to_markdown(&self) -> String {
        let mut text = format!(
            "# Failover\n\n`{}`: {} events a second through HAProxy while processes of a cluster die: three brokers, three \
             Elasticsearch nodes, two gateways, three sinks, two query APIs. Two more clients send and search, one request \
             after the other; the table has the longest time for which each got no good answer, and for which an event was \
             acknowledged and not found. Without a fault these are {}.\n\n",
            self.command,
            self.rate,
            self.calm(),
        );
        text.push_str(
            "| kind | how | no event acknowledged for, s | no search answered for, s | not found for, s | all well after, s | missing / duplicated / unexpected |\n\
             |---|---|---:|---:|---:|---:|---|\n",
        );
        let mut rows: Vec<&Row> = self.rows.iter().collect();
        rows.sort_by_key(|row| (row.fault.kind, row.fault.how.to_string()));
        for row in rows {
            let worst = self.seen.worst(row.from, row.until);
            let [ingest, search, unfound] = seconds(worst);
            let well = row.until.saturating_sub(row.from).as_secs_f64();
            let count = |name: &str| row.verified[name]["count"].to_string();
            writeln!(
                text,
                "| {} | {} | {ingest:.2} | {search:.2} | {unfound:.1} | {well:.0} | {} / {} / {} of {} |",
                row.fault.kind,
                row.fault.how,
                count("missing"),
                count("duplicated"),
                count("unexpected"),
                row.verified["acknowledged"],
            )
            .ok();
        }
        writeln!(
            text,
            "\nOf the two clients' requests {} were not answered well and were repeated. {} events of theirs were \
             acknowledged, {} are found.",
            self.failures, self.acknowledged, self.found
        )
        .ok();
        text
    }

    /// The same three figures between the faults, each with the fault before it.
    fn calm(&self) -> String {
        let mut calm = [
            (0.0, String::new()),
            (0.0, String::new()),
            (0.0, String::new()),
        ];
        for pair in self.rows.windows(2) {
            let figures = seconds(self.seen.worst(pair[0].until, pair[1].from));
            for (worst, figure) in calm.iter_mut().zip(figures) {
                if figure > worst.0 {
                    let fault = &pair[0].fault;
                    *worst = (figure, format!("{} {}", fault.process, fault.how));
                }
            }
        }
        let [ingest, search, unfound] =
            calm.map(|(figure, fault)| format!("{figure:.2} s (after {fault})"));
        format!("{ingest}, {search} and {unfound} at most")
    }
}

fn seconds(worst: Worst) -> [f64; 3] {
    [worst.ingest, worst.search, worst.unfound].map(|time| time.as_secs_f64())
}
