//! The vocabulary that the three services share, in the order in which one log
//! event meets it:
//!
//! 1. [`dialect`]: the protocol that it arrives in.
//! 2. [`timestamp`]: when the event happened, read from what clients send.
//! 3. [`event`]: one JSON object from a client, checked once and valid from then on.
//! 4. [`tenant`]: whose it is.
//! 5. [`event_id`]: who the event is, so that the same one twice is one document.
//! 6. [`record`]: the headers under which Kafka keeps it.
//! 7. [`offset`]: where Kafka keeps it, and where a consumer goes on.
//! 8. [`document`]: the id and the index under which Elasticsearch keeps it.
//! 9. [`dead_letter`]: how one is marked that Elasticsearch can never keep.
//!
//! Everything here is pure: no clock, no randomness, no network, no files.

pub mod dialect;
pub mod timestamp;
pub mod event;
pub mod tenant;
pub mod event_id;
pub mod record;
pub mod offset;
pub mod document;
pub mod dead_letter;
