//! Keys and the session, for the documentation.
//!
//! In the flow: part of `openapi`.

use utoipa::Modify;
use utoipa::openapi::OpenApi;
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
};

use super::refusals::{BadBody, refused};
use crate::error::Body;
use crate::passthrough::endpoint;
use crate::routes::Route;
use crate::routes::access::{COOKIE, Session, SignIn};

/// Who the sender is, by the key that it sends.
#[utoipa::path(
    get,
    path = "/api/v1/session",
    responses(
        (status = 200, description = "The key counts, or none is needed.", body = Session, content_type = "application/json"),
    )
)]
pub(super) fn session() {}

/// Signs a browser in: its key goes into a cookie that no script can read.
#[utoipa::path(
    post,
    path = "/api/v1/session",
    request_body(content = SignIn, content_type = "application/json"),
    responses(
        (status = 200, description = "The key counts; the cookie is valid for 12 hours.", body = Session, content_type = "application/json"),
        (status = 400, description = "The body is not what it must be.", body = Body, content_type = "application/problem+json"),
        BadBody,
    )
)]
pub(super) fn sign_in() {}

/// Signs a browser out.
#[utoipa::path(
    delete,
    path = "/api/v1/session",
    responses((status = 204, description = "The cookie is gone."))
)]
pub(super) fn sign_out() {}

/// Adds the ways to send a key, and to each operation that needs one which scope it needs and how it is refused.
pub(super) struct Security;

impl Modify for Security {
    fn modify(&self, document: &mut OpenApi) {
        let components = document.components.get_or_insert_default();
        let bearer = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("`ID.SECRET`"));
        let basic = HttpBuilder::new()
            .scheme(HttpAuthScheme::Basic)
            .description(Some("The id as the user, the secret as the password."));
        let header = ApiKeyValue::with_description("X-API-Key", "`ID.SECRET`");
        let cookie = ApiKeyValue::with_description(COOKIE, "What `POST /api/v1/session` sets.");
        for (name, scheme) in [
            ("bearer", SecurityScheme::Http(bearer.build())),
            ("basic", SecurityScheme::Http(basic.build())),
            ("header", SecurityScheme::ApiKey(ApiKey::Header(header))),
            ("cookie", SecurityScheme::ApiKey(ApiKey::Cookie(cookie))),
        ] {
            components.add_security_scheme(name, scheme);
        }
        for (path, item) in &mut document.paths.paths {
            let route = Route::ALL
                .into_iter()
                .find(|route| route.paths().contains(&path.as_str()));
            let scope = route.and_then(Route::scope);
            if scope.is_none() && route != Some(Route::Session) {
                continue;
            }
            let is_passed_on = path.starts_with(endpoint::PREFIX);
            for operation in [&mut item.get, &mut item.post, &mut item.delete] {
                let Some(operation) = operation else {
                    continue;
                };
                let needs = scope.map_or_else(String::new, |scope| format!("scope `{scope}`"));
                guard(operation, &needs, is_passed_on);
            }
        }
    }
}

/// `needs` is empty where any key will do.
fn guard(operation: &mut Operation, needs: &str, is_passed_on: bool) {
    let none = SecurityRequirement::default();
    let keys = ["bearer", "basic", "header", "cookie"]
        .map(|name| SecurityRequirement::new::<_, [&str; 0], &str>(name, []));
    operation.security = Some(std::iter::once(none).chain(keys).collect());
    // Below `/elasticsearch` every refusal is told by the default response.
    if is_passed_on || operation.responses.responses.contains_key("204") {
        return;
    }
    let responses = &mut operation.responses.responses;
    let unknown = "There are keys, and the request carries none that counts.".to_owned();
    responses.insert("401".to_owned(), refused(unknown));
    if !needs.is_empty() {
        let lacking = format!("The key lacks the {needs}.");
        responses.insert("403".to_owned(), refused(lacking));
    }
}
