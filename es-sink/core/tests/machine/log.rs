//! What is in the log: records of every nature, with gaps between their offsets.

use std::time::Duration;

/// The Kafka timestamp of the first record.
pub(crate) const NOON: i64 = 1_694_779_200_000;

/// Partition and offset.
pub(crate) type Key = (i32, i64);

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Nature {
    Good,
    /// Refused as an item.
    Poison,
    /// Any request that holds it is refused as a whole.
    Spoiler,
    /// The same, as too large.
    TooLarge,
    Tombstone,
    NoObject,
}

#[derive(Debug)]
pub(crate) struct LogRecord {
    pub(crate) key: Key,
    pub(crate) nature: Nature,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Vec<(&'static str, Option<Vec<u8>>)>,
}

#[derive(Debug, Default)]
pub(crate) struct Partition {
    pub(crate) log: Vec<LogRecord>,
    pub(crate) committed: Option<i64>,
    pub(crate) owned: bool,
    pub(crate) paused: bool,
    /// The next record to deliver.
    pub(crate) next: usize,
    /// The highest commit of this assignment.
    pub(crate) highest: i64,
    /// Counts its assignments.
    pub(crate) epoch: u32,
}

pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % end
    }

    pub(crate) fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }

    pub(crate) fn millis(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.below(to - from))
    }
}

pub(crate) fn random_record(dice: &mut Dice, key: Key) -> LogRecord {
    let nature = match dice.below(40) {
        0 | 1 => Nature::Poison,
        2 => Nature::Spoiler,
        3 => Nature::TooLarge,
        4 => Nature::Tombstone,
        5 => Nature::NoObject,
        _ => Nature::Good,
    };
    let (partition, offset) = key;
    let filler = "x".repeat(dice.below(60) as usize);
    let breaks = if dice.percent(10) { "\n" } else { "" };
    let value = match nature {
        Nature::Tombstone => None,
        Nature::NoObject => Some("[1]".to_owned()),
        _ => Some(format!(
            r#"{{"p":{partition},{breaks}"o":{offset},"x":"{filler}"}}"#
        )),
    };
    let mut headers = Vec::new();
    if dice.percent(60) {
        let id = format!("id \"{partition}\"/{offset}");
        let time = NOON + 86_400_000 * dice.below(2) as i64;
        headers.push(("event-id", Some(id.into_bytes())));
        headers.push(("event-time", Some(time.to_string().into_bytes())));
        headers.push(("dialect", None));
    }
    LogRecord {
        key,
        nature,
        value: value.map(String::into_bytes),
        headers,
    }
}

pub(crate) fn random_partition(dice: &mut Dice, partition: i32) -> Partition {
    let mut offset = dice.below(3) as i64;
    let mut log = Vec::new();
    for _ in 0..dice.below(60) {
        log.push(random_record(dice, (partition, offset)));
        let gap = if dice.percent(10) { dice.below(5) } else { 0 };
        offset += 1 + gap as i64;
    }
    Partition {
        log,
        ..Partition::default()
    }
}
