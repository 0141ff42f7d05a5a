//! What an operator does from outside: old days go, and nothing else; every service has the role that it needs.

use std::fs;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use xtask::engines::elasticsearch::Node;
use xtask::engines::free_port;
use xtask::http::{self, Reply};

use crate::load::Load;
use crate::scenarios;
use crate::stage::{Part, SOON, Scenario, Stage};

pub(crate) const SCENARIOS: &[Scenario] = scenarios![
    retention_deletes_whole_days_of_every_tenant_and_nothing_else,
    template_shows_what_differs_and_installs_what_ships_but_never_over_somebody_elses,
    topics_makes_grows_and_sets_but_never_takes_away,
    replay_brings_back_what_was_deleted_and_nothing_twice,
    with_the_roles_that_ship_each_does_its_work_and_no_more,
];

/// Of every user of the secured node, and as bcrypt keeps it. It opens a node on loopback for a minute.
const PASSWORD: &str = "nemesis-sink";
const BCRYPT: &str = "$2a$04$N9qo8uLOickgx2ZMRZoMyex4r8h6D2dhJJAjDssrbISkm0zz1u6yG";
/// Of one request.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A command of es-sink, with these arguments.
fn es_sink(stage: &Stage<'_>, arguments: &[&str]) -> Result<Output> {
    Command::new(stage.binary("es-sink"))
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("starting es-sink {arguments:?}"))
}

/// What a command of es-sink writes to stdout, a line each; it must end with this code.
pub(crate) fn lines(stage: &Stage<'_>, code: i32, arguments: &[&str]) -> Result<Vec<String>> {
    let output = es_sink(stage, arguments)?;
    let [out, err] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    ensure!(
        output.status.code() == Some(code),
        "{arguments:?}: {}: {out}{err}",
        output.status
    );
    Ok(out.lines().map(str::to_owned).collect())
}

fn replay_brings_back_what_was_deleted_and_nothing_twice(stage: &mut Stage<'_>) -> Result<()> {
    let _sink = stage.sink(&[])?;
    let flags = [
        "--events",
        "5000",
        "--poison-per-million",
        "2000",
        "--seed",
        "4",
    ];
    let loaded = Load::past_the_gateway(stage, &flags)?.finish(stage)?;
    let found = loaded.verify(stage)?;
    let number = |value: &Value| value.as_u64().context("no number");
    let (documents, letters) = (
        number(&found["documents"])?,
        number(&found["dead_letters"])?,
    );
    ensure!(letters > 0, "{found}");

    let wired = stage.wiring.sink_flags();
    let wired: Vec<&str> = wired.iter().map(String::as_str).collect();
    let replay = |stage: &Stage<'_>, more: &[&str]| -> Result<Value> {
        let arguments = [&["replay", "--json"], more, &wired].concat();
        let told = lines(stage, 0, &arguments)?;
        Ok(serde_json::from_str(&told.concat())?)
    };
    let would = replay(stage, &["--from", "1h", "--dry-run"])?;
    ensure!(would["offsets"] == documents + letters, "{would}");
    let before = replay(stage, &["--from", "2h", "--to", "1h"])?;
    ensure!(before["records"] == 0, "{before}");

    let index = stage.wiring.index();
    let indices = stage.ask_elasticsearch("GET", &format!("/{index}/_alias"), &Value::Null)?;
    for (name, _) in indices.as_object().into_iter().flatten() {
        stage.ask_elasticsearch("DELETE", &format!("/{name}"), &Value::Null)?;
    }
    let done = replay(stage, &["--from", "1h"])?;
    ensure!(
        done["new"] == documents && done["were_there"] == 0 && done["refused"] == letters,
        "{done}"
    );
    let again = replay(stage, &["--from", "1h"])?;
    ensure!(
        again["new"] == 0 && again["were_there"] == documents,
        "{again}"
    );
    // Each event is where it was, once, and no dead letter came to be a second time.
    let after = loaded.verify(stage)?;
    ensure!(
        after["documents"] == documents && after["dead_letters"] == letters,
        "{after}"
    );
    lines(stage, 2, &[&["replay"], &wired[..]].concat()).map(drop)
}

fn retention_deletes_whole_days_of_every_tenant_and_nothing_else(
    stage: &mut Stage<'_>,
) -> Result<()> {
    let prefix = "logflow-kept";
    let pattern = format!("{prefix}-{{tenant}}-{{date}}");
    let of_tenants = ["a-2020.02.29", "_-2020.03.01", "a-2020.03.01"];
    let foreign = [
        "2020.03.01",
        "a-2020.03.01-restored",
        "a-2020.3.1",
        "a-b-2020.03.01",
        "settings",
        "a-2099.01.01",
    ];
    for name in of_tenants.iter().chain(&foreign) {
        let path = format!("/{prefix}-{name}/_doc/1?refresh=true");
        stage.ask_elasticsearch("PUT", &path, &json!({"message": "a"}))?;
    }
    // One that is closed goes, too; an alias that looks like a day is none.
    stage.ask_elasticsearch(
        "POST",
        &format!("/{prefix}-a-2020.02.29/_close"),
        &Value::Null,
    )?;
    let alias = format!("/{prefix}-settings/_alias/{prefix}-a-2020.01.01");
    stage.ask_elasticsearch("PUT", &alias, &Value::Null)?;
    let there = |stage: &Stage<'_>| -> Result<Vec<String>> {
        let path = format!("/_cat/indices/{prefix}-*?format=json&expand_wildcards=all&s=index");
        let rows = stage.ask_elasticsearch("GET", &path, &Value::Null)?;
        let names = rows.as_array().into_iter().flatten();
        let names = names.filter_map(|row| row["index"].as_str());
        let names = names.filter_map(|name| name.strip_prefix(prefix)?.strip_prefix('-'));
        Ok(names.map(str::to_owned).collect())
    };
    let before = there(stage)?;
    let address = stage.wiring.elasticsearch.clone();
    let retention = [
        "retention",
        "--elasticsearch-url",
        &address,
        "--index-pattern",
        &pattern,
    ];
    let told = lines(
        stage,
        0,
        &[&retention[..], &["--keep", "30d", "--dry-run"]].concat(),
    )?;
    ensure!(
        told.len() == 4 && told[3].contains("3 indices would be deleted"),
        "{told:?}"
    );
    ensure!(there(stage)? == before, "a dry run changed something");
    lines(stage, 2, &[&retention[..], &["--keep", "0d"]].concat())?;
    ensure!(
        there(stage)? == before,
        "what was refused changed something"
    );

    let told = lines(
        stage,
        0,
        &[&retention[..], &["--keep", "30d", "--json"]].concat(),
    )?;
    let told: serde_json::Result<Vec<Value>> =
        told.iter().map(|line| serde_json::from_str(line)).collect();
    let told = told?;
    let gone: Vec<&str> = told
        .iter()
        .filter_map(|row| row["index"].as_str())
        .collect();
    let expected: Vec<String> = of_tenants.map(|name| format!("{prefix}-{name}")).into();
    ensure!(gone == expected, "{told:?}");
    ensure!(
        told[0]["documents"].is_null() || told[0]["documents"] == 1,
        "{told:?}"
    );
    ensure!(told[1]["documents"] == 1, "{told:?}");
    let mut left: Vec<&str> = foreign.into();
    left.sort_unstable();
    ensure!(there(stage)? == left, "{:?}", there(stage)?);
    let told = lines(stage, 0, &[&retention[..], &["--keep", "30d"]].concat())?;
    ensure!(
        told.len() == 1 && told[0].starts_with("0 indices deleted"),
        "{told:?}"
    );
    Ok(())
}

fn template_shows_what_differs_and_installs_what_ships_but_never_over_somebody_elses(
    stage: &mut Stage<'_>,
) -> Result<()> {
    let address = stage.wiring.elasticsearch.clone();
    let command = |stage: &Stage<'_>, code: i32, name: &str| {
        let pattern = "logflow-templated-{date}";
        let flags = ["--elasticsearch-url", &address, "--index-pattern", pattern];
        lines(stage, code, &[&["template", name][..], &flags].concat())
    };
    let path = "/_index_template/logflow-templated";
    let told = command(stage, 1, "diff")?;
    ensure!(
        told == ["index template `logflow-templated` is not there"],
        "{told:?}"
    );
    command(stage, 0, "apply")?;
    let told = command(stage, 0, "diff")?;
    ensure!(
        told == ["index template `logflow-templated` is as it ships"],
        "{told:?}"
    );

    // An older one of ours with another mapping is told, and replaced.
    let held = stage.ask_elasticsearch("GET", path, &Value::Null)?;
    let mut changed = held["index_templates"][0]["index_template"].clone();
    changed["_meta"]["version"] = json!(0);
    changed["template"]["mappings"]["properties"]["level"] = json!({"type": "text"});
    stage.ask_elasticsearch("PUT", path, &changed)?;
    let told = command(stage, 1, "diff")?.join("\n");
    for expected in [
        "_meta.version: held 0, shipped 1",
        r#"template.mappings.properties.level.type: held "text", shipped "keyword""#,
        "`es-sink template apply` installs what ships",
    ] {
        ensure!(told.contains(expected), "{told}");
    }
    command(stage, 0, "apply")?;
    command(stage, 0, "diff")?;

    // Somebody else's stays.
    changed["_meta"] = json!({"managed_by": "somebody"});
    stage.ask_elasticsearch("PUT", path, &changed)?;
    command(stage, 1, "apply")?;
    let told = command(stage, 1, "diff")?.join("\n");
    ensure!(told.contains("apply` refuses to replace it"), "{told}");
    stage.ask_elasticsearch("DELETE", path, &Value::Null)?;
    Ok(())
}

fn topics_makes_grows_and_sets_but_never_takes_away(stage: &mut Stage<'_>) -> Result<()> {
    let brokers = stage.wiring.kafka.clone();
    let topics = |stage: &Stage<'_>, code: i32, name: &str, wanted: &[&str]| {
        let flags = ["--kafka-brokers", &brokers, "--topic", "operated"];
        let letters = ["--dead-letter-topic", "operated.dead-letter"];
        let told = lines(
            stage,
            code,
            &[&["topics", name][..], &flags, &letters, wanted].concat(),
        )?;
        anyhow::Ok(told.join("\n"))
    };
    let small = [
        "--partitions",
        "2",
        "--replication-factor",
        "1",
        "--retention",
        "2d",
        "--dead-letter-retention",
        "30d",
    ];
    let told = topics(stage, 1, "check", &small)?;
    ensure!(told.matches("is not there").count() == 2, "{told}");
    topics(stage, 0, "apply", &small)?;
    let settled = |stage: &Stage<'_>, wanted: &[&str]| {
        let told = topics(stage, 0, "check", wanted);
        told.map(drop).map_err(|error| format!("{error:#}"))
    };
    stage.wait_for("the topics", SOON, || settled(stage, &small))?;

    let large = [
        "--partitions",
        "4",
        "--retention",
        "3d",
        "--min-insync-replicas",
        "1",
    ];
    let told = topics(stage, 1, "check", &large)?;
    ensure!(told.contains("partitions: 2, wanted 4"), "{told}");
    ensure!(
        told.contains("retention.ms: 172800000, wanted 259200000"),
        "{told}"
    );
    topics(stage, 0, "apply", &large)?;
    stage.wait_for("the larger topics", SOON, || settled(stage, &large))?;

    // Nothing that takes away is done; what was set stays, also that of the dead letters.
    let told = topics(stage, 1, "apply", &small)?;
    ensure!(told.matches("not done by `apply`").count() == 2, "{told}");
    let letters = ["--dead-letter-retention", "30d"];
    topics(stage, 0, "check", &[&large[..], &letters].concat())?;
    Ok(())
}

/// A node with the roles that ship, and a user for each of them, named as the role; and `admin`, who may do everything.
struct Guarded {
    node: Node,
    _part: Part,
}

impl Guarded {
    fn start(stage: &mut Stage<'_>) -> Result<Self> {
        let directory = stage.directory.join("guarded");
        let mut node = Node::alone("guarded", free_port()?, free_port()?, directory.clone());
        node.heap_mib = 512;
        node.settings = [
            ("xpack.security.enabled", "true"),
            ("xpack.security.transport.ssl.enabled", "false"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
        let config = directory.join("config");
        fs::create_dir_all(&config)?;
        let roles = stage.root().join("deploy/elasticsearch/roles.yml");
        fs::copy(roles, config.join("roles.yml"))?;
        let named = ["logflow_es_sink", "logflow_query_api", "logflow_operator"];
        let users = named.iter().chain(&["admin"]);
        let users: String = users.map(|name| format!("{name}:{BCRYPT}\n")).collect();
        fs::write(config.join("users"), users)?;
        let roles: String = named.map(|name| format!("{name}:{name}\n")).concat();
        fs::write(
            config.join("users_roles"),
            format!("{roles}superuser:admin\n"),
        )?;
        let health = format!(
            "{}/_cluster/health?wait_for_status=yellow&timeout=1s",
            node.url()
        );
        let part = stage.elasticsearch_node(
            &node,
            Some(Arc::new(move || {
                match ask(&health, "admin", "GET", &Value::Null) {
                    Ok(reply) if reply.status == 200 => Ok(()),
                    Ok(reply) => Err(format!("its health is {}", reply.text())),
                    Err(error) => Err(format!("{error:#}")),
                }
            })),
        )?;
        Ok(Self { node, _part: part })
    }

    fn address(&self, user: &str) -> String {
        format!("http://{user}:{PASSWORD}@127.0.0.1:{}", self.node.http_port)
    }

    /// Any status is an answer.
    fn ask(&self, user: &str, method: &str, path: &str, body: &Value) -> Result<Reply> {
        ask(&format!("{}{path}", self.node.url()), user, method, body)
    }

    fn is_forbidden(&self, user: &str, method: &str, path: &str, body: &Value) -> Result<()> {
        let reply = self.ask(user, method, path, body)?;
        ensure!(
            reply.status == 403,
            "{user}: {method} {path}: {} {}",
            reply.status,
            reply.text()
        );
        Ok(())
    }
}

fn ask(url: &str, user: &str, method: &str, body: &Value) -> Result<Reply> {
    let authorization = format!("Basic {}", STANDARD.encode(format!("{user}:{PASSWORD}")));
    let headers = [
        ("Content-Type", "application/json"),
        ("Authorization", authorization.as_str()),
    ];
    let body = match body.is_null() {
        true => Vec::new(),
        false => body.to_string().into_bytes(),
    };
    http::request(method, url, &headers, &body, TIMEOUT)
}

fn with_the_roles_that_ship_each_does_its_work_and_no_more(stage: &mut Stage<'_>) -> Result<()> {
    let guarded = Guarded::start(stage)?;
    let gateway = stage.gateway(&[])?;
    let reply = gateway.post(
        "/logs",
        &[],
        br#"{"message":"guarded","metadata":{"a":1},"brandNewField":"b"}"#,
    )?;
    ensure!(reply.status == 200, "{}", reply.text());

    // The sink installs its template, makes the day's index and maps a new field.
    let index = stage.wiring.index();
    let _sink = stage.sink(&["--elasticsearch-url", &guarded.address("logflow_es_sink")])?;
    let count = format!("/{index}/_count");
    stage.wait_for("the event", SOON, || {
        let reply = guarded.ask("admin", "GET", &count, &Value::Null);
        let reply = reply.map_err(|error| format!("{error:#}"))?;
        match reply.json() {
            Ok(body) if body["count"] == 1 => Ok(()),
            _ => Err(reply.text()),
        }
    })?;
    let api = stage.query_api(&["--elasticsearch-url", &guarded.address("logflow_query_api")])?;
    for path in [
        "/logs?message=guarded",
        "/api/v1/fields",
        "/api/v1/histogram?q=guarded",
        "/elasticsearch/",
        "/elasticsearch/_cluster/health",
        &format!("/elasticsearch/{index}/_mapping"),
        &format!("/elasticsearch/{index}/_field_caps?fields=*"),
        &format!("/elasticsearch/{index}/_count"),
    ] {
        let reply = api.get(path)?;
        ensure!(
            reply.status == 200,
            "{path}: {} {}",
            reply.status,
            reply.text()
        );
    }
    // In a point in time, as every search by pages.
    let found = api.post("/api/v1/search", &[], br#"{"message":"guarded"}"#)?;
    let found = found.text();
    ensure!(found.contains("brandNewField"), "{found}");

    let old = index.replace('*', "2020.01.01");
    let reply = guarded.ask(
        "admin",
        "PUT",
        &format!("/{old}/_doc/1?refresh=true"),
        &json!({"message": "a"}),
    )?;
    ensure!(reply.status == 201, "{}", reply.text());
    let pattern = stage.wiring.index_pattern.clone();
    let retention = |user: &str| {
        let address = guarded.address(user);
        let flags = ["retention", "--keep", "1d", "--index-pattern", &pattern];
        es_sink(
            stage,
            &[&flags[..], &["--elasticsearch-url", &address]].concat(),
        )
    };
    let output = retention("logflow_es_sink")?;
    let text = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.code() == Some(1) && text.contains("logflow_operator"),
        "{text}"
    );
    let output = retention("logflow_operator")?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.success() && text.contains(&format!("{old}  1 documents")),
        "{output:?}"
    );

    let operator = guarded.address("logflow_operator");
    let template = [
        "--index-pattern",
        &pattern,
        "--elasticsearch-url",
        &operator,
    ];
    let told = lines(stage, 0, &[&["template", "diff"][..], &template].concat())?;
    ensure!(told.len() == 1, "{told:?}");

    let search = format!("/{index}/_search");
    let (one, bulk) = (json!({"message": "b"}), Value::Null);
    guarded.is_forbidden("logflow_es_sink", "GET", &search, &Value::Null)?;
    guarded.is_forbidden(
        "logflow_es_sink",
        "DELETE",
        &format!("/{}", index.replace('*', "2020.01.01")),
        &Value::Null,
    )?;
    guarded.is_forbidden("logflow_es_sink", "PUT", "/elsewhere/_doc/1", &one)?;
    guarded.is_forbidden("logflow_query_api", "PUT", &format!("/{old}/_doc/2"), &one)?;
    guarded.is_forbidden("logflow_query_api", "GET", "/elsewhere/_search", &bulk)?;
    guarded.is_forbidden("logflow_operator", "GET", &search, &Value::Null)?;
    guarded.is_forbidden("logflow_operator", "PUT", &format!("/{old}/_doc/2"), &one)?;
    Ok(())
}
