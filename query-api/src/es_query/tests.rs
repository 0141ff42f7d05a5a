use super::*;
use crate::cursor::Position;
use crate::parameters::RangeBound;
use crate::search_request::from_query_string;
use expect_test::{Expect, expect};
use log_event::timestamp::Timestamp;

const TIMEOUT: Duration = Duration::from_secs(10);
const MINUTE: Duration = Duration::from_secs(60);

fn request(query: &str) -> SearchRequest {
    let bound = RangeBound {
        max: None,
        now: Timestamp::from_nanos(0).unwrap(),
    };
    from_query_string(query, bound).unwrap()
}

fn text(body: &Bytes) -> &str {
    std::str::from_utf8(body).unwrap()
}

#[track_caller]
fn check(query: &str, expected: Expect) {
    check_on(SearchEngine::Elasticsearch, query, expected);
}

#[track_caller]
fn check_on(engine: SearchEngine, query: &str, expected: Expect) {
    expected.assert_eq(&self::query(engine, &request(query).selection).to_string());
}

#[test]
fn a_search_is_bounded() {
    let body = search(SearchEngine::Elasticsearch, &request("limit=7"), TIMEOUT);
    expect![[r#"{"query":{"match_all":{}},"size":7,"sort":[{"timestamp":{"missing":"_last","numeric_type":"date_nanos","order":"desc","unmapped_type":"date_nanos"}}],"timeout":"10000ms","track_total_hits":false}"#]].assert_eq(text(&body));
    let after = Position {
        timestamp: 1_694_764_800_000_000_000,
        tie_break: 4_294_967_297,
    };
    let resume = Resume {
        after: Some(after),
        skip: 0,
    };
    let body = search_point_in_time(
        SearchEngine::Elasticsearch,
        &request("level=error&limit=7"),
        "pit",
        resume,
        MINUTE,
        TIMEOUT,
    );
    expect![[r#"{"pit":{"id":"pit","keep_alive":"60000ms"},"query":{"bool":{"filter":[{"term":{"level":"error"}}]}},"search_after":[1694764800000000000,4294967297],"size":8,"sort":[{"timestamp":{"missing":"_last","numeric_type":"date_nanos","order":"desc","unmapped_type":"date_nanos"}}],"timeout":"10000ms","track_total_hits":10000}"#]].assert_eq(text(&body));
    let body = search_point_in_time(
        SearchEngine::OpenSearch,
        &request("limit=7"),
        "pit",
        Resume { skip: 2, ..resume },
        MINUTE,
        TIMEOUT,
    );
    expect![[r#"{"pit":{"id":"pit","keep_alive":"60000ms"},"query":{"match_all":{}},"search_after":[1694764800000000000,4294967297],"size":10,"sort":[{"timestamp":{"missing":"_last","numeric_type":"date_nanos","order":"desc","unmapped_type":"date_nanos"}},{"_seq_no":{"order":"desc"}}],"timeout":"10000ms","track_total_hits":10000}"#]].assert_eq(text(&body));
    let oldest = SearchRequest {
        sort: Sort::Oldest,
        ..request("limit=7")
    };
    for (engine, expected) in [
        (
            SearchEngine::Elasticsearch,
            expect![[
                r#"[{"timestamp":{"missing":"_last","numeric_type":"date_nanos","order":"asc","unmapped_type":"date_nanos"}}]"#
            ]],
        ),
        (
            SearchEngine::OpenSearch,
            expect![[
                r#"[{"timestamp":{"missing":9223372036854775807,"numeric_type":"date_nanos","order":"asc","unmapped_type":"date_nanos"}},{"_seq_no":{"order":"asc"}}]"#
            ]],
        ),
    ] {
        let body = search_point_in_time(engine, &oldest, "pit", resume, MINUTE, TIMEOUT);
        let body: Value = serde_json::from_slice(&body).unwrap();
        expected.assert_eq(&body["sort"].to_string());
    }
    for engine in [SearchEngine::Elasticsearch, SearchEngine::OpenSearch] {
        let start = Resume::default();
        let body = search_point_in_time(engine, &request(""), "pit", start, MINUTE, TIMEOUT);
        assert!(!text(&body).contains("search_after"), "{body:?}");
    }
}

#[test]
fn the_other_requests() {
    let index = "logflow-*".parse().unwrap();
    let ranged = request("startDate=2023-09-15");
    let mut all = vec![search_path(&index)];
    for engine in [SearchEngine::Elasticsearch, SearchEngine::OpenSearch] {
        let range = open_point_in_time(engine, &ranged);
        all.push(open_point_in_time_path(engine, &index, MINUTE));
        all.push(range.map_or_else(String::new, |range| text(&range).to_owned()));
        all.push(close_point_in_time_path(engine).to_owned());
        all.push(text(&close_point_in_time(engine, "pit")).to_owned());
        assert_eq!(open_point_in_time(engine, &request("level=error")), None);
    }
    all.push(text(&probe(TIMEOUT)).to_owned());
    expect![[r#"
        /logflow-*/_search?ignore_unavailable=true&allow_no_indices=true
        /logflow-*/_pit?ignore_unavailable=true&allow_no_indices=true&keep_alive=60000ms
        {"index_filter":{"range":{"timestamp":{"gte":"2023-09-15T00:00:00Z"}}}}
        /_pit
        {"id":"pit"}
        /logflow-*/_search/point_in_time?allow_partial_pit_creation=false&ignore_unavailable=true&allow_no_indices=true&keep_alive=60000ms

        /_search/point_in_time
        {"pit_id":["pit"]}
        {"query":{"match_none":{}},"size":0,"timeout":"10000ms","track_total_hits":false}"#]].assert_eq(&all.join("\n"));
}

#[test]
fn opensearch_finds_a_part_of_a_message_in_its_own_way() {
    check_on(
        SearchEngine::OpenSearch,
        "message=Timeout",
        expect![[r#"{"bool":{"filter":[{"wildcard":{"message":{"value":"*timeout*"}}}]}}"#]],
    );
    check_on(
        SearchEngine::OpenSearch,
        "message=connect+to+DB",
        expect![[
            r#"{"bool":{"filter":[{"bool":{"filter":[{"wildcard":{"message":{"value":"*connect*"}}},{"bool":{"should":[{"wildcard":{"message.raw":{"value":"*connect to db*"}}},{"bool":{"filter":[{"bool":{"must_not":[{"exists":{"field":"message.raw"}}]}},{"match_phrase_prefix":{"message":"connect to DB"}}]}}]}}]}}]}}"#
        ]],
    );
    check_on(
        SearchEngine::OpenSearch,
        "message=%C3%84pfel",
        expect![[
            r#"{"bool":{"filter":[{"bool":{"filter":[{"wildcard":{"message":{"value":"*pfel*"}}},{"bool":{"should":[{"wildcard":{"message.raw":{"value":"*äpfel*"}}},{"bool":{"filter":[{"bool":{"must_not":[{"exists":{"field":"message.raw"}}]}},{"match_phrase_prefix":{"message":"Äpfel"}}]}}]}}]}}]}}"#
        ]],
    );
}

#[test]
fn each_filter_becomes_a_clause() {
    check("", expect![[r#"{"match_all":{}}"#]]);
    check(
        "level=ERROR",
        expect![[r#"{"bool":{"filter":[{"term":{"level":"ERROR"}}]}}"#]],
    );
    check(
        "resourceId=server-1234",
        expect![[r#"{"bool":{"filter":[{"term":{"resourceId":"server-1234"}}]}}"#]],
    );
    check(
        "traceId=a&spanId=b&commit=c",
        expect![[
            r#"{"bool":{"filter":[{"term":{"traceId":"a"}},{"term":{"spanId":"b"}},{"term":{"commit":"c"}}]}}"#
        ]],
    );
    check(
        "parentResourceId=p",
        expect![[r#"{"bool":{"filter":[{"term":{"metadata.parentResourceId":"p"}}]}}"#]],
    );
    check(
        "metadata.parentResourceId=p",
        expect![[r#"{"bool":{"filter":[{"term":{"metadata.parentResourceId":"p"}}]}}"#]],
    );
    check(
        "startDate=2023-09-15",
        expect![[
            r#"{"bool":{"filter":[{"range":{"timestamp":{"gte":"2023-09-15T00:00:00Z"}}}]}}"#
        ]],
    );
    check(
        "endDate=2023-09-15",
        expect![[
            r#"{"bool":{"filter":[{"range":{"timestamp":{"lte":"2023-09-15T23:59:59.999999999Z"}}}]}}"#
        ]],
    );
    check(
        "startDate=1694764800&endDate=2023-09-15T10:00:00.5%2B02:00",
        expect![[
            r#"{"bool":{"filter":[{"range":{"timestamp":{"gte":"2023-09-15T08:00:00Z","lte":"2023-09-15T08:00:00.500Z"}}}]}}"#
        ]],
    );
}

#[test]
fn a_part_of_a_message_is_found_by_words_first() {
    check(
        "message=Timeout",
        expect![[r#"{"bool":{"filter":[{"wildcard":{"message":{"value":"*timeout*"}}}]}}"#]],
    );
    check(
        "message=connect+to+DB",
        expect![[
            r#"{"bool":{"filter":[{"bool":{"filter":[{"wildcard":{"message":{"value":"*connect*"}}},{"bool":{"should":[{"wildcard":{"message.raw":{"value":"*connect to db*"}}},{"bool":{"filter":[{"term":{"_ignored":"message.raw"}},{"match_phrase_prefix":{"message":"connect to DB"}}]}}]}}]}}]}}"#
        ]],
    );
    check(
        "message=%C3%84pfel",
        expect![[
            r#"{"bool":{"filter":[{"bool":{"filter":[{"wildcard":{"message":{"value":"*pfel*"}}},{"bool":{"should":[{"wildcard":{"message.raw":{"value":"*äpfel*"}}},{"bool":{"filter":[{"term":{"_ignored":"message.raw"}},{"match_phrase_prefix":{"message":"Äpfel"}}]}}]}}]}}]}}"#
        ]],
    );
    check(
        "message=***",
        expect![[
            r#"{"bool":{"filter":[{"bool":{"should":[{"wildcard":{"message.raw":{"value":"*\\*\\*\\**"}}},{"bool":{"filter":[{"term":{"_ignored":"message.raw"}},{"match_phrase_prefix":{"message":"***"}}]}}]}}]}}"#
        ]],
    );
}
