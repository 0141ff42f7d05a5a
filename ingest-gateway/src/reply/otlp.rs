//! Replies to OTLP's clients (OTLP specification, OTLP/HTTP response): in the encoding of the request, a refusal as
//! `google.rpc.Status`. What is refused alone is told by `partial_success`, which no client sends again.
//!
//! In the flow: `reply` → **`reply::otlp`** → the client.

use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsPartialSuccess, ExportLogsServiceResponse,
};
use prost::Message;
use serde_json::json;

use super::{Reply, Settled, first_reasons};
use crate::decode::otlp::Encoding;
use crate::error::{Code, Problem};

const PROTOBUF: &str = "application/x-protobuf";
const JSON: &str = "application/json";

/// `google.rpc.Status`, without details.
#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
}

/// Everything was kept, or told why not.
#[must_use]
pub fn of_settled(encoding: Encoding, settled: &Settled) -> Reply {
    let rejected = settled.refusals.count();
    let partial = (rejected > 0).then(|| ExportLogsPartialSuccess {
        rejected_log_records: i64::try_from(rejected).unwrap_or(i64::MAX),
        error_message: first_reasons(&settled.refusals),
    });
    let body = match encoding {
        Encoding::Protobuf => ExportLogsServiceResponse {
            partial_success: partial,
        }
        .encode_to_vec(),
        Encoding::Json => match partial {
            None => b"{}".to_vec(),
            // 64-bit numbers are texts in protobuf's JSON.
            Some(partial) => json!({"partialSuccess": {
                "rejectedLogRecords": partial.rejected_log_records.to_string(),
                "errorMessage": partial.error_message,
            }})
            .to_string()
            .into_bytes(),
        },
    };
    Reply {
        status: 200,
        content_type: content_type(encoding),
        retry_after_seconds: None,
        body,
    }
}

/// Nothing was kept. Of the statuses that a client must try again after, older ones know 503 alone.
#[must_use]
pub fn of_problem(encoding: Encoding, problem: &Problem) -> Reply {
    let status = match problem.code {
        Code::RateLimited | Code::TooManyDenials => 503,
        code => code.status().0,
    };
    let told = Status {
        code: grpc_code(status),
        message: problem.to_string(),
    };
    let body = match encoding {
        Encoding::Protobuf => told.encode_to_vec(),
        Encoding::Json => json!({"code": told.code, "message": told.message})
            .to_string()
            .into_bytes(),
    };
    Reply {
        status,
        content_type: content_type(encoding),
        retry_after_seconds: problem.retry_after_seconds,
        body,
    }
}

fn content_type(encoding: Encoding) -> &'static str {
    match encoding {
        Encoding::Protobuf => PROTOBUF,
        Encoding::Json => JSON,
    }
}

/// The status as gRPC numbers it (gRPC, status codes).
fn grpc_code(status: u16) -> i32 {
    match status {
        401 => 16,
        403 => 7,
        404 => 5,
        408 => 4,
        413 | 429 => 8,
        500 => 13,
        503 => 14,
        _ => 3,
    }
}
