//! What an authenticated caller was refused, on its way to the audit log. Nothing waits for it.

use axum::http::StatusCode;
use serde_json::Value;
use trunkline_auth::AuthError;
use trunkline_mcp::ListKind;
use trunkline_mcp::name::SEPARATOR;
use trunkline_model::{CallKind, Principal, RequestId};
use trunkline_policy::Decision;
use trunkline_store::{Actor, Denial};

use crate::Gateway;
use crate::calling::{CallError, Denied};
use crate::context::Context;
use crate::record::Pending;
use crate::route::RouteError;

/// The wire's name of where servers are kept.
const SERVERS: &str = "LiteLLM_MCPServerTable";
/// The wire's name of where models are kept.
const MODELS: &str = "LiteLLM_ProxyModelTable";

/// A call that the policy does not let through: a line in the log, and a row of the audit log. `surface` is where it came in.
/// A name under the prefix of a server that is not there for the caller is one, too, though the caller hears of an unknown name.
pub fn call(
    gateway: &Gateway,
    context: &Context,
    pending: &mut Pending,
    (error, status): (&CallError, StatusCode),
    surface: &str,
) {
    let hidden;
    let Denied {
        name,
        server,
        own,
        denial,
        ..
    } = match error {
        CallError::Denied(denied) => &**denied,
        CallError::RuledOut(why) => &why.denied,
        CallError::Route(RouteError::Unknown { kind, name, .. }) => {
            hidden = of_hidden(context, *kind, name);
            let Some(denied) = &hidden else { return };
            denied
        }
        _ => return,
    };
    tracing::info!(
        request_id = %context.request_id, name = %name, reason = denial.reason.as_str(), level = denial.level.as_str(),
        rule = denial.rule.as_str(), part = denial.part, "call denied"
    );
    pending.target(server.clone(), own);
    let kind = pending.kind().unwrap_or(CallKind::Other);
    let words = [
        ("kind", kind.as_str()),
        ("server", server.as_str()),
        ("tool", own),
        ("reason", denial.reason.as_str()),
        ("level", denial.level.as_str()),
        ("rule", denial.rule.as_str()),
    ];
    let mut details = details(&context.principal, &words, status);
    if let Some(part) = denial.part {
        details.push(("part", part.into()));
    }
    gateway.denials.send(Denial {
        at: gateway.clock.now(),
        by: actor(&context.principal, Some(&context.request_id), surface),
        table: SERVERS,
        object_id: server.as_str().to_owned(),
        details,
    });
}

/// A name of a server that this request may not use.
fn of_hidden(context: &Context, kind: ListKind, name: &str) -> Option<Denied> {
    let servers = context.snapshot.servers().iter();
    let mut named = servers.filter_map(|server| {
        let rest = name.strip_prefix(server.prefix().as_str())?;
        Some((server, rest.strip_prefix(SEPARATOR)?))
    });
    named.find_map(|(server, own)| match context.may_use(server, kind, own) {
        Decision::Allow => None,
        Decision::Deny(denial) => Some(Denied {
            kind,
            name: name.to_owned(),
            server: server.id.clone(),
            own: own.to_owned(),
            denial,
        }),
    })
}

/// A model that the policy does not let the caller use: the same.
pub fn model(
    gateway: &Gateway,
    (request_id, principal): (&RequestId, &Principal),
    (kind, model): (CallKind, &str),
    denial: trunkline_policy::Denial,
    status: StatusCode,
) {
    let model = trunkline_upstream::fault::printable(model);
    tracing::info!(
        %request_id, model, reason = denial.reason.as_str(), level = denial.level.as_str(), rule = denial.rule.as_str(),
        "call denied"
    );
    let words = [
        ("kind", kind.as_str()),
        ("model", model.as_str()),
        ("reason", denial.reason.as_str()),
        ("level", denial.level.as_str()),
        ("rule", denial.rule.as_str()),
    ];
    gateway.denials.send(Denial {
        at: gateway.clock.now(),
        by: actor(principal, Some(request_id), "llm"),
        table: MODELS,
        object_id: model.clone(),
        details: details(principal, &words, status),
    });
}

/// Servers or a toolset that the request names, and that are not there for its caller.
pub fn selection(
    gateway: &Gateway,
    principal: &Principal,
    request_id: Option<&RequestId>,
    named: &str,
    status: StatusCode,
) {
    gateway.denials.send(Denial {
        at: gateway.clock.now(),
        by: actor(principal, request_id, named),
        table: SERVERS,
        object_id: named.to_owned(),
        details: details(
            principal,
            &[
                ("reason", "not_in_scope"),
                ("level", "scope"),
                ("rule", "selection"),
            ],
            status,
        ),
    });
}

/// A good key whose `allowed_routes` do not have the route. Of other failures nobody is known whose they are.
pub fn route(gateway: &Gateway, error: AuthError, request_id: Option<&RequestId>, operation: &str) {
    let AuthError::RouteNotAllowed(hash) = error else {
        return;
    };
    let hash = hash.to_hex();
    gateway.denials.send(Denial {
        at: gateway.clock.now(),
        by: Actor {
            changed_by: hash.clone(),
            changed_by_api_key: hash.clone(),
            request_id: request_id.map(|id| id.as_str().to_owned()),
            claimed_by: None,
            operation: Some(operation.to_owned()),
        },
        table: "",
        object_id: operation.to_owned(),
        details: vec![
            ("principal", hash.into()),
            ("reason", "route_not_allowed".into()),
            ("level", "key".into()),
            ("rule", "allowed_routes".into()),
            ("status", error.status().into()),
        ],
    });
}

/// A route of the gateway's that is for administrators.
pub fn management(gateway: &Gateway, principal: &Principal, operation: &str, status: StatusCode) {
    gateway.denials.send(Denial {
        at: gateway.clock.now(),
        by: actor(principal, None, operation),
        table: "",
        object_id: operation.to_owned(),
        details: details(principal, &[("reason", "management_refused")], status),
    });
}

fn actor(principal: &Principal, request_id: Option<&RequestId>, operation: &str) -> Actor {
    let id = principal.id();
    Actor {
        changed_by: principal.user_id().unwrap_or(id).to_owned(),
        changed_by_api_key: id.to_owned(),
        request_id: request_id.map(|id| id.as_str().to_owned()),
        claimed_by: None,
        operation: Some(operation.to_owned()),
    }
}

fn details(
    principal: &Principal,
    words: &[(&'static str, &str)],
    status: StatusCode,
) -> Vec<(&'static str, Value)> {
    let own = [
        ("principal", Some(principal.id())),
        ("team", principal.team_id()),
        ("end_user", principal.end_user().map(|own| &*own.id)),
    ];
    let own = own
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?.into())));
    let words = words.iter().map(|(name, value)| (*name, Value::from(*value)));
    own.chain(words)
        .chain([("status", status.as_u16().into())])
        .collect()
}
