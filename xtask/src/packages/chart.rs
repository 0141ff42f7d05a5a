//! The Helm chart, rendered with each of `deploy/helm/values`, and with values that it must refuse.
//!
//! In the flow: `tools`, `manifest`, `start`, `promises` → **`chart`** → `deploy/helm`.
//! Kubernetes' own schemas say whether it would take a rendering, the binaries whether they would run with it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use super::manifest::{documents, items, text};
use super::promises;
use super::start::{Start, Starts};
use super::tools::{KUBERNETES, Tools};
use crate::command;
use crate::interrupt::Interrupt;
use crate::progress::Progress;
use crate::services::PACKAGED;
use crate::workspace::Workspace;

/// The service that is there only where the values ask for it.
const OPTIONAL: &str = "archive-sink";
/// What the chart must not take beside `minimal.yaml`, and a word of the reason it gives.
const REFUSED: &[(&[&str], &str)] = &[
    (&["kafka.broker=kafka:9092"], "broker"),
    (&["kafka.brokers=null"], "brokers"),
    (&["kafka.brokers={kafka}"], "brokers"),
    (&["elasticsearch.urls={http://user:secret@es:9200}"], "urls"),
    (&[r"kafka.properties.sasl\.password=secret"], "properties"),
    (&["kafka.saslMechanism=PLAIN"], "kafkaSecret"),
    (&["kafka.caSecret=ca"], "kafka.tls"),
    (&["traces.endpoint=collector:4318"], "endpoint"),
    (&["traces.caSecret=ca"], "traces.endpoint"),
    (&["ingestGateway.open=false"], "apiKeysSecret"),
    (&["queryApi.apiKeysSecret=keys"], "contradicts"),
    (&["queryApi.tlsClientCaSecret=ca"], "tlsSecret"),
    (&["queryApi.config.listen=0.0.0.0:1"], "config"),
    (&["queryApi.ingress.enabled=true"], "host"),
    (&["esSink.memoryLimitMebibytes=10"], "memoryLimitMebibytes"),
    (&["esSink.drainTimeoutSeconds=61"], "drainTimeoutSeconds"),
    (&["esSink.indexPattern=logflow"], "indexPattern"),
    (&["esSink.replicas=7"], "kafka.partitions"),
    (
        &[
            "esSink.autoscaling.enabled=true",
            "esSink.autoscaling.maxReplicas=7",
        ],
        "kafka.partitions",
    ),
    (&["archiveSink.enabled=true"], "archiveSink.postgresUrl"),
    (
        &["archiveSink.postgresUrl=postgres://logflow:secret@db:5432/logflow"],
        "postgresUrl",
    ),
    (
        &[
            "archiveSink.enabled=true",
            "archiveSink.postgresUrl=postgres://logflow@db:5432/logflow",
            "archiveSink.replicas=7",
        ],
        "kafka.partitions",
    ),
    (&["archiveSink.batchMebibytes=65"], "batchMebibytes"),
];

/// Checks the chart.
///
/// # Errors
/// At the first fault.
pub fn check(
    workspace: &Workspace,
    tools: &Tools,
    starts: &Starts,
    progress: &Progress,
    interrupt: &Interrupt,
) -> Result<()> {
    let chart = Chart {
        directory: workspace.root.join("deploy/helm"),
        rendered: workspace.target.join("packages"),
        tools,
        interrupt,
    };
    chart.has_version(env!("CARGO_PKG_VERSION"))?;
    let mut are_archived = false;
    for values in chart.values()? {
        let name = values.file_stem().unwrap_or_default().to_string_lossy();
        let mut step = progress.step("helm", &format!("{name}: lint"));
        chart.lint(&values)?;
        step.note(&format!("{name}: template"));
        let rendering = chart.render(&values, &[])?;
        step.note(&format!("{name}: kubeconform"));
        let manifests = documents(&rendering)?;
        chart.conforms(&name, &rendering, manifests.len())?;
        let archives = manifests.iter().any(|one| is_of(one, OPTIONAL));
        are_archived |= archives;
        for service in PACKAGED {
            if service == OPTIONAL && !archives {
                continue;
            }
            Deployed::find(&manifests, service)
                .and_then(|deployed| deployed.check(starts))
                .with_context(|| format!("`{service}` with `{name}`"))?;
        }
        scales_within_the_partitions(&manifests, &values)?;
        step.done(&format!(
            "{name}: {} objects, as Kubernetes and the services take them",
            manifests.len()
        ));
    }
    ensure!(are_archived, "no values render `{OPTIONAL}`");
    let minimal = chart.directory.join("values/minimal.yaml");
    chart.is_judged(&minimal)?;
    for (settings, word) in REFUSED {
        match chart.render(&minimal, settings) {
            Ok(_) => bail!("the chart takes {settings:?}"),
            Err(error) => {
                let told = format!("{error:#}");
                ensure!(
                    told.contains(word),
                    "{settings:?} is refused for another reason: {told}"
                );
            }
        }
    }
    progress.say(&format!("helm: {} wrong values are refused", REFUSED.len()));
    Ok(())
}

struct Chart<'run> {
    directory: PathBuf,
    rendered: PathBuf,
    tools: &'run Tools,
    interrupt: &'run Interrupt,
}

impl Chart<'_> {
    fn path(&self) -> PathBuf {
        self.directory.join("logflow")
    }

    fn has_version(&self, version: &str) -> Result<()> {
        let text = fs::read_to_string(self.path().join("Chart.yaml"))?;
        for key in ["version", "appVersion"] {
            ensure!(
                text.lines().any(|line| line == format!("{key}: {version}")),
                "the `{key}` of Chart.yaml is not that of the workspace, `{version}`"
            );
        }
        Ok(())
    }

    /// The files of values, each of which is a deployment.
    fn values(&self) -> Result<BTreeSet<PathBuf>> {
        let entries = fs::read_dir(self.directory.join("values"))?;
        let files: BTreeSet<PathBuf> = entries
            .map(|entry| Ok(entry?.path()))
            .collect::<std::io::Result<_>>()?;
        ensure!(!files.is_empty(), "there are no values to render it with");
        Ok(files)
    }

    fn lint(&self, values: &Path) -> Result<()> {
        let mut helm = Command::new(&self.tools.helm);
        helm.args(["lint", "--strict", "--quiet", "--values"])
            .arg(values)
            .arg(self.path());
        command::run(helm, self.interrupt, |_| {})
    }

    fn render(&self, values: &Path, settings: &[&str]) -> Result<String> {
        let mut helm = Command::new(&self.tools.helm);
        helm.args(["template", "logs", "--namespace", "logs"])
            .args(["--kube-version", KUBERNETES[0], "--values"])
            .arg(values);
        for setting in settings {
            helm.args(["--set", setting]);
        }
        helm.arg(self.path());
        let mut rendering = String::new();
        command::run(helm, self.interrupt, |line| {
            rendering.push_str(line);
            rendering.push('\n');
        })?;
        Ok(rendering)
    }

    fn conforms(&self, name: &str, rendering: &str, count: usize) -> Result<()> {
        let path = self.rendered.join(format!("{name}.yaml"));
        fs::write(&path, rendering)?;
        for version in KUBERNETES {
            let mut kubeconform = Command::new(&self.tools.kubeconform);
            kubeconform
                .args(["-strict", "-summary", "-kubernetes-version", version])
                .args(["-schema-location", &self.tools.schemas])
                .arg(&path);
            let mut summary = String::new();
            command::run(kubeconform, self.interrupt, |line| {
                summary = line.to_owned()
            })
            .with_context(|| format!("`{}`, by Kubernetes {version}", path.display()))?;
            ensure!(
                summary.contains(&format!(
                    "Valid: {count}, Invalid: 0, Errors: 0, Skipped: 0"
                )),
                "of {count} objects kubeconform says: {summary}"
            );
        }
        Ok(())
    }

    /// The judge judges: what is misspelt, it refuses, in Kubernetes' own objects and in those that are added.
    fn is_judged(&self, minimal: &Path) -> Result<()> {
        let scaled = ["esSink.autoscaling.enabled=true"];
        let rendering = self.render(minimal, &scaled)?;
        let count = documents(&rendering)?.len();
        self.conforms("right", &rendering, count)?;
        for field in ["readinessProbe:", "maxReplicaCount:"] {
            let wrong = rendering.replace(field, &format!("x{field}"));
            ensure!(wrong != rendering, "there is no `{field}` to misspell");
            ensure!(
                self.conforms("wrong", &wrong, count).is_err(),
                "a misspelt `{field}` conforms"
            );
        }
        Ok(())
    }
}

/// Never more sinks than partitions, which KEDA cannot know while Kafka is away.
fn scales_within_the_partitions(manifests: &[Value], values: &Path) -> Result<()> {
    let values = documents(&fs::read_to_string(values)?)?;
    let partitions = values
        .first()
        .and_then(|values| values.pointer("/kafka/partitions"));
    for scaled in manifests
        .iter()
        .filter(|one| text(one, "/kind") == "ScaledObject")
    {
        let most = scaled
            .pointer("/spec/maxReplicaCount")
            .and_then(Value::as_u64);
        let partitions = partitions.and_then(Value::as_u64);
        ensure!(
            most.is_some() && most <= partitions,
            "KEDA may start {most:?} sinks for {partitions:?} partitions"
        );
    }
    Ok(())
}

/// Whether an object belongs to a service.
fn is_of(manifest: &Value, service: &str) -> bool {
    text(manifest, "/metadata/labels/app.kubernetes.io~1component") == service
}

/// A service as a rendering has it.
struct Deployed<'manifests> {
    name: &'static str,
    pod: &'manifests Value,
    container: &'manifests Value,
    settings: &'manifests str,
}

impl<'manifests> Deployed<'manifests> {
    fn find(manifests: &'manifests [Value], name: &'static str) -> Result<Self> {
        let of_kind = |kind: &str| {
            manifests
                .iter()
                .find(|one| text(one, "/kind") == kind && is_of(one, name))
        };
        let pod = of_kind("Deployment").and_then(|one| one.pointer("/spec/template/spec"));
        let pod = pod.context("has no Deployment")?;
        for kind in [
            "ServiceAccount",
            "Service",
            "PodDisruptionBudget",
            "NetworkPolicy",
        ] {
            ensure!(of_kind(kind).is_some(), "has no {kind}");
        }
        let settings = of_kind("ConfigMap").and_then(|one| one["data"].as_object());
        let settings = settings.and_then(|data| data.values().next()?.as_str());
        Ok(Self {
            name,
            pod,
            container: pod.pointer("/containers/0").context("has no container")?,
            settings: settings.context("has no settings")?,
        })
    }

    fn check(&self, starts: &Starts) -> Result<()> {
        self.is_confined()?;
        let settings = promises::of_file(self.settings)?;
        let grace = self.pod["terminationGracePeriodSeconds"]
            .as_u64()
            .unwrap_or(30);
        let pause = self.container.pointer("/lifecycle/preStop/sleep/seconds");
        let pause = pause.and_then(Value::as_u64).unwrap_or(0);
        let left = std::time::Duration::from_secs(grace.saturating_sub(pause));
        promises::drains_within(left, self.name, &settings, starts)?;
        let memory = promises::bytes(text(self.container, "/resources/limits/memory"))?;
        promises::fits_into(memory, self.name, &settings, starts)?;
        starts.accept(&Start {
            name: self.name.to_owned(),
            flags: items(self.container, "/args")
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect(),
            variables: self.variables()?,
            file: Some((
                format!("/etc/logflow/config/{}.toml", self.name),
                self.settings.to_owned(),
            )),
        })
    }

    /// The variables, with what Kubernetes would put in; a secret reads `secret`.
    fn variables(&self) -> Result<Vec<(String, String)>> {
        let mut variables: Vec<(String, String)> = Vec::new();
        for variable in items(self.container, "/env") {
            let name = text(variable, "/name").to_owned();
            let value = match variable["value"].as_str() {
                Some(value) => variables
                    .iter()
                    .fold(value.to_owned(), |value, (name, known)| {
                        value.replace(&format!("$({name})"), known)
                    }),
                None if variable.pointer("/valueFrom/secretKeyRef").is_some() => {
                    "secret".to_owned()
                }
                None => bail!("the variable `{name}` has no value"),
            };
            ensure!(
                !value.contains("$("),
                "the variable `{name}` needs one that comes after it: `{value}`"
            );
            variables.push((name, value));
        }
        Ok(variables)
    }

    /// What the Pod Security Standard `restricted` asks for, and a file system that cannot be written to.
    fn is_confined(&self) -> Result<()> {
        let holds = [
            (self.pod, "/securityContext/runAsNonRoot", Value::from(true)),
            (
                self.pod,
                "/securityContext/seccompProfile/type",
                Value::from("RuntimeDefault"),
            ),
            (
                self.pod,
                "/automountServiceAccountToken",
                Value::from(false),
            ),
            (
                self.container,
                "/securityContext/readOnlyRootFilesystem",
                Value::from(true),
            ),
            (
                self.container,
                "/securityContext/allowPrivilegeEscalation",
                Value::from(false),
            ),
            (
                self.container,
                "/securityContext/capabilities/drop/0",
                Value::from("ALL"),
            ),
            (
                self.container,
                "/livenessProbe/httpGet/path",
                Value::from("/healthz"),
            ),
            (
                self.container,
                "/readinessProbe/httpGet/path",
                Value::from("/readyz"),
            ),
        ];
        for (object, path, wanted) in holds {
            ensure!(
                object.pointer(path) == Some(&wanted),
                "`{path}` is not {wanted}"
            );
        }
        Ok(())
    }
}
