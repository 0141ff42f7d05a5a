//! Keys and certificates that have ended, or soon will. Whether the files can be read at all, the settings say.
//!
//! In the flow: settings → **`files`** → `doctor`. Pure, but for what was read before.

use std::time::{SystemTime, UNIX_EPOCH};

use super::{Check, Finding};
use crate::access::Access;
use crate::tls::Tls;

/// What ends sooner is worth a look.
const SOON_SECONDS: i64 = 14 * DAY_SECONDS;
const DAY_SECONDS: i64 = 86_400;

/// A check for the key file and one for the certificate, where there are such.
#[must_use]
pub fn checks(access: &Access, tls: Option<&Tls>) -> Vec<Check> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |now| i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
    let keys = access.keys().map(|keys| {
        let ends = keys.iter().map(|key| {
            let end = key.expires.map(|end| end.nanos() / 1_000_000_000);
            (key.id.clone(), end)
        });
        let ends: Vec<(String, Option<i64>)> = ends.collect();
        Check::new("API keys", move || vec![key_file(&ends, now)])
    });
    let certificate = tls.map(|tls| {
        let end = tls.expires_unix_seconds();
        Check::new("TLS certificate", move || vec![certificate(end, now)])
    });
    keys.into_iter().chain(certificate).collect()
}

fn key_file(ends: &[(String, Option<i64>)], now: i64) -> Finding {
    const ABOUT: &str = "API keys";
    let until = |moment: i64| {
        let ids = ends
            .iter()
            .filter(|(_, end)| end.is_some_and(|end| end <= moment));
        let mut ids: Vec<&str> = ids.map(|(id, _)| id.as_str()).collect();
        ids.sort_unstable();
        ids.join(", ")
    };
    let (over, soon) = (until(now), until(now + SOON_SECONDS));
    if !over.is_empty() {
        let says = format!("these have expired, and their clients are refused: {over}");
        return Finding::warn(ABOUT, says);
    }
    if !soon.is_empty() {
        let says = format!("these expire within two weeks: {soon}");
        return Finding::warn(ABOUT, says);
    }
    Finding::ok(ABOUT, format!("{} keys", ends.len()))
}

fn certificate(end: i64, now: i64) -> Finding {
    const ABOUT: &str = "TLS certificate";
    let days = (end - now).div_euclid(DAY_SECONDS);
    if end <= now {
        let says = "has expired, and clients do not connect: replace the file of --tls-cert";
        Finding::fail(ABOUT, says)
    } else if end - now <= SOON_SECONDS {
        Finding::warn(
            ABOUT,
            format!("expires in {days} days: replace the file of --tls-cert"),
        )
    } else {
        Finding::ok(ABOUT, format!("good for {days} days"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_ended_and_what_soon_will_is_named() {
        let key = |id: &str, end| (id.to_owned(), end);
        let told = |ends: &[(String, Option<i64>)]| key_file(ends, 100).to_string();
        assert_eq!(told(&[key("a", None)]), "ok    API keys: 1 keys");
        assert_eq!(
            told(&[key("b", Some(100)), key("a", Some(99)), key("c", None)]),
            "warn  API keys: these have expired, and their clients are refused: a, b"
        );
        assert_eq!(
            told(&[key("b", Some(101)), key("c", Some(9_000_000_000))]),
            "warn  API keys: these expire within two weeks: b"
        );
        let told = |end| certificate(end, 100).to_string();
        assert!(told(100).starts_with("FAIL"));
        assert!(
            told(100 + 3 * DAY_SECONDS).starts_with("warn  TLS certificate: expires in 3 days")
        );
        assert!(
            told(100 + 90 * DAY_SECONDS).starts_with("ok    TLS certificate: good for 90 days")
        );
    }
}
