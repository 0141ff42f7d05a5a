//! Which indices go, and in which requests.
//!
//! In the flow: `command` → **`plan`** → `retention`. Pure.

use log_event::document::{IndexPattern, UtcDay};
use serde_json::{Value, json};

/// Of one request: each deletion is a change of the cluster's state.
const INDICES_MAX: usize = 50;
/// Elasticsearch takes a first line of 4 KiB at most (`http.max_initial_line_length`).
const PATH_BYTES_MAX: usize = 3 << 10;

/// An index that there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Its name.
    pub name: String,
    /// The documents in it; unknown of one that is closed.
    pub documents: Option<u64>,
    /// What it takes on disk, replicas included; unknown of one that is closed.
    pub bytes: Option<u64>,
}

/// An index of ours whose day is over for long enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Dated<'a> {
    day: UtcDay,
    name: &'a str,
}

impl Held {
    /// Reads a row of `/_cat/indices?format=json`, whose numbers are texts.
    #[must_use]
    pub fn read(row: &Value) -> Option<Self> {
        let number = |name: &str| row[name].as_str().and_then(|text| text.parse().ok());
        Some(Self {
            name: row["index"].as_str()?.to_owned(),
            documents: number("docs.count"),
            bytes: number("store.size"),
        })
    }

    /// For people.
    #[must_use]
    pub fn line(&self) -> String {
        let known = |number: Option<u64>| number.map_or("-".to_owned(), |n| n.to_string());
        format!(
            "{}  {} documents  {} bytes",
            self.name,
            known(self.documents),
            known(self.bytes)
        )
    }

    /// For programs.
    #[must_use]
    pub fn json(&self) -> Value {
        json!({"index": self.name, "documents": self.documents, "bytes": self.bytes})
    }
}

/// Those whose names the pattern gives to days of which every event is older than `keep_days` full days, oldest first.
#[must_use]
pub fn doomed<'a>(
    held: &'a [Held],
    pattern: &IndexPattern,
    today: UtcDay,
    keep_days: u32,
) -> Vec<&'a Held> {
    let kept_since = today.before(keep_days.max(1));
    let mut doomed: Vec<(Dated<'_>, &Held)> = held
        .iter()
        .filter_map(|index| {
            let (day, _tenant) = pattern.day_and_tenant(&index.name)?;
            let name = index.name.as_str();
            (day < kept_since).then_some((Dated { day, name }, index))
        })
        .collect();
    doomed.sort_by_key(|(dated, _)| *dated);
    doomed.into_iter().map(|(_, index)| index).collect()
}

/// Divides them into requests of a bounded length.
pub fn chunks<'s, 'a>(doomed: &'s [&'a Held]) -> impl Iterator<Item = &'s [&'a Held]> {
    let mut rest = doomed;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = rest.iter().take(INDICES_MAX).take_while(|index| {
            bytes += in_a_path(&index.name).len() + 1;
            bytes <= PATH_BYTES_MAX
        });
        // One name alone always fits: Elasticsearch has none of more than 255 bytes.
        let n = fits.count().max(1).min(rest.len());
        let (chunk, behind) = rest.split_at(n);
        rest = behind;
        (!chunk.is_empty()).then_some(chunk)
    })
}

/// Where these are deleted. Should ever a wildcard be in there, it would stand for nothing.
#[must_use]
pub fn delete_path(indices: &[&Held]) -> String {
    let names: Vec<String> = indices.iter().map(|index| in_a_path(&index.name)).collect();
    format!("/{}?expand_wildcards=none", names.join(","))
}

/// An index's name as it stands in a path.
#[must_use]
pub fn in_a_path(name: &str) -> String {
    name.replace('+', "%2B")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(names: &[&str]) -> Vec<Held> {
        let held = |name: &&str| Held {
            name: (*name).to_owned(),
            documents: Some(1),
            bytes: None,
        };
        names.iter().map(held).collect()
    }

    /// What goes on 2026-03-31 (UTC).
    #[track_caller]
    fn check(pattern: &str, keep_days: u32, there: &[&str], expected: &[&str]) {
        const NOON: i64 = 1_774_958_400_000;
        let there = held(there);
        let pattern = pattern.parse().unwrap();
        let doomed = doomed(&there, &pattern, UtcDay::of_millis(NOON), keep_days);
        let doomed: Vec<&str> = doomed.iter().map(|index| index.name.as_str()).collect();
        assert_eq!(doomed, expected);
    }

    #[test]
    fn a_day_goes_when_its_last_event_is_older_than_so_many_full_days() {
        let days = [
            "logflow-2026.03.31",
            "logflow-2026.03.30",
            "logflow-2026.03.29",
            "logflow-2026.03.01",
            "logflow-2026.02.28",
            "logflow-2025.12.31",
            "logflow-2027.01.01",
        ];
        let by_day = ["logflow-2025.12.31", "logflow-2026.02.28"];
        check("logflow-{date}", 30, &days, &by_day);
        let all_but_two = [
            "logflow-2025.12.31",
            "logflow-2026.02.28",
            "logflow-2026.03.01",
            "logflow-2026.03.29",
        ];
        check("logflow-{date}", 1, &days, &all_but_two);
        check("logflow-{date}", 0, &days, &all_but_two);
        check("logflow-{date}", u32::MAX, &days, &[]);
    }

    #[test]
    fn what_the_pattern_would_not_name_stays() {
        let there = [
            "logflow-2020.01.01",
            "logflow-2020.01.01-reindexed",
            "logflow-2020.01.1",
            "logflow-2020.13.01",
            "logflow-settings",
            "logflow-shop-2020.01.01",
            ".ds-logflow-2020.01.01-000001",
        ];
        check("logflow-{date}", 30, &there, &there[..1]);
        check("logflow-{tenant}-{date}", 30, &there, &there[5..6]);
    }

    #[test]
    fn every_tenants_day_goes() {
        let there = [
            "logflow-shop-2020.01.02",
            "logflow-_-2020.01.01",
            "logflow-bank-2020.01.02",
        ];
        let expected = [there[1], there[2], there[0]];
        check("logflow-{tenant}-{date}", 30, &there, &expected);
    }

    #[test]
    fn requests_are_bounded_and_name_every_index_once_and_no_wildcard() {
        let names: Vec<String> = (0..173)
            .map(|n| format!("{}+{n}", "x".repeat(200)))
            .collect();
        let long = held(&names.iter().map(String::as_str).collect::<Vec<_>>());
        let short: Vec<String> = (0..173).map(|n| format!("x-{n}")).collect();
        let short = held(&short.iter().map(String::as_str).collect::<Vec<_>>());
        for all in [long, short] {
            let all: Vec<&Held> = all.iter().collect();
            let mut seen = Vec::new();
            for chunk in chunks(&all) {
                let path = delete_path(chunk);
                assert!(chunk.len() <= INDICES_MAX && path.len() <= 4_000, "{path}");
                assert!(
                    !path.contains(['*', '+']) && !path.contains("_all"),
                    "{path}"
                );
                seen.extend_from_slice(chunk);
            }
            assert_eq!(seen, all);
        }
        assert_eq!(chunks(&[]).count(), 0);
    }

    #[test]
    fn a_closed_index_tells_neither_documents_nor_bytes() {
        let row = json!({"index": "logflow-2020.01.01", "docs.count": null, "store.size": null});
        let closed = Held::read(&row).unwrap();
        assert_eq!(closed.line(), "logflow-2020.01.01  - documents  - bytes");
        let row = json!({"index": "logflow-2020.01.01", "docs.count": "7", "store.size": "1024"});
        let open = Held::read(&row).unwrap();
        assert_eq!(open.line(), "logflow-2020.01.01  7 documents  1024 bytes");
    }
}
