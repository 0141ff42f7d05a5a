//! The bulk API, without and with an index in the path, and single documents with the id of the path.

#![no_main]

use ingest_gateway::decode::elasticsearch::Action;
use ingest_gateway::dialect::Message;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let (form, rest) = fuzz::split(input, 4);
    let (name, body) = match form {
        0 => (None, rest),
        _ => fuzz::named(rest),
    };
    let message = match form {
        0 | 1 => Message::Bulk(name),
        2 => Message::document(Action::Index, "app".to_owned(), name),
        _ => Message::document(Action::Create, "app".to_owned(), name),
    };
    fuzz::decode(&message, body);
});
