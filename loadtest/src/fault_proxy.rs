//! A TCP proxy between two parts, which does to their connections what it is told.
//!
//! In the flow: `passage` → **`fault_proxy`** → `fault_control`. Moves bytes and
//! decides nothing: what a fault does stands in `passage`, which it hits in `fault`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::BytesMut;
use serde::Serialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::WriteHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::fault::{Faults, Plan};
use crate::passage::{Direction, Next, Passage, Step};
use crate::workload::mix;

/// Open connections of one route; further ones are reset at once.
const CONNECTIONS_MAX: u64 = 1_000;
const ROUTES_MAX: usize = 100;
const NAME_BYTES_MAX: usize = 64;
const READ_BYTES: usize = 64 << 10;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// After a failure to accept, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// One route: `[NAME=]LISTEN=TARGET`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteSettings {
    /// Its name at the control port; without one it is numbered.
    pub name: Option<String>,
    /// Where to listen; port 0 takes any.
    pub listen: SocketAddr,
    /// `HOST:PORT` of the other side, looked up for each connection.
    pub to: String,
}

/// Why a text is no route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a route is written LISTEN=HOST:PORT or NAME=LISTEN=HOST:PORT, with a name of up to 64 letters, digits, `-`, `_` and `.`"
)]
pub struct NoRoute;

impl FromStr for RouteSettings {
    type Err = NoRoute;

    fn from_str(text: &str) -> Result<Self, NoRoute> {
        let (rest, to) = text.rsplit_once('=').ok_or(NoRoute)?;
        let (name, listen) = match rest.split_once('=') {
            Some((name, listen)) => (Some(name), listen),
            None => (None, rest),
        };
        let legal = |name: &str| {
            let letters = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
            (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(letters)
        };
        let port = to.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
        if !name.is_none_or(legal) || !matches!(port, Some(Ok(_))) {
            return Err(NoRoute);
        }
        Ok(Self {
            name: name.map(str::to_owned),
            listen: listen.parse().map_err(|_| NoRoute)?,
            to: to.to_owned(),
        })
    }
}

/// A running proxy; it ends, and its connections with it, when this is dropped.
#[derive(Debug)]
pub struct FaultProxy {
    routes: Vec<Arc<Route>>,
    _listeners: JoinSet<()>,
}

/// A route of a running proxy.
#[derive(Debug)]
pub struct Route {
    name: String,
    listen: SocketAddr,
    to: String,
    seed: u64,
    orders: watch::Sender<Orders>,
    counts: Counts,
}

/// The faults in force, and how often they were changed.
#[derive(Clone, Debug, Default)]
struct Orders {
    generation: u64,
    faults: Arc<Faults>,
}

#[derive(Debug, Default)]
struct Counts {
    connections_open: AtomicU64,
    connections_total: AtomicU64,
    connections_turned_away: AtomicU64,
    connections_reset: AtomicU64,
    target_unreachable: AtomicU64,
    bytes_upstream: AtomicU64,
    bytes_downstream: AtomicU64,
    bytes_dropped: AtomicU64,
    faults_applied: Mutex<BTreeMap<&'static str, u64>>,
}

/// The state of a route and what was counted.
#[derive(Clone, Debug, Serialize)]
pub struct RouteState {
    /// Its name.
    pub name: String,
    /// Where it listens.
    pub listen: SocketAddr,
    /// Where it leads.
    pub to: String,
    /// The faults in force.
    pub fault: Faults,
    /// Connections that exist.
    pub connections_open: u64,
    /// Connections ever accepted.
    pub connections_total: u64,
    /// Connections that were too many.
    pub connections_turned_away: u64,
    /// Connections that ended with a reset, whoever began it.
    pub connections_reset: u64,
    /// Connections whose target did not take them.
    pub target_unreachable: u64,
    /// Bytes passed from clients to the target.
    pub bytes_upstream: u64,
    /// Bytes passed from the target to clients.
    pub bytes_downstream: u64,
    /// Bytes that vanished.
    pub bytes_dropped: u64,
    /// Connections that were hit, by fault; one counts again when faults are set again.
    pub faults_applied: BTreeMap<&'static str, u64>,
}

impl FaultProxy {
    /// Listens on every route.
    ///
    /// # Errors
    /// Names the address that cannot be listened on, or the name that two routes have.
    pub async fn start(routes: &[RouteSettings], seed: u64) -> anyhow::Result<Self> {
        if routes.is_empty() || routes.len() > ROUTES_MAX {
            bail!("a fault proxy has 1 to {ROUTES_MAX} routes");
        }
        let mut started: Vec<Arc<Route>> = Vec::new();
        let mut listeners = JoinSet::new();
        for (number, settings) in (1..).zip(routes) {
            let listen = settings.listen;
            let listener = TcpListener::bind(listen)
                .await
                .with_context(|| format!("`{listen}` cannot be listened on"))?;
            let name = settings.name.clone();
            let route = Arc::new(Route {
                name: name.unwrap_or_else(|| format!("route-{number}")),
                listen: listener.local_addr()?,
                to: settings.to.clone(),
                seed: mix(seed, number),
                orders: watch::Sender::default(),
                counts: Counts::default(),
            });
            if started.iter().any(|other| other.name == route.name) {
                bail!("two routes have the name `{}`", route.name);
            }
            listeners.spawn(listen_on(Arc::clone(&route), listener));
            started.push(route);
        }
        Ok(Self {
            routes: started,
            _listeners: listeners,
        })
    }

    /// The routes, in the order in which they were given.
    #[must_use]
    pub fn routes(&self) -> &[Arc<Route>] {
        &self.routes
    }
}

impl Route {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.listen
    }

    /// Replaces the faults, also of the connections that exist. [`Faults::default`] heals.
    pub fn set(&self, faults: Faults) {
        self.orders.send_modify(|orders| {
            orders.generation += 1;
            orders.faults = Arc::new(faults);
        });
    }

    /// Its state.
    #[must_use]
    pub fn state(&self) -> RouteState {
        let counts = &self.counts;
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let applied = counts.faults_applied.lock();
        RouteState {
            name: self.name.clone(),
            listen: self.listen,
            to: self.to.clone(),
            fault: (*self.orders.borrow().faults).clone(),
            connections_open: count(&counts.connections_open),
            connections_total: count(&counts.connections_total),
            connections_turned_away: count(&counts.connections_turned_away),
            connections_reset: count(&counts.connections_reset),
            target_unreachable: count(&counts.target_unreachable),
            bytes_upstream: count(&counts.bytes_upstream),
            bytes_downstream: count(&counts.bytes_downstream),
            bytes_dropped: count(&counts.bytes_dropped),
            faults_applied: applied.unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }
}

async fn listen_on(route: Arc<Route>, listener: TcpListener) {
    let mut connections = JoinSet::new();
    for number in 0.. {
        let client = loop {
            tokio::select! {
                Some(_) = connections.join_next() => {}
                accepted = listener.accept() => match accepted {
                    Ok((client, _)) => break client,
                    Err(error) => {
                        tracing::warn!(%error, route = route.name, "accepting a connection");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        };
        let counts = &route.counts;
        counts.connections_total.fetch_add(1, Ordering::Relaxed);
        if connections.len() as u64 >= CONNECTIONS_MAX {
            counts
                .connections_turned_away
                .fetch_add(1, Ordering::Relaxed);
            reset(&client);
            continue;
        }
        connections.spawn(Connection::new(Arc::clone(&route), number).carry(client));
    }
}

/// One connection, counted as open until it is dropped.
struct Connection {
    route: Arc<Route>,
    orders: watch::Receiver<Orders>,
    seed: u64,
}

impl Drop for Connection {
    fn drop(&mut self) {
        let open = &self.route.counts.connections_open;
        open.fetch_sub(1, Ordering::Relaxed);
    }
}

enum Happened {
    OtherOrders,
    Time,
    Read(Direction, std::io::Result<usize>),
    Put(Direction, std::io::Result<Put>),
}

impl Connection {
    fn new(route: Arc<Route>, number: u64) -> Self {
        let open = &route.counts.connections_open;
        open.fetch_add(1, Ordering::Relaxed);
        Self {
            orders: route.orders.subscribe(),
            seed: mix(route.seed, number),
            route,
        }
    }

    /// Draws what happens to this connection under the orders in force.
    fn plan(&mut self) -> Plan {
        let orders = self.orders.borrow_and_update().clone();
        let plan = orders.faults.plan(mix(self.seed, orders.generation));
        let applied = self.route.counts.faults_applied.lock();
        let mut applied = applied.unwrap_or_else(PoisonError::into_inner);
        for name in plan.names() {
            *applied.entry(name).or_default() += 1;
        }
        plan
    }

    async fn carry(mut self, mut client: TcpStream) {
        let counts = Arc::clone(&self.route);
        let counts = &counts.counts;
        let Some((plan, mut target)) = self.connect().await else {
            counts.connections_reset.fetch_add(1, Ordering::Relaxed);
            reset(&client);
            return;
        };
        for stream in [&client, &target] {
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "bytes may be held back by the kernel");
            }
        }
        if !self.pass(plan, &mut client, &mut target).await {
            counts.connections_reset.fetch_add(1, Ordering::Relaxed);
            reset(&client);
            reset(&target);
        }
    }

    /// Connects to the target, unless a fault forbids it.
    async fn connect(&mut self) -> Option<(Plan, TcpStream)> {
        let mut plan = self.plan();
        while plan.freeze && !plan.refuse {
            self.orders.changed().await.ok()?;
            plan = self.plan();
        }
        if plan.refuse {
            return None;
        }
        let connecting = TcpStream::connect(&self.route.to);
        let connected = match tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
            Ok(connected) => connected,
            Err(_) => Err(std::io::ErrorKind::TimedOut.into()),
        };
        match connected {
            Ok(target) => Some((plan, target)),
            Err(error) => {
                tracing::debug!(%error, to = self.route.to, "connecting");
                let unreachable = &self.route.counts.target_unreachable;
                unreachable.fetch_add(1, Ordering::Relaxed);
                None
            }
        }
    }

    /// Carries bytes until both directions have ended; false if the connection is to be reset.
    async fn pass(&mut self, plan: Plan, client: &mut TcpStream, target: &mut TcpStream) -> bool {
        let opened = Instant::now();
        let mut passage = Passage::new(plan, self.seed);
        let (mut from_client, mut to_client) = client.split();
        let (mut from_target, mut to_target) = target.split();
        let (mut read_up, mut read_down) = (BytesMut::new(), BytesMut::new());
        loop {
            let (up, down, wake) = match passage.next(opened.elapsed()) {
                Next::Reset => return false,
                Next::Over => return true,
                Next::Go { up, down, wake } => (up, down, wake),
            };
            if up.read {
                read_up.reserve(READ_BYTES);
            }
            if down.read {
                read_down.reserve(READ_BYTES);
            }
            let wake_at = opened + wake.unwrap_or_default();
            let happened = tokio::select! {
                changed = self.orders.changed() => match changed {
                    Ok(()) => Happened::OtherOrders,
                    Err(_) => return false,
                },
                () = tokio::time::sleep_until(wake_at), if wake.is_some() => Happened::Time,
                result = from_client.read_buf(&mut read_up), if up.read =>
                    Happened::Read(Direction::Up, result),
                result = from_target.read_buf(&mut read_down), if down.read =>
                    Happened::Read(Direction::Down, result),
                result = put(&mut to_target, passage.front(Direction::Up), up), if up.puts() =>
                    Happened::Put(Direction::Up, result),
                result = put(&mut to_client, passage.front(Direction::Down), down), if down.puts() =>
                    Happened::Put(Direction::Down, result),
            };
            let now = opened.elapsed();
            match happened {
                Happened::Time => {}
                Happened::OtherOrders => passage.change(self.plan()),
                Happened::Read(direction, Ok(n)) if n > 0 => {
                    let bytes = match direction {
                        Direction::Up => read_up.split(),
                        Direction::Down => read_down.split(),
                    };
                    let n_dropped = passage.read(now, direction, bytes.freeze());
                    let dropped = &self.route.counts.bytes_dropped;
                    dropped.fetch_add(n_dropped as u64, Ordering::Relaxed);
                }
                Happened::Read(direction, result) => {
                    passage.read_ended(now, direction, result.is_ok());
                }
                Happened::Put(direction, Ok(Put::Bytes(n))) if n > 0 => {
                    passage.written(now, direction, n);
                    let passed = match direction {
                        Direction::Up => &self.route.counts.bytes_upstream,
                        Direction::Down => &self.route.counts.bytes_downstream,
                    };
                    passed.fetch_add(n as u64, Ordering::Relaxed);
                }
                Happened::Put(direction, Ok(Put::End)) => passage.closed(direction),
                Happened::Put(_, Ok(Put::Bytes(_)) | Err(_)) => passage.write_failed(),
            }
        }
    }
}

enum Put {
    Bytes(usize),
    End,
}

/// Writes what a step allows of the bytes that wait, or passes the end on.
async fn put(to: &mut WriteHalf<'_>, front: &[u8], step: Step) -> std::io::Result<Put> {
    match step.close {
        true => to.shutdown().await.map(|()| Put::End),
        false => to.write(&front[..step.write]).await.map(Put::Bytes),
    }
}

/// Makes the end of a stream a reset.
fn reset(stream: &TcpStream) {
    if let Err(error) = stream.set_zero_linger() {
        tracing::debug!(%error, "a connection ends without a reset");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_has_two_addresses_and_may_have_a_name() {
        let route: RouteSettings = "127.0.0.1:1=es.example:9200".parse().unwrap();
        assert_eq!((route.name, route.to.as_str()), (None, "es.example:9200"));
        let route: RouteSettings = "kafka-1=[::1]:0=127.0.0.1:9092".parse().unwrap();
        assert_eq!(route.name.as_deref(), Some("kafka-1"));
        for text in [
            "",
            "a=b",
            "127.0.0.1:1",
            "127.0.0.1:1=b",
            "a/b=127.0.0.1:1=b:1",
            "=127.0.0.1:1=b:1",
        ] {
            assert_eq!(text.parse::<RouteSettings>(), Err(NoRoute), "{text}");
        }
    }
}
