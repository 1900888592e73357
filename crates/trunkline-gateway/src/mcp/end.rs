//! `DELETE`: the client ends its session, here and upstream.

use std::sync::Arc;

use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::Response;
use trunkline_mcp::rpc;
use trunkline_model::{RequestId, SessionKey};

use crate::Gateway;
use crate::answer;
use crate::mcp::{enter, session};
use crate::scope::PathSelection;

/// Lets go of what is kept for a session, here and upstream.
pub fn let_go(gateway: &Gateway, caller: &str, session: SessionKey) {
    gateway.caps.ended(caller, session);
    gateway.log_levels.forget(session);
    gateway.upstreams.end_client(session);
}

/// Answers a DELETE.
pub async fn handle(
    gateway: Arc<Gateway>,
    path: &PathSelection,
    request_id: RequestId,
    request: Request,
) -> Response {
    let (parts, _) = request.into_parts();
    let context = match enter(&gateway, path, request_id, parts.headers) {
        Ok(context) => context,
        Err(answer) => return answer,
    };
    let claims = match session(&gateway, path, &context) {
        Ok(Some(claims)) => claims,
        Ok(None) => {
            let text = "Bad Request: no Mcp-Session-Id";
            return answer::rpc_error(StatusCode::BAD_REQUEST, "null", rpc::INVALID_REQUEST, text);
        }
        Err(answer) => return answer,
    };
    gateway.ended.insert(claims.key, claims.expires_at);
    let_go(&gateway, context.principal.id(), claims.key);
    // The one write that a request makes itself: the answer says that the session has ended, so it must stay ended after
    // a restart. If the database is away it has ended here all the same.
    if let Err(error) = gateway
        .registry
        .store()
        .session_end(claims.key, claims.expires_at)
        .await
    {
        tracing::warn!(request_id = %context.request_id, %error, "the end of a session could not be stored");
    }
    answer::empty(StatusCode::OK)
}
