//! What a trace tells of events: that they were read and indexed, and which bulk requests carried them.
//!
//! In the flow: beside `engine` and `bulk`. A record whose producer was traced bears a mark through the machine, by which
//! it is recognised when it is settled. Names and attributes are those of OpenTelemetry's semantic conventions (messaging
//! spans, operation "process"; database client spans).

use std::borrow::Cow;
use std::collections::HashMap;
use std::num::NonZeroU32;
use std::time::SystemTime;

use es_sink_core::mark::{Mark, Outcome, Settled};
use es_sink_core::sink::{BulkId, Sink};
use log_event::record::{TRACEPARENT, TRACESTATE};
use opentelemetry::KeyValue;
use opentelemetry::trace::{
    Link, Span as _, SpanBuilder, SpanContext, SpanKind, Status, TraceState,
};
use opentelemetry_sdk::trace::Span;
use service::traces::{TraceHeaders, Traces, parent_of};

/// The producers' spans that are remembered, some hundred bytes each. Beyond it the oldest is forgotten, and what it
/// produced is not told of; a trace is a sample anyway.
const ORIGINS_MAX: u32 = 4_096;
/// The producers' spans that a bulk request names; the SDK's own limit of links.
const LINKS_MAX: usize = 128;
/// Version 00 has 55; later ones may have more (W3C Trace Context §3.2.4), and a faulty producer anything.
const TRACEPARENT_BYTES_MAX: usize = 128;

/// Tells of events, if anything is traced.
#[derive(Debug)]
pub(crate) struct SinkTraces {
    traces: Option<Traces>,
    group: String,
    origins: Origins,
    /// The spans of the bulk requests that are on their way.
    bulks: HashMap<BulkId, SpanContext>,
}

impl SinkTraces {
    pub(crate) fn new(traces: Option<Traces>, group: &str) -> Self {
        Self {
            traces,
            group: group.to_owned(),
            origins: Origins::default(),
            bulks: HashMap::new(),
        }
    }

    /// What a record is to be recognised by, if whoever produced it is recorded.
    pub(crate) fn mark(
        &mut self,
        topic: &str,
        headers: &[(Cow<'_, str>, Option<&[u8]>)],
    ) -> Option<Mark> {
        self.traces.as_ref()?;
        // The last of equal names, as everywhere.
        let last = |name| headers.iter().rfind(|(other, _)| other == name)?.1;
        self.origins
            .mark(topic, last(TRACEPARENT)?, last(TRACESTATE))
    }

    /// Begins the span of a bulk request that carries marked records; none for one without.
    pub(crate) fn sends(&mut self, sink: &Sink, bulk: BulkId) -> Option<BulkSpan> {
        let traces = self.traces.as_ref()?;
        let mut carried: Vec<Mark> = sink.marks_of(bulk).collect();
        carried.sort_unstable();
        carried.dedup();
        let producers = carried
            .iter()
            .filter_map(|mark| Some(link_to(&self.origins.of(*mark)?.producer)));
        let links: Vec<Link> = producers.take(LINKS_MAX).collect();
        if links.is_empty() {
            return None;
        }
        let items = i64::try_from(sink.n_items(bulk)).unwrap_or(i64::MAX);
        let builder = SpanBuilder::from_name("bulk")
            .with_kind(SpanKind::Client)
            .with_links(links)
            .with_attributes([
                KeyValue::new("db.system.name", "elasticsearch"),
                KeyValue::new("db.operation.name", "bulk"),
                KeyValue::new("db.operation.batch.size", items),
            ]);
        let span = traces.begin(builder, &SpanContext::NONE);
        self.bulks.insert(bulk, span.span_context().clone());
        BulkSpan::new(span)
    }

    /// Tells of records that are settled, by the reply to a bulk request or before they came into one: one span for
    /// those of one request.
    pub(crate) fn settled(&mut self, by: Option<BulkId>, sink: &mut Sink) {
        let mut settled = sink.take_settled_marks();
        let bulk = by.and_then(|bulk| self.bulks.remove(&bulk));
        settled.sort_unstable_by_key(|one| (one.mark, one.outcome));
        settled.dedup_by(|next, kept| {
            let together = (kept.mark, kept.outcome) == (next.mark, next.outcome);
            if together {
                kept.records += next.records;
            }
            together
        });
        for one in settled {
            self.tell(one, bulk.as_ref());
        }
    }

    fn tell(&mut self, settled: Settled, bulk: Option<&SpanContext>) {
        let (Some(traces), Some(origin)) = (&self.traces, self.origins.of(settled.mark)) else {
            return;
        };
        let builder = SpanBuilder::from_name(format!("process {}", origin.topic))
            .with_kind(SpanKind::Consumer)
            .with_start_time(origin.read_at)
            .with_links(bulk.map(link_to).into_iter().collect())
            .with_attributes([
                KeyValue::new("messaging.system", "kafka"),
                KeyValue::new("messaging.operation.name", "process"),
                KeyValue::new("messaging.operation.type", "process"),
                KeyValue::new("messaging.destination.name", origin.topic.clone()),
                KeyValue::new("messaging.consumer.group.name", self.group.clone()),
                KeyValue::new("messaging.batch.message_count", i64::from(settled.records)),
            ]);
        let mut span = traces.begin(builder, &origin.producer);
        if settled.outcome == Outcome::Rejected {
            span.set_attribute(KeyValue::new("error.type", "dead_letter"));
            span.set_status(Status::error("dead letter"));
        }
    }
}

/// The span of a bulk request, until its reply.
#[derive(Debug)]
pub struct BulkSpan {
    span: Span,
    headers: TraceHeaders,
}

impl BulkSpan {
    fn new(span: Span) -> Option<Self> {
        let headers = TraceHeaders::of(span.span_context())?;
        Some(Self { span, headers })
    }

    /// For the request.
    pub(crate) fn headers(&self) -> &TraceHeaders {
        &self.headers
    }

    /// Ends it with the status, or with why there is none.
    pub(crate) fn end(mut self, answered: Result<u16, &str>) {
        match answered {
            Ok(status) => {
                let status_code = status.to_string();
                if status >= 400 {
                    let kind = KeyValue::new("error.type", status_code.clone());
                    self.span.set_attribute(kind);
                    self.span.set_status(Status::error(""));
                }
                let status_code = KeyValue::new("db.response.status_code", status_code);
                self.span.set_attribute(status_code);
            }
            Err(why) => {
                self.span
                    .set_attribute(KeyValue::new("error.type", "no_reply"));
                self.span.set_status(Status::error(why.to_owned()));
            }
        }
    }
}

/// Without what others keep beside the span, which may be long.
fn link_to(span: &SpanContext) -> Link {
    let span = SpanContext::new(
        span.trace_id(),
        span.span_id(),
        span.trace_flags(),
        span.is_remote(),
        TraceState::NONE,
    );
    Link::new(span, Vec::new(), 0)
}

/// The spans that marked records were produced in.
#[derive(Debug, Default)]
struct Origins {
    /// In turn, so that the oldest makes room.
    kept: Vec<Origin>,
    by_header: HashMap<Box<[u8]>, Mark>,
    last: u32,
}

#[derive(Debug)]
struct Origin {
    mark: Mark,
    header: Box<[u8]>,
    producer: SpanContext,
    /// Of the first of its records.
    topic: String,
    read_at: SystemTime,
}

impl Origins {
    fn mark(&mut self, topic: &str, traceparent: &[u8], tracestate: Option<&[u8]>) -> Option<Mark> {
        if traceparent.len() > TRACEPARENT_BYTES_MAX {
            return None;
        }
        if let Some(mark) = self.by_header.get(traceparent) {
            return Some(*mark);
        }
        let text = |bytes| std::str::from_utf8(bytes).ok();
        let producer = parent_of(text(traceparent)?, tracestate.and_then(text));
        if !(producer.is_valid() && producer.is_sampled()) {
            return None;
        }
        self.last = self.last.checked_add(1).unwrap_or(1);
        let mark = Mark(NonZeroU32::new(self.last)?);
        let origin = Origin {
            mark,
            header: traceparent.into(),
            producer,
            topic: topic.to_owned(),
            read_at: SystemTime::now(),
        };
        self.by_header.insert(traceparent.into(), mark);
        let place = place(mark);
        match self.kept.get_mut(place) {
            Some(oldest) => {
                let oldest = std::mem::replace(oldest, origin);
                self.by_header.remove(&oldest.header);
            }
            None => self.kept.push(origin),
        }
        Some(mark)
    }

    fn of(&mut self, mark: Mark) -> Option<&mut Origin> {
        let origin = self.kept.get_mut(place(mark));
        origin.filter(|origin| origin.mark == mark)
    }
}

fn place(mark: Mark) -> usize {
    ((mark.0.get() - 1) % ORIGINS_MAX) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parent(n: u32) -> String {
        format!("00-4bf92f3577b34da6a3ce929d0e0e4736-{n:016x}-01")
    }

    #[test]
    fn records_of_one_span_share_a_mark_and_the_oldest_span_makes_room() {
        let mut origins = Origins::default();
        let mut mark = |n| origins.mark("logs", parent(n).as_bytes(), None);
        let first = mark(1).unwrap();
        let second = mark(2).unwrap();
        assert_eq!((mark(1), mark(2)), (Some(first), Some(second)));
        for n in 3..=ORIGINS_MAX + 1 {
            mark(n);
        }
        assert!(origins.of(first).is_none());
        assert_eq!(
            origins.of(second).unwrap().header,
            parent(2).as_bytes().into()
        );
        // It is another one now.
        let again = origins.mark("logs", parent(1).as_bytes(), None).unwrap();
        assert!(again != first && origins.of(second).is_none());
        assert_eq!(origins.kept.len(), ORIGINS_MAX as usize);
        assert_eq!(origins.by_header.len(), ORIGINS_MAX as usize);
    }

    #[test]
    fn marks_begin_again_after_the_last_number() {
        let mut origins = Origins::default();
        for n in 1..=ORIGINS_MAX {
            origins.mark("logs", parent(n).as_bytes(), None);
        }
        origins.last = u32::MAX - 1;
        for (n, number) in [(5_001, u32::MAX), (5_002, 1), (5_003, 2)] {
            let mark = origins.mark("logs", parent(n).as_bytes(), None).unwrap();
            assert_eq!(mark.0.get(), number);
            assert_eq!(
                origins.of(mark).unwrap().header,
                parent(n).as_bytes().into()
            );
        }
    }

    #[test]
    fn what_is_not_recorded_bears_no_mark() {
        let mut origins = Origins::default();
        let unsampled = parent(1).replace("-01", "-00");
        let long = format!(
            "01{}-{}",
            &parent(1)[2..],
            "x".repeat(TRACEPARENT_BYTES_MAX)
        );
        for none in [unsampled.as_bytes(), long.as_bytes(), b"", b"\xff"] {
            assert_eq!(origins.mark("logs", none, None), None);
        }
        assert!(origins.kept.is_empty());
    }
}
