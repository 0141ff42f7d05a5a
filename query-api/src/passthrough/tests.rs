use super::*;
use crate::error::Code;
use axum::http::Method as HttpMethod;
use expect_test::{Expect, expect};
use log_event::timestamp::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};

/// What Grafana sends to `_msearch`; tests/grafana/README.md says from where.
const SEARCHES: [(&str, &str); 12] = [
    ("logs", include_str!("../../tests/grafana/logs.ndjson")),
    (
        "logs_newer",
        include_str!("../../tests/grafana/logs_newer.ndjson"),
    ),
    (
        "logs_volume",
        include_str!("../../tests/grafana/logs_volume.ndjson"),
    ),
    (
        "log_context",
        include_str!("../../tests/grafana/log_context.ndjson"),
    ),
    (
        "raw_data",
        include_str!("../../tests/grafana/raw_data.ndjson"),
    ),
    (
        "metrics",
        include_str!("../../tests/grafana/metrics.ndjson"),
    ),
    (
        "pipelines",
        include_str!("../../tests/grafana/pipelines.ndjson"),
    ),
    (
        "rate_and_top_metrics",
        include_str!("../../tests/grafana/rate_and_top_metrics.ndjson"),
    ),
    (
        "variable",
        include_str!("../../tests/grafana/variable.ndjson"),
    ),
    (
        "annotations",
        include_str!("../../tests/grafana/annotations.ndjson"),
    ),
    (
        "several_days",
        include_str!("../../tests/grafana/several_days.ndjson"),
    ),
    (
        "ad_hoc_filters",
        include_str!("../../tests/grafana/ad_hoc_filters.ndjson"),
    ),
];
const GETS: &str = include_str!("../../tests/grafana/gets.txt");

fn judged_within(
    range: Option<Duration>,
    method: HttpMethod,
    path: &str,
    body: &str,
) -> Result<Passage, Problem> {
    let index = "logflow-*".parse().unwrap();
    let bounds = Bounds {
        index: &index,
        search_timeout: Duration::from_secs(10),
        range: RangeBound {
            max: range,
            now: Timestamp::from_millis(1_769_904_000_000).unwrap(),
        },
    };
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let place = Place::read(&format!("/elasticsearch{path}"))?;
    assert!(place.endpoint.takes(&method), "{method} {path}");
    judge(&place, query, body.as_bytes(), bounds)
}

fn judged(path: &str, body: &str) -> Result<Passage, Problem> {
    judged_within(None, HttpMethod::POST, path, body)
}

fn sent(passage: &Passage) -> &str {
    std::str::from_utf8(passage.body.as_deref().unwrap_or_default()).unwrap()
}

#[test]
fn every_request_of_grafanas_is_passed_on() {
    for (name, body) in SEARCHES {
        let passage = judged("/_msearch?max_concurrent_shard_requests=5", body);
        let passage = passage.unwrap_or_else(|problem| panic!("{name}: {}", problem.detail));
        assert_eq!(passage.content_type, "application/x-ndjson");
        assert!(
            passage
                .path
                .starts_with("/_msearch?max_concurrent_shard_requests=5&max_concurrent_searches=")
        );
        for (asked, sent) in body.lines().zip(sent(&passage).lines()) {
            let mut asked: Value = serde_json::from_str(asked).unwrap();
            let mut sent: Value = serde_json::from_str(sent).unwrap();
            if asked["index"].is_array() {
                asked["index"] = "logflow-2026.01.30,logflow-2026.01.31".into();
            }
            for body in [&mut asked, &mut sent] {
                body.as_object_mut().unwrap().remove("timeout");
                if body["sort"].is_object() || body["sort"].is_array() {
                    body["sort"] = "compared by another test".into();
                }
            }
            assert_eq!(asked, sent, "{name}");
        }
    }
    for get in GETS.lines() {
        let passage = judged_within(None, HttpMethod::GET, get, "");
        let passage = passage.unwrap_or_else(|problem| panic!("{get}: {}", problem.detail));
        assert_eq!((passage.method, passage.body), (Method::Get, None), "{get}");
        assert_eq!(passage.permits, 1);
    }
}

#[test]
fn every_search_of_grafanas_is_within_a_longest_time_range_that_its_own_is_within() {
    let day = Some(Duration::from_secs(24 * 3600));
    let less = Some(Duration::from_secs(24 * 3600 - 1));
    for (name, body) in SEARCHES {
        let within = |range| judged_within(range, HttpMethod::POST, "/_msearch", body);
        // The context of a line in older frontends has no end in the past.
        if name != "log_context" {
            assert!(within(day).is_ok(), "{name}: {:?}", within(day));
        }
        let problem = within(less).unwrap_err();
        assert_eq!(problem.code, Code::TimeRangeTooLong, "{name}");
    }
}

#[track_caller]
fn check(path: &str, body: &str, expected: Expect) {
    let shown = match judged(path, body) {
        Ok(passage) => format!(
            "{:?} {} {}\n{}",
            passage.method,
            passage.path,
            passage.permits,
            sent(&passage)
        ),
        Err(problem) => format!("{} {}", problem.code.as_str(), problem.detail),
    };
    expected.assert_eq(&shown);
}

#[test]
fn what_is_sent_has_the_operators_indices_and_a_time_limit() {
    check(
        "/_search",
        r#"{"query":{"match_all":{}},"size":2500,"timeout":"2s"}"#,
        expect![[r#"
            Post /logflow-*/_search 3
            {"query":{"match_all":{}},"size":2500,"timeout":"2000ms"}"#]],
    );
    check(
        "/logflow-2026.01.31/_search?pretty",
        "",
        expect![[r#"
            Post /logflow-2026.01.31/_search?pretty= 1
            {"timeout":"10000ms"}"#]],
    );
    check(
        "/_msearch?max_concurrent_searches=99",
        "{}\n{\"size\":0,\"timeout\":\"-1\"}\n\n{\"timeout\":\"1h\",\"size\":0}\r\n",
        expect![[r#"
            Post /_msearch?max_concurrent_searches=2 2
            {"index":"logflow-*"}
            {"size":0,"timeout":"10000ms"}
            {"index":"logflow-*"}
            {"size":0,"timeout":"10000ms"}
        "#]],
    );
    check(
        "/_all/_count",
        r#"{"query":{"term":{"level":"error"}}}"#,
        expect![[r#"
            Post /logflow-*/_count 1
            {"query":{"term":{"level":"error"}}}"#]],
    );
    check(
        "/_field_caps?fields=*",
        "",
        expect![[r#"
            Get /logflow-*/_field_caps?fields=* 1
        "#]],
    );
}

#[test]
fn the_tie_break_of_a_sort_comes_last() {
    for (asked, sent) in [
        (
            r#"{"_doc":{"order":"desc"},"timestamp":{"order":"desc"}}"#,
            r#"[{"timestamp":{"order":"desc"}},{"_doc":{"order":"desc"}}]"#,
        ),
        (
            r#"{"timestamp":"asc","_doc":"asc","level":"asc"}"#,
            r#"[{"timestamp":"asc"},{"level":"asc"},{"_doc":"asc"}]"#,
        ),
        (r#"["_doc","timestamp"]"#, r#"["_doc","timestamp"]"#),
        (r#"{"_doc":"asc"}"#, r#"{"_doc":"asc"}"#),
    ] {
        let passage = judged("/_search", &format!(r#"{{"sort":{asked}}}"#)).unwrap();
        let expected = format!(r#"{{"sort":{sent},"timeout":"10000ms"}}"#);
        assert_eq!(self::sent(&passage), expected);
    }
}

/// Bodies of a search that are refused, and what the reason names.
const REFUSED: [(&str, &str); 40] = [
    (
        r#"{"script_fields":{"a":{"script":"1"}}}"#,
        "`script_fields` can only be empty",
    ),
    (
        r#"{"script_fields":[]}"#,
        "`script_fields` can only be empty",
    ),
    (r#"{"runtime_mappings":{}}"#, "runtime_mappings"),
    (
        r#"{"sort":{"_script":{"type":"number","script":"1"}}}"#,
        "sort._script",
    ),
    (
        r#"{"sort":[{"a":{"nested":{"path":"b","filter":{"terms":{"c":{"index":"d"}}}}}}]}"#,
        "sort.a.nested",
    ),
    (r#"{"query":{"script":{"script":"1"}}}"#, "query.script"),
    (
        r#"{"query":{"script_score":{"query":{"match_all":{}}}}}"#,
        "query.script_score",
    ),
    (r#"{"query":{"function_score":{}}}"#, "query.function_score"),
    (
        r#"{"query":{"bool":{"filter":[{"bool":{"must":{"more_like_this":{}}}}]}}}"#,
        "query.bool.filter.bool.must.more_like_this",
    ),
    (
        r#"{"query":{"terms":{"a":{"index":"secrets","id":"1","path":"b"}}}}"#,
        "query.terms.a",
    ),
    (
        r#"{"query":{"percolate":{"index":"secrets"}}}"#,
        "query.percolate",
    ),
    (
        r#"{"query":{"geo_shape":{"a":{"indexed_shape":{"index":"secrets"}}}}}"#,
        "query.geo_shape",
    ),
    (r#"{"query":{"regexp":{"a":"b"}}}"#, "query.regexp"),
    (
        r#"{"query":{"query_string":{"query":"a","max_determinized_states":1}}}"#,
        "max_determinized_states",
    ),
    (
        r#"{"query":{"nested":{"path":"a","query":{"match_all":{}},"inner_hits":{}}}}"#,
        "inner_hits",
    ),
    (r#"{"query":{"wrapper":{"query":"e30="}}}"#, "query.wrapper"),
    (
        r#"{"query":{"match_all":{},"match_none":{}}}"#,
        "`query` must be",
    ),
    (
        r#"{"query":{"match":{"a":"b","c":"d"}}}"#,
        "must name one field",
    ),
    (
        r#"{"query":{"match":{"a":{"query":{"x":1}}}}}"#,
        "query.match.a.query",
    ),
    (r#"{"query":[]}"#, "`query` must be"),
    (r#"{"post_filter":{"script":{}}}"#, "post_filter.script"),
    (
        r#"{"aggs":{"a":{"scripted_metric":{}}}}"#,
        "aggs.a.scripted_metric",
    ),
    (
        r#"{"aggs":{"a":{"moving_fn":{"script":"MovingFunctions.max(values)"}}}}"#,
        "aggs.a.moving_fn",
    ),
    (
        r#"{"aggs":{"a":{"bucket_script":{"buckets_path":{}}}}}"#,
        "aggs.a.bucket_script",
    ),
    (
        r#"{"aggs":{"a":{"avg":{"field":"b","script":"_value * 2"}}}}"#,
        "aggs.a.avg.script",
    ),
    (r#"{"aggs":{"a":{"global":{}}}}"#, "aggs.a.global"),
    (
        r#"{"aggs":{"a":{"filter":{"terms":{"b":{"index":"c"}}}}}}"#,
        "aggs.a.filter.terms.b",
    ),
    (
        r#"{"aggs":{"a":{"filters":{"filters":{"b":{"script":{}}}}}}}"#,
        "aggs.a.filters.filters.b.script",
    ),
    (
        r#"{"aggs":{"a":{"filters":{"filters":[{"wrapper":{}}]}}}}"#,
        "wrapper",
    ),
    (
        r#"{"aggs":{"a":{"terms":{"field":"b","size":10001}}}}"#,
        "`aggs.a.terms.size` can be 10000 at most",
    ),
    (
        r#"{"aggs":{"a":{"terms":{"field":"b","size":"10001"}}}}"#,
        "can be 10000 at most",
    ),
    (
        r#"{"aggs":{"a":{"top_hits":{"size":101}}}}"#,
        "can be 100 at most",
    ),
    (
        r#"{"aggs":{"a":{"top_hits":{"script_fields":{}}}}}"#,
        "aggs.a.top_hits.script_fields",
    ),
    (
        r#"{"highlight":{"fields":{"a":{"highlight_query":{}}}}}"#,
        "highlight.fields.a.highlight_query",
    ),
    (r#"{"size":10001}"#, "`size` can be 10000 at most"),
    (r#"{"size":-1}"#, "`size` must be a whole number"),
    (r#"{"pit":{"id":"x"}}"#, "`pit` is not passed on"),
    (r#"{"suggest":{}}"#, "`suggest` is not passed on"),
    (r#"{"knn":{}}"#, "`knn` is not passed on"),
    (r#"{"timeout":1}"#, "`timeout` must be a text"),
];

#[test]
fn what_no_table_names_is_refused_by_its_place() {
    for (body, named) in REFUSED {
        for (path, body) in [
            ("/_search", body.to_owned()),
            ("/_msearch", format!("{{}}\n{{}}\n{{}}\n{body}\n")),
        ] {
            let problem = judged(path, &body).unwrap_err();
            assert!(problem.detail.contains(named), "{body}: {}", problem.detail);
            assert!(
                matches!(problem.code, Code::NotAllowed | Code::InvalidParameter),
                "{body}"
            );
            let position = problem.detail.starts_with("search 2 of 2: ");
            assert_eq!(position, path == "/_msearch", "{}", problem.detail);
        }
    }
    for body in ["[]", "{", "{}{}", r#"{"size":1,"size":2}"#, "null"] {
        let problem = judged("/_search", body).unwrap_err();
        assert_eq!(problem.code, Code::InvalidJson, "{body}");
    }
}

#[test]
fn a_header_cannot_say_more_than_a_path() {
    for (header, named) in [
        (r#"{"index":"secrets"}"#, "`secrets`"),
        (r#"{"index":["logflow-*","secrets"]}"#, "`secrets`"),
        (r#"{"index":["logflow-*",["secrets"]]}"#, "array of texts"),
        (r#"{"index":"logflow-1","indices":"secrets"}"#, "`indices`"),
        (r#"{"index":"<logflow-{now/d}>"}"#, "no plain name"),
        (r#"{"routing":"a"}"#, "`routing`"),
        (r#"{"preference":"_local"}"#, "`preference`"),
        (r#"{"expand_wildcards":"all"}"#, "`expand_wildcards`"),
        (r#"{"search_type":"scan"}"#, "`search_type`"),
        (r#"{"ignore_unavailable":"yes"}"#, "`ignore_unavailable`"),
        ("[]", "not a JSON object"),
    ] {
        let problem = judged("/_msearch", &format!("{header}\n{{}}\n")).unwrap_err();
        assert!(
            problem.detail.contains(named),
            "{header}: {}",
            problem.detail
        );
    }
}

// QA-1.
#[test]
fn a_request_is_bounded_in_searches_hits_and_aggregations() {
    let searches = |n: usize, body: &str| judged("/_msearch", &format!("{{}}\n{body}\n").repeat(n));
    assert_eq!(searches(50, r#"{"size":200}"#).unwrap().permits, 10);
    assert!(
        searches(51, r#"{"size":0}"#)
            .unwrap_err()
            .detail
            .contains("50 searches")
    );
    let problem = searches(2, r#"{"size":5001}"#).unwrap_err();
    assert!(problem.detail.contains("10000 hits"), "{}", problem.detail);
    assert!(searches(1, "").is_ok());
    for odd in ["", "\n", "{}\n", "{}\n{}\n{}\n"] {
        let problem = judged("/_msearch", odd).unwrap_err();
        assert_eq!(problem.code, Code::InvalidJson, "{odd:?}");
    }
    let nested = |depth: usize| {
        let open =
            r#"{"aggs":{"a":{"terms":{"field":"b"},"aggregations":{"a":{"avg":{"field":"b"}}}}}}"#;
        (2..depth).fold(open.to_owned(), |inner, _| {
            let inner = inner
                .strip_prefix('{')
                .and_then(|i| i.strip_suffix('}'))
                .unwrap();
            format!(r#"{{"aggs":{{"a":{{"terms":{{"field":"b"}},{inner}}}}}}}"#)
        })
    };
    assert!(judged("/_search", &nested(8)).is_ok());
    let problem = judged("/_search", &nested(9)).unwrap_err();
    assert!(problem.detail.contains("8 deep"), "{}", problem.detail);
    let wide = |n: usize| {
        let aggs: Vec<String> = (0..n)
            .map(|n| format!(r#""{n}":{{"avg":{{"field":"a"}}}}"#))
            .collect();
        format!(r#"{{"aggs":{{{}}}}}"#, aggs.join(","))
    };
    assert!(judged("/_search", &wide(100)).is_ok());
    assert!(judged("/_search", &wide(101)).is_err());
}

#[test]
fn how_many_searches_a_refused_body_has_is_told_by_its_lines() {
    for (body, expected) in [("", 1), ("{}", 1), ("{}\n{}\n", 1), ("{}\n{}\n\n{}\n", 2)] {
        assert_eq!(multi_search::count(body.as_bytes()), expected, "{body:?}");
    }
    assert_eq!(multi_search::count("\n\n{}".repeat(500).as_bytes()), 50);
}

/// Queries and aggregations as the tables know them, and some that they do not.
fn bodies() -> impl Strategy<Value = Value> {
    let field = prop_oneof![Just("level"), Just("message"), Just("timestamp")];
    let leaf = (field, 0..9).prop_map(|(field, kind)| match kind {
        0 => json!({ "match_all": {} }),
        1 => json!({ "term": { field: { "value": 1 } } }),
        2 => json!({ "terms": { field: ["a", 2] } }),
        3 => json!({ "range": { field: { "gte": 1, "lt": "now" } } }),
        4 => json!({ "query_string": { "query": "a AND b", "fields": [field] } }),
        5 => json!({ "exists": { "field": field } }),
        6 => json!({ "terms": { field: { "index": "secrets", "id": "1" } } }),
        7 => json!({ "wildcard": { field: "a*" } }),
        _ => json!({ "match": { field: "a" } }),
    });
    let query = leaf.prop_recursive(4, 16, 3, |inner| {
        let queries = proptest::collection::vec(inner.clone(), 0..3);
        (queries, inner, 0..4).prop_map(|(queries, one, kind)| match kind {
            0 => json!({ "bool": { "filter": queries, "must_not": one } }),
            1 => json!({ "bool": { "should": queries, "minimum_should_match": 1 } }),
            2 => json!({ "constant_score": { "filter": one } }),
            _ => json!({ "nested": { "path": "a", "query": one } }),
        })
    });
    (query.clone(), query, 0_u32..20_000).prop_map(|(query, filter, size)| {
        json!({
            "query": query,
            "size": size,
            "sort": [{ "timestamp": { "order": "desc" } }],
            "aggs": { "1": {
                "filters": { "filters": { "a": filter } },
                "aggs": { "2": { "terms": { "field": "level", "size": size } } },
            }},
        })
    })
}

/// Puts a member into the n-th object of a value, counted from its root.
fn put(value: &mut Value, n: &mut usize, name: &str) -> bool {
    match value {
        Value::Object(members) => {
            if *n == 0 {
                members.insert(name.to_owned(), json!("return 1"));
                return true;
            }
            *n -= 1;
            members.values_mut().any(|value| put(value, n, name))
        }
        Value::Array(items) => items.iter_mut().any(|value| put(value, n, name)),
        _ => false,
    }
}

fn holds(value: &Value, wanted: &dyn Fn(&str, &Value) -> bool) -> bool {
    match value {
        Value::Object(members) => members
            .iter()
            .any(|(name, value)| wanted(name, value) || holds(value, wanted)),
        Value::Array(items) => items.iter().any(|value| holds(value, wanted)),
        _ => false,
    }
}

/// Any JSON, with the names that matter among its names.
fn anything() -> impl Strategy<Value = Value> {
    let name = prop_oneof![
        Just("query"),
        Just("bool"),
        Just("filter"),
        Just("aggs"),
        Just("a"),
        Just("terms"),
        Just("script"),
        Just("sort"),
        Just("filters"),
        Just("size"),
        Just("fields"),
        Just("highlight"),
        Just("order"),
        Just("match"),
        Just("buckets_path"),
        Just("runtime_mappings"),
        Just("index"),
        Just("_source"),
    ];
    let leaf = prop_oneof![
        Just(json!(1)),
        Just(json!("a")),
        Just(json!(null)),
        Just(json!(true))
    ];
    leaf.prop_recursive(6, 32, 4, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            proptest::collection::vec((name.clone(), inner), 0..4).prop_map(|members| {
                let members = members
                    .into_iter()
                    .map(|(name, value)| (name.to_owned(), value));
                Value::Object(members.collect())
            }),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_script_gets_through_wherever_it_stands(
        mut body in bodies(),
        mut at in 0_usize..40,
        name in prop_oneof![
            Just("script"), Just("runtime_mappings"), Just("_script"), Just("script_score"), Just("moving_fn")
        ],
    ) {
        if put(&mut body, &mut at, name) {
            prop_assert!(judged("/_search", &body.to_string()).is_err(), "{body}");
        }
    }

    #[test]
    fn whatever_gets_through_is_what_was_asked_for_within_its_bounds(body in prop_oneof![bodies(), anything()]) {
        if let Ok(passage) = judged("/_search", &body.to_string()) {
            let mut sent: Value = serde_json::from_str(sent(&passage)).unwrap();
            prop_assert!(!holds(&sent, &|name, _| name == "script" || name == "runtime_mappings"), "{sent}");
            prop_assert!(
                !holds(&sent["query"], &|name, value| name == "terms" && holds(value, &|name, _| name == "index")),
                "{sent}"
            );
            prop_assert!(sent["size"].as_u64().is_none_or(|size| size <= 10_000), "{sent}");
            prop_assert_eq!(&sent["timeout"], "10000ms");
            sent.as_object_mut().unwrap().remove("timeout");
            if body["sort"].is_object() {
                sent["sort"] = body["sort"].clone();
            }
            prop_assert_eq!(sent, body);
        }
    }

    #[test]
    fn no_bytes_stop_the_judgement(body in ".{0,200}", path in "[/_%a-z*]{0,40}", query in "[a-z=&%_]{0,40}") {
        let index = "logflow-*".parse().unwrap();
        let bounds = Bounds {
            index: &index,
            search_timeout: Duration::from_secs(1),
            range: RangeBound { max: None, now: Timestamp::from_millis(0).unwrap() },
        };
        for path in [path.as_str(), "/_msearch", "/_search"] {
            if let Ok(place) = Place::read(&format!("/elasticsearch{path}")) {
                let _judged = judge(&place, &query, body.as_bytes(), bounds);
            }
        }
    }
}
