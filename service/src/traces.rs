//! Traces: what became of single requests and bulks, told to a collector over OTLP.
//!
//! Beside the flow: each step that a trace may show begins a span here, a child of the one that came with the request
//! or the record (W3C Trace Context). Nothing ever waits for a collector, and spans are the one thing that may be lost:
//! [`export`] keeps few of them and counts what it gives up.

mod export;

use std::path::PathBuf;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue};
use log_event::record::{TRACEPARENT, TRACESTATE};
use opentelemetry::Context;
use opentelemetry::propagation::{Extractor, TextMapPropagator as _};
use opentelemetry::trace::{
    SpanBuilder, SpanContext, TraceContextExt as _, Tracer as _, TracerProvider as _,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider, Span};

use crate::elasticsearch::NodeUrl;
use crate::login::{COLLECTOR, Login};
use crate::metrics::Namespace;
use crate::settings::{Setting, Settings};
use crate::units::Ratio;
use export::{Collector, Export};

pub use crate::login::{OTLP_CA, OTLP_CREDENTIALS};

/// The setting that turns traces on.
pub const OTLP_ENDPOINT: Setting = Setting::optional(
    "otlp-endpoint",
    "URL",
    "The collector of traces, as http://HOST:4318; spans go to /v1/traces there, as OTLP over HTTP. Without it nothing is traced",
);

/// What others keep in a trace goes on with it up to this length (W3C Trace Context §3.3.1.5 asks for at least as much).
const TRACESTATE_BYTES_MAX: usize = 512;
/// Of the parts of a `traceparent`.
const LENGTHS: [usize; 4] = [2, 32, 16, 2];
/// How long the last spans may take at the end.
const LAST_SPANS_MAX: Duration = Duration::from_secs(1);

/// Where spans go, and how many.
#[derive(Clone, Debug)]
pub struct TracesConfig {
    collector: Collector,
    login: Login,
    sample_ratio: Ratio,
}

impl TracesConfig {
    /// Reads `--otlp-endpoint` and the two files beside it; `None` without an endpoint. Of what brings no trace, `sample_ratio`
    /// begins one; what does brings the decision, too (W3C Trace Context §3.2.2.5, "sampled").
    pub fn from_settings(settings: &mut Settings, sample_ratio: Ratio) -> Option<Self> {
        let endpoint: Option<NodeUrl> = settings.optional(OTLP_ENDPOINT.name);
        for name in [OTLP_CREDENTIALS.name, OTLP_CA.name] {
            let file: Option<PathBuf> = settings.optional(name);
            if file.is_some() && endpoint.is_none() {
                settings.reject(name, "needs `otlp-endpoint`");
            }
        }
        let written = endpoint.as_ref().is_some_and(NodeUrl::has_credentials);
        if written {
            let instead = OTLP_CREDENTIALS.name;
            settings.reject(
                OTLP_ENDPOINT.name,
                format!("credentials belong into the file of `{instead}`"),
            );
        }
        let login = Login::from_settings(settings, &COLLECTOR, false);
        let collector = endpoint.map(|endpoint| Collector::new(&endpoint, &login))?;
        match collector {
            Ok(collector) => Some(Self {
                collector,
                login,
                sample_ratio,
            }),
            Err(reason) => {
                settings.reject(OTLP_ENDPOINT.name, reason);
                None
            }
        }
    }
}

/// Begins spans. Clones share what is on its way to the collector.
#[derive(Clone, Debug)]
pub struct Traces {
    tracer: SdkTracer,
    export: Export,
}

impl Traces {
    /// From now on spans are sent, by a task of the present runtime. `service` is what they are found under;
    /// `OTEL_RESOURCE_ATTRIBUTES` says more about it (OpenTelemetry specification, environment variables).
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    #[must_use]
    pub fn start(config: TracesConfig, service: &'static str, metrics: &Namespace) -> Self {
        config.login.watch(metrics);
        let resource = Resource::builder()
            .with_service_name(service)
            .with_attribute(opentelemetry::KeyValue::new(
                "service.version",
                env!("CARGO_PKG_VERSION"),
            ))
            .build();
        let export = Export::start(config.collector, config.login, &resource, metrics);
        let sampler =
            Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(config.sample_ratio.0)));
        let provider = SdkTracerProvider::builder()
            .with_sampler(sampler)
            .with_resource(resource)
            .with_span_processor(export.clone())
            .build();
        Self {
            tracer: provider.tracer("logflow"),
            export,
        }
    }

    /// Begins a span, as the child of `parent` if that is one. It ends when it is dropped.
    #[must_use]
    pub fn begin(&self, span: SpanBuilder, parent: &SpanContext) -> Span {
        let around = match parent.is_valid() {
            true => Context::new().with_remote_span_context(parent.clone()),
            false => Context::new(),
        };
        self.tracer.build_with_context(span, &around)
    }

    /// Sends what is left, for [`LAST_SPANS_MAX`] at most.
    pub async fn close(&self) {
        if tokio::time::timeout(LAST_SPANS_MAX, self.export.close())
            .await
            .is_err()
        {
            tracing::warn!("the last spans are lost: the collector of traces takes too long");
        }
    }
}

/// The span that a request was sent in; one that is not valid, if it names none.
#[must_use]
pub fn parent_of_request(headers: &HeaderMap) -> SpanContext {
    let all = |name| {
        let values = headers.get_all(name).iter();
        values.filter_map(|value| value.to_str().ok())
    };
    let mut parents = all(TRACEPARENT);
    // Two of them contradict each other, so none counts (W3C Trace Context §3.2).
    let (Some(parent), None) = (parents.next(), parents.next()) else {
        return SpanContext::NONE;
    };
    // Several are one that was parted (§3.3).
    let states: Vec<&str> = all(TRACESTATE).collect();
    parent_of(parent, Some(&states.join(",")))
}

/// The span that two headers name; one that is not valid, if they name none.
#[must_use]
pub fn parent_of(traceparent: &str, tracestate: Option<&str>) -> SpanContext {
    // The SDK takes shorter numbers, too (W3C Trace Context §3.2.2: 2, 32, 16 and 2 digits).
    let lengths = traceparent.split('-').map(str::len).take(LENGTHS.len());
    if !lengths.eq(LENGTHS) {
        return SpanContext::NONE;
    }
    let named = Headers {
        traceparent,
        tracestate: tracestate.filter(|state| state.len() <= TRACESTATE_BYTES_MAX),
    };
    let around = TraceContextPropagator::new().extract_with_context(&Context::new(), &named);
    around.span().span_context().clone()
}

struct Headers<'a> {
    traceparent: &'a str,
    tracestate: Option<&'a str>,
}

impl Extractor for Headers<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        match name {
            TRACEPARENT => Some(self.traceparent),
            TRACESTATE => self.tracestate,
            _ => None,
        }
    }

    fn keys(&self) -> Vec<&str> {
        vec![TRACEPARENT, TRACESTATE]
    }
}

/// A span as those after it are told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceHeaders {
    /// Trace, span and flags (W3C Trace Context §3.2).
    pub traceparent: String,
    /// What others keep beside them.
    pub tracestate: Option<String>,
}

impl TraceHeaders {
    /// Those of a span that is sampled: nobody is asked to go on with one that is not recorded.
    #[must_use]
    pub fn of(span: &SpanContext) -> Option<Self> {
        let state = span.trace_state().header();
        (span.is_valid() && span.is_sampled()).then(|| Self {
            traceparent: format!("00-{}-{}-01", span.trace_id(), span.span_id()),
            tracestate: (!state.is_empty()).then_some(state),
        })
    }

    /// The first of the two, for a request.
    ///
    /// # Panics
    /// Never: it has digits and dashes alone.
    #[must_use]
    pub fn as_header(&self) -> HeaderValue {
        HeaderValue::from_str(&self.traceparent).expect("digits and dashes make a header")
    }
}

#[cfg(test)]
mod tests;
