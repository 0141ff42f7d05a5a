//! Reads the events of a run back from the archive.
//!
//! In the flow: **`postgres_reader`** → `verification` → `verify`. It reads all that the archive holds: the marker of an
//! event is in its value, and no index leads to it.

use std::fmt;

use anyhow::{Context as _, bail};
use futures_util::TryStreamExt as _;
use tokio_postgres::{Config, NoTls};

use crate::marker::{self, RunId};

const VALUES: &str = "SELECT value FROM logflow.events WHERE value IS NOT NULL";

/// Where the archive is.
#[derive(Clone)]
pub struct PostgresReader {
    config: Config,
}

impl fmt::Debug for PostgresReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresReader")
            .field("hosts", &self.config.get_hosts())
            .finish_non_exhaustive()
    }
}

impl PostgresReader {
    /// The archive at `postgres://USER@HOST:PORT/DATABASE`; the password is given apart, so that no list of processes
    /// shows it.
    ///
    /// # Errors
    /// If the address is none, or has a password in it.
    pub fn new(url: &str, password: Option<&str>) -> anyhow::Result<Self> {
        let mut config: Config = url
            .parse()
            .context("`--postgres-url` is written postgres://USER@HOST:PORT/DATABASE")?;
        if config.get_password().is_some() {
            bail!("`--postgres-url` has a password in it; put it into PGPASSWORD");
        }
        if let Some(password) = password {
            config.password(password);
        }
        Ok(Self { config })
    }

    /// Tells of the event of every row of the run, in no particular order.
    ///
    /// # Errors
    /// If PostgreSQL does not answer or refuses.
    pub async fn read(&self, run: &RunId, mut found: impl FnMut(u64)) -> anyhow::Result<()> {
        let connecting = self.config.connect(NoTls);
        let (client, connection) = connecting.await.context("connecting to PostgreSQL")?;
        // Whoever waits for an answer hears of an error, too.
        tokio::spawn(async move { drop(connection.await) });
        let reading = async {
            let rows = client.query_raw(VALUES, std::iter::empty::<i32>()).await?;
            let mut rows = std::pin::pin!(rows);
            while let Some(row) = rows.try_next().await? {
                let value: &[u8] = row.try_get(0)?;
                if let Some(n) = marker::find(run, None, value) {
                    found(n);
                }
            }
            Ok::<_, tokio_postgres::Error>(())
        };
        reading.await.context("reading the archive")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_with_a_password_is_refused() {
        let refused = |url: &str| PostgresReader::new(url, None).unwrap_err().to_string();
        assert!(refused("postgres://a:secret@db/d").contains("PGPASSWORD"));
        assert!(refused("jdbc:postgresql://db").contains("postgres://USER@HOST"));
        assert!(PostgresReader::new("postgres://a@db/d", Some("secret")).is_ok());
    }
}
