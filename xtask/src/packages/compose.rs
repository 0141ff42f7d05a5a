//! The compose file and the images that it starts.
//!
//! In the flow: `manifest`, `start`, `promises` → **`compose`** → `deploy/compose`, `deploy/images`. There is no Docker
//! where this runs: what is checked is that the images are there, that the services accept what they are told, and that
//! they meet at addresses that exist between containers.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::manifest::{documents, items, text};
use super::promises;
use super::start::{Start, Starts};
use crate::services::PACKAGED;

const COMPOSE: &str = "deploy/compose/compose.yaml";
const IMAGES: &str = "deploy/images/Dockerfile";

/// Checks the compose file and the images.
///
/// # Errors
/// At the first fault.
pub fn check(root: &Path, starts: &Starts) -> Result<()> {
    let images = read(root, IMAGES)?;
    let images = Images::read(&images);
    images.check().context(IMAGES)?;
    let compose = documents(&read(root, COMPOSE)?)?;
    let compose = compose.first().context("the compose file is empty")?;
    let services = compose["services"]
        .as_object()
        .context("the compose file has no services")?;
    let listeners = listeners(&compose["services"]["kafka"])?;
    for name in PACKAGED {
        let service = services
            .get(name)
            .with_context(|| format!("`{name}` is not started"))?;
        one(name, service, &images, starts).with_context(|| format!("`{name}`"))?;
        for address in addresses(service) {
            let (host, _) = address.split_once(':').unwrap_or((&address, ""));
            ensure!(
                services.contains_key(host),
                "`{name}` is to reach `{address}`, and there is no `{host}`"
            );
            ensure!(
                host != "kafka" || listeners.contains(&address),
                "`{name}` is to reach `{address}`, and Kafka tells who asks there to go elsewhere; among containers it \
                 is {listeners:?}"
            );
        }
    }
    Ok(())
}

fn read(root: &Path, path: &str) -> Result<String> {
    fs::read_to_string(root.join(path)).with_context(|| format!("cannot read `{path}`"))
}

fn one(name: &str, service: &Value, images: &Images<'_>, starts: &Starts) -> Result<()> {
    let target = text(service, "/build/target");
    let binary = images
        .entry_points
        .get(target)
        .with_context(|| format!("`{IMAGES}` has no image `{target}`"))?;
    ensure!(*binary == name, "its image starts `{binary}`");
    let file = text(service, "/build/dockerfile");
    ensure!(file == IMAGES, "it is built from `{file}`");
    let flags: Vec<String> = items(service, "/command")
        .map(|word| word.as_str().map(str::to_owned))
        .collect::<Option<_>>()
        .context("every word of `command` must be text")?;
    let settings = promises::of_flags(&flags);
    starts.accept(&Start {
        name: name.to_owned(),
        flags,
        ..Start::default()
    })?;
    let grace = promises::duration(text(service, "/stop_grace_period"))?;
    promises::drains_within(grace, name, &settings, starts)?;
    ensure!(
        service["read_only"] == true,
        "its file system is not read-only"
    );
    ensure!(
        text(service, "/cap_drop/0") == "ALL",
        "it keeps capabilities"
    );
    ensure!(
        items(service, "/ports").all(|port| port
            .as_str()
            .is_some_and(|port| port.starts_with("127.0.0.1:"))),
        "it is published beyond loopback, and nothing is asked for a key"
    );
    ensure!(
        service["healthcheck"]["test"].is_array(),
        "nobody looks after its health"
    );
    Ok(())
}

/// What a service is told to connect to, as `host:port`.
fn addresses(service: &Value) -> Vec<String> {
    let words: Vec<&str> = items(service, "/command")
        .filter_map(Value::as_str)
        .collect();
    let connects = [
        "--kafka-brokers",
        "--elasticsearch-url",
        "--sink-url",
        "--postgres-url",
    ];
    let pairs = words.windows(2).filter(|pair| connects.contains(&pair[0]));
    pairs
        .flat_map(|pair| pair[1].split(','))
        .map(|address| host_and_port(address).to_owned())
        .collect()
}

/// Without a scheme and a user before it, and a database behind it.
fn host_and_port(address: &str) -> &str {
    let address = address.split_once("://").map_or(address, |(_, rest)| rest);
    let address = address.split_once('@').map_or(address, |(_, rest)| rest);
    address.split_once('/').map_or(address, |(host, _)| host)
}

/// The addresses that the broker tells others to reach it at.
fn listeners(kafka: &Value) -> Result<BTreeSet<String>> {
    let advertised = text(kafka, "/environment/KAFKA_ADVERTISED_LISTENERS");
    let addresses = advertised.split(',').filter_map(|listener| {
        let (_, address) = listener.split_once("://")?;
        address.starts_with("kafka:").then(|| address.to_owned())
    });
    let addresses: BTreeSet<String> = addresses.collect();
    ensure!(
        !addresses.is_empty(),
        "Kafka can be reached by no container"
    );
    Ok(addresses)
}

/// What a Dockerfile makes, as far as it is looked at here.
#[derive(Debug, Default)]
struct Images<'text> {
    /// What each stage stands on.
    bases: BTreeMap<&'text str, &'text str>,
    /// The binary that each starts.
    entry_points: BTreeMap<&'text str, &'text str>,
    /// The binary that each takes from the build.
    binaries: BTreeMap<&'text str, &'text str>,
    /// Who each runs as, where it says so.
    users: BTreeMap<&'text str, &'text str>,
    /// The stages that say how their health is told.
    with_health: BTreeSet<&'text str>,
}

impl<'text> Images<'text> {
    fn read(text: &'text str) -> Self {
        let mut images = Self::default();
        let mut stage = "";
        for line in text.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words.as_slice() {
                ["FROM", base, "AS", name] => {
                    stage = name;
                    images.bases.insert(stage, base);
                }
                ["ENTRYPOINT", command] => {
                    let binary = command.trim_matches(['[', ']', '"']);
                    images.entry_points.insert(stage, binary);
                }
                ["COPY", "--from=build", path, _] => {
                    let binary = path.rsplit('/').next().unwrap_or(path);
                    images.binaries.insert(stage, binary);
                }
                ["USER", user] => {
                    images.users.insert(stage, user);
                }
                ["HEALTHCHECK", ..] => {
                    images.with_health.insert(stage);
                }
                _ => {}
            }
        }
        images
    }

    fn check(&self) -> Result<()> {
        for name in PACKAGED {
            let binary = self.entry_points.get(name);
            ensure!(
                binary == Some(&name),
                "the image `{name}` starts {binary:?}"
            );
            ensure!(
                self.binaries.get(name) == binary,
                "the image `{name}` has {:?}",
                self.binaries.get(name)
            );
            let base = self.bases.get(name).copied().unwrap_or_default();
            let user = self.users.get(base).copied().unwrap_or_default();
            ensure!(
                user.split(':')
                    .all(|id| id.parse::<u32>().is_ok_and(|id| id > 0)),
                "`{base}` runs as `{user}`; Kubernetes takes a number for certain not to be root"
            );
            ensure!(
                self.with_health.contains(base),
                "`{base}` has no HEALTHCHECK"
            );
        }
        Ok(())
    }
}

/// The Debian packages that the images install, as the lines of the Dockerfile have them.
///
/// # Errors
/// When it cannot be read.
pub fn installed(root: &Path) -> Result<BTreeSet<String>> {
    let text = read(root, IMAGES)?;
    let (_, base) = text
        .split_once(" AS base\n")
        .with_context(|| format!("`{IMAGES}` has no stage `base`"))?;
    let line = base
        .lines()
        .find_map(|line| line.split_once("apt-get install -y --no-install-recommends "))
        .with_context(|| format!("stage `base` of `{IMAGES}` installs nothing"))?;
    let names = line.1.split_whitespace().filter(|word| *word != "\\");
    Ok(names.map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_the_addresses_for_containers_are_listeners() {
        let kafka = json!({"environment": {
            "KAFKA_ADVERTISED_LISTENERS": "INTERNAL://kafka:19092,EXTERNAL://127.0.0.1:9092"
        }});
        let expected = BTreeSet::from(["kafka:19092".to_owned()]);
        assert_eq!(listeners(&kafka).unwrap(), expected);
    }

    #[test]
    fn an_address_is_the_same_with_and_without_what_stands_around_it() {
        for address in ["db:1", "http://db:1", "postgres://logflow@db:1/logflow"] {
            assert_eq!(host_and_port(address), "db:1");
        }
    }

    #[test]
    fn an_image_with_another_binary_than_it_starts_or_as_root_is_refused() {
        let one = |user: &str, name: &str, binary: &str| {
            format!(
                "FROM debian AS base\nUSER {user}\nHEALTHCHECK CMD x\nFROM base AS {name}\n\
                 COPY --from=build /out/{binary} /usr/local/bin/\nENTRYPOINT [\"{name}\"]\n"
            )
        };
        let all = |user: &str, binary: &str| {
            let parts = PACKAGED.map(|name| match name {
                "es-sink" => one(user, name, binary),
                _ => one(user, name, name),
            });
            parts.concat()
        };
        assert!(Images::read(&all("10001:10001", "es-sink")).check().is_ok());
        assert!(Images::read(&all("10001", "query-api")).check().is_err());
        assert!(Images::read(&all("0", "es-sink")).check().is_err());
        assert!(Images::read(&all("logflow", "es-sink")).check().is_err());
    }
}
