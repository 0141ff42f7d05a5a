//! Lays out the engines of the cluster: ports, listeners, and what makes them touchy.
//!
//! In the flow: **`layout`** → `cluster`. Not here: starting them.

use std::path::Path;

use anyhow::Result;

use super::cluster::TOPOLOGY;
use super::fault::Link;
use super::guarded;
use crate::engines::FreePorts;
use crate::engines::elasticsearch::Node;
use crate::engines::kafka::Broker;
use crate::http::Client;

const BROKER_HEAP_MIB: u32 = 384;
const NODE_HEAP_MIB: u32 = 768;

/// Three brokers, each with a listener for every kind of client, so that each kind comes through its own routes.
pub(super) struct Brokers {
    /// The brokers.
    pub(super) brokers: Vec<Broker>,
    /// Per link and broker: the proxy's port and the broker's.
    listeners: Vec<(Link, Vec<(u16, u16)>)>,
}

impl Brokers {
    /// Three brokers that form a cluster.
    pub(super) fn plan(ports: &mut FreePorts, directory: &Path) -> Result<Self> {
        let mut listeners = Vec::new();
        for link in [Link::SinkKafka, Link::GatewayKafka] {
            let mut pairs = Vec::new();
            for _ in 0..TOPOLOGY.brokers {
                pairs.push((ports.next()?, ports.next()?));
            }
            listeners.push((link, pairs));
        }
        let mut plain = Vec::new();
        for _ in 0..TOPOLOGY.brokers {
            plain.push((ports.next()?, ports.next()?));
        }
        let numbered = (1_u16..).zip(&plain);
        let voters: Vec<(u16, u16)> = numbered.map(|(n, (_, control))| (n, *control)).collect();
        let broker = |(n, (port, control)): (u16, &(u16, u16))| {
            let mut listen =
                format!("PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{control}");
            let mut advertised = format!("PLAINTEXT://127.0.0.1:{port}");
            let mut protocols = "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT".to_owned();
            for (link, pairs) in &listeners {
                let name = link.name().replace('-', "_").to_uppercase();
                let (proxied, own) = pairs[usize::from(n) - 1];
                listen.push_str(&format!(",{name}://127.0.0.1:{own}"));
                advertised.push_str(&format!(",{name}://127.0.0.1:{proxied}"));
                protocols.push_str(&format!(",{name}:PLAINTEXT"));
            }
            let settings = [
                ("listeners", listen),
                ("advertised.listeners", advertised),
                ("listener.security.protocol.map", protocols),
                // The default of 50 would be 150 logs to open at each start.
                ("transaction.state.log.num.partitions", "6".to_owned()),
            ];
            Broker {
                users: Vec::new(),
                authority: None,
                name: format!("broker {n}"),
                node_id: n,
                port: *port,
                controller_port: *control,
                voters: voters.clone(),
                directory: directory.join(format!("broker-{n}")),
                heap_mib: BROKER_HEAP_MIB,
                settings: settings.map(|(key, value)| (key.to_owned(), value)).into(),
            }
        };
        Ok(Self {
            brokers: (1_u16..).zip(&plain).map(broker).collect(),
            listeners,
        })
    }

    /// Their routes at the fault proxy, as its flags have them.
    pub(super) fn routes(&self) -> Vec<String> {
        let links = self.listeners.iter();
        links
            .flat_map(|(link, pairs)| {
                let pairs = pairs.iter().enumerate();
                pairs.map(|(n, (proxied, own))| route(link.name(), n, *proxied, *own))
            })
            .collect()
    }

    /// Where the clients of a link start from.
    pub(super) fn addresses(&self, link: Link) -> String {
        let of_link = self.listeners.iter().filter(|(one, _)| *one == link);
        let addresses: Vec<String> = of_link
            .flat_map(|(_, pairs)| {
                pairs
                    .iter()
                    .map(|(proxied, _)| format!("127.0.0.1:{proxied}"))
            })
            .collect();
        addresses.join(",")
    }
}

/// Two nodes that form a cluster; the first is the only one that can be master.
pub(super) fn nodes(ports: &mut FreePorts, directory: &Path) -> Result<Vec<Node>> {
    let mut nodes: Vec<Node> = Vec::new();
    let mut seed_host = None;
    for n in 1..=TOPOLOGY.nodes {
        let (http, transport) = (ports.next()?, ports.next()?);
        let seed_host = seed_host.get_or_insert(format!("127.0.0.1:{transport}"));
        // Of two nodes that vote both would have to be there; so one is the master, and its absence is a fault in itself.
        let roles = if n == 1 {
            "[ master, data, ingest ]"
        } else {
            "[ data, ingest ]"
        };
        let mut settings = vec![
            ("discovery.type", "multi-node".to_owned()),
            ("discovery.seed_hosts", format!("\"{seed_host}\"")),
            ("node.roles", roles.to_owned()),
            ("node.processors", "2".to_owned()),
            ("thread_pool.write.queue_size", "4".to_owned()),
            // Less than a full bulk request of the sinks has, so that some are refused with 413.
            ("http.max_content_length", "400kb".to_owned()),
            // A stalled node is out of the cluster after 8 s, not after 30.
            (
                "cluster.fault_detection.follower_check.timeout",
                "4s".to_owned(),
            ),
            (
                "cluster.fault_detection.follower_check.retry_count",
                "2".to_owned(),
            ),
            (
                "cluster.fault_detection.leader_check.timeout",
                "4s".to_owned(),
            ),
            (
                "cluster.fault_detection.leader_check.retry_count",
                "2".to_owned(),
            ),
        ];
        if n == 1 {
            settings.push((
                "cluster.initial_master_nodes",
                "\"elasticsearch-1\"".to_owned(),
            ));
        }
        let settings = settings
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value));
        nodes.push(Node {
            name: format!("elasticsearch-{n}"),
            cluster: "nemesis".to_owned(),
            http_port: http,
            transport_port: transport,
            directory: directory.join(format!("elasticsearch-{n}")),
            heap_mib: NODE_HEAP_MIB,
            settings: settings.chain(guarded::settings()).collect(),
            files: Vec::new(),
            client: Client::default(),
        });
    }
    Ok(nodes)
}

/// A route at the fault proxy, as its flag has it.
pub(super) fn route(link: &str, n: usize, proxied: u16, own: u16) -> String {
    format!("{link}-{}=127.0.0.1:{proxied}=127.0.0.1:{own}", n + 1)
}
