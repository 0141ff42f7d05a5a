//! What is changed in the shipped configuration and rules so that they serve on one machine, for minutes: the addresses,
//! the interval, and where that is wanted the durations. Pure.
//!
//! In the flow: part of `prometheus`. It reads the expressions, too, for the test that asks for each of them.

use anyhow::{Context, Result, ensure};

/// A scrape job of the shipped configuration, and the instances it is to have.
#[derive(Debug, Clone)]
pub struct Job {
    /// Its name there.
    pub name: &'static str,
    /// `host:port` of instances that speak in the clear.
    pub clear: Vec<String>,
    /// And of those that speak TLS; their certificates are not checked.
    pub secured: Vec<String>,
}

/// The configuration with these instances, scraped and evaluated every second. A job may be commented out there.
///
/// # Errors
/// When it lacks a job or an interval that it is to have.
pub fn configuration(shipped: &str, jobs: &[Job]) -> Result<String> {
    let mut text = shipped.to_owned();
    for interval in ["scrape_interval: 15s", "evaluation_interval: 15s"] {
        ensure!(text.contains(interval), "there is no `{interval}`");
        text = text.replace(interval, &interval.replace("15s", "1s"));
    }
    for job in jobs {
        let name = format!("  - job_name: {}\n", job.name);
        let commented_out = format!("  # - job_name: {}\n", job.name);
        let start = text.find(&name).or_else(|| text.find(&commented_out));
        let start = start.with_context(|| format!("there is no job `{}`", job.name))?;
        let end = text[start..].find("\n\n").map(|length| start + length + 1);
        let groups = group(&job.clear, "http") + &group(&job.secured, "https");
        let whole = format!(
            "{name}    tls_config:\n      insecure_skip_verify: true\n    static_configs:\n{groups}"
        );
        text.replace_range(start..end.unwrap_or(text.len()), &whole);
    }
    Ok(text)
}

fn group(addresses: &[String], scheme: &str) -> String {
    format!(
        "      - targets: [{}]\n        labels: {{__scheme__: {scheme}}}\n",
        addresses.join(", ")
    )
}

/// The rules with the durations of their ranges (`[5m]`) and of `for` divided, each a second long at least. Thresholds
/// stay as they are; divided by 1, all does.
#[must_use]
pub fn hastened(rules: &str, by: u32) -> String {
    if by == 1 {
        return rules.to_owned();
    }
    let lines = rules.lines().map(|line| {
        let indent = line.len() - line.trim_start().len();
        match line.trim_start().strip_prefix("for: ").and_then(seconds) {
            Some(length) => format!("{}for: {}s", &line[..indent], shortened(length, by)),
            None => with_ranges(line, by),
        }
    });
    lines.map(|line| line + "\n").collect()
}

fn with_ranges(line: &str, by: u32) -> String {
    let mut parts = line.split('[');
    let mut changed = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (range, rest) = part.split_once(']').unwrap_or(("", part));
        match seconds(range) {
            Some(length) => changed.push_str(&format!("[{}s]{rest}", shortened(length, by))),
            None => changed.push_str(&format!("[{part}")),
        }
    }
    changed
}

fn shortened(seconds: u32, by: u32) -> u32 {
    (seconds / by.max(1)).max(1)
}

/// How long an alert's expression must hold before it fires, as the rules spell it.
#[must_use]
pub fn wait_of<'a>(rules: &'a str, alert: &str) -> Option<&'a str> {
    let mut lines = rules.lines().map(str::trim);
    lines.find(|line| line.strip_prefix("- alert: ") == Some(alert))?;
    lines.find_map(|line| line.strip_prefix("for: "))
}

/// The seconds of a duration as the rules spell it: `30s`, `5m`, `1h`.
fn seconds(text: &str) -> Option<u32> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        _ => return None,
    };
    number.parse::<u32>().ok()?.checked_mul(unit)
}

/// The metrics that an expression reads, each with its matchers: what must be there even while an alert has no reason
/// to fire.
#[must_use]
pub fn selectors(expression: &str) -> Vec<String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let mut selectors = Vec::new();
    let mut rest = expression;
    while let Some(start) = rest.find(is_name) {
        let found = &rest[start..];
        let length = found.find(|c| !is_name(c)).unwrap_or(found.len());
        let (name, after) = found.split_at(length);
        rest = after;
        let is_metric = name == "up" || OURS.iter().any(|prefix| name.starts_with(prefix));
        if !is_metric {
            continue;
        }
        let matchers = after.strip_prefix('{').and_then(|inner| inner.find('}'));
        let matchers = matchers.map_or("", |end| &after[..end + 2]);
        rest = &after[matchers.len()..];
        selectors.push(format!("{name}{matchers}"));
    }
    selectors
}

/// What the names of the metrics of services and of recording rules begin with.
const OURS: [&str; 8] = [
    "ingest_gateway_",
    "es_sink_",
    "archive_sink_",
    "query_api_",
    "process_",
    "job:",
    "job_instance:",
    "job_route:",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_configuration_takes_other_addresses_and_a_job_that_it_lacks_is_named() {
        let shipped = include_str!("../../../deploy/prometheus/prometheus.yml");
        let job = |name| Job {
            name,
            clear: vec!["127.0.0.1:1".to_owned(), "127.0.0.1:2".to_owned()],
            secured: vec!["127.0.0.1:3".to_owned()],
        };
        let text = configuration(
            shipped,
            &["ingest-gateway", "es-sink", "archive-sink", "query-api"].map(job),
        );
        let text = text.unwrap();
        for shipped in ["15s", ":3000", ":5000", ":9102", ":9104"] {
            assert!(!text.contains(shipped), "{shipped}: {text}");
        }
        assert_eq!(
            text.matches("targets: [127.0.0.1:1, 127.0.0.1:2]").count(),
            4
        );
        assert_eq!(text.matches("targets: [127.0.0.1:3]").count(), 4);
        let error = configuration(shipped, &[job("node")]).unwrap_err();
        assert_eq!(error.to_string(), "there is no job `node`");
    }

    #[test]
    fn ranges_and_waits_are_shorter_and_thresholds_as_before() {
        let rules = "- expr: rate(x[5m]) > 60 and y[90s] # 5m\n  for: 1h\n  for: 30s\n";
        let expected = "- expr: rate(x[5s]) > 60 and y[1s] # 5m\n  for: 60s\n  for: 1s\n";
        assert_eq!(hastened(rules, 60), expected);
        let shipped = include_str!("../../../deploy/prometheus/alerts.yml");
        assert_eq!(hastened(shipped, 1), shipped);
        assert_ne!(hastened(shipped, 2), shipped);
        assert_eq!(wait_of(shipped, "KafkaUnreachable"), Some("1m"));
        assert_eq!(wait_of(shipped, "CertificateExpires"), Some("15m"));
        assert_eq!(wait_of(shipped, "Kafka"), None);
    }

    #[test]
    fn what_an_expression_reads_is_found_with_its_matchers() {
        let expression = r#"sum by (job, code) (rate(ingest_gateway_a_total{code=~"x|y"}[5m]))
            / on (job) group_left job:es_sink_b:sum > 0.01 and up{job="a"} == 0 or time() - es_sink_c"#;
        assert_eq!(
            selectors(expression),
            [
                r#"ingest_gateway_a_total{code=~"x|y"}"#,
                "job:es_sink_b:sum",
                r#"up{job="a"}"#,
                "es_sink_c"
            ]
        );
    }
}
