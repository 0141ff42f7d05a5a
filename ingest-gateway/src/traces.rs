//! What a trace tells of a request: that it came, and that its events went to Kafka.
//!
//! In the flow: beside `routes` and `intake`. Names and attributes are those of OpenTelemetry's semantic conventions
//! (HTTP server spans; messaging spans, operation "send").

use axum::extract::{MatchedPath, Request};
use log_event::tenant::Tenant;
use opentelemetry::KeyValue;
use opentelemetry::trace::{Span as _, SpanBuilder, SpanContext, SpanKind, Status};
use service::traces::{TraceHeaders, Traces, parent_of_request};

use crate::delivery::Deliveries;
use crate::dialect::Message;
use crate::gateway::Gateway;

/// Of the path in a span. A head may have far more, and any client may ask for its request to be traced.
const PATH_BYTES_MAX: usize = 256;

/// The span of a request, from its head to its reply.
pub(crate) struct RequestSpan(Option<opentelemetry_sdk::trace::Span>);

impl RequestSpan {
    /// Begins it, as the child of the one that the request names.
    pub(crate) fn begin(gateway: &Gateway, request: &Request, message: &Message) -> Self {
        let scheme = match gateway.config.tls {
            Some(_) => "https",
            None => "http",
        };
        Self(gateway.traces.as_ref().map(|traces| {
            let builder = SpanBuilder::from_name("").with_kind(SpanKind::Server);
            let mut span = traces.begin(builder, &parent_of_request(request.headers()));
            // Of most requests nobody will ever see more than that.
            if span.is_recording() {
                let route = request.extensions().get::<MatchedPath>();
                let route = route.map_or("", MatchedPath::as_str).to_owned();
                let method = request.method().to_string();
                let path = request.uri().path();
                span.update_name(format!("{method} {route}"));
                span.set_attributes([
                    KeyValue::new("http.request.method", method),
                    KeyValue::new("http.route", route),
                    KeyValue::new(
                        "url.path",
                        path[..path.floor_char_boundary(PATH_BYTES_MAX)].to_owned(),
                    ),
                    KeyValue::new("url.scheme", scheme),
                    KeyValue::new("logflow.dialect", message.label()),
                ]);
            }
            span
        }))
    }

    /// For the spans within.
    pub(crate) fn context(&self) -> &SpanContext {
        self.0
            .as_ref()
            .map_or(&SpanContext::NONE, |span| span.span_context())
    }

    /// Ends it with what the client is answered.
    pub(crate) fn end(mut self, status: u16, tenant: Option<&Tenant>) {
        let Some(span) = self.0.as_mut().filter(|span| span.is_recording()) else {
            return;
        };
        span.set_attribute(KeyValue::new(
            "http.response.status_code",
            i64::from(status),
        ));
        if let Some(tenant) = tenant {
            span.set_attribute(KeyValue::new("logflow.tenant", tenant.as_str().to_owned()));
        }
        // What a client did wrong is no error of the server (semantic conventions, HTTP spans, "Status").
        if status >= 500 {
            span.set_attribute(KeyValue::new("error.type", status.to_string()));
            span.set_status(Status::error(""));
        }
    }
}

/// The span in which the events of a request go to Kafka, until the last is acknowledged.
pub(crate) struct SendSpan {
    span: opentelemetry_sdk::trace::Span,
    headers: TraceHeaders,
}

impl SendSpan {
    /// Begins it, if the request is recorded.
    pub(crate) fn begin(
        traces: Option<&Traces>,
        request: &SpanContext,
        topic: &str,
        events: usize,
    ) -> Option<Self> {
        let traces = traces.filter(|_| request.is_sampled() && events > 0)?;
        let builder = SpanBuilder::from_name(format!("send {topic}"))
            .with_kind(SpanKind::Producer)
            .with_attributes([
                KeyValue::new("messaging.system", "kafka"),
                KeyValue::new("messaging.operation.name", "send"),
                KeyValue::new("messaging.operation.type", "send"),
                KeyValue::new("messaging.destination.name", topic.to_owned()),
                KeyValue::new("messaging.batch.message_count", count(events)),
            ]);
        let span = traces.begin(builder, request);
        let headers = TraceHeaders::of(span.span_context())?;
        Some(Self { span, headers })
    }

    /// For the records.
    pub(crate) fn headers(&self) -> &TraceHeaders {
        &self.headers
    }

    /// Ends it with what became of them.
    pub(crate) fn end(mut self, deliveries: &Deliveries) {
        let acknowledged = count(deliveries.acknowledged);
        self.span
            .set_attribute(KeyValue::new("logflow.events.acknowledged", acknowledged));
        if let Some(fault) = &deliveries.fault {
            self.span.set_status(Status::error(fault.clone()));
        }
    }
}

fn count(events: usize) -> i64 {
    i64::try_from(events).unwrap_or(i64::MAX)
}
