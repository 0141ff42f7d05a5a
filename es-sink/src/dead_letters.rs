//! `es-sink dead-letters`: shows what could never be indexed, and sends it once more.
//!
//! Beside the flow: the dead-letter topic → **`dead_letters`** → the source topic, from where a sink
//! takes it as any record. Why a letter is redriven once, whatever is killed when:
//! docs/decisions/0009-redrive.md. Not here: how letters are written (`dead_letter_topic`).
//!
//! 1. [`command`]: what is asked for.
//! 2. `topic_reader`: reads the topic; [`letter`]: what stands there; [`marks`]: which letters
//!    were redriven.
//! 3. [`filter`]: which letters are meant.
//! 4. [`rendering`]: how they are shown.
//! 5. [`redriven_record`]: what goes back; [`redrive`] does it, through `redrive_topic`.

pub mod command;
mod topic_reader;
pub mod letter;
pub mod marks;
pub mod filter;
pub mod rendering;
pub mod redriven_record;
pub mod redrive;
mod redrive_topic;

pub use topic_reader::record_parts;

use std::io::{BufWriter, Write as _};
use std::ops::ControlFlow;
use std::process::ExitCode;

use anyhow::Context as _;
use service::shutdown::Shutdown;

use command::{DeadLettersConfig, Order};
use filter::Filter;
use letter::Place;
use topic_reader::{Completeness, TopicReader};

/// Does what was asked for; blocks its thread. The exit code is 0 if all of it was done.
///
/// # Errors
/// If Kafka cannot be read or written, or the user asks for an end.
pub fn run(config: &DeadLettersConfig, shutdown: &Shutdown) -> anyhow::Result<ExitCode> {
    match &config.order {
        Order::List {
            filter,
            limit,
            json,
        } => list(config, filter, *limit, *json, shutdown),
        Order::Show(place) => show(config, *place, shutdown),
        Order::Redrive(order) => {
            let outcome = redrive::run(config, order, shutdown, &tell)?;
            let text = match order.json {
                true => serde_json::to_string(&outcome)?,
                false => outcome.to_string(),
            };
            writeln!(std::io::stdout(), "{text}")?;
            if let Some(why) = &outcome.ended_early {
                tell(&format!("es-sink: {why}"));
            }
            Ok(
                match outcome.ended_early.is_none() && outcome.refused == 0 {
                    true => ExitCode::SUCCESS,
                    false => ExitCode::FAILURE,
                },
            )
        }
    }
}

/// Tells the user how it goes. Where nobody listens, it goes on.
fn tell(line: &str) {
    drop(writeln!(std::io::stderr(), "{line}"));
}

fn list(
    config: &DeadLettersConfig,
    filter: &Filter,
    limit: u64,
    json: bool,
    shutdown: &Shutdown,
) -> anyhow::Result<ExitCode> {
    let reader = TopicReader::open(config, Completeness::AsItIs, shutdown)?;
    let survey = reader.survey()?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    let mut tally = rendering::Tally::default();
    let mut n_shown = 0;
    reader.letters(|letter| {
        if filter.takes(&letter) {
            let redriven = survey.marks.contains(letter.place);
            tally.add(&letter, redriven);
            if n_shown < limit {
                n_shown += 1;
                match json {
                    true => writeln!(out, "{}", rendering::json(&letter, redriven))?,
                    false => writeln!(out, "{}", rendering::line(&letter, redriven))?,
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    })?;
    match json {
        true => writeln!(out, "{}", tally.json(n_shown))?,
        false => writeln!(out, "{}", tally.text(n_shown))?,
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn show(config: &DeadLettersConfig, place: Place, shutdown: &Shutdown) -> anyhow::Result<ExitCode> {
    let reader = TopicReader::open(config, Completeness::AsItIs, shutdown)?;
    let found = reader.letter_and_mark(place)?;
    let (letter, mark) = found.with_context(|| {
        format!(
            "there is no dead letter at {place} in topic `{}`; `list` shows where there are",
            config.topic
        )
    })?;
    write!(std::io::stdout(), "{}", rendering::whole(&letter, mark))?;
    Ok(ExitCode::SUCCESS)
}
