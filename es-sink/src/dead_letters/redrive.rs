//! Redrives letters in batches until none is left that is meant and open.
//!
//! In the flow: `topic_reader` → **`redrive`** → `redrive_topic`. The order of the start is what keeps
//! a letter from being redriven twice: first everybody else who redrives is fenced off, then the
//! marks are read, and nobody but us can add any.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use serde::Serialize;
use service::shutdown::Shutdown;

use super::command::{DeadLettersConfig, RedriveOrder};
use super::letter::Letter;
use super::redrive_topic::{RedriveError, RedriveTopic, Return};
use super::redriven_record::{again, mark};
use super::topic_reader::{Completeness, Interrupted, Survey, TopicReader};

/// Letters of one transaction.
const BATCH_LETTERS_MAX: usize = 500;
/// Bytes of their records, beside the last one.
const BATCH_BYTES_MAX: usize = 1 << 20;
/// Between two lines of progress.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);
/// Letters that cannot be redriven and are named.
const NAMED_MAX: usize = 10;

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// Whether nothing was changed on purpose.
    pub dry_run: bool,
    /// Letters in the topic at the start.
    pub letters: u64,
    /// Those of them that were not redriven at the start.
    pub open_before: u64,
    /// Redriven now; in a dry run, what would be.
    pub redriven: u64,
    /// Of those of the start, what is open now.
    pub open_after: u64,
    /// Letters that were meant and cannot be written to their topics.
    pub refused: u64,
    /// The first ten of them, and why.
    pub refusals: Vec<String>,
    /// Why it ended before everything that was meant was redriven.
    pub ended_early: Option<String>,
}

/// Redrives what is meant; blocks its thread, and tells how it goes.
///
/// # Errors
/// If Kafka cannot be read or written from the start. What goes wrong later is told by the [`Outcome`].
pub fn run(
    config: &DeadLettersConfig,
    order: &RedriveOrder,
    shutdown: &Shutdown,
    tell: &dyn Fn(&str),
) -> anyhow::Result<Outcome> {
    let way_back = match order.dry_run {
        true => None,
        false => Some(RedriveTopic::open(config, shutdown)?),
    };
    // Behind an open transaction of a sink there may be marks.
    let completeness = match order.dry_run {
        true => Completeness::AsItIs,
        false => Completeness::Everything,
    };
    let reader = TopicReader::open(config, completeness, shutdown)?;
    let survey = reader.survey()?;
    let mut work = Work::new(config, order, way_back, &survey, tell);
    let ended = reader.letters(|letter| {
        if order.limit.is_some_and(|limit| work.n_taken >= limit) {
            return Ok(ControlFlow::Break(()));
        }
        if !survey.marks.contains(letter.place) && order.filter.takes(&letter) {
            work.take(&reader, &letter)?;
        }
        Ok(ControlFlow::Continue(()))
    });
    // What was taken before the interruption is not lost by leaving it out.
    let ended = ended.and_then(|()| work.send());
    match ended {
        Ok(()) => {}
        Err(error) if error.is::<Interrupted>() => {
            work.outcome.ended_early = Some("interrupted; run it again to go on".to_owned());
        }
        Err(error) => work.outcome.ended_early = Some(format!("{error:#}")),
    }
    Ok(work.end())
}

struct Work<'a> {
    config: &'a DeadLettersConfig,
    way_back: Option<RedriveTopic<'a>>,
    outcome: Outcome,
    n_taken: u64,
    batch: Vec<Return>,
    batch_bytes: usize,
    n_partitions: BTreeMap<String, i32>,
    last_progress: Option<Instant>,
    tell: &'a dyn Fn(&str),
}

impl<'a> Work<'a> {
    fn new(
        config: &'a DeadLettersConfig,
        order: &RedriveOrder,
        way_back: Option<RedriveTopic<'a>>,
        survey: &Survey,
        tell: &'a dyn Fn(&str),
    ) -> Self {
        let outcome = Outcome {
            dry_run: order.dry_run,
            letters: survey.n_letters,
            open_before: survey.n_letters.saturating_sub(survey.n_redriven),
            ..Outcome::default()
        };
        tell(&format!(
            "{} dead letters in `{}`, {} of them open",
            outcome.letters, config.topic, outcome.open_before
        ));
        Self {
            config,
            way_back,
            outcome,
            n_taken: 0,
            batch: Vec::new(),
            batch_bytes: 0,
            n_partitions: BTreeMap::new(),
            last_progress: None,
            tell,
        }
    }

    fn take(&mut self, reader: &TopicReader<'_>, letter: &Letter) -> anyhow::Result<()> {
        let topic = &letter.source.topic;
        let n_partitions = match self.n_partitions.get(topic) {
            Some(known) => *known,
            None => {
                let found = reader.n_partitions(topic)?;
                self.n_partitions.insert(topic.clone(), found);
                found
            }
        };
        if n_partitions == 0 || *topic == self.config.topic {
            let why = match n_partitions {
                0 => "does not exist, or may not be looked up",
                _ => "is the dead-letter topic",
            };
            self.refuse(format!("{}: its topic `{topic}` {why}", letter.place));
            return Ok(());
        }
        self.n_taken += 1;
        if self.way_back.is_none() {
            self.outcome.redriven += 1;
            return Ok(());
        }
        let record = again(letter);
        self.batch_bytes += record.n_bytes();
        self.batch.push(Return {
            place: letter.place,
            topic: topic.clone(),
            partition: (letter.source.partition < n_partitions).then_some(letter.source.partition),
            record,
            mark: mark(letter),
        });
        if self.batch.len() >= BATCH_LETTERS_MAX || self.batch_bytes >= BATCH_BYTES_MAX {
            self.send()?;
        }
        Ok(())
    }

    fn send(&mut self) -> anyhow::Result<()> {
        let batch = std::mem::take(&mut self.batch);
        self.batch_bytes = 0;
        let Some(way_back) = self.way_back.as_ref().filter(|_| !batch.is_empty()) else {
            return Ok(());
        };
        match way_back.send(&batch) {
            Ok(()) => self.outcome.redriven += batch.len() as u64,
            // The brokers refuse records in groups: one at a time shows which it is.
            Err(RedriveError::Refused { .. }) => {
                for returned in &batch {
                    match way_back.send(std::slice::from_ref(returned)) {
                        Ok(()) => self.outcome.redriven += 1,
                        Err(RedriveError::Refused { place, error }) => {
                            self.outcome.refused += 1;
                            note(&mut self.outcome.refusals, format!("{place}: {error}"));
                        }
                        Err(error) => return Err(error.into()),
                    }
                }
            }
            Err(error) => return Err(error.into()),
        }
        self.tell_progress();
        Ok(())
    }

    fn refuse(&mut self, why: String) {
        self.outcome.refused += 1;
        note(&mut self.outcome.refusals, why);
    }

    fn tell_progress(&mut self) {
        let due = self
            .last_progress
            .is_none_or(|last| last.elapsed() >= PROGRESS_EVERY);
        if due {
            self.last_progress = Some(Instant::now());
            (self.tell)(&format!("{} redriven", self.outcome.redriven));
        }
    }

    fn end(mut self) -> Outcome {
        let now = match self.outcome.dry_run {
            true => 0,
            false => self.outcome.redriven,
        };
        self.outcome.open_after = self.outcome.open_before.saturating_sub(now);
        self.outcome
    }
}

fn note(named: &mut Vec<String>, why: String) {
    if named.len() < NAMED_MAX {
        named.push(why);
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let done = match self.dry_run {
            true => "would be redriven",
            false => "redriven",
        };
        write!(
            f,
            "{} open before, {} {done}, {} open now",
            self.open_before, self.redriven, self.open_after
        )?;
        if self.refused > 0 {
            write!(f, "; {} cannot be redriven:", self.refused)?;
        }
        for refusal in &self.refusals {
            write!(f, "\n  {refusal}")?;
        }
        if self.refused > self.refusals.len() as u64 {
            write!(f, "\n  …")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_counts_before_and_after_and_names_what_is_refused() {
        let mut outcome = Outcome {
            letters: 30,
            open_before: 20,
            redriven: 5,
            open_after: 15,
            ..Outcome::default()
        };
        assert_eq!(
            outcome.to_string(),
            "20 open before, 5 redriven, 15 open now"
        );
        outcome.refused = 2;
        outcome.refusals = vec!["0:1: its topic `x` does not exist".to_owned()];
        assert_eq!(
            outcome.to_string(),
            "20 open before, 5 redriven, 15 open now; 2 cannot be redriven:\n  0:1: its topic `x` does not exist\n  …"
        );
    }
}
