//! Hands records of one topic to librdkafka.
//!
//! In the flow: `produce::client` → **`produce::topic_producer`** → librdkafka. The safe binding names the topic for each
//! record; librdkafka then looks it up under the lock of the whole client, for which its own threads wait meanwhile.
#![expect(unsafe_code, reason = "the safe binding knows topics by name alone")]

use std::ffi::CString;
use std::fmt;
use std::mem;
use std::ptr::{self, NonNull};

use rdkafka::bindings as c;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::OwnedHeaders;
use rdkafka::producer::{BaseProducer, Producer as _, ProducerContext};
use rdkafka::util::IntoOpaque as _;

/// A producer, and the topic that all of its records go to.
pub(super) struct TopicProducer<C: ProducerContext> {
    producer: BaseProducer<C>,
    topic: NonNull<c::rd_kafka_topic_t>,
}

// SAFETY: librdkafka's functions on a topic may be called from any thread, and at the same time.
unsafe impl<C: ProducerContext> Send for TopicProducer<C> {}
// SAFETY: as above.
unsafe impl<C: ProducerContext> Sync for TopicProducer<C> {}

impl<C: ProducerContext> TopicProducer<C> {
    /// Looks the topic up, or has librdkafka ask the brokers for it in the background.
    ///
    /// # Errors
    /// If the name cannot be one of a topic.
    pub(super) fn new(producer: BaseProducer<C>, topic: &str) -> KafkaResult<Self> {
        let name = CString::new(topic)?;
        // SAFETY: the client lives as long as `producer`, the name as long as the call; without a configuration the topic
        // gets that of the client.
        let topic = unsafe {
            c::rd_kafka_topic_new(
                producer.client().native_ptr(),
                name.as_ptr(),
                ptr::null_mut(),
            )
        };
        match NonNull::new(topic) {
            Some(topic) => Ok(Self { producer, topic }),
            // SAFETY: it reads the last error of this thread, which the call before has set.
            None => Err(KafkaError::Global(
                unsafe { c::rd_kafka_last_error() }.into(),
            )),
        }
    }

    /// librdkafka's own view.
    pub(super) fn producer(&self) -> &BaseProducer<C> {
        &self.producer
    }

    /// Copies a record into librdkafka's queue. `opaque` comes back with its delivery report.
    ///
    /// # Errors
    /// Why it is not in the queue; nothing will be reported then.
    pub(super) fn send(
        &self,
        value: &[u8],
        timestamp_ms: i64,
        headers: OwnedHeaders,
        opaque: C::DeliveryOpaque,
    ) -> Result<(), RDKafkaErrorCode> {
        let opaque = opaque.into_ptr();
        let native: *const c::rd_kafka_headers_t = ptr::from_ref(headers.as_borrowed()).cast();
        // SAFETY: the client and the topic live as long as `self`, and the value is copied during the call. Each argument
        // has the type that its tag announces, and the last tag ends them.
        let code = unsafe {
            c::rd_kafka_producev(
                self.producer.client().native_ptr(),
                c::rd_kafka_vtype_t::RD_KAFKA_VTYPE_RKT,
                self.topic.as_ptr(),
                c::rd_kafka_vtype_t::RD_KAFKA_VTYPE_MSGFLAGS,
                c::RD_KAFKA_MSG_F_COPY,
                c::rd_kafka_vtype_t::RD_KAFKA_VTYPE_VALUE,
                value.as_ptr(),
                value.len(),
                c::rd_kafka_vtype_t::RD_KAFKA_VTYPE_OPAQUE,
                opaque,
                c::rd_kafka_vtype_t::RD_KAFKA_VTYPE_TIMESTAMP,
                timestamp_ms,
                c::rd_kafka_vtype_t::RD_KAFKA_VTYPE_HEADERS,
                native.cast_mut(),
                c::rd_kafka_vtype_t::RD_KAFKA_VTYPE_END,
            )
        };
        if code == c::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            // They belong to the record from now on.
            mem::forget(headers);
            return Ok(());
        }
        // SAFETY: it was made of one above, and librdkafka keeps nothing of a record that it refuses.
        drop(unsafe { C::DeliveryOpaque::from_ptr(opaque) });
        Err(code.into())
    }
}

impl<C: ProducerContext> Drop for TopicProducer<C> {
    fn drop(&mut self) {
        // SAFETY: it was made by `rd_kafka_topic_new`, and the client, which must outlive it, is dropped after this.
        unsafe { c::rd_kafka_topic_destroy(self.topic.as_ptr()) };
    }
}

impl<C: ProducerContext> fmt::Debug for TopicProducer<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TopicProducer").finish_non_exhaustive()
    }
}
