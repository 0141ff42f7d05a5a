//! The paths of Splunk's HTTP Event Collector.
//!
//! In the flow: part of `routes`.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Query, Request};
use axum::response::Response;
use axum::routing::{any, get, post};

use super::{Shared, answer, for_known, response};
use crate::decode::hec::About;
use crate::dialect::Message;
use crate::gateway::Gateway;
use crate::reply::hec;

pub(super) fn router(gateway: &Arc<Gateway>) -> Router<Arc<Gateway>> {
    let told = Router::new().route(
        "/services/collector/ack",
        any(|| async { response(hec::no_acknowledgements()) }),
    );
    let router = for_known(gateway, told, hec::of_problem);
    let events = ["", "/event", "/event/1.0"];
    let router = events.into_iter().fold(router, |router, path| {
        router.route(&format!("/services/collector{path}"), post(events_of))
    });
    let raw = ["/raw", "/raw/1.0"]
        .into_iter()
        .fold(router, |router, path| {
            router.route(&format!("/services/collector{path}"), post(raw_lines))
        });
    ["/health", "/health/1.0"]
        .into_iter()
        .fold(raw, |router, path| {
            router.route(
                &format!("/services/collector{path}"),
                get(|| async { response(hec::healthy()) }),
            )
        })
}

async fn events_of(gateway: Shared, request: Request) -> Response {
    answer(gateway, Message::HecEvents, request).await
}

async fn raw_lines(gateway: Shared, about: Query<About>, request: Request) -> Response {
    let Query(about) = about;
    answer(gateway, Message::HecRaw(about), request).await
}
