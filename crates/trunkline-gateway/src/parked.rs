//! Calls that wait for their client's answer (mcp reference §2.3). A server of the old era asks in the middle of a call,
//! on the call's own stream; a client of the new one is asked by a result that ends its request, and answers with the
//! next one. In between the server's stream is parked here, so that the tool runs once, however often the client is asked.
//!
//! What the client holds is sealed: it names the parked call and the replica that has it, and is good for the same caller,
//! route, method and parameters, once, and as long as the caller may make the call. The stream itself is in one process; a retry that reaches another one is handed on to it.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use trunkline_mcp::canonical::canonical;
use trunkline_mcp::edit::{RawObject, Word};
use trunkline_mcp::modern;
use trunkline_model::ReplicaId;
use trunkline_upstream::Frame;

use crate::Gateway;
use crate::calling::{Call, CallError};
use crate::context::Context;
use crate::peers::Held;

/// The beginning of this gateway's handles. One in front of or behind it has another key, and handles of its own.
fn prefix(gateway: &Gateway) -> String {
    format!("{}{}.", modern::HANDLE, gateway.parking.key_id())
}

/// Calls of one caller that may wait, and of all callers.
const MAX_OF_ONE: usize = 100;
const MAX_OF_ALL: usize = 2000;
/// Times that one call may ask.
const MAX_ROUNDS: u32 = 10;
/// When a caller whose calls are too many may try again: they are answered by people.
pub const RETRY_AFTER: Duration = Duration::from_secs(30);
/// Questions of one round.
const MAX_TOGETHER: usize = 32;
/// Questions that come this soon after another are asked with it.
const TOGETHER: Duration = Duration::from_millis(20);

/// The parked calls of this process.
#[derive(Default)]
pub struct Parked {
    calls: Mutex<HashMap<[u8; 16], Waiting>>,
}

struct Waiting {
    call: Call,
    /// The caller.
    principal: String,
    questions: Vec<Question>,
    rounds: u32,
    until: Instant,
}

/// What a handle is good for besides the caller, and how long.
struct Bound<'a> {
    method: &'a str,
    params: &'a str,
    until: Instant,
}

/// What a server asks.
struct Question {
    /// Its name in `inputRequests`.
    key: String,
    /// The server's id: raw JSON.
    id: String,
    /// `method` and `params`: raw JSON.
    request: String,
    /// The client's answer: raw JSON.
    answer: Option<String>,
}

impl Parked {
    fn lock(&self) -> MutexGuard<'_, HashMap<[u8; 16], Waiting>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives up the calls whose clients took too long; their servers are told.
    pub fn reap(&self) {
        let now = Instant::now();
        let late: Vec<Waiting> = self
            .lock()
            .extract_if(|_, waiting| waiting.until <= now)
            .map(|(_, waiting)| waiting)
            .collect();
        drop(late);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    fn has_room(&self, principal: &str) -> bool {
        has_room(&self.lock(), principal)
    }

    fn put(&self, handle: [u8; 16], waiting: Waiting) -> Result<(), CallError> {
        let mut calls = self.lock();
        if !has_room(&calls, &waiting.principal) {
            // The call is given up outside of the lock.
            drop(calls);
            return Err(CallError::Full);
        }
        calls.insert(handle, waiting);
        Ok(())
    }
}

fn has_room(calls: &HashMap<[u8; 16], Waiting>, principal: &str) -> bool {
    let own = calls
        .values()
        .filter(|waiting| waiting.principal == principal)
        .count();
    calls.len() < MAX_OF_ALL && own < MAX_OF_ONE
}

/// What a handle is bound to besides its caller and the servers of its route: the method, and the parameters without what changes between the rounds.
fn binding(method: &str, params: &str) -> String {
    let Ok(mut object) = RawObject::parse(params) else {
        // No call has such parameters.
        return format!("{method} {params}");
    };
    for key in ["_meta", "inputResponses", "requestState"] {
        object.remove(key);
    }
    let params = object.to_json();
    // The client may spell the same call differently the next time.
    let params = canonical(&params).unwrap_or(params);
    format!("{method} {params}")
}

/// Parks a call that asks: the result that asks the client. `params` are the client's own.
pub async fn park(
    gateway: &Gateway,
    context: &Context,
    mut call: Call,
    (method, params): (&str, &str),
    (first, rounds): (Frame, u32),
) -> Result<String, CallError> {
    if rounds >= MAX_ROUNDS {
        return Err(call.too_much(&format!("the server asked more than {MAX_ROUNDS} times")));
    }
    if !gateway.parked.has_room(context.principal.id()) {
        return Err(CallError::Full);
    }
    let mut questions = Vec::new();
    push(&mut questions, &call, first, rounds);
    // More of the same moment; whatever else comes waits in the call for the next round.
    while questions.len() < MAX_TOGETHER
        && let Ok(frame) = tokio::time::timeout(TOGETHER, call.question()).await
    {
        push(&mut questions, &call, frame?, rounds);
    }
    if questions.is_empty() {
        return Err(call.too_much("the server asks in a way that cannot be read"));
    }
    let bound = Bound {
        method,
        params,
        until: Instant::now() + gateway.upstreams.settings().answer_timeout,
    };
    // It is not the server's turn: others may call it (B06).
    call.release();
    wait(gateway, context, call, &bound, questions, rounds)
}

/// Takes a question up; one that cannot be read is refused at once, so that the server does not wait for an answer (B59).
fn push(questions: &mut Vec<Question>, call: &Call, frame: Frame, round: u32) {
    let Frame::Request { id, message, .. } = frame else {
        return;
    };
    match bare(&message) {
        Some(request) => questions.push(Question {
            key: format!("q{round}-{}", questions.len() + 1),
            id,
            request,
            answer: None,
        }),
        None => call.refuse(&id),
    }
}

/// Whether a server's question can be put into a result.
pub fn is_readable(message: &str) -> bool {
    bare(message).is_some()
}

/// `method` and `params` of a request. An elicitation's id means nothing where there is nothing to refer to it with.
fn bare(message: &str) -> Option<String> {
    let message = RawObject::parse(message).ok()?;
    let mut request = RawObject::default();
    request.set("method", message.get("method")?.to_owned());
    if let Some(params) = message.get("params") {
        let mut params = RawObject::parse(params).ok()?;
        params.remove("elicitationId");
        request.set("params", params.to_json());
    }
    Some(request.to_json())
}

fn wait(
    gateway: &Gateway,
    context: &Context,
    call: Call,
    bound: &Bound<'_>,
    questions: Vec<Question>,
    rounds: u32,
) -> Result<String, CallError> {
    let handle = *uuid::Uuid::new_v4().as_bytes();
    let principal = context.principal.id().to_owned();
    let held = Held {
        owner: gateway.peers.own_id(),
        id: handle,
    };
    let scope = context.selection.scope.key();
    let token = gateway.parking.seal(
        &[&principal, &scope, &binding(bound.method, bound.params)],
        &held.to_bytes(),
    );
    let mut requests = RawObject::default();
    for question in questions.iter().filter(|question| question.answer.is_none()) {
        requests.set(&question.key, question.request.clone());
    }
    let mut result = RawObject::default();
    result.set_string("resultType", "input_required");
    result.set("inputRequests", requests.to_json());
    result.set_string("requestState", &format!("{}{token}", prefix(gateway)));
    let waiting = Waiting {
        call,
        principal,
        questions,
        rounds,
        until: bound.until,
    };
    // Others may have come while this one's questions were collected.
    gateway.parked.put(handle, waiting)?;
    Ok(result.to_json())
}

/// What a retry leads to.
pub enum Resumed {
    /// No parked call: the request is one of its own.
    None,
    /// Another replica has the call.
    Elsewhere(ReplicaId),
    /// Answers are missing still: the result that asks for them again.
    Again(String),
    /// The call goes on.
    Call(Box<Call>, u32),
}

/// Takes up the call that the parameters' `requestState` names, and hands the client's answers to its server.
///
/// Boxed once there is something to take up, and not before: most requests begin a call, and would carry room for it.
pub async fn resume(
    gateway: &Gateway,
    context: &Context,
    method: &str,
    params: &str,
) -> Result<Resumed, CallError> {
    if !REQUEST_STATE.may_be_in(params) {
        return Ok(Resumed::None);
    }
    Box::pin(resume_by_state(gateway, context, method, params)).await
}

static REQUEST_STATE: Word = Word::new("requestState");

async fn resume_by_state(
    gateway: &Gateway,
    context: &Context,
    method: &str,
    params: &str,
) -> Result<Resumed, CallError> {
    let Ok(object) = RawObject::parse(params) else {
        return Ok(Resumed::None);
    };
    let Some(state) = object.get_string("requestState") else {
        return Ok(Resumed::None);
    };
    let Some(token) = state.strip_prefix(&prefix(gateway)) else {
        return Ok(Resumed::None);
    };
    let refused = |why: &str| CallError::Params(format!("requestState {why}"));
    let principal = context.principal.id();
    let scope = context.selection.scope.key();
    let held = gateway
        .parking
        .open(&[principal, &scope, &binding(method, params)], token)
        .and_then(|held| Held::from_bytes(&held))
        .ok_or_else(|| refused("belongs to another call, or to nobody's"))?;
    if held.owner != gateway.peers.own_id() {
        return Ok(Resumed::Elsewhere(held.owner));
    }
    let mut waiting = take(gateway, context, &held.id)
        .ok_or_else(|| refused("was used already, or is too old; the tool is not run again"))?;
    let answers = object
        .get("inputResponses")
        .and_then(|answers| RawObject::parse(answers).ok())
        .unwrap_or_default();
    for question in &mut waiting.questions {
        if let Some(answer) = answers
            .get(&question.key)
            .filter(|answer| answer.starts_with('{'))
        {
            question.answer = Some(answer.to_owned());
        }
    }
    if waiting.questions.iter().any(|question| question.answer.is_none()) {
        // Asking again gives no more time: the server waits since the first.
        let bound = Bound {
            method,
            params,
            until: waiting.until,
        };
        let result = wait(
            gateway,
            context,
            waiting.call,
            &bound,
            waiting.questions,
            waiting.rounds,
        );
        return result.map(Resumed::Again);
    }
    for question in &waiting.questions {
        let answer = question.answer.as_deref().unwrap_or("{}");
        waiting.call.answer(gateway, &question.id, answer).await?;
        if question.is_about_roots() {
            waiting.call.keep_session_to_itself(gateway);
        }
    }
    Ok(Resumed::Call(Box::new(waiting.call), waiting.rounds + 1))
}

/// Takes the parked call out: whoever comes second finds nothing, and the tool runs once. What the caller may not call any more
/// is not there, and is given up.
fn take(gateway: &Gateway, context: &Context, handle: &[u8; 16]) -> Option<Waiting> {
    let waiting = gateway.parked.lock().remove(handle);
    waiting.filter(|waiting| waiting.until > Instant::now() && waiting.call.is_allowed(gateway, context))
}

impl Question {
    /// Servers keep what they are told of roots for their session.
    fn is_about_roots(&self) -> bool {
        RawObject::parse(&self.request)
            .ok()
            .and_then(|request| request.get_string("method"))
            .is_some_and(|method| method == "roots/list")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s23_a_handle_is_bound_to_the_call_and_not_to_its_spelling() {
        let one = binding(
            "tools/call",
            r#"{"name":"a","arguments":{"x":1,"y":2},"_meta":{"p":1}}"#,
        );
        let two = binding(
            "tools/call",
            r#"{"requestState":"s","arguments":{"y":2,"x":1},"name":"a","inputResponses":{}}"#,
        );
        assert_eq!(one, two);
        assert_ne!(
            one,
            binding("tools/call", r#"{"name":"a","arguments":{"x":1,"y":3}}"#)
        );
        assert_ne!(
            one,
            binding("prompts/get", r#"{"name":"a","arguments":{"x":1,"y":2}}"#)
        );
        // Neither is what no type holds.
        for (one, other) in [("1e400", "1e401"), (r#""\ud800""#, r#""\ud801""#)] {
            let bound = |x: &str| {
                binding(
                    "tools/call",
                    &format!(r#"{{"name":"a","arguments":{{"x":{x}}}}}"#),
                )
            };
            assert_ne!(bound(one), bound(other));
            assert_eq!(bound(one), bound(&format!(" {one} ")));
        }
    }

    #[test]
    fn a_question_is_the_servers_without_its_envelope() {
        let message = r#"{"jsonrpc":"2.0","id":7,"method":"elicitation/create","params":{"mode":"url","elicitationId":"e","url":"https://a"}}"#;
        assert_eq!(
            bare(message).unwrap(),
            r#"{"method":"elicitation/create","params":{"mode":"url","url":"https://a"}}"#
        );
    }
}
