//! A gateway in front of librdkafka's mock cluster, which speaks the real
//! protocol over real sockets.

#![allow(dead_code, reason = "not every test needs all of it")]

use std::ffi::OsString;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request};
use ingest_gateway::config::Config;
use ingest_gateway::gateway::Gateway;
use ingest_gateway::routes::router;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::OwnedMessage;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tower::ServiceExt as _;

pub(crate) const EXAMPLE: &str = r#"{"level":"error","message":"Failed to connect to DB","resourceId":"server-1234","timestamp":"2023-09-15T08:00:00Z","traceId":"abc-xyz-123","spanId":"span-456","commit":"5e5342f","metadata":{"parentResourceId":"server-0987"}}"#;

pub(crate) type Cluster = MockCluster<'static, DefaultProducerContext>;

/// One broker, with the topic `logs` of one partition.
pub(crate) fn cluster() -> Cluster {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("logs", 1, 1).unwrap();
    cluster
}

pub(crate) fn config(cluster: &Cluster, args: &[&str]) -> Config {
    let brokers = cluster.bootstrap_servers();
    let first = [
        "ingest-gateway",
        "--listen",
        "127.0.0.1:0",
        "--kafka-brokers",
        &brokers,
    ];
    let args = first.iter().chain(args).map(OsString::from);
    Config::load(args, |_| None).unwrap().unwrap()
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

pub(crate) struct Client {
    pub(crate) gateway: Arc<Gateway>,
    router: Router,
}

impl Client {
    pub(crate) fn new(cluster: &Cluster, args: &[&str]) -> Self {
        let gateway = Gateway::new(config(cluster, args), [1; 8]).unwrap();
        let router = router(&gateway, || false);
        Self { gateway, router }
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(body, usize::MAX).await.unwrap();
        Answer {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body: String::from_utf8(bytes.to_vec()).unwrap(),
        }
    }

    pub(crate) async fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(body.into()).unwrap()).await
    }

    pub(crate) async fn post(&self, body: impl Into<Body>, headers: &[(&str, &str)]) -> Answer {
        self.ask("POST", "/logs", headers, body).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[], Body::empty()).await
    }
}

/// The records of the topic `logs`, once it holds `count`, or what there is
/// after ten seconds.
pub(crate) fn records(cluster: &Cluster, count: usize) -> Vec<OwnedMessage> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", cluster.bootstrap_servers())
        .set("group.id", "reader")
        .create()
        .unwrap();
    let mut from_start = TopicPartitionList::new();
    from_start
        .add_partition_offset("logs", 0, Offset::Beginning)
        .unwrap();
    consumer.assign(&from_start).unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut found = Vec::new();
    while found.len() < count && Instant::now() < deadline {
        if let Some(record) = consumer.poll(Duration::from_millis(100)) {
            found.push(record.unwrap().detach());
        }
    }
    found
}
