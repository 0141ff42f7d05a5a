//! The walk of one request, whatever its dialect: each step is one line that another file answers.
//!
//! In the flow: `routes` → **`intake`** → `client`, and back from `reply`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::http::{Extensions, HeaderMap};
use bytes::Bytes;
use log_event::tenant::Tenant;
use log_event::timestamp::Timestamp;
use opentelemetry::trace::SpanContext;
use service::access::{Caller, Denial, Scope, credential};
use service::tls::ClientCertificate;

use crate::admission::{Reservation, Spent, Verdict};
use crate::body;
use crate::client::{ClientKey, client_address};
use crate::decode::elasticsearch::Operation;
use crate::decode::{self, Beside, Limits, Refusals};
use crate::delivery::Deliveries;
use crate::dialect::{Message, Read};
use crate::error::{Code, Outcome, Problem};
use crate::gateway::Gateway;
use crate::headers::{self, Encoding};
use crate::kafka_settings::{RECORD_OVERHEAD_BYTES, TRACED_OVERHEAD_BYTES};
use crate::metrics::Metrics;
use crate::pacing::HEAD_BYTES;
use crate::produce::Delivering;
use crate::reply::{self, KAFKA_RETRY_AFTER_SECONDS, Reply, Settled};
use crate::traces::SendSpan;

/// Bodies from here on are decoded on a thread of their own: 512 KiB of JSON
/// take some milliseconds, which the other requests of the thread would wait.
const DECODE_INLINE_BYTES_MAX: usize = 512 << 10;
/// The part of all bytes in flight that one request's events may have when they are written out: the others need some, too.
const WRITTEN_OUT_PART: usize = 4;

/// Who sent a request, once that is known.
pub(crate) struct Sender {
    pub(crate) client: ClientKey,
    pub(crate) caller: Caller,
}

/// The walk of one request.
pub(crate) async fn take(
    gateway: &Arc<Gateway>,
    message: &Message,
    request: Request,
    span: &SpanContext,
    sender: &mut Option<Sender>,
) -> Result<Reply, Problem> {
    let received = now();
    let peer = peer(&request);
    let (parts, body) = request.into_parts();
    if gateway.draining.load(Ordering::Relaxed) {
        return Err(Problem::unavailable(
            Code::Draining,
            "the gateway is about to end; try another",
            1,
            Outcome::None,
        ));
    }
    if !gateway.producer.admits() {
        return Err(Problem::unavailable(
            Code::KafkaUnavailable,
            "Kafka does not answer; nothing of this request was kept",
            KAFKA_RETRY_AFTER_SECONDS,
            Outcome::None,
        ));
    }
    let client = client(gateway, peer, &parts.headers);
    let caller = caller(gateway, &parts.headers, &parts.extensions, received)
        .and_then(|caller| caller.if_allowed(Scope::Ingest))
        .and_then(|caller| caller.if_spoken(message.dialect()))
        .map_err(|denial| denied(gateway, client, denial))?;
    let Sender { caller, .. } = sender.insert(Sender { client, caller });
    let (quotas, paced) = (&gateway.quotas, &gateway.metrics.requests_paced);
    let pass = |verdict, what, bytes| gateway.held_back.pass(verdict, what, bytes, paced);
    let verdict = gateway.admission.request(client);
    let verdict = verdict.and(|| quotas.request(caller.key()));
    pass(verdict, "requests", HEAD_BYTES).await?;
    let encoding = match message.is_snappy() {
        // It is part of the message, and some clients name it besides.
        true => Encoding::Identity,
        false => headers::encoding(&parts.headers)?,
    };
    let key = headers::idempotency_key(&parts.headers)?;
    let announced = headers::content_length(&parts.headers);
    let mut share = gateway.budget.share();
    let body = body::read(body, announced, encoding, gateway.config.body, &mut share).await?;
    gateway
        .metrics
        .received_bytes
        .inc_by(body.wire_bytes as u64);
    let bytes = body.bytes.len();
    let verdict = gateway.admission.bytes(client, bytes);
    let verdict = verdict.and(|| quotas.bytes(caller.key(), bytes));
    pass(verdict, "bytes", bytes).await?;
    let work = Work {
        message: message.clone(),
        body: body.bytes,
        key: key.map(str::to_owned),
        tenant: caller.tenant().cloned(),
        received,
        span: span.clone(),
        share,
    };
    let started = decode_and_produce(gateway, work).await?;
    let deliveries = match started.delivering {
        Some(delivering) => delivering.finished().await,
        None => Deliveries::default(),
    };
    if let Some(span) = started.span {
        span.end(&deliveries);
    }
    let settled = reply::settle(started.refusals, &deliveries)?;
    count_events(&gateway.metrics, &settled.refusals, &deliveries);
    if settled.accepted == 0 && settled.refusals.count() > 0 {
        let metrics = &gateway.metrics;
        metrics.refused(Code::NoEventAccepted, caller.tenant());
    }
    Ok(message.settled(&Settled {
        operations: started.operations,
        ids: started.ids,
        ..settled
    }))
}

/// Lets in whose key is good for anything: what clients ask beside sending is told to no stranger.
pub(crate) fn recognise(gateway: &Gateway, request: &Request) -> Result<(), Problem> {
    let headers = request.headers();
    let client = client(gateway, peer(request), headers);
    caller(gateway, headers, request.extensions(), now())
        .map(drop)
        .map_err(|denial| denied(gateway, client, denial))
}

/// Whose key a request bears.
fn caller(
    gateway: &Gateway,
    headers: &HeaderMap,
    extensions: &Extensions,
    now: Timestamp,
) -> Result<Caller, Denial> {
    let certificate = extensions.get::<ClientCertificate>();
    let certificate = credential::certificate(certificate, headers);
    let access = &gateway.config.access;
    access.caller(credential::read(headers), certificate, now)
}

/// A body to be decoded, with the share of the budget that it holds.
struct Work {
    message: Message,
    body: Bytes,
    key: Option<String>,
    tenant: Option<Tenant>,
    received: Timestamp,
    span: SpanContext,
    share: Reservation,
}

/// A request whose records are on their way to Kafka.
struct Started {
    refusals: Refusals,
    delivering: Option<Delivering>,
    span: Option<SendSpan>,
    operations: Vec<Operation>,
    ids: Vec<(usize, String)>,
}

async fn decode_and_produce(gateway: &Arc<Gateway>, mut work: Work) -> Result<Started, Problem> {
    if work.body.len() <= DECODE_INLINE_BYTES_MAX {
        return decode_and_produce_here(gateway, &mut work);
    }
    let gateway = Arc::clone(gateway);
    let thread = tokio::task::spawn_blocking(move || decode_and_produce_here(&gateway, &mut work));
    thread.await.unwrap_or_else(|_| {
        Err(Problem::permanent(
            Code::Internal,
            "decoding the body failed",
        ))
    })
}

fn decode_and_produce_here(gateway: &Gateway, work: &mut Work) -> Result<Started, Problem> {
    let config = &gateway.config;
    let limits = Limits {
        events_max: config.events_per_request_max,
        bytes_max: config.kafka.in_flight_bytes_max / WRITTEN_OUT_PART,
        event_bytes_max: config.kafka.event_bytes_max,
        share: &mut work.share,
    };
    let Read { events, operations } =
        work.message
            .read(&work.body, config.body.bytes_max, limits)?;
    let bytes = events.bytes();
    let of_trace = match work.span.is_sampled() {
        true => TRACED_OVERHEAD_BYTES,
        false => 0,
    };
    let overhead = events.found.len() * (RECORD_OVERHEAD_BYTES + of_trace);
    // GW-2: all of the request's records fit, or none of them is handed over.
    let mut share = gateway.budget.share();
    share
        .grow(bytes + overhead)
        .map_err(|Spent| Problem::overloaded())?;
    let request = decode::Request {
        received: work.received,
        idempotency_key: work.key.as_deref(),
        tenant: work.tenant.as_ref(),
        event_bytes_max: config.kafka.event_bytes_max,
    };
    let (records, refusals) = decode::decode(&events, request, &gateway.minter);
    let ids = match operations.is_empty() {
        true => Vec::new(),
        false => records
            .iter()
            .map(|record| (record.position, record.id.to_string()))
            .collect(),
    };
    let topic = &config.kafka.topic;
    let span = SendSpan::begin(gateway.traces.as_ref(), &work.span, topic, records.len());
    let beside = Beside {
        dialect: work.message.label(),
        tenant: work.tenant.as_ref(),
        received: work.received,
        span: span.as_ref().map(SendSpan::headers),
    };
    let delivering =
        (!records.is_empty()).then(|| gateway.producer.produce(records, beside, share));
    Ok(Started {
        refusals,
        delivering,
        span,
        operations,
        ids,
    })
}

fn count_events(metrics: &Metrics, refusals: &Refusals, deliveries: &Deliveries) {
    metrics
        .events_accepted
        .inc_by(deliveries.acknowledged as u64);
    for (code, count) in &refusals.by_code {
        metrics
            .events_refused
            .with_label_values(&[code])
            .inc_by(*count as u64);
    }
}

fn client(gateway: &Gateway, peer: IpAddr, headers: &HeaderMap) -> ClientKey {
    let trusted = &gateway.config.trusted_proxies;
    if trusted.is_empty() {
        return peer.into();
    }
    let forwarded = headers.get_all("x-forwarded-for").iter();
    client_address(
        peer,
        forwarded.map(|value| value.to_str().unwrap_or_default()),
        trusted,
    )
    .into()
}

/// Who is at the other end of the connection. Only a router that is not served
/// by `server` lacks it.
fn peer(request: &Request<Body>) -> IpAddr {
    let info = request.extensions().get::<ConnectInfo<SocketAddr>>();
    info.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |ConnectInfo(peer)| {
        peer.ip()
    })
}

fn denied(gateway: &Gateway, client: ClientKey, denial: Denial) -> Problem {
    match gateway.denials.request(client) {
        Verdict::Admit { .. } | Verdict::Never { .. } => Problem::denied(denial),
        Verdict::Refuse {
            retry_after_seconds,
        } => Problem::too_many_denials(retry_after_seconds),
    }
}

fn now() -> Timestamp {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let nanos = i64::try_from(since_epoch.as_nanos()).unwrap_or(i64::MAX);
    Timestamp::from_nanos(nanos).expect("a time since the epoch is not before it")
}
