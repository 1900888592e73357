//! What is meant: a server, and perhaps something of it.

use std::sync::Arc;

use serde_json::{Map, Value};
use trunkline_mcp::name::SEPARATOR;
use trunkline_model::{Server, Snapshot};
use trunkline_policy::Action;

use crate::key::error::KeyError;
use crate::tenant::fields;

/// Fields of the body.
pub(super) const FIELDS: [&str; 4] = ["server", "tool", "prompt", "resource"];

/// What is meant.
pub(super) struct Target {
    /// As the request names it: who may not know of it hears nothing else.
    pub(super) written: String,
    pub(super) server: Arc<Server>,
    pub(super) what: What,
}

/// What of a server, by the server's own name for it.
pub(super) enum What {
    /// Any use.
    Server,
    Tool(String),
    Prompt(String),
    Resource(String),
}

impl What {
    /// What is asked of the policy.
    pub(super) fn action(&self) -> Action<'_> {
        match self {
            Self::Server => Action::UseServer,
            Self::Tool(name) => Action::UseTool(name),
            Self::Prompt(name) => Action::UsePrompt(name),
            Self::Resource(uri) => Action::UseResource(uri),
        }
    }

    /// `tool`, and its name; of the whole server nothing.
    pub(super) fn named(&self) -> Option<(&'static str, &str)> {
        match self {
            Self::Server => None,
            Self::Tool(name) => Some(("tool", name)),
            Self::Prompt(name) => Some(("prompt", name)),
            Self::Resource(uri) => Some(("resource", uri)),
        }
    }
}

impl Target {
    /// Reads the body. Without `server`, a tool or prompt is meant by the name that it is exposed under.
    pub(super) fn read(body: &Map<String, Value>, snapshot: &Snapshot) -> Result<Self, KeyError> {
        let text = |name| fields::text(body, name);
        let (server, tool, prompt) = (text("server")?, text("tool")?, text("prompt")?);
        let resource = text("resource")?;
        if [&tool, &prompt, &resource].into_iter().flatten().nth(1).is_some() {
            let text = "one of tool, prompt and resource is asked for at a time".to_owned();
            return Err(KeyError::Bad("tool", text));
        }
        let Some(written) = server else {
            let written = tool.as_ref().or(prompt.as_ref());
            let written = written.cloned().ok_or_else(|| fields::missing("server"))?;
            let (server, own) = of_exposed(&written, snapshot).ok_or_else(|| nothing(&written))?;
            let what = if tool.is_some() {
                What::Tool(own)
            } else {
                What::Prompt(own)
            };
            return Ok(Self {
                written,
                server,
                what,
            });
        };
        let server = snapshot
            .find(&written)
            .cloned()
            .ok_or_else(|| nothing(&written))?;
        let what = match (tool, prompt, resource) {
            (Some(tool), ..) => What::Tool(own_name(&server, &tool)),
            (_, Some(prompt), _) => What::Prompt(prompt),
            (_, _, Some(uri)) => What::Resource(uri),
            _ => What::Server,
        };
        Ok(Self {
            written,
            server,
            what,
        })
    }
}

pub(super) fn nothing(named: &str) -> KeyError {
    KeyError::Nobody("MCP Server", "server", named.to_owned())
}

/// `{prefix}-{name}`. Of two prefixes the longer one is meant.
fn of_exposed(exposed: &str, snapshot: &Snapshot) -> Option<(Arc<Server>, String)> {
    let named = snapshot.servers().iter().filter_map(|server| {
        let prefix = server.prefix();
        let own = exposed.strip_prefix(prefix.as_str())?.strip_prefix(SEPARATOR)?;
        Some((prefix.len(), server, own))
    });
    let (_, server, own) = named.max_by_key(|(length, ..)| *length)?;
    Some((server.clone(), own_name(server, own)))
}

/// The server's own name of a tool that it was given another name for.
fn own_name(server: &Server, tool: &str) -> String {
    let mut chosen = server.definition.tool_name_to_display_name.iter();
    let own = chosen.find(|(_, name)| *name == tool).map(|(own, _)| own);
    own.map_or_else(|| tool.to_owned(), Clone::clone)
}
