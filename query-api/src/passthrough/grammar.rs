//! Holds JSON against tables of what is passed on: a name that no table has is refused.
//!
//! In the flow: `json` → **`grammar`** → `query_kinds`, `aggregation_kinds`. Upholds QA-1.
//! Not here: the tables, and whether Elasticsearch understands what is within them. It says so itself.

use std::fmt::{self, Write as _};

use super::aggregation_kinds::{self, AGGREGATIONS_MAX, DEPTH_MAX};
use super::json::Json;
use super::query_kinds;
use crate::error::{Code, Problem};

/// A name and what may stand behind it.
pub(super) type Member = (&'static str, Shape);

/// What may stand at a place.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shape {
    /// Anything but [`SCRIPTS`]: the name alone decides.
    Any,
    /// No array and no object.
    Scalar,
    /// An array of scalars.
    Scalars,
    /// A whole number up to this.
    Whole(u64),
    /// An object without members.
    Empty,
    /// An object of these members and no others.
    Members(&'static [Member]),
    /// An object of any names, each with these members.
    Named(&'static [Member]),
    /// An object with one field: a scalar, or an object of these members.
    Field(&'static [Member]),
    /// Fields with arrays of scalars; what else stands there would be read from another index.
    TermLists,
    /// A query.
    Query,
    /// A query, or an array of queries.
    Queries,
    /// An array of queries, or an object of names and queries.
    NamedQueries,
    /// A field, or fields, to sort by.
    Sort,
    /// An object of names and aggregations.
    Aggregations,
}

/// What stands for a script, or for fields that are computed by one: nowhere, not even as a field's name.
const SCRIPTS: &[&str] = &[
    "script",
    "_script",
    "scripts",
    "script_fields",
    "script_score",
    "runtime_mappings",
    "scripted_metric",
    "bucket_script",
    "bucket_selector",
    "moving_fn",
    "minimum_should_match_script",
];

/// How one field sorts.
const SORT_MEMBERS: &[Member] = &[
    ("order", Shape::Scalar),
    ("unmapped_type", Shape::Scalar),
    ("missing", Shape::Scalar),
    ("mode", Shape::Scalar),
    ("numeric_type", Shape::Scalar),
    ("format", Shape::Scalar),
];

/// A place in a body, for the one who has to find it.
#[derive(Clone, Copy, Debug)]
pub(super) struct At<'a> {
    parent: Option<&'a At<'a>>,
    name: &'a str,
}

impl<'a> At<'a> {
    pub(super) fn top(name: &'a str) -> Self {
        Self { parent: None, name }
    }

    fn below(&'a self, name: &'a str) -> At<'a> {
        At {
            parent: Some(self),
            name,
        }
    }
}

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            write!(f, "{parent}.")?;
        }
        // A client may choose names as long as its body.
        let mut name = self.name.chars().take(64);
        name.try_for_each(|letter| f.write_char(letter))
    }
}

/// Refuses scripts at any depth.
///
/// # Errors
/// [`Code::NotAllowed`] with the first of them.
pub(super) fn without_scripts(json: &Json, at: At<'_>) -> Result<(), Problem> {
    match json {
        Json::Object(members) => members.iter().try_for_each(|(name, value)| {
            let at = at.below(name);
            if SCRIPTS.contains(&name.as_str()) {
                return Err(not_allowed(&format!(
                    "`{at}`: scripts are not passed on, nor is anything else of this name; compute it in Grafana by an expression or a transformation, and search a field of this name by a `query_string`"
                )));
            }
            without_scripts(value, at)
        }),
        Json::Array(items) => items.iter().try_for_each(|item| without_scripts(item, at)),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::Text(_) => Ok(()),
    }
}

/// Checks one body, and counts its aggregations on the way.
#[derive(Debug, Default)]
pub(super) struct Checker {
    aggregations: u32,
    depth: u32,
}

impl Checker {
    /// Whether `json` has the shape.
    ///
    /// # Errors
    /// [`Code::NotAllowed`] for a name that is not passed on or a bound that is exceeded,
    /// [`Code::InvalidParameter`] for what cannot be meant.
    pub(super) fn check(&mut self, json: &Json, shape: Shape, at: At<'_>) -> Result<(), Problem> {
        match shape {
            Shape::Any => Ok(()),
            Shape::Scalar if json.is_scalar() => Ok(()),
            Shape::Scalar => Err(invalid(at, "must be a single value")),
            Shape::Scalars => match json {
                Json::Array(items) if items.iter().all(Json::is_scalar) => Ok(()),
                _ => Err(invalid(at, "must be an array of single values")),
            },
            Shape::Whole(max) => match json.as_whole() {
                Some(number) if number <= max => Ok(()),
                Some(_) => Err(not_allowed(&format!("`{at}` can be {max} at most"))),
                None => Err(invalid(at, "must be a whole number from 0 on")),
            },
            Shape::Empty => match json {
                Json::Object(members) if members.is_empty() => Ok(()),
                _ => Err(not_allowed(&format!("`{at}` can only be empty"))),
            },
            Shape::Members(table) => self.members(json, table, at),
            Shape::Named(table) => object(json, at)?
                .iter()
                .try_for_each(|(name, value)| self.members(value, table, at.below(name))),
            Shape::Field(table) => self.field(json, table, at),
            Shape::TermLists => self.term_lists(json, at),
            Shape::Query => self.query(json, at),
            Shape::Queries => match json {
                Json::Array(items) => items.iter().try_for_each(|item| self.query(item, at)),
                _ => self.query(json, at),
            },
            Shape::NamedQueries => match json {
                Json::Array(items) => items.iter().try_for_each(|item| self.query(item, at)),
                _ => object(json, at)?
                    .iter()
                    .try_for_each(|(name, value)| self.query(value, at.below(name))),
            },
            Shape::Sort => self.sort(json, at),
            Shape::Aggregations => self.aggregations(json, at),
        }
    }

    fn members(&mut self, json: &Json, table: &[Member], at: At<'_>) -> Result<(), Problem> {
        object(json, at)?.iter().try_for_each(|(name, value)| {
            match table.iter().find(|(known, _)| known == name) {
                Some((_, shape)) => self.check(value, *shape, at.below(name)),
                None => {
                    let at = at.below(name);
                    Err(unknown(at, "is not passed on", table))
                }
            }
        })
    }

    fn field(&mut self, json: &Json, table: &[Member], at: At<'_>) -> Result<(), Problem> {
        match object(json, at)? {
            [(_, value)] if value.is_scalar() => Ok(()),
            [(name, value)] => self.members(value, table, at.below(name)),
            _ => Err(invalid(at, "must name one field")),
        }
    }

    fn term_lists(&mut self, json: &Json, at: At<'_>) -> Result<(), Problem> {
        object(json, at)?.iter().try_for_each(|(name, value)| {
            let at = at.below(name);
            match value {
                Json::Object(_) => Err(not_allowed(&format!(
                    "`{at}`: terms are not looked up in another document; send them in an array"
                ))),
                _ if matches!(name.as_str(), "boost" | "_name") => {
                    self.check(value, Shape::Scalar, at)
                }
                _ => self.check(value, Shape::Scalars, at),
            }
        })
    }

    fn query(&mut self, json: &Json, at: At<'_>) -> Result<(), Problem> {
        let [(kind, value)] = object(json, at)? else {
            return Err(invalid(at, "must be an object with one kind of query"));
        };
        let at = at.below(kind);
        match query_kinds::KINDS.iter().find(|(known, _)| known == kind) {
            Some((_, shape)) => self.check(value, *shape, at),
            None => Err(unknown(
                at,
                "is no query that is passed on",
                query_kinds::KINDS,
            )),
        }
    }

    fn sort(&mut self, json: &Json, at: At<'_>) -> Result<(), Problem> {
        match json {
            Json::Array(items) => items.iter().try_for_each(|item| match item {
                Json::Array(_) => Err(invalid(at, "must not hold arrays in an array")),
                _ => self.sort(item, at),
            }),
            Json::Object(members) => members.iter().try_for_each(|(name, value)| {
                let at = at.below(name);
                match value {
                    Json::Text(_) => Ok(()),
                    _ => self.members(value, SORT_MEMBERS, at),
                }
            }),
            Json::Text(_) => Ok(()),
            Json::Null | Json::Bool(_) | Json::Number(_) => {
                Err(invalid(at, "must name the fields to sort by"))
            }
        }
    }

    fn aggregations(&mut self, json: &Json, at: At<'_>) -> Result<(), Problem> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(not_allowed(&format!(
                "`{at}`: aggregations can be nested {DEPTH_MAX} deep at most"
            )));
        }
        for (name, aggregation) in object(json, at)? {
            self.aggregations += 1;
            if self.aggregations > AGGREGATIONS_MAX {
                return Err(not_allowed(&format!(
                    "`{at}`: a search can have {AGGREGATIONS_MAX} aggregations at most"
                )));
            }
            self.aggregation(aggregation, at.below(name))?;
        }
        self.depth -= 1;
        Ok(())
    }

    fn aggregation(&mut self, json: &Json, at: At<'_>) -> Result<(), Problem> {
        for (name, value) in object(json, at)? {
            let at = at.below(name);
            let kinds = aggregation_kinds::KINDS;
            match (name.as_str(), kinds.iter().find(|(known, _)| known == name)) {
                ("aggs" | "aggregations", _) => self.aggregations(value, at)?,
                ("meta", _) => {}
                (_, Some((_, shape))) => self.check(value, *shape, at)?,
                (_, None) => {
                    return Err(unknown(at, "is no aggregation that is passed on", kinds));
                }
            }
        }
        Ok(())
    }
}

fn object<'j>(json: &'j Json, at: At<'_>) -> Result<&'j [(String, Json)], Problem> {
    match json {
        Json::Object(members) => Ok(members),
        _ => Err(invalid(at, "must be an object")),
    }
}

fn unknown(at: At<'_>, what: &str, table: &[Member]) -> Problem {
    let known: Vec<&str> = table.iter().map(|(name, _)| *name).collect();
    not_allowed(&format!("`{at}` {what}; there are {}", known.join(", ")))
}

fn invalid(at: At<'_>, what: &str) -> Problem {
    Problem::new(Code::InvalidParameter, format!("`{at}` {what}"))
}

pub(super) fn not_allowed(detail: &str) -> Problem {
    Problem::new(Code::NotAllowed, detail)
}
