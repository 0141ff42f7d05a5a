//! Asks Kafka what it holds under a name and what the user may do with it: decides nothing.
//!
//! In the flow: the brokers → **`described`** → `doctor::kafka`, `kafka_source::topic_id`, the live tail. Kafka tells a
//! user its privileges (KIP-430) and the ids of topics (KIP-516) when it is asked for a description, which changes
//! nothing; librdkafka asks, its Rust bindings do not, so this file calls the C library itself
//! (docs/decisions/0008-topic-ids.md).
#![expect(
    unsafe_code,
    reason = "no safe bindings to rd_kafka_DescribeTopics and its kin exist"
)]

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char, c_int};
use std::time::Duration;

use rdkafka::bindings as c;
use rdkafka::client::{Client, ClientContext};
use rdkafka::error::RDKafkaErrorCode;

/// What may be done with a topic or a group, as far as a service needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Read records, or commit in a group.
    Read,
    /// Write records.
    Write,
    /// Anything else.
    Other,
}

/// What may be done; `None`: Kafka does not say.
pub type Operations = Option<Vec<Operation>>;

/// A partition as the brokers have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Whether a broker takes its records.
    pub has_leader: bool,
    /// How many brokers keep it.
    pub replicas: usize,
    /// How many of those have all of it.
    pub in_sync: usize,
}

/// A topic as the brokers have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Its id, in the form in which Kafka's tools show it; `None`: this Kafka has no ids (2.8 and later have).
    pub id: Option<String>,
    /// Its partitions.
    pub partitions: Vec<Partition>,
    /// What may be done with it.
    pub operations: Operations,
}

/// What is found by its name, or why it is not.
pub type ByName<T> = BTreeMap<String, Result<T, RDKafkaErrorCode>>;

/// What an answer is destroyed and read as.
type Event = *mut c::rd_kafka_event_t;

/// The topics of these names.
///
/// # Errors
/// If no broker answers in time, in words.
pub fn topics<C: ClientContext>(
    client: &Client<C>,
    names: &[String],
    timeout: Duration,
) -> Result<ByName<Topic>, String> {
    let names = c_names(names);
    let mut names: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
    let kind = c::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS;
    // SAFETY: `names` points to strings that live to the end of the call, and the library copies them. The
    // collection is destroyed once, after its last use. The answer is one to `DescribeTopics` if it has such a
    // result, and owns all that is read of it, to the lengths that come with it.
    unsafe {
        let collection =
            c::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), names.len());
        let found = ask(
            client,
            kind,
            timeout,
            |handle, options, queue| {
                c::rd_kafka_DescribeTopics(handle, collection, options, queue);
            },
            |event| read_topics(event),
        );
        c::rd_kafka_TopicCollection_destroy(collection);
        found
    }
}

/// What may be done with the consumer group of this name.
///
/// # Errors
/// If no broker answers in time, in words.
pub fn group<C: ClientContext>(
    client: &Client<C>,
    name: &str,
    timeout: Duration,
) -> Result<ByName<Operations>, String> {
    let names = c_names(&[name.to_owned()]);
    let mut names: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
    let kind = c::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS;
    // SAFETY: as in `topics`.
    unsafe {
        ask(
            client,
            kind,
            timeout,
            |handle, options, queue| {
                c::rd_kafka_DescribeConsumerGroups(
                    handle,
                    names.as_mut_ptr(),
                    names.len(),
                    options,
                    queue,
                );
            },
            |event| read_groups(event),
        )
    }
}

/// The settings of a topic.
///
/// # Errors
/// If no broker answers in time, in words.
pub fn topic_settings<C: ClientContext>(
    client: &Client<C>,
    name: &str,
    timeout: Duration,
) -> Result<ByName<BTreeMap<String, String>>, String> {
    let Ok(topic) = CString::new(name) else {
        return Ok(BTreeMap::new());
    };
    let kind = c::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS;
    // SAFETY: as in `topics`; the library copies the name into the resource, which is destroyed once, at the end.
    unsafe {
        let mut resource = c::rd_kafka_ConfigResource_new(
            c::rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_TOPIC,
            topic.as_ptr(),
        );
        let found = ask(
            client,
            kind,
            timeout,
            |handle, options, queue| {
                c::rd_kafka_DescribeConfigs(handle, &raw mut resource, 1, options, queue);
            },
            |event| read_settings(event),
        );
        c::rd_kafka_ConfigResource_destroy(resource);
        found
    }
}

/// Sends one question and reads its answer.
///
/// # Safety
/// `send` must send one question to the queue and keep nothing of what it is given; `read` must keep nothing of
/// the event.
unsafe fn ask<C: ClientContext, T>(
    client: &Client<C>,
    kind: c::rd_kafka_admin_op_t,
    timeout: Duration,
    send: impl FnOnce(*mut c::rd_kafka_t, *const c::rd_kafka_AdminOptions_t, *mut c::rd_kafka_queue_t),
    read: impl FnOnce(Event) -> Option<T>,
) -> Result<T, String> {
    let timeout_ms = c_int::try_from(timeout.as_millis()).unwrap_or(c_int::MAX);
    let handle = client.native_ptr();
    // SAFETY: the handle outlives the call, as the client is borrowed. What the library makes for us is destroyed
    // below, once, after its last use; a refusal of an option is destroyed where it is made.
    unsafe {
        let options = c::rd_kafka_AdminOptions_new(handle, kind);
        let mut refusal = [0 as c_char; 256];
        c::rd_kafka_AdminOptions_set_request_timeout(
            options,
            timeout_ms,
            refusal.as_mut_ptr(),
            refusal.len(),
        );
        if kind != c::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS {
            let refused = c::rd_kafka_AdminOptions_set_include_authorized_operations(options, 1);
            if !refused.is_null() {
                c::rd_kafka_error_destroy(refused);
            }
        }
        let queue = c::rd_kafka_queue_new(handle);
        send(handle, options, queue);
        let event = c::rd_kafka_queue_poll(queue, timeout_ms);
        let found = if event.is_null() {
            Err("no broker answers".to_owned())
        } else {
            let error: RDKafkaErrorCode = c::rd_kafka_event_error(event).into();
            let found = match error {
                RDKafkaErrorCode::NoError => {
                    read(event).ok_or_else(|| "the answer is of another kind".to_owned())
                }
                error => Err(error.to_string()),
            };
            c::rd_kafka_event_destroy(event);
            found
        };
        c::rd_kafka_queue_destroy(queue);
        c::rd_kafka_AdminOptions_destroy(options);
        found
    }
}

/// # Safety
/// `event` must be an event of the library that is not destroyed; so for all below.
unsafe fn read_topics(event: Event) -> Option<ByName<Topic>> {
    // SAFETY: the event owns all that is read here, and the library says how much there is.
    unsafe {
        let result = c::rd_kafka_event_DescribeTopics_result(event);
        if result.is_null() {
            return None;
        }
        let mut count = 0;
        let topics = c::rd_kafka_DescribeTopics_result_topics(result, &raw mut count);
        let read = (0..count).map(|at| {
            let topic = *topics.add(at);
            let name = text(c::rd_kafka_TopicDescription_name(topic));
            if let Some(error) = error_of(c::rd_kafka_TopicDescription_error(topic)) {
                return (name, Err(error));
            }
            let mut count = 0;
            let partitions = c::rd_kafka_TopicDescription_partitions(topic, &raw mut count);
            let partitions = (0..count).map(|at| partition(*partitions.add(at)));
            let partitions = partitions.collect();
            let mut count = 0;
            let allowed = c::rd_kafka_TopicDescription_authorized_operations(topic, &raw mut count);
            let operations = operations(allowed, count);
            let topic = Topic {
                id: id(c::rd_kafka_TopicDescription_topic_id(topic)),
                partitions,
                operations,
            };
            (name, Ok(topic))
        });
        Some(read.collect())
    }
}

/// # Safety
/// As [`read_topics`], for what it is handed.
unsafe fn id(seen: *const c::rd_kafka_Uuid_t) -> Option<String> {
    // SAFETY: as in `read_topics`; the text belongs to the id.
    unsafe {
        // All zeros: the broker knows no ids.
        let is_none = seen.is_null()
            || (c::rd_kafka_Uuid_most_significant_bits(seen) == 0
                && c::rd_kafka_Uuid_least_significant_bits(seen) == 0);
        (!is_none).then(|| text(c::rd_kafka_Uuid_base64str(seen)))
    }
}

/// # Safety
/// As [`read_topics`], for what it is handed.
unsafe fn partition(seen: *const c::rd_kafka_TopicPartitionInfo_t) -> Partition {
    // SAFETY: as in `read_topics`; only the numbers of the nodes are looked at.
    unsafe {
        let (mut replicas, mut in_sync) = (0, 0);
        c::rd_kafka_TopicPartitionInfo_replicas(seen, &raw mut replicas);
        c::rd_kafka_TopicPartitionInfo_isr(seen, &raw mut in_sync);
        Partition {
            has_leader: !c::rd_kafka_TopicPartitionInfo_leader(seen).is_null(),
            replicas,
            in_sync,
        }
    }
}

/// # Safety
/// As [`read_topics`].
unsafe fn read_groups(event: Event) -> Option<ByName<Operations>> {
    // SAFETY: as in `read_topics`.
    unsafe {
        let result = c::rd_kafka_event_DescribeConsumerGroups_result(event);
        if result.is_null() {
            return None;
        }
        let mut count = 0;
        let groups = c::rd_kafka_DescribeConsumerGroups_result_groups(result, &raw mut count);
        let read = (0..count).map(|at| {
            let group = *groups.add(at);
            let name = text(c::rd_kafka_ConsumerGroupDescription_group_id(group));
            if let Some(error) = error_of(c::rd_kafka_ConsumerGroupDescription_error(group)) {
                return (name, Err(error));
            }
            let mut count = 0;
            let allowed =
                c::rd_kafka_ConsumerGroupDescription_authorized_operations(group, &raw mut count);
            (name, Ok(operations(allowed, count)))
        });
        Some(read.collect())
    }
}

/// # Safety
/// As [`read_topics`].
unsafe fn read_settings(event: Event) -> Option<ByName<BTreeMap<String, String>>> {
    // SAFETY: as in `read_topics`.
    unsafe {
        let result = c::rd_kafka_event_DescribeConfigs_result(event);
        if result.is_null() {
            return None;
        }
        let mut count = 0;
        let resources = c::rd_kafka_DescribeConfigs_result_resources(result, &raw mut count);
        let read = (0..count).map(|at| {
            let resource = *resources.add(at);
            let name = text(c::rd_kafka_ConfigResource_name(resource));
            let error: RDKafkaErrorCode = c::rd_kafka_ConfigResource_error(resource).into();
            if error != RDKafkaErrorCode::NoError {
                return (name, Err(error));
            }
            let mut count = 0;
            let entries = c::rd_kafka_ConfigResource_configs(resource, &raw mut count);
            let entries = (0..count).filter_map(|at| {
                let entry = *entries.add(at);
                let value = c::rd_kafka_ConfigEntry_value(entry);
                let name = text(c::rd_kafka_ConfigEntry_name(entry));
                (!value.is_null()).then(|| (name, text(value)))
            });
            (name, Ok(entries.collect()))
        });
        Some(read.collect())
    }
}

/// # Safety
/// `allowed` must be null, or point to as many operations as `count` says.
unsafe fn operations(allowed: *const c::rd_kafka_AclOperation_t, count: usize) -> Operations {
    if allowed.is_null() {
        return None;
    }
    const READ: u32 = c::rd_kafka_AclOperation_t::RD_KAFKA_ACL_OPERATION_READ as u32;
    const WRITE: u32 = c::rd_kafka_AclOperation_t::RD_KAFKA_ACL_OPERATION_WRITE as u32;
    // As numbers, because a later library may know more of them than the bindings' enum.
    let numbers: *const u32 = allowed.cast();
    // SAFETY: the caller vouches for the length; an enum of C is as large as its number.
    let operations = (0..count).map(|at| match unsafe { *numbers.add(at) } {
        READ => Operation::Read,
        WRITE => Operation::Write,
        _ => Operation::Other,
    });
    Some(operations.collect())
}

/// # Safety
/// `error` must be null or an error that is not destroyed.
unsafe fn error_of(error: *const c::rd_kafka_error_t) -> Option<RDKafkaErrorCode> {
    if error.is_null() {
        return None;
    }
    // SAFETY: the caller vouches for it.
    let code: RDKafkaErrorCode = unsafe { c::rd_kafka_error_code(error) }.into();
    (code != RDKafkaErrorCode::NoError).then_some(code)
}

/// # Safety
/// `pointer` must point to a text that ends with a zero.
unsafe fn text(pointer: *const c_char) -> String {
    // SAFETY: the caller vouches for it.
    unsafe { CStr::from_ptr(pointer) }
        .to_string_lossy()
        .into_owned()
}

/// Names with a zero in them are no names of Kafka's.
fn c_names(names: &[String]) -> Vec<CString> {
    let names = names.iter();
    names
        .filter_map(|name| CString::new(name.as_str()).ok())
        .collect()
}
