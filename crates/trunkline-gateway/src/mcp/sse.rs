//! The HTTP+SSE transport of 2024-11-05: `GET` opens a stream whose first event says where to `POST` to, and everything for
//! the client comes on that stream. What is said goes the same ways as over Streamable HTTP: `post::dispatch`.
//!
//! `GET /sse`, `/mcp/sse`, `/{server}/sse`, `/{server}/mcp/sse`, `/mcp/{servers}/sse`, `/toolset/{name}/sse`,
//! `/toolset/{name}/mcp/sse`; each takes its messages at the same
//! path with `/messages` at the end.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::header::{ACCEPT, ALLOW, CONTENT_TYPE, HeaderMap, HeaderValue};
use axum::http::{Method, StatusCode, Uri};
use axum::response::Response;
use futures_util::{StreamExt as _, stream};
use http_body_util::BodyExt as _;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio_util::sync::{CancellationToken, DropGuard};
use trunkline_mcp::{ClientCapabilities, ListKind, Message, Revision, envelope, modern, rpc, sse};
use trunkline_model::ReplicaId;

use crate::Gateway;
use crate::accept::Arrived;
use crate::accept::read_body;
use crate::answer;
use crate::callers;
use crate::caps::{self, Place};
use crate::context::Context;
use crate::conversations::{Conversation, Found, Waiting};
use crate::mcp::stream::Standing;
use crate::mcp::{end, enter, initialize, post};
use crate::peers;
use crate::relay::KEEP_ALIVE_EVERY;
use crate::scope::PathSelection;

/// How long what is under way may take to finish when the client has closed its stream.
const GRACE: Duration = Duration::from_secs(2);

/// A path of this transport.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    selection: PathSelection,
    /// Where messages are posted to, rather than the stream.
    messages: bool,
}

impl Endpoint {
    /// The endpoint of a path; `None` for paths of anything else. A final slash changes nothing.
    pub fn of_path(path: &str) -> Option<Self> {
        let path = path.strip_suffix('/').unwrap_or(path);
        let (path, messages) = match path.strip_suffix("/messages") {
            Some(path) => (path, true),
            None => (path, false),
        };
        let before = path.strip_suffix("/sse")?;
        let selection = match before {
            "" => PathSelection::None,
            named => {
                let name = named.strip_prefix('/')?;
                let toolset = name.strip_prefix("toolset/").filter(|name| *name != "mcp");
                let bare = toolset.unwrap_or(name);
                let bare = !bare.is_empty() && !bare.contains('/') && name != "mcp";
                let as_mcp = if bare {
                    format!("/{name}/mcp")
                } else {
                    named.to_owned()
                };
                PathSelection::of_path(&as_mcp)?
            }
        };
        Some(Self { selection, messages })
    }
}

/// Answers a request to one of them.
pub async fn handle(
    gateway: Arc<Gateway>,
    endpoint: Endpoint,
    arrived: Arrived,
    request: Request,
) -> Response {
    match (endpoint.messages, request.method()) {
        (false, &Method::GET) => open(gateway, &endpoint.selection, arrived, request).await,
        (true, &Method::POST) => take(gateway, &endpoint.selection, arrived, request).await,
        // Clients that do not know what they have before them begin with a POST, and go on with GET when they read this.
        (messages, _) => {
            let allowed = if messages { "POST" } else { "GET" };
            let text =
                format!("Method Not Allowed: this is the HTTP+SSE transport, which takes {allowed} here");
            let status = StatusCode::METHOD_NOT_ALLOWED;
            let mut response = answer::rpc_error(status, "null", rpc::INVALID_REQUEST, &text);
            response
                .headers_mut()
                .insert(ALLOW, HeaderValue::from_static(allowed));
            response
        }
    }
}

// === The stream ===

async fn open(gateway: Arc<Gateway>, path: &PathSelection, arrived: Arrived, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let at = parts.uri.clone();
    let mut context = match enter(&gateway, path, arrived, parts) {
        Ok(context) => context,
        Err(answer) => return answer,
    };
    if !accepts_events(&context.headers) {
        let text = "Not Acceptable: Client must accept text/event-stream";
        return answer::rpc_error(StatusCode::NOT_ACCEPTABLE, "null", rpc::INVALID_REQUEST, text);
    }
    let principal = context.principal.clone();
    let caller = principal.id().to_owned();
    let key = initialize::new_session_key();
    let begun = gateway.caps.stream(&caller);
    let begun = begun.and_then(|place| gateway.caps.begin(&caller, key).map(|()| place));
    let place = match begun {
        Ok(place) => place,
        Err(full) => return full.answer("null"),
    };
    let claims = initialize::claims(&gateway, key, Revision::V2024_11_05, ClientCapabilities::NONE);
    context.join(Some(&claims));
    // The session ends with its stream.
    context.lasts_until = None;
    let (conversation, events) = gateway.conversations.begin(claims);
    let handle = gateway
        .conversations
        .handle(&conversation, &caller, &path.route_key());
    let first = format!(
        "event: endpoint\ndata: {}{}/messages?session_id={handle}\n\n",
        gateway.edge.load().root,
        at.path().trim_end_matches('/')
    );
    let gone = CancellationToken::new();
    let open = Open {
        conversation: conversation.clone(),
        events,
        first: Some(first),
        _place: place,
        _gone: gone.clone().drop_guard(),
    };
    // From here on: a client that leaves right away must leave nothing behind.
    let (ready, is_ready) = oneshot::channel();
    let (telling, path) = (gateway.clone(), path.clone());
    tokio::spawn(async move {
        let standing = Standing::of_session(telling.clone(), context, &path).await;
        // It may have gone already.
        let _ = ready.send(());
        accompany(telling, caller, conversation, standing, gone).await;
    });
    // The lists are looked at before the head of the answer: from then on the client counts on being told of changes.
    let _ = is_ready.await;
    let body = stream::unfold(open, |mut open| async move {
        let event = open.next().await?;
        Some((event, open))
    });
    let response = answer::event_stream(Body::from_stream(body.map(Ok::<_, std::convert::Infallible>)));
    callers::bound(&gateway, &principal, response)
}

fn accepts_events(headers: &HeaderMap) -> bool {
    let mut accepted = headers.get_all(ACCEPT).iter().peekable();
    accepted.peek().is_none()
        || accepted.any(|value| {
            value
                .to_str()
                .is_ok_and(|text| text.contains("text/event-stream") || text.contains("*/*"))
        })
}

/// The stream as the client reads it.
struct Open {
    conversation: Arc<Conversation>,
    events: mpsc::UnboundedReceiver<Waiting>,
    first: Option<String>,
    _place: Place,
    /// Dropped with the stream, by which the others know.
    _gone: DropGuard,
}

impl Open {
    /// The next thing to send; `None` ends the stream.
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(first) = self.first.take() {
            return Some(first.into());
        }
        tokio::select! {
            biased;
            waiting = self.events.recv() => waiting.map(|waiting| waiting.event),
            () = self.conversation.over.cancelled() => None,
            () = tokio::time::sleep(KEEP_ALIVE_EVERY) => Some(Bytes::from_static(sse::KEEP_ALIVE.as_bytes())),
        }
    }
}

/// Tells the client what it is not an answer, and when its stream is over lets go of all that is kept for it.
async fn accompany(
    gateway: Arc<Gateway>,
    caller: String,
    conversation: Arc<Conversation>,
    standing: Standing,
    gone: CancellationToken,
) {
    tokio::select! {
        () = gone.cancelled() => {}
        () = conversation.over.cancelled() => {}
        // The gateway stops: what is under way comes to its end first.
        () = tell(&gateway, standing, &conversation) => tokio::select! {
            () = gone.cancelled() => {}
            () = conversation.idle() => {}
        },
    }
    gateway.conversations.forget(&conversation);
    conversation.over.cancel();
    // What was said last, and is not waited for, still takes place.
    let _ = tokio::time::timeout(GRACE, conversation.idle()).await;
    conversation.stop.cancel();
    // Before the sessions: what ends late would open new ones.
    let _ = tokio::time::timeout(GRACE, conversation.idle()).await;
    end::let_go(&gateway, &caller, conversation.key);
}

/// Hands on what there is to say outside of requests, until the gateway stops.
async fn tell(gateway: &Gateway, mut standing: Standing, conversation: &Conversation) {
    // Before it has said who it is, a client is told nothing.
    tokio::select! {
        () = gateway.draining.cancelled() => return,
        () = conversation.spoken.cancelled() => {}
    }
    while let Some(due) = standing.due(&ListKind::ALL).await {
        // The stream has signs of life of its own.
        if let Some(message) = due {
            conversation.send(sse::encode_message(&message)).await;
        }
    }
}

// === Messages ===

async fn take(gateway: Arc<Gateway>, path: &PathSelection, arrived: Arrived, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let at = parts.uri.clone();
    let mut context = match enter(&gateway, path, arrived, parts) {
        Ok(context) => context,
        Err(answer) => return answer,
    };
    let found = match find(&gateway, path, &context, &at) {
        Ok(found) => found,
        Err(answer) => return answer,
    };
    if let Err(answer) = check_type(&context.headers) {
        return answer;
    }
    if let Err(answer) = post::check_version(&context.headers) {
        return answer;
    }
    let body = match read_body(body, gateway.edge.load().max_body_bytes).await {
        Ok(body) => body,
        Err(error) => {
            let text = error.to_string();
            return answer::rpc_error(error.status(), "null", rpc::INVALID_REQUEST, &text);
        }
    };
    let conversation = match found {
        Holder::Here(conversation) => conversation,
        Holder::Replica(owner) => return hand_on(&gateway, &context, owner, body).await,
    };
    let claims = conversation.claims();
    let batches = Revision::from_index(claims.revision).is_some_and(Revision::has_batches);
    let is_request = (batches && envelope::is_batch(&body))
        || match Message::parse(&body) {
            Ok(message) => matches!(message, Message::Request { .. }),
            Err(error) => {
                return answer::rpc_error(StatusCode::BAD_REQUEST, "null", error.code(), &error.to_string());
            }
        };
    let Some(place) = conversation.place(is_request) else {
        let text = "too many requests of this session are under way, or their answers are not read; read the stream, then try again";
        let error = rpc::error_object(rpc::INTERNAL_ERROR, text, None);
        return caps::busy(Duration::from_secs(1), rpc::error_response("null", &error));
    };
    gateway.caps.used(context.principal.id(), claims.key);
    context.join(Some(&claims));
    context.lasts_until = None;
    // There is one stream, and nothing to come back to it by.
    context.resumes = false;
    let said = Said {
        gateway,
        conversation,
        context,
        body,
        _place: place,
    };
    let mut work = Box::pin(said.answer());
    // Begun before the client hears that it was taken: what the client says next may be about it.
    if futures_util::poll!(&mut work).is_pending() {
        tokio::spawn(work);
    }
    answer::empty(StatusCode::ACCEPTED)
}

/// Who has the conversation that a POST names.
enum Holder {
    Here(Arc<Conversation>),
    Replica(ReplicaId),
}

/// Hands a message on to the replica that has the stream.
async fn hand_on(gateway: &Gateway, context: &Context, owner: ReplicaId, body: Bytes) -> Response {
    peers::forward(gateway, owner, context.request(Method::POST, body))
        .await
        .unwrap_or_else(|error| {
            let text = format!("this session's stream is out of reach: {error}; open the stream again");
            answer::rpc_error(StatusCode::BAD_GATEWAY, "null", rpc::INTERNAL_ERROR, &text)
        })
}

/// Who has the conversation that a POST names, or why nobody has.
#[expect(clippy::result_large_err, reason = "the error is the answer, and it is rare")]
fn find(gateway: &Gateway, path: &PathSelection, context: &Context, uri: &Uri) -> Result<Holder, Response> {
    let named = uri.query().unwrap_or_default().split('&').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        matches!(name, "session_id" | "sessionId").then_some(value)
    });
    let caller = context.principal.id();
    let found = named.map(|handle| gateway.conversations.find(handle, caller, &path.route_key()));
    match found {
        Some(Found::Here(conversation)) => Ok(Holder::Here(conversation)),
        Some(Found::Elsewhere(owner)) => Ok(Holder::Replica(owner)),
        Some(Found::Unknown) => Err(answer::rpc_error(
            StatusCode::NOT_FOUND,
            "null",
            rpc::INVALID_REQUEST,
            "Session not found; open the stream again",
        )),
        None => Err(answer::rpc_error(
            StatusCode::BAD_REQUEST,
            "null",
            rpc::INVALID_REQUEST,
            "Bad Request: no session_id; post to the address that the stream's first event names",
        )),
    }
}

#[expect(clippy::result_large_err, reason = "the error is the answer, and it is rare")]
fn check_type(headers: &HeaderMap) -> Result<(), Response> {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let kind = kind.unwrap_or_default().split(';').next().unwrap_or_default();
    if kind.trim().eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    Err(answer::rpc_error(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "null",
        rpc::INVALID_REQUEST,
        "Content-Type must be application/json",
    ))
}

/// Something that a client said.
struct Said {
    gateway: Arc<Gateway>,
    conversation: Arc<Conversation>,
    context: Context,
    body: Bytes,
    _place: OwnedSemaphorePermit,
}

impl Said {
    /// Sends the client what comes of it.
    async fn answer(self) {
        let Self {
            gateway,
            conversation,
            context,
            body,
            _place,
        } = self;
        let stop = conversation.stop.clone();
        let work = async {
            let response = respond(&gateway, &conversation, context, &body).await;
            relay(&conversation, response).await;
            conversation.spoken.cancel();
        };
        // Boxed: it has room for every kind of answer.
        stop.run_until_cancelled(Box::pin(work)).await;
    }
}

/// The answer as it would be over Streamable HTTP.
async fn respond(
    gateway: &Arc<Gateway>,
    conversation: &Conversation,
    context: Context,
    body: &Bytes,
) -> Response {
    if envelope::is_batch(body) {
        return post::answer_batch(gateway, context, body).await;
    }
    let message = match Message::parse(body) {
        Ok(message) => message,
        Err(error) => {
            return answer::rpc_error(StatusCode::BAD_REQUEST, "null", error.code(), &error.to_string());
        }
    };
    if let Message::Request { id, method, params } = &message {
        if method == "initialize" {
            return match initialize::agree(gateway, &context, conversation.key, *params) {
                Ok(agreed) => {
                    conversation.agree(agreed.claims);
                    answer::json(StatusCode::OK, rpc::response(id.get(), &agreed.result))
                }
                Err(text) => answer::rpc_error(StatusCode::OK, id.get(), rpc::INVALID_PARAMS, &text),
            };
        }
        if modern::claimed_version(*params).is_some() || method == "server/discover" {
            let text = "Method not found: 2026-07-28 is spoken over Streamable HTTP, at /mcp; begin with initialize here";
            return answer::rpc_error(StatusCode::OK, id.get(), rpc::METHOD_NOT_FOUND, text);
        }
    }
    post::dispatch(gateway, &Arc::new(context), message, body.len()).await
}

/// Writes an answer to the stream: JSON as one event, an event stream event by event.
async fn relay(conversation: &Conversation, response: Response) {
    let streamed = response
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind == "text/event-stream");
    let mut body = response.into_body();
    if !streamed {
        if let Ok(body) = body.collect().await {
            let body = body.to_bytes();
            if !body.is_empty() {
                let message = String::from_utf8_lossy(&body);
                conversation.send(sse::encode_message(&message)).await;
            }
        }
        return;
    }
    while let Some(Ok(frame)) = body.frame().await {
        // The stream is our own: a frame is an event, or a sign of life, of which this one has its own.
        let event = frame.into_data().unwrap_or_default();
        if !event.is_empty() && event.first() != Some(&b':') && !conversation.send(event).await {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_the_transport() {
        let at = |selection: PathSelection, messages| Some(Endpoint { selection, messages });
        let named = |name: &str| PathSelection::Named(name.to_owned());
        let servers = |names: &str| PathSelection::Servers(names.to_owned());
        for path in ["/sse", "/sse/", "/mcp/sse", "/mcp/sse/", "/mcp/mcp/sse"] {
            assert_eq!(Endpoint::of_path(path), at(PathSelection::None, false), "{path}");
        }
        for path in [
            "/sse/messages",
            "/sse/messages/",
            "/mcp/sse/messages",
            "/mcp/sse/messages/",
        ] {
            assert_eq!(Endpoint::of_path(path), at(PathSelection::None, true), "{path}");
        }
        assert_eq!(Endpoint::of_path("/git/sse"), at(named("git"), false));
        assert_eq!(Endpoint::of_path("/git/mcp/sse/"), at(named("git"), false));
        assert_eq!(Endpoint::of_path("/a,b/sse/messages"), at(named("a,b"), true));
        assert_eq!(
            Endpoint::of_path("/my%20server/sse"),
            at(named("my server"), false)
        );
        assert_eq!(Endpoint::of_path("/mcp/a,b/sse"), at(servers("a,b"), false));
        assert_eq!(Endpoint::of_path("/mcp/a/sse/messages"), at(servers("a"), true));
        let toolset = |name: &str| PathSelection::Toolset(name.to_owned());
        assert_eq!(Endpoint::of_path("/toolset/a/sse"), at(toolset("a"), false));
        assert_eq!(Endpoint::of_path("/toolset/a/mcp/sse"), at(toolset("a"), false));
        assert_eq!(
            Endpoint::of_path("/toolset/a/sse/messages"),
            at(toolset("a"), true)
        );
        assert_eq!(Endpoint::of_path("/toolset/mcp/sse"), at(named("toolset"), false));
        for path in [
            "",
            "/",
            "sse",
            "//sse",
            "/mcp",
            "/git/mcp",
            "/mcp/git",
            "/sse/mcp",
            "/a/b/sse",
            "/toolset/sse/x",
            "/toolset//sse",
            "/toolset/a/b/sse",
            "/messages",
            "/git/messages",
            "/mcp/enabled/sse",
            "/SSE",
        ] {
            assert_eq!(Endpoint::of_path(path), None, "{path}");
        }
    }
}
