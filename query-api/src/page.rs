//! The explorer page: built files of `ui/`, in the binary.
//!
//! In the flow: `routes` → **`page`** → the browser, which then asks the same API as everybody.
//! The files keep their names from version to version, so that a browser asks for each again and is told by its
//! `ETag` that it has it already. The policy lets the page load nothing from elsewhere and run nothing that a log
//! line could smuggle in (CSP Level 3).

use std::io::Write as _;

use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest as _, Sha256};

use crate::docs_page;
use crate::openapi;
use crate::routes::Route;

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
     img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";

/// What the page is made of: where it is served, what it is, the file.
const FILES: [(Route, &str, &[u8]); 4] = [
    (Route::Page, HTML, include_bytes!("../ui/dist/index.html")),
    (
        Route::PageScript,
        "text/javascript; charset=utf-8",
        include_bytes!("../ui/dist/app.js"),
    ),
    (Route::PageStyle, CSS, include_bytes!("../ui/dist/app.css")),
    (
        Route::PageIcon,
        "image/svg+xml",
        include_bytes!("../ui/dist/icon.svg"),
    ),
];

/// A file as it is sent.
#[derive(Clone, Debug)]
pub struct Asset {
    media_type: &'static str,
    plain: Bytes,
    gzip: Bytes,
    etag: String,
}

/// The files of the page, and those of the documentation.
pub fn assets() -> impl Iterator<Item = (Route, Asset)> {
    let page = FILES.into_iter().map(|(route, media_type, file)| {
        let asset = Asset::new(media_type, Bytes::from_static(file));
        (route, asset)
    });
    let openapi = serde_json::from_str(&openapi::document()).unwrap_or_default();
    let docs = Asset::new(HTML, docs_page::html(&openapi).into());
    let style = Asset::new(CSS, Bytes::from_static(docs_page::STYLE.as_bytes()));
    page.chain([(Route::Docs, docs), (Route::DocsStyle, style)])
}

impl Asset {
    /// A file of this media type.
    #[must_use]
    pub fn new(media_type: &'static str, plain: Bytes) -> Self {
        let hash = &Sha256::digest(&plain)[..12];
        Self {
            media_type,
            gzip: compressed(&plain),
            etag: format!("\"{}\"", URL_SAFE_NO_PAD.encode(hash)),
            plain,
        }
    }

    /// The answer to a browser with these headers: the file, or that it has it.
    #[must_use]
    pub fn answer(&self, request: &HeaderMap) -> Response {
        let has = |name, part: &str| {
            let value = request.get(name).and_then(|value| value.to_str().ok());
            value.is_some_and(|value| value.contains(part))
        };
        let headers = [
            (header::ETAG, self.etag.as_str()),
            (header::CACHE_CONTROL, "no-cache"),
            (header::VARY, "accept-encoding"),
            (header::CONTENT_SECURITY_POLICY, POLICY),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::REFERRER_POLICY, "same-origin"),
            (
                HeaderName::from_static("cross-origin-opener-policy"),
                "same-origin",
            ),
        ];
        if has(header::IF_NONE_MATCH, &self.etag) {
            return (StatusCode::NOT_MODIFIED, headers).into_response();
        }
        let content_type = [(header::CONTENT_TYPE, self.media_type)];
        if has(header::ACCEPT_ENCODING, "gzip") {
            let encoding = [(header::CONTENT_ENCODING, "gzip")];
            (headers, content_type, encoding, self.gzip.clone()).into_response()
        } else {
            (headers, content_type, self.plain.clone()).into_response()
        }
    }
}

fn compressed(file: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    let written = encoder.write_all(file).and_then(|()| encoder.finish());
    written.expect("memory takes all").into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    /// The whole page, as a browser without it loads it.
    const GZIP_BYTES_MAX: usize = 120 * 1024;

    #[test]
    fn the_page_is_small() {
        let code =
            assets().filter(|(route, _)| matches!(route, Route::PageScript | Route::PageStyle));
        let bytes: usize = code.map(|(_, asset)| asset.gzip.len()).sum();
        assert!((1_000..=GZIP_BYTES_MAX).contains(&bytes), "{bytes} bytes");
    }

    #[test]
    fn a_file_is_sent_once_and_then_known_by_its_tag() {
        let asset = Asset::new("text/plain", Bytes::from_static(b"text"));
        let first = asset.answer(&HeaderMap::new());
        assert_eq!(first.status(), StatusCode::OK);
        assert!(!first.headers().contains_key(header::CONTENT_ENCODING));
        let mut request = HeaderMap::new();
        request.insert(
            header::ACCEPT_ENCODING,
            HeaderValue::from_static("br, gzip"),
        );
        let small = asset.answer(&request);
        assert_eq!(small.headers()[header::CONTENT_ENCODING], "gzip");
        request.insert(header::IF_NONE_MATCH, first.headers()[header::ETAG].clone());
        assert_eq!(asset.answer(&request).status(), StatusCode::NOT_MODIFIED);
        let other = Asset::new("text/plain", Bytes::from_static(b"other"));
        assert_eq!(other.answer(&request).status(), StatusCode::OK);
    }

    #[test]
    fn the_page_asks_for_nothing_but_its_own_files() {
        let (_, _, index) = FILES[0];
        let index = std::str::from_utf8(index).unwrap();
        let addresses = index
            .split("=\"./")
            .skip(1)
            .filter_map(|rest| rest.split('"').next());
        for address in addresses {
            let is_ours =
                |(route, ..): &(Route, &str, &[u8])| route.label() == format!("/{address}");
            assert!(FILES.iter().any(is_ours), "{address}");
        }
        assert!(!index.contains("://"), "{index}");
        assert!(
            !index.contains("<style") && !index.contains("style="),
            "{index}"
        );
    }
}
