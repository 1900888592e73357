//! Who is asking: the extractor that lets a request of a proxy admin through and rejects everything else (S05, S19).

use std::sync::Arc;

use axum::Json;
use axum::extract::FromRequestParts;
use axum::response::{IntoResponse, Response};
use http::header::WWW_AUTHENTICATE;
use http::request::Parts;
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use trunkline_auth::{Admission, AuthError, Authenticated, Surface};
use trunkline_model::Principal;
use utoipa::ToSchema;

use crate::App;
use crate::error::ApiError;

/// An authenticated proxy admin. There is no other way to make one than from a request with a good key.
pub(crate) struct Admin {
    principal: Principal,
    /// What of the headers was the key, so that it never goes upstream.
    pub(crate) admission: Admission,
    path: String,
}

impl Admin {
    /// The stable name of the caller, for logs and stamps.
    pub(crate) fn id(&self) -> &str {
        self.principal.id()
    }

    /// Whether it may do everything, as every administrator may that there is so far.
    pub(crate) fn is_full(&self) -> bool {
        self.principal.is_proxy_admin()
    }

    /// The path of the request, percent-encoded as it came, for logs.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }
}

/// Anybody with a good key, for the few routes that show a caller its own.
pub(crate) struct Caller {
    pub(crate) principal: Principal,
}

/// Why a request is not let in.
pub(crate) enum Rejected {
    NoPrincipal(AuthError),
    /// A good key that is not an administrator's. With the path.
    NotAdmin(String),
}

fn authenticate(parts: &Parts, app: &App) -> Result<Authenticated, Rejected> {
    app.authenticator
        .authenticate(&parts.headers, Surface::Management, parts.uri.path())
        .map_err(Rejected::NoPrincipal)
}

impl FromRequestParts<Arc<App>> for Caller {
    type Rejection = Rejected;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Rejected> {
        let Authenticated { principal, .. } = authenticate(parts, app)?;
        Ok(Self { principal })
    }
}

impl FromRequestParts<Arc<App>> for Admin {
    type Rejection = Rejected;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Rejected> {
        let authenticated = authenticate(parts, app)?;
        if !authenticated.principal.is_proxy_admin() {
            return Err(Rejected::NotAdmin(parts.uri.path().to_owned()));
        }
        Ok(Self {
            principal: authenticated.principal,
            admission: authenticated.admission,
            path: parts.uri.path().to_owned(),
        })
    }
}

/// LiteLLM's envelope of authentication errors, and of errors of the key routes.
#[derive(Serialize, ToSchema)]
pub(crate) struct AuthErrorBody {
    error: AuthErrorDetail,
}

/// What is wrong. Nothing of a credential is in here.
#[derive(Serialize, ToSchema)]
struct AuthErrorDetail {
    /// For people.
    message: String,
    /// `auth_error`, `token_not_found_in_db`, `expired_key`; of a key route also `bad_request_error`, `not_found_error`,
    /// `no_db_connection`.
    r#type: &'static str,
    /// The field that is wrong, if it is one.
    param: Option<&'static str>,
    /// The HTTP status as text.
    code: String,
}

impl AuthErrorBody {
    pub(crate) fn new(
        status: StatusCode,
        kind: &'static str,
        param: Option<&'static str>,
        message: String,
    ) -> Self {
        Self {
            error: AuthErrorDetail {
                message,
                r#type: kind,
                param,
                code: status.as_u16().to_string(),
            },
        }
    }
}

impl IntoResponse for Rejected {
    fn into_response(self) -> Response {
        let (status, kind, message) = match self {
            Self::NoPrincipal(error) => (
                StatusCode::from_u16(error.status()).unwrap_or(StatusCode::UNAUTHORIZED),
                error.error_type(),
                error.to_string(),
            ),
            // As LiteLLM answers there.
            Self::NotAdmin(path) if path.starts_with("/key/") => (
                StatusCode::UNAUTHORIZED,
                "auth_error",
                "Authentication Error, Only proxy admin can be used to generate, delete, update info for new keys/users/teams."
                    .to_owned(),
            ),
            Self::NotAdmin(_) => {
                return ApiError::Forbidden("this route needs a proxy admin".to_owned()).into_response();
            }
        };
        let body = AuthErrorBody::new(status, kind, None, message);
        let mut response = (status, Json(body)).into_response();
        if status == StatusCode::UNAUTHORIZED {
            response
                .headers_mut()
                .insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
