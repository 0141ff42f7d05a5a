use super::*;
use crate::access::api_keys::NewKey;

fn now() -> Timestamp {
    Timestamp::parse("2026-11-28T12:00:00Z").unwrap()
}

struct Keys {
    _folder: tempfile::TempDir,
    access: Access,
    tokens: Vec<String>,
}

/// One key of each kind, as the tests below name them.
fn keys() -> Keys {
    let moment = |text: &str| Timestamp::parse(text).ok();
    let tenant: Tenant = "shop".parse().unwrap();
    let made = [
        NewKey::make("ingest", &[Scope::Ingest], Some(&tenant), None, [1; 32]),
        NewKey::make(
            "query",
            &[Scope::Query],
            None,
            moment("2026-11-28T12:00:01Z"),
            [2; 32],
        ),
        NewKey::make(
            "old",
            &Scope::ALL,
            None,
            moment("2026-11-28T12:00:00Z"),
            [3; 32],
        ),
    ];
    let made = made.map(Result::unwrap);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.toml");
    std::fs::write(&path, made.each_ref().map(|new| new.entry.clone()).concat()).unwrap();
    Keys {
        access: Access::by(Arc::new(KeyFile::load(path).unwrap())),
        tokens: made.iter().map(|new| new.credential.to_token()).collect(),
        _folder: folder,
    }
}

fn headers(authorization: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if !authorization.is_empty() {
        headers.insert("authorization", authorization.parse().unwrap());
    }
    headers
}

#[test]
fn who_may_do_what_is_decided_by_the_key() {
    let keys = keys();
    let [ingest, query, old] = [0, 1, 2].map(|at| format!("Bearer {}", keys.tokens[at]));
    for (authorization, scope, expected) in [
        (ingest.as_str(), Scope::Ingest, None),
        (&ingest, Scope::Query, Some(Denial::Scope(Scope::Query))),
        (&query, Scope::Query, None),
        (&old, Scope::Query, Some(Denial::Expired)),
        ("", Scope::Query, Some(Denial::Missing)),
        ("Bearer what", Scope::Query, Some(Denial::Unreadable)),
        ("Bearer ingest.x", Scope::Ingest, Some(Denial::Unknown)),
        ("Bearer nobody.x", Scope::Ingest, Some(Denial::Unknown)),
    ] {
        let verdict = keys.access.admit(&headers(authorization), scope, now());
        assert_eq!(verdict.err(), expected, "{scope}");
    }
    let caller = keys.access.admit(&headers(&ingest), Scope::Ingest, now());
    assert_eq!(caller.unwrap().tenant().map(Tenant::as_str), Some("shop"));
}

#[test]
fn without_keys_everybody_may_do_everything() {
    for scope in Scope::ALL {
        let caller = Access::open().admit(&headers("Bearer x.y"), scope, now());
        assert!(caller.unwrap().tenant().is_none());
    }
}
