//! The panels that several dashboards have, under each service's own metric names.
//!
//! In the flow: part of `dashboards`.

use super::panel::{Panel, Unit};

const DAY: f64 = 86_400.0;

/// What a process takes from its machine, and whether it stays.
pub(super) fn process() -> (&'static str, Vec<Panel>) {
    let panels = vec![
        Panel::graph("CPU", Unit::Count, "Cores in use.").line(
            "rate(process_cpu_seconds_total{$of}[$rate])",
            "{{instance}}",
        ),
        Panel::graph("Memory", Unit::Bytes, "What the process holds resident.")
            .line("process_resident_memory_bytes{$of}", "{{instance}}"),
        Panel::graph(
            "Open files",
            Unit::Share,
            "Of those that the process may open; connections are files, too.",
        )
        .line(
            "process_open_fds{$of} / process_max_fds{$of}",
            "{{instance}}",
        )
        .bad_above(0.9),
        Panel::graph("Restarts", Unit::Count, "Within a quarter of an hour.")
            .line(
                "changes(process_start_time_seconds{$of}[15m])",
                "{{instance}}",
            )
            .bad_above(3.0)
            .alert("RestartLoop"),
    ];
    ("Process", panels)
}

/// How long a sink has to read until nothing is left.
pub(super) fn catch_up(service: &str, alert: &'static str) -> Panel {
    Panel::graph("Time to catch up", Unit::Seconds, "At the pace of the last five minutes, all instances of a job together; a week stands for never.")
        .line(
            format!(r#"job:{service}_catch_up_seconds{{job=~"$job"}}"#),
            "{{job}}",
        )
        .alert(alert)
}

/// What a sink has of its group.
pub(super) fn partitions(service: &str, alert: &'static str) -> Panel {
    Panel::graph(
        "Partitions",
        Unit::Count,
        "That are assigned to an instance.",
    )
    .line(
        format!("{service}_assigned_partitions{{$of}}"),
        "{{instance}}",
    )
    .alert(alert)
}

/// How often that changes.
pub(super) fn rebalances(service: &str) -> Panel {
    Panel::graph(
        "Rebalances",
        Unit::Count,
        "Times within a quarter of an hour that partitions were assigned, revoked or lost.",
    )
    .line(
        format!("increase({service}_rebalances_total{{$of}}[15m])"),
        "{{instance}}",
    )
}

/// Whether a sink has a broker to read from.
pub(super) fn kafka_reachable(service: &str, alert: &'static str) -> Panel {
    Panel::graph("Reachable", Unit::Count, "1 while a broker can be reached.")
        .line(format!("{service}_kafka_reachable{{$of}}"), "{{instance}}")
        .bad_below(1.0)
        .alert(alert)
}

/// A file that says who a service is to others: its metric, and its legend.
pub(super) type Credentials = (&'static str, &'static str);
/// Of services that ask Elasticsearch.
pub(super) const ELASTICSEARCH: Credentials = (
    "elasticsearch_credentials_stale",
    "credentials for Elasticsearch of {{instance}}",
);

/// Connections in, what lets clients in, and what lets the service in elsewhere. `service` is the prefix of its metrics.
pub(super) fn front_door(service: &str, credentials: &[Credentials]) -> (&'static str, Vec<Panel>) {
    let of = |metric: &str| format!("{service}_{metric}{{$of}}");
    let connections = Panel::graph(
        "Connections",
        Unit::Share,
        "Open ones, of those that may be open; further clients wait.",
    )
    .line(
        format!(
            "{} / {}",
            of("open_connections"),
            of("open_connections_limit")
        ),
        "{{instance}}",
    )
    .bad_above(0.9)
    .alert("ConnectionsNearlyFull");
    let mut panels = vec![connections];
    panels.extend(files(service, credentials).1);
    ("Connections, certificates and keys", panels)
}

/// What lets clients in, and what lets the service in elsewhere.
pub(super) fn files(service: &str, credentials: &[Credentials]) -> (&'static str, Vec<Panel>) {
    let of = |metric: &str| format!("{service}_{metric}{{$of}}");
    let left = |metric: &str| format!("{} - time()", of(metric));
    let mut faults = Panel::graph(
        "Files with a fault",
        Unit::Count,
        "1: the file has changed and cannot be read; what it said before counts.",
    )
    .line(of("tls_certificates_stale"), "certificate of {{instance}}")
    .line(of("api_keys_stale"), "keys of {{instance}}")
    .bad_above(1.0)
    .alert("CertificateStale")
    .alert("KeyFileStale");
    for (metric, legend) in credentials {
        faults = faults.line(of(metric), legend);
    }
    if !credentials.is_empty() {
        faults = faults.alert("CredentialsStale");
    }
    let panels = vec![
        Panel::graph(
            "The certificate is good for",
            Unit::Seconds,
            "That which new connections get. Nothing without TLS.",
        )
        .line(
            left("tls_certificate_expires_timestamp_seconds"),
            "{{instance}}",
        )
        .bad_below(14.0 * DAY)
        .alert("CertificateExpires"),
        Panel::graph(
            "Keys are good for",
            Unit::Seconds,
            "The 20 that expire next. Nothing without a key file.",
        )
        .line(
            format!(
                "min by (key) ({}) - time()",
                of("api_key_expires_timestamp_seconds")
            ),
            "{{key}}",
        )
        .bad_below(7.0 * DAY)
        .alert("ApiKeyExpires"),
        faults,
    ];
    ("Certificates and keys", panels)
}
