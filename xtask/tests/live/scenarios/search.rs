//! A search finds what it says, all of it, once, and never hangs (QA-1).

use std::collections::BTreeSet;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use serde_json::{Value, json};
use xtask::http::{self, Reply};

use crate::scenarios;
use crate::stage::{Part, SOON, Scenario, Stage};

pub(crate) const SCENARIOS: &[Scenario] = scenarios![
    before_the_first_event_a_search_finds_nothing_and_says_so,
    each_filter_alone_and_all_together_find_the_one_event_as_it_was_sent,
    a_request_that_cannot_be_meant_so_is_refused_and_the_offender_named,
    the_newest_events_come_first_and_no_more_than_the_limit,
    a_part_of_a_message_is_found_wherever_a_plain_comparison_finds_it,
    paging_gives_every_hit_once_among_equal_timestamps_while_events_are_written_again,
    a_cursor_is_bound_to_its_search_and_the_oldest_gives_way,
    without_elasticsearch_a_search_is_refused_in_time_and_works_again_by_itself,
];

const TIMEOUT: Duration = Duration::from_secs(60);
/// A search of at most 2 s (`--search-timeout`) and 1 s more for the reply, on a busy machine.
const REFUSED_WITHIN: Duration = Duration::from_secs(15);
/// Where most events below belong.
const DAY: &str = "2026.01.31";

pub(super) fn before_the_first_event_a_search_finds_nothing_and_says_so(
    stage: &mut Stage<'_>,
) -> Result<()> {
    let api = stage.query_api(&[])?;
    ensure!(get(&api, "/logs")? == array(&[]));
    let page = search(&api, &json!({"level": "error"}))?;
    ensure!(page["hits"] == json!([]), "{page}");
    ensure!(
        page["total"] == json!({"value": 0, "relation": "eq"}),
        "{page}"
    );
    ensure!(
        page["next_cursor"].is_null() && page["partial"] == false,
        "{page}"
    );
    Ok(())
}

/// Spelled as no serializer would: a reply that was parsed and written again would differ.
const WANTED: &str = r#"{ "level":"error", "message":"Failed to connect\u0020to DB","resourceId":"server-1234", "timestamp":"2026-01-31T08:00:00Z","traceId":"abc-xyz-123","spanId":"span-456","commit":"5e5342f", "metadata":{"parentResourceId":"server-0987","cost":1.50E+2}, "count":12345678901234567890,"a":[ 1 , 2.0,null ]}"#;
const OTHER: &str = r#"{"timestamp":"2026-01-30T08:00:00Z","level":"info","message":"Connected","resourceId":"server-1235","traceId":"abc-xyz-124","spanId":"span-457","commit":"5e5342e","metadata":{"parentResourceId":"server-0988"}}"#;
/// What finds [`WANTED`] of the two, and what finds [`OTHER`].
const FILTERS: [(&str, &str); 8] = [
    ("level=ERROR", "level=Info"),
    ("resourceId=server-1234", "resourceId=server-1235"),
    ("message=TO%20CONN", "message=nected"),
    ("traceId=abc-xyz-123", "traceId=abc-xyz-124"),
    ("spanId=span-456", "spanId=span-457"),
    ("commit=5e5342f", "commit=5e5342e"),
    (
        "metadata.parentResourceId=server-0987",
        "metadata.parentResourceId=server-0988",
    ),
    ("startDate=2026-01-31", "endDate=2026-01-30"),
];
/// Other spellings that find [`WANTED`] alone: moments belong to the range that they end.
const SPELLINGS: [&str; 10] = [
    "parentResourceId=server-0987",
    "message=led+to",
    "message=db&commit=&spanId=",
    "startDate=2026-01-31T08:00:00Z&endDate=2026-01-31T08:00:00Z",
    "startDate=2026-01-31T07:59:59.999999999Z&endDate=2026-01-31T10:00:00%2B02:00",
    "startDate=2026-01-31T02:00:00-06:00&endDate=2026-01-31T10:00:00+02:00",
    "startDate=1769846400&endDate=1769846400",
    "startDate=1769846400000&endDate=1769846400000000",
    "startDate=1769846400000000000&endDate=2026-01-31",
    "startDate=2026-01-31&endDate=&commit=&message=&level=",
];

pub(super) fn each_filter_alone_and_all_together_find_the_one_event_as_it_was_sent(
    stage: &mut Stage<'_>,
) -> Result<()> {
    let api = stage.query_api(&[])?;
    let store = Store::open(stage)?;
    store.write([("wanted", WANTED), ("other", OTHER)])?;
    let finds = |filter: &str, expected: &[&str]| -> Result<()> {
        let found = get(&api, &format!("/logs?{filter}"))?;
        ensure!(found == array(expected), "{filter} finds {found}");
        Ok(())
    };
    for (wanted, other) in FILTERS {
        finds(wanted, &[WANTED])?;
        finds(other, &[OTHER])?;
    }
    for filter in SPELLINGS {
        finds(filter, &[WANTED])?;
    }
    finds("startDate=2026-01-31T08:00:00.000000001Z", &[])?;
    finds("endDate=2026-01-31T07:59:59.999999999Z", &[OTHER])?;
    finds("commit=&message=", &[WANTED, OTHER])?;

    let mut all = FILTERS.map(|(wanted, _)| wanted);
    finds(&all.join("&"), &[WANTED])?;
    // Each of them takes part: with one of the other event's there is nothing that matches all.
    for (at, (wanted, other)) in FILTERS.into_iter().enumerate() {
        all[at] = other;
        finds(&all.join("&"), &[])?;
        all[at] = wanted;
    }

    let body = json!({
        "level": "Error", "message": "FAILED to", "resourceId": "server-1234", "traceId": "abc-xyz-123",
        "spanId": "span-456", "commit": "5e5342f", "parentResourceId": "server-0987",
        "from": "2026-01-31", "to": "2026-01-31",
    });
    let page = api.post("/api/v1/search", &[], body.to_string().as_bytes())?;
    ensure!(page.text().contains(WANTED), "{}", page.text());
    let page = page.json()?;
    ensure!(page["total"]["value"] == 1, "{page}");
    ensure!(page["hits"][0]["id"] == "wanted", "{page}");
    ensure!(
        page["hits"][0]["index"] == store.index(DAY).as_str(),
        "{page}"
    );
    Ok(())
}

fn a_request_that_cannot_be_meant_so_is_refused_and_the_offender_named(
    stage: &mut Stage<'_>,
) -> Result<()> {
    let api = stage.query_api(&[])?;
    for (query, code, parameter) in [
        ("levle=error", "unknown_parameter", "levle"),
        ("levle=", "unknown_parameter", "levle"),
        ("level=error&level=info", "duplicate_parameter", "level"),
        ("startDate=soon", "invalid_parameter", "startDate"),
        ("endDate=2026-02-30", "invalid_parameter", "endDate"),
        ("limit=0", "invalid_parameter", "limit"),
        ("limit=10001", "invalid_parameter", "limit"),
    ] {
        let reply = api.get(&format!("/logs?{query}"))?;
        let problem = problem(&reply, 400, code)?;
        ensure!(problem["parameter"] == parameter, "{query}: {problem}");
    }
    for (body, code, parameter) in [
        (json!({"levle": "a"}), "unknown_parameter", "levle"),
        (json!({"level": 3}), "invalid_parameter", "level"),
        (json!({"limit": 1001}), "invalid_parameter", "limit"),
        (json!({"sort": "random"}), "invalid_parameter", "sort"),
        (json!({"cursor": "x"}), "invalid_cursor", "cursor"),
    ] {
        let reply = api.post("/api/v1/search", &[], body.to_string().as_bytes())?;
        let problem = problem(&reply, 400, code)?;
        ensure!(problem["parameter"] == parameter, "{body}: {problem}");
    }
    let backwards = api.get("/logs?startDate=2026-02-01&endDate=2026-01-31")?;
    problem(&backwards, 400, "invalid_time_range")?;
    problem(
        &api.post("/api/v1/search", &[], b"[]")?,
        400,
        "invalid_json",
    )?;
    Ok(())
}

pub(super) fn the_newest_events_come_first_and_no_more_than_the_limit(
    stage: &mut Stage<'_>,
) -> Result<()> {
    /// More shards than an engine asks at once: what it found in the first decides which of the others it asks.
    const DAYS: usize = 9;
    const EVENTS: usize = DAYS * 100;
    let api = stage.query_api(&[])?;
    let store = Store::open(stage)?;
    // Within each daily index an event is one nanosecond newer than the one before.
    for nth in 0..DAYS {
        let date = format!("2026-01-{:02}", 23 + nth);
        let day = &date.replace('-', ".");
        // Coprime to their number, so each comes once, in an order that is neither.
        let numbers = (0..100).map(|n| nth * 100 + n * 37 % 100);
        let events: Vec<(String, String)> = numbers
            .map(|n| {
                let event = json!({"n": n, "timestamp": format!("{date}T08:00:00.{n:09}Z")});
                (format!("{n}"), event.to_string())
            })
            .collect();
        store.write_to(day, events.iter().map(|(id, e)| (&**id, &**e)))?;
    }
    let numbers = |events: &[Value]| -> Vec<Option<u64>> {
        events.iter().map(|event| event["n"].as_u64()).collect()
    };
    let expected = |newest: bool, limit: usize| -> Vec<Option<u64>> {
        let all = 0..EVENTS as u64;
        if newest {
            all.rev().take(limit).map(Some).collect()
        } else {
            all.take(limit).map(Some).collect()
        }
    };
    for (query, limit) in [
        ("", 100),
        ("?limit=1", 1),
        ("?limit=7", 7),
        ("?limit=250", 250),
        ("?limit=10000", EVENTS),
    ] {
        let found: Vec<Value> = serde_json::from_str(&get(&api, &format!("/logs{query}"))?)?;
        let found = numbers(&found);
        ensure!(found == expected(true, limit), "{query}: {found:?}");
    }
    // Which shard answers first is chance.
    let often = ["newest", "oldest"].repeat(20).into_iter();
    for (sort, limit) in often.map(|sort| (sort, 7)).chain([("oldest", 1000)]) {
        let page = search(&api, &json!({"sort": sort, "limit": limit}))?;
        let hits = page["hits"].as_array().context("hits")?;
        let events: Vec<Value> = hits.iter().map(|hit| hit["event"].clone()).collect();
        let found = numbers(&events);
        ensure!(
            found == expected(sort == "newest", limit),
            "{sort} {limit}: {found:?}, partial: {}",
            page["partial"]
        );
        ensure!(
            page["total"] == json!({"value": EVENTS, "relation": "eq"}),
            "{page}"
        );
    }
    Ok(())
}

/// Wildcards, quotes, letters of many scripts with and without case (one pair of two UTF-16 units each, and the Kelvin
/// sign, whose lower case is ASCII), emoji, and marks that join what stands before them.
const ALPHABET: &str =
    "ababABkK1212 _.:,*?\\-'\"/(#äÄßжЖσΣ中カ가กن\u{212a}𐐀𐐨😀\u{fe0f}\u{20e3}\u{200d}\u{301}";

pub(super) fn a_part_of_a_message_is_found_wherever_a_plain_comparison_finds_it(
    stage: &mut Stage<'_>,
) -> Result<()> {
    let api = stage.query_api(&[])?;
    let store = Store::open(stage)?;
    let mut random = Random(20_260_131);
    let messages: Vec<(String, String)> = (0..800)
        .map(|n| (format!("m{n}"), random.text(1 + n % 40)))
        .collect();
    let events: Vec<String> = messages
        .iter()
        .map(|(id, message)| {
            json!({"eventId": id, "message": message, "timestamp": "2026-01-31T08:00:00Z"})
                .to_string()
        })
        .collect();
    let ids = messages.iter().map(|(id, _)| id.as_str());
    store.write(ids.zip(events.iter().map(String::as_str)))?;
    let mut sorts = [0, 0];
    for n in 0..150 {
        // Every other part is cut from a message, so that it is found at least once.
        let part = if n % 2 == 0 {
            random.text(1 + n % 4)
        } else {
            let whole = &messages[random.below(messages.len())].1;
            random.cut(whole)
        };
        let expected: BTreeSet<&str> = messages
            .iter()
            .filter(|(_, message)| lower(message).contains(&lower(&part)))
            .map(|(id, _)| id.as_str())
            .collect();
        sorts[usize::from(expected.is_empty())] += 1;
        let page = search(&api, &json!({"message": part, "limit": 1000}))?;
        let encoded: String = part.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let logs = get(&api, &format!("/logs?limit=1000&message={encoded}"))?;
        let hits = page["hits"].as_array().context("hits")?;
        let ids = |id: &Value| id.as_str().unwrap_or_default().to_owned();
        let by_post: Vec<String> = hits.iter().map(|hit| ids(&hit["id"])).collect();
        let by_get: Vec<Value> = serde_json::from_str(&logs)?;
        let by_get: Vec<String> = by_get.iter().map(|event| ids(&event["eventId"])).collect();
        for found in [by_post, by_get] {
            let count = found.len();
            let found: BTreeSet<&str> = found.iter().map(String::as_str).collect();
            ensure!(
                count == expected.len() && found == expected,
                "{part:?} finds {count}; found by one only: {:?}",
                found
                    .symmetric_difference(&expected)
                    .filter_map(|id| messages.iter().find(|(m, _)| m == id))
                    .collect::<Vec<_>>()
            );
        }
    }
    eprintln!("    {} parts were found, {} were not", sorts[0], sorts[1]);
    ensure!(
        sorts[0] >= 75 && sorts[1] > 0,
        "the sample proves too little: {sorts:?}"
    );
    Ok(())
}

/// Letter by letter, so that no letter depends on its neighbours, as the final sigma does.
fn lower(text: &str) -> String {
    text.chars().flat_map(char::to_lowercase).collect()
}

const SAME: &str = r#"{"level":"wanted","timestamp":"2026-01-31T08:00:00.5Z"}"#;

pub(super) fn paging_gives_every_hit_once_among_equal_timestamps_while_events_are_written_again(
    stage: &mut Stage<'_>,
) -> Result<()> {
    let api = stage.query_api(&[])?;
    let store = Store::open(stage)?;
    let ids: Vec<String> = (0..5_000).map(|n| format!("e{n}")).collect();
    store.write(ids.iter().map(|id| (id.as_str(), SAME)))?;
    std::thread::scope(|scope| -> Result<()> {
        // Without room: a round ends only when a page was read, and the next one runs while the next page is read.
        let (round_done, rounds) = sync_channel(0);
        let writer = scope.spawn(|| keep_writing(&store, &ids, round_done));
        let paged = (|| {
            for sort in ["newest", "oldest"] {
                for limit in [100, 999] {
                    page_through(&api, &rounds, limit, sort, &ids)?;
                }
            }
            anyhow::Ok(())
        })();
        drop(rounds);
        let written = writer.join().map_err(|_| anyhow!("the writer panicked"))?;
        eprintln!(
            "    {} rounds of 230 events were written meanwhile",
            written?
        );
        paged
    })?;
    stage.wait_for("all cursors to be closed", SOON, || {
        match api.metric("query_api_cursors_open", "") {
            Ok(0.0) => Ok(()),
            Ok(open) => Err(format!("{open} are open")),
            Err(error) => Err(format!("{error:#}")),
        }
    })
}

/// Writes some of the events again, as es-sink does after a crash, and new ones, as everybody else does all the time;
/// until nobody waits for a round any more. Gives the number of rounds.
fn keep_writing(store: &Store, ids: &[String], round_done: SyncSender<()>) -> Result<usize> {
    for round in 0.. {
        let again = ids.iter().skip(round * 200 % 5_000).take(200);
        let again = again.map(|id| (id.clone(), SAME.to_owned()));
        let new = (0..30).map(|n| {
            // Before, among and after those of the same timestamp.
            let event = SAME.replace("08:00", ["07:00", "08:00", "09:00"][n % 3]);
            (format!("n{round}-{n}"), event)
        });
        let events: Vec<(String, String)> = again.chain(new).collect();
        store.write(events.iter().map(|(id, event)| (&**id, &**event)))?;
        if round_done.send(()).is_err() {
            return Ok(round + 1);
        }
    }
    Ok(0)
}

fn page_through(
    api: &Part,
    rounds: &Receiver<()>,
    limit: usize,
    sort: &str,
    expected: &[String],
) -> Result<()> {
    let what = format!("{sort} first, {limit} a page");
    let mut body = json!({"level": "wanted", "limit": limit, "sort": sort});
    let mut seen = BTreeSet::new();
    let mut times: Vec<String> = Vec::new();
    let mut total = None;
    loop {
        let page = search(api, &body)?;
        ensure!(
            page["partial"] == false,
            "{what}: {}",
            page["partial_reasons"]
        );
        ensure!(
            page["total"]["relation"] == "eq",
            "{what}: {}",
            page["total"]
        );
        // The same moment at each page.
        let counted = page["total"]["value"].as_u64();
        ensure!(
            counted == *total.get_or_insert(counted),
            "{what}: the total {total:?} became {counted:?}"
        );
        let hits = page["hits"].as_array().context("hits")?;
        for hit in hits {
            let id = hit["id"].as_str().context("id")?.to_owned();
            ensure!(seen.insert(id.clone()), "{what}: {id} comes twice");
            let time = hit["event"]["timestamp"].as_str().context("timestamp")?;
            times.push(time.to_owned());
        }
        rounds
            .recv_timeout(SOON)
            .context("the writer did not finish a round")?;
        let cursor = &page["next_cursor"];
        if cursor.is_null() {
            break;
        }
        ensure!(hits.len() == limit, "{what}: a page of {}", hits.len());
        body["cursor"] = cursor.clone();
    }
    let missing = expected.iter().filter(|id| !seen.contains(*id)).count();
    ensure!(
        missing == 0,
        "{what}: {missing} of {} are missing",
        expected.len()
    );
    ensure!(
        total == Some(Some(seen.len() as u64)),
        "{what}: {} hits of {total:?}",
        seen.len()
    );
    if sort == "newest" {
        times.reverse();
    }
    ensure!(times.is_sorted(), "{what}: not in order");
    Ok(())
}

pub(super) fn a_cursor_is_bound_to_its_search_and_the_oldest_gives_way(
    stage: &mut Stage<'_>,
) -> Result<()> {
    let api = stage.query_api(&["--max-open-cursors", "1"])?;
    let store = Store::open(stage)?;
    let event = r#"{"level":"error","timestamp":"2026-01-31T08:00:00Z"}"#;
    let ids: Vec<String> = (0..10).map(|n| format!("e{n}")).collect();
    store.write(ids.iter().map(|id| (id.as_str(), event)))?;
    let send = |body: &Value| api.post("/api/v1/search", &[], body.to_string().as_bytes());
    let start = json!({"level": "error", "limit": 3});
    let with = |name: &str, value: &Value, cursor: &Value| {
        let mut body = start.clone();
        body["cursor"] = cursor.clone();
        body[name] = value.clone();
        body
    };

    let first = search(&api, &start)?["next_cursor"].clone();
    let text = first.as_str().context("a next page")?;
    for body in [
        with("level", &json!("info"), &first),
        with("level", &Value::Null, &first),
        with("message", &json!("a"), &first),
        with("from", &json!("2026-01-31"), &first),
        with("sort", &json!("oldest"), &first),
        with("limit", &json!(3), &json!(text[..text.len() - 5])),
        with("limit", &json!(3), &json!(text[..text.len() / 2])),
        with("limit", &json!(3), &json!(format!("{text}AAAA"))),
    ] {
        let problem = problem(&send(&body)?, 400, "invalid_cursor")?;
        ensure!(problem["parameter"] == "cursor", "{body}: {problem}");
    }
    // None of these cost the cursor anything: another page size continues where the first page ended.
    let page = search(&api, &with("limit", &json!(4), &first))?;
    ensure!(page["hits"].as_array().map(Vec::len) == Some(4), "{page}");

    let page = search(&api, &start)?;
    let second = page["next_cursor"].clone();
    let rest = search(&api, &with("limit", &json!(1000), &second))?;
    let hits = |page: &Value| -> Vec<String> {
        let hits = page["hits"].as_array().into_iter().flatten();
        hits.map(|hit| hit["id"].to_string()).collect()
    };
    let both: BTreeSet<String> = hits(&page).into_iter().chain(hits(&rest)).collect();
    ensure!(both.len() == 10, "{page} and {rest}");
    ensure!(rest["next_cursor"].is_null(), "{rest}");
    // What gave way is closed a moment after the reply that took its place.
    let gone = stage.wait_for("the first cursor to give way", SOON, || {
        match send(&with("limit", &json!(3), &first)) {
            Ok(reply) if reply.status == 200 => Err(reply.text()),
            Ok(reply) => Ok(reply),
            Err(error) => Err(format!("{error:#}")),
        }
    })?;
    problem(&gone, 410, "cursor_expired")?;
    Ok(())
}

fn without_elasticsearch_a_search_is_refused_in_time_and_works_again_by_itself(
    stage: &mut Stage<'_>,
) -> Result<()> {
    let api = stage.query_api(&["--search-timeout", "2s"])?;
    let store = Store::open(stage)?;
    let event = r#"{"level":"error","timestamp":"2026-01-31T08:00:00Z"}"#;
    store.write([("one", event), ("two", event)])?;
    let both = array(&[event, event]);
    ensure!(get(&api, "/logs")? == both);
    let cursor = search(&api, &json!({"limit": 1}))?["next_cursor"].clone();

    // It takes requests and never answers.
    stage.elasticsearch().pause();
    let refused = refused_in_time(&api, "elasticsearch_timed_out");
    stage.elasticsearch().resume();
    refused?;
    ready(stage, &api, 200)?;
    ensure!(get(&api, "/logs")? == both);

    stage.elasticsearch().kill();
    refused_in_time(&api, "elasticsearch_unreachable")?;
    ready(stage, &api, 503)?;
    stage.elasticsearch().start()?;
    ready(stage, &api, 200)?;
    ensure!(get(&api, "/logs")? == both);
    let page = search(&api, &json!({}))?;
    ensure!(page["total"]["value"] == 2, "{page}");
    // Its moment ended with the process that held it.
    let body = json!({"limit": 1, "cursor": cursor}).to_string();
    let reply = api.post("/api/v1/search", &[], body.as_bytes())?;
    problem(&reply, 410, "cursor_expired")?;
    Ok(())
}

/// Both kinds of search say 503 with `code`, when to come again, and do so in time.
fn refused_in_time(api: &Part, code: &str) -> Result<()> {
    let requests: [(&str, &dyn Fn() -> Result<Reply>); 2] = [
        ("GET", &|| api.get("/logs")),
        ("POST", &|| api.post("/api/v1/search", &[], b"{}")),
    ];
    for (method, send) in requests {
        let started = Instant::now();
        let reply = send()?;
        let took = started.elapsed();
        problem(&reply, 503, code)?;
        let retry_after = reply.header("retry-after").unwrap_or_default();
        ensure!(
            retry_after.parse::<u64>().is_ok_and(|seconds| seconds > 0),
            "{method}: Retry-After is `{retry_after}`"
        );
        eprintln!("    {method}: {code} after {took:.1?}");
        ensure!(took < REFUSED_WITHIN, "{method}: {code} after {took:?}");
    }
    Ok(())
}

fn ready(stage: &Stage<'_>, api: &Part, status: u16) -> Result<()> {
    stage.wait_for(&format!("/readyz to answer {status}"), SOON, || {
        match api.get("/readyz") {
            Ok(reply) if reply.status == status => Ok(()),
            Ok(reply) => Err(reply.text()),
            Err(error) => Err(format!("{error:#}")),
        }
    })
}

/// A GET that succeeds with all events: the body as it came.
fn get(api: &Part, path: &str) -> Result<String> {
    let reply = api.get(path)?;
    let partial = reply.header("logflow-partial");
    ensure!(
        reply.status == 200 && partial.is_none(),
        "{path}: {} {partial:?} {}",
        reply.status,
        reply.text()
    );
    Ok(reply.text())
}

/// What GET replies with these events: each as it was stored, on a line of its own.
fn array(events: &[&str]) -> String {
    format!("[{}]\n", events.join(",\n"))
}

fn search(api: &Part, body: &Value) -> Result<Value> {
    let reply = api.post("/api/v1/search", &[], body.to_string().as_bytes())?;
    ensure!(
        reply.status == 200,
        "{body}: {} {}",
        reply.status,
        reply.text()
    );
    reply.json()
}

/// The reply as the problem that it must be.
fn problem(reply: &Reply, status: u16, code: &str) -> Result<Value> {
    let problem = reply.json()?;
    ensure!(
        reply.status == status
            && reply.header("content-type") == Some("application/problem+json")
            && problem["status"] == status
            && problem["code"] == code,
        "not {status} {code} but {} {:?}",
        reply.text(),
        reply.headers
    );
    Ok(problem)
}

/// Writes documents as es-sink does, with ids of the scenario's choice.
struct Store {
    url: String,
    index_pattern: String,
}

impl Store {
    /// A sink that starts installs the template; after that it is not needed.
    fn open(stage: &mut Stage<'_>) -> Result<Self> {
        stage.sink(&[])?.stop()?;
        Ok(Self {
            url: stage.wiring.elasticsearch.clone(),
            index_pattern: stage.wiring.index_pattern.clone(),
        })
    }

    fn index(&self, day: &str) -> String {
        self.index_pattern.replace("{date}", day)
    }

    /// Writes ids and events, the latter as they are, to the index of [`DAY`]. A search sees them afterwards.
    fn write<'e>(&self, events: impl IntoIterator<Item = (&'e str, &'e str)>) -> Result<()> {
        self.write_to(DAY, events)
    }

    fn write_to<'e>(
        &self,
        day: &str,
        events: impl IntoIterator<Item = (&'e str, &'e str)>,
    ) -> Result<()> {
        let index = self.index(day);
        let mut body = String::new();
        for (id, event) in events {
            body.push_str(&json!({"index": {"_index": index, "_id": id}}).to_string());
            body.push('\n');
            body.push_str(event);
            body.push('\n');
        }
        let headers = [("Content-Type", "application/x-ndjson")];
        let url = format!("{}/_bulk?refresh=true", self.url);
        let reply = http::post(&url, &headers, body.as_bytes(), TIMEOUT)?;
        ensure!(
            reply.status == 200 && reply.json()?["errors"] == false,
            "{}",
            reply.text()
        );
        Ok(())
    }
}

/// A seeded sequence (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((z ^ (z >> 31)) % limit as u64).expect("below a usize")
    }

    /// A text of the [`ALPHABET`].
    fn text(&mut self, length: usize) -> String {
        let alphabet: Vec<char> = ALPHABET.chars().collect();
        (0..length)
            .map(|_| alphabet[self.below(alphabet.len())])
            .collect()
    }

    /// A part of a text, at most five characters long.
    fn cut(&mut self, text: &str) -> String {
        let chars: Vec<char> = text.chars().collect();
        let start = self.below(chars.len());
        let length = 1 + self.below(5);
        chars[start..].iter().take(length).collect()
    }
}
