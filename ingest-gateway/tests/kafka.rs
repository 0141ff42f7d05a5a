//! What a client hears while Kafka takes records, refuses them, goes away and
//! comes back; on librdkafka's mock cluster.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod support;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ingest_gateway::probe::Probe;
use ingest_gateway::server::Server;
use rdkafka::message::{Headers as _, Message as _};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use support::{Answer, Client, EXAMPLE, cluster, config, records};

/// For waits that end as soon as what they wait for happens.
const PATIENCE: Duration = Duration::from_secs(30);

fn header(
    record: &impl rdkafka::Message<Headers = rdkafka::message::OwnedHeaders>,
    name: &str,
) -> String {
    let headers = record.headers().unwrap();
    let found = headers.iter().find(|header| header.key == name).unwrap();
    String::from_utf8(found.value.unwrap().to_vec()).unwrap()
}

/// The value of a header that a record may have.
fn header_if_any(
    record: &impl rdkafka::Message<Headers = rdkafka::message::OwnedHeaders>,
    name: &str,
) -> Option<String> {
    let headers = record.headers().unwrap();
    let has = headers.iter().any(|header| header.key == name);
    has.then(|| header(record, name))
}

/// Posts until the answer fits.
async fn post_until(client: &Client, fits: impl Fn(&Answer) -> bool) -> Answer {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = client.post(EXAMPLE, &[]).await;
        if fits(&answer) {
            return answer;
        }
        assert!(
            Instant::now() < deadline,
            "{} {}",
            answer.status,
            answer.body
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn metric(client: &Client, name: &str) -> f64 {
    let text = client.get("/metrics").await.body;
    let line = text
        .lines()
        .find(|line| line.starts_with(&format!("{name} ")))
        .unwrap();
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn each_event_bears_the_trace_of_its_own_request_also_if_it_waits_for_others() {
    let cluster = cluster();
    let nobody = [
        "--otlp-endpoint",
        "http://127.0.0.1:9",
        "--trace-sample-ratio",
        "0",
    ];
    let client = Client::new(&cluster, &nobody);
    post_until(&client, |answer| answer.status == 200).await;
    // Together, so that all but the first wait for an acknowledgement.
    let traced = (1..=20).map(|n| {
        let parent = format!("00-{n:032x}-00f067aa0ba902b7-01");
        let event = format!(r#"{{"message":"{n:032x}"}}"#);
        let client = &client;
        async move {
            let headers = [("traceparent", &*parent), ("tracestate", "vendor=kept")];
            client.post(event, &headers).await
        }
    });
    for answer in futures_util::future::join_all(traced).await {
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
    let records = records(&cluster, 21);
    assert_eq!(records.len(), 21);
    let (untraced, traced) = records.split_first().unwrap();
    assert_eq!(header_if_any(untraced, "traceparent"), None);
    for record in traced {
        let parent = header_if_any(record, "traceparent").unwrap();
        let (trace, span) = (&parent[3..35], &parent[36..52]);
        let event = String::from_utf8(record.payload().unwrap().to_vec()).unwrap();
        assert!(event.contains(trace), "{parent} {event}");
        assert!(parent.ends_with("-01") && span != "00f067aa0ba902b7");
        assert_eq!(header(record, "tracestate"), "vendor=kept");
    }
}

#[tokio::test]
async fn an_event_arrives_byte_for_byte_with_its_headers() {
    let cluster = cluster();
    let client = Client::new(&cluster, &[]);
    let answer = client.post(EXAMPLE, &[]).await;
    assert_eq!(
        (answer.status, answer.body.as_str()),
        (200, "{\"accepted\":1,\"refused\":0,\"errors\":[]}\n")
    );
    let answer = client
        .post(r#"{"eventId":"mine","message":"b"}"#, &[])
        .await;
    assert_eq!(answer.status, 200);

    let found = records(&cluster, 2);
    assert_eq!(found.len(), 2);
    assert_eq!(found[0].payload(), Some(EXAMPLE.as_bytes()));
    assert_eq!(found[0].key(), None);
    assert_eq!(header(&found[0], "event-time"), "1694764800000");
    assert_eq!(header(&found[0], "dialect"), "json");
    assert_eq!(header(&found[0], "event-id").len(), 24);
    assert_eq!(found[0].headers().unwrap().count(), 3);
    // Without a timestamp the event happened when it was received, which is
    // the record's own time.
    assert_eq!(header(&found[1], "event-id"), "mine");
    let received = found[1].timestamp().to_millis().unwrap();
    assert_eq!(header(&found[1], "event-time"), received.to_string());
    assert_eq!(
        metric(&client, "ingest_gateway_events_accepted_total").await,
        2.0
    );
    assert_eq!(metric(&client, "ingest_gateway_in_flight_bytes").await, 0.0);
}

#[tokio::test]
async fn the_same_request_gives_the_same_ids_across_a_restart() {
    let cluster = cluster();
    let body = format!("{EXAMPLE}\n{{\"message\":\"b\"}}\n");
    let key = [("idempotency-key", "\"5f1c\"")];
    for _ in 0..2 {
        let client = Client::new(&cluster, &[]);
        assert_eq!(client.post(body.clone(), &key).await.status, 200);
    }
    let ids: Vec<String> = records(&cluster, 4)
        .iter()
        .map(|record| header(record, "event-id"))
        .collect();
    assert_eq!(ids.len(), 4);
    assert_eq!(ids[..2], ids[2..]);
    assert_ne!(ids[0], ids[1]);
}

#[tokio::test]
async fn a_bad_event_costs_no_neighbour() {
    let cluster = cluster();
    let client = Client::new(&cluster, &[]);
    let answer = client
        .post(format!("[{EXAMPLE},{{\"level\":1}},{EXAMPLE}]"), &[])
        .await;
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.body,
        "{\"accepted\":2,\"refused\":1,\"errors\":[{\"position\":1,\"code\":\"wrong_type\",\"reason\":\"`level` must be a string, this is a number\"}]}\n"
    );
    assert_eq!(records(&cluster, 2).len(), 2);
}

#[tokio::test]
async fn an_outage_is_told_in_bounded_time_and_memory_and_heals_by_itself() {
    let cluster = cluster();
    let client = Client::new(&cluster, &["--kafka-timeout", "1s"]);
    let probe = Probe::start(Arc::clone(client.gateway.producer())).unwrap();
    // The first connection may take longer than the short timeout.
    post_until(&client, |answer| answer.status == 200).await;

    cluster.broker_down(1).unwrap();
    let asked = Instant::now();
    let answer = client.post(EXAMPLE, &[]).await;
    assert!(
        asked.elapsed() < Duration::from_secs(6),
        "{:?}",
        asked.elapsed()
    );
    let problem = answer.json();
    assert_eq!(answer.status, 503);
    assert_eq!(answer.header("retry-after"), Some("2"));
    assert_eq!(
        answer.header("content-type"),
        Some("application/problem+json")
    );
    assert_eq!(
        (&problem["code"], &problem["outcome"]),
        (&"not_acknowledged".into(), &"unknown".into())
    );

    // Once it is known, requests are refused at once and hold nothing.
    let answer = post_until(&client, |answer| answer.body.contains("kafka_unavailable")).await;
    assert_eq!(answer.status, 503);
    assert_eq!(answer.json()["outcome"], "none");
    assert_eq!(client.get("/readyz").await.status, 503);
    assert_eq!(metric(&client, "ingest_gateway_kafka_reachable").await, 0.0);
    let asked = Instant::now();
    for _ in 0..200 {
        assert_eq!(client.post(EXAMPLE, &[]).await.status, 503);
    }
    assert!(
        asked.elapsed() < Duration::from_secs(5),
        "{:?}",
        asked.elapsed()
    );

    cluster.broker_up(1).unwrap();
    post_until(&client, |answer| answer.status == 200).await;
    assert_eq!(client.get("/readyz").await.status, 200);
    client.gateway.producer().flush(PATIENCE).unwrap();
    assert_eq!(metric(&client, "ingest_gateway_in_flight_bytes").await, 0.0);
    probe.stop();
}

#[tokio::test]
async fn what_the_broker_certainly_refused_is_not_kept() {
    let cluster = cluster();
    let client = Client::new(&cluster, &[]);
    for error in [
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
        // A small event: only its company can have been too large.
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE,
    ] {
        assert_eq!(
            post_until(&client, |answer| answer.status == 200)
                .await
                .status,
            200
        );
        cluster.request_errors(RDKafkaApiKey::Produce, &[error]);
        let answer = client.post(EXAMPLE, &[]).await;
        assert_eq!(answer.status, 503, "{}", answer.body);
        assert_eq!(answer.json()["outcome"], "none");
    }
}

#[tokio::test]
async fn an_event_that_the_brokers_find_too_large_is_refused_alone() {
    let cluster = cluster();
    let client = Client::new(&cluster, &["--kafka-property", "batch.size=1000"]);
    let large = format!("{{\"message\":\"{}\"}}", "x".repeat(2_000));
    cluster.request_errors(
        RDKafkaApiKey::Produce,
        &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE],
    );
    let answer = client.post(format!("{large}\n{EXAMPLE}"), &[]).await;
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.body,
        "{\"accepted\":1,\"refused\":1,\"errors\":[{\"position\":0,\"code\":\"event_too_large\",\"reason\":\"the event is larger than the brokers take\"}]}\n"
    );
}

#[tokio::test]
async fn a_request_of_which_a_part_failed_is_never_called_accepted() {
    let cluster = cluster();
    // One record a batch, so that one request to the broker fails and the others do not.
    let client = Client::new(&cluster, &["--kafka-property", "batch.num.messages=1"]);
    assert_eq!(client.post(EXAMPLE, &[]).await.status, 200);
    cluster.request_errors(
        RDKafkaApiKey::Produce,
        &[
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR,
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
        ],
    );
    let answer = client
        .post(format!("{EXAMPLE}\n{EXAMPLE}\n{EXAMPLE}"), &[])
        .await;
    assert_eq!(answer.status, 503, "{}", answer.body);
    assert_eq!(answer.json()["outcome"], "unknown");
    assert_eq!(
        metric(&client, "ingest_gateway_events_accepted_total").await,
        1.0
    );
}

#[tokio::test]
async fn a_passing_fault_of_the_broker_is_not_the_clients_business() {
    let cluster = cluster();
    let client = Client::new(&cluster, &[]);
    cluster.request_errors(
        RDKafkaApiKey::Produce,
        &[
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
        ],
    );
    assert_eq!(client.post(EXAMPLE, &[]).await.status, 200);
    assert_eq!(records(&cluster, 1).len(), 1);
}

#[tokio::test]
async fn a_producer_that_failed_for_good_is_replaced() {
    let cluster = cluster();
    let client = Client::new(&cluster, &["--kafka-timeout", "5s"]);
    let probe = Probe::start(Arc::clone(client.gateway.producer())).unwrap();
    // The first connection may take longer than the short timeout.
    post_until(&client, |answer| answer.status == 200).await;
    cluster.request_errors(
        RDKafkaApiKey::Produce,
        &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER],
    );
    let answer = client.post(EXAMPLE, &[]).await;
    assert_eq!(
        (answer.status, &answer.json()["outcome"]),
        (503, &"unknown".into())
    );
    post_until(&client, |answer| answer.status == 200).await;
    assert_eq!(
        metric(&client, "ingest_gateway_kafka_producer_restarts_total").await,
        1.0
    );
    probe.stop();
}

#[tokio::test]
async fn a_client_that_goes_away_gives_nothing_back_before_kafka_reported() {
    let cluster = cluster();
    let client = Client::new(&cluster, &["--kafka-timeout", "1s"]);
    // The first connection may take longer than the short timeout.
    post_until(&client, |answer| answer.status == 200).await;
    cluster.broker_down(1).unwrap();
    let gone = tokio::time::timeout(Duration::from_millis(200), client.post(EXAMPLE, &[])).await;
    assert!(gone.is_err(), "answered before Kafka could have");
    assert!(metric(&client, "ingest_gateway_in_flight_bytes").await > 0.0);
    // The flush ends when the last record is reported, here as timed out.
    client.gateway.producer().flush(PATIENCE).unwrap();
    let deadline = Instant::now() + PATIENCE;
    while metric(&client, "ingest_gateway_in_flight_bytes").await > 0.0 {
        assert!(Instant::now() < deadline);
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_finishes_what_is_in_flight_and_takes_nothing_new() {
    let cluster = cluster();
    let server = Server::bind(config(&cluster, &[]), [1; 8]).await.unwrap();
    let address = server.address().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(server.serve(async {
        drop(stopped.await);
    }));
    let post = move || {
        let mut stream = TcpStream::connect(address).unwrap();
        write!(
            stream,
            "POST /logs HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{EXAMPLE}",
            EXAMPLE.len()
        )
        .unwrap();
        stream
    };
    let reply = move |mut stream: TcpStream| {
        let mut text = String::new();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.read_to_string(&mut text).unwrap();
        text
    };
    // Slow enough that the stop comes before the acknowledgement.
    cluster
        .broker_round_trip_time(1, Duration::from_millis(700))
        .unwrap();
    let in_flight = tokio::task::spawn_blocking(post).await.unwrap();
    let idle = TcpStream::connect(address).unwrap();
    let inside = tokio::task::spawn_blocking(move || {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let mut stream = TcpStream::connect(address).unwrap();
            write!(
                stream,
                "GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
            )
            .unwrap();
            let text = reply(stream);
            if !text.contains("\ningest_gateway_in_flight_bytes 0\n") {
                return true;
            }
        }
        false
    });
    assert!(inside.await.unwrap(), "the request never got in");
    stop.send(()).unwrap();
    let text = tokio::task::spawn_blocking(move || reply(in_flight))
        .await
        .unwrap();
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
    assert!(
        text.ends_with("{\"accepted\":1,\"refused\":0,\"errors\":[]}\n"),
        "{text}"
    );
    tokio::time::timeout(PATIENCE, serving)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(reply(idle), "");
    assert!(TcpStream::connect(address).is_err());
    assert_eq!(records(&cluster, 1).len(), 1);
}
