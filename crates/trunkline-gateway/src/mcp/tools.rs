//! The lists and the requests to one server as JSON-RPC: thin adapters over [`crate::listing`] and [`crate::calling`].

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

use axum::http::{Method, StatusCode};
use axum::response::Response;
use serde_json::{Map, Value};
use trunkline_mcp::{Era, ListKind, apps, edit, hidden, modern, rpc, task, uri};
use trunkline_model::{CallKind, ReplicaId};

use crate::Gateway;
use crate::answer;
use crate::calling::{self, CallError, Operation};
use crate::context::Context;
use crate::denied;
use crate::listing::{self, Listing};
use crate::mcp::initialize;
use crate::mcp::page::{self, Listed, Place};
use crate::outcomes::META_KEY;
use crate::parked::{self, Resumed};
use crate::peers::{self, PeerError};
use crate::record::Pending;
use crate::relay::{Cancellable, Relay, error_message, refusal};
use crate::uris::{self, Exposer};

fn record_kind(kind: ListKind) -> CallKind {
    match kind {
        ListKind::Tools => CallKind::ListTools,
        ListKind::Prompts => CallKind::ListPrompts,
        ListKind::Resources => CallKind::ListResources,
        ListKind::ResourceTemplates => CallKind::ListResourceTemplates,
    }
}

/// A list, or a page of it.
pub async fn list(
    gateway: &Arc<Gateway>,
    context: &Arc<Context>,
    kind: ListKind,
    (id, params): (&str, Option<&str>),
    bytes: usize,
) -> Response {
    let mut pending = Pending::begin(gateway, context, record_kind(kind), bytes);
    let Ok(after) = page::place(gateway, context, kind, params) else {
        pending.finish("invalid_params", None);
        return answer::rpc_error(StatusCode::OK, id, rpc::INVALID_PARAMS, "Invalid cursor");
    };
    let listing = listing::list(gateway, context, kind).await;
    if let Some(failure) = listing.failure() {
        let data = serde_json::json!({META_KEY: listing.outcomes(context)}).to_string();
        pending.finish(listing.outcome_word(), Some(failure.clone()));
        let error = rpc::error_object(rpc::INTERNAL_ERROR, &failure, Some(&data));
        return answer::json(StatusCode::OK, rpc::error_response(id, &error));
    }
    if context.several() && listing.items(context).any(|(_, item)| item.points) {
        // Which URIs these tools point at depends on who has them. Boxed, and only here.
        let wait = gateway.upstreams.settings().fanout_deadline;
        Box::pin(listing::list_within(gateway, context, ListKind::Resources, wait)).await;
    }
    let text = rpc::response(id, &result(gateway, &listing, context, after.as_ref()));
    pending.sent(text.len());
    pending.finish("ok", None);
    answer::json(StatusCode::OK, text)
}

/// The result: definitions as they are but for their names, and every server's outcome.
fn result(gateway: &Gateway, listing: &Listing, context: &Context, after: Option<&Place>) -> String {
    let page = page::cut(gateway, context, listing, after);
    let size: usize = page.items.iter().map(|(_, item)| item.json.len() + 1).sum();
    let meta = Value::Object(meta(listing, context)).to_string();
    let mut text = String::with_capacity(size + meta.len() + 64);
    text.push_str("{\"");
    text.push_str(listing.kind.member());
    text.push_str("\":[");
    let shared = uris::shared(listing, context);
    for (index, (own, item)) in page.items.iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        let json = changed(gateway, context, listing.kind, (own, item), &shared)
            .map_or(Cow::Borrowed(&*item.json), Cow::Owned);
        text.push_str(&definition(own, context, &json));
    }
    text.push(']');
    let cacheable = page::cacheable(gateway, context, listing, after);
    if let Some(cursor) = page.next(gateway, context, listing.kind, cacheable) {
        text.push_str(r#","nextCursor":"#);
        edit::push_string(&mut text, &cursor);
    }
    if context.era == Era::Modern {
        text.push_str(r#","resultType":"complete","#);
        text.push_str(&cacheable.members());
    }
    text.push_str(r#","_meta":"#);
    text.push_str(&meta);
    text.push('}');
    text
}

/// A definition as the client's era has it: tools of the old one say what they are as tasks.
fn definition<'a>(own: &listing::ServerItems, context: &Context, json: &'a str) -> Cow<'a, str> {
    let is_of_client = || {
        let revision = own.view.as_ref()?.catalogue.revision.as_deref()?;
        Some(revision == modern::VERSION.as_str())
    };
    if context.era == Era::Legacy || is_of_client().unwrap_or_default() {
        return Cow::Borrowed(json);
    }
    task::without_execution(json).map_or(Cow::Borrowed(json), Cow::Owned)
}

/// An item whose definition is not the same in every listing: a URI that several servers have, a tool that points at one.
fn changed(
    gateway: &Gateway,
    context: &Context,
    kind: ListKind,
    (own, item): Listed<'_>,
    shared: &HashSet<&str>,
) -> Option<String> {
    if item.points {
        let exposer = Exposer::new(gateway, context, &own.server);
        return apps::repointed(&item.json, &|uri| exposer.exposed(uri));
    }
    if !shared.contains(item.own.as_str()) {
        return None;
    }
    let view = own.view.as_ref()?;
    let exposed = uri::qualified(&own.server.prefix(), &item.own);
    Some(view.catalogue.find(&item.own)?.renamed(kind, &exposed))
}

fn meta(listing: &Listing, context: &Context) -> Map<String, Value> {
    let mut meta = Map::new();
    if context.era == Era::Modern {
        meta.insert(modern::SERVER_INFO.to_owned(), initialize::server_info(context));
    }
    meta.insert(META_KEY.to_owned(), Value::Object(listing.outcomes(context)));
    let removed = listing.removed();
    if removed.total() > 0 {
        let removed = serde_json::from_str(&removed.to_json()).unwrap_or_default();
        meta.insert(hidden::META_KEY.to_owned(), removed);
    }
    if listing.servers.is_empty() {
        let reason = if context.snapshot.servers().is_empty() {
            "no_servers: none is registered; add one with POST /v1/mcp/server or in mcp_servers of the configuration file"
        } else {
            "no_grant: no active server is selected by this request and allowed to this key"
        };
        meta.insert("trunkline/reason".to_owned(), reason.into());
    }
    meta
}

/// A request to one server.
pub async fn call(
    gateway: &Arc<Gateway>,
    context: &Arc<Context>,
    operation: Operation,
    (id, params): (&str, Option<&str>),
    bytes: usize,
) -> Response {
    let mut pending = Pending::begin(gateway, context, operation.kind(), bytes);
    let mut asking = None;
    if context.era == Era::Modern {
        let own = params.unwrap_or("{}");
        match parked::resume(gateway, context, operation.method(), own).await {
            Ok(Resumed::None) => asking = Some((own.to_owned(), 0)),
            Ok(Resumed::Elsewhere(owner)) => {
                pending.handed_on();
                let asked = (&operation, id, own);
                return Box::pin(taken_up_elsewhere(gateway, context, owner, asked, bytes)).await;
            }
            Ok(Resumed::Again(result)) => {
                pending.finish("input_required", None);
                return answer::json(StatusCode::OK, rpc::response(id, &result));
            }
            Ok(Resumed::Call(call, rounds)) => {
                pending.target(call.server.id.clone(), &call.name);
                let relay = Box::new(Relay {
                    gateway: gateway.clone(),
                    context: context.clone(),
                    call: *call,
                    id: id.to_owned(),
                    pending,
                    cancelled: None,
                    asking: Some((own.to_owned(), rounds)),
                });
                return Box::pin(relay.answer()).await;
            }
            Err(error) => return refused(gateway, context, id, pending, &error),
        }
    }
    let mut cancelled = context
        .session
        .map(|session| Cancellable::enter(gateway, session, id));
    let begun = calling::begin(
        gateway,
        context,
        operation,
        params.unwrap_or("{}"),
        None,
        &mut pending,
    );
    let begun = match &mut cancelled {
        None => Some(begun.await),
        Some(cancellable) => tokio::select! {
            biased;
            begun = begun => Some(begun),
            () = cancellable.cancelled() => None,
        },
    };
    match begun {
        Some(Ok(call)) => {
            let relay = Box::new(Relay {
                gateway: gateway.clone(),
                context: context.clone(),
                call,
                id: id.to_owned(),
                pending,
                cancelled,
                asking,
            });
            relay.answer().await
        }
        Some(Err(error)) => refused(gateway, context, id, pending, &error),
        None => {
            pending.finish("cancelled", None);
            answer::rpc_error(StatusCode::OK, id, rpc::INTERNAL_ERROR, "cancelled by the client")
        }
    }
}

/// Hands a request on to the replica that has the call that it goes on with. That one records it; here, only that it
/// could not.
async fn taken_up_elsewhere(
    gateway: &Arc<Gateway>,
    context: &Context,
    owner: ReplicaId,
    (operation, id, params): (&Operation, &str, &str),
    bytes: usize,
) -> Response {
    let message = rpc::request(id, operation.method(), Some(params));
    let request = context.request(Method::POST, message);
    match peers::forward(gateway, owner, request).await {
        Ok(response) => {
            let broken = error_message(gateway, id, &PeerError::Broken.into(), context.era);
            peers::with_last_word(response, broken)
        }
        Err(error) => {
            let pending = Pending::begin(gateway, context, operation.kind(), bytes);
            refused(gateway, context, id, pending, &error.into())
        }
    }
}

/// The answer to a request that does not become a call.
fn refused(
    gateway: &Gateway,
    context: &Context,
    id: &str,
    mut pending: Pending,
    error: &CallError,
) -> Response {
    let text = error_message(gateway, id, error, context.era);
    pending.sent(text.len());
    let response = refusal(error, context.era, text);
    denied::call(gateway, context, &mut pending, (error, response.status()), "mcp");
    pending.finish(error.outcome_word(), Some(error.to_string()));
    response
}
