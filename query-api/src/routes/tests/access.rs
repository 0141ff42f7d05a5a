//! Who is let in where, through the whole router.

use super::*;
use log_event::tenant::Tenant;
use service::access::Scope;
use service::access::api_keys::NewKey;

struct Keys {
    folder: tempfile::TempDir,
    made: Vec<NewKey>,
}

impl Keys {
    fn new(keys: &[(&str, &[Scope], Option<&str>)]) -> Self {
        let made: Vec<NewKey> = keys
            .iter()
            .zip(1..)
            .map(|((id, scopes, tenant), n)| {
                let tenant: Option<Tenant> = tenant.map(|name| name.parse().unwrap());
                NewKey::make(id, scopes, tenant.as_ref(), None, [n; 32]).unwrap()
            })
            .collect();
        let folder = tempfile::tempdir().unwrap();
        let entries: String = made.iter().map(|new| new.entry.as_str()).collect();
        std::fs::write(folder.path().join("keys.toml"), entries).unwrap();
        Self { folder, made }
    }

    fn flag(&self) -> String {
        format!(
            "--api-keys={}",
            self.folder.path().join("keys.toml").display()
        )
    }

    fn token(&self, at: usize) -> String {
        self.made[at].credential.to_token()
    }

    fn bearer(&self, at: usize) -> String {
        format!("Bearer {}", self.token(at))
    }
}

async fn asked(
    router: &Router,
    method: Method,
    uri: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Response {
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::from(body.to_owned())).unwrap();
    router.clone().oneshot(request).await.unwrap()
}

/// A path that leads to the route, as the router sees it.
fn uri_of(route: Route) -> String {
    route.label().replace("{id}", "x").replace("{traceId}", "x")
}

#[tokio::test]
async fn the_page_comes_to_a_stranger_with_the_answer_that_one_has_to_sign_in() {
    let keys = Keys::new(&[("query", &[Scope::Query], None)]);
    let keyed = router_to(&closed_port(), &[&keys.flag()]);
    let open = router_to(&closed_port(), &[]);
    let bearer = keys.bearer(0);
    let known = [("authorization", bearer.as_str())];
    let wrong = [("authorization", "Bearer query.wrong")];
    for (router, headers, status) in [
        (&open, &[][..], 200),
        (&keyed, &[][..], 401),
        (&keyed, &wrong[..], 401),
        (&keyed, &known[..], 200),
    ] {
        let reply = asked(router, Method::GET, "/", headers, "").await;
        assert_eq!(reply.status(), status);
        let asks = reply.headers().contains_key(header::WWW_AUTHENTICATE);
        assert_eq!(asks, status == 401);
        assert!(text(reply).await.contains("<html"));
    }
}

#[tokio::test]
async fn every_route_asks_for_its_scope_and_no_other_does() {
    let all: Vec<(&str, &[Scope], Option<&str>)> = vec![
        ("none", &[Scope::Ingest], None),
        ("query", &[Scope::Query], None),
        ("tail", &[Scope::Tail], None),
        ("export", &[Scope::Export], None),
        ("admin", &[Scope::Admin], None),
    ];
    let keys = Keys::new(&all);
    let router = router_to(&closed_port(), &[&keys.flag()]);
    for route in Route::ALL
        .into_iter()
        .filter(|route| *route != Route::Unknown)
    {
        for (at, (_, scopes, _)) in all.iter().enumerate() {
            let bearer = keys.bearer(at);
            for (sent, is_let_in) in [
                (
                    Some(bearer.as_str()),
                    route.scope().is_none_or(|s| scopes.contains(&s)),
                ),
                (None, route.scope().is_none()),
            ] {
                let headers: Vec<_> = sent.iter().map(|value| ("authorization", *value)).collect();
                for method in [Method::GET, Method::POST] {
                    let reply = asked(&router, method, &uri_of(route), &headers, "").await;
                    let status = reply.status().as_u16();
                    let expected = match (is_let_in, sent) {
                        (true, _) => None,
                        (false, Some(_)) => Some(403),
                        (false, None) => Some(401),
                    };
                    // Who is signed in is not told to anybody else, and to the same the page says that one has to be.
                    let says = matches!(route, Route::Session | Route::Page);
                    let denied = matches!(status, 401 | 403) && !says;
                    assert_eq!(denied.then_some(status), expected, "{route:?}");
                }
            }
        }
    }
    for path in [
        "/elasticsearch",
        "/elasticsearch/_bulk",
        "/elasticsearch/x/_search",
    ] {
        let reply = asked(&router, Method::POST, path, &[], "{}").await;
        assert_eq!(reply.status(), 401, "{path}");
        assert_eq!(
            reply.headers()["www-authenticate"],
            "Bearer realm=\"logflow\""
        );
        let body = text(reply).await;
        assert!(body.contains(r#""type":"logflow_key_missing""#), "{body}");
    }
}

#[tokio::test]
async fn a_browser_signs_in_once_and_its_cookie_counts_for_our_own_page_alone() {
    let keys = Keys::new(&[("web", &[Scope::Query, Scope::Tail], None)]);
    let router = router_to(&closed_port(), &[&keys.flag()]);
    let session = "/api/v1/session";
    let body = format!("{{\"key\":\"{}\"}}", keys.token(0));
    let reply = asked(&router, Method::POST, session, &[], &body).await;
    let cookie = reply.headers()["set-cookie"].to_str().unwrap().to_owned();
    assert!(cookie.ends_with("; Path=/; Max-Age=43200; HttpOnly; SameSite=Strict"));
    assert!(!cookie.contains(&keys.token(0)));
    expect![[r#"
        {"needs_key":true,"id":"web","tenant":null,"scopes":["query","tail"],"expires":null}
    "#]]
    .assert_eq(&text(reply).await);
    let pair = cookie.split(';').next().unwrap();
    for (site, expected) in [
        (None, 200),
        (Some("same-origin"), 200),
        (Some("none"), 200),
        (Some("cross-site"), 401),
        (Some("same-site"), 401),
    ] {
        let mut headers = vec![("cookie", pair)];
        headers.extend(site.map(|site| ("sec-fetch-site", site)));
        let reply = asked(&router, Method::GET, session, &headers, "").await;
        assert_eq!(reply.status(), expected, "{site:?}");
    }
    let secure = [("x-forwarded-proto", "https")];
    let reply = asked(&router, Method::POST, session, &secure, &body).await;
    assert!(
        reply.headers()["set-cookie"]
            .to_str()
            .unwrap()
            .ends_with("; Secure")
    );
    let reply = asked(&router, Method::DELETE, session, &[], "").await;
    assert_eq!(reply.status(), 204);
    let gone = reply.headers()["set-cookie"].to_str().unwrap();
    assert!(
        gone.starts_with("logflow-key=; Path=/; Max-Age=0;"),
        "{gone}"
    );
    for (body, expected) in [
        ("{\"key\":\"web.x\"}", 401),
        ("{\"key\":\"x\"}", 401),
        ("{}", 400),
        ("", 400),
    ] {
        let reply = asked(&router, Method::POST, session, &[], body).await;
        assert_eq!(reply.status(), expected, "{body}");
        assert!(!reply.headers().contains_key("set-cookie"));
    }
}

#[tokio::test]
async fn without_keys_the_session_says_that_none_is_needed() {
    let router = router_to(&closed_port(), &[]);
    let reply = send(&router, Method::GET, "/api/v1/session", "").await;
    expect![[r#"
        {"needs_key":false,"id":null,"tenant":null,"scopes":["ingest","query","tail","export","admin","observe"],"expires":null}
    "#]]
    .assert_eq(&text(reply).await);
}

#[tokio::test]
async fn a_tenant_s_key_is_of_no_use_where_tenants_share_their_indices() {
    let keys = Keys::new(&[("shop", &[Scope::Query], Some("shop"))]);
    let args = ["query-api", &keys.flag()].map(OsString::from);
    let error = Config::load(args, |_| None).unwrap_err().to_string();
    assert!(
        error.contains("has no `{tenant}`, and key `shop` belongs to one"),
        "{error}"
    );
    // A key that comes later, while the service runs, is refused, too.
    let later = Keys::new(&[("all", &[Scope::Query], None)]);
    let router = router_to(&closed_port(), &[&later.flag()]);
    let path = later.folder.path().join("keys.toml");
    std::fs::write(&path, &keys.made[0].entry).unwrap();
    let bearer = keys.bearer(0);
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let headers = [("authorization", bearer.as_str())];
        let reply = asked(&router, Method::GET, "/logs", &headers, "").await;
        match reply.status().as_u16() {
            401 => assert!(Instant::now() < deadline, "the new key never counts"),
            status => break assert_eq!(status, 501),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
