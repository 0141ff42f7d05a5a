//! The native dialect's JSON: one object, an array, or one object a line.

#![no_main]

use ingest_gateway::dialect::Message;

libfuzzer_sys::fuzz_target!(|body: &[u8]| fuzz::decode(&Message::Json, body));
