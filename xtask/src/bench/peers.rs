//! What others would run in the place of the services: rsyslog, the JVM's Kafka Connect, and an intake written by hand.
//!
//! In the flow: `foreign` (their programs) → **`peers`** → `bench`, which starts them beside the services. It fetches them
//! into `target/peers/`, writes their configurations from `loadtest/peers/`, and describes the processes; `process` runs
//! them. They run as the user that xtask runs as.
//! Not here: what they are measured with (`bench`).

use std::ffi::OsString;
use std::fs;
use std::path::{self, Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::engines::free_port;
use crate::engines::kafka::write_from;
use crate::engines::provision::{Distribution, fetch, remove, wait_for_lock};
use crate::engines::template;
use crate::foreign;
use crate::http;
use crate::interrupt::Interrupt;
use crate::prerequisites;
use crate::process::{Probe, Spec};
use crate::progress::Progress;
use crate::workspace::Workspace;

/// How long an answer to the question whether a peer works may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);
/// How long a peer may take until it works.
const READY_WITHIN: Duration = Duration::from_secs(120);
/// How long a peer may take to end; each is told to give up a little earlier.
const STOP_WITHIN: Duration = Duration::from_secs(30);

/// How many messages rsyslog puts into a bulk request.
const RSYSLOG_BATCH: u32 = 2000;
/// How many bulk requests rsyslog has under way at most.
const RSYSLOG_WORKERS: u32 = 4;

/// Peers whose programs are in place.
#[derive(Debug, Clone)]
pub struct Peers {
    /// `loadtest/peers`.
    configurations: PathBuf,
    rsyslog: Rsyslog,
    /// The jars of Kafka Connect.
    connect_libs: PathBuf,
    /// The programs of the Python environment.
    python: PathBuf,
}

/// Where rsyslog was unpacked.
#[derive(Debug, Clone)]
struct Rsyslog {
    program: PathBuf,
    /// The shared libraries that were unpacked with it; its modules lie in `rsyslog` there.
    libraries: PathBuf,
}

impl Peers {
    /// Sees to it that the programs lie under `target/peers/`, in the versions that `loadtest/peers/` lists; rsyslog in the
    /// one that apt has.
    ///
    /// # Errors
    /// When one cannot be fetched. rsyslog comes as Debian's packages, so this needs Debian or Ubuntu.
    pub fn provision(
        workspace: &Workspace,
        progress: &Progress,
        interrupt: &Interrupt,
    ) -> Result<Self> {
        let needed = [prerequisites::ENGINES, prerequisites::PEERS];
        prerequisites::ensure(&needed, progress, interrupt)?;
        let configurations = workspace.root.join("loadtest/peers");
        let directory = workspace.target.join("peers");
        let _lock = wait_for_lock(&directory, interrupt)?;

        let mut step = progress.step("peers", "rsyslog, from Debian's packages");
        let root = directory.join("rsyslog");
        foreign::debian(
            &root,
            &configurations.join("rsyslog/packages.txt"),
            interrupt,
        )
        .context("rsyslog cannot be had; it is unpacked by apt-get and dpkg of Debian or Ubuntu")?;
        let rsyslog = Rsyslog::in_root(&root)?;

        step.note("Kafka Connect, from Maven");
        let connect = directory.join("connect");
        let connect_libs = connect.join("libs");
        let pom = configurations.join("connect/pom.xml");
        foreign::once(&connect, &pom, || {
            remove(&connect)?;
            let libs = ("libs.directory", connect_libs.as_path());
            fetch("prepare-package", &pom, libs, &mut step, interrupt)
        })?;

        step.note("FastAPI and kafka-python, by pip");
        let requirements = configurations.join("fastapi/requirements.txt");
        let python = foreign::python(&directory.join("python"), &requirements, interrupt)?;
        step.done("rsyslog, Kafka Connect and FastAPI are in place");
        Ok(Self {
            configurations,
            rsyslog,
            connect_libs,
            python,
        })
    }

    /// rsyslog that writes every value of `topic` to `index` as it is, without ids, from the beginning of the topic.
    ///
    /// `index` must exist, for the engines' templates forbid to create one by writing to it, and what Elasticsearch refuses
    /// goes to `refused.jsonl` and is gone. `elasticsearch` is its URL, without a slash at the end.
    ///
    /// Its files lie in `directory`, which must be its own. Each call makes a consumer group; the process started again
    /// goes on where the group is.
    ///
    /// # Errors
    /// When its configuration cannot be written.
    pub fn rsyslog_sink(
        &self,
        directory: &Path,
        kafka: &str,
        topic: &str,
        elasticsearch: &str,
        index: &str,
    ) -> Result<Spec> {
        let directory = create(directory)?;
        let (pid_file, own_log) = (directory.join("pid"), directory.join("rsyslog.log"));
        // That of a process which was killed; rsyslog would not start if another process has its number by now.
        remove(&pid_file)?;
        let configuration = directory.join("sink.conf");
        let values = rsyslog_values(&directory, &own_log, kafka, topic, elasticsearch, index);
        self.write("rsyslog/sink.conf", &configuration, &values)?;

        let libraries = &self.rsyslog.libraries;
        let mut args: Vec<OsString> = vec!["-n".into(), "-f".into(), configuration.into()];
        args.extend(["-i".into(), pid_file.clone().into()]);
        args.extend(["-M".into(), libraries.join("rsyslog").into()]);
        Ok(Spec {
            name: "rsyslog".to_owned(),
            program: self.rsyslog.program.clone(),
            args,
            environment: vec![("LD_LIBRARY_PATH".into(), libraries.into())],
            privileges: Vec::new(),
            log: directory.join("console.log"),
            own_logs: vec![own_log.clone()],
            ready: rsyslog_started(pid_file, own_log),
            ready_within: READY_WITHIN,
            stop_within: STOP_WITHIN,
        })
    }

    /// A worker of Kafka Connect that appends every value of `topic` to the file `output` as a line, from the beginning of
    /// the topic.
    ///
    /// Its files lie in `directory`, which must be its own. Each call makes a consumer group; the process started again
    /// goes on where the group is.
    ///
    /// # Errors
    /// When its configuration cannot be written.
    pub fn connect_file_sink(
        &self,
        distribution: &Distribution,
        directory: &Path,
        kafka: &str,
        topic: &str,
        output: &Path,
    ) -> Result<Spec> {
        let directory = create(directory)?;
        let (port, name) = (free_port()?, fresh("peer-connect"));
        let files = ["worker.properties", "file-sink.properties"];
        let [worker, connector] = files.map(|file| directory.join(file));
        self.write(
            "connect/worker.properties",
            &worker,
            &worker_values(&directory, kafka, port),
        )?;
        self.write(
            "connect/file-sink.properties",
            &connector,
            &file_sink_values(&name, topic, output),
        )?;

        let log4j = distribution.templates.join("kafka/log4j2.xml");
        // Those of Kafka's own script for it, `connect-standalone.sh`.
        let mut args: Vec<OsString> = [
            "-Xms256M",
            "-Xmx2G",
            "-server",
            "-XX:+UseG1GC",
            "-XX:MaxGCPauseMillis=20",
            "-XX:InitiatingHeapOccupancyPercent=35",
            "-XX:+ExplicitGCInvokesConcurrent",
            "-Djava.awt.headless=true",
        ]
        .map(Into::into)
        .into();
        args.extend([
            format!("-Dlogflow.logs={}", directory.display()).into(),
            format!("-Dlog4j2.configurationFile={}", log4j.display()).into(),
            "-cp".into(),
            format!("{}/*", self.connect_libs.display()).into(),
            "org.apache.kafka.connect.cli.ConnectStandalone".into(),
            worker.into(),
            connector.into(),
        ]);
        let status = format!("http://127.0.0.1:{port}/connectors/{name}/status");
        Ok(Spec {
            name: "kafka-connect".to_owned(),
            program: distribution.java.join("bin/java"),
            args,
            environment: Vec::new(),
            privileges: Vec::new(),
            log: directory.join("console.log"),
            own_logs: vec![directory.join("server.log")],
            ready: Arc::new(move || {
                let reply = answer(&status)?;
                let reply = reply.json().map_err(|error| format!("{error:#}"))?;
                all_running(&reply)
            }),
            ready_within: READY_WITHIN,
            stop_within: STOP_WITHIN,
        })
    }

    /// An intake on `port` of loopback that takes `POST /ingest` with one JSON object or an array of them, and answers 202
    /// before `topic` has them.
    ///
    /// # Errors
    /// When its directory cannot be made.
    pub fn fastapi(&self, directory: &Path, port: u16, kafka: &str, topic: &str) -> Result<Spec> {
        let directory = create(directory)?;
        let mut args: Vec<OsString> = ["-m", "uvicorn", "intake:app", "--app-dir"]
            .map(Into::into)
            .into();
        args.push(self.configurations.join("fastapi").into());
        args.extend(["--host", "127.0.0.1", "--port", &port.to_string()].map(Into::into));
        args.extend(["--workers", "1", "--loop", "uvloop", "--http", "httptools"].map(Into::into));
        args.extend(["--log-level", "warning", "--no-access-log"].map(Into::into));
        let environment = [
            ("KAFKA", kafka),
            ("TOPIC", topic),
            // The repository's directory stays as it is.
            ("PYTHONDONTWRITEBYTECODE", "1"),
        ];
        let ready = format!("http://127.0.0.1:{port}/ready");
        Ok(Spec {
            name: "fastapi".to_owned(),
            program: self.python.join("python"),
            args,
            environment: environment
                .map(|(key, value)| (key.into(), value.into()))
                .into(),
            privileges: Vec::new(),
            log: directory.join("console.log"),
            own_logs: Vec::new(),
            ready: Arc::new(move || answer(&ready).map(|_| ())),
            ready_within: READY_WITHIN,
            stop_within: STOP_WITHIN,
        })
    }

    fn write(&self, template: &str, target: &Path, values: &[(&str, String)]) -> Result<()> {
        write_from(&self.configurations.join(template), target, |text| {
            template::fill(text, values)
        })
    }
}

impl Rsyslog {
    /// Finds the parts below `root`, in the directory of whatever processor the packages are for.
    fn in_root(root: &Path) -> Result<Self> {
        let program = root.join("usr/sbin/rsyslogd");
        let directories = fs::read_dir(root.join("usr/lib")).into_iter().flatten();
        let libraries = directories
            .filter_map(|entry| Some(entry.ok()?.path()))
            .find(|libraries| libraries.join("rsyslog/imkafka.so").is_file())
            .filter(|_| program.is_file())
            .with_context(|| {
                let root = root.display();
                format!("Debian's packages brought no rsyslog with imkafka into `{root}`; remove it and try again")
            })?;
        Ok(Self { program, libraries })
    }
}

fn rsyslog_values(
    directory: &Path,
    own_log: &Path,
    kafka: &str,
    topic: &str,
    elasticsearch: &str,
    index: &str,
) -> [(&'static str, String); 9] {
    [
        ("directory", directory.display().to_string()),
        ("own_log", own_log.display().to_string()),
        ("kafka", kafka.to_owned()),
        ("topic", topic.to_owned()),
        ("group", fresh("peer-rsyslog")),
        ("elasticsearch", elasticsearch.to_owned()),
        ("index", index.to_owned()),
        ("batch", RSYSLOG_BATCH.to_string()),
        ("workers", RSYSLOG_WORKERS.to_string()),
    ]
}

fn worker_values(directory: &Path, kafka: &str, port: u16) -> [(&'static str, String); 3] {
    [
        ("directory", directory.display().to_string()),
        ("kafka", kafka.to_owned()),
        ("port", port.to_string()),
    ]
}

fn file_sink_values(name: &str, topic: &str, output: &Path) -> [(&'static str, String); 3] {
    [
        ("name", name.to_owned()),
        ("topic", topic.to_owned()),
        ("output", output.display().to_string()),
    ]
}

/// Makes `directory` and gives it as an absolute path, for rsyslog changes to the root directory.
fn create(directory: &Path) -> Result<PathBuf> {
    fs::create_dir_all(directory)
        .and_then(|()| path::absolute(directory))
        .with_context(|| format!("cannot create `{}`", directory.display()))
}

/// A name that no consumer group had before, so that its members begin at the beginning.
fn fresh(prefix: &str) -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    format!("{prefix}-{:x}", since.unwrap_or_default().as_nanos())
}

/// rsyslog says so in its own log, with its process id; the log goes on over several starts.
fn rsyslog_started(pid_file: PathBuf, own_log: PathBuf) -> Probe {
    Arc::new(move || {
        let pid = fs::read_to_string(&pid_file)
            .map_err(|error| format!("`{}`: {error}", pid_file.display()))?;
        let log = fs::read_to_string(&own_log)
            .map_err(|error| format!("`{}`: {error}", own_log.display()))?;
        let origin = format!("x-pid=\"{}\"", pid.trim());
        let says_start = |line: &str| line.contains(&origin) && line.ends_with("] start");
        if log.lines().any(says_start) {
            Ok(())
        } else {
            Err("its log does not say that it started".to_owned())
        }
    })
}

/// An answer of status 200.
fn answer(url: &str) -> Result<http::Reply, String> {
    match http::get(url, ANSWER_WITHIN) {
        Ok(reply) if reply.status == 200 => Ok(reply),
        Ok(reply) => Err(format!("{url}: {} {}", reply.status, reply.text())),
        Err(error) => Err(format!("{error:#}")),
    }
}

/// Whether a connector has tasks, and it and they run.
fn all_running(status: &Value) -> Result<(), String> {
    let tasks = status["tasks"].as_array().map_or(&[][..], Vec::as_slice);
    let parts = std::iter::once(&status["connector"]).chain(tasks);
    if tasks.is_empty() || parts.into_iter().any(|part| part["state"] != "RUNNING") {
        return Err(format!("its connector does not run: {status}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Fills a template and holds that nothing is left to fill, in its comments neither, and that no value is unused.
    fn filled(template: &str, values: &[(&str, String)]) -> String {
        for (name, _) in values {
            assert!(template.contains(&format!("@{name}@")), "{name} is unused");
        }
        let text = template::fill(template, values).unwrap();
        let left = text.lines().find(|line| line.matches('@').count() > 1);
        assert_eq!(left, None);
        text
    }

    #[test]
    fn the_configuration_of_rsyslog_has_all_its_values() {
        let (directory, log) = (Path::new("/d"), Path::new("/d/log"));
        let values = rsyslog_values(directory, log, "k:9", "topic", "http://e:92", "index");
        let template = include_str!("../../../loadtest/peers/rsyslog/sink.conf");
        let text = filled(template, &values);
        for part in [
            "topic=\"topic\"",
            "broker=\"k:9\"",
            "server=\"http://e:92\"",
            "queue.workerThreads=\"4\"",
            "file=\"/d/log\"",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
    }

    #[test]
    fn the_configurations_of_connect_have_all_their_values() {
        let values = worker_values(Path::new("/d"), "k:9", 8083);
        let template = include_str!("../../../loadtest/peers/connect/worker.properties");
        let text = filled(template, &values);
        assert!(text.contains("\nbootstrap.servers=k:9\nlisteners=http://127.0.0.1:8083\n"));

        let values = file_sink_values("name", "topic", Path::new("/out"));
        let template = include_str!("../../../loadtest/peers/connect/file-sink.properties");
        let text = filled(template, &values);
        assert!(text.contains("\ntopics=topic\nfile=/out\n"), "{text}");
    }

    #[test]
    fn rsyslog_is_ready_when_this_process_of_it_says_so() {
        let directory = tempfile::tempdir().unwrap();
        let [pid, log] = ["pid", "log"].map(|name| directory.path().join(name));
        let ready = rsyslog_started(pid.clone(), log.clone());
        assert!(ready().is_err());
        fs::write(&pid, "12\n").unwrap();
        let start = |pid| {
            format!(
                "host rsyslogd: [origin software=\"rsyslogd\" x-pid=\"{pid}\" x-info=\"\"] start\n"
            )
        };
        fs::write(&log, start(11)).unwrap();
        assert!(ready().is_err());
        fs::write(&log, start(11) + &start(12)).unwrap();
        assert_eq!(ready(), Ok(()));
    }

    #[test]
    fn a_connector_runs_when_it_has_tasks_that_run() {
        let status = |connector: &str, tasks: &[&str]| {
            let tasks: Vec<_> = tasks.iter().map(|state| json!({"state": state})).collect();
            json!({"connector": {"state": connector}, "tasks": tasks})
        };
        assert!(all_running(&status("RUNNING", &["RUNNING", "RUNNING"])).is_ok());
        assert!(all_running(&status("RUNNING", &[])).is_err());
        assert!(all_running(&status("RUNNING", &["RUNNING", "FAILED"])).is_err());
        assert!(all_running(&status("PAUSED", &["RUNNING"])).is_err());
        assert!(all_running(&json!({"error_code": 404})).is_err());
    }
}
