//! The refusals that several operations share, for the documentation.
//!
//! In the flow: part of `openapi`.

use std::collections::BTreeMap;

use utoipa::openapi::{ContentBuilder, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{IntoResponses, ToSchema as _};

use crate::error::Body;

type Responses = BTreeMap<String, RefOr<Response>>;

/// Of what reads a query string.
pub(super) struct BadParameters;

/// Of what reads a body.
pub(super) struct BadBody;

/// Of what asks Elasticsearch.
pub(super) struct NoAnswer;

impl IntoResponses for BadParameters {
    fn responses() -> Responses {
        let bad = "A parameter is unknown, given twice or cannot be used, or `q` is no query (`column` says where).";
        BTreeMap::from([("400".to_owned(), refused(bad))])
    }
}

impl IntoResponses for BadBody {
    fn responses() -> Responses {
        BTreeMap::from([
            (
                "408".to_owned(),
                refused("The body did not arrive in time."),
            ),
            ("413".to_owned(), refused("The body is too large.")),
        ])
    }
}

impl IntoResponses for NoAnswer {
    fn responses() -> Responses {
        let away = "Too many searches, or Elasticsearch is not there; `retry-after` says when to try again.";
        BTreeMap::from([
            (
                "502".to_owned(),
                refused("Elasticsearch refused the search."),
            ),
            ("503".to_owned(), refused(away)),
        ])
    }
}

/// A reply that is a problem.
pub(super) fn refused(description: impl Into<String>) -> RefOr<Response> {
    let schema = RefOr::Ref(Ref::from_schema_name(Body::name()));
    let content = ContentBuilder::new().schema(Some(schema)).build();
    let response = ResponseBuilder::new()
        .description(description)
        .content("application/problem+json", content);
    RefOr::T(response.build())
}
