//! What can be compared: moments, levels by their severity, and numbers in
//! fields of their own.
//!
//! In the flow: `query::parser` → **`query::parser::comparison`** → `query::tree`.

use log_event::timestamp::Timestamp;

use crate::query::field::{Field, Kind, levels_in, severity};
use crate::query::parser::QueryError;
use crate::query::parser::scanner::{Comparison, Range, Value};
use crate::query::tree::{Bound, NumberRange, Query, parse_double};
use crate::query_date::{ReadDate, first_moment, last_moment};
use crate::selection::TimeRange;

/// One end: a value, and whether it belongs to the range.
type End<'a> = Option<(&'a Value, bool)>;

/// The moment or the day that a text names.
pub(super) fn at(value: &Value, text: &str, now: Timestamp) -> Result<Query, QueryError> {
    let moment = |read: ReadDate| read(text, now).map_err(|error| value.error(error.to_string()));
    Ok(Query::During(TimeRange {
        start: Some(moment(first_moment)?),
        end: Some(moment(last_moment)?),
    }))
}

pub(super) fn compared(
    field: &Field,
    comparison: Comparison,
    value: &Value,
    now: Timestamp,
) -> Result<Query, QueryError> {
    let end = Some((value, comparison.or_equal));
    if comparison.greater {
        between(field, end, None, now)
    } else {
        between(field, None, end, now)
    }
}

pub(super) fn range(field: &Field, range: &Range, now: Timestamp) -> Result<Query, QueryError> {
    let (low, high) = (&range.low, &range.high);
    let open = |value: &Value| value.pattern.is_anything();
    if open(&low.0) && open(&high.0) {
        return Ok(Query::Exists(field.clone()));
    }
    let low = (!open(&low.0)).then_some((&low.0, low.1));
    let high = (!open(&high.0)).then_some((&high.0, high.1));
    between(field, low, high, now)
}

/// At least one end is not open.
fn between(
    field: &Field,
    low: End<'_>,
    high: End<'_>,
    now: Timestamp,
) -> Result<Query, QueryError> {
    let refused = |reason: String| match low.or(high) {
        Some((value, _)) => value.error(reason),
        None => QueryError { column: 1, reason },
    };
    match field.kind {
        Kind::Moment => during(low, high, now),
        Kind::Level => levels(field, low, high),
        Kind::Dynamic => {
            let low = low.map(bound).transpose()?;
            let high = high.map(bound).transpose()?;
            Ok(Query::Between(field.clone(), NumberRange { low, high }))
        }
        Kind::Metadata => Err(refused(
            "`metadata` keeps texts, which have no order of numbers; send the number in a field of its own".to_owned(),
        )),
        Kind::Words | Kind::Exact => Err(refused(format!(
            "`{}` is a text and has no order; to search for `<` or `>`, write it in quotes",
            field.path
        ))),
    }
}

fn text_of(value: &Value) -> Result<String, QueryError> {
    let no_wildcards = || value.error("what is compared has no wildcards");
    value.pattern.as_text().ok_or_else(no_wildcards)
}

fn bound((value, inclusive): (&Value, bool)) -> Result<Bound, QueryError> {
    let number = text_of(value)?;
    if parse_double(&number).is_none() {
        let reason = format!(
            "`{}` is no number, and only numbers are compared; to search for the text, write all of it in quotes",
            value.shown
        );
        return Err(value.error(reason));
    }
    Ok(Bound { number, inclusive })
}

/// A day lies in a range with all of its moments, or with none.
fn during(low: End<'_>, high: End<'_>, now: Timestamp) -> Result<Query, QueryError> {
    let read = |value: &Value, read: ReadDate, step: i64| {
        let moment: Timestamp =
            read(&text_of(value)?, now).map_err(|error| value.error(error.to_string()))?;
        let moved = moment
            .nanos()
            .checked_add(step)
            .and_then(Timestamp::from_nanos);
        moved.ok_or_else(|| value.error("nothing lies beyond this moment"))
    };
    let start = low.map(|(value, inclusive)| match inclusive {
        true => read(value, first_moment, 0),
        false => read(value, last_moment, 1),
    });
    let end = high.map(|(value, inclusive)| match inclusive {
        true => read(value, last_moment, 0),
        false => read(value, first_moment, -1),
    });
    Ok(Query::During(TimeRange {
        start: start.transpose()?,
        end: end.transpose()?,
    }))
}

fn levels(field: &Field, low: End<'_>, high: End<'_>) -> Result<Query, QueryError> {
    let place = |(value, inclusive): (&Value, bool)| {
        let level = text_of(value)?;
        match severity(&level) {
            Some(severity) => Ok((severity, inclusive)),
            None => Err(value.error(format!(
                "`{}` has no place among the severities trace, debug, info, notice, warn, error, critical, alert, emergency",
                value.shown
            ))),
        }
    };
    let low = low.map(place).transpose()?;
    let high = high.map(place).transpose()?;
    let inside = move |severity: usize| {
        low.is_none_or(|(low, inclusive)| severity > low || inclusive && severity == low)
            && high.is_none_or(|(high, inclusive)| severity < high || inclusive && severity == high)
    };
    let equal = |level: &str| Query::Equals(field.clone(), level.to_owned());
    let levels: Vec<Query> = levels_in(inside).map(equal).collect();
    if levels.is_empty() {
        return Ok(Query::Not(Box::new(Query::All)));
    }
    Ok(Query::Or(levels))
}
