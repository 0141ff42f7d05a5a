//! What a client hears for every kind of bad request: status, headers and
//! body, through the whole router.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod support;

use std::io::Write as _;

use axum::body::Body;
use axum::http::Request;
use expect_test::{Expect, expect};
use flate2::Compression;
use flate2::write::GzEncoder;
use rdkafka::Message as _;
use support::{Client, EXAMPLE, cluster, records};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

const GZIP: &[(&str, &str)] = &[("content-encoding", "gzip")];

async fn check(client: &Client, body: impl Into<Body>, headers: &[(&str, &str)], expected: Expect) {
    let answer = client.post(body, headers).await;
    let kind = answer.header("content-type").unwrap();
    let expected_kind = match answer.status {
        200 => "application/json",
        _ => "application/problem+json",
    };
    assert_eq!(kind, expected_kind);
    let retry = answer
        .header("retry-after")
        .map_or(String::new(), |seconds| format!(" (retry after {seconds})"));
    expected.assert_eq(&format!("{}{retry} {}", answer.status, answer.body));
}

#[tokio::test]
async fn an_event_that_is_no_event_is_refused_with_its_reason() {
    let cluster = cluster();
    let client = Client::new(&cluster, &[]);
    let c = &client;
    check(c, r#"{"level":"error""#, &[], expect![[r#"
        400 {"title":"Bad Request","status":400,"code":"no_event_accepted","detail":"no event of this request was accepted; `errors` says why","accepted":0,"refused":1,"errors":[{"position":0,"code":"invalid_json","reason":"not JSON: EOF while parsing an object at line 1 column 16"}]}
    "#]]).await;
    check(c, "hello", &[], expect![[r#"
        400 {"title":"Bad Request","status":400,"code":"no_event_accepted","detail":"no event of this request was accepted; `errors` says why","accepted":0,"refused":1,"errors":[{"position":0,"code":"invalid_json","reason":"not JSON: expected value at line 1 column 1"}]}
    "#]]).await;
    check(c, "5", &[], expect![[r#"
        400 {"title":"Bad Request","status":400,"code":"no_event_accepted","detail":"no event of this request was accepted; `errors` says why","accepted":0,"refused":1,"errors":[{"position":0,"code":"not_an_object","reason":"an event is a JSON object, this is a number"}]}
    "#]]).await;
    check(c, r#"["a",null]"#, &[], expect![[r#"
        400 {"title":"Bad Request","status":400,"code":"no_event_accepted","detail":"no event of this request was accepted; `errors` says why","accepted":0,"refused":2,"errors":[{"position":0,"code":"not_an_object","reason":"an event is a JSON object, this is a string"},{"position":1,"code":"not_an_object","reason":"an event is a JSON object, this is null"}]}
    "#]]).await;
    check(
        c,
        r#"[{"level":1},{"metadata":"x"},{"timestamp":true},{"eventId":7}]"#,
        &[],
        expect![[r#"
            400 {"title":"Bad Request","status":400,"code":"no_event_accepted","detail":"no event of this request was accepted; `errors` says why","accepted":0,"refused":4,"errors":[{"position":0,"code":"wrong_type","reason":"`level` must be a string, this is a number"},{"position":1,"code":"wrong_type","reason":"`metadata` must be an object, this is a string"},{"position":2,"code":"wrong_type","reason":"`timestamp` must be a string or a number, this is a boolean"},{"position":3,"code":"wrong_type","reason":"`eventId` must be a string, this is a number"}]}
        "#]],
    )
    .await;
    check(c, r#"{"timestamp":"yesterday"}"#, &[], expect![[r#"
        400 {"title":"Bad Request","status":400,"code":"no_event_accepted","detail":"no event of this request was accepted; `errors` says why","accepted":0,"refused":1,"errors":[{"position":0,"code":"invalid_timestamp","reason":"`timestamp`: `yesterday` is no timestamp; send RFC 3339 with an offset (`2023-09-15T08:00:00Z`) or epoch seconds, milliseconds or nanoseconds"}]}
    "#]]).await;
    check(
        c,
        r#"{"timestamp":"1969-12-31T23:59:59Z"}"#,
        &[],
        expect![[r#"
            400 {"title":"Bad Request","status":400,"code":"no_event_accepted","detail":"no event of this request was accepted; `errors` says why","accepted":0,"refused":1,"errors":[{"position":0,"code":"invalid_timestamp","reason":"`timestamp`: `1969-12-31T23:59:59Z` lies outside 1970-01-01 to 2262-04-11"}]}
        "#]],
    )
    .await;
    check(c, r#"{"a":{"b":1,"b":2}}"#, &[], expect![[r#"
        400 {"title":"Bad Request","status":400,"code":"no_event_accepted","detail":"no event of this request was accepted; `errors` says why","accepted":0,"refused":1,"errors":[{"position":0,"code":"duplicate_name","reason":"the name `b` stands twice in one object"}]}
    "#]]).await;
    check(c, r#"{"_id":"x"}"#, &[], expect![[r#"
        400 {"title":"Bad Request","status":400,"code":"no_event_accepted","detail":"no event of this request was accepted; `errors` says why","accepted":0,"refused":1,"errors":[{"position":0,"code":"reserved_name","reason":"the name `_id` is reserved by Elasticsearch"}]}
    "#]]).await;
    check(c, &b"{\"message\":\"\xff\"}"[..], &[], expect![[r#"
        400 {"title":"Bad Request","status":400,"code":"no_event_accepted","detail":"no event of this request was accepted; `errors` says why","accepted":0,"refused":1,"errors":[{"position":0,"code":"invalid_utf8","reason":"not UTF-8: invalid byte at 12"}]}
    "#]]).await;
    check(
        c,
        format!("{{\"a\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000)),
        &[],
        expect![[r#"
            400 {"title":"Bad Request","status":400,"code":"no_event_accepted","detail":"no event of this request was accepted; `errors` says why","accepted":0,"refused":1,"errors":[{"position":0,"code":"too_deep","reason":"nested deeper than 20 levels"}]}
        "#]],
    )
    .await;
    check(
        c,
        format!("[{}{}]", "[".repeat(10_000), "]".repeat(10_000)),
        &[],
        expect![[r#"
            400 {"title":"Bad Request","status":400,"code":"no_event_accepted","detail":"no event of this request was accepted; `errors` says why","accepted":0,"refused":1,"errors":[{"position":0,"code":"too_deep","reason":"nested deeper than 20 levels"}]}
        "#]],
    )
    .await;
    check(
        c,
        format!("{}1{}", "{\"a\":".repeat(10_000), "}".repeat(10_000)),
        &[],
        expect![[r#"
            400 {"title":"Bad Request","status":400,"code":"no_event_accepted","detail":"no event of this request was accepted; `errors` says why","accepted":0,"refused":1,"errors":[{"position":0,"code":"too_deep","reason":"nested deeper than 20 levels"}]}
        "#]],
    )
    .await;
    check(c, &b"\0\0\0"[..], &[], expect![[r#"
        400 {"title":"Bad Request","status":400,"code":"no_event_accepted","detail":"no event of this request was accepted; `errors` says why","accepted":0,"refused":1,"errors":[{"position":0,"code":"invalid_json","reason":"not JSON: expected value at line 1 column 1"}]}
    "#]]).await;
    check(c, &b"{\"message\":\"a\0b\"}"[..], &[], expect![[r#"
        400 {"title":"Bad Request","status":400,"code":"no_event_accepted","detail":"no event of this request was accepted; `errors` says why","accepted":0,"refused":1,"errors":[{"position":0,"code":"invalid_json","reason":"not JSON: control character (\\u0000-\\u001F) found while parsing a string at line 1 column 14"}]}
    "#]]).await;
    check(c, r#"{"a\u0000b":1}"#, &[], expect![[r#"
        400 {"title":"Bad Request","status":400,"code":"no_event_accepted","detail":"no event of this request was accepted; `errors` says why","accepted":0,"refused":1,"errors":[{"position":0,"code":"nul_in_name","reason":"the name `a\\u0000b` contains a NUL character"}]}
    "#]]).await;
    check(c, "{\"message\":\"a\nb\"}", &[], expect![[r#"
        400 {"title":"Bad Request","status":400,"code":"no_event_accepted","detail":"no event of this request was accepted; `errors` says why","accepted":0,"refused":2,"errors":[{"position":0,"code":"invalid_json","reason":"not JSON: EOF while parsing a string at line 1 column 13; one event stands on one line, a line break inside a string is written \\n"},{"position":1,"code":"invalid_json","reason":"not JSON: expected value at line 1 column 1"}]}
    "#]]).await;
    check(c, r#"{"eventId":""}"#, &[], expect![[r#"
        400 {"title":"Bad Request","status":400,"code":"no_event_accepted","detail":"no event of this request was accepted; `errors` says why","accepted":0,"refused":1,"errors":[{"position":0,"code":"invalid_event_id","reason":"`eventId`: the event id is empty"}]}
    "#]]).await;
    check(
        c,
        format!("{{\"message\":\"{}\"}}", "x".repeat(10_000_000)),
        &[],
        expect![[r#"
            400 {"title":"Bad Request","status":400,"code":"no_event_accepted","detail":"no event of this request was accepted; `errors` says why","accepted":0,"refused":1,"errors":[{"position":0,"code":"event_too_large","reason":"an event may have 1000000 bytes, this has 10000014"}]}
        "#]],
    )
    .await;
    // The first record of the topic is one sent after all of these.
    assert_eq!(client.post(EXAMPLE, &[]).await.status, 200);
    let found = records(&cluster, 1);
    assert_eq!(
        (found[0].offset(), found[0].payload()),
        (0, Some(EXAMPLE.as_bytes()))
    );
}

#[tokio::test]
async fn a_body_that_is_no_body_is_refused_whole() {
    let cluster = cluster();
    let client = Client::new(&cluster, &["--max-events-per-request", "3"]);
    let c = &client;
    check(c, "", &[], expect![[r#"
        400 {"title":"Bad Request","status":400,"code":"empty_body","detail":"the body is empty; send a JSON object, an array of objects, or one object a line"}
    "#]]).await;
    check(c, " \n\r\n", &[], expect![[r#"
        400 {"title":"Bad Request","status":400,"code":"empty_body","detail":"the body is empty; send a JSON object, an array of objects, or one object a line"}
    "#]]).await;
    check(
        c,
        "[]",
        &[],
        expect![[r#"
        200 {"accepted":0,"refused":0,"errors":[]}
    "#]],
    )
    .await;
    check(c, format!("[{EXAMPLE},"), &[], expect![[r#"
        400 {"title":"Bad Request","status":400,"code":"invalid_json","detail":"the array is not JSON: the body ends inside the array at byte 226"}
    "#]]).await;
    check(c, format!("[{EXAMPLE},]"), &[], expect![[r#"
        400 {"title":"Bad Request","status":400,"code":"invalid_json","detail":"the array is not JSON: an element is missing at byte 226"}
    "#]]).await;
    check(c, "{}\n{}\n{}\n{}\n", &[], expect![[r#"
        413 {"title":"Content Too Large","status":413,"code":"too_many_events","detail":"a request may hold 3 events; send several smaller ones"}
    "#]]).await;
    check(c, vec![b' '; (20 << 20) + 1], &[], expect![[r#"
        413 {"title":"Content Too Large","status":413,"code":"body_too_large","detail":"a body may have 20971520 bytes, before and after decompression; send several smaller ones"}
    "#]]).await;
    check(c, gzip(&vec![b' '; 200 << 20]), GZIP, expect![[r#"
        413 {"title":"Content Too Large","status":413,"code":"body_too_large","detail":"a body may have 20971520 bytes, before and after decompression; send several smaller ones"}
    "#]]).await;
    check(c, EXAMPLE, GZIP, expect![[r#"
        400 {"title":"Bad Request","status":400,"code":"invalid_encoding","detail":"the Content-Encoding says gzip, but the body is not: invalid gzip header"}
    "#]]).await;
    check(
        c,
        gzip(EXAMPLE.as_bytes())[..100].to_vec(),
        GZIP,
        expect![[r#"
            400 {"title":"Bad Request","status":400,"code":"invalid_encoding","detail":"the Content-Encoding says gzip, but the body is not: incomplete deflate stream"}
        "#]],
    )
    .await;
    check(c, EXAMPLE, &[("content-encoding", "br")], expect![[r#"
        415 {"title":"Unsupported Media Type","status":415,"code":"unsupported_encoding","detail":"the Content-Encoding `br` is not supported; send gzip or none"}
    "#]]).await;
    check(
        c,
        EXAMPLE,
        &[("idempotency-key", "two words")],
        expect![[r#"
            400 {"title":"Bad Request","status":400,"code":"invalid_idempotency_key","detail":"the Idempotency-Key must be given once and have 1 to 255 visible ASCII characters"}
        "#]],
    )
    .await;
    check(c, gzip(EXAMPLE.as_bytes()), &[], expect![[r#"
        400 {"title":"Bad Request","status":400,"code":"invalid_encoding","detail":"the body is gzip; say so with Content-Encoding: gzip"}
    "#]]).await;
}

#[tokio::test]
async fn what_is_good_passes_beside_what_is_bad() {
    let cluster = cluster();
    let client = Client::new(&cluster, &[]);
    let c = &client;
    check(
        c,
        format!("{EXAMPLE}\n{{\"message\":\"a\nb\"}}\n{EXAMPLE}"),
        &[],
        expect![[r#"
            200 {"accepted":2,"refused":2,"errors":[{"position":1,"code":"invalid_json","reason":"not JSON: EOF while parsing a string at line 1 column 13; one event stands on one line, a line break inside a string is written \\n"},{"position":2,"code":"invalid_json","reason":"not JSON: expected value at line 1 column 1"}]}
        "#]],
    )
    .await;
    check(
        c,
        [b"[{\"message\":\"\xff\"},", EXAMPLE.as_bytes(), b"]"].concat(),
        &[],
        expect![[r#"
            200 {"accepted":1,"refused":1,"errors":[{"position":0,"code":"invalid_utf8","reason":"not UTF-8: invalid byte at 12"}]}
        "#]],
    )
    .await;
    check(
        c,
        gzip(format!("[{EXAMPLE}]").as_bytes()),
        GZIP,
        expect![[r#"
            200 {"accepted":1,"refused":0,"errors":[]}
        "#]],
    )
    .await;
    check(
        c,
        EXAMPLE,
        &[
            ("content-type", "text/plain"),
            ("content-encoding", "identity"),
        ],
        expect![[r#"
            200 {"accepted":1,"refused":0,"errors":[]}
        "#]],
    )
    .await;
    assert_eq!(records(&cluster, 5).len(), 5);
}

#[tokio::test]
async fn a_client_beyond_its_limits_hears_when_to_come_back() {
    let cluster = cluster();
    let limits = [
        "--rate-limit-requests",
        "1",
        "--rate-limit-bytes",
        "1KiB",
        "--rate-limit-burst",
        "3s",
        "--rate-limit-pacing",
        "0s",
        "--trusted-proxy",
        "0.0.0.0",
    ];
    let client = Client::new(&cluster, &limits);
    let from = |address| [("x-forwarded-for", address)];
    let padded = |bytes: usize| format!("{:bytes$}", "[]");
    // How long to wait depends on the clock; that it is told honestly is
    // `admission`'s to show. Here: the reply is whole and agrees with itself.
    for (address, body, what) in [
        ("192.0.2.1", padded(2), "requests"),
        ("192.0.2.2", padded(3_072), "bytes"),
    ] {
        assert_eq!(client.post(body.clone(), &from(address)).await.status, 200);
        let refused = loop {
            let answer = client.post(body.clone(), &from(address)).await;
            if answer.status != 200 {
                break answer;
            }
        };
        let seconds = refused.header("retry-after").unwrap();
        assert!(["1", "2", "3"].contains(&seconds), "{seconds}");
        assert_eq!(refused.status, 429);
        assert_eq!(
            refused.body,
            format!(
                "{{\"title\":\"Too Many Requests\",\"status\":429,\"code\":\"rate_limited\",\"detail\":\"more {what} than this client may send; the same request conforms in {seconds} s\"}}\n"
            )
        );
    }
    assert_eq!(client.post("[]", &from("192.0.2.3")).await.status, 200);
    check(&client, padded(3_073), &from("192.0.2.4"), expect![[r#"
        413 {"title":"Content Too Large","status":413,"code":"over_byte_burst","detail":"this client may send 3072 bytes at once; send several smaller requests"}
    "#]]).await;
}

#[tokio::test]
async fn a_client_a_little_beyond_its_rate_waits_and_is_not_refused() {
    let cluster = cluster();
    let limits = ["--rate-limit-requests=20", "--rate-limit-burst=100ms"];
    let client = Client::new(&cluster, &limits);
    let started = std::time::Instant::now();
    let sent = (0..12).map(|_| client.post("{}", &[]));
    for answer in futures_util::future::join_all(sent).await {
        assert_eq!(answer.status, 200);
    }
    let tenths = started.elapsed().as_millis() / 100;
    assert!(
        tenths >= 4,
        "12 requests at 20 a second took {tenths} tenths"
    );
    let metrics = client.get("/metrics").await.body;
    let paced = metrics
        .lines()
        .find_map(|line| line.strip_prefix("ingest_gateway_requests_paced_total "));
    assert!(paced.unwrap().parse::<u32>().unwrap() >= 5, "{paced:?}");
    assert!(metrics.contains("\ningest_gateway_paced_bytes 0\n"));
}

#[tokio::test]
async fn a_full_or_ending_gateway_refuses_whole_requests() {
    let cluster = cluster();
    let args = [
        "--max-body-bytes",
        "2000",
        "--max-event-bytes",
        "1000",
        "--max-events-per-request",
        "2",
        "--max-bytes-in-flight",
        "6100",
    ];
    let client = Client::new(&cluster, &args);
    assert_eq!(client.post(EXAMPLE, &[]).await.status, 200);
    // Without a broker the records stay in flight, until no more fit.
    cluster.broker_down(1).unwrap();
    let pair = format!("{EXAMPLE}\n{EXAMPLE}");
    let mut waiting = Vec::new();
    for _ in 0..2 {
        let request = client.post(pair.clone(), &[]);
        let mut request = Box::pin(request);
        let still = tokio::time::timeout(std::time::Duration::from_millis(50), &mut request).await;
        assert!(still.is_err());
        waiting.push(request);
    }
    check(&client, pair, &[], expect![[r#"
        503 (retry after 1) {"title":"Service Unavailable","status":503,"code":"overloaded","detail":"the gateway holds as many bytes as it may; nothing of this request was kept","outcome":"none"}
    "#]]).await;
    client.gateway.drain();
    check(&client, EXAMPLE, &[], expect![[r#"
        503 (retry after 1) {"title":"Service Unavailable","status":503,"code":"draining","detail":"the gateway is about to end; try another","outcome":"none"}
    "#]]).await;
}

#[tokio::test]
async fn other_paths_and_methods_are_answered_in_the_same_form() {
    let cluster = cluster();
    let client = Client::new(&cluster, &[]);
    let greeting = client.get("/").await;
    assert_eq!(greeting.status, 200);
    assert_eq!(greeting.json()["name"], "ingest-gateway");
    let missing = client.get("/nowhere").await;
    assert_eq!(
        (missing.status, missing.header("content-type")),
        (404, Some("application/problem+json"))
    );
    assert_eq!(missing.json()["code"], "not_found");
    for (method, path, allow) in [
        ("GET", "/logs", "POST"),
        ("DELETE", "/logs", "POST"),
        ("POST", "/", "GET,HEAD"),
        ("POST", "/metrics", "GET,HEAD"),
    ] {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .body(Body::empty())
            .unwrap();
        let answer = client.send(request).await;
        assert_eq!(answer.status, 405, "{method} {path}");
        assert_eq!(answer.json()["code"], "method_not_allowed");
        assert_eq!(answer.header("allow"), Some(allow));
    }
    assert_eq!(client.get("/healthz").await.status, 200);
    // No probe runs in this test, so Kafka has never answered it.
    assert_eq!(
        client.get("/readyz").await.body,
        "{\"ready\":false,\"reasons\":[\"Kafka does not answer: no answer yet\"]}\n"
    );
}
