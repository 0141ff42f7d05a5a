//! The explorer page in a real browser: its own tests (`query-api/ui/tests`) against real services.

use std::fs;

use anyhow::{Error, Result};
use log_event::timestamp::Timestamp;
use serde_json::{Map, Value};
use service::access::Scope::{self, Admin, Export, Ingest, Query, Tail};
use service::access::api_keys::NewKey;

use crate::scenarios;
use crate::stage::{Scenario, Stage};

pub(crate) const SCENARIOS: &[Scenario] =
    scenarios![an_engineer_finds_the_cause_of_an_outage_in_the_page];

/// What the tests of the page have keys for; query-api/ui/README.md lists it.
const KEYS: [(&str, &[Scope]); 5] = [
    ("admin", &[Query, Tail, Export, Admin]),
    ("reader", &[Query]),
    ("sender", &[Ingest]),
    (EXPIRED, &[Query]),
    (TENANT, &Scope::ALL),
];
/// The key that is expired.
const EXPIRED: &str = "expired";
/// The key that belongs to a tenant of its name.
const TENANT: &str = "shop";

fn an_engineer_finds_the_cause_of_an_outage_in_the_page(stage: &mut Stage<'_>) -> Result<()> {
    stage.wiring.index_pattern = stage
        .wiring
        .index_pattern
        .replace("{date}", "{tenant}-{date}");
    let (entries, keys) = make_keys()?;
    let file = stage.directory.join("keys.toml").display().to_string();
    fs::write(&file, entries)?;

    let gateway = stage.gateway(&[])?;
    let tenants = stage.gateway(&["--api-keys", &file])?;
    let sink = stage.sink(&[])?;
    let api = stage.query_api(&["--sink-url", &sink.url()])?;
    let with_keys = stage.query_api(&["--sink-url", &sink.url(), "--api-keys", &file])?;
    stage.drive_the_page(
        &api.url(),
        &gateway.url(),
        &[
            ("LOGFLOW_KEYS_URL", with_keys.url()),
            ("LOGFLOW_KEYS_INGEST_URL", tenants.url()),
            ("LOGFLOW_KEYS_FILE", file),
            ("LOGFLOW_KEYS", keys),
            (
                "LOGFLOW_ELASTICSEARCH_URL",
                stage.wiring.elasticsearch.clone(),
            ),
        ],
    )
}

/// The text of a key file, and the keys by their ids as JSON.
fn make_keys() -> Result<(String, String)> {
    let mut entries = String::new();
    let mut keys = Map::new();
    for (n, (id, scopes)) in (1..).zip(KEYS) {
        let tenant = (id == TENANT).then(|| id.parse()).transpose()?;
        let long_ago = Timestamp::from_millis(0).filter(|_| id == EXPIRED);
        let key = NewKey::make(id, scopes, tenant.as_ref(), long_ago, [n; 32]);
        let key = key.map_err(Error::msg)?;
        entries.push_str(&key.entry);
        keys.insert(id.to_owned(), Value::String(key.credential.to_token()));
    }
    Ok((entries, Value::Object(keys).to_string()))
}
