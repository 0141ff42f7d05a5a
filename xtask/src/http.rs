//! One bounded HTTP request, as the health checks, the log shipper and the live tests need it.
//!
//! Any status is an answer, not an error. Over TLS the `curl` command sends it: xtask is compiled before anything is
//! installed, and so has no TLS of its own. Not here: what the answer means.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

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

/// How a server is spoken to: in the clear, or over TLS and with a key.
#[derive(Debug, Clone, Default)]
pub struct Client {
    over_tls: Option<OverTls>,
}

#[derive(Debug, Clone)]
struct OverTls {
    authority: PathBuf,
    header: Option<PathBuf>,
}

impl Client {
    /// Trusts `authority` alone, and sends the lines of the file `header`, so that no secret stands on a command line.
    #[must_use]
    pub fn over_tls(authority: &Path, header: Option<&Path>) -> Self {
        Self {
            over_tls: Some(OverTls {
                authority: authority.to_path_buf(),
                header: header.map(Path::to_path_buf),
            }),
        }
    }

    /// Whether it speaks TLS.
    #[must_use]
    pub fn is_over_tls(&self) -> bool {
        self.over_tls.is_some()
    }

    /// The beginning of the address of what listens on `port` of loopback.
    #[must_use]
    pub fn url(&self, port: u16) -> String {
        let scheme = if self.over_tls.is_some() {
            "https"
        } else {
            "http"
        };
        format!("{scheme}://127.0.0.1:{port}")
    }

    /// Sends one request and reads the whole answer, both within `timeout`. An answer over TLS is given without its
    /// headers.
    ///
    /// # Errors
    /// When no complete answer came in time, or the server is not trusted; the error names the address.
    pub fn request(
        &self,
        method: &str,
        url: &str,
        headers: &[(&str, &str)],
        body: &[u8],
        timeout: Duration,
    ) -> Result<Reply> {
        match &self.over_tls {
            None => request(method, url, headers, body, timeout),
            Some(tls) => tls
                .request(method, url, headers, body, timeout)
                .with_context(|| format!("{method} {url} failed")),
        }
    }

    /// A GET.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub fn get(&self, url: &str, timeout: Duration) -> Result<Reply> {
        self.request("GET", url, &[], &[], timeout)
    }

    /// A POST.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub fn post(
        &self,
        url: &str,
        headers: &[(&str, &str)],
        body: &[u8],
        timeout: Duration,
    ) -> Result<Reply> {
        self.request("POST", url, headers, body, timeout)
    }
}

impl OverTls {
    fn request(
        &self,
        method: &str,
        url: &str,
        headers: &[(&str, &str)],
        body: &[u8],
        timeout: Duration,
    ) -> Result<Reply> {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--noproxy", "*"])
            .args(["--max-time", &timeout.as_secs_f64().to_string()])
            .args(["--request", method])
            .arg("--cacert")
            .arg(&self.authority)
            .args(["--write-out", "\n%{http_code}"]);
        if let Some(header) = &self.header {
            curl.arg("--header").arg(format!("@{}", header.display()));
        }
        for (name, value) in headers {
            curl.args(["--header", &format!("{name}: {value}")]);
        }
        if !body.is_empty() {
            curl.args(["--data-binary", "@-"]);
        }
        let mut curl = curl
            .arg(url)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start `curl`")?;
        // It reads all of it before it writes anything.
        if let Some(mut stdin) = curl.stdin.take() {
            stdin.write_all(body).context("curl does not read")?;
        }
        let output = curl.wait_with_output().context("curl does not end")?;
        let told = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{}", told.trim());
        let mut body = output.stdout;
        let end = body.iter().rposition(|byte| *byte == b'\n');
        let status = end.map(|end| body.split_off(end));
        let status = status.and_then(|text| String::from_utf8(text).ok()?.trim().parse().ok());
        Ok(Reply {
            status: status.context("curl tells no status")?,
            headers: Vec::new(),
            body,
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
