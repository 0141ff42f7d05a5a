use std::ffi::OsString;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::routing::post;
use opentelemetry::trace::{Span as _, SpanKind};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind as ToldKind;
use prost::Message as _;
use tokio::sync::Mutex;

use super::*;
use crate::settings::Program;

const PROGRAM: Program = Program {
    name: "test",
    about: "A test",
    settings: &[OTLP_ENDPOINT, OTLP_CREDENTIALS, OTLP_CA],
};

/// The example of W3C Trace Context §3.2.2.
const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn config(args: &[&str], sample_ratio: f64) -> Result<Option<TracesConfig>, String> {
    let args = ["test"].iter().chain(args).map(OsString::from);
    let mut settings = Settings::load(PROGRAM, args, |_| None).unwrap();
    let config = TracesConfig::from_settings(&mut settings, Ratio(sample_ratio));
    let checked = settings.finish().map_err(|error| error.to_string());
    checked.map(|_| config)
}

#[derive(Default)]
struct Told {
    authorization: Vec<Option<String>>,
    requests: Vec<ExportTraceServiceRequest>,
}

/// A collector that answers everything with `status`.
async fn collector(status: StatusCode) -> (String, Arc<Mutex<Told>>) {
    let told = Arc::new(Mutex::new(Told::default()));
    let take =
        async move |State(told): State<Arc<Mutex<Told>>>, headers: HeaderMap, body: Bytes| {
            let authorization = headers.get(header::AUTHORIZATION);
            let authorization = authorization.map(|value| value.to_str().unwrap().to_owned());
            let mut told = told.lock().await;
            told.authorization.push(authorization);
            told.requests
                .push(ExportTraceServiceRequest::decode(body).unwrap());
            status
        };
    let router = Router::new()
        .route("/v1/traces", post(take))
        .with_state(Arc::clone(&told));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    (format!("http://{address}"), told)
}

/// What the counter `name` says, with this cause if it has one.
fn counted(metrics: &Namespace, name: &str, cause: &str) -> f64 {
    let families = metrics.registry().gather();
    let found = families.iter().filter(|family| family.name() == name);
    let counts = found.flat_map(|family| family.get_metric());
    let of_cause = counts.filter(|metric| {
        let mut labels = metric.get_label().iter();
        labels.all(|label| label.value() == cause)
    });
    of_cause
        .map(|metric| metric.get_counter().get_value())
        .sum()
}

#[tokio::test]
async fn a_span_reaches_the_collector_as_the_child_of_the_one_it_came_with() {
    let (endpoint, told) = collector(StatusCode::OK).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "Bearer of-tests\n").unwrap();
    let credentials = file.path().to_str().unwrap();
    let config = config(
        &[
            "--otlp-endpoint",
            &endpoint,
            "--otlp-credentials",
            credentials,
        ],
        0.0,
    );
    let metrics = Namespace::new("test");
    let traces = Traces::start(config.unwrap().unwrap(), "test", &metrics);
    let builder = || SpanBuilder::from_name("step").with_kind(SpanKind::Server);

    let parent = parent_of(PARENT, Some("rojo=00f067aa0ba902b7"));
    let span = traces.begin(builder(), &parent);
    let headers = TraceHeaders::of(span.span_context()).unwrap();
    assert!(
        headers
            .traceparent
            .starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-")
    );
    assert_ne!(headers.traceparent, PARENT);
    assert_eq!(headers.tracestate.as_deref(), Some("rojo=00f067aa0ba902b7"));
    drop(span);
    // Neither decided before nor, at a share of nothing, by us.
    let unsampled = traces.begin(builder(), &SpanContext::NONE);
    assert_eq!(TraceHeaders::of(unsampled.span_context()), None);
    drop(unsampled);
    traces.close().await;

    let told = told.lock().await;
    assert_eq!(told.authorization, [Some("Bearer of-tests".to_owned())]);
    let [of_us] = &told.requests[0].resource_spans[..] else {
        panic!("{:?}", told.requests);
    };
    let attributes = &of_us.resource.as_ref().unwrap().attributes;
    let name = attributes.iter().find(|one| one.key == "service.name");
    let name = format!("{:?}", name.unwrap().value);
    assert!(name.contains("\"test\""), "{name}");
    let [span] = &of_us.scope_spans[0].spans[..] else {
        panic!("{of_us:?}");
    };
    assert_eq!(span.name, "step");
    assert_eq!(span.kind(), ToldKind::Server);
    assert_eq!(span.parent_span_id, 0x00f0_67aa_0ba9_02b7_u64.to_be_bytes());
    assert_eq!(counted(&metrics, "test_spans_exported_total", ""), 1.0);
}

#[tokio::test]
async fn what_a_collector_does_not_take_is_counted_and_holds_nobody_up() {
    let (refusing, _) = collector(StatusCode::SERVICE_UNAVAILABLE).await;
    let nobody = "http://127.0.0.1:9".to_owned();
    for (endpoint, cause) in [(refusing, "refused"), (nobody, "unreachable")] {
        let config = config(&["--otlp-endpoint", &endpoint], 1.0);
        let metrics = Namespace::new("test");
        let traces = Traces::start(config.unwrap().unwrap(), "test", &metrics);
        // More than may wait, and no task runs meanwhile to take them.
        for _ in 0..5_000 {
            drop(traces.begin(SpanBuilder::from_name("step"), &SpanContext::NONE));
        }
        traces.close().await;
        let dropped = |cause| counted(&metrics, "test_spans_dropped_total", cause);
        assert_eq!((dropped(cause), dropped("queue_full")), (2_048.0, 2_952.0));
        assert_eq!(counted(&metrics, "test_spans_exported_total", ""), 0.0);
    }
}

#[test]
fn only_a_parent_as_w3c_writes_it_counts() {
    let of = |values: &[&str]| {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(TRACEPARENT, value.parse().unwrap());
        }
        parent_of_request(&headers)
    };
    assert!(of(&[PARENT]).is_valid() && of(&[PARENT]).is_sampled());
    assert!(!of(&[&PARENT.replace("-01", "-00")]).is_sampled());
    let of_a_later_version = format!("01{}-more", &PARENT[2..]);
    assert!(of(&[&of_a_later_version]).is_valid());
    for none in [
        &[][..],
        &[PARENT, PARENT],
        &[""],
        &["00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7"],
        &["00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01"],
        &["00-1-2-01"],
        &[&format!("{PARENT}-more")],
        &["00-00000000000000000000000000000000-00f067aa0ba902b7-01"],
        &["00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01"],
        &["ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"],
        &["00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01"],
    ] {
        assert!(!of(none).is_valid(), "{none:?}");
    }
    let long = format!("a={}", "x".repeat(TRACESTATE_BYTES_MAX));
    assert!(
        parent_of(PARENT, Some(&long))
            .trace_state()
            .header()
            .is_empty()
    );
}

#[test]
fn credentials_in_the_endpoint_and_addresses_of_another_kind_are_faults() {
    assert!(config(&[], 1.0).unwrap().is_none());
    let alone = config(&["--otlp-ca", "ca.pem"], 1.0).unwrap_err();
    assert!(alone.contains("needs `otlp-endpoint`"), "{alone}");
    for (endpoint, why) in [
        ("http://me:secret@127.0.0.1:4318", "`otlp-credentials`"),
        ("127.0.0.1:4318", "http://HOST:PORT"),
    ] {
        let faults = config(&["--otlp-endpoint", endpoint], 1.0).unwrap_err();
        assert!(
            faults.contains(why) && !faults.contains("secret"),
            "{faults}"
        );
    }
}
