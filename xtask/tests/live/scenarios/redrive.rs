//! What could not be indexed comes back when it can be, once (EO-4).

use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::load::{Load, Loaded};
use crate::scenarios;
use crate::stage::{SOON, Scenario, Stage};

pub(crate) const SCENARIOS: &[Scenario] = scenarios![
    a_redriven_letter_is_one_document_though_redriving_is_killed_in_the_middle,
    who_redrives_last_fences_off_who_was_stalled_and_what_is_refused_again_is_a_letter_again,
];

/// Half of these events have a timestamp that is no date.
fn refused_half(stage: &Stage<'_>, n_events: &str, seed: &str) -> Result<Loaded> {
    let flags = [
        "--events",
        n_events,
        "--poison-per-million",
        "500000",
        "--poison",
        "timestamp-no-date",
        "--seed",
        seed,
    ];
    Load::past_the_gateway(stage, &flags)?.finish(stage)
}

/// `es-sink dead-letters` with these arguments.
fn dead_letters(stage: &Stage<'_>, arguments: &[&str]) -> Command {
    let wiring = &stage.wiring;
    let mut command = Command::new(stage.binary("es-sink"));
    command
        .args(["dead-letters", arguments[0]])
        .args(["--kafka-brokers", &wiring.kafka])
        .args(["--group-id", &wiring.group])
        .args(["--dead-letter-topic", &wiring.dead_letter_topic])
        .args(&arguments[1..])
        .stdin(Stdio::null());
    command
}

/// What it writes to stdout; it must succeed.
fn answer(stage: &Stage<'_>, arguments: &[&str]) -> Result<String> {
    let output = dead_letters(stage, arguments)
        .output()
        .context("starting es-sink dead-letters")?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    ensure!(
        output.status.success(),
        "dead-letters {arguments:?}: {}: {}{}",
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    );
    Ok(text(&output.stdout))
}

/// The letters that `list` shows, and its summary.
fn list(stage: &Stage<'_>, arguments: &[&str]) -> Result<(Vec<Value>, Value)> {
    let arguments = [&["list", "--json"], arguments].concat();
    let text = answer(stage, &arguments)?;
    let lines: serde_json::Result<Vec<Value>> = text.lines().map(serde_json::from_str).collect();
    let mut lines = lines.with_context(|| text.clone())?;
    let summary = lines.pop().context("no summary")?["summary"].take();
    Ok((lines, summary))
}

fn redrive(stage: &Stage<'_>, arguments: &[&str]) -> Result<Value> {
    let arguments = [&["redrive", "--json"], arguments].concat();
    let text = answer(stage, &arguments)?;
    serde_json::from_str(&text).context(text)
}

/// A redrive of everything that is under way. Dropped, it is killed.
struct UnderWay {
    child: Child,
    told: BufReader<ChildStderr>,
}

impl UnderWay {
    /// Waits until its first letters are redriven.
    fn start(stage: &Stage<'_>) -> Result<Self> {
        let mut child = dead_letters(stage, &["redrive", "--all"])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("starting es-sink dead-letters redrive")?;
        let stderr = child.stderr.take().context("its stderr")?;
        let mut under_way = Self {
            child,
            told: BufReader::new(stderr),
        };
        under_way.hear(" redriven")?;
        Ok(under_way)
    }

    /// Reads what it tells until a line contains `expected`.
    fn hear(&mut self, expected: &str) -> Result<()> {
        let mut all = String::new();
        loop {
            let before = all.len();
            ensure!(
                self.told.read_line(&mut all)? > 0,
                "it ended without `{expected}`: {all}"
            );
            if all[before..].contains(expected) {
                return Ok(());
            }
        }
    }

    fn signal(&self, name: &str) -> Result<()> {
        let status = Command::new("kill")
            .args([name, &self.child.id().to_string()])
            .status()?;
        ensure!(status.success(), "kill {name}: {status}");
        Ok(())
    }

    fn wait(&mut self) -> Result<ExitStatus> {
        Ok(self.child.wait()?)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        // It has ended already, unless its scenario failed.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// An operator makes room for what the mapping refused.
fn mend_mapping(stage: &Stage<'_>) -> Result<()> {
    let mapping =
        json!({"properties": {"timestamp": {"type": "date_nanos", "ignore_malformed": true}}});
    let path = format!("/{}/_mapping", stage.wiring.index());
    stage.ask_elasticsearch("PUT", &path, &mapping)?;
    Ok(())
}

fn number(value: &Value) -> Result<u64> {
    value
        .as_u64()
        .with_context(|| format!("no number: {value}"))
}

fn a_redriven_letter_is_one_document_though_redriving_is_killed_in_the_middle(
    stage: &mut Stage<'_>,
) -> Result<()> {
    const EVENTS: u64 = 60_000;
    let _sink = stage.sink(&[])?;
    let loaded = refused_half(stage, &EVENTS.to_string(), "11")?;
    let verified = loaded.verify(stage)?;
    let n_letters = number(&verified["dead_lettered"])?;
    ensure!(verified["indexed"] == EVENTS - n_letters, "{verified}");

    let (letters, summary) = list(stage, &["--limit", "3"])?;
    ensure!(
        letters.len() == 3
            && summary["letters"] == n_letters
            && summary["open"] == n_letters
            && summary["not_shown"] == n_letters - 3
            && summary["reasons"]["document_parsing_exception"]["open"] == n_letters,
        "{summary}"
    );
    let (_, others) = list(stage, &["--reason", "not_an_object"])?;
    let (_, older) = list(stage, &["--until", "2h"])?;
    let (_, newer) = list(
        stage,
        &["--since", "2h", "--source-topic", &stage.wiring.topic],
    )?;
    ensure!(
        others["letters"] == 0 && older["letters"] == 0 && newer["letters"] == n_letters,
        "{others} {older} {newer}"
    );
    let place = letters[0]["place"].as_str().context("a place")?.to_owned();
    let shown = answer(stage, &["show", &place])?;
    ensure!(
        shown.contains("document_parsing_exception") && shown.contains("redriven  no"),
        "{shown}"
    );

    mend_mapping(stage)?;
    let dry = redrive(stage, &["--all", "--dry-run"])?;
    ensure!(
        dry["redriven"] == n_letters && dry["open_after"] == n_letters,
        "{dry}"
    );
    let one = redrive(stage, &[&place])?;
    ensure!(
        one["redriven"] == 1 && one["open_after"] == n_letters - 1,
        "{one}"
    );
    let mut killed = UnderWay::start(stage)?;
    killed.signal("-KILL")?;
    killed.wait()?;
    let (_, summary) = list(stage, &["--limit", "0"])?;
    let open = number(&summary["open"])?;
    ensure!(
        0 < open && open < n_letters - 1,
        "it was not killed in the middle: {summary}"
    );
    let rest = redrive(stage, &["--all"])?;
    eprintln!("    {open} of {n_letters} letters were left by the kill; {rest}");
    ensure!(
        rest["open_before"] == open && rest["redriven"] == open,
        "{rest}"
    );
    ensure!(rest["open_after"] == 0 && rest["refused"] == 0, "{rest}");

    stage.wait_for("every event to be a document", SOON, || {
        stage.has_documents(EVENTS)
    })?;
    let verified = loaded.verify(stage)?;
    ensure!(
        verified["indexed"] == EVENTS
            && verified["documents"] == EVENTS
            && verified["redriven"] == n_letters
            && verified["dead_letters"] == n_letters
            && verified["dead_lettered"] == 0,
        "{verified}"
    );
    let nothing = redrive(stage, &["--all"])?;
    ensure!(
        nothing["redriven"] == 0 && nothing["open_before"] == 0,
        "{nothing}"
    );
    let shown = answer(stage, &["show", &place])?;
    ensure!(shown.contains("redriven  yes, marked at"), "{shown}");
    Ok(())
}

fn who_redrives_last_fences_off_who_was_stalled_and_what_is_refused_again_is_a_letter_again(
    stage: &mut Stage<'_>,
) -> Result<()> {
    let _sink = stage.sink(&[])?;
    let loaded = refused_half(stage, "20000", "12")?;
    let n_letters = number(&loaded.verify(stage)?["dead_lettered"])?;

    let mut stalled = UnderWay::start(stage)?;
    stalled.signal("-STOP")?;
    let (_, summary) = list(stage, &["--limit", "0"])?;
    ensure!(
        summary["open"] != 0,
        "it was not stalled in the middle: {summary}"
    );
    let outcome = redrive(stage, &["--all"])?;
    ensure!(
        outcome["open_before"] != 0 && outcome["refused"] == 0,
        "{outcome}"
    );
    stalled.signal("-CONT")?;
    stalled.hear("another `es-sink dead-letters redrive` of this topic was started")?;
    let status = stalled.wait()?;
    ensure!(status.code() == Some(1), "it ended with {status}");

    // The mapping is as it was, so each comes back as a letter; what the stalled one had redriven
    // may have come back in time to be redriven again.
    stage.wait_for("every letter to come back", SOON, || {
        match list(stage, &["--limit", "0"]) {
            Ok((_, summary)) if summary["open"] == n_letters => Ok(()),
            Ok((_, summary)) => Err(summary.to_string()),
            Err(error) => Err(format!("{error:#}")),
        }
    })?;
    let verified = loaded.verify(stage)?;
    ensure!(
        verified["redriven"] == n_letters && verified["dead_lettered"] == n_letters,
        "{verified}"
    );
    mend_mapping(stage)?;
    redrive(stage, &["--source-topic", &stage.wiring.topic])?;
    stage.wait_for("every event to be a document", SOON, || {
        stage.has_documents(20_000)
    })?;
    let verified = loaded.verify(stage)?;
    ensure!(
        verified["redriven"] == n_letters
            && verified["dead_letters_redriven"] == verified["dead_letters"]
            && verified["dead_lettered"] == 0,
        "{verified}"
    );
    Ok(())
}
