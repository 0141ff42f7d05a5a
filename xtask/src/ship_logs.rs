//! Ships the engines' own logs through the pipeline: real events, from the first minute.
//!
//! In the flow: `services` → **`ship_logs`** → a search that finds something. It reads what is new in each log since
//! the last time, turns it into log events and POSTs them to the gateway as NDJSON. The place reached is kept on disk;
//! each request carries it as `Idempotency-Key`, so that a batch sent twice is still one document per event.
//! Not here: anything a log shipper for other files would need. This is a source of real logs for one machine.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::http::Client;

/// How much of a log one request may carry.
const CHUNK_BYTES_MAX: u64 = 512 << 10;

/// A message longer than this is cut; Kafka prints its whole configuration as one.
const MESSAGE_BYTES_MAX: usize = 8 << 10;

/// How long one request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// How a log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `[2026-01-31T08:15:00.123Z] INFO message (logger)`, further lines belong to the message.
    Log4j,
    /// One JSON object per line, in the Elastic Common Schema.
    Ecs,
}

/// One log to ship.
#[derive(Debug, Clone)]
pub struct Source {
    /// What emits it: the events' `resourceId`.
    pub resource_id: String,
    /// Where it lies.
    pub path: PathBuf,
    /// How it is written.
    pub format: Format,
}

/// Ships logs to one gateway.
#[derive(Debug)]
pub struct Shipper {
    gateway: String,
    client: Client,
    places: PathBuf,
    sources: Vec<Source>,
}

impl Shipper {
    /// Ships `sources` as `client` to the gateway at `gateway` and keeps the places reached in the directory `places`.
    #[must_use]
    pub fn new(gateway: String, client: Client, places: PathBuf, sources: Vec<Source>) -> Self {
        Self {
            gateway,
            client,
            places,
            sources,
        }
    }

    /// Ships what is new and tells how many events the gateway accepted.
    ///
    /// # Errors
    /// When a log cannot be read or the gateway does not take it; what it did not take is tried again the next time.
    pub fn ship_new(&self) -> Result<u64> {
        let mut accepted = 0;
        for source in &self.sources {
            while let Some(events) = self.ship_chunk(source)? {
                accepted += events;
            }
        }
        Ok(accepted)
    }

    /// Ships one chunk; `None` when there is nothing new.
    fn ship_chunk(&self, source: &Source) -> Result<Option<u64>> {
        let place_file = self.places.join(&source.resource_id);
        let place = fs::read_to_string(&place_file)
            .ok()
            .and_then(|text| text.trim().parse().ok())
            .unwrap_or(0);
        let Some((start, chunk)) = read_from(&source.path, place)? else {
            return Ok(None);
        };
        let (events, used) = match source.format {
            Format::Log4j => log4j_events(&chunk, &source.resource_id),
            Format::Ecs => ecs_events(&chunk, &source.resource_id),
        };
        let accepted = if events.is_empty() {
            0
        } else {
            self.post(source, start, &events)?
        };
        fs::create_dir_all(&self.places)
            .and_then(|()| fs::write(&place_file, (start + used).to_string()))
            .with_context(|| format!("cannot write `{}`", place_file.display()))?;
        Ok(Some(accepted))
    }

    fn post(&self, source: &Source, start: u64, events: &[Value]) -> Result<u64> {
        let body: String = events.iter().map(|event| format!("{event}\n")).collect();
        let key = format!("engine-log-{}-{start}", source.resource_id);
        let headers = [
            ("Content-Type", "application/x-ndjson"),
            ("Idempotency-Key", key.as_str()),
        ];
        let reply = self.client.post(
            &format!("{}/logs", self.gateway),
            &headers,
            body.as_bytes(),
            REQUEST_TIMEOUT,
        )?;
        if reply.status != 200 {
            bail!(
                "the gateway refused `{}`: {} {}",
                source.path.display(),
                reply.status,
                reply.text()
            );
        }
        reply.json()?["accepted"]
            .as_u64()
            .with_context(|| format!("the gateway's answer counts nothing: {}", reply.text()))
    }
}

/// The whole lines after `place`, at most [`CHUNK_BYTES_MAX`], and where they begin; from the start when the log is
/// shorter than `place`, since then it is another file. `None` when there are none.
fn read_from(path: &Path, place: u64) -> Result<Option<(u64, String)>> {
    let failed = || format!("cannot read the log `{}`", path.display());
    let mut file = match File::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        file => file.with_context(failed)?,
    };
    let length = file.metadata().with_context(failed)?.len();
    let start = if place <= length { place } else { 0 };
    file.seek(SeekFrom::Start(start)).with_context(failed)?;
    let mut bytes = Vec::new();
    file.take(CHUNK_BYTES_MAX)
        .read_to_end(&mut bytes)
        .with_context(failed)?;
    let whole = match bytes.iter().rposition(|byte| *byte == b'\n') {
        Some(last) => last + 1,
        // A line longer than a chunk is cut, since it would never come whole.
        None if bytes.len() as u64 == CHUNK_BYTES_MAX => bytes.len(),
        None => return Ok(None),
    };
    bytes.truncate(whole);
    // Lossy only where the log is no UTF-8; then the byte count below still is that of the file's own bytes.
    Ok(Some((
        start,
        String::from_utf8(bytes).unwrap_or_else(|error| lossy_same_length(error.as_bytes())),
    )))
}

/// Every byte that is no ASCII becomes `?`, so that places in the text stay places in the file.
fn lossy_same_length(bytes: &[u8]) -> String {
    bytes
        .iter()
        .map(|byte| {
            if byte.is_ascii() {
                char::from(*byte)
            } else {
                '?'
            }
        })
        .collect()
}

/// The events of a chunk of Kafka's log, and how many of its bytes they used.
///
/// The last record of a full chunk may go on in the next one and is left for it, unless it is the only one.
fn log4j_events(chunk: &str, resource_id: &str) -> (Vec<Value>, u64) {
    let mut records: Vec<(usize, usize)> = Vec::new();
    let mut position = 0;
    for line in chunk.split_inclusive('\n') {
        let end = position + line.len();
        match records.last_mut() {
            Some(record) if log4j_head(line).is_none() => record.1 = end,
            _ => records.push((position, end)),
        }
        position = end;
    }
    if chunk.len() as u64 > CHUNK_BYTES_MAX / 2 && records.len() > 1 {
        records.pop();
    }
    let used = records.last().map_or(0, |record| record.1) as u64;
    let events = records
        .iter()
        .filter_map(|(start, end)| {
            let (timestamp, level, rest) = log4j_head(&chunk[*start..*end])?;
            let rest = rest.trim_end();
            let (message, logger) = match rest.rsplit_once(" (") {
                Some((message, logger))
                    if logger.ends_with(')') && !logger.contains(char::is_whitespace) =>
                {
                    (message, logger.trim_end_matches(')'))
                }
                _ => (rest, ""),
            };
            Some(event(timestamp, level, message, resource_id, logger))
        })
        .collect();
    (events, used)
}

/// Time, level and the rest of a line that begins a record.
fn log4j_head(line: &str) -> Option<(&str, &str, &str)> {
    let (timestamp, rest) = line.strip_prefix('[')?.split_once("] ")?;
    let (level, rest) = rest.split_once(' ')?;
    let is_time =
        timestamp.len() >= 20 && timestamp.ends_with('Z') && timestamp.as_bytes()[4] == b'-';
    let is_level = ["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"].contains(&level);
    (is_time && is_level).then_some((timestamp, level, rest))
}

/// The events of a chunk of Elasticsearch's log, and how many of its bytes they used. A line that is none is passed over.
fn ecs_events(chunk: &str, resource_id: &str) -> (Vec<Value>, u64) {
    let events = chunk
        .lines()
        .filter_map(|line| {
            let entry: Value = serde_json::from_str(line).ok()?;
            let text = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default();
            let trace = text("error.stack_trace");
            let message = if trace.is_empty() {
                text("message").to_owned()
            } else {
                format!("{}\n{trace}", text("message"))
            };
            let timestamp = text("@timestamp");
            (!timestamp.is_empty()).then(|| {
                event(
                    timestamp,
                    text("log.level"),
                    &message,
                    resource_id,
                    text("log.logger"),
                )
            })
        })
        .collect();
    (events, chunk.len() as u64)
}

fn event(timestamp: &str, level: &str, message: &str, resource_id: &str, logger: &str) -> Value {
    let mut end = message.len().min(MESSAGE_BYTES_MAX);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    json!({
        "timestamp": timestamp,
        "level": level.to_lowercase(),
        "message": &message[..end],
        "resourceId": resource_id,
        "metadata": { "parentResourceId": "logflow-local", "logger": logger },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_kafka_is_an_event() {
        let chunk = "[2026-01-31T08:15:00.123Z] INFO [KafkaRaftServer nodeId=1] Kafka Server started (kafka.server.KafkaRaftServer)\n";
        let (events, used) = log4j_events(chunk, "kafka");
        assert_eq!(used, chunk.len() as u64);
        assert_eq!(
            events,
            [json!({
                "timestamp": "2026-01-31T08:15:00.123Z", "level": "info", "resourceId": "kafka",
                "message": "[KafkaRaftServer nodeId=1] Kafka Server started",
                "metadata": {"parentResourceId": "logflow-local", "logger": "kafka.server.KafkaRaftServer"},
            })]
        );
    }

    #[test]
    fn further_lines_belong_to_the_message() {
        let chunk = "[2026-01-31T08:15:00.123Z] ERROR it broke (a.B)\njava.lang.Error: why\n\tat a.B.c(B.java:1)\n\
                     [2026-01-31T08:15:00.124Z] WARN and on (a.B)\n";
        let (events, _) = log4j_events(chunk, "kafka");
        assert_eq!(events.len(), 2);
        assert_eq!(
            events[0]["message"],
            "it broke (a.B)\njava.lang.Error: why\n\tat a.B.c(B.java:1)"
        );
        assert_eq!(events[1]["message"], "and on");
    }

    #[test]
    fn a_line_of_elasticsearch_is_an_event_and_what_is_none_is_passed_over() {
        let chunk = concat!(
            r#"{"@timestamp":"2026-01-31T08:15:00.1Z", "log.level":"WARN", "message":"slow", "log.logger":"o.e.x", "error.stack_trace":"at x"}"#,
            "\nnot json\n",
        );
        let (events, used) = ecs_events(chunk, "elasticsearch");
        assert_eq!(used, chunk.len() as u64);
        assert_eq!(
            events,
            [json!({
                "timestamp": "2026-01-31T08:15:00.1Z", "level": "warn", "resourceId": "elasticsearch", "message": "slow\nat x",
                "metadata": {"parentResourceId": "logflow-local", "logger": "o.e.x"},
            })]
        );
    }

    #[test]
    fn an_overlong_message_is_cut_between_characters() {
        let (events, _) = log4j_events(
            &format!("[2026-01-31T08:15:00.123Z] INFO a{}\n", "é".repeat(9000)),
            "kafka",
        );
        let message = events[0]["message"].as_str().unwrap();
        assert_eq!(message.len(), MESSAGE_BYTES_MAX - 1);
    }

    #[test]
    fn reads_whole_lines_and_starts_again_in_a_new_file() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log");
        assert!(read_from(&log, 0).unwrap().is_none());
        fs::write(&log, "one\ntwo\nthr").unwrap();
        assert_eq!(
            read_from(&log, 4).unwrap().unwrap(),
            (4, "two\n".to_owned())
        );
        assert!(read_from(&log, 8).unwrap().is_none());
        assert_eq!(
            read_from(&log, 800).unwrap().unwrap(),
            (0, "one\ntwo\n".to_owned())
        );
    }

    #[test]
    fn bytes_that_are_no_text_keep_their_places() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log");
        fs::write(&log, b"a\xff\xfe\n").unwrap();
        assert_eq!(
            read_from(&log, 0).unwrap().unwrap(),
            (0, "a??\n".to_owned())
        );
    }
}
