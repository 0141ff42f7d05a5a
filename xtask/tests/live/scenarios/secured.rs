//! Nothing travels in the clear: clients come over TLS, and Kafka lets nobody in without a password or a token.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use service::access::Scope;
use service::access::api_keys::NewKey;
use xtask::certificates::{Authority, Certificate, served};
use xtask::command;
use xtask::engines::free_port;
use xtask::engines::kafka::Broker;

use crate::scenarios;
use crate::stage::{SOON, Scenario, Stage};

pub(crate) const SCENARIOS: &[Scenario] = scenarios![
    kafka_that_requires_sasl_ssl_is_spoken_to_in_each_mechanism,
    clients_come_over_tls_by_key_or_certificate_and_certificates_are_replaced_under_them,
];

/// Of each way in.
const EVENTS: u64 = 500;

fn kafka_that_requires_sasl_ssl_is_spoken_to_in_each_mechanism(
    stage: &mut Stage<'_>,
) -> Result<()> {
    let authority = Authority::new(&stage.directory, &stage.interrupt())?;
    let server = authority.vouch("broker", "DNS:localhost")?;
    let port = free_port()?;
    let broker = secured_broker(stage, &server, port)?;
    let _broker = stage.broker(&broker)?;
    stage.wiring.kafka = format!("localhost:{port}");
    let authority = authority.path().display().to_string();
    let mut expected = 0;
    for (mechanism, properties) in [
        (
            "SCRAM-SHA-512",
            &["sasl.username=agent", "sasl.password=scram-secret"],
        ),
        (
            "PLAIN",
            &["sasl.username=agent", "sasl.password=plain-secret"],
        ),
        (
            "OAUTHBEARER",
            &[
                "enable.sasl.oauthbearer.unsecure.jwt=true",
                "sasl.oauthbearer.config=principal=agent",
            ],
        ),
    ] {
        let mechanism = format!("sasl.mechanism={mechanism}");
        let authority = format!("ssl.ca.location={authority}");
        let properties = ["security.protocol=sasl_ssl", &mechanism, &authority]
            .into_iter()
            .chain(properties.iter().copied());
        let flags: Vec<&str> = properties
            .flat_map(|property| ["--kafka-property", property])
            .collect();
        let gateway = stage.gateway(&flags)?;
        let _sink = stage.sink(&flags)?;
        let api = stage.query_api(&flags)?;
        let lines: String = (0..EVENTS).map(|n| format!("{mechanism} {n}\n")).collect();
        let reply = gateway.post("/logs", &[("content-type", "text/plain")], lines.as_bytes())?;
        ensure!(reply.status == 200, "{mechanism}: {}", reply.text());
        expected += EVENTS;
        stage.wait_for("the events", SOON, || stage.has_documents(expected))?;
        let pipeline = api.get("/api/v1/pipeline")?.json()?;
        let records = pipeline["topic"]["end_offsets"].as_u64();
        ensure!(
            records.is_some_and(|records| records >= expected),
            "{pipeline}"
        );
    }
    let wrong = [
        "--kafka-property",
        "security.protocol=sasl_ssl",
        "--kafka-property",
        "sasl.mechanism=PLAIN",
        "--kafka-property",
        &format!("ssl.ca.location={authority}"),
        "--kafka-property",
        "sasl.username=agent",
        "--kafka-property",
        "sasl.password=wrong",
    ];
    let wired = stage.wiring.gateway_flags();
    let mut gateway = stage.service("ingest-gateway", wired, &wrong)?;
    gateway.launch()?;
    stage.wait_for("the reason for a refusal", SOON, || {
        let reply = gateway.get("/readyz").map_err(|error| error.to_string())?;
        let text = reply.text();
        let is_told = reply.status == 503 && text.contains("Invalid username or password");
        is_told.then_some(()).ok_or(text)
    })
}

/// A broker whose clients come by TLS and SASL alone; its own business is on another port.
pub(crate) fn secured_broker(stage: &Stage<'_>, server: &Certificate, port: u16) -> Result<Broker> {
    let directory = stage.directory.join("kafka");
    let mut broker = Broker::alone("secured Kafka", free_port()?, free_port()?, directory);
    let keystore = stage.directory.join("keystore.pem");
    let pem = [&server.key, &server.certificate].map(fs::read_to_string);
    let [key, certificate] = pem;
    fs::write(&keystore, format!("{}{}", key?, certificate?))?;
    let (own, controller) = (broker.port, broker.controller_port);
    let module = "org.apache.kafka.common.security";
    let of_listener = |name: &str| format!("listener.name.secured.{name}");
    let set = |name: &str, value: String| (name.to_owned(), value);
    broker.settings = vec![
        set(
            "listeners",
            format!(
                "PLAINTEXT://127.0.0.1:{own},CONTROLLER://127.0.0.1:{controller},SECURED://127.0.0.1:{port}"
            ),
        ),
        set(
            "advertised.listeners",
            format!("PLAINTEXT://127.0.0.1:{own},SECURED://localhost:{port}"),
        ),
        set(
            "listener.security.protocol.map",
            "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SECURED:SASL_SSL".to_owned(),
        ),
        set(
            "sasl.enabled.mechanisms",
            "SCRAM-SHA-512,PLAIN,OAUTHBEARER".to_owned(),
        ),
        set(
            &of_listener("scram-sha-512.sasl.jaas.config"),
            format!("{module}.scram.ScramLoginModule required;"),
        ),
        set(
            &of_listener("plain.sasl.jaas.config"),
            format!(
                "{module}.plain.PlainLoginModule required user_agent=\"plain-secret\" user_stranger=\"strange-secret\";"
            ),
        ),
        set(
            &of_listener("oauthbearer.sasl.jaas.config"),
            format!(
                "{module}.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub=\"broker\";"
            ),
        ),
        set(
            &of_listener("oauthbearer.sasl.server.callback.handler.class"),
            format!(
                "{module}.oauthbearer.internals.unsecured.OAuthBearerUnsecuredValidatorCallbackHandler"
            ),
        ),
        set(&of_listener("ssl.keystore.type"), "PEM".to_owned()),
        set(
            &of_listener("ssl.keystore.location"),
            keystore.display().to_string(),
        ),
    ];
    broker.users = vec![("agent".to_owned(), "scram-secret".to_owned())];
    Ok(broker)
}

/// What curl was answered.
struct Answer {
    status: u64,
    http_version: String,
    body: String,
}

fn curl(stage: &Stage<'_>, authority: &Path, arguments: &[&str]) -> Result<Answer> {
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    let call = CALLS.fetch_add(1, Ordering::Relaxed);
    let body = stage.directory.join(format!("curl-{call}.body"));
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--max-time", "30"])
        .args(["--write-out", "%{json}", "--cacert"])
        .arg(authority)
        .arg("--output")
        .arg(&body)
        .args(arguments);
    let mut told = String::new();
    command::run(curl, &stage.interrupt(), |line| told.push_str(line))?;
    let told: Value = serde_json::from_str(&told).context("what curl tells")?;
    Ok(Answer {
        status: told["http_code"].as_u64().context("a status")?,
        http_version: told["http_version"].as_str().unwrap_or_default().to_owned(),
        body: fs::read_to_string(&body).unwrap_or_default(),
    })
}

fn clients_come_over_tls_by_key_or_certificate_and_certificates_are_replaced_under_them(
    stage: &mut Stage<'_>,
) -> Result<()> {
    let authority = Authority::new(&stage.directory, &stage.interrupt())?;
    let server = authority.vouch("server", "DNS:localhost,IP:127.0.0.1")?;
    let agent = authority.vouch("agent", "DNS:agent-7.shop.example")?;
    let key =
        NewKey::make("person", &Scope::ALL, None, None, [9; 32]).map_err(anyhow::Error::msg)?;
    let keys = stage.directory.join("keys.toml");
    let certified = "[[key]]\nid = \"agent-7\"\ncertificate = \"agent-7.shop.example\"\nscopes = [\"ingest\"]\n";
    fs::write(&keys, format!("{}{certified}", key.entry))?;
    let path = |path: &Path| path.display().to_string();
    let flags = [
        "--tls-cert".to_owned(),
        path(&server.certificate),
        "--tls-key".to_owned(),
        path(&server.key),
        "--tls-client-ca".to_owned(),
        path(&authority.path()),
        "--api-keys".to_owned(),
        path(&keys),
    ];
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let ca = authority.path();
    let wired = stage.wiring.gateway_flags();
    let mut gateway = stage.service("ingest-gateway", wired, &flags)?;
    gateway.launch()?;
    let wired = stage.wiring.query_flags();
    let mut api = stage.service("query-api", wired, &flags)?;
    api.launch()?;
    let _sink = stage.sink(&[])?;
    let [to_gateway, to_api] = [&gateway, &api].map(|part| part.url().replace("http:", "https:"));
    for url in [&to_gateway, &to_api] {
        let ready = format!("{url}/readyz");
        stage.wait_for("a service over TLS", SOON, || {
            match curl(stage, &ca, &[&ready]) {
                Ok(answer) if answer.status == 200 => Ok(()),
                Ok(answer) => Err(answer.body),
                Err(error) => Err(format!("{error:#}")),
            }
        })?;
    }
    ensure!(
        gateway.get("/readyz").is_err(),
        "it speaks in the clear, too"
    );
    let bearer = format!("Authorization: Bearer {}", key.credential.to_token());
    let with_key = ["--header", bearer.as_str()];
    let (certificate, private) = (path(&agent.certificate), path(&agent.key));
    let with_certificate = ["--cert", certificate.as_str(), "--key", private.as_str()];
    let logs = format!("{to_gateway}/logs");
    let event = |n: u64| format!("{{\"message\":\"event {n}\"}}");
    let mut sent = 0;
    for (proof, version, status) in [
        (&with_key[..], "--http2", 200),
        (&with_key, "--http1.1", 200),
        (&with_certificate, "--http2", 200),
        (&with_certificate, "--http1.1", 200),
        (&[], "--http2", 401),
    ] {
        let body = event(sent);
        let arguments = [proof, &[version, "--data", &body, &logs]].concat();
        let answer = curl(stage, &ca, &arguments)?;
        ensure!(
            answer.status == status,
            "{proof:?} {version}: {}",
            answer.body
        );
        let expected = if version == "--http2" { "2" } else { "1.1" };
        ensure!(
            answer.http_version == expected,
            "{version}: {}",
            answer.http_version
        );
        sent += u64::from(status == 200);
    }
    // A refusal that does not wait for its body is heard, too.
    let large = stage.directory.join("large.json");
    fs::write(&large, " ".repeat(5_000_000))?;
    let large = format!("@{}", large.display());
    for (url, status) in [(&logs, 401), (&format!("{to_gateway}/nowhere"), 404)] {
        for body in ["{}", &large].repeat(5) {
            let answer = curl(stage, &ca, &["--http2", "--data-binary", body, url])?;
            ensure!(answer.status == status, "{url}: {}", answer.status);
        }
    }
    let searching = format!("{to_api}/logs");
    let denied = curl(stage, &ca, &[&with_certificate[..], &[&searching]].concat())?;
    ensure!(
        denied.status == 403,
        "a certificate for ingest searches: {}",
        denied.body
    );

    // A request that is under way while the certificate is replaced.
    let slow = stage.directory.join("slow.json");
    let padding = " ".repeat(120_000);
    fs::write(&slow, format!("{}{padding}", event(sent)))?;
    let data = format!("@{}", slow.display());
    let arguments = ["--limit-rate", "10000", "--data-binary", &data, &logs];
    let arguments = [&with_key[..], &arguments].concat();
    let answer = std::thread::scope(|scope| -> Result<Answer> {
        let stage = &*stage;
        let running = scope.spawn(|| curl(stage, &ca, &arguments));
        let metrics = format!("{to_gateway}/metrics");
        stage.wait_for("the request to be under way", SOON, || {
            match curl(stage, &ca, &[&metrics]) {
                Ok(answer) if !answer.body.contains("\ningest_gateway_in_flight_bytes 0\n") => {
                    Ok(())
                }
                Ok(_) => Err("nothing is in flight".to_owned()),
                Err(error) => Err(format!("{error:#}")),
            }
        })?;
        let before = served(gateway.port())?;
        authority.vouch("server", "DNS:localhost,IP:127.0.0.1")?;
        stage.wait_for("the new certificate", SOON, || {
            match served(gateway.port()) {
                Ok(now) if now != before => Ok(()),
                Ok(_) => Err("the old one is served".to_owned()),
                Err(error) => Err(format!("{error:#}")),
            }
        })?;
        ensure!(
            !running.is_finished(),
            "the request was over before the certificate changed"
        );
        running
            .join()
            .map_err(|_| anyhow::anyhow!("curl panicked"))?
    })?;
    ensure!(answer.status == 200, "{}", answer.body);
    sent += 1;
    stage.wait_for("all events", SOON, || stage.has_documents(sent))?;
    let arguments = [&with_key[..], &["--http2", &searching]].concat();
    let found = curl(stage, &ca, &arguments)?;
    ensure!(
        found.status == 200 && found.body.contains("event 0"),
        "{}",
        found.body
    );
    // Their readiness is asked for in the clear, so they are stopped here.
    gateway.stop()?;
    api.stop()?;
    Ok(())
}
