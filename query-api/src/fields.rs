//! Which fields events have: found in a sample of the newest, because a field
//! in `metadata` is in no mapping.
//!
//! In the flow: `selection` → **`fields`** → `searcher` → **`fields`** → `routes`.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;
use service::search_engine::SearchEngine;
use utoipa::ToSchema;

use crate::es_query::Bounded;
use crate::parameters::{Given, Parameter, RangeBound, RequestError, Vocabulary};
use crate::query::field::{Field, Kind};
use crate::query::leaves::{Leaf, Leaves};
use crate::search_request::Sort;
use crate::search_response::{Found, Partial};
use crate::selection::Selection;

/// How many of the newest events are looked at.
pub const SAMPLE_EVENTS: u32 = 500;
/// The most fields that are told; those that most events have.
pub const FIELDS_MAX: usize = 1_000;

pub(crate) const PARAMETERS: &Vocabulary = &[
    ("q", Parameter::Query),
    ("from", Parameter::Start),
    ("to", Parameter::End),
];

/// Reads the query string.
///
/// # Errors
/// [`RequestError`] names the offender.
pub fn read(query: &str, bound: RangeBound) -> Result<Selection, RequestError> {
    Selection::read(&mut Given::in_query_string(PARAMETERS, query)?, bound)
}

/// The search for the sample.
#[must_use]
pub fn search(selection: &Selection, engine: SearchEngine, bounded: Bounded) -> Bytes {
    bounded.hits(engine, selection, Sort::Newest, SAMPLE_EVENTS)
}

/// The fields that events have.
#[derive(Debug, Serialize, ToSchema)]
pub struct Fields {
    /// Those that most of the sample have first.
    fields: Vec<FieldFound>,
    /// How many events were looked at: the newest of those that match, 500 at most.
    sampled: usize,
    /// Whether events may be missing.
    partial: bool,
    /// Why; empty unless `partial`.
    partial_reasons: Vec<Partial>,
}

/// A field that events have.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldFound {
    /// Its path.
    #[schema(example = "metadata.parentResourceId")]
    name: String,
    /// What its values are.
    r#type: FieldType,
    /// How many events of the sample have it.
    count: usize,
}

/// What the values of a field are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum FieldType {
    /// Moments.
    Date,
    /// A text whose words are found.
    Text,
    /// Texts, found as a whole.
    Keyword,
    /// Numbers.
    Number,
    /// `true` or `false`.
    Boolean,
    /// In `metadata`: any value, found as a text.
    Flattened,
}

/// The reply.
#[must_use]
pub fn reply(found: &Found<'_>, partial: Vec<Partial>) -> Fields {
    let mut counts: BTreeMap<String, (FieldType, usize)> = BTreeMap::new();
    let events = found.hits().filter_map(|hit| hit.event.map(RawValue::get));
    for event in events {
        let leaves = Leaves::of(event.as_bytes());
        let mut last = BTreeMap::new();
        for (path, leaf) in leaves.all() {
            last.entry(path).or_insert_with(|| field_type(path, leaf));
        }
        for (path, found) in last {
            let (_, count) = counts.entry(path.to_owned()).or_insert((found, 0));
            *count += 1;
        }
    }
    let field = |(name, (r#type, count))| FieldFound {
        name,
        r#type,
        count,
    };
    let mut fields: Vec<FieldFound> = counts.into_iter().map(field).collect();
    fields.sort_by_key(|field| std::cmp::Reverse(field.count));
    fields.truncate(FIELDS_MAX);
    Fields {
        fields,
        sampled: found.hits().len(),
        partial: !partial.is_empty(),
        partial_reasons: partial,
    }
}

fn field_type(path: &str, leaf: &Leaf<'_>) -> FieldType {
    match Field::new(path).kind {
        Kind::Moment => FieldType::Date,
        Kind::Words => FieldType::Text,
        Kind::Level | Kind::Exact => FieldType::Keyword,
        Kind::Metadata => FieldType::Flattened,
        Kind::Dynamic => match leaf {
            Leaf::Text(_) => FieldType::Keyword,
            Leaf::Number(_) => FieldType::Number,
            Leaf::Boolean(_) => FieldType::Boolean,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_event_counts_once_for_each_of_its_fields() {
        let found = br#"{"took":1,"timed_out":false,"_shards":{"total":2,"failed":0},"hits":{"hits":[
            {"_index":"i","_id":"1","_source":{"message":"a","status":500,"tags":["x","y"],"metadata":{"a":1}}},
            {"_index":"i","_id":"2","_source":{"message":"b","timestamp":"2023-09-15T08:00:00Z","n":null,"ok":true}}]}}"#;
        let fields = reply(&Found::read(found).unwrap(), Vec::new());
        expect_test::expect![[r#"{"fields":[{"name":"message","type":"text","count":2},{"name":"metadata.a","type":"flattened","count":1},{"name":"ok","type":"boolean","count":1},{"name":"status","type":"number","count":1},{"name":"tags","type":"keyword","count":1},{"name":"timestamp","type":"date","count":1}],"sampled":2,"partial":false,"partial_reasons":[]}"#]]
            .assert_eq(&serde_json::to_string(&fields).unwrap());
    }
}
