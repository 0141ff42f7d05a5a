//! An Elasticsearch that checks and counts what it is given, and keeps nothing.
//!
//! In the flow: `bulk_frames` → **`null_elasticsearch`**. For measuring what
//! feeds Elasticsearch, and for trying what it does when Elasticsearch is slow,
//! full or refusing. Every figure is at `GET /counts`; `POST /reset` begins anew.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher, Hasher};
use std::io::Read as _;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use flate2::read::GzDecoder;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::bulk_frames::{self, Action, Item};
use crate::workload::mix;

/// Elasticsearch's default `http.max_content_length`.
const BODY_BYTES_MAX: usize = 100 << 20;
/// Ids that are told apart; beyond it `ids_full` is true and nothing is compared.
const IDS_MAX: usize = 200_000_000;
const TEMPLATES_MAX: usize = 100;

/// What is asked for.
#[derive(Clone, Debug, Default)]
pub struct NullSettings {
    /// Whether ids are remembered, as hashes of 64 bits, to count documents written twice.
    pub check_ids: bool,
    /// How long every bulk takes at least.
    pub delay: Duration,
    /// How many items in a million are answered with 429.
    pub item_429_per_million: u32,
    /// How many bulks in a million are answered with 503 as a whole.
    pub bulk_503_per_million: u32,
}

/// What was counted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, serde::Deserialize)]
pub struct Counts {
    /// Bulk requests, whatever became of them.
    pub bulks: u64,
    /// Bytes of their bodies, as sent.
    pub body_bytes: u64,
    /// Items accepted.
    pub items: u64,
    /// Bytes of their documents.
    pub document_bytes: u64,
    /// Items answered with 429.
    pub items_429: u64,
    /// Bulks answered with 503.
    pub bulks_503: u64,
    /// Bulks with a wrong frame.
    pub frame_errors: u64,
    /// The first of these.
    pub first_frame_error: Option<String>,
    /// Different ids accepted; 0 unless ids are checked.
    pub ids: u64,
    /// Accepted items whose id had been accepted before.
    pub repeated_ids: u64,
    /// Whether there were too many ids to tell all apart.
    pub ids_full: bool,
    /// Seconds from the arrival of the first bulk to the reply to the last one.
    pub seconds: f64,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} items in {} bulks within {:.3} s",
            self.items, self.bulks, self.seconds
        )
    }
}

type Ids = std::collections::HashSet<u64, BuildHasherDefault<AsIs>>;

/// A running null Elasticsearch; it ends when this is dropped.
#[derive(Debug)]
pub struct NullElasticsearch {
    address: SocketAddr,
    server: Arc<Server>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Debug)]
struct Server {
    settings: NullSettings,
    /// For drawing which bulks and items fail.
    draws: AtomicU64,
    state: Mutex<Inner>,
    ids: Mutex<Ids>,
    templates: Mutex<HashMap<String, Value>>,
}

#[derive(Debug, Default)]
struct Inner {
    counts: Counts,
    first: Option<Instant>,
}

impl NullElasticsearch {
    /// Starts on a port; port 0 takes any.
    ///
    /// # Errors
    /// If the port cannot be listened on.
    pub async fn start(listen: SocketAddr, settings: NullSettings) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(listen)
            .await
            .with_context(|| format!("`{listen}` cannot be listened on"))?;
        let address = listener.local_addr()?;
        let server = Arc::new(Server {
            settings,
            draws: AtomicU64::new(0),
            state: Mutex::default(),
            ids: Mutex::default(),
            templates: Mutex::default(),
        });
        let router = router(Arc::clone(&server));
        let task = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::error!(%error, "the null Elasticsearch ended");
            }
        });
        Ok(Self {
            address,
            server,
            task,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What was counted so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.server.counts()
    }
}

impl Drop for NullElasticsearch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn router(server: Arc<Server>) -> Router {
    Router::new()
        .route("/", get(|| async { product(info()) }))
        .route("/_bulk", post(bulk).put(bulk))
        .route("/{index}/_bulk", post(bulk_into).put(bulk_into))
        .route("/_cluster/health", get(|| async { product(health()) }))
        .route(
            "/_index_template/{name}",
            get(get_template).put(put_template),
        )
        .route("/counts", get(get_counts))
        .route("/reset", post(reset))
        .fallback(|| async { (StatusCode::NOT_FOUND, product(json!({ "status": 404 }))) })
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(server)
}

/// The header by which official clients know their server.
fn product(body: Value) -> Response {
    let headers = [
        ("x-elastic-product", "Elasticsearch"),
        ("content-type", "application/json"),
    ];
    (headers, body.to_string()).into_response()
}

fn info() -> Value {
    json!({
        "name": "null",
        "cluster_name": "null",
        "version": { "number": "8.19.0", "build_flavor": "default" },
        "tagline": "You Know, for Search",
    })
}

fn health() -> Value {
    json!({ "cluster_name": "null", "status": "green", "timed_out": false, "number_of_nodes": 1 })
}

async fn get_template(State(server): State<Arc<Server>>, Path(name): Path<String>) -> Response {
    let found = server
        .templates
        .lock()
        .ok()
        .and_then(|t| t.get(&name).cloned());
    match found {
        Some(template) => product(json!({
            "index_templates": [{ "name": name, "index_template": template }]
        })),
        None => (StatusCode::NOT_FOUND, product(json!({ "status": 404 }))).into_response(),
    }
}

async fn put_template(
    State(server): State<Arc<Server>>,
    Path(name): Path<String>,
    body: Bytes,
) -> Response {
    let Ok(template) = serde_json::from_slice(&body) else {
        return (StatusCode::BAD_REQUEST, product(json!({ "status": 400 }))).into_response();
    };
    if let Ok(mut templates) = server.templates.lock()
        && templates.len() < TEMPLATES_MAX
    {
        templates.insert(name, template);
    }
    product(json!({ "acknowledged": true }))
}

async fn get_counts(State(server): State<Arc<Server>>) -> Response {
    axum::Json(server.counts()).into_response()
}

async fn reset(State(server): State<Arc<Server>>) -> StatusCode {
    if let Ok(mut state) = server.state.lock() {
        *state = Inner::default();
    }
    if let Ok(mut ids) = server.ids.lock() {
        ids.clear();
    }
    StatusCode::NO_CONTENT
}

async fn bulk(State(server): State<Arc<Server>>, headers: HeaderMap, body: Bytes) -> Response {
    server.bulk(false, &headers, body).await
}

async fn bulk_into(
    State(server): State<Arc<Server>>,
    Path(_index): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    server.bulk(true, &headers, body).await
}

/// What one bulk adds to the counts.
#[derive(Default)]
struct Checked {
    items: u64,
    document_bytes: u64,
    items_429: u64,
    repeated_ids: u64,
    n_errors: u64,
    ids: u64,
    ids_full: bool,
    reply: Vec<u8>,
}

/// What becomes of one item.
enum Fate {
    New,
    Repeated,
    Refused,
}

impl Server {
    fn counts(&self) -> Counts {
        self.state
            .lock()
            .map(|state| state.counts.clone())
            .unwrap_or_default()
    }

    async fn bulk(&self, index_in_path: bool, headers: &HeaderMap, body: Bytes) -> Response {
        let arrived = Instant::now();
        let body_bytes = body.len() as u64;
        if let Ok(mut state) = self.state.lock() {
            state.first.get_or_insert(arrived);
            state.counts.bulks += 1;
            state.counts.body_bytes += body_bytes;
        }
        if !self.settings.delay.is_zero() {
            tokio::time::sleep(self.settings.delay).await;
        }
        if self.draw(self.settings.bulk_503_per_million) {
            self.note(|counts| counts.bulks_503 += 1);
            return error(
                StatusCode::SERVICE_UNAVAILABLE,
                "drawn by --bulk-503-per-million",
            );
        }
        match unzip(headers, body) {
            Err(reason) => self.refuse(reason),
            Ok(body) => match self.check(&body, index_in_path) {
                Err(frame) => self.refuse(frame.to_string()),
                Ok(checked) => self.accept(checked),
            },
        }
    }

    fn refuse(&self, reason: String) -> Response {
        tracing::warn!(reason, "a bulk with a wrong frame");
        let reply = error(StatusCode::BAD_REQUEST, &reason);
        self.note(|counts| {
            counts.frame_errors += 1;
            counts.first_frame_error.get_or_insert(reason);
        });
        reply
    }

    fn check(&self, body: &[u8], index_in_path: bool) -> Result<Checked, bulk_frames::FrameError> {
        let mut checked = Checked {
            reply: Vec::with_capacity(body.len() / 4),
            ..Checked::default()
        };
        let mut ids = None;
        if self.settings.check_ids {
            // No id counts as accepted if the frame is wrong further down.
            bulk_frames::check(body, index_in_path, |_| {})?;
            ids = self.ids.lock().ok();
        }
        bulk_frames::check(body, index_in_path, |item: Item<'_>| {
            let fate = match &mut ids {
                _ if self.draw(self.settings.item_429_per_million) => Fate::Refused,
                None => Fate::New,
                Some(ids) if ids.len() >= IDS_MAX => {
                    checked.ids_full = true;
                    Fate::New
                }
                Some(ids) => match ids.insert(hash(&item)) {
                    true => Fate::New,
                    false => Fate::Repeated,
                },
            };
            checked.add(&item, &fate);
        })?;
        checked.ids = ids.map_or(0, |ids| ids.len() as u64);
        Ok(checked)
    }

    fn accept(&self, checked: Checked) -> Response {
        let has_errors = checked.n_errors > 0;
        if let Ok(mut state) = self.state.lock() {
            let seconds = state
                .first
                .map_or(0.0, |first| first.elapsed().as_secs_f64());
            let counts = &mut state.counts;
            counts.items += checked.items;
            counts.document_bytes += checked.document_bytes;
            counts.items_429 += checked.items_429;
            counts.repeated_ids += checked.repeated_ids;
            counts.ids = counts.ids.max(checked.ids);
            counts.ids_full |= checked.ids_full;
            counts.seconds = seconds;
        }
        let mut reply = format!(r#"{{"errors":{has_errors},"items":["#).into_bytes();
        let items = checked.reply.strip_suffix(b",").unwrap_or(&checked.reply);
        reply.extend_from_slice(items);
        reply.extend_from_slice(b"]}");
        let headers = [
            ("x-elastic-product", "Elasticsearch"),
            ("content-type", "application/json"),
        ];
        (headers, reply).into_response()
    }

    /// True for about `per_million` draws in a million.
    fn draw(&self, per_million: u32) -> bool {
        per_million > 0 && {
            let draw = self.draws.fetch_add(1, Ordering::Relaxed);
            mix(0x6472_6177, draw) % 1_000_000 < u64::from(per_million)
        }
    }

    fn note(&self, change: impl FnOnce(&mut Counts)) {
        if let Ok(mut state) = self.state.lock() {
            change(&mut state.counts);
        }
    }
}

impl Checked {
    fn add(&mut self, item: &Item<'_>, fate: &Fate) {
        let reply: &[u8] = match (fate, item.action) {
            (Fate::New, Action::Index) => br#"{"index":{"result":"created","status":201}},"#,
            (Fate::New, Action::Create) => br#"{"create":{"result":"created","status":201}},"#,
            (Fate::Repeated, Action::Index) => br#"{"index":{"result":"updated","status":200}},"#,
            (Fate::Repeated, Action::Create) => {
                br#"{"create":{"status":409,"error":{"type":"version_conflict_engine_exception","reason":"the document is there"}}},"#
            }
            (Fate::Refused, Action::Index) => {
                br#"{"index":{"status":429,"error":{"type":"es_rejected_execution_exception","reason":"drawn by --item-429-per-million"}}},"#
            }
            (Fate::Refused, Action::Create) => {
                br#"{"create":{"status":429,"error":{"type":"es_rejected_execution_exception","reason":"drawn by --item-429-per-million"}}},"#
            }
        };
        self.reply.extend_from_slice(reply);
        self.n_errors += u64::from(matches!(
            (fate, item.action),
            (Fate::Refused, _) | (Fate::Repeated, Action::Create)
        ));
        match fate {
            Fate::Refused => {
                self.items_429 += 1;
                return;
            }
            Fate::Repeated => self.repeated_ids += 1,
            Fate::New => {}
        }
        self.items += 1;
        self.document_bytes += item.document.len() as u64;
    }
}

fn error(status: StatusCode, reason: &str) -> Response {
    let body = json!({
        "error": { "type": "null_elasticsearch_exception", "reason": reason },
        "status": status.as_u16(),
    });
    (status, product(body)).into_response()
}

fn unzip(headers: &HeaderMap, body: Bytes) -> Result<Bytes, String> {
    match headers
        .get(header::CONTENT_ENCODING)
        .map(|value| value.as_bytes())
    {
        None | Some(b"identity") => Ok(body),
        Some(b"gzip") => {
            let mut plain = Vec::with_capacity(body.len() * 4);
            let mut bounded = GzDecoder::new(&body[..]).take(BODY_BYTES_MAX as u64 + 1);
            match bounded.read_to_end(&mut plain) {
                Ok(n) if n <= BODY_BYTES_MAX => Ok(plain.into()),
                Ok(_) => Err(format!(
                    "more than {BODY_BYTES_MAX} bytes when decompressed"
                )),
                Err(error) => Err(format!("not gzip: {error}")),
            }
        }
        Some(other) => Err(format!(
            "unknown Content-Encoding `{}`",
            String::from_utf8_lossy(other)
        )),
    }
}

fn hash(item: &Item<'_>) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one((item.index, item.id))
}

/// The keys are hashes already.
#[derive(Clone, Copy, Debug, Default)]
struct AsIs(u64);

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

#[cfg(test)]
mod tests;
