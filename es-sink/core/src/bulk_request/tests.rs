//! What a body looks like, byte by byte, and what comes back out of it.

use expect_test::expect;

use super::*;
use crate::assignment::{Assignments, TopicPartition};

type TestHeaders<'a> = Vec<(&'a str, Option<&'a [u8]>)>;

/// Adds values with ids and headers as they are given.
struct Builder {
    assignments: Assignments,
    request: BulkRequest,
    next: i64,
}

impl Builder {
    fn new() -> Self {
        let mut assignments = Assignments::default();
        let at = TopicPartition {
            topic: "logs".to_owned(),
            partition: 0,
        };
        assignments.add(at, None);
        Self {
            assignments,
            request: BulkRequest::default(),
            next: 0,
        }
    }

    fn add(&mut self, id: &str, value: &[u8], key: Option<&[u8]>, headers: &TestHeaders<'_>) {
        let offset = Offset(self.next);
        self.next += 1;
        let ticket = self.assignments.track("logs", 0, offset).unwrap();
        let record = Record {
            topic: "logs",
            partition: 0,
            offset,
            timestamp_ms: Some(offset.0),
            key,
            value: Some(value),
            headers: headers.iter().copied(),
            mark: None,
        };
        let framed = framed(Some(value)).unwrap();
        self.request.push(ticket, "logflow-1", id, framed, &record);
    }

    fn value(mut self, id: &str, value: &[u8]) -> Self {
        self.add(id, value, None, &Vec::new());
        self
    }

    fn body(self) -> String {
        String::from_utf8(self.request.seal().body().to_vec()).unwrap()
    }

    fn three() -> (Assignments, SealedRequest) {
        let mut builder = Self::new();
        builder.add("a", br#"{"n":1}"#, Some(b"k"), &vec![("h", Some(b"v"))]);
        builder.add("b", b" {\"n\":\n2} ", None, &Vec::new());
        builder.add(
            "c",
            br#"{"n":3}"#,
            Some(b""),
            &vec![("h", None), ("h", Some(b""))],
        );
        (builder.assignments, builder.request.seal())
    }
}

#[test]
fn a_document_is_two_lines() {
    let body = Builder::new()
        .value("AZk2-_x.9:z", br#"{"message":"one"}"#)
        .value("b", b"{}")
        .body();
    expect![[r#"
        {"index":{"_index":"logflow-1","_id":"AZk2-_x.9:z"}}
        {"message":"one"}
        {"index":{"_index":"logflow-1","_id":"b"}}
        {}
    "#]]
    .assert_eq(&body);
}

#[test]
fn an_id_of_any_characters_stays_that_id() {
    for id in [
        "a\"b",
        "a\\b",
        "a b",
        "a\nb",
        "\u{0}",
        "ä€𝄞",
        "}}\n{\"delete\":{}}\n",
    ] {
        let body = Builder::new().value(id, b"{}").body();
        let lines: Vec<&str> = body.lines().collect();
        assert_eq!(lines.len(), 2, "{body}");
        let action: serde_json::Value = serde_json::from_str(lines[0]).unwrap();
        assert_eq!(action["index"]["_id"], id);
    }
}

#[test]
fn only_what_looks_like_an_object_is_framed() {
    for (value, expected) in [
        (None, Err(Unframeable::NoValue)),
        (Some(&b""[..]), Err(Unframeable::NotAnObject)),
        (Some(b"  "), Err(Unframeable::NotAnObject)),
        (Some(b"{"), Err(Unframeable::NotAnObject)),
        (Some(b"}"), Err(Unframeable::NotAnObject)),
        (Some(b"[{}]"), Err(Unframeable::NotAnObject)),
        (Some(b"null"), Err(Unframeable::NotAnObject)),
        (Some(b"\"{}\""), Err(Unframeable::NotAnObject)),
        (Some(b"{}\0"), Err(Unframeable::NotAnObject)),
        (Some(b"\xef\xbb\xbf{}"), Err(Unframeable::NotAnObject)),
        (Some(b"{}"), Ok(&b"{}"[..])),
        (Some(b"\r\n\t {\"a\":1}\n"), Ok(b"{\"a\":1}")),
    ] {
        assert_eq!(framed(value), expected, "{value:?}");
    }
}

#[test]
fn a_line_break_becomes_a_blank_and_the_original_is_kept() {
    let value = b" {\n\"a\":\r\n\"x\\n\"}\r\n";
    let builder = Builder::new().value("a", value);
    let sealed = builder.request.seal();
    let body = String::from_utf8(sealed.body().to_vec()).unwrap();
    assert_eq!(body.lines().nth(1), Some(r#"{ "a":  "x\n"}"#));
    assert_eq!(body.lines().count(), 2);
    assert_eq!(sealed.record_parts(0).value.as_deref(), Some(&value[..]));
}

#[test]
fn what_the_document_does_not_hold_of_its_record_is_kept_beside_it() {
    let header = |name: &str, value: Option<&[u8]>| (name.to_owned(), value.map(<[u8]>::to_vec));
    let (_, sealed) = Builder::three();
    assert_eq!(
        sealed.record_parts(0),
        RecordParts {
            key: Some(b"k".to_vec()),
            value: Some(br#"{"n":1}"#.to_vec()),
            headers: vec![header("h", Some(b"v"))],
            timestamp_ms: Some(0),
        }
    );
    assert_eq!(
        sealed.record_parts(1),
        RecordParts {
            key: None,
            value: Some(b" {\"n\":\n2} ".to_vec()),
            headers: Vec::new(),
            timestamp_ms: Some(1),
        }
    );
    assert_eq!(
        sealed.record_parts(2),
        RecordParts {
            key: Some(Vec::new()),
            value: Some(br#"{"n":3}"#.to_vec()),
            headers: vec![header("h", None), header("h", Some(b""))],
            timestamp_ms: Some(2),
        }
    );
}

#[test]
fn regrouped_items_keep_their_bytes_their_records_and_their_order() {
    let (assignments, sealed) = Builder::three();
    let parts = [0, 1, 2].map(|index| sealed.record_parts(index));
    let body = String::from_utf8(sealed.body().to_vec()).unwrap();
    let lines: Vec<&str> = body.split_inclusive('\n').collect();
    let ([outer, inner, none], _) = sealed.regroup::<3>(|index, item| Some((index % 2, item)));
    let (outer, inner) = (outer.unwrap(), inner.unwrap());
    assert!(none.is_none());
    assert_eq!(outer.body(), [&lines[..2], &lines[4..]].concat().concat());
    assert_eq!(inner.body(), lines[2..4].concat());
    assert_eq!(outer.record_parts(0), parts[0]);
    assert_eq!(outer.record_parts(1), parts[2]);
    assert_eq!(inner.record_parts(0), parts[1]);
    let offsets = outer
        .items()
        .iter()
        .map(|item| assignments.offset_of(&item.ticket).unwrap());
    assert_eq!(offsets.collect::<Vec<_>>(), [Offset(0), Offset(2)]);

    let mut joined = outer;
    joined.append(inner);
    assert_eq!(
        joined.body(),
        [&lines[..2], &lines[4..], &lines[2..4]].concat().concat()
    );
    assert_eq!(joined.record_parts(1), parts[2]);
    assert_eq!(joined.record_parts(2), parts[1]);
}

#[test]
fn items_that_are_kept_back_are_in_no_group() {
    let (_, sealed) = Builder::three();
    let ([rest], _) = sealed.regroup::<1>(|index, item| (index == 1).then_some((0, item)));
    let rest = rest.unwrap();
    assert_eq!(rest.items().len(), 1);
    assert_eq!(rest.record_parts(0).timestamp_ms, Some(1));
    let ([none], _) = rest.regroup::<1>(|_, _| None);
    assert!(none.is_none());
}
