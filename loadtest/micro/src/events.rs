//! Makes log events that are a function of their number and their size.
//!
//! In the flow: **`events`** → `intake`, `sink`, `search`. Shaped as those of `loadtest generate`, which this package does
//! not depend on: a change of its workload would move every count here.

use log_event::timestamp::Timestamp;

const START_MILLIS: i64 = 1_764_000_000_000;
/// Words that fill a message up to the wanted size.
const WORDS: [&str; 8] = [
    "retry", "queue", "shard", "timeout", "tenant", "region", "worker", "batch",
];
const LEVELS: [&str; 4] = ["info", "debug", "info", "error"];
/// Fields in the metadata of a large event: more than the names that are compared one by one.
const FIELDS_OF_LARGE: u64 = 40;

/// When event `n` happened.
///
/// # Panics
/// If `n` lies centuries ahead.
#[must_use]
pub fn time_of(n: u64) -> Timestamp {
    let start = Timestamp::from_millis(START_MILLIS).expect("a moment");
    start.plus_nanos(i64::try_from(n).expect("a small number") * 100_000)
}

/// The JSON of event `n`, of exactly `bytes` bytes.
///
/// # Panics
/// If that is too little for its fields; 250 are enough.
#[must_use]
pub fn event(n: u64, bytes: usize) -> Vec<u8> {
    let traced = match n % 2 {
        0 => format!(
            r#","traceId":"{:016x}","spanId":"{:08x}""#,
            mix(n / 5),
            mix(n) >> 32
        ),
        _ => format!(
            r#","metadata":{{"parentResourceId":"server-{}"}}"#,
            9_000 + n % 20
        ),
    };
    // One in four has what JSON escapes, and letters of two bytes.
    let subject = match n % 4 {
        3 => format!(r#"Kunde \"{n}\" über Limit"#),
        _ => format!("order {n} failed"),
    };
    written(n, &traced, &subject, bytes)
}

/// The JSON of a large event `n`, of exactly `bytes` bytes: a stack trace, and many fields.
///
/// # Panics
/// If that is too little for them; 10,000 are enough.
#[must_use]
pub fn large_event(n: u64, bytes: usize) -> Vec<u8> {
    let fields: Vec<String> = (0..FIELDS_OF_LARGE)
        .map(|field| match field % 4 {
            0 => format!(r#""count{field}":{}"#, mix(n + field) % 10_000),
            1 => format!(r#""flag{field}":true"#),
            2 => format!(
                r#""nested{field}":{{"a":[1,2.5,null],"b":"{:08x}"}}"#,
                mix(n + field) >> 32
            ),
            _ => format!(r#""label{field}":"value {}""#, mix(n + field) % 100),
        })
        .collect();
    let metadata = format!(r#","metadata":{{{}}}"#, fields.join(","));
    let trace: String = (0..40)
        .map(|frame| format!(r"\n\tat com.example.shop.Order{frame}.place(Order.java:{frame})"))
        .collect();
    written(n, &metadata, &format!("order {n} failed{trace}"), bytes)
}

/// An array of `count` events of 250 bytes.
#[must_use]
pub fn array(count: u64) -> Vec<u8> {
    let events: Vec<Vec<u8>> = (0..count).map(|n| event(n, 250)).collect();
    [b"[", &*events.join(&b','), b"]"].concat()
}

/// The text of event `n` without a frame, of 150 bytes.
#[must_use]
pub fn line(n: u64) -> String {
    let mut line = format!("order {n} failed");
    fill(&mut line, n, 150);
    line
}

/// Well mixed numbers without a state (SplitMix64).
#[must_use]
pub fn mix(n: u64) -> u64 {
    let mut z = n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn written(n: u64, more: &str, subject: &str, bytes: usize) -> Vec<u8> {
    let head = format!(
        r#"{{"level":"{}","resourceId":"server-{}","timestamp":"{}","commit":"{:07x}"{more},"message":""#,
        LEVELS[(n % 4) as usize],
        1_000 + mix(n) % 400,
        time_of(n).to_rfc3339(),
        mix(n / 50_000) >> 36,
    );
    let mut message = subject.to_owned();
    fill(&mut message, n, bytes - head.len() - r#""}"#.len());
    format!(r#"{head}{message}"}}"#).into_bytes()
}

/// Words behind a text, up to so many bytes.
fn fill(text: &mut String, n: u64, bytes: usize) {
    assert!(text.len() <= bytes, "event {n} has no room for its message");
    let mut draw = n;
    while text.len() < bytes {
        draw = mix(draw);
        text.push(' ');
        text.push_str(WORDS[(draw % 8) as usize]);
    }
    text.truncate(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_has_the_size_asked_for_and_is_always_the_same() {
        for n in 0..2_000 {
            let json = event(n, 250);
            assert_eq!(json.len(), 250);
            assert_eq!(json, event(n, 250));
            serde_json::from_slice::<serde_json::Value>(&json).unwrap();
        }
        let json = large_event(3, 10_000);
        assert_eq!(json.len(), 10_000);
        serde_json::from_slice::<serde_json::Value>(&json).unwrap();
    }
}
