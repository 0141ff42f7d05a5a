//! A reply that is lost on its way makes a client send again what Kafka has already: it is one document where the
//! dialect has an id for it (EO-3, docs/intake.md).

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use service::access::Scope;
use service::access::api_keys::NewKey;
use xtask::command;

use crate::scenarios;
use crate::shipper::{Shipper, Task};
use crate::stage::{SOON, Scenario, Stage};

pub(crate) const SCENARIOS: &[Scenario] =
    scenarios![what_a_client_repeats_after_a_lost_reply_is_one_document_where_it_has_an_id];

/// Of each client.
const EVENTS: usize = 120;
/// Clients whose events bear no id that a repetition would bear, too.
const WITHOUT_IDS: [&str; 1] = ["splunk_handler"];
/// Those that must have met a lost reply, for the proof to be one.
const MUST_REPEAT: [&str; 4] = [
    "opentelemetry-python-1.44",
    "opentelemetry-python-1.45",
    "elasticsearch-py-9",
    "rsyslog",
];

/// Lets each connection have one reply, and closes it instead of giving it the second.
#[derive(Debug)]
struct Loser {
    address: SocketAddr,
    lost: Arc<AtomicUsize>,
}

impl Loser {
    /// It ends with the process of the tests.
    fn before(gateway: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let lost = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&lost);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(gateway) else {
                    continue;
                };
                let (Ok(from_client), Ok(to_server)) = (client.try_clone(), server.try_clone())
                else {
                    continue;
                };
                std::thread::spawn(move || pass(from_client, to_server, |_| true));
                let count = Arc::clone(&count);
                std::thread::spawn(move || {
                    pass(server, client, |replies| {
                        let is_kept = replies == 0;
                        count.fetch_add(usize::from(!is_kept), Ordering::Relaxed);
                        is_kept
                    });
                });
            }
        });
        Ok(Self { address, lost })
    }
}

/// Passes on what `keeps`, asked for each read with its number, and then closes both.
fn pass(mut from: TcpStream, mut to: TcpStream, keeps: impl Fn(usize) -> bool) {
    let mut buffer = vec![0; 256 << 10];
    for number in 0.. {
        match from.read(&mut buffer) {
            Ok(read) if read > 0 && keeps(number) => {
                if to.write_all(&buffer[..read]).is_err() {
                    break;
                }
            }
            _ => break,
        }
    }
    // Whoever is gone already needs no shutdown.
    for stream in [&from, &to] {
        drop(stream.shutdown(Shutdown::Both));
    }
}

fn what_a_client_repeats_after_a_lost_reply_is_one_document_where_it_has_an_id(
    stage: &mut Stage<'_>,
) -> Result<()> {
    let key = NewKey::make("shipper", &[Scope::Ingest], None, None, [7; 32]);
    let key = key.map_err(anyhow::Error::msg)?;
    let file = stage.directory.join("keys.toml");
    std::fs::write(&file, &key.entry)?;
    let gateway = stage.gateway(&["--api-keys", &file.display().to_string()])?;
    let sink = stage.sink(&[])?;
    let node = stage.node()?;
    let accepted = || gateway.metric("ingest_gateway_events_accepted_total", "");
    let address: SocketAddr = gateway.url().trim_start_matches("http://").parse()?;
    let loser = Loser::before(address)?;
    let url = format!("http://{}", loser.address);
    let shippers = Shipper::all(stage, &node)?;
    let mut repeated = BTreeMap::new();
    for shipper in &shippers {
        let task = Task {
            gateway: &url,
            key: &key,
            events: EVENTS,
            pace: Duration::from_millis(5),
            patience: Duration::from_secs(6),
        };
        let before = accepted()?;
        let run = shipper.command(&node, task);
        // What a client makes of a lost reply is its own business, an end with an error among it.
        let _ended = command::run(run, &stage.interrupt(), |_| {});
        repeated.insert(shipper.name, accepted()? - before);
    }
    let accepted = accepted()?;
    stage.wait_for("the sink to take everything", SOON, || {
        let records = sink.metric("es_sink_documents_indexed_total", "");
        match records {
            Ok(records) if records >= accepted => Ok(()),
            Ok(records) => Err(format!("{records} of {accepted}")),
            Err(error) => Err(format!("{error:#}")),
        }
    })?;
    stage.documents()?;
    let path = format!("/{}/_search", stage.wiring.index());
    let search = json!({"size": 10_000, "_source": ["message"]});
    let reply = stage.ask_elasticsearch("POST", &path, &search)?;
    let hits = reply["hits"]["hits"].as_array().context("hits")?;
    let mut documents: BTreeMap<&str, usize> = BTreeMap::new();
    for hit in hits {
        *documents
            .entry(hit["_source"]["message"].as_str().context("a message")?)
            .or_default() += 1;
    }
    eprintln!(
        "    {} replies were lost",
        loser.lost.load(Ordering::Relaxed)
    );
    eprintln!(
        "    {:26} {:>9} {:>6} {:>6}",
        "client", "accepted", "found", "twice"
    );
    for shipper in &shippers {
        let name = shipper.name;
        let of_client = documents.iter().filter(|(message, _)| {
            message
                .strip_prefix(name)
                .is_some_and(|rest| rest.starts_with(' '))
        });
        let counts: Vec<usize> = of_client.map(|(_, count)| *count).collect();
        let twice: usize = counts.iter().map(|count| count - 1).sum();
        let accepted = repeated[name];
        eprintln!("    {name:26} {accepted:>9} {:>6} {twice:>6}", counts.len());
        ensure!(
            twice == 0 || WITHOUT_IDS.contains(&name),
            "{name}: {twice} documents too many"
        );
        let has_repeated = accepted > counts.len() as f64;
        ensure!(
            has_repeated || !MUST_REPEAT.contains(&name),
            "{name} repeated nothing"
        );
    }
    Ok(())
}
