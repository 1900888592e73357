//! Tools of MCP servers within requests to models: `{"type": "mcp", "server_url": "litellm_proxy/mcp/NAME", …}`.
//!
//! ```text
//! read → let in → list → ( ask → call the tools that the answer wants )* → the rest of the answer
//! ```
//!
//! Tools are listed by [`crate::listing`] and called by [`crate::calling`], as for every other client: the same permissions, rules, limits,
//! approvals, records. [`offer`] makes functions of them for the model, [`call`] calls what it wants, [`rounds`] leads the conversation,
//! [`sink`] writes the one answer that the client gets, whole or in pieces.
//!
//! **Invariant:** what a request may list and call is asked anew in every round, for who asks as he is by then.
//! **Invariant:** a call is made once: a round that fails is not begun again after its tools were called.

mod call;
mod offer;
mod rounds;
mod sink;

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::http::HeaderMap;
use axum::http::header::HOST;
use axum::response::Response;
use futures_util::StreamExt as _;
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::AbortOnDropHandle;
use trunkline_auth::{Admission, Surface};
use trunkline_llm::{Endpoint, McpTool, Request};
use trunkline_model::RequestId;

use super::told::{self, Refused};
use super::{Caller, kind, let_in, pending_of};
use crate::context::identify;
use crate::record::Pending;
use crate::{Gateway, denied};

/// By which route a key uses tools, wherever it names them.
const ROUTE: &str = "/mcp-rest/tools/call";
/// Pieces of an answer that wait for a slow client.
const WAITING: usize = 16;

/// A request, with all that it needs to outlive its handler.
pub(super) struct Client {
    pub(super) gateway: Arc<Gateway>,
    pub(super) caller: Caller,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) endpoint: Endpoint,
    /// The model that the path names.
    pub(super) model: Option<String>,
}

/// The tools that a request names of the gateway's own servers, taken out of it.
#[expect(clippy::result_large_err, reason = "the error is the answer, and it is rare")]
pub(super) fn named(request: &mut Request<'_>, headers: &HeaderMap) -> Result<Vec<McpTool>, Refused> {
    let host = headers.get(HOST).and_then(|value| value.to_str().ok());
    request.take_mcp_tools(host).map_err(told::bad)
}

/// Whether the gateway calls tools in requests of this kind.
pub(super) fn are_served(endpoint: Endpoint) -> bool {
    matches!(
        endpoint,
        Endpoint::ChatCompletions | Endpoint::Messages | Endpoint::Responses
    )
}

/// Answers it. Dropping the answer, or not waiting for it, ends whatever is under way.
pub(super) async fn serve(client: Client, streams: bool) -> Response {
    let request_id = client.caller.request_id.clone();
    let dialect = client.endpoint.dialect();
    if !streams {
        return Box::pin(lead(client, None)).await;
    }
    let (head, begun) = oneshot::channel();
    let (pieces, coming) = mpsc::channel(WAITING);
    let out = sink::Pieces::new(head, pieces);
    let work = AbortOnDropHandle::new(tokio::spawn(async move {
        let (client, out) = (client, out);
        if let Some(told) = out.head() {
            let response = Box::pin(lead(client, Some(out))).await;
            // Unless the answer began in pieces, it is this.
            told.tell(response);
        }
    }));
    let Ok(response) = begun.await else {
        return Refused::new(500, "the answer ended before it began").answer_in(dialect, &request_id);
    };
    let pieces = futures_util::stream::unfold((coming, work), |(mut coming, work)| async move {
        let piece: Bytes = coming.recv().await?;
        Some((Ok::<_, std::convert::Infallible>(piece), (coming, work)))
    });
    let (parts, body) = response.into_parts();
    if is_in_pieces(&parts.headers) {
        return Response::from_parts(parts, Body::from_stream(pieces.fuse()));
    }
    Response::from_parts(parts, body)
}

fn is_in_pieces(headers: &HeaderMap) -> bool {
    super::ask::is_stream(headers)
}

/// Reads the request and leads its conversation. What is told in pieces goes to `out`.
async fn lead(client: Client, out: Option<sink::Pieces>) -> Response {
    let Client {
        gateway,
        caller,
        headers,
        body,
        endpoint,
        model,
    } = client;
    let dialect = endpoint.dialect();
    let refuse = |refused: Refused| refused.answer_in(dialect, &caller.request_id);
    let mut request = match Request::read_in(dialect, &body, model.as_deref()) {
        Ok(request) => request,
        Err(error) => return refuse(told::bad(error)),
    };
    let tools = match named(&mut request, &headers) {
        Ok(tools) => tools,
        Err(refused) => return refuse(refused),
    };
    let mut pending = pending_of((&gateway, &caller), &headers, &request, (endpoint, body.len()));
    let refuse_as = |pending: Pending, refused: Refused| {
        pending.finish(refused.word, Some(refused.failure.message.clone()));
        refuse(refused)
    };
    let admission = match may_use_tools(&gateway, (&caller.request_id, &headers)) {
        Ok(admission) => admission,
        Err(refused) => return refuse_as(pending, refused),
    };
    let dialogue = match request.dialogue() {
        Ok(dialogue) => dialogue,
        Err(error) => return refuse_as(pending, told::bad(error)),
    };
    let name = request.model.clone();
    pending.model(&name);
    let what = (endpoint, kind(endpoint));
    let sent = (&headers, body.len());
    let asked = match let_in(&gateway, &caller, what, sent, (request, None), &name).await {
        Ok(asked) => asked,
        Err(refused) => return refuse_as(pending, refused),
    };
    Box::pin(rounds::run(asked, dialogue, (&tools, &admission), pending, out)).await
}

/// A key uses tools only where it may call them otherwise.
#[expect(clippy::result_large_err, reason = "the error is the answer, and it is rare")]
fn may_use_tools(
    gateway: &Gateway,
    (request_id, headers): (&RequestId, &HeaderMap),
) -> Result<Admission, Refused> {
    match identify(gateway, headers, Surface::Management, ROUTE) {
        Ok((_, admission)) => Ok(admission),
        Err(error) => {
            denied::route(gateway, error, Some(request_id), ROUTE);
            Err(told::route(error))
        }
    }
}
