//! `POST /mcp-rest/tools/call`: one call, one JSON answer.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::RETRY_AFTER;
use axum::response::Response;
use trunkline_mcp::depth;
use trunkline_mcp::edit::RawObject;
use trunkline_model::{CallKind, Server};
use trunkline_upstream::Frame;

use crate::Gateway;
use crate::accept::{Arrived, read_body};
use crate::answer;
use crate::calling::{self, CallError, Operation};
use crate::context::Context;
use crate::denied;
use crate::record::Pending;
use crate::relay::Relay;
use crate::rest::{enter, failure_status};
use crate::route::RouteError;

/// Calls.
pub async fn handle(State(gateway): State<Arc<Gateway>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let context = match enter(
        &gateway,
        parts.extensions.get::<Arrived>().cloned(),
        &parts.headers,
        "/mcp-rest/tools/call",
    ) {
        Ok(context) => Arc::new(context),
        Err(answer) => return answer,
    };
    let body = match read_body(body, gateway.edge.load().max_body_bytes).await {
        Ok(body) => body,
        Err(error) => return answer::rest_error(error.status(), error.code(), &error.to_string()),
    };
    let (params, server) = match read(&context, &body) {
        Ok(read) => read,
        Err(answer) => return answer,
    };
    let mut pending = Pending::begin(&gateway, &context, CallKind::CallTool, body.len());
    let called = match calling::begin(
        &gateway,
        &context,
        Operation::CallTool,
        &params,
        server.as_ref(),
        &mut pending,
    )
    .await
    {
        Ok(call) => {
            let relay = Box::new(Relay {
                gateway: gateway.clone(),
                context,
                call,
                id: "0".to_owned(),
                pending,
                cancelled: None,
                asking: None,
            });
            relay.result().await
        }
        Err(error) => {
            let refused = (&error, StatusCode::FORBIDDEN);
            denied::call(&gateway, &context, &mut pending, refused, "rest");
            pending.finish(error.outcome_word(), Some(error.to_string()));
            Err(error)
        }
    };
    match called {
        Ok(Frame::Result(result)) => answer::json(StatusCode::OK, completed(&result)),
        Ok(Frame::Error(error)) => {
            let text = trunkline_upstream::fault::printable(&error);
            let body = format!(
                r#"{{"detail":{{"error":"upstream_error","message":{},"jsonrpc_error":{error}}}}}"#,
                serde_json::Value::from(text)
            );
            answer::json(StatusCode::BAD_GATEWAY, body)
        }
        // `Relay::result` waits for the last frame.
        Ok(Frame::Notification { .. } | Frame::Request { .. }) => answer::rest_error(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal_server_error",
            "no result",
        ),
        Err(error) => failed(&error),
    }
}

/// LiteLLM adds `resultType` to what the tool returned.
fn completed(result: &str) -> String {
    match RawObject::parse(result) {
        Ok(mut object) => {
            if object.get("resultType").is_none() {
                object.set_string("resultType", "complete");
            }
            object.to_json()
        }
        Err(_) => result.to_owned(),
    }
}

/// The body: `name` and `arguments` as `tools/call` has them, and the server if one is named. Other JSON-RPC members are
/// ignored, as LiteLLM does.
#[expect(clippy::result_large_err, reason = "the error is the answer, and it is rare")]
fn read(context: &Context, body: &[u8]) -> Result<(String, Option<Arc<Server>>), Response> {
    let invalid = |text: &str| answer::rest_error(StatusCode::BAD_REQUEST, "invalid_request", text);
    let text = std::str::from_utf8(body).map_err(|_| invalid("the body is not UTF-8"))?;
    if !depth::within(body, depth::MAX_DEPTH) {
        return Err(invalid("the body is nested too deep"));
    }
    let object =
        RawObject::parse(text).map_err(|error| invalid(&format!("the body is no JSON object: {error}")))?;
    if object.get_string("name").is_none() {
        let text = "`name` is required: the tool's name";
        return Err(answer::rest_error(
            StatusCode::BAD_REQUEST,
            "missing_parameter",
            text,
        ));
    }
    let mut params = RawObject::default();
    for key in ["name", "arguments", "_meta"] {
        if let Some(value) = object.get(key) {
            params.set(key, value.to_owned());
        }
    }
    let Some(wanted) = object.get("server_id").filter(|value| *value != "null") else {
        return Ok((params.to_json(), None));
    };
    let wanted: String = serde_json::from_str(wanted).map_err(|_| invalid("`server_id` must be a string"))?;
    let found = context
        .servers()
        .find(|server| server.answers_to(&wanted))
        .cloned();
    let server = found.ok_or_else(|| {
        let text = format!(
            "Server {} not found",
            trunkline_upstream::fault::printable(&wanted)
        );
        answer::rest_error(StatusCode::NOT_FOUND, "server_not_found", &text)
    })?;
    Ok((params.to_json(), Some(server)))
}

fn failed(error: &CallError) -> Response {
    let text = error.to_string();
    match (error, error.status()) {
        (_, Some(status)) => {
            let mut response = answer::rest_error(failure_status(status), status.as_str(), &text);
            if let Some(after) = error.retry_after_s() {
                response.headers_mut().insert(RETRY_AFTER, after.into());
            }
            response
        }
        (CallError::Limited(exceeded), None) => {
            let status = StatusCode::TOO_MANY_REQUESTS;
            let mut response = answer::rest_error(status, "rate_limit_exceeded", &text);
            let after = exceeded.retry_after.as_secs();
            response.headers_mut().insert(RETRY_AFTER, after.into());
            response
        }
        (CallError::RuledOut(why), None) => {
            answer::rest_error(StatusCode::FORBIDDEN, why.denied.denial.reason.as_str(), &text)
        }
        (CallError::Unapproved(why), None) => answer::rest_error(StatusCode::FORBIDDEN, why.word(), &text),
        (CallError::NoApprovals, None) => {
            let status = StatusCode::SERVICE_UNAVAILABLE;
            let mut response = answer::rest_error(status, "database_unavailable", &text);
            response
                .headers_mut()
                .insert(RETRY_AFTER, error.retry_after_s().unwrap_or(30).into());
            response
        }
        (CallError::Params(_), None) => answer::rest_error(StatusCode::BAD_REQUEST, "invalid_request", &text),
        (CallError::Route(RouteError::Ambiguous { .. }), None) => {
            answer::rest_error(StatusCode::CONFLICT, "ambiguous_tool", &text)
        }
        _ => answer::rest_error(StatusCode::FORBIDDEN, "access_denied", &text),
    }
}
