use std::path::Path;
use std::time::Duration;

use axum::extract::ConnectInfo;
use axum::routing::get;
use axum::{Extension, Router};
use openssl::asn1::Asn1Time;
use openssl::bn::{BigNum, MsbOption};
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::ssl::{SslConnector, SslConnectorBuilder, SslVersion};
use openssl::x509::extension::{BasicConstraints, SubjectAlternativeName};
use openssl::x509::{X509, X509NameBuilder};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

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
}

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
    let tls_of_server = Some(tls.clone());
    let server = Server {
        listener,
        tls: tls_of_server,
        connections_max: 10,
        head_timeout,
        open,
    };
    let who = |_: Extension<ConnectInfo<std::net::SocketAddr>>,
               certificate: Option<Extension<ClientCertificate>>| async move {
        certificate.map_or(
            "nobody".to_owned(),
            |Extension(ClientCertificate(names))| names.join(" "),
        )
    };
    let router = Router::new().route("/", get(who));
    tokio::spawn(server.serve(router, std::future::pending(), Duration::ZERO));
    Stage {
        folder,
        authority,
        tls,
        address,
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
    stage.tls.acceptor.look();
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
    stage.tls.acceptor.look();
    assert!(stage.tls.acceptor.is_stale());
    let still = stage.connect(stage.client(None)).await.unwrap();
    assert_eq!(serial(&still), serial(&new));
}

#[tokio::test]
async fn an_idle_connection_is_closed_in_either_version() {
    let stage = stage(Duration::from_millis(200)).await;
    for protocol in [&b"\x02h2"[..], b"\x08http/1.1"] {
        let mut client = stage.client(None);
        client.set_alpn_protos(protocol).unwrap();
        let mut stream = stage.connect(client).await.unwrap();
        if protocol == b"\x02h2" {
            // The preface, and empty settings (RFC 9113 §3.4, §6.5).
            let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
            stream.write_all(preface).await.unwrap();
        }
        let mut rest = Vec::new();
        let end = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut rest));
        assert!(end.await.is_ok(), "{protocol:?} stays open");
    }
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
    for (certificate, key, client_ca, expected) in [
        (
            &certificate,
            &other_key,
            None,
            "belongs to another certificate",
        ),
        (&empty, &key, None, "holds none"),
        (&certificate, &empty, None, "the private key is no PEM"),
        (&key, &key, None, "certificate"),
        (&certificate, &key, Some(&empty), "authorities holds none"),
        (&folder.path().join("absent"), &key, None, "cannot be read"),
    ] {
        let error = Tls::load(certificate.clone(), key.clone(), client_ca.cloned()).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
}
