//! Which incarnation of a topic Kafka holds: asks the brokers, decides nothing.
//!
//! In the flow: the brokers → **`topic_id`** → `positions`, the sinks. A topic that is
//! deleted and created again has the same name and another id (KIP-516). librdkafka
//! knows the ids, its Rust bindings hand out none, so this file, and only this one, calls
//! the C library itself (docs/decisions/0008-topic-ids.md).
#![expect(
    unsafe_code,
    reason = "no safe binding to rd_kafka_DescribeTopics exists"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CStr, CString, c_char, c_int};
use std::time::Duration;

use rdkafka::bindings as c;
use rdkafka::client::{Client, ClientContext};
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::RDKafkaErrorCode;

const ASK_TIMEOUT: Duration = Duration::from_secs(3);

/// The id of a topic, in the form in which Kafka's tools show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicId(pub String);

/// The ids of the topics that are assigned.
///
/// # Errors
/// If no broker answers in time, in words.
pub fn of_assigned<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
) -> Result<BTreeMap<String, TopicId>, String> {
    let assignment = consumer.assignment().map_err(|error| error.to_string())?;
    let elements = assignment.elements();
    let topics = elements.iter().map(|element| element.topic()).collect();
    topic_ids(consumer.client(), &topics, ASK_TIMEOUT)
}

/// The ids of the topics that exist, if the brokers know ids (Kafka 2.8 and later).
///
/// # Errors
/// If no broker answers in time, in words.
pub fn topic_ids<C: ClientContext>(
    client: &Client<C>,
    topics: &BTreeSet<&str>,
    timeout: Duration,
) -> Result<BTreeMap<String, TopicId>, String> {
    if topics.is_empty() {
        return Ok(BTreeMap::new());
    }
    let names: Vec<CString> = topics
        .iter()
        .filter_map(|topic| CString::new(*topic).ok())
        .collect();
    let mut names: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
    let timeout_ms = c_int::try_from(timeout.as_millis()).unwrap_or(c_int::MAX);
    let handle = client.native_ptr();
    // SAFETY: `handle` outlives the call, as the client is borrowed. `names` points to strings
    // that live to its end. What the library makes for us is destroyed below, once,
    // after its last use; the event is destroyed after what it lends has been copied.
    unsafe {
        let collection =
            c::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), names.len());
        let options = c::rd_kafka_AdminOptions_new(
            handle,
            c::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS,
        );
        let mut refusal = [0 as c_char; 256];
        c::rd_kafka_AdminOptions_set_request_timeout(
            options,
            timeout_ms,
            refusal.as_mut_ptr(),
            refusal.len(),
        );
        let queue = c::rd_kafka_queue_new(handle);
        c::rd_kafka_DescribeTopics(handle, collection, options, queue);
        let event = c::rd_kafka_queue_poll(queue, timeout_ms);
        let ids = if event.is_null() {
            Err("no broker answers".to_owned())
        } else {
            read(event)
        };
        if !event.is_null() {
            c::rd_kafka_event_destroy(event);
        }
        c::rd_kafka_queue_destroy(queue);
        c::rd_kafka_AdminOptions_destroy(options);
        c::rd_kafka_TopicCollection_destroy(collection);
        ids
    }
}

/// # Safety
/// `event` must be an event of the library that is not destroyed.
unsafe fn read(event: *mut c::rd_kafka_event_t) -> Result<BTreeMap<String, TopicId>, String> {
    let mut ids = BTreeMap::new();
    // SAFETY: the caller vouches for the event, which owns all that is read here. The library
    // says how many descriptions there are, and gives none for an event of another kind.
    unsafe {
        let error: RDKafkaErrorCode = c::rd_kafka_event_error(event).into();
        if error != RDKafkaErrorCode::NoError {
            return Err(error.to_string());
        }
        let result = c::rd_kafka_event_DescribeTopics_result(event);
        if result.is_null() {
            return Err("the answer is of another kind".to_owned());
        }
        let mut count = 0;
        let descriptions = c::rd_kafka_DescribeTopics_result_topics(result, &raw mut count);
        for index in 0..count {
            let description = *descriptions.add(index);
            let error = c::rd_kafka_TopicDescription_error(description);
            if !error.is_null()
                && c::rd_kafka_error_code(error)
                    != c::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR
            {
                continue;
            }
            let id = c::rd_kafka_TopicDescription_topic_id(description);
            // All zeros: the broker knows no ids.
            if id.is_null()
                || (c::rd_kafka_Uuid_most_significant_bits(id) == 0
                    && c::rd_kafka_Uuid_least_significant_bits(id) == 0)
            {
                continue;
            }
            let text = |pointer| CStr::from_ptr(pointer).to_string_lossy().into_owned();
            ids.insert(
                text(c::rd_kafka_TopicDescription_name(description)),
                TopicId(text(c::rd_kafka_Uuid_base64str(id))),
            );
        }
    }
    Ok(ids)
}
