//! Call: decide, route, credential, call. The only way to call a tool, for MCP and REST alike.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc;
use trunkline_mcp::edit::RawObject;
use trunkline_mcp::rpc;
use trunkline_model::{OutcomeStatus, Server, Step};
use trunkline_policy::Decision;
use trunkline_upstream::{CallRequest, Exchange, Fault, Frame, Outgoing, Progress};

use crate::Gateway;
use crate::context::Context;
use crate::outcomes;
use crate::record::Pending;
use crate::route::{self, RouteError};

/// A call under way.
pub struct Call {
    /// The server.
    pub server: Arc<Server>,
    /// The upstream's name of the tool.
    pub tool: String,
    phase: Phase,
    out: Arc<Outgoing>,
    progress: Option<Tracked>,
}

/// How far a call is. A call that tracks progress hears of it before its own answer begins, so its opening is driven
/// together with the messages; other calls are open when they are begun.
enum Phase {
    Opening(Pin<Box<dyn Future<Output = Result<Exchange, Fault>> + Send>>),
    Open(Box<Exchange>),
}

/// A call's progress: the tokens, and what comes of it outside of the call's own stream.
struct Tracked {
    token: ProgressToken,
    aside: mpsc::Receiver<String>,
}

/// The client's progress token, and the one used instead on the upstream session, where clients may share.
struct ProgressToken {
    client: String,
    upstream: String,
}

/// Why there is no call.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The parameters cannot be read.
    #[error("Invalid params: {0}")]
    Params(String),
    /// The name leads nowhere.
    #[error(transparent)]
    Route(#[from] RouteError),
    /// The policy says no. The caller reads the same as for an unknown tool; the reason is in the log and the record.
    #[error("Unknown tool: {name}")]
    Denied {
        /// The name as the caller wrote it.
        name: String,
        /// Why.
        reason: trunkline_policy::Reason,
    },
    /// The upstream failed.
    #[error("MCP server {server:?}: {}", fault_summary(.fault))]
    Upstream {
        /// The server's prefix.
        server: String,
        /// What went wrong.
        fault: Box<Fault>,
    },
}

fn fault_summary(fault: &Fault) -> String {
    fault
        .outcome(jiff::Timestamp::UNIX_EPOCH, std::time::Duration::ZERO)
        .summary()
}

impl CallError {
    /// JSON-RPC code.
    pub fn code(&self) -> i64 {
        match self {
            Self::Params(_)
            | Self::Denied { .. }
            | Self::Route(RouteError::Unknown { .. } | RouteError::Ambiguous { .. }) => rpc::INVALID_PARAMS,
            Self::Route(RouteError::Unavailable { .. }) | Self::Upstream { .. } => rpc::INTERNAL_ERROR,
        }
    }

    /// The record's word.
    pub fn outcome_word(&self) -> &'static str {
        match self {
            Self::Params(_) => "invalid_params",
            Self::Denied { .. } => "denied",
            Self::Route(RouteError::Unknown { .. }) => "unknown_tool",
            Self::Route(RouteError::Ambiguous { .. }) => "ambiguous_tool",
            Self::Route(RouteError::Unavailable { outcome, .. }) => outcome.status.as_str(),
            Self::Upstream { fault, .. } => fault.status.as_str(),
        }
    }

    /// The upstream's kind of failure, if it is one.
    pub fn status(&self) -> Option<OutcomeStatus> {
        match self {
            Self::Route(RouteError::Unavailable { outcome, .. }) => Some(outcome.status),
            Self::Upstream { fault, .. } => Some(fault.status),
            _ => None,
        }
    }

    /// When the upstream wants to be asked again, seconds.
    pub fn retry_after_s(&self) -> Option<u64> {
        match self {
            Self::Route(RouteError::Unavailable { outcome, .. }) => outcome.retry_after_s,
            Self::Upstream { fault, .. } => fault.retry_after.map(|after| after.as_secs()),
            _ => None,
        }
    }

    /// The server, if one was resolved.
    pub fn server(&self) -> Option<&str> {
        match self {
            Self::Route(RouteError::Unavailable { server, .. }) | Self::Upstream { server, .. } => {
                Some(server)
            }
            _ => None,
        }
    }

    /// `error.data`: which server, and its outcome.
    pub fn data(&self, now: jiff::Timestamp) -> Option<String> {
        let outcome = match self {
            Self::Route(RouteError::Unavailable { outcome, .. }) => (**outcome).clone(),
            Self::Upstream { fault, .. } => fault.outcome(now, std::time::Duration::ZERO),
            _ => return None,
        };
        let server = self.server()?;
        Some(
            serde_json::json!({"server": server, "outcome": outcomes::to_json(&outcome, None, false)})
                .to_string(),
        )
    }
}

const PROGRESS_METHOD: &str = "notifications/progress";
/// Progress messages that may wait for a slow client.
const ASIDE: usize = 64;

static PROGRESS: AtomicU64 = AtomicU64::new(1);

/// Begins a call. `params` is the raw `params` of `tools/call`; `only` a server that the request names besides (REST).
/// Where it goes is noted in `pending` as soon as it is known, so that a failure is recorded with it (B65).
pub async fn begin(
    gateway: &Gateway,
    context: &Context,
    params: &str,
    only: Option<&Arc<Server>>,
    pending: &mut Pending,
) -> Result<Call, CallError> {
    let mut params = RawObject::parse(params).map_err(|error| CallError::Params(error.to_string()))?;
    let name = params
        .get_string("name")
        .ok_or_else(|| CallError::Params("`name` must be a string".to_owned()))?;
    if params
        .get("arguments")
        .is_some_and(|arguments| !matches!(arguments.as_bytes().first(), Some(b'{' | b'n')))
    {
        return Err(CallError::Params("`arguments` must be an object".to_owned()));
    }
    if params.get("arguments") == Some("null") {
        params.remove("arguments");
    }
    let target = route::find(gateway, context, &name, only).await?;
    if let Decision::Deny(reason) = context.may_use(&target.server, &target.tool) {
        return Err(CallError::Denied {
            name: trunkline_upstream::fault::printable(&name),
            reason,
        });
    }
    pending.target(target.server.id.as_str(), &target.tool);
    if target.tool != name {
        params.set_string("name", &target.tool);
    }
    let token = own_progress_token(&mut params)?;
    let server = target.server;
    let failed = |fault: Fault| CallError::Upstream {
        server: server.prefix(),
        fault: Box::new(fault),
    };
    let out = gateway
        .upstreams
        .outgoing(&server, &context.client_headers())
        .map_err(failed)?;
    let params = params.to_json();
    let client = context.session;
    let (phase, progress) = match token {
        None => {
            let request = CallRequest {
                server: &server,
                out: &out,
                client,
                params: &params,
                progress: None,
            };
            (
                Phase::Open(Box::new(gateway.upstreams.call(request).await.map_err(failed)?)),
                None,
            )
        }
        Some(token) => {
            let (messages, aside) = mpsc::channel(ASIDE);
            let progress = Some(Progress {
                token: token.upstream.clone(),
                messages,
            });
            let (upstreams, server, out) = (gateway.upstreams.clone(), server.clone(), out.clone());
            let opening = async move {
                upstreams
                    .call(CallRequest {
                        server: &server,
                        out: &out,
                        client,
                        params: &params,
                        progress,
                    })
                    .await
            };
            (Phase::Opening(Box::pin(opening)), Some(Tracked { token, aside }))
        }
    };
    Ok(Call {
        server,
        tool: target.tool,
        phase,
        out,
        progress,
    })
}

/// Puts an own token in place of the client's `_meta.progressToken`.
fn own_progress_token(params: &mut RawObject<'_>) -> Result<Option<ProgressToken>, CallError> {
    let Some(meta) = params.get("_meta").filter(|meta| meta.starts_with('{')) else {
        return Ok(None);
    };
    let meta = meta.to_owned();
    let mut meta = RawObject::parse(&meta).map_err(|error| CallError::Params(error.to_string()))?;
    let Some(client) = meta.get("progressToken").map(ToOwned::to_owned) else {
        return Ok(None);
    };
    let upstream = PROGRESS.fetch_add(1, Ordering::Relaxed).to_string();
    meta.set("progressToken", upstream.clone());
    params.set("_meta", meta.to_json());
    Ok(Some(ProgressToken { client, upstream }))
}

impl Call {
    /// The next message for the client: notifications with the client's own progress token, then the response.
    pub async fn next(&mut self, gateway: &Gateway) -> Result<Frame, CallError> {
        loop {
            let frame = self.step().await.map_err(|fault| CallError::Upstream {
                server: self.server.prefix(),
                fault: Box::new(fault.without(self.out.secrets())),
            })?;
            match frame {
                None => {}
                Some(Frame::Notification { method, message }) => match method.as_str() {
                    PROGRESS_METHOD => {
                        if let Some(message) = self.with_clients_token(&message) {
                            return Ok(Frame::Notification { method, message });
                        }
                    }
                    "notifications/tools/list_changed" => {
                        // Clients hear of it from the gateway, after the list was fetched.
                        gateway.upstreams.tools_changed(&self.server, &self.out);
                    }
                    "notifications/cancelled" => {}
                    _ => return Ok(Frame::Notification { method, message }),
                },
                Some(Frame::Error(error)) => return Ok(Frame::Error(self.without_secrets(&error))),
                Some(last) => return Ok(last),
            }
        }
    }

    /// An error's text, or a failed tool's for the log, without what was sent as a credential: servers repeat it in
    /// both (S13). Results are content and go to the client as they are.
    pub fn without_secrets(&self, text: &str) -> String {
        let secrets: Vec<&str> = self.out.secrets().filter(|secret| secret.len() >= 8).collect();
        trunkline_upstream::fault::redacted(text, &secrets)
    }

    /// One step: the opening done (`None`), or a frame of the call's own stream or from aside.
    async fn step(&mut self) -> Result<Option<Frame>, Fault> {
        let Some(tracked) = &mut self.progress else {
            return match &mut self.phase {
                Phase::Open(exchange) => exchange.next().await.map(Some),
                Phase::Opening(opening) => {
                    let exchange = opening.await?;
                    self.phase = Phase::Open(Box::new(exchange));
                    Ok(None)
                }
            };
        };
        let aside = |message| Frame::Notification {
            method: PROGRESS_METHOD.to_owned(),
            message,
        };
        // Progress first: it was sent before the answer that may lie beside it.
        match &mut self.phase {
            Phase::Open(exchange) => tokio::select! {
                biased;
                Some(message) = tracked.aside.recv() => Ok(Some(aside(message))),
                frame = exchange.next() => frame.map(Some),
            },
            Phase::Opening(opening) => {
                let exchange = tokio::select! {
                    biased;
                    Some(message) = tracked.aside.recv() => return Ok(Some(aside(message))),
                    opened = opening => opened?,
                };
                self.phase = Phase::Open(Box::new(exchange));
                Ok(None)
            }
        }
    }

    /// Progress for a token that nobody gave is dropped: it would be attributed to the wrong call.
    fn with_clients_token(&self, message: &str) -> Option<String> {
        let token = &self.progress.as_ref()?.token;
        let mut object = RawObject::parse(message).ok()?;
        let params = object.get("params")?.to_owned();
        let mut params = RawObject::parse(&params).ok()?;
        (params.get("progressToken") == Some(token.upstream.as_str())).then_some(())?;
        params.set("progressToken", token.client.clone());
        object.set("params", params.to_json());
        Some(object.to_json())
    }
}

/// The record's word for a result: `isError: true` is a tool error, not a success (B65).
pub fn result_word(result: &str) -> &'static str {
    #[derive(serde::Deserialize)]
    struct Flag {
        #[serde(default, rename = "isError")]
        is_error: Option<bool>,
    }
    match serde_json::from_str::<Flag>(result) {
        Ok(Flag { is_error: Some(true) }) => "tool_error",
        _ => "ok",
    }
}

/// The first text of a tool error, bounded, for the record and the log.
pub fn tool_error_text(result: &str) -> Option<String> {
    // Taken apart, a result is many times its size; nobody reads a long one in a log.
    if result.len() > 256 * 1024 {
        return Some(format!("an error of {} bytes", result.len()));
    }
    let value: serde_json::Value = serde_json::from_str(result).ok()?;
    let text = value.pointer("/content/0/text")?.as_str()?;
    Some(trunkline_upstream::fault::printable(text))
}

/// A fault of the gateway itself, as a call error.
pub fn internal(server: &Server, message: &str) -> CallError {
    CallError::Upstream {
        server: server.prefix(),
        fault: Box::new(Fault::new(OutcomeStatus::Internal, Step::Call, message)),
    }
}
