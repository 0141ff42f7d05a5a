//! Page after page, a search gives every hit once.

use std::collections::BTreeSet;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use anyhow::{Context as _, Result, anyhow, ensure};
use serde_json::{Value, json};

use crate::scenarios;
use crate::search_client::{Store, problem, search};
use crate::stage::{Part, SOON, Scenario, Stage};

pub(crate) const SCENARIOS: &[Scenario] = scenarios![
    paging_gives_every_hit_once_among_equal_timestamps_while_events_are_written_again,
    a_cursor_is_bound_to_its_search_and_the_oldest_gives_way,
];

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
