//! Against a server on a real socket that answers as it is told.

use std::collections::HashMap;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State as Extract;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use flate2::read::GzDecoder;
use log_event::timestamp::Timestamp;
use tokio::net::TcpListener;

use super::*;
use crate::ledger::Ledger;
use crate::marker;
use crate::workload::WorkloadSettings;

/// Counts what it took; answers the first attempt of every third request with
/// 503 and unknown outcome though it kept the events.
#[derive(Default)]
struct Gateway {
    n_requests: u64,
    attempts: HashMap<String, u64>,
    sightings: HashMap<u64, u64>,
    always: Option<(u16, &'static str)>,
}

type SharedGateway = Arc<Mutex<Gateway>>;

async fn take(
    Extract(gateway): Extract<SharedGateway>,
    headers: HeaderMap,
    body: Bytes,
) -> impl IntoResponse {
    let text = |status: u16, body: String| (StatusCode::from_u16(status).unwrap(), body);
    let mut plain = body.to_vec();
    if headers.contains_key("content-encoding") {
        plain.clear();
        std::io::copy(&mut GzDecoder::new(&body[..]), &mut plain).unwrap();
    }
    let run = "r1".parse().unwrap();
    let events: Vec<u64> = plain
        .split_inclusive(|b| *b == b'}')
        .filter_map(|part| marker::find(&run, None, part))
        .collect();
    let mut gateway = gateway.lock().unwrap();
    gateway.n_requests += 1;
    if let Some((status, reply)) = gateway.always {
        return text(status, reply.to_owned());
    }
    for n in &events {
        *gateway.sightings.entry(*n).or_default() += 1;
    }
    let key = headers
        .get("idempotency-key")
        .map(|k| k.to_str().unwrap().to_owned());
    let attempt = gateway.attempts.entry(key.unwrap_or_default()).or_default();
    *attempt += 1;
    match (*attempt, events[0] % 3) {
        (1, 0) => text(503, r#"{"outcome":"unknown"}"#.to_owned()),
        _ => text(
            200,
            format!(r#"{{"accepted":{},"refused":0}}"#, events.len()),
        ),
    }
}

async fn serve(gateway: SharedGateway) -> Target {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new()
        .route("/logs", axum::routing::post(take))
        .with_state(gateway);
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    Target::parse(&format!("http://{address}"), "/logs").unwrap()
}

async fn generate(
    gateway: Gateway,
    change: impl FnOnce(&mut HttpSettings),
) -> (Report, Ledger, Gateway) {
    let gateway = Arc::new(Mutex::new(gateway));
    let target = serve(Arc::clone(&gateway)).await;
    let start = Timestamp::parse("2023-09-15T08:00:00Z").unwrap();
    let workload = Workload::new(WorkloadSettings::new(1, "r1".parse().unwrap(), start));
    let mut settings = HttpSettings::new(target, workload, 1_000);
    settings.batch = 20;
    settings.timeout = Duration::from_secs(10);
    change(&mut settings);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger");
    let report = run(settings, &path, Watch::unseen()).await.unwrap();
    let ledger = Ledger::read(std::fs::read(&path).unwrap().as_slice()).unwrap();
    let gateway = std::mem::take(&mut *gateway.lock().unwrap());
    (report, ledger, gateway)
}

#[tokio::test]
async fn a_request_of_unknown_outcome_is_sent_again_with_its_key_until_it_is_acknowledged() {
    let (report, ledger, gateway) = generate(Gateway::default(), |settings| {
        settings.idempotency_keys = true;
        settings.connections = 32;
    })
    .await;
    assert_eq!(ledger.count(State::Acknowledged), 1_000);
    assert_eq!(report.events.acknowledged, 1_000);
    assert_eq!(gateway.sightings.len(), 1_000);
    let repeated = gateway
        .attempts
        .values()
        .filter(|attempts| **attempts == 2)
        .count() as u64;
    assert!(repeated > 0);
    assert_eq!(report.repeats, repeated);
    assert_eq!(report.requests, gateway.n_requests);
    assert_eq!(report.outcomes["503"], repeated);
}

#[tokio::test]
async fn without_key_and_event_ids_it_stays_uncertain() {
    let unknown = Gateway {
        always: Some((503, r#"{"outcome":"unknown"}"#)),
        ..Gateway::default()
    };
    let (report, ledger, gateway) = generate(unknown, |_| {}).await;
    assert_eq!(ledger.count(State::Uncertain), 1_000);
    assert_eq!((report.repeats, report.requests), (0, gateway.n_requests));
}

#[tokio::test]
async fn a_refused_request_is_refused_and_one_that_was_not_kept_gives_up_as_refused() {
    for always in [(400, ""), (503, r#"{"outcome":"none"}"#)] {
        let gateway = Gateway {
            always: Some(always),
            ..Gateway::default()
        };
        let (_, ledger, _) = generate(gateway, |settings| settings.give_up = Duration::ZERO).await;
        assert_eq!(ledger.count(State::Refused), 1_000, "{always:?}");
    }
}

#[tokio::test]
async fn a_gateway_that_is_not_there_keeps_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let (report, ledger, _) = generate(Gateway::default(), |settings| {
        settings.targets[0].address = address.to_string();
        settings.give_up = Duration::ZERO;
    })
    .await;
    assert_eq!(ledger.count(State::Refused), 1_000);
    assert_eq!(report.requests, 0);
    assert!(report.outcomes["no connection"] > 0);
}

#[tokio::test]
async fn a_request_goes_to_another_gateway_when_one_is_not_there() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let (report, ledger, gateway) = generate(Gateway::default(), |settings| {
        let mut absent = settings.targets[0].clone();
        absent.address = address.to_string();
        settings.targets.insert(0, absent);
        settings.idempotency_keys = true;
    })
    .await;
    assert_eq!(ledger.count(State::Acknowledged), 1_000);
    assert_eq!(gateway.sightings.len(), 1_000);
    assert!(report.outcomes["no connection"] > 0);
}
