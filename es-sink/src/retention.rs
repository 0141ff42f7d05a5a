//! `es-sink retention`: deletes the indices of days that are over for long enough, and nothing else.
//!
//! Beside the flow: the indices' names → **`retention`** → Elasticsearch. What is deleted has a name that
//! [`IndexPattern`] gives to such a day; no wildcard is ever sent to delete.
//!
//! 1. [`command`]: what is asked for.
//! 2. [`plan`]: which of the indices that there are shall go, and in which requests.
//! 3. This file asks Elasticsearch, and tells.

pub mod command;
pub mod plan;

use std::io::Write as _;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail, ensure};
use log_event::document::{IndexPattern, UtcDay};
use serde_json::{Value, json};
use service::elasticsearch::{Method, Nodes, Reply, Request};
use service::shutdown::Shutdown;

use command::RetentionConfig;
use plan::{Held, chunks, doomed};

/// Of one request; a cluster with thousands of indices takes a while to list them.
const TIMEOUT: Duration = Duration::from_secs(60);
/// By so much our clock and the cluster's may differ: a clock that is days ahead would delete good days.
const CLOCKS_DIFFER_MAX: Duration = Duration::from_secs(3600);

/// Does what was asked for. The exit code is 0 if all of it was done.
///
/// # Errors
/// If Elasticsearch does not answer, or refuses.
pub async fn run(config: &RetentionConfig, shutdown: &Shutdown) -> anyhow::Result<ExitCode> {
    let nodes = Nodes::new(&config.nodes, &config.login).map_err(anyhow::Error::msg)?;
    let today = UtcDay::of_millis(millis(common_clock(&nodes).await?));
    let held = list(&nodes, &config.pattern).await?;
    let doomed = doomed(&held, &config.pattern, today, config.keep_days);
    let mut done = Tally::default();
    for chunk in chunks(&doomed) {
        if !config.dry_run {
            if shutdown.is_requested() {
                eprintln!("es-sink: ends early, as asked; run it again for the rest");
                done.tell(config, today)?;
                return Ok(ExitCode::FAILURE);
            }
            delete(&nodes, chunk).await.inspect_err(|_| {
                // What is gone is told even then.
                drop(done.tell(config, today));
            })?;
        }
        for index in chunk {
            done.add(index);
            tell(config, index)?;
        }
    }
    done.tell(config, today)?;
    Ok(ExitCode::SUCCESS)
}

/// What is deleted, or would be.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    indices: u64,
    documents: u64,
    bytes: u64,
}

impl Tally {
    fn add(&mut self, index: &Held) {
        self.indices += 1;
        self.documents += index.documents.unwrap_or(0);
        self.bytes += index.bytes.unwrap_or(0);
    }

    fn tell(self, config: &RetentionConfig, today: UtcDay) -> std::io::Result<()> {
        let Self {
            indices,
            documents,
            bytes,
        } = self;
        let kept_since = today.before(config.keep_days).to_string();
        let mut out = std::io::stdout();
        if config.json {
            let summary = json!({"indices": indices, "documents": documents, "bytes": bytes,
                "kept_since": kept_since, "dry_run": config.dry_run});
            return writeln!(out, "{}", json!({ "summary": summary }));
        }
        let verb = match config.dry_run {
            true => "would be deleted",
            false => "deleted",
        };
        writeln!(
            out,
            "{indices} indices {verb}, {documents} documents, {bytes} bytes; {kept_since} and later are kept"
        )
    }
}

fn tell(config: &RetentionConfig, index: &Held) -> std::io::Result<()> {
    let mut out = std::io::stdout();
    match config.json {
        true => writeln!(out, "{}", index.json()),
        false => writeln!(out, "{}", index.line()),
    }
}

/// Our clock, if the cluster's agrees.
async fn common_clock(nodes: &Nodes) -> anyhow::Result<Duration> {
    let reply = ask(
        nodes,
        Method::Get,
        "/_nodes/stats/process?filter_path=nodes.*.timestamp",
    )
    .await?;
    let body: Value = serde_json::from_slice(&read(&reply, "asked for its time")?.body)?;
    let ours = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let nodes = body["nodes"].as_object().into_iter().flatten();
    let theirs: Vec<u64> = nodes
        .filter_map(|(_, node)| node["timestamp"].as_u64())
        .collect();
    ensure!(
        !theirs.is_empty(),
        "no node of Elasticsearch tells its time"
    );
    for theirs in theirs.into_iter().map(Duration::from_millis) {
        let apart = theirs.abs_diff(ours);
        ensure!(
            apart <= CLOCKS_DIFFER_MAX,
            "the clocks of this machine and of a node of Elasticsearch are {apart:?} apart; nothing is deleted until they agree within an hour"
        );
    }
    Ok(ours)
}

fn millis(since_epoch: Duration) -> i64 {
    i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
}

/// All indices that the pattern's wildcard covers, closed ones, too; many a foreign one may be among them.
async fn list(nodes: &Nodes, pattern: &IndexPattern) -> anyhow::Result<Vec<Held>> {
    let path = format!(
        "/_cat/indices/{}?format=json&bytes=b&h=index,docs.count,store.size&expand_wildcards=open,closed",
        plan::in_a_path(&pattern.wildcard())
    );
    let reply = ask(nodes, Method::Get, &path).await?;
    if reply.status == 404 {
        return Ok(Vec::new());
    }
    let reply = read(&reply, "asked which indices there are")?;
    let rows: Vec<Value> = serde_json::from_slice(&reply.body)
        .context("Elasticsearch's list of indices cannot be read")?;
    rows.iter()
        .map(|row| Held::read(row).with_context(|| format!("Elasticsearch lists {row}")))
        .collect()
}

/// Deletes these, by their full names.
async fn delete(nodes: &Nodes, indices: &[&Held]) -> anyhow::Result<()> {
    let path = plan::delete_path(indices);
    let reply = ask(nodes, Method::Delete, &path).await?;
    match (reply.status, indices) {
        // Somebody else deleted it.
        (404, [_]) => Ok(()),
        // The others are still there: the request is carried out for all, or for none.
        (404, several) => {
            for one in several.chunks(1) {
                Box::pin(delete(nodes, one)).await?;
            }
            Ok(())
        }
        _ => read(&reply, "asked to delete").map(drop),
    }
}

async fn ask(nodes: &Nodes, method: Method, path: &str) -> anyhow::Result<Reply> {
    let request = Request::bare(method, path, TIMEOUT);
    nodes
        .send(request)
        .await
        .context("nothing more is deleted; run it again")
}

fn read<'r>(reply: &'r Reply, asked: &str) -> anyhow::Result<&'r Reply> {
    if reply.status == 200 {
        return Ok(reply);
    }
    let text = String::from_utf8_lossy(&reply.body);
    let text: String = text.chars().take(500).collect();
    let hint = match reply.status {
        401 | 403 => " (the role `logflow_operator` of deploy/elasticsearch/roles.yml may do this)",
        _ => "",
    };
    bail!(
        "{asked}, Elasticsearch answers {}{hint}: {text}",
        reply.status
    )
}
