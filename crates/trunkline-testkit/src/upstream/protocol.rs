//! What a proper server answers.

use std::collections::hash_map::Entry;
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream as streams};
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode, header};
use serde_json::{Value, json};
use tokio::sync::broadcast::error::RecvError;

use super::answer::{Arrived, events};
use super::ask;
use super::script::{Framing, Sessions, ToolAnswer, ToolCall};
use super::stream::{self, Body};
use super::{Cursors, State};

pub(crate) const SET_VALUE: &str = "set_value";
pub(crate) const GET_VALUE: &str = "get_value";

const SESSION: &str = "mcp-session-id";

/// The request's session id.
pub(crate) fn session_of(head: &Parts) -> Option<String> {
    Some(head.headers.get(SESSION)?.to_str().ok()?.to_owned())
}

/// The proper answer.
pub(crate) fn serve(state: &Arc<State>, arrived: &Arrived) -> Response<Body> {
    let head = &arrived.head;
    if let Some(refusal) = wrong_place(state, head).or_else(|| unauthorized(state, head)) {
        return refusal;
    }
    match head.method {
        Method::POST => post(state, arrived),
        Method::GET if state.script.get_stream => {
            unknown_session(state, head).unwrap_or_else(|| get_stream(state))
        }
        Method::DELETE if state.script.sessions != Sessions::Off => unknown_session(state, head)
            .unwrap_or_else(|| {
                if let Some(session) = session_of(head) {
                    state.live().sessions.remove(&session);
                }
                plain(StatusCode::OK, "")
            }),
        _ => plain(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed"),
    }
}

fn wrong_place(state: &State, head: &Parts) -> Option<Response<Body>> {
    let path = head.uri.path();
    let with_slash = format!("{}/", state.script.path);
    if state.script.redirect_slash && path == state.script.path {
        let mut redirect = plain(StatusCode::TEMPORARY_REDIRECT, "");
        let location = HeaderValue::from_str(&with_slash).expect("a path is a header value");
        redirect.headers_mut().insert(header::LOCATION, location);
        return Some(redirect);
    }
    let right = if state.script.redirect_slash {
        path == with_slash
    } else {
        path == state.script.path
    };
    (!right).then(|| plain(StatusCode::NOT_FOUND, "Not Found"))
}

fn unauthorized(state: &State, head: &Parts) -> Option<Response<Body>> {
    let has = |name: &str, value: &str| {
        head.headers
            .get(name)
            .is_some_and(|given| given.as_bytes() == value.as_bytes())
    };
    let bearer = state.live().bearer.clone();
    let right = bearer.is_none_or(|key| has("authorization", &format!("Bearer {key}")))
        && state
            .script
            .required_headers
            .iter()
            .all(|(name, value)| has(name, value));
    if right {
        return None;
    }
    let mut refusal = plain(StatusCode::UNAUTHORIZED, "{\"error\":\"unauthorized\"}");
    let challenge = HeaderValue::from_str(&state.script.challenge).expect("a challenge is a header value");
    refusal.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    Some(refusal)
}

fn unknown_session(state: &State, head: &Parts) -> Option<Response<Body>> {
    if state.script.sessions == Sessions::Off {
        return None;
    }
    let session = session_of(head);
    if session
        .as_ref()
        .is_some_and(|session| state.live().sessions.contains(session))
    {
        return None;
    }
    Some(match (state.script.sessions, session) {
        (Sessions::FastMcp, Some(_)) => plain(
            StatusCode::BAD_REQUEST,
            "Bad Request: No valid session ID provided",
        ),
        (_, Some(_)) => plain(StatusCode::NOT_FOUND, "Session not found"),
        (_, None) => json_answer(
            StatusCode::BAD_REQUEST,
            r#"{"jsonrpc":"2.0","id":"server-error","error":{"code":-32600,"message":"Bad Request: Missing session ID"}}"#,
        ),
    })
}

fn get_stream(state: &State) -> Response<Body> {
    pushed_after(state, Vec::new())
}

/// A stream with these messages, and then what is pushed.
pub(crate) fn pushed_after(state: &State, first: Vec<String>) -> Response<Body> {
    let pushes = streams::unfold(state.pushes.subscribe(), |mut pushes| async move {
        loop {
            match pushes.recv().await {
                Ok(message) => return Some((Ok::<_, io::Error>(stream::event(&message)), pushes)),
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return None,
            }
        }
    });
    // The comment makes the head go out at once.
    let first = first.into_iter().map(|message| Ok(stream::event(&message)));
    let open = [Ok(Bytes::from_static(b": open\n\n"))].into_iter().chain(first);
    events(stream::pieces(streams::iter(open).chain(pushes)))
}

const SUBSCRIPTION_ID: &str = "io.modelcontextprotocol/subscriptionId";

/// The answer to `subscriptions/listen`.
pub(crate) fn listen(state: &State, arrived: &Arrived) -> Response<Body> {
    let id = arrived.message["id"].clone();
    let tagged = move |mut message: Value| {
        message["params"]["_meta"][SUBSCRIPTION_ID] = id.clone();
        stream::event(&message.to_string())
    };
    let honoured = json!({"notifications": arrived.message["params"]["notifications"]});
    let first = tagged(
        json!({"jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged", "params": honoured}),
    );
    let pushes = streams::unfold(
        (state.pushes.subscribe(), tagged),
        |(mut pushes, tagged)| async move {
            loop {
                match pushes.recv().await {
                    Ok(message) => {
                        let message = serde_json::from_str(&message).unwrap_or_default();
                        return Some((Ok::<_, io::Error>(tagged(message)), (pushes, tagged)));
                    }
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return None,
                }
            }
        },
    );
    events(stream::pieces(streams::iter([Ok(first)]).chain(pushes)))
}

fn post(state: &Arc<State>, arrived: &Arrived) -> Response<Body> {
    let head = &arrived.head;
    let text = |name| {
        head.headers
            .get(name)
            .and_then(|value: &HeaderValue| value.to_str().ok())
            .unwrap_or_default()
    };
    let accept = text(header::ACCEPT);
    if !(accept.contains("application/json") && accept.contains("text/event-stream")) {
        return plain(
            StatusCode::NOT_ACCEPTABLE,
            "Accept must name application/json and text/event-stream",
        );
    }
    if !text(header::CONTENT_TYPE).starts_with("application/json") {
        return plain(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "Content-Type must be application/json",
        );
    }
    if !arrived.message.is_object() {
        return json_answer(
            StatusCode::BAD_REQUEST,
            r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"Parse error"}}"#,
        );
    }
    let method = arrived.method();
    if method == Some("initialize") {
        return initialize(state, arrived);
    }
    if let Some(refusal) = unknown_session(state, head) {
        return refusal;
    }
    if let Some(revision) = head.headers.get("mcp-protocol-version")
        && !state
            .script
            .revisions
            .iter()
            .any(|known| known.as_bytes() == revision.as_bytes())
    {
        return plain(
            StatusCode::BAD_REQUEST,
            "Bad Request: Unsupported protocol version",
        );
    }
    match method {
        Some(method) if arrived.message.get("id").is_some() => request(state, arrived, method),
        // A notification, or the client's answer to a request of the server.
        _ => {
            ask::keep(state, &arrived.message);
            plain(StatusCode::ACCEPTED, "")
        }
    }
}

fn initialize(state: &State, arrived: &Arrived) -> Response<Body> {
    let wanted = arrived.message["params"]["protocolVersion"]
        .as_str()
        .unwrap_or_default();
    let known = &state.script.revisions;
    let revision = known
        .iter()
        .find(|revision| *revision == wanted)
        .or(known.first());
    let mut result = json!({
        "protocolVersion": revision,
        "capabilities": {"tools": {"listChanged": true}, "logging": {}},
        "serverInfo": {"name": "scripted", "version": "1.0.0"},
    });
    for (name, value) in &state.script.initialize_extra {
        result[name] = value.clone();
    }
    let mut response = rpc_result(state, &arrived.id(), &result.to_string());
    if state.script.sessions != Sessions::Off {
        let session = format!("session-{:016x}", RandomState::new().hash_one(arrived.id()));
        let value = HeaderValue::from_str(&session).expect("a session id is a header value");
        response.headers_mut().insert(SESSION, value);
        state.live().sessions.insert(session);
    }
    response
}

fn request(state: &Arc<State>, arrived: &Arrived, method: &str) -> Response<Body> {
    let id = arrived.id();
    match method {
        "ping" | "logging/setLevel" => rpc_result(state, &id, "{}"),
        "tools/list" => list(state, arrived),
        "tools/call" => call(state, arrived),
        _ => rpc_error(&id, -32601, "Method not found", &Value::Null),
    }
}

fn list(state: &State, arrived: &Arrived) -> Response<Body> {
    let cursor = &arrived.message["params"]["cursor"];
    let page = match cursor.as_str() {
        None => Some(0),
        Some(cursor) => cursor.strip_prefix("page-").and_then(|page| page.parse().ok()),
    };
    let Some(page) = page else {
        return rpc_error(&arrived.id(), -32602, "Invalid cursor", &Value::Null);
    };
    let session = session_of(&arrived.head).unwrap_or_default();
    let mut live = state.live();
    let from = usize::saturating_mul(page, state.script.page_size).min(live.tools.len());
    let to = from.saturating_add(state.script.page_size).min(live.tools.len());
    let next = match state.script.cursors {
        Cursors::RepeatedOnce(odd) if odd == page && live.cursors_repeated.insert((session, page)) => {
            Some(page)
        }
        Cursors::Loop(odd) if odd == page => Some(page),
        Cursors::Endless => Some(page + 1),
        _ => (to < live.tools.len()).then_some(page + 1),
    };
    let tools: Vec<&str> = live.tools[from..to]
        .iter()
        .map(|tool| tool.definition.as_str())
        .collect();
    let cursor = next
        .map(|page| format!(",\"nextCursor\":\"page-{page}\""))
        .unwrap_or_default();
    let result = format!("{{\"tools\":[{}]{cursor}}}", tools.join(","));
    drop(live);
    rpc_result(state, &arrived.id(), &result)
}

fn call(state: &Arc<State>, arrived: &Arrived) -> Response<Body> {
    let params = &arrived.message["params"];
    let call = ToolCall {
        name: params["name"].as_str().unwrap_or_default().to_owned(),
        arguments: params["arguments"].clone(),
        meta: params["_meta"].clone(),
        params: params.clone(),
        session: session_of(&arrived.head),
        headers: arrived.head.headers.clone(),
    };
    let handler = state
        .live()
        .tools
        .iter()
        .find(|tool| tool.name == call.name)
        .map(|tool| Arc::clone(&tool.handler));
    let id = arrived.id();
    let Some(handler) = handler else {
        return rpc_error(&id, -32602, &format!("Unknown tool: {}", call.name), &Value::Null);
    };
    let answer = kept_value(state, &call).unwrap_or_else(|| handler(&call));
    match answer {
        ToolAnswer::Result(result) => rpc_result(state, &id, &result.to_string()),
        ToolAnswer::Raw(result) => rpc_result(state, &id, &result),
        ToolAnswer::Error { code, message, data } => rpc_error(&id, code, &message, &data),
        ToolAnswer::Ask(questions) => ask::ask(state, id, questions),
        ToolAnswer::Stream { before, result } => {
            let before = before
                .into_iter()
                .map(|(pause, message)| (pause, message.to_string()));
            let last = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{result}}}");
            events(stream::timed(
                before.chain([(std::time::Duration::ZERO, last)]).collect(),
            ))
        }
        ToolAnswer::Stamped { token, count, every } => {
            let began = state.began;
            let progress = move |token: &Value| {
                let now = u64::try_from(began.elapsed().as_micros()).unwrap_or_default();
                let params = json!({"progressToken": token, "progress": now});
                json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": params}).to_string()
            };
            let result = json!({"content": [{"type": "text", "text": "done"}], "isError": false, "resultType": "complete"});
            let last = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{result}}}");
            events(stream::stamped(count, every, move || progress(&token), &last))
        }
    }
}

/// The answer of the pair of tools that keeps a value for a session.
fn kept_value(state: &State, call: &ToolCall) -> Option<ToolAnswer> {
    if !state.script.stateful_tools {
        return None;
    }
    let mut live = state.live();
    let kept = live.values.entry(call.session.clone().unwrap_or_default());
    match (call.name.as_str(), kept) {
        (SET_VALUE, kept) => {
            kept.insert_entry(call.arguments["value"].clone());
            Some(ToolAnswer::text("kept"))
        }
        (GET_VALUE, Entry::Occupied(kept)) => Some(ToolAnswer::text(&kept.get().to_string())),
        (GET_VALUE, Entry::Vacant(_)) => Some(ToolAnswer::tool_error("no value in this session")),
        _ => None,
    }
}

// === Answers ===

/// A result, given as JSON text, in the framing of the server.
pub(crate) fn rpc_result(state: &State, id: &str, result: &str) -> Response<Body> {
    let message = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{result}}}");
    match state.script.framing {
        Framing::Json => json_answer(StatusCode::OK, message),
        Framing::Sse => events(stream::full(stream::event(&message))),
    }
}

/// An error, always as JSON.
pub(crate) fn rpc_error(id: &str, code: i64, message: &str, data: &Value) -> Response<Body> {
    let mut error = json!({"code": code, "message": message});
    if !data.is_null() {
        error["data"] = data.clone();
    }
    json_answer(
        StatusCode::OK,
        format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"error\":{error}}}"),
    )
}

fn json_answer(status: StatusCode, text: impl Into<Bytes>) -> Response<Body> {
    let response = Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, "application/json");
    response.body(stream::full(text)).expect("legal headers")
}

fn plain(status: StatusCode, text: &'static str) -> Response<Body> {
    Response::builder()
        .status(status)
        .body(stream::full(text))
        .expect("a legal status")
}
