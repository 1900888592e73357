//! `tasks/list` (2025-11-25): a page of every server's tasks at a time. The cursor is sealed: where each server goes on.
//!
//! A server that fails in the middle of its list is named on that page and asked for the same page again with the next one, a few
//! times; then the page says that the rest is left out. No page in the middle is an error: the walk would end for all servers.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::Response;
use futures_util::future::join_all;
use serde_json::{Map, Value};
use trunkline_mcp::edit::RawObject;
use trunkline_mcp::{ListKind, rpc, task};
use trunkline_model::{CallKind, OutcomeStatus, Server, Step};
use trunkline_upstream::{Fault, Frame};

use crate::Gateway;
use crate::answer;
use crate::calling::{self, CallError, Operation};
use crate::context::Context;
use crate::outcomes::{self, META_KEY};
use crate::record::Pending;
use crate::relay::error_message;
use crate::route::Target;
use crate::tasks::Seen;

/// Longest cursor of a server; one that gives a longer one is not asked for more.
const MAX_CURSOR: usize = 4096;

/// How often a server is asked for one page in the middle of its list.
const TRIES: u8 = 3;

/// Where each server goes on.
type Positions = Vec<Position>;

/// Where a server goes on.
#[derive(Clone, serde::Serialize, serde::Deserialize)]
struct Position {
    id: String,
    cursor: String,
    /// How often it was asked in vain.
    failures: u8,
}

/// The servers of a page, each with where it goes on.
type Asked<'a> = Vec<(&'a Arc<Server>, Option<Position>)>;
/// A server's tasks as the client sees them, and where its next page begins.
type Page = (Vec<String>, Option<String>);

/// Answers `tasks/list`.
pub async fn list(
    gateway: &Arc<Gateway>,
    context: &Arc<Context>,
    (id, params): (&str, Option<&str>),
    bytes: usize,
) -> Response {
    let mut pending = Pending::begin(gateway, context, CallKind::Other, bytes);
    let (text, word, error) = match merged(gateway, context, params).await {
        Ok(result) => (rpc::response(id, &result), "ok", None),
        Err(error) => (
            error_message(gateway, id, &error, context.era),
            error.outcome_word(),
            Some(error.to_string()),
        ),
    };
    pending.sent(text.len());
    pending.finish(word, error);
    answer::json(StatusCode::OK, text)
}

/// The result: an error only if no server could be asked.
async fn merged(gateway: &Gateway, context: &Context, params: Option<&str>) -> Result<String, CallError> {
    let able: Vec<&Arc<Server>> = context
        .whole_servers()
        .filter(|server| lists_tasks(gateway, context, server))
        .collect();
    let (asked, begins): (Asked<'_>, bool) = match positions(gateway, context, params)? {
        None if able.is_empty() => {
            return Err(CallError::Method(Operation::ListTasks.method().to_owned()));
        }
        None => (able.iter().map(|server| (*server, None)).collect(), true),
        Some(positions) => (going_on(context, positions), false),
    };
    let pages = asked.into_iter().map(|(server, position)| {
        let can = able.iter().any(|own| own.id == server.id);
        async move {
            let cursor = position.as_ref().map(|own| own.cursor.clone());
            let page = if can {
                page(gateway, context, server, cursor).await
            } else {
                Err(failed(server, unknown()))
            };
            (server, position, page)
        }
    });
    let mut tasks = Vec::new();
    let mut next: Positions = Vec::new();
    let mut named = Map::new();
    let mut last_error = None;
    let mut answered = !begins;
    for (server, position, page) in join_all(pages).await {
        match page {
            Ok((own, cursor)) => {
                answered = true;
                tasks.extend(own);
                next.extend(cursor.map(|cursor| Position {
                    id: server.id.as_str().to_owned(),
                    cursor,
                    failures: 0,
                }));
            }
            Err(error) => {
                let again = position.and_then(Position::again);
                named.insert(server.prefix(), told(gateway, &error, !begins && again.is_none()));
                next.extend(again);
                last_error = Some(error);
            }
        }
    }
    match last_error {
        Some(error) if !answered => Err(error),
        _ => Ok(written(gateway, context, &tasks, &next, named)),
    }
}

impl Position {
    /// To be asked for again, unless that was done often enough.
    fn again(self) -> Option<Self> {
        let failures = self.failures.saturating_add(1);
        (failures < TRIES).then_some(Self { failures, ..self })
    }
}

/// The servers in the middle of their lists, as far as the caller may still use them.
fn going_on(context: &Context, positions: Positions) -> Asked<'_> {
    let find = |position: Position| {
        let server = context
            .whole_servers()
            .find(|server| server.id.as_str() == position.id)?;
        Some((server, Some(position)))
    };
    positions.into_iter().filter_map(find).collect()
}

/// It listed tasks on an earlier page.
fn unknown() -> Fault {
    Fault::new(
        OutcomeStatus::Unreachable,
        Step::Call,
        "whether the server lists tasks is not known at the moment",
    )
}

/// Why a server's tasks are missing. `rest`: it is not asked for the rest of its list again.
fn told(gateway: &Gateway, error: &CallError, rest: bool) -> Value {
    let mut fault = match error {
        CallError::Upstream { fault, .. } => (**fault).clone(),
        // A shorter list carries a reason, whatever it is.
        other => Fault::new(OutcomeStatus::Internal, Step::Call, other.to_string()),
    };
    if rest {
        fault.message.push_str("; the rest of its list is left out");
    }
    let outcome = fault.outcome(gateway.clock.now(), Duration::ZERO);
    outcomes::to_json(&outcome, None, false)
}

fn written(
    gateway: &Gateway,
    context: &Context,
    tasks: &[String],
    next: &Positions,
    failed: Map<String, Value>,
) -> String {
    let mut result = RawObject::default();
    result.set("tasks", format!("[{}]", tasks.join(",")));
    if !next.is_empty() {
        let body = serde_json::to_vec(next).unwrap_or_default();
        let cursor = gateway.cursors.seal(&place(context), &body);
        result.set_string("nextCursor", &cursor);
    }
    if !failed.is_empty() {
        let mut meta = Map::new();
        meta.insert(META_KEY.to_owned(), Value::Object(failed));
        result.set("_meta", Value::Object(meta).to_string());
    }
    result.to_json()
}

/// What a cursor is good for.
fn place(context: &Context) -> [&str; 2] {
    ["tasks/list", context.principal.id()]
}

/// Where to go on; `None` at the beginning.
fn positions(
    gateway: &Gateway,
    context: &Context,
    params: Option<&str>,
) -> Result<Option<Positions>, CallError> {
    let params = params.unwrap_or("{}");
    let params = RawObject::parse(params).map_err(|error| CallError::Params(error.to_string()))?;
    let Some(cursor) = params.get("cursor").filter(|cursor| *cursor != "null") else {
        return Ok(None);
    };
    let invalid = || CallError::Params("Invalid cursor".to_owned());
    let cursor: String = serde_json::from_str(cursor).map_err(|_| invalid())?;
    let body = gateway
        .cursors
        .open(&place(context), &cursor)
        .ok_or_else(invalid)?;
    serde_json::from_slice(&body).map(Some).map_err(|_| invalid())
}

fn lists_tasks(gateway: &Gateway, context: &Context, server: &Arc<Server>) -> bool {
    let kind = (ListKind::Tools, context.era);
    let known = gateway.upstreams.known(kind, server, &context.client_headers());
    known.is_ok_and(|known| {
        let catalogue = known.catalogue.as_ref();
        catalogue.is_some_and(|catalogue| catalogue.introduction.capabilities.offers("tasks", "list"))
    })
}

/// One page of one server.
async fn page(
    gateway: &Gateway,
    context: &Context,
    server: &Arc<Server>,
    cursor: Option<String>,
) -> Result<Page, CallError> {
    let limit = gateway.upstreams.list_timeout(server);
    let asked = tokio::time::timeout(limit, ask(gateway, context, server, cursor));
    asked.await.unwrap_or_else(|_| {
        let fault = Fault::timeout(Step::Call, limit);
        Err(failed(server, fault))
    })
}

async fn ask(
    gateway: &Gateway,
    context: &Context,
    server: &Arc<Server>,
    cursor: Option<String>,
) -> Result<Page, CallError> {
    let mut params = RawObject::default();
    if let Some(cursor) = &cursor {
        params.set_string("cursor", cursor);
    }
    let operation = Operation::ListTasks;
    let target = Target::of_server(server, operation.method());
    let mut call = calling::begin_at(gateway, context, operation, target, params).await?;
    let seen = Seen {
        gateway,
        context,
        server,
        tool: None,
    };
    let wrong = |words: &str| {
        let words = format!("tasks/list: {}", trunkline_upstream::fault::printable(words));
        failed(
            server,
            Fault::new(OutcomeStatus::UpstreamError, Step::Call, words),
        )
    };
    loop {
        match call.next(gateway, context).await? {
            Frame::Notification { .. } | Frame::Request { .. } => {}
            Frame::Error(error) => return Err(wrong(&error)),
            Frame::Result(result) => {
                let page = task::listed(&result, &|own| seen.id(own));
                let (tasks, next) = page.ok_or_else(|| wrong("the answer has no list"))?;
                if next.as_ref().is_some_and(|next| next.len() > MAX_CURSOR) {
                    return Err(wrong("its cursor is too long to be carried"));
                }
                // The same again leads nowhere.
                let next = next.filter(|next| Some(next) != cursor.as_ref());
                return Ok((tasks, next));
            }
        }
    }
}

fn failed(server: &Server, fault: Fault) -> CallError {
    CallError::Upstream {
        server: server.prefix(),
        fault: Box::new(fault),
    }
}
