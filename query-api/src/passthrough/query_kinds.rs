//! The kinds of query that are passed on, each with its members.
//!
//! In the flow: `grammar` → **`query_kinds`**.
//! Left out on purpose: what runs a script (`script`, `script_score`, `function_score`), what reads
//! another index or document (`terms` with a lookup, `more_like_this`, `percolate`, `geo_shape`,
//! `knn`), and what brings hits of its own (`inner_hits`).

use super::grammar::{Member, Shape};

/// Every kind, and what stands behind its name.
pub(super) const KINDS: &[Member] = &[
    ("bool", Shape::Members(BOOL)),
    ("query_string", Shape::Members(QUERY_STRING)),
    ("simple_query_string", Shape::Members(QUERY_STRING)),
    ("range", Shape::Field(RANGE)),
    ("term", Shape::Field(TERM)),
    ("terms", Shape::TermLists),
    ("match", Shape::Field(MATCH)),
    ("match_phrase", Shape::Field(MATCH)),
    ("match_phrase_prefix", Shape::Field(MATCH)),
    ("match_bool_prefix", Shape::Field(MATCH)),
    ("multi_match", Shape::Members(MULTI_MATCH)),
    ("match_all", Shape::Members(PLAIN)),
    ("match_none", Shape::Members(PLAIN)),
    ("exists", Shape::Members(EXISTS)),
    ("ids", Shape::Members(IDS)),
    ("prefix", Shape::Field(PREFIX)),
    ("wildcard", Shape::Field(WILDCARD)),
    ("constant_score", Shape::Members(CONSTANT_SCORE)),
    ("nested", Shape::Members(NESTED)),
];

const PLAIN: &[Member] = &[("boost", Shape::Scalar), ("_name", Shape::Scalar)];

const BOOL: &[Member] = &[
    ("must", Shape::Queries),
    ("filter", Shape::Queries),
    ("should", Shape::Queries),
    ("must_not", Shape::Queries),
    ("minimum_should_match", Shape::Scalar),
    ("adjust_pure_negative", Shape::Scalar),
    ("boost", Shape::Scalar),
    ("_name", Shape::Scalar),
];

/// Without `max_determinized_states`, which lifts the bound for regular expressions.
const QUERY_STRING: &[Member] = &[
    ("query", Shape::Scalar),
    ("analyze_wildcard", Shape::Scalar),
    ("default_field", Shape::Scalar),
    ("fields", Shape::Scalars),
    ("default_operator", Shape::Scalar),
    ("allow_leading_wildcard", Shape::Scalar),
    ("lenient", Shape::Scalar),
    ("analyzer", Shape::Scalar),
    ("quote_analyzer", Shape::Scalar),
    ("quote_field_suffix", Shape::Scalar),
    ("phrase_slop", Shape::Scalar),
    ("fuzziness", Shape::Scalar),
    ("flags", Shape::Scalar),
    ("type", Shape::Scalar),
    ("tie_breaker", Shape::Scalar),
    ("minimum_should_match", Shape::Scalar),
    ("time_zone", Shape::Scalar),
    ("boost", Shape::Scalar),
    ("_name", Shape::Scalar),
];

/// With the old names that Grafana's annotations use.
const RANGE: &[Member] = &[
    ("gte", Shape::Scalar),
    ("gt", Shape::Scalar),
    ("lte", Shape::Scalar),
    ("lt", Shape::Scalar),
    ("from", Shape::Scalar),
    ("to", Shape::Scalar),
    ("include_lower", Shape::Scalar),
    ("include_upper", Shape::Scalar),
    ("format", Shape::Scalar),
    ("time_zone", Shape::Scalar),
    ("relation", Shape::Scalar),
    ("boost", Shape::Scalar),
    ("_name", Shape::Scalar),
];

const TERM: &[Member] = &[
    ("value", Shape::Scalar),
    ("case_insensitive", Shape::Scalar),
    ("boost", Shape::Scalar),
    ("_name", Shape::Scalar),
];

const MATCH: &[Member] = &[
    ("query", Shape::Scalar),
    ("operator", Shape::Scalar),
    ("minimum_should_match", Shape::Scalar),
    ("slop", Shape::Scalar),
    ("fuzziness", Shape::Scalar),
    ("lenient", Shape::Scalar),
    ("analyzer", Shape::Scalar),
    ("zero_terms_query", Shape::Scalar),
    ("boost", Shape::Scalar),
    ("_name", Shape::Scalar),
];

const MULTI_MATCH: &[Member] = &[
    ("query", Shape::Scalar),
    ("fields", Shape::Scalars),
    ("type", Shape::Scalar),
    ("operator", Shape::Scalar),
    ("minimum_should_match", Shape::Scalar),
    ("slop", Shape::Scalar),
    ("lenient", Shape::Scalar),
    ("boost", Shape::Scalar),
    ("_name", Shape::Scalar),
];

const EXISTS: &[Member] = &[
    ("field", Shape::Scalar),
    ("boost", Shape::Scalar),
    ("_name", Shape::Scalar),
];

const IDS: &[Member] = &[
    ("values", Shape::Scalars),
    ("boost", Shape::Scalar),
    ("_name", Shape::Scalar),
];

const PREFIX: &[Member] = TERM;

const WILDCARD: &[Member] = &[
    ("value", Shape::Scalar),
    ("wildcard", Shape::Scalar),
    ("case_insensitive", Shape::Scalar),
    ("boost", Shape::Scalar),
    ("_name", Shape::Scalar),
];

const CONSTANT_SCORE: &[Member] = &[
    ("filter", Shape::Query),
    ("boost", Shape::Scalar),
    ("_name", Shape::Scalar),
];

const NESTED: &[Member] = &[
    ("path", Shape::Scalar),
    ("query", Shape::Query),
    ("score_mode", Shape::Scalar),
    ("ignore_unmapped", Shape::Scalar),
    ("boost", Shape::Scalar),
    ("_name", Shape::Scalar),
];
