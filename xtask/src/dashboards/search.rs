//! The dashboard of query-api.
//!
//! In the flow: part of `dashboards`.

use super::panel::{Dashboard, Panel, Unit};
use super::shared;

pub(super) fn dashboard() -> Dashboard {
    Dashboard {
        name: "search",
        title: "logflow: search",
        about: "From a search to its answer.",
        chosen_by: Some("query_api_http_requests_total"),
        rows: vec![
            ("Requests", requests()),
            ("Elasticsearch", elasticsearch()),
            shared::front_door(
                "query_api",
                &[
                    shared::ELASTICSEARCH,
                    (
                        "sink_credentials_stale",
                        "credentials for the sinks of {{instance}}",
                    ),
                ],
            ),
            shared::process(),
        ],
    }
}

fn requests() -> Vec<Panel> {
    vec![
        Panel::graph("Requests", Unit::Requests, "By path; the ten with the most.").line(
            "topk(10, sum by (route) (rate(query_api_http_requests_total{$of}[$rate])))",
            "{{route}}",
        ),
        Panel::graph("By status", Unit::Requests, "Of all paths.").line(
            "sum by (status) (rate(query_api_http_requests_total{$of}[$rate]))",
            "{{status}}",
        ),
        Panel::graph("Failed", Unit::Share, "Of the requests to a path, over 5 minutes, all instances of a job together.")
            .line(
                r#"job_route:query_api_http_requests:errors_ratio5m{job=~"$job"}"#,
                "{{route}}",
            )
            .bad_above(0.05)
            .alert("SearchFails"),
        Panel::graph("Slowest", Unit::Seconds, "What 95 of 100 requests to a path are faster than, over 5 minutes, all instances of a job together.")
            .line(
                r#"job_route:query_api_http_request_duration_seconds:p95_5m{job=~"$job"}"#,
                "{{route}}",
            )
            .bad_above(2.0)
            .alert("SearchSlow"),
        Panel::graph("Duration of searches", Unit::Seconds, "Of all paths.")
            .percentiles("query_api_http_request_duration_seconds"),
        Panel::graph("At once", Unit::Count, "Requests being answered.")
            .line("query_api_http_requests_in_flight{$of}", "{{instance}}"),
        Panel::graph("Refused", Unit::Requests, "By the code that clients get; the five with the most.").line(
            "topk(5, sum by (code) (rate(query_api_requests_refused_total{$of}[$rate])))",
            "{{code}}",
        ),
        Panel::graph("Partial results", Unit::PerSecond, "By reason; the reply says so.").line(
            "sum by (reason) (rate(query_api_results_partial_total{$of}[$rate]))",
            "{{reason}}",
        ),
    ]
}

fn elasticsearch() -> Vec<Panel> {
    vec![
        Panel::graph("Duration", Unit::Seconds, "What 95 of 100 requests to Elasticsearch are faster than, by operation.").line(
            "histogram_quantile(0.95, sum by (operation, le) (rate(query_api_elasticsearch_request_duration_seconds_bucket{$of}[$rate])))",
            "{{operation}}",
        ),
        Panel::graph("Requests", Unit::Requests, "To Elasticsearch, by operation.").line(
            "sum by (operation) (rate(query_api_elasticsearch_request_duration_seconds_count{$of}[$rate]))",
            "{{operation}}",
        ),
        Panel::graph("Without an answer", Unit::Requests, "Requests to Elasticsearch without a usable answer, by kind.").line(
            "sum by (kind) (rate(query_api_elasticsearch_errors_total{$of}[$rate]))",
            "{{kind}}",
        ),
        Panel::graph("Cursors", Unit::Count, "Held open in Elasticsearch; and closed before their time within an hour, to make room.")
            .line("query_api_cursors_open{$of}", "{{instance}}")
            .line("increase(query_api_cursors_evicted_total{$of}[1h])", "{{instance}}, gave way"),
    ]
}
