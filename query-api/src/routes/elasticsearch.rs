//! The routes below `/elasticsearch`: what `passthrough` lets through goes to
//! Elasticsearch, and its reply comes back as it is.
//!
//! In the flow: part of `routes`; `passthrough` judges, `searcher` leads.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use service::access::{Caller, Denial};
use service::elasticsearch::Reply;

use super::{App, read_body};
use crate::error::{Code, Problem};
use crate::passthrough::endpoint::{Endpoint, Place};
use crate::passthrough::{self, Bounds, error_body, multi_search};
use crate::searcher::Searcher;

/// What is told of a reply that is passed on: how to read it, whose it is (clients of Elasticsearch's make sure
/// of that), what is deprecated in it, and when to come again.
const PASSED_ON: [HeaderName; 4] = [
    header::CONTENT_TYPE,
    HeaderName::from_static("x-elastic-product"),
    header::WARNING,
    header::RETRY_AFTER,
];

pub(super) async fn pass_on(State(app): State<Arc<App>>, request: Request) -> Response {
    let caller = request.extensions().get::<Caller>().cloned();
    let view = match caller.map(|caller| app.view(caller)) {
        Some(Ok(view)) => view,
        Some(Err(problem)) => return error_body::respond(&problem, 0),
        None => return error_body::respond(&Problem::denied(Denial::Missing), 0),
    };
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let place = match Place::read(uri.path()) {
        Ok(place) => place,
        Err(problem) => return error_body::respond(&problem, 0),
    };
    let endpoint = place.endpoint;
    let mut response = if endpoint.takes(&method) {
        let query = uri.query().unwrap_or_default();
        app.pass_on(&view.searcher, &place, query, request).await
    } else {
        let detail = format!("`{}` takes {}", endpoint.name(), endpoint.allow());
        let problem = Problem::new(Code::MethodNotAllowed, detail);
        let mut response = error_body::respond(&problem, 0);
        let allow = HeaderValue::from_static(endpoint.allow());
        response.headers_mut().insert(header::ALLOW, allow);
        response
    };
    response.extensions_mut().insert(endpoint.route());
    response
}

impl App {
    async fn pass_on(
        &self,
        searcher: &Searcher,
        place: &Place,
        query: &str,
        request: Request,
    ) -> Response {
        let is_multi_search = place.endpoint == Endpoint::MultiSearch;
        let body = match read_body(request).await {
            Ok(body) => body,
            Err(problem) => return error_body::respond(&problem, is_multi_search.into()),
        };
        let bounds = Bounds {
            index: searcher.index(),
            search_timeout: self.search_timeout,
            range: self.range_bound(),
        };
        let reply = match passthrough::judge(place, query, &body, bounds) {
            Ok(passage) => searcher.pass_on(&passage).await,
            Err(problem) => Err(problem),
        };
        match reply {
            Ok(reply) => passed_on(reply),
            Err(problem) if is_multi_search => {
                error_body::respond(&problem, multi_search::count(&body))
            }
            Err(problem) => error_body::respond(&problem, 0),
        }
    }
}

/// Status and body as they came, and of the headers those that belong to them.
fn passed_on(reply: Reply) -> Response {
    let mut response = reply.body.into_response();
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::BAD_GATEWAY);
    let headers = response.headers_mut();
    headers.remove(header::CONTENT_TYPE);
    for name in PASSED_ON {
        if let Some(value) = reply.headers.get(&name) {
            headers.insert(name, value.clone());
        }
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
