//! HEC's objects, and its raw lines.

#![no_main]

use ingest_gateway::decode::hec::About;
use ingest_gateway::dialect::Message;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let (form, body) = fuzz::split(input, 2);
    let message = match form {
        0 => Message::HecEvents,
        _ => Message::HecRaw(About::default()),
    };
    fuzz::decode(&message, body);
});
