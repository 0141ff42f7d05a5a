//! Who a service is to those that it asks, and whom it trusts: to Elasticsearch, query-api to the sinks, and all to a
//! collector of traces.
//!
//! In the flow: files → **`login`** → `elasticsearch`, query-api's `sinks`. A password or an API key is in a file, and so can be replaced
//! while the service runs; only who writes them into a node's address has to start it again.

use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use elasticsearch::cert::{Certificate, CertificateValidation};
use elasticsearch::http::headers::HeaderValue;

use crate::metrics::Namespace;
use crate::reloaded::Reloaded;
use crate::settings::{Setting, Settings};

/// The setting for the file with the credentials.
pub const ELASTICSEARCH_CREDENTIALS: Setting = Setting::optional(
    "elasticsearch-credentials",
    "FILE",
    "Who this service is to Elasticsearch, in one line: `USER:PASSWORD`, or `ApiKey` and the encoded key; it is read again whenever it changes",
);
/// The setting for the file with the authorities.
pub const ELASTICSEARCH_CA: Setting = Setting::optional(
    "elasticsearch-ca",
    "FILE",
    "Authorities, as PEM, that vouch for Elasticsearch's certificates beside those of the system",
);

/// The setting for the file with the credentials for sinks.
pub const SINK_CREDENTIALS: Setting = Setting::optional(
    "sink-credentials",
    "FILE",
    "Who this service is to sinks that ask for a key of the scope `observe`, in one line: `ID:SECRET`; it is read again whenever it changes",
);
/// The setting for the file with the authorities of sinks.
pub const SINK_CA: Setting = Setting::optional(
    "sink-ca",
    "FILE",
    "Authorities, as PEM, that vouch for the sinks' certificates beside those of the system",
);

/// The setting for the file with the credentials for a collector of traces.
pub const OTLP_CREDENTIALS: Setting = Setting::optional(
    "otlp-credentials",
    "FILE",
    "Who this service is to the collector of traces, in one line: `USER:PASSWORD`, or `Bearer` and a token; it is read again whenever it changes",
);
/// The setting for the file with the authorities of a collector of traces.
pub const OTLP_CA: Setting = Setting::optional(
    "otlp-ca",
    "FILE",
    "Authorities, as PEM, that vouch for the certificate of the collector of traces beside those of the system",
);

/// Whom a login is for.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// The setting of its addresses.
    addresses: &'static str,
    credentials: &'static str,
    ca: &'static str,
    /// What the log calls the file with the credentials.
    what: &'static str,
    stale_metric: &'static str,
    stale_help: &'static str,
}

/// The nodes of Elasticsearch.
pub const ELASTICSEARCH: Peer = Peer {
    addresses: "elasticsearch-url",
    credentials: ELASTICSEARCH_CREDENTIALS.name,
    ca: ELASTICSEARCH_CA.name,
    what: "the credentials for Elasticsearch",
    stale_metric: "elasticsearch_credentials_stale",
    stale_help: "1 if the file with the credentials for Elasticsearch has a fault, and those from before count; else 0.",
};
/// The sinks that tell their state.
pub const SINKS: Peer = Peer {
    addresses: "sink-url",
    credentials: SINK_CREDENTIALS.name,
    ca: SINK_CA.name,
    what: "the credentials for the sinks",
    stale_metric: "sink_credentials_stale",
    stale_help: "1 if the file with the credentials for the sinks has a fault, and those from before count; else 0.",
};

/// The collector of traces.
pub const COLLECTOR: Peer = Peer {
    addresses: "otlp-endpoint",
    credentials: OTLP_CREDENTIALS.name,
    ca: OTLP_CA.name,
    what: "the credentials for the collector of traces",
    stale_metric: "otlp_credentials_stale",
    stale_help: "1 if the file with the credentials for the collector of traces has a fault, and those from before count; else 0.",
};

/// What is shown to the nodes, and what they have to show. Clones share the file.
#[derive(Clone, Debug, Default)]
pub struct Login {
    credentials: Option<Credentials>,
    authorities: Option<Vec<u8>>,
}

#[derive(Clone, Debug)]
struct Credentials {
    peer: Peer,
    header: Arc<Reloaded<HeaderValue>>,
}

impl Login {
    /// Reads the two settings of `peer`; what is wrong with the files is a fault of the settings. Credentials may stand
    /// in the addresses instead, as `addresses_have_credentials` says, but not in both.
    pub fn from_settings(
        settings: &mut Settings,
        peer: &Peer,
        addresses_have_credentials: bool,
    ) -> Self {
        let file: Option<PathBuf> = settings.optional(peer.credentials);
        if file.is_some() && addresses_have_credentials {
            let addresses = peer.addresses;
            let why = format!("contradicts the credentials in `{addresses}`; give one of them");
            settings.reject(peer.credentials, why);
        }
        let credentials = file.and_then(|file| {
            let loaded = Reloaded::load(peer.what, vec![file], |contents| {
                authorization(contents.first().map_or(&[], Vec::as_slice))
            });
            match loaded {
                Ok(header) => Some(Credentials {
                    peer: *peer,
                    header: Arc::new(header),
                }),
                Err(error) => {
                    settings.reject(peer.credentials, error);
                    None
                }
            }
        });
        let file: Option<PathBuf> = settings.optional(peer.ca);
        let authorities = file.and_then(|file| {
            let read = std::fs::read(&file).map_err(|error| error.to_string());
            let checked = read.and_then(|pem| match Certificate::from_pem(&pem) {
                Ok(_) => Ok(pem),
                Err(error) => Err(error.to_string()),
            });
            checked
                .map_err(|error| {
                    let reason = format!("`{}`: {error}", file.display());
                    settings.reject(peer.ca, reason);
                })
                .ok()
        });
        Self {
            credentials,
            authorities,
        }
    }

    /// From now on the credentials are read again whenever their file changes.
    pub fn watch(&self, metrics: &Namespace) {
        let Some(Credentials { peer, header }) = &self.credentials else {
            return;
        };
        header.watch();
        let header = Arc::clone(header);
        metrics.watch(peer.stale_metric, peer.stale_help, move || {
            f64::from(u8::from(header.is_stale()))
        });
    }

    /// What `Authorization` says of the next request; `None` leaves it to the address.
    #[must_use]
    pub fn authorization(&self) -> Option<HeaderValue> {
        let credentials = self.credentials.as_ref()?;
        Some(HeaderValue::clone(&credentials.header.current()))
    }

    /// Who vouches for certificates beside the authorities of the system.
    ///
    /// # Errors
    /// If they cannot be read, which [`Login::from_settings`] has excluded.
    pub fn authorities(&self) -> Result<Option<Certificate>, String> {
        let read = self.authorities.as_deref().map(Certificate::from_pem);
        read.transpose().map_err(|error| error.to_string())
    }

    /// How a node's certificate is checked.
    pub(crate) fn validation(&self) -> Result<CertificateValidation, String> {
        let authorities = self.authorities()?;
        Ok(authorities.map_or(CertificateValidation::Default, CertificateValidation::Full))
    }
}

/// The header that a file of credentials means.
fn authorization(file: &[u8]) -> Result<HeaderValue, String> {
    const SHAPE: &str = "the credentials are one line, `USER:PASSWORD`, or `ApiKey` and the encoded key, or `Bearer` and a token";
    let text = std::str::from_utf8(file).map_err(|_| SHAPE.to_owned())?;
    let line = text.trim_end_matches(['\r', '\n']);
    let token = ["ApiKey", "Bearer"]
        .into_iter()
        .find_map(|scheme| Some((scheme, line.strip_prefix(scheme)?.strip_prefix(' ')?)));
    let header = match (token, line.split_once(':')) {
        _ if line.contains(['\r', '\n']) => return Err(SHAPE.to_owned()),
        (Some((scheme, token)), _) if !token.trim().is_empty() => {
            format!("{scheme} {}", token.trim())
        }
        (None, Some((user, _))) if !user.is_empty() => format!("Basic {}", STANDARD.encode(line)),
        _ => return Err(SHAPE.to_owned()),
    };
    let mut header = HeaderValue::try_from(header).map_err(|_| SHAPE.to_owned())?;
    header.set_sensitive(true);
    Ok(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_holds_a_user_with_a_password_or_a_token() {
        for (file, header) in [
            // RFC 7617 §2 has this pair.
            (
                "Aladdin:open sesame\n",
                "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==",
            ),
            ("u:p:q", "Basic dTpwOnE="),
            ("ApiKey VnVhQ2ZH\r\n", "ApiKey VnVhQ2ZH"),
            ("Bearer mF_9.B5f\n", "Bearer mF_9.B5f"),
        ] {
            assert_eq!(authorization(file.as_bytes()).unwrap(), header, "{file:?}");
        }
        for file in [
            "",
            "\n",
            "user",
            ":password",
            "ApiKey ",
            "Bearer ",
            "a:b\nc:d",
        ] {
            assert!(authorization(file.as_bytes()).is_err(), "{file:?}");
        }
        assert!(authorization(b"u:\xff").is_err());
    }

    #[test]
    fn a_password_never_shows() {
        let header = authorization(b"user:secret").unwrap();
        assert_eq!(format!("{header:?}"), "Sensitive");
    }
}
