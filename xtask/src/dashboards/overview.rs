//! The dashboard that tells whether all is well, and where to look if not.
//!
//! In the flow: part of `dashboards`.

use super::panel::{Dashboard, Panel, Unit};

pub(super) fn dashboard() -> Dashboard {
    Dashboard {
        name: "overview",
        title: "logflow: overview",
        about: "From the clients to the search: whether all is well, and where to look if not.",
        chosen_by: None,
        rows: vec![
            ("Now", now()),
            ("Events", events()),
            ("Clients", clients()),
            ("Services", services()),
        ],
    }
}

fn now() -> Vec<Panel> {
    vec![
        Panel::number("Alerts", Unit::Count, "That fire.")
            .line(r#"count(ALERTS{alertstate="firing"}) or vector(0)"#, "")
            .bad_above(1.0),
        Panel::number(
            "Services down",
            Unit::Count,
            "Instances that do not answer.",
        )
        .line(
            r#"count(up{job=~"ingest-gateway|es-sink|archive-sink|query-api"} == 0) or vector(0)"#,
            "",
        )
        .bad_above(1.0)
        .alert("ServiceDown"),
        Panel::number(
            "Oldest event in flight",
            Unit::Seconds,
            "Since it arrived, and it is not searchable.",
        )
        .line("max(es_sink_oldest_in_flight_age_seconds)", "")
        .bad_above(60.0)
        .alert("EventsNotSearchable")
        .details("Sink", "sink"),
        Panel::number("Lag", Unit::Count, "Records in Kafka that are not settled.")
            .line("sum(job:es_sink_consumer_lag_records:sum)", "")
            .details("Sink", "sink"),
        Panel::number(
            "Held",
            Unit::Count,
            "Records that wait until somebody changes something.",
        )
        .line("sum(es_sink_held_items)", "")
        .bad_above(1.0)
        .alert("SinkHeld")
        .details("Sink", "sink"),
        Panel::number(
            "Dead letters",
            Unit::Count,
            "Events of the last hour that can never be indexed as they are.",
        )
        .line("sum(increase(es_sink_dead_letters_total[1h]))", "")
        .bad_above(1.0)
        .alert("DeadLetters")
        .details("Sink", "sink"),
    ]
}

fn events() -> Vec<Panel> {
    vec![
        Panel::graph(
            "In and out",
            Unit::Events,
            "What gateways accepted, and what sinks have indexed or dead-lettered.",
        )
        .line(
            "sum(rate(ingest_gateway_events_accepted_total[$rate]))",
            "accepted",
        )
        .line(
            "sum(job:es_sink_records_settled:rate5m)",
            "settled, mean of 5 minutes",
        ),
        Panel::graph("Lag", Unit::Count, "Records in Kafka that are not settled.")
            .line("job:es_sink_consumer_lag_records:sum", "{{job}}")
            .details("Sink", "sink"),
        Panel::graph(
            "Freshness",
            Unit::Seconds,
            "From the receipt of an event until Elasticsearch has it, for 95 of 100.",
        )
        .line("job:es_sink_freshness_seconds:p95_5m", "{{job}}")
        .details("Sink", "sink"),
    ]
}

fn clients() -> Vec<Panel> {
    vec![
        Panel::graph(
            "Refused",
            Unit::Requests,
            "Requests with events, by code; the five with the most.",
        )
        .line(
            "topk(5, sum by (code) (rate(ingest_gateway_requests_refused_total[$rate])))",
            "{{code}}",
        )
        .alert("GatewayRefuses")
        .alert("GatewayUnavailable")
        .details("Gateway", "gateway"),
        Panel::graph(
            "Failed searches",
            Unit::Share,
            "Of the requests to a path, over 5 minutes.",
        )
        .line(
            "max by (route) (job_route:query_api_http_requests:errors_ratio5m)",
            "{{route}}",
        )
        .bad_above(0.05)
        .alert("SearchFails")
        .details("Search", "search"),
        Panel::graph(
            "Slowest searches",
            Unit::Seconds,
            "What 95 of 100 requests to a path are faster than, over 5 minutes.",
        )
        .line(
            "max by (route) (job_route:query_api_http_request_duration_seconds:p95_5m)",
            "{{route}}",
        )
        .bad_above(2.0)
        .alert("SearchSlow")
        .details("Search", "search"),
    ]
}

fn services() -> Vec<Panel> {
    vec![
        Panel::graph("Up", Unit::Count, "1 while an instance answers.")
            .line(
                r#"up{job=~"ingest-gateway|es-sink|archive-sink|query-api"}"#,
                "{{job}} {{instance}}",
            )
            .bad_below(1.0)
            .alert("ServiceDown"),
        Panel::graph("CPU", Unit::Count, "Cores in use.").line(
            r#"rate(process_cpu_seconds_total{job=~"ingest-gateway|es-sink|archive-sink|query-api"}[$rate])"#,
            "{{job}} {{instance}}",
        ),
        Panel::graph("Memory", Unit::Bytes, "What a process holds resident.").line(
            r#"process_resident_memory_bytes{job=~"ingest-gateway|es-sink|archive-sink|query-api"}"#,
            "{{job}} {{instance}}",
        ),
    ]
}
