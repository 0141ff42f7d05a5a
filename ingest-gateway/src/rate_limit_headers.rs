//! Tells a client what it may still send, in the fields of the IETF draft `draft-ietf-httpapi-ratelimit-headers`.
//!
//! In the flow: `admission`, `quotas` → **`rate_limit_headers`** → the client. The draft may change, so this is a switch
//! that is off.

use axum::http::{HeaderMap, HeaderName, HeaderValue};

use crate::admission::{Left, LeftOf};

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// Adds both fields; none without a limit.
pub fn add(left: LeftOf, headers: &mut HeaderMap) {
    let requests = left.requests.map(|left| ("requests", "", left));
    let kib = left.kib.map(|left| {
        let bytes = |kib: u32| kib.saturating_mul(1024);
        let left = Left {
            quota: bytes(left.quota),
            left: bytes(left.left),
            per_second: bytes(left.per_second),
        };
        ("bytes", ";qu=\"content-bytes\"", left)
    });
    let limits: Vec<(&str, &str, Left)> = [requests, kib].into_iter().flatten().collect();
    let policies = limits.iter().map(|(name, unit, left)| {
        let window = left.quota.div_ceil(left.per_second);
        format!("\"{name}\";q={}{unit};w={window}", left.quota)
    });
    let states = limits.iter().map(|(name, _, left)| {
        let full_in = (left.quota - left.left).div_ceil(left.per_second);
        format!("\"{name}\";r={};t={full_in}", left.left)
    });
    for (field, list) in [
        (POLICY, policies.collect::<Vec<_>>()),
        (LIMIT, states.collect()),
    ] {
        if !list.is_empty() {
            let value = HeaderValue::try_from(list.join(", "));
            headers.insert(field, value.expect("names and numbers are ASCII"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(left: LeftOf) -> [Option<String>; 2] {
        let mut headers = HeaderMap::new();
        add(left, &mut headers);
        [POLICY, LIMIT].map(|name| {
            let value = headers.get(name)?;
            Some(value.to_str().unwrap().to_owned())
        })
    }

    #[test]
    fn each_limit_is_told_with_its_quota_and_what_is_left_of_it() {
        let requests = Some(Left {
            quota: 50,
            left: 31,
            per_second: 10,
        });
        let kib = Some(Left {
            quota: 4,
            left: 4,
            per_second: 3,
        });
        let expected = [
            r#""requests";q=50;w=5, "bytes";q=4096;qu="content-bytes";w=2"#,
            r#""requests";r=31;t=2, "bytes";r=4096;t=0"#,
        ];
        assert_eq!(
            told(LeftOf { requests, kib }),
            expected.map(|text| Some(text.to_owned()))
        );
        assert_eq!(told(LeftOf::default()), [None, None]);
    }
}
