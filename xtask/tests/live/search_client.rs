//! What the scenarios about searching share: documents of their choice, and requests to query-api.
//!
//! In the flow: `stage` → **`search_client`** → `scenarios`.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use xtask::http::{self, Reply};

use crate::stage::{Part, Stage};

const TIMEOUT: Duration = Duration::from_secs(60);
/// Where events belong unless a scenario says otherwise.
pub(crate) const DAY: &str = "2026.01.31";

/// A GET that succeeds with all events: the body as it came.
pub(crate) fn get(api: &Part, path: &str) -> Result<String> {
    let reply = api.get(path)?;
    let partial = reply.header("logflow-partial");
    ensure!(
        reply.status == 200 && partial.is_none(),
        "{path}: {} {partial:?} {}",
        reply.status,
        reply.text()
    );
    Ok(reply.text())
}

/// What GET replies with these events: each as it was stored, on a line of its own.
pub(crate) fn array(events: &[&str]) -> String {
    format!("[{}]\n", events.join(",\n"))
}

pub(crate) fn search(api: &Part, body: &Value) -> Result<Value> {
    let reply = api.post("/api/v1/search", &[], body.to_string().as_bytes())?;
    ensure!(
        reply.status == 200,
        "{body}: {} {}",
        reply.status,
        reply.text()
    );
    reply.json()
}

/// The reply as the problem that it must be.
pub(crate) fn problem(reply: &Reply, status: u16, code: &str) -> Result<Value> {
    let problem = reply.json()?;
    ensure!(
        reply.status == status
            && reply.header("content-type") == Some("application/problem+json")
            && problem["status"] == status
            && problem["code"] == code,
        "not {status} {code} but {} {:?}",
        reply.text(),
        reply.headers
    );
    Ok(problem)
}

/// Writes documents as es-sink does, with ids of the scenario's choice.
pub(crate) struct Store {
    url: String,
    index_pattern: String,
}

impl Store {
    /// A sink that starts installs the template; after that it is not needed.
    pub(crate) fn open(stage: &mut Stage<'_>) -> Result<Self> {
        stage.sink(&[])?.stop()?;
        Ok(Self {
            url: stage.wiring.elasticsearch.clone(),
            index_pattern: stage.wiring.index_pattern.clone(),
        })
    }

    pub(crate) fn index(&self, day: &str) -> String {
        self.index_pattern.replace("{date}", day)
    }

    /// Writes ids and events, the latter as they are, to the index of [`DAY`]. A search sees them afterwards.
    pub(crate) fn write<'e>(
        &self,
        events: impl IntoIterator<Item = (&'e str, &'e str)>,
    ) -> Result<()> {
        self.write_to(DAY, events)
    }

    pub(crate) fn write_to<'e>(
        &self,
        day: &str,
        events: impl IntoIterator<Item = (&'e str, &'e str)>,
    ) -> Result<()> {
        let index = self.index(day);
        let mut body = String::new();
        for (id, event) in events {
            body.push_str(&json!({"index": {"_index": index, "_id": id}}).to_string());
            body.push('\n');
            body.push_str(event);
            body.push('\n');
        }
        let headers = [("Content-Type", "application/x-ndjson")];
        let url = format!("{}/_bulk?refresh=true", self.url);
        let reply = http::post(&url, &headers, body.as_bytes(), TIMEOUT)?;
        ensure!(
            reply.status == 200 && reply.json()?["errors"] == false,
            "{}",
            reply.text()
        );
        Ok(())
    }
}

/// Wildcards, quotes, letters of many scripts with and without case (one pair of two UTF-16 units each, and the Kelvin
/// sign, whose lower case is ASCII), emoji, and marks that join what stands before them.
const ALPHABET: &str =
    "ababABkK1212 _.:,*?\\-'\"/(#äÄßжЖσΣ中カ가กن\u{212a}𐐀𐐨😀\u{fe0f}\u{20e3}\u{200d}\u{301}";

/// A seeded sequence (SplitMix64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((z ^ (z >> 31)) % limit as u64).expect("below a usize")
    }

    /// A text of the [`ALPHABET`].
    pub(crate) fn text(&mut self, length: usize) -> String {
        let alphabet: Vec<char> = ALPHABET.chars().collect();
        (0..length)
            .map(|_| alphabet[self.below(alphabet.len())])
            .collect()
    }

    /// A part of a text, at most five characters long.
    pub(crate) fn cut(&mut self, text: &str) -> String {
        let chars: Vec<char> = text.chars().collect();
        let start = self.below(chars.len());
        let length = 1 + self.below(5);
        chars[start..].iter().take(length).collect()
    }
}
