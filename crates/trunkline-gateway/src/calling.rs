//! Call: decide, route, credential, call. The only way to a server for a client's request, for tools, prompts and resources,
//! for MCP and REST alike.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use axum::http::StatusCode;

use tokio::sync::mpsc;
use trunkline_mcp::edit::{self, RawObject};
use trunkline_mcp::header::HeaderParam;
use trunkline_mcp::modern::UrlElicitation;
use trunkline_mcp::{Era, ListKind, header, modern, rpc, task, uri, wrap};
use trunkline_model::{CallKind, OutcomeStatus, Server, Step};
use trunkline_policy::Decision;
use trunkline_upstream::{CallRequest, Exchange, Fault, Frame, Outgoing, Progress};

use crate::Gateway;
use crate::asked;
use crate::context::Context;
use crate::deadline;
use crate::outcomes;
use crate::parked;
use crate::peers::PeerError;
use crate::record::Pending;
use crate::rounds::Round;
use crate::route::{self, RouteError, Target};
use crate::tasks::{self, Seen, Tasked, Waiting};
use crate::uris::{self, Holder};

/// A call under way.
pub struct Call {
    /// The server.
    pub server: Arc<Server>,
    /// The upstream's name of the tool or prompt, or its URI of the resource.
    pub name: String,
    operation: Operation,
    /// The resource was asked for under the server's prefix.
    qualified: bool,
    /// The client was shown a wrapped `outputSchema`.
    wraps: bool,
    phase: Phase,
    out: Arc<Outgoing>,
    progress: Option<Tracked>,
    /// What the server asked the client: its ids, and the client's.
    asked: Vec<(String, String)>,
    /// Messages that were for nobody.
    dropped: u32,
    /// Frames that came while others were looked for.
    held: VecDeque<Frame>,
    /// The parameters, with the server's own names: raw JSON.
    params: Arc<str>,
    timeout: Duration,
    header_params: Vec<HeaderParam>,
    /// What a server of the new era asks the client, while it does.
    round: Option<Box<Round>>,
    rounds: u32,
    /// What it has to do with tasks.
    tasked: Option<Box<Tasked>>,
    /// A subscription that was taken is written down before the client hears of it.
    noting: Noting,
}

/// Whether what a subscription changes in its session was written down.
enum Noting {
    Due,
    Running(tokio::task::JoinHandle<()>),
    Done,
}

/// Times that a server may ask in one call.
const MAX_ROUNDS: u32 = 8;

/// What is asked of one server. One more method: one variant, its words below, and where its target is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// `tools/call`.
    CallTool,
    /// `prompts/get`.
    GetPrompt,
    /// `resources/read`.
    ReadResource,
    /// `resources/subscribe`.
    Subscribe,
    /// `resources/unsubscribe`.
    Unsubscribe,
    /// `completion/complete`.
    Complete,
    /// `tasks/get`.
    GetTask,
    /// `tasks/update`, of 2026-07-28.
    UpdateTask,
    /// `tasks/cancel`.
    CancelTask,
    /// `tasks/result`, of 2025-11-25.
    TaskResult,
    /// `tasks/list`, of 2025-11-25.
    ListTasks,
    /// A method that is not known here, for the one server that it can be for.
    Other(String),
}

impl Operation {
    /// The JSON-RPC method.
    pub fn method(&self) -> &str {
        match self {
            Self::CallTool => "tools/call",
            Self::GetPrompt => "prompts/get",
            Self::ReadResource => "resources/read",
            Self::Subscribe => "resources/subscribe",
            Self::Unsubscribe => "resources/unsubscribe",
            Self::Complete => "completion/complete",
            Self::GetTask => "tasks/get",
            Self::UpdateTask => "tasks/update",
            Self::CancelTask => task::CANCEL,
            Self::TaskResult => task::RESULT,
            Self::ListTasks => "tasks/list",
            Self::Other(method) => method,
        }
    }

    /// The inverse of [`Operation::method`] for those that are known.
    pub fn of_method(method: &str) -> Option<Self> {
        [
            Self::CallTool,
            Self::GetPrompt,
            Self::ReadResource,
            Self::Subscribe,
            Self::Unsubscribe,
            Self::Complete,
            Self::GetTask,
            Self::UpdateTask,
            Self::CancelTask,
            Self::TaskResult,
            Self::ListTasks,
        ]
        .into_iter()
        .find(|own| own.method() == method)
    }

    /// What the record calls it.
    pub fn kind(&self) -> CallKind {
        match self {
            Self::CallTool => CallKind::CallTool,
            Self::GetPrompt => CallKind::GetPrompt,
            Self::ReadResource => CallKind::ReadResource,
            Self::Subscribe | Self::Unsubscribe => CallKind::SubscribeResource,
            Self::Complete => CallKind::Complete,
            Self::GetTask
            | Self::UpdateTask
            | Self::CancelTask
            | Self::TaskResult
            | Self::ListTasks
            | Self::Other(_) => CallKind::Other,
        }
    }
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
    /// Where what comes aside is put.
    messages: mpsc::Sender<String>,
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
    #[error("Unknown {}: {name}", route::noun(*kind))]
    Denied {
        /// What it is a name of.
        kind: ListKind,
        /// The name as the caller wrote it.
        name: String,
        /// Why.
        reason: trunkline_policy::Reason,
    },
    /// A header does not say what the body says (2026-07-28).
    #[error("Header mismatch: {0}")]
    HeaderMismatch(String),
    /// Nobody here knows the method.
    #[error("Method not found: {0}")]
    Method(String),
    /// There is no such task for this caller.
    #[error("Failed to retrieve task: Task not found")]
    UnknownTask,
    /// The client does not say that it knows tasks (2026-07-28).
    #[error("Missing required client capability: {}", task::EXTENSION)]
    NeedsTasks,
    /// There is no room to wait for the client in.
    #[error("too many calls of this caller wait for answers to what servers ask")]
    Full,
    /// The call that this goes on with is on another replica.
    #[error("the call that this answers cannot be taken up: {0}; the tool is not run again")]
    Elsewhere(#[from] PeerError),
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
            Self::HeaderMismatch(_) => rpc::HEADER_MISMATCH,
            Self::Method(_) => rpc::METHOD_NOT_FOUND,
            Self::NeedsTasks => rpc::MISSING_CLIENT_CAPABILITY,
            // Revisions before 2026-07-28 have a code of its own for it.
            Self::Route(RouteError::Unknown {
                kind: ListKind::Resources,
                ..
            }) => rpc::RESOURCE_NOT_FOUND,
            Self::Params(_)
            | Self::UnknownTask
            | Self::Denied { .. }
            | Self::Route(RouteError::Unknown { .. } | RouteError::Ambiguous { .. }) => rpc::INVALID_PARAMS,
            Self::Route(RouteError::Unavailable { .. })
            | Self::Upstream { .. }
            | Self::Full
            | Self::Elsewhere(_) => rpc::INTERNAL_ERROR,
        }
    }

    /// The code as requests of the new era have it: it has none for resources that are not there.
    pub fn code_in(&self, era: Era) -> i64 {
        match (self.code(), era) {
            (rpc::RESOURCE_NOT_FOUND, Era::Modern) => rpc::INVALID_PARAMS,
            (code, _) => code,
        }
    }

    /// The record's word.
    pub fn outcome_word(&self) -> &'static str {
        match self {
            Self::Params(_) => "invalid_params",
            Self::Denied { .. } => "denied",
            Self::HeaderMismatch(_) => "header_mismatch",
            Self::Method(_) => "unknown_method",
            Self::UnknownTask => "unknown_task",
            Self::NeedsTasks => "missing_capability",
            Self::Full => "rate_limited",
            Self::Elsewhere(_) => "replica_gone",
            Self::Route(RouteError::Unknown { kind, .. }) => match kind {
                ListKind::Tools => "unknown_tool",
                ListKind::Prompts => "unknown_prompt",
                ListKind::Resources | ListKind::ResourceTemplates => "unknown_resource",
            },
            Self::Route(RouteError::Ambiguous { kind, .. }) => match kind {
                ListKind::Tools => "ambiguous_tool",
                ListKind::Prompts => "ambiguous_prompt",
                ListKind::Resources | ListKind::ResourceTemplates => "ambiguous_resource",
            },
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
            Self::Full => Some(parked::RETRY_AFTER.as_secs()),
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
            Self::Route(RouteError::Unknown {
                kind: ListKind::Resources,
                name,
                ..
            }) => return Some(serde_json::json!({"uri": name}).to_string()),
            Self::NeedsTasks => return Some(task::MISSING_EXTENSION.to_owned()),
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

/// Upstream sessions are shared with other processes, before and beside this one: each begins elsewhere.
static PROGRESS: LazyLock<AtomicU64> = LazyLock::new(|| {
    let [a, b, c, d, ..] = *uuid::Uuid::new_v4().as_bytes();
    AtomicU64::new((u64::from(u32::from_be_bytes([a, b, c, d])) << 20) + 1)
});

/// Begins a call. `params` are the raw parameters of the method; `only` a server that the request names besides (REST).
/// Where it goes is noted in `pending` as soon as it is known, so that a failure is recorded with it (B65).
pub async fn begin(
    gateway: &Gateway,
    context: &Context,
    operation: Operation,
    params: &str,
    only: Option<&Arc<Server>>,
    pending: &mut Pending,
) -> Result<Call, CallError> {
    let mut params = RawObject::parse(params).map_err(|error| CallError::Params(error.to_string()))?;
    let target = resolve(gateway, context, &operation, &mut params, only).await?;
    pending.target(target.server.id.as_str(), &target.name);
    check_param_headers(context, &target, &params)?;
    begin_at(gateway, context, operation, target, params).await
}

/// Begins a call whose target is known, and allowed.
pub async fn begin_at(
    gateway: &Gateway,
    context: &Context,
    operation: Operation,
    mut target: Target,
    mut params: RawObject<'_>,
) -> Result<Call, CallError> {
    let tasked = Tasked::of(context, &operation, &mut target, &mut params);
    let token = if matches!(tasked.as_deref(), Some(Tasked::Wanted)) {
        tasks::seal_token(gateway, context, &mut params)?;
        None
    } else {
        own_progress_token(&mut params)?
    };
    let server = target.server;
    let failed = |fault: Fault| CallError::Upstream {
        server: server.prefix(),
        fault: Box::new(fault),
    };
    let out = gateway
        .upstreams
        .outgoing(&server, &context.client_headers())
        .map_err(failed)?;
    let tool = (operation == Operation::CallTool).then_some(&*target.name);
    let settings = gateway.upstreams.settings();
    let limits = (settings.call_timeout, settings.max_call_timeout);
    let timeout = deadline::of_call(&context.headers, &server, tool, limits).map_err(CallError::Params)?;
    let params = params.to_json();
    let params: Arc<str> = tasks::own_related(gateway, context, &server, &params)?
        .unwrap_or(params)
        .into();
    let peer = context.peer(gateway);
    let (phase, progress) = match token {
        None => {
            let request = CallRequest {
                server: &server,
                out: &out,
                peer,
                era: context.era,
                header_params: &target.header_params,
                method: operation.method(),
                params: &params,
                timeout,
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
                messages: messages.clone(),
            });
            let (upstreams, server, out) = (gateway.upstreams.clone(), server.clone(), out.clone());
            let (operation, era) = (operation.clone(), context.era);
            let (header_params, params) = (target.header_params.clone(), params.clone());
            let opening = async move {
                upstreams
                    .call(CallRequest {
                        server: &server,
                        out: &out,
                        peer,
                        era,
                        header_params: &header_params,
                        method: operation.method(),
                        params: &params,
                        timeout,
                        progress,
                    })
                    .await
            };
            (
                Phase::Opening(Box::pin(opening)),
                Some(Tracked {
                    token,
                    aside,
                    messages,
                }),
            )
        }
    };
    Ok(Call {
        server,
        name: target.name,
        operation,
        qualified: target.qualified,
        wraps: target.wraps,
        phase,
        out,
        progress,
        asked: Vec::new(),
        dropped: 0,
        held: VecDeque::new(),
        params,
        timeout,
        header_params: target.header_params,
        round: None,
        rounds: 0,
        tasked,
        noting: Noting::Due,
    })
}

/// Where a request goes, after its parameters were read and the policy asked; puts the server's own name or URI in them.
async fn resolve(
    gateway: &Gateway,
    context: &Context,
    operation: &Operation,
    params: &mut RawObject<'_>,
    only: Option<&Arc<Server>>,
) -> Result<Target, CallError> {
    let string = |params: &RawObject<'_>, key: &str| {
        params
            .get_string(key)
            .ok_or_else(|| CallError::Params(format!("`{key}` must be a string")))
    };
    match operation {
        Operation::CallTool | Operation::GetPrompt => {
            let name = string(params, "name")?;
            if params
                .get("arguments")
                .is_some_and(|arguments| !matches!(arguments.as_bytes().first(), Some(b'{' | b'n')))
            {
                return Err(CallError::Params("`arguments` must be an object".to_owned()));
            }
            if params.get("arguments") == Some("null") {
                params.remove("arguments");
            }
            let kind = if *operation == Operation::CallTool {
                ListKind::Tools
            } else {
                ListKind::Prompts
            };
            let target = named(gateway, context, kind, &name, only).await?;
            if target.name != name {
                params.set_string("name", &target.name);
            }
            Ok(target)
        }
        Operation::ReadResource | Operation::Subscribe | Operation::Unsubscribe => {
            let uri = string(params, "uri")?;
            let target = located(gateway, context, &uri).await?;
            if target.name != uri {
                params.set_string("uri", &target.name);
            }
            Ok(target)
        }
        Operation::Complete => {
            let reference = params
                .get("ref")
                .ok_or_else(|| CallError::Params("`ref` is missing".to_owned()))?
                .to_owned();
            let mut reference =
                RawObject::parse(&reference).map_err(|error| CallError::Params(error.to_string()))?;
            let target = match reference.get_string("type").as_deref() {
                Some("ref/prompt") => {
                    let name = string(&reference, "name")?;
                    let target = named(gateway, context, ListKind::Prompts, &name, only).await?;
                    reference.set_string("name", &target.name);
                    target
                }
                Some("ref/resource") => {
                    let uri = string(&reference, "uri")?;
                    let target = located(gateway, context, &uri).await?;
                    reference.set_string("uri", &target.name);
                    target
                }
                _ => {
                    let text = "`ref.type` must be \"ref/prompt\" or \"ref/resource\"";
                    return Err(CallError::Params(text.to_owned()));
                }
            };
            params.set("ref", reference.to_json());
            Ok(target)
        }
        Operation::GetTask | Operation::UpdateTask | Operation::CancelTask | Operation::TaskResult => {
            tasks::target(gateway, context, operation, params)
        }
        // The list of all servers is not asked for here.
        Operation::ListTasks => Err(CallError::Method(operation.method().to_owned())),
        Operation::Other(method) => route::of_method(gateway, context, method)
            .ok_or_else(|| CallError::Method(trunkline_upstream::fault::printable(method))),
    }
}

/// In the new era, `Mcp-Param-*` must say what the arguments say (S23). Of others, unknown ones included, nothing is asked.
fn check_param_headers(context: &Context, target: &Target, params: &RawObject<'_>) -> Result<(), CallError> {
    if context.era == Era::Legacy || target.header_params.is_empty() {
        return Ok(());
    }
    let arguments = params.get("arguments").unwrap_or("{}");
    for param in &target.header_params {
        let name = format!("{}{}", header::PARAM_PREFIX, param.name);
        let value = context.headers.get(&name).map(axum::http::HeaderValue::as_bytes);
        if !param.agrees(value, arguments) {
            return Err(CallError::HeaderMismatch(format!(
                "{name} and the argument {} differ",
                trunkline_upstream::fault::printable(&param.path.join("."))
            )));
        }
    }
    Ok(())
}

async fn named(
    gateway: &Gateway,
    context: &Context,
    kind: ListKind,
    name: &str,
    only: Option<&Arc<Server>>,
) -> Result<Target, CallError> {
    let target = route::find(gateway, context, kind, name, only).await?;
    allowed(context, kind, &target, name)?;
    Ok(target)
}

async fn located(gateway: &Gateway, context: &Context, uri: &str) -> Result<Target, CallError> {
    // Boxed: it may list, and every call would carry room for it.
    let target = Box::pin(route::resource(gateway, context, uri)).await?;
    allowed(context, ListKind::Resources, &target, uri)?;
    Ok(target)
}

fn allowed(context: &Context, kind: ListKind, target: &Target, written: &str) -> Result<(), CallError> {
    match context.may_use(&target.server, kind, &target.name) {
        Decision::Allow => Ok(()),
        Decision::Deny(reason) => Err(CallError::Denied {
            kind,
            name: trunkline_upstream::fault::printable(written),
            reason,
        }),
    }
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
    /// The next message for the client: notifications with the client's own progress token, what the server asks under
    /// an id that leads back to it, then the response.
    pub async fn next(&mut self, gateway: &Gateway, context: &Context) -> Result<Frame, CallError> {
        loop {
            if let Noting::Running(noting) = &mut self.noting {
                // A failure was logged where it happened.
                let _ = noting.await;
                self.noting = Noting::Done;
            }
            if self.round.is_some()
                && let Some(frame) = Box::pin(self.asked_back(gateway, context)).await?
            {
                return Ok(frame);
            }
            let frame = match self.held.pop_front() {
                Some(frame) => Some(frame),
                None => self.stepped().await?,
            };
            match frame {
                None => {}
                // A client of the new era is asked by the end of its request.
                Some(Frame::Request { id, method, message }) if context.era == Era::Modern => {
                    if parked::is_readable(&message) {
                        return Ok(Frame::Request { id, method, message });
                    }
                    self.refuse(&id);
                }
                Some(Frame::Notification { method, message }) => {
                    if let Some(message) = self.notification(gateway, context, &method, message) {
                        return Ok(Frame::Notification { method, message });
                    }
                    self.dropped = self.dropped.wrapping_add(1);
                    if self.dropped.is_multiple_of(16) {
                        // What comes to nothing must not keep a thread from other requests (S38).
                        tokio::task::yield_now().await;
                    }
                }
                Some(Frame::Request { id, method, message }) => {
                    match self.ask(gateway, context, &id, &message) {
                        Some(message) => return Ok(Frame::Request { id, method, message }),
                        None => self.refuse(&id),
                    }
                }
                Some(Frame::Result(result)) if self.becomes_task(&result) => {
                    self.wait_for_task(gateway, context, &result);
                }
                Some(Frame::Error(error)) => {
                    self.task_ended();
                    return Ok(self.error(context, &error));
                }
                Some(Frame::Result(result))
                    if context.era == Era::Legacy
                        && self.leg() == Era::Modern
                        && modern::result_type(&result) == "input_required" =>
                {
                    self.rounds += 1;
                    let begun = if self.rounds > MAX_ROUNDS {
                        Err(format!("the server asked more than {MAX_ROUNDS} times"))
                    } else {
                        let patience = gateway.upstreams.settings().answer_timeout;
                        Round::begin(gateway, context, &result, patience)
                    };
                    match begun {
                        Ok(round) => self.round = Some(Box::new(round)),
                        Err(why) => return Ok(self.given_up(&why)),
                    }
                }
                Some(Frame::Result(result))
                    if context.era == Era::Legacy && self.leg() == Era::Modern && tasks::is_made(&result) =>
                {
                    return Ok(self.given_up("the server made a task of the call, which nobody asked for"));
                }
                Some(Frame::Result(result)) if self.notes(gateway, context) => {
                    self.held.push_front(Frame::Result(result));
                }
                Some(Frame::Result(result)) => {
                    self.task_ended();
                    return self.result(gateway, context, result).map(Frame::Result);
                }
            }
        }
    }

    /// Begins to write down what the client subscribed to, once the server has taken it; whether there is anything to wait for.
    /// A client of the new era says it with each stream.
    fn notes(&mut self, gateway: &Gateway, context: &Context) -> bool {
        let is_on = match self.operation {
            Operation::Subscribe => true,
            Operation::Unsubscribe => false,
            _ => return false,
        };
        let (Some(session), Noting::Due) = (context.session, &self.noting) else {
            return false;
        };
        if context.era == Era::Modern {
            return false;
        }
        let (upstreams, lasts) = (gateway.upstreams.clone(), context.lasts_until);
        let subject = (self.server.id.clone(), self.name.clone());
        self.noting = Noting::Running(tokio::spawn(async move {
            upstreams.note_subscription(session, subject, is_on, lasts).await;
        }));
        true
    }

    /// Goes through the round that the server's question began, if there is one: the questions, and when they are answered
    /// the server's request again. A frame if the client is to hear something.
    async fn asked_back(&mut self, gateway: &Gateway, context: &Context) -> Result<Option<Frame>, CallError> {
        let Some(round) = &mut self.round else {
            return Ok(None);
        };
        if let Some((id, method, message)) = round.next_question() {
            return Ok(Some(Frame::Request { id, method, message }));
        }
        let answered = round.answers().await;
        self.round = None;
        let members = match answered {
            Ok(members) => members,
            Err(why) => return Ok(Some(self.given_up(&why))),
        };
        let mut params =
            RawObject::parse(&self.params).map_err(|error| CallError::Params(error.to_string()))?;
        for (key, value) in members {
            params.set(key, value);
        }
        let params = params.to_json();
        self.ask_again(gateway, context, self.operation.method().to_owned(), params);
        Ok(None)
    }

    /// Goes on with another request to the server, in the place of the one that was answered.
    fn ask_again(&mut self, gateway: &Gateway, context: &Context, method: String, params: String) {
        let (upstreams, server, out) = (gateway.upstreams.clone(), self.server.clone(), self.out.clone());
        let (peer, era) = (context.peer(gateway), context.era);
        let (header_params, timeout) = (self.header_params.clone(), self.timeout);
        let progress = self.progress.as_ref().map(|tracked| Progress {
            token: tracked.token.upstream.clone(),
            messages: tracked.messages.clone(),
        });
        self.phase = Phase::Opening(Box::pin(async move {
            upstreams
                .call(CallRequest {
                    server: &server,
                    out: &out,
                    peer,
                    era,
                    header_params: &header_params,
                    method: &method,
                    params: &params,
                    timeout,
                    progress,
                })
                .await
        }));
    }

    /// Whether the result is a task that the call is to wait for.
    fn becomes_task(&self, result: &str) -> bool {
        matches!(self.tasked.as_deref(), Some(Tasked::Needed(None))) && task::announced(result).is_some()
    }

    /// Asks for the task's result, which comes when the task has ended. Progress and questions come on the same stream.
    fn wait_for_task(&mut self, gateway: &Gateway, context: &Context, result: &str) {
        let (Some(id), Phase::Open(exchange)) = (task::announced(result), &self.phase) else {
            return;
        };
        let to = (&self.server, &self.out, exchange.session());
        let waiting = Waiting::new(id, &gateway.upstreams, to);
        let params = waiting.params();
        self.tasked = Some(Box::new(Tasked::Needed(Some(waiting))));
        self.ask_again(gateway, context, task::RESULT.to_owned(), params);
    }

    /// There is an answer: nobody waits for the task any more.
    fn task_ended(&mut self) {
        if let Some(Tasked::Needed(Some(waiting))) = self.tasked.as_deref_mut() {
            waiting.end();
        }
    }

    /// The end of a call whose server's questions cannot be answered.
    fn given_up(&self, why: &str) -> Frame {
        if self.operation == Operation::CallTool {
            let text = edit::string(why);
            Frame::Result(format!(
                r#"{{"content":[{{"type":"text","text":{text}}}],"isError":true}}"#
            ))
        } else {
            Frame::Error(rpc::error_object(rpc::INTERNAL_ERROR, why, None))
        }
    }

    async fn stepped(&mut self) -> Result<Option<Frame>, CallError> {
        let frame = self.step().await.map_err(|fault| self.failed(fault))?;
        Ok(match self.awaited() {
            Some(_) => frame.map(tasks::unrelated),
            None => frame,
        })
    }

    /// The server's id of the task that the call waits for.
    fn awaited(&self) -> Option<&str> {
        self.tasked.as_deref().and_then(Tasked::awaited)
    }

    /// How the client sees the server's tasks.
    fn seen<'a>(&'a self, gateway: &'a Gateway, context: &'a Context) -> Seen<'a> {
        Seen {
            gateway,
            context,
            server: &self.server,
            tool: (self.operation == Operation::CallTool).then_some(&*self.name),
        }
    }

    fn failed(&self, fault: Fault) -> CallError {
        CallError::Upstream {
            server: self.server.prefix(),
            fault: Box::new(fault.without(self.out.secrets())),
        }
    }

    /// What is asked of the server.
    pub fn operation(&self) -> &Operation {
        &self.operation
    }

    /// The server's next question; what comes instead is held back. Cancel-safe.
    pub async fn question(&mut self) -> Result<Frame, CallError> {
        loop {
            if !self.held.is_empty() {
                // Nothing overtakes what is held.
                std::future::pending::<()>().await;
            }
            match self.stepped().await? {
                None => {}
                Some(frame @ Frame::Request { .. }) => return Ok(frame),
                Some(frame) => self.held.push_back(frame),
            }
        }
    }

    /// Hands the client's answer to the server. `id` and `result` are JSON text.
    pub async fn answer(&mut self, gateway: &Gateway, id: &str, result: &str) -> Result<(), CallError> {
        let Phase::Open(exchange) = &self.phase else {
            return Ok(());
        };
        let about = self.awaited().and_then(|task| task::related_to(result, task));
        let message = rpc::response(id, about.as_deref().unwrap_or(result));
        gateway
            .upstreams
            .answer(&self.server, &self.out, exchange.session(), message)
            .await
            .map_err(|fault| self.failed(fault))
    }

    /// The error of asking for more than there is room for.
    pub fn too_much(&self, message: &str) -> CallError {
        self.failed(Fault::new(OutcomeStatus::RateLimited, Step::Call, message))
    }

    /// A notification as the client is to see it, if at all.
    fn notification(
        &self,
        gateway: &Gateway,
        context: &Context,
        method: &str,
        message: String,
    ) -> Option<String> {
        let changed: Vec<ListKind> = ListKind::ALL
            .into_iter()
            .filter(|kind| kind.changed() == method)
            .collect();
        if !changed.is_empty() {
            // Clients hear of it from the gateway, after the list was fetched.
            for kind in changed {
                gateway.upstreams.list_changed(kind, &self.server, &self.out);
            }
            return None;
        }
        match method {
            PROGRESS_METHOD => match self.with_clients_token(&message) {
                Some(message) => Some(self.seen(gateway, context).about(message)),
                None => outside(gateway, context, &self.server, method, message),
            },
            task::STATUS if self.awaited().is_some() => None,
            "notifications/cancelled" => self.withdrawn(&message),
            "notifications/message" if context.era == Era::Modern => {
                is_wanted(context.log_level, &message).then_some(message)
            }
            // In the new era the one is for subscriptions alone, and the other is no more.
            "notifications/resources/updated" | "notifications/elicitation/complete"
                if context.era == Era::Modern =>
            {
                None
            }
            _ => outside(gateway, context, &self.server, method, message),
        }
    }

    /// Tells the server that its question cannot be handed on.
    pub fn refuse(&self, id: &str) {
        if let Phase::Open(exchange) = &self.phase {
            exchange.refuse(id, asked::UNREADABLE);
        }
    }

    /// The server's request as the client is to see it, if it can be handed on.
    fn ask(&mut self, gateway: &Gateway, context: &Context, id: &str, message: &str) -> Option<String> {
        let Phase::Open(exchange) = &self.phase else {
            return None;
        };
        let session = exchange.session();
        let (message, own) = asked::offer(gateway, context, &self.server, session, (id, message))?;
        self.asked.push((id.to_owned(), own));
        Some(message)
    }

    /// The server takes back what it asked.
    fn withdrawn(&self, message: &str) -> Option<String> {
        let mut object = RawObject::parse(message).ok()?;
        let params = object.get("params")?.to_owned();
        let mut params = RawObject::parse(&params).ok()?;
        let id = params.get("requestId")?;
        let (_, own) = self.asked.iter().find(|(asked, _)| asked == id)?;
        params.set("requestId", own.clone());
        object.set("params", params.to_json());
        Some(object.to_json())
    }

    /// The era that is spoken with the server.
    fn leg(&self) -> Era {
        match &self.phase {
            Phase::Open(exchange) => exchange.session().revision.era(),
            Phase::Opening(_) => Era::Legacy,
        }
    }

    /// The HTTP status of a JSON-RPC error that the server answered with, where it has a meaning for the client.
    pub fn error_status(&self, era: Era, error: &str) -> StatusCode {
        match (&self.phase, era, self.leg()) {
            (Phase::Open(exchange), Era::Modern, Era::Modern) => exchange.status(),
            (_, Era::Modern, Era::Legacy) if rpc::code_of(error) == Some(rpc::MISSING_CLIENT_CAPABILITY) => {
                StatusCode::BAD_REQUEST
            }
            _ => StatusCode::OK,
        }
    }

    /// The server's error in the client's era. One that asks for a page to be visited is a result there.
    fn error(&self, context: &Context, error: &str) -> Frame {
        let error = self.without_secrets(error);
        if (context.era, self.leg()) != (Era::Modern, Era::Legacy) {
            return Frame::Error(error);
        }
        match modern::url_elicitation(self.operation.method(), &error, context.capabilities) {
            Some(UrlElicitation::Asks(result)) => Frame::Result(result),
            Some(UrlElicitation::Unable(error)) => Frame::Error(error),
            None => Frame::Error(modern::error_to_modern(&error)),
        }
    }

    /// The result in the client's era, with its URIs as this client can use them.
    fn result(&self, gateway: &Gateway, context: &Context, result: String) -> Result<String, CallError> {
        let result = self.with_uris(gateway, context, result);
        let seen = self.seen(gateway, context);
        let renamed = match &self.tasked {
            Some(tasked) => tasked.result(&seen, &self.operation, &result),
            None if self.leg() == Era::Modern => tasks::made(&seen, &result),
            None => None,
        };
        let result = renamed.unwrap_or(result);
        let translated = match (context.era, self.leg(), &self.phase) {
            (Era::Modern, Era::Legacy, Phase::Open(exchange)) => {
                let info = exchange.session().introduction.server_info.as_deref();
                modern::result_to_modern(self.operation.method(), &result, info)
            }
            (Era::Legacy, Era::Modern, _) => {
                modern::result_to_legacy(&result).map(|result| self.as_object(result))
            }
            (Era::Legacy, Era::Legacy, _) if self.wraps => return Ok(self.as_object(result)),
            (Era::Modern, Era::Modern, _) => return Ok(self.for_whom(context, result)),
            _ => return Ok(result),
        };
        translated.map_err(|error| {
            let error = trunkline_upstream::fault::printable(&error.to_string());
            self.failed(Fault::protocol(
                Step::Call,
                format!("the result cannot be translated: {error}"),
            ))
        })
    }

    /// A tool's result whose structured content is an object, for clients that know no other.
    fn as_object(&self, result: String) -> String {
        let wrapped = matches!(self.operation, Operation::CallTool | Operation::TaskResult)
            .then(|| wrap::value(&result, self.wraps))
            .flatten();
        wrapped.unwrap_or(result)
    }

    /// What was read with a client's own credential, or of servers that it chose, is nobody else's, whatever the server says.
    fn for_whom(&self, context: &Context, result: String) -> String {
        if self.operation != Operation::ReadResource || context.is_public(&self.server) {
            return result;
        }
        modern::as_private(&result).unwrap_or(result)
    }

    fn with_uris(&self, gateway: &Gateway, context: &Context, result: String) -> String {
        let holder = match self.operation {
            Operation::CallTool | Operation::TaskResult => Holder::Content,
            Operation::GetPrompt => Holder::Messages,
            Operation::ReadResource => Holder::Contents,
            _ => return result,
        };
        let rewritten = if holder == Holder::Contents {
            let prefix = self.server.prefix();
            self.qualified
                .then(|| uris::rewrite(holder, &result, &|own| Some(uri::qualified(&prefix, own))))
                .flatten()
        } else if context.several() {
            uris::rewrite(holder, &result, &|own| {
                uris::exposed(gateway, context, &self.server, own)
            })
        } else {
            None
        };
        rewritten.unwrap_or(result)
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

/// Whether a log message is at least as severe as what a request of the new era asks for; without asking, none is sent.
fn is_wanted(level: Option<&str>, message: &str) -> bool {
    let severity = || {
        let message = RawObject::parse(message).ok()?;
        let level = RawObject::parse(message.get("params")?)
            .ok()?
            .get_string("level")?;
        modern::severity(&level)
    };
    match (level.and_then(modern::severity), severity()) {
        (Some(wanted), Some(own)) => own >= wanted,
        _ => false,
    }
}

/// A notification that is not about one request, as a client of `context` is to see it; `None` if it is not for it.
pub fn outside(
    gateway: &Gateway,
    context: &Context,
    server: &Server,
    method: &str,
    message: String,
) -> Option<String> {
    if method != "notifications/resources/updated" {
        let seen = Seen {
            gateway,
            context,
            server,
            tool: None,
        };
        return seen.message(method, message);
    }
    let rewritten = || {
        let mut object = RawObject::parse(&message).ok()?;
        let params = uris::uri_of(object.get("params")?, &|own| {
            uris::exposed(gateway, context, server, own)
        })?;
        object.set("params", params);
        Some(object.to_json())
    };
    Some(rewritten().unwrap_or(message))
}

/// The record's word for a result: `isError: true` is a tool error, not a success (B65), and a question is no answer.
pub fn result_word(result: &str) -> &'static str {
    let Ok(result) = RawObject::parse(result) else {
        return "ok";
    };
    match (result.get("isError"), result.get("resultType")) {
        (Some("true"), _) => "tool_error",
        (_, Some("\"input_required\"")) => "input_required",
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
