//! `initialize`: answered here, without asking any upstream, so that a slow one delays nobody.

use std::sync::Arc;

use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use jiff::SignedDuration;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use trunkline_auth::SessionClaims;
use trunkline_mcp::{ClientCapabilities, Era, ListKind, Revision, ServerCapabilities, capability, rpc, task};
use trunkline_model::{Server, SessionKey};
use trunkline_upstream::catalogue::Known;
use trunkline_upstream::{ClientHeaders, Fault};

use crate::Gateway;
use crate::answer;
use crate::context::Context;
use crate::scope::PathSelection;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Params {
    protocol_version: String,
    #[serde(default)]
    capabilities: Option<Box<RawValue>>,
}

/// Longest merged `instructions`.
const MAX_INSTRUCTIONS: usize = 32 * 1024;

/// What was agreed on.
pub struct Agreed {
    /// The session.
    pub claims: SessionClaims,
    /// The result of `initialize`.
    pub result: String,
}

/// Answers `initialize` with a sealed session id.
pub fn answer(
    gateway: &Gateway,
    path: &PathSelection,
    context: &Context,
    id: &RawValue,
    params: Option<&RawValue>,
) -> Response {
    let agreed = match agree(gateway, context, new_session_key(), params) {
        Ok(agreed) => agreed,
        Err(text) => return answer::rpc_error(StatusCode::OK, id.get(), rpc::INVALID_PARAMS, &text),
    };
    if let Err(full) = gateway.caps.begin(context.principal.id(), agreed.claims.key) {
        return full.answer(id.get());
    }
    gateway.upstreams.began(agreed.claims.key);
    let sealed = gateway
        .sealer
        .seal(&agreed.claims, &context.principal, &path.route_key());
    let mut response = answer::json(StatusCode::OK, rpc::response(id.get(), &agreed.result));
    if let Ok(value) = HeaderValue::from_str(&sealed) {
        response
            .headers_mut()
            .insert(HeaderName::from_static("mcp-session-id"), value);
    }
    response
}

/// The hand-shake, whatever the session is known by: the revision, what the client can be asked, and the result. The error
/// is what is wrong with the parameters.
pub fn agree(
    gateway: &Gateway,
    context: &Context,
    key: SessionKey,
    params: Option<&RawValue>,
) -> Result<Agreed, String> {
    let params = params.ok_or("Invalid params: none")?;
    let params: Params =
        serde_json::from_str(params.get()).map_err(|error| format!("Invalid params: {error}"))?;
    let revision = Revision::negotiate(&params.protocol_version);
    let capabilities_of_client = params
        .capabilities
        .as_deref()
        .map_or(ClientCapabilities::NONE, ClientCapabilities::read);
    let mut result = json!({
        "protocolVersion": revision.as_str(),
        "capabilities": capabilities(gateway, context, revision),
        "serverInfo": server_info(context),
    });
    if let Some(text) = instructions(gateway, context) {
        result["instructions"] = text.into();
    }
    Ok(Agreed {
        claims: claims(gateway, key, revision, capabilities_of_client),
        result: result.to_string(),
    })
}

/// What is to be known of a session that begins now.
pub fn claims(
    gateway: &Gateway,
    key: SessionKey,
    revision: Revision,
    capabilities: ClientCapabilities,
) -> SessionClaims {
    let expires_at = gateway
        .clock
        .now()
        .checked_add(SignedDuration::try_from(crate::SESSION_LIFETIME).unwrap_or(SignedDuration::MAX))
        .unwrap_or(jiff::Timestamp::MAX);
    SessionClaims {
        key,
        revision: revision.index(),
        capabilities: capabilities.bits(),
        expires_at,
    }
}

/// A name for a session that nobody can guess.
pub fn new_session_key() -> SessionKey {
    SessionKey(*uuid::Uuid::new_v4().as_bytes())
}

/// What the gateway says that it is.
pub fn server_info(context: &Context) -> Value {
    json!({"name": server_name(context), "title": "Trunkline", "version": env!("CARGO_PKG_VERSION")})
}

/// On a one-server endpoint the server's own name, so that two of them can be told apart (B38).
fn server_name(context: &Context) -> String {
    let single = context
        .selection
        .scope
        .single()
        .and_then(|id| context.snapshot.get(id));
    single.map_or_else(|| "trunkline".to_owned(), |server| server.prefix())
}

/// What is known about a server from its tools: in the request's era, or else in the other.
fn known_tools(
    gateway: &Gateway,
    context: &Context,
    server: &Arc<Server>,
    client: &ClientHeaders<'_>,
) -> Result<Arc<Known>, Fault> {
    let known = gateway
        .upstreams
        .known((ListKind::Tools, context.era), server, client)?;
    if known.catalogue.is_some() {
        return Ok(known);
    }
    gateway
        .upstreams
        .known((ListKind::Tools, Era::Legacy), server, client)
}

/// What the servers of this request can do together. One that was never listed may be able to do anything.
/// Tasks are those of the revision that is spoken.
pub fn capabilities(gateway: &Gateway, context: &Context, revision: Revision) -> Map<String, Value> {
    let anything = ServerCapabilities::new(
        r#"{"tools":{},"prompts":{},"resources":{"subscribe":true},"completions":{},"logging":{},"tasks":{"list":{},"cancel":{},"requests":{"tools":{"call":{}}}}}"#,
    );
    let new_tasks = ServerCapabilities::new(r#"{"extensions":{"io.modelcontextprotocol/tasks":{}}}"#);
    let some_tools = ServerCapabilities::new(r#"{"tools":{}}"#);
    let client = context.client_headers();
    let within = |own: ServerCapabilities, server: &Server| {
        if context.may_use_whole(server) {
            own
        } else {
            own.of_tools()
        }
    };
    let mut all = Vec::new();
    for server in context.servers() {
        let known = known_tools(gateway, context, server, &client);
        match known.as_ref().ok().and_then(|known| known.catalogue.as_ref()) {
            Some(catalogue) => {
                if !catalogue.items.is_empty() {
                    // Some servers have tools and forget to say so.
                    all.push(some_tools.clone());
                }
                all.push(within(catalogue.introduction.capabilities.clone(), server));
            }
            None => all.push(within(anything.clone(), server)),
        }
        if revision.era() == Era::Modern && gateway.upstreams.may_extend(server, task::EXTENSION) {
            // What it was listed with may be of the other era, where there is no such extension.
            all.push(new_tasks.clone());
        }
    }
    if all.is_empty() {
        // Servers may come later, and clients are told.
        all.push(some_tools);
    }
    let mut all = capability::union(all.iter());
    capability::only_tasks_of(&mut all, revision);
    all
}

/// The servers' instructions under their names, as LiteLLM joins them: the operator's text, else what the upstream said
/// when it was last listed.
pub fn instructions(gateway: &Gateway, context: &Context) -> Option<String> {
    let client = context.client_headers();
    let mut parts = Vec::new();
    for server in context.servers() {
        let own = server
            .definition
            .instructions
            .clone()
            .filter(|text| !text.is_empty());
        let text = own.or_else(|| {
            let known = known_tools(gateway, context, server, &client).ok()?;
            known
                .usable()?
                .introduction
                .instructions
                .clone()
                .filter(|text| !text.is_empty())
        });
        parts.extend(text.map(|text| (server.prefix(), text)));
    }
    let mut text = match &parts[..] {
        [] => return None,
        [(_, text)] if context.selection.scope.single().is_some() => text.clone(),
        several => {
            let labelled: Vec<String> = several
                .iter()
                .map(|(name, text)| format!("[{name}]\n{text}"))
                .collect();
            labelled.join("\n\n---\n\n")
        }
    };
    if text.len() > MAX_INSTRUCTIONS {
        let end = (0..=MAX_INSTRUCTIONS)
            .rev()
            .find(|at| text.is_char_boundary(*at))
            .unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    Some(text)
}
