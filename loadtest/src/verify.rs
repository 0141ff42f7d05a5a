//! Decides whether every event is where it must be, exactly once (EO-4).
//!
//! In the flow: `ledger` → **`verify`** ← `elasticsearch_reader`, `dead_letter_reader`.
//! Pure: it is told of every document and every dead letter that names an event
//! of the run, and compares them with what the sender knows. One byte an event.

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;

use crate::ledger::{EVENTS_MAX, Ledger, State};

/// Events named for each kind of finding.
const NAMED_MAX: usize = 10;

// The byte of an event: 3 bits of state, 2 of documents, 2 of open dead letters, 1 if any was
// redriven.
const STATE: u8 = 0b0000_0111;
const DOCUMENT: u8 = 0b0000_1000;
const DOCUMENTS: u8 = 0b0001_1000;
const DEAD_LETTER: u8 = 0b0010_0000;
const DEAD_LETTERS: u8 = 0b0110_0000;
const REDRIVEN: u8 = 0b1000_0000;

const UNLISTED: u8 = 0;
const ACKNOWLEDGED: u8 = 1;
const UNCERTAIN: u8 = 2;
const REFUSED: u8 = 3;
const POISON: u8 = 4;

/// A ledger and what was found so far.
#[derive(Clone, Debug)]
pub struct Comparison {
    events: Vec<u8>,
    complete: bool,
    n_documents: u64,
    n_dead_letters: u64,
    n_dead_letters_redriven: u64,
    /// Events with a letter that was redriven more than once: none, if all is well.
    redriven_twice: BTreeSet<u64>,
    out_of_range: u64,
}

/// A kind of finding: how many events, and the first of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How many events.
    pub count: u64,
    /// The first ten of them.
    pub first: Vec<u64>,
}

/// The outcome of a verification.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Events that the ledger says are acknowledged.
    pub acknowledged: u64,
    /// Events whose outcome the sender does not know.
    pub uncertain: u64,
    /// Events that were refused.
    pub refused: u64,
    /// Events that Elasticsearch was to refuse.
    pub poison: u64,
    /// Events with at least one document.
    pub indexed: u64,
    /// Events with at least one dead letter that is open: not redriven.
    pub dead_lettered: u64,
    /// Events with at least one dead letter that was redriven.
    pub redriven: u64,
    /// Documents of the run.
    pub documents: u64,
    /// Dead letters of the run, open or redriven.
    pub dead_letters: u64,
    /// Dead letters of the run that were redriven.
    pub dead_letters_redriven: u64,
    /// Acknowledged or poison, and in neither place. Without a look at the
    /// dead-letter topic, poison is not looked for.
    pub missing: Finding,
    /// In more than one document or open dead letter, or in both places; or a dead letter of it
    /// was redriven more than once. So an event may be dead-lettered several times only if each
    /// earlier letter was redriven.
    pub duplicated: Finding,
    /// Refused or never sent, and there; or an open dead letter though nothing is wrong with it.
    pub unexpected: Finding,
    /// Uncertain, and there.
    pub uncertain_arrived: u64,
    /// Uncertain, and not there.
    pub uncertain_absent: Finding,
    /// Poison, and indexed.
    pub poison_indexed: Finding,
    /// Whether the dead-letter topic was read.
    pub dead_letters_read: bool,
    /// Whether the generator came to its end; else what no line of the ledger
    /// names counts as uncertain.
    pub ledger_complete: bool,
}

impl Comparison {
    /// Nothing is found yet.
    #[must_use]
    pub fn new(ledger: &Ledger) -> Self {
        let length = ledger.ranges.last().map_or(0, |range| range.last + 1);
        let mut events = vec![UNLISTED; index(length)];
        for range in &ledger.ranges {
            let state = match range.state {
                State::Acknowledged => ACKNOWLEDGED,
                State::Uncertain => UNCERTAIN,
                State::Refused => REFUSED,
                State::Poison => POISON,
            };
            events[index(range.first)..=index(range.last)].fill(state);
        }
        Self {
            events,
            complete: ledger.complete,
            n_documents: 0,
            n_dead_letters: 0,
            n_dead_letters_redriven: 0,
            redriven_twice: BTreeSet::new(),
            out_of_range: 0,
        }
    }

    /// A document names event `n`.
    pub fn document(&mut self, n: u64) {
        self.n_documents += 1;
        self.sight(n, DOCUMENT, DOCUMENTS);
    }

    /// A dead letter names event `n`, and was redriven so many times. A letter that was redriven
    /// is no place where the event is: it went back to Kafka, and must come out again.
    pub fn dead_letter(&mut self, n: u64, n_redriven: u64) {
        self.n_dead_letters += 1;
        if n_redriven == 0 {
            self.sight(n, DEAD_LETTER, DEAD_LETTERS);
            return;
        }
        self.n_dead_letters_redriven += 1;
        self.sight(n, REDRIVEN, REDRIVEN);
        if n_redriven > 1 && n < EVENTS_MAX {
            self.redriven_twice.insert(n);
        }
    }

    fn sight(&mut self, n: u64, one: u8, mask: u8) {
        if n >= EVENTS_MAX {
            self.out_of_range += 1;
            return;
        }
        let at = index(n);
        if at >= self.events.len() {
            self.events.resize(at + 1, UNLISTED);
        }
        let event = &mut self.events[at];
        // Three stands for three or more.
        if *event & mask != mask {
            *event += one;
        }
    }

    /// Compares. `dead_letters_read` tells whether the dead-letter topic was looked at.
    #[must_use]
    pub fn verdict(&self, dead_letters_read: bool) -> Verdict {
        let mut verdict = Verdict {
            documents: self.n_documents,
            dead_letters: self.n_dead_letters,
            dead_letters_redriven: self.n_dead_letters_redriven,
            dead_letters_read,
            ledger_complete: self.complete,
            ..Verdict::default()
        };
        verdict.unexpected.count = self.out_of_range;
        for (n, event) in self.events.iter().enumerate() {
            self.judge(n as u64, *event, &mut verdict);
        }
        verdict
    }

    /// Events that are in one place and not in the other. Those that Elasticsearch was to refuse are left out: what names
    /// some of them is not kept everywhere.
    #[must_use]
    pub fn differences(&self, other: &Self) -> Finding {
        let mut found = Finding::default();
        for n in 0..self.events.len().max(other.events.len()) {
            let [ours, theirs] = [self, other].map(|side| side.events.get(n).copied());
            let is_there = |event: Option<u8>| event.is_some_and(|event| event & !STATE != 0);
            let state = ours.or(theirs).unwrap_or_default() & STATE;
            if is_there(ours) != is_there(theirs) && state != POISON {
                found.add(n as u64);
            }
        }
        found
    }

    fn judge(&self, n: u64, event: u8, verdict: &mut Verdict) {
        let documents = (event & DOCUMENTS) / DOCUMENT;
        let dead_letters = (event & DEAD_LETTERS) / DEAD_LETTER;
        let there = documents + dead_letters > 0;
        verdict.indexed += u64::from(documents > 0);
        verdict.dead_lettered += u64::from(dead_letters > 0);
        verdict.redriven += u64::from(event & REDRIVEN != 0);
        if documents + dead_letters > 1 || self.redriven_twice.contains(&n) {
            verdict.duplicated.add(n);
        }
        match event & STATE {
            ACKNOWLEDGED => {
                verdict.acknowledged += 1;
                if !there {
                    verdict.missing.add(n);
                }
            }
            POISON => {
                verdict.poison += 1;
                if documents > 0 {
                    verdict.poison_indexed.add(n);
                }
                if !there && verdict.dead_letters_read {
                    verdict.missing.add(n);
                }
            }
            REFUSED => {
                verdict.refused += 1;
                if there {
                    verdict.unexpected.add(n);
                }
                return;
            }
            UNLISTED if self.complete => {
                if there {
                    verdict.unexpected.add(n);
                }
                return;
            }
            _ => {
                verdict.uncertain += 1;
                match there {
                    true => verdict.uncertain_arrived += 1,
                    false => verdict.uncertain_absent.add(n),
                }
            }
        }
        if dead_letters > 0 && event & STATE != POISON {
            verdict.unexpected.add(n);
        }
    }
}

impl Finding {
    fn add(&mut self, n: u64) {
        self.count += 1;
        if self.first.len() < NAMED_MAX {
            self.first.push(n);
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.count)?;
        if !self.first.is_empty() {
            let named: Vec<String> = self.first.iter().map(u64::to_string).collect();
            let more = if self.count > named.len() as u64 {
                ", …"
            } else {
                ""
            };
            write!(f, " (events {}{more})", named.join(", "))?;
        }
        Ok(())
    }
}

impl Verdict {
    /// Whether every event is where it must be, exactly once.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.missing.count == 0 && self.duplicated.count == 0 && self.unexpected.count == 0
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = |f: &mut fmt::Formatter<'_>, name: &str, value: &dyn fmt::Display| {
            writeln!(f, "{name:<18}{value}")
        };
        if !self.ledger_complete {
            writeln!(
                f,
                "the generator did not come to its end: what its ledger does not name counts as uncertain"
            )?;
        }
        line(f, "acknowledged", &self.acknowledged)?;
        line(f, "poison", &self.poison)?;
        line(f, "refused", &self.refused)?;
        let uncertain = format!(
            "{}: {} arrived, absent {}",
            self.uncertain, self.uncertain_arrived, self.uncertain_absent
        );
        line(f, "uncertain", &uncertain)?;
        let indexed = format!("{} in {} documents", self.indexed, self.documents);
        line(f, "indexed", &indexed)?;
        let dead = match self.dead_letters_read {
            true => format!(
                "{} in {} dead letters",
                self.dead_lettered,
                self.dead_letters - self.dead_letters_redriven
            ),
            false => "not looked at".to_owned(),
        };
        line(f, "dead-lettered", &dead)?;
        if self.redriven > 0 {
            let redriven = format!(
                "{} in {} dead letters",
                self.redriven, self.dead_letters_redriven
            );
            line(f, "redriven", &redriven)?;
        }
        if self.poison_indexed.count > 0 {
            line(f, "poison indexed", &self.poison_indexed)?;
        }
        line(f, "missing", &self.missing)?;
        line(f, "duplicated", &self.duplicated)?;
        line(f, "unexpected", &self.unexpected)?;
        write!(
            f,
            "{}",
            match self.holds() {
                true => "every event is where it must be, exactly once",
                false => "NOT every event is where it must be, exactly once",
            }
        )
    }
}

fn index(n: u64) -> usize {
    usize::try_from(n).expect("at most EVENTS_MAX events, on a machine of 64 bits")
}

#[cfg(test)]
mod tests;
