//! The native dialect's text: one message a line.

#![no_main]

use ingest_gateway::dialect::Message;

libfuzzer_sys::fuzz_target!(|body: &[u8]| fuzz::decode(&Message::Text, body));
