//! Which API keys there are, and what each of them may do.
//!
//! In the flow: the key file → `reloaded` → **`api_keys`**; `credential` → here → a caller.
//! The file holds the SHA-256 of each secret and never the secret. A fast hash
//! is enough, because secrets are 256 random bits and no passwords; they are
//! compared in a time that does not depend on where they differ.

use std::collections::HashMap;
use std::fmt;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use log_event::dialect::Dialect;
use log_event::tenant::Tenant;
use log_event::timestamp::Timestamp;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::credential::Credential;
use crate::reloaded::Reloaded;
use crate::tls::ClientCertificate;
use crate::units::{ByteSize, Span};

/// The most keys in one file.
const KEYS_MAX: usize = 10_000;
/// The most characters of an id.
const ID_CHARS_MAX: usize = 64;
/// The most keys that [`ApiKeys::expiring`] names: a metric has a label for each.
const EXPIRING_MAX: usize = 20;
const SECRET_BYTES: usize = 32;
/// What a limiter can count exactly: a share of a second is a whole number of nanoseconds.
const RATE_MAX: u32 = 1_000_000;
const BURST_DEFAULT: Duration = Duration::from_secs(5);
const BURST_MIN: Duration = Duration::from_millis(1);
const BURST_MAX: Duration = Duration::from_secs(3600);

/// What a key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Send events.
    Ingest,
    /// Search.
    Query,
    /// Follow what arrives.
    Tail,
    /// Take whole results away as a file.
    Export,
    /// Change what others rely on: send dead letters again.
    Admin,
    /// See how a service is doing, where that needs a key.
    Observe,
}

impl Scope {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Ingest,
        Self::Query,
        Self::Tail,
        Self::Export,
        Self::Admin,
        Self::Observe,
    ];

    /// As in the key file.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Query => "query",
            Self::Tail => "tail",
            Self::Export => "export",
            Self::Admin => "admin",
            Self::Observe => "observe",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Scope {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|scope| scope.as_str() == text);
        found.ok_or_else(|| {
            format!(
                "a scope is one of {}",
                Self::ALL.map(Self::as_str).join(", ")
            )
        })
    }
}

/// One key, without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// Names it in replies and logs.
    pub id: String,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// The protocols that it may send events in.
    pub dialects: Vec<Dialect>,
    /// Whose events it sends and sees.
    pub tenant: Option<Tenant>,
    /// From then on it is refused.
    pub expires: Option<Timestamp>,
    /// How much it may send.
    pub quota: Quota,
    /// `None`: only a certificate proves it.
    secret_sha256: Option<[u8; 32]>,
    /// The name in the certificate that proves it, too.
    certificate: Option<String>,
}

/// How much a key may send; without a rate, as much as there is room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Requests a second.
    pub requests_per_second: Option<NonZeroU32>,
    /// KiB of decompressed bodies a second.
    pub kib_per_second: Option<NonZeroU32>,
    /// How much of its rate a key that was silent may send at once, as so much time at it.
    pub burst: Duration,
}

impl Default for Quota {
    fn default() -> Self {
        Self {
            requests_per_second: None,
            kib_per_second: None,
            burst: BURST_DEFAULT,
        }
    }
}

/// All keys of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApiKeys {
    by_id: HashMap<String, Arc<ApiKey>>,
    by_certificate: HashMap<String, Arc<ApiKey>>,
}

/// Why a text is no key file: every fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("; "))]
pub struct NoKeyFile(Vec<String>);

/// The file as TOML has it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default)]
    key: Vec<WrittenKey>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct WrittenKey {
    id: String,
    secret_sha256: Option<String>,
    certificate: Option<String>,
    scopes: Vec<Scope>,
    dialects: Option<Vec<String>>,
    tenant: Option<String>,
    expires: Option<toml::value::Datetime>,
    requests_per_second: Option<u32>,
    bytes_per_second: Option<String>,
    burst: Option<String>,
}

impl ApiKeys {
    /// Reads a key file, to be read again whenever it changes.
    ///
    /// # Errors
    /// Every fault.
    pub fn load(path: PathBuf) -> Result<Reloaded<Self>, String> {
        Reloaded::load("the API keys", vec![path], |contents| {
            let text = std::str::from_utf8(&contents[0]).map_err(|error| error.to_string())?;
            Self::read(text).map_err(|error| error.to_string())
        })
    }

    /// Reads a key file's text.
    ///
    /// # Errors
    /// [`NoKeyFile`] with every fault.
    pub fn read(text: &str) -> Result<Self, NoKeyFile> {
        let written: Written = toml::from_str(text)
            .map_err(|error| NoKeyFile(vec![error.to_string().trim_end().replace('\n', " ")]))?;
        let mut faults = Vec::new();
        if written.key.is_empty() {
            faults.push("there is no `[[key]]`".to_owned());
        }
        if written.key.len() > KEYS_MAX {
            faults.push(format!("there are more than {KEYS_MAX} keys"));
        }
        let mut keys = Self::default();
        for (at, written) in written.key.into_iter().enumerate() {
            let shown: String = written.id.chars().take(ID_CHARS_MAX).collect();
            let mut fault = |what: &dyn fmt::Display| {
                faults.push(format!("key {} (`{shown}`): {what}", at + 1));
            };
            let Some(key) = written.check(&mut fault).map(Arc::new) else {
                continue;
            };
            if let Some(name) = &key.certificate {
                let other = keys.by_certificate.insert(name.clone(), Arc::clone(&key));
                if other.is_some() {
                    fault(&"there is another key with this certificate");
                }
            }
            if keys.by_id.insert(key.id.clone(), key).is_some() {
                fault(&"there is another key with this id");
            }
        }
        match faults.is_empty() {
            true => Ok(keys),
            false => Err(NoKeyFile(faults)),
        }
    }

    /// The key that the credential proves.
    #[must_use]
    pub fn find(&self, credential: &Credential) -> Option<Arc<ApiKey>> {
        let key = self.by_id.get(&credential.id)?;
        let given = Sha256::digest(&credential.secret);
        let is_it: bool = key.secret_sha256?.ct_eq(given.as_slice()).into();
        is_it.then(|| Arc::clone(key))
    }

    /// The key for one of the names that a certificate proves.
    #[must_use]
    pub fn certified(&self, certificate: &ClientCertificate) -> Option<Arc<ApiKey>> {
        let mut names = certificate.0.iter();
        names.find_map(|name| self.by_certificate.get(name).map(Arc::clone))
    }

    /// The ids of the keys that expire after `now`, and when: those that do so first, [`EXPIRING_MAX`] at most.
    #[must_use]
    pub fn expiring(&self, now: Timestamp) -> Vec<(&str, Timestamp)> {
        let keys = self.iter();
        let ends = keys.filter_map(|key| Some((key.id.as_str(), key.expires?)));
        let mut ends: Vec<_> = ends.filter(|(_, end)| *end > now).collect();
        ends.sort_unstable_by_key(|(id, end)| (*end, *id));
        ends.truncate(EXPIRING_MAX);
        ends
    }

    /// All of them, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &ApiKey> {
        self.by_id.values().map(AsRef::as_ref)
    }
}

impl WrittenKey {
    fn check(self, fault: &mut dyn FnMut(&dyn fmt::Display)) -> Option<ApiKey> {
        let id = check_id(&self.id).map_err(|error| fault(&error)).ok();
        let secret_sha256 = self.secret_sha256.as_deref().map(hash_from_hex);
        if secret_sha256 == Some(None) {
            fault(&"`secret-sha256` must be 64 hexadecimal digits: printf %s SECRET | sha256sum");
        }
        if secret_sha256.is_none() && self.certificate.is_none() {
            fault(&"neither `secret-sha256` nor `certificate` is there to prove it");
        }
        if self.scopes.is_empty() {
            fault(&"`scopes` is empty: such a key may do nothing");
        }
        let dialects = self.dialects.map(|names| {
            let dialects: Result<Vec<Dialect>, String> =
                names.iter().map(|name| name.parse()).collect();
            dialects
                .map_err(|error| fault(&format!("`dialects`: {error}")))
                .ok()
        });
        let dialects = dialects.unwrap_or_else(|| Some(Dialect::ALL.to_vec()));
        if dialects.as_ref().is_some_and(Vec::is_empty) {
            fault(&"`dialects` is empty: leave it out to allow all");
        }
        let tenant = self.tenant.map(|name| name.parse::<Tenant>()).transpose();
        let tenant = tenant.map_err(|error| fault(&error)).ok();
        let expires = self.expires.map(|time| moment(&time)).transpose();
        let expires = expires.map_err(|error| fault(&error)).ok();
        let mut quota = Quota::default();
        if let Some(rate) = self.requests_per_second {
            quota.requests_per_second = NonZeroU32::new(rate).filter(|rate| rate.get() <= RATE_MAX);
            if quota.requests_per_second.is_none() {
                fault(&format!("`requests-per-second` must be 1 to {RATE_MAX}"));
            }
        }
        if let Some(text) = &self.bytes_per_second {
            let kib = text.parse().ok().map(|ByteSize(bytes)| bytes / 1024);
            let kib = kib.and_then(|kib| u32::try_from(kib).ok());
            quota.kib_per_second = kib
                .and_then(NonZeroU32::new)
                .filter(|rate| rate.get() <= RATE_MAX);
            if quota.kib_per_second.is_none() {
                fault(&format!(
                    "`bytes-per-second` is written \"5MiB\", from 1KiB to {RATE_MAX}KiB"
                ));
            }
        }
        if let Some(text) = &self.burst {
            let burst = text.parse().ok().map(|Span(burst)| burst);
            let burst = burst.filter(|burst| (BURST_MIN..=BURST_MAX).contains(burst));
            match burst {
                Some(burst) => quota.burst = burst,
                None => fault(&"`burst` is written \"5s\", from 1ms to 1h"),
            }
        }
        let key = ApiKey {
            quota,
            id: id?,
            secret_sha256: secret_sha256.flatten(),
            certificate: self.certificate,
            tenant: tenant?,
            expires: expires?,
            scopes: self.scopes,
            dialects: dialects?,
        };
        (!key.scopes.is_empty()).then_some(key)
    }
}

/// An id that fits into a token, a header and a label.
fn check_id(text: &str) -> Result<String, String> {
    let legal = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    match (1..=ID_CHARS_MAX).contains(&text.len()) && text.chars().all(legal) {
        true => Ok(text.to_owned()),
        false => Err(format!(
            "an id is 1 to {ID_CHARS_MAX} letters, digits, `-` or `_`"
        )),
    }
}

fn moment(time: &toml::value::Datetime) -> Result<Timestamp, String> {
    let text = time.to_string();
    let has_offset = time.offset.is_some() && time.date.is_some();
    let parsed = has_offset.then(|| Timestamp::parse(&text).ok()).flatten();
    parsed.ok_or_else(|| format!("`expires` is written 2027-06-30T00:00:00Z, not `{text}`"))
}

fn hash_from_hex(text: &str) -> Option<[u8; 32]> {
    let digits: Option<Vec<u8>> = text
        .chars()
        .map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
        .collect();
    let bytes: Vec<u8> = digits?
        .chunks(2)
        .map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit))
        .collect();
    (text.len() == 64).then(|| bytes.try_into().ok()).flatten()
}

/// A key that is new, on its way to its client and into the file.
#[derive(Debug)]
pub struct NewKey {
    /// For the client, which alone may know it.
    pub credential: Credential,
    /// For the file.
    pub entry: String,
}

impl NewKey {
    /// Makes one of 32 random bytes.
    ///
    /// # Errors
    /// Why the id cannot be used.
    pub fn make(
        id: &str,
        scopes: &[Scope],
        tenant: Option<&Tenant>,
        expires: Option<Timestamp>,
        random: [u8; SECRET_BYTES],
    ) -> Result<Self, String> {
        let credential = Credential {
            id: check_id(id)?,
            secret: URL_SAFE_NO_PAD.encode(random),
        };
        let hash: String = Sha256::digest(&credential.secret)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let scopes: Vec<String> = scopes.iter().map(|scope| format!("\"{scope}\"")).collect();
        let mut entry = format!(
            "[[key]]\nid = \"{id}\"\nsecret-sha256 = \"{hash}\"\nscopes = [{}]\n",
            scopes.join(", ")
        );
        if let Some(tenant) = tenant {
            entry.push_str(&format!("tenant = \"{tenant}\"\n"));
        }
        if let Some(expires) = expires {
            entry.push_str(&format!("expires = {}\n", expires.to_rfc3339()));
        }
        Ok(Self { credential, entry })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_key_is_found_by_its_secret_alone() {
        let expires = Timestamp::parse("2027-06-30T00:00:00Z").ok();
        let tenant: Tenant = "shop".parse().unwrap();
        let scopes = [Scope::Ingest, Scope::Admin];
        let new = NewKey::make("shop-web", &scopes, Some(&tenant), expires, [7; 32]).unwrap();
        let other = NewKey::make("other", &[Scope::Query], None, None, [8; 32]).unwrap();
        assert!(!new.entry.contains(&new.credential.secret));
        let keys = ApiKeys::read(&format!("{}\n{}", new.entry, other.entry)).unwrap();
        let found = keys.find(&new.credential).unwrap();
        assert_eq!(
            (
                found.id.as_str(),
                found.scopes.as_slice(),
                &found.tenant,
                found.expires
            ),
            ("shop-web", &scopes[..], &Some(tenant), expires)
        );
        for (id, secret) in [
            ("shop-web", other.credential.secret.as_str()),
            ("shop-web", ""),
            ("nobody", new.credential.secret.as_str()),
        ] {
            let credential = Credential {
                id: id.to_owned(),
                secret: secret.to_owned(),
            };
            assert_eq!(keys.find(&credential), None, "{id}");
        }
    }

    #[test]
    fn the_keys_that_expire_next_are_named_and_those_that_have_expired_are_not() {
        let moment = |day: i64| Timestamp::from_millis(day * 86_400_000).unwrap();
        let made = |day: i64| {
            let id = format!("key-{day:02}");
            NewKey::make(&id, &[Scope::Query], None, Some(moment(day)), [1; 32]).unwrap()
        };
        let mut text: String = (1..=30).rev().map(|day| made(day).entry).collect();
        text += &NewKey::make("for-ever", &[Scope::Query], None, None, [2; 32])
            .unwrap()
            .entry;
        let keys = ApiKeys::read(&text).unwrap();
        let expiring = keys.expiring(moment(5));
        let ids: Vec<&str> = expiring.iter().map(|(id, _)| *id).collect();
        let expected: Vec<String> = (6..=25).map(|day| format!("key-{day:02}")).collect();
        assert_eq!(ids, expected);
        assert_eq!(expiring[0].1, moment(6));
    }

    #[test]
    fn a_quota_is_read_in_the_units_that_people_write() {
        let new = NewKey::make("a", &[Scope::Ingest], None, None, [1; 32]).unwrap();
        let text = format!(
            "{}requests-per-second = 50\nbytes-per-second = \"2MiB\"\nburst = \"500ms\"",
            new.entry
        );
        let quota = ApiKeys::read(&text)
            .unwrap()
            .find(&new.credential)
            .unwrap()
            .quota;
        let expected = Quota {
            requests_per_second: NonZeroU32::new(50),
            kib_per_second: NonZeroU32::new(2_048),
            burst: Duration::from_millis(500),
        };
        assert_eq!(quota, expected);
    }

    #[test]
    fn every_fault_of_a_file_is_named() {
        let text = r#"
            [[key]]
            id = "a b"
            secret-sha256 = "12"
            scopes = []
            dialects = ["otlp", "gelf"]
            tenant = "Shop"
            expires = 2027-06-30
            requests-per-second = 0
            bytes-per-second = "12"
            burst = "0s"
            [[key]]
            id = "twice"
            secret-sha256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
            scopes = ["query"]
            [[key]]
            id = "unproved"
            scopes = ["query"]
            [[key]]
            id = "one"
            certificate = "a.example"
            scopes = ["query"]
            [[key]]
            id = "two"
            certificate = "a.example"
            scopes = ["query"]
            [[key]]
            id = "twice"
            secret-sha256 = "9F86D081884C7D659A2FEAA0C55AD015A3BF4F1B2B0B822CD15D6C15B0F00A08"
            scopes = ["query"]
        "#;
        let faults = ApiKeys::read(text).unwrap_err().0;
        let starts = [
            "key 1 (`a b`): an id is",
            "key 1 (`a b`): `secret-sha256` must be",
            "key 1 (`a b`): `scopes` is empty",
            "key 1 (`a b`): `dialects`: a dialect is one of",
            "key 1 (`a b`): `Shop` names no tenant",
            "key 1 (`a b`): `expires` is written",
            "key 1 (`a b`): `requests-per-second` must be",
            "key 1 (`a b`): `bytes-per-second` is written",
            "key 1 (`a b`): `burst` is written",
            "key 3 (`unproved`): neither",
            "key 5 (`two`): there is another key with this certificate",
            "key 6 (`twice`): there is another key with this id",
        ];
        assert_eq!(faults.len(), starts.len(), "{faults:?}");
        for (fault, start) in faults.iter().zip(starts) {
            assert!(fault.starts_with(start), "{fault}");
        }
        for text in [
            "",
            "[[key]]",
            "key = 1",
            "x",
            "[[key]]\nid='a'\nsecret='b'\nscopes=['query']",
        ] {
            assert!(ApiKeys::read(text).is_err(), "{text}");
        }
    }
}
