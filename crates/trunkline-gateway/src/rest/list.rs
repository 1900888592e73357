//! `GET /mcp-rest/tools/list`: tools under their own names, with `mcp_info`.

use std::sync::Arc;

use axum::Extension;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::Deserialize;
use serde_json::json;
use trunkline_mcp::ListKind;
use trunkline_model::{CallKind, Scope};

use crate::Gateway;
use crate::accept::Arrived;
use crate::answer;
use crate::context::Context;
use crate::listing;
use crate::outcomes;
use crate::record::Pending;
use crate::rest::{enter, failure_status, tools_body};
use crate::scope;

/// Query of the request; all optional.
#[derive(Deserialize)]
pub struct Params {
    /// Id, name or alias of one server.
    server_id: Option<String>,
    /// The same, by LiteLLM's other word.
    mcp_server_name: Option<String>,
    /// Name or id of a toolset: its tools alone.
    toolset_name: Option<String>,
}

/// Lists.
pub async fn handle(
    State(gateway): State<Arc<Gateway>>,
    arrived: Option<Extension<Arrived>>,
    params: Result<Query<Params>, QueryRejection>,
    headers: HeaderMap,
) -> Response {
    let arrived = arrived.map(|Extension(arrived)| arrived);
    let mut context = match enter(&gateway, arrived, &headers, "/mcp-rest/tools/list") {
        Ok(context) => context,
        Err(answer) => return answer,
    };
    let Ok(Query(params)) = params else {
        let text =
            "the query cannot be read: server_id, mcp_server_name and toolset_name may be there once each";
        return answer::rest_error(StatusCode::BAD_REQUEST, "invalid_request", text);
    };
    if let Some(name) = params.toolset_name
        && !select_toolset(&mut context, &name)
    {
        let text = format!(
            "Toolset {} not found",
            trunkline_upstream::fault::printable(&name)
        );
        return answer::rest_error(StatusCode::NOT_FOUND, "toolset_not_found", &text);
    }
    if let Some(name) = params.server_id.or(params.mcp_server_name) {
        let found = context
            .servers()
            .find(|server| server.answers_to(&name))
            .map(|server| server.id.clone());
        let Some(id) = found else {
            let text = format!("Server {} not found", trunkline_upstream::fault::printable(&name));
            return answer::rest_error(StatusCode::NOT_FOUND, "server_not_found", &text);
        };
        context.selection.unresolved.clear();
        match &mut context.selection.scope {
            Scope::Toolset { ids, .. } => *ids = vec![id],
            scope => {
                *scope = Scope::Servers {
                    ids: vec![id],
                    single: false,
                };
            }
        }
    }
    let one = matches!(
        &context.selection.scope,
        Scope::Servers { ids, .. } | Scope::Toolset { ids, .. } if ids.len() == 1
    );
    let mut pending = Pending::begin(&gateway, &context, CallKind::ListTools, 0);
    let listing = listing::list(&gateway, &context, ListKind::Tools).await;
    let error = listing.failure();
    if let (true, Some(failed)) = (one, listing.only_failure()) {
        let body = json!({"detail": {
            "error": failed.outcome.status.as_str(),
            "message": error.clone().unwrap_or_default(),
            "outcome": outcomes::to_json(&failed.outcome, None, false),
        }});
        pending.finish(listing.outcome_word(), error);
        return answer::json(failure_status(failed.outcome.status), body.to_string());
    }
    let body = tools_body(&listing, &context, false);
    pending.sent(body.len());
    pending.finish(listing.outcome_word(), error);
    answer::json(StatusCode::OK, body)
}

/// Narrows what was selected to a toolset; `false` if there is none of the name for this caller.
fn select_toolset(context: &mut Context, name: &str) -> bool {
    let Some(mut selection) = scope::toolset(&context.snapshot, &context.principal, name) else {
        return false;
    };
    if let Scope::Toolset { ids, .. } = &mut selection.scope {
        ids.retain(|id| context.selection.scope.contains(id));
    }
    context.selection = selection;
    true
}
