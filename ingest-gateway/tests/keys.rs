//! What a gateway with a key file takes from whom, and what it writes beside the event.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod support;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use axum::http::Request;
use log_event::tenant::Tenant;
use rdkafka::Message as _;
use rdkafka::message::{Headers as _, OwnedMessage};
use service::access::Scope;
use service::access::api_keys::NewKey;
use support::{Client, cluster, records};

fn key(id: &str, scope: Scope, tenant: Option<&str>, random: u8) -> NewKey {
    let tenant: Option<Tenant> = tenant.map(|name| name.parse().unwrap());
    NewKey::make(id, &[scope], tenant.as_ref(), None, [random; 32]).unwrap()
}

fn bearer(key: &NewKey) -> String {
    format!("Bearer {}", key.credential.to_token())
}

fn written(folder: &Path, keys: &[&NewKey]) -> PathBuf {
    let path = folder.join("keys.toml");
    let text: String = keys.iter().map(|key| key.entry.as_str()).collect();
    std::fs::write(&path, text).unwrap();
    path
}

fn header(record: &OwnedMessage, name: &str) -> Option<String> {
    let headers = record.headers().unwrap();
    let found = headers.iter().find(|header| header.key == name)?;
    Some(String::from_utf8(found.value.unwrap().to_vec()).unwrap())
}

#[tokio::test]
async fn only_a_key_for_ingest_is_let_in_and_its_tenant_is_kept_with_the_event() {
    let cluster = cluster();
    let folder = tempfile::tempdir().unwrap();
    let shop = key("shop", Scope::Ingest, Some("shop"), 1);
    let bank = key("bank", Scope::Ingest, Some("bank"), 2);
    let nobody_s = key("nobody-s", Scope::Ingest, None, 3);
    let reader = key("reader", Scope::Query, Some("shop"), 4);
    let path = written(folder.path(), &[&shop, &bank, &nobody_s, &reader]);
    let client = Client::new(&cluster, &["--api-keys", path.to_str().unwrap()]);
    let wrong = format!("{}x", bearer(&shop));
    for (authorization, status, code) in [
        ("", 401, "key_missing"),
        ("Bearer shop", 401, "key_unreadable"),
        (&wrong, 401, "key_unknown"),
        (&bearer(&reader), 403, "scope_missing"),
    ] {
        let answer = client.post("{}", &[("authorization", authorization)]).await;
        let answer = match authorization {
            "" => client.post("{}", &[]).await,
            _ => answer,
        };
        assert_eq!(
            (answer.status, answer.json()["code"].as_str()),
            (status, Some(code))
        );
        assert_eq!(answer.header("www-authenticate").is_some(), status == 401);
        assert!(!answer.body.contains(&shop.credential.secret));
    }
    let event = r#"{"eventId":"order-17","message":"x"}"#;
    for key in [&shop, &bank, &nobody_s] {
        let sent = [
            client.post(event, &[("authorization", &bearer(key))]).await,
            client
                .post(
                    "{}",
                    &[("authorization", &bearer(key)), ("idempotency-key", "k")],
                )
                .await,
        ];
        assert_eq!(sent.map(|answer| answer.status), [200, 200]);
    }
    let records = records(&cluster, 6);
    let tenants: Vec<_> = records
        .iter()
        .map(|record| header(record, "tenant"))
        .collect();
    let [shop, bank] = ["shop", "bank"].map(|name| Some(name.to_owned()));
    assert_eq!(
        tenants,
        [shop.clone(), shop, bank.clone(), bank, None, None]
    );
    let mut ids: Vec<_> = records
        .iter()
        .map(|record| header(record, "event-id"))
        .collect();
    assert_eq!(ids[4].as_deref(), Some("order-17"));
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 6, "tenants do not overwrite each other's events");
}

#[tokio::test]
async fn what_clients_ask_beside_sending_is_told_to_who_has_a_key_and_that_it_runs_to_all() {
    let cluster = cluster();
    let folder = tempfile::tempdir().unwrap();
    let shop = key("shop", Scope::Ingest, None, 1);
    let path = written(folder.path(), &[&shop]);
    let path = path.to_str().unwrap();
    for dialects in ["native,otlp,elasticsearch,loki,hec", "native"] {
        let client = Client::new(&cluster, &["--api-keys", path, "--dialect", dialects]);
        let beside: &[&str] = match dialects {
            "native" => &["/"],
            _ => &[
                "/",
                "/_license",
                "/_cluster/health",
                "/_ilm/policy/filebeat",
                "/services/collector/ack",
            ],
        };
        for path in beside {
            let status =
                async |headers: &[(&str, &str)]| client.ask("GET", path, headers, "").await.status;
            let bearer = bearer(&shop);
            assert_eq!(status(&[]).await, 401, "{path}");
            let wrong = [("authorization", "Bearer shop.wrong")];
            assert!(matches!(status(&wrong).await, 401 | 403), "{path}");
            assert!(status(&[("authorization", &bearer)]).await < 401, "{path}");
        }
        assert_eq!(client.get("/healthz").await.status, 200);
        if dialects != "native" {
            // The same under the names that two dialects have for it.
            for path in ["/ready", "/services/collector/health"] {
                assert_eq!(client.get(path).await.status, 200, "{path}");
            }
        }
    }
}

#[tokio::test]
async fn a_changed_key_file_counts_without_a_restart_and_a_bad_one_is_told() {
    let cluster = cluster();
    let folder = tempfile::tempdir().unwrap();
    let [old, new] = [1, 2].map(|n| key(&format!("key-{n}"), Scope::Ingest, None, n));
    let path = written(folder.path(), &[&old]);
    let client = Client::new(&cluster, &["--api-keys", path.to_str().unwrap()]);
    let status = async |key: &NewKey| {
        let authorization = bearer(key);
        client
            .post("{}", &[("authorization", &authorization)])
            .await
            .status
    };
    let is_stale = async || {
        let metrics = client.get("/metrics").await.body;
        metrics.contains("\ningest_gateway_api_keys_stale 1\n")
    };
    assert_eq!((status(&old).await, status(&new).await), (200, 401));
    std::fs::write(&path, "[[key]]").unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_stale().await {
        assert!(
            Instant::now() < deadline,
            "the fault of the file is not told"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!((status(&old).await, status(&new).await), (200, 401));
    written(folder.path(), &[&new]);
    while is_stale().await {
        assert!(Instant::now() < deadline, "the new file is not taken over");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!((status(&old).await, status(&new).await), (401, 200));
}

#[tokio::test]
async fn what_is_refused_is_counted_by_code_and_by_the_tenant_of_its_key() {
    let cluster = cluster();
    let folder = tempfile::tempdir().unwrap();
    let shop = key("shop", Scope::Ingest, Some("shop"), 1);
    let path = written(folder.path(), &[&shop]);
    let args = ["--api-keys", path.to_str().unwrap(), "--max-connections=7"];
    let client = Client::new(&cluster, &args);
    let authorization = bearer(&shop);
    let authorization = [("authorization", authorization.as_str())];
    for (body, headers) in [
        ("", &authorization[..]),
        ("[1]", &authorization),
        ("{}", &[]),
    ] {
        assert!(client.post(body, headers).await.status >= 400);
    }
    let metrics = client.get("/metrics").await.body;
    for line in [
        r#"ingest_gateway_requests_refused_total{code="empty_body",tenant="shop"} 1"#,
        r#"ingest_gateway_requests_refused_total{code="no_event_accepted",tenant="shop"} 1"#,
        r#"ingest_gateway_requests_refused_total{code="key_missing",tenant=""} 1"#,
        r#"ingest_gateway_requests_refused_total{code="overloaded",tenant=""} 0"#,
        r#"ingest_gateway_kafka_delivery_failures_total{cause="timeout"} 0"#,
        "ingest_gateway_open_connections_limit 7",
    ] {
        assert!(
            metrics.lines().any(|found| found == line),
            "{line}\n{metrics}"
        );
    }
}

#[tokio::test]
async fn a_key_sends_in_its_dialects_alone() {
    let cluster = cluster();
    let folder = tempfile::tempdir().unwrap();
    let agent = key("agent", Scope::Ingest, None, 1);
    let path = folder.path().join("keys.toml");
    std::fs::write(&path, format!("{}dialects = [\"hec\"]\n", agent.entry)).unwrap();
    let client = Client::new(&cluster, &["--api-keys", path.to_str().unwrap()]);
    let authorization = bearer(&agent);
    let answer = client
        .post("{}", &[("authorization", &authorization)])
        .await;
    assert_eq!(
        (answer.status, answer.json()["code"].as_str()),
        (403, Some("dialect_not_allowed"))
    );
    let event = Request::post("/services/collector").header("authorization", authorization);
    let event = event.body(r#"{"event":"x"}"#.into()).unwrap();
    assert_eq!(client.send(event).await.status, 200);
}

#[tokio::test]
async fn an_address_that_sends_no_valid_key_again_and_again_is_slowed_down_and_locks_nobody_out() {
    let cluster = cluster();
    let folder = tempfile::tempdir().unwrap();
    let good = key("good", Scope::Ingest, None, 1);
    let path = written(folder.path(), &[&good]);
    let client = Client::new(&cluster, &["--api-keys", path.to_str().unwrap()]);
    let mut statuses = Vec::new();
    for _ in 0..300 {
        let answer = client.post("{}", &[("authorization", "Bearer a.b")]).await;
        statuses.push(answer.status);
        if answer.status == 429 {
            assert_eq!(answer.json()["code"], "too_many_denials");
            assert_eq!(answer.header("retry-after"), Some("1"));
        }
    }
    assert!(statuses[..100].iter().all(|status| *status == 401));
    assert!(statuses[100..].contains(&429));
    let authorization = bearer(&good);
    let answer = client
        .post("{}", &[("authorization", &authorization)])
        .await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn what_is_left_of_the_stricter_limit_is_told_where_that_is_wanted() {
    let cluster = cluster();
    let folder = tempfile::tempdir().unwrap();
    let agent = key("agent", Scope::Ingest, None, 1);
    let path = folder.path().join("keys.toml");
    let quota = "requests-per-second = 1\nbytes-per-second = \"1KiB\"\nburst = \"60s\"\n";
    std::fs::write(&path, format!("{}{quota}", agent.entry)).unwrap();
    let args = [
        "--api-keys",
        path.to_str().unwrap(),
        "--rate-limit-headers",
        "--rate-limit-requests=1000",
    ];
    let client = Client::new(&cluster, &args);
    let authorization = bearer(&agent);
    let authorization = [("authorization", authorization.as_str())];
    let answer = client.post("{}", &authorization).await;
    assert_eq!(
        answer.header("ratelimit-policy"),
        Some(r#""requests";q=60;w=60, "bytes";q=61440;qu="content-bytes";w=60"#)
    );
    // Of the key: its rates come back a second after they were used.
    let told = answer.header("ratelimit").unwrap();
    let states = [
        r#""requests";r=59;t=1, "bytes";r=60416;t=1"#,
        r#""requests";r=60;t=0, "bytes";r=61440;t=0"#,
    ];
    assert!(states.contains(&told), "{told}");
    let denied = client.post("{}", &[]).await;
    assert_eq!(denied.header("ratelimit"), None);
    let silent = Client::new(&cluster, &args[..2]);
    let answer = silent.post("{}", &authorization).await;
    assert_eq!(answer.header("ratelimit"), None);
}
