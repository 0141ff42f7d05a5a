//! OTLP's logs, as protobuf (first byte even) and as JSON.

#![no_main]

use ingest_gateway::decode::otlp::Encoding;
use ingest_gateway::dialect::Message;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let (form, body) = fuzz::split(input, 2);
    let encoding = match form {
        0 => Encoding::Protobuf,
        _ => Encoding::Json,
    };
    fuzz::decode(&Message::Otlp(encoding), body);
});
