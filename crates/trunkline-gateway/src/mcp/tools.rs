//! The lists and the requests to one server as JSON-RPC: thin adapters over [`crate::listing`] and [`crate::calling`].

use std::borrow::Cow;
use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Map, Value};
use trunkline_mcp::modern::{self, Cacheable};
use trunkline_mcp::{Era, ListKind, rpc, task};
use trunkline_model::CallKind;

use crate::Gateway;
use crate::answer;
use crate::calling::{self, CallError, Operation};
use crate::context::Context;
use crate::listing::{self, Listing};
use crate::mcp::initialize;
use crate::outcomes::META_KEY;
use crate::parked::{self, Resumed};
use crate::record::Pending;
use crate::relay::{Cancellable, Relay, error_message, error_status};
use crate::uris;

fn record_kind(kind: ListKind) -> CallKind {
    match kind {
        ListKind::Tools => CallKind::ListTools,
        ListKind::Prompts => CallKind::ListPrompts,
        ListKind::Resources => CallKind::ListResources,
        ListKind::ResourceTemplates => CallKind::ListResourceTemplates,
    }
}

/// A list. One page: many clients never ask for a second.
pub async fn list(
    gateway: &Arc<Gateway>,
    context: &Arc<Context>,
    kind: ListKind,
    (id, params): (&str, Option<&str>),
    bytes: usize,
) -> Response {
    let mut pending = Pending::begin(gateway, context, record_kind(kind), bytes);
    if has_cursor(params) {
        pending.finish("invalid_params", None);
        return answer::rpc_error(StatusCode::OK, id, rpc::INVALID_PARAMS, "Invalid cursor");
    }
    let listing = listing::list(gateway, context, kind).await;
    if let Some(failure) = listing.failure() {
        let data = serde_json::json!({META_KEY: listing.outcomes(context)}).to_string();
        pending.finish(listing.outcome_word(), Some(failure.clone()));
        let error = rpc::error_object(rpc::INTERNAL_ERROR, &failure, Some(&data));
        return answer::json(StatusCode::OK, rpc::error_response(id, &error));
    }
    let text = rpc::response(id, &result(&listing, context));
    pending.sent(text.len());
    pending.finish("ok", None);
    answer::json(StatusCode::OK, text)
}

/// A cursor was given, though the gateway never gives one.
fn has_cursor(params: Option<&str>) -> bool {
    let read = params.and_then(|params| serde_json::from_str::<Map<String, Value>>(params).ok());
    read.is_some_and(|params| params.get("cursor").is_some_and(|cursor| !cursor.is_null()))
}

/// The result: definitions as they are but for their names, and every server's outcome.
fn result(listing: &Listing, context: &Context) -> String {
    let size: usize = listing.items(context).map(|(_, item)| item.json.len() + 1).sum();
    let meta = Value::Object(meta(listing, context)).to_string();
    let mut text = String::with_capacity(size + meta.len() + 64);
    text.push_str("{\"");
    text.push_str(listing.kind.member());
    text.push_str("\":[");
    for (index, (own, item)) in listing.items(context).enumerate() {
        if index > 0 {
            text.push(',');
        }
        match uris::listed(listing, context, &own.server, &item.own) {
            Some(uri) => text.push_str(&renamed(own, listing.kind, &item.own, &uri)),
            None => text.push_str(&definition(own, context, &item.json)),
        }
    }
    text.push(']');
    if context.era == Era::Modern {
        text.push_str(r#","resultType":"complete","#);
        text.push_str(&cacheable(listing).members());
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

/// As long as every server says, and for this client alone: what is listed depends on who asks.
fn cacheable(listing: &Listing) -> Cacheable {
    let ttl = |own: &listing::ServerItems| own.view.as_ref()?.catalogue.ttl_ms;
    let ttl_ms = listing
        .servers
        .iter()
        .map(|own| ttl(own).unwrap_or(0))
        .min()
        .unwrap_or(0);
    Cacheable {
        ttl_ms,
        public: false,
    }
}

fn renamed(own: &listing::ServerItems, kind: ListKind, name: &str, exposed: &str) -> String {
    let found = own.view.as_ref().and_then(|view| {
        let index = view.catalogue.by_name.get(name)?;
        view.catalogue.items.get(*index)
    });
    found.map_or_else(String::new, |item| item.renamed(kind, exposed))
}

fn meta(listing: &Listing, context: &Context) -> Map<String, Value> {
    let mut meta = Map::new();
    if context.era == Era::Modern {
        meta.insert(modern::SERVER_INFO.to_owned(), initialize::server_info(context));
    }
    meta.insert(META_KEY.to_owned(), Value::Object(listing.outcomes(context)));
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
        // Boxed, and only here: every call would carry room for it.
        match Box::pin(parked::resume(gateway, context, operation.method(), own)).await {
            Ok(Resumed::None) => asking = Some((own.to_owned(), 0)),
            Ok(Resumed::Again(result)) => {
                pending.finish("input_required", None);
                return answer::json(StatusCode::OK, rpc::response(id, &result));
            }
            Ok(Resumed::Call(call, rounds)) => {
                pending.target(call.server.id.as_str(), &call.name);
                let relay = Relay {
                    gateway: gateway.clone(),
                    context: context.clone(),
                    call: *call,
                    id: id.to_owned(),
                    pending,
                    cancelled: None,
                    asking: Some((own.to_owned(), rounds)),
                };
                return relay.answer().await;
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
            Relay {
                gateway: gateway.clone(),
                context: context.clone(),
                call,
                id: id.to_owned(),
                pending,
                cancelled,
                asking,
            }
            .answer()
            .await
        }
        Some(Err(error)) => refused(gateway, context, id, pending, &error),
        None => {
            pending.finish("cancelled", None);
            answer::rpc_error(StatusCode::OK, id, rpc::INTERNAL_ERROR, "cancelled by the client")
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
    if let CallError::Denied { name, reason, .. } = error {
        tracing::info!(request_id = %context.request_id, name = %name, reason = reason.as_str(), "call denied");
    }
    let text = error_message(gateway, id, error, context.era);
    pending.sent(text.len());
    pending.finish(error.outcome_word(), Some(error.to_string()));
    answer::json(error_status(error, context.era), text)
}
