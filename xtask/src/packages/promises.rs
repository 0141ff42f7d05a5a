//! What holds for a service however it is deployed: it has the time to drain and the memory it was told of.
//!
//! In the flow: `compose`, `chart`, `debian` → **`promises`** ← `start`, for defaults. Pure but for these.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use super::start::Starts;

/// What a service does after `search-timeout` or `drain-timeout` before it ends: query-api's `DRAIN_GRACE`, and
/// es-sink's `LAST_COMMIT_MAX`, `LEAVING_MAX` and `LAST_SPANS_MAX`. archive-sink's is its `LEAVING_MAX`, and once more as long for a poll, a
/// seek and a question to the brokers that may be under way.
const QUERY_API_BESIDE: Duration = Duration::from_secs(3);
const ES_SINK_BESIDE: Duration = Duration::from_secs(11);
const ARCHIVE_SINK_BESIDE: Duration = Duration::from_secs(10);
/// What the gateway takes beside `max-bytes-in-flight`, as the live scenario `hostile` holds it to.
const GATEWAY_BESIDE_BYTES: u64 = 96 << 20;
/// What archive-sink takes beside its batches: the process, and what librdkafka fetched ahead.
const ARCHIVE_SINK_BESIDE_BYTES: u64 = 64 << 20;
/// How many times `batch-bytes` it may hold: one is built, two are under way, and one of these is there in PostgreSQL's
/// form, too, in a buffer that grows by doubling.
const ARCHIVE_SINK_BATCHES: u64 = 6;

/// What a deployment tells a service: the settings that it names.
pub type Settings = BTreeMap<String, String>;

/// The settings of a configuration file.
///
/// # Errors
/// When it is no TOML.
pub fn of_file(text: &str) -> Result<Settings> {
    let table: toml::Table = text.parse()?;
    let entries = table.into_iter().map(|(name, value)| match value {
        toml::Value::String(text) => (name, text),
        other => (name, other.to_string()),
    });
    Ok(entries.collect())
}

/// The settings of a command line of `--NAME VALUE`; switches are `true`.
#[must_use]
pub fn of_flags(flags: &[String]) -> Settings {
    let mut settings = Settings::new();
    let mut flags = flags.iter().peekable();
    while let Some(flag) = flags.next() {
        let value = flags.next_if(|next| !next.starts_with("--"));
        let value = value.map_or("true", String::as_str);
        settings.insert(flag.trim_start_matches('-').to_owned(), value.to_owned());
    }
    settings
}

/// Whether a service may take as long to end as it says.
///
/// # Errors
/// When it may not.
pub fn drains_within(
    given: Duration,
    name: &str,
    settings: &Settings,
    starts: &Starts,
) -> Result<()> {
    let of = |setting: &str| duration(&value(name, setting, settings, starts)?);
    let needed = match name {
        "ingest-gateway" => of("drain-delay")? + of("drain-timeout")? + of("kafka-timeout")?,
        "es-sink" => of("drain-timeout")? + ES_SINK_BESIDE,
        "archive-sink" => of("drain-timeout")? + ARCHIVE_SINK_BESIDE,
        "query-api" => of("search-timeout")? + QUERY_API_BESIDE,
        other => bail!("`{other}` is no service"),
    };
    ensure!(
        given > needed,
        "`{name}` may take {needed:?} to end, and is killed after {given:?}"
    );
    Ok(())
}

/// Whether a service has the memory that it is told it may take.
///
/// # Errors
/// When it has less.
pub fn fits_into(given: u64, name: &str, settings: &Settings, starts: &Starts) -> Result<()> {
    let of = |setting: &str| bytes(&value(name, setting, settings, starts)?);
    let needed = match name {
        "ingest-gateway" => of("max-bytes-in-flight")? + GATEWAY_BESIDE_BYTES,
        // The kernel counts the buffers of its connections, too.
        "es-sink" => of("memory-limit")? / 8 * 9,
        "archive-sink" => of("batch-bytes")? * ARCHIVE_SINK_BATCHES + ARCHIVE_SINK_BESIDE_BYTES,
        // As its help says.
        "query-api" => value(name, "max-tails", settings, starts)?.parse::<u64>()? * 10_000_000,
        other => bail!("`{other}` is no service"),
    };
    ensure!(
        given >= needed,
        "`{name}` may take {} MiB, and is killed beyond {} MiB",
        needed >> 20,
        given >> 20
    );
    Ok(())
}

fn value(name: &str, setting: &str, settings: &Settings, starts: &Starts) -> Result<String> {
    match settings.get(setting) {
        Some(value) => Ok(value.clone()),
        None => starts.default(name, setting),
    }
}

/// A time as the services, Docker and systemd write it, in whole units: `30s`, `2min`, `1h`.
///
/// # Errors
/// When it is none.
pub fn duration(text: &str) -> Result<Duration> {
    let (number, unit) = split(text);
    let number: u64 = number.parse().with_context(|| format!("`{text}`"))?;
    Ok(match unit {
        "ms" => Duration::from_millis(number),
        "s" | "" => Duration::from_secs(number),
        "m" | "min" => Duration::from_secs(60 * number),
        "h" => Duration::from_secs(3600 * number),
        _ => bail!("`{text}` is no time"),
    })
}

/// A size as the services, Kubernetes and systemd write it: `256MiB`, `320Mi`, `1G` (systemd's, of 1024³).
///
/// # Errors
/// When it is none.
pub fn bytes(text: &str) -> Result<u64> {
    let (number, unit) = split(text);
    let number: u64 = number.parse().with_context(|| format!("`{text}`"))?;
    let factor = match unit {
        "" | "B" => 1,
        "KiB" | "Ki" | "K" => 1 << 10,
        "MiB" | "Mi" | "M" => 1 << 20,
        "GiB" | "Gi" | "G" => 1 << 30,
        _ => bail!("`{text}` is no size"),
    };
    Ok(number * factor)
}

fn split(text: &str) -> (&str, &str) {
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    text.split_at(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes_are_read_as_they_are_written() {
        assert_eq!(duration("45s").unwrap(), Duration::from_secs(45));
        assert_eq!(duration("2min").unwrap(), Duration::from_secs(120));
        assert_eq!(duration("200ms").unwrap(), Duration::from_millis(200));
        assert!(duration("soon").is_err());
        assert_eq!(bytes("320Mi").unwrap(), bytes("320MiB").unwrap());
        assert_eq!(bytes("1G").unwrap(), 1 << 30);
        assert!(bytes("1 elephant").is_err());
    }

    #[test]
    fn settings_are_the_same_from_flags_and_from_a_file() {
        let flags = ["--open", "--topic", "logs", "--drain-timeout", "5s"].map(str::to_owned);
        let file = "open = true\ntopic = \"logs\"\ndrain-timeout = \"5s\"\n";
        assert_eq!(of_flags(&flags), of_file(file).unwrap());
    }
}
