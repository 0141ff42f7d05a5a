//! Over a real socket, with the client that the generator uses.

use super::*;
use crate::http_client::{HttpClient, Target};
use crate::http_reply::HttpReply;

const ACTION: &str = "{\"index\":{\"_index\":\"logs-1\",\"_id\":\"ID\"}}\n{\"a\":1}\n";

struct Fixture {
    server: NullElasticsearch,
    client: HttpClient,
}

impl Fixture {
    async fn start(settings: NullSettings) -> Self {
        let listen = "127.0.0.1:0".parse().unwrap();
        let server = NullElasticsearch::start(listen, settings).await.unwrap();
        let address = server.address().to_string();
        let client = HttpClient::new(&address, Duration::from_secs(10));
        Self { server, client }
    }

    async fn post(&mut self, path: &str, headers: &str, body: &[u8]) -> HttpReply {
        let target = Target {
            address: self.server.address().to_string(),
            path: path.to_owned(),
        };
        let mut request = Vec::new();
        target.write_post(headers, body, &mut request);
        self.client.exchange(&request).await.unwrap()
    }

    async fn send(&mut self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let reply = self.client.exchange(request.as_bytes()).await.unwrap();
        (
            reply.status,
            serde_json::from_slice(&reply.body).unwrap_or_default(),
        )
    }
}

fn bulk_of(ids: &[&str]) -> String {
    ids.iter().map(|id| ACTION.replace("ID", id)).collect()
}

fn statuses(reply: &HttpReply) -> Vec<u64> {
    let body: Value = serde_json::from_slice(&reply.body).unwrap();
    let items = body["items"].as_array().unwrap();
    let statuses: Vec<u64> = items
        .iter()
        .map(|item| {
            item.as_object().unwrap().values().next().unwrap()["status"]
                .as_u64()
                .unwrap()
        })
        .collect();
    let errors = statuses.iter().any(|status| *status >= 300);
    assert_eq!(body["errors"], Value::Bool(errors));
    statuses
}

#[tokio::test]
async fn a_bulk_is_counted_and_answered_item_by_item() {
    let mut fixture = Fixture::start(NullSettings::default()).await;
    let body = bulk_of(&["1", "2", "1"]);
    let reply = fixture
        .post("/_bulk?filter_path=items", "", body.as_bytes())
        .await;
    assert_eq!(statuses(&reply), [201, 201, 201]);
    let counts = fixture.server.counts();
    assert_eq!(
        (counts.bulks, counts.items, counts.document_bytes),
        (1, 3, 21)
    );
    assert_eq!(counts.body_bytes, body.len() as u64);
    assert!(counts.seconds > 0.0);
}

#[tokio::test]
async fn a_wrong_frame_is_refused_counted_and_named() {
    let mut fixture = Fixture::start(NullSettings {
        check_ids: true,
        ..NullSettings::default()
    })
    .await;
    let cut = bulk_of(&["1", "2"]).trim_end().to_owned();
    let broken = bulk_of(&["1"]).replace("{\"a\":1}", "{\"a\":\n1}");
    for (body, reason) in [
        (
            cut.as_str(),
            "line 4: the line does not end with a line break",
        ),
        (
            &broken,
            "line 2: a document in braces on one line belongs here",
        ),
        ("", "line 1: the body is empty"),
    ] {
        let reply = fixture.post("/_bulk", "", body.as_bytes()).await;
        assert_eq!(reply.status, 400);
        assert!(
            String::from_utf8(reply.body).unwrap().contains(reason),
            "{reason}"
        );
    }
    let counts = fixture.server.counts();
    assert_eq!((counts.frame_errors, counts.items, counts.ids), (3, 0, 0));
    assert!(counts.first_frame_error.unwrap().starts_with("line 4: "));
}

#[tokio::test]
async fn ids_that_come_twice_are_told_apart() {
    let mut fixture = Fixture::start(NullSettings {
        check_ids: true,
        ..NullSettings::default()
    })
    .await;
    let reply = fixture
        .post("/_bulk", "", bulk_of(&["1", "2", "1"]).as_bytes())
        .await;
    assert_eq!(statuses(&reply), [201, 201, 200]);
    let create = bulk_of(&["2", "3"]).replace("index\":{", "create\":{");
    let reply = fixture.post("/logs-1/_bulk", "", create.as_bytes()).await;
    assert_eq!(statuses(&reply), [409, 201]);
    let counts = fixture.server.counts();
    assert_eq!((counts.ids, counts.repeated_ids, counts.items), (3, 2, 5));
    assert_eq!(fixture.send("POST", "/reset", "").await.0, 204);
    assert_eq!(fixture.server.counts(), Counts::default());
    let reply = fixture.post("/_bulk", "", bulk_of(&["1"]).as_bytes()).await;
    assert_eq!(statuses(&reply), [201], "a reset forgets ids");
}

#[tokio::test]
async fn compressed_bulks_are_read_and_bombs_are_refused() {
    use flate2::{Compression, write::GzEncoder};
    use std::io::Write as _;
    let mut fixture = Fixture::start(NullSettings::default()).await;
    let gzip = |bytes: &[u8]| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let header = "content-encoding: gzip\r\n";
    let reply = fixture
        .post("/_bulk", header, &gzip(bulk_of(&["1"]).as_bytes()))
        .await;
    assert_eq!(statuses(&reply), [201]);
    let bomb = gzip(&vec![b' '; BODY_BYTES_MAX + 1]);
    assert_eq!(fixture.post("/_bulk", header, &bomb).await.status, 400);
    assert_eq!(fixture.post("/_bulk", header, b"plain").await.status, 400);
    assert_eq!(
        fixture
            .post("/_bulk", "content-encoding: br\r\n", b"x")
            .await
            .status,
        400
    );
}

#[tokio::test]
async fn failures_come_as_often_as_asked() {
    let mut fixture = Fixture::start(NullSettings {
        item_429_per_million: 250_000,
        ..NullSettings::default()
    })
    .await;
    let ids: Vec<String> = (0..4_000).map(|n| n.to_string()).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let reply = fixture.post("/_bulk", "", bulk_of(&ids).as_bytes()).await;
    let refused = statuses(&reply).iter().filter(|s| **s == 429).count() as u64;
    let counts = fixture.server.counts();
    assert!((800..1_200).contains(&refused), "{refused}");
    assert_eq!((counts.items_429, counts.items), (refused, 4_000 - refused));

    let mut fixture = Fixture::start(NullSettings {
        bulk_503_per_million: 1_000_000,
        ..NullSettings::default()
    })
    .await;
    let reply = fixture.post("/_bulk", "", bulk_of(&["1"]).as_bytes()).await;
    assert_eq!(reply.status, 503);
    assert_eq!(fixture.server.counts().bulks_503, 1);
}

#[tokio::test]
async fn a_template_is_absent_until_it_is_put() {
    let mut fixture = Fixture::start(NullSettings::default()).await;
    let path = "/_index_template/logflow";
    assert_eq!(fixture.send("GET", path, "").await.0, 404);
    let put = fixture.send("PUT", path, r#"{"version":1}"#).await;
    assert_eq!(put, (200, json!({ "acknowledged": true })));
    let (status, found) = fixture.send("GET", path, "").await;
    assert_eq!(status, 200);
    assert_eq!(found["index_templates"][0]["index_template"]["version"], 1);
    assert_eq!(
        fixture.send("GET", "/_cluster/health", "").await.1["status"],
        "green"
    );
    assert_eq!(fixture.send("GET", "/counts", "").await.1["bulks"], 0);
    assert_eq!(fixture.send("GET", "/nowhere", "").await.0, 404);
}
