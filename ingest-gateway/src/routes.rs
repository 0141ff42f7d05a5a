//! The router, its layers, and the walk of one request through the files.
//!
//! In the flow: `server` → **`routes`** → `client`, and back from `reply`.
//! Decides nothing itself: each step is one line that another file answers.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use log_event::event_id::EventIdMinter;
use log_event::tenant::Tenant;
use log_event::timestamp::Timestamp;
use rdkafka::error::KafkaResult;
use service::access::{self, Scope};
use service::operations;
use tower_http::catch_panic::CatchPanicLayer;

use crate::admission::{Admission, Budget, Reservation, Spent, Verdict};
use crate::body;
use crate::client::{ClientKey, client_address};
use crate::config::Config;
use crate::decode::{self, Refusals};
use crate::delivery::Deliveries;
use crate::error::{Code, Outcome, Problem};
use crate::headers;
use crate::kafka_settings::RECORD_OVERHEAD_BYTES;
use crate::metrics::Metrics;
use crate::produce::{Delivering, Producer};
use crate::reply::{self, KAFKA_RETRY_AFTER_SECONDS, Reply};

/// Bodies from here on are decoded on a thread of their own: 512 KiB of JSON
/// take some milliseconds, which the other requests of the thread would wait.
const DECODE_INLINE_BYTES_MAX: usize = 512 << 10;

/// Everything that requests share.
#[derive(Debug)]
pub struct Gateway {
    config: Config,
    admission: Admission,
    budget: Arc<Budget>,
    producer: Arc<Producer>,
    minter: EventIdMinter,
    metrics: Arc<Metrics>,
    draining: AtomicBool,
}

impl Gateway {
    /// Ready for requests; Kafka is connected to in the background. `process`
    /// is random: it tells the ids minted here from those of other processes.
    ///
    /// # Errors
    /// If librdkafka refuses the configuration.
    pub fn new(config: Config, process: [u8; 8]) -> KafkaResult<Arc<Self>> {
        let metrics = Arc::new(Metrics::new());
        let producer = Producer::new(config.kafka.clone(), Arc::clone(&metrics))?;
        let gateway = Arc::new(Self {
            admission: Admission::new(config.rate_limits),
            budget: Budget::new(config.kafka.in_flight_bytes_max),
            producer: Arc::new(producer),
            minter: EventIdMinter::new(process),
            metrics,
            draining: AtomicBool::new(false),
            config,
        });
        gateway.watch();
        gateway.config.access.watch(gateway.metrics.namespace());
        Ok(gateway)
    }

    /// The way to Kafka.
    #[must_use]
    pub fn producer(&self) -> &Arc<Producer> {
        &self.producer
    }

    /// What operators see.
    #[must_use]
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// What it was told.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// From now on new requests are refused; those inside go on.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    fn watch(self: &Arc<Self>) {
        let limit = self.config.kafka.in_flight_bytes_max;
        let budget = Arc::clone(&self.budget);
        let producer = Arc::clone(&self.producer);
        let gateway = Arc::downgrade(self);
        let metrics = &self.metrics;
        metrics.watch(
            "in_flight_bytes",
            "Bytes that requests hold: bodies, and records until Kafka reported them.",
            move || budget.bytes() as f64,
        );
        metrics.watch(
            "in_flight_limit_bytes",
            "What in_flight_bytes may reach before requests are refused.",
            move || limit as f64,
        );
        metrics.watch(
            "kafka_reachable",
            "1 if Kafka answers and acknowledges, else 0.",
            move || f64::from(u8::from(producer.reasons().is_empty())),
        );
        metrics.watch(
            "tracked_clients",
            "Clients with rate limits of their own.",
            move || {
                gateway
                    .upgrade()
                    .map_or(0.0, |gateway| gateway.admission.tracked_clients() as f64)
            },
        );
    }
}

/// All routes. `draining` says whether the process is about to end.
pub fn router(
    gateway: &Arc<Gateway>,
    draining: impl Fn() -> bool + Send + Sync + 'static,
) -> Router {
    let producer = Arc::clone(&gateway.producer);
    let readiness = move || {
        let mut reasons = producer.reasons();
        if draining() {
            reasons.push("draining".to_owned());
        }
        reasons
    };
    let ingest = Router::new()
        .route("/", get(greet))
        .route("/logs", post(logs))
        .with_state(Arc::clone(gateway));
    ingest
        .merge(operations::router(gateway.metrics.registry(), readiness))
        .fallback(|| async {
            refused(
                Code::NotFound,
                "there is no such path; events go to POST /logs",
            )
        })
        .method_not_allowed_fallback(|| async {
            refused(
                Code::MethodNotAllowed,
                "this path does not know the method; `Allow` lists those it knows",
            )
        })
        // Inside the counting, so that a fault of ours is counted as the 500 that it is.
        .layer(CatchPanicLayer::custom(
            |_: Box<dyn std::any::Any + Send>| {
                refused(Code::Internal, "the gateway has a fault; its log says more")
            },
        ))
        .layer(from_fn_with_state(Arc::clone(&gateway.metrics), count))
}

async fn count(State(metrics): State<Arc<Metrics>>, request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    metrics
        .requests
        .with_label_values(&[response.status().as_str()])
        .inc();
    response
}

async fn greet() -> Response {
    let text = serde_json::json!({
        "name": env!("CARGO_PKG_NAME"),
        "version": env!("CARGO_PKG_VERSION"),
        "description": "POST /logs takes a JSON object, an array of objects, or one object a line; gzip is understood",
        "docs": "docs/formats.md",
    });
    (
        [(header::CONTENT_TYPE, "application/json")],
        format!("{text}\n"),
    )
        .into_response()
}

async fn logs(State(gateway): State<Arc<Gateway>>, request: Request) -> Response {
    let started = Instant::now();
    let reply = match take(&gateway, request).await {
        Ok(reply) => reply,
        Err(problem) => {
            gateway
                .metrics
                .requests_refused
                .with_label_values(&[problem.code.as_str()])
                .inc();
            reply::of_problem(&problem)
        }
    };
    Metrics::observe(&gateway.metrics.request_duration, started.elapsed());
    response(reply)
}

/// The walk of one request.
async fn take(gateway: &Arc<Gateway>, request: Request) -> Result<Reply, Problem> {
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
    admitted(gateway.admission.request(client), "requests")?;
    let access = &gateway.config.access;
    let caller = access
        .admit(&parts.headers, Scope::Ingest, received)
        .map_err(Problem::denied)?;
    let encoding = headers::encoding(&parts.headers)?;
    let key = headers::idempotency_key(&parts.headers)?;
    let announced = headers::content_length(&parts.headers);
    let mut share = gateway.budget.share();
    let body = body::read(body, announced, encoding, gateway.config.body, &mut share).await?;
    gateway
        .metrics
        .received_bytes
        .inc_by(body.wire_bytes as u64);
    admitted(gateway.admission.bytes(client, body.bytes.len()), "bytes")?;
    let work = Work {
        body: body.bytes,
        key: key.map(str::to_owned),
        tenant: caller.tenant().cloned(),
        received,
        _share: share,
    };
    let (mut refusals, delivering) = decode_and_produce(gateway, work).await?;
    let deliveries = match delivering {
        Some(delivering) => delivering.finished().await,
        None => Deliveries::default(),
    };
    let reply = reply::conclude(&mut refusals, &deliveries)?;
    count_events(&gateway.metrics, &refusals, &deliveries);
    if reply.status != 200 {
        gateway
            .metrics
            .requests_refused
            .with_label_values(&[Code::NoEventAccepted.as_str()])
            .inc();
    }
    Ok(reply)
}

/// A body to be decoded, with the share of the budget that it holds.
struct Work {
    body: Bytes,
    key: Option<String>,
    tenant: Option<Tenant>,
    received: Timestamp,
    _share: Reservation,
}

type Started = (Refusals, Option<Delivering>);

async fn decode_and_produce(gateway: &Arc<Gateway>, work: Work) -> Result<Started, Problem> {
    if work.body.len() <= DECODE_INLINE_BYTES_MAX {
        return decode_and_produce_here(gateway, &work);
    }
    let gateway = Arc::clone(gateway);
    let thread = tokio::task::spawn_blocking(move || decode_and_produce_here(&gateway, &work));
    thread.await.unwrap_or_else(|_| {
        Err(Problem::permanent(
            Code::Internal,
            "decoding the body failed",
        ))
    })
}

fn decode_and_produce_here(gateway: &Gateway, work: &Work) -> Result<Started, Problem> {
    let config = &gateway.config;
    let events = decode::split(&work.body, config.events_per_request_max)?;
    let bytes: usize = events.slices.iter().map(|slice| slice.len()).sum();
    let overhead = events.slices.len() * RECORD_OVERHEAD_BYTES;
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
    let delivering = (!records.is_empty()).then(|| {
        let tenant = work.tenant.as_ref();
        gateway
            .producer
            .produce(&records, tenant, work.received, share)
    });
    Ok((refusals, delivering))
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

fn admitted(verdict: Verdict, what: &str) -> Result<(), Problem> {
    match verdict {
        Verdict::Admit => Ok(()),
        Verdict::Refuse {
            retry_after_seconds,
        } => Err(Problem {
            code: Code::RateLimited,
            detail: format!(
                "more {what} than this client may send; the same request conforms in {retry_after_seconds} s"
            ),
            retry_after_seconds: Some(retry_after_seconds),
            outcome: None,
        }),
        Verdict::Never { bytes_max } => Err(Problem::permanent(
            Code::OverByteBurst,
            format!(
                "this client may send {bytes_max} bytes at once; send several smaller requests"
            ),
        )),
    }
}

fn now() -> Timestamp {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let nanos = i64::try_from(since_epoch.as_nanos()).unwrap_or(i64::MAX);
    Timestamp::from_nanos(nanos).expect("a time since the epoch is not before it")
}

fn refused(code: Code, detail: &str) -> Response {
    response(reply::of_problem(&Problem::permanent(code, detail)))
}

fn response(reply: Reply) -> Response {
    let status = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = Response::new(Body::from(reply.body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static(reply.content_type),
    );
    if reply.status == 401 {
        headers.insert(header::WWW_AUTHENTICATE, access::CHALLENGE);
    }
    if let Some(seconds) = reply.retry_after_seconds {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}
