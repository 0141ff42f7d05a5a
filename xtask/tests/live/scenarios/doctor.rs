//! `doctor` finds nothing to complain of in a stack that works, and names what is missing in one that does not.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use service::access::Scope;
use service::access::api_keys::NewKey;
use xtask::certificates::Authority;
use xtask::engines::elasticsearch::Node;
use xtask::engines::free_port;
use xtask::engines::metadata::ensure_topic;
use xtask::services::SERVICES;

use super::secured::secured_broker;
use crate::scenarios;
use crate::stage::{SOON, Scenario, Stage};

pub(crate) const SCENARIOS: &[Scenario] = scenarios![
    what_is_missing_at_kafka_is_named_and_nothing_when_nothing_is,
    what_is_missing_at_elasticsearch_is_named_and_nothing_when_nothing_is,
    a_guarded_sink_tells_its_state_to_a_query_api_with_a_key_and_doctor_says_who_has_none,
];

/// What a doctor said, and its exit status.
struct Told {
    lines: String,
    status: Option<i32>,
}

impl Told {
    /// It ended with 0 and failed nothing.
    fn is_healthy(&self) -> Result<()> {
        ensure!(
            self.status == Some(0) && !self.lines.contains("FAIL"),
            "{:?}: {}",
            self.status,
            self.lines
        );
        Ok(())
    }

    /// A line that fails is about `about` and names `way_out`.
    fn fails(&self, about: &str, way_out: &str) -> Result<()> {
        let named = self
            .lines
            .lines()
            .any(|line| line.starts_with("FAIL") && line.contains(about) && line.contains(way_out));
        ensure!(
            named && self.status == Some(1),
            "no line fails {about} with {way_out} ({:?}): {}",
            self.status,
            self.lines
        );
        Ok(())
    }
}

fn doctor(stage: &Stage<'_>, service: &str, flags: &[&str]) -> Result<Told> {
    let mut wired = match service {
        "ingest-gateway" => stage.wiring.gateway_flags(),
        "es-sink" => stage.wiring.sink_flags(),
        _ => stage.wiring.query_flags(),
    };
    // A flag of the scenario's replaces the wiring's.
    for flag in flags.iter().filter(|flag| flag.starts_with("--")) {
        if let Some(at) = wired.iter().position(|wired| wired == flag) {
            wired.drain(at..(at + 2).min(wired.len()));
        }
    }
    let mut command = Command::new(stage.binary(service));
    command.arg("doctor").args(wired).args(flags);
    let output = command.output().context("running a doctor")?;
    let told = [output.stdout, output.stderr].concat();
    Ok(Told {
        lines: String::from_utf8_lossy(&told).into_owned(),
        status: output.status.code(),
    })
}

fn what_is_missing_at_kafka_is_named_and_nothing_when_nothing_is(
    stage: &mut Stage<'_>,
) -> Result<()> {
    let authority = Authority::new(&stage.directory, &stage.interrupt())?;
    let server = authority.vouch("broker", "DNS:localhost")?;
    let port = free_port()?;
    let mut broker = secured_broker(stage, &server, port)?;
    for (key, value) in [
        (
            "authorizer.class.name",
            "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        ),
        ("super.users", "User:ANONYMOUS;User:agent"),
    ] {
        broker.settings.push((key.to_owned(), value.to_owned()));
    }
    let _broker = stage.broker(&broker)?;
    let topics = [
        stage.wiring.topic.clone(),
        stage.wiring.dead_letter_topic.clone(),
    ];
    for topic in &topics {
        ensure_topic(broker.socket(), topic, SOON, &stage.interrupt())?;
    }
    stage.wiring.kafka = format!("localhost:{port}");
    let ca = format!("ssl.ca.location={}", authority.path().display());
    let as_user = |user: &str, password: &str, ca: &str| -> Vec<String> {
        let (user, password) = (
            format!("sasl.username={user}"),
            format!("sasl.password={password}"),
        );
        [
            "security.protocol=sasl_ssl",
            "sasl.mechanism=PLAIN",
            ca,
            &user,
            &password,
        ]
        .into_iter()
        .filter(|property| !property.is_empty())
        .flat_map(|property| ["--kafka-property".to_owned(), property.to_owned()])
        .collect()
    };
    let ask = |service: &str, user: &[String], more: &[&str]| {
        let user: Vec<&str> = user.iter().map(String::as_str).collect();
        doctor(stage, service, &[&user, more].concat())
    };
    let agent = as_user("agent", "plain-secret", &ca);
    for service in SERVICES {
        ask(service, &agent, &[])?.is_healthy()?;
    }
    let wrong = as_user("agent", "wrong", &ca);
    ask("ingest-gateway", &wrong, &[])?.fails("Kafka:", "`sasl.password`")?;
    let untrusting = as_user("agent", "plain-secret", "");
    ask("es-sink", &untrusting, &[])?.fails("Kafka:", "`ssl.ca.location`")?;
    let closed = format!("127.0.0.1:{}", free_port()?);
    ask("query-api", &agent, &["--kafka-brokers", &closed])?
        .fails(&format!("Kafka broker `{closed}`"), "--kafka-brokers")?;
    // This broker makes topics for who asks for them by name; a doctor does not.
    for _ in 0..2 {
        ask("ingest-gateway", &agent, &["--topic", "nowhere"])?
            .fails("Kafka topic `nowhere`", "create it")?;
    }
    ask("ingest-gateway", &agent, &["--max-event-bytes", "2MB"])?
        .fails("record size", "--max-event-bytes")?;
    let stranger = as_user("stranger", "strange-secret", &ca);
    let [topic, dead_letters] = topics.map(|topic| format!("Kafka topic `{topic}`"));
    ask("ingest-gateway", &stranger, &[])?.fails(&topic, "the ACL Write")?;
    let told = ask("es-sink", &stranger, &[])?;
    told.fails(&topic, "the ACL Read")?;
    told.fails(&dead_letters, "the ACL Write")?;
    told.fails("Kafka group", "the ACL Read")?;
    told.fails("Kafka transactional ids", "the ACL Write")
}

/// The password as bcrypt keeps it, in the fewest rounds there are. It opens a node on loopback that lives for seconds.
const USERS: &str = "sink:$2a$04$N9qo8uLOickgx2ZMRZoMyex4r8h6D2dhJJAjDssrbISkm0zz1u6yG\n";
const CREDENTIALS: &str = "sink:nemesis-sink";

/// Everybody else is a watcher, so that the stage's probes need no password.
fn roles(of_sink: &str) -> String {
    format!(
        "indexer:\n  cluster: [ manage_index_templates ]\n  indices:\n    - names: [ 'logflow-*' ]\n      privileges: [ {of_sink} ]\n\
         watcher:\n  cluster: [ monitor ]\n"
    )
}

fn what_is_missing_at_elasticsearch_is_named_and_nothing_when_nothing_is(
    stage: &mut Stage<'_>,
) -> Result<()> {
    // Security is off there, and nothing is missing.
    for service in SERVICES {
        doctor(stage, service, &[])?.is_healthy()?;
    }
    let directory = stage.directory.join("elasticsearch");
    let mut node = Node::alone("guarded", free_port()?, free_port()?, directory.clone());
    node.heap_mib = 512;
    node.settings = [
        ("xpack.security.enabled", "true"),
        ("xpack.security.transport.ssl.enabled", "false"),
        ("xpack.security.authc.anonymous.username", "watcher"),
        ("xpack.security.authc.anonymous.roles", "watcher"),
        ("resource.reload.interval.high", "1s"),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into();
    let config = directory.join("config");
    fs::create_dir_all(&config)?;
    let put = |name: &str, text: &str| replace(&config.join(name), text);
    put("users", USERS)?;
    put("users_roles", "indexer:sink\n")?;
    put("roles.yml", &roles("auto_configure, index, read"))?;
    let _node = stage.elasticsearch_node(&node, None)?;
    stage.wiring.elasticsearch = node.url();
    let file = |name: &str, text: &str| -> Result<String> {
        let path = stage.directory.join(name);
        fs::write(&path, text)?;
        Ok(path.display().to_string())
    };
    let right = file("right", CREDENTIALS)?;
    let right = ["--elasticsearch-credentials", &right];
    let wrong = file("wrong", "sink:wrong")?;
    let wrong = ["--elasticsearch-credentials", &wrong];
    for service in ["es-sink", "query-api"] {
        doctor(stage, service, &right)?.is_healthy()?;
        doctor(stage, service, &wrong)?
            .fails("Elasticsearch node", "--elasticsearch-credentials")?;
    }
    put("roles.yml", &roles("index"))?;
    for (service, lacks) in [("es-sink", "`auto_configure`"), ("query-api", "`read`")] {
        stage.wait_for("the role to be less", SOON, || {
            let told = doctor(stage, service, &right).map_err(|error| error.to_string())?;
            let fails = told.fails("Elasticsearch privileges", lacks);
            fails.map_err(|error| error.to_string())
        })?;
    }
    Ok(())
}

/// In one step, since the node may look at any moment.
fn replace(path: &Path, text: &str) -> Result<()> {
    let new = path.with_extension("new");
    fs::write(&new, text)?;
    Ok(fs::rename(&new, path)?)
}

fn a_guarded_sink_tells_its_state_to_a_query_api_with_a_key_and_doctor_says_who_has_none(
    stage: &mut Stage<'_>,
) -> Result<()> {
    let key = NewKey::make("observer", &[Scope::Observe], None, None, [7; 32])
        .map_err(anyhow::Error::msg)?;
    let keys = stage.directory.join("keys.toml").display().to_string();
    fs::write(&keys, &key.entry)?;
    let credentials = stage.directory.join("observer").display().to_string();
    fs::write(
        &credentials,
        key.credential.to_token().replacen('.', ":", 1),
    )?;
    let sink = stage.sink(&["--api-keys", &keys])?;
    let without = ["--sink-url", &sink.url()].map(str::to_owned);
    let without: Vec<&str> = without.iter().map(String::as_str).collect();
    let with = [&without[..], &["--sink-credentials", &credentials]].concat();
    let api = stage.query_api(&with)?;
    let pipeline = api.get("/api/v1/pipeline")?.json()?;
    let told = &pipeline["sinks"][0];
    ensure!(told["reachable"] == true && told["ready"] == true, "{told}");
    let api = stage.query_api(&without)?;
    let pipeline = api.get("/api/v1/pipeline")?.text();
    ensure!(pipeline.contains("it asks for a key"), "{pipeline}");
    doctor(stage, "query-api", &with)?.is_healthy()?;
    doctor(stage, "query-api", &without)?.fails("es-sink `http", "--sink-credentials")
}
