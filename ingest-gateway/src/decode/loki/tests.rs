use proptest::prelude::*;

use super::super::test_support::{code, limits, plenty, texts};
use super::*;

#[derive(Clone, PartialEq, Message)]
struct PushRequest {
    #[prost(message, repeated, tag = "1")]
    streams: Vec<Stream>,
}

#[derive(Clone, PartialEq, Message)]
struct Stream {
    #[prost(string, tag = "1")]
    labels: String,
    #[prost(message, repeated, tag = "2")]
    entries: Vec<Entry>,
}

fn read(body: &[u8], encoding: Encoding) -> Result<Vec<String>, Code> {
    let mut share = plenty();
    let events = split(body, encoding, 1 << 20, limits(&mut share)).map_err(code)?;
    Ok(texts(&events))
}

fn snappy(request: &PushRequest) -> Vec<u8> {
    snap::raw::Encoder::new()
        .compress_vec(&request.encode_to_vec())
        .unwrap()
}

fn entry(seconds: i64, line: &str) -> Entry {
    Entry {
        timestamp: Some(Moment { seconds, nanos: 5 }),
        line: line.to_owned(),
        structured_metadata: vec![Label {
            name: "traceID".to_owned(),
            value: "abc".to_owned(),
        }],
    }
}

#[test]
fn a_line_becomes_an_event_in_both_encodings() {
    let expected = r#"{"timestamp":"2023-11-14T22:13:20.000000005Z","level":"warn","message":"a \"line\"","resourceId":"shop","traceId":"abc","metadata":{"labels":{"app":"shop","level":"warn"},"structuredMetadata":{"traceID":"abc"}}}"#;
    let json = br#"{"streams":[{"stream":{"app":"shop","level":"warn"},"values":[["1700000000000000005","a \"line\"",{"traceID":"abc"}]]}]}"#;
    assert_eq!(read(json, Encoding::Json), Ok(vec![expected.to_owned()]));
    let request = PushRequest {
        streams: vec![Stream {
            labels: r#"{app="shop", level="warn"}"#.to_owned(),
            entries: vec![entry(1_700_000_000, "a \"line\"")],
        }],
    };
    let binary = snappy(&request);
    assert_eq!(
        read(&binary, Encoding::Protobuf),
        Ok(vec![expected.to_owned()])
    );
}

#[test]
fn what_is_wrong_with_one_line_costs_no_other() {
    let json = br#"{"streams":[{"stream":{},"values":[["soon","x"],["1700000000000000000","y"],["-1","z"],["99999999999999999999","w"]]}]}"#;
    assert_eq!(
        read(json, Encoding::Json).unwrap(),
        [
            "! invalid_timestamp",
            r#"{"timestamp":"2023-11-14T22:13:20Z","message":"y"}"#,
            "! invalid_timestamp",
            "! invalid_timestamp",
        ]
    );
    let stream = |labels: &str, seconds| Stream {
        labels: labels.to_owned(),
        entries: vec![entry(seconds, "x")],
    };
    let request = PushRequest {
        streams: vec![stream("{a=", 1), stream("{}", i64::MAX), stream("{}", 1)],
    };
    let found = read(&snappy(&request), Encoding::Protobuf).unwrap();
    assert_eq!(found[..2], ["! invalid_labels", "! invalid_timestamp"]);
    assert!(found[2].starts_with('{'));
}

#[test]
fn a_body_that_is_none_is_refused_and_a_bomb_before_it_goes_off() {
    for (body, encoding) in [
        (&b""[..], Encoding::Json),
        (b"{}", Encoding::Json),
        (b"[]", Encoding::Json),
        (br#"{"streams":[{"values":[[1,"x"]]}]}"#, Encoding::Json),
        (b"", Encoding::Protobuf),
        (b"\xff\xff\xff\xff\xff\xff", Encoding::Protobuf),
        (b"\x05\x10hello", Encoding::Protobuf),
    ] {
        assert_eq!(read(body, encoding), Err(Code::InvalidMessage), "{body:?}");
    }
    // It says that it holds a gigabyte.
    let bomb = b"\x80\x80\x80\x80\x04\x00";
    assert_eq!(read(bomb, Encoding::Protobuf), Err(Code::BodyTooLarge));
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        for encoding in [Encoding::Protobuf, Encoding::Json] {
            drop(read(&bytes, encoding));
        }
        let packed = snap::raw::Encoder::new().compress_vec(&bytes).unwrap();
        drop(read(&packed, Encoding::Protobuf));
    }
}

#[test]
fn entries_that_are_nothing_on_the_wire_are_counted_before_they_are_built() {
    let stream = Stream {
        labels: "{}".to_owned(),
        entries: vec![Entry::default(); 1_001],
    };
    let request = PushRequest {
        streams: vec![stream],
    };
    let json = |entries: &str| format!(r#"{{"streams":[{{"stream":{{}},"values":[{entries}]}}]}}"#);
    let many = json(&vec![r#"["1",""]"#; 1_001].join(","));
    assert_eq!(
        read(&snappy(&request), Encoding::Protobuf),
        Err(Code::TooManyEvents)
    );
    assert_eq!(
        read(many.as_bytes(), Encoding::Json),
        Err(Code::TooManyEvents)
    );
    let long = format!(r#"["1","{}"]"#, "x".repeat(400_000));
    let found = read(
        json(&format!(r#"{long},["1","y"]"#)).as_bytes(),
        Encoding::Json,
    );
    assert!(found.unwrap()[0] == "! event_too_large");
}
