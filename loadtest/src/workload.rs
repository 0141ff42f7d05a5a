//! Makes the events of a run: the same seed, run and start give the same bytes.
//!
//! In the flow: `marker` → **`workload`** → `generate_http`, `generate_kafka`.
//! Every event is a function of its number alone, so that connections can make
//! any range in any order. Shape, sizes and cardinalities follow what services
//! log: weighted levels, hundreds of resources, message templates with
//! parameters, traces of several spans, a few commits at a time.

use std::fmt;
use std::str::FromStr;

use log_event::timestamp::Timestamp;

use crate::marker::{RunId, write_decimal, write_field};

const NANOS_PER_DAY: i64 = 86_400_000_000_000;
/// Events that share a trace.
const SPANS_PER_TRACE: u64 = 5;
const N_RESOURCES: u64 = 400;
/// Resources that run on one parent, such as the pods of a node.
const RESOURCES_PER_PARENT: u64 = 20;
const N_COMMITS: u64 = 12;

/// Level and weight in percent.
const LEVELS: [(&str, u64); 5] = [
    ("info", 68),
    ("debug", 17),
    ("warn", 9),
    ("error", 5),
    ("fatal", 1),
];

/// Message templates in JSON spelling; `#` stands for a number, `%` for eight hexadecimal digits.
const TEMPLATES: [&str; 16] = [
    "GET /api/v1/orders/# 200 in # ms",
    "POST /api/v1/payments 201 in # ms, request %",
    "user # logged in from 10.#.#.17",
    "cache miss for key session:%, loading from the database",
    "Failed to connect to DB after # attempts",
    "job % finished: # rows read, # rows written",
    "slow query (# ms): SELECT * FROM orders WHERE customer_id = #",
    "upstream checkout-service replied 503, attempt # of 5",
    "message % published to \\\"order-events\\\" partition #",
    "heap usage # MiB, # collections since the last report",
    "certificate % expires in # days",
    "rejected request of client #: quota of # requests a minute exceeded",
    "Benutzer # hat Auftrag % über # € bestätigt",
    "read C:\\\\data\\\\import\\\\%.csv, # lines",
    "connection % closed by peer after # s",
    "span finished with status ok, # attributes, # events",
];

/// Words that fill a message up to the wanted size.
const WORDS: [&str; 12] = [
    "retry", "queue", "shard", "replica", "timeout", "tenant", "region", "worker", "stream",
    "commit", "lease", "batch",
];

/// What is asked for.
#[derive(Clone, Debug)]
pub struct WorkloadSettings {
    /// Decides everything but the marker.
    pub seed: u64,
    /// The run that every event names.
    pub run: RunId,
    /// The timestamp of the first event.
    pub start: Timestamp,
    /// Nanoseconds from one event's timestamp to the next one's.
    pub step_nanos: u64,
    /// Over how many days, ending with the day of `start`, the events are spread; at least 1.
    pub days: u32,
    /// The average size of an event in bytes; what the fields need is the least.
    pub event_bytes: usize,
    /// Whether every event carries an `eventId`.
    pub event_ids: bool,
    /// How many events in a million Elasticsearch is to refuse.
    pub poison_per_million: u32,
    /// The kinds of such events, taken in turn.
    pub poison_kinds: Vec<PoisonKind>,
}

impl WorkloadSettings {
    /// Events of about 250 bytes, 100 µs apart, within one day, none of them poison.
    #[must_use]
    pub fn new(seed: u64, run: RunId, start: Timestamp) -> Self {
        Self {
            seed,
            run,
            start,
            step_nanos: 100_000,
            days: 1,
            event_bytes: 250,
            event_ids: false,
            poison_per_million: 0,
            poison_kinds: PoisonKind::ALL.to_vec(),
        }
    }
}

/// A way in which an event can be one that Elasticsearch never indexes. The
/// gateway refuses all of them; only another producer can bring them into Kafka.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoisonKind {
    /// `metadata` is a number.
    MetadataNumber,
    /// `metadata` is a string.
    MetadataString,
    /// `timestamp` is no date.
    TimestampNoDate,
    /// The value is a JSON array.
    NotAnObject,
    /// The value is cut off in the middle.
    InvalidJson,
    /// The value has no bytes.
    Empty,
}

impl PoisonKind {
    /// Every kind.
    pub const ALL: [Self; 6] = [
        Self::MetadataNumber,
        Self::MetadataString,
        Self::TimestampNoDate,
        Self::NotAnObject,
        Self::InvalidJson,
        Self::Empty,
    ];

    /// The name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::MetadataNumber => "metadata-number",
            Self::MetadataString => "metadata-string",
            Self::TimestampNoDate => "timestamp-no-date",
            Self::NotAnObject => "not-an-object",
            Self::InvalidJson => "invalid-json",
            Self::Empty => "empty",
        }
    }
}

/// Why a text names no kind of poison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a kind of poison is one of metadata-number, metadata-string, timestamp-no-date, not-an-object, invalid-json, empty"
)]
pub struct NoPoisonKind;

impl FromStr for PoisonKind {
    type Err = NoPoisonKind;

    fn from_str(text: &str) -> Result<Self, NoPoisonKind> {
        let named = Self::ALL.into_iter().find(|kind| kind.name() == text);
        named.ok_or(NoPoisonKind)
    }
}

impl fmt::Display for PoisonKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The events of a run.
#[derive(Clone, Debug)]
pub struct Workload {
    settings: WorkloadSettings,
    /// Bytes of filling that bring the average to the wanted size.
    filling: usize,
}

impl Workload {
    /// Looks at the first thousand events to know how much to fill.
    #[must_use]
    pub fn new(settings: WorkloadSettings) -> Self {
        const SAMPLE: u64 = 1_000;
        let mut workload = Self {
            settings,
            filling: 0,
        };
        let mut bytes = Vec::new();
        (0..SAMPLE).for_each(|n| workload.write_event(n, &mut bytes));
        let bare = bytes.len() / SAMPLE as usize;
        workload.filling = workload.settings.event_bytes.saturating_sub(bare);
        workload
    }

    /// The run that the events name.
    #[must_use]
    pub fn run(&self) -> &RunId {
        &self.settings.run
    }

    /// When event `n` happened.
    #[must_use]
    pub fn event_time(&self, n: u64) -> Timestamp {
        let day = i64::try_from(n % u64::from(self.settings.days.max(1))).unwrap_or(0);
        let ahead = n.saturating_mul(self.settings.step_nanos);
        let nanos = self
            .settings
            .start
            .plus_nanos(i64::try_from(ahead).unwrap_or(i64::MAX))
            .nanos();
        Timestamp::from_nanos(nanos.saturating_sub(day * NANOS_PER_DAY))
            .unwrap_or(self.settings.start)
    }

    /// Appends the JSON of event `n`, on one line, without a line break after it.
    pub fn write_event(&self, n: u64, out: &mut Vec<u8>) {
        self.write_head(n, out);
        let timestamp = self.event_time(n).to_rfc3339();
        self.write_rest(n, timestamp.as_bytes(), None, out);
    }

    /// The kind of poison that record `n` is, when written past the gateway.
    #[must_use]
    pub fn poison(&self, n: u64) -> Option<PoisonKind> {
        let kinds = &self.settings.poison_kinds;
        let draw = mix(self.settings.seed ^ 0x0070_6f69_736f_6e00, n);
        let hit = draw % 1_000_000 < u64::from(self.settings.poison_per_million);
        (hit && !kinds.is_empty()).then(|| kinds[pick(draw >> 20, kinds.len() as u64)])
    }

    /// Appends the value of record `n` as another producer writes it, poison included.
    pub fn write_record_value(&self, n: u64, out: &mut Vec<u8>) {
        let metadata = match self.poison(n) {
            None => return self.write_event(n, out),
            Some(PoisonKind::Empty) => return,
            Some(PoisonKind::NotAnObject) => {
                out.extend_from_slice(b"[1,2,3]");
                return;
            }
            Some(PoisonKind::InvalidJson) => {
                out.extend_from_slice(br#"{"level":"error","message":"cut of"#);
                return;
            }
            Some(PoisonKind::TimestampNoDate) => {
                self.write_head(n, out);
                return self.write_rest(n, b"the day before yesterday", None, out);
            }
            Some(PoisonKind::MetadataNumber) => "17",
            Some(PoisonKind::MetadataString) => "\"seventeen\"",
        };
        self.write_head(n, out);
        let timestamp = self.event_time(n).to_rfc3339();
        self.write_rest(n, timestamp.as_bytes(), Some(metadata), out);
    }

    fn write_head(&self, n: u64, out: &mut Vec<u8>) {
        let seed = self.settings.seed;
        out.extend_from_slice(b"{\"level\":\"");
        out.extend_from_slice(level(mix(seed ^ 1, n)).as_bytes());
        out.extend_from_slice(b"\",\"message\":\"");
        write_message(mix(seed ^ 2, n), out);
        if self.filling > 0 {
            write_filling(mix(seed ^ 3, n), self.filling, out);
        }
        out.push(b'"');
    }

    fn write_rest(&self, n: u64, timestamp: &[u8], metadata: Option<&str>, out: &mut Vec<u8>) {
        let seed = self.settings.seed;
        let trace = n / SPANS_PER_TRACE;
        // A few resources emit most of the events.
        let draw = mix(seed ^ 4, n);
        let resource = (draw % N_RESOURCES).min((draw >> 32) % N_RESOURCES);
        out.extend_from_slice(b",\"resourceId\":\"server-");
        write_decimal(1_000 + resource, out);
        out.extend_from_slice(b"\",\"timestamp\":\"");
        out.extend_from_slice(timestamp);
        if mix(seed ^ 5, trace).is_multiple_of(2) {
            out.extend_from_slice(b"\",\"traceId\":\"");
            write_hex(mix(seed ^ 6, trace), 16, out);
            out.extend_from_slice(b"\",\"spanId\":\"");
            write_hex(mix(seed ^ 7, n), 8, out);
        }
        out.extend_from_slice(b"\",\"commit\":\"");
        write_hex(mix(seed ^ 8, (n / 50_000 + draw % 3) % N_COMMITS), 7, out);
        out.push(b'"');
        if let Some(text) = metadata {
            out.extend_from_slice(b",\"metadata\":");
            out.extend_from_slice(text.as_bytes());
        } else if mix(seed ^ 9, n).is_multiple_of(2) {
            out.extend_from_slice(b",\"metadata\":{\"parentResourceId\":\"server-");
            write_decimal(9_000 + resource / RESOURCES_PER_PARENT, out);
            out.extend_from_slice(b"\"}");
        }
        if self.settings.event_ids {
            out.extend_from_slice(b",\"eventId\":\"");
            out.extend_from_slice(self.settings.run.as_str().as_bytes());
            out.push(b'-');
            write_decimal(n, out);
            out.push(b'"');
        }
        out.push(b',');
        write_field(&self.settings.run, n, out);
        out.push(b'}');
    }
}

fn level(draw: u64) -> &'static str {
    let mut rest = draw % 100;
    for (level, weight) in LEVELS {
        match rest.checked_sub(weight) {
            None => return level,
            Some(left) => rest = left,
        }
    }
    LEVELS[0].0
}

fn write_message(draw: u64, out: &mut Vec<u8>) {
    let template = TEMPLATES[pick(draw, TEMPLATES.len() as u64)];
    let mut parameter = draw >> 4;
    for part in template
        .as_bytes()
        .split_inclusive(|b| matches!(b, b'#' | b'%'))
    {
        match part.split_last() {
            Some((b'#', text)) => {
                out.extend_from_slice(text);
                parameter = mix(parameter, 1);
                // Small numbers are more frequent than large ones.
                write_decimal(parameter % (10 << (parameter >> 60 & 12)), out);
            }
            Some((b'%', text)) => {
                out.extend_from_slice(text);
                parameter = mix(parameter, 2);
                write_hex(parameter, 8, out);
            }
            _ => out.extend_from_slice(part),
        }
    }
}

/// Between none and twice the average, so that sizes differ.
fn write_filling(draw: u64, average: usize, out: &mut Vec<u8>) {
    let wanted = pick(draw, 2 * average as u64 + 1);
    let end = out.len() + wanted;
    let mut word = draw;
    while out.len() < end {
        word = mix(word, 3);
        out.push(b' ');
        out.extend_from_slice(WORDS[pick(word, WORDS.len() as u64)].as_bytes());
    }
    out.truncate(end);
}

fn write_hex(number: u64, digits: u32, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    for place in (0..digits).rev() {
        out.push(HEX[(number >> (4 * place) & 15) as usize]);
    }
}

fn pick(draw: u64, below: u64) -> usize {
    usize::try_from(draw % below).expect("an index into a table of this process")
}

/// SplitMix64's output function over a seed and a number: well mixed, stateless.
pub(crate) fn mix(seed: u64, n: u64) -> u64 {
    let mut z = seed
        .wrapping_mul(0xd134_2543_de82_ef95)
        .wrapping_add(n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::marker;
    use log_event::event::LogEvent;
    use std::collections::{HashMap, HashSet};

    fn settings() -> WorkloadSettings {
        let start = Timestamp::parse("2023-09-15T08:00:00Z").unwrap();
        WorkloadSettings::new(7, "r1".parse().unwrap(), start)
    }

    fn event(workload: &Workload, n: u64) -> Vec<u8> {
        let mut out = Vec::new();
        workload.write_event(n, &mut out);
        out
    }

    #[test]
    fn the_same_seed_gives_the_same_events_and_another_seed_others() {
        let first = Workload::new(settings());
        let again = Workload::new(settings());
        let other = Workload::new(WorkloadSettings {
            seed: 8,
            ..settings()
        });
        for n in [0, 1, 999, 123_456_789] {
            assert_eq!(event(&first, n), event(&again, n));
            assert_ne!(event(&first, n), event(&other, n));
        }
    }

    #[test]
    fn every_event_is_one_that_the_gateway_takes_as_it_is() {
        let workload = Workload::new(WorkloadSettings {
            event_ids: true,
            event_bytes: 400,
            ..settings()
        });
        let received = Timestamp::from_nanos(0).unwrap();
        for n in 0..5_000 {
            let bytes = event(&workload, n);
            let decoded = LogEvent::decode(&bytes, received).unwrap();
            assert_eq!(*decoded.json, *bytes, "kept byte for byte");
            assert_eq!(decoded.event_time, workload.event_time(n));
            assert_eq!(decoded.client_id, Some(format!("r1-{n}")));
            assert_eq!(marker::find(workload.run(), None, &bytes), Some(n));
        }
    }

    #[test]
    fn sizes_keep_to_the_average_that_was_asked_for() {
        for wanted in [260, 1_000, 5_000] {
            let workload = Workload::new(WorkloadSettings {
                event_bytes: wanted,
                ..settings()
            });
            let total: usize = (0..10_000).map(|n| event(&workload, n).len()).sum();
            let average = total / 10_000;
            assert!(
                average.abs_diff(wanted) * 20 < wanted,
                "{average}, not {wanted}"
            );
        }
    }

    #[test]
    fn cardinalities_are_those_of_real_services() {
        let workload = Workload::new(settings());
        let mut seen: HashMap<&str, HashSet<String>> = HashMap::new();
        for n in 0..20_000 {
            let value: serde_json::Value = serde_json::from_slice(&event(&workload, n)).unwrap();
            for field in ["level", "message", "resourceId", "traceId", "commit"] {
                let text = value[field].as_str().unwrap_or("absent").to_owned();
                seen.entry(field).or_default().insert(text);
            }
        }
        let count = |field| seen[field].len();
        assert_eq!(count("level"), LEVELS.len());
        assert!(count("message") > 10_000);
        assert!((300..=400).contains(&count("resourceId")));
        assert!((1_500..2_500).contains(&count("traceId")));
        assert!((2..=12).contains(&count("commit")));
    }

    #[test]
    fn days_spread_the_events_over_as_many_days() {
        let workload = Workload::new(WorkloadSettings {
            days: 3,
            ..settings()
        });
        let days: HashSet<String> = (0..30)
            .map(|n| workload.event_time(n).to_rfc3339()[..10].to_owned())
            .collect();
        assert_eq!(days.len(), 3);
    }

    #[test]
    fn poison_is_as_frequent_as_asked_and_of_every_kind() {
        let workload = Workload::new(WorkloadSettings {
            poison_per_million: 10_000,
            ..settings()
        });
        let kinds: Vec<PoisonKind> = (0..100_000).filter_map(|n| workload.poison(n)).collect();
        assert!((800..1_200).contains(&kinds.len()), "{}", kinds.len());
        assert!(PoisonKind::ALL.iter().all(|kind| kinds.contains(kind)));
        for n in 0..10_000 {
            let mut value = Vec::new();
            workload.write_record_value(n, &mut value);
            let taken = LogEvent::decode(&value, workload.event_time(0)).is_ok();
            assert_eq!(taken, workload.poison(n).is_none(), "event {n}");
        }
    }

    #[test]
    fn kinds_of_poison_are_named() {
        for kind in PoisonKind::ALL {
            assert_eq!(kind.name().parse(), Ok(kind));
            assert!(NoPoisonKind.to_string().contains(kind.name()));
        }
        assert_eq!("arsenic".parse::<PoisonKind>(), Err(NoPoisonKind));
    }
}
