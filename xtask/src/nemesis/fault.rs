//! What can be done to the pipeline, in words, and what each fault needs for itself.
//!
//! In the flow: **`fault`** → `schedule` (when) → `inflict` (how). Pure.

use std::fmt;

use serde_json::{Value, json};

/// How many of each there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Topology {
    /// Sinks that stay; one more comes and goes.
    pub sinks: usize,
    /// Gateways.
    pub gateways: usize,
    /// Brokers, all of them voters.
    pub brokers: usize,
    /// Elasticsearch nodes; the first is the only one that can be master.
    pub nodes: usize,
}

/// A process, counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// An es-sink.
    Sink(usize),
    /// An ingest-gateway.
    Gateway(usize),
    /// A Kafka broker, its own controller.
    Broker(usize),
    /// An Elasticsearch node.
    Node(usize),
}

/// What is done to a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// SIGKILL, and started again later.
    Killed,
    /// SIGSTOP past its session timeout, then SIGCONT.
    Stalled,
    /// SIGTERM, and started again later.
    Stopped,
}

/// A way between two parts, each through the fault proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Link {
    /// All sinks to all Elasticsearch nodes.
    SinkElasticsearch,
    /// All sinks to all brokers.
    SinkKafka,
    /// Both gateways to all brokers.
    GatewayKafka,
}

/// What the fault proxy does to a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Harm {
    /// Every byte is late by so many milliseconds, and up to as many more.
    Delay(u64),
    /// So many bytes a second for a connection.
    Throttle(u64),
    /// What is sent vanishes.
    DropRequests,
    /// What is answered vanishes: it was done, and nobody hears of it.
    DropReplies,
    /// Every connection is reset after so many bytes.
    Reset(u64),
    /// Nothing moves, and nothing is lost.
    Freeze,
    /// Nothing can connect.
    Refuse,
}

/// One fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A process is killed, stalled or stopped.
    Process {
        /// Which.
        target: Target,
        /// In which way.
        how: How,
    },
    /// A link is harmed.
    Link {
        /// Which.
        link: Link,
        /// In which way.
        harm: Harm,
        /// The one broker or node to which it leads, or all.
        only: Option<usize>,
    },
    /// One index takes no writes (`index.blocks.write`).
    IndexReadOnly {
        /// Chooses among the indices there are.
        pick: usize,
    },
    /// One index is closed.
    IndexClosed {
        /// Chooses among the indices there are.
        pick: usize,
    },
    /// All indices are blocked as by a full disk (`index.blocks.read_only_allow_delete`).
    IndicesFlooded,
    /// The sinks' role loses the privilege to write: 403.
    RoleStripped,
    /// The sinks' user is not known any more: 401.
    UserForgotten,
    /// The dead-letter topic wants three replicas in sync, and one broker is stopped.
    DeadLettersUnwritable {
        /// The broker.
        broker: usize,
    },
    /// Records come of which each one is poison.
    PoisonBurst,
    /// All sinks end, the group's offsets are set to the earliest, all sinks start.
    OffsetsReset,
    /// An index is deleted under running sinks; what it held is read again after [`Fault::OffsetsReset`].
    IndexDeleted {
        /// Chooses among the indices there are.
        pick: usize,
    },
    /// One more sink is started and ended again and again.
    SinksComeAndGo,
    /// A sink runs with a clock that is off by so many days.
    ClockOff {
        /// Which.
        sink: usize,
        /// By so many.
        days: i8,
    },
}

/// What a fault needs for itself: two faults at once share none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Claim {
    /// A sink's process.
    Sink(usize),
    /// The process of the sink that comes and goes.
    ExtraSink,
    /// A gateway's process.
    Gateway(usize),
    /// The brokers: with two of three away no record could be acknowledged.
    Kafka,
    /// The nodes and their settings, which cannot be changed while the master is away.
    Elasticsearch,
    /// A link.
    Link(Link),
    /// The generator of poison.
    Poison,
}

impl Link {
    /// Its routes at the fault proxy are called so, with a number from 1 behind.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::SinkElasticsearch => "sink-elasticsearch",
            Self::SinkKafka => "sink-kafka",
            Self::GatewayKafka => "gateway-kafka",
        }
    }

    /// How many routes it has.
    #[must_use]
    pub fn routes(self, topology: Topology) -> usize {
        match self {
            Self::SinkElasticsearch => topology.nodes,
            Self::SinkKafka | Self::GatewayKafka => topology.brokers,
        }
    }
}

impl Harm {
    /// As the fault proxy is told.
    #[must_use]
    pub fn order(self) -> Value {
        match self {
            Self::Delay(ms) => json!({"delay": {"ms": ms, "jitter_ms": ms}}),
            Self::Throttle(bytes) => json!({"throttle": {"bytes_per_second": bytes}}),
            Self::DropRequests => json!({"drop_upstream": true}),
            Self::DropReplies => json!({"drop_downstream": true}),
            Self::Reset(bytes) => json!({"reset_after": {"bytes": bytes}}),
            Self::Freeze => json!({"freeze": true}),
            Self::Refuse => json!({"refuse": true}),
        }
    }
}

impl Fault {
    /// What it needs for itself.
    #[must_use]
    pub fn claims(self, topology: Topology) -> Vec<Claim> {
        let all_sinks = || {
            let sinks = (0..topology.sinks).map(Claim::Sink);
            sinks.chain([Claim::ExtraSink, Claim::Kafka])
        };
        match self {
            Self::Process { target, .. } => vec![match target {
                Target::Sink(n) => Claim::Sink(n),
                Target::Gateway(n) => Claim::Gateway(n),
                Target::Broker(_) => Claim::Kafka,
                Target::Node(_) => Claim::Elasticsearch,
            }],
            Self::Link { link, .. } => vec![Claim::Link(link)],
            Self::IndexReadOnly { .. }
            | Self::IndexClosed { .. }
            | Self::IndicesFlooded
            | Self::RoleStripped
            | Self::UserForgotten => vec![Claim::Elasticsearch],
            Self::DeadLettersUnwritable { .. } => vec![Claim::Kafka],
            Self::PoisonBurst => vec![Claim::Poison],
            Self::OffsetsReset => all_sinks().collect(),
            Self::IndexDeleted { .. } => all_sinks().chain([Claim::Elasticsearch]).collect(),
            Self::SinksComeAndGo => vec![Claim::ExtraSink],
            Self::ClockOff { sink, .. } => vec![Claim::Sink(sink)],
        }
    }

    /// Whether the group's offsets are set back, so that dead letters may come again.
    #[must_use]
    pub fn resets_offsets(self) -> bool {
        matches!(self, Self::OffsetsReset | Self::IndexDeleted { .. })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, n) = match self {
            Self::Sink(n) => ("sink", n),
            Self::Gateway(n) => ("gateway", n),
            Self::Broker(n) => ("broker", n),
            Self::Node(n) => ("Elasticsearch node", n),
        };
        write!(f, "{name} {}", n + 1)
    }
}

impl fmt::Display for Harm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Delay(ms) => write!(f, "every byte late by {ms} to {} ms", ms * 2),
            Self::Throttle(bytes) => write!(f, "{bytes} bytes/s for a connection"),
            Self::DropRequests => f.write_str("what is sent vanishes"),
            Self::DropReplies => f.write_str("what is answered vanishes"),
            Self::Reset(bytes) => write!(f, "each connection reset after {bytes} bytes"),
            Self::Freeze => f.write_str("nothing moves"),
            Self::Refuse => f.write_str("all connections reset"),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process { target, how } => {
                let how = match how {
                    How::Killed => "killed (SIGKILL)",
                    How::Stalled => "stalled (SIGSTOP)",
                    How::Stopped => "stopped (SIGTERM)",
                };
                write!(f, "{target} {how}")
            }
            Self::Link { link, harm, only } => {
                let (from, to) = match link {
                    Link::SinkElasticsearch => ("sinks", "Elasticsearch node"),
                    Link::SinkKafka => ("sinks", "broker"),
                    Link::GatewayKafka => ("gateways", "broker"),
                };
                match only {
                    Some(n) => write!(f, "between {from} and {to} {}: {harm}", n + 1),
                    None => write!(f, "between {from} and every {to}: {harm}"),
                }
            }
            Self::IndexReadOnly { .. } => f.write_str("an index is read-only"),
            Self::IndexClosed { .. } => f.write_str("an index is closed"),
            Self::IndicesFlooded => f.write_str("all indices blocked as by a full disk"),
            Self::RoleStripped => f.write_str("the sinks' role may not write"),
            Self::UserForgotten => f.write_str("the sinks' user is not known"),
            Self::DeadLettersUnwritable { broker } => write!(
                f,
                "the dead-letter topic wants 3 replicas in sync, and broker {} is stopped",
                broker + 1
            ),
            Self::PoisonBurst => f.write_str("a burst of 100 % poison"),
            Self::OffsetsReset => f.write_str("the group's offsets set to the earliest"),
            Self::IndexDeleted { .. } => {
                f.write_str("an index deleted, then the group's offsets set to the earliest")
            }
            Self::SinksComeAndGo => f.write_str("one more sink comes and goes"),
            Self::ClockOff { sink, days } => {
                write!(f, "the clock of sink {} off by {days:+} day", sink + 1)
            }
        }
    }
}
