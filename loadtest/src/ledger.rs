//! What became of each event of a run, as far as its sender knows.
//!
//! In the flow: `workload` → **`ledger`** → `verify`. The file is text, one
//! range of events a line, so that a run of a million acknowledged events is a
//! few lines:
//!
//! ```text
//! loadtest-ledger 1 r18c2f
//! acknowledged 0 9999
//! uncertain 10000 10099
//! end 10100
//! ```
//! A ledger without its `end` is of a generator that was killed: an event that
//! no line names may then have been sent.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{BufRead, Write};

use crate::marker::RunId;

/// The most events of one run: `verify` keeps three bytes for each.
pub const EVENTS_MAX: u64 = 500_000_000;

/// Ranges that wait for their neighbours before they are written, per state.
const OPEN_RANGES_MAX: usize = 4_096;
const OPENING: &str = "loadtest-ledger 1 ";

/// What the sender knows of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Somebody promised to keep it: it must arrive, once.
    Acknowledged,
    /// Sent, but the outcome is unknown: it may arrive, at most once.
    Uncertain,
    /// Refused: it must not arrive.
    Refused,
    /// Kafka has it, Elasticsearch is to refuse it: it must be dead-lettered, once.
    Poison,
}

impl State {
    const ALL: [Self; 4] = [
        Self::Acknowledged,
        Self::Uncertain,
        Self::Refused,
        Self::Poison,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Acknowledged => "acknowledged",
            Self::Uncertain => "uncertain",
            Self::Refused => "refused",
            Self::Poison => "poison",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a ledger cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The file cannot be read or written.
    #[error("the ledger cannot be read or written: {0}")]
    Io(#[from] std::io::Error),
    /// A line is not one that a generator writes.
    #[error("line {line} of the ledger is `{text}`, expected {expected}")]
    Line {
        /// Counted from 1.
        line: usize,
        /// The line, cut to 100 characters.
        text: String,
        /// What belongs there.
        expected: &'static str,
    },
    /// Two lines name the same event.
    #[error("event {0} stands in the ledger twice")]
    Twice(u64),
}

/// Events `first` to `last`, both included, in one state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The state of all of them.
    pub state: State,
    /// The first event.
    pub first: u64,
    /// The last event.
    pub last: u64,
}

/// A ledger as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ledger {
    /// The run.
    pub run: RunId,
    /// By first event, without overlaps.
    pub ranges: Vec<Range>,
    /// Whether its generator came to its end.
    pub complete: bool,
}

impl Ledger {
    /// Reads a ledger.
    ///
    /// # Errors
    /// [`LedgerError`] names the line or the event.
    pub fn read(input: impl BufRead) -> Result<Self, LedgerError> {
        let mut run = None;
        let mut ranges = Vec::new();
        let mut complete = false;
        for (index, text) in input.lines().enumerate() {
            let text = text?;
            let refuse = |expected| LedgerError::Line {
                line: index + 1,
                text: text.chars().take(100).collect(),
                expected,
            };
            if index == 0 {
                let named = text.strip_prefix(OPENING).and_then(|run| run.parse().ok());
                run = Some(named.ok_or_else(|| refuse("`loadtest-ledger 1 RUN`"))?);
            } else if text.starts_with("end ") {
                complete = true;
            } else {
                ranges.push(parse_range(&text).ok_or_else(|| refuse("`STATE FIRST LAST`"))?);
            }
        }
        ranges.sort_unstable_by_key(|range| range.first);
        for pair in ranges.windows(2) {
            if pair[1].first <= pair[0].last {
                return Err(LedgerError::Twice(pair[1].first));
            }
        }
        let run = run.ok_or(LedgerError::Line {
            line: 1,
            text: String::new(),
            expected: "`loadtest-ledger 1 RUN`",
        })?;
        Ok(Self {
            run,
            ranges,
            complete,
        })
    }

    /// How many events are in a state.
    #[must_use]
    pub fn count(&self, state: State) -> u64 {
        let of_state = self.ranges.iter().filter(|range| range.state == state);
        of_state.map(|range| range.last - range.first + 1).sum()
    }
}

fn parse_range(text: &str) -> Option<Range> {
    let mut words = text.split(' ');
    let name = words.next()?;
    let state = State::ALL.into_iter().find(|state| state.name() == name)?;
    let first: u64 = words.next()?.parse().ok()?;
    let last: u64 = words.next()?.parse().ok()?;
    let sound = words.next().is_none() && first <= last && last < EVENTS_MAX;
    sound.then_some(Range { state, first, last })
}

/// Writes a ledger while its run goes on. Neighbours are joined, so memory is
/// bounded and the file small, in whatever order outcomes become known.
#[derive(Debug)]
pub struct LedgerWriter<W: Write> {
    out: W,
    /// First event → last event, of each state.
    open: [BTreeMap<u64, u64>; 4],
    counts: LedgerCounts,
}

/// How many events are in each state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct LedgerCounts {
    /// Promised.
    pub acknowledged: u64,
    /// Of unknown outcome.
    pub uncertain: u64,
    /// Refused.
    pub refused: u64,
    /// In Kafka, and not to be indexed.
    pub poison: u64,
}

impl<W: Write> LedgerWriter<W> {
    /// Writes the opening line.
    ///
    /// # Errors
    /// If `out` cannot be written.
    pub fn new(run: &RunId, mut out: W) -> Result<Self, LedgerError> {
        writeln!(out, "{OPENING}{run}")?;
        Ok(Self {
            out,
            open: Default::default(),
            counts: LedgerCounts::default(),
        })
    }

    /// Notes that events `first` to `last`, both included, are in a state for good.
    ///
    /// # Errors
    /// If `out` cannot be written.
    pub fn record(&mut self, state: State, first: u64, last: u64) -> Result<(), LedgerError> {
        let n = last - first + 1;
        let open = match state {
            State::Acknowledged => {
                self.counts.acknowledged += n;
                &mut self.open[0]
            }
            State::Uncertain => {
                self.counts.uncertain += n;
                &mut self.open[1]
            }
            State::Refused => {
                self.counts.refused += n;
                &mut self.open[2]
            }
            State::Poison => {
                self.counts.poison += n;
                &mut self.open[3]
            }
        };
        join(open, first, last);
        if open.len() > OPEN_RANGES_MAX {
            for _ in 0..OPEN_RANGES_MAX / 2 {
                if let Some((first, last)) = open.pop_first() {
                    writeln!(self.out, "{state} {first} {last}")?;
                }
            }
        }
        Ok(())
    }

    /// How many events were noted so far.
    #[must_use]
    pub fn counts(&self) -> LedgerCounts {
        self.counts
    }

    /// Writes what is left and the end.
    ///
    /// # Errors
    /// If `out` cannot be written.
    pub fn finish(mut self) -> Result<LedgerCounts, LedgerError> {
        for (state, open) in State::ALL.into_iter().zip(&self.open) {
            for (first, last) in open {
                writeln!(self.out, "{state} {first} {last}")?;
            }
        }
        let counts = self.counts;
        let n = counts.acknowledged + counts.uncertain + counts.refused + counts.poison;
        writeln!(self.out, "end {n}")?;
        self.out.flush()?;
        Ok(counts)
    }
}

fn join(open: &mut BTreeMap<u64, u64>, mut first: u64, mut last: u64) {
    if let Some((&before, &end)) = open.range(..first).next_back()
        && end + 1 == first
    {
        first = before;
    }
    if let Some(end) = open.remove(&(last + 1)) {
        last = end;
    }
    open.insert(first, last);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Result<Ledger, LedgerError> {
        Ledger::read(text.as_bytes())
    }

    #[test]
    fn neighbours_become_one_line_in_whatever_order_they_arrive() {
        let mut file = Vec::new();
        let mut writer = LedgerWriter::new(&"r1".parse().unwrap(), &mut file).unwrap();
        for first in [20, 0, 10] {
            writer
                .record(State::Acknowledged, first, first + 9)
                .unwrap();
        }
        writer.record(State::Refused, 30, 30).unwrap();
        writer.finish().unwrap();
        let text = String::from_utf8(file).unwrap();
        assert_eq!(
            text,
            "loadtest-ledger 1 r1\nacknowledged 0 29\nrefused 30 30\nend 31\n"
        );
    }

    #[test]
    fn what_no_generator_writes_is_refused_with_its_line() {
        for (text, expected) in [
            ("", "line 1 of the ledger is ``"),
            ("x", "line 1 of the ledger is `x`"),
            (
                "loadtest-ledger 1 r\nlost 1 2",
                "line 2 of the ledger is `lost 1 2`",
            ),
            ("loadtest-ledger 1 r\nrefused 2 1", "line 2"),
            ("loadtest-ledger 1 r\nrefused 1 1 1", "line 2"),
            ("loadtest-ledger 1 r\nrefused 1 500000000", "line 2"),
            ("loadtest-ledger 1 r\nrefused 1 5\npoison 5 6", "event 5"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text:?}: {error}");
        }
    }

    #[test]
    fn a_ledger_of_a_killed_generator_is_incomplete() {
        assert!(!read("loadtest-ledger 1 r\nrefused 1 5\n").unwrap().complete);
        assert!(read("loadtest-ledger 1 r\nend 0\n").unwrap().complete);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            states in prop::collection::vec(0usize..4, 0..9_000),
            seed: u64,
        ) {
            let mut order: Vec<usize> = (0..states.len()).collect();
            order.sort_unstable_by_key(|n| crate::workload::mix(seed, *n as u64));
            let mut file = Vec::new();
            let mut writer = LedgerWriter::new(&"r1".parse().unwrap(), &mut file).unwrap();
            for n in order {
                writer.record(State::ALL[states[n]], n as u64, n as u64).unwrap();
            }
            let counts = writer.finish().unwrap();
            let ledger = read(std::str::from_utf8(&file).unwrap()).unwrap();
            prop_assert!(ledger.complete);
            prop_assert_eq!(counts.acknowledged, ledger.count(State::Acknowledged));
            let mut back = vec![None; states.len()];
            for range in &ledger.ranges {
                for n in range.first..=range.last {
                    back[n as usize] = Some(range.state);
                }
            }
            let expected: Vec<_> = states.iter().map(|s| Some(State::ALL[*s])).collect();
            prop_assert_eq!(back, expected);
        }
    }
}
