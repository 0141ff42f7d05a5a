//! A search finds what it says, all of it, once, and never hangs (QA-1).

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use xtask::http;

use crate::scenarios;
use crate::stage::{Part, SOON, Scenario, Stage};

pub(crate) const SCENARIOS: &[Scenario] = scenarios![
    before_the_first_event_a_search_finds_nothing_and_says_so,
    each_filter_alone_and_all_together_find_the_one_event_as_it_was_sent,
    a_part_of_a_message_is_found_wherever_a_plain_comparison_finds_it,
    paging_gives_every_hit_once_among_equal_timestamps_while_events_are_written_again,
    a_cursor_is_bound_to_its_search_and_the_oldest_gives_way,
    without_elasticsearch_a_search_is_refused_in_time_and_works_again_by_itself,
];

const TIMEOUT: Duration = Duration::from_secs(60);
/// Everything below happens on this day.
const DAY: &str = "2026.01.31";

fn before_the_first_event_a_search_finds_nothing_and_says_so(stage: &mut Stage<'_>) -> Result<()> {
    let api = stage.query_api(&[])?;
    ensure!(get(&api, "/logs")? == json!([]));
    let page = search(&api, &json!({"level": "error"}))?;
    ensure!(
        page["hits"] == json!([]) && page["total"]["value"] == 0,
        "{page}"
    );
    ensure!(
        page["next_cursor"].is_null() && page["partial"] == false,
        "{page}"
    );
    Ok(())
}

fn each_filter_alone_and_all_together_find_the_one_event_as_it_was_sent(
    stage: &mut Stage<'_>,
) -> Result<()> {
    let api = stage.query_api(&[])?;
    let store = Store::open(stage)?;
    let wanted = json!({
        "level": "error", "message": "Failed to connect to DB", "resourceId": "server-1234",
        "timestamp": "2026-01-31T08:00:00Z", "traceId": "abc-xyz-123", "spanId": "span-456",
        "commit": "5e5342f", "metadata": {"parentResourceId": "server-0987"},
    });
    let other = json!({
        "level": "info", "message": "Connected", "resourceId": "server-1235",
        "timestamp": "2026-01-30T08:00:00Z", "traceId": "abc-xyz-124", "spanId": "span-457",
        "commit": "5e5342e", "metadata": {"parentResourceId": "server-0988"},
    });
    store.write([("wanted", &wanted), ("other", &other)])?;
    let filters = [
        "level=ERROR",
        "resourceId=server-1234",
        "message=TO%20CONN",
        "message=led+to",
        "traceId=abc-xyz-123",
        "spanId=span-456",
        "commit=5e5342f",
        "metadata.parentResourceId=server-0987",
        "parentResourceId=server-0987",
        "startDate=2026-01-31",
        "startDate=2026-01-31T07:59:59Z&endDate=2026-01-31T10:00:00%2B02:00",
        "startDate=1769846400",
        "startDate=2026-01-31&commit=&message=",
    ];
    for filter in filters {
        let found = get(&api, &format!("/logs?{filter}"))?;
        ensure!(found == json!([wanted]), "{filter} finds {found}");
    }
    let all = "level=error&resourceId=server-1234&message=connect&traceId=abc-xyz-123&spanId=span-456\
               &commit=5e5342f&parentResourceId=server-0987&startDate=2026-01-31&endDate=2026-01-31";
    ensure!(get(&api, &format!("/logs?{all}"))? == json!([wanted]));
    ensure!(get(&api, &format!("/logs?{}", all.replace("error", "info")))? == json!([]));
    ensure!(
        get(&api, "/logs")? == json!([wanted, other]),
        "newest first"
    );
    ensure!(get(&api, "/logs?limit=1")? == json!([wanted]), "the limit");
    for (query, parameter) in [
        ("levle=error", "levle"),
        ("startDate=soon", "startDate"),
        ("limit=0", "limit"),
    ] {
        let refused = api.get(&format!("/logs?{query}"))?;
        ensure!(
            refused.status == 400 && refused.json()?["parameter"] == parameter,
            "{query}: {} {}",
            refused.status,
            refused.text()
        );
    }
    Ok(())
}

fn a_part_of_a_message_is_found_wherever_a_plain_comparison_finds_it(
    stage: &mut Stage<'_>,
) -> Result<()> {
    let api = stage.query_api(&[])?;
    let store = Store::open(stage)?;
    let alphabet: Vec<char> = "abAB12 _.:*?\\-'\"/(äÄжЖ中😀".chars().collect();
    let mut random = Random(20_260_131);
    let mut text = |length: usize| -> String {
        (0..length)
            .map(|_| alphabet[random.below(alphabet.len())])
            .collect()
    };
    let messages: Vec<String> = (0..600).map(|n| text(1 + n % 40)).collect();
    let events: Vec<Value> = messages
        .iter()
        .map(|message| json!({"message": message, "timestamp": "2026-01-31T08:00:00Z"}))
        .collect();
    let ids: Vec<String> = (0..messages.len()).map(|n| format!("m{n}")).collect();
    store.write(ids.iter().map(String::as_str).zip(&events))?;
    for n in 0..150 {
        // Every other part is cut from a message, so that it is found at least once.
        let part = if n % 2 == 0 {
            text(1 + n % 4)
        } else {
            cut(&messages[n], &mut Random(n as u64))
        };
        if part.trim().is_empty() {
            continue;
        }
        let expected: BTreeSet<&str> = ids
            .iter()
            .zip(&messages)
            .filter(|(_, message)| message.to_lowercase().contains(&part.to_lowercase()))
            .map(|(id, _)| id.as_str())
            .collect();
        let page = search(&api, &json!({"message": part, "limit": 1000}))?;
        let hits = page["hits"].as_array().context("hits")?;
        let found: BTreeSet<&str> = hits.iter().filter_map(|hit| hit["id"].as_str()).collect();
        ensure!(
            found == expected,
            "`{part}` finds {found:?}, a comparison {expected:?}"
        );
    }
    Ok(())
}

fn paging_gives_every_hit_once_among_equal_timestamps_while_events_are_written_again(
    stage: &mut Stage<'_>,
) -> Result<()> {
    let api = stage.query_api(&[])?;
    let store = Store::open(stage)?;
    let event = json!({"level": "wanted", "timestamp": "2026-01-31T08:00:00.5Z"});
    let ids: Vec<String> = (0..5_000).map(|n| format!("e{n}")).collect();
    store.write(ids.iter().map(|id| (id.as_str(), &event)))?;
    let paging = AtomicBool::new(true);
    std::thread::scope(|scope| -> Result<()> {
        let writer = scope.spawn(|| -> Result<u64> {
            let mut rounds = 0;
            while paging.load(Ordering::Relaxed) {
                // What es-sink does after a crash, and what everybody else does all the time.
                let again = ids.iter().skip((rounds * 300) % 4_700).take(300);
                let more: Vec<String> = (0..100).map(|n| format!("n{rounds}-{n}")).collect();
                store.write(again.chain(&more).map(|id| (id.as_str(), &event)))?;
                rounds += 1;
            }
            Ok(rounds as u64)
        });
        let paged = (|| {
            for (limit, sort) in [(100, "newest"), (999, "oldest"), (1_000, "newest")] {
                page_through(&api, limit, sort, &ids)?;
            }
            anyhow::Ok(())
        })();
        paging.store(false, Ordering::Relaxed);
        let rounds = writer.join().expect("the writer does not panic")?;
        eprintln!("    {rounds} rounds of 400 events were written meanwhile");
        ensure!(rounds > 0, "nothing was written meanwhile");
        paged
    })?;
    stage.wait_for("all cursors to be closed", SOON, || {
        match api.metric("query_api_cursors_open", "") {
            Ok(open) if open == 0.0 => Ok(()),
            Ok(open) => Err(format!("{open} are open")),
            Err(error) => Err(format!("{error:#}")),
        }
    })
}

fn page_through(api: &Part, limit: usize, sort: &str, expected: &[String]) -> Result<()> {
    let mut seen = BTreeSet::new();
    let mut cursor = Value::Null;
    loop {
        let mut body = json!({"level": "wanted", "limit": limit, "sort": sort});
        if !cursor.is_null() {
            body["cursor"] = cursor;
        }
        let page = search(api, &body)?;
        ensure!(page["partial"] == false, "{}", page["partial_reasons"]);
        for hit in page["hits"].as_array().context("hits")? {
            let id = hit["id"].as_str().context("id")?.to_owned();
            ensure!(
                seen.insert(id.clone()),
                "{id} comes twice with pages of {limit}"
            );
        }
        cursor = page["next_cursor"].clone();
        if cursor.is_null() {
            break;
        }
    }
    let missing = expected.iter().filter(|id| !seen.contains(*id)).count();
    ensure!(
        missing == 0,
        "{missing} of {} are missing with pages of {limit}",
        expected.len()
    );
    Ok(())
}

fn a_cursor_is_bound_to_its_search_and_the_oldest_gives_way(stage: &mut Stage<'_>) -> Result<()> {
    let api = stage.query_api(&["--max-open-cursors", "1"])?;
    let store = Store::open(stage)?;
    let event = json!({"level": "error", "timestamp": "2026-01-31T08:00:00Z"});
    let ids: Vec<String> = (0..10).map(|n| format!("e{n}")).collect();
    store.write(ids.iter().map(|id| (id.as_str(), &event)))?;
    let cursor = |body: &Value| anyhow::Ok(search(&api, body)?["next_cursor"].clone());
    let refused = |body: &Value| -> Result<(u16, Value)> {
        let reply = api.post("/api/v1/search", &[], body.to_string().as_bytes())?;
        Ok((reply.status, reply.json()?["code"].clone()))
    };
    let first = cursor(&json!({"level": "error", "limit": 3}))?;
    let text = first.as_str().context("a next page")?;
    for body in [
        json!({"level": "info", "limit": 3, "cursor": first}),
        json!({"level": "error", "cursor": text[..text.len() - 5]}),
        json!({"level": "error", "cursor": "x"}),
    ] {
        ensure!(
            refused(&body)? == (400, json!("invalid_cursor")),
            "{body}: {:?}",
            refused(&body)?
        );
    }
    let second = cursor(&json!({"level": "error", "limit": 3}))?;
    ensure!(!second.is_null());
    stage.wait_for("the first cursor to give way", SOON, || {
        match refused(&json!({"level": "error", "limit": 3, "cursor": first})) {
            Ok((410, code)) if code == "cursor_expired" => Ok(()),
            Ok(other) => Err(format!("{other:?}")),
            Err(error) => Err(format!("{error:#}")),
        }
    })
}

fn without_elasticsearch_a_search_is_refused_in_time_and_works_again_by_itself(
    stage: &mut Stage<'_>,
) -> Result<()> {
    let api = stage.query_api(&["--search-timeout", "2s"])?;
    let store = Store::open(stage)?;
    let event = json!({"level": "error", "timestamp": "2026-01-31T08:00:00Z"});
    store.write([("one", &event)])?;
    ensure!(get(&api, "/logs")? == json!([event]));
    stage.elasticsearch().kill();
    let started = Instant::now();
    for reply in [api.get("/logs")?, api.post("/api/v1/search", &[], b"{}")?] {
        ensure!(reply.status == 503, "{} {}", reply.status, reply.text());
        ensure!(
            reply.json()?["code"] == "elasticsearch_unreachable",
            "{}",
            reply.text()
        );
    }
    // Two searches of at most 3 s each, and room for a busy machine.
    ensure!(started.elapsed() < TIMEOUT / 2, "{:?}", started.elapsed());
    ready(stage, &api, 503)?;
    stage.elasticsearch().start()?;
    ready(stage, &api, 200)?;
    ensure!(get(&api, "/logs")? == json!([event]));
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

fn get(api: &Part, path: &str) -> Result<Value> {
    let reply = api.get(path)?;
    ensure!(
        reply.status == 200,
        "{path}: {} {}",
        reply.status,
        reply.text()
    );
    reply.json()
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

/// Writes documents as es-sink does, with ids of the scenario's choice.
struct Store {
    url: String,
    index: String,
}

impl Store {
    /// A sink that starts installs the template; after that it is not needed.
    fn open(stage: &mut Stage<'_>) -> Result<Self> {
        stage.sink(&[])?.stop()?;
        let index = stage.wiring.index_pattern.replace("{date}", DAY);
        Ok(Self {
            url: stage.wiring.elasticsearch.clone(),
            index,
        })
    }

    fn write<'e>(&self, events: impl IntoIterator<Item = (&'e str, &'e Value)>) -> Result<()> {
        let mut body = String::new();
        for (id, event) in events {
            body.push_str(&json!({"index": {"_index": self.index, "_id": id}}).to_string());
            body.push('\n');
            body.push_str(&event.to_string());
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
}

/// A part of a text, at most five characters long.
fn cut(text: &str, random: &mut Random) -> String {
    let chars: Vec<char> = text.chars().collect();
    let start = random.below(chars.len());
    chars[start..].iter().take(1 + random.below(5)).collect()
}
