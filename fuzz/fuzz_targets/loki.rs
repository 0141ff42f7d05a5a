//! Loki's streams, as protobuf in snappy's block format (first byte even) and as JSON.

#![no_main]

use ingest_gateway::decode::loki::Encoding;
use ingest_gateway::dialect::Message;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let (form, body) = fuzz::split(input, 2);
    let encoding = match form {
        0 => Encoding::Protobuf,
        _ => Encoding::Json,
    };
    fuzz::decode(&Message::Loki(encoding), body);
});
