//! One bounded HTTP request, as the health checks, the log shipper and the live tests need it.
//!
//! Any status is an answer, not an error. Not here: what the answer means.

use std::time::Duration;

use anyhow::{Context, Result};

/// No answer that xtask reads is larger.
const BODY_BYTES_MAX: u64 = 64 << 20;

/// An answer.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// All headers, names in lower case, in the order received.
    pub headers: Vec<(String, String)>,
    /// The body, at most 64 MiB.
    pub body: Vec<u8>,
}

impl Reply {
    /// The first header of that name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The body as text; what is not UTF-8 is replaced.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// When it is none; the error shows its beginning.
    pub fn json(&self) -> Result<serde_json::Value> {
        serde_json::from_slice(&self.body).with_context(|| {
            let start: String = self.text().chars().take(200).collect();
            format!("the answer (status {}) is no JSON: `{start}`", self.status)
        })
    }
}

/// Sends one request and reads the whole answer, both within `timeout`.
///
/// # Errors
/// When no complete answer came in time; the error names the address.
pub fn request(
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    body: &[u8],
    timeout: Duration,
) -> Result<Reply> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(timeout))
        .http_status_as_error(false)
        .proxy(None)
        .build()
        .into();
    let mut request = ureq::http::Request::builder().method(method).uri(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let failed = || format!("{method} {url} failed");
    let mut response = if body.is_empty() && matches!(method, "GET" | "HEAD" | "DELETE") {
        agent
            .run(request.body(()).with_context(failed)?)
            .with_context(failed)?
    } else {
        agent
            .run(request.body(body).with_context(failed)?)
            .with_context(failed)?
    };
    let headers = response
        .headers()
        .iter()
        .map(|(name, value)| {
            (
                name.as_str().to_owned(),
                String::from_utf8_lossy(value.as_bytes()).into_owned(),
            )
        })
        .collect();
    let body = response
        .body_mut()
        .with_config()
        .limit(BODY_BYTES_MAX)
        .read_to_vec()
        .with_context(failed)?;
    Ok(Reply {
        status: response.status().as_u16(),
        headers,
        body,
    })
}

/// A GET.
///
/// # Errors
/// As [`request`].
pub fn get(url: &str, timeout: Duration) -> Result<Reply> {
    request("GET", url, &[], &[], timeout)
}

/// A POST.
///
/// # Errors
/// As [`request`].
pub fn post(url: &str, headers: &[(&str, &str)], body: &[u8], timeout: Duration) -> Result<Reply> {
    request("POST", url, headers, body, timeout)
}
