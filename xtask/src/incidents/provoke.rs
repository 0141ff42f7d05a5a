//! The incidents: what is done to the stack, which alerts that must set off, and how it is undone.
//!
//! In the flow: part of `incidents`.

use std::io::Write as _;
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::activity::Activity;
use super::stack::{Link, Stack};
use crate::command::output;
use crate::http;
use crate::process::signal_group;

const TIMEOUT: Duration = Duration::from_secs(10);
const SEVERAL_SCRAPES: Duration = Duration::from_secs(3);
/// Of the second gateway's 20: with that of Prometheus 95 %.
const IDLE_CONNECTIONS: usize = 18;
/// Of a MiB each, of the second gateway's 16.
const SLOW_BODIES: usize = 14;

/// Undoes what was done.
type Heal = Box<dyn FnOnce(&mut Stack) -> Result<()>>;

/// Something that goes wrong.
pub(super) struct Incident {
    /// For people.
    pub(super) cause: &'static str,
    /// The alerts that must fire.
    pub(super) alerts: &'static [&'static str],
    pub(super) provoke: fn(&mut Stack) -> Result<Heal>,
}

impl Incident {
    /// Whether its cause or one of its alerts contains the text.
    pub(super) fn is_called(&self, part: &str) -> bool {
        self.cause.contains(part) || self.alerts.iter().any(|alert| alert.contains(part))
    }
}

/// All of them, those first that leave the engines alone.
pub(super) const INCIDENTS: &[Incident] = &[
    Incident {
        cause: "a tenant sends twenty times its quota",
        alerts: &["GatewayRefuses"],
        provoke: flood,
    },
    Incident {
        cause: "14 clients announce a MiB and send nothing",
        alerts: &["GatewayNearlyFull"],
        provoke: slow_bodies,
    },
    Incident {
        cause: "18 idle connections to a gateway that takes 20",
        alerts: &["ConnectionsNearlyFull"],
        provoke: idle_connections,
    },
    Incident {
        cause: "a new certificate is good for 2 days",
        alerts: &["CertificateExpires"],
        provoke: short_certificate,
    },
    Incident {
        cause: "the file of the certificate is cut off",
        alerts: &["CertificateStale"],
        provoke: broken_certificate,
    },
    Incident {
        cause: "a new key is good for 2 days",
        alerts: &["ApiKeyExpires"],
        provoke: short_key,
    },
    Incident {
        cause: "the key file has a fault",
        alerts: &["KeyFileStale"],
        provoke: broken_keys,
    },
    Incident {
        cause: "the file with the sink's credentials has a fault",
        alerts: &["CredentialsStale"],
        provoke: broken_login,
    },
    Incident {
        cause: "a gateway is stopped",
        alerts: &["ServiceDown"],
        provoke: stopped_gateway,
    },
    Incident {
        cause: "a gateway is killed and started three times",
        alerts: &["RestartLoop"],
        provoke: restarts,
    },
    Incident {
        cause: "Elasticsearch answers query-api after 3 s",
        alerts: &["SearchSlow"],
        provoke: slow_searches,
    },
    Incident {
        cause: "the indices are read-only",
        alerts: &["SinkHeld"],
        provoke: read_only,
    },
    Incident {
        cause: "Elasticsearch answers the sink after 16 s",
        alerts: &["SinkFallsBehind"],
        provoke: slow_bulks,
    },
    Incident {
        cause: "32 other writers fill Elasticsearch's queue",
        alerts: &["ElasticsearchRejects"],
        provoke: other_writers,
    },
    Incident {
        cause: "20 events contradict the mapping",
        alerts: &["DeadLetters"],
        provoke: poison,
    },
    Incident {
        cause: "the dead-letter topic takes only records of 100 bytes",
        alerts: &["DeadLettersWait"],
        provoke: narrow_dead_letters,
    },
    Incident {
        cause: "the sink starts while it does not reach Elasticsearch",
        alerts: &["SinkReadsNothing"],
        provoke: sink_without_elasticsearch,
    },
    Incident {
        cause: "no sink runs",
        alerts: &["SinkReadsNothing", "ServiceDown"],
        provoke: stopped_sink,
    },
    Incident {
        cause: "PostgreSQL is stopped",
        alerts: &["PostgresqlFailing", "ArchiveFallsBehind"],
        provoke: postgres_stopped,
    },
    Incident {
        cause: "Kafka stalls for 1.8 s again and again",
        alerts: &["KafkaAcknowledgesSlowly"],
        provoke: kafka_stalls,
    },
    Incident {
        cause: "Kafka is stopped",
        alerts: &[
            "KafkaUnreachable",
            "GatewayUnavailable",
            "ArchiveReadsNothing",
        ],
        provoke: kafka_stopped,
    },
    Incident {
        cause: "Elasticsearch is stopped",
        alerts: &["ElasticsearchFailing", "EventsNotSearchable", "SearchFails"],
        provoke: elasticsearch_stopped,
    },
];

fn heal(heal: impl FnOnce(&mut Stack) -> Result<()> + 'static) -> Result<Heal> {
    Ok(Box::new(heal))
}

/// What ends with its cause, or by itself.
fn let_go(held: impl Sized + 'static) -> Result<Heal> {
    heal(move |_| {
        drop(held);
        Ok(())
    })
}

fn flood(stack: &mut Stack) -> Result<Heal> {
    let url = format!("{}/logs", stack.narrow_gateway.url);
    let bearer = format!("Bearer {}", stack.keys[0].token);
    // Half of the second in which a request may be held back.
    let_go(Activity::start(10, Duration::from_millis(500), move || {
        let headers = [("authorization", bearer.as_str())];
        http::post(&url, &headers, b"{\"message\":\"more\"}", TIMEOUT).ok();
    }))
}

fn slow_bodies(stack: &mut Stack) -> Result<Heal> {
    let bearer = stack.keys[1].token.clone();
    let head = format!(
        "POST /logs HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer {bearer}\r\ncontent-length: 1048576\r\n\r\n"
    );
    let mut connections = connections(stack, SLOW_BODIES)?;
    for connection in &mut connections {
        connection.write_all(head.as_bytes())?;
    }
    let_go(connections)
}

fn idle_connections(stack: &mut Stack) -> Result<Heal> {
    let_go(connections(stack, IDLE_CONNECTIONS)?)
}

fn connections(stack: &Stack, count: usize) -> Result<Vec<TcpStream>> {
    let address = stack.narrow_gateway.url.replace("http://", "");
    let connect = |_| TcpStream::connect(&address).context("cannot connect to the gateway");
    (0..count).map(connect).collect()
}

fn short_certificate(stack: &mut Stack) -> Result<Heal> {
    stack.authority.vouch_for("server", "IP:127.0.0.1", 2)?;
    heal(whole_certificate)
}

fn broken_certificate(stack: &mut Stack) -> Result<Heal> {
    let path = stack.directory.join("server.pem");
    std::fs::write(&path, "-----BEGIN CERTIFICATE-----\n")
        .with_context(|| format!("cannot write `{}`", path.display()))?;
    heal(whole_certificate)
}

fn whole_certificate(stack: &mut Stack) -> Result<()> {
    stack.authority.vouch("server", "IP:127.0.0.1").map(drop)
}

fn short_key(stack: &mut Stack) -> Result<Heal> {
    let expires = output("date", &["-u", "-d", "2 days", "+%Y-%m-%dT%H:%M:%SZ"]);
    let expires = expires.context("`date` does not tell the day after tomorrow")?;
    let entry = stack.key_until(expires.trim())?;
    stack.write_keys(&entry)?;
    heal(|stack| stack.write_keys(""))
}

fn broken_keys(stack: &mut Stack) -> Result<Heal> {
    stack.write_keys("[[key]]\n")?;
    heal(|stack| stack.write_keys(""))
}

fn broken_login(stack: &mut Stack) -> Result<Heal> {
    stack.write_login(false)?;
    heal(|stack| stack.write_login(true))
}

fn stopped_gateway(stack: &mut Stack) -> Result<Heal> {
    stack.narrow_gateway.process.stop()?;
    heal(|stack| stack.narrow_gateway.process.start(&stack.interrupt))
}

fn restarts(stack: &mut Stack) -> Result<Heal> {
    for _ in 0..3 {
        // A start that no scrape has seen is none to Prometheus.
        std::thread::sleep(SEVERAL_SCRAPES);
        let process = &mut stack.narrow_gateway.process;
        process.kill();
        process.start(&stack.interrupt)?;
    }
    let_go(())
}

fn slow_searches(stack: &mut Stack) -> Result<Heal> {
    stack.harm(Link::Search, r#"{"delay":{"ms":1500}}"#)?;
    heal(|stack| stack.mend(Link::Search))
}

fn read_only(stack: &mut Stack) -> Result<Heal> {
    let set = |stack: &Stack, value: Value| {
        let path = format!("/{}/_settings", stack.pipeline.wiring.index());
        stack.ask_elasticsearch("PUT", &path, &json!({"index.blocks.write": value}))
    };
    set(stack, json!(true))?;
    heal(move |stack| set(stack, Value::Null))
}

fn slow_bulks(stack: &mut Stack) -> Result<Heal> {
    stack.harm(Link::Sink, r#"{"delay":{"ms":8000}}"#)?;
    heal(|stack| stack.mend(Link::Sink))
}

fn other_writers(stack: &mut Stack) -> Result<Heal> {
    let url = format!("{}/.others/_bulk", stack.pipeline.wiring.elasticsearch);
    let body = "{\"index\":{}}\n{\"message\":\"of another writer\",\"n\":1}\n".repeat(500);
    let_go(Activity::start(32, Duration::from_millis(1), move || {
        let headers = [("Content-Type", "application/x-ndjson")];
        http::post(&url, &headers, body.as_bytes(), TIMEOUT).ok();
    }))
}

fn poison(stack: &mut Stack) -> Result<Heal> {
    stack.poison()?;
    let_go(())
}

fn narrow_dead_letters(stack: &mut Stack) -> Result<Heal> {
    let set = |stack: &Stack, value| {
        let topic = &stack.pipeline.wiring.dead_letter_topic;
        stack
            .kafka_tools
            .configure_topic(topic, "max.message.bytes", value, &stack.interrupt)
    };
    set(stack, Some("100"))?;
    stack.poison()?;
    heal(move |stack| set(stack, None))
}

fn sink_without_elasticsearch(stack: &mut Stack) -> Result<Heal> {
    stack.harm(Link::Sink, r#"{"refuse":true}"#)?;
    stack.sink.process.kill();
    stack.sink.process.launch()?;
    heal(|stack| {
        stack.mend(Link::Sink)?;
        stack.sink.process.wait_until_ready(&stack.interrupt)
    })
}

fn stopped_sink(stack: &mut Stack) -> Result<Heal> {
    stack.sink.process.stop()?;
    heal(|stack| stack.sink.process.start(&stack.interrupt))
}

fn postgres_stopped(stack: &mut Stack) -> Result<Heal> {
    stack.database.stop()?;
    heal(|stack| stack.database.start(&stack.interrupt))
}

fn kafka_stalls(stack: &mut Stack) -> Result<Heal> {
    let pid = stack.pipeline.kafka.pid().context("Kafka does not run")?;
    let_go(Activity::start(1, Duration::from_millis(400), move || {
        signal_group(pid, Signal::STOP);
        std::thread::sleep(Duration::from_millis(1_800));
        signal_group(pid, Signal::CONT);
    }))
}

fn kafka_stopped(stack: &mut Stack) -> Result<Heal> {
    stack.pipeline.kafka.stop()?;
    heal(|stack| stack.pipeline.kafka.start(&stack.interrupt))
}

fn elasticsearch_stopped(stack: &mut Stack) -> Result<Heal> {
    stack.pipeline.elasticsearch.stop()?;
    heal(|stack| stack.pipeline.elasticsearch.start(&stack.interrupt))
}
