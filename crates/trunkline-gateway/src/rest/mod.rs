//! LiteLLM's REST façade: thin adapters over [`crate::listing`] and [`crate::calling`].

pub mod call;
pub mod list;
pub mod tools;

use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde_json::{Map, Value};
use trunkline_auth::Surface;
use trunkline_mcp::edit::RawObject;
use trunkline_model::{ClientAddress, OutcomeStatus, RequestId, Server};

use crate::Gateway;
use crate::accept::Arrived;
use crate::answer;
use crate::context::{Context, identify};
use crate::denied;
use crate::listing::{Listing, ServerItems};
use crate::scope::{self, PathSelection};
use crate::view::ViewItem;

/// Identify and scope of a REST request.
#[expect(clippy::result_large_err, reason = "the error is the answer, and it is rare")]
fn enter(
    gateway: &Gateway,
    arrived: Option<Arrived>,
    headers: &HeaderMap,
    path: &str,
) -> Result<Context, Response> {
    // Without the front door, nobody knows where it came from.
    let (request_id, client) = arrived.map_or_else(
        || (RequestId::new(""), ClientAddress::default()),
        |arrived| (arrived.request_id, arrived.client),
    );
    let (principal, admission) = identify(gateway, headers, Surface::Management, path).map_err(|error| {
        denied::route(gateway, error, Some(&request_id), path);
        answer::unauthorized(error, false)
    })?;
    let principal = principal.at(client);
    let snapshot = gateway.registry.snapshot();
    let all = PathSelection::None;
    let selection = scope::resolve(&snapshot, &principal, &all, headers).inspect_err(|answer| {
        let named = all.named(headers);
        denied::selection(gateway, &principal, Some(&request_id), &named, answer.status());
    })?;
    Ok(Context {
        request_id,
        principal,
        admission,
        has_others: gateway.authenticator.has_others(),
        snapshot,
        selection,
        session: None,
        capabilities: trunkline_mcp::ClientCapabilities::NONE,
        mute: false,
        lasts_until: None,
        resumes: false,
        tasks: false,
        era: trunkline_mcp::Era::Legacy,
        log_level: None,
        client_info: None,
        headers: headers.clone(),
        // What one replica alone holds is not asked for this way.
        target: axum::http::Uri::default(),
        handed_on: false,
        has_place: false,
        about_several: std::sync::OnceLock::new(),
    })
}

/// A tool with LiteLLM's `mcp_info` about its server. `exposed`: under the gateway's name, else under its own.
fn with_info(own: &ServerItems, tool: &ViewItem, exposed: bool) -> String {
    let Ok(mut object) = RawObject::parse(&tool.json) else {
        return tool.json.to_string();
    };
    if !exposed {
        object.set_string("name", &tool.own);
    }
    object.set("mcp_info", Value::Object(info(&own.server)).to_string());
    object.to_json()
}

fn info(server: &Server) -> Map<String, Value> {
    let mut info = server.definition.mcp_info.clone().unwrap_or_default();
    let name = server
        .definition
        .server_name
        .clone()
        .unwrap_or_else(|| server.prefix());
    info.entry("server_name").or_insert_with(|| name.into());
    info.entry("logo_url").or_insert(Value::Null);
    info.insert("server_id".into(), server.id.as_str().into());
    info.insert(
        "alias".into(),
        server.definition.alias.clone().map_or(Value::Null, Value::from),
    );
    info
}

/// `{"tools": […], "error", "message", "server_outcomes"}`.
fn tools_body(listing: &Listing, context: &Context, exposed: bool) -> String {
    let tools: Vec<String> = listing
        .items(context)
        .map(|(own, tool)| with_info(own, tool, exposed))
        .collect();
    // Of those whose list is shown from memory nothing is missing.
    let said = |is_shown: bool| -> Vec<String> {
        let servers = listing.servers.iter();
        servers
            .filter(|own| !own.outcome.is_ok() && own.view.is_some() == is_shown)
            .map(|own| format!("{}: {}", own.server.prefix(), own.outcome.summary()))
            .collect()
    };
    let (missing, remembered) = (said(false), said(true));
    let (error, message) = match listing.failure() {
        Some(failure) => (Value::from("partial_failure"), failure),
        None if listing.servers.is_empty() => (
            Value::from("unexpected_error"),
            "no_grant: No MCP server is selected by this request and allowed to this key".to_owned(),
        ),
        None if missing.is_empty() && remembered.is_empty() => {
            (Value::Null, "Successfully retrieved tools".to_owned())
        }
        None => {
            let mut text = "Retrieved tools".to_owned();
            if !missing.is_empty() {
                text = format!("{text}, but not of every server. {}", missing.join("; "));
            }
            if !remembered.is_empty() {
                text = format!("{text}. As they were listed before: {}", remembered.join("; "));
            }
            (Value::Null, text)
        }
    };
    let outcomes = Value::Object(listing.outcomes(context));
    format!(
        r#"{{"tools":[{}],"error":{error},"message":{},"server_outcomes":{outcomes}}}"#,
        tools.join(","),
        Value::from(message)
    )
}

/// HTTP status of a failed server in a REST answer.
fn failure_status(status: OutcomeStatus) -> StatusCode {
    StatusCode::from_u16(status.http_status()).unwrap_or(StatusCode::BAD_GATEWAY)
}
