//! Who may ask for what: the layer that lets requests in, what a caller may
//! see, and the session by which a browser carries its key.
//!
//! In the flow: `routes` → **`routes::access`** → the handlers. Upholds QA-5: a
//! handler gets a searcher only through a [`View`], and that knows no indices
//! but the caller's.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{FromRequestParts, MatchedPath, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use service::access::credential::{self, Credential, Unreadable};
use service::access::{CHALLENGE, Caller, Denial, Scope};
use service::tls::ClientCertificate;
use utoipa::ToSchema;

use super::{App, Route, read_body, reply_of};
use crate::error::{Code, Problem};
use crate::parameters;
use crate::passthrough::{endpoint, error_body};
use crate::searcher::Searcher;

/// The cookie that holds a browser's key.
pub(crate) const COOKIE: &str = "logflow-key";
/// How long a browser keeps it.
const COOKIE_SECONDS: u32 = 12 * 60 * 60;

/// What the sender of a request may see.
pub(super) struct View {
    pub(super) caller: Caller,
    pub(super) searcher: Searcher,
}

impl FromRequestParts<Arc<App>> for View {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        // Every route that needs a view is behind `admit`; if one is not, nobody sees anything.
        let caller = parts.extensions.get::<Caller>().cloned();
        app.view(caller.ok_or_else(|| Problem::denied(Denial::Missing))?)
    }
}

impl App {
    /// What this caller may see.
    pub(super) fn view(&self, caller: Caller) -> Result<View, Problem> {
        let searcher = match (caller.tenant(), self.indices.of(caller.tenant())) {
            (None, _) => self.searcher.clone(),
            (Some(_), Some(index)) => self.searcher.within(index),
            (Some(_), None) => {
                let detail = "this service cannot tell the events of one tenant from those of another: its `--index` has no `{tenant}`";
                return Err(Problem::new(Code::NotConfigured, detail));
            }
        };
        Ok(View { caller, searcher })
    }

    fn caller(
        &self,
        headers: &HeaderMap,
        certificate: Option<&ClientCertificate>,
    ) -> Result<Caller, Denial> {
        let certificate = credential::certificate(certificate, headers);
        let credential = credential_of(headers);
        self.access.caller(credential, certificate, super::now())
    }
}

/// Lets a request in if its sender may do what the route does.
pub(super) async fn admit(
    State(app): State<Arc<App>>,
    mut request: Request,
    next: Next,
) -> Response {
    let path = request.extensions().get::<MatchedPath>();
    let route = path.and_then(|path| Route::at(path.as_str()));
    let scope = match route {
        Some(route) => route.scope(),
        // One of the paths below `/elasticsearch`.
        None => path.map(|_| Scope::Query),
    };
    if scope.is_none() && route != Some(Route::Page) {
        return next.run(request).await;
    }
    let certificate = request.extensions().get::<ClientCertificate>();
    let caller = app.caller(request.headers(), certificate);
    let Some(scope) = scope else {
        return page_for(&caller, next.run(request).await);
    };
    let denial = match caller {
        Ok(caller) if caller.may(scope) => {
            request.extensions_mut().insert(caller);
            return next.run(request).await;
        }
        Ok(_) => Denial::Scope(scope),
        Err(denial) => denial,
    };
    let problem = Problem::denied(denial);
    let path = request.uri().path();
    match path.starts_with(endpoint::PREFIX) {
        true => error_body::respond(&problem, path.ends_with("_msearch").into()),
        false => problem.into_response(),
    }
}

/// To who is not known yet the page is the way to sign in, and the answer that this is needed.
fn page_for(caller: &Result<Caller, Denial>, mut page: Response) -> Response {
    if caller.is_err() && page.status() == StatusCode::OK {
        *page.status_mut() = StatusCode::UNAUTHORIZED;
        page.headers_mut()
            .insert(header::WWW_AUTHENTICATE, CHALLENGE);
    }
    page
}

/// From the headers that programs send, else from the cookie. The cookie counts only where the browser says that the
/// request comes from our own page: so no other site can act in its owner's name.
fn credential_of(headers: &HeaderMap) -> Option<Result<Credential, Unreadable>> {
    let sent = credential::read(headers);
    if sent.is_some() {
        return sent;
    }
    if credential::is_of_foreign_page(headers) {
        return None;
    }
    let cookies = headers.get_all(header::COOKIE).iter();
    let mut pairs = cookies
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='));
    let (_, token) = pairs.find(|(name, _)| *name == COOKIE)?;
    let token = URL_SAFE_NO_PAD.decode(token).ok();
    let token = token.and_then(|token| String::from_utf8(token).ok());
    Some(token.map_or(Err(Unreadable), |token| Credential::from_token(&token)))
}

/// Who the sender of a request is.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Session {
    /// Whether this service needs keys at all.
    needs_key: bool,
    /// The key's id; `null` without keys.
    #[schema(example = "shop-web")]
    id: Option<String>,
    /// Whose events it sees; `null`: all.
    #[schema(example = "shop")]
    tenant: Option<String>,
    /// What it may do.
    #[schema(example = json!(["query", "tail"]))]
    scopes: Vec<&'static str>,
    /// From then on it is refused.
    #[schema(example = "2027-06-30T00:00:00Z")]
    expires: Option<String>,
}

impl Session {
    fn of(caller: &Caller) -> Self {
        let key = caller.key();
        let scopes = Scope::ALL.into_iter().filter(|scope| caller.may(*scope));
        Self {
            needs_key: key.is_some(),
            id: key.map(|key| key.id.clone()),
            tenant: caller.tenant().map(ToString::to_string),
            scopes: scopes.map(Scope::as_str).collect(),
            expires: key.and_then(|key| Some(key.expires?.to_rfc3339())),
        }
    }
}

pub(super) async fn session(
    State(app): State<Arc<App>>,
    certificate: Option<Extension<ClientCertificate>>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let certificate = certificate
        .as_ref()
        .map(|Extension(certificate)| certificate);
    let caller = app.caller(&headers, certificate).map_err(Problem::denied)?;
    Ok(reply_of(&Session::of(&caller)))
}

/// What a browser signs in with.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SignIn {
    /// `ID.SECRET`.
    #[schema(example = "shop-web.mJ0x…")]
    key: String,
}

pub(super) async fn sign_in(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, Problem> {
    let forwarded = request.headers().get("x-forwarded-proto");
    let is_https = app.is_https || forwarded == Some(&HTTPS);
    let body = read_body(request).await?;
    let sign_in: SignIn = parameters::object(&body).map_err(|_| {
        let detail = "the body is `{\"key\":\"ID.SECRET\"}`";
        Problem::new(Code::InvalidJson, detail)
    })?;
    let credential = Credential::from_token(sign_in.key.trim());
    let token = credential.as_ref().ok().map(Credential::to_token);
    let caller = app.access.caller(Some(credential), None, super::now());
    let caller = caller.map_err(Problem::denied)?;
    let mut response = reply_of(&Session::of(&caller));
    if let (Some(_), Some(token)) = (caller.key(), token) {
        let cookie = cookie(&token, COOKIE_SECONDS, is_https);
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    Ok(response)
}

const HTTPS: HeaderValue = HeaderValue::from_static("https");

pub(super) async fn sign_out() -> Response {
    let headers = [(header::SET_COOKIE, cookie("", 0, false))];
    (StatusCode::NO_CONTENT, headers).into_response()
}

/// No script reads it, and no other site sends it (RFC 6265bis).
fn cookie(token: &str, seconds: u32, is_https: bool) -> HeaderValue {
    let token = URL_SAFE_NO_PAD.encode(token);
    let secure = if is_https { "; Secure" } else { "" };
    let text =
        format!("{COOKIE}={token}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}");
    HeaderValue::try_from(text).expect("base64 is visible ASCII")
}
