//! What is shipped for Prometheus and Grafana reads what the services say: a real Prometheus is asked every expression.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use log_event::timestamp::Timestamp;
use serde_json::Value;
use service::access::Scope;
use service::access::api_keys::NewKey;
use xtask::certificates::Authority;
use xtask::dashboards;
use xtask::engines::free_port;
use xtask::engines::postgres::Server;
use xtask::prometheus::shipped::{Job, selectors};
use xtask::prometheus::{Prometheus, RULES, SHIPPED};
use yaml_rust2::{Yaml, YamlLoader};

use crate::load::Load;
use crate::scenarios;
use crate::stage::{Part, SOON, Scenario, Stage};

pub(crate) const SCENARIOS: &[Scenario] = scenarios![
    the_shipped_rules_are_valid_and_each_alert_fires_and_is_silent_as_its_test_says,
    each_expression_of_each_panel_and_rule_finds_data_and_no_alert_is_due_while_all_is_well,
];

/// Longer than the start of everything takes to leave the ranges of the alerts.
const LOAD: [&str; 6] = ["--rate", "800", "--duration", "30s", "--connections", "4"];
/// Between two searches.
const PACE: Duration = Duration::from_millis(200);

fn the_shipped_rules_are_valid_and_each_alert_fires_and_is_silent_as_its_test_says(
    stage: &mut Stage<'_>,
) -> Result<()> {
    let directory = stage.root().join(SHIPPED);
    for arguments in [
        &["check", "config", "prometheus.yml"][..],
        &["check", "rules", "recording.yml", "alerts.yml"],
        &["test", "rules", "alerts.test.yml"],
    ] {
        let output = Command::new("promtool")
            .current_dir(&directory)
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .context("cannot run promtool")?;
        let told = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
        ensure!(output.status.success(), "promtool {arguments:?}: {told:?}");
    }
    Ok(())
}

fn each_expression_of_each_panel_and_rule_finds_data_and_no_alert_is_due_while_all_is_well(
    stage: &mut Stage<'_>,
) -> Result<()> {
    let gateway = stage.gateway(&[])?;
    let sink = stage.sink(&[])?;
    let query_api = stage.query_api(&[])?;
    let (database, _database_process) = stage.postgres()?;
    let archive_sink = stage.archive_sink(&database, &[])?;
    let secured = secured(stage, &database)?;
    let clear = [&gateway, &sink, &archive_sink, &query_api];
    let prometheus = scraping(stage, clear, &secured)?;
    let _process = prometheus_process(stage, &prometheus)?;
    let load = Load::through(stage, &gateway, &LOAD)?;

    let expressions = expressions(&stage.root())?;
    eprintln!("    {} expressions", expressions.len());
    let mut silent = expressions;
    stage.wait_for("data for every expression", SOON, || {
        let told = |error: anyhow::Error| format!("{error:#}");
        // One good event and one bad, and a search beside those that probe.
        let body = b"{\"message\":\"one\"}\n{\"level\":3}\n";
        gateway.post("/logs", &[], body).map_err(told)?;
        query_api.get("/logs").map_err(told)?;
        std::thread::sleep(PACE);
        let mut without = BTreeSet::new();
        for (expression, place) in &silent {
            if !finds_data(&prometheus, expression).map_err(told)? {
                without.insert((expression.clone(), place.clone()));
            }
        }
        silent = without;
        match silent.is_empty() {
            true => Ok(()),
            false => Err(format!("{silent:#?} find nothing")),
        }
    })?;
    load.finish(stage)?;
    rules_work(&prometheus)?;
    // What the start made due is over by now, or it is a fault of the rule.
    stage.wait_for("no alert to be due", SOON, || match prometheus.alerts() {
        Ok(alerts) if alerts.is_empty() => Ok(()),
        Ok(alerts) => Err(format!("{alerts:?}")),
        Err(error) => Err(format!("{error:#}")),
    })
}

/// What is scraped, in this order: one of each in the clear, and one that is secured.
const JOBS: [&str; 4] = ["ingest-gateway", "es-sink", "archive-sink", "query-api"];

/// One of each with a certificate, with keys, and where it takes them with credentials in files, so that the metrics of
/// all these are there.
fn secured(stage: &mut Stage<'_>, database: &Server) -> Result<[Part; 4]> {
    let authority = Authority::new(&stage.directory, &stage.interrupt())?;
    let server = authority.vouch("server", "IP:127.0.0.1")?;
    let expires = Timestamp::parse("2200-01-01T00:00:00Z").ok();
    let key = NewKey::make("shop-web", &[Scope::Ingest], None, expires, [1; 32]);
    let keys = stage.directory.join("keys.toml");
    fs::write(&keys, key.map_err(anyhow::Error::msg)?.entry)?;
    // An Elasticsearch without security asks for none.
    let login = stage.directory.join("login");
    fs::write(&login, "logflow:secret\n")?;
    let path = |path: &Path| path.display().to_string();
    let files = [&server.certificate, &server.key, &keys, &login];
    let [certificate, key, keys, login] = files.map(|file| path(file));
    let front = [
        ("--tls-cert", &certificate),
        ("--tls-key", &key),
        ("--api-keys", &keys),
    ];
    let logins = [
        ("--elasticsearch-credentials", &login),
        ("--sink-credentials", &login),
    ];
    let wired = [
        stage.wiring.gateway_flags(),
        stage.wiring.sink_flags(),
        stage.wiring.archive_flags(&database.url()),
        stage.wiring.query_flags(),
    ];
    let logins = [&logins[..0], &logins[..1], &logins[..0], &logins];
    let mut parts = Vec::new();
    for ((name, wired), logins) in JOBS.iter().zip(wired).zip(logins) {
        let flags = front.iter().chain(logins);
        let flags: Vec<&str> = flags
            .flat_map(|(flag, file)| [*flag, file.as_str()])
            .collect();
        let mut part = stage.service(name, wired, &flags)?;
        // Its readiness is asked for in the clear; here Prometheus sees to it.
        part.launch()?;
        parts.push(part);
    }
    let parts: Result<[Part; 4], _> = parts.try_into();
    parts.ok().context("one of each")
}

fn scraping(stage: &Stage<'_>, clear: [&Part; 4], secured: &[Part; 4]) -> Result<Prometheus> {
    let address = |part: &Part| part.url().replace("http://", "");
    let jobs = JOBS.iter().zip(clear).zip(secured);
    let jobs = jobs.map(|((name, clear), secured)| Job {
        name,
        clear: vec![address(clear)],
        secured: vec![address(secured)],
    });
    Ok(Prometheus {
        port: free_port()?,
        directory: stage.directory.join("prometheus"),
        jobs: jobs.collect(),
        haste: 1,
    })
}

fn prometheus_process(stage: &Stage<'_>, prometheus: &Prometheus) -> Result<Part> {
    let spec = prometheus.prepare(&stage.root())?;
    let mut part = Part::new(spec, prometheus.port, &stage.interrupt());
    part.start()?;
    Ok(part)
}

/// Everything that is to find data, with the place where it stands: what panels ask, what is recorded, and of the alerts,
/// which are empty while all is well, what they look at.
fn expressions(root: &Path) -> Result<BTreeSet<(String, String)>> {
    let mut expressions = BTreeSet::new();
    for entry in fs::read_dir(root.join(dashboards::DIRECTORY))? {
        let path = entry?.path();
        let place = path.file_name().unwrap_or_default().to_string_lossy();
        let dashboard: Value = serde_json::from_str(&fs::read_to_string(&path)?)?;
        let panels = dashboard["panels"].as_array().context("panels")?;
        for panel in panels.iter().filter(|panel| panel["type"] != "row") {
            let targets = panel["targets"].as_array().context("targets")?;
            ensure!(
                !targets.is_empty(),
                "{place}: {} shows nothing",
                panel["title"]
            );
            for target in targets {
                let expression = target["expr"].as_str().context("an expression")?;
                let expression = expression
                    .replace("$job", ".*")
                    .replace("$instance", ".*")
                    .replace("$__rate_interval", "1m");
                ensure!(!expression.contains('$'), "{place}: `{expression}`");
                expressions.insert((expression, format!("{place}: {}", panel["title"])));
            }
        }
    }
    for file in RULES {
        let rules = YamlLoader::load_from_str(&fs::read_to_string(root.join(SHIPPED).join(file))?)?;
        let groups = rules[0]["groups"].as_vec().context("groups")?;
        let rules = groups.iter().filter_map(|group| group["rules"].as_vec());
        for rule in rules.flatten() {
            let expression = rule["expr"].as_str().context("an expression")?;
            match &rule["alert"] {
                Yaml::String(name) => {
                    let selectors = selectors(expression);
                    ensure!(!selectors.is_empty(), "{name} looks at nothing");
                    let place = format!("{file}: {name}");
                    expressions.extend(selectors.into_iter().map(|one| (one, place.clone())));
                }
                _ => {
                    let name = rule["record"].as_str().context("a name")?;
                    expressions.insert((expression.to_owned(), format!("{file}: {name}")));
                }
            }
        }
    }
    Ok(expressions)
}

/// Whether there is a number among what it finds; a quantile of nothing is none.
fn finds_data(prometheus: &Prometheus, expression: &str) -> Result<bool> {
    let samples = prometheus.query(expression)?;
    Ok(samples.iter().any(|sample| sample["value"][1] != "NaN"))
}

fn rules_work(prometheus: &Prometheus) -> Result<()> {
    let rules = prometheus.ask("rules", "")?;
    let groups = rules["groups"].as_array().context("groups")?;
    let rules = groups.iter().filter_map(|group| group["rules"].as_array());
    for rule in rules.flatten() {
        ensure!(rule["health"] == "ok", "{rule}");
    }
    Ok(())
}
