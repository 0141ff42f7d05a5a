//! The kinds of aggregation that are passed on, each with its members: those that Grafana's query
//! editor has, and few more.
//!
//! In the flow: `grammar` → **`aggregation_kinds`**. Upholds QA-1: sizes and nesting are bounded here,
//! the number of buckets by Elasticsearch itself (`search.max_buckets`, 65,536).
//! Left out on purpose: what runs a script (`scripted_metric`, `bucket_script`, `bucket_selector`,
//! `moving_fn`), and what leaves the query's documents (`global`).

use super::grammar::{Member, Shape};

/// How deep aggregations nest.
pub(super) const DEPTH_MAX: u32 = 8;
/// How many aggregations a search has, at all depths together.
pub(super) const AGGREGATIONS_MAX: u32 = 100;
/// How many terms or cells an aggregation asks for.
const BUCKETS_MAX: u64 = 10_000;
/// How many hits a bucket brings: Elasticsearch's default `index.max_inner_result_window`.
const TOP_HITS_MAX: u64 = 100;

/// Every kind, and what stands behind its name.
pub(super) const KINDS: &[Member] = &[
    ("date_histogram", Shape::Members(DATE_HISTOGRAM)),
    ("histogram", Shape::Members(HISTOGRAM)),
    ("terms", Shape::Members(TERMS)),
    ("filters", Shape::Members(FILTERS)),
    ("filter", Shape::Query),
    ("range", Shape::Members(RANGES)),
    ("date_range", Shape::Members(RANGES)),
    ("geohash_grid", Shape::Members(GEOHASH_GRID)),
    ("nested", Shape::Members(PATH)),
    ("reverse_nested", Shape::Members(PATH)),
    ("missing", Shape::Members(METRIC)),
    ("avg", Shape::Members(METRIC)),
    ("sum", Shape::Members(METRIC)),
    ("min", Shape::Members(METRIC)),
    ("max", Shape::Members(METRIC)),
    ("stats", Shape::Members(METRIC)),
    ("extended_stats", Shape::Members(METRIC)),
    ("value_count", Shape::Members(METRIC)),
    ("cardinality", Shape::Members(METRIC)),
    ("percentiles", Shape::Members(METRIC)),
    ("percentile_ranks", Shape::Members(METRIC)),
    ("rate", Shape::Members(METRIC)),
    ("top_metrics", Shape::Members(TOP_METRICS)),
    ("top_hits", Shape::Members(TOP_HITS)),
    ("derivative", Shape::Members(PIPELINE)),
    ("cumulative_sum", Shape::Members(PIPELINE)),
    ("serial_diff", Shape::Members(PIPELINE)),
    ("moving_avg", Shape::Members(PIPELINE)),
    ("avg_bucket", Shape::Members(PIPELINE)),
    ("sum_bucket", Shape::Members(PIPELINE)),
    ("min_bucket", Shape::Members(PIPELINE)),
    ("max_bucket", Shape::Members(PIPELINE)),
];

const DATE_HISTOGRAM: &[Member] = &[
    ("field", Shape::Scalar),
    ("fixed_interval", Shape::Scalar),
    ("calendar_interval", Shape::Scalar),
    ("interval", Shape::Scalar),
    ("min_doc_count", Shape::Scalar),
    ("extended_bounds", Shape::Any),
    ("hard_bounds", Shape::Any),
    ("format", Shape::Scalar),
    ("time_zone", Shape::Scalar),
    ("offset", Shape::Scalar),
    ("missing", Shape::Scalar),
    ("keyed", Shape::Scalar),
    ("order", Shape::Any),
];

const HISTOGRAM: &[Member] = &[
    ("field", Shape::Scalar),
    ("interval", Shape::Scalar),
    ("min_doc_count", Shape::Scalar),
    ("extended_bounds", Shape::Any),
    ("hard_bounds", Shape::Any),
    ("offset", Shape::Scalar),
    ("missing", Shape::Scalar),
    ("keyed", Shape::Scalar),
    ("order", Shape::Any),
];

const TERMS: &[Member] = &[
    ("field", Shape::Scalar),
    ("size", Shape::Whole(BUCKETS_MAX)),
    ("order", Shape::Any),
    ("min_doc_count", Shape::Scalar),
    ("missing", Shape::Scalar),
    ("format", Shape::Scalar),
];

const FILTERS: &[Member] = &[
    ("filters", Shape::NamedQueries),
    ("other_bucket", Shape::Scalar),
    ("other_bucket_key", Shape::Scalar),
    ("keyed", Shape::Scalar),
];

const RANGES: &[Member] = &[
    ("field", Shape::Scalar),
    ("ranges", Shape::Any),
    ("format", Shape::Scalar),
    ("time_zone", Shape::Scalar),
    ("missing", Shape::Scalar),
    ("keyed", Shape::Scalar),
];

const GEOHASH_GRID: &[Member] = &[
    ("field", Shape::Scalar),
    ("precision", Shape::Scalar),
    ("size", Shape::Whole(BUCKETS_MAX)),
];

const PATH: &[Member] = &[("path", Shape::Scalar)];

/// Grafana sends the settings of one metric with whatever the one before it had.
const METRIC: &[Member] = &[
    ("field", Shape::Scalar),
    ("missing", Shape::Scalar),
    ("format", Shape::Scalar),
    ("sigma", Shape::Scalar),
    ("precision_threshold", Shape::Scalar),
    ("percents", Shape::Scalars),
    ("values", Shape::Scalars),
    ("keyed", Shape::Scalar),
    ("unit", Shape::Scalar),
    ("mode", Shape::Scalar),
];

const TOP_METRICS: &[Member] = &[
    ("field", Shape::Scalar),
    ("metrics", Shape::Any),
    ("sort", Shape::Sort),
    ("size", Shape::Whole(TOP_HITS_MAX)),
];

const TOP_HITS: &[Member] = &[
    ("size", Shape::Whole(TOP_HITS_MAX)),
    ("from", Shape::Whole(TOP_HITS_MAX)),
    ("sort", Shape::Sort),
    ("_source", Shape::Any),
    ("fields", Shape::Any),
    ("docvalue_fields", Shape::Any),
];

const PIPELINE: &[Member] = &[
    ("buckets_path", Shape::Any),
    ("unit", Shape::Scalar),
    ("lag", Shape::Scalar),
    ("gap_policy", Shape::Scalar),
    ("format", Shape::Scalar),
    ("model", Shape::Scalar),
    ("window", Shape::Scalar),
    ("predict", Shape::Scalar),
    ("minimize", Shape::Scalar),
    ("settings", Shape::Any),
];
