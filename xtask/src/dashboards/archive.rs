//! The dashboard of archive-sink.
//!
//! In the flow: part of `dashboards`.

use super::panel::{Dashboard, Panel, Unit};
use super::shared;

pub(super) fn dashboard() -> Dashboard {
    Dashboard {
        name: "archive",
        title: "logflow: archive",
        about: "From Kafka to PostgreSQL, for who keeps an archive.",
        chosen_by: Some("archive_sink_records_total"),
        rows: vec![
            ("How far behind", behind()),
            ("Flow", flow()),
            ("Kafka", kafka()),
            shared::files("archive_sink", &[]),
            shared::process(),
        ],
    }
}

fn behind() -> Vec<Panel> {
    vec![
        Panel::graph(
            "PostgreSQL fails",
            Unit::Count,
            "1 while it takes nothing at all.",
        )
        .line("archive_sink_postgres_failing{$of}", "{{instance}}")
        .bad_above(1.0)
        .alert("PostgresqlFailing"),
        Panel::graph(
            "Lag",
            Unit::Count,
            "Records in the log that are not archived.",
        )
        .line(
            "max by (topic, partition) (archive_sink_consumer_lag_records{$of})",
            "{{topic}} {{partition}}",
        ),
        shared::catch_up("archive_sink", "ArchiveFallsBehind"),
        Panel::graph(
            "Since the newest archived event",
            Unit::Seconds,
            "Its receipt. It grows while nobody sends anything, too.",
        )
        .line(
            "time() - (archive_sink_newest_archived_timestamp_seconds{$of} > 0)",
            "{{instance}}",
        ),
    ]
}

fn flow() -> Vec<Panel> {
    vec![
        Panel::graph(
            "Records",
            Unit::Events,
            "Read, archived, and those whose event was there before.",
        )
        .line("sum(rate(archive_sink_records_total{$of}[$rate]))", "read")
        .line(
            "sum(rate(archive_sink_events_archived_total{$of}[$rate]))",
            "archived",
        )
        .line(
            "sum(rate(archive_sink_duplicates_suppressed_total{$of}[$rate]))",
            "there before",
        ),
        Panel::graph("Bytes", Unit::BytesPerSecond, "Values read.").line(
            "sum(rate(archive_sink_record_bytes_total{$of}[$rate]))",
            "read",
        ),
        Panel::graph(
            "Transactions",
            Unit::PerSecond,
            "With events, by result; a failed one is tried again.",
        )
        .line(
            "sum by (result) (rate(archive_sink_transactions_total{$of}[$rate]))",
            "{{result}}",
        ),
        Panel::graph(
            "Duration of transactions",
            Unit::Seconds,
            "Of those that succeeded, from begin to commit.",
        )
        .percentiles("archive_sink_transaction_duration_seconds"),
        Panel::graph(
            "Held in memory",
            Unit::Bytes,
            "Records that are read and not archived.",
        )
        .line("archive_sink_held_bytes{$of}", "{{instance}}"),
        Panel::graph(
            "Batches on their way",
            Unit::Count,
            "And whether reading pauses because too much is held (1).",
        )
        .line("archive_sink_batches_in_flight{$of}", "{{instance}}")
        .line("archive_sink_paused{$of}", "{{instance}} pauses"),
    ]
}

fn kafka() -> Vec<Panel> {
    vec![
        shared::partitions("archive_sink", "ArchiveReadsNothing"),
        shared::rebalances("archive_sink"),
        Panel::graph(
            "Claimed by another",
            Unit::Count,
            "Times within a quarter of an hour; all the time, if a second group writes into the same database.",
        )
        .line(
            "increase(archive_sink_deposed_total{$of}[15m])",
            "{{instance}}",
        ),
        shared::kafka_reachable("archive_sink", "ArchiveReadsNothing"),
    ]
}
