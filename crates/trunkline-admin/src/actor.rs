//! Who is asking: the extractor that lets a request of a proxy admin through and rejects everything else (S05, S19).

use std::sync::Arc;

use axum::Json;
use axum::extract::FromRequestParts;
use axum::response::{IntoResponse, Response};
use http::header::WWW_AUTHENTICATE;
use http::request::Parts;
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use trunkline_auth::{Admission, AuthError, Surface};
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

/// Why a request is not let in.
pub(crate) enum Rejected {
    NoPrincipal(AuthError),
    NotAdmin,
}

impl FromRequestParts<Arc<App>> for Admin {
    type Rejection = Rejected;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Rejected> {
        let authenticated = app
            .authenticator
            .authenticate(&parts.headers, Surface::Management)
            .map_err(Rejected::NoPrincipal)?;
        if !authenticated.principal.is_proxy_admin() {
            return Err(Rejected::NotAdmin);
        }
        Ok(Self {
            principal: authenticated.principal,
            admission: authenticated.admission,
            path: parts.uri.path().to_owned(),
        })
    }
}

/// LiteLLM's envelope of authentication errors.
#[derive(Serialize, ToSchema)]
pub(crate) struct AuthErrorBody {
    error: AuthErrorDetail,
}

/// What is wrong with the credential. Nothing of the credential is in here.
#[derive(Serialize, ToSchema)]
struct AuthErrorDetail {
    /// For people.
    message: String,
    /// `auth_error` or `token_not_found_in_db`.
    r#type: &'static str,
    /// Always null.
    param: Option<String>,
    /// The HTTP status as text.
    code: String,
}

impl IntoResponse for Rejected {
    fn into_response(self) -> Response {
        let error = match self {
            Self::NoPrincipal(error) => error,
            Self::NotAdmin => {
                return ApiError::Forbidden("this route needs a proxy admin".to_owned()).into_response();
            }
        };
        let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::UNAUTHORIZED);
        let body = AuthErrorBody {
            error: AuthErrorDetail {
                message: error.to_string(),
                r#type: error.error_type(),
                param: None,
                code: status.as_u16().to_string(),
            },
        };
        let mut response = (status, Json(body)).into_response();
        if status == StatusCode::UNAUTHORIZED {
            response
                .headers_mut()
                .insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
