//! How each field of an event is kept, and what can therefore be asked of it.
//!
//! In the flow: **`query::field`** → `query::parser`, `query::matcher`.
//! Says what `deploy/elasticsearch/index-template.json` says; a test holds the two together.

use std::collections::HashMap;

/// A field by its path, `metadata.parentResourceId`, and how it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Names joined by dots, as in Elasticsearch.
    pub path: String,
    /// How it is kept.
    pub kind: Kind,
}

/// How a field is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A moment, to the nanosecond: `timestamp`.
    Moment,
    /// Words in lower case: `message`.
    Words,
    /// One text in lower case: `level`.
    Level,
    /// One text: what names a resource, a trace, a span, a version, an event.
    Exact,
    /// `metadata` or something in it: each value a text, whatever it was.
    Metadata,
    /// Any other field: the first event that had it decided.
    Dynamic,
}

/// How Elasticsearch keeps a field that the template does not name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dynamic {
    /// One text.
    Text,
    /// A double.
    Number,
    /// True or false.
    Boolean,
}

/// How the fields that the template does not name are kept, as far as events
/// have had them; by path.
pub type DynamicFields = HashMap<String, Dynamic>;

/// The fields that a text without a field's name is held against, beside the words of the message.
pub const NAMING_FIELDS: [&str; 5] = ["level", "resourceId", "traceId", "spanId", "commit"];
/// A text longer than this is kept and not found (`ignore_above`), in UTF-16 units.
pub const TEXT_UNITS_MAX: usize = 1_024;
/// The same for `level`.
pub const LEVEL_UNITS_MAX: usize = 256;
/// The same for `message` where it is looked through and not its words (`message.raw`).
pub const MESSAGE_UNITS_MAX: usize = 8_191;

impl Field {
    /// The field with this path.
    #[must_use]
    pub fn new(path: &str) -> Self {
        let kind = match path {
            "timestamp" => Kind::Moment,
            "message" => Kind::Words,
            "level" => Kind::Level,
            "resourceId" | "traceId" | "spanId" | "commit" | "eventId" => Kind::Exact,
            "metadata" => Kind::Metadata,
            _ if path.starts_with("metadata.") => Kind::Metadata,
            _ => Kind::Dynamic,
        };
        Self {
            path: path.to_owned(),
            kind,
        }
    }

    /// For a field in `metadata` its path in there; none for `metadata` itself.
    #[must_use]
    pub fn key_in_metadata(&self) -> Option<&str> {
        self.path.strip_prefix("metadata.")
    }
}

/// The severities that can be compared, from the mildest; what stands in one row is equal.
const SEVERITIES: [&[&str]; 9] = [
    &["trace"],
    &["debug"],
    &["info", "information", "informational"],
    &["notice"],
    &["warn", "warning"],
    &["error", "err", "severe"],
    &["critical", "crit", "fatal"],
    &["alert"],
    &["emergency", "emerg", "panic"],
];

/// How severe a level is, for comparison only (RFC 5424 §6.2.1 gives the order);
/// `None` for a level that has no place.
#[must_use]
pub fn severity(level: &str) -> Option<usize> {
    let level = level.to_ascii_lowercase();
    SEVERITIES
        .iter()
        .position(|names| names.contains(&level.as_str()))
}

/// The levels whose severity is in `range`.
pub fn levels_in(range: impl Fn(usize) -> bool) -> impl Iterator<Item = &'static str> {
    let rows = SEVERITIES.iter().enumerate();
    rows.filter(move |(severity, _)| range(*severity))
        .flat_map(|(_, names)| names.iter().copied())
}

/// Lower case as Lucene's `LowerCaseFilter` makes it: letter by letter, so that
/// no letter depends on its neighbours or becomes two. Only `İ` has a longer lower case, `i` and a dot, of which the
/// simple one is the first. Java's and Rust's versions of Unicode differ in letters alone that Unicode 12.1 had not
/// assigned, and so in no word: no letter that was assigned before can get another lower case.
pub fn lower_case(c: char) -> char {
    c.to_lowercase().next().unwrap_or(c)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    const TEMPLATE: &str = include_str!("../../../deploy/elasticsearch/index-template.json");

    #[test]
    fn each_field_is_kept_as_the_index_template_says() {
        let template: Value = serde_json::from_str(TEMPLATE).unwrap();
        let fields = template["template"]["mappings"]["properties"].as_object();
        for (path, mapping) in fields.unwrap() {
            let units = mapping["ignore_above"].as_u64();
            let (kind, max) = match mapping["type"].as_str().unwrap() {
                "date_nanos" => (Kind::Moment, None),
                "text" => (Kind::Words, None),
                "keyword" if mapping["normalizer"] == "lowercase" => {
                    (Kind::Level, Some(LEVEL_UNITS_MAX as u64))
                }
                "keyword" => (Kind::Exact, Some(TEXT_UNITS_MAX as u64)),
                "flattened" => (Kind::Metadata, Some(TEXT_UNITS_MAX as u64)),
                other => panic!("`{path}` is kept as `{other}`"),
            };
            assert_eq!((Field::new(path).kind, max), (kind, units), "{path}");
        }
        let raw = &template["template"]["mappings"]["properties"]["message"]["fields"]["raw"];
        assert_eq!(raw["ignore_above"], MESSAGE_UNITS_MAX);
        let strings = &template["template"]["mappings"]["dynamic_templates"][0]["strings"];
        assert_eq!(strings["mapping"]["ignore_above"], TEXT_UNITS_MAX);
    }

    #[test]
    fn levels_compare_by_severity_whatever_they_are_called() {
        let from_error: Vec<_> = levels_in(|severity| severity >= 6).collect();
        assert_eq!(
            from_error,
            [
                "critical",
                "crit",
                "fatal",
                "alert",
                "emergency",
                "emerg",
                "panic"
            ]
        );
        assert_eq!(severity("WARNING"), severity("warn"));
        assert_eq!(severity("verbose"), None);
    }
}
