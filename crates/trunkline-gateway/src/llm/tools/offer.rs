//! What the model is offered: the tools that a request names and its caller may use, as functions.

use std::collections::HashMap;
use std::sync::Arc;

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};
use trunkline_auth::Admission;
use trunkline_llm::translate::conversation::{Served, Tool};
use trunkline_llm::{BadRequest, McpTool};
use trunkline_mcp::ListKind;
use trunkline_model::{CallKind, Principal, RequestId, Server};

use super::super::told::Refused;
use crate::context::Context;
use crate::record::Pending;
use crate::scope::{self, PathSelection};
use crate::{Gateway, denied, listing};

/// Characters that providers take in the name of a function.
const MAX_NAME: usize = 64;
/// Functions that one request may offer.
const MAX_FUNCTIONS: usize = 1024;

/// Who asks, and how.
#[derive(Clone, Copy)]
pub(super) struct Who<'a> {
    pub(super) gateway: &'a Arc<Gateway>,
    pub(super) request_id: &'a RequestId,
    pub(super) headers: &'a HeaderMap,
    pub(super) admission: &'a Admission,
}

/// One function, and the tool that it is.
pub(super) struct Function {
    /// The tool's name, as MCP clients of the gateway know it.
    pub(super) exposed: String,
    pub(super) server: Arc<Server>,
    /// Of the references of the request.
    pub(super) tool: usize,
    /// The client wants to be asked before it is called.
    pub(super) asks: bool,
}

/// The functions of a request.
#[derive(Default)]
pub(super) struct Offer {
    functions: HashMap<String, Function>,
    /// For the model.
    pub(super) tools: Vec<Tool>,
    /// What was listed, for the client.
    pub(super) listed: Vec<Served>,
}

/// A definition, as far as a function has it.
#[derive(Deserialize)]
struct Definition<'a> {
    #[serde(default)]
    description: Option<String>,
    #[serde(borrow, default, rename = "inputSchema")]
    schema: Option<&'a RawValue>,
    #[serde(borrow, default)]
    annotations: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Hints {
    #[serde(rename = "readOnlyHint")]
    is_read_only: bool,
}

/// The context of one reference, as the registry and the caller are now.
#[expect(clippy::result_large_err, reason = "the error is the answer, and it is rare")]
pub(super) fn context(
    who: Who<'_>,
    principal: &Principal,
    tool: &McpTool,
    at: usize,
) -> Result<Context, Refused> {
    let about = |status: u16, text: String| {
        Refused::new(status, format!("tools of {:?}: {text}", tool.label)).param(Some("tools".to_owned()))
    };
    let path = PathSelection::of_path(&tool.path);
    let path = path.ok_or_else(|| {
        about(
            400,
            format!(
                "{:?} is no address of MCP servers: litellm_proxy/mcp, litellm_proxy/mcp/NAME,NAME or litellm_proxy/toolset/NAME/mcp",
                tool.path
            ),
        )
    })?;
    let mut headers = who.headers.clone();
    for (name, value) in &tool.headers {
        let name = HeaderName::try_from(name.as_str());
        let (Ok(name), Ok(mut value)) = (name, HeaderValue::from_str(value)) else {
            return Err(about(400, format!("its headers[{at}] cannot be sent")));
        };
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    let snapshot = who.gateway.registry.snapshot();
    let selection = scope::resolve(&snapshot, principal, &path, &headers).map_err(|answer| {
        let named = path.named(&headers);
        denied::selection(
            who.gateway,
            principal,
            Some(who.request_id),
            &named,
            answer.status(),
        );
        let text = "there is no such MCP server, toolset or access group for this key".to_owned();
        match answer.status() {
            StatusCode::NOT_FOUND => about(404, text),
            _ => about(403, text),
        }
    })?;
    Ok(Context {
        request_id: who.request_id.clone(),
        principal: principal.clone(),
        admission: who.admission.clone(),
        has_others: who.gateway.authenticator.has_others(),
        snapshot,
        selection,
        session: None,
        capabilities: trunkline_mcp::ClientCapabilities::NONE,
        mute: true,
        lasts_until: None,
        resumes: false,
        tasks: false,
        era: trunkline_mcp::Era::Legacy,
        log_level: None,
        client_info: None,
        headers,
        // What one replica alone holds is not asked for this way.
        target: axum::http::Uri::default(),
        handed_on: false,
        has_place: true,
        about_several: std::sync::OnceLock::new(),
    })
}

impl Offer {
    /// Lists what the request names. Errors if it names what is not there, or if nothing of it can be listed.
    pub(super) async fn list(
        who: Who<'_>,
        principal: &Principal,
        tools: &[McpTool],
    ) -> Result<Self, Refused> {
        let mut offer = Self::default();
        for (at, tool) in tools.iter().enumerate() {
            let context = context(who, principal, tool, at)?;
            let mut pending = Pending::begin(who.gateway, &context, CallKind::ListTools, 0);
            let listing = listing::list(who.gateway, &context, ListKind::Tools).await;
            pending.sent(0);
            pending.finish(listing.outcome_word(), listing.failure());
            if let Some(failure) = listing.failure() {
                return Err(Refused::new(424, format!("tools of {:?}: {failure}", tool.label))
                    .param(Some("tools".to_owned())));
            }
            // Of servers that could not be listed, while others could, the client is told.
            let failed = listing.servers.iter().filter(|own| own.view.is_none());
            let mut missing: Vec<String> = failed
                .map(|own| format!("{}: {}", own.server.prefix(), own.outcome.summary()))
                .collect();
            let mut shown = Vec::new();
            for (own, item) in listing.items(&context) {
                let Ok(definition) = serde_json::from_str::<Definition<'_>>(&item.json) else {
                    missing.push(format!("{}: its definition cannot be read", item.exposed));
                    continue;
                };
                let annotations = definition.annotations.map(RawValue::get);
                let hints: Hints = annotations
                    .and_then(|json| serde_json::from_str(json).ok())
                    .unwrap_or_default();
                let names = [item.own.as_str(), item.exposed.as_str()];
                if !tool.means(names, hints.is_read_only) {
                    continue;
                }
                let function = Function {
                    exposed: item.exposed.clone(),
                    server: own.server.clone(),
                    tool: at,
                    asks: tool.approval.is_needed(names),
                };
                shown.extend(offer.add(function, &definition));
            }
            offer.listed.push(Served::Listed {
                label: tool.label.clone(),
                tools: shown,
                error: (!missing.is_empty()).then(|| missing.join("; ")),
            });
        }
        if offer.functions.len() > MAX_FUNCTIONS {
            let text = format!(
                "the request names {} tools, and at most {MAX_FUNCTIONS} can be offered to a model: choose some with `allowed_tools`",
                offer.functions.len()
            );
            return Err(Refused::new(400, text).param(Some("tools".to_owned())));
        }
        Ok(offer)
    }

    /// As the client is shown it; none if it was offered by another reference before.
    fn add(&mut self, function: Function, definition: &Definition<'_>) -> Option<String> {
        let name = function_name(&function.exposed);
        if self.functions.contains_key(&name) {
            return None;
        }
        let schema = definition
            .schema
            .map_or_else(|| "{\"type\":\"object\"}".to_owned(), |own| own.get().to_owned());
        let shown = serde_json::json!({
            "name": name,
            "description": definition.description,
            "input_schema": serde_json::from_str::<serde_json::Value>(&schema).unwrap_or_default(),
            "annotations": definition.annotations,
        });
        self.tools.push(Tool::Function {
            name: name.clone(),
            description: definition.description.clone(),
            schema: Some(schema),
            strict: None,
            cache: None,
            deferred: false,
        });
        self.functions.insert(name, function);
        Some(shown.to_string())
    }

    /// The tool that a function is.
    pub(super) fn find(&self, name: &str) -> Option<&Function> {
        self.functions.get(name)
    }

    /// Puts all of it into the conversation.
    pub(super) fn make(&self, dialogue: &mut trunkline_llm::translate::Dialogue) -> Result<(), BadRequest> {
        self.tools
            .iter()
            .cloned()
            .try_for_each(|tool| dialogue.offer(tool))
    }
}

/// The name of a tool as all providers take it: letters, digits, `_` and `-`, 64 of them at most. Of one that had to be changed, the digest
/// keeps it apart from others.
fn function_name(exposed: &str) -> String {
    let is_good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if exposed.len() <= MAX_NAME && exposed.chars().all(is_good) {
        return exposed.to_owned();
    }
    let clean = exposed.chars().map(|c| if is_good(c) { c } else { '_' });
    let begin: String = clean.take(MAX_NAME - 9).collect();
    let digest = Sha256::digest(exposed);
    let [a, b, c, d] = [digest[0], digest[1], digest[2], digest[3]];
    format!("{begin}_{a:02x}{b:02x}{c:02x}{d:02x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_every_provider_takes_and_stay_apart() {
        assert_eq!(function_name("github-create_issue"), "github-create_issue");
        let (dotted, other) = (function_name("a-b.c"), function_name("a-b/c"));
        assert!(dotted.starts_with("a-b_c_") && other.starts_with("a-b_c_") && dotted != other);
        let long = function_name(&"x".repeat(200));
        assert_eq!(long.len(), MAX_NAME);
        assert_ne!(long, function_name(&"x".repeat(201)));
        assert!(function_name("é-ü").is_ascii());
    }
}
