//! What Grafana asks through query-api is answered as if it had asked Elasticsearch itself, and nothing else gets there.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use xtask::http::{self, Reply};

use crate::scenarios;
use crate::search_client::Store;
use crate::stage::{Part, Scenario, Stage};

pub(crate) const SCENARIOS: &[Scenario] = scenarios![
    each_request_of_grafanas_is_answered_as_elasticsearch_answers_it,
    the_newest_logs_come_first_though_grafana_names_the_tie_break_first,
    what_is_not_passed_on_never_reaches_elasticsearch,
    a_refusal_of_elasticsearchs_is_passed_on_and_its_absence_told_in_its_shape,
];

const TIMEOUT: Duration = Duration::from_secs(60);
const NDJSON: (&str, &str) = ("Content-Type", "application/x-ndjson");
const MULTI_SEARCH: &str = "/_msearch?max_concurrent_shard_requests=5";

pub(super) fn each_request_of_grafanas_is_answered_as_elasticsearch_answers_it(
    stage: &mut Stage<'_>,
) -> Result<()> {
    let api = stage.query_api(&[])?;
    write_two_days(stage)?;
    let (mut found, mut refused) = (0, 0);
    for (name, body) in fixtures(stage)? {
        // The one difference on purpose; another scenario is about it.
        let direct = body.replace(
            r#""sort":{"_doc":{"order":"desc"},"timestamp":{"order":"desc","unmapped_type":"boolean"}}"#,
            r#""sort":[{"timestamp":{"order":"desc","unmapped_type":"boolean"}},{"_doc":{"order":"desc"}}]"#,
        );
        let direct = direct.replace(
            r#""sort":{"_doc":{"order":"asc"},"timestamp":{"order":"asc","unmapped_type":"boolean"}}"#,
            r#""sort":[{"timestamp":{"order":"asc","unmapped_type":"boolean"}},{"_doc":{"order":"asc"}}]"#,
        );
        let ours = through(&api, MULTI_SEARCH, &body)?;
        let theirs = directly(stage, "POST", MULTI_SEARCH, &direct)?;
        same(&name, &ours, &theirs)?;
        match ours.status {
            200 => {
                for response in ours.json()?["responses"].as_array().context("responses")? {
                    ensure!(response["status"] == 200, "{name}: {response}");
                    ensure!(
                        response["hits"]["total"]["value"] != 0,
                        "{name}: {response}"
                    );
                }
                found += 1;
            }
            // This engine comes without the modules of some aggregations, and says so.
            400 => refused += 1,
            status => anyhow::bail!("{name}: {status} {}", ours.text()),
        }
    }
    eprintln!("    {found} searches found events, {refused} were refused by Elasticsearch itself");
    ensure!(found >= 8, "the sample proves too little");

    let gets = fs::read_to_string(directory(stage).join("gets.txt"))?;
    for path in gets.lines().map(|line| ours_in(stage, line)) {
        let ours = api.get(&format!("/elasticsearch{path}"))?;
        ensure!(
            ours.status == 200,
            "{path}: {} {}",
            ours.status,
            ours.text()
        );
        match path.as_str() {
            "/" => {
                let root = ours.json()?;
                let nodes = stage.ask_elasticsearch("GET", "/_nodes/_local", &Value::Null)?;
                let nodes = nodes["nodes"].as_object().context("nodes")?;
                let version = nodes.values().next().context("a node")?["version"].clone();
                ensure!(root["version"]["number"] == version, "{root}");
                ensure!(root["tagline"].is_string() && root["cluster_name"].is_string());
            }
            // Without an index all of them are meant, and here those of `--index`.
            path if path.starts_with("/_mapping") || path.starts_with("/_field_caps") => {
                let index = stage.wiring.index();
                let theirs = directly(stage, "GET", &format!("/{index}{path}"), "")?;
                same(path, &ours, &theirs)?;
            }
            path => {
                let theirs = directly(stage, "GET", path, "")?;
                same(path, &ours, &theirs)?;
            }
        }
    }
    let requests = api.metric("query_api_http_requests_total", "_msearch")?;
    ensure!(requests >= f64::from(found), "{requests} were counted");
    Ok(())
}

pub(super) fn the_newest_logs_come_first_though_grafana_names_the_tie_break_first(
    stage: &mut Stage<'_>,
) -> Result<()> {
    let api = stage.query_api(&[])?;
    write_two_days(stage)?;
    let logs = fs::read_to_string(directory(stage).join("logs_newer.ndjson"))?;
    let body = ours_in(stage, &logs).replace(r#""size":500"#, r#""size":7"#);
    let page = through(&api, MULTI_SEARCH, &body)?.json()?;
    let hits = page["responses"][0]["hits"]["hits"]
        .as_array()
        .context("hits")?;
    let found: Vec<u64> = hits
        .iter()
        .filter_map(|hit| hit["_source"]["n"].as_u64())
        .collect();
    ensure!(found == [299, 298, 297, 296, 295, 294, 293], "{found:?}");
    // What Grafana then sends as `search_after` for the lines before that one.
    let after = hits[6]["sort"].clone();
    let older = body.replace(
        r#""script_fields":{}"#,
        &format!(r#""script_fields":{{}},"search_after":{after}"#),
    );
    let page = through(&api, MULTI_SEARCH, &older)?.json()?;
    let first = &page["responses"][0]["hits"]["hits"][0]["_source"]["n"];
    ensure!(*first == 292, "{page}");
    Ok(())
}

fn a_refusal_of_elasticsearchs_is_passed_on_and_its_absence_told_in_its_shape(
    stage: &mut Stage<'_>,
) -> Result<()> {
    let api = stage.query_api(&["--search-timeout", "2s"])?;
    write_two_days(stage)?;
    let index = stage.wiring.index();
    let absent = format!("{}/_search", index.replace('*', "absent"));
    for (path, body) in [
        (
            format!("/{index}/_search"),
            r#"{"query":{"range":{"timestamp":{"gte":"soon"}}}}"#,
        ),
        (format!("/{index}/_search"), r#"{"from":9999,"size":10}"#),
        (format!("/{absent}"), "{}"),
    ] {
        let ours = through(&api, &path, body)?;
        let theirs = directly(stage, "POST", &path, body)?;
        ensure!((400..500).contains(&ours.status), "{path}: {}", ours.text());
        same(&path, &ours, &theirs)?;
    }
    stage.elasticsearch().stop()?;
    let reply = through(&api, "/_msearch", "{}\n{}\n{}\n{}\n")?;
    let body = reply.json()?;
    ensure!(reply.status == 503 && body["status"] == 503, "{body}");
    ensure!(body["error"]["reason"].is_string(), "{body}");
    let each = body["responses"].as_array().context("responses")?;
    ensure!(
        each.len() == 2 && each[1]["error"] == body["error"],
        "{body}"
    );
    Ok(())
}

/// Stands where Elasticsearch would: counts what arrives beside the probes, and answers all of it.
fn counting_engine() -> Result<(String, Arc<AtomicUsize>)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}", listener.local_addr()?);
    let arrived = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&arrived);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let counted = Arc::clone(&counted);
            std::thread::spawn(move || answer_one(stream, &counted));
        }
    });
    Ok((url, arrived))
}

/// A connection carries one request; one that breaks off has no reader any more.
fn answer_one(mut stream: TcpStream, counted: &AtomicUsize) {
    let Some(request) = read_request(&mut stream) else {
        return;
    };
    // Which engine it is, and whether searches work: what query-api asks by itself.
    if !request.starts_with("GET / ") && !request.contains("match_none") {
        counted.fetch_add(1, Ordering::SeqCst);
    }
    let body = r#"{"took":1,"timed_out":false,"_shards":{"total":1,"successful":1,"skipped":0,"failed":0},"hits":{"hits":[]}}"#;
    let length = body.len();
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close";
    let reply = format!("{head}\r\ncontent-length: {length}\r\n\r\n{body}");
    if let Err(error) = stream.write_all(reply.as_bytes()) {
        eprintln!("    a reply was not taken: {error}");
    }
}

fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut request = Vec::new();
    let mut buffer = [0_u8; 16 << 10];
    loop {
        let read = stream.read(&mut buffer).ok().filter(|read| *read > 0)?;
        request.extend_from_slice(&buffer[..read]);
        let text = String::from_utf8_lossy(&request).to_lowercase();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .map_or(0, |length| length.parse().unwrap_or(0));
            if body.len() >= length {
                return Some(String::from_utf8_lossy(&request).into_owned());
            }
        }
    }
}

fn what_is_not_passed_on_never_reaches_elasticsearch(stage: &mut Stage<'_>) -> Result<()> {
    let (url, arrived) = counting_engine()?;
    let api = stage.query_api(&["--elasticsearch-url", &url, "--index", "logflow-*"])?;
    let forbidden = [
        (
            "POST",
            "/_bulk",
            "{\"index\":{\"_index\":\"logflow-1\"}}\n{}\n",
        ),
        (
            "POST",
            "/logflow-1/_delete_by_query",
            r#"{"query":{"match_all":{}}}"#,
        ),
        ("GET", "/_cat/indices", ""),
        ("POST", "/_query", r#"{"query":"FROM secrets"}"#),
        ("GET", "/secrets/_mapping", ""),
        ("GET", "/.security*/_field_caps?fields=*", ""),
        ("POST", "/logflow-*,secrets/_search", "{}"),
        ("POST", "/remote:logflow-1/_search", "{}"),
        ("POST", "/_msearch", "{\"index\":\"secrets\"}\n{}\n"),
        (
            "POST",
            "/_msearch",
            "{}\n{}\n{}\n{\"script_fields\":{\"a\":{\"script\":\"1\"}}}\n",
        ),
        (
            "POST",
            "/_search",
            r#"{"query":{"terms":{"a":{"index":"secrets","id":"1","path":"b"}}}}"#,
        ),
        (
            "POST",
            "/_search",
            r#"{"aggs":{"a":{"bucket_script":{"script":"1"}}}}"#,
        ),
        ("POST", "/_search", r#"{"size":10001}"#),
        ("POST", "/_search?scroll=1m", "{}"),
        (
            "GET",
            "/_search?source=%7B%7D&source_content_type=application/json",
            "",
        ),
    ];
    for (method, path, body) in forbidden {
        let url = format!("{}/elasticsearch{path}", api.url());
        let reply = http::request(method, &url, &[NDJSON], body.as_bytes(), TIMEOUT)?;
        let answer = reply.json()?;
        ensure!(
            reply.status == 403 && answer["status"] == 403,
            "{path}: {answer}"
        );
        ensure!(
            answer["error"]["type"] == "logflow_not_allowed",
            "{path}: {answer}"
        );
        let reason = answer["error"]["reason"].as_str().context("a reason")?;
        ensure!(
            answer["error"]["root_cause"][0]["reason"] == reason,
            "{path}: {answer}"
        );
    }
    for (method, path) in [("DELETE", "/_search"), ("PUT", "/logflow-1/_mapping")] {
        let url = format!("{}/elasticsearch{path}", api.url());
        let reply = http::request(method, &url, &[], b"", TIMEOUT)?;
        ensure!(reply.status == 405, "{method} {path}: {}", reply.text());
    }
    let count = arrived.load(Ordering::SeqCst);
    ensure!(count == 0, "{count} requests arrived");
    // The counter counts: what is passed on arrives.
    ensure!(through(&api, "/_search", "{}")?.status == 200);
    ensure!(arrived.load(Ordering::SeqCst) == 1);
    let refused = api.metric("query_api_requests_refused_total", "not_allowed")?;
    ensure!(refused >= 15.0, "{refused} refusals were counted");
    Ok(())
}

/// 300 events of two days, the older day with twice as many, stored in an order that is not that of time.
fn write_two_days(stage: &mut Stage<'_>) -> Result<()> {
    let store = Store::open(stage)?;
    let mut days: BTreeMap<&str, Vec<(String, String)>> = BTreeMap::new();
    for step in 0..300_u32 {
        // Coprime to their number, so each comes once.
        let n = step * 77 % 300;
        let (day, hour) = if n < 200 {
            ("2026.01.30", n / 10)
        } else {
            ("2026.01.31", (n - 200) / 5)
        };
        let level = ["error", "info", "warn"][n as usize % 3];
        let event = json!({
            "n": n,
            "timestamp": format!("{}T{hour:02}:{:02}:00Z", day.replace('.', "-"), n % 60),
            "level": level,
            "message": if n.is_multiple_of(2) { "connect to DB" } else { "connection closed" },
            "resourceId": format!("server-{}", n % 7),
            "duration": f64::from(n) * 0.75,
            "metadata": { "parentResourceId": "rack-1" },
        });
        let event = (format!("e{n}"), event.to_string());
        days.entry(day).or_default().push(event);
    }
    for (day, events) in days {
        let by_time = events
            .iter()
            .map(|(id, event)| (id.as_str(), event.as_str()));
        store.write_to(day, by_time)?;
    }
    Ok(())
}

fn directory(stage: &Stage<'_>) -> std::path::PathBuf {
    stage.root().join("query-api/tests/grafana")
}

/// The bodies of `_msearch` that Grafana sends, with the indices of this scenario.
fn fixtures(stage: &Stage<'_>) -> Result<BTreeMap<String, String>> {
    let mut fixtures = BTreeMap::new();
    for entry in fs::read_dir(directory(stage))? {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "ndjson")
        {
            let name = path
                .file_stem()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            fixtures.insert(name, ours_in(stage, &fs::read_to_string(&path)?));
        }
    }
    Ok(fixtures)
}

fn ours_in(stage: &Stage<'_>, text: &str) -> String {
    let prefix = stage.wiring.index_pattern.replace("{date}", "");
    text.replace("logflow-", &prefix)
}

fn through(api: &Part, path: &str, body: &str) -> Result<Reply> {
    api.post(&format!("/elasticsearch{path}"), &[NDJSON], body.as_bytes())
}

fn directly(stage: &Stage<'_>, method: &str, path: &str, body: &str) -> Result<Reply> {
    let url = format!("{}{path}", stage.wiring.elasticsearch);
    http::request(method, &url, &[NDJSON], body.as_bytes(), TIMEOUT)
}

/// Whether two replies are the same but for the time they took.
fn same(what: &str, ours: &Reply, theirs: &Reply) -> Result<()> {
    let untimed = |reply: &Reply| -> Result<String> {
        let mut json = reply.json()?;
        untime(&mut json);
        Ok(json.to_string())
    };
    let (ours_text, theirs_text) = (untimed(ours)?, untimed(theirs)?);
    ensure!(
        ours.status == theirs.status && ours_text == theirs_text,
        "{what}: {} {ours_text}\ninstead of {} {theirs_text}",
        ours.status,
        theirs.status
    );
    for header in ["content-type", "x-elastic-product"] {
        ensure!(
            ours.header(header) == theirs.header(header),
            "{what}: {header}: {:?} instead of {:?}",
            ours.header(header),
            theirs.header(header)
        );
    }
    Ok(())
}

fn untime(json: &mut Value) {
    match json {
        Value::Object(members) => {
            members.remove("took");
            // How long tasks have waited, in `_cluster/health`.
            members.remove("task_max_waiting_in_queue_millis");
            members.values_mut().for_each(untime);
        }
        Value::Array(items) => items.iter_mut().for_each(untime),
        _ => {}
    }
}
