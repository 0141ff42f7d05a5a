//! The tables, by version, and one for each day.
//!
//! In the flow: `writer` → **`schema`** → PostgreSQL. What is changed is changed under one lock, so that sinks that
//! start together do not disturb each other, and never in a transaction that writes events.

use std::collections::BTreeSet;

use log_event::document::UtcDay;
use tokio_postgres::Client;

use crate::target::explain;

/// Each brings the schema from the version before to the next.
const MIGRATIONS: [&str; 1] = [include_str!("../../deploy/postgresql/schema-1.sql")];
/// Of all sinks on a database while they change tables; any number that nobody else takes.
const LOCK: i64 = 0x6c6f_6766_6c6f_7701;

/// Why the schema cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// PostgreSQL's word.
    #[error("{}", explain(.0))]
    Postgres(#[from] tokio_postgres::Error),
    /// Somebody else keeps it, and has not made it.
    #[error(
        "the schema has version {found}, and this archive-sink needs {needed}: carry out deploy/postgresql/schema-*.sql, or leave it to the sink by leaving --no-schema out"
    )]
    Outdated {
        /// None is 0.
        found: i32,
        /// Ours.
        needed: i32,
    },
    /// A later sink has changed it.
    #[error(
        "the schema has version {found}, and this archive-sink knows none after {known}: install a later one"
    )]
    Newer {
        /// Theirs.
        found: i32,
        /// Ours.
        known: i32,
    },
}

/// Sees to it that the tables are there and of our version; changes them only if they are ours to change.
///
/// # Errors
/// If PostgreSQL refuses, or the version is another one.
pub async fn prepare(client: &mut Client, manages: bool) -> Result<(), SchemaError> {
    let needed = i32::try_from(MIGRATIONS.len()).unwrap_or(i32::MAX);
    let found = version(client).await?;
    if found == needed {
        return Ok(());
    }
    if found > needed {
        return Err(SchemaError::Newer {
            found,
            known: needed,
        });
    }
    if !manages {
        return Err(SchemaError::Outdated { found, needed });
    }
    let transaction = client.transaction().await?;
    lock(&transaction).await?;
    let found = version(&transaction).await?;
    for migration in MIGRATIONS.iter().skip(usize::try_from(found).unwrap_or(0)) {
        transaction.batch_execute(migration).await?;
    }
    transaction.commit().await?;
    tracing::info!(
        from = found,
        to = needed,
        "the schema of the archive is prepared"
    );
    Ok(())
}

async fn version(client: &impl tokio_postgres::GenericClient) -> Result<i32, SchemaError> {
    let there = "SELECT to_regclass('logflow.schema_version') IS NOT NULL";
    if !client.query_one(there, &[]).await?.try_get::<_, bool>(0)? {
        return Ok(0);
    }
    let newest = "SELECT coalesce(max(version), 0) FROM logflow.schema_version";
    Ok(client.query_one(newest, &[]).await?.try_get(0)?)
}

async fn lock(client: &impl tokio_postgres::GenericClient) -> Result<(), SchemaError> {
    let lock = "SELECT pg_advisory_xact_lock($1)";
    client.execute(lock, &[&LOCK]).await?;
    Ok(())
}

/// Makes the tables of some days, where they are missing.
///
/// Each is made first and attached then: attaching lets others go on writing, making it in place would wait for them
/// and let them wait.
///
/// # Errors
/// If PostgreSQL refuses.
pub async fn make_days(client: &mut Client, days: &BTreeSet<UtcDay>) -> Result<u64, SchemaError> {
    let transaction = client.transaction().await?;
    lock(&transaction).await?;
    let mut made = 0;
    for day in days {
        let (table, date) = (day_table(*day), day.to_string().replace('.', "-"));
        let there = transaction
            .query_one("SELECT to_regclass($1) IS NOT NULL", &[&table])
            .await?;
        if there.try_get(0)? {
            continue;
        }
        let statements = format!(
            "CREATE TABLE {table} (LIKE logflow.events INCLUDING ALL);
             ALTER TABLE logflow.events ATTACH PARTITION {table}
             FOR VALUES FROM (DATE '{date}') TO (DATE '{date}' + 1)"
        );
        transaction.batch_execute(&statements).await?;
        made += 1;
    }
    transaction.commit().await?;
    Ok(made)
}

/// The name of a day's table.
#[must_use]
pub fn day_table(day: UtcDay) -> String {
    format!("logflow.events_{}", day.to_string().replace('.', "_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_day_has_a_table_named_after_it() {
        let day = UtcDay::of_millis(1_694_779_200_000);
        assert_eq!(day_table(day), "logflow.events_2023_09_15");
    }

    #[test]
    fn each_migration_says_the_version_that_it_leads_to() {
        for (version, migration) in (1..).zip(MIGRATIONS) {
            let says = format!("INSERT INTO logflow.schema_version (version) VALUES ({version});");
            assert!(migration.trim_end().ends_with(&says), "{version}");
        }
    }
}
