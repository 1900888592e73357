//! Answers in the shapes that clients of LiteLLM know (reference §1.1, §7.3).

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use axum::http::{HeaderName, StatusCode};
use axum::response::Response;
use trunkline_auth::AuthError;
use trunkline_mcp::rpc;

/// JSON text with a status.
pub fn json(status: StatusCode, text: impl Into<Body>) -> Response {
    let mut response = Response::new(text.into());
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// A body-less answer.
pub fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// `{"detail":{"error": text}}`: management and scope errors.
pub fn detail(status: StatusCode, text: &str) -> Response {
    json(status, serde_json::json!({"detail": {"error": text}}).to_string())
}

/// `{"detail":{"error": code, "message": text}}`: REST errors.
pub fn rest_error(status: StatusCode, code: &str, message: &str) -> Response {
    json(
        status,
        serde_json::json!({"detail": {"error": code, "message": message}}).to_string(),
    )
}

/// `{"detail": text}`: an unknown route.
pub fn not_found(text: &str) -> Response {
    json(
        StatusCode::NOT_FOUND,
        serde_json::json!({"detail": text}).to_string(),
    )
}

/// A JSON-RPC error with an HTTP status. `id` is JSON text.
pub fn rpc_error(status: StatusCode, id: &str, code: i64, message: &str) -> Response {
    json(
        status,
        rpc::error_response(id, &rpc::error_object(code, message, None)),
    )
}

/// No identity. No `resource_metadata` is named: clients that see it stop sending the key they were given and start a
/// sign-in that this gateway does not serve.
pub fn unauthorized(error: AuthError, mcp: bool) -> Response {
    let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::UNAUTHORIZED);
    let message = error.to_string();
    let body = if mcp {
        let code = match error {
            AuthError::Missing => "authentication_required",
            AuthError::Expired { .. } => "expired_key",
            AuthError::Blocked => "blocked_key",
            AuthError::TeamBlocked => "blocked_team",
            AuthError::EndUserBlocked => "blocked_end_user",
            AuthError::EndUserUnclear => "invalid_end_user",
            AuthError::RouteNotAllowed(_) => "route_not_allowed",
            AuthError::Malformed
            | AuthError::Multiple
            | AuthError::Unknown
            | AuthError::LevelMissing(_)
            | AuthError::BudgetMissing
            | AuthError::BudgetUnreadable
            | AuthError::LevelUnreadable(_)
            | AuthError::Unreadable => "invalid_api_key",
        };
        serde_json::json!({"detail": {"error": code, "message": message}})
    } else {
        serde_json::json!({"error": {
            "message": message,
            "type": error.error_type(),
            "param": error.param(),
            "code": status.as_u16().to_string(),
        }})
    };
    let mut response = json(status, body.to_string());
    if status == StatusCode::FORBIDDEN {
        // Another proof would not help.
        return response;
    }
    let challenge = match error {
        AuthError::Missing => "Bearer realm=\"trunkline\"",
        _ => "Bearer realm=\"trunkline\", error=\"invalid_token\"",
    };
    response
        .headers_mut()
        .insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    response
}

/// An event stream.
pub fn event_stream(body: Body) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform"));
    headers.insert(
        HeaderName::from_static("x-accel-buffering"),
        HeaderValue::from_static("no"),
    );
    response
}
