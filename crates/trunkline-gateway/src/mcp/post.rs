//! `POST`: one message, or a batch on sessions of the one revision that has them.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::header::{ACCEPT, CONTENT_TYPE, HeaderMap};
use axum::http::{HeaderName, Method, StatusCode};
use axum::response::Response;
use futures_util::future::join_all;
use http_body_util::BodyExt as _;
use serde::Deserialize;
use serde_json::value::RawValue;
use trunkline_mcp::{ListKind, Message, Revision, envelope, rpc};

use crate::Gateway;
use crate::accept::Arrived;
use crate::accept::read_body;
use crate::answer;
use crate::asked;
use crate::callers;
use crate::calling::Operation;
use crate::context::Context;
use crate::mcp::{enter, initialize, logging, modern, session, task_list, tools};
use crate::peers;
use crate::scope::PathSelection;

/// Messages in one batch.
const MAX_BATCH: usize = 50;
/// Requests of a batch are answered inside one body, of this size at most; streams among them are read to their end.
const MAX_BATCH_ANSWER: usize = 64 * 1024 * 1024;

static PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");

/// Answers a POST.
///
/// No `async fn`, which would hold the request to its end, and the context is boxed: all of it is looked at before anything is
/// waited for, and many requests under way at once would not fit into a processor's cache.
pub fn handle(
    gateway: Arc<Gateway>,
    path: PathSelection,
    arrived: Arrived,
    request: Request,
) -> impl Future<Output = Response> + Send {
    let (parts, body) = request.into_parts();
    let context = enter(&gateway, &path, arrived, parts).map(Box::new);
    async move {
        let context = match context {
            Ok(context) => context,
            Err(answer) => return answer,
        };
        let principal = context.principal.clone();
        let response = entered(&gateway, &path, context, body).await;
        callers::bound(&gateway, &principal, response)
    }
}

async fn entered(
    gateway: &Arc<Gateway>,
    path: &PathSelection,
    mut context: Box<Context>,
    body: Body,
) -> Response {
    if let Err(answer) = check_headers(&context.headers) {
        return answer;
    }
    let body = match read_body(body, gateway.edge.load().max_body_bytes).await {
        Ok(body) => body,
        Err(error) => {
            let text = error.to_string();
            return answer::rpc_error(error.status(), "null", rpc::INVALID_REQUEST, &text);
        }
    };
    if envelope::is_batch(&body) {
        if let Err(answer) = check_version(&context.headers) {
            return answer;
        }
        return Box::pin(batch(gateway, path, *context, &body)).await;
    }
    let message = match Message::parse(&body) {
        Ok(message) => message,
        Err(error) => {
            return answer::rpc_error(StatusCode::BAD_REQUEST, "null", error.code(), &error.to_string());
        }
    };
    if modern::is_modern(&message, &context.headers) {
        // Boxed, as below.
        return Box::pin(modern::handle(gateway, context, message, body.len())).await;
    }
    if let Err(answer) = check_version(&context.headers) {
        return answer;
    }
    // `initialize` begins a session; whatever id comes with it is of an earlier one.
    if let Message::Request { id, method, params } = &message
        && method == "initialize"
    {
        return initialize::answer(gateway, path, &context, id, *params);
    }
    match session(gateway, path, &context) {
        Ok(claims) => context.join(claims.as_ref()),
        Err(answer) => return answer,
    }
    // Boxed: the server moves the future of a request some times before it is polled, and this is most of it.
    let context = Arc::new(*context);
    Box::pin(dispatch(gateway, &context, message, body.len())).await
}

/// Content type and accepted types (mcp reference §1.2, steps 3 and 4).
#[expect(clippy::result_large_err, reason = "the error is the answer, and it is rare")]
fn check_headers(headers: &HeaderMap) -> Result<(), Response> {
    let text = |name: &HeaderName| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    };
    let refuse = |status, text: &str| Err(answer::rpc_error(status, "null", rpc::INVALID_REQUEST, text));
    if !accepts(headers) {
        return refuse(
            StatusCode::NOT_ACCEPTABLE,
            "Not Acceptable: Client must accept both application/json and text/event-stream",
        );
    }
    let kind = text(&CONTENT_TYPE).split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("application/json") {
        return refuse(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "Content-Type must be application/json",
        );
    }
    Ok(())
}

/// The revision that a request with a hand-shake behind it names (2025-06-18, "Protocol Version Header").
#[expect(clippy::result_large_err, reason = "the error is the answer, and it is rare")]
pub fn check_version(headers: &HeaderMap) -> Result<(), Response> {
    match headers
        .get(&PROTOCOL_VERSION)
        .map(|value| value.to_str().ok().and_then(Revision::parse))
    {
        Some(None) => {
            let known: Vec<&str> = Revision::ALL.iter().map(|revision| revision.as_str()).collect();
            let text = format!("Unsupported protocol version; supported: {}", known.join(", "));
            Err(answer::rpc_error(
                StatusCode::BAD_REQUEST,
                "null",
                rpc::INVALID_REQUEST,
                &text,
            ))
        }
        _ => Ok(()),
    }
}

/// Whether the client takes both kinds of answer; wildcards and no header at all count as "anything".
fn accepts(headers: &HeaderMap) -> bool {
    let mut any = false;
    let (mut json, mut stream) = (false, false);
    for value in headers.get_all(ACCEPT) {
        any = true;
        if value == "application/json, text/event-stream" {
            // What every SDK sends.
            return true;
        }
        for part in value.to_str().unwrap_or_default().split(',') {
            match part.split(';').next().unwrap_or_default().trim() {
                "*/*" => (json, stream) = (true, true),
                "application/json" | "application/*" => json = true,
                "text/event-stream" | "text/*" => stream = true,
                _ => {}
            }
        }
    }
    !any || (json && stream)
}

/// One message of a known session, or of none.
pub async fn dispatch(
    gateway: &Arc<Gateway>,
    context: &Arc<Context>,
    message: Message<'_>,
    bytes: usize,
) -> Response {
    match message {
        Message::Request { id, method, params } => {
            let id = id.get();
            match method.as_ref() {
                "ping" => answer::json(StatusCode::OK, rpc::response(id, "{}")),
                // Boxed: it holds a database write, and every call would carry room for it.
                "logging/setLevel" => Box::pin(logging::set_level(gateway, context, id, params)).await,
                other => {
                    let request = (id, params.map(RawValue::get));
                    if let Some(kind) = ListKind::of_method(other) {
                        return tools::list(gateway, context, kind, request, bytes).await;
                    }
                    if other == Operation::ListTasks.method() {
                        return Box::pin(task_list::list(gateway, context, request, bytes)).await;
                    }
                    let operation =
                        Operation::of_method(other).unwrap_or_else(|| Operation::Other(other.to_owned()));
                    tools::call(gateway, context, operation, request, bytes).await
                }
            }
        }
        Message::Notification { method, params } => {
            match (method.as_ref(), context.session) {
                ("notifications/cancelled", _) => cancel(gateway, context, params),
                ("notifications/roots/list_changed", Some(session)) => {
                    let message = rpc::notification(&method, params.map(RawValue::get));
                    let kept = context.lasts_until.is_some();
                    gateway.upstreams.notify(session, &message, kept);
                }
                _ => {}
            }
            answer::empty(StatusCode::ACCEPTED)
        }
        Message::Response { id, outcome } => {
            // Boxed, and only here: every call would carry room for it.
            Box::pin(asked::answer(gateway, context, id, outcome)).await
        }
    }
}

/// A request that is not here may run on another replica: which one, nobody knows, so that all are told.
fn cancel(gateway: &Arc<Gateway>, context: &Context, params: Option<&RawValue>) {
    #[derive(Deserialize)]
    struct Cancelled<'a> {
        #[serde(borrow, rename = "requestId")]
        request_id: &'a RawValue,
    }
    let read = params.and_then(|params| serde_json::from_str::<Cancelled<'_>>(params.get()).ok());
    if let (Some(session), Some(cancelled)) = (context.session, read)
        && !gateway.in_flight.cancel(session, cancelled.request_id.get())
    {
        let message = rpc::notification("notifications/cancelled", params.map(RawValue::get));
        peers::tell_all(gateway, context.request(Method::POST, message));
    }
}

/// A batch: only where 2025-03-26 was negotiated. Requests run side by side; the answer is an array, in their order.
async fn batch(gateway: &Arc<Gateway>, path: &PathSelection, mut context: Context, body: &[u8]) -> Response {
    let claims = match session(gateway, path, &context) {
        Ok(claims) => claims,
        Err(answer) => return answer,
    };
    let revision = claims.and_then(|claims| Revision::from_index(claims.revision));
    if !revision.is_some_and(Revision::has_batches) {
        let text = "JSON-RPC batches exist in revision 2025-03-26 only";
        return answer::rpc_error(StatusCode::BAD_REQUEST, "null", rpc::INVALID_REQUEST, text);
    }
    context.join(claims.as_ref());
    answer_batch(gateway, context, body).await
}

/// The answer to a batch of a session that may send them.
pub async fn answer_batch(gateway: &Arc<Gateway>, mut context: Context, body: &[u8]) -> Response {
    // Its answers are one array, in which nothing can be asked.
    context.mute = true;
    context.resumes = false;
    let messages = match envelope::split_batch(body, MAX_BATCH) {
        Ok(messages) => messages,
        Err(error) => {
            return answer::rpc_error(StatusCode::BAD_REQUEST, "null", error.code(), &error.to_string());
        }
    };
    let context = Arc::new(context);
    let room = MAX_BATCH_ANSWER / messages.len().max(1);
    let answers = join_all(
        messages
            .into_iter()
            .map(|raw| one_of_batch(gateway, &context, raw, room)),
    )
    .await;
    let answers: Vec<String> = answers.into_iter().flatten().collect();
    if answers.is_empty() {
        answer::empty(StatusCode::ACCEPTED)
    } else {
        answer::json(StatusCode::OK, format!("[{}]", answers.join(",")))
    }
}

/// The messages that answer one message of a batch, at most `room` bytes of them.
async fn one_of_batch(
    gateway: &Arc<Gateway>,
    context: &Arc<Context>,
    raw: &RawValue,
    room: usize,
) -> Vec<String> {
    let text = raw.get();
    let message = match Message::parse(text.as_bytes()) {
        Ok(Message::Request { id, method, .. }) if method == "initialize" => {
            let error = rpc::error_object(rpc::INVALID_REQUEST, "initialize cannot be part of a batch", None);
            return vec![rpc::error_response(id.get(), &error)];
        }
        Ok(message) => message,
        Err(error) => {
            let object = rpc::error_object(error.code(), &error.to_string(), None);
            return vec![rpc::error_response("null", &object)];
        }
    };
    let id = match &message {
        Message::Request { id, .. } => id.get().to_owned(),
        _ => "null".to_owned(),
    };
    let response = dispatch(gateway, context, message, text.len()).await;
    let stream = response
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind == "text/event-stream");
    let Some(body) = collect(response.into_body(), room).await else {
        let text =
            format!("the answer is larger than {room} bytes, its share of the batch's; ask for it alone");
        return vec![rpc::error_response(
            &id,
            &rpc::error_object(rpc::INTERNAL_ERROR, &text, None),
        )];
    };
    if !stream {
        return if body.is_empty() {
            Vec::new()
        } else {
            vec![String::from_utf8_lossy(&body).into_owned()]
        };
    }
    let mut events = Vec::new();
    let mut decoder = trunkline_mcp::sse::Decoder::new(MAX_BATCH_ANSWER);
    // The stream is our own, so it decodes.
    let _ = decoder.feed(&body, &mut events);
    events
        .into_iter()
        .filter_map(|event| event.data)
        .map(|data| String::from_utf8_lossy(&data).into_owned())
        .collect()
}

async fn collect(body: Body, room: usize) -> Option<Bytes> {
    let body = http_body_util::Limited::new(body, room).collect().await;
    body.ok().map(http_body_util::Collected::to_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepted_types() {
        let check = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(ACCEPT, value.parse().unwrap());
            }
            accepts(&headers)
        };
        assert!(check(&[]));
        assert!(check(&["*/*"]));
        assert!(check(&["application/json, text/event-stream"]));
        assert!(check(&["application/json;q=0.9", "text/event-stream"]));
        assert!(!check(&["application/json"]));
        assert!(!check(&["text/html"]));
    }
}
