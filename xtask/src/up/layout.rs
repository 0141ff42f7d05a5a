//! Lays out what `up` runs: one of each, or a cluster, in which each may die, behind HAProxy; open or locked.
//!
//! In the flow: **`layout`** → `engines`, `services`, `haproxy` → `stack`.
//! Pure but for the files that the engines' and the proxy's `prepare` write. Not here: the touchy cluster of `nemesis`.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use super::haproxy::HaProxy;
use super::security::Security;
use crate::engines::elasticsearch::Node;
use crate::engines::kafka::Broker;
use crate::engines::provision::Distribution;
use crate::http::Client;
use crate::interrupt::Interrupt;
use crate::process::Spec;
use crate::services::{Binaries, SERVICES, Wiring, ready};
use crate::ship_logs::{Format, Source};
use crate::workspace::Workspace;

/// How many there are of gateway, sink and query API in a cluster.
const REPLICAS: [u16; 3] = [2, 3, 2];
/// Brokers of a cluster; of its Elasticsearch nodes there are as many, and each of three can be missing.
const ENGINES: u16 = 3;
/// Six JVMs on a developer's few cores are up sooner, and again sooner, if they compile fast rather than well.
const JVM_STARTS_FAST: &str = "-XX:TieredStopAtLevel=1";
/// How long they may take together.
const ENGINES_READY_WITHIN: Duration = Duration::from_secs(300);
/// A broker hands its partitions over before it ends; the last ones find nobody who takes them.
const BROKER_STOPS_WITHIN: Duration = Duration::from_secs(10);
/// HAProxy takes a gateway out of service within two looks at its `/readyz`.
const DRAIN_DELAY: &str = "2s";

/// Where everything listens, on loopback.
#[derive(Debug, Clone)]
pub struct Ports {
    /// Where clients send events.
    pub ingest: u16,
    /// Where clients search.
    pub search: u16,
    /// HAProxy's own page; `None` without HAProxy.
    pub proxy: Option<u16>,
    /// The gateways.
    pub gateways: Vec<u16>,
    /// The sinks.
    pub sinks: Vec<u16>,
    /// The query APIs.
    pub query_apis: Vec<u16>,
    /// Of each broker the port for clients and the one for controllers.
    pub kafka: Vec<(u16, u16)>,
    /// Of each node the port for clients and the one for other nodes.
    pub elasticsearch: Vec<(u16, u16)>,
}

/// The first of each kind of port: further replicas have the ones after it.
#[derive(Debug, Clone, Copy)]
pub struct FirstPorts {
    /// Where clients send events.
    pub ingest: u16,
    /// Where clients search.
    pub search: u16,
    /// HAProxy's own page.
    pub proxy: u16,
    /// The first sink's.
    pub sink: u16,
    /// The first broker's for clients.
    pub kafka: u16,
    /// The first broker's for controllers.
    pub kafka_controller: u16,
    /// The first node's for clients.
    pub elasticsearch: u16,
    /// The first node's for other nodes.
    pub elasticsearch_transport: u16,
}

/// The JVMs' heaps in MiB.
#[derive(Debug, Clone, Copy)]
pub struct Heaps {
    /// A broker's.
    pub kafka: u32,
    /// A node's.
    pub elasticsearch: u32,
}

/// What runs.
#[derive(Debug, Clone)]
pub struct Layout {
    /// Where everything listens.
    pub ports: Ports,
    /// The brokers.
    pub brokers: Vec<Broker>,
    /// The Elasticsearch nodes.
    pub nodes: Vec<Node>,
    /// What the services meet at.
    pub wiring: Wiring,
    /// The services, in the order in which an event meets them.
    pub services: Vec<Replica>,
    /// What stands before them, if anything does.
    pub proxy: Option<HaProxy>,
    /// How their readiness is asked for.
    pub monitor: Client,
}

/// One replica of a service.
#[derive(Debug, Clone)]
pub struct Replica {
    /// What messages call it.
    pub name: String,
    /// Its binary.
    pub service: &'static str,
    /// Where it listens.
    pub port: u16,
    /// Its flags beside `--listen`.
    pub flags: Vec<String>,
}

impl FirstPorts {
    /// Each from `next`.
    ///
    /// # Errors
    /// Those of `next`.
    pub fn from(mut next: impl FnMut() -> Result<u16>) -> Result<Self> {
        Ok(Self {
            ingest: next()?,
            search: next()?,
            proxy: next()?,
            sink: next()?,
            kafka: next()?,
            kafka_controller: next()?,
            elasticsearch: next()?,
            elasticsearch_transport: next()?,
        })
    }
}

impl Ports {
    /// One of each: no HAProxy.
    #[must_use]
    pub fn single(first: &FirstPorts) -> Self {
        Self {
            ingest: first.ingest,
            search: first.search,
            proxy: None,
            gateways: vec![first.ingest],
            sinks: vec![first.sink],
            query_apis: vec![first.search],
            kafka: vec![(first.kafka, first.kafka_controller)],
            elasticsearch: vec![(first.elasticsearch, first.elasticsearch_transport)],
        }
    }

    /// Those of a cluster: gateways and query APIs come after HAProxy's port for them, and a broker's two ports lie
    /// side by side.
    #[must_use]
    pub fn cluster(first: &FirstPorts) -> Self {
        let after = |first: u16, n: u16| first.saturating_add(n);
        let [gateways, sinks, query_apis] = REPLICAS;
        let engines = |one: u16, other: u16, step: u16| {
            (0..ENGINES)
                .map(|n| (after(one, n * step), after(other, n * step)))
                .collect()
        };
        Self {
            ingest: first.ingest,
            search: first.search,
            proxy: Some(first.proxy),
            gateways: (1..=gateways).map(|n| after(first.ingest, n)).collect(),
            sinks: (0..sinks).map(|n| after(first.sink, n)).collect(),
            query_apis: (1..=query_apis).map(|n| after(first.search, n)).collect(),
            kafka: engines(first.kafka, first.kafka_controller, 2),
            elasticsearch: engines(first.elasticsearch, first.elasticsearch_transport, 1),
        }
    }

    /// Those of a cluster, each from `next`.
    ///
    /// # Errors
    /// Those of `next`.
    pub fn cluster_from(mut next: impl FnMut() -> Result<u16>) -> Result<Self> {
        let mut some = |n: u16| (0..n).map(|_| next()).collect::<Result<Vec<u16>>>();
        let [gateways, sinks, query_apis] = REPLICAS;
        let fronts = some(3)?;
        let (gateways, sinks, query_apis) = (some(gateways)?, some(sinks)?, some(query_apis)?);
        let mut pairs = || {
            let (one, other) = (some(ENGINES)?, some(ENGINES)?);
            Ok::<_, anyhow::Error>(one.into_iter().zip(other).collect())
        };
        Ok(Self {
            ingest: fronts[0],
            search: fronts[1],
            proxy: Some(fronts[2]),
            gateways,
            sinks,
            query_apis,
            kafka: pairs()?,
            elasticsearch: pairs()?,
        })
    }

    /// Every port, with who listens there and the flag that moves it.
    #[must_use]
    pub fn all(&self) -> Vec<(u16, String, &'static str)> {
        let mut all = Vec::new();
        let mut add = |ports: Vec<u16>, user: &str, flag| {
            let alone = ports.len() == 1;
            for (n, port) in (1..).zip(ports) {
                let user = if alone {
                    user.to_owned()
                } else {
                    format!("{user} {n}")
                };
                all.push((port, user, flag));
            }
        };
        if let Some(proxy) = self.proxy {
            add(vec![self.ingest], "HAProxy, for ingest", "--gateway-port");
            add(vec![self.search], "HAProxy, for search", "--query-port");
            add(vec![proxy], "HAProxy's own page", "--proxy-port");
        }
        let firsts = |pairs: &[(u16, u16)]| pairs.iter().map(|(one, _)| *one).collect();
        let seconds = |pairs: &[(u16, u16)]| pairs.iter().map(|(_, other)| *other).collect();
        add(self.gateways.clone(), "ingest-gateway", "--gateway-port");
        add(self.query_apis.clone(), "query-api", "--query-port");
        add(self.sinks.clone(), "es-sink", "--sink-port");
        add(firsts(&self.kafka), "Kafka", "--kafka-port");
        add(
            seconds(&self.kafka),
            "Kafka's controller",
            "--kafka-controller-port",
        );
        add(
            firsts(&self.elasticsearch),
            "Elasticsearch",
            "--elasticsearch-port",
        );
        add(
            seconds(&self.elasticsearch),
            "Elasticsearch's transport",
            "--elasticsearch-transport-port",
        );
        all
    }
}

impl Layout {
    /// What runs on these ports, with data and logs in `state`. With HAProxy's port it is a cluster.
    #[must_use]
    pub fn new(ports: Ports, heaps: Heaps, state: &Path) -> Self {
        let brokers = brokers(&ports, heaps.kafka, state);
        let nodes = nodes(&ports, heaps.elasticsearch, state);
        Self::of(ports, brokers, nodes, Client::default(), state)
    }

    /// The same, where everything is locked.
    ///
    /// # Errors
    /// When a file with a secret cannot be written.
    pub fn secured(ports: Ports, heaps: Heaps, state: &Path, security: &Security) -> Result<Self> {
        let mut brokers = brokers(&ports, heaps.kafka, state);
        let names: Vec<String> = brokers.iter().map(|one| one.name.clone()).collect();
        for broker in &mut brokers {
            security.lock_broker(broker, &names)?;
        }
        let mut nodes = nodes(&ports, heaps.elasticsearch, state);
        for node in &mut nodes {
            security.lock_node(node)?;
        }
        let monitor = security.secrets.client("monitor");
        let mut layout = Self::of(ports, brokers, nodes, monitor, state);
        for replica in &mut layout.services {
            let flags = security.lock_service(replica.service, &replica.name)?;
            replica.flags.extend(flags);
        }
        if let Some(proxy) = &mut layout.proxy {
            proxy.lock(security)?;
        }
        Ok(layout)
    }

    fn of(
        ports: Ports,
        brokers: Vec<Broker>,
        nodes: Vec<Node>,
        monitor: Client,
        state: &Path,
    ) -> Self {
        let addresses: Vec<String> = brokers.iter().map(Broker::address).collect();
        let urls: Vec<String> = nodes.iter().map(Node::url).collect();
        let wiring = Wiring::standard(addresses.join(","), urls.join(","));
        let services = services(&ports, &wiring, &monitor);
        let of = |service: &str| {
            let replicas = services.iter().filter(|one| one.service == service);
            replicas.map(|one| (one.name.clone(), one.port)).collect()
        };
        let proxy = ports.proxy.map(|status_port| HaProxy {
            gateway_port: ports.ingest,
            query_port: ports.search,
            status_port,
            gateways: of("ingest-gateway"),
            query_apis: of("query-api"),
            directory: state.join("haproxy"),
            locked: None,
        });
        Self {
            ports,
            brokers,
            nodes,
            wiring,
            services,
            proxy,
            monitor,
        }
    }

    /// Writes the engines' files and gives their processes, brokers first.
    ///
    /// # Errors
    /// When a file cannot be written or a storage not be formatted.
    pub fn engines(&self, distribution: &Distribution, interrupt: &Interrupt) -> Result<Vec<Spec>> {
        let mut specs = Vec::new();
        for broker in &self.brokers {
            let mut spec = broker.prepare(distribution, interrupt)?;
            if self.proxy.is_some() {
                spec.args.insert(0, JVM_STARTS_FAST.into());
                spec.stop_within = BROKER_STOPS_WITHIN;
            }
            specs.push(spec);
        }
        for node in &self.nodes {
            let mut spec = node.prepare(distribution)?;
            if self.proxy.is_some() {
                let options = ("ES_JAVA_OPTS".into(), JVM_STARTS_FAST.into());
                spec.environment.push(options);
            }
            specs.push(spec);
        }
        if self.proxy.is_some() {
            for spec in &mut specs {
                spec.ready_within = ENGINES_READY_WITHIN;
            }
        }
        Ok(specs)
    }

    /// The services' processes; their logs are in `logs`.
    #[must_use]
    pub fn services(&self, binaries: &Binaries, logs: &Path) -> Vec<Spec> {
        let spec = |replica: &Replica| {
            let Replica {
                name,
                service,
                port,
                flags,
            } = replica;
            let log = logs.join(format!("{name}.log"));
            let mut spec = binaries.service(service, *port, flags, &log);
            spec.name.clone_from(name);
            spec.ready = ready(&self.monitor, *port);
            spec
        };
        self.services.iter().map(spec).collect()
    }

    /// HAProxy's process, if there is one.
    ///
    /// # Errors
    /// When its configuration cannot be written.
    pub fn proxy(&self, workspace: &Workspace) -> Result<Option<Spec>> {
        let template = workspace.root.join("deploy/haproxy/haproxy.cfg");
        let proxy = self.proxy.as_ref();
        proxy.map(|proxy| proxy.prepare(&template)).transpose()
    }

    /// The engines' own logs.
    #[must_use]
    pub fn logs(&self) -> Vec<Source> {
        let brokers = self.brokers.iter().map(|broker| Source {
            resource_id: broker.name.clone(),
            path: broker.server_log(),
            format: Format::Log4j,
        });
        let nodes = self.nodes.iter().map(|node| Source {
            resource_id: node.name.clone(),
            path: node.server_log(),
            format: Format::Ecs,
        });
        brokers.chain(nodes).collect()
    }
}

fn numbered(name: &str, n: usize, of: usize) -> String {
    match of {
        1 => name.to_owned(),
        _ => format!("{name}-{}", n + 1),
    }
}

fn brokers(ports: &Ports, heap_mib: u32, state: &Path) -> Vec<Broker> {
    let voters: Vec<(u16, u16)> = (1..)
        .zip(&ports.kafka)
        .map(|(id, (_, control))| (id, *control))
        .collect();
    let broker = |(n, (id, control)): (usize, &(u16, u16))| {
        let name = numbered("kafka", n, voters.len());
        let directory = state.join(&name);
        Broker {
            node_id: *id,
            voters: voters.clone(),
            heap_mib,
            ..Broker::alone(&name, ports.kafka[n].0, *control, directory)
        }
    };
    voters.iter().enumerate().map(broker).collect()
}

fn nodes(ports: &Ports, heap_mib: u32, state: &Path) -> Vec<Node> {
    let of = ports.elasticsearch.len();
    let quoted = |words: Vec<String>| {
        let words: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
        format!("[{}]", words.join(", "))
    };
    let names = || (0..of).map(|n| numbered("elasticsearch", n, of)).collect();
    let hosts = ports.elasticsearch.iter();
    let hosts = hosts.map(|(_, transport)| format!("127.0.0.1:{transport}"));
    let settings = [
        ("discovery.type", "multi-node".to_owned()),
        ("discovery.seed_hosts", quoted(hosts.collect())),
        ("cluster.initial_master_nodes", quoted(names())),
    ];
    let settings = settings.map(|(key, value)| (key.to_owned(), value));
    let node = |(n, (http, transport)): (usize, &(u16, u16))| {
        let name = numbered("elasticsearch", n, of);
        let directory = state.join(&name);
        Node {
            heap_mib,
            settings: if of == 1 {
                Vec::new()
            } else {
                settings.to_vec()
            },
            ..Node::alone(&name, *http, *transport, directory)
        }
    };
    ports.elasticsearch.iter().enumerate().map(node).collect()
}

fn services(ports: &Ports, wiring: &Wiring, monitor: &Client) -> Vec<Replica> {
    let mut gateway = wiring.gateway_flags();
    if ports.proxy.is_some() {
        let replicas = ports.gateways.len().to_string();
        let more = [
            "--trusted-proxy",
            "127.0.0.1",
            "--replicas",
            &replicas,
            "--drain-delay",
            DRAIN_DELAY,
        ];
        gateway.extend(more.map(str::to_owned));
    }
    let mut query = wiring.query_flags();
    let sinks = ports.sinks.iter();
    query.extend(sinks.map(|port| format!("--sink-url={}", monitor.url(*port))));
    let flags = [gateway, wiring.sink_flags(), query];
    let all = [&ports.gateways, &ports.sinks, &ports.query_apis];
    let kinds = SERVICES.into_iter().zip(flags).zip(all);
    kinds
        .flat_map(|((service, flags), ports)| {
            let replica = move |(n, port): (usize, &u16)| Replica {
                name: numbered(service, n, ports.len()),
                service,
                port: *port,
                flags: flags.clone(),
            };
            ports.iter().enumerate().map(replica)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    const FIRST: FirstPorts = FirstPorts {
        ingest: 3000,
        search: 5000,
        proxy: 8404,
        sink: 9102,
        kafka: 9092,
        kafka_controller: 9093,
        elasticsearch: 9200,
        elasticsearch_transport: 9300,
    };
    const HEAPS: Heaps = Heaps {
        kafka: 384,
        elasticsearch: 512,
    };

    #[test]
    fn no_two_parts_of_a_cluster_share_a_port_a_name_or_a_directory() {
        let mut number = 20_000;
        let counted = Ports::cluster_from(|| {
            number += 1;
            Ok(number)
        });
        for ports in [Ports::cluster(&FIRST), counted.unwrap()] {
            let all = ports.all();
            let distinct: HashSet<u16> = all.iter().map(|(port, _, _)| *port).collect();
            assert_eq!(distinct.len(), all.len(), "{all:?}");
            assert_eq!(all.len(), 3 + 2 + 3 + 2 + 6 + 6);
            let layout = Layout::new(ports, HEAPS, Path::new("/s"));
            let brokers = layout.brokers.iter().map(|one| one.directory.clone());
            let nodes = layout.nodes.iter().map(|one| one.directory.clone());
            let directories: HashSet<_> = brokers.chain(nodes).collect();
            assert_eq!(directories.len(), 6);
            let names: HashSet<_> = layout.services.iter().map(|one| &one.name).collect();
            assert_eq!(names.len(), 7);
        }
    }

    #[test]
    fn one_of_each_has_the_plain_names_and_nothing_before_it() {
        let layout = Layout::new(Ports::single(&FIRST), HEAPS, Path::new("/s"));
        assert!(layout.proxy.is_none());
        let names: Vec<_> = layout
            .services
            .iter()
            .map(|one| one.name.as_str())
            .collect();
        assert_eq!(names, SERVICES);
        assert_eq!(layout.services[0].flags, layout.wiring.gateway_flags());
        assert_eq!(layout.brokers[0].directory, Path::new("/s/kafka"));
        assert!(layout.nodes[0].settings.is_empty());
    }

    #[test]
    fn the_parts_of_a_cluster_know_all_of_one_another() {
        let layout = Layout::new(Ports::cluster(&FIRST), HEAPS, Path::new("/s"));
        assert_eq!(
            layout.wiring.kafka,
            "127.0.0.1:9092,127.0.0.1:9094,127.0.0.1:9096"
        );
        assert_eq!(layout.brokers[2].voters, [(1, 9093), (2, 9095), (3, 9097)]);
        let settings = &layout.nodes[1].settings;
        let seeds = (
            "discovery.seed_hosts".to_owned(),
            r#"["127.0.0.1:9300", "127.0.0.1:9301", "127.0.0.1:9302"]"#.to_owned(),
        );
        assert!(settings.contains(&seeds), "{settings:?}");
        let proxy = layout.proxy.unwrap();
        assert_eq!(proxy.gateways.len(), 2);
        assert_eq!(proxy.query_apis[1], ("query-api-2".to_owned(), 5002));
    }
}
