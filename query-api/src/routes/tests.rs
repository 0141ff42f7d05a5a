use super::*;
use crate::elasticsearch::Elasticsearch;
use crate::{export, facets, fields, histogram, parameters, surroundings};
use axum::body::Body;
use axum::http::Method;
use expect_test::{Expect, expect};
use http_body_util::BodyExt as _;
use serde_json::Value;
use service::elasticsearch::Nodes;
use service::login::Login;
use service::shutdown::Shutdown;
use std::ffi::OsString;
use std::future::Future as _;
use std::task::{Context, Waker};
use tower::ServiceExt as _;

mod access;

/// A router whose Elasticsearch is at `address`.
fn router_to(address: &str, args: &[&str]) -> Router {
    let url = format!("--elasticsearch-url=http://{address}");
    let args = ["query-api", &url].into_iter().chain(args.iter().copied());
    let (config, _) = Config::load(args.map(OsString::from), |_| None).unwrap();
    let metrics = Metrics::new();
    let nodes = Nodes::new(&config.elasticsearch, &config.login).unwrap();
    let elasticsearch = Elasticsearch::new(nodes, metrics.clone());
    let searcher = Searcher::new(&config, elasticsearch, metrics.clone());
    let tails = Tails::new(config.kafka.clone(), 1, Shutdown::never());
    let sinks = Sinks::new(config.sinks.clone(), Login::default()).unwrap();
    let redriver = Redriver::new(config.kafka.clone(), Shutdown::never());
    router(&config, searcher, tails, sinks, redriver, metrics)
}

/// An address that refuses connections.
fn closed_port() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

async fn send(router: &Router, method: Method, uri: &str, body: &str) -> Response {
    let request = Request::builder().method(method).uri(uri);
    let request = request.body(Body::from(body.to_owned())).unwrap();
    router.clone().oneshot(request).await.unwrap()
}

async fn text(response: Response) -> String {
    let body = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(body.to_vec()).unwrap()
}

/// A reply as far as a client depends on it.
async fn shown(response: Response) -> String {
    let mut lines = vec![response.status().as_u16().to_string()];
    for name in [header::CONTENT_TYPE, header::ALLOW, header::RETRY_AFTER] {
        if let Some(value) = response.headers().get(&name) {
            lines.push(format!("{name}: {}", value.to_str().unwrap()));
        }
    }
    lines.push(text(response).await);
    lines.join("\n")
}

async fn check(method: Method, uri: &str, body: &str, expected: Expect) {
    let router = router_to(&closed_port(), &["--max-body-bytes=1KiB"]);
    let response = send(&router, method, uri, body).await;
    expected.assert_eq(&shown(response).await);
}

#[tokio::test]
async fn what_cannot_be_searched_is_refused() {
    check(Method::GET, "/logs?lvl=error", "", expect![[r#"
        400
        content-type: application/problem+json
        {"title":"Bad Request","status":400,"code":"unknown_parameter","detail":"there is no parameter `lvl`; there are q, level, resourceId, message, startDate, endDate, traceId, spanId, commit, metadata.parentResourceId, parentResourceId, limit","parameter":"lvl"}
    "#]]).await;
    check(Method::GET, "/logs?endDate=soon", "", expect![[r#"
        400
        content-type: application/problem+json
        {"title":"Bad Request","status":400,"code":"invalid_parameter","detail":"`endDate`: `soon` is no date; send a day (`2023-09-15`), RFC 3339 with an offset (`2023-09-15T08:00:00Z`) or epoch seconds, milliseconds or nanoseconds, or a time before now (`now-15m`, with s, m, h, d or w)","parameter":"endDate"}
    "#]]).await;
    check(
        Method::POST,
        "/api/v1/search",
        "level=error",
        expect![[r#"
            400
            content-type: application/problem+json
            {"title":"Bad Request","status":400,"code":"invalid_json","detail":"the body is not a JSON object: expected value at line 1 column 1"}
        "#]],
    )
    .await;
    check(
        Method::POST,
        "/api/v1/search",
        r#"{"cursor":"AQ"}"#,
        expect![[r#"
            400
            content-type: application/problem+json
            {"title":"Bad Request","status":400,"code":"invalid_cursor","detail":"`cursor`: the cursor is of another version of this service; start again without it","parameter":"cursor"}
        "#]],
    )
    .await;
    check(
        Method::POST,
        "/api/v1/search",
        &" ".repeat(1025),
        expect![[r#"
            413
            content-type: application/problem+json
            {"title":"Payload Too Large","status":413,"code":"body_too_large","detail":"the body is larger than this service takes (`--max-body-bytes`)"}
        "#]],
    )
    .await;
    check(Method::GET, "/log", "", expect![[r#"
        404
        content-type: application/problem+json
        {"title":"Not Found","status":404,"code":"not_found","detail":"there is nothing at `/log`; `/openapi.json` lists what there is"}
    "#]]).await;
    check(Method::POST, "/logs", "", expect![[r#"
        405
        content-type: application/problem+json
        allow: GET,HEAD
        {"title":"Method Not Allowed","status":405,"code":"method_not_allowed","detail":"this path does not take that method; the header `allow` lists those it takes"}
    "#]]).await;
    check(Method::GET, "/api/v1/search", "", expect![[r#"
        405
        content-type: application/problem+json
        allow: POST
        {"title":"Method Not Allowed","status":405,"code":"method_not_allowed","detail":"this path does not take that method; the header `allow` lists those it takes"}
    "#]]).await;
}

#[tokio::test]
async fn what_is_not_passed_on_is_refused_as_elasticsearch_would() {
    check(
        Method::GET,
        "/elasticsearch/secrets/_mapping",
        "",
        expect![[r#"
            403
            content-type: application/json
            {"error":{"root_cause":[{"type":"logflow_not_allowed","reason":"the index `secrets` is not among those that are open here; ask for a part of `logflow-*` (`--index`)"}],"type":"logflow_not_allowed","reason":"the index `secrets` is not among those that are open here; ask for a part of `logflow-*` (`--index`)"},"status":403}
        "#]],
    )
    .await;
    check(Method::POST, "/elasticsearch/_bulk", "", expect![[r#"
        403
        content-type: application/json
        {"error":{"root_cause":[{"type":"logflow_not_allowed","reason":"`/_bulk` is not passed on to Elasticsearch; what is: _msearch, _search, _count, _mapping, _field_caps, _cluster/health and /"}],"type":"logflow_not_allowed","reason":"`/_bulk` is not passed on to Elasticsearch; what is: _msearch, _search, _count, _mapping, _field_caps, _cluster/health and /"},"status":403}
    "#]]).await;
    check(
        Method::POST,
        "/elasticsearch/_msearch",
        "{}\n{\"pit\":{}}\n{}\n{}\n",
        expect![[r#"
            403
            content-type: application/json
            {"error":{"root_cause":[{"type":"logflow_not_allowed","reason":"search 1 of 2: `pit` is not passed on; there are query, post_filter, size, from, sort, search_after, aggs, aggregations, _source, fields, docvalue_fields, stored_fields, script_fields, highlight, timeout, track_total_hits, track_scores, min_score, terminate_after, version, seq_no_primary_term"}],"type":"logflow_not_allowed","reason":"search 1 of 2: `pit` is not passed on; there are query, post_filter, size, from, sort, search_after, aggs, aggregations, _source, fields, docvalue_fields, stored_fields, script_fields, highlight, timeout, track_total_hits, track_scores, min_score, terminate_after, version, seq_no_primary_term"},"status":403,"responses":[{"error":{"root_cause":[{"type":"logflow_not_allowed","reason":"search 1 of 2: `pit` is not passed on; there are query, post_filter, size, from, sort, search_after, aggs, aggregations, _source, fields, docvalue_fields, stored_fields, script_fields, highlight, timeout, track_total_hits, track_scores, min_score, terminate_after, version, seq_no_primary_term"}],"type":"logflow_not_allowed","reason":"search 1 of 2: `pit` is not passed on; there are query, post_filter, size, from, sort, search_after, aggs, aggregations, _source, fields, docvalue_fields, stored_fields, script_fields, highlight, timeout, track_total_hits, track_scores, min_score, terminate_after, version, seq_no_primary_term"},"status":403},{"error":{"root_cause":[{"type":"logflow_not_allowed","reason":"search 1 of 2: `pit` is not passed on; there are query, post_filter, size, from, sort, search_after, aggs, aggregations, _source, fields, docvalue_fields, stored_fields, script_fields, highlight, timeout, track_total_hits, track_scores, min_score, terminate_after, version, seq_no_primary_term"}],"type":"logflow_not_allowed","reason":"search 1 of 2: `pit` is not passed on; there are query, post_filter, size, from, sort, search_after, aggs, aggregations, _source, fields, docvalue_fields, stored_fields, script_fields, highlight, timeout, track_total_hits, track_scores, min_score, terminate_after, version, seq_no_primary_term"},"status":403}]}
        "#]],
    )
    .await;
    check(Method::DELETE, "/elasticsearch/_search", "", expect![[r#"
        405
        content-type: application/json
        allow: GET,HEAD,POST
        {"error":{"root_cause":[{"type":"logflow_method_not_allowed","reason":"`_search` takes GET,HEAD,POST"}],"type":"logflow_method_not_allowed","reason":"`_search` takes GET,HEAD,POST"},"status":405}
    "#]]).await;
    check(
        Method::POST,
        "/elasticsearch/_search",
        &" ".repeat(1025),
        expect![[r#"
            413
            content-type: application/json
            {"error":{"root_cause":[{"type":"logflow_body_too_large","reason":"the body is larger than this service takes (`--max-body-bytes`)"}],"type":"logflow_body_too_large","reason":"the body is larger than this service takes (`--max-body-bytes`)"},"status":413}
        "#]],
    )
    .await;
    check(Method::POST, "/elasticsearch/_search", "{}", expect![[r#"
        503
        content-type: application/json
        retry-after: 2
        {"error":{"root_cause":[{"type":"logflow_elasticsearch_unreachable","reason":"Elasticsearch cannot be reached; try again"}],"type":"logflow_elasticsearch_unreachable","reason":"Elasticsearch cannot be reached; try again"},"status":503}
    "#]]).await;
}

#[tokio::test]
async fn without_elasticsearch_every_search_is_refused_at_once() {
    let started = Instant::now();
    check(Method::GET, "/logs", "", expect![[r#"
        503
        content-type: application/problem+json
        retry-after: 2
        {"title":"Service Unavailable","status":503,"code":"elasticsearch_unreachable","detail":"Elasticsearch cannot be reached; try again"}
    "#]]).await;
    check(Method::POST, "/api/v1/search", "{}", expect![[r#"
        503
        content-type: application/problem+json
        retry-after: 2
        {"title":"Service Unavailable","status":503,"code":"elasticsearch_unreachable","detail":"Elasticsearch cannot be reached; try again"}
    "#]]).await;
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test]
async fn a_silent_elasticsearch_is_waited_for_no_longer_than_allowed() {
    // The kernel accepts the connection, and nobody ever reads from it.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let router = router_to(&address, &["--search-timeout=100ms"]);
    let started = Instant::now();
    let response = send(&router, Method::GET, "/logs", "").await;
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
    expect![[r#"
        503
        content-type: application/problem+json
        retry-after: 2
        {"title":"Service Unavailable","status":503,"code":"elasticsearch_timed_out","detail":"Elasticsearch did not answer in time; try again, or narrow the search by a time range or another filter"}
    "#]].assert_eq(&shown(response).await);
}

#[tokio::test]
async fn more_searches_than_allowed_are_refused_until_one_ends() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let router = router_to(&address, &["--max-concurrent-searches=10"]);
    let mut big = Box::pin(send(&router, Method::GET, "/logs?limit=10000", ""));
    let mut context = Context::from_waker(Waker::noop());
    assert!(big.as_mut().poll(&mut context).is_pending());
    let small = send(&router, Method::GET, "/logs?limit=1", "").await;
    expect![[r#"
        503
        content-type: application/problem+json
        retry-after: 1
        {"title":"Service Unavailable","status":503,"code":"overloaded","detail":"too many searches run at once; try again"}
    "#]].assert_eq(&shown(small).await);
    drop(big);
    // The client of the big search is gone, and its permits are back.
    let small = send(&router, Method::GET, "/logs?limit=1", "");
    let waited = tokio::time::timeout(Duration::from_millis(200), small).await;
    assert!(
        waited.is_err(),
        "it is admitted, and waits for Elasticsearch: {waited:?}"
    );
}

#[tokio::test]
async fn readiness_is_what_the_probe_found() {
    let url = format!("--elasticsearch-url=http://{}", closed_port());
    let args = ["query-api", &url].map(OsString::from);
    let (config, _) = Config::load(args, |_| None).unwrap();
    let metrics = Metrics::new();
    let nodes = Nodes::new(&config.elasticsearch, &config.login).unwrap();
    let elasticsearch = Elasticsearch::new(nodes, metrics.clone());
    let searcher = Searcher::new(&config, elasticsearch, metrics.clone());
    let tails = Tails::new(config.kafka.clone(), 1, Shutdown::never());
    let sinks = Sinks::new(config.sinks.clone(), Login::default()).unwrap();
    let redriver = Redriver::new(config.kafka.clone(), Shutdown::never());
    let router = router(&config, searcher.clone(), tails, sinks, redriver, metrics);
    let before = send(&router, Method::GET, "/readyz", "").await;
    assert_eq!(before.status(), 503);
    assert!(text(before).await.contains("was not asked yet"));
    searcher.probe().await;
    let after = send(&router, Method::GET, "/readyz", "").await;
    assert_eq!(after.status(), 503);
    assert!(text(after).await.contains("cannot be reached"));
    assert_eq!(
        send(&router, Method::GET, "/healthz", "").await.status(),
        200
    );
}

#[tokio::test]
async fn requests_and_refusals_are_counted() {
    let router = router_to(&closed_port(), &[]);
    send(&router, Method::GET, "/logs?x=1", "").await;
    send(&router, Method::GET, "/nowhere", "").await;
    send(&router, Method::GET, "/logs", "").await;
    let metrics = text(send(&router, Method::GET, "/metrics", "").await).await;
    for line in [
        r#"query_api_http_requests_total{route="/logs",status="4xx"} 1"#,
        r#"query_api_http_requests_total{route="/logs",status="5xx"} 1"#,
        r#"query_api_http_requests_total{route="unknown",status="4xx"} 1"#,
        r#"query_api_http_requests_total{route="/api/v1/search",status="5xx"} 0"#,
        r#"query_api_http_request_duration_seconds_count{route="/logs"} 2"#,
        r#"query_api_requests_refused_total{code="unknown_parameter"} 1"#,
        r#"query_api_requests_refused_total{code="not_found"} 1"#,
        r#"query_api_requests_refused_total{code="elasticsearch_unreachable"} 1"#,
        r#"query_api_elasticsearch_errors_total{kind="unreachable",operation="search"} 1"#,
        "query_api_http_requests_in_flight 1",
        "query_api_cursors_open 0",
    ] {
        assert!(
            metrics.lines().any(|other| other == line),
            "`{line}` is missing in\n{metrics}"
        );
    }
}

async fn document() -> Value {
    let response = send(
        &router_to(&closed_port(), &[]),
        Method::GET,
        "/openapi.json",
        "",
    )
    .await;
    assert_eq!(response.status(), 200);
    serde_json::from_str(&text(response).await).unwrap()
}

#[tokio::test]
async fn every_route_is_documented_and_every_documented_route_exists() {
    let document = document().await;
    let paths = document["paths"].as_object().unwrap();
    // The page is no part of the API.
    let beside = [
        Route::Unknown,
        Route::Page,
        Route::PageScript,
        Route::PageStyle,
        Route::PageIcon,
        Route::Docs,
        Route::DocsStyle,
    ];
    let served = Route::ALL
        .into_iter()
        .filter(|route| !beside.contains(route));
    let mut served: Vec<&str> = served.flat_map(Route::paths).copied().collect();
    served.sort_unstable();
    assert_eq!(paths.keys().collect::<Vec<_>>(), served);
    let router = router_to(&closed_port(), &[]);
    for (path, methods) in paths {
        let methods: Vec<Method> = methods
            .as_object()
            .unwrap()
            .keys()
            .map(|name| name.to_uppercase().parse().unwrap())
            .collect();
        for method in [
            Method::GET,
            Method::POST,
            Method::PUT,
            Method::DELETE,
            Method::PATCH,
        ] {
            let status = send(&router, method.clone(), path, "").await.status();
            assert_ne!(status, StatusCode::NOT_FOUND, "{method} {path}");
            let exists = status != StatusCode::METHOD_NOT_ALLOWED;
            assert_eq!(
                exists,
                methods.contains(&method),
                "{method} {path}: {status}"
            );
        }
    }
}

#[tokio::test]
async fn every_parameter_is_documented_and_every_documented_parameter_exists() {
    let document = document().await;
    for (route, vocabulary) in [
        (Route::Logs, search_request::LOGS),
        (Route::Histogram, histogram::PARAMETERS),
        (Route::Fields, fields::PARAMETERS),
        (Route::Facets, facets::PARAMETERS),
        (Route::Context, surroundings::CONTEXT_PARAMETERS),
        (Route::Trace, surroundings::TRACE_PARAMETERS),
        (Route::Export, export::PARAMETERS),
        (Route::Tail, tail::PARAMETERS),
    ] {
        let path = route.label();
        let parameters = document["paths"][path]["get"]["parameters"].as_array();
        let parameters = parameters.unwrap().iter().filter(|p| p["in"] == "query");
        let mut documented: Vec<&str> = Vec::new();
        for parameter in parameters {
            let name = parameter["name"].as_str().unwrap();
            let is_required =
                [(Route::Facets, "field"), (Route::Context, "id")].contains(&(route, name));
            assert_eq!(parameter["required"], is_required, "{path}: {parameter}");
            assert!(parameter["description"].is_string(), "{path}: {parameter}");
            documented.push(name);
        }
        let mut read: Vec<&str> = parameters::names(vocabulary).collect();
        documented.sort_unstable();
        read.sort_unstable();
        assert_eq!(documented, read, "{path}");
    }
    let members = &document["components"]["schemas"]["SearchBody"]["properties"];
    let mut documented: Vec<&str> = members
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    let mut read: Vec<&str> = parameters::names(search_request::SEARCH).collect();
    documented.sort_unstable();
    read.sort_unstable();
    assert_eq!(documented, read);
}

#[tokio::test]
async fn every_code_is_documented() {
    let document = document().await;
    let codes = document["components"]["schemas"]["Code"].to_string();
    for code in Code::ALL {
        assert!(
            codes.contains(&format!("\"{}\"", code.as_str())),
            "{code:?} is missing in {codes}"
        );
    }
}
