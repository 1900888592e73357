//! Call: decide, route, credential, call. The only way to a server for a client's request, for tools, prompts and resources,
//! for MCP and REST alike.

mod approval;
mod error;
mod operation;
mod resolve;
mod rules;
mod shown;
mod subject;

use std::borrow::Cow;
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use axum::http::StatusCode;

use tokio::sync::mpsc;
use trunkline_mcp::edit::{self, RawObject};
use trunkline_mcp::header::HeaderParam;
use trunkline_mcp::{Era, modern, rpc, task};
use trunkline_model::{OutcomeStatus, Server, Step};
use trunkline_upstream::{CallRequest, Exchange, Fault, Frame, Outgoing, Progress};

use crate::Gateway;
use crate::asked;
use crate::context::Context;
use crate::deadline;
use crate::limits;
use crate::parked;
use crate::record::Pending;
use crate::rounds::Round;
use crate::route::Target;
use crate::tasks::{self, Seen, Tasked, Waiting};

pub use approval::Unapproved;
pub use error::{CallError, Denied, internal};
pub use operation::Operation;
pub use rules::RuledOut;
pub use shown::{outside, result_word, tool_error_text};
pub use subject::Subject;

use approval::Grant;
use resolve::{check_param_headers, resolve};

/// A call under way.
pub struct Call {
    /// The server.
    pub server: Arc<Server>,
    /// The upstream's name of the tool or prompt, or its URI of the resource.
    pub name: String,
    /// The tool's annotations, where a condition reads them.
    annotations: Option<Box<str>>,
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
    /// By which approval it is made.
    grant: Grant,
    /// What it has to do with tasks.
    tasked: Option<Box<Tasked>>,
    /// A subscription that was taken is written down before the client hears of it.
    noting: Noting,
    /// Its place among the calls of its key.
    _place: Option<limits::Place>,
}

/// Whether what a subscription changes in its session was written down.
enum Noting {
    Due,
    Running(tokio::task::JoinHandle<()>),
    Done,
}

/// Times that a server may ask in one call.
const MAX_ROUNDS: u32 = 8;

/// How far a call is. Its opening is driven with the rest of it: progress may come before the answer begins, and a server that
/// withholds the head of its answer must not withhold the client's (B64).
enum Phase {
    Opening(Pin<Box<dyn Future<Output = Result<Exchange, Fault>> + Send>>),
    Open(Box<Exchange>),
}

impl Phase {
    /// Nothing is sent before the phase is polled.
    fn begin(gateway: &Gateway, request: CallRequest) -> Self {
        Self::Opening(Box::pin(gateway.upstreams.call(request)))
    }
}

impl Tracked {
    fn progress(&self) -> Progress {
        Progress {
            token: self.token.upstream.clone(),
            messages: self.messages.clone(),
        }
    }
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
    // Looking for a name may send something, too.
    if operation.is_limited() {
        gateway.limits.check(&context.principal).await?;
    }
    let mut params = RawObject::parse(params).map_err(|error| CallError::Params(error.to_string()))?;
    let target = resolve(gateway, context, &operation, &mut params, only).await?;
    pending.target(target.server.id.clone(), &target.name);
    check_param_headers(context, &target, &params)?;
    let grant = if operation == Operation::CallTool {
        rules::apply(gateway, context, &target, &mut params)?;
        approval::require(gateway, context, &target, &mut params).await?
    } else {
        Grant::Free
    };
    match begin_at(gateway, context, operation, target, params).await {
        Ok(call) => Ok(Call { grant, ..call }),
        Err(error) => {
            // Nothing was sent: the yes is for the next time.
            // Boxed: it is rare, and every call would have its size.
            Box::pin(approval::unused(gateway.registry.store().clone(), grant)).await;
            Err(error)
        }
    }
}

/// Begins a call whose target is known, and allowed; no call of a tool, which has rules.
pub async fn begin_at(
    gateway: &Gateway,
    context: &Context,
    operation: Operation,
    mut target: Target,
    mut params: RawObject<'_>,
) -> Result<Call, CallError> {
    let place = limited(gateway, context, &operation, &target.server).await?;
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
    let tracked = token.map(|token| {
        let (messages, aside) = mpsc::channel(ASIDE);
        Tracked {
            token,
            aside,
            messages,
        }
    });
    let request = CallRequest {
        server: server.clone(),
        out: out.clone(),
        peer,
        era: context.era,
        method: operation.method_name(),
        header_params: target.header_params.clone(),
        params: params.clone(),
        timeout,
        progress: tracked.as_ref().map(Tracked::progress),
    };
    Ok(Call {
        server,
        name: target.name,
        annotations: target.annotations,
        operation,
        qualified: target.qualified,
        wraps: target.wraps,
        phase: Phase::begin(gateway, request),
        out,
        progress: tracked,
        asked: Vec::new(),
        dropped: 0,
        held: VecDeque::new(),
        params,
        timeout,
        header_params: target.header_params,
        round: None,
        rounds: 0,
        grant: Grant::Free,
        tasked,
        noting: Noting::Due,
        _place: place,
    })
}

/// Counts the call, and gives it its place, unless it is one too many.
async fn limited(
    gateway: &Gateway,
    context: &Context,
    operation: &Operation,
    server: &Server,
) -> Result<Option<limits::Place>, CallError> {
    if !operation.is_limited() {
        return Ok(None);
    }
    // One list asks many servers, all at the same time.
    let place = match operation {
        Operation::ListTasks => None,
        _ if context.has_place => None,
        _ => gateway.limits.place(&context.principal).await?,
    };
    gateway.limits.count(&context.principal, server).await?;
    Ok(place)
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
            if !matches!(self.grant, Grant::Free | Grant::Used(_))
                && let Some(frame) = Box::pin(self.approved(gateway, context)).await?
            {
                return Ok(frame);
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
                Some(Frame::Result(result))
                    if matches!(self.grant, Grant::Used(_))
                        && context.era == Era::Modern
                        && modern::result_type(&result) == "input_required" =>
                {
                    self.held.push_front(Frame::Result(result));
                    self.give_back(gateway);
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
        self.ask_again(gateway, context, self.operation.method_name(), params);
        Ok(None)
    }

    /// Goes on with another request to the server, in the place of the one that was answered.
    fn ask_again(&mut self, gateway: &Gateway, context: &Context, method: Cow<'static, str>, params: String) {
        let request = CallRequest {
            server: self.server.clone(),
            out: self.out.clone(),
            peer: context.peer(gateway),
            era: context.era,
            method,
            header_params: self.header_params.clone(),
            params: params.into(),
            timeout: self.timeout,
            progress: self.progress.as_ref().map(Tracked::progress),
        };
        self.phase = Phase::begin(gateway, request);
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
        self.ask_again(gateway, context, task::RESULT.into(), params);
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

    /// It waits for its client: its place with the server is for others.
    pub fn release(&mut self) {
        if let Phase::Open(exchange) = &mut self.phase {
            exchange.release();
        }
    }

    /// No other client's requests come onto the session that it runs on, if that is nobody's own.
    pub fn keep_session_to_itself(&self, gateway: &Gateway) {
        if let Phase::Open(exchange) = &self.phase {
            gateway.upstreams.set_apart(&self.server, exchange.session());
        }
    }

    /// The error of asking for more than there is room for.
    pub fn too_much(&self, message: &str) -> CallError {
        self.failed(Fault::new(OutcomeStatus::RateLimited, Step::Call, message))
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
}
