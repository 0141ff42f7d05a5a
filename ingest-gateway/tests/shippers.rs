//! The requests of shippers that cannot be installed for the live tests, as they send them, and the bytes that each of
//! them looks for in the reply (their sources: Beats' and Logstash's Elasticsearch outputs, Vector's elasticsearch sink,
//! Fluent Bit's es, splunk, loki and http outputs).

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod support;

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use rdkafka::Message as _;
use support::{Client, cluster, records};

type Headers = &'static [(&'static str, &'static str)];

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

fn created(id: &str) -> String {
    format!(
        r#""_id":"{id}","_version":1,"result":"created","_shards":{{"total":1,"successful":1,"failed":0}},"_seq_no":0,"_primary_term":1,"status":201"#
    )
}

/// The values of the newest records, in the order of the request.
fn values(cluster: &support::Cluster, count: usize) -> Vec<serde_json::Value> {
    let records = records(cluster, count);
    let values = records.iter().map(|record| record.payload().unwrap());
    values
        .map(|value| serde_json::from_slice(value).unwrap())
        .collect()
}

#[tokio::test]
async fn filebeat_connects_and_publishes() {
    const BEAT: Headers = &[
        (
            "user-agent",
            "Elastic-filebeat/8.15.0 (linux; amd64; 0f9f5b7; 2024-08-05 00:00:00 +0000 UTC)",
        ),
        ("x-elastic-product-origin", "observability"),
        ("accept", "application/json"),
        ("content-type", "application/json; charset=UTF-8"),
    ];
    const GZIPPED: Headers = &[
        ("user-agent", "Elastic-filebeat/8.15.0"),
        ("content-type", "application/json; charset=UTF-8"),
        ("content-encoding", "gzip"),
    ];
    let cluster = cluster();
    let client = Client::new(&cluster, &[]);
    // It reads the version, and refuses a server that is older than itself by a major one.
    let hello = client.ask("GET", "/", BEAT, "").await.json();
    assert!(
        hello["version"]["number"]
            .as_str()
            .unwrap()
            .starts_with("8.")
    );
    let license = client.ask("GET", "/_license?human=false", BEAT, "").await;
    assert_eq!(license.json()["license"]["status"], "active");
    let body = "{\"create\":{\"_index\":\"filebeat-8.15.0\"}}\n\
        {\"@timestamp\":\"2024-08-10T09:08:07.123Z\",\"message\":\"GET /cart 500\",\"log\":{\"offset\":17,\"file\":{\"path\":\"/var/log/shop.log\"},\"level\":\"error\"},\"input\":{\"type\":\"filestream\"},\"ecs\":{\"version\":\"8.0.0\"},\"host\":{\"name\":\"web-1\"},\"agent\":{\"type\":\"filebeat\",\"version\":\"8.15.0\"}}\n\
        {\"create\":{\"_index\":\"filebeat-8.15.0\",\"_id\":\"fingerprint-1\",\"pipeline\":\"p\"}}\n\
        {\"@timestamp\":\"2024-08-10T09:08:08.123Z\",\"message\":\"b\"}\n";
    let path = "/_bulk?filter_path=errors%2Citems.%2A.error%2Citems.%2A.status";
    let answer = client.ask("POST", path, GZIPPED, gzip(body)).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("x-elastic-product"), Some("Elasticsearch"));
    // An item below 300 is done, 409 and 429 and 5xx have meanings of their own.
    let items = answer.json()["items"].as_array().unwrap().clone();
    let statuses: Vec<_> = items
        .iter()
        .map(|item| item["create"]["status"].clone())
        .collect();
    assert_eq!(statuses, [201, 201]);
    assert!(answer.body.ends_with(&format!(
        "{{\"create\":{{\"_index\":\"filebeat-8.15.0\",{}}}}}]}}",
        created("fingerprint-1")
    )));
    let events = values(&cluster, 2);
    assert_eq!(events[0]["level"], "error");
    assert_eq!(events[0]["resourceId"], "web-1");
    assert_eq!(events[0]["timestamp"], "2024-08-10T09:08:07.123Z");
    assert_eq!(events[0]["sourceIndex"], "filebeat-8.15.0");
    assert_eq!(events[0]["log"]["file"]["path"], "/var/log/shop.log");
}

#[tokio::test]
async fn logstash_connects_and_publishes() {
    const LOGSTASH: Headers = &[
        (
            "user-agent",
            "logstash/8.15.0 (OS=Linux; JVM=Eclipse Adoptium 21) logstash-output-elasticsearch/11.22.7",
        ),
        ("x-elastic-product-origin", "logstash-output-elasticsearch"),
        ("content-type", "application/json"),
    ];
    let cluster = cluster();
    let client = Client::new(&cluster, &[]);
    for (method, path) in [("HEAD", "/"), ("GET", "/"), ("GET", "/_license")] {
        let answer = client.ask(method, path, LOGSTASH, "").await;
        assert_eq!(answer.status, 200, "{method} {path}");
        assert_eq!(answer.header("x-elastic-product"), Some("Elasticsearch"));
    }
    // Of a data stream: no id, and the field that routes is null.
    let body = "{\"create\":{\"_id\":null,\"_index\":\"logs-generic-default\",\"routing\":null}}\n\
        {\"@timestamp\":\"2024-08-10T09:08:07.123456789Z\",\"@version\":\"1\",\"message\":\"a\",\"event\":{\"original\":\"a\"},\"data_stream\":{\"type\":\"logs\",\"dataset\":\"generic\",\"namespace\":\"default\"}}\n\
        {\"create\":{\"_id\":null,\"_index\":\"logs-generic-default\",\"routing\":null}}\n[]\n";
    let path = "/_bulk?filter_path=errors,items.*.error,items.*.status";
    let answer = client.ask("POST", path, LOGSTASH, body).await;
    let reply = answer.json();
    assert_eq!((answer.status, &reply["errors"]), (200, &true.into()));
    assert_eq!(reply["items"][0]["create"]["status"], 201);
    // Goes to its dead letter queue, because it is a 400.
    let refused = &reply["items"][1]["create"];
    assert_eq!(
        (&refused["status"], &refused["error"]["type"]),
        (&400.into(), &"document_parsing_exception".into())
    );
    assert_eq!(values(&cluster, 1)[0]["@version"], "1");
}

#[tokio::test]
async fn vector_finds_a_healthy_server_and_the_bytes_that_mean_an_error() {
    const VECTOR: Headers = &[
        ("user-agent", "Vector/0.49.0 (x86_64-unknown-linux-gnu)"),
        ("content-type", "application/x-ndjson"),
        ("accept-encoding", "zstd,gzip,deflate,br"),
    ];
    let cluster = cluster();
    let client = Client::new(&cluster, &[]);
    let health = client.ask("GET", "/_cluster/health", VECTOR, "").await;
    assert_eq!(health.status, 200);
    let version = client.ask("GET", "/", VECTOR, "").await.json();
    assert!(version["version"]["number"].is_string());
    let one = "{\"create\":{\"_index\":\"vector-2024.08.10\"}}\n{\"host\":\"web-1\",\"message\":\"a\",\"source_type\":\"file\",\"timestamp\":\"2024-08-10T09:08:07.123456789Z\"}\n";
    let good = client.ask("POST", "/_bulk?timeout=60s", VECTOR, one).await;
    assert!(good.status == 200 && !good.body.contains("\"errors\":true"));
    let bad = format!("{one}{{\"create\":{{\"_index\":\"v\"}}}}\n7\n");
    let partly = client.ask("POST", "/_bulk?timeout=60s", VECTOR, bad).await;
    assert!(partly.status == 200 && partly.body.contains("\"errors\":true"));
    assert_eq!(values(&cluster, 2)[0]["host"], "web-1");
}

#[tokio::test]
async fn fluent_bit_is_content_in_each_of_its_outputs() {
    const BULK: Headers = &[
        ("user-agent", "Fluent-Bit"),
        ("content-type", "application/x-ndjson"),
    ];
    const JSON: Headers = &[
        ("user-agent", "Fluent-Bit"),
        ("content-type", "application/json"),
    ];
    const STREAM: Headers = &[("content-type", "application/stream+json")];
    let cluster = cluster();
    let client = Client::new(&cluster, &[]);
    // es: what is not exactly this beginning is parsed, up to 512 KiB of it.
    let bulk = "{\"create\":{\"_index\":\"fluent-bit\"}}\n{\"@timestamp\":\"2024-08-10T09:08:07.123Z\",\"log\":\"a line\",\"stream\":\"stderr\",\"kubernetes\":{\"pod\":{\"name\":\"shop-7\"}}}\n";
    let answer = client.ask("POST", "/_bulk", BULK, bulk).await;
    assert_eq!(answer.status, 200);
    let begins =
        "{\"took\":0,\"errors\":false,\"items\":[{\"create\":{\"_index\":\"fluent-bit\",\"_id\":\"";
    assert!(answer.body.starts_with(begins), "{}", answer.body);
    // splunk: exactly 200; loki: 204; http: 200 to 205.
    let hec = "{\"time\":1723280887.123,\"event\":{\"log\":\"b line\"},\"host\":\"web-1\"}";
    let answer = client
        .ask("POST", "/services/collector/event", JSON, hec)
        .await;
    assert_eq!(
        (answer.status, answer.body.as_str()),
        (200, r#"{"code":0,"text":"Success"}"#)
    );
    let loki = r#"{"streams":[{"stream":{"job":"fluent-bit"},"values":[["1723280887123000000","{\"log\":\"c line\"}"]]}]}"#;
    let answer = client.ask("POST", "/loki/api/v1/push", JSON, loki).await;
    assert_eq!((answer.status, answer.body.as_str()), (204, ""));
    let json = r#"[{"date":1723280887.123,"log":"d"},{"date":1723280887.124,"log":"e"}]"#;
    let answer = client.ask("POST", "/logs", JSON, json).await;
    assert_eq!(
        (answer.status, answer.body.as_str()),
        (200, "{\"accepted\":2,\"refused\":0,\"errors\":[]}\n")
    );
    let stream = "{\"date\":1723280887.123,\"log\":\"f\"}{\"date\":1,\"log\":\"g\"}";
    let answer = client.ask("POST", "/logs", STREAM, stream).await;
    assert_eq!(
        answer.status, 400,
        "objects without line breaks are told: {}",
        answer.body
    );
    let messages: Vec<_> = values(&cluster, 5)
        .iter()
        .map(|event| event["message"].clone())
        .collect();
    assert_eq!(messages[..3], ["a line", "b line", "{\"log\":\"c line\"}"]);
}
