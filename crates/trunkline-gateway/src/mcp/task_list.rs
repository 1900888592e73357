//! `tasks/list` (2025-11-25): a page of every server's tasks at a time. The cursor is sealed: where each server goes on.

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

/// Where each server goes on: its id, and its own cursor.
type Positions = Vec<(String, Option<String>)>;
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
        .servers()
        .filter(|server| lists_tasks(gateway, context, server))
        .collect();
    if able.is_empty() {
        return Err(CallError::Method(Operation::ListTasks.method().to_owned()));
    }
    let asked: Vec<(&Arc<Server>, Option<String>)> = match positions(gateway, context, params)? {
        None => able.into_iter().map(|server| (server, None)).collect(),
        Some(positions) => positions
            .into_iter()
            .filter_map(|(id, cursor)| {
                let server = able.iter().find(|server| server.id.as_str() == id)?;
                Some((*server, cursor))
            })
            .collect(),
    };
    let pages = asked
        .into_iter()
        .map(|(server, cursor)| async move { (server, page(gateway, context, server, cursor).await) });
    let pages = join_all(pages).await;
    let mut tasks = Vec::new();
    let mut next: Positions = Vec::new();
    let mut failed = Map::new();
    let mut last_error = None;
    let mut answered = pages.is_empty();
    for (server, page) in pages {
        match page {
            Ok((own, cursor)) => {
                answered = true;
                tasks.extend(own);
                next.extend(cursor.map(|cursor| (server.id.as_str().to_owned(), Some(cursor))));
            }
            Err(error) => {
                let fault = match &error {
                    CallError::Upstream { fault, .. } => (**fault).clone(),
                    // A shorter list carries a reason, whatever it is.
                    other => Fault::new(OutcomeStatus::Internal, Step::Call, other.to_string()),
                };
                let outcome = fault.outcome(gateway.clock.now(), Duration::ZERO);
                failed.insert(server.prefix(), outcomes::to_json(&outcome, None, false));
                last_error = Some(error);
            }
        }
    }
    match last_error {
        Some(error) if !answered => Err(error),
        _ => Ok(written(gateway, context, &tasks, &next, failed)),
    }
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
    let mut call = calling::begin_at(gateway, context, operation, target, params)?;
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
