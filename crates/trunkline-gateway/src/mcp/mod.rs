//! Streamable HTTP: `/mcp`, `/mcp/{servers}`, `/{name}/mcp`. One file an HTTP method, one a JSON-RPC method.
//!
//! - [`post`]: messages, and which of the files below answers them.
//! - [`initialize`], [`logging`], [`tools`]: JSON-RPC methods. One more: one file, one arm in [`post`].
//! - [`task_list`]: the one request about tasks that is for all servers.
//! - [`page`]: pages of lists, and how long they may be kept.
//! - [`modern`], [`subscriptions`]: what is different in 2026-07-28.
//! - [`stream`]: `GET`, what the gateway has to say outside of requests.
//! - `end`: the HTTP method that ends a session.
//! - [`sse`]: the transport of 2024-11-05, over which the same is said.

pub mod end;
pub mod initialize;
pub mod logging;
pub mod modern;
pub mod page;
pub mod post;
pub mod sse;
pub mod stream;
pub mod subscriptions;
pub mod task_list;
pub mod tools;

use std::sync::Arc;

use axum::extract::Request;
use axum::http::header::{ALLOW, HeaderValue};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode};
use axum::response::Response;
use trunkline_auth::{SessionClaims, Surface};
use trunkline_mcp::{ClientCapabilities, rpc};

use crate::Gateway;
use crate::accept::Arrived;
use crate::answer;
use crate::context::{Context, identify};
use crate::denied;
use crate::peers::hop::{HandedOn, Unstripped};
use crate::scope::{self, PathSelection};

/// `GET /mcp/enabled`.
pub async fn enabled() -> Response {
    answer::json(StatusCode::OK, r#"{"enabled": true}"#)
}

/// Answers a request to an MCP endpoint.
#[expect(clippy::manual_async_fn, reason = "that would hold the request twice")]
pub fn handle(
    gateway: Arc<Gateway>,
    path: PathSelection,
    arrived: Arrived,
    request: Request,
) -> impl Future<Output = Response> + Send {
    async move {
        match *request.method() {
            Method::POST => post::handle(gateway, path, arrived, request).await,
            // Boxed, both: every call would carry room for a standing stream, and for a database write.
            Method::GET => Box::pin(stream::handle(gateway, &path, arrived, request)).await,
            Method::DELETE => Box::pin(end::handle(gateway, &path, arrived, request)).await,
            _ => {
                let mut response = answer::rpc_error(
                    StatusCode::METHOD_NOT_ALLOWED,
                    "null",
                    rpc::INVALID_REQUEST,
                    "Method Not Allowed",
                );
                response
                    .headers_mut()
                    .insert(ALLOW, HeaderValue::from_static("GET, POST, DELETE"));
                response
            }
        }
    }
}

/// Identify and scope: the same for all methods.
#[expect(clippy::result_large_err, reason = "the error is the answer, and it is rare")]
fn enter(
    gateway: &Gateway,
    path: &PathSelection,
    arrived: Arrived,
    mut parts: Parts,
) -> Result<Context, Response> {
    let target = parts.extensions.remove::<Unstripped>();
    let headers = parts.headers;
    let Arrived { request_id, client } = arrived;
    let (principal, admission) =
        identify(gateway, &headers, Surface::Mcp, parts.uri.path()).map_err(|error| {
            denied::route(gateway, error, Some(&request_id), "mcp");
            answer::unauthorized(error, true)
        })?;
    let principal = principal.at(client);
    let snapshot = gateway.registry.snapshot();
    let selection = scope::resolve(&snapshot, &principal, path, &headers).inspect_err(|answer| {
        let named = path.named(&headers);
        denied::selection(gateway, &principal, Some(&request_id), &named, answer.status());
    })?;
    Ok(Context {
        request_id,
        principal,
        admission,
        has_others: gateway.authenticator.has_others(),
        snapshot,
        selection,
        session: None,
        capabilities: ClientCapabilities::NONE,
        mute: false,
        lasts_until: None,
        resumes: false,
        tasks: false,
        era: trunkline_mcp::Era::Legacy,
        log_level: None,
        client_info: None,
        headers,
        target: target.map_or(parts.uri, |unstripped| unstripped.0),
        has_place: false,
        about_several: std::sync::OnceLock::new(),
        handed_on: parts.extensions.get::<HandedOn>().is_some(),
    })
}

/// The session that the request names: its claims, `None` if it names none, or 404 if it is unknown, expired, ended, or
/// not this principal's on this route.
#[expect(clippy::result_large_err, reason = "the error is the answer, and it is rare")]
fn session(
    gateway: &Gateway,
    path: &PathSelection,
    context: &Context,
) -> Result<Option<SessionClaims>, Response> {
    let Some(id) = context.headers.get("mcp-session-id") else {
        return Ok(None);
    };
    let unknown = |why: &str| {
        tracing::debug!(request_id = %context.request_id, why, "unknown session");
        answer::rpc_error(
            StatusCode::NOT_FOUND,
            "null",
            rpc::INVALID_REQUEST,
            "Session not found; initialize again",
        )
    };
    let id = id.to_str().map_err(|_| unknown("not text"))?;
    let opened = gateway
        .sealer
        .open(id, &context.principal, &path.route_key(), gateway.clock.now());
    let claims = opened.map_err(|error| unknown(&error.to_string()))?;
    if gateway.ended.contains(&claims.key) {
        return Err(unknown("ended"));
    }
    gateway.caps.used(context.principal.id(), claims.key);
    Ok(Some(claims))
}
