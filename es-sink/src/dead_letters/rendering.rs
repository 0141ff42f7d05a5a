//! Dead letters as people and programs see them.
//!
//! In the flow: `letter` → **`rendering`** → stdout. Pure. Whatever a client wrote is bounded and
//! has no control characters left: it may have been written to deceive a terminal.

use std::collections::BTreeMap;

use log_event::timestamp::Timestamp;
use serde_json::{Value, json};

use super::letter::{Letter, Place};

/// Characters of a message in a list.
const MESSAGE_CHARS_MAX: usize = 120;
/// Bytes of a payload or header that `show` gives.
const SHOWN_BYTES_MAX: usize = 64 << 10;
/// Different reasons that are told apart; the rest is `other`.
const REASONS_MAX: usize = 50;

/// A line of `list`.
#[must_use]
pub fn line(letter: &Letter, redriven: bool) -> String {
    format!(
        "{}  {}  {}@{}  {}  {}  {}  {}",
        letter.place,
        time(letter),
        plain(&letter.source.to_string(), usize::MAX),
        letter.source_offset,
        state(redriven),
        or_dash(&plain(&letter.reason, MESSAGE_CHARS_MAX)),
        plain(&letter.event_id, usize::MAX),
        plain(&letter.message, MESSAGE_CHARS_MAX),
    )
}

/// The same for programs.
#[must_use]
pub fn json(letter: &Letter, redriven: bool) -> Value {
    json!({
        "place": letter.place.to_string(),
        "time": letter.record.timestamp_ms.and_then(Timestamp::from_millis).map(Timestamp::to_rfc3339),
        "topic": letter.source.topic,
        "partition": letter.source.partition,
        "offset": letter.source_offset.0,
        "reason": letter.reason,
        "message": letter.message,
        "event_id": letter.event_id,
        "redriven": redriven,
    })
}

/// All of a letter. `mark` is the place of its mark.
#[must_use]
pub fn whole(letter: &Letter, mark: Option<Place>) -> String {
    let mut text = String::new();
    let mut field = |name: &str, value: &str| {
        text.push_str(&format!("{name:<10}{value}\n"));
    };
    field("place", &letter.place.to_string());
    field("time", &time(letter));
    let source = format!("{}@{}", letter.source, letter.source_offset);
    field("source", &plain(&source, usize::MAX));
    let redriven = mark.map_or("no".to_owned(), |mark| format!("yes, marked at {mark}"));
    field("redriven", &redriven);
    field("event id", &plain(&letter.event_id, usize::MAX));
    field("reason", &plain(&letter.reason, usize::MAX));
    field("message", &plain(&letter.message, usize::MAX));
    for (name, value) in &letter.record.headers {
        let value = value.as_deref().map_or("null".to_owned(), bytes);
        field("header", &format!("{}: {value}", bytes(name.as_bytes())));
    }
    let part = |part: &Option<Vec<u8>>| part.as_deref().map_or("null".to_owned(), bytes);
    field("key", &part(&letter.record.key));
    field("value", &part(&letter.record.value));
    text
}

/// How many letters there are of each reason, and how many of them are open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    reasons: BTreeMap<String, Count>,
    all: Count,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Count {
    letters: u64,
    open: u64,
}

impl Tally {
    /// Counts a letter.
    pub fn add(&mut self, letter: &Letter, redriven: bool) {
        let known = self.reasons.contains_key(&letter.reason) || self.reasons.len() < REASONS_MAX;
        let name = if known {
            letter.reason.as_str()
        } else {
            "other"
        };
        let of_reason = self.reasons.entry(name.to_owned()).or_default();
        for count in [of_reason, &mut self.all] {
            count.letters += 1;
            count.open += u64::from(!redriven);
        }
    }

    /// For people. `n_shown` lines came before.
    #[must_use]
    pub fn text(&self, n_shown: u64) -> String {
        let Count { letters, open } = self.all;
        let mut text = format!(
            "{letters} dead letters, {open} open, {} redriven",
            letters - open
        );
        let left_out = letters.saturating_sub(n_shown);
        if left_out > 0 {
            let more = format!("; {left_out} not shown, raise --limit to see more");
            text.push_str(&more);
        }
        for (reason, Count { letters, open }) in &self.reasons {
            let reason = plain(reason, MESSAGE_CHARS_MAX);
            let reason = or_dash(&reason);
            text.push_str(&format!("\n  {reason}: {letters}, {open} open"));
        }
        text
    }

    /// For programs.
    #[must_use]
    pub fn json(&self, n_shown: u64) -> Value {
        let reasons = self.reasons.iter().map(|(reason, count)| {
            let count = json!({"letters": count.letters, "open": count.open});
            (reason.clone(), count)
        });
        json!({"summary": {
            "letters": self.all.letters,
            "open": self.all.open,
            "redriven": self.all.letters - self.all.open,
            "not_shown": self.all.letters.saturating_sub(n_shown),
            "reasons": reasons.collect::<serde_json::Map<_, _>>(),
        }})
    }
}

fn state(redriven: bool) -> &'static str {
    match redriven {
        true => "redriven",
        false => "open",
    }
}

fn time(letter: &Letter) -> String {
    let time = letter.record.timestamp_ms.and_then(Timestamp::from_millis);
    time.map_or("-".to_owned(), Timestamp::to_rfc3339)
}

fn or_dash(text: &str) -> &str {
    if text.is_empty() { "-" } else { text }
}

/// On one line, without control characters, cut after `chars_max`.
fn plain(text: &str, chars_max: usize) -> String {
    let mut out = String::new();
    for (n, c) in text.chars().enumerate() {
        if n == chars_max {
            out.push('…');
            break;
        }
        match c.is_control() || is_bidirectional(c) {
            true => out.extend(c.escape_default()),
            false => out.push(c),
        }
    }
    out
}

/// Characters that reorder what stands around them.
fn is_bidirectional(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// As text where it is text, else with what is none escaped; says what is left out.
fn bytes(all: &[u8]) -> String {
    let (shown, left_out) = all.split_at(all.len().min(SHOWN_BYTES_MAX));
    let mut out = String::new();
    for chunk in shown.utf8_chunks() {
        out.push_str(&plain(chunk.valid(), usize::MAX));
        for byte in chunk.invalid() {
            out.push_str(&format!("\\x{byte:02x}"));
        }
    }
    if !left_out.is_empty() {
        out.push_str(&format!("… and {} bytes more", left_out.len()));
    }
    out
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::super::letter::tests::{headers, written};
    use super::*;

    #[test]
    fn a_line_says_where_when_whence_why_and_who() {
        let letter = written(Vec::new(), "document_parsing_exception");
        expect!["1:9  2023-09-15T08:00:00Z  logs[3]@42  open  document_parsing_exception  the-id  failed to parse"]
            .assert_eq(&line(&letter, false));
        expect![[r#"{"event_id":"the-id","message":"failed to parse","offset":42,"partition":3,"place":"1:9","reason":"document_parsing_exception","redriven":true,"time":"2023-09-15T08:00:00Z","topic":"logs"}"#]]
            .assert_eq(&json(&letter, true).to_string());
    }

    #[test]
    fn a_letter_is_shown_whole_and_harmless() {
        let mut letter = written(headers(&[("tenant", "\u{1b}[2Jt")]), "r");
        letter.record.value = Some(b"{\"a\":\xff\x00\"\xc3\xa4\"}".to_vec());
        letter.message = "line\nbreak \u{202e}".to_owned();
        expect![[r#"
            place     1:9
            time      2023-09-15T08:00:00Z
            source    logs[3]@42
            redriven  yes, marked at 1:12
            event id  the-id
            reason    r
            message   line\nbreak \u{202e}
            header    tenant: \u{1b}[2Jt
            header    event-id: the-id
            header    event-time: 1694764800000
            header    __connect.errors.topic: logs
            header    __connect.errors.partition: 3
            header    __connect.errors.offset: 42
            header    __connect.errors.connector.name: group
            header    __connect.errors.task.id: 0
            header    __connect.errors.stage: TASK_PUT
            header    __connect.errors.class.name: es-sink
            header    __connect.errors.exception.class.name: r
            header    __connect.errors.exception.message: failed to parse
            key       k
            value     {"a":\xff\u{0}"ä"}
        "#]]
        .assert_eq(&whole(&letter, "1:12".parse().ok()));
    }

    #[test]
    fn what_is_long_is_cut_and_says_so() {
        let mut letter = written(Vec::new(), "r");
        letter.message = "ä".repeat(1_000_000);
        assert!(line(&letter, true).chars().count() < 300);
        letter.record.value = Some(vec![b'x'; SHOWN_BYTES_MAX + 7]);
        assert!(whole(&letter, None).ends_with("x… and 7 bytes more\n"));
    }

    #[test]
    fn a_tally_counts_by_reason_and_says_what_is_not_shown() {
        let mut tally = Tally::default();
        let letter = |reason: &str| written(Vec::new(), reason);
        tally.add(&letter("a"), true);
        tally.add(&letter("a"), false);
        tally.add(&letter("b"), false);
        expect![[r#"
            3 dead letters, 2 open, 1 redriven; 1 not shown, raise --limit to see more
              a: 2, 1 open
              b: 1, 1 open"#]]
        .assert_eq(&tally.text(2));
        expect![[r#"{"summary":{"letters":3,"not_shown":0,"open":2,"reasons":{"a":{"letters":2,"open":1},"b":{"letters":1,"open":1}},"redriven":1}}"#]]
            .assert_eq(&tally.json(3).to_string());
        (0..1_000).for_each(|n| tally.add(&letter(&n.to_string()), false));
        assert_eq!(tally.reasons.len(), REASONS_MAX + 1);
    }
}
