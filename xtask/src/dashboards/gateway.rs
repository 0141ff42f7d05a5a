//! The dashboard of ingest-gateway.
//!
//! In the flow: part of `dashboards`.

use super::panel::{Dashboard, Panel, Unit};
use super::shared;

pub(super) fn dashboard() -> Dashboard {
    Dashboard {
        name: "gateway",
        title: "logflow: gateway",
        about: "From a client's request to Kafka's acknowledgement.",
        chosen_by: Some("ingest_gateway_requests_total"),
        rows: vec![
            ("Traffic", traffic()),
            ("Refused", refused()),
            ("Kafka", kafka()),
            shared::front_door("ingest_gateway", &[]),
            shared::process(),
        ],
    }
}

fn traffic() -> Vec<Panel> {
    vec![
        Panel::graph(
            "Requests",
            Unit::Requests,
            "By status; probes and scrapes count, too.",
        )
        .line(
            "sum by (status) (rate(ingest_gateway_requests_total{$of}[$rate]))",
            "{{status}}",
        ),
        Panel::graph(
            "Events",
            Unit::Events,
            "Acknowledged by Kafka, and refused alone while others of their request came in.",
        )
        .line(
            "sum(rate(ingest_gateway_events_accepted_total{$of}[$rate]))",
            "accepted",
        )
        .line(
            "sum by (code) (rate(ingest_gateway_events_refused_total{$of}[$rate]))",
            "refused: {{code}}",
        ),
        Panel::graph(
            "Bytes",
            Unit::BytesPerSecond,
            "Bodies as they came in, before decompression; and what was handed to Kafka.",
        )
        .line(
            "sum(rate(ingest_gateway_received_bytes_total{$of}[$rate]))",
            "received",
        )
        .line(
            "sum(rate(ingest_gateway_produced_bytes_total{$of}[$rate]))",
            "to Kafka",
        ),
        Panel::graph(
            "Duration of requests",
            Unit::Seconds,
            "From the head of a request with events to its reply.",
        )
        .percentiles("ingest_gateway_request_duration_seconds"),
    ]
}

fn refused() -> Vec<Panel> {
    vec![
        Panel::graph("By code and tenant", Unit::Requests, "Requests refused as a whole; the ten with the most.")
            .line(
                "topk(10, sum by (code, tenant) (rate(ingest_gateway_requests_refused_total{$of}[$rate])))",
                "{{code}} {{tenant}}",
            )
            .alert("GatewayRefuses")
            .alert("GatewayUnavailable"),
        Panel::graph("Held back", Unit::Requests, "Requests beyond a rate that waited and were let in.").line(
            "sum(rate(ingest_gateway_requests_paced_total{$of}[$rate]))",
            "requests",
        ),
        Panel::graph("In flight", Unit::Share, "Bytes that requests hold, of those that they may; and what of it waits for its rate.")
            .line(
                "ingest_gateway_in_flight_bytes{$of} / ingest_gateway_in_flight_limit_bytes{$of}",
                "{{instance}}",
            )
            .line(
                "ingest_gateway_paced_bytes{$of} / ingest_gateway_in_flight_limit_bytes{$of}",
                "{{instance}}, held back",
            )
            .bad_above(0.8)
            .alert("GatewayNearlyFull"),
        Panel::graph("Clients", Unit::Count, "That have rate limits of their own at the moment.")
            .line("ingest_gateway_tracked_clients{$of}", "{{instance}}"),
    ]
}

fn kafka() -> Vec<Panel> {
    vec![
        Panel::graph(
            "Acknowledgement",
            Unit::Seconds,
            "From handing a request's records over to the last acknowledgement.",
        )
        .percentiles("ingest_gateway_kafka_ack_duration_seconds")
        .bad_above(1.0)
        .alert("KafkaAcknowledgesSlowly"),
        Panel::graph(
            "Reachable",
            Unit::Count,
            "1 while Kafka answers and acknowledges.",
        )
        .line("ingest_gateway_kafka_reachable{$of}", "{{instance}}")
        .bad_below(1.0)
        .alert("KafkaUnreachable"),
        Panel::graph(
            "Not acknowledged",
            Unit::Events,
            "Records, by cause. Their clients were told.",
        )
        .line(
            "sum by (cause) (rate(ingest_gateway_kafka_delivery_failures_total{$of}[$rate]))",
            "{{cause}}",
        ),
        Panel::graph(
            "Producer's queue",
            Unit::Count,
            "Records handed over and not reported yet.",
        )
        .line(
            "ingest_gateway_kafka_producer_queue_records{$of}",
            "{{instance}}",
        ),
        Panel::graph(
            "Producers replaced",
            Unit::Count,
            "Within an hour, after an error that librdkafka calls fatal.",
        )
        .line(
            "increase(ingest_gateway_kafka_producer_restarts_total{$of}[1h])",
            "{{instance}}",
        ),
    ]
}
