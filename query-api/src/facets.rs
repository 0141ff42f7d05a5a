//! Which values a field has, and how often.
//!
//! In the flow: `selection` → **`facets`** → `searcher` → **`facets`** → `routes`.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use service::search_engine::SearchEngine;
use utoipa::ToSchema;

use crate::elasticsearch::SearchError;
use crate::es_query::Bounded;
use crate::parameters::{Given, Parameter, RangeBound, RequestError, Vocabulary, invalid};
use crate::query::field::{Field, Kind};
use crate::query::pattern::{Pattern, Place};
use crate::query::tree::Query;
use crate::search_response::{Found, Partial};
use crate::selection::Selection;

/// The most values that are told, and how many if a request does not say.
pub const VALUES_MAX: u32 = 100;
const VALUES_DEFAULT: u32 = 10;
/// Each shard tells so many more than asked for, so that few counts are too low.
const SHARD_VALUES_MORE: u32 = 100;

/// What to count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FacetsRequest {
    /// Which events; those with a value that begins with [`FacetsRequest::prefix`].
    pub selection: Selection,
    /// Whose values.
    pub field: Field,
    /// How the values begin, in lower case for a level.
    pub prefix: String,
    /// At most so many values, 1 to [`VALUES_MAX`].
    pub limit: u32,
}

pub(crate) const PARAMETERS: &Vocabulary = &[
    ("field", Parameter::Field),
    ("q", Parameter::Query),
    ("from", Parameter::Start),
    ("to", Parameter::End),
    ("prefix", Parameter::Prefix),
    ("size", Parameter::Limit),
];

impl FacetsRequest {
    /// Reads the query string.
    ///
    /// # Errors
    /// [`RequestError`] names the offender.
    pub fn read(query: &str, bound: RangeBound) -> Result<Self, RequestError> {
        let mut given = Given::in_query_string(PARAMETERS, query)?;
        let field = given.filter(Parameter::Field)?;
        let field =
            field.ok_or_else(|| invalid("field", "is missing; name one, such as `level`"))?;
        let field = Field::new(&field);
        match field.kind {
            Kind::Words => {
                return Err(invalid(
                    "field",
                    "`message` is a text, whose values are not counted",
                ));
            }
            Kind::Moment => {
                let reason = "moments are counted by `/api/v1/histogram`";
                return Err(invalid("field", reason));
            }
            Kind::Metadata if field.key_in_metadata().is_none() => {
                let reason = "name a field in `metadata`, such as `metadata.parentResourceId`";
                return Err(invalid("field", reason));
            }
            Kind::Level | Kind::Exact | Kind::Metadata | Kind::Dynamic => {}
        }
        let prefix = given.filter(Parameter::Prefix)?.unwrap_or_default();
        let limit = given.whole_number(Parameter::Limit, VALUES_DEFAULT, 1..=VALUES_MAX)?;
        let mut selection = Selection::read(&mut given, bound)?;
        let begins = begins_with(&prefix);
        let prefix = match field.kind {
            Kind::Level => prefix.to_lowercase(),
            _ => prefix,
        };
        if !prefix.is_empty() {
            let begins = match field.kind {
                Kind::Level => begins.to_lower_case(),
                _ => begins,
            };
            selection.query =
                Query::all_of(vec![selection.query, Query::Like(field.clone(), begins)]);
        }
        Ok(Self {
            selection,
            field,
            prefix,
            limit,
        })
    }

    /// The search that tells the values.
    #[must_use]
    pub fn search(&self, engine: SearchEngine, bounded: Bounded) -> Bytes {
        let size = if self.prefix.is_empty() {
            self.limit
        } else {
            VALUES_MAX
        };
        bounded.aggregations(
            engine,
            &self.selection,
            &json!({
                "values": { "terms": {
                    "field": self.field.path,
                    "shard_size": size + SHARD_VALUES_MORE,
                    "size": size,
                }},
                "without": { "missing": { "field": self.field.path } },
            }),
        )
    }

    /// The reply.
    ///
    /// # Errors
    /// [`SearchError::Unreadable`].
    pub fn reply(self, found: &Found<'_>, partial: Vec<Partial>) -> Result<Facets, SearchError> {
        #[derive(Deserialize)]
        struct Aggregations {
            values: Values,
            without: Without,
        }
        #[derive(Deserialize)]
        struct Values {
            buckets: Vec<Bucket>,
            sum_other_doc_count: u64,
            // Numbers are told without it.
            #[serde(default)]
            doc_count_error_upper_bound: u64,
        }
        #[derive(Deserialize)]
        struct Bucket {
            key: Value,
            key_as_string: Option<String>,
            doc_count: u64,
        }
        #[derive(Deserialize)]
        struct Without {
            doc_count: u64,
        }
        let aggregations: Option<Aggregations> = found.read_aggregations()?;
        let (values, without) = match aggregations {
            Some(found) => (Some(found.values), found.without.doc_count),
            None => (None, 0),
        };
        let others = values
            .as_ref()
            .map_or(0, |values| values.sum_other_doc_count);
        let count_error_max = values
            .as_ref()
            .map_or(0, |values| values.doc_count_error_upper_bound);
        let buckets = values.map_or_else(Vec::new, |values| values.buckets);
        let values = buckets.into_iter().map(|bucket| FacetValue {
            value: bucket.key_as_string.unwrap_or_else(|| as_text(&bucket.key)),
            count: bucket.doc_count,
        });
        // An event may have several values, of which one begins so.
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
        let values = values
            .filter(|found| found.value.starts_with(&self.prefix))
            .take(limit);
        Ok(Facets {
            values: values.collect(),
            field: self.field.path,
            others,
            without,
            count_error_max,
            partial: !partial.is_empty(),
            partial_reasons: partial,
        })
    }
}

fn begins_with(prefix: &str) -> Pattern {
    let literal = prefix.chars().map(Place::Literal);
    Pattern::new(literal.chain([Place::Many]))
}

/// A double without the fraction that it does not have, as a query spells it.
fn as_text(key: &Value) -> String {
    match key {
        Value::String(text) => text.clone(),
        Value::Number(number) => match number.as_f64() {
            Some(double) => double.to_string(),
            None => number.to_string(),
        },
        other => other.to_string(),
    }
}

/// The values of a field.
#[derive(Debug, Serialize, ToSchema)]
pub struct Facets {
    /// The field.
    #[schema(example = "level")]
    field: String,
    /// The most frequent first.
    values: Vec<FacetValue>,
    /// How many events have rarer values. With a `prefix`, of any beginning.
    others: u64,
    /// How many events have no value.
    without: u64,
    /// By how much a count may be too low, since each shard tells only its most frequent values.
    count_error_max: u64,
    /// Whether events may be missing.
    partial: bool,
    /// Why; empty unless `partial`.
    partial_reasons: Vec<Partial>,
}

/// A value and how many events have it.
#[derive(Debug, Serialize, ToSchema)]
pub struct FacetValue {
    /// As a query spells it; a level in lower case.
    #[schema(example = "error")]
    value: String,
    /// How many events.
    count: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};
    use log_event::timestamp::Timestamp;

    fn read(query: &str) -> Result<FacetsRequest, RequestError> {
        let now = Timestamp::from_nanos(0).unwrap();
        FacetsRequest::read(query, RangeBound { max: None, now })
    }

    #[track_caller]
    fn check(query: &str, aggregations: &str, expected: Expect) {
        let found = format!(
            r#"{{"took":1,"timed_out":false,"_shards":{{"total":2,"failed":0}},"hits":{{"hits":[]}}{aggregations}}}"#
        );
        let found = Found::read(found.as_bytes()).unwrap();
        let facets = read(query).unwrap().reply(&found, Vec::new()).unwrap();
        expected.assert_eq(&serde_json::to_string(&facets).unwrap());
    }

    #[test]
    fn values_are_told_as_a_query_spells_them() {
        check(
            "field=status",
            r#","aggregations":{"without":{"doc_count":3},"values":{"sum_other_doc_count":1,"buckets":[
                {"key":500.0,"doc_count":9},{"key":-0.5,"doc_count":2},{"key":1,"key_as_string":"true","doc_count":1}]}}"#,
            expect![[
                r#"{"field":"status","values":[{"value":"500","count":9},{"value":"-0.5","count":2},{"value":"true","count":1}],"others":1,"without":3,"count_error_max":0,"partial":false,"partial_reasons":[]}"#
            ]],
        );
        check(
            "field=level&prefix=E&size=1",
            r#","aggregations":{"without":{"doc_count":0},"values":{"sum_other_doc_count":0,"doc_count_error_upper_bound":2,"buckets":[
                {"key":"info","doc_count":9},{"key":"error","doc_count":2},{"key":"emerg","doc_count":1}]}}"#,
            expect![[
                r#"{"field":"level","values":[{"value":"error","count":2}],"others":0,"without":0,"count_error_max":2,"partial":false,"partial_reasons":[]}"#
            ]],
        );
        check(
            "field=level",
            "",
            expect![[
                r#"{"field":"level","values":[],"others":0,"without":0,"count_error_max":0,"partial":false,"partial_reasons":[]}"#
            ]],
        );
    }

    #[test]
    fn what_has_no_values_to_count_is_refused() {
        for (query, reason) in [
            ("", "is missing"),
            ("field=message", "is a text"),
            ("field=timestamp", "/api/v1/histogram"),
            ("field=metadata", "metadata.parentResourceId"),
            ("field=level&size=101", "from 1 to 100"),
        ] {
            let error = read(query).unwrap_err().to_string();
            assert!(error.contains(reason), "{query}: {error}");
        }
    }

    #[test]
    fn a_prefix_selects_events_too() {
        let request = read("field=level&prefix=ER&q=a").unwrap();
        let Query::And(parts) = &request.selection.query else {
            panic!("{request:?}");
        };
        assert_eq!(
            parts[1],
            Query::Like(Field::new("level"), begins_with("er"))
        );
    }
}
