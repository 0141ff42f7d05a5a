//! Bodies that are small on the wire and large once they are read do not make the gateway hold more than it may (GW-2).

use anyhow::{Result, ensure};
use xtask::http::Reply;

use crate::scenarios;
use crate::stage::{Scenario, Stage};

pub(crate) const SCENARIOS: &[Scenario] =
    scenarios![bodies_that_grow_when_they_are_read_are_refused_within_the_memory_that_is_allowed];

/// Just below the largest body.
const BYTES: usize = 20_000_000;
const IN_FLIGHT_BYTES_MAX: u64 = 128 << 20;
/// What the process is beside its bodies: its code, its threads, librdkafka, and what the allocator keeps.
const BESIDE_BYTES_MAX: u64 = 96 << 20;

/// A field of a protobuf message that holds these bytes (Protocol Buffers, Encoding).
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut field = vec![number << 3 | 2];
    let mut length = content.len();
    while length > 0x7f {
        field.push(u8::try_from(length & 0x7f).unwrap_or(0) | 0x80);
        length >>= 7;
    }
    field.push(u8::try_from(length).unwrap_or(0));
    field.extend_from_slice(content);
    field
}

/// As snappy's block format has what it does not compress.
fn snappy(content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).unwrap_or(u32::MAX);
    let preamble = field(0, content);
    let preamble = &preamble[1..preamble.len() - content.len()];
    [preamble, &[0xfc], &(length - 1).to_le_bytes(), content].concat()
}

fn repeated(begin: &str, part: &str, end: &str) -> Vec<u8> {
    let count = (BYTES - begin.len() - end.len()) / part.len();
    format!("{begin}{}{end}", part.repeat(count)).into_bytes()
}

fn bodies_that_grow_when_they_are_read_are_refused_within_the_memory_that_is_allowed(
    stage: &mut Stage<'_>,
) -> Result<()> {
    let in_flight = IN_FLIGHT_BYTES_MAX.to_string();
    let gateway = stage.gateway(&["--max-bytes-in-flight", &in_flight])?;
    let nothings = |number| field(number, &[]).repeat(BYTES / 2 - 20);
    let keys: String = (0..BYTES / 12).map(|n| format!("\"{n:07x}\":1,")).collect();
    let protobuf = "application/x-protobuf";
    let json = "application/json";
    let text = "text/plain";
    let long_index = format!("/{}/_bulk", "x".repeat(60_000));
    let attacks: [(&str, &str, &str, Vec<u8>); 15] = [
        (
            "records",
            "/v1/logs",
            protobuf,
            field(1, &field(2, &nothings(2))),
        ),
        (
            "attributes",
            "/v1/logs",
            protobuf,
            field(1, &field(2, &field(2, &nothings(6)))),
        ),
        (
            "resource attributes",
            "/v1/logs",
            protobuf,
            field(
                1,
                &[field(1, &nothings(1)), field(2, &field(2, &[]))].concat(),
            ),
        ),
        (
            "records",
            "/v1/logs",
            json,
            repeated(
                r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{}"#,
                ",{}",
                "]}]}]}",
            ),
        ),
        (
            "attributes",
            "/v1/logs",
            json,
            repeated(
                r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"attributes":[{}"#,
                ",{}",
                "]}]}]}]}",
            ),
        ),
        (
            "entries",
            "/loki/api/v1/push",
            protobuf,
            snappy(&field(1, &nothings(2))),
        ),
        (
            "entries",
            "/loki/api/v1/push",
            json,
            repeated(
                r#"{"streams":[{"stream":{},"values":[["1",""]"#,
                r#",["1",""]"#,
                "]}]}",
            ),
        ),
        (
            "an event of arrays",
            "/services/collector",
            json,
            repeated(r#"{"event":[[]"#, ",[]", "]}"),
        ),
        (
            "fields",
            "/services/collector",
            json,
            format!("{{\"event\":\"x\",\"fields\":{{{keys}\"\":1}}}}").into_bytes(),
        ),
        (
            "a document of many fields",
            "/app/_doc",
            json,
            format!("{{{keys}\"\":1}}").into_bytes(),
        ),
        ("events", "/logs", json, repeated("[{}", ",{}", "]")),
        (
            "a line of control characters",
            "/logs",
            text,
            vec![1; BYTES],
        ),
        (
            "a line of control characters",
            "/services/collector/raw",
            text,
            vec![1; BYTES],
        ),
        (
            "a name of a host",
            "/services/collector",
            json,
            repeated("{\"event\":\"x\",\"host\":\"", "h", "\"}"),
        ),
        (
            "a name of an index, 50,000 times",
            &long_index,
            json,
            "{\"delete\":{}}\n".repeat(50_000).into_bytes(),
        ),
    ];
    for (what, path, media_type, body) in attacks {
        let path_shown: String = path.chars().take(24).collect();
        let reply: Reply = gateway.post(path, &[("content-type", media_type)], &body)?;
        let peak = gateway.memory_peak_bytes()?;
        eprintln!(
            "    {what:32} {path_shown:24} {media_type:24} {} after at most {} MiB",
            reply.status,
            peak >> 20
        );
        // OTLP tells of events that are refused alone by a 200.
        let is_told = reply.status >= 400 || reply.text().contains("an event may have");
        ensure!(is_told, "{what}: {} {}", reply.status, reply.text());
        ensure!(
            peak < IN_FLIGHT_BYTES_MAX + BESIDE_BYTES_MAX,
            "{what} at {path_shown} made it hold {} MiB",
            peak >> 20
        );
    }
    // One that is legal, and a hundred times its size while it is read: eight at once wait for each other, or are told to.
    let objects = vec![r#"{"":0}"#; 140_000].join(",");
    let body = format!("{{\"event\":\"x\",\"fields\":{{\"a\":[{objects}]}}}}");
    std::thread::scope(|scope| {
        let post = || gateway.post("/services/collector", &[], body.as_bytes());
        let running: Vec<_> = (0..8).map(|_| scope.spawn(post)).collect();
        for reply in running {
            let reply = reply
                .join()
                .map_err(|_| anyhow::anyhow!("a thread panicked"))??;
            ensure!([200, 503].contains(&reply.status), "{}", reply.text());
        }
        Ok::<(), anyhow::Error>(())
    })?;
    let peak = gateway.memory_peak_bytes()?;
    eprintln!(
        "    at most {} MiB after eight legal ones at once",
        peak >> 20
    );
    ensure!(
        peak < IN_FLIGHT_BYTES_MAX + BESIDE_BYTES_MAX,
        "{} MiB",
        peak >> 20
    );
    Ok(())
}
