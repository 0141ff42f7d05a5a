//! What clients of other protocols hear, byte for byte, and what reaches Kafka of what they send.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod support;

use axum::http::Request;
use expect_test::{Expect, expect};
use log_event::event_id::EventId;
use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use prost::Message as _;
use rdkafka::Message as _;
use rdkafka::message::{Headers as _, OwnedMessage};
use service::access::Scope;
use service::access::api_keys::NewKey;
use support::{Answer, Client, cluster, records};

const JSON: (&str, &str) = ("content-type", "application/json");

/// A reply as far as a client depends on it.
fn shown(answer: &Answer) -> String {
    let kind = answer.header("content-type").unwrap_or("no type");
    let retry = answer
        .header("retry-after")
        .map_or(String::new(), |seconds| format!(" (retry after {seconds})"));
    format!("{}{retry} {kind} {}", answer.status, answer.body)
}

async fn check(
    client: &Client,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
    expected: Expect,
) {
    let answer = client.ask("POST", path, headers, body.to_owned()).await;
    expected.assert_eq(&shown(&answer));
}

fn header(record: &OwnedMessage, name: &str) -> String {
    let headers = record.headers().unwrap();
    let found = headers.iter().find(|header| header.key == name).unwrap();
    String::from_utf8(found.value.unwrap().to_vec()).unwrap()
}

fn value(record: &OwnedMessage) -> String {
    String::from_utf8(record.payload().unwrap().to_vec()).unwrap()
}

/// One request a second, and none is held back.
const TIGHT: [&str; 3] = [
    "--rate-limit-requests=1",
    "--rate-limit-burst=1s",
    "--rate-limit-pacing=0s",
];

#[tokio::test]
async fn opentelemetry_is_answered_in_its_own_encoding_and_a_retried_batch_is_the_same_events() {
    let cluster = cluster();
    let client = Client::new(&cluster, &[]);
    let record = |nanos: u64| LogRecord {
        time_unix_nano: nanos,
        ..LogRecord::default()
    };
    let request = |nanos: &[u64]| ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs {
            scope_logs: vec![ScopeLogs {
                log_records: nanos.iter().map(|nanos| record(*nanos)).collect(),
                ..ScopeLogs::default()
            }],
            ..ResourceLogs::default()
        }],
    };
    let protobuf = [("content-type", "application/x-protobuf")];
    let batch = request(&[1_700_000_000_000_000_000, 1_700_000_000_000_000_000]).encode_to_vec();
    for _ in 0..2 {
        let answer = client
            .ask("POST", "/v1/logs", &protobuf, batch.clone())
            .await;
        assert_eq!(shown(&answer), "200 application/x-protobuf ");
    }
    let found = records(&cluster, 4);
    let ids: Vec<_> = found
        .iter()
        .map(|record| header(record, "event-id"))
        .collect();
    assert_eq!(
        ids[..2],
        ids[2..],
        "a batch that is sent again is the same events"
    );
    assert_ne!(
        ids[0], ids[1],
        "two records that say the same are two events"
    );
    assert_eq!(header(&found[0], "dialect"), "otlp");
    let partly = request(&[u64::MAX, 1]).encode_to_vec();
    let answer = client
        .send(Request::post("/v1/logs").body(partly.into()).unwrap())
        .await;
    let reply = ExportLogsServiceResponse::decode(answer.body.as_bytes()).unwrap();
    let partial = reply.partial_success.unwrap();
    assert_eq!((answer.status, partial.rejected_log_records), (200, 1));
    assert!(partial.error_message.starts_with("event 0: `timeUnixNano`"));
    let c = &client;
    check(
        c,
        "/v1/logs",
        &[JSON],
        "{}",
        expect!["200 application/json {}"],
    )
    .await;
    check(c, "/v1/logs", &[JSON], "[]", expect![[r#"400 application/json {"code":3,"message":"invalid_message: the body is no OTLP request for logs: an object is expected"}"#]]).await;
    check(c, "/otlp/v1/logs", &[JSON], r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"timeUnixNano":"18446744073709551615"}]}]}]}"#, expect![[r#"200 application/json {"partialSuccess":{"errorMessage":"event 0: `timeUnixNano`: 18446744073709551615 lies beyond the year 2261","rejectedLogRecords":"1"}}"#]]).await;
    let limited = Client::new(&cluster, &TIGHT);
    let (first, answer) = tokio::join!(
        limited.ask("POST", "/v1/logs", &[JSON], "{}"),
        limited.ask("POST", "/v1/logs", &[JSON], "{}"),
    );
    assert_eq!(shown(&first), "200 application/json {}");
    expect![[r#"503 (retry after 1) application/json {"code":14,"message":"rate_limited: more requests than this client may send; the same request conforms in 1 s"}"#]]
        .assert_eq(&shown(&answer));
}

#[tokio::test]
async fn elasticsearch_clients_get_the_bytes_that_they_look_for() {
    let cluster = cluster();
    let client = Client::new(&cluster, &["--max-event-bytes=200"]);
    let c = &client;
    let body = "{\"create\":{\"_index\":\"app\",\"_id\":\"7\"}}\n{\"message\":\"x\"}\n";
    check(c, "/_bulk", &[], body, expect![[r#"200 application/json {"took":0,"errors":false,"items":[{"create":{"_index":"app","_id":"7","_version":1,"result":"created","_shards":{"total":1,"successful":1,"failed":0},"_seq_no":0,"_primary_term":1,"status":201}}]}"#]]).await;
    let found = records(&cluster, 1);
    assert_eq!(header(&found[0], "event-id"), "7");
    assert_eq!(header(&found[0], "dialect"), "elasticsearch");
    assert!(value(&found[0]).contains(r#""sourceIndex":"app""#));
    let long = format!("{{\"message\":\"{}\"}}", "x".repeat(200));
    let body = format!(
        "{{\"index\":{{\"_id\":\"1\"}}}}\n[]\n{{\"delete\":{{\"_id\":\"2\"}}}}\n{{\"index\":{{\"_id\":\"3\"}}}}\n{long}\n{{\"index\":{{\"_id\":\"4\"}}}}\n{{}}\n"
    );
    check(c, "/app/_bulk", &[], &body, expect![[r#"200 application/json {"took":0,"errors":true,"items":[{"index":{"_index":"app","_id":"1","error":{"type":"document_parsing_exception","reason":"an event is a JSON object, this is an array"},"status":400}},{"delete":{"_index":"app","_id":"2","error":{"type":"illegal_argument_exception","reason":"`delete` is not supported: events are written and never changed"},"status":400}},{"index":{"_index":"app","_id":"3","error":{"type":"illegal_argument_exception","reason":"an event may have 200 bytes, this has 234"},"status":413}},{"index":{"_index":"app","_id":"4","_version":1,"result":"created","_shards":{"total":1,"successful":1,"failed":0},"_seq_no":0,"_primary_term":1,"status":201}}]}"#]]).await;
    check(c, "/_bulk", &[], "x\n{}", expect![[r#"400 application/json {"error":{"reason":"invalid_message: Malformed action/metadata line [1], expected value at line 1 column 1","root_cause":[{"reason":"invalid_message: Malformed action/metadata line [1], expected value at line 1 column 1","type":"illegal_argument_exception"}],"type":"illegal_argument_exception"},"status":400}"#]]).await;
    check(c, "/app/_doc/9", &[], "{}", expect![[r#"201 application/json {"_index":"app","_id":"9","_version":1,"result":"created","_shards":{"total":1,"successful":1,"failed":0},"_seq_no":0,"_primary_term":1,"status":201}"#]]).await;
    check(c, "/app/_doc", &[], "[1]", expect![[r#"400 application/json {"error":{"reason":"an event is a JSON object, this is an array","root_cause":[{"reason":"an event is a JSON object, this is an array","type":"document_parsing_exception"}],"type":"document_parsing_exception"},"status":400}"#]]).await;
    for (method, path) in [
        ("GET", "/"),
        ("HEAD", "/"),
        ("GET", "/_license"),
        ("GET", "/_cluster/health"),
        ("GET", "/_nodes/_all/http"),
        ("PUT", "/_index_template/x"),
        ("POST", "/_bulk"),
        ("PUT", "/app/_create/1"),
    ] {
        let answer = c.ask(method, path, &[], "{\"index\":{}}\n{}").await;
        assert!(
            answer.status < 300 || path == "/app/_create/1",
            "{method} {path}: {}",
            answer.body
        );
        assert_eq!(
            answer.header("x-elastic-product"),
            Some("Elasticsearch"),
            "{path}"
        );
    }
    let limited = Client::new(&cluster, &TIGHT);
    let bulk = "{\"index\":{}}\n{}\n";
    // Both are looked at before either waits for Kafka.
    let (first, answer) = tokio::join!(
        limited.ask("POST", "/_bulk", &[], bulk),
        limited.ask("POST", "/_bulk", &[], bulk),
    );
    assert_eq!((first.status, answer.status), (200, 429));
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert!(answer.body.contains("es_rejected_execution_exception"));
}

#[tokio::test]
async fn loki_clients_hear_204_and_a_line_of_text_else() {
    let cluster = cluster();
    let client = Client::new(&cluster, &[]);
    let c = &client;
    let path = "/loki/api/v1/push";
    let good = r#"{"streams":[{"stream":{"app":"shop"},"values":[["1700000000000000001","a"],["1700000000000000002","b"]]}]}"#;
    for _ in 0..2 {
        check(
            c,
            path,
            &[JSON],
            good,
            expect!["204 text/plain; charset=utf-8 "],
        )
        .await;
    }
    let found = records(&cluster, 4);
    let ids: Vec<_> = found
        .iter()
        .map(|record| header(record, "event-id"))
        .collect();
    assert_eq!(
        ids[..2],
        ids[2..],
        "a push that is sent again is the same events"
    );
    assert_eq!(header(&found[0], "dialect"), "loki");
    let partly = r#"{"streams":[{"stream":{},"values":[["x","a"],["1700000000000000002","b"]]}]}"#;
    check(c, path, &[JSON], partly, expect![[r#"
        400 text/plain; charset=utf-8 1 entries were kept, 1 were refused: event 0: the time of an entry is a text of nanoseconds since 1970, such as "1700000000000000000"
    "#]]).await;
    check(c, path, &[("content-encoding", "snappy")], "x", expect![[r#"
        400 text/plain; charset=utf-8 invalid_message: the body is no push request of Loki's: snappy: corrupt input (header mismatch; expected 120 decompressed bytes but got 0)
    "#]]).await;
    assert_eq!(client.get("/ready").await.body, "ready\n");
}

#[tokio::test]
async fn hec_clients_hear_texts_and_numbers() {
    let cluster = cluster();
    let folder = tempfile::tempdir().unwrap();
    let key = NewKey::make("hec", &[Scope::Ingest], None, None, [1; 32]).unwrap();
    let file = folder.path().join("keys.toml");
    std::fs::write(&file, &key.entry).unwrap();
    let client = Client::new(&cluster, &["--api-keys", file.to_str().unwrap()]);
    let token = format!("Splunk {}", key.credential.to_token());
    let c = &client;
    let auth = [("authorization", token.as_str())];
    check(c, "/services/collector", &[], "{}", expect![[r#"401 application/json {"code":2,"reason":"key_missing: this service needs an API key: send `Authorization: Bearer ID.SECRET`","text":"Token is required"}"#]]).await;
    check(c, "/services/collector", &[("authorization", "Splunk hec.no")], "{}", expect![[r#"403 application/json {"code":4,"reason":"key_unknown: there is no such API key, or its secret is another one","text":"Invalid token"}"#]]).await;
    check(
        c,
        "/services/collector/event/1.0",
        &auth,
        r#"{"event":"a"}{"event":"b"}"#,
        expect![[r#"200 application/json {"code":0,"text":"Success"}"#]],
    )
    .await;
    check(c, "/services/collector/event", &auth, r#"{"event":"a"}{"event":""}"#, expect![[r#"400 application/json {"accepted":1,"code":13,"invalid-event-number":1,"reason":"Event field cannot be blank","refused":1,"text":"Event field cannot be blank"}"#]]).await;
    check(
        c,
        "/services/collector/event",
        &auth,
        "",
        expect![[
            r#"400 application/json {"code":5,"reason":"empty_body: No data","text":"No data"}"#
        ]],
    )
    .await;
    check(
        c,
        "/services/collector/raw?host=h&source=s",
        &auth,
        "one\ntwo",
        expect![[r#"200 application/json {"code":0,"text":"Success"}"#]],
    )
    .await;
    check(
        c,
        "/services/collector/ack",
        &auth,
        "{}",
        expect![[r#"400 application/json {"code":14,"text":"ACK is disabled"}"#]],
    )
    .await;
    let healthy = client.get("/services/collector/health/1.0").await;
    assert_eq!(
        shown(&healthy),
        r#"200 application/json {"code":17,"text":"HEC is healthy"}"#
    );
    let found = records(&cluster, 5);
    assert_eq!(header(&found[4], "dialect"), "hec");
    assert!(
        value(&found[4]).contains(r#""message":"two","resourceId":"h","metadata":{"source":"s"}"#)
    );
}

#[tokio::test]
async fn text_is_a_message_a_line_and_what_is_switched_off_is_not_there() {
    let cluster = cluster();
    let client = Client::new(&cluster, &["--dialect=native"]);
    let text = [
        ("content-type", "text/plain; charset=utf-8"),
        ("idempotency-key", "k"),
    ];
    check(
        &client,
        "/logs",
        &text,
        "one\n\n two \r\n",
        expect![[r#"
        200 application/json {"accepted":2,"refused":0,"errors":[]}
    "#]],
    )
    .await;
    let found = records(&cluster, 2);
    assert!(
        value(&found[1]).ends_with(r#""message":" two "}"#),
        "{}",
        value(&found[1])
    );
    let expected = EventId::from_idempotency_key(None, "k", 1, br#"{"message":" two "}"#);
    assert_eq!(header(&found[1], "event-id"), expected.as_str());
    assert_eq!(header(&found[1], "dialect"), "text");
    for path in [
        "/v1/logs",
        "/_bulk",
        "/loki/api/v1/push",
        "/services/collector",
    ] {
        assert_eq!(
            client.ask("POST", path, &[], "{}").await.status,
            404,
            "{path}"
        );
    }
    assert_eq!(client.get("/").await.json()["name"], "ingest-gateway");
}
