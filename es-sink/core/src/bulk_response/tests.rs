//! Every fixture in `testdata` is what Elasticsearch 8.19.0 answered, byte by
//! byte, to a bulk request with `FILTER_PATH`, with the index template of
//! `deploy/elasticsearch` where a document is at fault; what begins with
//! `opensearch_` OpenSearch 2.19.0 answered. Replies that could not be
//! provoked on one node without its optional modules stand here in full.

use std::fmt::Write as _;

use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::*;

fn fixture(name: &str) -> Vec<u8> {
    let path = format!("{}/testdata/{name}.json", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn clipped(text: &str) -> String {
    match text.char_indices().nth(110) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn item_text(verdict: &ItemVerdict) -> String {
    match verdict {
        ItemVerdict::Indexed { updated: false } => "indexed".to_owned(),
        ItemVerdict::Indexed { updated: true } => "indexed, updated".to_owned(),
        ItemVerdict::Retry(cause, why) => format!("retry {}: {}", cause.label(), clipped(why)),
        ItemVerdict::Hold(cause, why) => format!("hold {}: {}", cause.label(), clipped(why)),
        ItemVerdict::Suspect(Rejection { kind, reason }) => {
            format!("suspect {kind}: {}", clipped(reason))
        }
        ItemVerdict::Reject(Rejection { kind, reason }) => {
            format!("reject {kind}: {}", clipped(reason))
        }
    }
}

fn text(verdict: &RequestVerdict) -> String {
    match verdict {
        RequestVerdict::Items(items) => {
            let items: Vec<String> = items.iter().map(item_text).collect();
            items.join("\n")
        }
        RequestVerdict::Retry(cause, why) => {
            format!("ALL retry {}: {}", cause.label(), clipped(why))
        }
        RequestVerdict::Hold(cause, why) => format!("ALL hold {}: {}", cause.label(), clipped(why)),
        RequestVerdict::Split(alone) => format!("SPLIT, alone: {}", item_text(alone)),
    }
}

#[track_caller]
fn check(status: u16, body: &[u8], n_items: usize, expected: &Expect) {
    expected.assert_eq(&text(&judge(status, body, n_items)));
}

#[track_caller]
fn check_fixtures(status: u16, names: &[&str], expected: &Expect) {
    let mut all = String::new();
    for name in names {
        let verdict = judge(status, &fixture(name), 1);
        writeln!(all, "{name}: {}", text(&verdict)).unwrap();
    }
    expected.assert_eq(&all);
}

#[test]
fn only_a_200_or_201_is_an_acknowledgement() {
    check_fixtures(
        200,
        &["created", "updated", "empty_object"],
        &expect![[r#"
        created: indexed
        updated: indexed, updated
        empty_object: indexed, updated
    "#]],
    );
}

#[test]
fn what_can_never_be_indexed_is_rejected() {
    check_fixtures(
        200,
        &[
            "metadata_not_an_object",
            "timestamp_unreadable",
            "timestamp_out_of_range",
            "object_against_scalar",
            "scalar_against_object",
            "mapper_conflict",
            "object_conflict",
            "immense_metadata_key",
            "duplicate_name",
            "malformed_unclosed",
            "invalid_utf8",
            "two_values_on_one_line",
            "too_deep",
            "nested_limit",
            "field_limit",
            "reserved_name",
            "strict_mapping",
        ],
        &expect![[r#"
            metadata_not_an_object: reject document_parsing_exception: [1:13] failed to parse field [metadata] of type [flattened] in document with id 'x'. Preview of field's value:…
            timestamp_unreadable: reject document_parsing_exception: [1:14] failed to parse field [timestamp] of type [date_nanos] in document with id 'x'. Preview of field's valu…
            timestamp_out_of_range: reject document_parsing_exception: [1:14] failed to parse field [timestamp] of type [date_nanos] in document with id 'x'. Preview of field's valu…
            object_against_scalar: reject document_parsing_exception: [1:21] failed to parse field [dyn_scalar] of type [long] in document with id 'x'. Preview of field's value: '{…
            scalar_against_object: reject document_parsing_exception: [1:12] object mapping for [dyn_obj] tried to parse field [dyn_obj] as object, but found a concrete value
            mapper_conflict: suspect illegal_argument_exception: mapper [g1] cannot be changed from type [long] to [text]
            object_conflict: suspect illegal_argument_exception: can't merge a non object mapping [g0] with an object mapping
            immense_metadata_key: reject document_parsing_exception: [1:40019] failed to parse field [metadata] of type [flattened] in document with id 'x'. Preview of field's val…
            duplicate_name: reject document_parsing_exception: [1:12] failed to parse: [1:25] Duplicate field 'message'
             at [Source: (byte[])"{"message":"a","message":"b"}";…
            malformed_unclosed: reject document_parsing_exception: [1:12] failed to parse: [1:15] Unexpected end of file; caused by x_content_e_o_f_exception: [1:15] Unexpected …
            invalid_utf8: reject document_parsing_exception: [1:6] failed to parse field [k] of type [keyword] in document with id 'u8'. Preview of field's value: ''; caus…
            two_values_on_one_line: reject illegal_argument_exception: Malformed content, found extra data after parsing: START_OBJECT
            too_deep: reject document_parsing_exception: [1:101] failed to parse: Limit of mapping depth [20] has been exceeded due to object field [x.x.x.x.x.x.x.x.x.…
            nested_limit: reject document_parsing_exception: [1:100009] The number of nested documents has exceeded the allowed limit of [10000]. This limit can be set by …
            field_limit: reject document_parsing_exception: [1:79] failed to parse: Limit of total fields [20] has been exceeded while adding new fields [11]; caused by i…
            reserved_name: reject document_parsing_exception: [1:8] failed to parse field [_id] of type [_id] in document with id 'x'. Preview of field's value: 'x'; caused…
            strict_mapping: reject strict_dynamic_mapping_exception: [1:6] mapping set to strict, dynamic introduction of [b] within [_doc] is not allowed
        "#]],
    );
}

#[test]
fn opensearch_rejects_the_same_documents_in_its_own_words() {
    check_fixtures(
        200,
        &[
            "opensearch_metadata_not_an_object",
            "opensearch_timestamp_unreadable",
            "opensearch_malformed_unclosed",
            "opensearch_object_against_scalar",
            "opensearch_empty_field_name",
        ],
        &expect![[r#"
            opensearch_metadata_not_an_object: reject mapper_parsing_exception: failed to parse field [metadata] of type [flat_object] in document with id 'c'. Preview of field's value: 's';…
            opensearch_timestamp_unreadable: reject mapper_parsing_exception: failed to parse field [timestamp] of type [date_nanos] in document with id 'd'. Preview of field's value: 'no'…
            opensearch_malformed_unclosed: reject mapper_parsing_exception: failed to parse; caused by json_e_o_f_exception: Unexpected end-of-input within/between Object entries
             at [So…
            opensearch_object_against_scalar: reject mapper_parsing_exception: failed to parse field [n1] of type [keyword] in document with id 'h'. Preview of field's value: '{x=1}'; cause…
            opensearch_empty_field_name: reject mapper_parsing_exception: failed to parse; caused by illegal_argument_exception: field name cannot be an empty string
        "#]],
    );
}

/// A dynamic template that asks for what the engine does not know meets every event with such a field.
#[test]
fn a_template_that_the_engine_does_not_understand_is_no_fault_of_the_document() {
    check_fixtures(
        200,
        &["opensearch_unknown_parameter"],
        &expect![[r#"
            opensearch_unknown_parameter: hold unexplained: status 400, mapper_parsing_exception: unknown parameter [ignore_malformed] on mapper [b1] of type [boolean]
        "#]],
    );
}

#[test]
fn one_bad_document_costs_its_neighbours_nothing() {
    check(
        200,
        &fixture("one_malformed_of_three"),
        3,
        &expect![[r#"
        indexed
        reject document_parsing_exception: [1:2] failed to parse: [1:7] Unexpected character ('}' (code 125)): expected a value
         at [Source: (byte[])"{"a…
        indexed"#]],
    );
}

#[test]
fn what_somebody_can_mend_is_held() {
    check_fixtures(
        200,
        &[
            "write_block",
            "flood_stage",
            "index_closed",
            "index_missing_no_auto_create",
            "index_missing_require_alias",
            "invalid_index_name",
            "missing_pipeline",
            "alias_without_write_index",
            "id_empty",
            "shard_limit",
        ],
        &expect![[r#"
            write_block: hold index_blocked: status 403, cluster_block_exception: index [coretest-ro] blocked by: [FORBIDDEN/8/index write (api)];
            flood_stage: hold index_blocked: status 429, cluster_block_exception: index [coretest-ro] blocked by: [TOO_MANY_REQUESTS/12/disk usage exceeded…
            index_closed: hold index_closed: status 400, index_closed_exception: closed
            index_missing_no_auto_create: hold index_missing: status 404, index_not_found_exception: no such index [composable template [coretest-noauto-*] forbids index au…
            index_missing_require_alias: hold index_missing: status 404, index_not_found_exception: no such index [coretest-missing] and [require_alias] request flag is [t…
            invalid_index_name: hold unexplained: status 400, invalid_index_name_exception: Invalid index name [coretest-UPPER], must be lowercase
            missing_pipeline: hold unexplained: status 400, illegal_argument_exception: pipeline with id [coretest-none] does not exist
            alias_without_write_index: hold unexplained: status 400, illegal_argument_exception: no write index is defined for alias [coretest-al]. The write index may…
            id_empty: hold unexplained: status 400, illegal_argument_exception: if _id is specified it must not be empty
            shard_limit: hold limit_reached: status 400, validation_exception: Validation Failed: 1: this action would add [1000] shards, but this cluster …
        "#]],
    );
}

#[test]
fn what_heals_by_itself_is_tried_again() {
    check_fixtures(
        200,
        &["unavailable_shard", "array"],
        &expect![[r#"
        unavailable_shard: retry unavailable: status 503, unavailable_shards_exception: [coretest-unalloc][0] primary shard is not active Timeout: [200ms], …
        array: retry unavailable: status 500, not_x_content_exception: Compressor detection can only be called on some xcontent bytes or compres…
    "#]],
    );
}

#[test]
fn a_refused_request_is_parted_only_if_an_item_can_be_at_fault() {
    check_fixtures(
        400,
        &[
            "whole_id_too_long",
            "whole_unknown_parameter",
            "whole_line_out_of_frame",
            "whole_no_last_line_break",
        ],
        &expect![[r#"
            whole_id_too_long: SPLIT, alone: hold unexplained: status 400, action_request_validation_exception: Validation Failed: 1: id [iiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiii…
            whole_unknown_parameter: ALL hold unexplained: status 400, illegal_argument_exception: request [/_bulk] contains unrecognized parameter: [coretest]
            whole_line_out_of_frame: ALL hold unexplained: status 400, illegal_argument_exception: Malformed action/metadata line [3], expected START_OBJECT but found [V…
            whole_no_last_line_break: ALL hold unexplained: status 400, illegal_argument_exception: The bulk request must be terminated by a newline [\n]
        "#]],
    );
    check_fixtures(
        406,
        &["whole_content_type"],
        &expect![[r#"
        whole_content_type: ALL hold unexplained: status 406: {"error":"Content-Type header [text/plain] is not supported","status":406}
    "#]],
    );
}

/// By the documentation and the sources of Elasticsearch and OpenSearch.
#[test]
fn items_that_could_not_be_provoked_here() {
    let item = |status: u16, kind: &str, reason: &str| {
        let body = format!(
            r#"{{"errors":true,"items":[{{"index":{{"status":{status},"error":{{"type":"{kind}","reason":"{reason}"}}}}}}]}}"#
        );
        text(&judge(200, body.as_bytes(), 1))
    };
    let replies = [
        item(
            400,
            "illegal_argument_exception",
            "only write ops with an op_type of create are allowed in data streams",
        ),
        item(
            400,
            "illegal_argument_exception",
            "Document contains at least one immense term in field=\\\"k\\\"",
        ),
        item(
            400,
            "mapper_parsing_exception",
            "failed to parse field [n] of type [long]",
        ),
        item(
            400,
            "mapper_parsing_exception",
            "Failed to parse mapping: analyzer [a] has not been configured in mappings",
        ),
        item(400, "some_new_exception", "never heard of"),
        item(
            401,
            "security_exception",
            "missing authentication credentials",
        ),
        item(
            403,
            "security_exception",
            "action [indices:data/write/bulk] is unauthorized",
        ),
        item(
            409,
            "version_conflict_engine_exception",
            "document already exists",
        ),
        item(418, "teapot", "short and stout"),
        item(
            429,
            "es_rejected_execution_exception",
            "rejected execution of coordinating operation",
        ),
        item(429, "circuit_breaking_exception", "[parent] Data too large"),
        item(500, "null_pointer_exception", "a bug"),
        item(
            503,
            "cluster_block_exception",
            "blocked by: [SERVICE_UNAVAILABLE/2/no master];",
        ),
        item(
            503,
            "process_cluster_event_timeout_exception",
            "failed to process cluster event",
        ),
    ];
    expect![[r#"
        hold unexplained: status 400, illegal_argument_exception: only write ops with an op_type of create are allowed in data streams
        reject illegal_argument_exception: Document contains at least one immense term in field="k"
        reject mapper_parsing_exception: failed to parse field [n] of type [long]
        hold unexplained: status 400, mapper_parsing_exception: Failed to parse mapping: analyzer [a] has not been configured in mapping…
        hold unexplained: status 400, some_new_exception: never heard of
        hold unauthorized: status 401, security_exception: missing authentication credentials
        hold forbidden: status 403, security_exception: action [indices:data/write/bulk] is unauthorized
        retry conflict: status 409, version_conflict_engine_exception: document already exists
        hold unexplained: status 418, teapot: short and stout
        retry overloaded: status 429, es_rejected_execution_exception: rejected execution of coordinating operation
        retry overloaded: status 429, circuit_breaking_exception: [parent] Data too large
        retry unavailable: status 500, null_pointer_exception: a bug
        retry unavailable: status 503, cluster_block_exception: blocked by: [SERVICE_UNAVAILABLE/2/no master];
        retry unavailable: status 503, process_cluster_event_timeout_exception: failed to process cluster event"#]].assert_eq(&replies.join("\n"));
}

#[test]
fn whole_requests_by_their_status() {
    let mut all = String::new();
    for (status, body) in [
        (
            400,
            r#"{"error":{"type":"x_content_parse_exception","reason":"unexpected"},"status":400}"#,
        ),
        (400, "<html>Bad Request</html>"),
        (
            401,
            r#"{"error":{"type":"security_exception","reason":"missing authentication credentials"},"status":401}"#,
        ),
        (
            403,
            r#"{"error":{"type":"security_exception","reason":"unauthorized"},"status":403}"#,
        ),
        (
            403,
            r#"{"error":{"type":"cluster_block_exception","reason":"blocked"},"status":403}"#,
        ),
        (404, ""),
        (408, ""),
        (413, "<html>Request Entity Too Large</html>"),
        (
            429,
            r#"{"error":{"type":"es_rejected_execution_exception","reason":"full"},"status":429}"#,
        ),
        (302, ""),
        (500, ""),
        (502, "<html>Bad Gateway</html>"),
        (
            503,
            r#"{"error":{"type":"cluster_block_exception","reason":"no master"},"status":503}"#,
        ),
    ] {
        let verdict = text(&judge(status, body.as_bytes(), 2));
        writeln!(all, "{status}: {verdict}").unwrap();
    }
    expect![[r#"
        400: SPLIT, alone: reject x_content_parse_exception: unexpected
        400: ALL hold unexplained: status 400: <html>Bad Request</html>
        401: ALL hold unauthorized: status 401, security_exception: missing authentication credentials
        403: ALL hold forbidden: status 403, security_exception: unauthorized
        403: ALL hold index_blocked: status 403, cluster_block_exception: blocked
        404: ALL hold index_missing: status 404: no reason given
        408: ALL retry conflict: status 408: no reason given
        413: SPLIT, alone: reject request_entity_too_large: Elasticsearch refuses a request with this document alone as too large (413)
        429: ALL retry overloaded: status 429, es_rejected_execution_exception: full
        302: ALL hold unexplained: status 302: no reason given
        500: ALL retry unavailable: status 500: no reason given
        502: ALL retry unavailable: status 502: <html>Bad Gateway</html>
        503: ALL retry unavailable: status 503, cluster_block_exception: no master
    "#]].assert_eq(&all);
}

#[test]
fn a_reply_that_is_not_whole_acknowledges_nothing() {
    let mut all = String::new();
    for body in [
        "",
        "{}",
        "[]",
        r#"{"errors":false,"items":[]}"#,
        r#"{"errors":false,"items":[{"index":{"status":201}},{"index":{"status":201}}]}"#,
        r#"{"errors":false,"items":[{"index":{"status":201}}"#,
        r#"{"errors":false,"items":[{"index":{"status":201}}]}}"#,
        r#"{"errors":false,"items":[{"create":{"status":201}}]}"#,
        r#"{"errors":false,"items":[{"index":{"result":"created"}}]}"#,
        r#"{"errors":false,"items":[{"index":{"status":"201"}}]}"#,
    ] {
        writeln!(all, "{}", text(&judge(200, body.as_bytes(), 1))).unwrap();
    }
    expect![[r#"
        ALL retry unreadable_reply: the reply cannot be read: EOF while parsing a value at line 1 column 0
        ALL retry unreadable_reply: the reply cannot be read: missing field `items` at line 1 column 2
        ALL retry unreadable_reply: the reply cannot be read: invalid type: sequence, expected a bulk reply at line 1 column 0
        ALL retry unreadable_reply: the reply has 0 items, the request 1
        ALL retry unreadable_reply: the reply has 2 items, the request 1
        ALL retry unreadable_reply: the reply cannot be read: EOF while parsing a list at line 1 column 49
        ALL retry unreadable_reply: the reply cannot be read: trailing characters at line 1 column 52
        ALL retry unreadable_reply: the reply cannot be read: missing field `index` at line 1 column 50
        ALL retry unreadable_reply: the reply cannot be read: missing field `status` at line 1 column 54
        ALL retry unreadable_reply: the reply cannot be read: invalid type: string "201", expected u16 at line 1 column 49
    "#]].assert_eq(&all);
}

#[test]
fn the_same_reason_of_many_items_is_kept_once() {
    let item = |reason| {
        format!(r#"{{"index":{{"status":429,"error":{{"type":"t","reason":"{reason}"}}}}}}"#)
    };
    let items = [item("a"), item("b"), item("a")].join(",");
    let reply = format!(r#"{{"errors":true,"items":[{items}]}}"#);
    let RequestVerdict::Items(verdicts) = judge(200, reply.as_bytes(), 3) else {
        panic!("{reply} is no reply to three items");
    };
    let why = |index: usize| match &verdicts[index] {
        ItemVerdict::Retry(_, why) => why,
        verdict => panic!("{verdict:?}"),
    };
    assert!(Arc::ptr_eq(why(0), why(2)));
    assert_ne!(why(0), why(1));
}

/// The words of a reply, some of which are those of success.
fn words() -> impl Strategy<Value = Vec<u8>> {
    let word = prop_oneof![
        8 => Just(r#"{"index":{"result":"created","status":201}}"#),
        8 => Just(r#"{"index":{"result":"updated","status":200}}"#),
        1 => Just(r#"{"index":{"result":"created","status":429}}"#),
        1 => Just(r#"{"index":{"status":201}}"#),
        1 => Just(","),
        1 => Just(""),
    ];
    let frame = prop_oneof![
        8 => Just((r#"{"errors":false,"items":["#, "]}")),
        1 => Just((r#"{"errors":true,"items":["#, "]}")),
        1 => Just((r#"{"items":["#, "]}")),
        1 => Just((r#"{"errors":false,"items":["#, "] }")),
        1 => Just((r#"{"errors":false,"items":["#, "]}}")),
        1 => Just((r#"{"errors":false,"items":["#, "]")),
    ];
    (frame, prop::collection::vec(word, 0..6)).prop_map(|((before, behind), words)| {
        format!("{before}{}{behind}", words.join(",")).into_bytes()
    })
}

proptest! {
    #[test]
    fn what_is_read_by_its_words_is_what_the_parser_reads(body in words(), n_items in 0_usize..6) {
        if let Some(items) = all_indexed(&body, n_items) {
            prop_assert_eq!(RequestVerdict::Items(items), judge_each(&body, n_items));
        }
    }
}

#[test]
fn a_reply_of_elasticsearch_without_faults_needs_no_parser() {
    for name in ["created", "updated"] {
        assert!(all_indexed(&fixture(name), 1).is_some(), "{name}");
    }
    let two = br#"{"errors":false,"items":[{"index":{"result":"created","status":201}},{"index":{"result":"updated","status":200}}]}"#;
    assert_eq!(all_indexed(two, 2).map(|items| items.len()), Some(2));
    assert_eq!((all_indexed(two, 1), all_indexed(two, 3)), (None, None));
}
