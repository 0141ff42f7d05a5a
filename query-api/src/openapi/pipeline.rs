//! The state of the pipeline and the redrive, for the documentation.
//!
//! In the flow: part of `openapi`.

use super::refusals::BadBody;
use crate::error::Body;
use crate::pipeline::Pipeline;
use crate::redrive::{RedriveRequest, Redriven};

/// How the pipeline is doing: lag, freshness and holds of the sinks, and what was refused.
/// What cannot be found out is `null`.
#[utoipa::path(
    get,
    path = "/api/v1/pipeline",
    responses((status = 200, description = "As far as it can be found out within 5 s.", body = Pipeline, content_type = "application/json"))
)]
pub(super) fn pipeline() {}

/// Sends dead letters back to their topics, each once however often this is asked; sinks then index them as any record.
/// It ends when all of them are written.
#[utoipa::path(
    post,
    path = "/api/v1/dead-letters/redrive",
    request_body(content = RedriveRequest, content_type = "application/json"),
    responses(
        (status = 200, description = "What became of it.", body = Redriven, content_type = "application/json"),
        (status = 400, description = "The body does not say which letters.", body = Body, content_type = "application/problem+json"),
        BadBody,
        (status = 501, description = "This service was started without `--kafka-brokers`.", body = Body, content_type = "application/problem+json"),
        (status = 503, description = "Another redrive runs, or Kafka is not there; `retry-after` says when to try again.", body = Body, content_type = "application/problem+json"),
    )
)]
pub(super) fn redrive() {}
