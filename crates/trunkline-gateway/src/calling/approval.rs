//! Calls that somebody has to say yes to before anything of them is sent: the server's `tool_approval`.
//!
//! An approval is in the database, so that it counts on every replica, and is bound to the caller, the tool with its definition, and,
//! if it is for one call, to the arguments as the server would get them. It is taken by one statement: of two calls, one has it. Where
//! the server's `approval_by_user` lets it and the client can be asked, its user is: a client of the old era on the call's own stream,
//! one of the new era by a result that ends its request and holds what it needs to come back, sealed. Others are told the name of the
//! approval, which an administrator decides.
//!
//! By design these calls wait for the database. Without it none is made.

use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio::task::JoinHandle;
use trunkline_mcp::Era;
use trunkline_mcp::canonical::{canonical, strict};
use trunkline_mcp::edit::{self, RawObject};
use trunkline_model::ids::hex;
use trunkline_model::{ApprovalMode, CallApproval, CallApprovalState};
use trunkline_policy::approval_mode;
use trunkline_store::{APPROVAL_LASTS, Actor, Approved, Decided, Store, StoreError};
use trunkline_upstream::Frame;

use super::{Call, CallError, Noting};
use crate::Gateway;
use crate::context::Context;
use crate::rounds::Round;
use crate::route::Target;

/// What a state of ours begins with, in `requestState`: no server's and no parked call's does.
const STATE: &str = "tla1.";
/// The question's name.
const QUESTION: &str = "approve";
/// Bytes of arguments that are kept for whoever decides, and shown to the user.
const MAX_KEPT: usize = 64 * 1024;
const MAX_SHOWN: usize = 2_000;

/// A call that is not approved.
#[derive(Debug, thiserror::Error)]
pub enum Unapproved {
    /// Somebody has to say yes first.
    #[error(
        "approval_required: this call of {tool} has to be approved. Its approval is {id}: an administrator decides at POST /v1/mcp/approvals/{id}/approve or /deny; then make the same call again"
    )]
    Pending {
        /// The approval.
        id: String,
        /// The tool.
        tool: String,
    },
    /// The client asks its user: the result that makes it do so.
    #[error("approval_required: the user is asked")]
    Asks {
        /// JSON text.
        result: String,
    },
    /// Somebody said no.
    #[error("approval_denied: this call of {tool} was not approved ({id})")]
    Denied {
        /// The approval.
        id: String,
        /// The tool.
        tool: String,
    },
    /// Too many wait.
    #[error("approval_limit: too many calls of this caller wait to be approved; let some be decided first")]
    TooMany,
    /// The arguments cannot be shown to whoever decides.
    #[error("approval_impossible: the arguments of {tool} are too large to be approved, or cannot be read")]
    Unshowable {
        /// The tool.
        tool: String,
    },
}

impl Unapproved {
    /// The record's word, and REST's code.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Pending { .. } => "approval_required",
            Self::Asks { .. } => "input_required",
            Self::Denied { .. } => "approval_denied",
            Self::TooMany => "approval_limit",
            Self::Unshowable { .. } => "approval_impossible",
        }
    }
}

/// What a call goes on with.
pub(super) enum Grant {
    /// It needs no approval, or has one for good.
    Free,
    /// It has used up this one.
    Used(String),
    /// The client's user is asked on the call's stream.
    Asking(Box<Asking>),
    /// What the user said is written down; of which tool.
    Deciding(JoinHandle<Result<Approved, CallError>>, String),
    /// It has none, and goes on with nothing.
    Refused,
}

/// A question to the user of a client of the old era.
pub(super) struct Asking {
    wanted: CallApproval,
    round: Round,
}

/// Looks whether the call needs an approval, and takes it.
pub(super) async fn require(
    gateway: &Gateway,
    context: &Context,
    target: &Target,
    params: &mut RawObject<'_>,
) -> Result<Grant, CallError> {
    let mode = approval_mode(&target.server, &target.name);
    if mode == ApprovalMode::Never {
        without_state(context, params);
        return Ok(Grant::Free);
    }
    // Boxed: every call would carry room for it.
    Box::pin(take(gateway, context, (target, mode), params)).await
}

async fn take(
    gateway: &Gateway,
    context: &Context,
    (target, mode): (&Target, ApprovalMode),
    params: &mut RawObject<'_>,
) -> Result<Grant, CallError> {
    let tool = printable(&target.name);
    let wanted = wanted(gateway, context, (target, mode), params)
        .ok_or_else(|| unapproved(Unapproved::Unshowable { tool: tool.clone() }))?;
    let by_user = target.server.definition.approval_by_user;
    let said = said(gateway, context, &wanted, params)?;
    if let Some((id, yes)) = said.filter(|_| by_user) {
        decide(gateway.registry.store(), &user_of(context), &id, yes).await?;
    }
    let store = gateway.registry.store();
    let id = match taken(store, &wanted).await? {
        Approved::Yes(None) => return Ok(Grant::Free),
        Approved::Yes(Some(id)) => return Ok(Grant::Used(id)),
        Approved::No(id) => return Err(unapproved(Unapproved::Denied { id, tool })),
        Approved::TooMany => return Err(unapproved(Unapproved::TooMany)),
        Approved::Pending(id) => id,
    };
    let wanted = CallApproval { id, ..wanted };
    if by_user && let Some(question) = question(context, target, &wanted) {
        let asks = format!(r#"{{"{QUESTION}":{question}}}"#);
        if context.era == Era::Modern {
            let token = gateway
                .parking
                .seal(&bound(context, &wanted.binding), wanted.id.as_bytes());
            let state = edit::string(&format!("{STATE}{token}"));
            let result =
                format!(r#"{{"resultType":"input_required","inputRequests":{asks},"requestState":{state}}}"#);
            return Err(unapproved(Unapproved::Asks { result }));
        }
        let patience = gateway.upstreams.settings().answer_timeout.min(APPROVAL_LASTS);
        let result = format!(r#"{{"inputRequests":{asks}}}"#);
        if let Ok(round) = Round::begin(gateway, context, &result, patience) {
            return Ok(Grant::Asking(Box::new(Asking { wanted, round })));
        }
    }
    Err(unapproved(Unapproved::Pending { id: wanted.id, tool }))
}

fn unapproved(why: Unapproved) -> CallError {
    CallError::Unapproved(Box::new(why))
}

fn away(error: &StoreError) -> CallError {
    tracing::warn!(
        error = error as &dyn std::error::Error,
        "an approval could not be looked up"
    );
    CallError::NoApprovals
}

fn printable(text: &str) -> String {
    trunkline_upstream::fault::printable(text)
}

/// The request for an approval. `None` if what it is about cannot be said in one way.
fn wanted(
    gateway: &Gateway,
    context: &Context,
    (target, mode): (&Target, ApprovalMode),
    params: &RawObject<'_>,
) -> Option<CallApproval> {
    let arguments = params.get("arguments").unwrap_or("{}");
    if arguments.len() > MAX_KEPT {
        return None;
    }
    let definition = canonical(target.definition.as_deref()?)?;
    // Who says yes reads each argument once, and so has to read the one that the server takes.
    let one_call = match mode {
        ApprovalMode::Always => strict(arguments).ok()?,
        ApprovalMode::FirstUse | ApprovalMode::Never => String::new(),
    };
    let mut digest = Sha256::new();
    for part in [
        "call_approval",
        mode.as_str(),
        context.principal.id(),
        // A key may act for several people.
        context.principal.end_user().map_or("", |own| &*own.id),
        target.server.id.as_str(),
        &target.name,
        &definition,
        &one_call,
    ] {
        // Each with its length: two lists of parts are never one text.
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part.as_bytes());
    }
    let now = gateway.clock.now();
    Some(CallApproval {
        id: (gateway.new_id)(),
        server_id: target.server.id.clone(),
        tool: target.name.clone(),
        principal: context.principal.id().to_owned(),
        mode,
        binding: hex(&digest.finalize()),
        arguments: arguments.to_owned(),
        state: CallApprovalState::Pending,
        created_at: now,
        expires_at: now.checked_add(APPROVAL_LASTS).ok(),
        decided_at: None,
        decided_by: None,
        used_at: None,
    })
}

/// What a state is bound to besides the approval.
fn bound<'a>(context: &'a Context, binding: &'a str) -> [&'a str; 3] {
    ["approval", context.principal.id(), binding]
}

/// Takes a state of ours out of the parameters, and its answers: they are nobody else's.
fn without_state(context: &Context, params: &mut RawObject<'_>) {
    let is_ours = |state: String| state.starts_with(STATE);
    if context.era == Era::Modern && params.get_string("requestState").is_some_and(is_ours) {
        params.remove("requestState");
        params.remove("inputResponses");
    }
}

/// What the user of a client of the new era says: the approval, and whether it is a yes. What is ours of the parameters is taken out
/// of them.
fn said(
    gateway: &Gateway,
    context: &Context,
    wanted: &CallApproval,
    params: &mut RawObject<'_>,
) -> Result<Option<(String, bool)>, CallError> {
    if context.era != Era::Modern {
        return Ok(None);
    }
    let state = params.get_string("requestState");
    let Some(token) = state.as_deref().and_then(|state| state.strip_prefix(STATE)) else {
        return Ok(None);
    };
    let id = gateway
        .parking
        .open(&bound(context, &wanted.binding), token)
        .and_then(|id| String::from_utf8(id).ok())
        .ok_or_else(|| {
            CallError::Params("requestState is of another call, or of another caller".to_owned())
        })?;
    let answers = params.get("inputResponses").unwrap_or("{}").to_owned();
    without_state(context, params);
    Ok(is_yes(&answers).map(|yes| (id, yes)))
}

/// `None` if the question was not answered: who closes it has decided nothing.
fn is_yes(answers: &str) -> Option<bool> {
    let answers = RawObject::parse(answers).ok()?;
    let answer = RawObject::parse(answers.get(QUESTION)?).ok()?;
    let ticked = || {
        let content = RawObject::parse(answer.get("content")?).ok()?;
        Some(content.get("approve")? == "true")
    };
    match answer.get_string("action").as_deref() {
        Some("accept") => Some(ticked().unwrap_or_default()),
        Some("decline") => Some(false),
        _ => None,
    }
}

/// The question, if the client can be asked it.
fn question(context: &Context, target: &Target, wanted: &CallApproval) -> Option<String> {
    let shown: String = wanted.arguments.chars().take(MAX_SHOWN).collect();
    if shown.len() < wanted.arguments.len() {
        // Who does not see it all cannot say yes to it.
        return None;
    }
    let text = format!(
        "Call the tool {} of {} with these arguments? {}",
        printable(&target.name),
        printable(&target.server.prefix()),
        printable_all(&shown)
    );
    let text = edit::string(&text);
    let params = format!(
        r#"{{"mode":"form","message":{text},"requestedSchema":{{"type":"object","properties":{{"approve":{{"type":"boolean","title":"Approve","description":"Whether the tool is to be called"}}}},"required":["approve"]}}}}"#
    );
    context
        .asks()
        .answers_so("elicitation/create", &params)
        .then(|| format!(r#"{{"method":"elicitation/create","params":{params}}}"#))
}

/// On one line, and with nothing in it that does not show.
fn printable_all(text: &str) -> String {
    let text = text.replace(char::is_control, " ");
    trunkline_mcp::hidden::strip(&text).map_or(text, |(text, _)| text)
}

/// How long the database may take.
const PATIENCE: Duration = Duration::from_secs(5);

async fn taken(store: &Store, wanted: &CallApproval) -> Result<Approved, CallError> {
    match tokio::time::timeout(PATIENCE, store.approval_take(wanted)).await {
        Ok(taken) => taken.map_err(|error| away(&error)),
        Err(_) => Err(CallError::NoApprovals),
    }
}

/// Who decides, when it is the user at the client.
fn user_of(context: &Context) -> Actor {
    let caller = context.principal.id();
    Actor {
        changed_by: format!("the user at the client of {caller}"),
        changed_by_api_key: caller.to_owned(),
        request_id: Some(context.request_id.as_str().to_owned()),
        claimed_by: None,
        operation: Some("elicitation/create".to_owned()),
    }
}

async fn decide(store: &Store, by: &Actor, id: &str, yes: bool) -> Result<(), CallError> {
    let decided = tokio::time::timeout(PATIENCE, store.approval_decide(by, id, yes)).await;
    let decided = decided.map_err(|_| CallError::NoApprovals)?;
    if let Decided::Done(approval) = decided.map_err(|error| away(&error))? {
        tracing::info!(
            actor = by.changed_by, approval = %approval.id, server = %approval.server_id, name = %printable(&approval.tool),
            state = approval.state.as_str(), "the user decided about a call"
        );
    }
    Ok(())
}

/// Gives back what was used up for a call that did not run.
pub(super) async fn unused(store: Store, grant: Grant) {
    if let Grant::Used(id) = grant
        && let Err(error) = store.approval_give_back(&id).await
    {
        // It has to be approved again.
        let error = &error as &dyn std::error::Error;
        tracing::warn!(error, approval = %id, "an approval could not be given back");
    }
}

impl Call {
    /// Goes on with the question to the user; a frame if the client is to hear something. Cancel-safe: what is written is written by
    /// a task of its own.
    pub(super) async fn approved(
        &mut self,
        gateway: &Gateway,
        context: &Context,
    ) -> Result<Option<Frame>, CallError> {
        if let Grant::Asking(asking) = &mut self.grant {
            if let Some((id, method, message)) = asking.round.next_question() {
                return Ok(Some(Frame::Request { id, method, message }));
            }
            let said = asking.round.answers().await.ok().and_then(|members| {
                let responses = members.into_iter().find(|(key, _)| *key == "inputResponses");
                is_yes(&responses?.1)
            });
            let (store, by) = (gateway.registry.store().clone(), user_of(context));
            let wanted = asking.wanted.clone();
            let tool = printable(&wanted.tool);
            let deciding = tokio::spawn(async move {
                if let Some(yes) = said {
                    decide(&store, &by, &wanted.id, yes).await?;
                }
                taken(&store, &wanted).await
            });
            self.grant = Grant::Deciding(deciding, tool);
        }
        let (taken, tool) = match &mut self.grant {
            Grant::Deciding(deciding, tool) => (deciding.await, std::mem::take(tool)),
            Grant::Refused => return Err(CallError::NoApprovals),
            _ => return Ok(None),
        };
        self.grant = Grant::Refused;
        self.grant = match taken.unwrap_or(Err(CallError::NoApprovals))? {
            Approved::Yes(None) => Grant::Free,
            Approved::Yes(Some(id)) => Grant::Used(id),
            Approved::No(id) => return Err(unapproved(Unapproved::Denied { id, tool })),
            Approved::TooMany => return Err(unapproved(Unapproved::TooMany)),
            Approved::Pending(id) => return Err(unapproved(Unapproved::Pending { id, tool })),
        };
        Ok(None)
    }

    /// A server of the new era asks before the tool runs, and will be called again: what was used for the call is given back, before
    /// the client hears of it.
    pub(super) fn give_back(&mut self, gateway: &Gateway) {
        let grant = std::mem::replace(&mut self.grant, Grant::Free);
        let store = gateway.registry.store().clone();
        self.noting = Noting::Running(tokio::spawn(unused(store, grant)));
    }
}
