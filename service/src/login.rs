//! Who a service is to Elasticsearch, and whom it trusts.
//!
//! In the flow: files → **`login`** → `elasticsearch`. A password or an API key is in a file, and so can be replaced
//! while the service runs; only who writes them into a node's address has to start it again.

use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use elasticsearch::cert::{Certificate, CertificateValidation};
use elasticsearch::http::headers::HeaderValue;

use crate::elasticsearch::NodeUrl;
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

/// What is shown to the nodes, and what they have to show. Clones share the file.
#[derive(Clone, Debug, Default)]
pub struct Login {
    credentials: Option<Arc<Reloaded<HeaderValue>>>,
    authorities: Option<Vec<u8>>,
}

impl Login {
    /// Reads `--elasticsearch-credentials` and `--elasticsearch-ca`; what is wrong with the files is a fault of the
    /// settings.
    pub fn from_settings(settings: &mut Settings, nodes: &[NodeUrl]) -> Self {
        let file: Option<PathBuf> = settings.optional("elasticsearch-credentials");
        if file.is_some() && nodes.iter().any(NodeUrl::has_credentials) {
            let why = "contradicts the credentials in `elasticsearch-url`; give one of them";
            settings.reject("elasticsearch-credentials", why);
        }
        let credentials = file.and_then(|file| {
            let loaded = Reloaded::load(
                "the credentials for Elasticsearch",
                vec![file],
                |contents| authorization(contents.first().map_or(&[], Vec::as_slice)),
            );
            match loaded {
                Ok(credentials) => Some(Arc::new(credentials)),
                Err(error) => {
                    settings.reject("elasticsearch-credentials", error);
                    None
                }
            }
        });
        let file: Option<PathBuf> = settings.optional("elasticsearch-ca");
        let authorities = file.and_then(|file| {
            let read = std::fs::read(&file).map_err(|error| error.to_string());
            let checked = read.and_then(|pem| match Certificate::from_pem(&pem) {
                Ok(_) => Ok(pem),
                Err(error) => Err(error.to_string()),
            });
            checked
                .map_err(|error| {
                    let reason = format!("`{}`: {error}", file.display());
                    settings.reject("elasticsearch-ca", reason);
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
        let Some(credentials) = &self.credentials else {
            return;
        };
        credentials.watch();
        let credentials = Arc::clone(credentials);
        metrics.watch(
            "elasticsearch_credentials_stale",
            "1 if the file with the credentials for Elasticsearch has a fault, and those from before count; else 0.",
            move || f64::from(u8::from(credentials.is_stale())),
        );
    }

    /// What `Authorization` says of the next request; `None` leaves it to the node's address.
    pub(crate) fn authorization(&self) -> Option<HeaderValue> {
        let credentials = self.credentials.as_ref()?;
        Some(HeaderValue::clone(&credentials.current()))
    }

    /// How a node's certificate is checked.
    pub(crate) fn validation(&self) -> Result<CertificateValidation, String> {
        match &self.authorities {
            None => Ok(CertificateValidation::Default),
            Some(pem) => Certificate::from_pem(pem)
                .map(CertificateValidation::Full)
                .map_err(|error| error.to_string()),
        }
    }
}

/// The header that a file of credentials means.
fn authorization(file: &[u8]) -> Result<HeaderValue, String> {
    const SHAPE: &str =
        "the credentials are one line, `USER:PASSWORD`, or `ApiKey` and the encoded key";
    let text = std::str::from_utf8(file).map_err(|_| SHAPE.to_owned())?;
    let line = text.trim_end_matches(['\r', '\n']);
    let header = match (line.strip_prefix("ApiKey "), line.split_once(':')) {
        _ if line.contains(['\r', '\n']) => return Err(SHAPE.to_owned()),
        (Some(key), _) if !key.trim().is_empty() => format!("ApiKey {}", key.trim()),
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
    fn a_file_holds_a_user_with_a_password_or_an_api_key() {
        for (file, header) in [
            // RFC 7617 §2 has this pair.
            (
                "Aladdin:open sesame\n",
                "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==",
            ),
            ("u:p:q", "Basic dTpwOnE="),
            ("ApiKey VnVhQ2ZH\r\n", "ApiKey VnVhQ2ZH"),
        ] {
            assert_eq!(authorization(file.as_bytes()).unwrap(), header, "{file:?}");
        }
        for file in ["", "\n", "user", ":password", "ApiKey ", "a:b\nc:d"] {
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
