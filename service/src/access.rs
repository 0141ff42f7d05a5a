//! Who may do what, in the order in which a request meets it:
//!
//! 1. [`credential`]: what a request carries to say who it is.
//! 2. [`api_keys`]: which keys there are, and what each of them may do, as a file says.
//! 3. here: the verdict, as a [`Caller`].
//!
//! Without a key file everybody may do everything; a service then listens on
//! loopback alone, unless it is told otherwise.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::http::HeaderValue;
use log_event::dialect::Dialect;
use log_event::tenant::Tenant;
use log_event::timestamp::Timestamp;

use crate::metrics::Namespace;
use crate::reloaded::Reloaded;
use crate::settings::{Setting, Settings};
use crate::tls::ClientCertificate;

pub mod credential;
pub mod api_keys;

pub use api_keys::{ApiKey, ApiKeys, Quota, Scope};
use credential::Credential;

/// The keys of a file, as it is now.
pub type KeyFile = Reloaded<ApiKeys>;

/// The setting for the key file of a service.
pub const API_KEYS: Setting = Setting::optional(
    "api-keys",
    "FILE",
    "The keys that requests must carry, as TOML; it is read again whenever it changes",
);
/// What a 401 says is asked for (RFC 6750 §3). `Basic`, which is taken too, would make browsers ask by themselves.
pub const CHALLENGE: HeaderValue = HeaderValue::from_static("Bearer realm=\"logflow\"");
/// The setting for a service that is open to everybody.
pub const OPEN: Setting = Setting::switch(
    "open",
    "Listen beyond loopback without keys: everybody who reaches this service may do everything",
);

/// The setting for operations that are not everybody's business.
pub const GUARD_OPERATIONS: Setting = Setting::switch(
    "guard-operations",
    "Ask for a key with the scope `observe` for /readyz and /metrics, too",
);

/// Decides who may do what. Clones share the key file.
#[derive(Clone, Debug)]
pub struct Access {
    keys: Option<Arc<KeyFile>>,
    guards_operations: bool,
}

/// Who sent a request.
#[derive(Clone, Debug)]
pub struct Caller {
    /// `None`: there are no keys here.
    key: Option<Arc<ApiKey>>,
}

/// Why a request is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial {
    /// It carries no key.
    Missing,
    /// What it carries is no key.
    Unreadable,
    /// There is no such key; whether its id or its secret is wrong is not told.
    Unknown,
    /// There is no key for the certificate of the connection, and no other was sent.
    Uncertified,
    /// The key was valid once.
    Expired,
    /// The key is valid, and may do other things.
    Scope(Scope),
    /// The key may send events, in other dialects.
    Dialect(Dialect),
}

impl Access {
    /// Everybody may do everything.
    #[must_use]
    pub fn open() -> Self {
        Self {
            keys: None,
            guards_operations: false,
        }
    }

    /// Reads `--api-keys`, `--guard-operations` and `--open`, and refuses to be open by oversight.
    pub fn from_settings(settings: &mut Settings, listen: SocketAddr) -> Self {
        let api_keys: Option<PathBuf> = settings.optional("api-keys");
        let is_open = settings.switch("open");
        if is_open && api_keys.is_some() {
            settings.reject("open", "contradicts `api-keys`");
        }
        if api_keys.is_none() && !listen.ip().is_loopback() && !is_open {
            settings.reject(
                "listen",
                "is reached from other machines, and there are no keys: give `--api-keys FILE`, or `--open` to let everybody in",
            );
        }
        Self::of_observers(settings)
    }

    /// Reads `--api-keys` and `--guard-operations` of a service that tells how it is doing and nothing else; without keys
    /// it tells everybody.
    pub fn of_observers(settings: &mut Settings) -> Self {
        let api_keys: Option<PathBuf> = settings.optional("api-keys");
        let guards_operations = settings.switch("guard-operations");
        if guards_operations && api_keys.is_none() {
            settings.reject("guard-operations", "needs `api-keys`");
        }
        let keys = api_keys.and_then(|path| match ApiKeys::load(path) {
            Ok(keys) => Some(Arc::new(keys)),
            Err(error) => {
                settings.reject("api-keys", error);
                None
            }
        });
        Self {
            keys,
            guards_operations,
        }
    }

    /// From now on the key file is read again whenever it changes.
    pub fn watch(&self, metrics: &Namespace) {
        let Some(keys) = &self.keys else {
            return;
        };
        keys.watch();
        let (stale, keys) = (Arc::clone(keys), Arc::clone(keys));
        metrics.watch(
            "api_keys_stale",
            "1 if the key file has a fault, and the keys from before count; else 0.",
            move || f64::from(u8::from(stale.is_stale())),
        );
        metrics.watch_by(
            "api_key_expires_timestamp_seconds",
            "When the keys that expire next do so, in seconds since 1970; the first 20 that have not.",
            "key",
            move || expiring(&keys.current()),
        );
    }

    /// The keys that count; none where everybody may do everything.
    #[must_use]
    pub fn keys(&self) -> Option<Arc<ApiKeys>> {
        self.keys.as_ref().map(|keys| keys.current())
    }

    /// By the keys of a file.
    #[must_use]
    pub fn by(keys: Arc<KeyFile>) -> Self {
        Self {
            keys: Some(keys),
            guards_operations: false,
        }
    }

    #[cfg(test)]
    pub(crate) fn guarding_operations(self) -> Self {
        Self {
            guards_operations: true,
            ..self
        }
    }

    /// Whether `/readyz` and `/metrics` need a key.
    #[must_use]
    pub fn guards_operations(&self) -> bool {
        self.guards_operations
    }

    /// Whether requests must carry a key.
    #[must_use]
    pub fn needs_key(&self) -> bool {
        self.keys.is_some()
    }

    /// Who this is: by the credential that [`credential::read`] found, and where there is none by the certificate of
    /// the connection.
    ///
    /// # Errors
    /// A [`Denial`] of what was shown.
    pub fn caller(
        &self,
        credential: Option<Result<Credential, credential::Unreadable>>,
        certificate: Option<&ClientCertificate>,
        now: Timestamp,
    ) -> Result<Caller, Denial> {
        let Some(keys) = &self.keys else {
            return Ok(Caller::anybody());
        };
        let keys = keys.current();
        let key = match (credential, certificate) {
            (Some(credential), _) => {
                let credential = credential.map_err(|_| Denial::Unreadable)?;
                keys.find(&credential).ok_or(Denial::Unknown)?
            }
            (None, Some(certificate)) => keys.certified(certificate).ok_or(Denial::Uncertified)?,
            (None, None) => return Err(Denial::Missing),
        };
        if key.expires.is_some_and(|end| end <= now) {
            return Err(Denial::Expired);
        }
        Ok(Caller { key: Some(key) })
    }
}

/// The ids of the keys that expire next, and the seconds since 1970 at which they do.
fn expiring(keys: &ApiKeys) -> Vec<(String, f64)> {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let nanos = i64::try_from(since_epoch.as_nanos()).unwrap_or(i64::MAX);
    let now = Timestamp::from_nanos(nanos).expect("a time since the epoch is not before it");
    let expiring = keys.expiring(now).into_iter();
    expiring
        .map(|(id, end)| (id.to_owned(), end.millis() as f64 / 1_000.0))
        .collect()
}

impl Caller {
    /// Somebody, where there are no keys.
    #[must_use]
    pub fn anybody() -> Self {
        Self { key: None }
    }

    /// The key, where there are keys.
    #[must_use]
    pub fn key(&self) -> Option<&ApiKey> {
        self.key.as_deref()
    }

    /// Itself, if it may do this.
    ///
    /// # Errors
    /// [`Denial::Scope`].
    pub fn if_allowed(self, scope: Scope) -> Result<Self, Denial> {
        match self.may(scope) {
            true => Ok(self),
            false => Err(Denial::Scope(scope)),
        }
    }

    /// Whether it may do this.
    #[must_use]
    pub fn may(&self, scope: Scope) -> bool {
        self.key().is_none_or(|key| key.scopes.contains(&scope))
    }

    /// Itself, if it may send events in this dialect.
    ///
    /// # Errors
    /// [`Denial::Dialect`].
    pub fn if_spoken(self, dialect: Dialect) -> Result<Self, Denial> {
        let key = self.key();
        match key.is_none_or(|key| key.dialects.contains(&dialect)) {
            true => Ok(self),
            false => Err(Denial::Dialect(dialect)),
        }
    }

    /// Whose events it sends and sees; `None`: those of no tenant when it sends, all when it sees.
    #[must_use]
    pub fn tenant(&self) -> Option<&Tenant> {
        self.key().and_then(|key| key.tenant.as_ref())
    }
}

impl Denial {
    /// Whether it is known who asks, and only not allowed: 403, not 401 (RFC 9110 §15.5.2, §15.5.4).
    #[must_use]
    pub fn is_known(self) -> bool {
        matches!(self, Self::Scope(_) | Self::Dialect(_))
    }

    /// For people.
    #[must_use]
    pub fn detail(self) -> String {
        match self {
            Self::Missing => {
                "this service needs an API key: send `Authorization: Bearer ID.SECRET`".to_owned()
            }
            Self::Unreadable => {
                "the API key cannot be read: send it as `Authorization: Bearer ID.SECRET`, `ApiKey` or `Basic` with the base64 of ID:SECRET, or as `X-API-Key: ID.SECRET`".to_owned()
            }
            Self::Unknown => "there is no such API key, or its secret is another one".to_owned(),
            Self::Uncertified => {
                "no API key names this client's certificate; the operator can add it in the key file".to_owned()
            }
            Self::Expired => "the API key has expired; ask the operator for another one".to_owned(),
            Self::Scope(scope) => format!(
                "the API key lacks the scope `{scope}`; the operator can add it in the key file"
            ),
            Self::Dialect(dialect) => format!(
                "the API key may not send events in the dialect `{dialect}`; the operator can add it in the key file"
            ),
        }
    }
}

#[cfg(test)]
mod tests;
