//! Looks from outside at every port that a secured pipeline listens on: what answers to a stranger?
//!
//! In the flow: `secured` → **`scan`**. The ports are those that the kernel says its processes listen on, not those that
//! the layout says. A stranger speaks HTTP in the clear, HTTP over TLS and Kafka's protocol, without a key, a password or
//! a certificate. What may be answered is in [`PUBLIC`].

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::engines::metadata::brokers_known;
use crate::http::Client;

const TIMEOUT: Duration = Duration::from_secs(2);
/// Paths that a stranger asks for: what tells something, or takes something.
const PATHS: [&str; 12] = [
    "/healthz",
    "/readyz",
    "/metrics",
    "/status",
    "/logs",
    "/",
    "/docs",
    "/openapi.json",
    "/api/v1/pipeline",
    "/_search",
    "/_cluster/health",
    "/loki/api/v1/push",
];
/// What a stranger may see: that a service runs.
const PUBLIC: &str = "/healthz";

/// One port and what a stranger got there.
#[derive(Debug)]
pub(super) struct Port {
    /// Who listens.
    pub(super) process: String,
    /// Where.
    pub(super) address: SocketAddr,
    /// What was answered that must not be.
    pub(super) open: Vec<String>,
    /// What was answered and may be.
    pub(super) public: Vec<&'static str>,
}

/// Asks at every port that these processes (names and leaders of their groups) listen on.
///
/// # Errors
/// When the kernel's tables cannot be read.
pub(super) fn scan(processes: &[(String, u32)], stranger: &Client) -> Result<Vec<Port>> {
    let mut ports = Vec::new();
    let sockets = listening()?;
    for (name, leader) in processes {
        let owned = sockets_of_group(*leader)?;
        let addresses = owned.iter().filter_map(|inode| sockets.get(inode));
        let addresses: HashSet<SocketAddr> = addresses.copied().collect();
        for address in addresses {
            ports.push(ask(name, address, stranger));
        }
    }
    ports.sort_by_key(|port| (port.process.clone(), port.address.port()));
    Ok(ports)
}

fn ask(process: &str, address: SocketAddr, stranger: &Client) -> Port {
    let port = address.port();
    let mut found = Port {
        process: process.to_owned(),
        address,
        open: Vec::new(),
        public: Vec::new(),
    };
    if !address.ip().is_loopback() {
        found.open.push("listens beyond loopback".to_owned());
    }
    for client in [&Client::default(), stranger] {
        for path in PATHS {
            let url = format!("{}{path}", client.url(port));
            // Who does not answer the first request speaks another language.
            let Ok(reply) = client.get(&url, TIMEOUT) else {
                break;
            };
            // 401 and 403 ask who one is; 400 wants TLS; 404 and 405 tell that there is nothing.
            match reply.status {
                400.. => {}
                _ if client.is_over_tls() && path == PUBLIC => found.public.push(path),
                status => found.open.push(format!("{status} to {url}")),
            }
        }
    }
    if brokers_known(address).is_ok() {
        found.open.push("Kafka's metadata in the clear".to_owned());
    }
    found
}

/// The inodes of all listening TCP sockets, with their addresses (proc(5), `/proc/net/tcp`).
fn listening() -> Result<BTreeMap<u64, SocketAddr>> {
    let mut sockets = BTreeMap::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let text = fs::read_to_string(table).with_context(|| format!("cannot read `{table}`"))?;
        sockets.extend(text.lines().filter_map(listening_socket));
    }
    Ok(sockets)
}

/// One line of the table, if it is a listening socket.
fn listening_socket(line: &str) -> Option<(u64, SocketAddr)> {
    const LISTEN: &str = "0A";
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (local, state, inode) = (fields.get(1)?, fields.get(3)?, fields.get(9)?);
    let (ip, port) = local.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let words: Option<Vec<u32>> = (0..ip.len() / 8)
        .map(|n| u32::from_str_radix(&ip[8 * n..8 * n + 8], 16).ok())
        .collect();
    // Each word is in the machine's order.
    let bytes: Vec<u8> = words?.into_iter().flat_map(u32::to_ne_bytes).collect();
    let ip = match bytes.len() {
        4 => std::net::IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?),
        _ => std::net::IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?).to_canonical(),
    };
    (*state == LISTEN).then_some((inode.parse().ok()?, SocketAddr::from((ip, port))))
}

/// The inodes of the sockets that the processes of a group hold.
fn sockets_of_group(leader: u32) -> Result<HashSet<u64>> {
    let mut inodes = HashSet::new();
    let processes = fs::read_dir("/proc").context("cannot read `/proc`")?;
    for process in processes.flatten().map(|entry| entry.path()) {
        if group_of(&process) != Some(leader) {
            continue;
        }
        // Who has ended meanwhile listens nowhere.
        let Ok(files) = fs::read_dir(process.join("fd")) else {
            continue;
        };
        let links = files
            .flatten()
            .filter_map(|file| fs::read_link(file.path()).ok());
        inodes.extend(links.filter_map(|link| {
            let name = link.to_str()?.strip_prefix("socket:[")?;
            name.strip_suffix(']')?.parse::<u64>().ok()
        }));
    }
    Ok(inodes)
}

/// The process group, the fifth field of `/proc/<pid>/stat`, the second of which may contain anything.
fn group_of(process: &Path) -> Option<u32> {
    let stat = fs::read_to_string(process.join("stat")).ok()?;
    let (_, rest) = stat.rsplit_once(") ")?;
    rest.split_whitespace().nth(2)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn a_listening_socket_of_the_own_group_is_found() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let group = group_of(Path::new("/proc/self")).unwrap();
        let sockets = listening().unwrap();
        let ours = sockets_of_group(group).unwrap();
        assert!(
            ours.iter()
                .any(|inode| sockets.get(inode) == Some(&address))
        );
    }

    #[test]
    fn an_open_port_is_found_out() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            use std::io::{Read as _, Write as _};
            for mut stream in listener.incoming().flatten() {
                let mut head = [0; 1024];
                let read = stream.read(&mut head).unwrap_or(0);
                let status = match head[..read].starts_with(b"GET /status") {
                    true => "200 OK",
                    false => "404 Not Found",
                };
                let end = "content-length: 0\r\nconnection: close\r\n\r\n";
                write!(stream, "HTTP/1.1 {status}\r\n{end}").ok();
            }
        });
        let found = ask("es-sink-1", address, &Client::default());
        // In the clear, twice: the stranger here has no TLS either.
        let told = format!("200 to http://127.0.0.1:{}/status", address.port());
        assert_eq!(found.open, [told.clone(), told]);
    }
}
