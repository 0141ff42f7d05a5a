//! The dashboard of es-sink.
//!
//! In the flow: part of `dashboards`.

use super::panel::{Dashboard, Panel, Unit};
use super::shared;

pub(super) fn dashboard() -> Dashboard {
    Dashboard {
        name: "sink",
        title: "logflow: sink",
        about: "From Kafka to Elasticsearch.",
        chosen_by: Some("es_sink_records_total"),
        rows: vec![
            ("How far behind", behind()),
            ("Flow", flow()),
            ("Trouble", trouble()),
            ("Kafka", kafka()),
            shared::files("es_sink", &[shared::ELASTICSEARCH]),
            shared::process(),
        ],
    }
}

fn behind() -> Vec<Panel> {
    vec![
        Panel::graph(
            "Oldest event in flight",
            Unit::Seconds,
            "Since it arrived, and it is neither indexed nor a dead letter.",
        )
        .line("es_sink_oldest_in_flight_age_seconds{$of}", "{{instance}}")
        .bad_above(60.0)
        .alert("EventsNotSearchable"),
        Panel::graph(
            "Lag",
            Unit::Count,
            "Records in the log that are not committed.",
        )
        .line(
            "max by (topic, partition) (es_sink_consumer_lag_records{$of})",
            "{{topic}} {{partition}}",
        ),
        shared::catch_up("es_sink", "SinkFallsBehind"),
        Panel::graph(
            "Freshness",
            Unit::Seconds,
            "From the receipt of an event until Elasticsearch has it.",
        )
        .percentiles("es_sink_freshness_seconds"),
        Panel::graph(
            "Since the newest indexed event",
            Unit::Seconds,
            "Its receipt. It grows while nobody sends anything, too.",
        )
        .line(
            "time() - (es_sink_newest_indexed_timestamp_seconds{$of} > 0)",
            "{{instance}}",
        ),
    ]
}

fn flow() -> Vec<Panel> {
    vec![
        Panel::graph(
            "Records",
            Unit::Events,
            "Read, indexed, and of those the ones that were there before.",
        )
        .line("sum(rate(es_sink_records_total{$of}[$rate]))", "read")
        .line(
            "sum(rate(es_sink_documents_indexed_total{$of}[$rate]))",
            "indexed",
        )
        .line(
            "sum(rate(es_sink_duplicates_suppressed_total{$of}[$rate]))",
            "there before",
        )
        .line(
            "sum(rate(es_sink_records_ignored_total{$of}[$rate]))",
            "of partitions given back",
        ),
        Panel::graph(
            "Bytes",
            Unit::BytesPerSecond,
            "Values read, and bodies of bulk requests, repeats included.",
        )
        .line("sum(rate(es_sink_record_bytes_total{$of}[$rate]))", "read")
        .line("sum(rate(es_sink_bulk_bytes_total{$of}[$rate]))", "sent"),
        Panel::graph(
            "Bulk requests",
            Unit::Requests,
            "Repeats included; and those parted after a 413 or a 400.",
        )
        .line("sum(rate(es_sink_bulks_total{$of}[$rate]))", "sent")
        .line("sum(rate(es_sink_bulks_split_total{$of}[$rate]))", "parted"),
        Panel::graph(
            "Duration of bulk requests",
            Unit::Seconds,
            "From sending one to its whole reply.",
        )
        .percentiles("es_sink_bulk_duration_seconds"),
        Panel::graph(
            "Bulk requests on their way",
            Unit::Count,
            "At their limit, Elasticsearch is the slower one.",
        )
        .line("es_sink_bulks_in_flight{$of}", "{{instance}}"),
        Panel::graph("Bytes on their way", Unit::Bytes, "Of bulk requests.")
            .line("es_sink_bulk_in_flight_bytes{$of}", "{{instance}}"),
        Panel::graph(
            "Held in memory",
            Unit::Share,
            "Of what may be, and whether reading pauses because of it (1).",
        )
        .line(
            "es_sink_held_bytes{$of} / es_sink_held_bytes_limit{$of}",
            "{{instance}}",
        )
        .line("es_sink_paused{$of}", "{{instance}} pauses"),
    ]
}

fn trouble() -> Vec<Panel> {
    vec![
        Panel::graph("Held", Unit::Count, "Records that wait until somebody changes something, by cause.")
            .line("sum by (cause) (es_sink_held_items{$of})", "{{cause}}")
            .bad_above(1.0)
            .alert("SinkHeld")
            .alert("DeadLettersWait"),
        Panel::graph("Tries of what is held", Unit::PerSecond, "By cause.").line(
            "sum by (cause) (rate(es_sink_item_holds_total{$of}[$rate]))",
            "{{cause}}",
        ),
        Panel::graph("Elasticsearch fails", Unit::Count, "1 while it takes nothing at all.")
            .line("es_sink_elasticsearch_failing{$of}", "{{instance}}")
            .bad_above(1.0)
            .alert("ElasticsearchFailing"),
        Panel::graph("Tried again", Unit::PerSecond, "Items, by cause; `overloaded` is a 429.")
            .line(
                "sum by (cause) (rate(es_sink_item_retries_total{$of}[$rate]))",
                "{{cause}}",
            )
            .alert("ElasticsearchRejects"),
        Panel::graph("Dead letters", Unit::Count, "Within a quarter of an hour, by cause.")
            .line("sum by (cause) (increase(es_sink_dead_letters_total{$of}[15m]))", "{{cause}}")
            .bad_above(1.0)
            .alert("DeadLetters"),
        Panel::graph("Dead letters on their way", Unit::Count, "Not acknowledged by their topic; and how many it did not take at once, in a quarter of an hour.")
            .line("es_sink_dead_letters_waiting{$of}", "{{instance}}")
            .line(
                "increase(es_sink_dead_letter_retries_total{$of}[15m])",
                "{{instance}}, tried again",
            ),
    ]
}

fn kafka() -> Vec<Panel> {
    vec![
        shared::partitions("es_sink", "SinkReadsNothing"),
        shared::rebalances("es_sink"),
        Panel::graph("Commits", Unit::PerSecond, "Of offsets, by result.").line(
            "sum by (result) (rate(es_sink_commits_total{$of}[$rate]))",
            "{{result}}",
        ),
        shared::kafka_reachable("es_sink", "KafkaUnreachable"),
    ]
}
