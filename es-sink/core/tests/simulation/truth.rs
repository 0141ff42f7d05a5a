//! What was ever produced, and what has become of it: the simulation's memory,
//! which nothing that is simulated can look into.

use crate::dice::Dice;

/// The Kafka timestamp at the beginning of every run.
pub(crate) const NOON_MS: i64 = 1_694_779_200_000;
pub(crate) const DAY_MS: i64 = 86_400_000;

/// The header by which a dead letter names its record.
const RECORD: &str = "record";

/// What Elasticsearch makes of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nature {
    Good,
    /// Brings a new field: refused once, while its mapping is being made.
    NewField,
    /// Refused as an item.
    Poison,
    /// Contradicts a mapping, in the words that a new field is refused with.
    Contradicting,
    /// Any request that holds it is refused as a whole.
    Spoiler,
    /// The same, as too large.
    TooLarge,
    Tombstone,
    NoObject,
}

impl Nature {
    pub(crate) fn is_indexable(self) -> bool {
        matches!(self, Self::Good | Self::NewField)
    }
}

/// One record of a log.
#[derive(Debug)]
pub(crate) struct LogRecord {
    pub(crate) at: At,
    pub(crate) topic_id: u32,
    pub(crate) offset: i64,
    pub(crate) timestamp_ms: Option<i64>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Vec<(&'static str, Option<Vec<u8>>)>,
    /// Which log event it carries; one that was sent twice has two records.
    pub(crate) event: usize,
    /// Kafka has lost it, or it stands where the log once ended further on:
    /// it may be missing at the end, but not come twice.
    pub(crate) optional: bool,
    /// Dead letters of it that can be read.
    pub(crate) letters: u32,
    /// More than one only if a log was set back, which makes all of it new.
    pub(crate) letters_max: u32,
}

/// One log event.
#[derive(Debug)]
pub(crate) struct LogEvent {
    pub(crate) nature: Nature,
    /// The action line and the source of its first bulk item.
    pub(crate) identity: Option<(Vec<u8>, Vec<u8>)>,
    /// Under which index and id it stands.
    pub(crate) document: Option<Vec<u8>>,
    /// All in-sync copies hold the document.
    pub(crate) is_durable: bool,
}

/// A partition.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct At {
    pub(crate) topic: usize,
    pub(crate) partition: i32,
}

pub(crate) const TOPICS: [&str; 2] = ["logs", "audit"];

impl std::fmt::Debug for At {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

impl std::fmt::Display for At {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}[{}]", TOPICS[self.topic], self.partition)
    }
}

/// Everything, by number.
#[derive(Debug, Default)]
pub(crate) struct Truth {
    pub(crate) records: Vec<LogRecord>,
    pub(crate) events: Vec<LogEvent>,
}

impl Truth {
    /// Makes a record up; its number.
    pub(crate) fn produce(
        &mut self,
        dice: &mut Dice,
        poison: u64,
        at: At,
        topic_id: u32,
        offset: i64,
        timestamp_ms: i64,
    ) -> usize {
        let number = self.records.len();
        let timestamp_ms = (!dice.percent(2)).then_some(timestamp_ms);
        let sent_before = dice.percent(4).then(|| self.sent_again(dice)).flatten();
        let (event, value, mut headers) = match sent_before {
            Some(before) => before,
            None => self.new_event(dice, poison, timestamp_ms),
        };
        headers.push((RECORD, Some(number.to_string().into_bytes())));
        self.records.push(LogRecord {
            at,
            topic_id,
            offset,
            timestamp_ms,
            value,
            headers,
            event,
            optional: false,
            letters: 0,
            letters_max: 1,
        });
        number
    }

    fn new_event(&mut self, dice: &mut Dice, poison: u64, timestamp_ms: Option<i64>) -> Content {
        let event = self.events.len();
        let nature = match dice.below(7) {
            _ if !dice.percent(poison) => match dice.percent(4) {
                true => Nature::NewField,
                false => Nature::Good,
            },
            0 => Nature::Spoiler,
            1 => Nature::TooLarge,
            2 => Nature::Tombstone,
            3 => Nature::NoObject,
            4 => Nature::Contradicting,
            _ => Nature::Poison,
        };
        self.events.push(LogEvent {
            nature,
            identity: None,
            document: None,
            is_durable: false,
        });
        let filler = &"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"[..dice.index(40)];
        let (before, between) = if dice.percent(8) {
            (" ", "\n")
        } else {
            ("", "")
        };
        let value = match nature {
            Nature::Tombstone => None,
            Nature::NoObject => Some(format!("[{event}]")),
            _ => Some(format!(
                r#"{before}{{"e":{event},{between}"x":"{filler}"}}{between}"#
            )),
        };
        let mut headers = Vec::new();
        if dice.percent(60) {
            let id = format!("id \"{event}\"");
            headers.push(("event-id", Some(id.into_bytes())));
            headers.push(("dialect", None));
        }
        if dice.percent(60) {
            // Within what the record's timestamp allows.
            let time = timestamp_ms.unwrap_or(NOON_MS) - DAY_MS * dice.below(2) as i64;
            headers.push(("event-time", Some(time.to_string().into_bytes())));
        }
        (event, value.map(String::into_bytes), headers)
    }

    /// A client that got no answer sends an event again, with its id and its time.
    fn sent_again(&self, dice: &mut Dice) -> Option<Content> {
        let record = self.records.get(dice.index(self.records.len().max(1)))?;
        let has = |name: &str| record.headers.iter().any(|(other, _)| *other == name);
        if !self.events[record.event].nature.is_indexable()
            || !has("event-id")
            || !has("event-time")
        {
            return None;
        }
        let headers = record.headers.iter().filter(|(name, _)| *name != RECORD);
        Some((
            record.event,
            record.value.clone(),
            headers.cloned().collect(),
        ))
    }

    /// The number that a dead letter's headers name.
    pub(crate) fn number_in(headers: &[(String, Option<Vec<u8>>)]) -> usize {
        let (_, value) = headers
            .iter()
            .find(|(name, _)| name == RECORD)
            .expect("every record has a number");
        let text = String::from_utf8(value.clone().expect("a number"));
        text.expect("digits").parse().expect("digits")
    }

    /// Whether nothing more has to be done for a record.
    pub(crate) fn is_settled(&self, number: usize) -> bool {
        let record = &self.records[number];
        record.optional || record.letters > 0 || self.events[record.event].is_durable
    }
}

type Content = (usize, Option<Vec<u8>>, Vec<(&'static str, Option<Vec<u8>>)>);
