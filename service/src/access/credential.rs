//! What a request carries to say who it is, in each of the ways that clients know.
//!
//! In the flow: a request's headers → **`credential`** → `api_keys`.
//! One key has two spellings: `ID.SECRET` as a token, and the base64 of
//! `ID:SECRET`, which is what Elasticsearch's clients call an encoded API key
//! and what HTTP's Basic scheme makes of a user and a password (RFC 7617).

use std::fmt;

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::tls::ClientCertificate;

/// Where a browser says the request comes from (W3C Fetch Metadata).
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
/// The longest credential that is looked at.
const BYTES_MAX: usize = 512;

/// An id and the secret that proves it.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential {
    /// Names the key.
    pub id: String,
    /// Never shown.
    pub secret: String,
}

/// What stands where a credential should, and is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreadable;

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl Credential {
    /// Reads `ID.SECRET`.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub fn from_token(text: &str) -> Result<Self, Unreadable> {
        Self::split(text, '.')
    }

    /// As [`Credential::from_token`] reads it.
    #[must_use]
    pub fn to_token(&self) -> String {
        format!("{}.{}", self.id, self.secret)
    }

    /// Reads the base64 of `ID:SECRET`.
    fn from_base64(text: &str) -> Result<Self, Unreadable> {
        let bytes = STANDARD.decode(text).map_err(|_| Unreadable)?;
        let text = String::from_utf8(bytes).map_err(|_| Unreadable)?;
        Self::split(&text, ':')
    }

    fn split(text: &str, at: char) -> Result<Self, Unreadable> {
        let (id, secret) = text.split_once(at).ok_or(Unreadable)?;
        if text.len() > BYTES_MAX || id.is_empty() || secret.is_empty() {
            return Err(Unreadable);
        }
        Ok(Self {
            id: id.to_owned(),
            secret: secret.to_owned(),
        })
    }
}

/// The credential among a request's headers: `Authorization` with one of the
/// schemes `Bearer`, `ApiKey`, `Basic` and `Splunk`, else `X-API-Key`.
#[must_use]
pub fn read(headers: &HeaderMap) -> Option<Result<Credential, Unreadable>> {
    let value = |name| headers.get(name).map(|value| value.to_str().ok());
    if let Some(authorization) = value(header::AUTHORIZATION) {
        return Some(authorization.map_or(Err(Unreadable), from_authorization));
    }
    let token = value(X_API_KEY)?;
    Some(token.map_or(Err(Unreadable), |token| {
        Credential::from_token(token.trim())
    }))
}

/// Whether a browser says that a page of another site sends this (W3C Fetch Metadata): in its owner's name nothing may
/// be done then that the browser proves by itself, as by a cookie. Programs say nothing of it.
#[must_use]
pub fn is_of_foreign_page(headers: &HeaderMap) -> bool {
    let site = headers.get(FETCH_SITE).map(HeaderValue::as_bytes);
    !matches!(site, None | Some(b"same-origin" | b"none"))
}

/// The certificate of a connection, where it may speak for a request: a browser shows it to whichever page asks. Where
/// one has no Fetch Metadata to tell, the `Origin` that it sends for a page (RFC 6454 §7) is reason enough to ask for a
/// key.
#[must_use]
pub fn certificate<'a>(
    shown: Option<&'a ClientCertificate>,
    headers: &HeaderMap,
) -> Option<&'a ClientCertificate> {
    let is_of_some_page = !headers.contains_key(FETCH_SITE) && headers.contains_key(header::ORIGIN);
    shown.filter(|_| !is_of_foreign_page(headers) && !is_of_some_page)
}

fn from_authorization(value: &str) -> Result<Credential, Unreadable> {
    let (scheme, rest) = value.trim().split_once(' ').ok_or(Unreadable)?;
    let rest = rest.trim();
    match scheme.to_ascii_lowercase().as_str() {
        "bearer" | "splunk" => Credential::from_token(rest),
        "basic" => Credential::from_base64(rest),
        // Elasticsearch's clients send whatever they were given as their key.
        "apikey" if rest.contains('.') => Credential::from_token(rest),
        "apikey" => Credential::from_base64(rest),
        _ => Err(Unreadable),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sent(name: &str, value: &str) -> Option<Result<Credential, Unreadable>> {
        let mut headers = HeaderMap::new();
        headers.insert(
            HeaderName::from_bytes(name.as_bytes()).unwrap(),
            value.parse().unwrap(),
        );
        read(&headers)
    }

    #[test]
    fn every_client_s_way_to_send_a_key_is_read() {
        let expected = Credential {
            id: "shop-web".to_owned(),
            secret: "s3cr.et:x".to_owned(),
        };
        let encoded = STANDARD.encode("shop-web:s3cr.et:x");
        for (name, value) in [
            ("authorization", "Bearer shop-web.s3cr.et:x".to_owned()),
            ("authorization", "bearer  shop-web.s3cr.et:x ".to_owned()),
            ("authorization", "Splunk shop-web.s3cr.et:x".to_owned()),
            ("authorization", format!("ApiKey {encoded}")),
            ("authorization", "ApiKey shop-web.s3cr.et:x".to_owned()),
            ("authorization", format!("Basic {encoded}")),
            ("x-api-key", "shop-web.s3cr.et:x".to_owned()),
        ] {
            assert_eq!(sent(name, &value), Some(Ok(expected.clone())), "{value}");
        }
        assert_eq!(read(&HeaderMap::new()), None);
    }

    #[test]
    fn what_is_no_key_is_told_from_none() {
        for value in [
            "",
            "Bearer",
            "Bearer x",
            "Bearer .x",
            "Bearer x.",
            "Basic x.y",
            "Basic !",
            "Digest x.y",
            "ApiKey eDp5eg=",
            "Bearer \u{e4}.\u{f6}",
        ] {
            assert_eq!(
                sent("authorization", value),
                Some(Err(Unreadable)),
                "{value}"
            );
        }
        let long = format!("Bearer x.{}", "y".repeat(BYTES_MAX));
        assert_eq!(sent("authorization", &long), Some(Err(Unreadable)));
    }

    #[test]
    fn what_a_browser_proves_by_itself_does_not_serve_the_page_of_another_site() {
        let shown = ClientCertificate(vec!["person.example".to_owned()]);
        for (sent, is_foreign, speaks) in [
            (&[][..], false, true),
            (
                &[("sec-fetch-site", "same-origin"), ("origin", "https://a")],
                false,
                true,
            ),
            (&[("sec-fetch-site", "none")], false, true),
            (&[("sec-fetch-site", "cross-site")], true, false),
            (&[("sec-fetch-site", "same-site")], true, false),
            (&[("origin", "https://a")], false, false),
        ] {
            let headers = sent
                .iter()
                .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()));
            let headers: HeaderMap = headers.collect();
            let certificate = certificate(Some(&shown), &headers);
            let found = (is_of_foreign_page(&headers), certificate.is_some());
            assert_eq!(found, (is_foreign, speaks), "{sent:?}");
        }
    }

    #[test]
    fn a_secret_is_not_shown() {
        let credential = Credential::from_token("shop.hush").unwrap();
        assert!(!format!("{credential:?}").contains("hush"));
    }

    proptest! {
        #[test]
        fn any_header_is_read_without_panic(bytes in prop::collection::vec(32..=255u8, 0..600)) {
            if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                let headers = HeaderMap::from_iter([(header::AUTHORIZATION, value)]);
                prop_assert!(read(&headers).is_some());
            }
        }
    }
}
