use std::path::Path;
use std::time::{Duration, Instant};

use axum::extract::ConnectInfo;
use axum::routing::get;
use axum::{Extension, Router};
use openssl::bn::{BigNum, MsbOption};
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::ssl::{SslConnector, SslConnectorBuilder, SslVersion};
use openssl::symm::Cipher;
use openssl::x509::extension::{BasicConstraints, SubjectAlternativeName};
use openssl::x509::{X509, X509NameBuilder};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::*;
use crate::server::Server;

struct Certified {
    certificate: X509,
    key: PKey<Private>,
}

/// A certificate for the name, by the authority or, without one, an authority itself.
fn certified(name: &str, authority: Option<&Certified>) -> Certified {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    let key = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
    let mut subject = X509NameBuilder::new().unwrap();
    subject.append_entry_by_text("CN", name).unwrap();
    let subject = subject.build();
    let mut serial = BigNum::new().unwrap();
    serial.rand(64, MsbOption::MAYBE_ZERO, false).unwrap();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    builder
        .set_serial_number(&serial.to_asn1_integer().unwrap())
        .unwrap();
    builder.set_subject_name(&subject).unwrap();
    builder.set_pubkey(&key).unwrap();
    builder
        .set_not_before(&Asn1Time::days_from_now(0).unwrap())
        .unwrap();
    builder
        .set_not_after(&Asn1Time::days_from_now(1).unwrap())
        .unwrap();
    match authority {
        None => {
            let extension = BasicConstraints::new().critical().ca().build().unwrap();
            builder.append_extension(extension).unwrap();
            builder.set_issuer_name(&subject).unwrap();
            builder.sign(&key, MessageDigest::sha256()).unwrap();
        }
        Some(authority) => {
            let context = builder.x509v3_context(Some(&authority.certificate), None);
            let names = SubjectAlternativeName::new()
                .dns(name)
                .uri(&format!("spiffe://{name}"))
                .build(&context);
            builder.append_extension(names.unwrap()).unwrap();
            builder
                .set_issuer_name(authority.certificate.subject_name())
                .unwrap();
            builder
                .sign(&authority.key, MessageDigest::sha256())
                .unwrap();
        }
    }
    let certificate = builder.build();
    Certified { certificate, key }
}

fn write(folder: &Path, name: &str, certified: &Certified) -> (PathBuf, PathBuf) {
    let paths = (
        folder.join(format!("{name}.pem")),
        folder.join(format!("{name}.key")),
    );
    std::fs::write(&paths.0, certified.certificate.to_pem().unwrap()).unwrap();
    std::fs::write(&paths.1, certified.key.private_key_to_pem_pkcs8().unwrap()).unwrap();
    paths
}

/// A server with certificates of its own, and what its clients need.
struct Stage {
    folder: tempfile::TempDir,
    authority: Certified,
    tls: Tls,
    address: std::net::SocketAddr,
    open: prometheus::IntGauge,
    stop: oneshot::Sender<()>,
    served: JoinHandle<bool>,
}

/// More than the windows of a connection hold.
const SLOW_BYTES: usize = 300_000;

async fn stage(head_timeout: Duration) -> Stage {
    let folder = tempfile::tempdir().unwrap();
    let authority = certified("authority", None);
    let (ca, _) = write(folder.path(), "ca", &authority);
    let (certificate, key) = write(
        folder.path(),
        "server",
        &certified("localhost", Some(&authority)),
    );
    let tls = Tls::load(certificate, key, Some(ca)).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let open = prometheus::IntGauge::new("open", "open").unwrap();
    let server = Server {
        listener,
        tls: Some(tls.clone()),
        connections_max: 10,
        head_timeout,
        open: open.clone(),
    };
    let who = |_: Extension<ConnectInfo<std::net::SocketAddr>>,
               certificate: Option<Extension<ClientCertificate>>| async move {
        certificate.map_or(
            "nobody".to_owned(),
            |Extension(ClientCertificate(names))| names.join(" "),
        )
    };
    let slow = move || async move {
        tokio::time::sleep(3 * head_timeout).await;
        "x".repeat(SLOW_BYTES)
    };
    let router = Router::new().route("/", get(who)).route("/slow", get(slow));
    let (stop, stopped) = oneshot::channel();
    let stopped = async {
        // A stage that is dropped stops, too.
        drop(stopped.await);
    };
    let served = tokio::spawn(server.serve(router, stopped, Duration::from_secs(5)));
    Stage {
        folder,
        authority,
        tls,
        address,
        open,
        stop,
        served,
    }
}

impl Stage {
    fn client(&self, certificate: Option<&Certified>) -> SslConnectorBuilder {
        let mut builder = SslConnector::builder(SslMethod::tls_client()).unwrap();
        builder
            .cert_store_mut()
            .add_cert(self.authority.certificate.clone())
            .unwrap();
        if let Some(certified) = certificate {
            builder.set_certificate(&certified.certificate).unwrap();
            builder.set_private_key(&certified.key).unwrap();
        }
        builder
    }

    async fn connect(&self, client: SslConnectorBuilder) -> Result<SslStream<TcpStream>, String> {
        let ssl = client
            .build()
            .configure()
            .unwrap()
            .into_ssl("localhost")
            .unwrap();
        let stream = TcpStream::connect(self.address).await.unwrap();
        let mut stream = SslStream::new(ssl, stream).unwrap();
        let connected = Pin::new(&mut stream).connect().await;
        connected
            .map(|()| stream)
            .map_err(|error| error.to_string())
    }

    /// A client of HTTP/2, and what has to be driven for it.
    async fn speak_http2(
        &self,
    ) -> (
        h2::client::SendRequest<bytes::Bytes>,
        h2::client::Connection<SslStream<TcpStream>>,
    ) {
        let mut client = self.client(None);
        client.set_alpn_protos(b"\x02h2").unwrap();
        let stream = self.connect(client).await.unwrap();
        h2::client::handshake(stream).await.unwrap()
    }

    /// The server's answer; an error is that of the handshake, which TLS 1.3 tells a client only now.
    async fn ask(&self, stream: &mut SslStream<TcpStream>) -> Result<String, String> {
        let request = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
        stream
            .write_all(request)
            .await
            .map_err(|error| error.to_string())?;
        let mut reply = Vec::new();
        let mut buffer = [0; 4096];
        while !String::from_utf8_lossy(&reply).contains("\r\n\r\n") {
            match stream.read(&mut buffer).await {
                Ok(0) => return Err("closed".to_owned()),
                Ok(read) => reply.extend_from_slice(&buffer[..read]),
                Err(error) => return Err(error.to_string()),
            }
        }
        let text = String::from_utf8(reply).unwrap();
        Ok(text.split("\r\n\r\n").last().unwrap_or_default().to_owned())
    }
}

#[tokio::test]
async fn a_client_is_who_an_authority_of_ours_says_or_nobody() {
    let stage = stage(Duration::from_secs(10)).await;
    let agent = certified("agent.example", Some(&stage.authority));
    for (certificate, expected) in [
        (None, "nobody"),
        (Some(&agent), "agent.example spiffe://agent.example"),
    ] {
        let mut stream = stage.connect(stage.client(certificate)).await.unwrap();
        assert_eq!(stage.ask(&mut stream).await.as_deref(), Ok(expected));
    }
    let stranger = certified("agent.example", Some(&certified("another authority", None)));
    let refused = match stage.connect(stage.client(Some(&stranger))).await {
        Ok(mut stream) => stage.ask(&mut stream).await.unwrap_err(),
        Err(error) => error,
    };
    assert!(!refused.is_empty());
}

#[tokio::test]
async fn old_versions_are_refused_and_http_2_is_agreed_on() {
    let stage = stage(Duration::from_secs(10)).await;
    let mut old = stage.client(None);
    old.set_max_proto_version(Some(SslVersion::TLS1_1)).unwrap();
    old.set_min_proto_version(Some(SslVersion::TLS1)).unwrap();
    assert!(stage.connect(old).await.is_err());
    for (offered, chosen) in [
        (&b"\x08http/1.1\x02h2"[..], Some(&b"h2"[..])),
        (b"\x08http/1.1", Some(b"http/1.1")),
        (b"\x05spdy3", None),
    ] {
        let mut client = stage.client(None);
        client.set_alpn_protos(offered).unwrap();
        let stream = stage.connect(client).await.unwrap();
        assert_eq!(stream.ssl().selected_alpn_protocol(), chosen);
    }
}

#[tokio::test]
async fn a_new_certificate_counts_for_new_connections_and_old_ones_stay() {
    let stage = stage(Duration::from_secs(60)).await;
    let serial = |stream: &SslStream<TcpStream>| {
        let certificate = stream.ssl().peer_certificate().unwrap();
        certificate
            .serial_number()
            .to_bn()
            .unwrap()
            .to_hex_str()
            .unwrap()
            .to_string()
    };
    let mut old = stage.connect(stage.client(None)).await.unwrap();
    write(
        stage.folder.path(),
        "server",
        &certified("localhost", Some(&stage.authority)),
    );
    stage.tls.files.look();
    stage.tls.files.look();
    let new = stage.connect(stage.client(None)).await.unwrap();
    assert_ne!(serial(&old), serial(&new));
    assert_eq!(stage.ask(&mut old).await.as_deref(), Ok("nobody"));
    // Half of a new pair: the key of another certificate.
    let other = certified("localhost", Some(&stage.authority));
    std::fs::write(
        stage.folder.path().join("server.key"),
        other.key.private_key_to_pem_pkcs8().unwrap(),
    )
    .unwrap();
    stage.tls.files.look();
    stage.tls.files.look();
    assert!(stage.tls.files.is_stale());
    let still = stage.connect(stage.client(None)).await.unwrap();
    assert_eq!(serial(&still), serial(&new));
}

/// How long until the server closes a connection over which this was sent, and nothing after it.
async fn closed_after(stage: &Stage, protocols: &[u8], sent: &[u8]) -> Duration {
    let mut client = stage.client(None);
    client.set_alpn_protos(protocols).unwrap();
    let mut stream = stage.connect(client).await.unwrap();
    let started = Instant::now();
    stream.write_all(sent).await.unwrap();
    let mut rest = Vec::new();
    let end = stream.read_to_end(&mut rest);
    let end = tokio::time::timeout(Duration::from_secs(10), end).await;
    assert!(end.is_ok(), "{sent:?} keeps it open");
    started.elapsed()
}

#[tokio::test]
async fn a_connection_without_a_request_is_closed_in_either_version() {
    let patience = Duration::from_millis(300);
    let stage = stage(patience).await;
    for (protocols, sent) in [
        (&b"\x08http/1.1"[..], &b""[..]),
        (b"\x08http/1.1", b"GET / HT"),
        (b"\x02h2", b""),
        (b"\x02h2", b"PRI * HTTP/2.0"),
    ] {
        let took = closed_after(&stage, protocols, sent).await;
        assert!(took >= patience, "{sent:?} is closed after {took:?}");
    }
}

#[tokio::test]
async fn an_idle_client_of_http_2_that_answers_pings_is_told_to_go() {
    let stage = stage(Duration::from_millis(300)).await;
    let (mut requests, connection) = stage.speak_http2().await;
    let connection = tokio::spawn(connection);
    let request = axum::http::Request::get("https://localhost/");
    let (reply, _) = requests
        .send_request(request.body(()).unwrap(), true)
        .unwrap();
    assert_eq!(reply.await.unwrap().status(), 200);
    // The client would stay: it answers every ping, and keeps its handle.
    let end = tokio::time::timeout(Duration::from_secs(10), connection).await;
    end.unwrap().unwrap().unwrap();
    drop(requests);
}

#[tokio::test]
async fn a_reply_that_does_not_wait_for_the_body_is_heard_over_http_2() {
    let stage = stage(Duration::from_secs(60)).await;
    let (mut requests, connection) = stage.speak_http2().await;
    tokio::spawn(connection);
    for parts in 0..20 {
        let request = axum::http::Request::post("https://localhost/nowhere");
        let (reply, mut body) = requests
            .send_request(request.body(()).unwrap(), false)
            .unwrap();
        for _ in 0..parts {
            tokio::time::sleep(Duration::from_millis(1)).await;
            body.send_data("x".repeat(10_000).into(), false).unwrap();
        }
        body.send_data("".into(), true).unwrap();
        assert_eq!(reply.await.unwrap().status(), 404);
        let reset = std::future::poll_fn(|context| body.poll_reset(context));
        let reset = tokio::time::timeout(Duration::from_millis(20), reset).await;
        assert!(!matches!(reset, Ok(Ok(_))), "{parts} parts: {reset:?}");
    }
}

#[tokio::test]
async fn a_request_over_http_2_outlives_the_patience_for_idle_connections() {
    let stage = stage(Duration::from_millis(200)).await;
    let (mut requests, connection) = stage.speak_http2().await;
    let connection = tokio::spawn(connection);
    let request = axum::http::Request::get("https://localhost/slow");
    let (reply, _) = requests
        .send_request(request.body(()).unwrap(), true)
        .unwrap();
    let mut body = reply.await.unwrap().into_body();
    let mut bytes = 0;
    while let Some(part) = body.data().await {
        let part = part.unwrap();
        bytes += part.len();
        body.flow_control().release_capacity(part.len()).unwrap();
        // A client that takes its time.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(bytes, SLOW_BYTES);
    drop(requests);
    let end = tokio::time::timeout(Duration::from_secs(10), connection).await;
    end.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn a_handshake_that_does_not_come_holds_up_no_drain_and_no_slot() {
    let stage = stage(Duration::from_secs(60)).await;
    let silent = TcpStream::connect(stage.address).await.unwrap();
    let mut broken = TcpStream::connect(stage.address).await.unwrap();
    broken.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while stage.open.get() != 1 {
        assert!(Instant::now() < deadline, "{} are open", stage.open.get());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut halfway = stage.client(None);
    halfway.set_alpn_protos(b"\x02h2").unwrap();
    let halfway = stage.connect(halfway).await.unwrap();
    stage.stop.send(()).unwrap();
    let drained = tokio::time::timeout(Duration::from_secs(10), stage.served).await;
    assert!(drained.unwrap().unwrap(), "it waited for the silent one");
    assert_eq!(stage.open.get(), 0);
    drop((silent, halfway));
}

#[test]
fn files_that_do_not_go_together_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let authority = certified("authority", None);
    let (certificate, key) = write(
        folder.path(),
        "server",
        &certified("localhost", Some(&authority)),
    );
    let (_, other_key) = write(
        folder.path(),
        "other",
        &certified("localhost", Some(&authority)),
    );
    let empty = folder.path().join("empty");
    std::fs::write(&empty, "").unwrap();
    let encrypted = folder.path().join("encrypted");
    let pem = authority
        .key
        .private_key_to_pem_pkcs8_passphrase(Cipher::aes_128_cbc(), b"secret");
    std::fs::write(&encrypted, pem.unwrap()).unwrap();
    for (certificate, key, client_ca, expected) in [
        (
            &certificate,
            &other_key,
            None,
            "belongs to another certificate",
        ),
        (&empty, &key, None, "holds none"),
        (&certificate, &empty, None, "the private key is no PEM"),
        (&certificate, &encrypted, None, "or is encrypted"),
        (&key, &key, None, "certificate"),
        (&certificate, &key, Some(&empty), "authorities holds none"),
        (&folder.path().join("absent"), &key, None, "cannot be read"),
    ] {
        let error = Tls::load(certificate.clone(), key.clone(), client_ca.cloned()).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
}
