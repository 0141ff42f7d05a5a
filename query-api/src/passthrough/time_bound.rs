//! Holds a query against the longest time range that the operator allows.
//!
//! In the flow: `search_body` → **`time_bound`**. Upholds QA-1.
//! Only with `--max-time-range`. A query is within it if every event that it could find lies in a range
//! on `timestamp` of that length; a range is read in the one spelling that Grafana sends.

use super::json::Json;
use crate::error::{Code, Problem};
use crate::parameters::RangeBound;

/// The field that every event is found by in time.
const TIME_FIELD: &str = "timestamp";

/// Whether the query is bounded as the operator wants it.
///
/// # Errors
/// [`Code::TimeRangeTooLong`] with the way out.
pub(super) fn check(query: Option<&Json>, bound: RangeBound) -> Result<(), Problem> {
    let Some(max) = bound.max else {
        return Ok(());
    };
    let max = i64::try_from(max.as_millis()).unwrap_or(i64::MAX);
    let now = bound.now.millis();
    if query.is_some_and(|query| is_bounded(query, max, now)) {
        return Ok(());
    }
    Err(Problem::new(
        Code::TimeRangeTooLong,
        format!(
            "a search must be filtered by a `range` on `{TIME_FIELD}` with `gte`, `lte` and the format `epoch_millis` that is at most {} seconds long (`--max-time-range`); choose a shorter time range, and `{TIME_FIELD}` as the time field",
            max / 1_000
        ),
    ))
}

fn is_bounded(query: &Json, max: i64, now: i64) -> bool {
    if let Some(range) = query.get("range").and_then(|range| range.get(TIME_FIELD)) {
        return is_short(range, max, now);
    }
    if let Some(filtered) = query.get("constant_score") {
        return filtered
            .get("filter")
            .is_some_and(|filter| is_bounded(filter, max, now));
    }
    let Some(clauses) = query.get("bool") else {
        return false;
    };
    let list = |name: &str| match clauses.get(name) {
        Some(Json::Array(items)) => items.iter().collect(),
        Some(one) => vec![one],
        None => Vec::new(),
    };
    let required = [list("filter"), list("must")].concat();
    let one_of = list("should");
    let minimum = clauses.get("minimum_should_match");
    let one_is_needed = match minimum {
        None => required.is_empty(),
        Some(minimum) => minimum.as_whole().is_some_and(|minimum| minimum > 0),
    };
    required.iter().any(|query| is_bounded(query, max, now))
        || (one_is_needed
            && !one_of.is_empty()
            && one_of.iter().all(|query| is_bounded(query, max, now)))
}

/// A range without an end is held to end now, as in `search_request`.
fn is_short(range: &Json, max: i64, now: i64) -> bool {
    let is_millis =
        matches!(range.get("format"), Some(Json::Text(format)) if format == "epoch_millis");
    let moment = |names: [&str; 3]| {
        let mut given = names.iter().filter_map(|name| range.get(name));
        let moment = given.next()?.as_whole()?;
        // Two bounds at one end: which of them counts is Elasticsearch's to say.
        given
            .next()
            .is_none()
            .then(|| i64::try_from(moment).ok())
            .flatten()
    };
    let has_end = ["lte", "lt", "to"]
        .iter()
        .any(|name| range.get(name).is_some());
    let start = moment(["gte", "gt", "from"]);
    let end = if has_end {
        moment(["lte", "lt", "to"])
    } else {
        Some(now)
    };
    match (is_millis, start, end) {
        (true, Some(start), Some(end)) => end.saturating_sub(start) <= max,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use log_event::timestamp::Timestamp;
    use std::time::Duration;

    fn is_allowed(query: &str) -> bool {
        let bound = RangeBound {
            max: Some(Duration::from_secs(10)),
            now: Timestamp::from_nanos(1_000_000_000_000).unwrap(),
        };
        check(Some(&Json::read(query.as_bytes()).unwrap()), bound).is_ok()
    }

    // QA-1.
    #[test]
    fn a_query_is_bounded_if_each_way_to_a_hit_is() {
        let short =
            r#"{"range":{"timestamp":{"gte":990000,"lte":1000000,"format":"epoch_millis"}}}"#;
        let old =
            r#"{"range":{"timestamp":{"from":"990000","to":1000000,"format":"epoch_millis"}}}"#;
        let until_now = r#"{"range":{"timestamp":{"gte":990000,"format":"epoch_millis"}}}"#;
        let all = r#"{"match_all":{}}"#;
        for query in [
            short.to_owned(),
            old.to_owned(),
            until_now.to_owned(),
            format!(r#"{{"bool":{{"filter":{short}}}}}"#),
            format!(r#"{{"bool":{{"filter":[{short},{all}],"should":[{all}]}}}}"#),
            format!(r#"{{"bool":{{"must":[{all},{{"bool":{{"must":[{short}]}}}}]}}}}"#),
            format!(
                r#"{{"bool":{{"filter":[{{"bool":{{"should":[{old}],"minimum_should_match":1}}}}]}}}}"#
            ),
            format!(r#"{{"bool":{{"should":[{old},{short}]}}}}"#),
            format!(r#"{{"constant_score":{{"filter":{short}}}}}"#),
        ] {
            assert!(is_allowed(&query), "{query}");
        }
        let long =
            r#"{"range":{"timestamp":{"gte":989999,"lte":1000000,"format":"epoch_millis"}}}"#;
        for query in [
            all.to_owned(),
            long.to_owned(),
            r#"{"range":{"timestamp":{"gte":989999,"format":"epoch_millis"}}}"#.to_owned(),
            r#"{"range":{"timestamp":{"lte":1000000,"format":"epoch_millis"}}}"#.to_owned(),
            r#"{"range":{"timestamp":{"gte":990000,"lte":1000000}}}"#.to_owned(),
            r#"{"range":{"timestamp":{"gte":990000,"gt":0,"lte":1000000,"format":"epoch_millis"}}}"#.to_owned(),
            r#"{"range":{"timestamp":{"gte":990000,"lte":"now+1y","format":"epoch_millis"}}}"#.to_owned(),
            r#"{"range":{"received":{"gte":990000,"lte":1000000,"format":"epoch_millis"}}}"#.to_owned(),
            format!(r#"{{"bool":{{"must_not":[{short}]}}}}"#),
            format!(r#"{{"bool":{{"filter":[{all}],"should":[{short}]}}}}"#),
            format!(r#"{{"bool":{{"should":[{short}],"minimum_should_match":0}}}}"#),
            format!(r#"{{"bool":{{"should":[{short},{all}],"minimum_should_match":1}}}}"#),
        ] {
            assert!(!is_allowed(&query), "{query}");
        }
    }

    #[test]
    fn without_a_bound_of_the_operators_any_range_may_be_asked_for() {
        let bound = RangeBound {
            max: None,
            now: Timestamp::from_nanos(0).unwrap(),
        };
        assert_eq!(check(None, bound), Ok(()));
    }
}
