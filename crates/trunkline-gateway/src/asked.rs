//! What servers ask clients in the middle of a request: `sampling/createMessage`, `elicitation/create`, `roots/list`
//! (B59).
//!
//! The request goes to the client under an id that is a sealed token: which server, which upstream session, which id.
//! Whatever replica the client's answer reaches can hand it on from that alone, and nobody else's answer is taken (S21).

use std::sync::Arc;

use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use trunkline_mcp::edit::{self, RawObject};
use trunkline_mcp::{Revision, rpc, task};
use trunkline_model::{Server, ServerId};
use trunkline_upstream::{Introduction, Session};

use crate::Gateway;
use crate::answer;
use crate::context::Context;
use crate::peers;
use crate::rounds;
use crate::tasks::{self, Seen};

/// Why a server's question is refused that cannot be handed on.
pub const UNREADABLE: &str = "Invalid params: the request cannot be handed on to the client as it is";
/// Why a server's question is refused whose client is not there any more.
pub const GONE: &str = "the client has gone";

#[derive(Serialize, Deserialize)]
struct Handle {
    server: String,
    session: Option<String>,
    revision: u8,
    /// The server's id: raw JSON.
    id: String,
}

/// The server's request as it goes to the client, and the id that it has there (raw JSON). `None` if there is no session
/// of the client that an answer could be held against.
pub fn offer(
    gateway: &Gateway,
    context: &Context,
    server: &Server,
    session: &Session,
    (id, message): (&str, &str),
) -> Option<(String, String)> {
    let client = context.session?.to_hex();
    let handle = Handle {
        server: server.id.as_str().to_owned(),
        session: match &session.id {
            Some(id) => Some(id.to_str().ok()?.to_owned()),
            None => None,
        },
        revision: session.revision.index(),
        id: id.to_owned(),
    };
    let body = serde_json::to_vec(&handle).ok()?;
    let token = gateway.asked.seal(&[context.principal.id(), &client], &body);
    let token = edit::string(&token);
    let seen = Seen {
        gateway,
        context,
        server,
        tool: None,
    };
    let message = seen.about(message.to_owned());
    let mut message = RawObject::parse(&message).ok()?;
    message.set("id", token.clone());
    Some((message.to_json(), token))
}

/// Hands a client's answer on to whoever asked: a call that waits, here or on another replica, or a server. Answers to
/// nothing are dropped: the server may have given up.
pub async fn answer(
    gateway: &Gateway,
    context: &Context,
    id: &RawValue,
    outcome: Result<&RawValue, &RawValue>,
) -> Response {
    let taken = || answer::empty(StatusCode::ACCEPTED);
    if context
        .session
        .is_some_and(|session| gateway.questions.answer(session, id, outcome))
    {
        return taken();
    }
    let waits_elsewhere = rounds::owner(gateway, context, id)
        .filter(|owner| *owner != gateway.peers.own_id() && !context.handed_on);
    if let Some(owner) = waits_elsewhere {
        let message = match outcome {
            Ok(result) => rpc::response(id.get(), result.get()),
            Err(error) => rpc::error_response(id.get(), error.get()),
        };
        let request = context.request(Method::POST, message);
        return peers::forward(gateway, owner, request)
            .await
            .unwrap_or_else(|error| {
                let text = format!("the call that waits for this answer is out of reach: {error}");
                answer::rpc_error(StatusCode::BAD_GATEWAY, "null", rpc::INTERNAL_ERROR, &text)
            });
    }
    let Some((server, session, upstream_id)) = open(gateway, context, id) else {
        tracing::debug!(request_id = %context.request_id, "an answer to nothing that was asked");
        return taken();
    };
    let message = match outcome {
        Ok(result) => {
            // What is about nobody's task is about none.
            let own = tasks::own_related(gateway, context, &server, result.get())
                .unwrap_or_else(|_| task::unrelated(result.get()));
            rpc::response(&upstream_id, own.as_deref().unwrap_or(result.get()))
        }
        Err(error) => rpc::error_response(&upstream_id, error.get()),
    };
    let sent = async {
        let out = gateway.upstreams.outgoing(&server, &context.client_headers())?;
        gateway.upstreams.answer(&server, &out, &session, message).await
    };
    if let Err(fault) = sent.await {
        tracing::warn!(
            request_id = %context.request_id,
            server = %server.prefix(),
            %fault,
            "a client's answer did not reach the server that asked"
        );
    }
    taken()
}

fn open(gateway: &Gateway, context: &Context, id: &RawValue) -> Option<(Arc<Server>, Session, String)> {
    let client = context.session?.to_hex();
    let token: String = serde_json::from_str(id.get()).ok()?;
    let body = gateway.asked.open(&[context.principal.id(), &client], &token)?;
    let handle: Handle = serde_json::from_slice(&body).ok()?;
    let server_id = ServerId::new(handle.server);
    // Asked again: the server may have been taken away from this client since.
    let server = context.servers().find(|server| server.id == server_id)?.clone();
    let session_id = match handle.session {
        Some(id) => Some(HeaderValue::from_str(&id).ok()?),
        None => None,
    };
    let revision = Revision::from_index(handle.revision)?;
    let session = Session::new(session_id, revision, Introduction::default());
    Some((server, session, handle.id))
}
