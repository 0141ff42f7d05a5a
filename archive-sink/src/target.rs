//! Where PostgreSQL is, who we are to it, and how a connection is made.
//!
//! In the flow: **`target`** → `writer`. A password is in a file or in the environment, never on a command line.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use openssl::ssl::{SslConnector, SslMethod};
use openssl::x509::X509;
use postgres_openssl::MakeTlsConnector;
use service::settings::{Setting, Settings};
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres::{Client, NoTls, Socket};

/// The setting for the address.
pub const POSTGRES_URL: Setting = Setting::new(
    "postgres-url",
    "URL",
    "postgres://logflow@127.0.0.1:5432/logflow",
    "The database, with the user and without the password; several hosts, if the primary may be any of them",
);
/// The setting for the file with the password.
pub const POSTGRES_PASSWORD_FILE: Setting = Setting::optional(
    "postgres-password-file",
    "FILE",
    "The password, in one line; read again for each connection. Without it the variable PGPASSWORD counts",
);
/// The setting for the file with the authorities.
pub const POSTGRES_CA: Setting = Setting::optional(
    "postgres-ca",
    "FILE",
    "Authorities, as PEM, that vouch for PostgreSQL's certificate beside those of the system",
);
/// The setting for doing without TLS.
pub const POSTGRES_PLAINTEXT: Setting = Setting::switch(
    "postgres-plaintext",
    "Do without TLS to PostgreSQL, even beyond this machine",
);

/// One try to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A server that says nothing for so long is asked whether it is there.
const KEEPALIVE: Duration = Duration::from_secs(10);
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(30);
/// The least time that the server lets a transaction of ours stand idle: a sink that stalls within one must not keep
/// its partitions locked.
const SESSION: &str = "\
    SET idle_in_transaction_session_timeout = '10s';\
    SET lock_timeout = '20s';\
    SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'";

/// Where PostgreSQL is, and who we are to it.
#[derive(Clone)]
pub struct Target {
    config: tokio_postgres::Config,
    password: Option<Password>,
    tls: Option<MakeTlsConnector>,
}

#[derive(Clone)]
enum Password {
    File(PathBuf),
    Given(String),
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The file with the password.
    #[error("the password file `{0}` cannot be read: {1}")]
    Password(PathBuf, std::io::Error),
    /// PostgreSQL's word, or the network's.
    #[error(transparent)]
    Postgres(#[from] tokio_postgres::Error),
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target")
            .field("hosts", &self.config.get_hosts())
            .field("tls", &self.tls.is_some())
            .finish_non_exhaustive()
    }
}

impl Target {
    /// Reads the settings; what is wrong with them is a fault of theirs. `password` is what the environment has.
    pub fn from_settings(settings: &mut Settings, password: Option<String>) -> Option<Self> {
        let url: String = settings.value("postgres-url");
        let file: Option<PathBuf> = settings.optional("postgres-password-file");
        let authorities: Option<PathBuf> = settings.optional("postgres-ca");
        let plaintext = settings.switch("postgres-plaintext");
        let mut config: tokio_postgres::Config = match url.parse() {
            Ok(config) => config,
            Err(error) => {
                let why = std::error::Error::source(&error)
                    .map_or_else(String::new, |source| format!(": {source}"));
                let reason =
                    format!("{error}{why}; it is written postgres://USER@HOST:PORT/DATABASE");
                settings.reject("postgres-url", reason);
                return None;
            }
        };
        for (is_fault, reason) in [
            (
                config.get_password().is_some(),
                "has a password in it, which everybody sees who lists the processes; put it into `postgres-password-file` or PGPASSWORD",
            ),
            (config.get_user().is_none(), "names no user"),
            (config.get_dbname().is_none(), "names no database"),
            (config.get_hosts().is_empty(), "names no host"),
        ] {
            if is_fault {
                settings.reject("postgres-url", reason);
            }
        }
        if let Some(file) = &file
            && let Err(error) = std::fs::read_to_string(file)
        {
            let reason = format!("`{}` cannot be read: {error}", file.display());
            settings.reject("postgres-password-file", reason);
        }
        if plaintext && authorities.is_some() {
            settings.reject(
                "postgres-plaintext",
                "contradicts `postgres-ca`; give one of them",
            );
        }
        let is_here = config.get_hosts().iter().all(is_local);
        let tls = match !plaintext && (authorities.is_some() || !is_here) {
            false => None,
            true => match connector(authorities.as_ref()) {
                Ok(connector) => Some(connector),
                Err(error) => {
                    settings.reject("postgres-ca", error);
                    None
                }
            },
        };
        config
            .ssl_mode(if tls.is_some() {
                SslMode::Require
            } else {
                SslMode::Disable
            })
            .application_name("archive-sink")
            .target_session_attrs(TargetSessionAttrs::ReadWrite)
            .connect_timeout(CONNECT_TIMEOUT)
            .keepalives_idle(KEEPALIVE)
            .tcp_user_timeout(UNACKNOWLEDGED_MAX);
        let password = file.map(Password::File).or(password.map(Password::Given));
        Some(Self {
            config,
            password,
            tls,
        })
    }

    /// Makes a connection, which ends with the client.
    ///
    /// # Errors
    /// If the password cannot be read, or PostgreSQL cannot be reached or does not want us.
    pub async fn connect(&self) -> Result<Client, ConnectError> {
        let mut config = self.config.clone();
        match &self.password {
            None => {}
            Some(Password::Given(password)) => {
                config.password(password);
            }
            Some(Password::File(path)) => {
                let text = std::fs::read_to_string(path)
                    .map_err(|error| ConnectError::Password(path.clone(), error))?;
                config.password(text.trim_end_matches(['\r', '\n']));
            }
        }
        let client = match &self.tls {
            None => open(&config, NoTls).await?,
            Some(tls) => open(&config, tls.clone()).await?,
        };
        client.batch_execute(SESSION).await?;
        Ok(client)
    }
}

async fn open<T>(config: &tokio_postgres::Config, tls: T) -> Result<Client, tokio_postgres::Error>
where
    T: MakeTlsConnect<Socket> + 'static,
    T::Stream: Send,
    T::TlsConnect: Send,
    <T::TlsConnect as TlsConnect<Socket>>::Future: Send,
{
    let (client, connection) = config.connect(tls).await?;
    // Whoever waits for an answer hears of an error, too.
    tokio::spawn(async move { drop(connection.await) });
    Ok(client)
}

fn is_local(host: &Host) -> bool {
    match host {
        Host::Tcp(name) => {
            name == "localhost" || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
        }
        Host::Unix(_) => true,
    }
}

fn connector(authorities: Option<&PathBuf>) -> Result<MakeTlsConnector, String> {
    let failed = |error: openssl::error::ErrorStack| error.to_string();
    // Checks the chain and the name.
    let mut builder = SslConnector::builder(SslMethod::tls_client()).map_err(failed)?;
    if let Some(path) = authorities {
        let named = |error: String| format!("`{}`: {error}", path.display());
        let pem = std::fs::read(path).map_err(|error| named(error.to_string()))?;
        let stack = X509::stack_from_pem(&pem).map_err(|error| named(error.to_string()))?;
        if stack.is_empty() {
            return Err(named("holds no certificate".to_owned()));
        }
        for authority in stack {
            builder
                .cert_store_mut()
                .add_cert(authority)
                .map_err(failed)?;
        }
    }
    Ok(MakeTlsConnector::new(builder.build()))
}

/// What an error says, for people: PostgreSQL's own words, with the code and the way out where we know one.
#[must_use]
pub fn explain(error: &tokio_postgres::Error) -> String {
    let Some(refusal) = error.as_db_error() else {
        let mut text = error.to_string();
        let mut source = std::error::Error::source(error);
        while let Some(cause) = source {
            text = format!("{text}: {cause}");
            source = cause.source();
        }
        return text;
    };
    let detail = refusal
        .detail()
        .map_or_else(String::new, |detail| format!(" ({detail})"));
    let code = refusal.code().code();
    let way_out = match code {
        "23514" => "; there is no table for the day, or it is detached: attach it, or rename it",
        "42501" => "; grant the sink's user what docs/operations.md names",
        "42P01" | "3F000" => "; the schema is missing, see --no-schema",
        _ => "",
    };
    format!("{} [{code}]{detail}{way_out}", refusal.message())
}
