//! `DELETE`: the client ends its session, on every replica and upstream.

use std::sync::Arc;

use axum::extract::Request;
use axum::http::StatusCode;
use axum::http::header::{ALLOW, HeaderValue};
use axum::response::Response;
use trunkline_mcp::rpc;
use trunkline_model::SessionKey;

use crate::Gateway;
use crate::accept::Arrived;
use crate::answer;
use crate::mcp::{enter, session};
use crate::scope::PathSelection;

/// Lets go of what is kept for a session that is this process's alone, here and upstream.
pub fn let_go(gateway: &Gateway, caller: &str, session: SessionKey) {
    gateway.caps.ended(caller, session);
    gateway.upstreams.end_client(session);
}

/// Answers a DELETE.
pub async fn handle(
    gateway: Arc<Gateway>,
    path: &PathSelection,
    arrived: Arrived,
    request: Request,
) -> Response {
    let (parts, _) = request.into_parts();
    let context = match enter(&gateway, path, arrived, parts) {
        Ok(context) => context,
        Err(answer) => return answer,
    };
    let claims = match session(&gateway, path, &context) {
        Ok(Some(claims)) => claims,
        // There is nothing to end; in the new era there never is.
        Ok(None) => {
            let text = "Method Not Allowed: DELETE ends the session that Mcp-Session-Id names";
            let mut response =
                answer::rpc_error(StatusCode::METHOD_NOT_ALLOWED, "null", rpc::INVALID_REQUEST, text);
            response
                .headers_mut()
                .insert(ALLOW, HeaderValue::from_static("GET, POST"));
            return response;
        }
        Err(answer) => return answer,
    };
    gateway.ended.insert(claims.key, claims.expires_at);
    gateway.caps.ended(context.principal.id(), claims.key);
    // It waits for the database: the answer says that the session has ended, so it must stay ended after a restart, and for
    // other replicas. If the database is away it has ended here all the same.
    let servers: Vec<_> = context.servers().cloned().collect();
    let client = context.client_headers();
    let ended = gateway
        .upstreams
        .end_session(claims.key, claims.expires_at, &servers, &client);
    if let Err(error) = ended.await {
        let error = error.map_or_else(|| "no answer in time".to_owned(), |error| error.to_string());
        tracing::warn!(request_id = %context.request_id, error, "the end of a session could not be stored");
    }
    answer::empty(StatusCode::OK)
}
