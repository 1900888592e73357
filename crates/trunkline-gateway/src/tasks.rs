//! Tasks: work that goes on after its request was answered, and is asked about by an id.
//!
//! The id that a client has is a sealed handle: which server, the server's own id, and in 2026-07-28 the tool. Any replica
//! finds the server from that alone, two servers may use the same id, and another caller's handle is an unknown task (S22).
//! The same task has the same handle in every result and notification, because clients compare them. The policy is asked
//! again each time.
//!
//! A server of 2025-11-25 that can run a tool as a task only is served to clients without tasks as well: the call asks for
//! the task and waits for its result (mcp reference §2.3).

use std::sync::Arc;

use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use trunkline_mcp::edit::{self, RawObject, Word};
use trunkline_mcp::task::{self, TOKEN_PREFIX};
use trunkline_mcp::{Era, ListKind, modern};
use trunkline_model::{Server, ServerId};
use trunkline_upstream::{Frame, Hearer, Outgoing, Session, TasksWatched, Upstreams};

use crate::Gateway;
use crate::calling::{CallError, Operation};
use crate::context::Context;
use crate::route::{self, Target};
use crate::uris::{self, Exposer, Holder};

/// What handles are sealed for, beside whom.
const IDS: &str = "id";
const TOKENS: &str = "progress";

#[derive(Serialize, Deserialize)]
struct Handle {
    server: String,
    id: String,
    /// Known in 2026-07-28, where nothing but the answer to the call makes a handle.
    tool: Option<String>,
    modern: bool,
}

/// A task that the caller may ask about.
#[derive(Debug)]
pub struct Task {
    /// Its server.
    pub server: Arc<Server>,
    /// The server's own id.
    pub id: String,
    /// The tool that made it, if that is known.
    pub tool: Option<String>,
}

/// The task that a client means. `None` is an unknown one: there is none, it is another caller's, or it is of a server or
/// tool that this request may not use. These are not told apart.
pub fn find(gateway: &Gateway, context: &Context, exposed: &str) -> Option<Task> {
    let body = gateway.tasks.open(&[IDS, context.principal.id()], exposed)?;
    let handle: Handle = serde_json::from_slice(&body).ok()?;
    if handle.modern != (context.era == Era::Modern) {
        return None;
    }
    let id = ServerId::new(handle.server);
    let server = context.servers().find(|server| server.id == id)?.clone();
    let allowed = match handle.tool.as_deref() {
        Some(tool) => context.may_use(&server, ListKind::Tools, tool).is_allow(),
        None => context.may_use_whole(&server),
    };
    allowed.then_some(Task {
        server,
        id: handle.id,
        tool: handle.tool,
    })
}

/// The server of a task, whose own id is put in the parameters.
pub fn target(
    gateway: &Gateway,
    context: &Context,
    operation: &Operation,
    params: &mut RawObject<'_>,
) -> Result<Target, CallError> {
    let method = operation.method();
    let only = match operation {
        Operation::UpdateTask => Some(Era::Modern),
        Operation::TaskResult => Some(Era::Legacy),
        _ => None,
    };
    if only.is_some_and(|era| era != context.era) {
        return Err(CallError::Method(method.to_owned()));
    }
    if context.era == Era::Modern && !task::declares(&params.to_json()) {
        return Err(CallError::NeedsTasks);
    }
    let exposed = params
        .get_string("taskId")
        .ok_or_else(|| CallError::Params("`taskId` must be a string".to_owned()))?;
    let task = find(gateway, context, &exposed).ok_or(CallError::UnknownTask)?;
    params.set_string("taskId", &task.id);
    let wraps = *operation == Operation::TaskResult
        && task
            .tool
            .as_deref()
            .is_some_and(|tool| route::shows_wrapped(gateway, context, &task.server, tool));
    Ok(Target {
        wraps,
        server: task.server,
        name: task.tool.unwrap_or_else(|| method.to_owned()),
        qualified: false,
        header_params: Vec::new(),
        needs_task: false,
        task: Some((task.id, exposed)),
        annotations: None,
        definition: None,
    })
}

/// How a client sees the tasks of one server.
pub struct Seen<'a> {
    /// The gateway.
    pub gateway: &'a Gateway,
    /// The client.
    pub context: &'a Context,
    /// The server.
    pub server: &'a Server,
    /// The tool that is spoken of, if it is known.
    pub tool: Option<&'a str>,
}

impl Seen<'_> {
    /// The client's id of a task.
    pub fn id(&self, own: &str) -> Option<String> {
        let modern = self.context.era == Era::Modern;
        let handle = Handle {
            server: self.server.id.as_str().to_owned(),
            id: own.to_owned(),
            // In 2025-11-25 lists and notifications name tasks too, and nobody remembers which tool they are of.
            tool: self.tool.filter(|_| modern).map(ToOwned::to_owned),
            modern,
        };
        let body = serde_json::to_vec(&handle).ok()?;
        let principal = self.context.principal.id();
        Some(self.gateway.tasks.seal(&[IDS, principal], &body))
    }

    /// Parameters or a result that may say which task they are about.
    pub fn related(&self, object: &str) -> Option<String> {
        task::related_as(object, &|own| self.id(own))
    }

    /// A message of the server that may be about a task; `None` if it is for nobody.
    pub fn message(&self, method: &str, message: String) -> Option<String> {
        let message = match method {
            "notifications/progress" => with_clients_token(self.gateway, self.context, &message)?,
            task::STATUS => task::within(&message, "params", &|params| {
                task::renamed(params, &|own| self.id(own))
            })
            .unwrap_or(message),
            _ => message,
        };
        Some(self.about(message))
    }

    /// A message with the client's id of the task that it is about.
    pub fn about(&self, message: String) -> String {
        if !task::may_be_related(&message) {
            return message;
        }
        task::within(&message, "params", &|params| self.related(params)).unwrap_or(message)
    }

    /// The state of a task of 2026-07-28, with its URIs as the client can use them. `exposed` is the client's id of `own`.
    pub fn state(&self, state: &str, (own, exposed): (&str, &str)) -> Option<String> {
        let renamed = task::renamed(state, &|id| {
            if id == own {
                Some(exposed.to_owned())
            } else {
                self.id(id)
            }
        })?;
        let readable = Exposer::new(self.gateway, self.context, self.server);
        let expose = |own: &str| readable.exposed(own);
        let result = |result: &str| uris::rewrite(Holder::Content, result, &expose);
        Some(task::within(&renamed, "result", &result).unwrap_or(renamed))
    }
}

/// What a call has to do with tasks.
pub enum Tasked {
    /// It is about this one: the server's id and the client's.
    About(String, String),
    /// The client wants one (2025-11-25).
    Wanted,
    /// The tool runs as a task only, and the client knows none: the call waits for it, once it is there.
    Needed(Option<Waiting>),
}

impl Tasked {
    /// What the call has to do with tasks. A tool that runs as a task only is asked for one.
    pub fn of(
        context: &Context,
        operation: &Operation,
        target: &mut Target,
        params: &mut RawObject<'_>,
    ) -> Option<Box<Self>> {
        if let Some((own, exposed)) = target.task.take() {
            return Some(Box::new(Self::About(own, exposed)));
        }
        if context.era == Era::Legacy && params.get("task").is_some_and(|task| task.starts_with('{')) {
            return Some(Box::new(Self::Wanted));
        }
        if *operation == Operation::CallTool && target.needs_task && !context.tasks {
            params.set("task", "{}".to_owned());
            return Some(Box::new(Self::Needed(None)));
        }
        None
    }

    /// The result as the client sees it, if it is not the server's own.
    pub fn result(&self, seen: &Seen<'_>, operation: &Operation, result: &str) -> Option<String> {
        match self {
            Self::About(own, exposed) => match operation {
                Operation::GetTask if seen.context.era == Era::Modern => seen.state(result, (own, exposed)),
                Operation::TaskResult => seen.related(result),
                _ => task::renamed(result, &|id| (id == own).then(|| exposed.clone())),
            },
            Self::Wanted => {
                let result = task::announced_as(result, &|own| seen.id(own))?;
                Some(seen.related(&result).unwrap_or(result))
            }
            Self::Needed(_) => task::unrelated(result),
        }
    }

    /// The server's id of the task that the call waits for.
    pub fn awaited(&self) -> Option<&str> {
        match self {
            Self::Needed(Some(waiting)) => Some(&waiting.id),
            _ => None,
        }
    }
}

/// The answer of a server of 2026-07-28 that made a task of the request, with the client's id of it.
pub fn made(seen: &Seen<'_>, result: &str) -> Option<String> {
    is_made(result)
        .then(|| task::renamed(result, &|own| seen.id(own)))
        .flatten()
}

static TASK: Word = Word::new("task");

/// Whether a server of 2026-07-28 made a task of the request.
pub fn is_made(result: &str) -> bool {
    // Results can be large, and few are tasks.
    TASK.may_be_in(result) && modern::result_type(result) == "task"
}

/// A frame that does not say what task it is about, for a client that knows none.
pub fn unrelated(frame: Frame) -> Frame {
    let bare = |message: String| task::within(&message, "params", &task::unrelated).unwrap_or(message);
    match frame {
        Frame::Notification { method, message } => Frame::Notification {
            method,
            message: bare(message),
        },
        Frame::Request { id, method, message } => Frame::Request {
            id,
            method,
            message: bare(message),
        },
        frame => frame,
    }
}

/// A task that somebody waits for. When that ends before the task does, its server is told.
pub struct Waiting {
    /// The server's id.
    pub id: String,
    upstreams: Arc<Upstreams>,
    server: Arc<Server>,
    out: Arc<Outgoing>,
    session: Arc<Session>,
    over: bool,
}

impl Waiting {
    /// Begins to wait.
    pub fn new(
        id: String,
        upstreams: &Arc<Upstreams>,
        (server, out, session): (&Arc<Server>, &Arc<Outgoing>, &Arc<Session>),
    ) -> Self {
        Self {
            id,
            upstreams: upstreams.clone(),
            server: server.clone(),
            out: out.clone(),
            session: session.clone(),
            over: false,
        }
    }

    /// Parameters that name the task.
    pub fn params(&self) -> String {
        format!(r#"{{"taskId":{}}}"#, edit::string(&self.id))
    }

    /// The task has ended.
    pub fn end(&mut self) {
        self.over = true;
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if !self.over {
            let params = self.params();
            self.upstreams
                .cancel_task(&self.server, &self.out, &self.session, &params);
        }
    }
}

/// Parameters or an answer of the client with the server's own id of the task that they are about. An error where that is
/// no task of this server for this client.
pub fn own_related(
    gateway: &Gateway,
    context: &Context,
    server: &Server,
    object: &str,
) -> Result<Option<String>, CallError> {
    let Some(exposed) = task::related(object) else {
        return Ok(None);
    };
    let task = find(gateway, context, &exposed)
        .filter(|task| task.server.id == server.id)
        .ok_or(CallError::UnknownTask)?;
    Ok(task::related_as(object, &|_| Some(task.id.clone())))
}

fn session_of(context: &Context) -> String {
    context
        .session
        .map(trunkline_model::SessionKey::to_hex)
        .unwrap_or_default()
}

/// Puts a sealed token in place of the client's `_meta.progressToken` of a request that becomes a task: progress comes after
/// the answer, and on other streams, so the way back must be in the token.
pub fn seal_token(gateway: &Gateway, context: &Context, params: &mut RawObject<'_>) -> Result<(), CallError> {
    let Some(meta) = params.get("_meta").filter(|meta| meta.starts_with('{')) else {
        return Ok(());
    };
    let meta = meta.to_owned();
    let mut meta = RawObject::parse(&meta).map_err(|error| CallError::Params(error.to_string()))?;
    let Some(own) = meta.get("progressToken") else {
        return Ok(());
    };
    let purpose = [TOKENS, context.principal.id(), &session_of(context)];
    let sealed = gateway.tasks.seal(&purpose, own.as_bytes());
    meta.set_string("progressToken", &format!("{TOKEN_PREFIX}{sealed}"));
    params.set("_meta", meta.to_json());
    Ok(())
}

/// The inverse, in a progress notification. `None` if the token is not one of these.
pub fn with_clients_token(gateway: &Gateway, context: &Context, message: &str) -> Option<String> {
    task::within(message, "params", &|params| {
        let mut params = RawObject::parse(params).ok()?;
        let token = params.get_string("progressToken")?;
        let purpose = [TOKENS, context.principal.id(), &session_of(context)];
        let own = gateway.tasks.open(&purpose, token.strip_prefix(TOKEN_PREFIX)?)?;
        params.set("progressToken", String::from_utf8(own).ok()?);
        Some(params.to_json())
    })
}

/// Tasks whose changes one listener hears of.
#[derive(Default)]
pub struct WatchedTasks {
    /// The server, its own id, and the client's.
    known: Vec<(ServerId, String, String)>,
    _watched: Vec<TasksWatched>,
}

impl WatchedTasks {
    /// Asks the servers of the tasks; `params` are those of the client's request.
    pub async fn begin(
        gateway: &Gateway,
        context: &Context,
        (ids, params): (&[String], &str),
        hearer: &Hearer,
    ) -> Self {
        let mut by_server: Vec<(Arc<Server>, Vec<String>)> = Vec::new();
        let mut known = Vec::new();
        for exposed in ids {
            // Not honoured, as if there were none: the same as when it is asked about.
            let Some(task) = find(gateway, context, exposed) else {
                continue;
            };
            known.push((task.server.id.clone(), task.id.clone(), exposed.clone()));
            match by_server
                .iter_mut()
                .find(|(server, _)| server.id == task.server.id)
            {
                Some((_, own)) => own.push(task.id),
                None => by_server.push((task.server, vec![task.id])),
            }
        }
        let meta = RawObject::parse(params)
            .ok()
            .and_then(|params| params.get("_meta").map(ToOwned::to_owned))
            .unwrap_or_else(|| "{}".to_owned());
        let client = context.client_headers();
        let asked = by_server.iter().map(|(server, own)| {
            let client = &client;
            let meta = &*meta;
            async move {
                let watched = gateway
                    .upstreams
                    .watch_tasks(server, client, (own, meta), hearer.clone());
                (server, watched.await)
            }
        });
        let mut watched = Vec::new();
        let mut taken: Vec<(ServerId, String)> = Vec::new();
        for (server, answer) in join_all(asked).await {
            match answer {
                Ok(own) => {
                    taken.extend(own.ids.iter().map(|id| (server.id.clone(), id.clone())));
                    watched.push(own);
                }
                Err(fault) => tracing::info!(server = %server.prefix(), %fault, "tasks are not watched"),
            }
        }
        known.retain(|(server, own, _)| taken.iter().any(|(by, id)| by == server && id == own));
        Self {
            known,
            _watched: watched,
        }
    }

    /// Whether the client hears of the task, by its own id.
    pub fn has(&self, exposed: &str) -> bool {
        self.known.iter().any(|(_, _, own)| own == exposed)
    }

    /// A server's notification as the client is to see it; `None` if the client did not ask for it.
    pub fn told(
        &self,
        gateway: &Gateway,
        context: &Context,
        server: &Server,
        message: &str,
    ) -> Option<String> {
        // The server may have been taken away from this client since.
        context.servers().find(|own| own.id == server.id)?;
        let seen = Seen {
            gateway,
            context,
            server,
            tool: None,
        };
        task::within(message, "params", &|params| {
            let own = RawObject::parse(params).ok()?.get_string("taskId")?;
            let (_, own, exposed) = self
                .known
                .iter()
                .find(|(by, id, _)| *by == server.id && *id == own)?;
            seen.state(params, (own, exposed))
        })
    }
}

/// Whether a notification is about a task (2026-07-28).
pub fn is_of_task(message: &str) -> bool {
    RawObject::parse(message)
        .ok()
        .and_then(|message| message.get_string("method"))
        .is_some_and(|method| method == task::CHANGED)
}

#[cfg(test)]
mod tests {
    use trunkline_auth::HandleSealer;
    use trunkline_model::Secret;

    use super::*;

    #[test]
    fn s22_a_handle_is_the_callers_own() {
        let sealer = HandleSealer::derive(&Secret::new("root"), "mcp task");
        let handle = Handle {
            server: "s".to_owned(),
            id: "1".to_owned(),
            tool: Some("t".to_owned()),
            modern: true,
        };
        let body = serde_json::to_vec(&handle).unwrap();
        let exposed = sealer.seal(&[IDS, "a"], &body);
        assert_eq!(sealer.open(&[IDS, "a"], &exposed), Some(body));
        assert_eq!(sealer.open(&[IDS, "b"], &exposed), None);
        assert_eq!(sealer.open(&[TOKENS, "a"], &exposed), None);
    }
}
