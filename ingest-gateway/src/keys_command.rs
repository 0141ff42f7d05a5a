//! `ingest-gateway keys new`: makes a key, and shows its secret this once.
//!
//! Beside the flow. The entry for the key file goes to stdout, so that
//! `>> keys.toml` adds it; the key itself goes to stderr, to the person.

use std::fmt;
use std::io::{self, Read as _, Write as _};
use std::str::FromStr;

use anyhow::Context as _;
use log_event::tenant::Tenant;
use log_event::timestamp::Timestamp;
use service::access::Scope;
use service::access::api_keys::NewKey;
use service::command_line::{CommandGroup, Shared, Subcommand};
use service::settings::{Arity, Setting, Settings, SettingsError};

/// The commands about keys.
pub const GROUP: CommandGroup = CommandGroup {
    name: "keys",
    about: "Make API keys",
    commands: &[Subcommand {
        name: "new",
        about: "Make a key: its entry for the key file on stdout, the key itself, this once, on stderr",
        shares: Shared::These(&[]),
        flags: &[
            Setting::optional("id", "ID", "Names the key: letters, digits, `-` or `_`"),
            Setting::optional(
                "scope",
                "SCOPE",
                "What the key may do: ingest, query, tail, export, admin or observe",
            )
            .many(Arity::List),
            Setting::optional(
                "tenant",
                "TENANT",
                "Whose events the key sends and sees; without it, those of no tenant and of all",
            ),
            Setting::optional(
                "expires",
                "TIME",
                "From then on the key is refused, as 2027-06-30T00:00:00Z",
            ),
        ],
        operand: None,
    }],
};

/// What `keys new` was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeysConfig {
    id: String,
    scopes: Vec<Scope>,
    tenant: Option<Tenant>,
    expires: Option<Moment>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Moment(Timestamp);

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = Timestamp::parse(text).map(Self);
        parsed.map_err(|error| error.to_string())
    }
}

impl KeysConfig {
    /// Reads and checks.
    ///
    /// # Errors
    /// All faults together.
    pub fn read(mut settings: Settings) -> Result<Self, SettingsError> {
        let config = Self {
            id: settings.optional("id").unwrap_or_default(),
            scopes: settings.list("scope"),
            tenant: settings.optional("tenant"),
            expires: settings.optional("expires"),
        };
        if let Err(error) = config.make([0; 32]) {
            settings.reject("id", error);
        }
        if config.scopes.is_empty() {
            settings.reject("scope", "is needed: such a key could do nothing");
        }
        let _checked = settings.finish()?;
        Ok(config)
    }

    fn make(&self, random: [u8; 32]) -> Result<NewKey, String> {
        NewKey::make(
            &self.id,
            &self.scopes,
            self.tenant.as_ref(),
            self.expires.map(|Moment(end)| end),
            random,
        )
    }
}

/// Makes the key and shows it.
///
/// # Errors
/// If there is no randomness, or nobody to show it to.
pub fn run(config: &KeysConfig) -> anyhow::Result<()> {
    let new = config.make(random()?).map_err(anyhow::Error::msg)?;
    writeln!(io::stdout(), "{}", new.entry).context("writing the entry")?;
    let shown = Shown(&new);
    writeln!(io::stderr(), "{shown}").context("showing the key")
}

/// 32 bytes of the system's randomness.
fn random() -> anyhow::Result<[u8; 32]> {
    let mut bytes = [0; 32];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut bytes))
        .context("the system gives no randomness (/dev/urandom)")?;
    Ok(bytes)
}

struct Shown<'a>(&'a NewKey);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let token = self.0.credential.to_token();
        write!(
            f,
            "the key, shown only now: {token}\nits client sends: Authorization: Bearer {token}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::PROGRAM;
    use service::access::api_keys::ApiKeys;
    use service::command_line::Entry;
    use std::ffi::OsString;

    fn read(args: &[&str]) -> Result<KeysConfig, String> {
        let args = ["ingest-gateway", "keys", "new"].iter().chain(args);
        let args = args.map(OsString::from);
        let entries = &[Entry::Group(GROUP)];
        let (settings, command) = Settings::load_with(PROGRAM, entries, args, |_| None).unwrap();
        assert!(command.is_some());
        KeysConfig::read(settings).map_err(|error| error.to_string())
    }

    #[test]
    fn a_key_that_is_made_is_one_that_is_read() {
        let config = read(&[
            "--id=shop-web",
            "--scope=ingest,query",
            "--tenant=shop",
            "--expires=2027-06-30T00:00:00Z",
        ])
        .unwrap();
        let (first, second) = (random().unwrap(), random().unwrap());
        assert_ne!(first, second);
        let new = config.make(first).unwrap();
        let keys = ApiKeys::read(&new.entry).unwrap();
        let key = keys.find(&new.credential).unwrap();
        assert_eq!(key.scopes, [Scope::Ingest, Scope::Query]);
        assert!(Shown(&new).to_string().contains("Bearer shop-web."));
    }

    #[test]
    fn what_makes_no_key_is_refused_with_every_fault() {
        let error = read(&[
            "--id=a b",
            "--scope=root",
            "--tenant=Shop",
            "--expires=soon",
        ]);
        let error = error.unwrap_err();
        for fault in [
            "`id` (flag) an id is",
            "`root`: a scope is one of",
            "`Shop` names no",
            "`soon`",
        ] {
            assert!(error.contains(fault), "`{fault}` is missing in {error}");
        }
        assert!(read(&[]).unwrap_err().contains("`scope`"));
    }
}
