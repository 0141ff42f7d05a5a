//! Waits until a run has arrived, reads it back, and has it judged.
//!
//! In the flow: `elasticsearch_reader`, `dead_letter_reader`, `postgres_reader` → **`verification`** → `verify`.

use std::fmt;
use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use indicatif::ProgressBar;
use serde::Serialize;
use service::elasticsearch::NodeUrl;

use crate::dead_letter_reader::{DeadLetters, FoundLetter, FoundLetters, Reasons};
use crate::elasticsearch_reader::ElasticsearchReader;
use crate::ledger::{Ledger, State};
use crate::marker::RunId;
use crate::postgres_reader::PostgresReader;
use crate::verify::{Comparison, Finding, Verdict};

/// Between two counts while waiting.
const COUNT_EVERY: Duration = Duration::from_millis(500);

/// What is asked for.
#[derive(Clone, Debug)]
pub struct VerificationSettings {
    /// The ledger of the generator.
    pub ledger: PathBuf,
    /// The cluster.
    pub elasticsearch: Vec<NodeUrl>,
    /// A name or pattern of indices.
    pub index: String,
    /// The archive, to be held against the ledger and against Elasticsearch; `None` leaves it out.
    pub archive: Option<PostgresReader>,
    /// Where dead letters are; `None` leaves them out.
    pub dead_letters: Option<DeadLetters>,
    /// How often the sinks' group was told to read from the beginning again: so many more dead letters of one event
    /// count as one (docs/guarantees.md, "Where they end").
    pub offset_resets: usize,
    /// How long the count of what arrived may stand still before the run counts as over.
    pub wait: Duration,
}

/// What was found.
#[derive(Clone, Debug, Serialize)]
pub struct Verification {
    /// The run.
    pub run: String,
    /// The verdict.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// What the archive holds, if it was looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub archive: Option<Archived>,
    /// Dead letters by reason.
    pub dead_letter_reasons: Reasons,
    /// Documents of the duplicated and unexpected events that are named.
    pub places: Vec<String>,
    /// Seconds it took, the waiting included.
    pub seconds: f64,
}

/// What the archive holds of a run.
#[derive(Clone, Debug, Serialize)]
pub struct Archived {
    /// Its own verdict; what Elasticsearch was to refuse may be there or not, since some of it is told by its key alone.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// In the archive and neither a document nor a dead letter, or the other way round; events that Elasticsearch was to
    /// refuse are left out.
    pub differs: Finding,
}

impl Verification {
    /// Whether every event is where it must be, exactly once, in each place that was looked at.
    #[must_use]
    pub fn holds(&self) -> bool {
        let archived = self.archive.as_ref();
        self.verdict.holds()
            && archived.is_none_or(|found| found.verdict.holds() && found.differs.count == 0)
    }
}

/// Verifies a run. `progress` counts what arrived.
///
/// # Errors
/// If the ledger, Elasticsearch or the dead-letter topic cannot be read. That
/// events are missing is no error: [`Verdict::holds`] tells.
pub async fn run(
    settings: &VerificationSettings,
    progress: &ProgressBar,
) -> anyhow::Result<Verification> {
    let started = Instant::now();
    let path = &settings.ledger;
    let file = File::open(path).with_context(|| format!("the ledger `{}`", path.display()))?;
    let ledger = Ledger::read(BufReader::new(file))
        .with_context(|| format!("the ledger `{}`", path.display()))?;
    let reader = ElasticsearchReader::new(&settings.elasticsearch, &settings.index, &ledger.run)?;
    let mut arrivals = Arrivals::default();
    let (verdict, reasons, archive) = loop {
        wait(settings, &ledger, &reader, &mut arrivals, progress).await?;
        let (found, reasons) = compare(settings, &ledger, &reader).await?;
        let verdict = found.verdict(settings.dead_letters.is_some());
        let archive = archived(settings, &ledger, &found).await?;
        arrivals.archived(archive.as_ref().map_or(0, |found| found.verdict.documents));
        let is_behind =
            |found: &Archived| found.verdict.missing.count > 0 || found.differs.count > 0;
        // Uncertain events may make up the number while others are under way.
        let is_whole = verdict.missing.count == 0 && !archive.as_ref().is_some_and(is_behind);
        if is_whole || arrivals.stood_still_for(settings.wait) {
            break (verdict, reasons, archive);
        }
        tokio::time::sleep(COUNT_EVERY).await;
    };
    let named = [&verdict.duplicated.first[..], &verdict.unexpected.first].concat();
    let places = match named.is_empty() {
        true => Vec::new(),
        false => reader.places(&named).await?,
    };
    Ok(Verification {
        run: ledger.run.to_string(),
        verdict,
        archive,
        dead_letter_reasons: reasons,
        places,
        seconds: (started.elapsed().as_secs_f64() * 1e3).round() / 1e3,
    })
}

/// How many events arrived, and since when not one more.
#[derive(Debug, Default)]
struct Arrivals {
    n: u64,
    n_archived: u64,
    unchanged_since: Option<Instant>,
}

impl Arrivals {
    fn now(&mut self, n: u64) {
        if n != self.n || self.unchanged_since.is_none() {
            self.n = n;
            self.unchanged_since = Some(Instant::now());
        }
    }

    fn archived(&mut self, n: u64) {
        if n != self.n_archived {
            self.n_archived = n;
            self.unchanged_since = Some(Instant::now());
        }
    }

    fn stood_still_for(&self, wait: Duration) -> bool {
        self.unchanged_since
            .is_some_and(|since| since.elapsed() >= wait)
    }
}

/// Waits until as many arrived as must, or no more arrive.
async fn wait(
    settings: &VerificationSettings,
    ledger: &Ledger,
    reader: &ElasticsearchReader,
    arrivals: &mut Arrivals,
    progress: &ProgressBar,
) -> anyhow::Result<()> {
    let mut expected = ledger.count(State::Acknowledged);
    if settings.dead_letters.is_some() {
        expected += ledger.count(State::Poison);
    }
    progress.set_length(expected);
    loop {
        reader.refresh().await?;
        let documents = reader.count().await?;
        let found = dead_letters(settings, &ledger.run).await?;
        // What was redriven is on its way to be a document or a dead letter again.
        let open = found.letters.iter().filter(|letter| letter.n_redriven == 0);
        let n = documents + open.count() as u64;
        progress.set_position(n);
        arrivals.now(n);
        if n >= expected || arrivals.stood_still_for(settings.wait) {
            return Ok(());
        }
        tokio::time::sleep(COUNT_EVERY).await;
    }
}

async fn compare(
    settings: &VerificationSettings,
    ledger: &Ledger,
    reader: &ElasticsearchReader,
) -> anyhow::Result<(Comparison, Reasons)> {
    // Dead letters last: what left Kafka for either place before is then seen.
    let mut comparison = Comparison::new(ledger);
    reader.refresh().await?;
    reader.read(|n| comparison.document(n)).await?;
    let found = dead_letters(settings, &ledger.run).await?;
    for letter in found.letters {
        comparison.dead_letter(letter.n, letter.n_redriven);
    }
    Ok((comparison, found.reasons))
}

/// Reads the archive, if it is asked for, and holds it against the ledger and what was `indexed`.
async fn archived(
    settings: &VerificationSettings,
    ledger: &Ledger,
    indexed: &Comparison,
) -> anyhow::Result<Option<Archived>> {
    let Some(archive) = &settings.archive else {
        return Ok(None);
    };
    let mut comparison = Comparison::new(ledger);
    archive
        .read(&ledger.run, |n| comparison.document(n))
        .await?;
    Ok(Some(Archived {
        verdict: comparison.verdict(false),
        differs: comparison.differences(indexed),
    }))
}

async fn dead_letters(
    settings: &VerificationSettings,
    run: &RunId,
) -> anyhow::Result<FoundLetters> {
    let Some(dead_letters) = settings.dead_letters.clone() else {
        return Ok(FoundLetters::default());
    };
    let run = run.clone();
    let offset_resets = settings.offset_resets;
    let reading = tokio::task::spawn_blocking(move || {
        let mut found = dead_letters.read(&run)?;
        found.letters = without_repeats(found.letters, offset_resets);
        anyhow::Ok(found)
    });
    reading
        .await
        .context("the reader of dead letters ended early")?
}

/// Takes out of the open dead letters of each event as many repeats as are allowed.
fn without_repeats(mut letters: Vec<FoundLetter>, allowed: usize) -> Vec<FoundLetter> {
    letters.sort_unstable_by_key(|letter| (letter.n, letter.n_redriven));
    let of_one_event = letters.chunk_by(|one, next| one.n == next.n);
    of_one_event
        .flat_map(|letters| {
            let n_open = letters
                .iter()
                .filter(|letter| letter.n_redriven == 0)
                .count();
            &letters[allowed.min(n_open.saturating_sub(1))..]
        })
        .copied()
        .collect()
}

impl fmt::Display for Verification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<18}{}", "run", self.run)?;
        for (reason, count) in &self.dead_letter_reasons {
            writeln!(f, "{:<18}{count} × {reason}", "reason")?;
        }
        for place in &self.places {
            writeln!(f, "{:<18}{place}", "place")?;
        }
        self.verdict.fmt(f)?;
        if let Some(archive) = &self.archive {
            writeln!(f, "\n\nthe archive")?;
            writeln!(f, "{:<18}{}", "differs", archive.differs)?;
            archive.verdict.fmt(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_letter_may_repeat_as_often_as_offsets_were_reset() {
        let left = |letters: &[(u64, u64)], allowed| -> Vec<(u64, u64)> {
            let letters = letters.iter();
            let letters = letters.map(|&(n, n_redriven)| FoundLetter { n, n_redriven });
            let left = without_repeats(letters.collect(), allowed);
            left.iter().map(|left| (left.n, left.n_redriven)).collect()
        };
        let open = [(7, 0), (3, 0), (7, 0), (7, 0), (5, 0)];
        assert_eq!(left(&open, 0), [(3, 0), (5, 0), (7, 0), (7, 0), (7, 0)]);
        assert_eq!(left(&open, 1), [(3, 0), (5, 0), (7, 0), (7, 0)]);
        assert_eq!(left(&open, 5), [(3, 0), (5, 0), (7, 0)]);
        // Those that were redriven are counted apart, each of them.
        let redriven = [(7, 1), (7, 0), (7, 0), (3, 1)];
        assert_eq!(left(&redriven, 5), [(3, 1), (7, 0), (7, 1)]);
        assert!(left(&[], 1).is_empty());
    }
}
