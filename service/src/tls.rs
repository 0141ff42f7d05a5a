//! TLS for the connections of clients, and who they are by their certificates.
//!
//! In the flow: `server` → **`tls`** → HTTP. OpenSSL speaks it, as it does to Kafka and to Elasticsearch: an operator
//! has one library to keep patched. The files are read again whenever they change; connections that are open stay.

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use openssl::asn1::Asn1Time;
use openssl::error::ErrorStack;
use openssl::pkey::PKey;
use openssl::ssl::{
    AlpnError, Ssl, SslAcceptor, SslMethod, SslRef, SslVerifyMode, select_next_proto,
};
use openssl::x509::X509;
use tokio::net::TcpStream;
use tokio_openssl::SslStream;

use crate::metrics::Namespace;
use crate::reloaded::Reloaded;
use crate::settings::{Setting, Settings};

/// The setting for the certificate of a service.
pub const TLS_CERT: Setting = Setting::optional(
    "tls-cert",
    "FILE",
    "The certificate, and those between it and its root, as PEM; with it HTTPS alone is spoken",
);
/// The setting for its private key.
pub const TLS_KEY: Setting =
    Setting::optional("tls-key", "FILE", "The private key of `--tls-cert`, as PEM");
/// The setting for who vouches for clients.
pub const TLS_CLIENT_CA: Setting = Setting::optional(
    "tls-client-ca",
    "FILE",
    "The authorities, as PEM, whose certificates prove who a client is; the key file says what it may do",
);

/// How long a client may take for its part of the handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// What is offered, as ALPN writes it (RFC 7301 §3.1): HTTP/2, else HTTP/1.1.
const PROTOCOLS: &[u8] = b"\x02h2\x08http/1.1";
/// Lets sessions be resumed only here (`SSL_CTX_set_session_id_context(3)`).
const SESSIONS: &[u8] = b"logflow";

/// Takes connections over TLS. Clones share the files.
#[derive(Clone, Debug)]
pub struct Tls {
    files: Arc<Reloaded<Certificates>>,
}

struct Certificates {
    acceptor: SslAcceptor,
    expires_unix_seconds: i64,
}

/// The names that a client's certificate proves: its DNS names and URIs (RFC 5280 §4.2.1.6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate(pub Vec<String>);

/// A connection with its handshake behind it.
#[derive(Debug)]
pub struct Secured {
    /// To speak HTTP over.
    pub stream: SslStream<TcpStream>,
    /// HTTP/2 was agreed on.
    pub is_http2: bool,
    /// What the client proved, if it did.
    pub certificate: Option<ClientCertificate>,
}

impl Tls {
    /// Reads `--tls-cert`, `--tls-key` and `--tls-client-ca`; `None` without them.
    pub fn from_settings(settings: &mut Settings) -> Option<Self> {
        let certificate: Option<PathBuf> = settings.optional("tls-cert");
        let key: Option<PathBuf> = settings.optional("tls-key");
        let client_ca: Option<PathBuf> = settings.optional("tls-client-ca");
        let (certificate, key) = match (certificate, key) {
            (Some(certificate), Some(key)) => (certificate, key),
            (None, None) => {
                if client_ca.is_some() {
                    settings.reject("tls-client-ca", "needs `tls-cert` and `tls-key`");
                }
                return None;
            }
            (Some(_), None) => {
                settings.reject("tls-cert", "needs `tls-key`");
                return None;
            }
            (None, Some(_)) => {
                settings.reject("tls-key", "needs `tls-cert`");
                return None;
            }
        };
        if client_ca.is_some() && settings.optional::<PathBuf>("api-keys").is_none() {
            settings.reject(
                "tls-client-ca",
                "needs `api-keys`: the key file says what a client with a certificate may do",
            );
        }
        match Self::load(certificate, key, client_ca) {
            Ok(tls) => Some(tls),
            Err(error) => {
                settings.reject("tls-cert", error);
                None
            }
        }
    }

    /// Reads the files.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn load(
        certificate: PathBuf,
        key: PathBuf,
        client_ca: Option<PathBuf>,
    ) -> Result<Self, String> {
        let paths = [certificate, key].into_iter().chain(client_ca).collect();
        let files = Reloaded::load("the TLS certificates", paths, |contents| {
            let client_ca = contents.get(2).map(Vec::as_slice);
            certificates(&contents[0], &contents[1], client_ca)
        })?;
        let files = Arc::new(files);
        Ok(Self { files })
    }

    /// When the certificate that new connections get expires, in seconds since 1970.
    #[must_use]
    pub fn expires_unix_seconds(&self) -> i64 {
        self.files.current().expires_unix_seconds
    }

    /// From now on the files are read again whenever they change.
    pub fn watch(&self, metrics: &Namespace) {
        self.files.watch();
        let files = Arc::clone(&self.files);
        metrics.watch(
            "tls_certificates_stale",
            "1 if the files of the certificates have a fault, and those from before count; else 0.",
            move || f64::from(u8::from(files.is_stale())),
        );
        let files = Arc::clone(&self.files);
        metrics.watch(
            "tls_certificate_expires_timestamp_seconds",
            "When the certificate that new connections get expires, in seconds since 1970.",
            move || files.current().expires_unix_seconds as f64,
        );
    }

    /// Shakes hands.
    ///
    /// # Errors
    /// Why there is no connection, for the log.
    pub async fn accept(&self, stream: TcpStream) -> Result<Secured, String> {
        let ssl = Ssl::new(self.files.current().acceptor.context());
        let stream = ssl.and_then(|ssl| SslStream::new(ssl, stream));
        let mut stream = stream.map_err(|error| error.to_string())?;
        let handshake = Pin::new(&mut stream).accept();
        match tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake).await {
            Ok(Ok(())) => {
                let ssl = stream.ssl();
                let is_http2 = ssl.selected_alpn_protocol() == Some(b"h2");
                let certificate = proved(ssl);
                Ok(Secured {
                    stream,
                    is_http2,
                    certificate,
                })
            }
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("the client did not finish the handshake in time".to_owned()),
        }
    }
}

fn proved(ssl: &SslRef) -> Option<ClientCertificate> {
    let names = ssl.peer_certificate()?.subject_alt_names()?;
    let names = names
        .iter()
        .filter_map(|name| name.dnsname().or_else(|| name.uri()));
    Some(ClientCertificate(names.map(str::to_owned).collect()))
}

/// `client_ca` decides whether clients are asked for a certificate. One that shows none is let in: a key may do, too.
fn certificates(
    certificate: &[u8],
    key: &[u8],
    client_ca: Option<&[u8]>,
) -> Result<Certificates, String> {
    let fault = |what: &'static str| move |error: ErrorStack| format!("{what}: {error}");
    let chain = X509::stack_from_pem(certificate).map_err(fault("the certificate is no PEM"))?;
    let mut chain = chain.into_iter();
    let own = chain.next().ok_or("the certificate's file holds none")?;
    // Without a callback OpenSSL would ask for the password of an encrypted key on the terminal.
    let key = PKey::private_key_from_pem_callback(key, |_| Ok(0));
    let key = key.map_err(fault("the private key is no PEM, or is encrypted"))?;
    if !own.public_key().is_ok_and(|public| public.public_eq(&key)) {
        return Err("the private key belongs to another certificate".to_owned());
    }
    let build = || {
        // Mozilla's intermediate recommendation: TLS 1.2 and 1.3.
        let mut builder = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server())?;
        builder.set_certificate(&own)?;
        for above in chain {
            builder.add_extra_chain_cert(above)?;
        }
        builder.set_private_key(&key)?;
        builder.set_session_id_context(SESSIONS)?;
        builder.set_alpn_select_callback(|_, offered| {
            select_next_proto(PROTOCOLS, offered).ok_or(AlpnError::NOACK)
        });
        Ok(builder)
    };
    let mut builder = build().map_err(fault("the certificate cannot be used"))?;
    if let Some(client_ca) = client_ca {
        let trusted = X509::stack_from_pem(client_ca);
        let trusted = trusted.map_err(fault("the clients' authorities are no PEM"))?;
        if trusted.is_empty() {
            return Err("the file of the clients' authorities holds none".to_owned());
        }
        for authority in trusted {
            let shown = builder.add_client_ca(&authority);
            let added = shown.and_then(|()| builder.cert_store_mut().add_cert(authority));
            added.map_err(fault("an authority of the clients cannot be used"))?;
        }
        builder.set_verify(SslVerifyMode::PEER);
    }
    let epoch = Asn1Time::from_unix(0).map_err(fault("the epoch"))?;
    let lasts = epoch.diff(own.not_after());
    let lasts = lasts.map_err(fault("the certificate's end is no time"))?;
    Ok(Certificates {
        acceptor: builder.build(),
        expires_unix_seconds: i64::from(lasts.days) * 86_400 + i64::from(lasts.secs),
    })
}

#[cfg(test)]
mod tests;
