//! Adds up what processes count, across their ends and new beginnings.
//!
//! In the flow: `watch` → **`counts`** → `timeline`. Pure. A process that begins anew counts from zero; what it counted
//! between the last look and its end is lost, so sums are at least.

use std::collections::BTreeMap;

/// Counters of a sink that a run tells of.
const COUNTERS: [&str; 8] = [
    "es_sink_documents_indexed_total",
    "es_sink_duplicates_suppressed_total",
    "es_sink_dead_letters_total",
    "es_sink_dead_letter_retries_total",
    "es_sink_item_retries_total",
    "es_sink_item_holds_total",
    "es_sink_bulks_split_total",
    "es_sink_rebalances_total",
];

/// What all sinks counted, and the most memory of every process.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Counts {
    /// Per process and sample: the last value.
    last: BTreeMap<(String, String), u64>,
    /// Per sample (name and labels): the sum.
    sums: BTreeMap<String, u64>,
    /// Per process, in bytes.
    pub memory_peaks: BTreeMap<String, u64>,
}

impl Counts {
    /// A look at the metrics of a sink.
    pub fn metrics(&mut self, process: &str, text: &str) {
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let Some((sample, value)) = line.rsplit_once(' ') else {
                continue;
            };
            let name = sample.split('{').next().unwrap_or(sample);
            let (true, Ok(value)) = (COUNTERS.contains(&name), value.parse::<u64>()) else {
                continue;
            };
            let key = (process.to_owned(), sample.to_owned());
            let before = self.last.insert(key, value).unwrap_or(0);
            let more = if value >= before {
                value - before
            } else {
                value
            };
            *self.sums.entry(sample.to_owned()).or_default() += more;
        }
    }

    /// A look at the memory that a process ever held resident.
    pub fn memory(&mut self, process: &str, peak_bytes: u64) {
        let peak = self.memory_peaks.entry(process.to_owned()).or_default();
        *peak = (*peak).max(peak_bytes);
    }

    /// The sum of all samples of a counter.
    #[must_use]
    pub fn sum(&self, name: &str) -> u64 {
        let samples = self.sums.iter().filter(|(sample, _)| {
            let rest = sample.strip_prefix(name);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('{'))
        });
        samples.map(|(_, value)| value).sum()
    }

    /// All samples that were ever above zero, labels included.
    pub fn samples(&self) -> impl Iterator<Item = (&str, u64)> {
        let samples = self.sums.iter().filter(|(_, value)| **value > 0);
        samples.map(|(sample, value)| (sample.as_str(), *value))
    }
}

/// The sum of all samples of a gauge.
#[must_use]
pub fn gauge(text: &str, name: &str) -> u64 {
    let samples = text.lines().filter_map(|line| {
        let (labels, value) = line.strip_prefix(name)?.rsplit_once(' ')?;
        (labels.is_empty() || labels.starts_with('{')).then_some(value)
    });
    samples.filter_map(|value| value.parse::<u64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_begins_anew_goes_on_counting() {
        let mut counts = Counts::default();
        let indexed = |n: u64| format!("# HELP x\nes_sink_documents_indexed_total {n}\nother 9\n");
        for (process, n) in [("sink 1", 10), ("sink 1", 15), ("sink 2", 4), ("sink 1", 3)] {
            counts.metrics(process, &indexed(n));
        }
        assert_eq!(counts.sum("es_sink_documents_indexed_total"), 15 + 4 + 3);
        assert_eq!(counts.sum("other"), 0);
    }

    #[test]
    fn samples_of_one_counter_are_added_and_told_apart() {
        let mut counts = Counts::default();
        counts.metrics(
            "s",
            "es_sink_item_retries_total{cause=\"busy\"} 2\nes_sink_item_retries_total{cause=\"lost\"} 3\n",
        );
        assert_eq!(counts.sum("es_sink_item_retries_total"), 5);
        assert_eq!(counts.samples().count(), 2);
        assert_eq!(gauge("a{p=\"0\"} 3\na{p=\"1\"} 4\nab 9\n", "a"), 7);
    }

    #[test]
    fn the_highest_peak_counts() {
        let mut counts = Counts::default();
        for peak in [5, 9, 7] {
            counts.memory("s", peak);
        }
        assert_eq!(counts.memory_peaks["s"], 9);
    }
}
