//! What the incidents happen to: a pipeline with a fault proxy before Elasticsearch, an archive, a second gateway with
//! keys and narrow limits, a second query-api with a certificate, a load, searches, and a Prometheus that looks at all
//! of it.
//!
//! In the flow: part of `incidents`. Not here: what goes wrong (`provoke`).

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::HASTE;
use super::activity::Activity;
use crate::certificates::Authority;
use crate::engines::free_port;
use crate::engines::kafka_tools::KafkaTools;
use crate::engines::postgres::Server;
use crate::engines::provision::provision;
use crate::http;
use crate::interrupt::Interrupt;
use crate::pipeline::{Pipeline, Service};
use crate::process::{Process, spawn};
use crate::progress::Progress;
use crate::prometheus::shipped::Job;
use crate::prometheus::{Alert, Prometheus};
use crate::services::{BINARIES, Binaries, Wiring, order_fault};
use crate::workspace::Workspace;

/// Events a second through the first gateway.
const RATE: &str = "1000";
/// Longer than all incidents take; a load without an end would outlive a bug.
const LOAD_FOR: &str = "60m";
/// The second gateway refuses what exceeds these.
const NARROW: [(&str, &str); 5] = [
    ("--max-connections", "20"),
    ("--max-body-bytes", "1MiB"),
    ("--max-event-bytes", "256KiB"),
    ("--max-events-per-request", "1000"),
    ("--max-bytes-in-flight", "16MiB"),
];
/// As many bulk shards wait for the node's two threads; more are rejected. The sinks alone stay below.
const WRITE_QUEUE: &str = "16";
/// The local Elasticsearch asks nobody who he is.
const LOGIN: &str = "logflow:secret\n";
const TIMEOUT: Duration = Duration::from_secs(30);

/// A link that the fault proxy can harm.
#[derive(Debug, Clone, Copy)]
pub(super) enum Link {
    /// From the sink to Elasticsearch.
    Sink,
    /// From the query-apis to Elasticsearch.
    Search,
}

/// An API key, and its entry in the file.
pub(super) struct Key {
    pub(super) token: String,
    pub(super) entry: String,
}

/// Everything that runs.
pub(super) struct Stack {
    pub(super) interrupt: Interrupt,
    pub(super) directory: PathBuf,
    pub(super) kafka_tools: KafkaTools,
    pub(super) authority: Authority,
    /// Of the second gateway.
    pub(super) key_file: PathBuf,
    /// With a quota of one request a second, and without one.
    pub(super) keys: [Key; 2],
    /// What the sink shows to Elasticsearch.
    pub(super) login: PathBuf,
    binaries: Binaries,
    control: String,
    // In the order in which they are to be dropped when something fails.
    _searches: Activity,
    load: Load,
    prometheus: Prometheus,
    prometheus_process: Process,
    pub(super) narrow_gateway: Service,
    gateway: Service,
    pub(super) sink: Service,
    query_api: Service,
    secured_query_api: Service,
    archive_sink: Service,
    pub(super) database: Process,
    proxy: Process,
    pub(super) pipeline: Pipeline,
}

impl Stack {
    pub(super) fn start(
        workspace: &Workspace,
        directory: PathBuf,
        progress: &Progress,
        interrupt: &Interrupt,
    ) -> Result<Self> {
        let distribution = provision(workspace, progress, interrupt)?;
        let binaries = Binaries::build(workspace, &BINARIES, interrupt)?;
        let step = progress.step("pipeline", "starting");
        let pipeline = Pipeline::start_with(
            &distribution,
            binaries.clone(),
            directory.clone(),
            &[("thread_pool.write.queue_size", WRITE_QUEUE)],
            interrupt,
        )?;
        let (proxy, control, [sink_door, search_door]) =
            proxy(&binaries, &pipeline, &directory, interrupt)?;
        let behind = |elasticsearch: String| Wiring {
            elasticsearch,
            ..pipeline.wiring.clone()
        };
        let query_flags = behind(search_door).query_flags();
        let login = directory.join("login");
        write(&login, LOGIN)?;
        let mut sink_flags = behind(sink_door).sink_flags();
        sink_flags.extend([
            "--elasticsearch-credentials".to_owned(),
            login.display().to_string(),
        ]);
        let sink = pipeline.service("es-sink", &sink_flags)?;
        let server = Server {
            name: "postgresql".to_owned(),
            port: free_port()?,
            directory: directory.join("postgresql"),
        };
        let mut database = Process::new(server.prepare(interrupt)?);
        database.start(interrupt)?;
        let archive_flags = pipeline.wiring.archive_flags(&server.url());
        let archive_sink = pipeline.service("archive-sink", &archive_flags)?;
        let query_api = pipeline.service("query-api", &query_flags)?;
        let gateway = pipeline.service("ingest-gateway", &pipeline.wiring.gateway_flags())?;

        let slow = key(
            &binaries,
            "shop",
            &["--tenant", "shop"],
            "requests-per-second = 1\nburst = \"1s\"\n",
        )?;
        let keys = [slow, key(&binaries, "agent", &[], "")?];
        let key_file = directory.join("keys.toml");
        write(&key_file, &key_entries(&keys))?;
        let mut flags = pipeline.wiring.gateway_flags();
        let narrow = NARROW.iter().flat_map(|(name, value)| [*name, *value]);
        flags.extend(narrow.map(str::to_owned));
        flags.extend(["--api-keys".to_owned(), key_file.display().to_string()]);
        let narrow_gateway = pipeline.service("ingest-gateway", &flags)?;

        let authority = Authority::new(&directory, interrupt)?;
        let server = authority.vouch("server", "IP:127.0.0.1")?;
        let mut flags = query_flags;
        flags.extend([
            "--tls-cert".to_owned(),
            server.certificate.display().to_string(),
        ]);
        flags.extend(["--tls-key".to_owned(), server.key.display().to_string()]);
        // Its readiness would be asked for in the clear; Prometheus sees to it.
        let secured_query_api = pipeline.launch("query-api", &flags)?;

        let address = |service: &Service| service.url.replace("http://", "");
        let job = |name, clear: &[&Service], secured: &[&Service]| Job {
            name,
            clear: clear.iter().copied().map(address).collect(),
            secured: secured.iter().copied().map(address).collect(),
        };
        let prometheus = Prometheus {
            port: free_port()?,
            directory: directory.join("prometheus"),
            jobs: vec![
                job("ingest-gateway", &[&gateway, &narrow_gateway], &[]),
                job("es-sink", &[&sink], &[]),
                job("archive-sink", &[&archive_sink], &[]),
                job("query-api", &[&query_api], &[&secured_query_api]),
            ],
            haste: HASTE,
        };
        let mut prometheus_process = Process::new(prometheus.prepare(&workspace.root)?);
        prometheus_process.start(interrupt)?;
        let load = Load::start(&binaries, &gateway, &directory)?;
        let searches = searches(&query_api);
        step.done("the pipeline, a load, searches and Prometheus run");
        Ok(Self {
            interrupt: interrupt.clone(),
            kafka_tools: KafkaTools {
                distribution,
                brokers: pipeline.wiring.kafka.clone(),
                logs: directory.clone(),
                properties: None,
            },
            directory,
            authority,
            key_file,
            keys,
            login,
            binaries,
            control,
            _searches: searches,
            load,
            prometheus,
            prometheus_process,
            narrow_gateway,
            gateway,
            sink,
            query_api,
            secured_query_api,
            archive_sink,
            database,
            proxy,
            pipeline,
        })
    }

    /// The alerts that are due, whether they fire or not.
    pub(super) fn alerts(&self) -> Result<Vec<Alert>> {
        self.prometheus.alerts()
    }

    /// Without events nothing of what is seen would mean anything.
    pub(super) fn look_after_load(&mut self) -> Result<()> {
        match self.load.0.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("the load has ended with {status}"),
        }
    }

    /// Does this to a link.
    pub(super) fn harm(&self, link: Link, faults: &str) -> Result<()> {
        order_fault(&self.control, "PUT", route(link), faults)
    }

    /// And undoes it.
    pub(super) fn mend(&self, link: Link) -> Result<()> {
        order_fault(&self.control, "DELETE", route(link), "")
    }

    /// Asks Elasticsearch for something, past the proxy.
    pub(super) fn ask_elasticsearch(&self, method: &str, path: &str, body: &Value) -> Result<()> {
        let url = format!("{}{path}", self.pipeline.wiring.elasticsearch);
        let json = [("Content-Type", "application/json")];
        let reply = http::request(method, &url, &json, body.to_string().as_bytes(), TIMEOUT)?;
        ensure!(reply.status == 200, "{url}: {}", reply.text());
        Ok(())
    }

    /// Events that Elasticsearch refuses, past the gateways.
    pub(super) fn poison(&self) -> Result<()> {
        let wiring = &self.pipeline.wiring;
        let output = Command::new(self.binaries.path("loadtest"))
            .args([
                "generate",
                "--kafka",
                &wiring.kafka,
                "--topic",
                &wiring.topic,
            ])
            .args([
                "--poison-per-million",
                "1000000",
                "--poison",
                "metadata-number",
            ])
            .args(["--events", "20", "--ledger", "/dev/null"])
            .stdin(Stdio::null())
            .output()
            .context("cannot start loadtest generate")?;
        let told = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "loadtest generate: {told}");
        Ok(())
    }

    /// A key that expires then, in the form of the key file.
    pub(super) fn key_until(&self, expires: &str) -> Result<String> {
        Ok(key(&self.binaries, "leaving", &["--expires", expires], "")?.entry)
    }

    /// What the sink shows to Elasticsearch, as it was, or with a fault.
    pub(super) fn write_login(&self, is_whole: bool) -> Result<()> {
        write(&self.login, if is_whole { LOGIN } else { "logflow" })
    }

    /// The key file with more at its end.
    pub(super) fn write_keys(&self, more: &str) -> Result<()> {
        write(&self.key_file, &(key_entries(&self.keys) + more))
    }

    pub(super) fn stop(mut self) -> Result<()> {
        drop(self.load);
        let services = [
            &mut self.narrow_gateway,
            &mut self.gateway,
            &mut self.sink,
            &mut self.query_api,
            &mut self.secured_query_api,
            &mut self.archive_sink,
        ];
        self.prometheus_process.stop()?;
        self.pipeline.stop(services)?;
        self.database.stop()?;
        self.proxy.stop().map(drop)
    }
}

fn route(link: Link) -> &'static str {
    match link {
        Link::Sink => "sink",
        Link::Search => "search",
    }
}

/// The proxy, its control port, and the addresses of Elasticsearch for the sink and for the query-apis.
fn proxy(
    binaries: &Binaries,
    pipeline: &Pipeline,
    directory: &std::path::Path,
    interrupt: &Interrupt,
) -> Result<(Process, String, [String; 2])> {
    let control = free_port()?;
    let target = pipeline.wiring.elasticsearch.replace("http://", "");
    let doors = [(Link::Sink, free_port()?), (Link::Search, free_port()?)];
    let routes = doors.map(|(link, door)| format!("{}=127.0.0.1:{door}={target}", route(link)));
    let log = directory.join("fault-proxy.log");
    let mut proxy = Process::new(binaries.fault_proxy(control, 1, &routes, &log));
    proxy.start(interrupt)?;
    let control = format!("http://127.0.0.1:{control}");
    let doors = doors.map(|(_, door)| format!("http://127.0.0.1:{door}"));
    Ok((proxy, control, doors))
}

/// People who search, four at a time; what they are answered is the alerts' business.
fn searches(query_api: &Service) -> Activity {
    let url = format!("{}/logs?limit=20", query_api.url);
    Activity::start(4, Duration::from_millis(200), move || {
        http::get(&url, TIMEOUT).ok();
    })
}

/// Makes a key as an operator does; `more` goes to the end of its entry.
fn key(binaries: &Binaries, id: &str, flags: &[&str], more: &str) -> Result<Key> {
    let output = Command::new(binaries.path("ingest-gateway"))
        .args(["keys", "new", "--id", id, "--scope", "ingest"])
        .args(flags)
        .stdin(Stdio::null())
        .output()
        .context("cannot run ingest-gateway keys")?;
    let [entry, shown] =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    let token = shown.split_once("Bearer ").map(|(_, token)| token.trim());
    let token = token.with_context(|| format!("ingest-gateway keys shows no key: {shown}"))?;
    Ok(Key {
        token: token.to_owned(),
        entry: format!("{}\n{more}", entry.trim_end()),
    })
}

fn key_entries(keys: &[Key]) -> String {
    keys.iter().map(|key| key.entry.as_str()).collect()
}

fn write(path: &std::path::Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write `{}`", path.display()))
}

/// A running `loadtest generate`. Dropped, it is killed.
struct Load(Child);

impl Load {
    fn start(binaries: &Binaries, gateway: &Service, directory: &std::path::Path) -> Result<Self> {
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "--"])
            .arg(binaries.path("loadtest"))
            .args(["generate", "--idempotency-keys", "--connections", "8"])
            .args(["--target", &gateway.url, "--rate", RATE])
            .args(["--duration", LOAD_FOR, "--ledger", "/dev/null"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(directory.join("generate.log"))?);
        Ok(Self(spawn(command).context("cannot start the load")?))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}
