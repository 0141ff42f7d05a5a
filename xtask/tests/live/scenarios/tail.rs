//! The live tail: straight from Kafka, filtered, resumed, and never at the cost of others (QA-3).

use std::collections::{BTreeSet, VecDeque};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

use crate::load::Load;
use crate::scenarios;
use crate::stage::{Part, Scenario, Stage};

pub(crate) const SCENARIOS: &[Scenario] = scenarios![
    what_arrives_is_followed_and_a_client_that_comes_back_misses_nothing,
    a_slow_reader_is_told_what_was_dropped_and_others_are_not_delayed,
];

const SILENCE_MAX: Duration = Duration::from_secs(20);
/// The longest that anything is waited for.
const FOLLOW_MAX: Duration = Duration::from_secs(180);
/// The load of the second scenario; it lasts longer than the pause between two looks for new partitions.
const EVENTS: u64 = 175_000;
const RATE: &str = "5000";

/// A client of the tail.
pub(super) struct Follower {
    reader: BufReader<TcpStream>,
    last_id: String,
    /// What came before and with the first status.
    first: VecDeque<Sent>,
    deadline: Instant,
}

/// One server-sent event.
pub(super) struct Sent {
    pub(super) kind: String,
    pub(super) data: Value,
}

impl Follower {
    fn open(api: &Part, query: &str) -> Result<Self> {
        Self::open_with(api, query, &[])
    }

    pub(super) fn open_with(api: &Part, query: &str, headers: &[(&str, &str)]) -> Result<Self> {
        let address = api.url();
        let address = address.trim_start_matches("http://");
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(SILENCE_MAX))?;
        // HTTP/1.0 has no chunks: what comes after the head are the events.
        write!(stream, "GET /api/v1/tail?{query} HTTP/1.0\r\n")?;
        for (name, value) in headers {
            write!(stream, "{name}: {value}\r\n")?;
        }
        write!(stream, "\r\n")?;
        let mut reader = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            ensure!(reader.read_line(&mut head)? > 0, "no head: {head}");
        }
        ensure!(
            head.contains(" 200 ") && head.contains("text/event-stream"),
            "{head}"
        );
        let mut follower = Self {
            reader,
            last_id: String::new(),
            first: VecDeque::new(),
            deadline: Instant::now() + FOLLOW_MAX,
        };
        // From the first status on, nothing that arrives is missed.
        let first = follower.until(|sent| sent.kind == "status")?;
        follower.first = first.into();
        Ok(follower)
    }

    fn next(&mut self) -> Result<Sent> {
        if let Some(first) = self.first.pop_front() {
            return Ok(first);
        }
        ensure!(
            Instant::now() < self.deadline,
            "it did not come within {FOLLOW_MAX:?}"
        );
        let (mut kind, mut data) = (String::new(), String::new());
        loop {
            let mut line = String::new();
            ensure!(self.reader.read_line(&mut line)? > 0, "the tail has ended");
            match line.trim_end().split_once(": ") {
                Some(("event", value)) => kind = value.to_owned(),
                Some(("data", value)) => data = value.to_owned(),
                Some(("id", value)) => self.last_id = value.to_owned(),
                None if line == "\n" && !kind.is_empty() => {
                    let data = serde_json::from_str(&data).with_context(|| data.clone())?;
                    return Ok(Sent { kind, data });
                }
                _ => bail!("`{line}` is no part of an event"),
            }
        }
    }

    /// Reads until one is as wanted, and returns all.
    pub(super) fn until(&mut self, wanted: impl Fn(&Sent) -> bool) -> Result<Vec<Sent>> {
        let mut all = Vec::new();
        loop {
            let sent = self.next()?;
            let is_wanted = wanted(&sent);
            all.push(sent);
            if is_wanted {
                return Ok(all);
            }
        }
    }
}

fn messages(sent: &[Sent]) -> Vec<&str> {
    let logs = sent.iter().filter(|sent| sent.kind == "log");
    logs.filter_map(|sent| sent.data["event"]["message"].as_str())
        .collect()
}

fn what_arrives_is_followed_and_a_client_that_comes_back_misses_nothing(
    stage: &mut Stage<'_>,
) -> Result<()> {
    let gateway = stage.gateway(&[])?;
    let api = stage.query_api(&[])?;
    let post = |from: usize, to: usize| -> Result<()> {
        let events: Vec<Value> = (from..to)
            .map(|n| json!({"message": format!("number {n}"), "level": (["ERROR", "info"][n % 2])}))
            .collect();
        let reply = gateway.post("/logs", &[], json!(events).to_string().as_bytes())?;
        ensure!(reply.status == 200, "{}", reply.text());
        Ok(())
    };
    post(0, 10)?;
    let mut follower = Follower::open(&api, "q=level:error")?;
    post(10, 20)?;
    let done = |sent: &Sent| sent.kind == "status" && sent.data["read"] == 10;
    let sent = follower.until(done)?;
    let mut found = messages(&sent);
    found.sort_unstable();
    ensure!(
        found
            == [
                "number 10",
                "number 12",
                "number 14",
                "number 16",
                "number 18"
            ],
        "{found:?}"
    );
    let (id, last) = (
        follower.last_id.clone(),
        sent.last().map(|sent| sent.data.clone()),
    );
    ensure!(
        last == Some(json!({"read": 10, "matched": 5, "dropped": 0})),
        "{last:?}"
    );
    drop(follower);

    post(20, 30)?;
    let mut back = Follower::open(&api, &format!("after={id}"))?;
    post(30, 40)?;
    let mut missed = BTreeSet::new();
    while missed.len() < 20 {
        let sent = back.next()?;
        if let Some(message) = sent.data["event"]["message"].as_str() {
            ensure!(missed.insert(message.to_owned()), "`{message}` came twice");
        }
    }
    let expected: BTreeSet<String> = (20..40).map(|n| format!("number {n}")).collect();
    ensure!(missed == expected, "{missed:?}");

    // The id of a hit is the id in the tail, for an event that the gateway did not write, too.
    let refused = api.get("/api/v1/tail?q=(a")?;
    ensure!(refused.status == 400, "{}", refused.text());
    Ok(())
}

fn a_slow_reader_is_told_what_was_dropped_and_others_are_not_delayed(
    stage: &mut Stage<'_>,
) -> Result<()> {
    let api = stage.query_api(&[])?;
    let mut fast = Follower::open(&api, "")?;
    let mut slow = Follower::open(&api, "")?;
    let before = api.memory_peak_bytes()?;
    let count = EVENTS.to_string();
    let load = Load::past_the_gateway(stage, &["--events", &count, "--rate", RATE])?;
    let started = Instant::now();
    let reading = std::thread::spawn(move || -> Result<(u64, u64, Duration)> {
        let (mut events, mut dropped, mut gap) = (0, 0, Duration::ZERO);
        let mut last = Instant::now();
        while events + dropped < EVENTS {
            let sent = fast.next()?;
            gap = gap.max(last.elapsed());
            last = Instant::now();
            match sent.kind.as_str() {
                "log" => events += 1,
                "dropped" => dropped += sent.data["count"].as_u64().unwrap_or(0),
                _ => {}
            }
        }
        Ok((events, dropped, gap))
    });
    let loaded = load.finish(stage)?;
    let (events, dropped, gap) = reading
        .join()
        .map_err(|_| anyhow::anyhow!("the reader panicked"))??;
    let lasted = started.elapsed();
    ensure!(
        (events, dropped) == (EVENTS, 0),
        "the fast reader: {events} events, {dropped} dropped"
    );
    drop(loaded);

    let (mut events, mut dropped) = (0, 0);
    while events + dropped < EVENTS {
        let sent = slow.next()?;
        match sent.kind.as_str() {
            "log" => events += 1,
            "dropped" => dropped += sent.data["count"].as_u64().unwrap_or(0),
            _ => {}
        }
    }
    ensure!(events + dropped == EVENTS, "{events} + {dropped}");
    let told = slow.until(|sent| sent.kind == "status")?;
    let told = told.last().map(|sent| sent.data["dropped"].clone());
    ensure!(
        told == Some(json!(dropped)),
        "{dropped} dropped, the status says {told:?}"
    );
    ensure!(dropped > 0, "the slow reader lost nothing; it was not slow");
    let after = api.memory_peak_bytes()?;
    eprintln!(
        "the fast reader had {EVENTS} events {:.1} s after the first was sent, never silent for more than {:.2} s; the slow one got {events}, {dropped} were dropped; query-api held {:.1} MiB before, {:.1} MiB at most",
        lasted.as_secs_f64(),
        gap.as_secs_f64(),
        before as f64 / 1_048_576.0,
        after as f64 / 1_048_576.0,
    );
    ensure!(
        gap < Duration::from_secs(5),
        "the fast reader heard nothing for {gap:?}"
    );
    ensure!(
        after < before + 32 * 1_048_576,
        "from {before} to {after} bytes"
    );
    Ok(())
}
