//! Every fault on real connections: a client, the proxy, and a target that echoes.
//!
//! In the flow: `fault_control` → `fault_proxy` → here. Nothing waits for a time:
//! what is waited for is a byte, an end, or a count at the control port.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use loadtest::fault_control::FaultControl;
use loadtest::fault_proxy::{FaultProxy, RouteSettings};
use loadtest::http_reply;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Nothing on loopback takes so long, unless it is broken.
const BROKEN: Duration = Duration::from_secs(30);

struct World {
    route: SocketAddr,
    control: SocketAddr,
    _running: (Arc<FaultProxy>, FaultControl),
}

/// A target that sends back what it gets, until its client ends.
async fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                // A reset is what some of these tests are about.
                drop(tokio::io::copy(&mut read, &mut write).await);
                drop(write.shutdown().await);
            });
        }
    });
    address
}

impl World {
    async fn new() -> Self {
        Self::to(echo().await, 1).await
    }

    async fn to(target: SocketAddr, seed: u64) -> Self {
        let route: RouteSettings = format!("echo=127.0.0.1:0={target}").parse().unwrap();
        let proxy = Arc::new(FaultProxy::start(&[route], seed).await.unwrap());
        let any = "127.0.0.1:0".parse().unwrap();
        let control = FaultControl::start(any, Arc::clone(&proxy)).await.unwrap();
        Self {
            route: proxy.routes()[0].address(),
            control: control.address(),
            _running: (proxy, control),
        }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.route).await.unwrap()
    }

    /// A connection that works.
    async fn connected(&self) -> TcpStream {
        let mut stream = self.connect().await;
        assert_eq!(exchange(&mut stream, b"hello").await.unwrap(), b"hello");
        stream
    }

    async fn ask(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let mut stream = TcpStream::connect(self.control).await.unwrap();
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut received = Vec::new();
        loop {
            let n = stream.read_buf(&mut received).await.unwrap();
            assert_ne!(n, 0, "no whole reply to {method} {path}");
            if let Some(reply) = http_reply::read(&received).unwrap() {
                let text = String::from_utf8(reply.body).unwrap();
                let value = serde_json::from_str(&text).unwrap_or(Value::String(text));
                return (reply.status, value);
            }
        }
    }

    async fn set(&self, fault: Value) {
        let (status, reply) = self
            .ask("PUT", "/routes/echo/fault", &fault.to_string())
            .await;
        assert_eq!(status, 200, "{reply}");
        assert_eq!(reply["fault"], fault);
    }

    async fn heal(&self) {
        let (status, reply) = self.ask("DELETE", "/routes/echo/fault", "").await;
        assert_eq!((status, &reply["fault"]), (200, &json!({})));
    }

    async fn state(&self) -> Value {
        self.ask("GET", "/routes/echo", "").await.1
    }

    async fn wait_for(&self, what: &str, condition: impl Fn(&Value) -> bool) -> Value {
        let began = Instant::now();
        loop {
            let state = self.state().await;
            if condition(&state) {
                return state;
            }
            assert!(began.elapsed() < BROKEN, "{what}: {state}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Until a fault has come to so many connections that exist.
    async fn applied(&self, fault: &str, n: u64) {
        self.wait_for(fault, |state| state["faults_applied"][fault] == n)
            .await;
    }
}

async fn exchange(stream: &mut TcpStream, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    stream.write_all(bytes).await?;
    receive(stream, bytes.len()).await
}

async fn receive(stream: &mut TcpStream, n: usize) -> std::io::Result<Vec<u8>> {
    let mut received = vec![0; n];
    tokio::time::timeout(BROKEN, stream.read_exact(&mut received))
        .await
        .expect("the bytes arrive")?;
    Ok(received)
}

/// All that still arrives, and whether a reset ends it.
async fn rest(stream: &mut TcpStream) -> (Vec<u8>, bool) {
    let mut received = Vec::new();
    let ended = tokio::time::timeout(BROKEN, stream.read_to_end(&mut received))
        .await
        .expect("the connection ends");
    let reset = ended.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset);
    (received, reset)
}

fn pattern(n: usize) -> Vec<u8> {
    (0..n).map(|i| (i % 251) as u8).collect()
}

#[tokio::test]
async fn without_a_fault_bytes_and_ends_pass_and_are_counted() {
    let world = World::new().await;
    let mut stream = world.connect().await;
    let sent = pattern(5_000_000);
    let (mut read, mut write) = stream.split();
    let sending = async {
        write.write_all(&sent).await.unwrap();
        write.shutdown().await.unwrap();
    };
    let mut received = Vec::new();
    let ((), n) = tokio::join!(sending, read.read_to_end(&mut received));
    assert_eq!(n.unwrap(), sent.len());
    assert!(received == sent, "byte for byte");
    drop(stream);
    let state = world
        .wait_for("its end", |state| state["connections_open"] == 0)
        .await;
    assert_eq!(state["connections_total"], 1);
    assert_eq!(state["connections_reset"], 0);
    assert_eq!(state["bytes_upstream"], 5_000_000);
    assert_eq!(state["bytes_downstream"], 5_000_000);
    assert_eq!(state["faults_applied"], json!({}));
}

#[tokio::test]
async fn a_delay_holds_bytes_of_existing_connections_back_both_ways() {
    let world = World::new().await;
    let mut stream = world.connected().await;
    world
        .set(json!({ "delay": { "ms": 60, "jitter_ms": 20, "probability": 1.0 } }))
        .await;
    world.applied("delay", 1).await;
    let began = Instant::now();
    let sent = pattern(100_000);
    assert!(exchange(&mut stream, &sent).await.unwrap() == sent);
    assert!(
        began.elapsed() >= Duration::from_millis(120),
        "there and back"
    );
}

#[tokio::test]
async fn a_throttle_lets_so_many_bytes_a_second_through() {
    let world = World::new().await;
    let mut stream = world.connected().await;
    world
        .set(json!({ "throttle": { "bytes_per_second": 50_000, "probability": 1.0 } }))
        .await;
    world.applied("throttle", 1).await;
    let began = Instant::now();
    let sent = pattern(11_000);
    assert!(exchange(&mut stream, &sent).await.unwrap() == sent);
    // The first portion is free: 1,000 bytes are a fiftieth of a second's.
    assert!(began.elapsed() >= Duration::from_millis(200));
}

#[tokio::test]
async fn what_is_dropped_upstream_never_reaches_the_target_and_healing_resets_the_connection() {
    let world = World::new().await;
    let mut lossy = world.connected().await;
    let mut idle = world.connected().await;
    world.set(json!({ "drop_upstream": true })).await;
    world.applied("drop_upstream", 2).await;
    lossy.write_all(b"into the void").await.unwrap();
    world
        .wait_for("the loss", |state| state["bytes_dropped"] == 13)
        .await;
    assert_eq!(world.state().await["bytes_upstream"], 10, "two hellos");
    world.heal().await;
    assert_eq!(rest(&mut lossy).await, (Vec::new(), true));
    assert_eq!(
        exchange(&mut idle, b"still here").await.unwrap(),
        b"still here"
    );
}

#[tokio::test]
async fn what_is_dropped_downstream_reached_the_target_and_no_reply_comes() {
    let world = World::new().await;
    let mut stream = world.connected().await;
    world
        .set(json!({ "drop_downstream": { "probability": 1.0 } }))
        .await;
    world.applied("drop_downstream", 1).await;
    stream.write_all(b"done, and nobody hears").await.unwrap();
    let state = world
        .wait_for("the loss", |state| state["bytes_dropped"] == 22)
        .await;
    assert_eq!(state["bytes_upstream"], 5 + 22);
    assert_eq!(state["bytes_downstream"], 5);
    world.heal().await;
    assert_eq!(rest(&mut stream).await, (Vec::new(), true));
}

#[tokio::test]
async fn a_connection_is_reset_after_so_many_bytes() {
    let world = World::new().await;
    world
        .set(json!({ "reset_after": { "bytes": 30, "probability": 1.0 } }))
        .await;
    let mut stream = world.connect().await;
    assert_eq!(
        exchange(&mut stream, b"0123456789").await.unwrap(),
        b"0123456789"
    );
    stream.write_all(b"abcdefghijkl").await.unwrap();
    assert_eq!(rest(&mut stream).await, (Vec::new(), true));
    let state = world
        .wait_for("the reset", |state| state["connections_reset"] == 1)
        .await;
    assert_eq!(state["bytes_upstream"], 20);
    assert_eq!(state["bytes_downstream"], 10);
}

#[tokio::test]
async fn a_frozen_route_accepts_and_holds_and_later_nothing_is_lost() {
    let world = World::new().await;
    let mut old = world.connected().await;
    world.set(json!({ "freeze": true })).await;
    world.applied("freeze", 1).await;
    let mut new = world.connect().await;
    old.write_all(b"old").await.unwrap();
    new.write_all(b"new").await.unwrap();
    new.shutdown().await.unwrap();
    world.applied("freeze", 2).await;
    let state = world.state().await;
    assert_eq!(state["connections_open"], 2);
    assert_eq!(state["bytes_upstream"], 5, "the hello");
    world.heal().await;
    assert_eq!(receive(&mut old, 3).await.unwrap(), b"old");
    assert_eq!(rest(&mut new).await, (b"new".to_vec(), false));
}

#[tokio::test]
async fn refusal_resets_what_exists_and_what_comes() {
    let world = World::new().await;
    let mut old = world.connected().await;
    world.set(json!({ "refuse": true })).await;
    assert_eq!(rest(&mut old).await, (Vec::new(), true));
    // The reset may come before the connection is even reported.
    if let Ok(mut new) = TcpStream::connect(world.route).await {
        assert_eq!(rest(&mut new).await.0, b"");
    }
    world
        .wait_for("both resets", |state| state["connections_reset"] == 2)
        .await;
    world.heal().await;
    world.connected().await;
}

#[tokio::test]
async fn faults_combine_and_a_new_set_replaces_the_old_one() {
    let world = World::new().await;
    let mut stream = world.connected().await;
    let delay = json!({ "ms": 50, "jitter_ms": 0, "probability": 1.0 });
    world
        .set(json!({ "delay": delay, "reset_after": { "bytes": 4, "probability": 1.0 } }))
        .await;
    world.applied("reset_after", 1).await;
    let began = Instant::now();
    stream.write_all(b"12345678").await.unwrap();
    assert_eq!(rest(&mut stream).await, (Vec::new(), true));
    assert!(began.elapsed() >= Duration::from_millis(50));
    world
        .set(json!({ "throttle": { "bytes_per_second": 1_000_000, "probability": 1.0 } }))
        .await;
    world.connected().await;
    assert_eq!(world.state().await["faults_applied"]["delay"], 1);
}

#[tokio::test]
async fn a_probability_hits_the_same_connections_with_the_same_seed() {
    let target = echo().await;
    let mut runs = Vec::new();
    for seed in [5, 5, 6] {
        let world = World::to(target, seed).await;
        world
            .set(json!({ "reset_after": { "bytes": 0, "probability": 0.5 } }))
            .await;
        let mut hit = Vec::new();
        for _ in 0..32 {
            let lives = match TcpStream::connect(world.route).await {
                Ok(mut stream) => exchange(&mut stream, b"x").await.is_ok(),
                Err(_) => false,
            };
            hit.push(!lives);
        }
        assert!(hit.contains(&true) && hit.contains(&false));
        runs.push(hit);
    }
    assert_eq!(runs[0], runs[1]);
    assert_ne!(runs[0], runs[2]);
}

#[tokio::test]
async fn a_target_that_is_not_there_is_a_reset_and_is_counted() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = listener.local_addr().unwrap();
    drop(listener);
    let world = World::to(nobody, 1).await;
    if let Ok(mut stream) = TcpStream::connect(world.route).await {
        assert_eq!(rest(&mut stream).await.0, b"");
    }
    world
        .wait_for("the failure", |state| state["target_unreachable"] == 1)
        .await;
}

#[tokio::test]
async fn the_control_port_lists_the_routes_and_refuses_what_it_does_not_know() {
    let world = World::new().await;
    let (status, all) = world.ask("GET", "/routes", "").await;
    assert_eq!(status, 200);
    assert_eq!(all["routes"][0]["name"], "echo");
    assert_eq!(all["routes"][0]["listen"], world.route.to_string());
    assert_eq!(world.ask("GET", "/readyz", "").await.0, 200);
    for (method, path, body, expected, reason) in [
        (
            "GET",
            "/routes/x",
            "",
            404,
            "there is no route `x`; there are echo",
        ),
        ("PUT", "/routes/x/fault", "{}", 404, "there is no route `x`"),
        (
            "DELETE",
            "/routes/x/fault",
            "",
            404,
            "there is no route `x`",
        ),
        ("PUT", "/routes/echo/fault", "{", 400, "EOF"),
        (
            "PUT",
            "/routes/echo/fault",
            r#"{"melt":1}"#,
            400,
            "unknown field `melt`",
        ),
        (
            "PUT",
            "/routes/echo/fault",
            r#"{"delay":{"ms":9999999}}"#,
            400,
            "at most",
        ),
    ] {
        let (status, reply) = world.ask(method, path, body).await;
        assert_eq!(status, expected, "{method} {path} {body}: {reply}");
        assert!(reply["error"].as_str().unwrap().contains(reason), "{reply}");
    }
    assert_eq!(world.state().await["fault"], json!({}), "nothing was set");
}

#[tokio::test]
async fn two_routes_of_one_name_and_a_taken_port_are_refused() {
    let target = echo().await;
    let route = |name: &str, listen: &str| -> RouteSettings {
        format!("{name}={listen}={target}").parse().unwrap()
    };
    let twice = [route("a", "127.0.0.1:0"), route("a", "127.0.0.1:0")];
    let error = FaultProxy::start(&twice, 1).await.unwrap_err().to_string();
    assert_eq!(error, "two routes have the name `a`");
    let taken = [route("a", &target.to_string())];
    let error = FaultProxy::start(&taken, 1).await.unwrap_err().to_string();
    assert!(error.contains(&target.to_string()), "{error}");
}
