use super::*;
use crate::access::api_keys::NewKey;
use axum::http::HeaderMap;

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
        access: Access::by(Arc::new(ApiKeys::load(path).unwrap())),
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
    let admit = |authorization: &str, scope| {
        let credential = credential::read(&headers(authorization));
        let caller = keys.access.caller(credential, None, now());
        caller.and_then(|caller| caller.if_allowed(scope))
    };
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
        let verdict = admit(authorization, scope);
        assert_eq!(verdict.err(), expected, "{scope}");
    }
    let caller = admit(&ingest, Scope::Ingest);
    assert_eq!(caller.unwrap().tenant().map(Tenant::as_str), Some("shop"));
}

#[test]
fn a_certificate_stands_in_for_a_key_that_names_it_where_no_key_is_sent() {
    let entry =
        "[[key]]\nid = \"agent\"\nscopes = [\"ingest\"]\ncertificate = \"agent-7.shop.example\"\n";
    let other = NewKey::make("other", &[Scope::Query], None, None, [5; 32]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.toml");
    std::fs::write(&path, format!("{entry}{}", other.entry)).unwrap();
    let access = Access::by(Arc::new(ApiKeys::load(path).unwrap()));
    let certificate =
        |names: &[&str]| ClientCertificate(names.iter().map(|&name| name.into()).collect());
    let (agent, stranger) = (
        certificate(&["host.example", "agent-7.shop.example"]),
        certificate(&["agent-7.shop.example.net"]),
    );
    let token = format!("Bearer {}", other.credential.to_token());
    for (authorization, certificate, expected) in [
        ("", Some(&agent), Ok("agent")),
        ("", Some(&stranger), Err(Denial::Uncertified)),
        (token.as_str(), Some(&agent), Ok("other")),
        ("Bearer agent.", Some(&agent), Err(Denial::Unreadable)),
        ("Bearer agent.x", Some(&agent), Err(Denial::Unknown)),
        ("Bearer agent.x", None, Err(Denial::Unknown)),
        ("", None, Err(Denial::Missing)),
    ] {
        let credential = credential::read(&headers(authorization));
        let caller = access.caller(credential, certificate, now());
        let id = caller
            .as_ref()
            .map(|caller| caller.key().map_or("", |key| &key.id));
        assert_eq!(id.map_err(|denial| *denial), expected, "{authorization}");
    }
}

#[test]
fn a_key_speaks_the_dialects_of_its_entry_or_all() {
    let new = NewKey::make("agent", &[Scope::Ingest], None, None, [4; 32]).unwrap();
    for (line, refused) in [
        ("", vec![]),
        (
            "dialects = [\"otlp\", \"hec\"]",
            vec![Dialect::Native, Dialect::Elasticsearch, Dialect::Loki],
        ),
    ] {
        let keys = ApiKeys::read(&format!("{}{line}", new.entry)).unwrap();
        let key = keys.find(&new.credential);
        let caller = Caller { key };
        let denied = Dialect::ALL.map(|dialect| caller.clone().if_spoken(dialect).err());
        let expected = refused.into_iter().map(Denial::Dialect);
        assert!(denied.into_iter().flatten().eq(expected));
    }
}

#[test]
fn without_keys_everybody_may_do_everything() {
    let credential = credential::read(&headers("Bearer x.y"));
    let caller = Access::open().caller(credential, None, now()).unwrap();
    assert!(caller.tenant().is_none());
    assert!(Scope::ALL.into_iter().all(|scope| caller.may(scope)));
}

#[test]
fn what_expires_next_is_a_metric_by_key() {
    let far = Timestamp::parse("2200-01-01T00:00:00Z").ok();
    let new = NewKey::make("shop-web", &[Scope::Ingest], None, far, [1; 32]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.toml");
    std::fs::write(&path, new.entry).unwrap();
    let metrics = Namespace::new("test_service");
    Access::by(Arc::new(ApiKeys::load(path).unwrap())).watch(&metrics);
    let families = metrics.registry().gather();
    let expires = families
        .iter()
        .find(|family| family.name() == "test_service_api_key_expires_timestamp_seconds")
        .unwrap();
    let [metric] = expires.get_metric() else {
        panic!("one key expires");
    };
    assert_eq!(metric.get_label()[0].value(), "shop-web");
    assert_eq!(metric.get_gauge().get_value(), 7_258_118_400.0);
}
