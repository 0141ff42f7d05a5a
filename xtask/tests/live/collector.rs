//! A collector of traces, as small as it can be: takes spans over OTLP/HTTP and remembers them.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;

const BODY_BYTES_MAX: usize = 16 << 20;

/// A span, and the service that told of it.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) service: String,
    pub(crate) span: Span,
}

impl Told {
    /// The value of an attribute, as text; empty without one.
    pub(crate) fn attribute(&self, name: &str) -> String {
        attribute(&self.span.attributes, name)
    }
}

/// What listens; ends with the process.
pub(crate) struct Collector {
    told: Arc<Mutex<Vec<Told>>>,
}

impl Collector {
    /// Listens on `port`.
    pub(crate) fn start(port: u16) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", port)).context("the collector")?;
        let told = Arc::new(Mutex::default());
        let list = Arc::clone(&told);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                // A client that goes away loses its own spans.
                take(stream, &list).ok();
            }
        });
        Ok(Self { told })
    }

    /// The spans so far.
    pub(crate) fn told(&self) -> Vec<Told> {
        self.told
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

fn take(stream: TcpStream, told: &Mutex<Vec<Told>>) -> Result<()> {
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        if line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse::<usize>().context("content-length")?;
        }
    }
    let mut body = vec![0; length.min(BODY_BYTES_MAX)];
    reader.read_exact(&mut body)?;
    let request = ExportTraceServiceRequest::decode(&body[..])?;
    for of_service in request.resource_spans {
        let about = of_service.resource.unwrap_or_default().attributes;
        let service = attribute(&about, "service.name");
        let spans = of_service
            .scope_spans
            .into_iter()
            .flat_map(|scope| scope.spans);
        told.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(spans.map(|span| Told {
                service: service.clone(),
                span,
            }));
    }
    let reply = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n";
    Ok(reader.into_inner().write_all(reply.as_bytes())?)
}

fn attribute(attributes: &[KeyValue], name: &str) -> String {
    let found = attributes.iter().find(|attribute| attribute.key == name);
    match found.and_then(|attribute| attribute.value.as_ref()) {
        Some(AnyValue {
            value: Some(Value::StringValue(text)),
        }) => text.clone(),
        Some(AnyValue {
            value: Some(Value::IntValue(number)),
        }) => number.to_string(),
        _ => String::new(),
    }
}
