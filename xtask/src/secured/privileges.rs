//! Takes one privilege after the other away from the services of a pipeline, and gives it back.
//!
//! In the flow: `secured` → **`privileges`**. What a privilege is taken from, where its loss must be told and in which
//! words stands in [`PRIVILEGES`]; that no event is lost by it is counted at the end.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::Pipeline;
use crate::engines::kafka_tools::Grant;
use crate::up::security::{ROLES, grants};

/// How long a loss may take until it is told, and a privilege that is given back until all is well.
const WITHIN: Duration = Duration::from_secs(90);
const TIMEOUT: Duration = Duration::from_secs(15);

/// One privilege of a service.
pub(super) struct Privilege {
    /// Whose.
    pub(super) service: &'static str,
    /// How Kafka or Elasticsearch call it.
    pub(super) name: &'static str,
    what: What,
    told: Told,
    /// What must be among the words.
    words: &'static [&'static str],
}

enum What {
    /// Of Kafka: an operation on a kind of resource, whose name has this in it.
    Kafka(&'static str, &'static str, &'static str),
    /// Of Elasticsearch: a word of a role's line in `roles.yml`, and what stands there instead.
    Elasticsearch(&'static str, &'static str),
}

/// Who tells.
#[derive(Clone, Copy)]
enum Told {
    /// `/readyz` of the service.
    Readiness,
    /// `/status` of a sink.
    Status,
    /// The log of the service, after a search: a client is told only that Elasticsearch refused.
    Search,
    /// The answer to a request for the live tail.
    Tail,
}

/// Each of them, in the order of the flow.
pub(super) const PRIVILEGES: [Privilege; 6] = [
    Privilege {
        service: "ingest-gateway",
        name: "Write on the topic",
        what: What::Kafka("topic", "Write", "logs"),
        told: Told::Readiness,
        words: &["Write", "topic `logs`"],
    },
    Privilege {
        service: "es-sink",
        name: "Read on the topic",
        what: What::Kafka("topic", "Read", "logs"),
        told: Told::Readiness,
        words: &["Read", "topic `logs`"],
    },
    Privilege {
        service: "es-sink",
        name: "Read on the group",
        what: What::Kafka("group", "Read", "es-sink"),
        told: Told::Readiness,
        words: &["Read", "group `es-sink`"],
    },
    Privilege {
        service: "es-sink",
        name: "index on the indices",
        what: What::Elasticsearch("logflow_es_sink", "index"),
        told: Told::Status,
        words: &["indices:data/write", "index"],
    },
    Privilege {
        service: "query-api",
        name: "read on the indices",
        what: What::Elasticsearch("logflow_query_api", "read"),
        told: Told::Search,
        words: &["indices:data/read", "read"],
    },
    Privilege {
        service: "query-api",
        name: "Read on the topic",
        what: What::Kafka("topic", "Read", "logs"),
        told: Told::Tail,
        words: &["Read", "topic `logs`"],
    },
];

/// What became of one.
#[derive(Debug)]
pub(super) struct Outcome {
    /// What was told.
    pub(super) told: String,
    /// After how long.
    pub(super) told_after: Duration,
    /// How long after it was given back all was well.
    pub(super) well_after: Duration,
}

impl Privilege {
    /// Takes it away, waits until that is told, gives it back, waits until all is well.
    ///
    /// # Errors
    /// When its loss is not told with its name, or does not heal.
    pub(super) fn try_without(&self, pipeline: &mut Pipeline<'_>) -> Result<Outcome> {
        let logged = self.logs(pipeline);
        let logged: Vec<usize> = logged.iter().map(String::len).collect();
        let taken = Instant::now();
        self.change(pipeline, false)?;
        let told = pipeline.interrupt.wait_for("it to be told", WITHIN, || {
            let mut answers = self.ask(pipeline);
            if matches!(self.told, Told::Search) {
                let logs = self.logs(pipeline).into_iter().zip(&logged);
                let new =
                    logs.map(|(log, before)| log.get(*before..).unwrap_or_default().to_owned());
                answers
                    .extend(new.flat_map(|log| log.lines().map(str::to_owned).collect::<Vec<_>>()));
            }
            let named = |answer: &&String| self.words.iter().all(|word| answer.contains(word));
            match answers.iter().find(named) {
                Some(told) => Ok(told.trim().to_owned()),
                None => Err(format!("nothing has {:?} of {answers:?}", self.words)),
            }
        });
        let told_after = taken.elapsed();
        // It is given back also if nothing was told: the next one begins with all.
        let given = Instant::now();
        self.change(pipeline, true)?;
        let told = told?;
        pipeline.until_well()?;
        Ok(Outcome {
            told,
            told_after,
            well_after: given.elapsed(),
        })
    }

    fn change(&self, pipeline: &Pipeline<'_>, given: bool) -> Result<()> {
        match self.what {
            What::Kafka(kind, operation, name) => {
                let all = grants(&pipeline.layout.wiring);
                let grant = all.into_iter().find(|grant| {
                    (grant.principal.as_str(), grant.kind, grant.name.as_str())
                        == (self.service, kind, name)
                });
                let grant = grant.with_context(|| format!("no grant on {kind} {name}"))?;
                let operations = grant.operations.iter().position(|one| *one == operation);
                let at = operations.with_context(|| format!("no grant of {operation}"))?;
                let one = Grant {
                    operations: &grant.operations[at..=at],
                    ..grant
                };
                match given {
                    true => pipeline.kafka.grant(&one, pipeline.interrupt),
                    false => pipeline.kafka.revoke(&one, pipeline.interrupt),
                }
            }
            What::Elasticsearch(role, privilege) => {
                let roles = match given {
                    true => ROLES.to_owned(),
                    false => without(ROLES, role, privilege)?,
                };
                pipeline
                    .layout
                    .nodes
                    .iter()
                    .try_for_each(|node| node.put("roles.yml", &roles))
            }
        }
    }

    /// The services' logs so far.
    fn logs(&self, pipeline: &Pipeline<'_>) -> Vec<String> {
        let replicas = pipeline.layout.services.iter();
        let replicas = replicas.filter(|replica| replica.service == self.service);
        let logs = replicas.map(|replica| pipeline.logs.join(format!("{}.log", replica.name)));
        logs.map(|log| fs::read_to_string(log).unwrap_or_default())
            .collect()
    }

    fn ask(&self, pipeline: &Pipeline<'_>) -> Vec<String> {
        let layout = &pipeline.layout;
        let replicas = layout.services.iter();
        let replicas = replicas.filter(|replica| replica.service == self.service);
        let (who, path) = match self.told {
            Told::Readiness => ("monitor", "/readyz"),
            Told::Status => ("monitor", "/status"),
            Told::Search => ("reader", "/logs?limit=1"),
            Told::Tail => ("reader", "/api/v1/tail"),
        };
        let client = pipeline.security.secrets.client(who);
        let answers = replicas.map(|replica| {
            let url = format!("{}{path}", client.url(replica.port));
            match client.get(&url, TIMEOUT) {
                Ok(reply) => reply.text(),
                Err(error) => format!("{error:#}"),
            }
        });
        answers.collect()
    }
}

/// The roles, where that of `role` lacks a privilege on indices.
fn without(roles: &str, role: &str, privilege: &str) -> Result<String> {
    let mut within = false;
    let mut found = false;
    let lines = roles.lines().map(|line| {
        if !line.starts_with([' ', '#']) && !line.trim().is_empty() {
            within = line.trim_end() == format!("{role}:");
        }
        let is_it = within && line.trim().split(['#', ' ']).nth(1) == Some(privilege);
        found |= is_it;
        if is_it {
            String::new()
        } else {
            format!("{line}\n")
        }
    });
    let roles: String = lines.collect();
    ensure!(found, "`{role}` has no line `- {privilege}` in roles.yml");
    Ok(roles)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_privilege_that_is_taken_is_one_that_the_service_has() {
        let wiring = crate::services::Wiring::standard(String::new(), String::new());
        for privilege in PRIVILEGES {
            match privilege.what {
                What::Kafka(kind, operation, name) => {
                    assert!(grants(&wiring).iter().any(|grant| {
                        grant.principal == privilege.service
                            && grant.kind == kind
                            && grant.name == name
                            && grant.operations.contains(&operation)
                    }));
                }
                What::Elasticsearch(role, name) => {
                    let fewer = without(ROLES, role, name).unwrap();
                    assert_eq!(fewer.lines().count() + 1, ROLES.lines().count());
                }
            }
        }
    }
}
